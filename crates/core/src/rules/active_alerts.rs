//! The alert book: every instance that is pending or firing, and how it got there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::metrics::catalogue::Unit;
use crate::metrics::{Frame, Sample};
use crate::model::{Place, Timestamp};
use crate::rules::alert::{Alert, AlertId, AlertState, ResolveReason, Transition, TransitionKind};
use crate::rules::alert_lifecycle::{Change, advance, after_gap};
use crate::rules::context::{Context, Finding, Values};
use crate::rules::history::History;
use crate::rules::index::{By, Index};
use crate::rules::likely_reasons::{self, Surroundings};
use crate::rules::rule::{Clause, NoData, Rule};
use crate::rules::verdict::{Verdict, value_of, verdict};
use crate::rules::wording::MAX_FUEL_PER_RULE;

/// The label of the one alert that stands for those over a rule's limit.
const OVERFLOW: &str = "overflow";

/// Owner of all alerts.
#[derive(Debug, Default)]
pub struct ActiveAlerts {
    alerts: BTreeMap<AlertId, Alert>,
    history: History,
    index: Index,
    stepped_at: Option<Timestamp>,
    /// Rules whose overflow alert is in `alerts`.
    overflowing: BTreeSet<String>,
    failures: BTreeMap<String, u64>,
    /// Work that the templates of the rule at hand may still take.
    fuel: u64,
    /// Of the frame that is being looked at.
    surroundings: Surroundings,
    /// The target whose alerts have ids of their own.
    apart: Option<Arc<str>>,
    /// Where the frame that is being looked at is of.
    place: Place,
}

impl ActiveAlerts {
    /// Continues with the alerts of an earlier run.
    pub fn restore(alerts: Vec<Alert>) -> Self {
        let overflowing = alerts.iter().filter(|alert| alert.is_overflow()).map(|alert| alert.rule.clone()).collect();
        let alerts = alerts.into_iter().map(|alert| (alert.id.clone(), alert)).collect();
        Self { alerts, overflowing, ..Self::default() }
    }

    /// Gives alerts ids that no other target has.
    pub(crate) fn set_apart(&mut self, target: Option<Arc<str>>) {
        self.apart = target;
    }

    fn id(&self, rule: &Rule, by: &By) -> AlertId {
        AlertId::within(self.apart.as_deref(), &rule.name, by)
    }

    /// Takes in a frame of an earlier run, for the rules that compare with what was. Frames are taken in in the order of their time,
    /// before the first [step](Self::step).
    pub fn recall(&mut self, rules: &[Rule], frame: &Frame) {
        let samples: Vec<&Sample> = frame.samples.iter().collect();
        self.history.remember(rules, &samples, frame.at);
    }

    /// Takes in that it is `now`, and that what an earlier run gave as a later time was not: no alert waits for that.
    pub fn correct_future(&mut self, now: Timestamp) {
        for alert in self.alerts.values_mut() {
            alert.evaluated_at = alert.evaluated_at.min(now);
            match &mut alert.state {
                AlertState::Pending { active_at } => *active_at = (*active_at).min(now),
                // When it fired is part of what was sent.
                AlertState::Firing { keep_since, .. } => *keep_since = keep_since.map(|since| since.min(now)),
            }
        }
        self.history = History::default();
    }

    /// Evaluates every rule over a frame. Returns what people have to be notified of, in the order of the rules.
    ///
    /// The rules may differ from those of the last step: alerts of a rule that is still there go on as they are.
    pub fn step(&mut self, rules: &[Rule], frame: &Frame, now: Timestamp) -> Vec<Transition> {
        let samples: Vec<&Sample> = frame.samples.iter().chain(&frame.of_jobs).collect();
        self.history.remember(rules, &samples, frame.at);
        self.index.follow(rules, &samples, &frame.place);
        self.place = frame.place.clone();
        self.surroundings = likely_reasons::of(frame);
        let mut reported = self.end_removed(rules, now);
        let mut known: BTreeMap<String, BTreeSet<By>> = BTreeMap::new();
        for alert in self.alerts.values().filter(|alert| !alert.is_overflow()) {
            known.entry(alert.rule.clone()).or_default().insert(alert.by.clone());
        }
        let (index, history) = (std::mem::take(&mut self.index), std::mem::take(&mut self.history));
        let context = Context::new(frame, &samples, &index, &history);
        let none = BTreeSet::new();
        for rule in rules {
            // Alerts stay as they are until it is known which account this is.
            if rule.asks_for(|label| frame.place.lacks(label)) {
                continue;
            }
            reported.extend(self.step_rule(rule, &context, known.get(&rule.name).unwrap_or(&none), now));
        }
        (self.index, self.history) = (index, history);
        self.stepped_at = Some(now);
        reported
    }

    /// Every alert that is pending or firing, by id.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// The same, to be completed.
    pub(super) fn alerts_mut(&mut self) -> impl Iterator<Item = &mut Alert> {
        self.alerts.values_mut()
    }

    pub(super) fn alert(&self, id: &AlertId) -> Option<&Alert> {
        self.alerts.get(id)
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

    /// Evaluates one rule; `known` are the instances of it that have an alert.
    fn step_rule<'a>(
        &mut self,
        rule: &'a Rule,
        context: &Context<'a>,
        known: &BTreeSet<By>,
        now: Timestamp,
    ) -> Vec<Transition> {
        self.fuel = MAX_FUEL_PER_RULE;
        let values: Vec<Values<'_>> = rule.clauses.iter().map(|clause| context.values(rule, clause)).collect();
        let mut room = rule.limit.saturating_sub(known.len());
        let mut left_out = 0_u32;
        let mut reported = Vec::new();
        // Of what has no alert, only what may begin one is looked at: where some condition holds, or where no data is to alert
        // whatever is there; and a rule over everything has one instance, even when there is nothing.
        let there = (rule.no_data == NoData::Alert).then(|| context.present(&rule.by));
        let there = there.iter().flat_map(|there| there.iter().filter(|by| rule.covers(by, &self.place)));
        let whole = rule.by.is_empty().then(By::new);
        let begin = rule.clauses.iter().zip(&values).take(rule.beginning()).flat_map(|(clause, values)| {
            values.iter().filter(|(_, value)| clause.condition.holds(*value, false)).map(|(by, _)| by)
        });
        let all: BTreeSet<&By> = begin.chain(known).chain(&whole).chain(there).collect();
        for by in all {
            let finding = |(clause, values): (&Clause, &Values<'_>)| context.finding(rule, clause, by, values.get(by));
            let findings: Vec<Finding> = rule.clauses.iter().zip(&values).map(finding).collect();
            if known.contains(by) {
                reported.extend(self.step_instance(rule, by, &findings, now));
            } else if !matches!(verdict(rule, &findings, false), Verdict::Holds { .. }) {
                // It was and is inactive.
            } else if room > 0 {
                room -= 1;
                reported.extend(self.step_instance(rule, by, &findings, now));
            } else {
                left_out += 1;
            }
        }
        // While part of a rule cannot be seen, nobody knows how many would be left out.
        if !rule.clauses.iter().any(|clause| context.is_blind(clause, &By::new())) {
            reported.extend(self.step_overflow(rule, left_out, now));
        }
        reported
    }

    fn step_instance(&mut self, rule: &Rule, by: &By, findings: &[Finding], now: Timestamp) -> Option<Transition> {
        let id = self.id(rule, by);
        let firing = self.alerts.get(&id).is_some_and(|alert| alert.state.fired_at().is_some());
        match verdict(rule, findings, firing) {
            Verdict::Holds { shown } => self.judge(rule, by, Found::Holds(shown), value_of(findings, shown), now),
            Verdict::Rests { shown: deciding } => {
                // The value of an end is of the condition whose unit and threshold the alert shows.
                let shown = self.alerts.get(&id).map_or(deciding, |alert| alert.condition);
                let has_data = value_of(findings, deciding).is_some();
                self.judge(rule, by, Found::Rests { has_data }, value_of(findings, shown), now)
            }
            Verdict::Gone => self.alerts.remove(&id)?.end(ResolveReason::Gone, now),
            // Nothing is known, so nothing changes; nor will the time count.
            Verdict::Unknown => None,
        }
    }

    /// One alert stands for all those that a rule's limit leaves out.
    fn step_overflow(&mut self, rule: &Rule, left_out: u32, now: Timestamp) -> Option<Transition> {
        let by = By::from([(OVERFLOW.to_owned(), "true".to_owned())]);
        // Most rules have nothing left out, and an identity is a hash.
        if left_out == 0 && !self.overflowing.contains(&rule.name) {
            return None;
        }
        let reported = {
            let found = if left_out > 0 { Found::Holds(0) } else { Found::Rests { has_data: true } };
            self.judge(rule, &by, found, Some(f64::from(left_out)), now)
        };
        if self.alerts.contains_key(&self.id(rule, &by)) {
            self.overflowing.insert(rule.name.clone());
        } else {
            self.overflowing.remove(&rule.name);
        }
        reported
    }

    /// Advances one instance by an evaluation that found something.
    fn judge(&mut self, rule: &Rule, by: &By, found: Found, value: Option<f64>, now: Timestamp) -> Option<Transition> {
        let id = self.id(rule, by);
        let before = self.alerts.remove(&id).and_then(|alert| self.resume(alert, now));
        let mut recent = before.as_ref().map(|alert| alert.recent.clone()).unwrap_or_default();
        let state = before.as_ref().map(|alert| alert.state);
        let (next, change) = advance(state, &mut recent, matches!(found, Found::Holds(_)), rule.hold_policy(), now);
        let ended = before.as_ref().filter(|_| change == Change::Ended).cloned().and_then(|mut alert| {
            alert.value = value;
            alert.end(if found.has_data() { ResolveReason::Recovered } else { ResolveReason::NoData }, now)
        });
        let Some(state) = next else { return ended };
        let mut alert = before.unwrap_or_else(|| Alert::begin(rule, id.clone(), by, &self.place, state, now));
        (alert.state, alert.recent, alert.evaluated_at) = (state, recent, now);
        if let Found::Holds(index) = found
            && let Some(clause) = rule.clauses.get(index)
        {
            if alert.condition != index {
                // It was in the unit of another condition.
                alert.value_at_fire = None;
                alert.condition = index;
            }
            self.describe(rule, clause, &mut alert, value);
        }
        match change {
            Change::None => {}
            Change::Fired => alert.value_at_fire = value,
            Change::Ended => alert.value_at_fire = None,
        }
        let fired = (change == Change::Fired).then(|| Transition {
            alert: alert.clone(),
            kind: TransitionKind::Fired,
            at: now,
        });
        self.alerts.insert(id, alert);
        fired.or(ended)
    }

    /// The alert as it goes on after the time since its last evaluation.
    fn resume(&self, mut alert: Alert, now: Timestamp) -> Option<Alert> {
        let missed = Some(alert.evaluated_at) != self.stepped_at;
        alert.state = after_gap(alert.state, now.since(alert.evaluated_at), missed)?;
        Some(alert)
    }

    /// Says what is the case, in the words that the rule has now.
    fn describe(&mut self, rule: &Rule, clause: &Clause, alert: &mut Alert, value: Option<f64>) {
        alert.value = value;
        alert.labels = labels_of(rule, &alert.by, &self.place);
        let queue = alert.by.get("queue").and_then(|queue| self.surroundings.get(queue.as_str()));
        alert.queue_arn = queue.map(|queue| queue.arn.clone()).filter(|arn| !arn.is_empty());
        if alert.is_overflow() {
            let left_out = value.unwrap_or_default();
            let summary = format!("{left_out} more alerts of {} are over its limit of {}", rule.name, rule.limit);
            alert.annotations = [("summary".to_owned(), summary)].into();
            (alert.unit, alert.threshold) = (Unit::Count, None);
            return;
        }
        (alert.unit, alert.threshold) = (clause.unit(), Some(clause.condition.threshold()));
        let mut words = alert.by.clone();
        words.insert("value".to_owned(), value.map_or_else(|| "no data".to_owned(), |value| clause.in_words(value)));
        words.insert("threshold".to_owned(), clause.in_words(clause.condition.threshold()));
        let (annotations, problems) = rule.templates.render_within(&words, &mut self.fuel);
        // What most jobs wait for says nothing of a single one.
        let queue = queue.filter(|_| clause.is_about_waiting() && !alert.by.contains_key("job"));
        let wanted = rule.wanted_reasons(clause, &alert.by);
        let likely = queue
            .map(|queue| queue.likely(alert.by.get("share"), |reason| wanted.as_ref().is_none_or(|is| is(reason))));
        drop(wanted);
        alert.annotations = likely.unwrap_or_default();
        alert.annotations.extend(annotations);
        for (name, message) in problems {
            *self.failures.entry(rule.name.clone()).or_default() += 1;
            alert.annotations.insert(name, format!("(this annotation cannot be rendered: {message})"));
        }
    }

    /// Ends alerts that no rule is about any more.
    fn end_removed(&mut self, rules: &[Rule], now: Timestamp) -> Vec<Transition> {
        let rules: BTreeMap<&str, &Rule> = rules.iter().map(|rule| (rule.name.as_str(), rule)).collect();
        let place = &self.place;
        let removed = |alert: &mut Alert| {
            !rules.get(alert.rule.as_str()).is_some_and(|rule| alert.is_overflow() || rule.covers(&alert.by, place))
        };
        let removed: Vec<Alert> =
            self.alerts.extract_if(.., |_, alert| removed(alert)).map(|(_, alert)| alert).collect();
        removed.into_iter().filter_map(|alert| alert.end(ResolveReason::RuleRemoved, now)).collect()
    }
}

/// What an evaluation found of an instance that has data.
#[derive(Clone, Copy)]
enum Found {
    /// The rule holds, and the condition with this index says why.
    Holds(usize),
    /// The rule does not hold.
    Rests {
        /// Whether the condition that shows it has a value, rather than none that the rule takes for fine.
        has_data: bool,
    },
}

impl Found {
    fn has_data(self) -> bool {
        matches!(self, Self::Holds(_) | Self::Rests { has_data: true })
    }
}

impl Alert {
    fn begin(rule: &Rule, id: AlertId, by: &By, place: &Place, state: AlertState, now: Timestamp) -> Self {
        Self {
            id,
            rule: rule.name.clone(),
            by: by.clone(),
            labels: labels_of(rule, by, place),
            annotations: BTreeMap::new(),
            state,
            recent: Vec::new(),
            value: None,
            value_at_fire: None,
            unit: crate::metrics::catalogue::Unit::Count,
            threshold: None,
            condition: 0,
            queue_arn: None,
            evaluated_at: now,
        }
    }

    /// Ends an alert; people are notified only if it fired.
    fn end(self, ending: ResolveReason, now: Timestamp) -> Option<Transition> {
        self.state.fired_at()?;
        Some(Transition { alert: self, kind: TransitionKind::Resolved(ending), at: now })
    }

    pub(super) fn is_overflow(&self) -> bool {
        self.by.contains_key(OVERFLOW)
    }
}

/// What the place says is not for a rule to say.
fn labels_of(rule: &Rule, by: &By, place: &Place) -> BTreeMap<String, String> {
    let mut labels = rule.labels.clone();
    labels.extend(place.labels().map(|(label, value)| (label.to_owned(), value.to_string())));
    labels.extend(by.clone());
    labels.insert("alertname".to_owned(), rule.name.clone());
    labels
}
