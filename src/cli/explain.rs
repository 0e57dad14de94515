//! `explain`: asks a running service why a job waits, and prints the explanation.

use std::time::Duration;

use serde_json::Value;

use crate::cli::{Failure, print};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Explain why a job waits: the numbers, its place in the order and what to do next.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  trainspotter explain 6f1c2d3e-0000-4000-8000-000000000001
  trainspotter explain 6f1c2d3e
  trainspotter explain pretrain-vision-17")]
pub(super) struct Arguments {
    /// The job's id, its name, how one of them begins, or its owner; where several jobs match, they are listed.
    job: String,
    /// The running service to ask.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    url: String,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(Failure::failed)?;
    let refused = |error| Failure::failed(format!("{} does not answer: {error}", arguments.url));
    let mut url = reqwest::Url::parse(&arguments.url).map_err(|error| Failure::usage(format!("--url: {error}")))?;
    url.path_segments_mut()
        .map_err(|()| Failure::usage("--url: not an address that a path can be added to"))?
        .pop_if_empty()
        .extend(["api", "v1", "jobs", arguments.job.as_str()]);
    let answer = client.get(url).send().await.map_err(refused)?;
    let found = answer.status().is_success();
    let text = answer.text().await.map_err(refused)?;
    let body: Value = serde_json::from_str(&text).map_err(|_| Failure::failed(format!("not an answer: {text}")))?;
    if !found {
        return Err(Failure::failed(refusal(&body).unwrap_or(text)));
    }
    lines_of(&body).iter().try_for_each(|line| print(format_args!("{line}")))
}

/// Why there is no story: in a list where several jobs are meant.
fn refusal(body: &Value) -> Option<String> {
    let message = body["error"]["message"].as_str()?;
    let Some(jobs) = body["jobs"].as_array() else { return Some(message.to_owned()) };
    let text = |job: &Value, key: &str| job[key].as_str().unwrap_or("-").to_owned();
    let line = |job: &Value| {
        let columns = ["id", "name", "status", "queue", "owner", "created_at"];
        columns.map(|key| text(job, key)).join("  ")
    };
    // The list in the message is for those who read the API as it is.
    let title = message.split(": ").next().unwrap_or(message);
    Some(std::iter::once(format!("{title}:")).chain(jobs.iter().map(line)).collect::<Vec<_>>().join("\n  "))
}

/// The story of a job, a line each.
fn lines_of(job: &Value) -> Vec<String> {
    let text = |key: &str| job[key].as_str().unwrap_or("?").to_owned();
    let share = job["share"].as_str().map_or_else(String::new, |share| format!(", share {share}"));
    let mut lines = vec![format!("{} ({}) on {}{share}: {}", text("name"), text("id"), text("queue"), text("status"))];
    if let Some(said) = job["status_reason"].as_str() {
        lines.push(format!("  AWS says: {said}"));
    }
    let story = job["story"].as_array().filter(|story| !story.is_empty()).or_else(|| job["why"]["story"].as_array());
    match story {
        Some(story) => lines.extend(story.iter().filter_map(Value::as_str).map(|line| format!("  {line}"))),
        None => lines.push("  It does not wait.".to_owned()),
    }
    let left = |key: &str, one: &str, more: &str| {
        let left = job[key].as_u64()?;
        Some(format!("{left} {}", if left == 1 { one } else { more }))
    };
    let left = [left("retries_left", "retry", "retries"), left("preemptions_left", "preemption", "preemptions")];
    let left: Vec<String> = left.into_iter().flatten().collect();
    if !left.is_empty() {
        lines.push(format!("  Left: {}.", left.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn several_jobs_are_listed_and_one_refusal_is_told() {
        let jobs = [
            json!({"id": "a1", "name": "train", "status": "runnable", "queue": "q", "owner": null, "created_at": "t"}),
        ];
        let body = json!({"error": {"code": "ambiguous", "message": "2 jobs match \"a\"; give the id of one: a1"}, "jobs": jobs});
        let lines_of = refusal(&body).unwrap();
        assert_eq!(lines_of, "2 jobs match \"a\"; give the id of one:\n  a1  train  runnable  q  -  t");
        assert_eq!(refusal(&json!({"error": {"message": "none"}})).unwrap(), "none");
    }

    #[test]
    fn a_waiting_job_has_a_story_and_another_has_none() {
        let job = |why| json!({"id": "j", "name": "n", "queue": "q", "share": "s", "status": "runnable", "why": why});
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
        assert_eq!(lines_of(&limited).last().unwrap(), "  Left: 1 retry, 0 preemptions.");
    }
}
