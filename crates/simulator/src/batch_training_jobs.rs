//! Training jobs: SageMaker's view of the attempts of service jobs.

use std::collections::HashMap;

use crate::World;
use trainspotter_core::model::JobId;
use trainspotter_core::model::Timestamp;
use trainspotter_core::model::TrainingJobName;
use trainspotter_core::scheduler::Job;
use trainspotter_core::scheduler::Phase;
use trainspotter_core::scheduler::Span;

/// One attempt of a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    /// The service job.
    pub job: &'a Job,
    /// The training job's name.
    pub name: &'a TrainingJobName,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// Status reason, if the attempt ended before its job or unsuccessfully.
    pub reason: Option<&'a str>,
    /// Whether it was preempted.
    pub preempted: bool,
}

impl<'a> Run<'a> {
    /// Spans visible to SageMaker, oldest first.
    pub fn spans(self) -> impl DoubleEndedIterator<Item = &'a Span> {
        self.job.spans.iter().filter(move |span| span.attempt == self.attempt && span.phase != Phase::Waiting)
    }

    /// When Batch created it.
    pub fn created_at(self) -> Timestamp {
        self.spans().next().map_or(self.job.created_at, |span| span.from)
    }

    /// When it ended; `None` while it is active.
    pub fn ended_at(self) -> Option<Timestamp> {
        self.spans().next_back().and_then(|span| span.to)
    }
}

/// Attempts of a job that were handed to SageMaker, oldest first.
pub(super) fn runs(job: &Job) -> Vec<Run<'_>> {
    let ended = job.attempts.iter().chain(job.capacity_failed.as_deref()).map(|attempt| (attempt, false));
    let preempted = job.preempted.iter().map(|attempt| (attempt, true));
    let mut runs: Vec<Run<'_>> = ended
        .chain(preempted)
        .filter_map(|(attempt, preempted)| {
            let (name, reason) = (attempt.training_job.as_ref()?, attempt.status_reason.as_deref());
            Some(Run { job, name, attempt: attempt.number, reason, preempted })
        })
        .collect();
    if let Some(name) = job.training_job.as_ref().filter(|_| job.status.is_in_flight()) {
        runs.push(Run { job, name, attempt: job.attempt(), reason: None, preempted: false });
    }
    runs.sort_by_key(|run| run.attempt);
    runs
}

/// Service jobs by the names of their training jobs.
///
/// Names are never reused, so a hit is final; a miss scans all jobs, at most once per instant.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_name: HashMap<TrainingJobName, JobId>,
    read_at: Option<Timestamp>,
}

/// Finds a training job by name.
pub(super) fn find<'a>(world: &'a mut World, name: &str) -> Option<Run<'a>> {
    let index = &mut world.training_jobs;
    if !index.by_name.contains_key(name) && index.read_at != Some(world.now) {
        index.by_name =
            world.scheduler.jobs().flat_map(|job| names(job).map(|name| (name.clone(), job.id.clone()))).collect();
        index.read_at = Some(world.now);
    }
    let job = world.scheduler.job(index.by_name.get(name)?)?;
    runs(job).into_iter().find(|run| run.name.as_str() == name)
}

fn names(job: &Job) -> impl Iterator<Item = &TrainingJobName> {
    let ended = job
        .attempts
        .iter()
        .chain(&job.preempted)
        .chain(job.capacity_failed.as_deref())
        .filter_map(|attempt| attempt.training_job.as_ref());
    ended.chain(job.training_job.as_ref().filter(|_| job.status.is_in_flight()))
}
