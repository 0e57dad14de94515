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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn now() -> Timestamp {
        Timestamp::from_millis(0) + DAY * 100
    }

    /// Jobs submitted so many hours before now.
    fn rows(hours_ago: &[u32]) -> Vec<SharedArrival> {
        let traits = Arc::new(JobTraits {
            queue: "prod".into(),
            share: None,
            owner: None,
            name: "train".to_owned(),
            instances: 1.0,
        });
        let row = |hours: &u32| SharedArrival {
            at: now() - HOUR * *hours,
            of: Arc::clone(&traits),
            priority: 3,
            demand: Demand::default(),
            id: u64::from(*hours),
            started: None,
        };
        hours_ago.iter().map(row).collect()
    }

    fn past(hours_ago: &[u32]) -> PastArrivals {
        PastArrivals::until(now(), rows(hours_ago).iter(), &mut Runtimes::default(), |_, _| true)
    }

    /// Hours from now at which jobs arrive in a run, and how many hours ago the one that each repeats arrived.
    fn run(past: &PastArrivals, u: f64, hours: u32) -> Vec<(u64, u64)> {
        let in_hours = |duration: Duration| duration.as_secs() / 3_600;
        let of_run = past.of_run(u, HOUR * hours).into_iter();
        of_run.map(|(at, one)| (in_hours(at.since(now())), in_hours(now().since(one.at)))).collect()
    }

    #[test]
    fn whole_days_are_repeated_one_by_one_at_their_hours() {
        // Three whole days; the day from 72 hours ago on has an arrival at its beginning and one 20 hours later.
        let past = past(&[72, 52, 40, 10, 0]);
        assert!(!past.is_empty());
        assert_eq!((past.of_run(0.0, HOUR * 20)[0].1.priority, past.span), (3, HOUR * 72));
        // The latest day first, then the one before it, then the oldest, and again. That of now is of the next day.
        assert_eq!(run(&past, 0.0, 100), [(14, 10), (32, 40), (48, 72), (68, 52), (86, 10)]);
        // The run begins with the day that `u` selects: days 0, 1 and 2 have a third each.
        assert_eq!(run(&past, 0.34, 25), [(8, 40), (24, 72)]);
        assert_eq!(run(&past, 0.99, 47), [(0, 72), (20, 52), (38, 10)]);
        // None after the end, one at the end.
        assert_eq!(run(&past, 0.0, 14), [(14, 10)]);
        assert_eq!(run(&past, 0.0, 13), []);
    }

    #[test]
    fn less_than_a_day_is_repeated_from_a_random_offset() {
        let past = past(&[10, 9, 4, 0]);
        // From half way on: four hours ago is one hour after it.
        assert_eq!(run(&past, 0.5, 12), [(1, 4), (5, 10), (6, 9), (11, 4)]);
        assert_eq!(run(&past, 0.0, 11), [(0, 10), (1, 9), (6, 4), (10, 10), (11, 9)]);
    }

    #[test]
    fn what_is_too_short_too_old_or_in_the_future_predicts_nothing() {
        let short = PastArrivals { span: MIN_SPAN - Duration::from_secs(1), ..past(&[9, 1]) };
        assert!(short.is_empty() && short.of_run(0.5, DAY).is_empty());
        let enough = PastArrivals { span: MIN_SPAN, ..past(&[9, 1]) };
        assert!(!enough.is_empty());
        assert_eq!(past(&[168, 167]).all.len(), 1, "seven days exactly are too long ago");
        let rows = rows(&[6, 5, 4]);
        let earlier = PastArrivals::until(now() - HOUR * 5, rows.iter(), &mut Runtimes::default(), |_, _| true);
        assert_eq!(earlier.all.len(), 2, "what was submitted later is not known yet");
        let unwanted = PastArrivals::until(now(), rows.iter(), &mut Runtimes::default(), |_, _| false);
        assert!(unwanted.is_empty());
    }

    #[test]
    fn a_run_has_a_limit() {
        let hours: Vec<u32> = std::iter::once(24).chain(std::iter::repeat_n(20, MAX_OF_RUN + 1)).collect();
        let past = past(&hours);
        assert_eq!(past.of_run(0.0, HOUR * 24 * 9).len(), MAX_OF_RUN);
    }
}
