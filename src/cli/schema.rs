//! `schema`: JSON Schemas for editors.

use crate::cli::{Failure, print};
use crate::config;
use crate::evaluate;

/// Print the JSON Schema of a file, for completion and checks in editors.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  trainspotter schema config > trainspotter.schema.json")]
pub(super) struct Arguments {
    /// Which file.
    file: File,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum File {
    /// The configuration.
    Config,
    /// A rule file.
    Rules,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let schema = match arguments.file {
        File::Config => config::schema(),
        File::Rules => evaluate::rules_schema(),
    };
    print(format_args!("{schema:#}"))
}
