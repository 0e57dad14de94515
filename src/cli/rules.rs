//! `rules`: work on rule files.

use std::io::Write as _;
use std::path::PathBuf;

use crate::cli::{Failure, inputs, print};
use crate::evaluate::Rule;
use crate::evaluate::export::{self, Exported};
use crate::publish::is_in_cloudwatch;

/// Work on rule files.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Tell every mistake in rule files.
    #[command(after_help = "Example:
  trainspotter rules check alerts/")]
    Check {
        /// Rule files, or folders of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Print rules as another system would have them; what cannot be carried over is told on stderr.
    #[command(after_help = "Examples:
  trainspotter rules export --to prometheus alerts/ > trainspotter.rules.yaml
  trainspotter rules export --to cloudwatch alerts/ > alarms.json
  trainspotter rules export --to cloudwatch-promql alerts/ | jq -c '.[]' |
    while read -r alarm; do aws cloudwatch put-metric-alarm --cli-input-json \"$alarm\"; done")]
    Export(ExportArguments),
}

/// What to export, and to whom.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArguments {
    /// The other system.
    #[arg(long, value_name = "SYSTEM")]
    to: System,
    /// How often the other system evaluates; Prometheus only.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    every: humantime::Duration,
    /// The namespace of the CloudWatch sink; CloudFormation only.
    #[arg(long, value_name = "NAME", default_value = "Trainspotter")]
    namespace: String,
    /// Rule files, or folders of them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// Where rules can be exported to.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum System {
    /// A rule file for Prometheus.
    Prometheus,
    /// A CloudFormation template with alarms over the CloudWatch sink's metrics.
    Cloudwatch,
    /// Inputs of PutMetricAlarm with PromQL over what was sent to CloudWatch by OTLP.
    CloudwatchPromql,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Check { paths } => {
            let rules = inputs::load_rules(paths)?;
            print(format_args!("{} rules: fine", rules.len()))
        }
        Command::Export(arguments) => {
            let Exported { text, notes } = exported(arguments, &inputs::load_rules(&arguments.paths)?);
            let mut stderr = std::io::stderr().lock();
            for note in notes {
                writeln!(stderr, "note: {note}").map_err(Failure::failed)?;
            }
            print(format_args!("{}", text.trim_end()))
        }
    }
}

fn exported(arguments: &ExportArguments, rules: &[Rule]) -> Exported {
    match arguments.to {
        System::Prometheus => export::prometheus(rules, *arguments.every),
        System::Cloudwatch => export::alarms(rules, &arguments.namespace, is_in_cloudwatch),
        System::CloudwatchPromql => export::promql_alarms(rules),
    }
}
