//! `rules`: works on rule files.

mod backtest;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::cli::{Failure, load_config, print, print_exactly, print_json, say};
use crate::config::check_namespace;
use crate::runbooks;
use trainspotter_core::metrics::catalogue::Metric;
use trainspotter_core::model::format::counted;
use trainspotter_core::model::parse_duration;
use trainspotter_core::rules::export::{self, Exported};
use trainspotter_core::rules::{Rule, lint};

/// Lint, test, backtest and export rule files.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  trainspotter rules check alerts/
  trainspotter rules test alerts/
  trainspotter rules backtest --recorded trainspotter.db alerts/
  trainspotter rules export --to prometheus alerts/ > trainspotter.rules.yaml")]
pub(super) enum Command {
    /// Validate and lint rule files.
    #[command(after_help = "Example:
  trainspotter rules check alerts/")]
    Check {
        /// Evaluation interval.
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = interval)]
        every: Duration,
        /// Print the rules and lint warnings as JSON.
        #[arg(long)]
        json: bool,
        /// Rule files or folders.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Run rule tests: input series and the alerts expected from them.
    #[command(after_help = "Examples:
  trainspotter rules test alerts/
  trainspotter rules test alerts/default.test.yaml

Example of a test file, NAME.test.yaml:
  rules: [default.yaml]
  tests:
    - name: a long wait fires after five minutes and ends with it
      series:
        - { metric: queue.wait.oldest, labels: { queue: prod, share: vision }, values: 40mx8 5m }
      expect:
        - { alert: LongWait, labels: { queue: prod, share: vision }, timeline: 5P 4F R }")]
    Test {
        /// Print the number of tests and the failures as JSON.
        #[arg(long)]
        json: bool,
        /// Test files, or folders with files named *.test.yaml.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Backtest rules over a workload: how often, for how long and when they would have fired.
    #[command(after_help = "Examples:
  trainspotter rules backtest alerts/
  trainspotter rules backtest --trace jobs.csv --to 14d my-rules.yaml
  trainspotter rules backtest --recorded trainspotter.db --config trainspotter.yaml alerts/
  trainspotter rules backtest --scenario scenario.yaml --from 2d --to 9d alerts/queues.yaml

The workload runs through the simulated scheduler, unless --recorded is given. Rules are evaluated as in the service.")]
    Backtest(backtest::Arguments),
    /// Export rules to another system; anything that cannot be exported is reported on stderr.
    #[command(after_help = "Examples:
  trainspotter rules export --to prometheus alerts/ > trainspotter.rules.yaml
  trainspotter rules export --to cloudwatch alerts/ > alarms.json
  trainspotter rules export --to cloudwatch --several-targets alerts/ > alarms.json
  trainspotter rules export --to cloudwatch-promql alerts/ | jq -c '.[]' |
    while read -r alarm; do aws cloudwatch put-metric-alarm --cli-input-json \"$alarm\"; done")]
    Export(ExportArguments),
}

/// What to export, and where to.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArguments {
    /// Target system.
    #[arg(long, value_name = "SYSTEM")]
    to: System,
    /// Evaluation interval of the target system; Prometheus only.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = interval)]
    every: Duration,
    /// Namespace of the CloudWatch sink; only for cloudwatch.
    #[arg(long, value_name = "NAME", default_value = "Trainspotter", value_parser = namespace)]
    namespace: String,
    /// URL of the service: runbooks of shipped rules become links to it.
    #[arg(long, value_name = "URL")]
    external_url: Option<url::Url>,
    /// For a service with several targets: Prometheus rules keep accounts and regions apart; a CloudWatch alarm covers
    /// all of them together, with the dimensions Account and Region. Not for cloudwatch-promql.
    #[arg(long)]
    several_targets: bool,
    /// Rule files or folders.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// Export formats.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum System {
    /// A rule file for Prometheus.
    Prometheus,
    /// A CloudFormation template with alarms over the CloudWatch sink's metrics.
    Cloudwatch,
    /// Inputs of PutMetricAlarm with PromQL over the metrics sent to CloudWatch by OTLP.
    CloudwatchPromql,
}

/// Prints the lint findings.
pub(super) fn warn(rules: &[Rule], every: Duration) {
    for finding in findings(rules, every) {
        say(format_args!("warning: {finding}"));
    }
}

/// Lint findings, one line each.
pub(super) fn findings(rules: &[Rule], every: Duration) -> Vec<String> {
    lint(rules, every).into_iter().chain(rules.iter().filter_map(broken_runbook)).collect()
}

/// Warning about a runbook link that does not work.
fn broken_runbook(rule: &Rule) -> Option<String> {
    let is_dead = |(name, value): &(&str, &str)| {
        let leads = value.contains("{{") || value.starts_with("https://") || value.starts_with("http://");
        name.starts_with("runbook") && !leads && runbooks::named(value).is_none()
    };
    let (name, value) = rule.annotations().find(is_dead)?;
    Some(format!(
        "{}: `{name}: {value}` does not lead to a runbook: write a URL, or {}/NAME for one of {}",
        rule.name(),
        runbooks::PATH,
        runbooks::names().collect::<Vec<_>>().join(", ")
    ))
}

pub(super) async fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Check { every, json, paths } => {
            let rules = load_config::load_rules(paths)?;
            if *json {
                let names: Vec<&str> = rules.iter().map(Rule::name).collect();
                return print_json(&json!({ "rules": names, "warnings": findings(&rules, *every) }));
            }
            warn(&rules, *every);
            print(format_args!("{}: fine", counted(rules.len() as u64, "rule")))
        }
        Command::Test { json, paths } => test(paths, *json),
        Command::Backtest(arguments) => backtest::run(arguments).await,
        Command::Export(arguments) => {
            if arguments.several_targets && matches!(arguments.to, System::CloudwatchPromql) {
                return Err(Failure::usage(NO_PLACES));
            }
            let rules = load_config::load_rules(&arguments.paths)?;
            let rules = if arguments.several_targets { export::by_place(&rules) } else { rules };
            let Exported { text, notes } = exported(arguments, &rules);
            for note in notes {
                say(format_args!("note: {note}"));
            }
            let text = match &arguments.external_url {
                Some(url) => with_links(&text, url),
                None => {
                    if text.contains(RUNBOOK) {
                        say(format_args!("note: runbooks are relative paths; --external-url makes them links"));
                    }
                    text
                }
            };
            print_exactly(text.trim_end())
        }
    }
}

/// Runs all tests, then fails the command if any has a difference.
fn test(paths: &[PathBuf], json: bool) -> Result<(), Failure> {
    let (mut run, mut failed) = (0_u32, Vec::new());
    for (file, rule_tests_file, rules) in load_config::load_rule_tests(paths)? {
        for rule_test in &rule_tests_file.tests {
            run += 1;
            let differences = rule_test.run(&rules);
            if differences.is_empty() {
                continue;
            }
            let differences: Vec<String> = differences.iter().map(ToString::to_string).collect();
            if !json {
                print(format_args!("FAILED {}: {}", file.display(), rule_test.name))?;
                differences.iter().try_for_each(|one| print(format_args!("  {}", one.replace('\n', "\n  "))))?;
            }
            failed.push(
                json!({ "file": file.display().to_string(), "test": rule_test.name, "differences": differences }),
            );
        }
    }
    let count = failed.len();
    if json && run > 0 {
        print_json(&json!({ "tests": run, "failed": failed }))?;
        return if count == 0 {
            Ok(())
        } else {
            Err(Failure::failed(format!("{count} of {} failed", counted(run.into(), "test"))))
        };
    }
    match (run, count) {
        (0, _) => Err(Failure::usage("there are no tests; test files are named NAME.test.yaml")),
        (_, 0) => print(format_args!("{}: fine", counted(run.into(), "test"))),
        (_, _) => Err(Failure::failed(format!("{count} of {} failed", counted(run.into(), "test")))),
    }
}

/// Error for PromQL alarms with several targets.
const NO_PLACES: &str = "--several-targets is not supported for cloudwatch-promql, where accounts and regions are resource attributes and not labels: leave it out, or export to prometheus or cloudwatch";

/// Prefix of runbook paths in the packs.
const RUNBOOK: &str = "/runbooks/";

/// Replaces runbook paths in an export by links to the service's pages. They are at the beginning of a text, or
/// after "see".
fn with_links(text: &str, external_url: &url::Url) -> String {
    let linked = format!("{}{RUNBOOK}", external_url.as_str().trim_end_matches('/'));
    ["\"", " see "]
        .iter()
        .fold(text.to_owned(), |text, before| text.replace(&format!("{before}{RUNBOOK}"), &format!("{before}{linked}")))
}

/// Parses an evaluation interval; must not be zero.
fn interval(text: &str) -> Result<Duration, String> {
    let every = parse_duration(text)?;
    if every.is_zero() { Err("must be longer than 0s".to_owned()) } else { Ok(every) }
}

fn namespace(text: &str) -> Result<String, String> {
    check_namespace(text).map(|()| text.to_owned())
}

fn exported(arguments: &ExportArguments, rules: &[Rule]) -> Exported {
    match arguments.to {
        System::Prometheus => export::prometheus(rules, arguments.every),
        System::Cloudwatch => export::alarms(rules, &arguments.namespace, Metric::is_in_cloudwatch),
        System::CloudwatchPromql => export::promql_alarms(rules),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn promql_alarms_are_not_exported_for_several_targets() {
        let export = |several_targets| {
            Command::Export(ExportArguments {
                to: System::CloudwatchPromql,
                every: Duration::from_secs(30),
                namespace: "Trainspotter".to_owned(),
                external_url: None,
                several_targets,
                paths: vec!["alerts/".into()],
            })
        };
        assert!(matches!(run(&export(true)).await, Err(Failure::Usage(text)) if text == NO_PLACES));
        assert!(run(&export(false)).await.is_ok());
    }

    #[test]
    fn exported_runbooks_become_links() {
        let url = url::Url::parse("https://ops.example/trainspotter/").unwrap();
        let text = "\"runbook\": \"/runbooks/LongWait\"\nA: see /runbooks/LongWait \"https://wiki.example/runbooks/X\"";
        let linked = with_links(text, &url);
        let page = "https://ops.example/trainspotter/runbooks/LongWait";
        assert_eq!(linked, format!("\"runbook\": \"{page}\"\nA: see {page} \"https://wiki.example/runbooks/X\""));
    }
}
