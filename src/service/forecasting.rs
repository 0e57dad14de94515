//! Runs forecasts on a separate thread, off the event loop: one target at a time, within their CPU share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use trainspotter_clock::Clock;
use trainspotter_core::engine::Engine;
use trainspotter_core::forecast::{self, InitialState, RUNS, Starts};
use trainspotter_core::model::Timestamp;

/// Interval after which a forecast is repeated even without changes: running jobs have progressed.
const MAX_FORECAST_AGE: Duration = Duration::from_secs(900);

/// Forecast start times of the waiting jobs.
#[derive(Debug)]
pub(super) struct Forecast {
    pub(super) initial: InitialState,
    pub(super) starts: Starts,
}

/// Forecast scheduling shared by all targets of a service. Clones share the state.
#[derive(Clone, Debug)]
pub(super) struct ForecastScheduler {
    /// Permit to run a forecast: two at once would double memory and CPU use.
    turn: Arc<Semaphore>,
    /// Number of targets now.
    targets: Arc<AtomicUsize>,
}

impl ForecastScheduler {
    /// Creates the shared state for `targets` targets.
    pub(super) fn new(targets: Arc<AtomicUsize>) -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), targets }
    }

    /// Pause of a target after a forecast, so that all targets together stay within their CPU share.
    fn rest(&self, took: Duration, cpu_share: f64) -> Duration {
        let targets = self.targets.load(Ordering::Relaxed).max(1) as f64;
        took.mul_f64((targets / cpu_share - 1.0).max(0.0))
    }
}

/// Where the event loop offers the current state for a forecast.
#[derive(Debug)]
pub(super) struct Forecasting {
    initial_states: mpsc::Sender<(InitialState, OwnedSemaphorePermit)>,
    turns: ForecastScheduler,
    /// Whether the next initial state is accepted: the previous forecast is finished, and the thread has paused.
    is_ready: Arc<AtomicBool>,
    /// Change count and time of the last initial state.
    latest: Option<(u64, Timestamp)>,
    is_off: bool,
}

/// The task that runs forecasts.
#[derive(Debug)]
pub(super) struct Forecasts {
    initial_states: mpsc::Receiver<(InitialState, OwnedSemaphorePermit)>,
    turns: ForecastScheduler,
    is_ready: Arc<AtomicBool>,
    results: mpsc::Sender<Box<Forecast>>,
    /// Share of one core for all targets together.
    cpu_share: f64,
    clock: Clock,
}

impl Forecasting {
    /// Creates both ends for a CPU share; 0 disables forecasts.
    pub(super) fn new(
        cpu_share: f64,
        results: mpsc::Sender<Box<Forecast>>,
        turns: ForecastScheduler,
        clock: Clock,
    ) -> (Self, Forecasts) {
        let (initial_states, inbox) = mpsc::channel(1);
        let is_ready = Arc::new(AtomicBool::new(true));
        let (of_task, ready) = (turns.clone(), Arc::clone(&is_ready));
        let forecasts = Forecasts { initial_states: inbox, turns: of_task, is_ready: ready, results, cpu_share, clock };
        (Self { initial_states, turns, is_ready, latest: None, is_off: cpu_share <= 0.0 }, forecasts)
    }

    /// Offers the current state for a forecast, if it has changed or the last forecast is old, and the task is ready.
    pub(super) fn offer(&mut self, engine: &mut Engine, now: Timestamp) {
        let changes = engine.forecast_changes();
        let is_new = self.latest.is_none_or(|(before, at)| before != changes || now.since(at) >= MAX_FORECAST_AGE);
        if self.is_off || !is_new || !self.is_ready.load(Ordering::Acquire) {
            return;
        }
        // Another target's forecast is running; the next tick will offer a newer initial state.
        let Ok(turn) = Arc::clone(&self.turns.turn).try_acquire_owned() else { return };
        let Some(initial) = engine.forecast_state(now, None) else { return };
        self.is_ready.store(false, Ordering::Release);
        if self.initial_states.try_send((initial, turn)).is_ok() {
            self.latest = Some((changes, now));
        }
    }
}

impl Forecasts {
    /// Runs until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        // After the event loop is gone no more forecasts are needed, but this task must not end the service: wait
        // for `stop`.
        let _ = stop.run_until_cancelled(self.make()).await;
        stop.cancelled().await;
    }

    async fn make(&mut self) {
        while let Some((initial, turn)) = self.initial_states.recv().await {
            let began = self.clock.mark();
            let running = tokio::task::spawn_blocking(move || {
                let starts = forecast::run(&initial, RUNS);
                Box::new(Forecast { initial, starts })
            });
            let ran = running.await;
            drop(turn);
            match ran {
                Ok(forecast) => {
                    if self.results.send(forecast).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::error!(%error, "a forecast failed; the next one runs as scheduled"),
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
            let turns = ForecastScheduler::new(Arc::new(AtomicUsize::new(targets)));
            let busy = took.as_secs_f64() / (took + turns.rest(took, 0.05)).as_secs_f64();
            assert!((busy * targets as f64 - 0.05).abs() < 1e-9, "{targets} targets: {busy} each");
        }
        assert_eq!(ForecastScheduler::new(Arc::default()).rest(took, 1.0), Duration::ZERO);
    }
}
