//! What is learnt of jobs, as it is kept over a restart: which attempts held their instances for how long, and which jobs were submitted.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::forecast::rows::Rows;
use crate::forecast::runtimes::{JobKind, name_stem};
use crate::model::{Capacity, QueueName, ShareName, Timestamp};

pub(super) const ATTEMPTS: &str = "attempt";
pub(super) const ARRIVALS: &str = "arrival";
pub(super) const QUEUES: &str = "queues/all";

/// What of a job decides of which kind it is.
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
    /// Its name, or what is left of it without numbers.
    pub name: String,
    /// Instances it needs.
    pub instances: f64,
}

impl JobTraits {
    /// Of which kind it is.
    pub fn kind(&self) -> JobKind {
        JobKind::new(&self.name, self.owner.as_deref(), self.instances, self.share.as_ref(), &self.queue)
    }

    /// The same with what is left of its name without numbers.
    pub(super) fn without_particulars(&self) -> Self {
        Self { name: name_stem(&self.name), ..self.clone() }
    }
}

/// An attempt that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// Which attempt of which job: what was learnt is not learnt again.
    pub id: u64,
    /// Which job, as [`ArrivalRow::id`] has it.
    pub job: u64,
    /// Since when it held its instances.
    pub at: Timestamp,
    /// Of which kind the job is.
    #[serde(flatten)]
    pub of: JobTraits,
    /// For how long it held them.
    pub seconds: f64,
    /// Whether it came to its end, or was stopped to make room.
    pub ended: bool,
    /// Whether it ended before its container ran, so that it says nothing of how long jobs run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never_ran: bool,
}

impl AttemptRow {
    /// When it ended.
    pub fn ended_at(&self) -> Timestamp {
        self.at + Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }
}

/// A job that was submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrivalRow {
    /// Which job.
    pub id: u64,
    /// When it was submitted.
    pub at: Timestamp,
    /// When it was first dispatched; `None` if it never was.
    pub started: Option<Timestamp>,
    /// Of which kind it is.
    #[serde(flatten)]
    pub of: JobTraits,
    /// Its priority.
    pub priority: i32,
    /// What it needs.
    pub demand: Vec<Capacity>,
}

/// The jobs and attempts that are kept, oldest first, and how the queues are set up, as whoever kept it wrote it.
pub fn learnt_of(rows: BTreeMap<String, String>) -> (Vec<ArrivalRow>, Vec<AttemptRow>, Option<String>) {
    let queues = rows.get(QUEUES).cloned();
    let mut kept = Rows::default();
    kept.restore(rows);
    (kept.of_ring(ARRIVALS), kept.of_ring(ATTEMPTS), queues)
}
