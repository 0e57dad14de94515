//! The open jobs of one share of a queue, in the orders that figures and requests need.
//!
//! These orders are updated when a job of the share changes, so code that visits shares costs as much as there are shares, kinds
//! of jobs and jobs in flight, however many jobs wait.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::jobs::{CompactSet, Job};
use crate::model::{Demand, JobId, JobStatus, Timestamp};

/// Common properties of waiting jobs that differ only in their order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    /// SUBMITTED, PENDING or RUNNABLE.
    pub status: JobStatus,
    /// Status reason, in AWS's wording.
    pub status_reason: Option<Arc<str>>,
    /// Demand of each job.
    pub demand: Demand,
}

/// Sort key of a waiting job in its share: higher priority first, then older.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitingKey {
    priority: Reverse<i32>,
    created_at: Timestamp,
    /// The job.
    pub id: JobId,
}

/// Open jobs of one share of a queue.
#[derive(Debug, Default)]
pub struct ShareJobs {
    waiting: BTreeMap<Class, CompactSet<WaitingKey>>,
    /// By priority, if described.
    waits: BTreeMap<Option<i32>, Waits>,
    in_flight: BTreeMap<JobStatus, BTreeSet<JobId>>,
    /// Jobs in a status unknown to this build.
    unknown: BTreeMap<JobStatus, BTreeSet<JobId>>,
}

/// Wait starts of jobs that were never dispatched, and of those that were.
#[derive(Debug, Default)]
struct Waits {
    first: CompactSet<(Timestamp, JobId)>,
    requeue: CompactSet<(Timestamp, JobId)>,
}

impl Waits {
    fn oldest(&self) -> Option<&(Timestamp, JobId)> {
        self.first.first().into_iter().chain(self.requeue.first()).min()
    }

    fn of(&mut self, job: &Job) -> &mut CompactSet<(Timestamp, JobId)> {
        if job.timeline.spans().len() == 1 { &mut self.first } else { &mut self.requeue }
    }
}

impl ShareJobs {
    /// Waiting jobs by class, in order.
    pub fn classes(&self) -> impl Iterator<Item = (&Class, &CompactSet<WaitingKey>)> {
        self.waiting.iter()
    }

    /// The stored class of a waiting job.
    pub(crate) fn class_of(&self, job: &Job) -> Option<&Class> {
        self.waiting.get_key_value(&Class::of(job)).map(|(class, _)| class)
    }

    /// The waiting job that is dispatched next.
    pub fn first(&self) -> Option<&WaitingKey> {
        self.waiting.values().filter_map(CompactSet::first).min()
    }

    /// The longest-waiting job, with the start of its wait.
    pub fn oldest(&self) -> Option<&(Timestamp, JobId)> {
        self.waits.values().filter_map(Waits::oldest).min()
    }

    /// The longest-waiting jobs with the start of their waits, up to a limit, longest first.
    pub(crate) fn longest_waiting(&self, most: usize) -> Vec<&(Timestamp, JobId)> {
        let of_priority =
            self.waits.values().flat_map(|waits| waits.first.iter().take(most).chain(waits.requeue.iter().take(most)));
        let mut all: Vec<_> = of_priority.collect();
        all.sort_unstable();
        all.truncate(most);
        all
    }

    /// Waiting jobs with the start of their waits, as several sorted runs.
    pub(super) fn waits(&self) -> impl Iterator<Item = impl Iterator<Item = &(Timestamp, JobId)>> {
        self.waits.values().flat_map(|waits| [waits.first.iter(), waits.requeue.iter()])
    }

    /// The waiting jobs of a class, in order.
    pub(crate) fn keys_of(&self, class: &Class) -> Option<&CompactSet<WaitingKey>> {
        self.waiting.get(class)
    }

    /// Start of the longest wait for each priority; `None` for jobs that were not described.
    pub fn oldest_by_priority(&self) -> impl Iterator<Item = (Option<i32>, Timestamp)> {
        self.waits.iter().filter_map(|(priority, waits)| Some((*priority, waits.oldest()?.0)))
    }

    /// Start of each wait of a never dispatched job, with its priority: oldest first for each priority.
    pub fn first_waits(&self) -> impl Iterator<Item = (Option<i32>, Timestamp)> {
        self.waits.iter().flat_map(|(priority, waits)| waits.first.iter().map(|(since, _)| (*priority, *since)))
    }

    /// Jobs whose current wait began before a time.
    pub(super) fn waiting_since_before(&self, moment: Timestamp) -> impl Iterator<Item = &JobId> {
        let sets = self.waits.values().flat_map(|waits| [&waits.first, &waits.requeue]);
        sets.flat_map(move |set| set.iter().take_while(move |(since, _)| *since < moment)).map(|(_, id)| id)
    }

    /// Waiting jobs.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &JobId> {
        self.waiting.values().flatten().map(|key| &key.id)
    }

    /// SCHEDULED, STARTING and RUNNING jobs.
    pub fn in_flight(&self) -> impl Iterator<Item = &JobId> {
        self.in_flight.values().flatten()
    }

    /// Jobs in statuses unknown to this build.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = &JobId> {
        self.unknown.values().flatten()
    }

    /// Number of jobs by status; a status may occur more than once.
    pub fn counts(&self) -> impl Iterator<Item = (&JobStatus, usize)> {
        let waiting = self.waiting.iter().map(|(class, jobs)| (&class.status, jobs.len()));
        waiting.chain(self.in_flight.iter().chain(&self.unknown).map(|(status, jobs)| (status, jobs.len())))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty() && self.unknown.is_empty()
    }

    pub(super) fn add(&mut self, job: &Job) {
        let (id, status) = (&job.latest.id, job.status());
        if status.is_waiting() {
            self.waiting.entry(Class::of(job)).or_default().insert(WaitingKey::of(job));
        } else {
            self.by_status(status).entry(status.clone()).or_default().insert(id.clone());
        }
        if let Some(since) = job.waiting_since() {
            self.waits.entry(job.priority()).or_default().of(job).insert((since, id.clone()));
        }
    }

    /// Removes what [`ShareJobs::add`] added; the job must not have changed since.
    pub(super) fn remove(&mut self, job: &Job) {
        let (id, status) = (&job.latest.id, job.status());
        if status.is_waiting() {
            let class = Class::of(job);
            if let Some(jobs) = self.waiting.get_mut(&class) {
                jobs.remove(&WaitingKey::of(job));
                if jobs.is_empty() {
                    self.waiting.remove(&class);
                }
            }
        } else if let Some(jobs) = self.by_status(status).get_mut(status) {
            jobs.remove(id);
            if jobs.is_empty() {
                self.by_status(status).remove(status);
            }
        }
        if let Some(since) = job.waiting_since()
            && let Some(waits) = self.waits.get_mut(&job.priority())
        {
            waits.of(job).remove(&(since, id.clone()));
            if waits.oldest().is_none() {
                self.waits.remove(&job.priority());
            }
        }
    }

    fn by_status(&mut self, status: &JobStatus) -> &mut BTreeMap<JobStatus, BTreeSet<JobId>> {
        if status.is_in_flight() { &mut self.in_flight } else { &mut self.unknown }
    }
}

impl Class {
    pub(crate) fn of(job: &Job) -> Self {
        let latest = &job.latest;
        Self {
            status: latest.status.clone(),
            status_reason: latest.status_reason.clone(),
            demand: latest.demand.clone(),
        }
    }

    /// GPUs that each job requests; `None` if unknown (unknown type, or instances of any type).
    pub fn gpus(&self) -> Option<f64> {
        crate::jobs::gpus_of(&self.demand)
    }
}

impl WaitingKey {
    /// Jobs of a class created before a time, with any priority; visits no others.
    pub(crate) fn created_before(keys: &CompactSet<Self>, moment: Timestamp) -> impl Iterator<Item = &Self> {
        let until = move |priority| keys.range(..Self::first_of(priority, moment));
        priorities(keys).flat_map(move |priority| until(priority).rev().take_while(move |at| at.priority == priority))
    }

    /// Jobs of a class created at a time, with any priority; visits no others.
    pub(crate) fn created_at_once(keys: &CompactSet<Self>, moment: Timestamp) -> impl Iterator<Item = &Self> {
        let from = move |priority| keys.range(Self::first_of(priority, moment)..);
        priorities(keys).flat_map(move |priority| {
            from(priority).take_while(move |at| (at.priority, at.created_at) == (priority, moment))
        })
    }

    fn first_of(priority: Reverse<i32>, created_at: Timestamp) -> Self {
        Self { priority, created_at, id: JobId::new("") }
    }

    pub(crate) fn of(job: &Job) -> Self {
        Self {
            priority: Reverse(job.priority().unwrap_or(0)),
            created_at: job.latest.created_at,
            id: job.latest.id.clone(),
        }
    }
}

/// Priorities of the jobs of a class, highest first, found without visiting the jobs between.
fn priorities(keys: &CompactSet<WaitingKey>) -> impl Iterator<Item = Reverse<i32>> {
    let lower = |Reverse(priority): &Reverse<i32>| {
        let next = WaitingKey::first_of(Reverse(priority.checked_sub(1)?), Timestamp::from_millis(i64::MIN));
        keys.range(next..).next().map(|key| key.priority)
    };
    std::iter::successors(keys.first().map(|key| key.priority), lower)
}
