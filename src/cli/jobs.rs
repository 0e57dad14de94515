//! `jobs`: finds jobs of a running service.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cli::format_api_values::{LIVE, WAITING, amount, queue_of, seconds, span_several_targets, text};
use crate::cli::remote::{Client, Remote};
use crate::cli::table::{Align, NOTHING, Table};
use crate::cli::unknown_names;
use crate::cli::{Failure, print, print_json, say};
use trainspotter_core::metrics::Reason;
use trainspotter_core::model::{InstanceType, accelerators_of, matches_glob};

/// Maximum jobs examined per state, for filters that the service does not support.
const MAX_LOOKED_AT: usize = 5_000;

/// Page size for the API.
const PAGE: &str = "500";

/// Minimum digits of an id that are shown.
const MIN_ID: usize = 8;

/// Find jobs; by default those that have not ended, longest wait first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter jobs                                   waiting and running jobs, longest wait first
  trainspotter jobs pretrain --queue prod-a           name contains `pretrain`, id starts with it, or owner is it
  trainspotter jobs --owner ann --state running
  trainspotter jobs --reason share_at_limit --type ml.p5.48xlarge --sort gpus --limit 10
  trainspotter jobs --all --name 'nightly-*' --json | jq -r '.jobs[].id'
  trainspotter explain ID                             details of a job")]
pub(super) struct Arguments {
    /// Part of the job's name, a prefix of its id, or its owner.
    text: Option<String>,
    /// Only jobs whose name matches this glob (* and ?).
    #[arg(long, value_name = "GLOB")]
    name: Option<String>,
    /// Only jobs whose id has this prefix.
    #[arg(long, value_name = "PREFIX")]
    id: Option<String>,
    /// Only jobs of this owner; empty for jobs without an owner.
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// Only jobs of this queue.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Only jobs of this share; empty for jobs without a share.
    #[arg(long, value_name = "SHARE")]
    share: Option<String>,
    /// Only jobs in these states, including ended ones: submitted, pending, runnable, scheduled, starting, running,
    /// succeeded, failed.
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = state, conflicts_with = "all")]
    state: Vec<String>,
    /// Only jobs waiting for this reason, such as share_at_limit.
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: Option<String>,
    /// Only jobs that request this instance type: a glob, such as 'ml.p5*'.
    #[arg(long = "type", value_name = "GLOB")]
    instance_type: Option<String>,
    /// Include ended jobs that the service still has.
    #[arg(long)]
    all: bool,
    /// Sort order.
    #[arg(long, value_enum, default_value_t = Sort::Waiting)]
    sort: Sort,
    /// Maximum number of jobs to show.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print the API response of each job as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// The order of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sort {
    /// Waiting jobs, longest wait first; then the others, oldest first.
    Waiting,
    /// Oldest first.
    Created,
    /// Largest request first.
    Gpus,
    /// By name.
    Name,
    /// By state, in lifecycle order.
    State,
    /// By owner.
    Owner,
    /// By queue and share.
    Share,
    /// Highest first.
    Priority,
}

fn state(word: &str) -> Result<String, String> {
    let word = word.to_ascii_lowercase();
    let known = LIVE.into_iter().chain(["succeeded", "failed"]);
    if known.clone().any(|state| state == word) {
        return Ok(word);
    }
    Err(format!("there are {}", known.collect::<Vec<_>>().join(", ")))
}

fn reason(word: &str) -> Result<String, String> {
    let word = word.to_ascii_lowercase();
    let known = Reason::ALL.map(Reason::as_str);
    if known.contains(&word.as_str()) { Ok(word) } else { Err(format!("there are {}", known.join(", "))) }
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let client = arguments.remote.connect()?;
    let (mut jobs, cut) = found(&client, arguments).await?;
    if jobs.is_empty() {
        check_names(&client, arguments).await?;
    }
    jobs.sort_by(|one, other| compare(arguments.sort, one, other));
    let count = jobs.len();
    jobs.truncate(usize::try_from(arguments.limit).unwrap_or(usize::MAX));
    if arguments.json {
        return print_json(&json!({ "jobs": jobs, "found": count, "complete": !cut }));
    }
    if jobs.is_empty() {
        say(format_args!("no job matches{}", if arguments.all { "" } else { "; --all includes jobs that have ended" }));
        return Ok(());
    }
    table(&jobs).lines().iter().try_for_each(|line| print(format_args!("{line}")))?;
    if jobs.len() < count {
        say(format_args!("{} of {count} jobs are shown; --limit COUNT shows more", jobs.len()));
    }
    if cut {
        say(format_args!(
            "only the first {MAX_LOOKED_AT} jobs of a state were looked at; narrow it down by --queue, --share, --owner or --name"
        ));
    }
    Ok(())
}

/// If no job was found, checks that the filters name something that exists.
async fn check_names(client: &Client, arguments: &Arguments) -> Result<(), Failure> {
    let queues = client.list("queues").await?;
    if let Some(queue) = &arguments.queue {
        unknown_names::refuse("--queue", "queue", queue, &unknown_names::known(&queues, "queue"))?;
    }
    if let Some(share) = arguments.share.as_ref().filter(|share| !share.is_empty()) {
        let mut shares = client.list("shares").await?;
        shares.retain(|row| arguments.queue.as_ref().is_none_or(|queue| row["queue"].as_str() == Some(queue)));
        unknown_names::refuse("--share", "share", share, &unknown_names::known(&shares, "share"))?;
    }
    if let Some(unit) = arguments.instance_type.as_deref().filter(|unit| !unit.contains(['*', '?'])) {
        return check_type(unit);
    }
    Ok(())
}

/// Refuses unknown instance types.
fn check_type(unit: &str) -> Result<(), Failure> {
    let is_known = |unit: &str| accelerators_of(&InstanceType::from(unit)).is_some();
    if is_known(unit) {
        return Ok(());
    }
    let meant = format!("ml.{unit}");
    let hint =
        if is_known(&meant) { format!("did you mean {meant}?") } else { "they look like ml.p5.48xlarge".to_owned() };
    Err(Failure::usage(format!("--type: no job requests {unit:?}, and it is not an instance type; {hint}")))
}

/// All matching jobs, and whether there may be more that were not examined.
async fn found(client: &Client, arguments: &Arguments) -> Result<(Vec<Value>, bool), Failure> {
    let states: Vec<Option<&str>> = match (arguments.all, arguments.state.as_slice()) {
        (true, _) => vec![None],
        (false, []) => LIVE.into_iter().map(Some).collect(),
        (false, states) => states.iter().map(|state| Some(state.as_str())).collect(),
    };
    // The service applies the filters that it supports.
    let prefix =
        arguments.name.as_deref().and_then(|glob| glob.split(['*', '?']).next()).filter(|prefix| !prefix.is_empty());
    let given = [
        ("queue", arguments.queue.as_deref()),
        ("share", arguments.share.as_deref()),
        ("owner", arguments.owner.as_deref()),
        ("id", arguments.id.as_deref()),
        ("name", prefix),
    ];
    let given: Vec<(&str, &str)> = given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let (mut jobs, mut cut) = (Vec::new(), false);
    for state in states {
        let mut query = given.clone();
        query.extend(state.map(|state| ("state", state)));
        query.push(("limit", PAGE));
        let (of_state, more) = client.pages("jobs", &query, "jobs", MAX_LOOKED_AT).await?;
        jobs.extend(of_state.into_iter().filter(|job| is_meant(job, arguments)));
        cut |= more;
    }
    Ok((jobs, cut))
}

fn is_meant(job: &Value, arguments: &Arguments) -> bool {
    let field = |key: &str| job[key].as_str().unwrap_or_default();
    let fits = |glob: &Option<String>, text: &str| glob.as_ref().is_none_or(|glob| matches_glob(glob, text));
    let holds = |text: &String| {
        field("name").contains(text.as_str()) || field("id").starts_with(text.as_str()) || field("owner") == text
    };
    let has_type = |glob: &String| {
        let demand = job["demand"].as_array().into_iter().flatten();
        demand.filter_map(|demand| demand["unit"].as_str()).any(|unit| matches_glob(glob, unit))
    };
    let waits_for = |reason: &String| job["why"]["reason"].as_str() == Some(reason);
    arguments.text.as_ref().is_none_or(holds)
        && fits(&arguments.name, field("name"))
        && arguments.reason.as_ref().is_none_or(waits_for)
        && arguments.instance_type.as_ref().is_none_or(has_type)
}

/// Compares two jobs; ties are broken by id.
pub(super) fn compare(sort: Sort, one: &Value, other: &Value) -> Ordering {
    let ascending = |key: &str| one[key].as_str().unwrap_or_default().cmp(other[key].as_str().unwrap_or_default());
    // Unknown values come last.
    let descending = |key: &str| {
        let [one, other] = [one, other].map(|job| job[key].as_f64().unwrap_or(f64::NEG_INFINITY));
        other.total_cmp(&one)
    };
    let place = |job: &Value| LIVE.iter().position(|state| job["state"].as_str() == Some(*state));
    let first = match sort {
        Sort::Waiting => descending("waiting_seconds"),
        Sort::Created => Ordering::Equal,
        Sort::Gpus => descending("gpus"),
        Sort::Name => ascending("name"),
        Sort::State => place(one).unwrap_or(LIVE.len()).cmp(&place(other).unwrap_or(LIVE.len())),
        Sort::Owner => ascending("owner"),
        Sort::Share => ascending("queue").then_with(|| ascending("share")),
        Sort::Priority => descending("priority"),
    };
    first.then_with(|| ascending("created_at")).then_with(|| ascending("id"))
}

/// Formats jobs as a table.
pub(super) fn table(jobs: &[Value]) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("NAME", Align::Left),
        ("STATE", Align::Left),
        ("WAITED", Align::Right),
        ("GPUS", Align::Right),
        ("QUEUE", Align::Left),
        ("SHARE", Align::Left),
        ("OWNER", Align::Left),
        ("REASON", Align::Left),
    ]);
    let (length, several) = (id_length(jobs), span_several_targets(jobs));
    for job in jobs {
        let waits = WAITING.contains(&job["state"].as_str().unwrap_or_default());
        let waited = if waits { &job["waiting_seconds"] } else { &job["wait_seconds"] };
        table.row([
            text(job, "id").chars().take(length).collect(),
            text(job, "name"),
            text(job, "state"),
            seconds(waited),
            amount(&job["gpus"]),
            queue_of(job, several),
            text(job, "share"),
            text(job, "owner"),
            job["why"]["reason"].as_str().unwrap_or(NOTHING).to_owned(),
        ]);
    }
    table
}

/// Number of digits that makes the ids unique.
fn id_length(jobs: &[Value]) -> usize {
    let ids: Vec<&str> = jobs.iter().filter_map(|job| job["id"].as_str()).collect();
    let longest = ids.iter().map(|id| id.chars().count()).max().unwrap_or(0);
    let distinct = |length: usize| {
        let cut: BTreeSet<String> = ids.iter().map(|id| id.chars().take(length).collect()).collect();
        cut.len() == ids.len()
    };
    (MIN_ID..longest).find(|length| distinct(*length)).unwrap_or(longest.max(MIN_ID))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, more: Value) -> Value {
        let mut job = json!({
            "id": id, "name": "train", "state": "runnable", "queue": "q", "share": null, "owner": null, "gpus": 8.0,
            "waiting_seconds": 60.0, "wait_seconds": 60.0, "created_at": "2026-03-01T12:00:00Z", "why": null, "demand": [],
        });
        for (key, value) in more.as_object().unwrap() {
            job[key] = value.clone();
        }
        job
    }

    #[test]
    fn ids_are_shown_as_long_as_needed_to_be_unique() {
        let length = |ids: &[&str]| id_length(&ids.iter().map(|id| job(id, json!({}))).collect::<Vec<_>>());
        assert_eq!(length(&["6f1c2d3e-0000-4000", "7f1c2d3e-0000-4000"]), 8);
        assert_eq!(length(&["6f1c2d3e-0000-4000", "6f1c2d3e-0001-4000"]), 13);
        assert_eq!(length(&["a", "b"]), 8);
        assert_eq!(length(&[]), 8);
    }

    #[test]
    fn jobs_come_in_the_order_that_is_asked_for() {
        let mut jobs = [
            job("a", json!({ "waiting_seconds": null, "state": "running", "owner": "zoe", "gpus": 64.0 })),
            job("b", json!({ "waiting_seconds": 600.0, "name": "eval", "owner": "ann" })),
            job("c", json!({ "waiting_seconds": 60.0, "gpus": null, "owner": "bo" })),
        ];
        for (sort, order) in [
            (Sort::Waiting, ["b", "c", "a"]),
            (Sort::Created, ["a", "b", "c"]),
            (Sort::Gpus, ["a", "b", "c"]),
            (Sort::Name, ["b", "a", "c"]),
            (Sort::State, ["b", "c", "a"]),
            (Sort::Owner, ["b", "c", "a"]),
        ] {
            jobs.sort_by(|one, other| compare(sort, one, other));
            assert_eq!(jobs.iter().map(|job| text(job, "id")).collect::<Vec<_>>(), order, "{sort:?}");
        }
    }

    #[test]
    fn a_table_of_jobs_shows_known_values() {
        let jobs = [
            job(
                "6f1c2d3e-1",
                json!({ "waiting_seconds": 5400.0, "owner": "ann", "share": "audio", "why": { "reason": "behind" } }),
            ),
            job(
                "7f1c2d3e-1",
                json!({ "state": "running", "waiting_seconds": null, "wait_seconds": null, "gpus": null }),
            ),
        ];
        insta::assert_snapshot!(table(&jobs).lines().join("\n"), @r"
        ID        NAME   STATE     WAITED  GPUS  QUEUE  SHARE  OWNER  REASON
        6f1c2d3e  train  runnable  1h 30m     8  q      audio  ann    behind
        7f1c2d3e  train  running        -     -  q      -      -      -
        ");
    }
}
