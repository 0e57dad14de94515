//! A paused clock that runs at the speed of real time at most, and slower while a test lags behind. A busy machine
//! makes such a test slower and does not change its result, unless something stalls for seconds: timeouts of requests
//! run on this clock, too.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;

use super::http;

/// Time of one step. Nothing advances the clock while a task computes, since all run on one thread.
const STEP: Duration = Duration::from_millis(1);
/// How much slower the clock runs while the test lags behind.
const SLOWER: u32 = 100;
/// Looks at a service that is late, in a poll interval.
const LOOKS: u32 = 30;

/// Real time without a tick after which the service is taken for dead.
const STALL: Duration = Duration::from_mins(5);

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
    pub async fn run(mut self, mut is_late: impl FnMut() -> bool) {
        while self.steps.recv().await.is_some() {
            let step = if is_late() { STEP / SLOWER } else { STEP };
            tokio::time::advance(step).await;
        }
    }

    /// Runs the clock for the rest of the test, slower while the service at `page` is stopped or its last tick is late: it should tick
    /// `every` so much time of its `clock`. After [`STALL`] without a tick the clock is no longer held: all timeouts pass at once, and the
    /// test fails.
    pub fn follow(self, page: watch::Receiver<SocketAddr>, clock: Clock, every: Duration) {
        self.follow_until(STALL, page, clock, every);
    }

    fn follow_until(self, stall: Duration, page: watch::Receiver<SocketAddr>, clock: Clock, every: Duration) {
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
        let mut newest = (None, real_now());
        let is_late = move || {
            let tick = *last_tick.borrow();
            if tick.is_some() && tick != newest.0 {
                newest = (tick, real_now());
            }
            // This drops the channel that holds the clock.
            assert!(newest.1.elapsed() < stall, "the service has not ticked for {stall:?} of real time");
            tick.is_none_or(|at| clock.now().since(at) > late_after)
        };
        tokio::spawn(self.run(is_late));
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock of the test may never get there")]
fn real_now() -> Instant {
    Instant::now()
}

#[tokio::test(start_paused = true)]
async fn a_test_of_a_service_that_is_dead_ends() {
    let clock = PacedClock::hold();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_moved, page) = watch::channel(nobody);
    clock.follow_until(Duration::from_millis(100), page, Clock::fast(1.0), Duration::from_secs(60));
    // Held, the clock would need days for it.
    let waiting = tokio::time::timeout(Duration::from_hours(1), std::future::pending::<()>());
    assert!(waiting.await.is_err());
}
