//! `notify`: tries a receiver.

use crate::cli::{Failure, inputs, print};
use crate::config::Channel;
use crate::notify::sample::Sample;
use crate::service;
use trainspotter_clock::Clock;

/// Try receivers.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Send sample notifications to one receiver and show what it answers: by default an alert that fires, and its end.
    #[command(after_help = "Examples:
  trainspotter notify test oncall --config trainspotter.yaml
  trainspotter notify test chat --kind all --config trainspotter.yaml")]
    Test {
        /// The receiver's name in the configuration.
        receiver: String,
        /// What to send; may be given several times.
        #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Firing, Kind::Resolved])]
        kind: Vec<Kind>,
        /// The configuration file, or env:NAME for an environment variable with its text.
        #[arg(long, value_name = "FILE")]
        config: String,
    },
}

/// What a test sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// An alert that fires.
    Firing,
    /// The end of the same alert.
    Resolved,
    /// An alert about a single job that has an owner, and its end.
    Job,
    /// Several alerts of a queue in one message.
    Group,
    /// Several alerts of all severities in one message, some of which have ended.
    Digest,
    /// All of these.
    All,
}

impl Kind {
    fn samples(self) -> Vec<Sample> {
        match self {
            Self::Firing => vec![Sample::Firing],
            Self::Resolved => vec![Sample::Resolved],
            Self::Job => vec![Sample::Job],
            Self::Group => vec![Sample::Group],
            Self::Digest => vec![Sample::Digest],
            Self::All => Sample::ALL.to_vec(),
        }
    }
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    let Command::Test { receiver: name, kind, config } = command;
    let config = inputs::load_config(&config)?;
    let Some(receiver) = config.receivers.iter().find(|receiver| receiver.name == name) else {
        let known: Vec<&str> = config.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::usage(format!("no receiver is called {name}; the configuration has: {known}")));
    };
    let mut samples: Vec<Sample> = kind.into_iter().flat_map(Kind::samples).collect();
    if matches!(receiver.channel, Channel::PagerDuty { .. }) && samples.iter().any(|sample| sample.group().is_some()) {
        samples.retain(|sample| sample.group().is_none());
        print(format_args!("{name}: group and digest are not sent: PagerDuty has an incident per alert"))?;
    }
    let answers = service::test_receiver(&config, receiver, &samples, Clock::real())
        .await
        .map_err(|reason| Failure::failed(format!("{name}: not delivered: {reason}")))?;
    for (sample, said) in answers {
        print(format_args!("{name}: {}: delivered: {said}", sample.as_str()))?;
    }
    Ok(())
}
