//! Backtests: which alerts a set of rules would have sent, over a simulated workload, where the live engine
//! observes a scheduler in virtual time, or over recorded frames of a real service. Pure.
//!
//! In a simulated workload there is no network, hence neither delays nor failed polls: a backtest shows the effect
//! of rules on a workload, not that of an outage.

mod poll_scheduler;

use std::collections::BTreeMap;
use std::time::Duration;

pub use poll_scheduler::Observer;

use crate::engine::{Engine, Saved, cadence};
use crate::metrics::Frame;
use crate::model::Timestamp;
use crate::rules::{ActiveAlerts, AlertId, Rule, Transition, TransitionKind};
use crate::scheduler::{Scheduler, Setup, Submission};

/// One firing of an alert, from begin to end.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// The labels of the alert.
    pub labels: BTreeMap<String, String>,
    /// When the alert fired.
    pub fired_at: Timestamp,
    /// When it was resolved; `None` if it was still firing at the end.
    pub ended_at: Option<Timestamp>,
}

/// Result of a backtest.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// First moment covered.
    pub from: Timestamp,
    /// Last moment covered.
    pub to: Timestamp,
    /// Episodes by rule name, in order of firing; empty for rules that never fired.
    pub episodes: BTreeMap<String, Vec<Episode>>,
}

/// A workload and the period to evaluate.
#[derive(Debug)]
pub struct Backtest {
    /// The queues.
    pub setup: Setup,
    /// The jobs.
    pub submissions: Vec<Submission>,
    /// Random seed.
    pub seed: u64,
    /// Beginning of the workload.
    pub begin: Timestamp,
    /// Alerts before this time are not counted.
    pub from: Timestamp,
    /// Time of the last tick.
    pub to: Timestamp,
    /// Interval between ticks.
    pub every: Duration,
}

impl Backtest {
    /// Runs the backtest. `progress` is called with the time of each tick.
    pub fn run(self, rules: Vec<Rule>, mut progress: impl FnMut(Timestamp)) -> Report {
        let Self { setup, submissions, seed, begin, from, to, every } = self;
        let mut watch = Watch::new(&rules, from, to);
        let mut scheduler = Scheduler::new(setup, seed, begin);
        for submission in submissions {
            // Submissions that a queue refuses are skipped.
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

/// Backtest over recorded frames. Metrics of single jobs are not recorded.
#[derive(Debug)]
pub struct Replay {
    rules: Vec<Rule>,
    active_alerts: ActiveAlerts,
    watch: Watch,
}

impl Replay {
    /// Creates a replay that counts alerts from `from` to `to`.
    pub fn new(rules: Vec<Rule>, from: Timestamp, to: Timestamp) -> Self {
        let watch = Watch::new(&rules, from, to);
        Self { rules, active_alerts: ActiveAlerts::default(), watch }
    }

    /// Evaluates the next frame.
    pub fn take(&mut self, frame: &Frame) {
        self.watch.take(self.active_alerts.step(&self.rules, frame, frame.at));
    }

    /// The result.
    pub fn report(self) -> Report {
        self.watch.report()
    }
}

/// Collects transitions into episodes.
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
    /// Number of firings of a rule in each of `columns` equal parts of the period.
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
