//! What the engine needs from the next poll. The sources query it within their budget, most urgent first.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{JobId, QueueName, Source, Timestamp, TrainingJobName};

/// Refused items that, without any description, count as a failure of the source.
pub const MANY_REFUSED: usize = 3;

/// Requests for one poll.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Questions {
    /// For a new queue: list jobs created after this time, including ended ones.
    pub since: Option<Timestamp>,
    /// Per watched queue, list jobs created after this time: the newest known `created_at`, minus an overlap. A queue
    /// that is missing here is new: list waiting and in-flight jobs, and all jobs created after `since`.
    pub created_after: BTreeMap<QueueName, Timestamp>,
    /// Queues with few known waiting jobs: their waiting jobs are always listed in full.
    pub waiting: BTreeSet<QueueName>,
    /// Queues whose waiting jobs are to be listed in full, after more urgent requests.
    pub reconcile: BTreeSet<QueueName>,
    /// Jobs to describe, most urgent first.
    pub jobs: Vec<JobId>,
    /// Training jobs to describe.
    pub training_jobs: Vec<(JobId, TrainingJobName)>,
    /// Sources with items that were refused and are not to be described yet: that nothing is requested of such a source
    /// does not show that it answers.
    pub refused: BTreeSet<Source>,
    /// Training jobs without a known service job whose instances are unknown.
    pub outside: Vec<TrainingJobName>,
    /// Hosts whose GPU utilisation is needed: job and `<training job>/algo-<n>`.
    pub hosts: Vec<(JobId, String)>,
    /// Hosts beyond the maximum, whose utilisation stays unknown.
    pub hosts_left_out: u64,
}
