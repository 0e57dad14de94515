//! Compares the evaluator with Prometheus: random series under random rules, exported and run by
//! `promtool test rules`, which must agree in every cell.
//!
//! `TRAINSPOTTER_SEEDS=N` runs N batches. Without promtool the golden timelines below still apply.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use trainspotter_core::metrics::catalogue::{QUEUE_JOBS, QUEUE_WAIT_OLDEST};
use trainspotter_core::metrics::{Frame, QueueFigures, Sample, SourceHealth, Value};
use trainspotter_core::model::{Source, Timestamp};
use trainspotter_core::rules::{ActiveAlerts, AlertState, export, parse_rules};

const MINUTE: Duration = Duration::from_secs(60);
const RULES: usize = 60;
const TICKS: usize = 450;
/// Enough for a hundred thousand cells.
const BATCHES: u64 = 4;

/// A rule over the oldest wait of one share, in minutes.
#[derive(Clone, Debug)]
struct Terms {
    recover: bool,
    hold: Duration,
    keep: Duration,
    datapoints: Option<(u64, u64)>,
    no_data: &'static str,
}

/// Changes a rule to mean what a wrong evaluator would take it to mean; the argument is a small duration.
type Mutation = fn(&mut Terms, Duration);

/// A rule, and its series by minute: `y` holds, `m` is between recovery and threshold, `n` does not hold, `-` is
/// missing.
type Case = (Terms, Vec<char>);

/// Pseudo-random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn case(dice: &mut Dice) -> Case {
    let minutes = |number: u64| MINUTE * u32::try_from(number).unwrap();
    let of = 1 + dice.roll(8);
    let datapoints = (dice.roll(3) == 0).then(|| (1 + dice.roll(of), of));
    let hold = if datapoints.is_some() { Duration::ZERO } else { minutes(dice.roll(7)) };
    let recover = datapoints.is_none() && dice.roll(2) == 0;
    let terms = Terms { recover, hold, keep: minutes(dice.roll(6)), datapoints, no_data: "ok" };
    // Short and long runs of the same signal.
    let mut signals = Vec::new();
    while signals.len() < TICKS {
        let signal = ['y', 'y', 'y', 'm', 'n', 'n', '-'][usize::try_from(dice.roll(7)).unwrap()];
        let longest = if dice.roll(4) == 0 { 12 } else { 4 };
        signals.extend(std::iter::repeat_n(signal, 1 + usize::try_from(dice.roll(longest)).unwrap()));
    }
    signals.truncate(TICKS);
    (terms, signals)
}

fn batch(seed: u64, rules: usize) -> Vec<Case> {
    let mut dice = Dice(seed.wrapping_mul(7_919).wrapping_add(17));
    (0..rules).map(|_| case(&mut dice)).collect()
}

fn rule_file(cases: &[Case]) -> String {
    let mut text = "rules:\n".to_owned();
    for (index, (terms, _)) in cases.iter().enumerate() {
        let span = |key: &str, duration: Duration| match duration.is_zero() {
            true => String::new(),
            false => format!("{key}: {}, ", humantime::format_duration(duration)),
        };
        let _ = writeln!(
            text,
            "  - {{ alert: R{index}, metric: queue.wait.oldest, by: [queue, share], where: {{ share: s{index} }}, \
             above: 30m, {}{}{}{}no_data: {}, labels: {{ kind: {} }}, annotations: {{ summary: x }} }}",
            if terms.recover { "recover: 20m, " } else { "" },
            span("for", terms.hold),
            span("keep_firing_for", terms.keep),
            terms.datapoints.map_or_else(String::new, |(m, n)| format!("datapoints: {m} of {n}, ")),
            terms.no_data,
            if terms.datapoints.is_some() { "datapoints" } else { "for" },
        );
    }
    text
}

fn minutes_of(signal: char) -> Option<f64> {
    match signal {
        'y' => Some(45.0),
        'm' => Some(25.0),
        'n' => Some(5.0),
        _ => None,
    }
}

fn frame(cases: &[Case], tick: usize) -> Frame {
    let at = Timestamp::default() + MINUTE * u32::try_from(tick).unwrap();
    let mut samples = Vec::new();
    for (index, (_, signals)) in cases.iter().enumerate() {
        let of_share = [("queue", "prod".into()), ("share", format!("s{index}").into())];
        let state = [("state", "runnable".into())];
        let labels = of_share.iter().chain(&state).cloned().collect();
        samples.push(Sample { metric: &QUEUE_JOBS, labels, value: Value::Gauge(1.0) });
        if let Some(minutes) = minutes_of(signals[tick]) {
            let value = Value::Gauge(minutes * 60.0);
            samples.push(Sample { metric: &QUEUE_WAIT_OLDEST, labels: of_share.into_iter().collect(), value });
        }
    }
    let queue = QueueFigures {
        queue: "prod".into(),
        arn: String::new(),
        policy: "FIFO".into(),
        jobs: BTreeMap::new(),
        oldest_wait_seconds: None,
    };
    let health =
        |source| SourceHealth { source, age_seconds: Some(1.0), error: None, note: None, failing: BTreeSet::new() };
    let sources = Source::ALL.into_iter().map(health).collect();
    Frame { at, queues: vec![queue], samples, sources, ..Frame::default() }
}

/// The evaluator's result for each rule by minute: `.` inactive, `P` pending, `F` firing.
fn evaluate(cases: &[Case]) -> Vec<String> {
    let rules = parse_rules("oracle.yaml", &rule_file(cases)).unwrap();
    let mut book = ActiveAlerts::default();
    let mut drawn = vec![String::new(); cases.len()];
    for tick in 0..TICKS {
        let frame = frame(cases, tick);
        book.step(&rules, &frame, frame.at);
        let states: BTreeMap<&str, char> =
            book.alerts().map(|alert| (alert.rule.as_str(), letter(alert.state))).collect();
        for (index, timeline) in drawn.iter_mut().enumerate() {
            timeline.push(states.get(format!("R{index}").as_str()).copied().unwrap_or('.'));
        }
    }
    drawn
}

fn letter(state: AlertState) -> char {
    match state {
        AlertState::Pending { .. } => 'P',
        AlertState::Firing { .. } => 'F',
    }
}

/// Checks that promtool agrees in every cell; returns its output if not. It does not show too few datapoints as
/// pending, so for those rules only firing is compared.
fn promtool(cases: &[Case], seen: &[String], folder: &Path) -> Result<(), String> {
    let rules = parse_rules("oracle.yaml", &rule_file(cases)).unwrap();
    std::fs::write(folder.join("rules.yaml"), export::prometheus(&rules, MINUTE).text).unwrap();
    let mut test =
        "rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n".to_owned();
    for (index, (_, signals)) in cases.iter().enumerate() {
        let value =
            |signal: &char| minutes_of(*signal).map_or("stale".to_owned(), |minutes| (minutes * 60.0).to_string());
        let values: Vec<String> = signals.iter().map(value).collect();
        let series = format!("trainspotter_queue_wait_oldest_seconds{{queue=\"prod\",share=\"s{index}\"}}");
        let _ = writeln!(test, "      - series: '{series}'\n        values: '{}'", values.join(" "));
    }
    test.push_str("    promql_expr_test:\n");
    let shown = "count by (alertname, alertstate) (ALERTS{alertstate=\"firing\"} or ALERTS{alertstate=\"pending\", kind=\"for\"})";
    for tick in 0..TICKS {
        let _ = writeln!(test, "      - expr: '{shown}'\n        eval_time: {tick}m\n        exp_samples:");
        let mut none = true;
        for (index, timeline) in seen.iter().enumerate() {
            let state = match timeline.as_bytes()[tick] {
                b'F' => "firing",
                b'P' if cases[index].0.datapoints.is_none() => "pending",
                _ => continue,
            };
            none = false;
            let labels = format!("{{alertname=\"R{index}\", alertstate=\"{state}\"}}");
            let _ = writeln!(test, "          - {{ labels: '{labels}', value: 1 }}");
        }
        if none {
            test.push_str("          []\n");
        }
    }
    std::fs::write(folder.join("test.yaml"), test).unwrap();
    let output = Command::new("promtool").current_dir(folder).args(["test", "rules", "test.yaml"]).output().unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).chars().take(2_000).collect())
    }
}

fn is_installed() -> bool {
    let found = Command::new("promtool").arg("--version").output().is_ok();
    assert!(found || std::env::var_os("TRAINSPOTTER_PEERS").is_none(), "promtool is required");
    if !found {
        eprintln!("skipped: no promtool");
    }
    found
}

#[test]
fn promtool_agrees_in_every_cell() {
    if !is_installed() {
        return;
    }
    let batches = std::env::var("TRAINSPOTTER_SEEDS").map_or(BATCHES, |seeds| seeds.parse().unwrap());
    let mut cells = [0, 0, 0];
    for seed in 0..batches {
        let cases = batch(seed, RULES);
        let seen = evaluate(&cases);
        let folder = tempfile::tempdir().unwrap();
        if let Err(why) = promtool(&cases, &seen, folder.path()) {
            panic!("seed {seed}: {why}");
        }
        for (count, letter) in cells.iter_mut().zip(['.', 'P', 'F']) {
            *count += seen.iter().flat_map(|timeline| timeline.chars()).filter(|found| *found == letter).count();
        }
    }
    eprintln!(
        "{} cells agree: {} inactive, {} pending, {} firing",
        cells.iter().sum::<usize>(),
        cells[0],
        cells[1],
        cells[2]
    );
    assert!(cells.iter().all(|count| *count > 1_000), "all states are seen: {cells:?}");
}

/// Slightly wrong evaluators, expressed as rules that mean what those would take the correct ones to mean.
#[test]
fn promtool_catches_evaluators_that_are_a_little_wrong() {
    if !is_installed() {
        return;
    }
    let second = Duration::from_secs(1);
    let mutants: [(&str, Mutation); 5] = [
        ("fires only when it has held for longer than `for`", |terms, more| {
            if !terms.hold.is_zero() {
                terms.hold += more;
            }
        }),
        ("goes on firing for a tick too long", |terms, more| {
            if !terms.keep.is_zero() {
                terms.keep += more;
            }
        }),
        ("ends at the first absence", |terms, _| terms.keep = Duration::ZERO),
        ("takes what is missing for a datapoint that holds", |terms, _| {
            if terms.datapoints.is_some() {
                terms.no_data = "alert";
            }
        }),
        ("recovers at the threshold", |terms, _| terms.recover = false),
    ];
    let right = batch(1, 12);
    for (name, change) in mutants {
        let mut wrong = right.clone();
        wrong.iter_mut().for_each(|(terms, _)| change(terms, second));
        let folder = tempfile::tempdir().unwrap();
        let judged = promtool(&right, &evaluate(&wrong), folder.path());
        assert!(judged.is_err(), "nobody noticed an evaluator that {name}");
    }
}

#[test]
fn timelines_are_as_they_were_when_promtool_agreed() {
    let cases = batch(0, 10);
    let mut drawn = String::new();
    for ((terms, signals), timeline) in cases.iter().zip(evaluate(&cases)) {
        let Terms { recover, hold, keep, datapoints, .. } = terms;
        let minutes = |duration: &Duration| duration.as_secs() / 60;
        let _ = writeln!(
            drawn,
            "for {} keep {} datapoints {datapoints:?} recover {recover}\n{}\n{}",
            minutes(hold),
            minutes(keep),
            signals.iter().take(100).collect::<String>(),
            timeline.chars().take(100).collect::<String>(),
        );
    }
    insta::assert_snapshot!(drawn);
}

/// State of a CloudWatch alarm after some datapoints, the newest on the right (X breaches, O does not, - is missing),
/// if M of 3 must breach: M, the datapoints, then the state with missing data as `ignore`, `breaching` and
/// `notBreaching`.
const MISSING_DATA: [(u64, &str, &str, &str, &str); 10] = [
    (3, "O-X-X", "OK", "OK", "OK"),
    (3, "O----", "OK", "OK", "OK"),
    (3, "-----", "RETAIN", "ALARM", "OK"),
    (3, "OXX-X", "ALARM", "ALARM", "ALARM"),
    (3, "--X--", "RETAIN", "ALARM", "OK"),
    (2, "O-X-X", "ALARM", "ALARM", "ALARM"),
    (2, "OOXOX", "ALARM", "ALARM", "ALARM"),
    (2, "O-X--", "OK", "ALARM", "OK"),
    (2, "----O", "OK", "ALARM", "OK"),
    (2, "---X-", "RETAIN", "ALARM", "OK"),
];

/// CloudWatch's own table of missing data, for the modes that rules have. With missing values CloudWatch looks back
/// further than N, and fills in only what is still lacking; a rule looks at the last N ticks only. The cells in which
/// that matters are listed here: all others agree.
#[test]
fn cloudwatchs_table_of_missing_data_holds_where_it_does_not_look_back() {
    let mut differ = Vec::new();
    let mut cells = 0;
    for (needed, datapoints, ignore, breaching, fine) in MISSING_DATA {
        for (mode, no_data, expected) in
            [("ignore", "keep", ignore), ("breaching", "alert", breaching), ("notBreaching", "ok", fine)]
        {
            let signal = |letter| match letter {
                'X' => 'y',
                'O' => 'n',
                _ => '-',
            };
            let signals: Vec<char> = datapoints.chars().map(signal).chain(std::iter::repeat_n('-', TICKS)).collect();
            let terms = Terms {
                recover: false,
                hold: Duration::ZERO,
                keep: Duration::ZERO,
                datapoints: Some((needed, 3)),
                no_data,
            };
            let shown = evaluate(&[(terms, signals)])[0].as_bytes()[datapoints.len() - 1];
            // The previous state is retained: not firing.
            let fires = expected == "ALARM";
            cells += 1;
            if (shown == b'F') != fires {
                differ.push(format!("{needed} of 3 {datapoints} {mode}"));
            }
        }
    }
    assert_eq!(cells, 30);
    let differs = ["3 of 3 O-X-X breaching", "3 of 3 O---- breaching", "3 of 3 OXX-X notBreaching"];
    assert_eq!(differ, differs, "the others agree");
}
