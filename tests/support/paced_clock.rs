//! A paused clock that runs at the speed of real time at most, and slower while a test lags behind. A busy machine
//! makes such a test slower and does not change its result.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;

use super::http;

/// Time of one step. Nothing advances the clock while a task computes, since all run on one thread.
const STEP: Duration = Duration::from_millis(1);
/// How much slower the clock runs while the test lags behind.
const SLOWER: u32 = 20;
/// Looks at a service that is late, in a poll interval.
const LOOKS: u32 = 30;

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

    /// Runs the clock for the rest of the test, slower while the service at `page` is stopped or its last tick is late: it should tick
    /// `every` so much time of its `clock`.
    pub fn follow(self, page: watch::Receiver<SocketAddr>, clock: Clock, every: Duration) {
        let (ticked, last_tick) = watch::channel(None);
        tokio::spawn(async move {
            while !ticked.is_closed() {
                let address = *page.borrow();
                let tick: Option<Value> = match http::get(format!("http://{address}/api/v1/tick")).await {
                    Ok(answer) => answer.json().await.ok(),
                    Err(_stopped) => None,
                };
                let tick = tick.and_then(|tick| serde_json::from_value::<Timestamp>(tick["ticked_at"].clone()).ok());
                ticked.send_replace(tick);
                let next = tick.map_or(Duration::ZERO, |at| (at + every).since(clock.now()));
                clock.sleep(next.max(every / LOOKS)).await;
            }
        });
        let late_after = every + every / 10;
        let is_late = move || last_tick.borrow().is_none_or(|at| clock.now().since(at) > late_after);
        tokio::spawn(self.run(is_late));
    }
}
