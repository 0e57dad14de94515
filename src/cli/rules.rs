//! `rules`: work on rule files.

use std::path::PathBuf;

use crate::cli::{Failure, inputs, print};

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
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Check { paths } => {
            let rules = inputs::load_rules(paths)?;
            print(format_args!("{} rules: fine", rules.len()))
        }
    }
}
