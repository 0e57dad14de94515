//! History of one job as spans, from responses that are late, out of order and incomplete.
//!
//! # Invariants
//!
//! * Spans partition the job's life: each begins where the previous one ended, and only the last may be open.
//! * Time never runs backwards: every boundary is at or after the previous one.
//! * An ended job stays ended.

mod apply_response;

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::jobs::LISTS_MAY_LAG;
use crate::model::{JobSeen, JobStatus, StoppedAttempt, Timestamp};
use apply_response::SpanList;

/// A phase of an attempt. A job passes through them in this order; a requeue starts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// In the queue.
    Waiting,
    /// SageMaker looks for instances.
    Scheduled,
    /// Download and container start.
    Starting,
    /// The container runs.
    Running,
}

impl Phase {
    /// The phase of a status; `None` for ended and unknown ones.
    pub fn of(status: &JobStatus) -> Option<Self> {
        match status {
            JobStatus::Submitted | JobStatus::Pending | JobStatus::Runnable => Some(Self::Waiting),
            JobStatus::Scheduled => Some(Self::Scheduled),
            JobStatus::Starting => Some(Self::Starting),
            JobStatus::Running => Some(Self::Running),
            JobStatus::Succeeded | JobStatus::Failed | JobStatus::Unknown(_) => None,
        }
    }

    /// Lower-case name, as in this service's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Scheduled => "scheduled",
            Self::Starting => "starting",
            Self::Running => "running",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bounds of the time of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Lower bound.
    pub earliest: Timestamp,
    /// Upper bound.
    pub latest: Timestamp,
}

impl Moment {
    /// An exact time, from the API.
    pub fn exactly(at: Timestamp) -> Self {
        Self { earliest: at, latest: at }
    }

    /// A time between two observations.
    pub fn between(earliest: Timestamp, latest: Timestamp) -> Self {
        Self { earliest: earliest.min(latest), latest }
    }

    /// Width of the bounds.
    pub fn uncertain_seconds(self) -> f64 {
        self.latest.seconds_since(self.earliest)
    }

    /// Whether the time is exact.
    pub fn is_exact(self) -> bool {
        self.earliest == self.latest
    }
}

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Self::exactly(at)
    }
}

/// One phase of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Phase of the job.
    pub phase: Phase,
    /// Attempt number, from 1; capacity retries and preemptions count too.
    pub attempt: u32,
    /// Start.
    pub from: Moment,
    /// End; `None` while open.
    pub to: Option<Moment>,
    /// Time of the event reported at its end; never changes later.
    #[serde(rename = "told_at", default, skip_serializing_if = "Option::is_none")]
    reported_at: Option<Timestamp>,
}

impl Span {
    /// The first wait of a job, which has not ended.
    fn first(created_at: Timestamp) -> Self {
        Self { phase: Phase::Waiting, attempt: 1, from: Moment::exactly(created_at), to: None, reported_at: None }
    }

    /// Time of the event reported at its end; `None` until then.
    pub(super) fn reported_at(&self) -> Option<Timestamp> {
        self.reported_at
    }

    /// Duration in seconds, by the upper bounds; `None` while open.
    pub fn seconds(&self) -> Option<f64> {
        self.to.map(|to| to.latest.seconds_since(self.from.latest))
    }

    /// Uncertainty of the duration in seconds.
    pub fn uncertain_seconds(&self) -> f64 {
        self.from.uncertain_seconds() + self.to.map_or(0.0, Moment::uncertain_seconds)
    }
}

/// The spans of a job so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Listed", into = "Listed")]
pub struct Timeline(Kept);

/// Most of a million open jobs have only waited since they were created, which takes no list. A list never stands for
/// just that.
#[derive(Clone, Debug, PartialEq)]
enum Kept {
    Waiting(Timestamp),
    Listed(Box<[Span]>),
}

/// A timeline as it is saved.
#[derive(Serialize, Deserialize)]
struct Listed {
    spans: Vec<Span>,
}

impl From<Listed> for Timeline {
    fn from(Listed { spans }: Listed) -> Self {
        match spans[..] {
            [only] if only == Span::first(only.from.latest) => Self::beginning(only.from.latest),
            _ => Self(Kept::Listed(spans.into())),
        }
    }
}

impl From<Timeline> for Listed {
    fn from(timeline: Timeline) -> Self {
        Self { spans: timeline.spans().to_vec() }
    }
}

/// The spans of a timeline, oldest first.
#[derive(Clone, Copy, Debug)]
pub enum Spans<'a> {
    /// Only the first wait.
    First([Span; 1]),
    /// Any others.
    Listed(&'a [Span]),
}

impl Deref for Spans<'_> {
    type Target = [Span];

    fn deref(&self) -> &[Span] {
        match self {
            Self::First(first) => first,
            Self::Listed(spans) => spans,
        }
    }
}

impl Timeline {
    /// Whether the spans satisfy the invariants: saved state may be damaged.
    pub(super) fn is_sound(&self) -> bool {
        let is_in_order = |moment: Moment| moment.earliest <= moment.latest;
        let joins = |pair: &[Span]| matches!(pair, [before, after] if before.to == Some(after.from));
        let ends = |span: &Span| span.to.is_none_or(|to| is_in_order(to) && to.latest >= span.from.latest);
        let spans = self.spans();
        !spans.is_empty()
            && spans.windows(2).all(joins)
            && spans.iter().all(|span| is_in_order(span.from) && ends(span))
    }

    /// A new job waits.
    pub fn beginning(created_at: Timestamp) -> Self {
        Self(Kept::Waiting(created_at))
    }

    /// All spans, oldest first.
    pub fn spans(&self) -> Spans<'_> {
        match &self.0 {
            Kept::Waiting(since) => Spans::First([Span::first(*since)]),
            Kept::Listed(spans) => Spans::Listed(spans),
        }
    }

    /// Changes the spans, as a list that can grow: afterwards a job keeps no room for spans that may never come.
    fn change<R>(&mut self, change: impl FnOnce(&mut SpanList) -> R) -> R {
        let mut spans = match std::mem::replace(&mut self.0, Kept::Listed(Box::default())) {
            Kept::Waiting(since) => SpanList::beginning(since),
            Kept::Listed(spans) => SpanList::from(spans),
        };
        let result = change(&mut spans);
        *self = Listed { spans: spans.into() }.into();
        result
    }

    /// Records the time at which the end of a span was reported, by its index.
    pub(super) fn reported(&mut self, index: usize, at: Timestamp) {
        // The end of a lone first wait is in a list, too.
        if let Kept::Listed(spans) = &mut self.0
            && let Some(span) = spans.get_mut(index)
        {
            span.reported_at = Some(at);
        }
    }

    /// The open span; `None` once the job has ended.
    pub fn current(&self) -> Option<Span> {
        match &self.0 {
            Kept::Waiting(since) => Some(Span::first(*since)),
            Kept::Listed(spans) => spans.last().copied().filter(|span| span.to.is_none()),
        }
    }

    /// Whether a list requested at `at` shows an earlier phase because it lags: the known phase began later than the
    /// list's state may be from. An ended job is ahead of any list that shows it open.
    pub(super) fn is_ahead_of(&self, seen: &JobSeen, at: Timestamp) -> bool {
        let Some(shown) = Phase::of(&seen.status).filter(|_| seen.details.is_none()) else { return false };
        let Some(current) = self.current() else { return true };
        shown < current.phase && current.from.latest > at - LISTS_MAY_LAG
    }

    /// Applies a response received at `at`; `previous` is when the job was last seen before. Returns whether the job
    /// was found back in the queue, or beyond a return to it.
    pub fn observe(&mut self, seen: &JobSeen, previous: Timestamp, at: Timestamp) -> bool {
        let still_waits = matches!(self.0, Kept::Waiting(_)) && Phase::of(&seen.status) == Some(Phase::Waiting);
        !still_waits && self.change(|spans| spans.observe(seen, previous, at))
    }

    /// Applies a description's ended attempts, oldest first: observed ends become exact, and unseen attempts are
    /// added. Reported events do not change.
    pub fn learn_attempts(&mut self, over: &[StoppedAttempt]) {
        if !over.is_empty() {
            self.change(|spans| spans.learn_attempts(over));
        }
    }

    /// Sets the start of `phase` of `attempt`, if that is more precise and consistent with its neighbours.
    pub fn learn_start(&mut self, phase: Phase, attempt: u32, at: Timestamp) {
        self.change(|spans| spans.learn_start(phase, attempt, at));
    }
}
