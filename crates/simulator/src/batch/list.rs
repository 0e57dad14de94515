//! `ListServiceJobs` and its special rules: without status and filter it lists RUNNING jobs; with any filter except a
//! share filter, `jobStatus` is ignored.
//!
//! Jobs are listed newest first. AWS documents this for filtered lists only, so a quirk reverses other lists. A token
//! holds the number of the last returned job, and numbers never change, so pages neither repeat nor skip a job that
//! stays in the list.

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::batch::describe_jobs;
use crate::batch::page_size;
use crate::batch::page_token;
use crate::batch::queue;
use crate::batch::refused;
use crate::page_token::PageToken;
use crate::quirks::CreatedAtFilters;
use crate::quirks::ListOrder;
use crate::quirks::Quirks;
use trainspotter_core::model::JobStatus;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::Job;
use trainspotter_core::scheduler::Scheduler;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct List {
    job_queue: Option<String>,
    job_status: Option<String>,
    filters: Vec<NamedValues>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NamedValues {
    name: String,
    values: Vec<String>,
}

/// Selection of a queue's jobs.
#[derive(Debug, PartialEq)]
enum Selection {
    /// Jobs in a status.
    Status(JobStatus),
    /// Jobs in any status, of one of these shares.
    Share(Vec<String>),
    /// Jobs in one status, of one of these shares.
    ShareAndStatus(Vec<String>, JobStatus),
    /// Jobs in any status with one of these names, in lower case; a trailing `*` matches a prefix.
    Name(Vec<String>),
    /// Jobs in any status created after this time.
    CreatedAfter(Timestamp),
    /// Jobs in any status created before this time.
    CreatedBefore(Timestamp),
}

pub(super) fn list_service_jobs(world: &mut World, input: &List) -> Result<Value, ApiError> {
    let name = input.job_queue.as_deref().filter(|name| !name.is_empty());
    let queue = queue(world, name.ok_or_else(|| refused("jobQueue is required."))?)?.name.clone();
    let selection = selection(input)?;
    let size = page_size(input.max_results)?;
    let query = format!("{queue} {selection:?}");
    let token = page_token(input.next_token.as_deref())?;
    if token.as_ref().is_some_and(|token| token.key != query) {
        return Err(refused("Invalid nextToken: it belongs to another request."));
    }
    let page = token.as_ref().map_or(1, |token| token.page);
    world.faults.fail_page("ListServiceJobs", page)?;

    let last = token.and_then(|token| usize::try_from(token.order).ok());
    let past = world.listed_state();
    let scheduler = past.as_ref().unwrap_or(&world.scheduler);
    let mut jobs = selection.jobs(scheduler, &world.quirks, &queue, last, size + 1);
    let more = jobs.len() > size;
    jobs.truncate(size);
    let next_token = jobs.last().filter(|_| more).map(|last| {
        let order = i64::try_from(last.number).unwrap_or(i64::MAX);
        PageToken { page: page.saturating_add(1), order, key: query }.encode()
    });
    let mut shown = Vec::with_capacity(jobs.len());
    for job in jobs {
        shown.push((job.id.clone(), describe_jobs::summary(world, job)));
    }
    for (id, summary) in &mut shown {
        world.faults.disguise(id, summary);
    }
    let summaries: Vec<_> = shown.into_iter().map(|(_, summary)| summary).collect();
    Ok(json!({"jobSummaryList": summaries, "nextToken": next_token}))
}

fn selection(input: &List) -> Result<Selection, ApiError> {
    let status = input
        .job_status
        .as_deref()
        .map(|text| {
            let known = JobStatus::KNOWN.into_iter().find(|status| status.as_str() == text);
            known.ok_or_else(|| refused(format!("{text} is not a job status.")))
        })
        .transpose()?;
    let filter = match input.filters.as_slice() {
        [] => return Ok(Selection::Status(status.unwrap_or(JobStatus::Running))),
        [filter] => filter,
        _ => return Err(refused("Only one filter can be used at a time.")),
    };
    let values = filter.values.clone();
    let Some(first) = values.first() else {
        return Err(refused(format!("The filter {} needs a value.", filter.name)));
    };
    let time = || {
        let millis = first.parse().map_err(|_| refused(format!("{first} is not a time in milliseconds.")))?;
        Ok(Timestamp::from_millis(millis))
    };
    match filter.name.as_str() {
        "JOB_NAME" => Ok(Selection::Name(values.iter().map(|value| value.to_lowercase()).collect())),
        "AFTER_CREATED_AT" => time().map(Selection::CreatedAfter),
        "BEFORE_CREATED_AT" => time().map(Selection::CreatedBefore),
        "SHARE_IDENTIFIER" | "QUOTA_SHARE_NAME" => Ok(match status {
            Some(status) => Selection::ShareAndStatus(values, status),
            None => Selection::Share(values),
        }),
        name => Err(refused(format!(
            "{name} is not a filter: use JOB_NAME, AFTER_CREATED_AT, BEFORE_CREATED_AT, SHARE_IDENTIFIER or \
             QUOTA_SHARE_NAME."
        ))),
    }
}

impl Selection {
    /// The next `n` jobs after number `last`, or the first ones.
    fn jobs<'a>(
        &self,
        scheduler: &'a Scheduler,
        quirks: &Quirks,
        queue: &QueueName,
        last: Option<usize>,
        n: usize,
    ) -> Vec<&'a Job> {
        let older = 0..last.unwrap_or(usize::MAX);
        let all = || scheduler.jobs_of(queue, older.clone()).rev();
        let in_status = |status| scheduler.jobs_in_range(queue, status, older.clone()).rev();
        let (earliest, latest) = match quirks.created_at_filters {
            CreatedAtFilters::Exclusive => (1, -1),
            CreatedAtFilters::Inclusive => (0, 0),
        };
        match self {
            Self::Status(status) => match quirks.list_order {
                ListOrder::NewestFirst => in_status(status).take(n).collect(),
                ListOrder::OldestFirst => {
                    let newer = last.map_or(0, |last| last.saturating_add(1))..usize::MAX;
                    scheduler.jobs_in_range(queue, status, newer).take(n).collect()
                }
            },
            Self::ShareAndStatus(shares, status) => {
                in_status(status).filter(|job| in_shares(job, shares)).take(n).collect()
            }
            Self::Share(shares) => all().filter(|job| in_shares(job, shares)).take(n).collect(),
            Self::Name(names) => all().filter(|job| has_name(job, names)).take(n).collect(),
            // Numbers follow creation order, so older jobs can be skipped.
            Self::CreatedAfter(at) => all()
                .take_while(|job| job.created_at.millis() >= at.millis().saturating_add(earliest))
                .take(n)
                .collect(),
            Self::CreatedBefore(at) => {
                all().skip_while(|job| job.created_at.millis() > at.millis().saturating_add(latest)).take(n).collect()
            }
        }
    }
}

fn in_shares(job: &Job, shares: &[String]) -> bool {
    job.share.as_ref().is_some_and(|share| shares.iter().any(|wanted| wanted == share.as_str()))
}

fn has_name(job: &Job, names: &[String]) -> bool {
    let own = job.name.to_lowercase();
    names.iter().any(|wanted| match wanted.strip_suffix('*') {
        Some(prefix) => own.starts_with(prefix),
        None => own == *wanted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: Value, expected: Result<Selection, &str>) {
        let input: List = serde_json::from_value(body.clone()).unwrap();
        match (selection(&input), expected) {
            (Err(error), Err(part)) => assert!(error.message.contains(part), "{body}: {error}"),
            (selected, expected) => {
                assert_eq!(selected.map_err(|e| e.message), expected.map_err(str::to_owned), "{body}")
            }
        }
    }

    #[test]
    fn status_and_filters_combine_as_documented() {
        use JobStatus::{Runnable, Running};
        let filter = |name: &str, value: &str| json!([{"name": name, "values": [value]}]);
        check(json!({}), Ok(Selection::Status(Running)));
        check(json!({"jobStatus": "RUNNABLE"}), Ok(Selection::Status(Runnable)));
        check(json!({"jobStatus": "running"}), Err("not a job status"));
        check(
            json!({"jobStatus": "RUNNABLE", "filters": filter("JOB_NAME", "Ab*")}),
            Ok(Selection::Name(vec!["ab*".to_owned()])),
        );
        check(
            json!({"jobStatus": "RUNNABLE", "filters": filter("QUOTA_SHARE_NAME", "a")}),
            Ok(Selection::ShareAndStatus(vec!["a".to_owned()], Runnable)),
        );
        check(json!({"filters": filter("SHARE_IDENTIFIER", "a")}), Ok(Selection::Share(vec!["a".to_owned()])));
        check(
            json!({"filters": filter("AFTER_CREATED_AT", "5")}),
            Ok(Selection::CreatedAfter(Timestamp::from_millis(5))),
        );
        check(json!({"filters": filter("AFTER_CREATED_AT", "yesterday")}), Err("milliseconds"));
        check(json!({"filters": filter("job_name", "a")}), Err("not a filter"));
        check(json!({"filters": [{"name": "JOB_NAME", "values": []}]}), Err("needs a value"));
        check(
            json!({"filters": [{"name": "JOB_NAME", "values": ["a"]}, {"name": "JOB_NAME", "values": ["b"]}]}),
            Err("one filter"),
        );
    }
}
