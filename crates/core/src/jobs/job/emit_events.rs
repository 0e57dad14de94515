//! The events of a job: what its timeline and its description show, each reported once.

use crate::jobs::event::{Event, EventKind, Outcome};
use crate::jobs::job::Job;
use crate::jobs::timeline::{Phase, Span};
use crate::model::{JobDetails, JobStatus, Timestamp};

impl Job {
    /// Reports the spans that were not reported yet.
    pub(super) fn emit_spans(&mut self, events: &mut Vec<Event>) {
        for index in 0..self.timeline.spans().len() {
            let span = self.timeline.spans().get(index).copied().filter(|span| span.reported_at().is_none());
            let Some((at, uncertain_seconds, what)) =
                span.and_then(|span| Some((span.to?.latest, span.uncertain_seconds(), self.event_kind(&span)?)))
            else {
                continue;
            };
            events.push(Event { uncertain_seconds, ..self.event(at, what) });
            self.timeline.reported(index, at);
        }
    }

    /// Reports again what an earlier run has reported but may not have counted.
    pub(super) fn emit_again(&self, events: &mut Vec<Event>) {
        let reported = |span: &Span| {
            let event = self.event(span.reported_at()?, self.event_kind(span)?);
            Some(Event { uncertain_seconds: span.uncertain_seconds(), ..event })
        };
        events.extend(self.timeline.spans().iter().filter_map(reported));
    }

    /// Reports what an earlier run has reported but not counted: events after `counted_until`, and preemptions beyond
    /// the number it saved as counted.
    pub(in crate::jobs) fn emit_uncounted(&mut self, counted_until: Timestamp, events: &mut Vec<Event>) {
        let told_before = events.len();
        self.emit_again(events);
        if self.is_over {
            let at = self.seen_at;
            // AWS returns the end time of every ended job that it still knows.
            if self.latest.status == JobStatus::Failed && self.latest.stopped_at.is_none() {
                let ended_at = self.timeline.spans().last().and_then(|span| span.to).map_or(at, |to| to.latest);
                events.push(self.event(ended_at, EventKind::Ended { outcome: Outcome::Vanished, gpu_seconds: None }));
            } else {
                self.emit_end(at, events);
            }
        }
        let mut uncounted = events.split_off(told_before);
        uncounted.retain(|event| event.at > counted_until);
        events.append(&mut uncounted);
        if let Some(details) = self.details.clone() {
            self.emit_preemptions(&details, events);
        }
    }

    /// The event at the end of a span; `None` while it is open, or if it is not counted.
    pub(super) fn event_kind(&self, span: &Span) -> Option<EventKind> {
        let (to, seconds) = (span.to?, span.seconds()?);
        match span.phase {
            Phase::Waiting if self.was_dispatched(span) => {
                Some(EventKind::Dispatched { seconds, first: span.attempt == 1 })
            }
            Phase::Starting if self.reached_running(span) => {
                Some(EventKind::Started { seconds: self.since_dispatch(span, to.latest) })
            }
            Phase::Running => Some(EventKind::Ran { seconds }),
            Phase::Waiting | Phase::Scheduled | Phase::Starting => None,
        }
    }

    fn was_dispatched(&self, span: &Span) -> bool {
        self.has(Phase::Scheduled, span.attempt)
    }

    fn reached_running(&self, span: &Span) -> bool {
        self.has(Phase::Running, span.attempt)
    }

    fn has(&self, phase: Phase, attempt: u32) -> bool {
        self.timeline.spans().iter().any(|span| span.phase == phase && span.attempt == attempt)
    }

    fn since_dispatch(&self, span: &Span, at: Timestamp) -> f64 {
        let dispatched = |other: &&Span| other.phase == Phase::Scheduled && other.attempt == span.attempt;
        self.timeline.spans().iter().find(dispatched).map_or(0.0, |other| at.seconds_since(other.from.latest))
    }

    pub(super) fn emit_end(&self, at: Timestamp, events: &mut Vec<Event>) {
        let latest = &self.latest;
        let outcome =
            if latest.status == JobStatus::Succeeded { Outcome::Succeeded } else { Outcome::Failed(self.failure()) };
        if let [only] = *self.timeline.spans()
            && only.phase == Phase::Waiting
            && let (Some(to), Some(seconds)) = (only.to, only.seconds())
        {
            events.push(self.event(to.latest, EventKind::Cancelled { seconds }));
        }
        let last = self.timeline.spans().last().copied();
        let ran = last.filter(|span| span.phase == Phase::Running).and_then(|span| span.seconds());
        let gpu_seconds = ran.zip(self.gpus()).map(|(seconds, gpus)| seconds * gpus);
        let ended_at = last.and_then(|span| span.to).map_or(at, |to| to.latest);
        events.push(self.event(ended_at, EventKind::Ended { outcome, gpu_seconds }));
    }

    pub(super) fn emit_preemptions(&mut self, details: &JobDetails, events: &mut Vec<Event>) {
        let reported = self.preemptions_reported.unwrap_or_default();
        let counted = details.preemptions.min(JobDetails::MAX_PREEMPTIONS);
        let new = counted.saturating_sub(reported);
        // An earlier run has not counted it, whenever it happened: count it with the current time, or with the job's
        // end.
        let found_late = self.preemptions_reported.is_some() && self.details.is_none();
        let ended_at = self.latest.stopped_at.filter(|_| self.latest.status.is_ended());
        let now = ended_at.unwrap_or(self.seen_at);
        // Attempts that are no longer listed ended before the listed ones. Without an earlier run that may be long
        // ago.
        let oldest = details.preempted.iter().filter_map(|attempt| attempt.stopped_at).min();
        let long_ago = self.preemptions_reported.is_none().then(|| oldest.unwrap_or(self.latest.created_at));
        self.preemptions_reported = Some(reported.max(counted));
        let mut stopped = details.preempted.iter().rev();
        for _ in 0..new {
            let attempt = stopped.next();
            let ran_seconds = attempt.and_then(|attempt| Some(attempt.stopped_at?.seconds_since(attempt.started_at?)));
            let at = attempt.and_then(|attempt| attempt.stopped_at).or(long_ago).filter(|_| !found_late);
            events.push(self.event(at.unwrap_or(now), EventKind::Preempted { ran_seconds, gpus: self.gpus() }));
        }
    }

    pub(super) fn event(&self, at: Timestamp, what: EventKind) -> Event {
        let (queue, share) = (self.latest.queue.clone(), self.latest.share.clone());
        let job = Some(self.latest.id.clone());
        Event {
            at,
            queue,
            share,
            owner: self.owner().map(Into::into),
            priority: self.priority(),
            job,
            uncertain_seconds: 0.0,
            is_news: self.is_restored,
            what,
        }
    }
}
