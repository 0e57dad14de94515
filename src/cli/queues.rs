//! `queues`: use of a running service's queues and shares.

use serde_json::{Value, json};

use crate::cli::format_api_values::{
    WAITING, account_and_region, amount, count, queue_of, seconds, span_several_targets, sum, text,
};
use crate::cli::remote::{Client, Remote};
use crate::cli::table::{Align, NOTHING, Table};
use crate::cli::unknown_names;
use crate::cli::{Failure, print, print_json, say};
use trainspotter_core::model::matches_glob;

/// Show waiting and running jobs of each queue and share, and the quotas they use, in instances.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter queues
  trainspotter queues 'prod-*' --url https://trainspotter.example.com
  trainspotter queues --json | jq '.shares[] | select(.borrowed > 0)'")]
pub(super) struct Arguments {
    /// Only queues whose name matches this glob (* and ?).
    queue: Option<String>,
    /// Print the API responses for queues and shares as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Rows of the API.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) queues: Vec<Value>,
    pub(super) shares: Vec<Value>,
}

impl Found {
    /// The queue of a row of the table.
    pub(super) fn name_of_row(&self, row: usize) -> Option<String> {
        let rows_of = |queue: &Value| 1 + self.shares.iter().filter(|share| is_of(share, queue)).count();
        let mut rows = self.queues.iter().flat_map(|queue| std::iter::repeat_n(queue, rows_of(queue)));
        rows.nth(row)?["queue"].as_str().map(str::to_owned)
    }
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let found = found(&arguments.remote.connect()?, arguments.queue.as_deref()).await?;
    if arguments.json {
        return print_json(&json!({ "queues": found.queues, "shares": found.shares }));
    }
    let table = table(&found);
    if table.is_empty() {
        say(format_args!("no queue is known yet"));
        return Ok(());
    }
    table.lines().iter().try_for_each(|line| print(format_args!("{line}")))
}

pub(super) async fn found(client: &Client, glob: Option<&str>) -> Result<Found, Failure> {
    let is_meant = |row: &Value| glob.is_none_or(|glob| matches_glob(glob, row["queue"].as_str().unwrap_or_default()));
    let mut found = Found { queues: client.list("queues").await?, shares: client.list("shares").await? };
    if let Some(glob) = glob {
        unknown_names::refuse_glob("queue", glob, &unknown_names::known(&found.queues, "queue"))?;
    }
    found.queues.retain(is_meant);
    found.shares.retain(is_meant);
    Ok(found)
}

/// One line per queue, followed by one per share and instance type.
pub(super) fn table(found: &Found) -> Table {
    let mut table = Table::new(&[
        ("QUEUE", Align::Left),
        ("SHARE", Align::Left),
        ("TYPE", Align::Left),
        ("WAITING", Align::Right),
        ("STARTING", Align::Right),
        ("RUNNING", Align::Right),
        ("QUOTA", Align::Right),
        ("USED", Align::Right),
        ("BORROWED", Align::Right),
        ("LENT", Align::Right),
        ("OLDEST WAIT", Align::Right),
    ]);
    let of_jobs =
        |jobs: &Value| [&WAITING[..], &["scheduled", "starting"], &["running"]].map(|states| count(sum(jobs, states)));
    let several = span_several_targets(&found.queues);
    for queue in &found.queues {
        let [waiting, starting, running] = of_jobs(&queue["jobs"]);
        let policy = queue["policy"].as_str().unwrap_or_default().to_ascii_lowercase().replace('_', " ");
        let none = || NOTHING.to_owned();
        let oldest = seconds(&queue["oldest_wait_seconds"]);
        let cells = [queue_of(queue, several), format!("({policy})"), none(), waiting, starting, running];
        table.row(cells.into_iter().chain([none(), none(), none(), none(), oldest]));
        for share in found.shares.iter().filter(|share| is_of(share, queue)) {
            let [waiting, starting, running] = of_jobs(&share["jobs"]);
            let name = share["share"].as_str().filter(|share| !share.is_empty()).unwrap_or("no share");
            let unit = if share["unit"] == "NUM_INSTANCES" { "any".to_owned() } else { text(share, "unit") };
            let used = ["quota", "used", "borrowed", "lent"].map(|key| amount(&share[key]));
            let cells = [String::new(), name.to_owned(), unit, waiting, starting, running];
            let oldest = seconds(&share["oldest_wait_seconds"]);
            table.row(cells.into_iter().chain(used).chain([oldest]));
        }
    }
    table
}

/// Queues of different accounts or regions may have the same name.
fn is_of(share: &Value, queue: &Value) -> bool {
    share["queue"] == queue["queue"] && account_and_region(share) == account_and_region(queue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_stand_below_their_queue() {
        let queue = json!({
            "queue": "prod", "policy": "QUOTA_SHARE", "oldest_wait_seconds": 15_000.0,
            "jobs": { "submitted": 1, "runnable": 17, "scheduled": 1, "starting": 1, "running": 28, "failed": 3 },
        });
        let share = json!({
            "queue": "prod", "share": "audio", "unit": "ml.p5.48xlarge", "quota": 8.0, "used": 12.0, "borrowed": 4.0, "lent": 0.0,
            "jobs": { "runnable": 7, "running": 2 }, "oldest_wait_seconds": 60.0,
        });
        let unknown = json!({
            "queue": "prod", "share": "", "unit": "NUM_INSTANCES", "quota": null, "used": 1.5, "borrowed": 0.0, "lent": 0.0,
            "jobs": {}, "oldest_wait_seconds": null,
        });
        let found = Found { queues: vec![queue], shares: vec![share, unknown] };
        insta::assert_snapshot!(table(&found).lines().join("\n"), @r"
        QUEUE  SHARE          TYPE            WAITING  STARTING  RUNNING  QUOTA  USED  BORROWED  LENT  OLDEST WAIT
        prod   (quota share)  -                    18         2       28      -     -         -     -       4h 10m
               audio          ml.p5.48xlarge        7         0        2      8    12         4     0           1m
               no share       any                   -         -        -      -   1.5         0     0            -
        ");
    }
}
