//! Simulates a workload and observes it with the engine, poll by poll.

use std::time::Duration;

use trainspotter_core::backtest::Observer;
use trainspotter_core::engine::{Engine, Saved, cadence};
use trainspotter_core::metrics::gpu_part_names::Part;
use trainspotter_core::model::{JobStatus, Timestamp};
use trainspotter_core::scheduler::{Scheduler, Setup, Submission};

use super::five_teams::DAYS;

const POLL: Duration = Duration::from_mins(2);
const POLLS_PER_HOUR: usize = 30;

/// Measurements.
#[derive(Debug, Default)]
pub struct Watched {
    /// Fraction of GPUs busy, by poll.
    busy: Vec<f64>,
    /// Whether any job waited, by poll.
    waiting: Vec<bool>,
    /// First waits in seconds, ascending.
    waits: Vec<f64>,
    /// Ticks in which a waterfall did not sum to its capacity.
    pub unbalanced: usize,
    pub succeeded: u64,
    pub preemptions: u64,
}

impl Watched {
    /// Fraction of GPUs busy, by hour.
    pub fn by_hour(&self) -> Vec<f64> {
        self.busy.chunks(POLLS_PER_HOUR).map(mean).collect()
    }

    /// The busiest hour.
    pub fn peak(&self) -> f64 {
        self.by_hour().into_iter().fold(0.0, f64::max)
    }

    /// Mean over the whole time.
    pub fn mean(&self) -> f64 {
        mean(&self.busy)
    }

    /// Mean over the time in which any job waited, and the fraction of that time.
    pub fn while_waiting(&self) -> (f64, f64) {
        let busy: Vec<f64> =
            self.busy.iter().zip(&self.waiting).filter(|(_, waits)| **waits).map(|(b, _)| *b).collect();
        (mean(&busy), busy.len() as f64 / self.busy.len() as f64)
    }

    /// A quantile of the first waits, in seconds.
    pub fn wait(&self, p: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= p < 1")]
        let place = (self.waits.len() as f64 * p) as usize;
        self.waits[place]
    }
}

/// Observes until eight hours after the last submission, when all jobs have ended.
pub fn watch(setup: Setup, submissions: Vec<Submission>) -> Watched {
    let begin = Timestamp::from_millis(0);
    let mut scheduler = Scheduler::new(setup, 1, begin);
    for submission in submissions {
        scheduler.submit(submission).expect("the queue takes the job");
    }
    let mut engine = Engine::new(Vec::new(), cadence(POLL * 15, POLL), Saved::default(), begin);
    let mut watched = Watched::default();
    let mut onlooker = Observer::new(&scheduler);
    for poll in 1..=u32::try_from((DAYS * 24 + 8) * 30).unwrap() {
        let now = begin + POLL * poll;
        scheduler.advance(now);
        engine.observe(onlooker.look(&scheduler, &engine, now));
        let output = engine.tick(now);
        let rows = &output.frame.waterfall;
        let capacity: f64 = rows.iter().filter_map(|row| row.capacity_gpus).sum();
        let balanced = |row: &trainspotter_core::metrics::Waterfall| {
            row.capacity_gpus.is_some_and(|capacity| (row.parts.values().sum::<f64>() - capacity).abs() < 1e-6)
        };
        watched.unbalanced += rows.iter().filter(|row| !balanced(row)).count();
        watched.busy.push(rows.iter().filter_map(|row| row.parts.get(&Part::Busy)).sum::<f64>() / capacity);
        watched.waiting.push(output.frame.queues.iter().any(|queue| queue.oldest_wait_seconds.is_some()));
    }
    let ledger = engine.ledger();
    watched.waits = ledger.jobs().filter_map(first_wait).collect();
    watched.waits.sort_by(f64::total_cmp);
    watched.succeeded = ledger.jobs().filter(|job| *job.status() == JobStatus::Succeeded).count() as u64;
    let preemptions =
        |job: &trainspotter_core::jobs::Job| job.details.as_ref().map_or(0, |details| details.preemptions);
    watched.preemptions = ledger.jobs().map(|job| u64::from(preemptions(job))).sum();
    watched
}

fn first_wait(job: &trainspotter_core::jobs::Job) -> Option<f64> {
    job.timeline.spans().first()?.seconds()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
