//! Inhibition and mute windows: which firing alert or window holds an alert back. PURE.

use std::collections::BTreeMap;

use crate::config::Inhibition;
use crate::config::Mute;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;

/// The firing alert that inhibits `alert`, if any. An alert never inhibits itself. Two alerts that each match both
/// sides of a rule do not inhibit each other: otherwise neither would be sent.
pub(crate) fn inhibited_by<'a>(rules: &[Inhibition], alert: &Alert, firing: &'a [Alert]) -> Option<&'a Alert> {
    let is_both =
        |rule: &Inhibition, alert: &Alert| rule.when.matches(&alert.labels) && rule.mute.matches(&alert.labels);
    let inhibits = |rule: &Inhibition, other: &Alert| {
        other.id != alert.id
            && !(is_both(rule, alert) && is_both(rule, other))
            && rule.mute.matches(&alert.labels)
            && rule.when.matches(&other.labels)
            && rule.same.iter().all(|label| value(&alert.labels, label) == value(&other.labels, label))
    };
    firing.iter().find(|other| rules.iter().any(|rule| inhibits(rule, other)))
}

/// Name of the mute window that contains `now`, if any.
pub(crate) fn muted_by(windows: &[Mute], now: Timestamp) -> Option<String> {
    windows.iter().find(|window| window.covers(now)).map(|window| format!("the mute window {window}"))
}

pub(super) fn value<'a>(labels: &'a BTreeMap<String, String>, label: &str) -> &'a str {
    labels.get(label).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::sample_alerts::firing_with;
    use trainspotter_core::model::Matchers;

    fn matcher(label: &str, glob: &str) -> Matchers {
        Matchers::parse(&format!("{label}={glob}")).unwrap()
    }

    #[test]
    fn an_alert_is_held_back_by_another_that_shares_the_labels() {
        let rule = Inhibition {
            when: matcher("alertname", "QueueDisabled"),
            mute: matcher("alertname", "*Wait*"),
            same: vec!["queue".to_owned()],
        };
        let down = firing_with(&[("alertname", "QueueDisabled"), ("queue", "a")]);
        let check = |pairs: &[(&str, &str)], held: bool| {
            let by = inhibited_by(std::slice::from_ref(&rule), &firing_with(pairs), std::slice::from_ref(&down));
            assert_eq!(by.is_some(), held, "{pairs:?}");
        };
        check(&[("alertname", "ShareWaits"), ("queue", "a"), ("share", "x")], true);
        check(&[("alertname", "ShareWaits"), ("queue", "b")], false);
        check(&[("alertname", "ShareWaits")], false);
        check(&[("alertname", "Drift"), ("queue", "a")], false);
        let all = Inhibition { when: rule.mute.clone(), ..rule.clone() };
        let waits = firing_with(&[("alertname", "ShareWaits"), ("queue", "a")]);
        assert_eq!(inhibited_by(&[all], &waits, std::slice::from_ref(&waits)), None, "none inhibits itself");
    }
}
