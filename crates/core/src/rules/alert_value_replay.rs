//! Past values behind an alert, from stored frames.

use std::time::Duration;

use crate::metrics::catalogue::{Metric, Unit};
use crate::metrics::{Frame, Sample};
use crate::model::Place;
use crate::rules::alert::Alert;
use crate::rules::evaluation_context::Context;
use crate::rules::rule::{Clause, Condition, Rule};
use crate::rules::selected_series::{By, Index};
use crate::rules::window_history::History;

/// Computes the value of one condition for one instance frame by frame, as the evaluator would.
#[derive(Debug)]
pub struct PastValues {
    /// One rule, as a list for the index.
    rules: Vec<Rule>,
    condition: usize,
    by: By,
    history: History,
    index: Index,
}

impl PastValues {
    /// For the condition whose value the alert shows; `None` if the rule is not in `rules`, or changed since the
    /// alert was evaluated.
    pub fn of(rules: &[Rule], alert: &Alert) -> Option<Self> {
        let rule = rules.iter().find(|rule| rule.name == alert.rule)?;
        if alert.is_overflow() || !rule.covers(&alert.by, &Place::default()) {
            return None;
        }
        rule.clauses.get(alert.condition)?;
        Some(Self {
            rules: vec![rule.clone()],
            condition: alert.condition,
            by: alert.by.clone(),
            history: History::default(),
            index: Index::default(),
        })
    }

    /// Metric of the condition.
    pub fn metric(&self) -> Option<&'static Metric> {
        Some(self.clause()?.metric)
    }

    /// Unit of the values and of the threshold.
    pub fn unit(&self) -> Option<Unit> {
        Some(self.clause()?.unit())
    }

    /// The threshold, and where the alert ends.
    pub fn condition(&self) -> Option<Condition> {
        Some(self.clause()?.condition)
    }

    /// How long the condition must hold before the alert fires.
    pub fn hold(&self) -> Duration {
        self.rules.first().map_or(Duration::ZERO, |rule| rule.hold)
    }

    /// How far before the first value frames are needed, because the condition compares with the past.
    pub fn looks_back(&self) -> Duration {
        self.clause().and_then(|clause| clause.take.window()).unwrap_or_default()
    }

    /// The value in a frame, if any. Frames must be passed in time order.
    pub fn take(&mut self, frame: &Frame) -> Option<f64> {
        let samples: Vec<&Sample> = frame.samples.iter().collect();
        self.history.remember(&self.rules, &samples, frame.at);
        self.index.follow(&self.rules, &samples, &frame.place);
        let rule = self.rules.first()?;
        let clause = rule.clauses.get(self.condition)?;
        Context::new(frame, &samples, &self.index, &self.history).values(rule, clause).get(&self.by)
    }

    fn clause(&self) -> Option<&Clause> {
        self.rules.first()?.clauses.get(self.condition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{SourceHealth, Value, catalogue, labels};
    use crate::model::{Source, Timestamp};
    use crate::rules::{ActiveAlerts, parse_rules};

    fn frame(minute: i64, oldest: f64, preempted: f64) -> Frame {
        let of_share = |share: &str| labels([("queue", "q".into()), ("share", share.into())]);
        let samples = vec![
            Sample { metric: &catalogue::QUEUE_WAIT_OLDEST, labels: of_share("a"), value: Value::Gauge(oldest) },
            Sample { metric: &catalogue::QUEUE_WAIT_OLDEST, labels: of_share("b"), value: Value::Gauge(7.0) },
            Sample { metric: &catalogue::JOB_PREEMPTIONS, labels: of_share("a"), value: Value::Counter(preempted) },
        ];
        let health =
            SourceHealth { source: Source::Jobs, age_seconds: Some(1.0), error: None, note: None, failing: [].into() };
        Frame { at: Timestamp::from_millis(minute * 60_000), samples, sources: vec![health], ..Frame::default() }
    }

    /// Each frame's value equals the one that the evaluator saw at that time.
    #[test]
    fn the_past_is_what_the_evaluator_saw() {
        let rules = "rules:
          - { alert: Waits, by: [queue, share], metric: queue.wait.oldest, above: 0s, annotations: { summary: x } }
          - { alert: Preempted, by: [queue], metric: job.preemptions, increase: 10m, above: 0, annotations: { summary: x } }";
        let rules = parse_rules("rules.yaml", rules).unwrap();
        let frames: Vec<Frame> =
            (0_i32..30).map(|minute| frame(minute.into(), f64::from(minute * 10 + 1), f64::from(minute / 4))).collect();
        for (rule, share) in [("Waits", Some("a")), ("Preempted", None)] {
            let mut alerts = ActiveAlerts::default();
            let mut seen = Vec::new();
            let mut last = None;
            for frame in &frames {
                alerts.step(&rules, frame, frame.at);
                let of_rule = |alert: &&Alert| alert.rule == rule && alert.by.get("share").map(String::as_str) == share;
                let alert = alerts.alerts().find(of_rule);
                seen.push(alert.and_then(|alert| alert.value));
                last = alert.cloned().or(last);
            }
            let alert = last.unwrap();
            let mut past = PastValues::of(&rules, &alert).unwrap();
            for (frame, seen) in frames.iter().zip(seen) {
                // Pass every frame: an increase depends on earlier ones.
                let value = past.take(frame);
                assert!(seen.is_none() || value == seen, "{rule} at {}: {value:?} is not {seen:?}", frame.at);
            }
            let mut other = alert;
            other.rule = "Gone".to_owned();
            assert!(PastValues::of(&rules, &other).is_none());
        }
    }
}
