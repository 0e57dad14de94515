//! Who does work that blocks a thread for long, such as squeezing a copy of the state.

/// Where it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocking {
    /// Runs work on blocking threads, so that the async threads are not blocked.
    Thread,
    /// Where it is asked for: the simulation has one thread, and runs the same each time.
    #[cfg(test)]
    Inline,
}

impl Blocking {
    /// Runs work. `None` if it panicked, or the process is ending. Work that has begun is finished even if its caller
    /// is gone.
    pub(super) async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        match self {
            Self::Thread => tokio::task::spawn_blocking(work).await.ok(),
            #[cfg(test)]
            Self::Inline => Some(work()),
        }
    }
}
