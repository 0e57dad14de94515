//! Applies a response of AWS to a job's timeline: extends, splits and corrects its spans.

use crate::jobs::CLOCKS_MAY_DIFFER;
use crate::jobs::timeline::{Moment, Phase, Span};
use crate::model::{JobSeen, StoppedAttempt, Timestamp};

/// Spans of a job that was dispatched for the first time: most never have more.
const USUAL_SPANS: usize = 4;

/// Spans of a job, oldest first.
#[derive(Debug)]
pub(super) struct SpanList(Vec<Span>);

impl From<Box<[Span]>> for SpanList {
    fn from(spans: Box<[Span]>) -> Self {
        Self(spans.into_vec())
    }
}

impl From<SpanList> for Vec<Span> {
    fn from(spans: SpanList) -> Self {
        spans.0
    }
}

impl SpanList {
    /// The first wait.
    pub(super) fn beginning(created_at: Timestamp) -> Self {
        let mut spans = Vec::with_capacity(USUAL_SPANS);
        spans.push(Span::first(created_at));
        Self(spans)
    }

    fn current(&self) -> Option<Span> {
        self.0.last().copied().filter(|span| span.to.is_none())
    }

    /// See [`Timeline::observe`](super::Timeline::observe).
    pub(super) fn observe(&mut self, seen: &JobSeen, previous: Timestamp, at: Timestamp) -> bool {
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

    /// See [`Timeline::learn_attempts`](super::Timeline::learn_attempts).
    pub(super) fn learn_attempts(&mut self, over: &[StoppedAttempt]) {
        for attempt in over {
            let Some(stopped_at) = attempt.stopped_at.filter(|at| !self.came_back_at(*at)) else { continue };
            let started_at = attempt.started_at.filter(|at| *at <= stopped_at);
            match self.ended_at(stopped_at) {
                Some(index) => self.learn_end(index, started_at, stopped_at),
                None => self.learn_unseen(started_at, stopped_at),
            }
        }
    }

    fn came_back_at(&self, at: Timestamp) -> bool {
        let spans = &self.0;
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
        self.0.windows(2).position(is_it)
    }

    fn learn_end(&mut self, index: usize, started_at: Option<Timestamp>, stopped_at: Timestamp) {
        self.set_boundary(index + 1, Moment::exactly(stopped_at));
        let Some(last) = self.0.get(index).copied() else { return };
        if last.phase < Phase::Running {
            let started_at = started_at.filter(|at| last.from.latest <= *at);
            let visit = visit(last.phase, last.attempt, last.from, started_at, stopped_at);
            drop(self.0.splice(index..=index, visit));
        }
    }

    /// Inserts an unseen attempt into the wait that it interrupted, if there is one.
    fn learn_unseen(&mut self, started_at: Option<Timestamp>, stopped_at: Timestamp) {
        let began_by = started_at.unwrap_or(stopped_at);
        let is_interrupted = |span: &Span| {
            let is_within = span.from.latest <= began_by && span.to.is_none_or(|to| stopped_at <= to.latest);
            span.phase == Phase::Waiting && span.reported_at.is_none() && is_within && span.from.latest < stopped_at
        };
        let spans = &self.0;
        let Some(index) = spans.iter().position(is_interrupted) else { return };
        let Some((&wait, later)) = spans.get(index..).and_then(|spans| spans.split_first()) else { return };
        let attempt = wait.attempt;
        let dispatched = Moment::between(wait.from.latest, began_by);
        let mut known = vec![Span { to: Some(dispatched), ..wait }];
        known.extend(visit(Phase::Scheduled, attempt, dispatched, started_at, stopped_at));
        let to = wait.to.map(|to| Moment::between(to.earliest.max(stopped_at), to.latest));
        known.push(Span { attempt: attempt + 1, from: Moment::exactly(stopped_at), to, ..wait });
        known.extend(later.iter().map(|span| Span { attempt: span.attempt + 1, ..*span }));
        drop(self.0.splice(index.., known));
    }

    /// See [`Timeline::learn_start`](super::Timeline::learn_start).
    pub(super) fn learn_start(&mut self, phase: Phase, attempt: u32, at: Timestamp) {
        let spans = &self.0;
        let Some(index) = spans.iter().position(|span| span.phase == phase && span.attempt == attempt) else { return };
        let Some(before) = index.checked_sub(1).and_then(|before| spans.get(before)) else { return };
        let fits = spans.get(index).is_some_and(|span| {
            // By the upper bound the phase had begun.
            let has_begun_by = span.to.map_or(span.from.latest + CLOCKS_MAY_DIFFER, |to| to.latest);
            !span.from.is_exact() && at >= before.from.latest && at <= has_begun_by
        });
        if fits {
            // By the other clock it was seen in this phase before it began; it ends no earlier than it was seen.
            let open = self.0.get(index).filter(|span| span.to.is_none());
            let at = open.map_or(at, |span| at.min(span.from.latest));
            self.set_boundary(index, Moment::exactly(at));
        }
    }

    fn was_requeued(&self, current: Span, target: Phase, seen: &JobSeen) -> bool {
        if target < current.phase {
            return true;
        }
        // In the same phase or a later one, a new dispatch time reveals a return to the queue between two polls.
        let spans = &self.0;
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
        if let Some(span) = self.0.last_mut() {
            let latest = at.latest.max(span.from.latest);
            span.to = Some(Moment { earliest: at.earliest.max(span.from.earliest).min(latest), latest });
        }
    }

    fn open(&mut self, phase: Phase, attempt: u32) {
        if let Some(from) = self.0.last().and_then(|span| span.to) {
            self.0.push(Span { phase, attempt, from, to: None, reported_at: None });
        }
    }

    fn set_boundary(&mut self, index: usize, at: Moment) {
        if let Some(before) = index.checked_sub(1).and_then(|before| self.0.get_mut(before)) {
            before.to = Some(at);
        }
        if let Some(span) = self.0.get_mut(index) {
            span.from = at;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Timeline;
    use crate::model::JobStatus;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    #[test]
    fn a_start_after_it_was_seen_is_no_start() {
        for (says, expected) in [(150, 150), (450, 200), (5_000, 200), (4_000_000_000, 200), (0, 200)] {
            let mut timeline = Timeline::beginning(second(10));
            let mut job = JobSeen::new("a", "prod", JobStatus::Starting, second(10));
            job.scheduled_at = Some(second(20));
            timeline.observe(&job, second(90), second(100));
            job.status = JobStatus::Running;
            timeline.observe(&job, second(100), second(200));
            timeline.learn_start(Phase::Running, 1, second(says));
            assert_eq!(timeline.current().map(|span| span.from.latest), Some(second(expected)), "{says}");
            assert!(timeline.is_sound(), "{says}: {timeline:?}");
            (job.status, job.stopped_at) = (JobStatus::Succeeded, Some(second(300)));
            timeline.observe(&job, second(200), second(310));
            assert_eq!(timeline.spans().last().and_then(|span| span.to), Some(Moment::exactly(second(300))), "{says}");
            assert!(timeline.is_sound(), "{says}: {timeline:?}");
        }
    }

    #[test]
    fn an_attempt_that_starts_after_its_end_has_no_known_start() {
        let mut timeline = Timeline::beginning(second(10));
        let attempt = |started_at, stopped_at| StoppedAttempt {
            started_at: Some(second(started_at)),
            stopped_at: Some(second(stopped_at)),
            status_reason: None,
        };
        timeline.learn_attempts(&[attempt(90, 50), attempt(100, 120)]);
        assert!(timeline.is_sound(), "{timeline:?}");
        let spans = timeline.spans();
        let waits: Vec<_> =
            spans.iter().filter(|span| span.phase == Phase::Waiting).map(|span| span.from.latest).collect();
        assert_eq!(waits, [second(10), second(50), second(120)]);
    }
}
