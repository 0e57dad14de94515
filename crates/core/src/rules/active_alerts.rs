//! The active alerts: every pending or firing instance and its state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::metrics::catalogue::Unit;
use crate::metrics::{Frame, Sample};
use crate::model::{Place, Timestamp};
use crate::rules::alert::{Alert, AlertId, AlertState, ResolveReason, Transition, TransitionKind};
use crate::rules::alert_lifecycle::{Change, advance, after_gap};
use crate::rules::annotations::MAX_FUEL_PER_RULE;
use crate::rules::combined_conditions::{Verdict, value_of, verdict};
use crate::rules::evaluation_context::{Context, Finding, Values};
use crate::rules::queue_annotations::{self, QueueWaits};
use crate::rules::rule::{Clause, NoData, Rule};
use crate::rules::selected_series::{By, Index};
use crate::rules::window_history::History;

/// Label of the one alert that represents those beyond a rule's limit.
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
    /// Remaining template work for the current rule.
    fuel: u64,
    /// Queues of the current frame.
    queues: QueueWaits,
    /// The target, if its alerts need ids of their own.
    apart: Option<Arc<str>>,
    /// Account and region of the current frame.
    place: Place,
}

impl ActiveAlerts {
    /// Resumes with the alerts of an earlier run.
    pub fn restore(alerts: Vec<Alert>) -> Self {
        let overflowing = alerts.iter().filter(|alert| alert.is_overflow()).map(|alert| alert.rule.clone()).collect();
        let alerts = alerts.into_iter().map(|alert| (alert.id.clone(), alert)).collect();
        Self { alerts, overflowing, ..Self::default() }
    }

    /// Makes alert ids unique to this target.
    pub(crate) fn set_id_target(&mut self, target: Option<Arc<str>>) {
        self.apart = target;
    }

    fn id(&self, rule: &Rule, by: &By) -> AlertId {
        AlertId::within(self.apart.as_deref(), &rule.name, by)
    }

    /// Replays a stored frame for rules that compare with the past. Call in time order, before the first
    /// [step](Self::step).
    pub fn recall(&mut self, rules: &[Rule], frame: &Frame) {
        let samples: Vec<&Sample> = frame.samples.iter().collect();
        self.history.remember(rules, &samples, frame.at);
    }

    /// Moves times of an earlier run that lie after `now` back to `now`, so that no alert waits for them.
    pub fn correct_future(&mut self, now: Timestamp) {
        for alert in self.alerts.values_mut() {
            alert.evaluated_at = alert.evaluated_at.min(now);
            match &mut alert.state {
                AlertState::Pending { active_at } => *active_at = (*active_at).min(now),
                // `fired_at` stays: it was already sent.
                AlertState::Firing { keep_since, .. } => *keep_since = keep_since.map(|since| since.min(now)),
            }
        }
        self.history = History::default();
    }

    /// Evaluates every rule over a frame. Returns the transitions to notify, in rule order.
    ///
    /// The rules may differ from those of the last step: alerts of rules that still exist continue.
    pub fn step(&mut self, rules: &[Rule], frame: &Frame, now: Timestamp) -> Vec<Transition> {
        self.step_with_jobs(rules, frame, &[], now)
    }

    /// As [`step`](Self::step), with samples of [single jobs](crate::metrics::single_jobs), which no frame has.
    pub(super) fn step_with_jobs(
        &mut self,
        rules: &[Rule],
        frame: &Frame,
        job_samples: &[Sample],
        now: Timestamp,
    ) -> Vec<Transition> {
        let samples: Vec<&Sample> = frame.samples.iter().chain(job_samples).collect();
        self.history.remember(rules, &samples, frame.at);
        self.index.follow(rules, &samples, &frame.place);
        self.place = frame.place.clone();
        self.queues = queue_annotations::of(frame);
        let mut reported = self.end_removed(rules, now);
        let mut known: BTreeMap<String, BTreeSet<By>> = BTreeMap::new();
        for alert in self.alerts.values().filter(|alert| !alert.is_overflow()) {
            known.entry(alert.rule.clone()).or_default().insert(alert.by.clone());
        }
        let (index, history) = (std::mem::take(&mut self.index), std::mem::take(&mut self.history));
        let context = Context::new(frame, &samples, &index, &history);
        let none = BTreeSet::new();
        for rule in rules {
            // Until the account is known, alerts do not change.
            if rule.asks_for(|label| frame.place.lacks(label)) {
                continue;
            }
            reported.extend(self.step_rule(rule, &context, known.get(&rule.name).unwrap_or(&none), now));
        }
        (self.index, self.history) = (index, history);
        self.stepped_at = Some(now);
        reported
    }

    /// All pending and firing alerts, by id.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// As [`Self::alerts`], mutable.
    pub(super) fn alerts_mut(&mut self) -> impl Iterator<Item = &mut Alert> {
        self.alerts.values_mut()
    }

    pub(super) fn alert(&self, id: &AlertId) -> Option<&Alert> {
        self.alerts.get(id)
    }

    /// Number of pending and of firing alerts.
    pub fn counts(&self) -> (usize, usize) {
        let firing = self.alerts.values().filter(|alert| alert.state.fired_at().is_some()).count();
        (self.alerts.len() - firing, firing)
    }

    /// Failed evaluations since the last call, by rule.
    pub fn take_failures(&mut self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.failures)
    }

    /// Evaluates one rule; `known` are its instances that have an alert.
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
        // For instances without an alert, only those that may start one are evaluated: where some condition holds,
        // or, if no data alerts, whatever is present. A rule without `by` has one instance even if there is no
        // series.
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
                // It was inactive and still is.
            } else if room > 0 {
                room -= 1;
                reported.extend(self.step_instance(rule, by, &findings, now));
            } else {
                left_out += 1;
            }
        }
        // While part of a rule is unknown, so is the number beyond its limit.
        if !rule.clauses.iter().any(|clause| context.is_blind(clause, &By::new())) {
            reported.extend(self.step_overflow(rule, left_out, now));
        }
        reported
    }

    fn step_instance(&mut self, rule: &Rule, by: &By, findings: &[Finding], now: Timestamp) -> Option<Transition> {
        let id = self.id(rule, by);
        let firing = self.alerts.get(&id).is_some_and(|alert| alert.state.fired_at().is_some());
        match verdict(rule, findings, firing) {
            Verdict::Holds { shown } => {
                self.advance_instance(rule, by, Evaluation::Holds(shown), value_of(findings, shown), now)
            }
            Verdict::DoesNotHold { shown: deciding } => {
                // At the end, show the value of the condition whose unit and threshold the alert shows.
                let shown = self.alerts.get(&id).map_or(deciding, |alert| alert.condition);
                let has_data = value_of(findings, deciding).is_some();
                self.advance_instance(rule, by, Evaluation::DoesNotHold { has_data }, value_of(findings, shown), now)
            }
            Verdict::Gone => self.alerts.remove(&id)?.end(ResolveReason::Gone, now),
            // Unknown changes nothing, and the time does not count.
            Verdict::Unknown => None,
        }
    }

    /// Advances the one alert that represents all those beyond a rule's limit.
    fn step_overflow(&mut self, rule: &Rule, left_out: u32, now: Timestamp) -> Option<Transition> {
        let by = By::from([(OVERFLOW.to_owned(), "true".to_owned())]);
        // Computing an id hashes; skip that for the many rules within their limit.
        if left_out == 0 && !self.overflowing.contains(&rule.name) {
            return None;
        }
        let reported = {
            let evaluation =
                if left_out > 0 { Evaluation::Holds(0) } else { Evaluation::DoesNotHold { has_data: true } };
            self.advance_instance(rule, &by, evaluation, Some(f64::from(left_out)), now)
        };
        if self.alerts.contains_key(&self.id(rule, &by)) {
            self.overflowing.insert(rule.name.clone());
        } else {
            self.overflowing.remove(&rule.name);
        }
        reported
    }

    /// Advances one instance by an evaluation with a result.
    fn advance_instance(
        &mut self,
        rule: &Rule,
        by: &By,
        evaluation: Evaluation,
        value: Option<f64>,
        now: Timestamp,
    ) -> Option<Transition> {
        let id = self.id(rule, by);
        let before = self.alerts.remove(&id).and_then(|alert| self.resume(alert, now));
        let mut recent = before.as_ref().map(|alert| alert.recent.clone()).unwrap_or_default();
        let state = before.as_ref().map(|alert| alert.state);
        let (next, change) =
            advance(state, &mut recent, matches!(evaluation, Evaluation::Holds(_)), rule.hold_policy(), now);
        let ended = before.as_ref().filter(|_| change == Change::Ended).cloned().and_then(|mut alert| {
            alert.value = value;
            alert.end(if evaluation.has_data() { ResolveReason::Recovered } else { ResolveReason::NoData }, now)
        });
        let Some(state) = next else { return ended };
        let mut alert = before.unwrap_or_else(|| Alert::begin(rule, id.clone(), by, &self.place, state, now));
        (alert.state, alert.recent, alert.evaluated_at) = (state, recent, now);
        if let Evaluation::Holds(index) = evaluation
            && let Some(clause) = rule.clauses.get(index)
        {
            if alert.condition != index {
                // It has the unit of another condition.
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

    /// The alert after the time since its last evaluation; see [`after_gap`].
    fn resume(&self, mut alert: Alert, now: Timestamp) -> Option<Alert> {
        let missed = Some(alert.evaluated_at) != self.stepped_at;
        alert.state = after_gap(alert.state, now.since(alert.evaluated_at), missed)?;
        Some(alert)
    }

    /// Renders the annotations from the rule's current templates.
    fn describe(&mut self, rule: &Rule, clause: &Clause, alert: &mut Alert, value: Option<f64>) {
        alert.value = value;
        alert.labels = labels_of(rule, &alert.by, &self.place);
        let queue = alert.by.get("queue").and_then(|queue| self.queues.get(queue.as_str()));
        alert.queue_arn = queue.map(|queue| queue.arn.clone()).filter(|arn| !arn.is_empty());
        if alert.is_overflow() {
            let left_out = value.unwrap_or_default();
            let summary = format!("{left_out} more alerts of {} exceed its limit of {}", rule.name, rule.limit);
            alert.annotations = [("summary".to_owned(), summary)].into();
            (alert.unit, alert.threshold) = (Unit::Count, None);
            return;
        }
        (alert.unit, alert.threshold) = (clause.unit(), Some(clause.condition.threshold()));
        let mut words = alert.by.clone();
        words.insert("value".to_owned(), value.map_or_else(|| "no data".to_owned(), |value| clause.in_words(value)));
        words.insert("threshold".to_owned(), clause.in_words(clause.condition.threshold()));
        let (annotations, problems) = rule.templates.render_within(&words, &mut self.fuel);
        // The reason that most jobs wait for need not apply to a single job.
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

    /// Ends alerts that no rule covers any more.
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

/// Result of evaluating an instance that has data.
#[derive(Clone, Copy)]
enum Evaluation {
    /// The rule holds; the condition with this index decided it.
    Holds(usize),
    /// The rule does not hold.
    DoesNotHold {
        /// Whether the deciding condition has a value, rather than no data that the rule treats as ok.
        has_data: bool,
    },
}

impl Evaluation {
    fn has_data(self) -> bool {
        matches!(self, Self::Holds(_) | Self::DoesNotHold { has_data: true })
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

    /// Ends an alert; only an alert that fired is notified.
    fn end(self, ending: ResolveReason, now: Timestamp) -> Option<Transition> {
        self.state.fired_at()?;
        Some(Transition { alert: self, kind: TransitionKind::Resolved(ending), at: now })
    }

    pub(super) fn is_overflow(&self) -> bool {
        self.by.contains_key(OVERFLOW)
    }
}

/// A rule cannot override the labels of the place.
fn labels_of(rule: &Rule, by: &By, place: &Place) -> BTreeMap<String, String> {
    let mut labels = rule.labels.clone();
    labels.extend(place.labels().map(|(label, value)| (label.to_owned(), value.to_string())));
    labels.extend(by.clone());
    labels.insert("alertname".to_owned(), rule.name.clone());
    labels
}
