//! Future arrivals, sampled from past ones at the same hours of the day. Each run of a forecast replays the past days
//! from this hour on, in a different order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::forecast::runtimes::{JobKind, Profile, Runtimes};
use crate::forecast::stored_history::{JobTraits, SharedArrival};
use crate::model::{Demand, QueueName, ShareName, Timestamp};

/// Days of past arrivals in use.
const DAYS: u32 = 7;

const DAY: Duration = Duration::from_secs(86_400);

/// Maximum arrivals of one run: later ones have little effect.
pub const MAX_OF_RUN: usize = 2_000;

/// A submitted job.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Submission time.
    pub at: Timestamp,
    /// Its queue.
    pub queue: QueueName,
    /// Its share.
    pub share: Option<ShareName>,
    /// Its priority.
    pub priority: i32,
    /// Requested capacity.
    pub demand: Demand,
    /// Its kind, for run times.
    pub kind: JobKind,
    /// Run times of its kind.
    pub profile: Profile,
}

/// Arrivals before a point in time.
#[derive(Clone, Debug, Default)]
pub struct PastArrivals {
    now: Timestamp,
    span: Duration,
    all: Vec<Arrival>,
}

impl PastArrivals {
    /// Those of the submitted jobs that are `wanted`, from the last days before `now`, and the time that they span.
    pub(super) fn until<'a>(
        now: Timestamp,
        submitted: impl Iterator<Item = &'a SharedArrival>,
        runtimes: &mut Runtimes,
        wanted: impl Fn(&QueueName, Option<&ShareName>) -> bool,
    ) -> Self {
        let from = now - DAY * DAYS;
        let counts = submitted.filter(|row| row.at > from && row.at <= now);
        let counts = counts.filter(|row| wanted(&row.of.queue, row.of.share.as_ref()));
        let mut kinds: HashMap<*const JobTraits, (JobKind, Profile)> = HashMap::new();
        let with_profile = |SharedArrival { at, of, priority, demand, .. }: &SharedArrival| {
            let (kind, profile) = kinds.entry(Arc::as_ptr(of)).or_insert_with(|| {
                let kind = of.kind();
                (kind, runtimes.of(kind))
            });
            Arrival {
                at: *at,
                queue: of.queue.clone(),
                share: of.share.clone(),
                priority: *priority,
                demand: demand.clone(),
                kind: *kind,
                profile: profile.clone(),
            }
        };
        let mut all: Vec<Arrival> = counts.map(with_profile).collect();
        // Rows are in the order in which they became known.
        all.sort_by_key(|one| one.at);
        let span = all.first().map_or(Duration::ZERO, |first| now.since(first.at));
        Self { now, span, all }
    }

    /// Arrivals of a run with their times: at most `MAX_OF_RUN`, none after `until`. `u` in 0..1 selects the run.
    pub fn of_run(&self, u: f64, until: Duration) -> Vec<(Timestamp, &Arrival)> {
        let mut coming = Vec::new();
        if self.span < MIN_SPAN {
            return coming;
        }
        let days = self.span.as_secs() / DAY.as_secs();
        // Whole days keep their hours of the day; a shorter history is repeated from a random offset.
        let (period, mut block) = if days == 0 { (self.span, 0) } else { (DAY, (u * days as f64) as u64) };
        let mut begin = if days == 0 { self.span.mul_f64(u) } else { Duration::ZERO };
        let mut offset = Duration::ZERO;
        while offset < until && coming.len() < MAX_OF_RUN {
            let back = period * u32::try_from(block + 1).unwrap_or(1);
            let from = self.now - back + begin;
            let to = self.now - back + period;
            let first = self.all.partition_point(|one| one.at < from);
            for one in self.all.iter().skip(first).take_while(|one| one.at < to) {
                let at = offset + one.at.since(from);
                if at > until || coming.len() >= MAX_OF_RUN {
                    return coming;
                }
                coming.push((self.now + at, one));
            }
            offset += to.since(from).max(Duration::from_secs(1));
            begin = Duration::ZERO;
            block = if days == 0 { 0 } else { (block + 1) % days };
        }
        coming
    }

    /// Whether the history is too short for predictions.
    pub fn is_empty(&self) -> bool {
        self.span < MIN_SPAN
    }
}

/// Minimum history for predicting arrivals.
const MIN_SPAN: Duration = Duration::from_secs(1800);
