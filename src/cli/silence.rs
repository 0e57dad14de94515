//! `silence`: for a while, nobody is told of certain alerts. Works beside a running service.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::outbox::{open, say_bad};
use crate::cli::{Failure, print};
use crate::notify::silence::Silence;
use trainspotter_clock::Clock;

/// For a while, tell nobody of certain alerts.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Begin a silence now.
    #[command(after_help = "Example:
  trainspotter silence add --config FILE --for 2h --author ann --comment 'maintenance' queue=prod-*")]
    Add {
        /// The configuration file, or env:NAME for an environment variable with its text.
        #[arg(long, value_name = "FILE")]
        config: String,
        /// For how long, such as 2h.
        #[arg(long = "for", value_name = "SPAN", value_parser = humantime::parse_duration)]
        span: Duration,
        /// Who wants it.
        #[arg(long)]
        author: String,
        /// Why.
        #[arg(long)]
        comment: String,
        /// Labels of the alerts, as label=glob. All have to match.
        #[arg(required = true, value_name = "LABEL=GLOB", value_parser = matcher)]
        matchers: Vec<(String, String)>,
    },
    /// Show silences, also those that are over.
    List {
        /// The configuration file, or env:NAME for an environment variable with its text.
        #[arg(long, value_name = "FILE")]
        config: String,
    },
    /// End a silence now.
    End {
        /// The configuration file, or env:NAME for an environment variable with its text.
        #[arg(long, value_name = "FILE")]
        config: String,
        /// The silence's id.
        id: i64,
    },
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    let now = Clock::real().now();
    match command {
        Command::Add { config, span, author, comment, matchers } => {
            let matchers: BTreeMap<String, String> = matchers.into_iter().collect();
            let silence = Silence { id: 0, matchers, starts_at: now, ends_at: now + span, author, comment };
            let mut store = open(&config)?;
            let id = store.silence(&silence).map_err(|error| Failure::failed(store.named(error)))?;
            print(format_args!("silence {id} until {}", silence.ends_at))
        }
        Command::List { config } => {
            let store = open(&config)?;
            let named = |error| Failure::failed(store.named(error));
            say_bad(&store.bad_silences().map_err(named)?);
            for silence in store.silences().map_err(named)? {
                let state = if silence.is_active(now) { "active" } else { "over" };
                let matchers: Vec<String> =
                    silence.matchers.iter().map(|(label, glob)| format!("{label}={glob}")).collect();
                let Silence { id, ends_at, author, comment, .. } = &silence;
                print(format_args!("{id} {state} until {ends_at} {} by {author}: {comment}", matchers.join(" ")))?;
            }
            Ok(())
        }
        Command::End { config, id } => {
            let mut store = open(&config)?;
            if store.end_silence(id, now).map_err(|error| Failure::failed(store.named(error)))? {
                print(format_args!("silence {id} has ended"))
            } else {
                Err(Failure::failed(format!("there is no silence {id} that has not ended")))
            }
        }
    }
}

fn matcher(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((label, glob)) if !label.is_empty() && !glob.is_empty() => Ok((label.to_owned(), glob.to_owned())),
        Some(_) | None => Err("write it like queue=prod-*".to_owned()),
    }
}
