//! Work that blocks a thread for long.

use tokio::task::JoinError;

/// Does work on a thread that may block, so that pages and polls go on. The simulation has one thread, on which every run of a seed is the same.
///
/// # Errors
/// The work panicked.
pub(super) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    #[cfg(test)]
    if crate::simulation::is_running() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}
