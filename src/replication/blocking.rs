//! Who does work that blocks a thread for long, such as squeezing a copy of the state.

/// Where it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocking {
    /// On a thread that may block: those that answer pages and ask AWS go on.
    Thread,
    /// Where it is asked for: the simulation has one thread, and runs the same each time.
    #[cfg(test)]
    Inline,
}

impl Blocking {
    /// Does work. `None` if it ended by a defect, or the process ends. Work that has begun is done to its end, even if nobody waits for it
    /// any more.
    pub(super) async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        match self {
            Self::Thread => tokio::task::spawn_blocking(work).await.ok(),
            #[cfg(test)]
            Self::Inline => Some(work()),
        }
    }
}
