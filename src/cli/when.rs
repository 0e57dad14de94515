//! `when`: estimates when a job that is not submitted yet would start, from a running service.

use serde_json::Value;

use crate::cli::remote::Remote;
use crate::cli::table::plain;
use crate::cli::{Failure, print, print_json};

/// Estimate when a job submitted now would start, as an interval, with the basis of the estimate.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter when --queue research --share speech --instances 4 --type ml.p5.48xlarge --priority 10
  trainspotter when --queue nightly --type ml.g5.12xlarge --json
  trainspotter when --queue research --share vision --type ml.p5.48xlarge --name pretrain --owner ada

For a job that is already waiting, use `trainspotter explain JOB`.")]
pub(super) struct Arguments {
    /// Job queue.
    #[arg(long)]
    queue: String,
    /// Quota share or share identifier, for queues with shares.
    #[arg(long)]
    share: Option<String>,
    /// Number of instances.
    #[arg(long, default_value = "1", allow_negative_numbers = true)]
    instances: String,
    /// Instance type.
    #[arg(long = "type", value_name = "TYPE")]
    unit: String,
    /// Priority; higher priorities start first within a share.
    #[arg(long, default_value = "0", allow_negative_numbers = true)]
    priority: String,
    /// Job name; improves the estimate if similar names have run before.
    #[arg(long)]
    name: Option<String>,
    /// Job owner; improves the estimate if the owner's jobs have run before.
    #[arg(long)]
    owner: Option<String>,
    /// Print the API response as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { queue, share, instances, unit, priority, name, owner, json, remote } = arguments;
    let client = remote.connect()?;
    let mut query = vec![
        ("queue", queue.as_str()),
        ("instances", instances.as_str()),
        ("type", unit.as_str()),
        ("priority", priority.as_str()),
    ];
    let given = [("share", share), ("name", name), ("owner", owner)];
    query.extend(given.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?))));
    let start = client.get(&["when"], &query).await.map_err(Failure::if_not_found_usage)?;
    if start["outlook"].as_str().is_none() {
        return Err(client.is_something_else("the response has no estimate"));
    }
    if *json {
        return print_json(&start);
    }
    lines_of(&start).iter().try_for_each(|line| print(format_args!("{}", plain(line))))
}

/// The estimate, in lines.
pub(super) fn lines_of(start: &Value) -> Vec<String> {
    let mut lines: Vec<String> = start["sentence"].as_str().map(str::to_owned).into_iter().collect();
    let times = [("P10", "p10"), ("P50", "p50"), ("P90", "p90")];
    let times = times.map(|(name, key)| Some(format!("{name} {}", start[key].as_str()?)));
    let times: Vec<String> = times.into_iter().flatten().collect();
    if !times.is_empty() {
        lines.push(format!("{}.", times.join(", ")));
    }
    lines.extend(["rests_on", "would_change"].into_iter().filter_map(|key| start[key].as_str()).map(str::to_owned));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_estimate_shows_its_basis_and_a_missing_one_its_reason() {
        let start = json!({"outlook": "expected", "sentence": "Soon.", "p10": "a", "p50": "b", "p90": null, "rests_on": "R.", "would_change": "C."});
        assert_eq!(lines_of(&start), ["Soon.", "P10 a, P50 b.", "R.", "C."]);
        let none = json!({"outlook": "never", "sentence": "It never starts.", "p10": null, "rests_on": null});
        assert_eq!(lines_of(&none), ["It never starts."]);
    }
}
