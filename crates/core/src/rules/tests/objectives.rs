//! Rules with an objective: alerts while its error budget burns, and their names.

use super::*;
use crate::metrics::Distribution;
use crate::metrics::catalogue::DURATION_BOUNDS;

/// Waits so far: `good` within half an hour, `bad` above.
fn waits(good: u64, bad: u64) -> Sample {
    let mut buckets = vec![0; DURATION_BOUNDS.len() + 1];
    (buckets[2], buckets[7]) = (good, bad);
    let distribution = Distribution { buckets, count: good + bad, ..Distribution::default() };
    sample(&catalogue::QUEUE_WAIT, &[("queue", "prod"), ("share", "a")], Value::Distribution(distribution))
}

#[test]
fn an_objective_alerts_while_its_budget_burns_and_not_after() {
    let rules = rules_of(
        "rules: [{ alert: Slow, by: [queue], objective: { metric: queue.wait, target: 99%, within: 30m },
           annotations: { summary: '{{ value }} of {{ threshold }}' } }]",
    );
    let mut active_alerts = ActiveAlerts::default();
    let (mut good, mut bad) = (0, 0);
    let mut reported = Vec::new();
    for at in 0..360 {
        // An hour of good waits, 20 minutes in which a third is bad, then good ones again.
        let third = u64::from((60..80).contains(&at));
        (good, bad) = (good + 3 - third, bad + third);
        let mut samples = vec![waits(good, bad)];
        samples.push(gauge(&catalogue::QUEUE_WAIT_OLDEST, &[("queue", "prod"), ("share", "a")], 60.0));
        reported.extend(
            active_alerts
                .step(&rules, &frame_of(samples, minute(at)), minute(at))
                .into_iter()
                .map(|reported| (at, reported)),
        );
    }
    let reported: Vec<_> = reported
        .iter()
        .map(|(at, reported)| (*at, reported.alert.rule.as_str(), matches!(reported.kind, TransitionKind::Fired)))
        .collect();
    // 14.4 % of the last hour are bad once 26 of 180 are. The short window shows whether that continues, so the alert
    // fires while waits are bad and ends five minutes later.
    let hour: Vec<_> =
        reported.iter().filter(|(_, rule, _)| *rule == "Slow-1h").map(|(at, _, fired)| (*at, *fired)).collect();
    assert_eq!(hour.len() % 2, 0, "{reported:?}");
    let six: Vec<_> =
        reported.iter().filter(|(_, rule, _)| *rule == "Slow-6h").map(|(at, _, fired)| (*at, *fired)).collect();
    let [(fired, true), (ended, false)] = six[..] else { panic!("{reported:?}") };
    assert!((62..80).contains(&fired) && (80..112).contains(&ended), "{reported:?}");
}

#[test]
fn an_objective_shares_no_name_with_another_rule_whichever_comes_first() {
    let objective =
        "{ alert: X, objective: { metric: queue.wait, target: 95%, within: 30m }, annotations: { summary: x } }";
    for name in ["X-1h", "X-6h", "X-3d", "X"] {
        let plain = format!("{{ alert: {name}, metric: gpu.capacity, above: 1, annotations: {{ summary: x }} }}");
        for rules in [format!("{plain}, {objective}"), format!("{objective}, {plain}")] {
            let problems = parse_rules("rules.yaml", &format!("rules: [{rules}]")).unwrap_err().to_string();
            assert!(problems.contains(&format!("another rule is already named `{name}`")), "{problems}");
        }
    }
}
