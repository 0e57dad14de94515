//! State of jobs and queues saved across restarts, and how a ledger resumes from it.
//!
//! # Invariants
//!
//! * Every open job is saved, and every job with uncounted events.
//! * A job is written when something changed that cannot be derived otherwise. When it was last seen follows from the
//!   lists of its queue, so it is written only for jobs that are missing in one.
//! * Events of a restored job are new: what was counted of it is saved with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::jobs::coverage::{Coverage, SavedCoverage};
use crate::jobs::job::{RequeueWaits, Waited};
use crate::jobs::listed_state::ListedState;
use crate::jobs::{Changes, Event, Job, Ledger, Timeline};
use crate::model::{
    Capacity, InstanceType, JobDetails, JobId, JobSeen, JobStatus, QueueName, SavedJob, SavedJobs, SavedQueue,
    ShareName, Timestamp, TrainingJobName,
};

/// Changes to save.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// Jobs that changed, or are no longer kept.
    jobs: BTreeSet<JobId>,
    /// Jobs with uncounted events at the last save, and how many of these events are preemptions.
    uncounted: BTreeMap<JobId, u32>,
    /// Whether everything must be saved.
    is_all: bool,
}

impl Unsaved {
    pub(super) fn add(&mut self, job: &Job) {
        self.add_id(&job.latest.id);
    }

    pub(super) fn add_if(&mut self, is_changed: bool, job: &Job) {
        if is_changed {
            self.add(job);
        }
    }

    pub(super) fn add_id(&mut self, id: &JobId) {
        self.jobs.insert(id.clone());
    }

    pub(super) fn extend(&mut self, jobs: Vec<JobId>) {
        self.jobs.extend(jobs);
    }
}

/// State of a dispatched job as saved by the previous release; applied when the job is seen.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Past {
    #[serde(flatten)]
    pub(super) timeline: Timeline,
    #[serde(default)]
    pub(super) wants_description: bool,
    /// Number of counted preemptions.
    #[serde(default)]
    pub(super) preemptions: Option<u32>,
}

impl Past {
    pub(super) fn beginning(created_at: Timestamp) -> Self {
        Self { timeline: Timeline::beginning(created_at), wants_description: false, preemptions: None }
    }
}

/// A saved job. There may be a million, so common defaults are omitted, and times are milliseconds.
#[derive(Serialize, Deserialize)]
struct Body {
    name: String,
    queue: QueueName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<ShareName>,
    status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    created: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scheduled: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stopped: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    demand: Vec<(InstanceType, f64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    training_job: Option<TrainingJobName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arn: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    terminated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<Box<JobDetails>>,
    /// `None` for a job that has only waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeline: Option<Timeline>,
    /// Lower bound of when it was last seen.
    seen: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    described: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wants_description: Option<i64>,
    #[serde(default, skip_serializing_if = "is_false")]
    training_job_known: bool,
    /// Seconds of ended waits by reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waited: Option<Box<Waited>>,
    /// The part of `waited` that belongs to waits after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requeue_waits: Option<Box<RequeueWaits>>,
    #[serde(default, skip_serializing_if = "is_false")]
    unseen_attempts: bool,
    /// Number of counted preemptions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preemptions: Option<u32>,
    /// Whether it is missing in a list.
    #[serde(default, skip_serializing_if = "is_false")]
    left: bool,
    /// Since when it is missing where complete lists had it, or shown to have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<i64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "so serde calls it")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Body {
    /// A job, when of the preemptions it reported `uncounted` are not counted yet.
    fn of(job: &Job, uncounted: u32, left: bool, missing: Option<Timestamp>) -> Self {
        let latest = &job.latest;
        let millis = |at: Option<Timestamp>| at.map(Timestamp::millis);
        Self {
            name: latest.name.to_string(),
            queue: latest.queue.clone(),
            share: latest.share.clone(),
            status: latest.status.as_str().to_owned(),
            reason: latest.status_reason.as_deref().map(str::to_owned),
            created: latest.created_at.millis(),
            scheduled: millis(latest.scheduled_at),
            started: millis(latest.started_at),
            stopped: millis(latest.stopped_at),
            demand: latest.demand.iter().map(|capacity| (capacity.unit.clone(), capacity.quantity)).collect(),
            training_job: latest.training_job.clone(),
            arn: latest.odd_arn.as_deref().cloned(),
            terminated: latest.terminated,
            details: job.details.as_deref().cloned().map(Box::new),
            timeline: Some(&job.timeline).filter(|line| **line != Timeline::beginning(latest.created_at)).cloned(),
            seen: job.seen_at.millis(),
            described: millis(job.described_at),
            wants_description: millis(job.wants_description_since),
            training_job_known: job.training_job_known,
            waited: job.waited.clone(),
            requeue_waits: job.requeue_waits.clone(),
            unseen_attempts: job.may_have_unseen_attempts,
            preemptions: job.preemptions_reported.map(|reported| reported.saturating_sub(uncounted)),
            left,
            missing: millis(missing),
        }
    }

    /// The job, if the state is valid.
    fn job(self, id: JobId) -> Option<Job> {
        let at = |millis: Option<i64>| millis.map(Timestamp::from_millis);
        let created_at = Timestamp::from_millis(self.created);
        let timeline = self.timeline.unwrap_or_else(|| Timeline::beginning(created_at));
        let status = JobStatus::parse(&self.status);
        let is_over = timeline.current().is_none();
        if !timeline.is_sound() || is_over != status.is_ended() {
            return None;
        }
        let demand: Vec<Capacity> = self.demand.into_iter().map(|(unit, many)| Capacity::new(unit, many)).collect();
        let latest = JobSeen {
            id,
            odd_arn: self.arn.map(Arc::new),
            name: self.name.into(),
            queue: self.queue,
            share: self.share,
            status,
            status_reason: self.reason.map(Into::into),
            created_at,
            scheduled_at: at(self.scheduled),
            started_at: at(self.started),
            stopped_at: at(self.stopped),
            demand: demand.into(),
            training_job: self.training_job,
            terminated: self.terminated,
            details: None,
        };
        Some(Job {
            latest,
            details: self.details.map(Arc::from),
            timeline,
            seen_at: Timestamp::from_millis(self.seen),
            described_at: at(self.described),
            wants_description_since: at(self.wants_description),
            training_job_known: self.training_job_known,
            waited: self.waited,
            requeue_waits: self.requeue_waits,
            is_over,
            may_have_unseen_attempts: self.unseen_attempts,
            preemptions_reported: self.preemptions,
            is_restored: true,
            is_unverified: !is_over,
            listed_state: ListedState::Unchanged,
        })
    }
}

/// A parsed saved job.
enum Read {
    /// The job, whether a list lacks it, and since when it is missing.
    Job(Box<Job>, bool, Option<Timestamp>),
    Past(Past),
}

/// Whether this build can parse a saved job.
pub fn is_readable(job: &SavedJob) -> bool {
    read(job).is_some()
}

fn read(SavedJob { id, body }: &SavedJob) -> Option<Read> {
    match serde_json::from_str::<Body>(body) {
        Ok(body) => {
            let (left, missing) = (body.left, body.missing.map(Timestamp::from_millis));
            Some(Read::Job(Box::new(body.job(id.clone())?), left, missing))
        }
        Err(_) => serde_json::from_str(body).ok().filter(|past: &Past| past.timeline.is_sound()).map(Read::Past),
    }
}

/// The jobs of some events, and how many of these are preemptions. Each event is given as its job and whether it is one.
fn preemptions_in<'a>(events: impl IntoIterator<Item = (&'a JobId, bool)>) -> BTreeMap<JobId, u32> {
    let mut preemptions = BTreeMap::new();
    for (id, is_preemption) in events {
        let is_preemption = u32::from(is_preemption);
        match preemptions.get_mut(id) {
            Some(count) => *count += is_preemption,
            None => _ = preemptions.insert(id.clone(), is_preemption),
        }
    }
    preemptions
}

impl Ledger {
    /// Resumes after an earlier run, which counted events up to `counted_until` and saved these queues.
    pub fn resume(&mut self, queues: &[SavedQueue], counted_until: Timestamp) {
        self.counted_until = Some(counted_until);
        for SavedQueue { name, body } in queues {
            // State of an older build that cannot be parsed is replaced by listing everything again.
            if let Ok(saved) = serde_json::from_str::<SavedCoverage>(body) {
                self.queues.insert(name.clone(), Coverage::restored(&saved));
            }
        }
    }

    /// Restores jobs [saved](Self::to_save) by an earlier run. Those that [cannot be parsed](is_readable) are skipped
    /// and deleted.
    pub fn restore(&mut self, jobs: Vec<SavedJob>) -> Changes {
        for job in jobs {
            match read(&job) {
                Some(Read::Job(restored, left, missing)) => self.restore_job(*restored, left, missing),
                Some(Read::Past(past)) => drop(self.remembered.insert(job.id, past)),
                None => self.unsaved.add_id(&job.id),
            }
        }
        self.changes()
    }

    fn restore_job(&mut self, mut job: Job, left: bool, missing: Option<Timestamp>) {
        self.index.intern(&mut job.latest);
        self.index.share_details(&mut job);
        let id = job.latest.id.clone();
        let coverage = self.queues.entry(job.latest.queue.clone()).or_default();
        coverage.count(&job);
        let missing = missing.filter(|_| !job.is_over);
        if left || missing.is_some() {
            coverage.left.insert(id.clone());
            if let Some(since) = missing {
                coverage.missing.insert(id.clone(), since);
                job.listed_state = ListedState::Missing;
            }
        } else {
            job.seen_at = job.seen_at.max(coverage.seen_at_least(&job).unwrap_or(job.seen_at));
            coverage.unverified += usize::from(job.is_unverified && job.status().is_waiting());
        }
        let reported_before = self.events.len();
        if let Some(counted_until) = self.counted_until {
            job.emit_uncounted(counted_until, &mut self.events);
        }
        let uncounted =
            preemptions_in(self.events.get(reported_before..).into_iter().flatten().filter_map(Event::of_job));
        // An ended job is kept until its events are counted.
        if job.timeline.current().is_none() {
            self.unsaved.uncounted.insert(id.clone(), 0);
        }
        self.unsaved.uncounted.extend(uncounted);
        if job.has_a_past() {
            self.with_past.insert(id.clone());
        }
        let seen_at = job.seen_at;
        let is_over = job.timeline.current().is_none();
        self.keep(job);
        if is_over {
            let place = self.ended.partition_point(|(at, _)| *at <= seen_at);
            self.ended.insert(place, (seen_at, id));
        }
    }

    /// Treats events from `counted_until` on as new after all: an earlier run's clock was ahead of `now`.
    pub fn correct_future(&mut self, counted_until: Timestamp, now: Timestamp) {
        self.counted_until = self.counted_until.map(|known| known.min(counted_until));
        self.queues.values_mut().for_each(|coverage| coverage.correct_future(now));
        for job in self.jobs.iter_mut() {
            job.seen_at = job.seen_at.min(now);
            job.described_at = job.described_at.map(|at| at.min(now));
            job.wants_description_since = job.wants_description_since.map(|at| at.min(now));
        }
    }

    /// Drops the jobs of queues that are no longer watched: no list will contain them.
    pub fn forget_other_queues(&mut self, is_watched: impl Fn(&QueueName) -> bool) -> Changes {
        self.queues.retain(|queue, _| is_watched(queue));
        let others = self.jobs.iter().filter(|job| !is_watched(job.queue()));
        for id in others.map(|job| job.latest.id.clone()).collect::<Vec<_>>() {
            self.unsaved.add_id(&id);
            self.with_past.remove(&id);
            let Some(job) = self.jobs.remove(&id) else { continue };
            if job.timeline.current().is_some() {
                self.index.remove(&job);
            } else {
                self.index.forget(&job);
            }
            self.listing.remove(&job, &self.jobs);
        }
        let Self { ended, jobs, .. } = self;
        ended.retain(|(_, id)| jobs.get(id).is_some());
        self.changes()
    }

    /// Marks everything [to be saved](Self::to_save): the saved state is lost.
    pub fn save_all(&mut self) {
        self.unsaved.is_all = true;
    }

    /// Takes the changes since the last call, given the events that are not counted yet, each as its job and whether
    /// it is a preemption. The caller keeps the changes until they are saved.
    pub fn to_save<'a>(&mut self, uncounted: impl IntoIterator<Item = (&'a JobId, bool)>) -> SavedJobs {
        let preemptions = preemptions_in(uncounted);
        let mut jobs = std::mem::take(&mut self.unsaved.jobs);
        let before = std::mem::take(&mut self.unsaved.uncounted);
        let differs = |(id, count): (&JobId, &u32), other: &BTreeMap<JobId, u32>| {
            (other.get(id) != Some(count)).then(|| id.clone())
        };
        jobs.extend(before.iter().filter_map(|one| differs(one, &preemptions)));
        jobs.extend(preemptions.iter().filter_map(|one| differs(one, &before)));
        let is_complete = std::mem::take(&mut self.unsaved.is_all);
        if is_complete {
            jobs = self.open_jobs().map(|job| job.latest.id.clone()).chain(preemptions.keys().cloned()).collect();
        }
        let changes = jobs.into_iter().map(|id| {
            let body = self.body(&id, &preemptions);
            (id, body)
        });
        let mut changes = SavedJobs { changes: changes.collect(), is_complete };
        if is_complete {
            changes.changes.retain(|_, body| body.is_some());
        }
        self.unsaved.uncounted = preemptions;
        changes
    }

    /// The state to save of a job; `None` for nothing.
    fn body(&self, id: &JobId, uncounted: &BTreeMap<JobId, u32>) -> Option<String> {
        let job = self.jobs.get(id)?;
        let uncounted = uncounted.get(id).copied();
        if job.timeline.current().is_none() && uncounted.is_none() {
            return None;
        }
        let coverage = self.queues.get(job.queue());
        let left = coverage.is_some_and(|coverage| coverage.left.contains(id));
        let since = coverage.and_then(|coverage| coverage.missing.get(id)).copied().unwrap_or(job.seen_at);
        let missing = job.has_left().then_some(since);
        serde_json::to_string(&Body::of(job, uncounted.unwrap_or_default(), left, missing)).ok()
    }

    /// The state to save of each queue.
    pub fn saved_queues(&self) -> Vec<SavedQueue> {
        let saved = |(name, coverage): (&QueueName, &Coverage)| {
            let saved = coverage.saved(self.undescribed_ends.created_since_in(name))?;
            Some(SavedQueue { name: name.clone(), body: serde_json::to_string(&saved).ok()? })
        };
        self.queues.iter().filter_map(saved).collect()
    }

    /// Drops restored state of jobs that were not seen: AWS no longer knows them.
    pub fn forget_unseen(&mut self) {
        for id in std::mem::take(&mut self.remembered).into_keys() {
            self.unsaved.add_id(&id);
        }
    }
}

#[cfg(test)]
mod tests;
