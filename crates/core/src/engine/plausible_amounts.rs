//! Removes impossible amounts and times from observations of any source, so that figures are computed from finite,
//! non-negative numbers.

use std::time::Duration;

use crate::jobs::CLOCKS_MAY_DIFFER;
use crate::model::{Capacity, JobSeen, Policy, Queue, QueueSnapshot, Reserved, Timestamp};

/// Maximum age of a job: AWS Batch has supported SageMaker jobs for less time.
const MAX_AGE: Duration = Duration::from_secs(3_653 * 86_400);

/// Maximum distance of an AWS timestamp into the future, however wrong the local clock is.
const MAX_AHEAD: Duration = Duration::from_secs(31 * 86_400);

/// Upper bound of a limit: the range of `maxCapacity`.
const MAX_CAPACITY: f64 = i32::MAX as f64;

pub(super) fn is_amount(quantity: f64) -> bool {
    (0.0..=MAX_CAPACITY).contains(&quantity)
}

/// Removes invalid limits. An environment with one of them counts as unreadable as a whole.
pub(super) fn limits(queues: &mut [Queue]) {
    let is_limit = |limit: &Capacity| is_amount(limit.quantity);
    for queue in queues {
        queue.environment = queue.environment.take().filter(|environment| environment.limits.iter().all(is_limit));
        if let Policy::QuotaShares(shares) = &mut queue.policy {
            shares.iter_mut().for_each(|share| share.limits.retain(is_limit));
        }
    }
}

/// Removes times that are impossible at `now`, and jobs with an impossible creation time; `odd` is called with each
/// of them.
pub(super) fn moments(jobs: &mut Vec<JobSeen>, now: Timestamp, mut odd: impl FnMut(String)) {
    let is_moment = |at: &Timestamp| (now - MAX_AGE..=now + MAX_AHEAD).contains(at);
    jobs.retain_mut(|job| {
        let times = [&mut job.scheduled_at, &mut job.started_at, &mut job.stopped_at];
        let mut wrong = times.into_iter().filter_map(|time| time.take_if(|at| !is_moment(at))).count();
        if let Some(details) = &mut job.details {
            let preempted =
                details.preempted.iter_mut().map(|attempt| [&mut attempt.started_at, &mut attempt.stopped_at]);
            let attempts =
                details.attempts.iter_mut().map(|attempt| [&mut attempt.started_at, &mut attempt.stopped_at]);
            let times = preempted.chain(attempts).flatten();
            wrong += times.filter_map(|time| time.take_if(|at| !is_moment(at))).count();
        }
        let was_created = is_moment(&job.created_at);
        if wrong > 0 || !was_created {
            odd(job.id.to_string());
        }
        was_created
    });
}

/// Removes times at which a job reached its place in the queue that lie after the snapshot.
pub(super) fn places(snapshot: &mut QueueSnapshot) {
    let latest = snapshot.at + CLOCKS_MAY_DIFFER;
    snapshot.front.iter_mut().for_each(|place| place.since = place.since.filter(|since| *since <= latest));
}

/// Whether all amounts are possible.
pub(super) fn is_reserved(reserved: &Reserved) -> bool {
    [reserved.total, reserved.in_use, reserved.idle].into_iter().flatten().all(is_amount)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_that_no_job_can_have_are_unknown() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let day = Duration::from_secs(86_400);
        let running = |id: &str, change: &dyn Fn(&mut JobSeen)| {
            let mut job = job(id, JobStatus::Running, 1.0);
            (job.created_at, job.scheduled_at, job.started_at) = (now - day, Some(now - day), Some(now - day));
            change(&mut job);
            job
        };
        let mut jobs = vec![
            running("sound", &|_| {}),
            running("of a wrong clock", &|job| job.created_at = now + day),
            running("of 1970", &|job| job.created_at = Timestamp::from_millis(1_000)),
            running("of next year", &|job| job.created_at = now + 365 * day),
            running("yet to start", &|job| job.started_at = Some(now + 365 * day)),
            running("scheduled in 1970", &|job| job.scheduled_at = Some(Timestamp::from_millis(1_000))),
        ];
        let mut odd = Vec::new();
        moments(&mut jobs, now, |id| odd.push(id));
        assert_eq!(odd, ["of 1970", "of next year", "yet to start", "scheduled in 1970"]);
        let left: Vec<_> = jobs.iter().map(|job| job.id.to_string()).collect();
        assert_eq!(left, ["sound", "of a wrong clock", "yet to start", "scheduled in 1970"]);
        let times: Vec<_> = jobs.iter().map(|job| (job.scheduled_at.is_some(), job.started_at.is_some())).collect();
        assert_eq!(times, [(true, true), (true, true), (true, false), (false, true)]);
    }

    #[test]
    fn times_that_no_attempt_can_have_are_unknown() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let day = Duration::from_secs(86_400);
        for odd in [Timestamp::from_millis(1_000), now + 365 * day] {
            let attempt = |started_at, stopped_at| StoppedAttempt { started_at, stopped_at, status_reason: None };
            let details = JobDetails {
                preempted: vec![attempt(Some(now - day), Some(odd)), attempt(Some(odd), Some(now - day))],
                attempts: vec![Attempt { stopped_at: Some(odd), ..Attempt::default() }],
                ..JobDetails::default()
            };
            let mut job = job("a", JobStatus::Runnable, 1.0);
            (job.created_at, job.details) = (now - 2 * day, Some(details.into()));
            let (mut jobs, mut count) = (vec![job], 0);
            moments(&mut jobs, now, |_| count += 1);
            let details = jobs[0].details.as_ref().unwrap();
            assert_eq!((count, details.attempts[0].stopped_at), (1, None), "{odd}");
            assert_eq!(
                details.preempted[..],
                [attempt(Some(now - day), None), attempt(None, Some(now - day))],
                "{odd}"
            );
        }
    }

    use crate::engine::{Engine, Saved, cadence};
    use crate::model::{
        Attempt, HostUtilisation, JobDetails, JobId, JobSeen, JobStatus, Observation, ReservedKind, ServiceEnvironment,
        Source, StoppedAttempt, Timestamp, WeightedShare,
    };

    const TYPE: &str = "ml.p5.48xlarge";

    fn job(id: &str, status: JobStatus, instances: f64) -> JobSeen {
        let at = Timestamp::from_millis(60_000);
        JobSeen {
            name: "train".into(),
            share: Some("vision".into()),
            scheduled_at: status.is_in_flight().then_some(at),
            started_at: (status == JobStatus::Running).then_some(at),
            demand: vec![Capacity::new(TYPE, instances)].into(),
            training_job: Some(id.into()),
            details: Some(Box::default()),
            ..JobSeen::new(id, "prod", status, at)
        }
    }

    fn observations(odd: f64, now: Timestamp) -> Vec<Observation> {
        let queue = Queue::new(
            "prod",
            Policy::FairShare {
                shares: vec![WeightedShare { share: "vision".into(), weight: odd }],
                decay: Duration::ZERO,
                reservation: 0,
            },
            Some(ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits: vec![Capacity::new(TYPE, odd)] }),
        );
        let host = |job: &str| HostUtilisation {
            job: JobId::from(job),
            host: format!("{job}/algo-1"),
            at: now,
            gpu_percent: odd,
        };
        let reserved = Reserved {
            kind: ReservedKind::TrainingPlan,
            name: "plan".to_owned(),
            unit: TYPE.into(),
            total: Some(odd),
            in_use: Some(odd),
            idle: Some(odd),
            ends_at: None,
        };
        let jobs = [JobStatus::Runnable, JobStatus::Scheduled, JobStatus::Running, JobStatus::Failed];
        let jobs = jobs.into_iter().map(|status| job(&format!("odd-{status}"), status, odd));
        vec![
            Observation::Topology { at: now, queues: vec![queue] },
            Observation::Jobs {
                at: now,
                answered_at: now,
                jobs: jobs.chain([job("sound", JobStatus::Running, 2.0)]).collect(),
            },
            Observation::Utilisation { at: now, hosts: vec![host("sound"), host("odd-RUNNING")] },
            Observation::Reserved { at: now, all: vec![reserved] },
            Observation::Answered { source: Source::Topology, queue: None, at: now },
            Observation::Answered { source: Source::Jobs, queue: Some("prod".into()), at: now },
        ]
    }

    #[test]
    fn no_figure_is_ever_infinite_or_undefined_and_sound_ones_stay() {
        let at = |minutes: u64| Timestamp::default() + Duration::from_secs(60 * minutes);
        for odd in [1e308, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -1.0, -1e308] {
            let every = Duration::from_secs(30);
            let prices = [(TYPE.into(), odd)].into();
            let mut engine =
                Engine::new(Vec::new(), cadence(every * 30, every), Saved::default(), at(0)).priced(prices);
            for minute in [20, 30, 40] {
                engine.observe(observations(odd, at(minute)));
                let output = engine.tick(at(minute));
                assert!(output.frame.samples.iter().all(|sample| sample.value.is_finite()), "{odd}");
                let saved = output.series.iter().flat_map(|series| [series.value, series.sum]);
                assert!(saved.into_iter().all(|value| value.is_finite() && value >= 0.0), "{odd}");
                let [row] = output.frame.waterfall.as_slice() else { panic!("one queue") };
                assert_eq!(row.parts.values().sum::<f64>(), 16.0, "{odd}: what the sound job holds");
                assert!(row.dollars_per_hour.values().all(|dollars| dollars.is_finite()), "{odd}");
                let parts = row.parts.values().chain(row.unallocated.values()).chain(&row.capacity_gpus);
                assert!(parts.into_iter().all(|gpus| gpus.is_finite() && *gpus >= 0.0), "{odd}: {row:?}");
            }
            let job = engine.job(&"odd-RUNNING".into()).unwrap();
            assert_eq!(job.gpus(), None, "{odd}: a size that no job can have is not known");
        }
    }
}
