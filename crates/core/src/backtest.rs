//! Backtests: which alerts rules would have sent. Over a workload, where the live engine watches a scheduler on virtual
//! time, or over frames that were kept of a real service. Pure.
//!
//! Nothing is polled over a network, so there is no delay and no failure: what a backtest shows is what rules make of a
//! workload, not what an outage would do.

mod observer;

use std::collections::BTreeMap;
use std::time::Duration;

pub use observer::Observer;

use crate::engine::{Engine, Saved, cadence};
use crate::metrics::Frame;
use crate::model::Timestamp;
use crate::rules::{ActiveAlerts, AlertId, Rule, Transition, TransitionKind};
use crate::scheduler::{Scheduler, Setup, Submission};

/// One alert, from when it fired to when it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// The labels of the alert.
    pub labels: BTreeMap<String, String>,
    /// When people would have been notified.
    pub fired_at: Timestamp,
    /// When they would have been notified of its end; `None` if it still fired then.
    pub ended_at: Option<Timestamp>,
}

/// Of what the rules would have notified.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The first moment looked at.
    pub from: Timestamp,
    /// The last one.
    pub to: Timestamp,
    /// The alerts of each rule by name, in the order in which they fired; those that never did have none.
    pub episodes: BTreeMap<String, Vec<Episode>>,
}

/// The workload and what part of it is looked at.
#[derive(Debug)]
pub struct Backtest {
    /// The queues.
    pub setup: Setup,
    /// The jobs.
    pub submissions: Vec<Submission>,
    /// Seed of everything random.
    pub seed: u64,
    /// When the workload begins.
    pub begin: Timestamp,
    /// Alerts before this are not counted.
    pub from: Timestamp,
    /// The last tick.
    pub to: Timestamp,
    /// How far ticks are apart.
    pub every: Duration,
}

impl Backtest {
    /// Runs it. `progress` gets each tick's moment.
    pub fn run(self, rules: Vec<Rule>, mut progress: impl FnMut(Timestamp)) -> Report {
        let Self { setup, submissions, seed, begin, from, to, every } = self;
        let mut watch = Watch::new(&rules, from, to);
        let mut scheduler = Scheduler::new(setup, seed, begin);
        for submission in submissions {
            // What a queue refuses never existed.
            let _ = scheduler.submit(submission);
        }
        let mut onlooker = Observer::new(&scheduler);
        let mut engine = Engine::new(rules, cadence(every * 15, every), Saved::default(), begin);
        let mut now = begin;
        while now <= to {
            scheduler.advance(now);
            engine.observe(onlooker.look(&scheduler, &engine, now));
            watch.take(engine.tick(now).transitions);
            progress(now);
            now = now + every;
        }
        watch.report()
    }
}

/// Of what rules would have notified over frames that were kept of a real service. Figures of single jobs are not kept.
#[derive(Debug)]
pub struct Replay {
    rules: Vec<Rule>,
    active_alerts: ActiveAlerts,
    watch: Watch,
}

impl Replay {
    /// Counts alerts from `from` to `to`.
    pub fn new(rules: Vec<Rule>, from: Timestamp, to: Timestamp) -> Self {
        let watch = Watch::new(&rules, from, to);
        Self { rules, active_alerts: ActiveAlerts::default(), watch }
    }

    /// Takes the next frame.
    pub fn take(&mut self, frame: &Frame) {
        self.watch.take(self.active_alerts.step(&self.rules, frame, frame.at));
    }

    /// What was sent.
    pub fn report(self) -> Report {
        self.watch.report()
    }
}

/// Makes episodes of transitions.
#[derive(Debug)]
struct Watch {
    report: Report,
    open: BTreeMap<AlertId, Episode>,
}

impl Watch {
    fn new(rules: &[Rule], from: Timestamp, to: Timestamp) -> Self {
        let episodes = rules.iter().map(|rule| (rule.name().to_owned(), Vec::new())).collect();
        Self { report: Report { from, to, episodes }, open: BTreeMap::new() }
    }

    fn take(&mut self, transitions: Vec<Transition>) {
        for Transition { alert, kind, at } in transitions {
            match kind {
                TransitionKind::Fired => {
                    self.open.insert(alert.id, Episode { labels: alert.labels, fired_at: at, ended_at: None });
                }
                TransitionKind::Resolved(_) => {
                    if let Some(episode) = self.open.remove(&alert.id) {
                        self.report.add(&alert.rule, Episode { ended_at: Some(at), ..episode });
                    }
                }
            }
        }
    }

    fn report(mut self) -> Report {
        for episode in self.open.into_values() {
            let rule = episode.labels.get("alertname").cloned().unwrap_or_default();
            self.report.add(&rule, episode);
        }
        self.report.episodes.values_mut().for_each(|episodes| episodes.sort_by_key(|episode| episode.fired_at));
        self.report
    }
}

impl Report {
    /// Whether and how often a rule fires in each of `columns` equal parts of the time.
    pub fn timeline(&self, rule: &str, columns: usize) -> Vec<usize> {
        let whole = self.to.seconds_since(self.from).max(1.0);
        let column = |at: Timestamp| (at.seconds_since(self.from) / whole * columns as f64).floor();
        let mut counts = vec![0; columns];
        for episode in self.episodes.get(rule).into_iter().flatten() {
            let (first, last) = (column(episode.fired_at), column(episode.ended_at.unwrap_or(self.to)));
            for (index, count) in counts.iter_mut().enumerate() {
                *count += usize::from((first..=last).contains(&(index as f64)));
            }
        }
        counts
    }

    fn add(&mut self, rule: &str, episode: Episode) {
        if episode.ended_at.is_none_or(|ended_at| ended_at >= self.from) {
            self.episodes.entry(rule.to_owned()).or_default().push(episode);
        }
    }
}

#[cfg(test)]
mod tests;
