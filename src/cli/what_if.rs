//! `what-if`: replays the past without and with changes, and compares the results.

mod rank;

use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;

use serde_json::Value;

use crate::cli::format_api_values::seconds;
use crate::cli::remote::Remote;
use crate::cli::table::{Align, NOTHING, Table, plain};
use crate::cli::{Failure, load_config, print, print_json, say};
use crate::store;
use trainspotter_core::model::{Prices, Timestamp};
use trainspotter_core::what_if::{self, Change, Past, Report};
use trainspotter_simulator::trace;

/// Fraction of progress between two progress lines if stderr is not a terminal.
const PROGRESS: f64 = 0.25;

/// Replay the past with another quota, limit, weight, priority, policy or capacity, and compare.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter what-if --config trainspotter.yaml --set 'queue.research.share.speech.quota=8'
  trainspotter what-if --trace jobs.csv --set queue.jobs.policy=fifo --set queue.jobs.capacity=+2
  trainspotter what-if --recorded state.db --rank
  trainspotter what-if --url https://trainspotter.example.com --rank
  trainspotter what-if --url https://trainspotter.example.com --set queue.research.capacity=+4

Keys:
  queue.Q.capacity[.TYPE]=N           instances of the environment; +N and -N are relative
  queue.Q.policy=fifo | fair-share | quota-shares
  queue.Q.share.S.quota[.TYPE]=N      quota of the share
  queue.Q.share.S.borrow_limit=PERCENT | none
  queue.Q.share.S.sharing=reserve | lend | lend-and-borrow
  queue.Q.share.S.weight=X            in a fair-share queue; a lower weight gets more
  queue.Q.share.S.priority=N          priority of all jobs of the share
  queue.Q.share.S.in_share_preemption=true | false")]
pub(super) struct Arguments {
    /// Change to apply; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Replay the state file of this configuration, with its prices.
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Replay this state file.
    #[arg(long, value_name = "FILE", conflicts_with = "trace")]
    recorded: Option<PathBuf>,
    /// Replay a trace (CSV: job_id, share, num_gpu, submit_s and duration_s, or start_s and end_s).
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Try single changes, and rank them by how much they shorten waits.
    #[arg(long, conflicts_with = "changes")]
    rank: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let changes = arguments.changes.iter().map(|text| what_if::parse(text)).collect::<Result<Vec<Change>, _>>();
    let changes = changes.map_err(Failure::usage)?;
    let is_local = arguments.config.is_some() || arguments.recorded.is_some() || arguments.trace.is_some();
    if is_local {
        if arguments.remote.url.is_some() {
            return Err(Failure::usage("--url queries a running service: leave out --config, --recorded and --trace"));
        }
        return replay(arguments, &changes).await;
    }
    let client = arguments.remote.connect()?;
    if arguments.rank {
        return rank::of_service(&client, arguments.json).await;
    }
    let query: Vec<(&str, &str)> = changes.iter().map(|change| ("set", change.text.as_str())).collect();
    let report = client.get(&["what-if"], &query).await?;
    if !report["shares"].is_array() {
        return Err(client.is_something_else("the response is not a replay"));
    }
    show(&report, arguments.json)
}

/// Reads the requested recording.
async fn past(arguments: &Arguments) -> Result<(Past, Prices), Failure> {
    let config = match &arguments.config {
        Some(config) => Some(load_config::load_config(config).await?),
        None => None,
    };
    let prices = config.as_ref().map(|config| config.prices.clone()).unwrap_or_default();
    if let Some(file) = &arguments.trace {
        let workload = trace::load(file, Timestamp::default()).map_err(Failure::usage)?;
        return Ok((Past::of_workload(workload.setup, &workload.submissions), prices));
    }
    if let Some(file) = &arguments.recorded {
        load_config::check_state_file("--recorded", file)?;
    }
    let file = arguments.recorded.clone().or(config.map(|config| config.store)).unwrap_or_default();
    if !file.is_file() {
        return Err(Failure::usage(format!("{}: there is no such state file", file.display())));
    }
    let rows = store::kept_past(&file).map_err(Failure::failed)?;
    let past = Past::of_kept(rows).map_err(|why| Failure::failed(format!("{}: {why}", file.display())))?;
    Ok((past, prices))
}

async fn replay(arguments: &Arguments, changes: &[Change]) -> Result<(), Failure> {
    let (past, prices) = past(arguments).await?;
    if past.jobs.is_empty() {
        return Err(Failure::failed("there are no jobs to replay"));
    }
    // Report invalid changes before the long replay.
    what_if::with_changes(&past, changes).map_err(Failure::usage)?;
    if arguments.rank {
        return rank::of_past(&past, &prices, arguments.json);
    }
    let mut progress = Progress::default();
    let answer = what_if::answer(&past, changes, &prices, |replay, part| progress.show((replay as f64 + part) / 2.0));
    progress.end();
    let answer = answer.map_err(Failure::usage)?;
    let report = serde_json::to_value(Report::of(&past, changes, &answer)).map_err(Failure::failed)?;
    show(&report, arguments.json)
}

/// Shows the progress of a long replay.
#[derive(Default)]
struct Progress {
    reported: f64,
}

impl Progress {
    fn show(&mut self, part: f64) {
        let terminal = std::io::stderr().is_terminal();
        if terminal && part >= self.reported + 0.01 {
            self.reported = part;
            let _ = write!(std::io::stderr(), "\r{:3.0} %", part * 100.0);
        } else if !terminal && part >= self.reported + PROGRESS {
            self.reported = part;
            say(format_args!("{:.0} %", part * 100.0));
        }
    }

    fn end(&self) {
        if std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr(), "\r      \r");
        }
    }
}

fn show(report: &Value, is_json: bool) -> Result<(), Failure> {
    if is_json {
        return print_json(report);
    }
    lines_of(report).iter().try_for_each(|line| print(format_args!("{}", plain(line))))
}

/// The report as tables.
fn lines_of(report: &Value) -> Vec<String> {
    let text = |key: &str| report[key].as_str().unwrap_or(NOTHING).to_owned();
    let mut lines = vec![format!("{} jobs from {} to {}", report["jobs"], text("from"), text("to"))];
    let list = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    lines.extend(list("notes").iter().filter_map(Value::as_str).map(str::to_owned));
    let changes: Vec<String> = list("changes").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let change = if changes.is_empty() { "nothing".to_owned() } else { changes.join(", ") };
    lines.push(format!("Changed: {change}"));
    lines.push(String::new());
    let mut table = Table::new(&[
        ("QUEUE", Align::Left),
        ("SHARE", Align::Left),
        ("JOBS", Align::Right),
        ("RECORDED P95", Align::Right),
        ("P50 BEFORE", Align::Right),
        ("AFTER", Align::Right),
        ("P95 BEFORE", Align::Right),
        ("AFTER", Align::Right),
        ("AFTER MAY BE OFF BY", Align::Right),
        ("NOT STARTED", Align::Right),
    ]);
    for row in list("shares") {
        let name = |key: &str| row[key].as_str().filter(|name| !name.is_empty()).unwrap_or(NOTHING).to_owned();
        let waits = |replay: &str, key: &str| seconds(&row[replay][key]);
        let jobs = row["jobs"].as_u64().unwrap_or(0);
        table.row([
            name("queue"),
            name("share"),
            jobs.to_string(),
            waits("happened", "p95_seconds"),
            waits("before", "p50_seconds"),
            waits("after", "p50_seconds"),
            waits("before", "p95_seconds"),
            waits("after", "p95_seconds"),
            seconds(&row["p95_error_seconds"]),
            jobs.saturating_sub(row["after"]["started"].as_u64().unwrap_or(0)).to_string(),
        ]);
    }
    lines.extend(table.lines());
    lines.push(String::new());
    let mut table = Table::new(&[
        ("QUEUE", Align::Left),
        ("", Align::Left),
        ("UTILISATION", Align::Right),
        ("PREEMPTIONS", Align::Right),
        ("LOST INSTANCE-HOURS", Align::Right),
        ("LOST $", Align::Right),
        ("CAPACITY $", Align::Right),
    ]);
    for row in list("queues") {
        for (key, name) in [("happened", "recorded"), ("before", "before"), ("after", "after")] {
            if row[key].is_object() {
                table.row(use_row(row["queue"].as_str().unwrap_or(NOTHING), name, &row[key]));
            }
        }
    }
    lines.extend(table.lines());
    lines
}

fn use_row(queue: &str, name: &str, used: &Value) -> [String; 7] {
    let number =
        |key: &str, digits: usize| used[key].as_f64().map_or(NOTHING.to_owned(), |number| format!("{number:.digits$}"));
    let percent = used["utilisation"].as_f64().map_or(NOTHING.to_owned(), |part| format!("{:.1} %", part * 100.0));
    [
        queue.to_owned(),
        name.to_owned(),
        percent,
        used["preemptions"].as_u64().unwrap_or(0).to_string(),
        number("lost_instance_hours", 1),
        number("lost_dollars", 0),
        number("capacity_dollars", 0),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_two_tables_with_what_is_to_be_known() {
        let used = |utilisation: f64| json!({"utilisation": utilisation, "preemptions": 3, "lost_instance_hours": 4.25, "lost_dollars": null, "capacity_dollars": 1234.4});
        let report = json!({
            "from": "a", "to": "b", "jobs": 20, "changes": ["queue.q.capacity=8"], "notes": ["N."],
            "shares": [{"queue": "q", "share": "s", "jobs": 20, "happened": null, "p95_error_seconds": null,
                "before": {"started": 20, "p50_seconds": 60.0, "p95_seconds": 7200.0}, "after": {"started": 19, "p50_seconds": 0.0, "p95_seconds": 3600.0}}],
            "queues": [{"queue": "q", "happened": null, "before": used(0.5), "after": used(0.75)}],
        });
        let lines = lines_of(&report).join("\n");
        for expected in
            ["20 jobs from a to b", "N.", "Changed: queue.q.capacity=8", "2h", "1h", "75.0 %", "4.2", "1234"]
        {
            assert!(lines.contains(expected), "{expected}: {lines}");
        }
    }
}
