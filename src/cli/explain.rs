//! `explain`: explains why a job waits, from a running service.

use serde_json::Value;

use crate::cli::remote::{Client, Remote};
use crate::cli::table::plain;
use crate::cli::when;
use crate::cli::{Failure, print, print_json};
use trainspotter_core::model::format;

/// Explain why a job waits: the reason, its position in the queue and the next step.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter explain 6f1c2d3e-0000-4000-8000-000000000001
  trainspotter explain 6f1c2d3e
  trainspotter explain pretrain-vision-17")]
pub(super) struct Arguments {
    /// The job's id or name, a prefix of either, or its owner. Several matches are listed.
    job: String,
    /// Print the job's API response as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let client = arguments.remote.connect()?;
    if arguments.job.trim().is_empty() {
        return Err(Failure::usage("a job is required: its id or name, a prefix of either, or its owner"));
    }
    let job = job(&client, &arguments.job).await?;
    if arguments.json {
        return print_json(&job);
    }
    lines_of(&job).iter().try_for_each(|line| print(format_args!("{}", plain(line))))
}

async fn job(client: &Client, words: &str) -> Result<Value, Failure> {
    let job = client.get(&["jobs", words], &[]).await?;
    if job["id"].as_str().is_none() {
        return Err(client.is_something_else("the response is not a job"));
    }
    Ok(job)
}

/// The explanation of a job, in lines.
pub(super) async fn story(client: &Client, id: &str) -> Result<Vec<String>, Failure> {
    Ok(lines_of(&job(client, id).await?).iter().map(|line| plain(line)).collect())
}

/// The explanation of a job, in lines.
fn lines_of(job: &Value) -> Vec<String> {
    let text = |key: &str| job[key].as_str().unwrap_or("?").to_owned();
    let share = job["share"].as_str().map_or_else(String::new, |share| format!(", share {share}"));
    let mut lines = vec![format!("{} ({}) on {}{share}: {}", text("name"), text("id"), text("queue"), text("state"))];
    if let Some(reason) = job["status_reason"].as_str() {
        lines.push(format!("  AWS reports: {reason}"));
    }
    let story = job["story"].as_array().filter(|story| !story.is_empty()).or_else(|| job["why"]["story"].as_array());
    match story {
        Some(story) => lines.extend(story.iter().filter_map(Value::as_str).map(|line| format!("  {line}"))),
        None => lines.push("  It does not wait.".to_owned()),
    }
    // The next step comes last.
    let next = lines.iter().position(|line| line.starts_with("  Next: ")).unwrap_or(lines.len());
    let past = job["spans"].as_array().into_iter().flatten().filter_map(wait_of);
    let before: Vec<String> = past.chain(left(job)).collect();
    lines.splice(next..next, before);
    if job["start"].is_object() {
        lines.push("When it starts:".to_owned());
        lines.extend(when::lines_of(&job["start"]).into_iter().map(|line| format!("  {line}")));
    }
    lines
}

/// Remaining failures and preemptions; `None` for an ended job.
fn left(job: &Value) -> Option<String> {
    let is_over = ["succeeded", "failed"].contains(&job["state"].as_str().unwrap_or_default());
    let left = |key: &str, one: &str, more: &str| {
        let left = job[key].as_u64().filter(|_| !is_over)?;
        Some(match left {
            0 => format!("no {more}"),
            1 => format!("1 {one}"),
            left => format!("{left} {more}"),
        })
    };
    let left = [left("retries_left", "retry", "retries"), left("preemptions_left", "preemption", "preemptions")];
    let left: Vec<String> = left.into_iter().flatten().collect();
    (!left.is_empty()).then(|| format!("  It has {} left.", left.join(" and ")))
}

/// A completed wait by reason, longest first.
fn wait_of(span: &Value) -> Option<String> {
    let waited = span["waited_seconds"].as_object()?;
    let mut parts: Vec<(&str, f64)> =
        waited.iter().filter_map(|(reason, seconds)| Some((reason.as_str(), seconds.as_f64()?))).collect();
    parts.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let parts: Vec<String> = parts
        .iter()
        .map(|(reason, seconds)| format!("{} {}", format::duration(*seconds), reason.replace('_', " ")))
        .collect();
    let attempt = span["attempt"].as_u64()?;
    (!parts.is_empty()).then(|| format!("  Waited before attempt {attempt}: {}.", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_waiting_job_has_a_story_and_another_has_none() {
        let job = |why| json!({"id": "j", "name": "n", "queue": "q", "share": "s", "state": "runnable", "why": why});
        assert_eq!(
            lines_of(&job(json!({"story": ["One.", "Two."]}))),
            ["n (j) on q, share s: runnable", "  One.", "  Two."]
        );
        assert_eq!(lines_of(&job(Value::Null)).last().unwrap(), "  It does not wait.");
        let mut ended = job(Value::Null);
        ended["story"] = json!(["It failed.", "Next: read the log."]);
        assert_eq!(lines_of(&ended)[1..], ["  It failed.", "  Next: read the log."]);
        let mut limited = job(Value::Null);
        (limited["retries_left"], limited["preemptions_left"]) = (json!(1), json!(0));
        assert_eq!(lines_of(&limited).last().unwrap(), "  It has 1 retry and no preemptions left.");
        limited["story"] = json!(["It waits.", "Next: wait."]);
        let lines = lines_of(&limited);
        assert_eq!(lines[1..], ["  It waits.", "  It has 1 retry and no preemptions left.", "  Next: wait."]);
        limited["state"] = json!("failed");
        assert_eq!(lines_of(&limited).len(), 3, "what has ended has nothing left");
        let mut waited = job(Value::Null);
        waited["spans"] = json!([
            { "phase": "waiting", "attempt": 1, "waited_seconds": { "behind": 60.0, "share_at_limit": 5400.0 } },
            { "phase": "running", "attempt": 1 },
        ]);
        let last = lines_of(&waited).pop().unwrap();
        assert_eq!(last, "  Waited before attempt 1: 1h 30m share at limit, 1m behind.");
    }
}
