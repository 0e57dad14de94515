//! `schema`: JSON Schemas for editors.

use crate::cli::{Failure, print_json};
use crate::config;
use trainspotter_core::rules;
use trainspotter_simulator::scenario;

/// Print the JSON Schema of a file format, for completion and validation in editors.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  trainspotter schema config > trainspotter.schema.json")]
pub(super) struct Arguments {
    /// File format.
    file: File,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum File {
    /// The configuration.
    Config,
    /// A rule file.
    Rules,
    /// A rule test file.
    RuleTests,
    /// A simulator scenario.
    Scenario,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let schema = match arguments.file {
        File::Config => config::schema(),
        File::Rules => rules::rules_schema(),
        File::RuleTests => rules::rule_tests::rule_tests_schema(),
        File::Scenario => scenario::schema(),
    };
    print_json(&schema)
}
