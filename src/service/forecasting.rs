//! Runs the present forward on a thread of its own, off the event loop, one target after the other, and within their part of a core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
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

/// What targets share for their forecasts. Clones are of the same service.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    /// Whoever has it runs: two worlds at once would take the memory and the core of both.
    turn: Arc<Semaphore>,
    /// How many targets there are now.
    targets: Arc<AtomicUsize>,
}

impl Turns {
    /// Of so many targets.
    pub(super) fn new(targets: Arc<AtomicUsize>) -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), targets }
    }

    /// How long a target rests after a forecast, so that all of them together take their part of a core.
    fn rest(&self, took: Duration, cpu_share: f64) -> Duration {
        let targets = self.targets.load(Ordering::Relaxed).max(1) as f64;
        took.mul_f64((targets / cpu_share - 1.0).max(0.0))
    }
}

/// Where the event loop offers the present to be run forward.
#[derive(Debug)]
pub(super) struct Forecasting {
    worlds: mpsc::Sender<(World, OwnedSemaphorePermit)>,
    turns: Turns,
    /// Whether the next world may come: the one before has been run forward, and the thread has rested.
    is_ready: Arc<AtomicBool>,
    /// What the latest world was made from, and when.
    made: Option<(u64, Timestamp)>,
    is_off: bool,
}

/// The task that runs worlds forward.
#[derive(Debug)]
pub(super) struct Forecasts {
    worlds: mpsc::Receiver<(World, OwnedSemaphorePermit)>,
    turns: Turns,
    is_ready: Arc<AtomicBool>,
    made: mpsc::Sender<Box<Forecast>>,
    /// The part of a core that all targets may take together.
    cpu_share: f64,
    clock: Clock,
}

impl Forecasting {
    /// Both ends, for a part of a core; none switches forecasts off.
    pub(super) fn new(
        cpu_share: f64,
        made: mpsc::Sender<Box<Forecast>>,
        turns: Turns,
        clock: Clock,
    ) -> (Self, Forecasts) {
        let (worlds, inbox) = mpsc::channel(1);
        let is_ready = Arc::new(AtomicBool::new(true));
        let (of_task, ready) = (turns.clone(), Arc::clone(&is_ready));
        let forecasts = Forecasts { worlds: inbox, turns: of_task, is_ready: ready, made, cpu_share, clock };
        (Self { worlds, turns, is_ready, made: None, is_off: cpu_share <= 0.0 }, forecasts)
    }

    /// Has the present run forward, if something has changed since the last time and it is time to.
    pub(super) fn offer(&mut self, engine: &mut Engine, now: Timestamp) {
        let changes = engine.forecast_changes();
        let is_new = self.made.is_none_or(|(before, at)| before != changes || now.since(at) >= AGAIN_AFTER);
        if self.is_off || !is_new || !self.is_ready.load(Ordering::Acquire) {
            return;
        }
        // Another target's world is run: after the next tick there is a newer one of this.
        let Ok(turn) = Arc::clone(&self.turns.turn).try_acquire_owned() else { return };
        let Some(world) = engine.forecast_world(now, None) else { return };
        self.is_ready.store(false, Ordering::Release);
        if self.worlds.try_send((world, turn)).is_ok() {
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
        while let Some((world, turn)) = self.worlds.recv().await {
            let began = self.clock.mark();
            let running = tokio::task::spawn_blocking(move || {
                let starts = forecast::run(&world, RUNS);
                Box::new(Forecast { world, starts })
            });
            let ran = running.await;
            drop(turn);
            match ran {
                Ok(forecast) => {
                    if self.made.send(forecast).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::error!(%error, "a forecast failed; the next one is tried as usual"),
            }
            let took = self.clock.since(began);
            self.clock.sleep(self.turns.rest(took, self.cpu_share)).await;
            self.is_ready.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_targets_together_take_their_part_of_a_core() {
        let took = Duration::from_secs(2);
        for targets in [1, 2, 64] {
            let turns = Turns::new(Arc::new(AtomicUsize::new(targets)));
            let busy = took.as_secs_f64() / (took + turns.rest(took, 0.05)).as_secs_f64();
            assert!((busy * targets as f64 - 0.05).abs() < 1e-9, "{targets} targets: {busy} each");
        }
        assert_eq!(Turns::new(Arc::default()).rest(took, 1.0), Duration::ZERO);
    }
}
