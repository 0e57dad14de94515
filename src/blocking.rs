//! Work that blocks a thread for long: files, compression, SQLite.

#[cfg(test)]
use std::cell::Cell;

use tokio::task::JoinError;

#[cfg(test)]
thread_local! {
    static IS_INLINE: Cell<bool> = const { Cell::new(false) };
}

/// Does work on a thread that may block, so that pages and polls go on. Work that has begun is finished even if its
/// caller is gone.
///
/// # Errors
/// The work panicked, or the process is ending.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    #[cfg(test)]
    if IS_INLINE.get() || crate::simulation::is_running() {
        return Ok(work());
    }
    // What the work logs has the labels of the caller's target.
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work)).await
}

/// Until it is dropped, this thread does such work itself: a simulation has one thread, on which every run of a seed is
/// the same.
#[cfg(test)]
#[must_use]
#[derive(Debug)]
pub(crate) struct Inline(());

#[cfg(test)]
impl Inline {
    pub(crate) fn on_this_thread() -> Self {
        IS_INLINE.set(true);
        Self(())
    }
}

#[cfg(test)]
impl Drop for Inline {
    fn drop(&mut self) {
        IS_INLINE.set(false);
    }
}
