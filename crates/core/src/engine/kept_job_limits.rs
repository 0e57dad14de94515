//! Per-engine share of limits that apply to all engines of a process together.

use crate::engine::Engine;
use crate::forecast::MAX_WAITING;
use crate::jobs::ENDED_KEPT;

/// Numbers of jobs, kept or allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobCounts {
    /// Ended jobs kept in full.
    pub ended: usize,
    /// Waiting jobs with stored forecast estimates.
    pub forecasts: usize,
}

impl JobCounts {
    /// Maximum of all engines of a process together.
    pub const MAX: Self = Self { ended: ENDED_KEPT, forecasts: MAX_WAITING };

    /// Minimum of each engine, however many there are: enough for the jobs that end before they are counted.
    pub const LEAST: Self = Self { ended: 2_000, forecasts: 200 };
}

impl Engine {
    /// Current numbers.
    pub fn kept(&self) -> JobCounts {
        JobCounts { ended: self.facts.ledger.ended_count(), forecasts: self.forecaster.kept_count() }
    }

    /// Sets the maximum from now on; the oldest entries beyond it are dropped and counted in `limit.hits`.
    pub fn set_limits(&mut self, limits: JobCounts) {
        self.facts.ledger.set_max_ended(limits.ended);
        self.forecaster.set_max_waiting(limits.forecasts);
    }
}

#[cfg(test)]
mod tests {
    use crate::jobs::Ledger;
    use crate::model::{JobSeen, JobStatus, Timestamp};

    fn ended(number: i64) -> (JobSeen, Timestamp) {
        let at = Timestamp::from_millis(number * 60_000);
        (JobSeen { stopped_at: Some(at), ..JobSeen::new(format!("job-{number}"), "q", JobStatus::Succeeded, at) }, at)
    }

    #[test]
    fn ended_jobs_beyond_the_limit_are_dropped_oldest_first_and_do_not_come_back() {
        let mut ledger = Ledger::default();
        let observe = |ledger: &mut Ledger, number| {
            let (seen, at) = ended(number);
            ledger.observe(seen, at).events.len()
        };
        (0..10).for_each(|number| assert!(observe(&mut ledger, number) > 0));
        let kept = |ledger: &Ledger| {
            let mut ids: Vec<String> = ledger.jobs().map(|job| job.latest.id.to_string()).collect();
            ids.sort();
            ids
        };
        ledger.set_max_ended(4);
        assert_eq!(kept(&ledger), ["job-6", "job-7", "job-8", "job-9"]);
        assert_eq!((ledger.ended_count(), ledger.forgotten_early()), (4, 6));
        assert!(observe(&mut ledger, 10) > 0);
        assert_eq!(kept(&ledger), ["job-10", "job-7", "job-8", "job-9"]);
        // A list that returns a dropped job adds nothing.
        assert_eq!(observe(&mut ledger, 0), 0);
        assert_eq!(ledger.len(), 4);
        ledger.set_max_ended(usize::MAX);
        assert!(observe(&mut ledger, 11) > 0);
        assert_eq!(ledger.ended_count(), 5);
    }
}
