//! Alerts as series, so that any metrics system can show which alerts fire.

use crate::metrics::{ActiveAlert, Counting, MAX_ACTIVE_ALERTS, Service, catalogue};
use crate::rules::{ActiveAlerts, Alert};

/// Copies the alerts into the service's figures.
pub(super) fn add(alerts: &ActiveAlerts, service: &mut Service, counting: &mut Counting) {
    (service.alerts_pending, service.alerts_firing) = alerts.counts();
    let (active, over) = of(alerts.alerts());
    service.active_alerts = active;
    if over > 0 {
        counting.add(&catalogue::LIMIT_HITS, [("limit", "active_alerts".into())], over);
    }
}

/// Alerts with a series, in a stable order, and the number of those beyond the limit.
fn of<'a>(alerts: impl Iterator<Item = &'a Alert>) -> (Vec<ActiveAlert>, u64) {
    let mut active: Vec<ActiveAlert> = alerts.map(one).collect();
    // Firing alerts first, so that they get a series.
    active.sort_by(|a, b| (a.state != FIRING, a).cmp(&(b.state != FIRING, b)));
    active.dedup();
    let over = active.len().saturating_sub(MAX_ACTIVE_ALERTS);
    active.truncate(MAX_ACTIVE_ALERTS);
    (active, over as u64)
}

const FIRING: &str = "firing";

fn one(alert: &Alert) -> ActiveAlert {
    let by = |label: &str| alert.by.get(label).cloned().unwrap_or_default();
    let others = alert.by.iter().filter(|(label, _)| !matches!(label.as_str(), "queue" | "share"));
    ActiveAlert {
        alertname: alert.rule.clone(),
        severity: alert.labels.get("severity").cloned().unwrap_or_default(),
        state: alert.state.as_str(),
        queue: by("queue"),
        share: by("share"),
        subject: others.map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, Saved, cadence};
    use crate::metrics::Value;
    use crate::model::Timestamp;
    use crate::rules::parse_rules;

    #[test]
    fn an_alert_has_a_series_while_it_is_pending_and_fires() {
        let rules = "rules: [{ alert: Idle, metric: ledger.jobs, below: 1, for: 1m, labels: { severity: page }, annotations: { summary: x } }]";
        let second = std::time::Duration::from_secs(1);
        let begin = Timestamp::from_millis(1_700_000_000_000);
        let rules = parse_rules("r.yaml", rules).unwrap();
        let mut engine = Engine::new(rules, cadence(second * 900, second * 30), Saved::default(), begin);
        let mut states = Vec::new();
        for tick in 0..5 {
            let frame = engine.tick(begin + second * 30 * tick).frame;
            let of_alert = frame.samples.iter().filter(|sample| sample.metric == &catalogue::ALERTS_ACTIVE);
            let state = of_alert.map(|sample| {
                assert_eq!(sample.value, Value::Gauge(1.0));
                let label = |label: &str| sample.labels.get(label).unwrap().to_string();
                [label("alertname"), label("severity"), label("state"), label("queue"), label("subject")].join(",")
            });
            states.push(state.collect::<Vec<_>>().join(";"));
        }
        let expected = ["", "Idle,page,pending,,", "Idle,page,pending,,", "Idle,page,firing,,", "Idle,page,firing,,"];
        assert_eq!(states, expected);
    }

    #[test]
    fn too_many_alerts_keep_series_for_those_that_fire() {
        let alert = |n: usize, state: &str| -> Alert {
            let at = "2026-01-01T00:00:00Z";
            let state = if state == FIRING {
                serde_json::json!({"state": state, "active_at": at, "fired_at": at, "keep_since": null})
            } else {
                serde_json::json!({"state": state, "active_at": at})
            };
            serde_json::from_value(serde_json::json!({
                "id": format!("{n:016x}"), "rule": "R", "by": {"queue": format!("q{n}"), "reason": "x"}, "labels": {}, "annotations": {},
                "state": state, "value": null, "value_at_fire": null, "evaluated_at": at,
            }))
            .unwrap()
        };
        let alerts: Vec<Alert> = (0..600).map(|n| alert(n, if n >= 400 { FIRING } else { "pending" })).collect();
        let (active, over) = of(alerts.iter());
        assert_eq!((active.len(), over), (MAX_ACTIVE_ALERTS, 100));
        assert_eq!(active.iter().filter(|alert| alert.state == FIRING).count(), 200);
        assert_eq!(active[0].subject, "reason=x");
    }
}
