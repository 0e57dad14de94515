//! Stored history for forecasts: the attempts with their durations, and the submitted jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::forecast::runtimes::{JobKind, name_stem};
use crate::forecast::saved_rows::Rows;
use crate::model::{Capacity, QueueName, ShareName, Timestamp};

pub(super) const ATTEMPTS: &str = "attempt";
pub(super) const ARRIVALS: &str = "arrival";
pub(super) const QUEUES: &str = "queues/all";

/// The traits that determine the kind of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobTraits {
    /// Its queue.
    pub queue: QueueName,
    /// Its share.
    #[serde(default)]
    pub share: Option<ShareName>,
    /// Its owner.
    #[serde(default)]
    pub owner: Option<String>,
    /// Its name, or the stem of it.
    pub name: String,
    /// Requested instances.
    pub instances: f64,
}

impl JobTraits {
    /// The kind of the job.
    pub fn kind(&self) -> JobKind {
        JobKind::new(&self.name, self.owner.as_deref(), self.instances, self.share.as_ref(), &self.queue)
    }

    /// The same traits with the stem of the name.
    pub(super) fn without_particulars(&self) -> Self {
        Self { name: name_stem(&self.name), ..self.clone() }
    }
}

/// A completed attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// Hash of the job and the attempt number, to learn from it only once.
    pub id: u64,
    /// The job, as in [`ArrivalRow::id`].
    pub job: u64,
    /// Start of holding its instances.
    pub at: Timestamp,
    /// Traits of the job.
    #[serde(flatten)]
    pub of: JobTraits,
    /// How long it held them.
    pub seconds: f64,
    /// Whether it ended, rather than being preempted.
    pub ended: bool,
    /// Whether it ended before its container ran, so that it has no run time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never_ran: bool,
}

impl AttemptRow {
    /// Its end.
    pub fn ended_at(&self) -> Timestamp {
        self.at + Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }
}

/// A submitted job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrivalRow {
    /// Hash of the job's id.
    pub id: u64,
    /// Submission time.
    pub at: Timestamp,
    /// First dispatch; `None` if it was never dispatched.
    pub started: Option<Timestamp>,
    /// The kind of the job.
    #[serde(flatten)]
    pub of: JobTraits,
    /// Its priority.
    pub priority: i32,
    /// Requested capacity.
    pub demand: Vec<Capacity>,
}

/// The stored jobs and attempts, oldest first, and the stored setup of the queues, as text.
pub fn stored_history(rows: BTreeMap<String, String>) -> (Vec<ArrivalRow>, Vec<AttemptRow>, Option<String>) {
    let queues = rows.get(QUEUES).cloned();
    let mut kept = Rows::default();
    kept.restore(rows);
    (kept.of_ring(ARRIVALS), kept.of_ring(ATTEMPTS), queues)
}
