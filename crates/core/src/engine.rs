//! The engine, the single owner of state: observations in, figures and alert transitions out. PURE.
//!
//! [`Engine::observe`] applies observations, in any order. [`Engine::tick`] computes the figures of one moment,
//! evaluates the rules, and returns everything to store, publish and send. There is no other output.

mod account_and_region;
mod alert_series;
mod forecasts;
mod kept_job_limits;
mod latest_facts;
mod observe;
mod outside_jobs;
mod page_queries;
mod plausible_amounts;
mod saved;
mod shares_shown;
mod sources;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::forecast::Forecaster;
use crate::jobs::{Cadence, JOBS_PER_POLL, Job, LISTS_MAY_LAG, Ledger};
use crate::metrics::catalogue;
use crate::metrics::{self, CAUGHT_UP_WITHIN, CatchUp, Counting, EndedJob, Frame, Notes, Pending, Service, Why};
use crate::model::{
    JobId, MAX_PRICE, Observation, Position, Prices, PriorityBands, Questions, Queue, SavedEvent, SavedForecast,
    SavedJobs, SavedQueue, SavedSeries, SharesShown, Source, Timestamp,
};
use crate::rules::{ActiveAlerts, Alert, Rule, Transition};
pub use kept_job_limits::JobCounts;
use latest_facts::Facts;
use outside_jobs::Outside;
pub use saved::Saved;
use shares_shown::Shares;
use sources::Sources;

/// Maximum distinct unknown values with separate counts; the rest are counted as `other`.
const UNKNOWN_VALUES_KEPT: usize = 50;

/// Maximum delay of counting while jobs still have to be described.
const MAX_LAG: Duration = Duration::from_secs(900);

/// How long after a restart jobs of an earlier run may still appear: longer than any first sweep takes.
const UNSEEN_KEPT: Duration = Duration::from_secs(86_400);

/// The state of the service.
#[derive(Debug)]
pub struct Engine {
    /// Events up to here were counted by the last tick.
    horizon: Timestamp,
    /// The first complete poll since the horizon last advanced.
    held_since: Option<Timestamp>,
    /// Whether counting has come close to the current tick since the start.
    has_caught_up: bool,
    /// New queues are listed from this time on: see [`Saved::open_since`].
    open_since: Timestamp,
    cadence: Cadence,
    /// Names of the job tags to keep.
    tags: Vec<String>,
    facts: Facts,
    sources: Sources,
    unknown_values: BTreeMap<(&'static str, String), ()>,
    corrections_counted: u64,
    forgotten_counted: u64,
    counting: Counting,
    /// The first tick after every queue was polled completely.
    ready_at: Option<Timestamp>,
    /// Last tick of an earlier run, until this one ticks.
    resumed_from: Option<Timestamp>,
    /// Times of the events counted by an earlier run, until AWS's clock is known.
    counted_events: Vec<Timestamp>,
    shares: Shares,
    outside: Outside,
    rules: Vec<Rule>,
    active_alerts: ActiveAlerts,
    service: Service,
    forecaster: Forecaster,
    /// Counts changes that may affect a forecast.
    changes: u64,
}

/// Output of a tick: to be committed in one transaction, then published and sent.
#[derive(Debug)]
pub struct Output {
    /// The figures.
    pub frame: Frame,
    /// Alert transitions.
    pub transitions: Vec<Transition>,
    /// Pending and firing alerts.
    pub alerts: Vec<Alert>,
    /// Counters and distributions to save.
    pub series: Vec<SavedSeries>,
    /// Changed jobs to save. The caller keeps them until a commit succeeds.
    pub jobs: SavedJobs,
    /// Time up to which the lists of each queue are complete; saved with the jobs.
    pub queues: Vec<SavedQueue>,
    /// Jobs whose end was counted in this tick.
    pub ended: Vec<EndedJob>,
    /// Changed forecast state to save, likewise.
    pub forecast: SavedForecast,
    /// Events counted in this tick, to be kept for a day.
    pub events: Vec<SavedEvent>,
    /// Events up to here are included in `series`.
    pub counted_until: Timestamp,
    /// Creation time of the oldest job that has not ended.
    pub open_since: Timestamp,
}

impl Engine {
    /// Resumes from the state saved by an earlier run; without any, counts events from `since` on.
    pub fn new(rules: Vec<Rule>, cadence: Cadence, saved: Saved, since: Timestamp) -> Self {
        // Events at exactly `since` count too.
        let counted_until = saved.counted_until.unwrap_or(since - Duration::from_millis(1));
        let mut ledger = Ledger::default();
        ledger.resume(&saved.queues, counted_until);
        // Allows for one late poll.
        let counting =
            Counting::new(&saved.series, &saved.events, counted_until).with_longest_tick(cadence.verify_every);
        let mut engine = Self {
            horizon: counted_until,
            held_since: None,
            has_caught_up: false,
            open_since: saved.open_since.unwrap_or(counted_until),
            cadence,
            tags: Vec::new(),
            facts: Facts { ledger, ..Facts::default() },
            sources: Sources::new(counted_until).began_by_local_clock(saved.counted_until.is_none()),
            unknown_values: BTreeMap::new(),
            corrections_counted: 0,
            forgotten_counted: 0,
            shares: Shares::with(counting.shares()),
            counting,
            outside: Outside::default(),
            ready_at: None,
            resumed_from: saved.ticked_at,
            counted_events: saved.events.iter().map(|event| event.at).collect(),
            rules,
            active_alerts: ActiveAlerts::restore(saved.alerts),
            service: Service::default(),
            forecaster: Forecaster::restore(saved.forecast),
            changes: 0,
        };
        engine.restore(saved.jobs);
        Source::ALL
            .into_iter()
            .filter(|source| !source.is_optional())
            .for_each(|source| engine.count_failures(source, 0));
        engine
    }

    /// Sets which shares have separate series; the others are aggregated.
    #[must_use]
    pub fn showing(mut self, shown: SharesShown) -> Self {
        self.shares.show(shown);
        self
    }

    /// Adds waits by priority band.
    #[must_use]
    pub fn banded(mut self, bands: PriorityBands) -> Self {
        self.counting.set_bands(bands);
        self
    }

    /// Sets the prices for costs.
    #[must_use]
    pub fn priced(mut self, mut prices: Prices) -> Self {
        prices.retain(|_, dollars| (0.0..=MAX_PRICE).contains(dollars));
        self.facts.prices = prices;
        self
    }

    /// Sets which job tags are kept beside the owner's.
    #[must_use]
    pub fn tagged(mut self, tags: Vec<String>) -> Self {
        self.tags = tags;
        self
    }

    /// How far back the rules look.
    pub fn looks_back(&self) -> Option<Duration> {
        self.rules.iter().filter_map(Rule::looks_back).max()
    }

    /// Replays a stored frame, oldest first and before the first tick, for rules that compare with the past.
    pub fn recall(&mut self, frame: &Frame) {
        self.active_alerts.recall(&self.rules, frame);
    }

    /// Replaces the rules. Alerts of rules that still exist and still cover them continue unchanged; the others are
    /// resolved at the next tick.
    pub fn set_rules(&mut self, rules: Vec<Rule>) {
        self.rules = rules;
    }

    /// Applies the observations of a source.
    pub fn observe(&mut self, observations: Vec<Observation>) {
        for observation in observations {
            self.observe_one(observation);
        }
    }

    /// What to query next.
    pub fn questions(&self, now: Timestamp) -> Questions {
        let queues = self.facts.queues.iter().map(|queue| &queue.name);
        let mut questions = self.facts.ledger.questions(queues, self.cadence, now);
        // Until the first complete tick the saved details are recent enough.
        let room = if self.is_ready() { JOBS_PER_POLL.saturating_sub(questions.jobs.len()) } else { 0 };
        let fronts = self.facts.fronts.values().map(|snapshot| snapshot.front.iter().filter_map(Position::job));
        let stale = self.facts.ledger.jobs_to_refresh(fronts, self.cadence, now).into_iter();
        let stale: Vec<JobId> = stale.filter(|id| !questions.jobs.contains(id)).take(room).cloned().collect();
        questions.jobs.extend(stale);
        self.facts.ledger.add_controls(&mut questions, |source| self.sources.is_failing(source));
        // AWS lists jobs created after a time, exclusive; the oldest open job was created at `open_since`.
        let since = Some(self.open_since - Duration::from_secs(1));
        Questions { since, outside: self.outside.to_describe(&self.facts.ledger, now), ..questions }
    }

    /// Number of listed training jobs outside the queues whose capacity is unknown.
    pub fn undescribed_outside(&self) -> usize {
        self.outside.undescribed(&self.facts.ledger)
    }

    /// Status of polls, sinks and deliveries, to be updated by the caller. Counters go through
    /// [`Engine::counting`].
    pub fn service(&mut self) -> &mut Service {
        &mut self.service
    }

    /// The counters, for the service's own counts.
    pub fn counting(&mut self) -> &mut Counting {
        &mut self.counting
    }

    /// Sets the pending notifications by receiver.
    pub fn set_pending(&mut self, pending: BTreeMap<String, Pending>) {
        self.service.pending = pending;
    }

    /// The ledger, for queries about single jobs.
    pub fn ledger(&self) -> &Ledger {
        &self.facts.ledger
    }

    /// A job by id.
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.facts.ledger.job(id)
    }

    /// Why a job waits at `now`; `None` if it does not wait or is unknown.
    pub fn why(&self, id: &JobId, now: Timestamp) -> Option<Why> {
        metrics::why(self.facts.ledger.job(id)?, &self.facts.inputs(now, &[]), &self.counting)
    }

    /// Why each of the jobs waits at `now`, without queue positions.
    pub fn whys<'a>(&self, jobs: impl IntoIterator<Item = &'a JobId>, now: Timestamp) -> Vec<Option<Why>> {
        metrics::whys(jobs, &self.facts.inputs(now, &[]), &self.counting)
    }

    /// Whether every queue has had a complete poll.
    pub fn is_ready(&self) -> bool {
        self.sources.answered_at(Source::Topology, None).is_some() && self.jobs_answered_at().is_some()
    }

    /// Why not every queue has had a complete poll; `None` if each has.
    pub fn not_ready(&self) -> Option<String> {
        if self.is_ready() { None } else { Some(self.sources.not_ready()) }
    }

    /// Computes figures, alerts and state for `now`.
    pub fn tick(&mut self, now: Timestamp) -> Output {
        let forgotten = self.facts.ledger.forget(now);
        self.counting.record(forgotten);
        self.facts.end_reservations(now);
        if self.is_ready() && now.since(*self.ready_at.get_or_insert(now)) > UNSEEN_KEPT {
            self.facts.ledger.forget_unseen();
        }
        let counted_until = self.horizon();
        self.counting.count(&self.facts.ledger, counted_until);
        self.facts.ledger.add_waited(self.counting.take_waits());
        // The time of a short restart is charged too, unless the state is still unknown.
        if let Some(at) = self.resumed_from.take().filter(|_| self.is_ready()) {
            self.counting.charged_until(at);
        }
        self.count_limits();
        self.count_forecast_limits();
        self.shares.reset_full();

        alert_series::add(&self.active_alerts, &mut self.service, &mut self.counting);
        self.service.account.outside = self.outside.in_use(&self.facts.ledger, now);
        self.has_caught_up |= now.since(counted_until) <= CAUGHT_UP_WITHIN;
        self.service.catch_up = match self.has_caught_up {
            true => CatchUp::Done,
            false if self.sources.hold_up_counting() => CatchUp::Stalled,
            false => CatchUp::UnderWay,
        };
        let mut sources = self.sources.health(&self.facts.queues, now);
        if let Some(awaited) = self.facts.ledger.awaited() {
            sources::descriptions_are_late(&mut sources, awaited, self.service.poll_interval, now);
        }
        sources::note_refused(&mut sources, self.facts.ledger.refused_in_words(now));
        let inputs = self.facts.inputs(now, &sources);
        let ended = self.counting.take_ended(&inputs);
        let frame = metrics::frame(&inputs, &self.service, &mut self.counting);
        // Not in the frame: frames are kept for long, and there is a series for each job.
        let job_samples = metrics::single_jobs::samples(&inputs, &self.active_alerts.wanted(&self.rules));
        let transitions = self.active_alerts.step_with(&self.rules, &frame, &job_samples, now, &Notes::new(inputs));
        for (rule, failures) in self.active_alerts.take_failures() {
            self.counting.add(&catalogue::RULE_FAILURES, [("rule", rule.into())], failures);
        }
        let alerts = self.active_alerts.alerts().cloned().collect();
        // Before the first complete poll no job is known to have ended.
        let open_since = if self.is_ready() {
            self.facts.ledger.open_since(counted_until).unwrap_or(counted_until)
        } else {
            self.open_since
        };
        Output {
            frame,
            transitions,
            alerts,
            series: self.counting.saved(),
            jobs: self.facts.ledger.to_save(self.counting.held_back()),
            queues: self.facts.ledger.saved_queues(),
            ended,
            forecast: self.forecaster.take_unsaved(),
            events: self.counting.take_events(),
            counted_until,
            open_since,
        }
    }

    fn count_limits(&mut self) {
        let corrections = self.facts.ledger.corrections();
        let forgotten = self.facts.ledger.forgotten_early();
        self.counting.add(&catalogue::LEDGER_CORRECTIONS, [], corrections - self.corrections_counted);
        self.counting.add(&catalogue::LIMIT_HITS, [("limit", "ended_jobs".into())], forgotten - self.forgotten_counted);
        for (limit, hits) in self.facts.ledger.take_limit_hits() {
            self.counting.add(&catalogue::LIMIT_HITS, [("limit", limit.into())], hits);
        }
        (self.corrections_counted, self.forgotten_counted) = (corrections, forgotten);
    }

    /// Time up to which all events are known: the last complete poll, minus the lag of lists. It waits for jobs
    /// whose events only a description shows, but a single missing description delays counting only for so long.
    /// Never moves back.
    fn horizon(&mut self) -> Timestamp {
        let Some(answered) = self.jobs_answered_at() else { return self.horizon };
        let complete = answered - LISTS_MAY_LAG;
        let untold = self.facts.ledger.unreported_since().map(|since| since - Duration::from_millis(1));
        let known = untold.map_or(complete, |until| complete.min(until));
        let held_since = *self.held_since.get_or_insert(answered);
        if known > self.horizon || answered.since(held_since) > MAX_LAG {
            self.horizon = if known > self.horizon { known } else { complete.max(self.horizon) };
            self.held_since = None;
        }
        self.horizon
    }

    /// Request time of the job lists of the least recently listed queue; `None` until each was listed.
    fn jobs_answered_at(&self) -> Option<Timestamp> {
        let of_queue = |queue: &Queue| self.sources.answered_at(Source::Jobs, Some(&queue.name));
        self.facts.queues.iter().map(of_queue).min().flatten()
    }
}

/// How often the ledger verifies jobs, from the configured poll intervals.
pub fn cadence(reconcile_every: Duration, poll_every: Duration) -> Cadence {
    Cadence { reconcile_every, verify_every: poll_every * 2 }
}

#[cfg(test)]
mod tests;
