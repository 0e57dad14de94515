//! `outbox`: pending and dead notifications, over the API of a running service or in its state file.

use serde_json::{Value, json};

use crate::cli::format_api_values::{label, text};
use crate::cli::remote::Client;
use crate::cli::state_file_or_api::{LocalOrRemote, LocalOrRemoteArguments};
use crate::cli::table::{Align, NOTHING, Table};
use crate::cli::unknown_names;
use crate::cli::{Failure, load_config, print, print_json, say};
use crate::notify::OutboxRow;
use crate::store::{BadRow, Selection, Store};
use crate::web::NotificationRow;
use trainspotter_clock::Clock;

/// Maximum notifications listed per id, or in total.
const MAX_LISTED: usize = 50_000;

/// List, retry and drop pending and dead notifications.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  trainspotter outbox list --url http://127.0.0.1:9464
  trainspotter outbox retry --receiver oncall --config trainspotter.yaml
  trainspotter outbox drop 3f9a01b2 --url http://127.0.0.1:9464")]
pub(super) enum Command {
    /// List undelivered notifications.
    #[command(after_help = "Examples:
  trainspotter outbox list --url http://127.0.0.1:9464
  trainspotter outbox list --all --receiver oncall --config trainspotter.yaml")]
    List {
        #[command(flatten)]
        which: Which,
        /// Include delivered and muted notifications.
        #[arg(long)]
        all: bool,
    },
    /// Retry notifications now, including dead ones.
    #[command(after_help = "Examples:
  trainspotter outbox retry --receiver oncall --config trainspotter.yaml
  trainspotter outbox retry 3f9a01b2 --url http://127.0.0.1:9464")]
    Retry {
        #[command(flatten)]
        which: Which,
    },
    /// Drop pending notifications. They are kept for a week and can be retried.
    #[command(after_help = "Examples:
  trainspotter outbox drop --receiver chat --url http://127.0.0.1:9464
  trainspotter outbox drop 3f9a01b2 --config trainspotter.yaml")]
    Drop {
        #[command(flatten)]
        which: Which,
    },
}

/// Which notifications are meant.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    #[command(flatten)]
    service: LocalOrRemoteArguments,
    /// Only notifications of this receiver.
    #[arg(long, value_name = "NAME")]
    receiver: Option<String>,
    /// Only notifications whose ids have one of these prefixes.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    let now = Clock::real().now();
    match command {
        Command::List { which, all } => {
            let json = which.service.json;
            let (service, selection) = which.choose()?;
            let (rows, is_cut) = match &service {
                LocalOrRemote::Service(client) => list_over_api(client, &selection, all).await?,
                LocalOrRemote::Config(config) => (list_of_file(&open(config).await?, &selection, all)?, false),
            };
            if rows.is_empty() {
                check_receiver(&service, &selection).await?;
            }
            if is_cut {
                say(format_args!(
                    "only the first {MAX_LISTED} are listed, per id or in total; filter with --receiver or ids"
                ));
            }
            if json {
                let mut found = json!({ "notifications": rows });
                if is_cut {
                    found["complete"] = json!(false);
                }
                return print_json(&found);
            }
            let table = table(&rows);
            if table.is_empty() {
                say(format_args!("no notification matches"));
                return Ok(());
            }
            table.lines().iter().try_for_each(|line| print(format_args!("{line}")))
        }
        Command::Retry { which } => {
            let json = which.service.json;
            let (service, selection) = which.choose()?;
            let count = match &service {
                LocalOrRemote::Service(client) => change(client, "retry", &selection).await?,
                LocalOrRemote::Config(config) => {
                    let mut store = open_to_change(config).await?;
                    let count = store.retry(&selection, now);
                    u64::try_from(count.map_err(|error| Failure::failed(store.named(error)))?).unwrap_or(u64::MAX)
                }
            };
            if count == 0 {
                check_receiver(&service, &selection).await?;
            }
            changed(count, "notifications will be tried again within a poll of the running service", json)
        }
        Command::Drop { which } => {
            if which.receiver.is_none() && which.ids.is_empty() {
                return Err(Failure::usage("--receiver NAME or ids from `outbox list` are required"));
            }
            let json = which.service.json;
            let (service, selection) = which.choose()?;
            let count = match &service {
                LocalOrRemote::Service(client) => change(client, "drop", &selection).await?,
                LocalOrRemote::Config(config) => {
                    let mut store = open_to_change(config).await?;
                    let count = store.give_up(&selection, now);
                    u64::try_from(count.map_err(|error| Failure::failed(store.named(error)))?).unwrap_or(u64::MAX)
                }
            };
            if count == 0 {
                check_receiver(&service, &selection).await?;
            }
            changed(count, "notifications were dropped", json)
        }
    }
}

/// Prints how many notifications were changed.
fn changed(count: u64, words: &str, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&json!({ "changed": count }));
    }
    print(format_args!("{count} {words}"))
}

impl Which {
    fn choose(self) -> Result<(LocalOrRemote, Selection), Failure> {
        Ok((self.service.choose()?, Selection { receiver: self.receiver, ids: self.ids }))
    }
}

/// If no notification was found, checks that the receiver exists.
async fn check_receiver(service: &LocalOrRemote, selection: &Selection) -> Result<(), Failure> {
    let Some(receiver) = &selection.receiver else { return Ok(()) };
    let rows: Vec<Value> = match service {
        LocalOrRemote::Service(client) => {
            client.get(&["service"], &[]).await?["receivers"].as_array().cloned().unwrap_or_default()
        }
        LocalOrRemote::Config(config) => {
            let receivers = load_config::load_config(config).await?.receivers;
            receivers.iter().map(|receiver| json!({ "receiver": receiver.name })).collect()
        }
    };
    unknown_names::refuse("--receiver", "receiver", receiver, &unknown_names::known(&rows, "receiver"))
}

/// Notifications of a state file, in the form of the API.
fn list_of_file(store: &Store, selection: &Selection, all: bool) -> Result<Vec<Value>, Failure> {
    let (rows, bad) = store.outbox_and_bad_rows().map_err(|error| Failure::failed(store.named(error)))?;
    warn_bad_rows(&bad);
    let shown = |row: &&OutboxRow| (all || ["pending", "dead"].contains(&row.state.as_str())) && selection.means(row);
    Ok(rows.into_iter().filter(|row| shown(&row)).map(|row| json!(NotificationRow::from(row))).collect())
}

async fn change(client: &Client, how: &str, selection: &Selection) -> Result<u64, Failure> {
    let mut body = json!({ "ids": selection.ids });
    if let Some(receiver) = &selection.receiver {
        body["receiver"] = json!(receiver);
    }
    let answer = client.post(&["outbox", how], &body).await?;
    answer["changed"].as_u64().ok_or_else(|| client.is_something_else("the response lacks the count"))
}

async fn list_over_api(client: &Client, selection: &Selection, all: bool) -> Result<(Vec<Value>, bool), Failure> {
    let mut common =
        vec![("state", if all { "pending,dead,delivered,muted" } else { "pending,dead" }), ("limit", "500")];
    common.extend(selection.receiver.as_deref().map(|receiver| ("receiver", receiver)));
    let queries: Vec<Vec<(&str, &str)>> = match selection.ids.as_slice() {
        [] => vec![common],
        ids => ids.iter().map(|id| common.iter().copied().chain([("id", id.as_str())]).collect()).collect(),
    };
    let (mut rows, mut is_cut) = (Vec::new(), false);
    for query in &queries {
        let (found, has_more) = client.pages("outbox", query, "notifications", MAX_LISTED).await?;
        rows.extend(found);
        is_cut |= has_more;
    }
    Ok((rows, is_cut))
}

/// Formats notifications as a table.
fn table(rows: &[Value]) -> Table {
    let left = |title| (title, Align::Left);
    let mut table = Table::new(&[
        left("ID"),
        left("STATE"),
        left("CREATED"),
        left("KIND"),
        left("RECEIVER"),
        left("RULE"),
        left("ABOUT"),
        ("ATTEMPTS", Align::Right),
        left("WHY"),
    ]);
    for row in rows {
        let labels = row["labels"].as_object().into_iter().flatten();
        let about = labels.filter(|(name, _)| !["alertname", "severity"].contains(&name.as_str()));
        let about: Vec<String> = about.map(|(name, value)| label(name, value)).collect();
        let id = text(row, "id").chars().take(12).collect();
        let [state, created, kind] = ["state", "created_at", "kind"].map(|key| text(row, key));
        let [receiver, rule, why] = ["receiver", "rule", "last_error"].map(|key| text(row, key));
        let about = if about.is_empty() { NOTHING.to_owned() } else { about.join(",") };
        table.row([id, state, created, kind, receiver, rule, about, row["attempts"].to_string(), why]);
    }
    table
}

/// Opens the state file of a configuration; a service must have created it.
pub(super) async fn open(config: &str) -> Result<Store, Failure> {
    let config = load_config::load_config(config).await?;
    if config.targets.len() > 1 {
        let count = config.targets.len();
        return Err(Failure::usage(format!(
            "the configuration has {count} targets, each with its own state file: use --url to query the service"
        )));
    }
    let path = config.store;
    if !path.exists() {
        let path = path.display();
        return Err(Failure::usage(format!("{path} does not exist: the service has not run with this configuration")));
    }
    Store::open_as_is(&path).map_err(Failure::failed)
}

/// Opens the state file for writing. With a log only the leader may write, so this is refused.
pub(super) async fn open_to_change(config: &str) -> Result<Store, Failure> {
    if let Some(replication) = load_config::load_config(config).await?.replication {
        let log = replication.log;
        return Err(Failure::usage(format!(
            "the state is in the log {log}, which only the leader changes: use --url with the address of the leader"
        )));
    }
    open(config).await
}

/// Prints the rows that were skipped because they cannot be read.
pub(super) fn warn_bad_rows(bad: &[BadRow]) {
    for row in bad {
        say(format_args!(
            "skipped an unreadable row: {}; the service moves it to the table `set_aside` when it starts",
            row.in_words()
        ));
    }
}
