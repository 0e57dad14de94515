//! One job of the ledger.

mod emit_events;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::jobs::event::{Event, EventKind, Outcome};
use crate::jobs::failure::FailureCategory;
use crate::jobs::listed_state::ListedState;
use crate::jobs::saved::Past;
use crate::jobs::timeline::{Moment, Phase, Span, Timeline};
use crate::model::{
    Capacity, JobDetails, JobSeen, JobStatus, QueueName, ShareName, Timestamp, TrainingJobSeen, accelerators_of,
};

/// Maximum delay of events that a pending description could make more precise.
pub(super) const DESCRIPTION_AWAITED: Duration = Duration::from_secs(900);

/// Minimum wait in seconds; less is a rounding error.
const MIN_WAITED: f64 = 1e-3;

/// Seconds by which the observed part of a wait may exceed the wait: ticks and polls are some time apart.
const WAITED_TOO_LONG: f64 = 180.0;

/// Whether a span is an ended wait that may have lasted this many seconds.
fn is_wait_of(span: &Span, waited: f64) -> bool {
    let lasted = span.seconds().map(|seconds| seconds + span.uncertain_seconds() + WAITED_TOO_LONG);
    span.phase == Phase::Waiting && lasted.is_some_and(|lasted| waited <= lasted)
}

/// Seconds waited by reason. Most jobs have none yet, and there are millions of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Waited(pub BTreeMap<String, f64>);

impl Waited {
    fn add(&mut self, seconds: &[(String, f64)]) {
        for (reason, seconds) in seconds {
            *self.0.entry(reason.clone()).or_default() += seconds;
        }
    }
}

/// Seconds waited by reason for waits after the first, by attempt: most jobs have only one wait.
pub type RequeueWaits = BTreeMap<u32, Waited>;

/// A job: its latest response, its description, and its timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The latest response; its `details` are moved to [`Job::details`].
    pub latest: JobSeen,
    /// The latest description; `None` until the job was described. Jobs that have not run share equal ones.
    pub details: Option<Arc<JobDetails>>,
    /// Its history.
    pub timeline: Timeline,
    /// Request time of the latest response.
    pub seen_at: Timestamp,
    /// Request time of the description: its contents may have changed since.
    pub described_at: Option<Timestamp>,
    /// When a change since the last description was noticed; `None` if there was none.
    pub wants_description_since: Option<Timestamp>,
    /// Whether the training job of the latest attempt was described.
    pub training_job_known: bool,
    /// Seconds of ended waits by reason, as far as observed; `None` if none were.
    pub waited: Option<Box<Waited>>,
    /// The part of `waited` that belongs to waits after the first.
    pub requeue_waits: Option<Box<RequeueWaits>>,
    /// Whether the timeline has ended, as a cached flag: most responses contain nothing new.
    pub(super) is_over: bool,
    /// Whether attempts may have preceded the first response: a list shows the latest one only, and the times of it. False
    /// once the job was described, and for one that was first listed when it had ended.
    pub(super) may_have_unseen_attempts: bool,
    /// Reported preemptions, by this run and earlier ones; `None` until a description has given their number.
    pub(super) preemptions_reported: Option<u32>,
    /// Whether it was restored from an earlier run.
    pub(super) is_restored: bool,
    /// Whether only an earlier run has seen it.
    pub(super) is_unverified: bool,
    pub(super) listed_state: ListedState,
}

impl Job {
    /// Creates a job from its first response, with the events so far. `before` is what an earlier run has seen of it
    /// and AWS may not return any more.
    pub(super) fn first_seen(mut seen: JobSeen, before: Option<Past>, at: Moment, events: &mut Vec<Event>) -> Self {
        let details = seen.details.take();
        let last_known = before.as_ref().and_then(|before| Some(before.timeline.spans().last()?.from.latest));
        // A list does not show attempts that started and ended before the first poll.
        let was_dispatched = seen.status.is_in_flight() || seen.training_job.is_some() || seen.scheduled_at.is_some();
        let may_have_made_attempts = was_dispatched && !seen.status.is_ended();
        // An ended job is not described any more: what its list entry shows is the best that is known.
        let may_have_unseen_attempts = may_have_made_attempts && before.is_none();
        let before = before.unwrap_or_else(|| Past::beginning(seen.created_at));
        let mut job = Self {
            timeline: before.timeline,
            latest: seen.clone(),
            details: None,
            described_at: None,
            // With a clock behind AWS's, the first response must not count as old.
            seen_at: last_known.unwrap_or(seen.created_at).min(at.earliest),
            wants_description_since: (before.wants_description || may_have_made_attempts).then_some(at.earliest),
            training_job_known: false,
            waited: None,
            requeue_waits: None,
            is_over: false,
            may_have_unseen_attempts,
            preemptions_reported: before.preemptions,
            is_restored: false,
            is_unverified: false,
            listed_state: ListedState::Unchanged,
        };
        job.emit_again(events);
        job.observe(JobSeen { details, ..seen }, at, events);
        job
    }

    /// Whether the job was dispatched and has not ended: AWS may forget its earlier attempts.
    pub(super) fn has_a_past(&self) -> bool {
        let was_preempted = self.preemptions_reported.is_some_and(|preemptions| preemptions > 0);
        self.timeline.current().is_some() && (self.timeline.spans().len() > 1 || was_preempted)
    }

    /// Whether nothing differs that must be saved: times of responses and descriptions are known precisely enough.
    pub(super) fn is_saved_as(&self, before: &Self) -> bool {
        let Self {
            latest, details, timeline, wants_description_since, training_job_known, preemptions_reported, ..
        } = self;
        *latest == before.latest
            && *details == before.details
            && *timeline == before.timeline
            && *wants_description_since == before.wants_description_since
            && *training_job_known == before.training_job_known
            && *preemptions_reported == before.preemptions_reported
            && self.described_at.is_some() == before.described_at.is_some()
    }

    /// Whether a response requested at `at` can contain news: it does not if it is older than the latest one, or the
    /// job has ended.
    pub(super) fn accepts(&self, at: Timestamp) -> bool {
        at >= self.seen_at && !self.is_over
    }

    /// Whether a response equals the latest one.
    pub(super) fn is_as(&self, seen: &JobSeen) -> bool {
        let (latest, described) = (&self.latest, self.details.is_some());
        // These never change: a job is created once, in one queue, under one name.
        let JobSeen { id: _, created_at: _, queue: _, name: _, share, status, status_reason, .. } = seen;
        let JobSeen {
            scheduled_at, started_at, stopped_at, demand, training_job, terminated, details, odd_arn, ..
        } = seen;
        *status == latest.status
            && (*scheduled_at, *started_at, *stopped_at) == (latest.scheduled_at, latest.started_at, latest.stopped_at)
            && details.is_none()
            && *terminated == latest.terminated
            && *odd_arn == latest.odd_arn
            && *status_reason == latest.status_reason
            && *training_job == latest.training_job
            && (described || *demand == latest.demand)
            && *share == latest.share
    }

    /// Completes a response from better knowledge, and shares equal values.
    pub(super) fn complete(&self, seen: &mut JobSeen) {
        let latest = &self.latest;
        // A description may name instance types where a list only counts instances.
        if seen.demand == latest.demand || (seen.details.is_none() && self.details.is_some()) {
            seen.demand.clone_from(&latest.demand);
        }
        seen.id.clone_from(&latest.id);
        seen.created_at = latest.created_at;
        seen.name.clone_from(&latest.name);
        seen.queue.clone_from(&latest.queue);
        if seen.share == latest.share {
            seen.share.clone_from(&latest.share);
        }
    }

    /// Applies a response that was [accepted](Self::accepts) and [completed](Self::complete).
    pub(super) fn observe(&mut self, mut seen: JobSeen, within: Moment, events: &mut Vec<Event>) {
        let at = within.earliest;
        let requeued = self.timeline.observe(&seen, self.seen_at, within.latest);
        let described = seen.details.take();
        let other_attempt = seen.training_job != self.latest.training_job;
        if other_attempt {
            self.training_job_known = false;
        }
        // A waiting job with a new attempt was dispatched and returned between two polls.
        if requeued || (other_attempt && seen.training_job.is_some() && seen.status.is_waiting()) {
            self.wants_description_since =
                self.wants_description_since.filter(|_| self.awaits_description(at)).or(Some(at));
        }
        self.latest = seen;
        self.seen_at = at;
        if let Some(details) = described {
            self.timeline.learn_attempts(&details.over());
            self.emit_preemptions(&details, events);
            self.details = Some(Arc::from(details));
            self.described_at = Some(at);
            self.wants_description_since = None;
            self.may_have_unseen_attempts = false;
        }
        self.is_over = self.timeline.current().is_none();
        if self.is_over {
            self.emit_spans(events);
            self.emit_end(within.latest, events);
        } else {
            self.emit_unless_awaited(at, events);
        }
    }

    /// Reports events, unless a pending description can tell more precisely when the attempt of a requeued job ended.
    /// Returns whether there were any.
    pub(super) fn emit_unless_awaited(&mut self, at: Timestamp, events: &mut Vec<Event>) -> bool {
        let told_before = events.len();
        if !self.awaits_description(at) {
            self.emit_spans(events);
        }
        events.len() > told_before
    }

    fn awaits_description(&self, now: Timestamp) -> bool {
        self.wants_description_since.is_some_and(|since| now.since(since) <= DESCRIPTION_AWAITED)
    }

    /// Applies SageMaker's description of the latest attempt's training job. Returns false for another training job.
    pub(super) fn observe_training_job(&mut self, seen: &TrainingJobSeen) -> bool {
        if self.latest.training_job.as_ref() != Some(&seen.name) {
            return false;
        }
        self.training_job_known = true;
        let Some(attempt) = self.timeline.spans().last().map(|span| span.attempt) else { return true };
        for (phase, at) in [(Phase::Starting, seen.starting_at), (Phase::Running, seen.training_at)] {
            if let Some(at) = at {
                self.timeline.learn_start(phase, attempt, at);
            }
        }
        true
    }

    /// AWS no longer knows the job.
    pub(super) fn vanish(&mut self, within: Moment, events: &mut Vec<Event>) {
        let at = within.latest;
        let mut last = self.latest.clone();
        last.status = JobStatus::Failed;
        last.stopped_at = None;
        self.timeline.observe(&last, self.seen_at, at);
        // Counts and lists by state must not include it as waiting or running.
        self.latest = last;
        self.listed_state = ListedState::Unchanged;
        self.is_over = true;
        self.seen_at = within.earliest;
        self.emit_spans(events);
        events.push(self.event(at, EventKind::Ended { outcome: Outcome::Vanished, gpu_seconds: None }));
    }

    /// Where the job stands, or stood when it was seen last.
    pub fn status(&self) -> &JobStatus {
        match self.listed_state {
            ListedState::Unchanged | ListedState::Missing => &self.latest.status,
            ListedState::Succeeded => &JobStatus::Succeeded,
            ListedState::Failed => &JobStatus::Failed,
        }
    }

    /// Whether complete lists no longer show the job where it was seen last, and nothing says where it is.
    pub(super) fn is_missing(&self) -> bool {
        self.listed_state == ListedState::Missing
    }

    /// Whether the job is no longer where it was seen last, while a description of it is awaited: it counts for nothing there.
    pub fn has_left(&self) -> bool {
        self.listed_state != ListedState::Unchanged
    }

    /// GPUs the job requests; `None` if unknown (unknown type, or instances of any type).
    pub fn gpus(&self) -> Option<f64> {
        gpus_of(&self.latest.demand)
    }

    /// Its priority within its share, if the job was described.
    pub fn priority(&self) -> Option<i32> {
        self.details.as_ref()?.priority
    }

    /// Start of the job's uninterrupted wait; `None` if it does not wait, or if unknown.
    pub fn waiting_since(&self) -> Option<Timestamp> {
        let current = self.timeline.current().filter(|_| !self.has_left());
        current.filter(|span| span.phase == Phase::Waiting).map(|span| span.from.latest)
    }

    /// Adds what an ended wait was for.
    pub(super) fn add_waited(&mut self, seconds: &[(String, f64)]) {
        self.waited.get_or_insert_default().add(seconds);
        // Of several waits that ended between two ticks, only the first can have been observed for long.
        let waited = seconds.iter().map(|(_, seconds)| seconds).sum();
        let attempt = self.timeline.spans().iter().rfind(|span| is_wait_of(span, waited)).map(|span| span.attempt);
        if let Some(attempt) = attempt.filter(|attempt| *attempt > 1) {
            self.requeue_waits.get_or_insert_default().entry(attempt).or_default().add(seconds);
        }
    }

    /// Seconds by reason of the ended wait before an attempt; empty if it was not observed, or if the observed time
    /// cannot be assigned to the job's waits.
    pub fn waited_before(&self, attempt: u32) -> BTreeMap<&str, f64> {
        let later = self.requeue_waits.as_deref();
        if attempt > 1 {
            let own = later.and_then(|later| later.get(&attempt)).into_iter().flat_map(|waited| &waited.0);
            return own.map(|(reason, seconds)| (reason.as_str(), *seconds)).collect();
        }
        let of_later =
            |reason: &str| -> f64 { later.into_iter().flatten().filter_map(|(_, waited)| waited.0.get(reason)).sum() };
        let all = self.waited.iter().flat_map(|waited| &waited.0);
        let first = all.map(|(reason, seconds)| (reason.as_str(), seconds - of_later(reason)));
        // Differences of sums are inexact.
        let first: BTreeMap<&str, f64> = first.filter(|(_, seconds)| *seconds >= MIN_WAITED).collect();
        let spans = self.timeline.spans();
        let span = spans.iter().find(|span| span.phase == Phase::Waiting && span.attempt == attempt);
        if span.is_some_and(|span| is_wait_of(span, first.values().sum())) { first } else { BTreeMap::new() }
    }

    /// Number of attempts so far; `None` if the job was never described, and others may have preceded those it was seen in.
    pub fn attempts(&self) -> Option<u32> {
        let last = self.timeline.spans().last().map_or(0, |span| span.attempt);
        (!self.may_have_unseen_attempts).then_some(last)
    }

    /// The first wait; `None` if it is unknown, as for [`Job::attempts`].
    pub fn first_wait(&self) -> Option<Span> {
        let first = self.timeline.spans().first().copied().filter(|span| span.phase == Phase::Waiting);
        first.filter(|_| !self.may_have_unseen_attempts)
    }

    /// The job's owner, if a description contained one.
    pub fn owner(&self) -> Option<&str> {
        self.details.as_ref()?.owner.as_deref()
    }

    /// Time from which on something may have happened that only the pending description shows, or that is reported
    /// only with it. `None` if no description is pending.
    pub(super) fn unreported_since(&self) -> Option<Timestamp> {
        let spans = self.timeline.spans();
        let came_back = spans.iter().rfind(|span| span.phase == Phase::Waiting).map(|span| span.from.earliest);
        let unreported = spans.iter().filter(|span| span.reported_at().is_none() && self.event_kind(span).is_some());
        let unreported = unreported.filter_map(|span| span.to).map(|to| to.earliest).min();
        came_back.into_iter().chain(unreported).min().filter(|_| self.awaits_description(self.seen_at))
    }

    /// Category of a failed job's failure.
    pub fn failure(&self) -> FailureCategory {
        let ran = self.timeline.spans().iter().any(|span| span.phase >= Phase::Starting);
        FailureCategory::of(self.latest.status_reason.as_deref(), self.latest.terminated, ran)
    }

    /// The job's queue.
    pub fn queue(&self) -> &QueueName {
        &self.latest.queue
    }

    /// The job's share.
    pub fn share(&self) -> Option<&ShareName> {
        self.latest.share.as_ref()
    }
}

/// GPUs of a demand; `None` if the GPUs of a unit, or the demand itself, are unknown.
pub fn gpus_of(demand: &[Capacity]) -> Option<f64> {
    let gpus = |capacity: &Capacity| Some(capacity.quantity * f64::from(accelerators_of(&capacity.unit)?.gpus()));
    if demand.is_empty() { None } else { demand.iter().map(gpus).sum() }
}
