//! The default pack: every rule fires on what it is for, and on nothing else.

use std::path::Path;

use super::*;
use crate::derive::catalogue::Kind;

const PACK: &str = include_str!("../../../alerts/default.yaml");

/// A rule, the series it is about, a value that must fire within three hours, and one that must not.
type Case<'a> = (&'a str, &'static Metric, &'a [(&'static str, &'a str)], f64, f64);

#[test]
fn every_rule_of_the_pack_fires_on_what_it_is_for_and_on_nothing_else() {
    let share: &[(&'static str, &str)] = &[("queue", "prod"), ("share", "vision")];
    let cases: &[Case] = &[
        ("LongWait", &catalogue::QUEUE_WAIT_OLDEST, share, 1_900.0, 1_700.0),
        ("VeryLongWait", &catalogue::QUEUE_WAIT_OLDEST, share, 15_000.0, 14_000.0),
        ("JobsFailing", &catalogue::JOB_FAILURE_RATIO, share, 0.3, 0.2),
        ("ManyPreemptions", &catalogue::JOB_PREEMPTIONS, share, 1.0, 0.1),
        ("GpusIdle", &catalogue::GPU_IDLE_RATIO, &[("queue", "prod")], 0.6, 0.5),
        ("GpusIdleWhileRunning", &catalogue::GPU_PART, &[("queue", "prod"), ("part", "running_idle")], 16.0, 8.0),
        ("JobDataStale", &catalogue::SOURCE_AGE, &[("source", "jobs")], 400.0, 200.0),
        ("TopologyStale", &catalogue::SOURCE_AGE, &[("source", "topology")], 2_000.0, 900.0),
        ("UtilisationStale", &catalogue::SOURCE_AGE, &[("source", "utilisation")], 2_000.0, 600.0),
        ("UnknownValues", &catalogue::SOURCE_UNKNOWN, &[("kind", "job_status"), ("value", "X")], 1.0, 0.0),
        ("NotPublishing", &catalogue::PUBLISH_FAILURES, &[("sink", "otlp")], 1.0, 0.1),
        ("NotificationsStuck", &catalogue::NOTIFY_OLDEST, &[("receiver", "oncall")], 700.0, 500.0),
    ];
    let rules = rules_of(PACK);
    let tested: BTreeSet<&str> = cases.iter().map(|(name, ..)| *name).collect();
    assert_eq!(rules.iter().map(Rule::name).collect::<BTreeSet<_>>(), tested, "every rule has a case");
    for (name, metric, pairs, fires, rests) in cases {
        let fired = |value: f64| {
            let mut book = AlertBook::default();
            let told = (0..180).flat_map(|at| {
                let mut frame = frame('-', minute(at));
                frame.samples.push(match metric.kind {
                    // A counter grows by the value each minute.
                    Kind::Counter => counter(metric, pairs, value * at as f64),
                    Kind::Gauge | Kind::Distribution => gauge(metric, pairs, value),
                });
                book.step(&rules, &frame, minute(at))
            });
            told.map(|transition| transition.alert.rule).collect::<BTreeSet<String>>()
        };
        assert!(fired(*fires).contains(*name), "{name} at {fires}");
        assert!(!fired(*rests).contains(*name), "{name} at {rests}");
    }
}

#[test]
fn every_rule_of_the_pack_says_how_bad_it_is_and_what_to_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut linked = BTreeSet::new();
    for rule in rules_of(PACK) {
        let name = rule.name();
        assert!(["page", "warning", "info"].contains(&rule.labels["severity"].as_str()), "{name}");
        let words =
            rule.by.iter().copied().chain(["value", "threshold"]).map(|word| (word.to_owned(), word.to_owned()));
        let (annotations, problems) = rule.templates.render(&words.collect());
        assert_eq!(problems, [], "{name}");
        assert!(!annotations["description"].is_empty(), "{name}");
        assert!(root.join(&annotations["runbook"]).is_file(), "{name}: {}", annotations["runbook"]);
        linked.insert(annotations["runbook"].clone());
    }
    let folder = root.join("docs/runbooks");
    let there = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(there.map(|file| format!("docs/runbooks/{file}")).collect::<BTreeSet<_>>(), linked, "no orphans");
}
