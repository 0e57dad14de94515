//! Queries of the pages, beside the figures of a tick.

use crate::engine::Engine;
use crate::jobs::{Filter, Found, Job, Wanted};
use crate::metrics::{self, JobContext, Notes, Reason, Why};
use crate::model::{JobId, QueueName, Timestamp};
use crate::rules::{Alert, PastValues, Rule};

impl Engine {
    /// How to compute an alert's value from earlier frames; `None` if its rule was removed or changed.
    pub fn past_values(&self, alert: &Alert) -> Option<PastValues> {
        PastValues::of(&self.rules, alert)
    }

    /// Rules in effect.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The ARN of a queue; `None` if it is not watched.
    pub fn queue_arn(&self, name: &QueueName) -> Option<&str> {
        let queue = self.facts.queues.iter().find(|queue| queue.name == *name)?;
        Some(queue.arn.as_str()).filter(|arn| !arn.is_empty())
    }

    /// Explanation of a job in lines, including why it waits as given by [`Engine::why`]; empty if unknown.
    pub fn story(&self, id: &JobId, why: Option<&Why>, now: Timestamp) -> Vec<String> {
        self.facts.ledger.job(id).map(|job| metrics::story(job, why, &self.facts.inputs(now, &[]))).unwrap_or_default()
    }

    /// When Batch will end a waiting job because of a time limit of its queue; `None` if no limit applies to its
    /// reason.
    pub fn time_limit_at(&self, id: &JobId) -> Option<Timestamp> {
        let job = self.facts.ledger.job(id).filter(|job| job.status().is_waiting())?;
        let reason = job.latest.status_reason.as_deref()?;
        let queue = self.facts.queues.iter().find(|queue| queue.name == *job.queue())?;
        let limit = queue.time_limits.iter().filter(|limit| reason.starts_with(&limit.reason)).map(|limit| limit.after);
        let front = self.facts.fronts.get(job.queue()).map_or(&[][..], |snapshot| &snapshot.front);
        let at_front = front.iter().find(|place| place.job_arn.rsplit('/').next() == Some(id.as_str()));
        // Counted from when the job reached the front, or else from when it began to wait.
        let waits_since = job.timeline.current().map(|span| span.from.latest);
        let since = at_front.and_then(|place| place.since).max(waits_since)?;
        Some(since + limit.min()?)
    }

    /// Context of a job, including why it waits as given by [`Engine::why`]; `None` if unknown.
    pub fn job_context(&self, id: &JobId, why: Option<&Why>, now: Timestamp) -> Option<JobContext> {
        Some(metrics::job_context(self.facts.ledger.job(id)?, why, &self.facts.inputs(now, &[])))
    }

    /// The matching jobs in order; with a `reason`, waiting jobs are included only if it applies.
    pub fn find_jobs(&self, wanted: Wanted<'_>, reason: Option<Reason>, now: Timestamp) -> Found<'_> {
        let Some(reason) = reason else { return self.facts.ledger.find(wanted) };
        let (notes, filter) = (Notes::new(self.facts.inputs(now, &[])), waiting(wanted.filter));
        let has_it = |job: &Job| (wanted.also)(job) && notes.reason(job) == Some(reason);
        self.facts.ledger.find(Wanted { filter: &filter, also: &has_it, ..wanted })
    }

    /// The matching jobs with the longest current wait, longest first; with a `reason`, only those it applies to.
    pub fn find_waiting_longest(&self, wanted: Wanted<'_>, reason: Option<Reason>, now: Timestamp) -> Vec<&Job> {
        let Some(reason) = reason else { return self.facts.ledger.find_waiting_longest(wanted) };
        let notes = Notes::new(self.facts.inputs(now, &[]));
        let has_it = |job: &Job| (wanted.also)(job) && notes.reason(job) == Some(reason);
        self.facts.ledger.find_waiting_longest(Wanted { also: &has_it, ..wanted })
    }
}

fn waiting(filter: &Filter) -> Filter {
    Filter { waiting: true, ..filter.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::fixture::{engine, job, minute, observations};
    use crate::jobs::FailureCategory;
    use crate::model::{Capacity, JobDetails, JobSeen, JobStatus};

    fn owned(job: JobSeen, priority: i32) -> JobSeen {
        let details = JobDetails { owner: Some("ann".into()), priority: Some(priority), ..JobDetails::default() };
        JobSeen { details: Some(Box::new(details)), ..job }
    }

    fn filled() -> Engine {
        let mut engine = engine();
        let started = |id: &str, at: u64| job(id, JobStatus::Running, Some(at), None);
        let mut jobs = vec![
            started("holds-a", 40),
            JobSeen { demand: vec![Capacity::new("ml.p5.48xlarge", 3.0)].into(), ..started("holds-b", 50) },
            owned(job("first", JobStatus::Runnable, None, None), 9),
            owned(job("second", JobStatus::Runnable, None, None), 5),
            owned(job("third", JobStatus::Runnable, None, None), 1),
            job("failed", JobStatus::Failed, Some(40), Some(90)),
        ];
        jobs.extend((0..4).map(|n| job(&format!("done-{n}"), JobStatus::Succeeded, Some(20 + 10 * n), Some(90))));
        engine.observe(observations(minute(100), jobs));
        engine.tick(minute(100));
        engine
    }

    #[test]
    fn a_job_has_those_before_it_those_that_hold_what_it_needs_and_those_like_it() {
        let engine = filled();
        let of = |id: &str| {
            let id = JobId::from(id);
            engine.job_context(&id, engine.why(&id, minute(100)).as_ref(), minute(100)).unwrap()
        };
        let third = of("third");
        let ids = |jobs: &[metrics::Neighbour]| jobs.iter().map(|job| job.id.to_string()).collect::<Vec<_>>();
        assert_eq!(ids(&third.ahead), ["first", "second"]);
        assert_eq!(ids(&of("first").ahead), [""; 0]);
        assert_eq!((ids(&third.holders), third.holders_in_all), (vec!["holds-b".to_owned(), "holds-a".to_owned()], 2));
        assert_eq!(third.holders[0].quantity, Some(3.0));
        // The dispatched jobs of one instance: holds-a, failed and done-0 to done-3, after 10 to 40 minutes.
        let alike = third.alike.unwrap();
        assert_eq!((alike.jobs, alike.p50, alike.max), (6, 30.0 * 60.0, 40.0 * 60.0));
        assert!(of("holds-b").alike.is_none(), "no other asks for three");
        assert!(of("holds-a").ahead.is_empty() && of("holds-a").holders.is_empty());
        assert_eq!(of("failed").failure.unwrap().0, FailureCategory::UserCode);
        assert_eq!(third.failure, None);
        assert!(engine.job_context(&"nobody".into(), None, minute(100)).is_none());
    }

    #[test]
    fn jobs_are_found_by_the_reason_that_each_is_given() {
        let engine = filled();
        let filter = Filter::default();
        let by = |reason| {
            let found = engine.find_jobs(Wanted::of(&filter, 10), Some(reason), minute(100)).jobs;
            found.iter().map(|job| job.latest.id.to_string()).collect::<Vec<_>>()
        };
        let mut all = Vec::new();
        for reason in Reason::ALL {
            for id in by(reason) {
                assert_eq!(engine.why(&id.as_str().into(), minute(100)).unwrap().reason, reason, "{id}");
                all.push(id);
            }
            let longest = engine.find_waiting_longest(Wanted::of(&filter, 10), Some(reason), minute(100));
            assert_eq!(longest.len(), by(reason).len());
        }
        all.sort();
        assert_eq!(all, ["first", "second", "third"]);
        assert_eq!(engine.find_jobs(Wanted::of(&filter, 20), None, minute(100)).jobs.len(), 10);
    }
}
