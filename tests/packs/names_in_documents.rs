//! Names in documents exist: metrics, settings, commands with their options, alerts, runbooks and files. A typo in
//! the part by which a name is recognised (`trainspotter_`, the first word of a metric, a folder) is not detected.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::read_sources::root;
use trainspotter_core::metrics::{catalogue, single_jobs};

/// Folders and files of the repository that a document may name by path.
const FOLDERS: [&str; 7] = ["dashboards/", "alerts/", "config/", "deploy/", "docs/", "tests/", "benches/"];

/// Names that look like metrics: crates, and tables of the archive.
const LIKE_METRICS: [&str; 3] = ["trainspotter_clock", "trainspotter_hours", "trainspotter_jobs"];

/// External names with dots: OTLP resource attributes, and keys of scenarios.
const OF_OTHERS: [&str; 3] = ["service.version", "service.instance.id", "gpu.shapes"];

/// Names that look like alerts: of AWS, of OTLP, of notifications without a rule, of a template and of types.
const NOT_ALERTS: [&str; 14] = [
    "AccessDenied",
    "ArchivePrefix",
    "AssumeRole",
    "DescribeServiceJob",
    "DescribeTrainingJob",
    "ETag",
    "GetMetricData",
    "InternalEvent",
    "ListServiceJobs",
    "PutMetricData",
    "ReceiverInTrouble",
    "RetryInfo",
    "SinkError",
    "UsageReport",
];

/// Documents with many such names: CloudWatch metric names, and AWS's own.
const WITHOUT_ALERTS: [&str; 2] = ["METRICS.md", "crates/simulator/README.md"];

fn documents() -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "dashboards/README.md", "crates/simulator/README.md", "tests/data/README.md"]
            .map(|path| root().join(path))
            .into();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    let shown = |path: &PathBuf| path.strip_prefix(root()).unwrap().display().to_string();
    paths.iter().map(|path| (shown(path), fs::read_to_string(path).unwrap())).collect()
}

/// Texts in backticks in a line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The longest words of these characters.
fn words<'a>(text: &'a str, of: &'static str) -> impl Iterator<Item = &'a str> {
    text.split(move |c: char| !(c.is_ascii_alphanumeric() || of.contains(c))).filter(|word| !word.is_empty())
}

fn run(arguments: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_trainspotter")).args(arguments).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_metric_and_setting_that_documents_name_exists() {
    let schema: Value = serde_json::from_str(&run(&["schema", "config"]).unwrap()).unwrap();
    let (mut like_metrics, mut of_others) = (BTreeSet::new(), BTreeSet::new());
    let metrics: BTreeSet<&str> = catalogue::ALL
        .iter()
        .map(|metric| metric.name)
        .chain(single_jobs::ALL.iter().map(|metric| metric.name))
        .collect();
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let subjects: BTreeSet<String> = metrics.iter().map(|name| first(name)).collect();
    let of_prometheus: BTreeSet<String> = catalogue::ALL.iter().map(|metric| metric.prometheus_name()).collect();
    let mut problems = Vec::new();
    let mut count = 0;
    for (document, text) in documents() {
        for name in words(&text, "_").filter(|name| name.starts_with("trainspotter_")) {
            count += 1;
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            if ![name, family].iter().any(|name| of_prometheus.contains(*name))
                && !is_exception(name, &LIKE_METRICS, &mut like_metrics)
            {
                problems.push(format!("{document}: no metric is called {name}"));
            }
        }
        let dotted = |name: &&str| {
            let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '.');
            is_plain && name.contains('.') && !name.ends_with('.') && subjects.contains(&first(name))
        };
        for name in quoted(&text).filter(dotted) {
            count += 1;
            let is_setting = has_setting(&schema, &schema, &name.split('.').collect::<Vec<_>>());
            if !metrics.contains(name) && !is_setting && !is_exception(name, &OF_OTHERS, &mut of_others) {
                problems.push(format!("{document}: no metric and no setting is called {name}"));
            }
        }
    }
    assert!(count > 200, "only {count} names were found");
    all_used(&LIKE_METRICS, &like_metrics);
    all_used(&OF_OTHERS, &of_others);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Whether nested keys exist from a part of a schema on.
fn has_setting(schema: &Value, part: &Value, keys: &[&str]) -> bool {
    let Some((first, rest)) = keys.split_first() else { return true };
    let below = |part: &Value| has_setting(schema, part, keys);
    let reference = part["$ref"].as_str().and_then(|at| schema.pointer(at.trim_start_matches('#')));
    let choices = ["oneOf", "anyOf", "allOf"].into_iter().filter_map(|of| part[of].as_array()).flatten();
    let listed = ["items", "additionalProperties"].into_iter().filter_map(|of| part.get(of));
    part["properties"].get(first).is_some_and(|property| has_setting(schema, property, rest))
        || reference.into_iter().chain(choices).chain(listed).any(below)
}

/// Every exception in a list is used.
fn all_used(exceptions: &[&'static str], used: &BTreeSet<&'static str>) {
    let idle: Vec<_> = exceptions.iter().filter(|name| !used.contains(**name)).collect();
    assert!(idle.is_empty(), "no document names these any more: {idle:?}");
}

/// Whether a name is an exception, which is then marked as used.
fn is_exception(name: &str, exceptions: &[&'static str], used: &mut BTreeSet<&'static str>) -> bool {
    let found = exceptions.iter().copied().find(|exception| *exception == name);
    used.extend(found);
    found.is_some()
}

#[test]
fn every_command_and_option_that_documents_name_exists() {
    let mut helps: BTreeMap<Vec<String>, Option<String>> = BTreeMap::new();
    let mut problems = Vec::new();
    let mut count = 0;
    for (document, text) in documents() {
        for command in commands(&text) {
            count += 1;
            let mut path = Vec::new();
            let mut help = run(&["--help"]).unwrap();
            for word in command.iter().take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-')) {
                let is_command = help.lines().any(|line| line.trim_start().split(' ').next() == Some(word.as_str()));
                if word.starts_with('-') || !is_command || !help.contains("\nCommands:") {
                    break;
                }
                path.push(word.clone());
                let of_path = helps
                    .entry(path.clone())
                    .or_insert_with(|| run(&path.iter().map(String::as_str).chain(["--help"]).collect::<Vec<_>>()));
                help = of_path.clone().unwrap_or_default();
            }
            if path.is_empty() && command.first().is_some_and(|word| !word.starts_with('-')) {
                problems.push(format!("{document}: there is no command `trainspotter {}`", command.join(" ")));
            }
            for option in command.iter().filter(|word| word.starts_with("--")) {
                let name = option.split('=').next().unwrap_or_default();
                if !words(&help, "-").any(|word| word == name) {
                    problems.push(format!("{document}: `trainspotter {}` has no {name}", path.join(" ")));
                }
            }
        }
    }
    assert!(count > 60, "only {count} commands were found");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Commands in a document, as words: those in backticks and those in shell blocks, without pipes and redirections.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut in_block = false;
    let mut shown = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            shown.push(line.trim().to_owned());
        } else {
            shown.extend(quoted(line).map(str::to_owned));
        }
    }
    let command = |shown: String| {
        let ours =
            shown.split_once("trainspotter ").filter(|(before, _)| before.split(' ').all(is_before))?.1.to_owned();
        let words = ours.split_whitespace().take_while(|word| !["|", ">", "&&", "#", "&", ";"].contains(word));
        let words: Vec<String> = words.map(|word| word.trim_matches(['\'', '"', ',']).to_owned()).collect();
        (!words.is_empty()).then_some(words)
    };
    shown.into_iter().filter_map(command).collect()
}

/// Whether a word may precede a command: a variable, a prompt, or a path.
fn is_before(word: &str) -> bool {
    word.is_empty() || word == "$" || word.contains('=') || word == "./" || word.ends_with("/")
}

#[test]
fn every_alert_runbook_and_file_that_documents_name_exists() {
    let mut alerts = BTreeSet::new();
    for file in fs::read_dir(root().join("alerts")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        alerts.extend(text.lines().filter_map(|line| Some(line.trim().strip_prefix("- alert: ")?.to_owned())));
    }
    let mut not_alerts = BTreeSet::new();
    let is_runbook = |name: &str| root().join(format!("docs/runbooks/{name}.md")).is_file();
    let mut problems = Vec::new();
    let mut count = 0;
    for (document, text) in documents() {
        for name in text.split("runbooks/").skip(1).filter_map(|rest| words(rest, "").next()) {
            let is_name = name.starts_with(|c: char| c.is_ascii_uppercase()) && name != "NAME";
            if is_name && !is_runbook(name) {
                problems.push(format!("{document}: there is no runbook {name}"));
            }
        }
        let is_camel = |name: &&str| {
            name.starts_with(|c: char| c.is_ascii_uppercase())
                && name.chars().filter(char::is_ascii_uppercase).count() > 1
                && name.chars().any(|c| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_alphabetic())
        };
        if !WITHOUT_ALERTS.iter().any(|without| document.ends_with(without)) {
            for name in quoted(&text).filter(is_camel) {
                count += 1;
                if !alerts.contains(name) && !is_exception(name, &NOT_ALERTS, &mut not_alerts) {
                    problems.push(format!("{document}: no rule is called {name}"));
                }
            }
        }
        for path in words(&text, "_-./").filter(|path| FOLDERS.iter().any(|folder| path.starts_with(folder))) {
            let path = path.trim_end_matches(['.', '/']);
            let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
            // `NAME` stands for any name. Documents for contributors name files of the service relative to `src`.
            let is_there = [root().join(path), root().join("src").join(path)].iter().any(|path| path.exists());
            if is_file && !path.contains("NAME") && !is_there {
                problems.push(format!("{document}: there is no file {path}"));
            }
        }
    }
    assert!(count >= 20, "only {count} names were found");
    all_used(&NOT_ALERTS, &not_alerts);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
