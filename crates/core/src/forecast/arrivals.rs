//! Future arrivals, sampled from past ones at the same hours of the day. Each run of a forecast replays the past days
//! from this hour on, in a different order.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::forecast::runtimes::{JobKind, Profile, Runtimes};
use crate::model::{Demand, QueueName, ShareName, Timestamp};

/// Maximum stored arrivals: the latest.
pub const MAX_ARRIVALS: usize = 10_000;

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
    /// Run times of its kind, set when a forecast is made.
    pub profile: Profile,
}

/// Recent submissions, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    past: VecDeque<Arrival>,
}

impl Arrivals {
    /// Adds a submitted job.
    pub fn record(&mut self, arrival: Arrival) {
        // Arrivals are almost sorted.
        let place = self.past.iter().rposition(|one| one.at <= arrival.at).map_or(0, |before| before + 1);
        self.past.insert(place, arrival);
        if self.past.len() > MAX_ARRIVALS {
            self.past.pop_front();
        }
    }

    /// The `wanted` arrivals of the last days before `now`, and the time that they span.
    pub fn until(&self, now: Timestamp, runtimes: &mut Runtimes, wanted: impl Fn(&Arrival) -> bool) -> PastArrivals {
        let from = now - DAY * DAYS;
        let counts = self.past.iter().filter(|one| one.at > from && one.at <= now);
        let mut profiles: HashMap<JobKind, Profile> = HashMap::new();
        let with_profile = |one: &Arrival| {
            let profile = profiles.entry(one.kind).or_insert_with(|| runtimes.of(one.kind)).clone();
            Arrival { profile, ..one.clone() }
        };
        let all: Vec<Arrival> = counts.filter(|one| wanted(one)).map(with_profile).collect();
        let span = all.first().map_or(Duration::ZERO, |first| now.since(first.at));
        PastArrivals { now, span, all }
    }
}

/// Arrivals before a point in time.
#[derive(Clone, Debug, Default)]
pub struct PastArrivals {
    now: Timestamp,
    span: Duration,
    all: Vec<Arrival>,
}

impl PastArrivals {
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
