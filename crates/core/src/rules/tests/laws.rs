//! Properties that hold for any signals.

use proptest::prelude::*;

use super::*;

/// Optional keys of any rule.
fn extras() -> impl Strategy<Value = String> {
    let wait = prop_oneof![
        (0..4_u8).prop_map(|hold| format!("for: {hold}m,")),
        (1..4_usize, 0..3_usize).prop_map(|(m, more)| format!("datapoints: {m} of {},", m + more)),
    ];
    let no_data = prop_oneof![Just("keep"), Just("ok"), Just("alert")];
    let recover = prop_oneof![Just(""), Just("recover: 20m,")];
    (wait, 0..4_u8, no_data, recover).prop_map(|(wait, keep, no_data, recover)| {
        format!("{wait} keep_firing_for: {keep}m, no_data: {no_data}, {recover}")
    })
}

proptest! {
    /// Fired and resolved alternate, starting with fired, across restarts too, and all have the same id.
    #[test]
    fn fired_and_resolved_alternate(
        extra in extras(), signals in "[ynm!sx_-]{1,60}", restarts in prop::collection::vec(any::<bool>(), 60),
    ) {
        let rules = rule(&extra);
        let mut active_alerts = ActiveAlerts::default();
        let mut reported = Vec::new();
        for (at, (signal, restarts)) in signals.chars().zip(restarts).enumerate() {
            if restarts {
                active_alerts = restart(&active_alerts);
            }
            reported.extend(draw_from(&mut active_alerts, &rules, at, &signal.to_string()).1);
        }
        for (index, transition) in reported.iter().enumerate() {
            prop_assert_eq!(transition.kind == TransitionKind::Fired, index % 2 == 0, "{:?}", reported);
            prop_assert_eq!(&transition.alert.id, &reported[0].alert.id);
        }
        prop_assert_eq!(active_alerts.counts().1, reported.len() % 2, "what fired and did not end is in the book");
    }

    /// While a source fails, or there is no data and the rule keeps its state, nothing changes.
    #[test]
    fn what_is_not_known_changes_nothing(
        extra in extras(), before in "[ynm!sx-]{0,20}", unknown in "[!s]{1,50}", kept in "[!s-]{1,50}",
    ) {
        for (extra, unknown) in [(extra.clone(), unknown), (extra.replace("ok", "keep").replace("alert", "keep"), kept)] {
            let rules = rule(&extra);
            let mut active_alerts = ActiveAlerts::default();
            draw_from(&mut active_alerts, &rules, 0, &before);
            let known: Vec<Alert> = active_alerts.alerts().cloned().collect();
            let (_, reported) = draw_from(&mut active_alerts, &rules, before.len(), &unknown);
            prop_assert_eq!(reported, []);
            prop_assert_eq!(active_alerts.alerts().cloned().collect::<Vec<_>>(), known);
        }
    }

    /// By definition: without gaps, an alert fires exactly when the last `hold` minutes all held.
    #[test]
    fn firing_agrees_with_the_definition(signals in "[yn]{1,60}", hold in 0..6_usize) {
        let (drawn, _) = draw(&rule(&format!("for: {hold}m,")), &signals);
        let signals: Vec<char> = signals.chars().collect();
        for (at, letter) in drawn.chars().enumerate() {
            let all_held = at >= hold && signals[at - hold..=at].iter().all(|signal| *signal == 'y');
            prop_assert_eq!(letter == 'F', all_held, "{} at {}", drawn, at);
        }
    }

    /// By definition: with datapoints and complete data, an alert fires exactly while M of the last N held.
    /// Restarting every minute changes nothing.
    #[test]
    fn datapoints_agree_with_the_definition(signals in "[yn]{1,60}", m in 1..5_usize, more in 0..4_usize) {
        let rules = rule(&format!("datapoints: {m} of {},", m + more));
        let (drawn, _) = draw(&rules, &signals);
        let letters: Vec<char> = signals.chars().collect();
        let mut active_alerts = ActiveAlerts::default();
        for (at, letter) in drawn.chars().enumerate() {
            let held = letters[..=at].iter().rev().take(m + more).filter(|signal| **signal == 'y').count();
            prop_assert_eq!(letter == 'F', held >= m, "{} at {}", drawn, at);
            active_alerts = restart(&active_alerts);
            let after_restart = draw_from(&mut active_alerts, &rules, at, &letters[at].to_string()).0;
            prop_assert_eq!(after_restart, letter.to_string(), "{} at {}", drawn, at);
        }
    }

    /// For any counter, its rule fires exactly when the increase over the window is above the threshold.
    #[test]
    fn an_increase_agrees_with_the_definition(steps in prop::collection::vec(0..3_u32, 1..60), over in 1..10_usize) {
        // Another rule looks back further; its retention must not widen this rule's window.
        let rest = "metric: publish.failures, annotations: { summary: x }";
        let rules = rules_of(&format!(
            "rules: [{{ alert: A, {rest}, increase: {over}m, above: 3 }}, {{ alert: B, {rest}, increase: 20m, above: 999 }}]"
        ));
        let mut active_alerts = ActiveAlerts::default();
        let mut totals: Vec<u32> = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            totals.push(totals.last().copied().unwrap_or(7) + step);
            let samples = vec![counter(&catalogue::PUBLISH_FAILURES, &[("sink", "s")], f64::from(totals[at]))];
            active_alerts.step(&rules, &frame_of(samples, minute(at)), minute(at));
            let increase = totals[at] - totals[at.saturating_sub(over)];
            // At first the window is incomplete: the alert cannot end, but it cannot fire wrongly.
            if at >= over || increase > 3 {
                prop_assert_eq!(active_alerts.counts().1 == 1, increase > 3, "{:?} at {}", totals, at);
            }
        }
    }

    /// No text makes the parser panic, and accepted rules can be evaluated.
    #[test]
    fn any_text_is_read_or_refused(text in "[ -~\n]{0,200}") {
        if let Ok(rules) = parse_rules("any.yaml", &text) {
            draw(&rules, "y");
        }
    }
}
