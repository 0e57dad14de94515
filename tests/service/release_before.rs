//! A configuration of the release before multiple targets works unchanged, and its series gain the labels `account`
//! and `region` and no others. `tests/data/release_before` has the previous release's output.

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use trainspotter::config::load;
use trainspotter_core::metrics::catalogue::{ALL, Kind};

use support::http;
use support::process::{listening, trainspotter};
use support::ready_service::ready_service;

fn kept(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/release_before").join(name);
    std::fs::read_to_string(file).unwrap()
}

/// A metric of the previous release.
struct Before {
    name: String,
    kind: String,
    labels: BTreeSet<String>,
    prometheus: String,
    cloudwatch: String,
    is_stable: bool,
}

fn before() -> Vec<Before> {
    let of = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let [name, kind, labels, prometheus, cloudwatch, stability] = fields[..] else { panic!("{line}") };
        Before {
            name: name.to_owned(),
            kind: kind.to_owned(),
            labels: labels.split_whitespace().map(str::to_owned).collect(),
            prometheus: prometheus.to_owned(),
            cloudwatch: cloudwatch.to_owned(),
            is_stable: stability == "stable",
        }
    };
    let text = kept("metrics.csv");
    let all: Vec<Before> = text.lines().skip(1).map(of).collect();
    assert!(all.len() > 50);
    all
}

#[test]
fn stable_metrics_of_the_release_before_are_what_they_were() {
    for before in before().into_iter().filter(|before| before.is_stable) {
        let now = ALL.iter().find(|metric| metric.name == before.name);
        let now = now.unwrap_or_else(|| panic!("{} is gone", before.name));
        let labels: BTreeSet<String> = now.labels.iter().map(|label| (*label).to_owned()).collect();
        assert_eq!(labels, before.labels, "{}", before.name);
        assert_eq!(now.prometheus_name(), before.prometheus);
        let kind = match now.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Distribution => "distribution",
        };
        assert_eq!(kind, before.kind, "{}", before.name);
        let in_cloudwatch = if now.is_in_cloudwatch() { now.cloudwatch_name() } else { Default::default() };
        assert_eq!(in_cloudwatch, before.cloudwatch, "{}", before.name);
    }
}

#[test]
fn a_configuration_of_the_release_before_is_read_as_one_target_with_its_file() {
    let environment = |name: &str| match name {
        "READ_TOKEN" | "OPERATE_TOKEN" => Some(format!("0123456789-{name}").replace('_', "-")),
        name if name.starts_with("OTEL_") => None,
        _ => Some("https://example.com/".to_owned()),
    };
    let config = load("trainspotter.yaml", &kept("trainspotter.yaml"), Path::new("config"), &environment)
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.targets.len(), 1);
    assert_eq!((config.targets[0].region.as_str(), config.targets[0].calls_per_second), ("us-east-1", None));
    assert!(config.store.ends_with("trainspotter.db"));
    assert_eq!(config.publish.cloudwatch.unwrap().account_and_region, None, "its CloudWatch series stay what they are");
}

#[tokio::test]
async fn inhibitions_without_a_receiver_are_a_note_and_no_error() {
    let file = "tests/data/release_before/inhibit_without_receivers.yaml";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let check = trainspotter(&["check", "--config", file.to_str().unwrap()]).output().await.unwrap();
    let (printed, reported) = (String::from_utf8(check.stdout).unwrap(), String::from_utf8(check.stderr).unwrap());
    assert_eq!(check.status.code(), Some(0), "{reported}");
    assert!(printed.contains("note      `inhibit` has no effect"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn series_have_account_and_region_more_and_no_other_labels() {
    let mut simulator = trainspotter(&["simulate", "--speed", "600", "--for", "30m", "--listen", "127.0.0.1:0"]);
    let (_simulator, endpoint) = listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let (_service, page, _) = ready_service(folder.path(), &endpoint, "").await;
    let text = http::get(format!("{page}/metrics")).await.unwrap().text().await.unwrap();
    let files: Vec<PathBuf> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.iter().any(|file| file.ends_with("trainspotter.db")), "{files:?}");
    let mut published = BTreeSet::new();
    let known: BTreeMap<String, Before> =
        before().into_iter().map(|before| (before.prometheus.clone(), before)).collect();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once('{').unwrap_or_else(|| panic!("{line} has no labels"));
        let of_histogram =
            ["_bucket", "_sum", "_count"].iter().find_map(|suffix| known.get(name.strip_suffix(suffix)?));
        let Some(before) = known.get(name).or(of_histogram) else { continue };
        let labels: BTreeSet<String> = keys(labels.rsplit_once('}').unwrap().0).filter(|label| label != "le").collect();
        let expected = before.labels.iter().cloned().chain(["account".to_owned(), "region".to_owned()]).collect();
        assert_eq!(labels, expected, "{line}");
        published.insert(before.name.clone());
    }
    // Metrics that exist in this simulation in any case.
    for name in ["queue.jobs", "queue.wait", "gpu.part", "source.age", "ledger.jobs"] {
        assert!(published.contains(name), "{name} is not published: {published:?}");
    }
}

/// Label names in Prometheus' text format.
fn keys(labels: &str) -> impl Iterator<Item = String> + '_ {
    // Values in this simulation have neither quotes nor commas.
    labels.split(',').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()))
}
