//! `outbox`: notifications that wait, and those that were given up. Works beside a running service.

use crate::cli::{Failure, inputs, print, say};
use crate::notify::OutboxRow;
use crate::store::{BadRow, Selection, Store};
use trainspotter_clock::Clock;

/// List, retry and drop notifications that wait for delivery or were given up.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show notifications that are not delivered.
    List {
        #[command(flatten)]
        which: Which,
        /// Show those that were delivered or muted too.
        #[arg(long)]
        all: bool,
    },
    /// Try notifications again now, also those that were given up.
    Retry {
        #[command(flatten)]
        which: Which,
    },
    /// Give up notifications that wait. They are kept for a week and can be retried.
    Drop {
        #[command(flatten)]
        which: Which,
    },
}

/// Which notifications are meant.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The configuration file, or env:NAME for an environment variable with its text.
    #[arg(long, value_name = "FILE")]
    config: String,
    /// Those of one receiver.
    #[arg(long, value_name = "NAME")]
    receiver: Option<String>,
    /// Those whose ids begin like this.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    let now = Clock::real().now();
    match command {
        Command::List { which, all } => {
            let (store, selection) = opened(which)?;
            let (rows, bad) = store.outbox_and_bad_rows().map_err(|error| Failure::failed(store.named(error)))?;
            say_bad(&bad);
            let shown =
                |row: &&OutboxRow| (all || ["pending", "dead"].contains(&row.state.as_str())) && selection.means(row);
            rows.iter().filter(shown).try_for_each(|row| print(format_args!("{}", line(row))))
        }
        Command::Retry { which } => {
            let (mut store, selection) = opened(which)?;
            let count = store.retry(&selection, now);
            let count = count.map_err(|error| Failure::failed(store.named(error)))?;
            print(format_args!("{count} notifications will be tried again within a poll of the running service"))
        }
        Command::Drop { which } => {
            if which.receiver.is_none() && which.ids.is_empty() {
                return Err(Failure::usage("say which: --receiver NAME, or ids as `outbox list` shows them"));
            }
            let (mut store, selection) = opened(which)?;
            let count = store.give_up(&selection, now);
            let count = count.map_err(|error| Failure::failed(store.named(error)))?;
            print(format_args!("{count} notifications were given up"))
        }
    }
}

/// The state file of a configuration, which a service must have begun.
pub(super) fn open(config: &str) -> Result<Store, Failure> {
    let path = inputs::load_config(config)?.store;
    if !path.exists() {
        let path = path.display();
        return Err(Failure::usage(format!("{path} does not exist: the service has not run with this configuration")));
    }
    Store::open_as_is(&path).map_err(Failure::failed)
}

/// Names the rows that are left out because they cannot be read.
pub(super) fn say_bad(bad: &[BadRow]) {
    for row in bad {
        say(format_args!("left out: {}; the service sets it aside when it starts", row.in_words()));
    }
}

fn opened(which: Which) -> Result<(Store, Selection), Failure> {
    Ok((open(&which.config)?, Selection { receiver: which.receiver, ids: which.ids }))
}

fn line(row: &OutboxRow) -> String {
    let id = row.id.as_str().get(..12).unwrap_or_default();
    let error = row.last_error.as_deref().map(|error| format!(" ({error})")).unwrap_or_default();
    let alert = &row.transition.alert;
    let by: Vec<String> = alert.by.iter().map(|(label, value)| format!("{label}={value}")).collect();
    format!(
        "{id} {:9} {} {:8} {} {} {}, attempts {}{error}",
        row.state.as_str(),
        row.created_at,
        row.kind().as_str(),
        row.receiver,
        alert.rule,
        by.join(","),
        row.attempts,
    )
}
