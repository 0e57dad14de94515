//! `silence`: manages silences. Works beside a running service.

use std::time::Duration;

use crate::cli::outbox::{open, say_bad};
use crate::cli::{Failure, inputs, print, say};
use crate::notify::routing_table;
use crate::notify::silence::Silence;
use trainspotter_clock::Clock;
use trainspotter_core::model::{Matchers, parse_duration};

/// Nobody means a silence of more than a year.
const MAX_SPAN: Duration = Duration::from_secs(366 * 86_400);

/// Manage silences: for a set time, matching alerts notify nobody.
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
        #[arg(long = "for", value_name = "SPAN", value_parser = parse_duration)]
        span: Duration,
        /// Who wants it.
        #[arg(long)]
        author: String,
        /// Why.
        #[arg(long)]
        comment: String,
        /// Take matchers that no alert of the present rules can meet: for a rule that is still to come.
        #[arg(long)]
        allow_unmatched: bool,
        /// Labels of the alerts, all of which must match: label=glob, or as Alertmanager writes them, such as
        /// 'alertname=~"Long.*",severity!=page'.
        #[arg(required = true, value_name = "MATCHER", value_parser = Matchers::parse)]
        matchers: Vec<Matchers>,
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
        Command::Add { config, span, author, comment, allow_unmatched, matchers } => {
            if span.is_zero() || span > MAX_SPAN {
                return Err(Failure::usage("--for: a silence lasts longer than 0s and at most 366 days"));
            }
            for (option, text) in [("--author", &author), ("--comment", &comment)] {
                if text.trim().is_empty() {
                    return Err(Failure::usage(format!("{option}: must not be empty")));
                }
            }
            let matchers = Matchers::all(matchers).map_err(Failure::usage)?;
            if !allow_unmatched {
                can_match(&config, &matchers)?;
            }
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
                let Silence { id, matchers, ends_at, author, comment, .. } = &silence;
                print(format_args!("{id} {state} until {ends_at} {matchers} by {author}: {comment}"))?;
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

/// Whether an alert of the configured rules can meet matchers.
fn can_match(config: &str, matchers: &Matchers) -> Result<(), Failure> {
    let rules = match inputs::load_rules(&inputs::load_config(config)?.rules) {
        Ok(rules) => rules,
        Err(Failure::Usage(_) | Failure::Failed(_)) => {
            say(format_args!("warning: the rules cannot be read, so it is not known whether an alert can match"));
            Vec::new()
        }
    };
    let refused =
        |why| Failure::usage(format!("this would silence nothing: {why} (--allow-unmatched takes it nevertheless)"));
    routing_table::never(matchers, &rules).map_or(Ok(()), |why| Err(refused(why)))
}
