//! What the engine wants to know next. The sources answer within their budget, most urgent first.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{JobId, QueueName, Timestamp, TrainingJobName};

/// The questions of one poll.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Questions {
    /// Of a queue that is new: since when arrivals are wanted, ended jobs too.
    pub since: Option<Timestamp>,
    /// Per watched queue, since when arrivals are wanted: the newest `created_at` known, less an overlap. A queue that
    /// is not in here is new: what waits and is in flight is wanted, and what was created after `since`.
    pub created_after: BTreeMap<QueueName, Timestamp>,
    /// Queues of which few jobs wait, as far as is known: these are listed in full with the others.
    pub waiting: BTreeSet<QueueName>,
    /// Queues of which all waiting jobs are to be listed, when what is more urgent was asked.
    pub reconcile: BTreeSet<QueueName>,
    /// Jobs to describe, most urgent first.
    pub jobs: Vec<JobId>,
    /// Training jobs to describe.
    pub training_jobs: Vec<(JobId, TrainingJobName)>,
    /// Training jobs of which no service job is known, and not what they run on either.
    pub outside: Vec<TrainingJobName>,
    /// Hosts whose GPU utilisation is wanted: job and `<training job>/algo-<n>`.
    pub hosts: Vec<(JobId, String)>,
}
