//! Training jobs: what SageMaker sees of the attempts of service jobs.

use crate::model::Timestamp;
use crate::model::TrainingJobName;
use crate::scheduler::Job;
use crate::scheduler::Phase;
use crate::scheduler::Span;
use crate::simulate::World;

/// One attempt of a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    /// The service job.
    pub job: &'a Job,
    /// The training job's name.
    pub name: &'a TrainingJobName,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// Why it ended, if it ended before its job or otherwise than well.
    pub reason: Option<&'a str>,
    /// Whether preemption stopped it.
    pub preempted: bool,
}

impl<'a> Run<'a> {
    /// The spans that SageMaker has seen, oldest first.
    pub fn spans(self) -> impl DoubleEndedIterator<Item = &'a Span> {
        self.job.spans.iter().filter(move |span| span.attempt == self.attempt && span.phase != Phase::Waiting)
    }

    /// When Batch handed it over.
    pub fn created_at(self) -> Timestamp {
        self.spans().next().map_or(self.job.created_at, |span| span.from)
    }

    /// When it ended; `None` while it lasts.
    pub fn ended_at(self) -> Option<Timestamp> {
        self.spans().next_back().and_then(|span| span.to)
    }
}

/// The attempts of a job that were handed to SageMaker, oldest first.
pub(super) fn runs(job: &Job) -> Vec<Run<'_>> {
    let ended = job.attempts.iter().map(|attempt| (attempt, false));
    let preempted = job.preempted.iter().map(|attempt| (attempt, true));
    let mut runs: Vec<Run<'_>> = ended
        .chain(preempted)
        .filter_map(|(attempt, preempted)| {
            let closing =
                job.spans.iter().find(|span| span.to == attempt.stopped_at && span.phase != Phase::Waiting)?;
            let (name, reason) = (attempt.training_job.as_ref()?, attempt.status_reason.as_deref());
            Some(Run { job, name, attempt: closing.attempt, reason, preempted })
        })
        .collect();
    if let Some(name) = job.training_job.as_ref().filter(|_| job.status.is_in_flight()) {
        runs.push(Run { job, name, attempt: job.attempt(), reason: None, preempted: false });
    }
    runs.sort_by_key(|run| run.attempt);
    runs
}

/// A training job by its name.
///
/// Names are indexed when one is asked for that is not in the index yet: names are never taken back, so a hit is right,
/// and a miss indexes all jobs that came since.
pub(super) fn find<'a>(world: &'a mut World, name: &str) -> Option<Run<'a>> {
    if !world.training_jobs.contains_key(name) {
        let names =
            world.scheduler.jobs().flat_map(|job| runs(job).into_iter().map(|run| (run.name.clone(), job.id.clone())));
        world.training_jobs = names.collect();
    }
    let job = world.scheduler.job(world.training_jobs.get(name)?)?;
    runs(job).into_iter().find(|run| run.name.as_str() == name)
}
