//! From events to what only grows: each event is counted once, when its time has been covered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::jobs::{Changes, Event, EventKind, Ledger, Outcome};
use crate::metrics::Inputs;
use crate::metrics::catalogue::{self, Label};
use crate::metrics::counters::Counters;
use crate::metrics::ended_job::EndedJob;
use crate::metrics::failures::Failures;
use crate::metrics::fair_share::RecentUse;
use crate::metrics::frame::{FailureFigures, Labels, Loan, ReasonFigures, Sample, WaitFigures, Waterfall, labels};
use crate::metrics::lending;
use crate::metrics::outcomes::Outcomes;
use crate::metrics::reasons::Diagnosis;
use crate::metrics::shares::LastUse;
use crate::metrics::subjects::{Demanded, no_share};
use crate::metrics::wait_estimates::Waiting;
use crate::metrics::wait_quantiles::Waits;
use crate::model::{
    CallOutcome, Calls, JobId, PriorityBands, Queue, QueueName, SavedEvent, SavedSeries, ShareName, Timestamp,
};

/// GPU time between two ticks further apart than this is not charged, because nobody looked; with rare polls, see [`Counting::with_longest_tick`].
const MAX_TICK: Duration = Duration::from_secs(900);

/// All that is counted, and up to when.
#[derive(Debug, Default)]
pub struct Counting {
    pub(super) tallies: Counters,
    waits: Waits,
    outcomes: Outcomes,
    failures: Failures,
    /// Shares whose series have begun.
    begun: BTreeSet<(QueueName, ShareName)>,
    /// Events up to here were counted before a restart, or happened before the service began.
    counted_until: Option<Timestamp>,
    /// What changed in the ledger since the last count.
    changes: Changes,
    /// Events that are newer than the last complete poll: they are counted once a poll has covered their time, so that
    /// a restart knows exactly which ones were.
    held_back: Vec<Event>,
    /// Events up to here were remembered by an earlier run and come from what it saved; `None` if it saved none.
    remembered_until: Option<Timestamp>,
    /// Events that are new to what is remembered, to be saved.
    to_save: Vec<SavedEvent>,
    charged_until: Option<Timestamp>,
    /// Whether this run has ticked: what an earlier one has charged up to says nothing of how long nobody looked.
    has_ticked: bool,
    /// The interval of ticks up to which time is charged, where [`MAX_TICK`] is too short for the polls.
    longest_tick: Duration,
    pub(super) last_use: LastUse,
    pub(super) recent_use: RecentUse,
    pub(super) waiting: Waiting,
    pub(super) demanded: Demanded,
    /// Ends that were counted since this was last asked.
    ended: Vec<Event>,
    pub(super) bands: PriorityBands,
    /// What an earlier run has counted within the last day: taken in with the first count, when it is known how.
    kept: Vec<Event>,
}

impl Counting {
    /// Begins at `since`, or continues from what was saved: `events` are those of the last day up to `since`.
    pub fn new(saved: &[SavedSeries], events: &[SavedEvent], since: Timestamp) -> Self {
        let mut counting = Self {
            tallies: Counters::restore(saved),
            counted_until: Some(since),
            last_use: LastUse::restore(saved, since),
            recent_use: RecentUse::restore(saved, since),
            ..Self::default()
        };
        // What an older build has saved and this one cannot read is left out.
        let kept = events.iter().filter_map(|event| serde_json::from_str(&event.body).ok());
        let shares = counting.shares();
        let has_series =
            |event: &Event| shares.contains(&(event.queue.clone(), event.share.clone().unwrap_or_else(no_share)));
        counting.kept = kept.filter(has_series).collect();
        counting.remembered_until = (!events.is_empty()).then_some(since);
        counting
    }

    /// Reports waits by these bands of priority, too.
    pub fn set_bands(&mut self, bands: PriorityBands) {
        self.bands = bands;
    }

    /// What happened after `until` was not counted by an earlier run, though it took a later time for now.
    pub fn count_from(&mut self, until: Timestamp) {
        self.counted_until = self.counted_until.map(|known| known.min(until));
        self.remembered_until = self.remembered_until.map(|known| known.min(until));
        self.kept.retain(|event| event.at <= until);
    }

    /// Time is charged between two ticks of this run that are as far apart as `longest`, and always where they are no further apart than
    /// `MAX_TICK`, a quarter of an hour.
    pub fn with_longest_tick(mut self, longest: Duration) -> Self {
        self.longest_tick = longest;
        self
    }

    /// GPU time is charged from `at` on, when an earlier run last looked.
    pub fn charged_until(&mut self, at: Timestamp) {
        self.charged_until = Some(at);
    }

    /// Events that were taken in since this was last asked.
    pub fn take_events(&mut self) -> Vec<SavedEvent> {
        std::mem::take(&mut self.to_save)
    }

    /// Events that are counted once a poll has covered their time.
    pub fn held_back(&self) -> &[Event] {
        &self.held_back
    }

    /// What waits that ended since this was last asked were for, in seconds by reason.
    pub fn take_waits(&mut self) -> Vec<(JobId, Vec<(String, f64)>)> {
        self.waiting.waited.take_over()
    }

    /// The jobs whose ends were counted since this was last asked, as rows of the archive.
    pub fn take_ended(&mut self, inputs: &Inputs<'_>) -> Vec<EndedJob> {
        std::mem::take(&mut self.ended).iter().filter_map(|event| EndedJob::of(event, inputs)).collect()
    }

    /// Takes in what changed in the ledger; the next [`Counting::count`] counts it.
    pub fn record(&mut self, changes: Changes) {
        self.changes.extend(changes);
    }

    /// Takes in what was recorded. Of its events those are counted whose time lies before `horizon`, the beginning of
    /// the last complete poll.
    pub fn count(&mut self, ledger: &Ledger, horizon: Timestamp) {
        self.take_in(ledger);
        let (due, held_back) = std::mem::take(&mut self.held_back).into_iter().partition(|event| event.at <= horizon);
        self.held_back = held_back;
        for event in due {
            if event.is_news || self.counted_until.is_none_or(|counted_until| event.at > counted_until) {
                self.count_one(&event);
            } else if let EventKind::Ended { outcome, gpu_seconds } = event.what {
                // Before counting began, but perhaps within the last hour or day.
                self.remember_outcome(&event, outcome, gpu_seconds);
            }
            if let Ok(body) = serde_json::to_string(&event) {
                self.to_save.push(SavedEvent { at: event.at, body });
            }
        }
    }

    /// Takes in what an earlier run has kept, and what was recorded; it is counted later.
    fn take_in(&mut self, ledger: &Ledger) {
        let kept = std::mem::take(&mut self.kept);
        self.waiting.ended(&kept, &self.bands);
        kept.iter().for_each(|event| self.remember(event));
        let Changes { mut events, moves } = std::mem::take(&mut self.changes);
        events.sort_by_key(|event| event.at);
        self.waiting.waited.moved(&moves, ledger);
        let events = events
            .into_iter()
            .filter(|event| event.is_news || self.remembered_until.is_none_or(|until| event.at > until));
        // A job that is listed is described right after, before it is counted.
        let events =
            events.map(|event| Event { priority: event.priority.or_else(|| priority_of(&event, ledger)), ..event });
        let events: Vec<Event> = events.collect();
        self.waiting.ended(&events, &self.bands);
        self.held_back.extend(events);
    }

    /// Takes in which jobs wait that an earlier run has saved: they are many, and what is known of each move is for the moment.
    pub fn restored(&mut self, changes: Changes, ledger: &Ledger) {
        self.waiting.waited.moved(&changes.moves, ledger);
        self.record(Changes { moves: Vec::new(), ..changes });
    }

    /// Forgets what was counted of a share that has no series of its own any more. What is still to be counted goes to `other`.
    pub fn forget_share(&mut self, queue: &QueueName, share: &ShareName, other: &ShareName, ledger: &Ledger) {
        self.take_in(ledger);
        for event in
            self.held_back.iter_mut().filter(|event| event.queue == *queue && event.share.as_ref() == Some(share))
        {
            event.share = Some(other.clone());
        }
        self.tallies.retain(|of_queue, of_share| of_queue != Some(queue.as_str()) || of_share != Some(share.as_str()));
        self.waits.forget_share(queue, share);
        self.outcomes.forget_share(queue, share);
        self.waiting.forget_share(queue, share);
        self.begun.remove(&(queue.clone(), share.clone()));
    }

    /// Forgets all that was counted of queues other than these.
    pub fn watch(&mut self, queues: &[Queue]) {
        let is_watched = |name: &str| queues.iter().any(|queue| queue.name.as_str() == name);
        self.kept.retain(|event| is_watched(event.queue.as_str()));
        self.held_back.retain(|event| is_watched(event.queue.as_str()));
        self.tallies.retain(|queue, _| queue.is_none_or(is_watched));
        self.waits.watch(is_watched);
        self.outcomes.watch(is_watched);
        self.begun.retain(|(queue, _)| is_watched(queue.as_str()));
    }

    /// The shares of which something was counted.
    pub fn shares(&self) -> BTreeSet<(QueueName, ShareName)> {
        self.tallies.shares()
    }

    /// Adds to the call counters.
    pub fn count_calls(&mut self, calls: &[Calls]) {
        for Calls { service, operation, outcome, count } in calls {
            let pairs = |outcome: CallOutcome| {
                [
                    ("service", (*service).into()),
                    ("operation", (*operation).into()),
                    ("outcome", outcome.as_str().into()),
                ]
            };
            self.tallies.add(&catalogue::SOURCE_CALLS, labels(pairs(*outcome)), *count as f64);
        }
    }

    /// Adds `increase` to a counter of the service itself.
    pub fn add<const N: usize>(
        &mut self,
        metric: &'static catalogue::Metric,
        pairs: [(catalogue::Label, std::sync::Arc<str>); N],
        increase: u64,
    ) {
        self.tallies.add(metric, labels(pairs), increase as f64);
    }

    /// Everything counted, to be kept over a restart.
    pub fn saved(&self) -> Vec<SavedSeries> {
        let mut saved = self.tallies.saved();
        saved.extend(self.last_use.saved());
        saved.extend(self.recent_use.saved());
        saved
    }

    pub(super) fn failure_ratios(&mut self, now: Timestamp) -> Vec<(&QueueName, &ShareName, f64)> {
        self.outcomes.failure_ratios(now)
    }

    pub(super) fn waits(&mut self) -> Vec<WaitFigures> {
        self.waits.figures()
    }

    /// Lets the series of every share appear as zeros, so that a first event is an increase and not a new series.
    pub(super) fn begin_series(&mut self, shares: BTreeSet<(QueueName, ShareName)>) {
        for (queue, share) in shares.difference(&self.begun) {
            let labels = || of_share(queue, share);
            for metric in
                [&catalogue::QUEUE_WAIT, &catalogue::QUEUE_WAIT_REQUEUE, &catalogue::JOB_STARTUP, &catalogue::JOB_RUN]
            {
                self.tallies.touch(metric, labels());
            }
            for band in self.bands.names() {
                for metric in [&catalogue::PRIORITY_WAIT, &catalogue::PRIORITY_WAIT_REQUEUE] {
                    self.tallies.touch(metric, with(labels(), "band", band));
                }
            }
            self.tallies.add(&catalogue::JOB_PREEMPTIONS, labels(), 0.0);
            self.tallies.add(&catalogue::QUEUE_WAIT_UNCERTAIN, labels(), 0.0);
            for outcome in ["succeeded", "failed"] {
                self.tallies.add(&catalogue::JOB_ENDED, with(labels(), "outcome", outcome), 0.0);
            }
        }
        self.begun = shares;
    }

    /// Seconds since the previous tick, which is remembered; 0 after a gap in which nobody looked.
    pub(super) fn seconds_since_last(&mut self, now: Timestamp) -> f64 {
        let since = self.charged_until.replace(now).map_or(Duration::ZERO, |before| now.since(before));
        let longest = if self.has_ticked { MAX_TICK.max(self.longest_tick) } else { MAX_TICK };
        self.has_ticked = true;
        if since > longest { 0.0 } else { since.as_secs_f64() }
    }

    /// Charges each part of each waterfall for the time since the previous tick.
    pub(super) fn gpu_time(&mut self, rows: &[Waterfall], seconds: f64) {
        for row in rows {
            for (part, gpus) in &row.parts {
                let of_part = labels([("queue", row.queue.shared()), ("part", part.as_str().into())]);
                self.tallies.add(&catalogue::GPU_TIME, of_part, gpus * seconds);
            }
            for (part, dollars) in &row.dollars_per_hour {
                let of_part = labels([("queue", row.queue.shared()), ("part", part.as_str().into())]);
                self.tallies.add(&catalogue::GPU_COST, of_part, dollars * seconds / 3_600.0);
            }
            for (cause, gpus) in &row.unallocated {
                let of_cause = labels([("queue", row.queue.shared()), ("cause", cause.as_str().into())]);
                self.tallies.add(&catalogue::GPU_UNALLOCATED_TIME, of_cause, gpus * seconds);
            }
        }
    }

    /// Charges each part of each share's quota, and what it borrows, for the time since the previous tick.
    pub(super) fn share_time(&mut self, parts: lending::Parts, seconds: f64) {
        for ((queue, share, part), gpus) in parts {
            self.tallies.add(&catalogue::SHARE_TIME, with(of_share(&queue, &share), "part", part), gpus * seconds);
        }
    }

    /// Charges each pair of shares for the time since the previous tick. Says of each, and of those that have become even, what was
    /// counted.
    pub(super) fn lending(&mut self, pairs: &lending::Pairs, seconds: f64) -> Vec<Loan> {
        let labels_of = |(queue, lender, borrower): &(QueueName, ShareName, ShareName)| {
            labels([("queue", queue.shared()), ("lender", lender.shared()), ("borrower", borrower.shared())])
        };
        let now: BTreeMap<Labels, f64> = pairs.iter().map(|(pair, gpus)| (labels_of(pair), *gpus)).collect();
        for (of_pair, gpus) in &now {
            self.tallies.add(&catalogue::SHARE_LENDING_TIME, of_pair.clone(), gpus * seconds);
        }
        let loan = |(labels, gpu_seconds): (&Labels, f64)| {
            let label = |name| labels.get(name).map_or("", |value| value);
            Loan {
                queue: label("queue").into(),
                lender: label("lender").into(),
                borrower: label("borrower").into(),
                gpus: now.get(labels).copied().unwrap_or(0.0),
                gpu_seconds,
            }
        };
        self.tallies.counters(&catalogue::SHARE_LENDING_TIME).map(loan).collect()
    }

    /// Charges each reason of each share for the time since the previous tick.
    pub(super) fn waiting_time(&mut self, rows: &[ReasonFigures], diagnosis: &[Diagnosis<'_>], seconds: f64) {
        for row in rows {
            let labels = || with(of_share(&row.queue, &row.share), "reason", row.reason.as_str());
            self.tallies.add(&catalogue::QUEUE_WAITING_TIME, labels(), row.jobs as f64 * seconds);
            self.tallies.add(&catalogue::QUEUE_WAITING_GPU_TIME, labels(), row.gpus * seconds);
        }
        self.waiting.waited.charge(diagnosis, seconds);
    }

    pub(super) fn samples(&mut self, now: Timestamp) -> Vec<Sample> {
        self.tallies.samples(now)
    }

    /// Takes in again what an earlier run has counted: for figures of the last hour or day.
    fn remember(&mut self, event: &Event) {
        let share = event.share.clone().unwrap_or_else(no_share);
        if let EventKind::Dispatched { seconds, first: true } = event.what {
            self.waits.record(&event.queue, &share, seconds);
        }
        for (metric, labels, seconds) in self.durations(event, &share) {
            self.tallies.remember(metric, labels, event.at, seconds);
        }
        if let EventKind::Ended { outcome, gpu_seconds } = event.what {
            self.remember_outcome(event, outcome, gpu_seconds);
        }
    }

    fn count_one(&mut self, event: &Event) {
        let share = event.share.clone().unwrap_or_else(no_share);
        let labels = || of_share(&event.queue, &share);
        for (metric, labels, seconds) in self.durations(event, &share) {
            self.tallies.record(metric, labels, event.at, seconds);
        }
        match &event.what {
            EventKind::Dispatched { seconds, first } => {
                if *first {
                    self.waits.record(&event.queue, &share, *seconds);
                }
                self.tallies.add(&catalogue::QUEUE_WAIT_UNCERTAIN, labels(), event.uncertain_seconds);
            }
            // A cancelled job is known by its end.
            EventKind::Started { .. } | EventKind::Ran { .. } | EventKind::Cancelled { .. } => {}
            EventKind::Preempted { ran_seconds, gpus } => {
                self.tallies.add(&catalogue::JOB_PREEMPTIONS, labels(), 1.0);
                let (ran, gpus) = (ran_seconds.unwrap_or(0.0), gpus.unwrap_or(0.0));
                let lost = with(labels(), "cause", "preempted");
                self.tallies.add(&catalogue::JOB_LOST, lost, ran * gpus);
                for (name, interval) in lending::CHECKPOINTS {
                    let lost = lending::lost_since_checkpoint(ran, interval, gpus);
                    let labels = with(labels(), "checkpoints", name);
                    self.tallies.add(&catalogue::JOB_LOST_CHECKPOINTED, labels, lost);
                }
            }
            EventKind::Ended { outcome, gpu_seconds } => self.count_end(event, &share, *outcome, *gpu_seconds),
        }
    }

    /// The distributions that an event is a value of, and the value in seconds.
    fn durations(
        &self,
        event: &Event,
        share: &ShareName,
    ) -> impl Iterator<Item = (&'static catalogue::Metric, Labels, f64)> + use<> {
        let (metric, of_bands, seconds) = match event.what {
            EventKind::Dispatched { seconds, first: true } => {
                (Some(&catalogue::QUEUE_WAIT), Some(&catalogue::PRIORITY_WAIT), seconds)
            }
            EventKind::Dispatched { seconds, first: false } => {
                (Some(&catalogue::QUEUE_WAIT_REQUEUE), Some(&catalogue::PRIORITY_WAIT_REQUEUE), seconds)
            }
            EventKind::Started { seconds } => (Some(&catalogue::JOB_STARTUP), None, seconds),
            EventKind::Ran { seconds } => (Some(&catalogue::JOB_RUN), None, seconds),
            EventKind::Cancelled { .. } | EventKind::Preempted { .. } | EventKind::Ended { .. } => (None, None, 0.0),
        };
        let labels = of_share(&event.queue, share);
        let band = self.bands.of(event.priority).zip(of_bands);
        let of_band = band.map(|(band, metric)| (metric, with(labels.clone(), "band", band), seconds));
        metric.map(|metric| (metric, labels, seconds)).into_iter().chain(of_band)
    }

    /// Jobs that failed in the last day, by owner and category.
    pub(super) fn failures(&mut self, now: Timestamp) -> Vec<FailureFigures> {
        self.failures.rows(now)
    }

    fn remember_outcome(&mut self, event: &Event, outcome: Outcome, gpu_seconds: Option<f64>) {
        let share = event.share.clone().unwrap_or_else(no_share);
        match outcome {
            Outcome::Succeeded => self.outcomes.record(&event.queue, &share, event.at, false),
            Outcome::Failed(category) => {
                self.outcomes.record(&event.queue, &share, event.at, true);
                let owner = event.owner.clone().unwrap_or_else(|| "".into());
                let key = (event.queue.clone(), share, owner, category);
                self.failures.record(event.at, key, gpu_seconds.unwrap_or(0.0));
            }
            Outcome::Vanished => {}
        }
    }

    fn count_end(&mut self, event: &Event, share: &ShareName, outcome: Outcome, gpu_seconds: Option<f64>) {
        let labels = || of_share(&event.queue, share);
        self.tallies.add(&catalogue::JOB_ENDED, with(labels(), "outcome", outcome.as_str()), 1.0);
        self.remember_outcome(event, outcome, gpu_seconds);
        self.ended.push(event.clone());
        match outcome {
            Outcome::Failed(category) => {
                self.tallies.add(&catalogue::JOB_FAILURES, with(labels(), "category", category.as_str()), 1.0);
                let lost = with(labels(), "cause", "failed");
                self.tallies.add(&catalogue::JOB_LOST, lost, gpu_seconds.unwrap_or(0.0));
            }
            Outcome::Succeeded | Outcome::Vanished => {}
        }
    }
}

fn priority_of(event: &Event, ledger: &Ledger) -> Option<i32> {
    ledger.job(event.job.as_ref()?)?.priority()
}

fn of_share(queue: &QueueName, share: &ShareName) -> Labels {
    labels([("queue", queue.shared()), ("share", share.shared())])
}

fn with(labels: Labels, label: Label, value: &str) -> Labels {
    labels.iter().map(|(label, value)| (label, Arc::clone(value))).chain([(label, value.into())]).collect()
}
