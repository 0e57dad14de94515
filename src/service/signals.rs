//! SIGTERM and Ctrl-C: the first requests a graceful shutdown, the second ends the process.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code after a second signal: what a shell reports for SIGINT.
const EXIT_SECOND_SIGNAL: i32 = 130;

/// Cancels `stop` at the first signal, and exits at once at the second.
///
/// # Errors
///
/// Signal handlers cannot be installed.
pub fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "shutting down; a second signal stops the process immediately");
        stop.cancel();
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "stopping immediately");
        #[expect(clippy::disallowed_methods, reason = "the point of a second signal is not to wait for anything")]
        std::process::exit(EXIT_SECOND_SIGNAL);
    });
    Ok(())
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
