//! The alert book: every instance that is pending or firing, and how it got there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::derive::Frame;
use crate::evaluate::alert::{Alert, AlertId, AlertState, Ending, Transition, TransitionKind};
use crate::evaluate::groups::{By, Finding, History, OVERFLOW, Scene};
use crate::evaluate::rule::{NoData, Rule};
use crate::model::Timestamp;

/// Owner of all alerts.
#[derive(Debug, Default)]
pub struct AlertBook {
    alerts: BTreeMap<AlertId, Alert>,
    history: History,
    stepped_at: Option<Timestamp>,
    failures: BTreeMap<String, u64>,
}

impl AlertBook {
    /// Continues with the alerts of an earlier run.
    pub fn restore(alerts: Vec<Alert>) -> Self {
        let alerts = alerts.into_iter().map(|alert| (alert.id.clone(), alert)).collect();
        Self { alerts, ..Self::default() }
    }

    /// Evaluates every rule over a frame. Returns what people have to be told, in the order of the rules.
    pub fn step(&mut self, rules: &[Rule], frame: &Frame, now: Timestamp) -> Vec<Transition> {
        self.history.remember(rules, frame);
        let mut told = self.end_removed(rules, now);
        let history = std::mem::take(&mut self.history);
        let scene = Scene::new(frame, &history);
        for rule in rules {
            told.extend(self.step_rule(rule, &scene, now));
        }
        self.history = history;
        self.stepped_at = Some(now);
        told
    }

    /// Every alert that is pending or firing, by id.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// How many alerts are pending, and how many firing.
    pub fn counts(&self) -> (usize, usize) {
        let firing = self.alerts.values().filter(|alert| alert.state.fired_at().is_some()).count();
        (self.alerts.len() - firing, firing)
    }

    /// Evaluations that failed since the last call, by rule.
    pub fn take_failures(&mut self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.failures)
    }

    fn step_rule(&mut self, rule: &Rule, scene: &Scene<'_>, now: Timestamp) -> Vec<Transition> {
        let values = scene.values(rule);
        let known: BTreeSet<By> = self.of_rule(rule).map(|alert| alert.by.clone()).collect();
        let mut room = rule.limit.saturating_sub(known.iter().filter(|by| !by.contains_key(OVERFLOW)).count());
        let mut left_out = 0_usize;
        let mut told = Vec::new();
        // A rule over everything has one instance, even when there is nothing.
        let whole = rule.by.is_empty().then(By::new);
        let all: BTreeSet<&By> =
            values.keys().chain(&known).chain(&whole).filter(|by| !by.contains_key(OVERFLOW)).collect();
        for by in all {
            let value = values.get(by).map(|value| Finding::Value(*value));
            let finding = if scene.is_blind(rule, by) {
                Finding::Unknown
            } else {
                value.unwrap_or_else(|| scene.absence(rule, by))
            };
            let is_new = !known.contains(by);
            if is_new && room == 0 {
                left_out += usize::from(matches!(finding, Finding::Value(value) if rule.condition.holds(value, false)));
                continue;
            }
            let before = self.alerts.len();
            told.extend(self.step_instance(rule, by, finding, now));
            room -= usize::from(is_new && self.alerts.len() > before).min(room);
        }
        told.extend(self.step_overflow(rule, left_out, now));
        told
    }

    fn step_instance(&mut self, rule: &Rule, by: &By, finding: Finding, now: Timestamp) -> Option<Transition> {
        let id = AlertId::of(&rule.name, by);
        let mut alert = self.alerts.remove(&id);
        let firing = alert.as_ref().is_some_and(|alert| alert.state.fired_at().is_some());
        let (value, holds) = match finding {
            Finding::Value(value) => (Some(value), Some(rule.condition.holds(value, firing))),
            Finding::NoData => match rule.no_data {
                NoData::Keep => (None, None),
                NoData::Ok => (None, Some(false)),
                NoData::Alert => (None, Some(true)),
            },
            Finding::Gone => return alert.and_then(|alert| alert.end(Ending::Gone, now)),
            Finding::Unknown => (None, None),
        };
        let Some(holds) = holds else {
            // Nothing is known, so nothing changes; nor will the time count.
            self.alerts.extend(alert.map(|alert| (id, alert)));
            return None;
        };
        if let Some(alert) = &mut alert
            && Some(alert.evaluated_at) != self.stepped_at
        {
            alert.skip(now.since(alert.evaluated_at));
        }
        let state = alert.as_ref().map(|alert| alert.state);
        let (next, fired) = step(state, holds, rule.hold, rule.keep_firing_for, now);
        let Some(next) = next else {
            let ending = if value.is_some() { Ending::Recovered } else { Ending::NoData };
            let mut alert = alert?;
            alert.value = value;
            return alert.end(ending, now);
        };
        let mut alert = alert.unwrap_or_else(|| self.begin(rule, by, next, now));
        alert.state = next;
        alert.evaluated_at = now;
        if holds {
            self.describe(rule, &mut alert, value);
        }
        if fired {
            alert.value_at_fire = value;
        }
        let told = fired.then(|| Transition { alert: alert.clone(), kind: TransitionKind::Fired, at: now });
        self.alerts.insert(id, alert);
        told
    }

    /// One alert stands for all those that a rule's limit leaves out.
    fn step_overflow(&mut self, rule: &Rule, left_out: usize, now: Timestamp) -> Option<Transition> {
        let by = By::from([(OVERFLOW.to_owned(), "true".to_owned())]);
        let id = AlertId::of(&rule.name, &by);
        let alert = self.alerts.remove(&id);
        if left_out == 0 {
            return alert.and_then(|alert| alert.end(Ending::Recovered, now));
        }
        let is_new = alert.is_none();
        let state = AlertState::Firing { active_at: now, fired_at: now, keep_since: None };
        let mut alert = alert.unwrap_or_else(|| self.begin(rule, &by, state, now));
        alert.value = Some(left_out as f64);
        alert.evaluated_at = now;
        let summary = format!("{left_out} more alerts of {} are over its limit of {}", rule.name, rule.limit);
        alert.annotations = [("summary".to_owned(), summary)].into();
        let told = is_new.then(|| Transition { alert: alert.clone(), kind: TransitionKind::Fired, at: now });
        self.alerts.insert(id, alert);
        told
    }

    fn begin(&self, rule: &Rule, by: &By, state: AlertState, now: Timestamp) -> Alert {
        let mut labels = rule.labels.clone();
        labels.extend(by.clone());
        labels.insert("alertname".to_owned(), rule.name.clone());
        Alert {
            id: AlertId::of(&rule.name, by),
            rule: rule.name.clone(),
            by: by.clone(),
            labels,
            annotations: BTreeMap::new(),
            state,
            value: None,
            value_at_fire: None,
            evaluated_at: now,
        }
    }

    fn describe(&mut self, rule: &Rule, alert: &mut Alert, value: Option<f64>) {
        alert.value = value;
        let mut words = alert.by.clone();
        words.insert("value".to_owned(), value.map_or_else(|| "no data".to_owned(), |value| rule.in_words(value)));
        words.insert("threshold".to_owned(), rule.in_words(rule.condition.threshold()));
        let (annotations, problems) = rule.templates.render(&words);
        alert.annotations = annotations;
        for (name, message) in problems {
            *self.failures.entry(rule.name.clone()).or_default() += 1;
            alert.annotations.insert(name, format!("(this annotation cannot be rendered: {message})"));
        }
    }

    fn end_removed(&mut self, rules: &[Rule], now: Timestamp) -> Vec<Transition> {
        let names: BTreeSet<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        let removed = |alert: &Alert| !names.contains(alert.rule.as_str());
        let ids: Vec<AlertId> =
            self.alerts.values().filter(|alert| removed(alert)).map(|alert| alert.id.clone()).collect();
        let alerts = ids.iter().filter_map(|id| self.alerts.remove(id));
        alerts.filter_map(|alert| alert.end(Ending::RuleRemoved, now)).collect()
    }

    fn of_rule(&self, rule: &Rule) -> impl Iterator<Item = &Alert> {
        self.alerts.values().filter(|alert| alert.rule == rule.name)
    }
}

impl Alert {
    /// Ends an alert; people are told only if it fired.
    fn end(self, ending: Ending, now: Timestamp) -> Option<Transition> {
        self.state.fired_at()?;
        Some(Transition { alert: self, kind: TransitionKind::Resolved(ending), at: now })
    }

    /// Takes time in which nobody evaluated out of what the state counts.
    fn skip(&mut self, gap: Duration) {
        match &mut self.state {
            AlertState::Pending { active_at } => *active_at = *active_at + gap,
            AlertState::Firing { keep_since, .. } => *keep_since = keep_since.map(|since| since + gap),
        }
    }
}

/// Advances one instance by one evaluation; `None` is inactive. Returns whether it fired just now.
///
/// Fires when the condition has held for at least `hold`, ends when it has not for at least `keep`.
fn step(
    state: Option<AlertState>,
    holds: bool,
    hold: Duration,
    keep: Duration,
    now: Timestamp,
) -> (Option<AlertState>, bool) {
    let pending_or_firing = |active_at: Timestamp| {
        if now.since(active_at) >= hold {
            (Some(AlertState::Firing { active_at, fired_at: now, keep_since: None }), true)
        } else {
            (Some(AlertState::Pending { active_at }), false)
        }
    };
    match (state, holds) {
        (None, false) | (Some(AlertState::Pending { .. }), false) => (None, false),
        (None, true) => pending_or_firing(now),
        (Some(AlertState::Pending { active_at }), true) => pending_or_firing(active_at),
        (Some(AlertState::Firing { active_at, fired_at, .. }), true) => {
            (Some(AlertState::Firing { active_at, fired_at, keep_since: None }), false)
        }
        (Some(AlertState::Firing { active_at, fired_at, keep_since }), false) => {
            let since = keep_since.unwrap_or(now);
            let over = now.since(since) >= keep;
            (if over { None } else { Some(AlertState::Firing { active_at, fired_at, keep_since: Some(since) }) }, false)
        }
    }
}
