//! Several conditions in one rule, and conditions on changes over time.

use super::*;

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
