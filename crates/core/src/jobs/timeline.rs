//! History of one job as spans, from responses that are late, out of order and incomplete.
//!
//! # Invariants
//!
//! * Spans partition the job's life: each begins where the previous one ended, and only the last may be open.
//! * Time never runs backwards: every boundary is at or after the previous one.
//! * An ended job stays ended.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::jobs::LISTS_MAY_LAG;
use crate::model::{JobSeen, JobStatus, StoppedAttempt, Timestamp};

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
        Self { spans: timeline.into_spans() }
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

    fn into_spans(self) -> Vec<Span> {
        match self.0 {
            Kept::Waiting(since) => vec![Span::first(since)],
            Kept::Listed(spans) => spans.into_vec(),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<Span>)) {
        let mut spans = std::mem::replace(self, Self(Kept::Listed(Box::default()))).into_spans();
        change(&mut spans);
        *self = Listed { spans }.into();
    }

    /// Records the time at which the end of a span was reported, by its index.
    pub(super) fn reported(&mut self, index: usize, at: Timestamp) {
        self.change(|spans| {
            if let Some(span) = spans.get_mut(index) {
                span.reported_at = Some(at);
            }
        });
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
        let Some(current) = self.current() else { return false };
        let ended = seen.status.is_ended();
        let so_far = || reached(seen).max(current.phase);
        let Some(target) = Phase::of(&seen.status).or_else(|| ended.then(so_far)) else { return false };
        let requeued = self.was_requeued(current, target, seen);
        if requeued {
            let left = Moment::between(previous, at);
            let left = seen
                .scheduled_at
                .filter(|_| target > Phase::Waiting)
                .map_or(left, |again| Moment { earliest: left.earliest.min(again), latest: left.latest.min(again) });
            self.close(left);
            self.open(Phase::Waiting, current.attempt + 1);
        }
        self.advance(target, seen, previous, at);
        if ended {
            let end = seen.stopped_at.map_or_else(|| Moment::between(previous, at), Moment::exactly);
            self.close(end);
        }
        requeued
    }

    /// Applies a description's ended attempts, oldest first: observed ends become exact, and unseen attempts are
    /// added. Reported events do not change.
    pub fn learn_attempts(&mut self, over: &[StoppedAttempt]) {
        for attempt in over {
            let Some(stopped_at) = attempt.stopped_at.filter(|at| !self.came_back_at(*at)) else { continue };
            match self.ended_at(stopped_at) {
                Some(index) => self.learn_end(index, attempt.started_at, stopped_at),
                None => self.learn_unseen(attempt.started_at, stopped_at),
            }
        }
    }

    fn came_back_at(&self, at: Timestamp) -> bool {
        let spans = self.spans();
        let mut waits = spans.iter().skip(1).filter(|span| span.phase == Phase::Waiting);
        waits.any(|span| span.from == Moment::exactly(at))
    }

    /// The span that was observed to end around `at`, because its job was found back in the queue.
    fn ended_at(&self, at: Timestamp) -> Option<usize> {
        let is_it = |pair: &[Span]| {
            let &[before, after] = pair else { return false };
            let about_then = before.from.latest <= at && at <= after.from.latest;
            after.phase == Phase::Waiting && !after.from.is_exact() && about_then
        };
        self.spans().windows(2).position(is_it)
    }

    fn learn_end(&mut self, index: usize, started_at: Option<Timestamp>, stopped_at: Timestamp) {
        self.set_boundary(index + 1, Moment::exactly(stopped_at));
        let Some(last) = self.spans().get(index).copied() else { return };
        if last.phase < Phase::Running {
            let started_at = started_at.filter(|at| last.from.latest <= *at);
            let visit = visit(last.phase, last.attempt, last.from, started_at, stopped_at);
            self.change(|spans| drop(spans.splice(index..=index, visit)));
        }
    }

    /// Inserts an unseen attempt into the wait that it interrupted, if there is one.
    fn learn_unseen(&mut self, started_at: Option<Timestamp>, stopped_at: Timestamp) {
        let began_by = started_at.unwrap_or(stopped_at);
        let is_interrupted = |span: &Span| {
            let is_within = span.from.latest <= began_by && span.to.is_none_or(|to| stopped_at <= to.latest);
            span.phase == Phase::Waiting && span.reported_at.is_none() && is_within && span.from.latest < stopped_at
        };
        let spans = self.spans();
        let Some(index) = spans.iter().position(is_interrupted) else { return };
        let Some((&wait, later)) = spans.get(index..).and_then(|spans| spans.split_first()) else { return };
        let attempt = wait.attempt;
        let dispatched = Moment::between(wait.from.latest, began_by);
        let mut known = vec![Span { to: Some(dispatched), ..wait }];
        known.extend(visit(Phase::Scheduled, attempt, dispatched, started_at, stopped_at));
        let to = wait.to.map(|to| Moment::between(to.earliest.max(stopped_at), to.latest));
        known.push(Span { attempt: attempt + 1, from: Moment::exactly(stopped_at), to, ..wait });
        known.extend(later.iter().map(|span| Span { attempt: span.attempt + 1, ..*span }));
        self.change(|spans| drop(spans.splice(index.., known)));
    }

    /// Sets the start of `phase` of `attempt`, if that is more precise and consistent with its neighbours.
    pub fn learn_start(&mut self, phase: Phase, attempt: u32, at: Timestamp) {
        let spans = self.spans();
        let Some(index) = spans.iter().position(|span| span.phase == phase && span.attempt == attempt) else { return };
        let Some(before) = index.checked_sub(1).and_then(|before| spans.get(before)) else { return };
        let fits = spans.get(index).is_some_and(|span| {
            !span.from.is_exact() && at >= before.from.latest && span.to.is_none_or(|to| at <= to.latest)
        });
        if fits {
            self.set_boundary(index, Moment::exactly(at));
        }
    }

    fn was_requeued(&self, current: Span, target: Phase, seen: &JobSeen) -> bool {
        if target < current.phase {
            return true;
        }
        // In the same phase or a later one, a new dispatch time reveals a return to the queue between two polls.
        let spans = self.spans();
        let dispatched = spans.iter().rfind(|span| span.phase == Phase::Scheduled && span.attempt == current.attempt);
        match (current.phase, dispatched, seen.scheduled_at) {
            (Phase::Scheduled | Phase::Starting | Phase::Running, Some(before), Some(again)) => {
                again > before.from.latest
            }
            _ => false,
        }
    }

    /// Advances to `target` through the phases between, with API times where they are consistent.
    fn advance(&mut self, target: Phase, seen: &JobSeen, previous: Timestamp, at: Timestamp) {
        while let Some(current) = self.current() {
            if current.phase >= target {
                return;
            }
            let after = current.from.latest;
            let known = |time: Option<Timestamp>| time.filter(|time| *time >= after).map(Moment::exactly);
            let latest = known(seen.started_at).or(known(seen.stopped_at)).map_or(at, |moment| moment.latest.min(at));
            let observed = Moment::between(previous.max(after), latest.max(after));
            let (next, boundary) = match current.phase {
                Phase::Waiting => (Phase::Scheduled, known(seen.scheduled_at).unwrap_or(observed)),
                Phase::Scheduled => (Phase::Starting, observed),
                Phase::Starting | Phase::Running => (Phase::Running, known(seen.started_at).unwrap_or(observed)),
            };
            self.close(boundary);
            self.open(next, current.attempt);
        }
    }

    fn close(&mut self, at: Moment) {
        self.change(|spans| {
            if let Some(span) = spans.last_mut() {
                let latest = at.latest.max(span.from.latest);
                span.to = Some(Moment { earliest: at.earliest.max(span.from.earliest).min(latest), latest });
            }
        });
    }

    fn open(&mut self, phase: Phase, attempt: u32) {
        self.change(|spans| {
            if let Some(from) = spans.last().and_then(|span| span.to) {
                // Room for more would be given back at once.
                spans.reserve_exact(1);
                spans.push(Span { phase, attempt, from, to: None, reported_at: None });
            }
        });
    }

    fn set_boundary(&mut self, index: usize, at: Moment) {
        self.change(|spans| {
            if let Some(before) = index.checked_sub(1).and_then(|before| spans.get_mut(before)) {
                before.to = Some(at);
            }
            if let Some(span) = spans.get_mut(index) {
                span.from = at;
            }
        });
    }
}

/// Spans of an attempt from `phase` on, from its start at `from` until it was stopped.
fn visit(
    phase: Phase,
    attempt: u32,
    from: Moment,
    started_at: Option<Timestamp>,
    stopped_at: Timestamp,
) -> impl Iterator<Item = Span> {
    let phases = [Phase::Scheduled, Phase::Starting, Phase::Running].into_iter().skip_while(move |one| *one < phase);
    let phases = phases.take_while(move |one| *one == phase || started_at.is_some());
    let end_of = move |phase| match (phase, started_at) {
        (Phase::Scheduled, Some(at)) => Moment::between(from.earliest, at),
        (Phase::Starting, Some(at)) => Moment::exactly(at),
        _ => Moment::exactly(stopped_at),
    };
    phases.scan(from, move |from, phase| {
        let to = end_of(phase);
        Some(Span { phase, attempt, from: std::mem::replace(from, to), to: Some(to), reported_at: None })
    })
}

/// The last phase that an ended job reached, by the API's times.
fn reached(seen: &JobSeen) -> Phase {
    match (seen.started_at, seen.scheduled_at) {
        (Some(_), _) => Phase::Running,
        (None, Some(_)) => Phase::Scheduled,
        (None, None) => Phase::Waiting,
    }
}
