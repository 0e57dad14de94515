//! `silence`: manages silences, over the API of a running service or in its state file.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::format_api_values::text;
use crate::cli::outbox::{open, open_to_change, warn_bad_rows};
use crate::cli::remote::Client;
use crate::cli::state_file_or_api::{LocalOrRemote, LocalOrRemoteArguments};
use crate::cli::table::{Align, Table};
use crate::cli::{Failure, load_config, print, print_json, say};
use crate::notify::routing_check;
use crate::notify::silence::Silence;
use crate::service::RuleSources;
use crate::web::SilenceRow;
use trainspotter_clock::Clock;
use trainspotter_core::model::{Matchers, parse_duration};

/// Maximum length of a silence.
const MAX_SPAN: Duration = Duration::from_secs(366 * 86_400);

/// Manage silences: matching alerts send no notifications for a given time.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  trainspotter silence list --url http://127.0.0.1:9464
  trainspotter silence add --url http://127.0.0.1:9464 --for 2h --comment maintenance 'queue=prod-*'
  trainspotter silence end 3 --url http://127.0.0.1:9464")]
pub(super) enum Command {
    /// Add a silence, effective now.
    #[command(after_help = "Examples:
  trainspotter silence add --url http://127.0.0.1:9464 --for 2h --comment maintenance 'queue=prod-*'
  trainspotter silence add --config FILE --for 2h --author ann --comment maintenance alertname=LongWait

With --url the author is the name of the token.")]
    Add {
        #[command(flatten)]
        service: LocalOrRemoteArguments,
        /// Duration, such as 2h.
        #[arg(long = "for", value_name = "SPAN", value_parser = parse_duration)]
        span: Duration,
        /// Author of the silence; only with --config.
        #[arg(long, conflicts_with = "url")]
        author: Option<String>,
        /// Reason for the silence.
        #[arg(long)]
        comment: String,
        /// Accept matchers that match no alert of the current rules, for a rule that will be added.
        #[arg(long)]
        allow_unmatched: bool,
        /// Label matchers, which must all match: label=glob, or Alertmanager's notation, such as
        /// 'alertname=~"Long.*",severity!=page'.
        #[arg(required = true, value_name = "MATCHER", value_parser = Matchers::parse)]
        matchers: Vec<Matchers>,
    },
    /// List silences, including past ones.
    #[command(after_help = "Examples:
  trainspotter silence list --url http://127.0.0.1:9464
  trainspotter silence list --config trainspotter.yaml")]
    List {
        #[command(flatten)]
        service: LocalOrRemoteArguments,
    },
    /// End a silence now.
    #[command(after_help = "Examples:
  trainspotter silence end 3 --url http://127.0.0.1:9464
  trainspotter silence end 3 --config trainspotter.yaml")]
    End {
        #[command(flatten)]
        service: LocalOrRemoteArguments,
        /// Id of the silence.
        id: i64,
    },
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Add { service, span, author, comment, allow_unmatched, matchers } => {
            if span.is_zero() || span > MAX_SPAN {
                return Err(Failure::usage("--for: must be longer than 0s and at most 366 days"));
            }
            if comment.trim().is_empty() {
                return Err(Failure::usage("--comment: must not be empty"));
            }
            let json = service.json;
            let new =
                New { matchers: Matchers::all(matchers).map_err(Failure::usage)?, span, comment, allow_unmatched };
            match service.choose()? {
                LocalOrRemote::Service(client) => add_over_api(&client, &new, author, json).await,
                LocalOrRemote::Config(config) => add_to_file(&config, new, author, json).await,
            }
        }
        Command::List { service } => {
            let json = service.json;
            let silences = match service.choose()? {
                LocalOrRemote::Service(client) => client.list("silences").await?,
                LocalOrRemote::Config(config) => list_of_file(&config).await?,
            };
            if json {
                return print_json(&Value::Array(silences));
            }
            let table = table(&silences);
            if table.is_empty() {
                say(format_args!("there are no silences"));
                return Ok(());
            }
            table.lines().iter().try_for_each(|line| print(format_args!("{line}")))
        }
        Command::End { service, id } => {
            let json = service.json;
            match service.choose()? {
                LocalOrRemote::Service(client) => {
                    client.post(&["silences", &id.to_string(), "end"], &json!({})).await?;
                }
                LocalOrRemote::Config(config) => end_in_file(&config, id).await?,
            }
            if json {
                return print_json(&json!({ "id": id, "state": "over" }));
            }
            print(format_args!("silence {id} has ended"))
        }
    }
}

/// A silence to add.
struct New {
    matchers: Matchers,
    span: Duration,
    comment: String,
    allow_unmatched: bool,
}

async fn add_over_api(client: &Client, new: &New, author: Option<String>, json: bool) -> Result<(), Failure> {
    if author.is_some() {
        return Err(Failure::usage("--author: with --url the author is the name of the token; leave it out"));
    }
    let matchers: Vec<String> = new.matchers.iter().map(ToString::to_string).collect();
    let body = json!({
        "matchers": matchers, "duration_seconds": new.span.as_secs_f64(), "comment": new.comment,
        "allow_unmatched": new.allow_unmatched,
    });
    let added = client.post(&["silences"], &body).await?;
    show_added(&added, json)
}

fn show_added(added: &Value, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(added);
    }
    print(format_args!("silence {} until {}", added["id"], text(added, "ends_at")))
}

async fn add_to_file(config: &str, new: New, author: Option<String>, json: bool) -> Result<(), Failure> {
    let author = author.filter(|author| !author.trim().is_empty());
    let author = author.ok_or_else(|| Failure::usage("--author is required with --config"))?;
    let New { matchers, span, comment, allow_unmatched } = new;
    if !allow_unmatched {
        can_match(config, &matchers).await?;
    }
    let now = Clock::real().now();
    let mut silence = Silence { id: 0, matchers, starts_at: now, ends_at: now + span, author, comment };
    let mut store = open_to_change(config).await?;
    silence.id = store.silence(&silence).map_err(|error| Failure::failed(store.named(error)))?;
    show_added(&json!(SilenceRow::at(&silence, now)), json)
}

/// Silences of a state file, in the form of the API.
async fn list_of_file(config: &str) -> Result<Vec<Value>, Failure> {
    let now = Clock::real().now();
    let store = open(config).await?;
    let named = |error| Failure::failed(store.named(error));
    warn_bad_rows(&store.bad_silences().map_err(named)?);
    Ok(store.silences().map_err(named)?.iter().map(|silence| json!(SilenceRow::at(silence, now))).collect())
}

async fn end_in_file(config: &str, id: i64) -> Result<(), Failure> {
    let mut store = open_to_change(config).await?;
    if store.end_silence(id, Clock::real().now()).map_err(|error| Failure::failed(store.named(error)))? {
        Ok(())
    } else {
        Err(Failure::failed(format!("there is no active silence {id}")))
    }
}

/// Formats silences as a table.
fn table(silences: &[Value]) -> Table {
    let titles = ["STATE", "UNTIL", "AUTHOR", "MATCHERS", "COMMENT"].map(|title| (title, Align::Left));
    let mut table = Table::new(&[&[("ID", Align::Right)][..], &titles].concat());
    for silence in silences {
        let matchers = silence["matchers"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let matchers = matchers.collect::<Vec<_>>().join(",");
        let [state, until, author, comment] = ["state", "ends_at", "author", "comment"].map(|key| text(silence, key));
        table.row([silence["id"].to_string(), state, until, author, matchers, comment]);
    }
    table
}

/// Checks that the matchers can match an alert of the configured rules.
async fn can_match(config: &str, matchers: &Matchers) -> Result<(), Failure> {
    let mut sources = RuleSources::of(&load_config::load_config(config).await?, Clock::real());
    let rules = match sources.load().await {
        Ok(rules) => rules,
        Err(_) => {
            say(format_args!("warning: cannot read the rules, so matchers are not checked against them"));
            Vec::new()
        }
    };
    let refused =
        |why| Failure::usage(format!("this would silence nothing: {why} (--allow-unmatched accepts it anyway)"));
    routing_check::never(matchers, &rules).map_or(Ok(()), |why| Err(refused(why)))
}
