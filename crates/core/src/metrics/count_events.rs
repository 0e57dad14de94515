//! Counts events into counters and distributions: each event once, when its time has been covered by a poll.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::jobs::{Changes, Event, EventKind, Ledger, Outcome};
use crate::metrics::Inputs;
use crate::metrics::archived_job::EndedJob;
use crate::metrics::borrowed_and_lent::LastUse;
use crate::metrics::catalogue::{self, Label};
use crate::metrics::censored_wait_quantiles::Waiting;
use crate::metrics::counters::Counters;
use crate::metrics::dispatched_wait_quantiles::Waits;
use crate::metrics::failure_ratio::Outcomes;
use crate::metrics::fair_share::RecentUse;
use crate::metrics::frame::{FailureFigures, Labels, Loan, ReasonFigures, Sample, WaitFigures, Waterfall, labels};
use crate::metrics::lost_work;
use crate::metrics::quota_share_use;
use crate::metrics::reasons::Diagnosis;
use crate::metrics::recent_failures::Failures;
use crate::metrics::shares_with_series::{Demanded, no_share};
use crate::metrics::starving_shares::StarvingShares;
use crate::metrics::uncounted_events::HeldBack;
use crate::model::{
    CallOutcome, Calls, JobId, PriorityBands, Queue, QueueName, SavedEvent, SavedSeries, ShareName, Timestamp,
};

/// GPU time between two ticks further apart than this is not charged, since it was not observed; for rare polls,
/// see [`Counting::with_longest_tick`].
const MAX_TICK: Duration = Duration::from_secs(900);

/// All counts, and the time up to which they are complete.
#[derive(Debug, Default)]
pub struct Counting {
    pub(super) tallies: Counters,
    waits: Waits,
    outcomes: Outcomes,
    failures: Failures,
    /// Shares whose series have started.
    begun: BTreeSet<(QueueName, ShareName)>,
    /// Events up to here were counted before a restart, or happened before counting began.
    counted_until: Option<Timestamp>,
    /// Changes of the ledger since the last count.
    changes: Changes,
    /// Events newer than the last complete poll. They are counted once a poll has covered their time, so that a
    /// restart knows exactly which events were counted.
    held_back: HeldBack,
    /// Events up to here are restored from saved ones; `None` if none were saved.
    remembered_until: Option<Timestamp>,
    /// New events to save.
    to_save: Vec<SavedEvent>,
    charged_until: Option<Timestamp>,
    /// Whether this run has ticked: the last charge of an earlier run does not show how long nothing was observed.
    has_ticked: bool,
    /// Maximum tick interval for which time is charged, if [`MAX_TICK`] is too short for the polls.
    longest_tick: Duration,
    pub(super) last_use: LastUse,
    pub(super) recent_use: RecentUse,
    pub(super) waiting: Waiting,
    pub(super) starving: StarvingShares,
    pub(super) demanded: Demanded,
    /// Counted ends not yet taken.
    ended: Vec<Event>,
    pub(super) bands: PriorityBands,
    /// Events of the last day counted by an earlier run: restored at the first count.
    kept: Vec<Event>,
}

impl Counting {
    /// Starts counting at `since`, or resumes from saved series; `events` are those of the last day up to `since`.
    pub fn new(saved: &[SavedSeries], events: &[SavedEvent], since: Timestamp) -> Self {
        let mut counting = Self {
            tallies: Counters::restore(saved),
            counted_until: Some(since),
            last_use: LastUse::restore(saved, since),
            recent_use: RecentUse::restore(saved, since),
            ..Self::default()
        };
        // Saved events that this version cannot parse are skipped.
        let kept = events.iter().filter_map(|event| serde_json::from_str(&event.body).ok());
        let shares = counting.shares();
        let has_series =
            |event: &Event| shares.contains(&(event.queue.clone(), event.share.clone().unwrap_or_else(no_share)));
        counting.kept = kept.filter(has_series).collect();
        counting.remembered_until = (!events.is_empty()).then_some(since);
        counting
    }

    /// Adds waits by priority band.
    pub fn set_bands(&mut self, bands: PriorityBands) {
        self.bands = bands;
    }

    /// Counts events after `until`, although an earlier run with a wrong clock had advanced further.
    pub fn count_from(&mut self, until: Timestamp) {
        self.counted_until = self.counted_until.map(|known| known.min(until));
        self.remembered_until = self.remembered_until.map(|known| known.min(until));
        self.kept.retain(|event| event.at <= until);
    }

    /// Charges time between two ticks of this run up to `longest` apart, and in any case up to `MAX_TICK`, a
    /// quarter of an hour.
    pub fn with_longest_tick(mut self, longest: Duration) -> Self {
        self.longest_tick = longest;
        self
    }

    /// Sets the time of the last charge, by an earlier run.
    pub fn charged_until(&mut self, at: Timestamp) {
        self.charged_until = Some(at);
    }

    /// Takes the events to save.
    pub fn take_events(&mut self) -> Vec<SavedEvent> {
        std::mem::take(&mut self.to_save)
    }

    /// Events not yet counted because no poll has covered their time: the job of each, and whether it is a preemption.
    pub fn held_back(&self) -> impl Iterator<Item = (&JobId, bool)> {
        self.held_back.of_jobs()
    }

    /// Takes the waits that have ended, in seconds by reason.
    pub fn take_waits(&mut self) -> Vec<(JobId, Vec<(String, f64)>)> {
        self.waiting.waited.take_over()
    }

    /// Takes the jobs whose ends were counted, as rows of the archive.
    pub fn take_ended(&mut self, inputs: &Inputs<'_>) -> Vec<EndedJob> {
        std::mem::take(&mut self.ended).iter().filter_map(|event| EndedJob::of(event, inputs)).collect()
    }

    /// Records changes of the ledger, for the next [`Counting::count`].
    pub fn record(&mut self, changes: Changes) {
        self.changes.extend(changes);
    }

    /// Counts recorded events before `horizon`, the beginning of the last complete poll.
    pub fn count(&mut self, ledger: &Ledger, horizon: Timestamp) {
        self.prepare_recorded(ledger);
        for event in self.held_back.take_until(horizon) {
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

    /// Restores saved events, and prepares recorded ones for counting.
    fn prepare_recorded(&mut self, ledger: &Ledger) {
        let kept = std::mem::take(&mut self.kept);
        self.waiting.ended(&kept, &self.bands);
        kept.iter().for_each(|event| self.remember(event));
        let Changes { mut events, moves } = std::mem::take(&mut self.changes);
        events.sort_by_key(|event| event.at);
        self.waiting.waited.moved(&moves, ledger);
        let events = events
            .into_iter()
            .filter(|event| event.is_news || self.remembered_until.is_none_or(|until| event.at > until));
        // A listed job is described before it is counted, so the ledger may already know its priority.
        let events =
            events.map(|event| Event { priority: event.priority.or_else(|| priority_of(&event, ledger)), ..event });
        let events: Vec<Event> = events.collect();
        self.waiting.ended(&events, &self.bands);
        self.held_back.add(events);
    }

    /// Records the waiting jobs restored from an earlier run, without keeping the many moves in memory.
    pub fn restored(&mut self, changes: Changes, ledger: &Ledger) {
        self.waiting.waited.moved(&changes.moves, ledger);
        self.record(Changes { moves: Vec::new(), ..changes });
    }

    /// Drops the counts of a share without separate series. Its pending events count for `other`.
    pub fn forget_share(&mut self, queue: &QueueName, share: &ShareName, other: &ShareName, ledger: &Ledger) {
        self.prepare_recorded(ledger);
        self.held_back.move_share(queue, share, other);
        self.tallies.retain(|of_queue, of_share| of_queue != Some(queue.as_str()) || of_share != Some(share.as_str()));
        self.waits.forget_share(queue, share);
        self.outcomes.forget_share(queue, share);
        self.waiting.forget_share(queue, share);
        self.begun.remove(&(queue.clone(), share.clone()));
    }

    /// Drops the counts of all other queues.
    pub fn watch(&mut self, queues: &[Queue]) {
        let is_watched = |name: &str| queues.iter().any(|queue| queue.name.as_str() == name);
        self.kept.retain(|event| is_watched(event.queue.as_str()));
        self.held_back.watch(is_watched);
        self.tallies.retain(|queue, _| queue.is_none_or(is_watched));
        self.waits.watch(is_watched);
        self.outcomes.watch(is_watched);
        self.begun.retain(|(queue, _)| is_watched(queue.as_str()));
    }

    /// Shares with counts.
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

    /// Adds `increase` to one of the service's own counters.
    pub fn add<const N: usize>(
        &mut self,
        metric: &'static catalogue::Metric,
        pairs: [(catalogue::Label, std::sync::Arc<str>); N],
        increase: u64,
    ) {
        self.tallies.add(metric, labels(pairs), increase as f64);
    }

    /// All counts, to be saved.
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

    /// Starts the series of every share at 0, so that the first event is an increase and not a new series.
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

    /// Seconds since the previous tick; 0 after a gap without observation. Remembers `now` as the last tick.
    pub(super) fn seconds_since_last(&mut self, now: Timestamp) -> f64 {
        let since = self.charged_until.replace(now).map_or(Duration::ZERO, |before| now.since(before));
        let longest = if self.has_ticked { MAX_TICK.max(self.longest_tick) } else { MAX_TICK };
        self.has_ticked = true;
        if since > longest { 0.0 } else { since.as_secs_f64() }
    }

    /// Charges the parts of each waterfall for the time since the previous tick.
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

    /// Charges the parts of each share's quota, and its borrowing, for the time since the previous tick.
    pub(super) fn share_time(&mut self, parts: quota_share_use::Parts, seconds: f64) {
        for ((queue, share, part), gpus) in parts {
            self.tallies.add(&catalogue::SHARE_TIME, with(of_share(&queue, &share), "part", part), gpus * seconds);
        }
    }

    /// Charges each pair of shares for the time since the previous tick. Returns the totals, including those of
    /// pairs without a current loan.
    pub(super) fn lending(&mut self, pairs: &quota_share_use::Pairs, seconds: f64) -> Vec<Loan> {
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

    /// Charges the reasons of each share for the time since the previous tick.
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

    /// Restores an event that an earlier run counted, for figures of the last hour or day.
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
            // A cancelled job is recorded by its end.
            EventKind::Started { .. } | EventKind::Ran { .. } | EventKind::Cancelled { .. } => {}
            EventKind::Preempted { ran_seconds, gpus } => {
                self.tallies.add(&catalogue::JOB_PREEMPTIONS, labels(), 1.0);
                let (ran, gpus) = (ran_seconds.unwrap_or(0.0), gpus.unwrap_or(0.0));
                let lost = with(labels(), "cause", "preempted");
                self.tallies.add(&catalogue::JOB_LOST, lost, ran * gpus);
                for (name, interval) in lost_work::CHECKPOINTS {
                    let lost = lost_work::lost_since_checkpoint(ran, interval, gpus);
                    let labels = with(labels(), "checkpoints", name);
                    self.tallies.add(&catalogue::JOB_LOST_CHECKPOINTED, labels, lost);
                }
            }
            EventKind::Ended { outcome, gpu_seconds } => self.count_end(event, &share, *outcome, *gpu_seconds),
        }
    }

    /// The distributions that an event adds a value to, with the value in seconds.
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
