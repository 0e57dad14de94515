//! Several conditions in one rule, trends, objectives, and rules about single jobs.

use super::*;
use crate::metrics::catalogue::DURATION_BOUNDS;
use crate::metrics::{Distribution, single_jobs};

/// Checks a combination: each signal of the first condition with each of the second.
#[track_caller]
fn check(key: &str, first: &str, second: &str, expected: &str) {
    let rules = rules_of(&format!(
        "rules: [{{ alert: Both, by: [queue], annotations: {{ summary: '{{{{ value }}}} of {{{{ threshold }}}}' }},
           {key}: [{{ metric: queue.wait.oldest, above: 30m }}, {{ metric: gpu.idle.ratio, above: 40% }}] }}]"
    ));
    let mut active_alerts = ActiveAlerts::default();
    let drawn: String = (0..)
        .zip(first.chars().zip(second.chars()))
        .map(|(at, (first, second))| {
            let mut samples = vec![gauge(&catalogue::GPU_CAPACITY, &[("queue", "prod")], 8.0)];
            let oldest = |seconds| gauge(&catalogue::QUEUE_WAIT_OLDEST, &[("queue", "prod"), ("share", "a")], seconds);
            let idle = |ratio| gauge(&catalogue::GPU_IDLE_RATIO, &[("queue", "prod")], ratio);
            samples.extend(match first {
                'y' => Some(oldest(3_600.0)),
                'n' => Some(oldest(60.0)),
                _ => None,
            });
            samples.extend(match second {
                'y' | '!' => Some(idle(0.9)),
                'n' => Some(idle(0.1)),
                _ => None,
            });
            let mut frame = frame_of(samples, minute(at));
            for health in frame.sources.iter_mut().filter(|health| health.source == Source::Utilisation) {
                health.error = (second == '!').then(|| "throttled".to_owned());
            }
            let reported = active_alerts.step(&rules, &frame, minute(at));
            letter(&active_alerts, &reported)
        })
        .collect();
    assert_eq!(drawn, expected, "{key}: {first} {second}");
}

#[test]
fn all_hold_or_one_rests_and_what_is_not_known_keeps_the_rest() {
    // No data and a failed source keep the state, unless the other condition decides.
    check("all", "nyyn", "nnyy", "..FR");
    check("all", "yy-y", "yy-n", "FFFR");
    check("all", "yyyn", "y!!!", "FFFR");
    check("all", "yn", "!!", "..");
    check("any", "nyyn", "nnyn", ".FFR");
    check("any", "ynn", "!!n", "FFR");
    check("any", "y--", "n-n", "FFF");
}

#[test]
fn an_end_has_the_value_of_the_condition_whose_unit_and_threshold_it_shows() {
    let reported = |key: &str, values: [(f64, f64); 3]| {
        let rules = rules_of(&format!(
            "rules: [{{ alert: Both, by: [queue], annotations: {{ summary: x }},
               {key}: [{{ metric: queue.wait.oldest, above: 30m }}, {{ metric: gpu.idle.ratio, above: 40% }}] }}]"
        ));
        let mut active_alerts = ActiveAlerts::default();
        let step = |(at, (oldest, idle)): (usize, (f64, f64))| {
            let oldest = gauge(&catalogue::QUEUE_WAIT_OLDEST, &[("queue", "prod"), ("share", "a")], oldest);
            let idle = gauge(&catalogue::GPU_IDLE_RATIO, &[("queue", "prod")], idle);
            active_alerts.step(&rules, &frame_of(vec![oldest, idle], minute(at)), minute(at))
        };
        let last = (0..).zip(values).flat_map(step).last().unwrap().alert;
        (last.unit, last.threshold, last.value, last.value_at_fire)
    };
    let seconds = catalogue::Unit::Seconds;
    // The second condition ends it; the notification has the first.
    assert_eq!(
        reported("all", [(3_600.0, 0.9), (3_660.0, 0.9), (3_720.0, 0.1)]),
        (seconds, Some(1_800.0), Some(3_720.0), Some(3_600.0))
    );
    // The other condition takes over before the alert ends.
    assert_eq!(
        reported("any", [(3_600.0, 0.1), (60.0, 0.9), (60.0, 0.2)]),
        (catalogue::Unit::Ratio, Some(0.4), Some(0.2), None)
    );
}

#[test]
fn a_trend_is_against_what_was() {
    let rules = rules_of(
        "rules: [{ alert: Growing, metric: queue.jobs, by: [queue], change_over: 3m, above: 5, annotations: { summary: '{{ value }}' } }]",
    );
    let mut active_alerts = ActiveAlerts::default();
    let step = |(at, count): (usize, &f64)| {
        let pairs = [("queue", "prod"), ("share", "a"), ("state", "runnable")];
        let samples = vec![gauge(&catalogue::QUEUE_JOBS, &pairs, *count)];
        let reported = active_alerts.step(&rules, &frame_of(samples, minute(at)), minute(at));
        letter(&active_alerts, &reported)
    };
    let drawn: String = (0..).zip(&[10.0, 90.0, 14.0, 15.0, 96.0, 21.0, 21.0, 21.0]).map(step).collect();
    assert_eq!(drawn, "....FFFR", "after 3 minutes it is 86 above, then 7, 6 and 0; before, nobody knows");
}

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
fn a_rule_about_single_jobs_has_an_alert_for_each_and_ends_with_it() {
    let rules = rules_of(
        "rules: [{ alert: Stuck, metric: job.scheduled.age, by: [queue, name, job], above: 30m,
           annotations: { summary: '{{ name }} on {{ queue }} {{ value }}' } }]",
    );
    let mut active_alerts = ActiveAlerts::default();
    let job = |id: &str, minutes: f64| {
        let pairs = [("queue", "prod"), ("share", "a"), ("name", "train"), ("job", id)];
        gauge(&single_jobs::JOB_SCHEDULED_AGE, &pairs, minutes * 60.0)
    };
    let mut step = |at: usize, job_samples: Vec<Sample>| {
        let frame = frame_of(job_samples, minute(at));
        let reported = active_alerts.step(&rules, &frame, minute(at));
        reported.iter().map(|reported| (reported.alert.by["job"].clone(), reported.kind)).collect::<Vec<_>>()
    };
    assert_eq!(step(0, vec![job("1", 10.0), job("2", 40.0)]), [("2".to_owned(), TransitionKind::Fired)]);
    let both =
        [("1".to_owned(), TransitionKind::Fired), ("2".to_owned(), TransitionKind::Resolved(ResolveReason::Recovered))];
    assert_eq!(step(1, vec![job("1", 31.0), job("2", 0.0)]), both);
    assert_eq!(step(2, vec![job("2", 0.0)]), [("1".to_owned(), TransitionKind::Resolved(ResolveReason::Gone))]);
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
