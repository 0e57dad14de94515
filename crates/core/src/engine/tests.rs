//! An engine with one queue, and what the tests of it share.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::metrics::{Labels, Sample, Value};
use crate::model::{
    JobDetails, JobId, JobSeen, JobStatus, Policy, QuotaShare, SavedJob, SavedJobs, Sharing, StoppedAttempt,
};

mod ages_and_limits;
mod alert_annotations;
mod charged_time;
pub(super) mod fixture;
mod future_times;
mod job_story;
mod lagging_lists;
mod refused_descriptions;
mod repeated_descriptions;
mod restarts;
mod shares_and_demand;

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn just_before(seconds: i64) -> Timestamp {
    second(seconds) - Duration::from_millis(1)
}

fn engine(saved: Saved) -> Engine {
    let every = Duration::from_secs(30);
    Engine::new(Vec::new(), cadence(every * 30, every), saved, second(0))
}

fn topology() -> Observation {
    let queue = Queue::new("prod", Policy::Fifo, None);
    Observation::Topology { at: second(0), queues: vec![queue] }
}

/// A poll whose lists are complete until `at`.
fn answered(at: i64) -> Observation {
    polled(second(at) + LISTS_MAY_LAG)
}

/// A complete poll that began at `at`.
fn polled(at: Timestamp) -> Observation {
    Observation::Answered { source: Source::Jobs, queue: Some("prod".into()), at }
}

fn known() -> Observation {
    Observation::Answered { source: Source::Topology, queue: None, at: second(0) }
}

fn answer(at: i64, jobs: Vec<JobSeen>) -> Observation {
    Observation::Jobs { at: second(at), answered_at: second(at), jobs }
}

/// A job that was created at 10 s and dispatched at 70 s.
fn dispatched() -> Observation {
    answer(80, vec![described(scheduled_at(70))])
}

fn described(job: JobSeen) -> JobSeen {
    JobSeen { details: Some(Box::default()), ..job }
}

fn scheduled_at(scheduled: i64) -> JobSeen {
    JobSeen {
        name: "train".into(),
        scheduled_at: Some(second(scheduled)),
        ..JobSeen::new("job-1", "prod", JobStatus::Scheduled, second(10))
    }
}

/// The saved state after a tick.
fn saved(output: Output) -> Saved {
    Saved {
        series: output.series,
        events: output.events,
        jobs: output.jobs.kept().collect(),
        queues: output.queues,
        counted_until: Some(output.counted_until),
        ..Saved::default()
    }
}

/// The saved state after a tick of an engine that resumed from `before`.
fn saved_after(before: Saved, output: Output) -> Saved {
    let body = |job: SavedJob| (job.id, Some(job.body));
    let mut jobs = SavedJobs { changes: before.jobs.into_iter().map(body).collect(), is_complete: true };
    jobs.add(output.jobs.clone());
    Saved { jobs: jobs.kept().collect(), ..saved(output) }
}

/// Value of a series, by metric and one label; for a distribution, its number of values.
fn value(output: &Output, metric: &str, label: &str) -> Option<f64> {
    let has = |labels: &Labels| labels.values().any(|value| **value == *label);
    let sample = output.frame.samples.iter().find(|sample| sample.metric.name == metric && has(&sample.labels))?;
    Some(match &sample.value {
        Value::Gauge(value) | Value::Counter(value) => *value,
        Value::Distribution(distribution) => distribution.count as f64,
    })
}
