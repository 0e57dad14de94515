//! `notify`: tries a receiver.

use crate::cli::{Failure, inputs, print};
use crate::service;
use trainspotter_clock::Clock;

/// Try receivers.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Send a sample notification to one receiver and show what it answers.
    #[command(after_help = "Example:
  trainspotter notify test oncall --config trainspotter.yaml")]
    Test {
        /// The receiver's name in the configuration.
        receiver: String,
        /// The configuration file, or env:NAME for an environment variable with its text.
        #[arg(long, value_name = "FILE")]
        config: String,
    },
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    let Command::Test { receiver: name, config } = command;
    let config = inputs::load_config(&config)?;
    let Some(receiver) = config.receivers.iter().find(|receiver| receiver.name == name) else {
        let known: Vec<&str> = config.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::usage(format!("no receiver is called {name}; the configuration has: {known}")));
    };
    let said = service::test_receiver(&config, receiver, Clock::real())
        .await
        .map_err(|reason| Failure::failed(format!("{name}: not delivered: {reason}")))?;
    print(format_args!("{name}: delivered: {said}"))
}
