//! AWS Batch, restJson1: the operations on queues and service jobs that a reader or a submitter of jobs needs.

mod jobs;
mod list;
mod queues;
mod snapshot;
mod submit;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::QueueName;
use crate::scheduler::QueueSetup;
use crate::simulate::World;
use crate::simulate::arn;
use crate::simulate::page_token::PageToken;
use crate::simulate::reply::ApiError;
use crate::simulate::reply::without_nulls;

pub(super) use submit::Submitted;

/// Most entries of a page, and how many there are unless asked otherwise.
const MAX_RESULTS: usize = 100;

/// The operations served; a path is `/v1/` and the name in lower case.
pub(super) const OPERATIONS: [&str; 11] = [
    "DescribeJobQueues",
    "DescribeQuotaShare",
    "DescribeSchedulingPolicies",
    "DescribeServiceEnvironments",
    "DescribeServiceJob",
    "GetJobQueueSnapshot",
    "ListQuotaShares",
    "ListSchedulingPolicies",
    "ListServiceJobs",
    "SubmitServiceJob",
    "TerminateServiceJob",
];

/// Performs an operation.
pub(super) fn answer(world: &mut World, operation: &str, body: &Value) -> Result<Value, ApiError> {
    let answer = match operation {
        "DescribeJobQueues" => queues::describe_job_queues(world, &input(body)?)?,
        "DescribeQuotaShare" => queues::describe_quota_share(world, &input(body)?)?,
        "DescribeSchedulingPolicies" => queues::describe_scheduling_policies(world, &input(body)?),
        "DescribeServiceEnvironments" => queues::describe_service_environments(world, &input(body)?)?,
        "DescribeServiceJob" => jobs::describe_service_job(world, &input(body)?)?,
        "GetJobQueueSnapshot" => snapshot::get_job_queue_snapshot(world, &input(body)?)?,
        "ListQuotaShares" => queues::list_quota_shares(world, &input(body)?)?,
        "ListSchedulingPolicies" => queues::list_scheduling_policies(world, &input(body)?)?,
        "ListServiceJobs" => list::list_service_jobs(world, &input(body)?)?,
        "SubmitServiceJob" => submit::submit_service_job(world, input(body)?)?,
        "TerminateServiceJob" => submit::terminate_service_job(world, &input(body)?)?,
        _ => return Err(refused(format!("the simulator does not serve Batch {operation}"))),
    };
    Ok(without_nulls(answer))
}

/// The one error for callers' mistakes that Batch has.
fn refused(message: impl Into<String>) -> ApiError {
    ApiError::bad("ClientException", message)
}

fn input<T: DeserializeOwned>(body: &Value) -> Result<T, ApiError> {
    T::deserialize(body).map_err(|error| refused(format!("Error executing request, Exception : {error}")))
}

fn queue<'a>(world: &'a World, name_or_arn: &str) -> Result<&'a QueueSetup, ApiError> {
    let name = QueueName::from(arn::name_in(name_or_arn));
    world
        .scheduler
        .queues()
        .find(|queue| queue.name == name)
        .ok_or_else(|| refused(format!("Job queue {name_or_arn} does not exist.")))
}

fn page_size(max_results: Option<i64>) -> Result<usize, ApiError> {
    let Some(asked) = max_results else { return Ok(MAX_RESULTS) };
    usize::try_from(asked)
        .ok()
        .filter(|size| (1..=MAX_RESULTS).contains(size))
        .ok_or_else(|| refused(format!("maxResults must be between 1 and {MAX_RESULTS}, not {asked}.")))
}

fn page_token(text: Option<&str>) -> Result<Option<PageToken>, ApiError> {
    text.map(|text| PageToken::decode(text).ok_or_else(|| refused("Invalid nextToken."))).transpose()
}

/// One page of named things, in the order of their names, and the token of the next.
fn page<T>(
    mut items: Vec<(String, T)>,
    max_results: Option<i64>,
    next_token: Option<&str>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let size = page_size(max_results)?;
    let token = page_token(next_token)?;
    items.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(token) = &token {
        items.retain(|(name, _)| *name > token.key);
    }
    let more = items.len() > size;
    items.truncate(size);
    let number = token.map_or(1, |token| token.page);
    let next = items
        .last()
        .filter(|_| more)
        .map(|(name, _)| PageToken { page: number.saturating_add(1), order: 0, key: name.clone() }.encode());
    Ok((items.into_iter().map(|(_, item)| item).collect(), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_by_name_and_survive_what_vanishes() {
        let items = |names: &str| names.chars().map(|c| (c.to_string(), c)).collect::<Vec<_>>();
        let (first, token) = page(items("dacb"), Some(2), None).unwrap();
        assert_eq!(first, ['a', 'b']);
        let (second, token) = page(items("dac"), Some(2), token.as_deref()).unwrap();
        assert_eq!(second, ['c', 'd']);
        assert_eq!(token, None);
        for bad in [0, 101, -1] {
            assert_eq!(page(items("a"), Some(bad), None).unwrap_err().code, "ClientException");
        }
    }
}
