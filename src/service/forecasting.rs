//! Runs the present forward on a thread of its own, off the event loop, and within its part of a core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use trainspotter_clock::Clock;
use trainspotter_core::engine::Engine;
use trainspotter_core::forecast::{self, RUNS, Starts, World};
use trainspotter_core::model::Timestamp;

/// Without any change a forecast is made again after so long: what runs has run on.
const AGAIN_AFTER: Duration = Duration::from_secs(900);

/// When the waiting jobs of a world start.
#[derive(Debug)]
pub(super) struct Forecast {
    pub(super) world: World,
    pub(super) starts: Starts,
}

/// Where the event loop offers the present to be run forward.
#[derive(Debug)]
pub(super) struct Forecasting {
    worlds: mpsc::Sender<World>,
    /// Whether the next world may come: the one before has been run forward, and the thread has rested.
    is_ready: Arc<AtomicBool>,
    /// What the latest world was made from, and when.
    made: Option<(u64, Timestamp)>,
    is_off: bool,
}

/// The task that runs worlds forward.
#[derive(Debug)]
pub(super) struct Forecasts {
    worlds: mpsc::Receiver<World>,
    is_ready: Arc<AtomicBool>,
    made: mpsc::Sender<Box<Forecast>>,
    /// The part of a core that this may take.
    cpu_share: f64,
    clock: Clock,
}

impl Forecasting {
    /// Both ends, for a part of a core; none switches forecasts off.
    pub(super) fn new(cpu_share: f64, made: mpsc::Sender<Box<Forecast>>, clock: Clock) -> (Self, Forecasts) {
        let (worlds, inbox) = mpsc::channel(1);
        let is_ready = Arc::new(AtomicBool::new(true));
        let forecasts = Forecasts { worlds: inbox, is_ready: Arc::clone(&is_ready), made, cpu_share, clock };
        (Self { worlds, is_ready, made: None, is_off: cpu_share <= 0.0 }, forecasts)
    }

    /// Has the present run forward, if something has changed since the last time and it is time to.
    pub(super) fn offer(&mut self, engine: &mut Engine, now: Timestamp) {
        let changes = engine.forecast_changes();
        let is_new = self.made.is_none_or(|(before, at)| before != changes || now.since(at) >= AGAIN_AFTER);
        if self.is_off || !is_new || !self.is_ready.load(Ordering::Acquire) {
            return;
        }
        let Some(world) = engine.forecast_world(now, None) else { return };
        self.is_ready.store(false, Ordering::Release);
        if self.worlds.try_send(world).is_ok() {
            self.made = Some((changes, now));
        }
    }
}

impl Forecasts {
    /// Runs until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        // Where the event loop is gone nobody wants another forecast; other parts decide when the service ends.
        let _ = stop.run_until_cancelled(self.make()).await;
        stop.cancelled().await;
    }

    async fn make(&mut self) {
        while let Some(world) = self.worlds.recv().await {
            let began = self.clock.mark();
            let running = tokio::task::spawn_blocking(move || {
                let starts = forecast::run(&world, RUNS);
                Box::new(Forecast { world, starts })
            });
            match running.await {
                Ok(forecast) => {
                    if self.made.send(forecast).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::error!(%error, "a forecast failed; the next one is tried as usual"),
            }
            let took = self.clock.since(began);
            self.clock.sleep(took.mul_f64((1.0 / self.cpu_share - 1.0).max(0.0))).await;
            self.is_ready.store(true, Ordering::Release);
        }
    }
}
