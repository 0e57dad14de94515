//! A paused clock that runs at the speed of real time at most, and slower while a test lags behind. A busy machine
//! makes such a test slower and does not change its result.

use std::time::Duration;

use tokio::sync::mpsc;

/// Time of one step. Nothing advances the clock while a task computes, since all run on one thread.
const STEP: Duration = Duration::from_millis(1);
/// How much slower the clock runs while the test lags behind.
const SLOWER: u32 = 20;

/// The paused clock of a runtime with one thread.
pub struct PacedClock {
    steps: mpsc::Receiver<()>,
}

impl PacedClock {
    /// Holds the clock: without this, tokio advances a paused clock whenever all tasks wait, be it for a socket.
    pub fn hold() -> Self {
        let (step, steps) = mpsc::channel(1);
        // Tokio does not advance the clock during a blocking task.
        tokio::task::spawn_blocking(move || {
            while step.blocking_send(()).is_ok() {
                std::thread::sleep(STEP);
            }
        });
        Self { steps }
    }

    /// Runs the clock for the rest of the test.
    pub async fn run(mut self, is_late: impl Fn() -> bool) {
        while self.steps.recv().await.is_some() {
            let step = if is_late() { STEP / SLOWER } else { STEP };
            tokio::time::advance(step).await;
        }
    }
}
