//! Training jobs outside the watched queues, which also count against the account's limits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::plausible_amounts::is_amount;
use crate::jobs::Ledger;
use crate::model::{Capacity, InstanceType, OutsideUse, Timestamp, TrainingJobName};

/// Lists older than this are ignored.
const LIST_STALE: Duration = Duration::from_secs(1_800);

/// Maximum training jobs described per poll.
const MAX_DESCRIBED_PER_POLL: usize = 20;

/// The last list of training jobs, and the capacity of those outside the queues.
#[derive(Debug, Default)]
pub(super) struct Outside {
    listed: Option<List>,
    /// Capacity by training job; constant while a job runs.
    described: BTreeMap<TrainingJobName, Vec<Capacity>>,
}

#[derive(Debug)]
struct List {
    at: Timestamp,
    names: BTreeSet<TrainingJobName>,
    is_complete: bool,
}

impl Outside {
    /// Applies a list. Training jobs missing from it have ended.
    pub(super) fn listed(&mut self, at: Timestamp, names: BTreeSet<TrainingJobName>, is_complete: bool) {
        self.described.retain(|name, _| names.contains(name));
        self.listed = Some(List { at, names, is_complete });
    }

    /// Applies the description of a training job.
    pub(super) fn described(&mut self, name: TrainingJobName, mut instances: Vec<Capacity>) {
        instances.retain(|one| is_amount(one.quantity));
        if self.listed.as_ref().is_some_and(|list| list.names.contains(&name)) {
            self.described.insert(name, instances);
        }
    }

    /// Training jobs to describe next.
    pub(super) fn to_describe(&self, ledger: &Ledger, now: Timestamp) -> Vec<TrainingJobName> {
        let unknown = self.names(ledger).into_iter().filter(|name| !self.described.contains_key(*name));
        let unknown = unknown.filter(|name| !ledger.is_training_job_paused(name, now));
        unknown.take(MAX_DESCRIBED_PER_POLL).cloned().collect()
    }

    /// Number of listed training jobs outside the queues whose capacity is unknown.
    pub(super) fn undescribed(&self, ledger: &Ledger) -> usize {
        self.names(ledger).into_iter().filter(|name| !self.described.contains_key(*name)).count()
    }

    /// Capacity in use outside the queues; `None` while unknown.
    pub(super) fn in_use(&self, ledger: &Ledger, now: Timestamp) -> Option<OutsideUse> {
        let list = self.listed.as_ref().filter(|list| now.since(list.at) <= LIST_STALE)?;
        let mut is_complete = list.is_complete;
        let mut by_unit: BTreeMap<InstanceType, f64> = BTreeMap::new();
        for name in self.names(ledger) {
            match self.described.get(name) {
                Some(instances) => {
                    instances.iter().for_each(|one| *by_unit.entry(one.unit.clone()).or_default() += one.quantity);
                }
                None => is_complete = false,
            }
        }
        let instances = by_unit.into_iter().map(|(unit, quantity)| Capacity { unit, quantity }).collect();
        Some(OutsideUse { instances, is_complete })
    }

    /// Listed training jobs that belong to no service job in flight.
    fn names(&self, ledger: &Ledger) -> BTreeSet<&TrainingJobName> {
        let Some(list) = &self.listed else { return BTreeSet::new() };
        let mut names: BTreeSet<&TrainingJobName> = list.names.iter().collect();
        for job in ledger.in_flight().chain(ledger.left()) {
            if let Some(name) = &job.latest.training_job {
                names.remove(name);
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{JobSeen, JobStatus};

    const UNIT: &str = "ml.p5.48xlarge";

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000) + Duration::from_secs(seconds)
    }

    fn names(of: &[&str]) -> BTreeSet<TrainingJobName> {
        of.iter().map(|name| TrainingJobName::from(*name)).collect()
    }

    /// A ledger with the running training job `ours`.
    fn ledger() -> Ledger {
        let seen = JobSeen {
            name: "job".into(),
            scheduled_at: Some(at(1)),
            started_at: Some(at(2)),
            demand: vec![Capacity::new(UNIT, 4.0)].into(),
            training_job: Some("ours".into()),
            ..JobSeen::new("job", "q", JobStatus::Running, at(0))
        };
        let mut ledger = Ledger::default();
        ledger.observe(seen, at(3));
        ledger
    }

    #[test]
    fn what_runs_outside_of_the_queues_is_described_once_and_counted_by_type() {
        let (ledger, mut outside) = (ledger(), Outside::default());
        assert_eq!(outside.in_use(&ledger, at(5)), None, "nothing was listed");
        outside.described("early".into(), vec![Capacity::new(UNIT, 9.0)]);
        outside.listed(at(5), names(&["ours", "theirs", "odd"]), true);
        assert_eq!(outside.to_describe(&ledger, at(5)), ["odd".into(), "theirs".into()], "ours is known");
        assert_eq!(outside.undescribed(&ledger), 2);
        outside.described("theirs".into(), vec![Capacity::new(UNIT, 2.0), Capacity::new("ml.m5.large", 1.0)]);
        let partial = outside.in_use(&ledger, at(6)).unwrap();
        assert_eq!((partial.of(&UNIT.into()), partial.is_complete), (2.0, false), "one is not described yet");
        outside.described("odd".into(), vec![Capacity::new(UNIT, f64::INFINITY), Capacity::new(UNIT, 1.0)]);
        assert_eq!(outside.to_describe(&ledger, at(5)), []);
        let all = outside.in_use(&ledger, at(6)).unwrap();
        assert_eq!((all.of(&UNIT.into()), all.of(&"ml.m5.large".into()), all.is_complete), (3.0, 1.0, true));
        assert!(!outside.in_use(&Ledger::default(), at(6)).unwrap().is_complete, "now nobody knows ours");
        outside.listed(at(300), names(&["ours", "odd"]), false);
        let fewer = outside.in_use(&ledger, at(301)).unwrap();
        assert_eq!((fewer.of(&UNIT.into()), fewer.is_complete), (1.0, false), "what ended is gone; the list was cut");
        assert_eq!(outside.in_use(&ledger, at(300 + 1_801)), None, "an old list says nothing of now");
    }

    #[test]
    fn a_poll_describes_a_bounded_number() {
        let mut outside = Outside::default();
        let many: BTreeSet<TrainingJobName> = (0..100).map(|n| format!("job-{n}").as_str().into()).collect();
        outside.listed(at(0), many, true);
        let (ledger, mut polls) = (Ledger::default(), 0);
        loop {
            let asked = outside.to_describe(&ledger, at(5));
            if asked.is_empty() {
                break;
            }
            assert!(asked.len() <= MAX_DESCRIBED_PER_POLL, "{}", asked.len());
            polls += 1;
            asked.into_iter().for_each(|name| outside.described(name, vec![Capacity::new(UNIT, 1.0)]));
        }
        assert_eq!((polls, outside.in_use(&ledger, at(1)).unwrap().of(&UNIT.into())), (5, 100.0));
    }
}
