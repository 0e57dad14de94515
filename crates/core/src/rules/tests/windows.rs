//! Windows of rules: increases of counters, statistics of distributions, folds and filters.

use super::*;
use crate::metrics::{Distribution, Quantiles};

const FAILING: &str = "rules: [{ alert: Failing, metric: publish.failures, increase: 5m, by: [sink], above: 2,
    annotations: { summary: '{{ value }} at {{ sink }}' } }]";

/// Feeds a counter's values, one per minute from `start` on.
fn draw_counter(active_alerts: &mut ActiveAlerts, rules: &[Rule], start: usize, totals: &[f64]) -> String {
    let step = |(at, total): (usize, &f64)| {
        let samples = vec![counter(&catalogue::PUBLISH_FAILURES, &[("sink", "otlp")], *total)];
        let reported = active_alerts.step(rules, &frame_of(samples, minute(at)), minute(at));
        letter(active_alerts, &reported)
    };
    (start..).zip(totals).map(step).collect()
}

#[test]
fn a_counter_is_judged_by_its_increase() {
    let mut active_alerts = ActiveAlerts::default();
    let totals = [7.0, 7.0, 8.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0];
    let drawn = draw_counter(&mut active_alerts, &rules_of(FAILING), 0, &totals);
    assert_eq!(drawn, "...FFFFR.", "three more within five minutes; what came before the start does not count");
}

#[test]
fn a_series_that_appears_later_began_at_zero() {
    let rules = rules_of(FAILING);
    let mut active_alerts = ActiveAlerts::default();
    active_alerts.step(&rules, &frame_of(Vec::new(), minute(0)), minute(0));
    assert_eq!(draw_counter(&mut active_alerts, &rules, 1, &[2.0, 3.0]), ".F");
}

#[test]
fn after_a_restart_an_increase_ends_nothing_until_its_window_is_known() {
    let rules = rules_of(FAILING);
    let mut active_alerts = ActiveAlerts::default();
    assert_eq!(draw_counter(&mut active_alerts, &rules, 0, &[0.0, 9.0]), ".F");
    let mut active_alerts = restart(&active_alerts);
    assert_eq!(draw_counter(&mut active_alerts, &rules, 2, &[9.0; 7]), "FFFFFR.");
    // A rule added to a running service has no past either.
    let mut active_alerts = ActiveAlerts::default();
    draw_counter(&mut active_alerts, &[], 0, &[0.0, 9.0]);
    assert_eq!(draw_counter(&mut active_alerts, &rules, 2, &[9.0, 9.0, 12.0]), "..F");
}

#[test]
fn an_increase_continues_over_a_restart_with_the_stored_frames() {
    let rules = rules_of(FAILING);
    let totals = [0.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 12.0];
    let never_stopped = draw_counter(&mut ActiveAlerts::default(), &rules, 0, &totals);
    assert_eq!(never_stopped, ".FFFFFRF");
    for stopped in 1..totals.len() {
        let mut active_alerts = ActiveAlerts::default();
        let drawn = draw_counter(&mut active_alerts, &rules, 0, &totals[..stopped]);
        let mut active_alerts = restart(&active_alerts);
        for (at, total) in totals[..stopped].iter().enumerate() {
            let samples = vec![counter(&catalogue::PUBLISH_FAILURES, &[("sink", "otlp")], *total)];
            active_alerts.recall(&rules, &frame_of(samples, minute(at)));
        }
        assert_eq!(drawn + &draw_counter(&mut active_alerts, &rules, stopped, &totals[stopped..]), never_stopped);
    }
}

#[test]
fn an_increase_during_downtime_is_not_one_of_the_last_minutes() {
    let rules = rules_of(FAILING);
    let mut active_alerts = ActiveAlerts::default();
    for (at, total) in [(0, 0.0), (1, 0.0)] {
        let samples = vec![counter(&catalogue::PUBLISH_FAILURES, &[("sink", "otlp")], total)];
        active_alerts.recall(&rules, &frame_of(samples, minute(at)));
    }
    assert_eq!(draw_counter(&mut active_alerts, &rules, 60, &[50.0, 50.0, 54.0]), "..F");
}

/// Checks which instances of a rule fire at once over these samples.
#[track_caller]
fn check_fires(rule: &str, samples: &[Sample], expected: &[&str]) {
    let rules = rules_of(&format!("rules: [{{ alert: A, {rule}, annotations: {{ summary: '{{{{ value }}}}' }} }}]"));
    let reported = ActiveAlerts::default().step(&rules, &frame_of(samples.to_vec(), minute(0)), minute(0));
    let reported: Vec<&str> =
        reported.iter().map(|transition| transition.alert.annotations["summary"].as_str()).collect();
    assert_eq!(reported, expected, "{rule}");
}

#[test]
fn series_that_differ_in_other_labels_are_folded() {
    let jobs = |share: &str, count: f64| {
        gauge(&catalogue::QUEUE_JOBS, &[("queue", "prod"), ("share", share), ("state", "runnable")], count)
    };
    let samples = [jobs("a", 3.0), jobs("b", 5.0), jobs("c", 10.0)];
    check_fires("metric: queue.jobs, by: [queue], above: 9", &samples, &["10"]);
    check_fires("metric: queue.jobs, by: [queue], below: 4", &samples, &["3"]);
    check_fires("metric: queue.jobs, by: [queue], above: 9, fold: min", &samples, &[]);
    check_fires("metric: queue.jobs, by: [queue], above: 17, fold: sum", &samples, &["18"]);
    check_fires("metric: queue.jobs, by: [queue], below: 7, fold: mean", &samples, &["6"]);
    check_fires("metric: queue.jobs, by: [share], above: 4", &samples, &["5", "10"]);
    check_fires("metric: queue.jobs, above: 4", &samples, &["10"]);
    check_fires("metric: queue.jobs, by: [queue], where: { share: '?', state: run* }, above: 9", &samples, &["10"]);
    check_fires("metric: queue.jobs, by: [queue], where: { share: a, queue: p* }, above: 0", &samples, &["3"]);
}

#[test]
fn a_distribution_is_judged_by_its_last_hour() {
    let waits = |share: &str, recent: Option<Quantiles>| {
        let distribution = Distribution { recent, ..Distribution::default() };
        sample(&catalogue::QUEUE_WAIT, &[("queue", "prod"), ("share", share)], Value::Distribution(distribution))
    };
    let recent = Quantiles { count: 4, mean: 100.0, p50: 60.0, p90: 600.0, p95: 1_200.0, p99: 3_600.0, max: 7_200.0 };
    let samples = [waits("a", Some(recent)), waits("b", None), waits("c", Some(Quantiles { count: 2, ..recent }))];
    check_fires("metric: queue.wait, by: [share], where: { share: a }, stat: p50, above: 59s", &samples, &["1m"]);
    check_fires("metric: queue.wait, by: [queue], stat: mean, above: 99s", &samples, &["1m 40s"]);
    check_fires("metric: queue.wait, by: [queue], stat: p90, above: 9m", &samples, &["10m"]);
    check_fires("metric: queue.wait, by: [queue], stat: p95, above: 20m", &samples, &[]);
    check_fires("metric: queue.wait, by: [queue], stat: p99, above: 59m", &samples, &["1h"]);
    check_fires("metric: queue.wait, by: [queue], stat: max, above: 1h", &samples, &["2h"]);
    check_fires("metric: queue.wait, by: [queue], stat: count, above: 5", &samples, &["6"]);
    check_fires("metric: queue.wait, by: [share], stat: count, below: 1", &samples, &["0"]);
}

#[test]
fn without_utilisation_gpus_are_not_idle() {
    let rules = rules_of(
        "rules: [{ alert: Idle, metric: gpu.idle.ratio, by: [queue], above: 50%, annotations: { summary: x } }]",
    );
    let mut frame = frame_of(vec![gauge(&catalogue::GPU_IDLE_RATIO, &[("queue", "prod")], 1.0)], minute(0));
    let utilisation = frame.sources.iter_mut().find(|health| health.source == Source::Utilisation).unwrap();
    utilisation.error = Some("AccessDenied".to_owned());
    assert_eq!(ActiveAlerts::default().step(&rules, &frame, minute(0)), []);
    frame.sources = sources();
    assert_eq!(ActiveAlerts::default().step(&rules, &frame, minute(0)).len(), 1);
}

#[test]
fn a_receiver_that_was_removed_takes_its_alert_with_it() {
    let rules = rules_of(
        "rules: [{ alert: Stuck, metric: notify.oldest, by: [receiver], above: 10m, annotations: { summary: x } }]",
    );
    let stuck = gauge(&catalogue::NOTIFY_OLDEST, &[("receiver", "oncall")], 900.0);
    let mut active_alerts = ActiveAlerts::default();
    active_alerts.step(&rules, &frame_of(vec![stuck], minute(0)), minute(0));
    let reported = active_alerts.step(&rules, &frame_of(Vec::new(), minute(1)), minute(1));
    assert_eq!(reported[0].kind, TransitionKind::Resolved(ResolveReason::Gone));
}

#[test]
fn a_queue_that_is_missing_while_topology_fails_is_not_gone() {
    let rules = rule("");
    let mut active_alerts = ActiveAlerts::default();
    draw_from(&mut active_alerts, &rules, 0, "y");
    let mut frame = frame('x', minute(1));
    let topology = frame.sources.iter_mut().find(|health| health.source == Source::Topology).unwrap();
    topology.error = Some("AccessDenied".to_owned());
    assert_eq!(active_alerts.step(&rules, &frame, minute(1)), []);
    assert_eq!(active_alerts.counts(), (0, 1));
}
