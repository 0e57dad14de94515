//! Timelines. One character is one minute; rules are about the oldest wait of share `vision` of queue `prod`.
//!
//! Signals: `y` holds, `m` is between recovery and threshold, `n` does not hold, `-` no data, `x` the share is gone,
//! `!` the source failed, `s` the source is silent, `_` no evaluation.
//! Alerts: `.` inactive, `P` pending, `F` firing, `R` the minute in which the resolution is notified.

mod combined_conditions;
mod laws;
mod mutated_files;
mod objectives;
mod pack;
mod single_jobs;
mod syntax;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::metrics::catalogue::{self, Metric};
use crate::metrics::{Frame, QueueFigures, Sample, SourceHealth, Value};
use crate::model::{Source, Timestamp};

fn rules_of(text: &str) -> Vec<Rule> {
    parse_rules("test.yaml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A rule over the oldest wait of a share; it holds above half an hour.
fn rule(extra: &str) -> Vec<Rule> {
    rules_of(&format!(
        "rules: [{{ alert: Waits, metric: queue.wait.oldest, by: [queue, share], above: 30m, {extra}
           labels: {{ severity: page }}, annotations: {{ summary: '{{{{ share }}}} waits {{{{ value }}}}' }} }}]"
    ))
}

fn minute(minutes: usize) -> Timestamp {
    Timestamp::from_millis(minutes as i64 * 60_000)
}

fn sample(metric: &'static Metric, pairs: &[(&'static str, &str)], value: Value) -> Sample {
    Sample { metric, labels: pairs.iter().map(|(label, value)| (*label, (*value).into())).collect(), value }
}

fn gauge(metric: &'static Metric, pairs: &[(&'static str, &str)], value: f64) -> Sample {
    sample(metric, pairs, Value::Gauge(value))
}

fn counter(metric: &'static Metric, pairs: &[(&'static str, &str)], value: f64) -> Sample {
    sample(metric, pairs, Value::Counter(value))
}

fn sources() -> Vec<SourceHealth> {
    let health = |source| SourceHealth {
        source,
        age_seconds: Some(10.0),
        error: None,
        note: None,
        failing: BTreeSet::default(),
    };
    Source::ALL.into_iter().map(health).collect()
}

/// A frame of a healthy service that watches queues `prod` and `dev`.
fn frame_of(samples: Vec<Sample>, at: Timestamp) -> Frame {
    let queue = |name: &str| QueueFigures {
        arn: String::new(),
        queue: name.into(),
        policy: "QUOTA_SHARE".into(),
        jobs: BTreeMap::new(),
        oldest_wait_seconds: None,
    };
    Frame { at, queues: vec![queue("dev"), queue("prod")], samples, sources: sources(), ..Frame::default() }
}

/// A frame in which share `vision` of queue `prod` has this signal.
fn frame(signal: char, at: Timestamp) -> Frame {
    let share = [("queue", "prod"), ("share", "vision")];
    let mut samples = Vec::new();
    if signal != 'x' {
        let pairs = [("queue", "prod"), ("share", "vision"), ("state", "runnable")];
        samples.push(gauge(&catalogue::QUEUE_JOBS, &pairs, 1.0));
    }
    let minutes = match signal {
        'y' => Some(45.0),
        'm' => Some(25.0),
        // While a source fails its values are old, so any value will do.
        'n' | '!' | 's' => Some(5.0),
        _ => None,
    };
    samples.extend(minutes.map(|minutes| gauge(&catalogue::QUEUE_WAIT_OLDEST, &share, minutes * 60.0)));
    let mut frame = frame_of(samples, at);
    for health in &mut frame.sources {
        if signal == '!' {
            health.error = Some("throttled".to_owned());
            health.failing = ["prod".into()].into();
        }
        if signal == 's' {
            health.age_seconds = Some(3_600.0);
        }
    }
    frame
}

fn letter(active_alerts: &ActiveAlerts, reported: &[Transition]) -> char {
    if reported.iter().any(|transition| matches!(transition.kind, TransitionKind::Resolved(_))) {
        return 'R';
    }
    match active_alerts.alerts().next().map(|alert| alert.state) {
        None => '.',
        Some(AlertState::Pending { .. }) => 'P',
        Some(AlertState::Firing { .. }) => 'F',
    }
}

/// Evaluates the signals from minute `start` on.
fn draw_from(
    active_alerts: &mut ActiveAlerts,
    rules: &[Rule],
    start: usize,
    signals: &str,
) -> (String, Vec<Transition>) {
    let mut reported = Vec::new();
    let drawn = (start..)
        .zip(signals.chars())
        .map(|(at, signal)| {
            if signal == '_' {
                return '_';
            }
            let now = active_alerts.step(rules, &frame(signal, minute(at)), minute(at));
            reported.extend(now.clone());
            letter(active_alerts, &now)
        })
        .collect();
    (drawn, reported)
}

fn draw(rules: &[Rule], signals: &str) -> (String, Vec<Transition>) {
    draw_from(&mut ActiveAlerts::default(), rules, 0, signals)
}

/// Restarts the process from the stored alerts.
fn restart(active_alerts: &ActiveAlerts) -> ActiveAlerts {
    let stored = serde_json::to_string(&active_alerts.alerts().collect::<Vec<_>>()).unwrap();
    ActiveAlerts::restore(serde_json::from_str(&stored).unwrap())
}

#[track_caller]
fn check(extra: &str, signals: &str, expected: &str) {
    assert_eq!(draw(&rule(extra), signals).0, expected, "{extra} over {signals}");
}

#[test]
fn an_alert_fires_once_it_has_held_for_long_enough() {
    check("", "nyyn", ".FFR");
    check("for: 2m,", "yyyyn", "PPFFR");
    check("for: 2m,", "yynyy", "PP.PP");
    check("for: 2m,", "yynyyyn", "PP.PPFR");
}

#[test]
fn an_alert_keeps_firing_for_as_long_as_configured() {
    check("keep_firing_for: 2m,", "ynnnn", "FFFR.");
    check("keep_firing_for: 2m,", "ynynnn", "FFFFFR");
}

#[test]
fn an_alert_recovers_only_beyond_the_recovery_threshold() {
    check("recover: 20m,", "mymmn", ".FFFR");
    check("", "mymmn", ".FR..");
}

#[test]
fn datapoints_need_m_of_the_last_n_evaluations() {
    check("datapoints: 3 of 5,", "yyynnnnn", "PPFFFRP.");
    check("datapoints: 3 of 5,", "nynynyn", ".PPPPFR");
    check("datapoints: 3 of 5,", "ynnnnn", "PPPPP.");
    check("datapoints: 2 of 2, keep_firing_for: 1m,", "yynny", "PFFRP");
    check("datapoints: 1 of 1,", "yny", "FRF");
    // No data and failed sources do not count as evaluations.
    check("datapoints: 3 of 5,", "y--!!yy", "PPPPPPF");
}

#[test]
fn no_data_is_handled_as_the_rule_defines() {
    check("", "y--n", "FFFR");
    check("no_data: ok,", "y--n", "FR..");
    check("no_data: alert, for: 2m,", "y--n", "PPFR");
    check("for: 2m,", "y--yyy", "PPPPPF");
    let (_, reported) = draw(&rule("no_data: ok,"), "y-");
    assert_eq!(reported[1].kind, TransitionKind::Resolved(ResolveReason::NoData));
}

#[test]
fn what_is_gone_ends_and_what_cannot_be_seen_does_not() {
    check("keep_firing_for: 1h,", "yyx", "FFR");
    check("for: 2m,", "yx", "P.");
    check("", "y!!!n", "FFFFR");
    check("", "ysssn", "FFFFR");
    check("for: 2m,", "y!!!yyy", "PPPPPPF");
    check("for: 2m,", "!!!!", "....");
    let (_, reported) = draw(&rule(""), "yx");
    assert_eq!(reported[1].kind, TransitionKind::Resolved(ResolveReason::Gone));
}

#[test]
fn what_only_counters_remember_is_gone() {
    let rules = rule("");
    let mut active_alerts = ActiveAlerts::default();
    draw_from(&mut active_alerts, &rules, 0, "y");
    let mut frame = frame('x', minute(1));
    frame.samples.push(counter(&catalogue::JOB_PREEMPTIONS, &[("queue", "prod"), ("share", "vision")], 3.0));
    assert_eq!(active_alerts.step(&rules, &frame, minute(1))[0].kind, TransitionKind::Resolved(ResolveReason::Gone));
}

#[test]
fn a_source_that_has_not_answered_since_the_restart_is_not_gone() {
    let rules = rules_of(
        "rules: [{ alert: Stale, metric: source.age, by: [source], above: 10m, annotations: { summary: x } }]",
    );
    let old = gauge(&catalogue::SOURCE_AGE, &[("source", "jobs")], 900.0);
    let mut active_alerts = ActiveAlerts::default();
    assert_eq!(active_alerts.step(&rules, &frame_of(vec![old], minute(0)), minute(0)).len(), 1);
    let mut active_alerts = restart(&active_alerts);
    assert_eq!(active_alerts.step(&rules, &frame_of(Vec::new(), minute(1)), minute(1)), []);
    assert_eq!(active_alerts.counts(), (0, 1));
}

#[test]
fn data_is_as_old_as_polls_are_far_apart() {
    let mut frame = frame('y', minute(0));
    frame.sources.iter_mut().for_each(|health| health.age_seconds = Some(1_200.0));
    assert_eq!(ActiveAlerts::default().step(&rule(""), &frame, minute(0)), [], "nobody has answered for 20 minutes");
    frame.samples.push(gauge(&catalogue::POLL_INTERVAL, &[], 600.0));
    assert_eq!(ActiveAlerts::default().step(&rule(""), &frame, minute(0)).len(), 1, "polls are that rare");
}

#[test]
fn one_failing_queue_does_not_blind_the_others() {
    let rules = rule("");
    let mut frame = frame('!', minute(0));
    let ages = |seconds| move |health: &mut SourceHealth| health.age_seconds = Some(seconds);
    frame.sources.iter_mut().for_each(ages(7_200.0));
    for queue in ["dev", "prod"] {
        frame.samples.push(gauge(&catalogue::QUEUE_WAIT_OLDEST, &[("queue", queue), ("share", "a")], 3_600.0));
    }
    let reported = ActiveAlerts::default().step(&rules, &frame, minute(0));
    let queues: Vec<&str> = reported.iter().map(|transition| transition.alert.by["queue"].as_str()).collect();
    assert_eq!(queues, ["dev"]);
}

#[test]
fn identity_is_the_same_while_the_value_moves_and_the_words_follow_it() {
    let (_, reported) = draw(&rule(""), "yyn");
    assert_eq!(reported[0].alert.id, reported[1].alert.id);
    assert_eq!(reported[0].alert.annotations["summary"], "vision waits 45m");
    assert_eq!(reported[0].alert.labels["severity"], "page");
    assert_eq!((reported[1].alert.value_at_fire, reported[1].alert.value), (Some(2_700.0), Some(300.0)));
}

#[test]
fn a_restart_continues_and_does_not_count_the_outage() {
    let rules = rule("for: 3m,");
    let mut active_alerts = ActiveAlerts::default();
    assert_eq!(draw_from(&mut active_alerts, &rules, 0, "yy").0, "PP");
    let mut active_alerts = restart(&active_alerts);
    assert_eq!(
        draw_from(&mut active_alerts, &rules, 30, "yyyyy").0,
        "PPFFF",
        "one minute was pending before the outage"
    );
    let mut active_alerts = restart(&active_alerts);
    let (drawn, reported) = draw_from(&mut active_alerts, &rules, 9_000, "y!xyyyyy");
    assert_eq!(drawn, "FFRPPPFF", "a firing alert goes on, whatever the outage");
    assert_eq!(reported.len(), 2);
    let mut active_alerts = restart(&active_alerts);
    draw_from(&mut active_alerts, &rules, 9_008, "xyy");
    let mut active_alerts = restart(&active_alerts);
    assert_eq!(draw_from(&mut active_alerts, &rules, 9_100, "yyyy").0, "PPPF", "after an hour pending begins anew");
}

#[test]
fn of_a_pause_in_a_running_process_only_a_tick_counts() {
    let signals = format!("y{}yyyyyyy", "_".repeat(39));
    let (drawn, _) = draw(&rule("for: 20m,"), &signals);
    assert_eq!(drawn.trim_start_matches(['P', '_']), "FF", "fifteen minutes and five: {drawn}");
}

#[test]
fn changed_rules_keep_the_alerts_they_are_still_about() {
    let check = |changed: &str, expected: &[TransitionKind]| {
        let mut active_alerts = ActiveAlerts::default();
        draw_from(&mut active_alerts, &rule("where: { share: vis* },"), 0, "y");
        let (_, reported) = draw_from(&mut active_alerts, &rules_of(changed), 1, "y");
        let reported: Vec<_> = reported.into_iter().map(|transition| transition.kind).collect();
        assert_eq!(reported, expected, "{changed}");
    };
    let rest = "alert: Waits, metric: queue.wait.oldest, annotations: { summary: x }";
    let removed = TransitionKind::Resolved(ResolveReason::RuleRemoved);
    check(&format!("rules: [{{ {rest}, by: [queue, share], above: 20m, for: 1h }}]"), &[]);
    check(&format!("rules: [{{ {rest}, by: [queue, share], above: 30m, datapoints: 2 of 3 }}]"), &[]);
    check(&format!("rules: [{{ {rest}, by: [queue, share], above: 30m, where: {{ share: lang* }} }}]"), &[removed]);
    check(&format!("rules: [{{ {rest}, by: [queue], above: 30m }}]"), &[removed, TransitionKind::Fired]);
    check("rules: []", &[removed]);

    let mut active_alerts = ActiveAlerts::default();
    assert_eq!(draw_from(&mut active_alerts, &rule("datapoints: 3 of 5,"), 0, "yn").0, "PP");
    assert_eq!(
        draw_from(&mut active_alerts, &rule("for: 5m,"), 2, "nn").0,
        "..",
        "without datapoints, one that does not hold ends it"
    );
}

#[test]
fn changed_labels_reach_alerts_that_fire_already() {
    let mut active_alerts = ActiveAlerts::default();
    draw_from(&mut active_alerts, &rule(""), 0, "y");
    let text = "rules: [{ alert: Waits, metric: queue.wait.oldest, by: [queue, share], above: 30m,
                  labels: { severity: info }, annotations: { summary: y } }]";
    draw_from(&mut active_alerts, &rules_of(text), 1, "y");
    let alert = active_alerts.alerts().next().unwrap();
    assert_eq!((&*alert.labels["severity"], &*alert.annotations["summary"]), ("info", "y"));
}

/// A frame in which this many shares wait too long.
fn crowd(waiting: usize, at: Timestamp) -> Frame {
    let names: Vec<String> = (0..waiting).map(|share| format!("s{share}")).collect();
    let sample = |name: &String| gauge(&catalogue::QUEUE_WAIT_OLDEST, &[("queue", "prod"), ("share", name)], 3_600.0);
    frame_of(names.iter().map(sample).collect(), at)
}

#[test]
fn beyond_the_limit_one_alert_reports_the_number_of_the_others() {
    let rules = rule("limit: 3,");
    let mut active_alerts = ActiveAlerts::default();
    let reported = active_alerts.step(&rules, &crowd(10, minute(0)), minute(0));
    assert_eq!((reported.len(), active_alerts.counts()), (4, (0, 4)));
    assert_eq!(reported[3].alert.annotations["summary"], "7 more alerts of Waits exceed its limit of 3");
    assert_eq!(active_alerts.step(&rules, &crowd(10, minute(1)), minute(1)), [], "nothing flaps");
    let blind = frame('!', minute(2));
    assert_eq!(active_alerts.step(&rules, &blind, minute(2)), [], "a failed source ends nothing");
    let reported = active_alerts.step(&rules, &crowd(2, minute(3)), minute(3));
    assert_eq!((reported.len(), active_alerts.counts()), (2, (0, 2)), "one is gone, and nothing is left out");
}

#[test]
fn what_is_left_out_waits_as_long_as_the_rule_asks() {
    let rules = rule("limit: 3, for: 2m,");
    let mut active_alerts = ActiveAlerts::default();
    let reported: Vec<usize> =
        (0..4).map(|at| active_alerts.step(&rules, &crowd(10, minute(at)), minute(at)).len()).collect();
    assert_eq!(reported, [0, 0, 4, 0]);
}
