//! SIGTERM and Ctrl-C: the first asks for a graceful stop, the second ends the process.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that was asked twice: what a shell shows for one that a signal ended.
const TOLD_TWICE: i32 = 130;

/// Cancels `stop` at the first signal and exits at once at the second.
///
/// # Errors
///
/// When the process may not listen for signals.
pub fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "stopping; a second signal ends the process at once");
        stop.cancel();
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "ending at once");
        #[expect(clippy::disallowed_methods, reason = "the point of a second signal is not to wait for anything")]
        std::process::exit(TOLD_TWICE);
    });
    Ok(())
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
