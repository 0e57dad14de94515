//! Stored history for forecasts: the attempts with their durations, and the submitted jobs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::forecast::runtimes::{JobKind, name_stem};
use crate::forecast::saved_rows::Rows;
use crate::forecast::stored_ring::{self, Row};
use crate::model::{Capacity, Demand, QueueName, ShareName, Timestamp};

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

/// A completed attempt, with its own or shared traits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRow<Traits = JobTraits> {
    /// Hash of the job and the attempt number, to learn from it only once.
    pub id: u64,
    /// The job, as in [`ArrivalRow::id`].
    pub job: u64,
    /// Start of holding its instances.
    pub at: Timestamp,
    /// Traits of the job.
    #[serde(flatten)]
    pub of: Traits,
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

/// A submitted job, with its own or shared traits and demand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrivalRow<Traits = JobTraits, Needs = Vec<Capacity>> {
    /// Hash of the job's id.
    pub id: u64,
    /// Submission time.
    pub at: Timestamp,
    /// First dispatch; `None` if it was never dispatched.
    pub started: Option<Timestamp>,
    /// The kind of the job.
    #[serde(flatten)]
    pub of: Traits,
    /// Its priority.
    pub priority: i32,
    /// Requested capacity.
    pub demand: Needs,
}

/// An attempt in memory.
pub(super) type SharedAttempt = AttemptRow<Arc<JobTraits>>;

/// A submitted job in memory.
pub(super) type SharedArrival = ArrivalRow<Arc<JobTraits>, Demand>;

impl Row for SharedAttempt {
    const RING: &'static str = "attempt";

    fn stored(&self) -> impl Serialize {
        let Self { id, job, at, ref of, seconds, ended, never_ran } = *self;
        AttemptRow { id, job, at, of: &**of, seconds, ended, never_ran }
    }
}

impl Row for SharedArrival {
    const RING: &'static str = "arrival";

    fn stored(&self) -> impl Serialize {
        let Self { id, at, started, ref of, priority, ref demand } = *self;
        ArrivalRow { id, at, started, of: &**of, priority, demand: &**demand }
    }
}

/// Number of traits that are kept even if no row has them.
const TRAITS_KEPT: usize = 100;

/// Traits of the rows in memory: most jobs of a name, owner and size have the same.
#[derive(Debug, Default)]
pub(super) struct SharedTraits {
    known: HashMap<JobKind, Arc<JobTraits>>,
    /// Number of traits at which those that no row has any more are dropped.
    tidy_at: usize,
}

impl SharedTraits {
    /// The known traits that equal these, if there are any.
    pub(super) fn share(&mut self, traits: JobTraits) -> Arc<JobTraits> {
        let kind = traits.kind();
        if let Some(known) = self.known.get(&kind).filter(|known| ***known == traits) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.tidy_at {
            self.known.retain(|_, known| Arc::strong_count(known) > 1);
            self.tidy_at = (self.known.len() * 2).max(TRAITS_KEPT);
        }
        let traits = Arc::new(traits);
        self.known.insert(kind, Arc::clone(&traits));
        traits
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

/// The stored jobs and attempts, oldest first, and the stored setup of the queues, as text.
pub fn stored_history(rows: BTreeMap<String, String>) -> (Vec<ArrivalRow>, Vec<AttemptRow>, Option<String>) {
    let queues = rows.get(QUEUES).cloned();
    let mut kept = Rows::default();
    kept.restore(rows);
    let (arrivals, attempts) = (kept.take(SharedArrival::RING), kept.take(SharedAttempt::RING));
    (stored_ring::read(arrivals.values()).0, stored_ring::read(attempts.values()).0, queues)
}
