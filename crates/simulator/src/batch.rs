//! AWS Batch, restJson1: all operations on service environments, scheduling policies, job queues of training jobs,
//! quota shares and service jobs.

mod control_plane_state;
mod describe_jobs;
mod environments;
mod input_constraints;
mod list;
pub(crate) mod payload;
mod policies;
mod queues;
mod quota_shares;
mod snapshot;
mod submit;
mod tags;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::World;
use crate::api_error::ApiError;
use crate::api_error::without_nulls;
use crate::arn;
use crate::cbor;
use crate::page_token::PageToken;
use trainspotter_core::model::QueueName;
use trainspotter_core::scheduler::QueueSetup;

pub(super) use control_plane_state::Resources;
pub(super) use submit::Submitted;

/// Maximum and default entries per page.
const MAX_RESULTS: usize = 100;
/// Maximum job queues, and service environments, per account: "50 job queues; 50 service environments".
const MAX_RESOURCES: usize = 50;
/// Maximum capacity limits of an environment or a share.
const MAX_LIMITS: usize = 5;
/// Error message for a name that is taken.
const EXISTS: &str = "Object already exists";

/// The operation's name as AWS spells it, from a path in lower case.
pub(super) fn operation(in_path: &str) -> Option<&'static str> {
    input_constraints::SERVED.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(in_path))
}

/// Performs an operation.
pub(super) fn answer(world: &mut World, operation: &str, body: &Value) -> Result<Value, ApiError> {
    let Some((_, shape)) = input_constraints::SERVED.iter().find(|(name, _)| *name == operation) else {
        return Err(refused(format!("the simulator does not serve Batch {operation}")));
    };
    shape
        .check(cbor::output(body)?)
        .map_err(|error| refused(format!("Error executing request, Exception : {}", error.message)))?;
    control_plane_state::settle(world);
    let answer = match operation {
        "CreateJobQueue" => queues::create(world, input(body)?)?,
        "CreateQuotaShare" => quota_shares::create(world, input(body)?)?,
        "CreateSchedulingPolicy" => policies::create(world, input(body)?)?,
        "CreateServiceEnvironment" => environments::create(world, input(body)?)?,
        "DeleteJobQueue" => queues::delete(world, &input(body)?)?,
        "DeleteQuotaShare" => quota_shares::delete(world, &input(body)?)?,
        "DeleteSchedulingPolicy" => policies::delete(world, &input(body)?)?,
        "DeleteServiceEnvironment" => environments::delete(world, &input(body)?)?,
        "DescribeJobQueues" => queues::describe(world, &input(body)?)?,
        "DescribeQuotaShare" => quota_shares::describe(world, &input(body)?)?,
        "DescribeSchedulingPolicies" => policies::describe(world, &input(body)?),
        "DescribeServiceEnvironments" => environments::describe(world, &input(body)?)?,
        "DescribeServiceJob" => describe_jobs::describe_service_job(world, &input(body)?)?,
        "GetJobQueueSnapshot" => snapshot::get_job_queue_snapshot(world, &input(body)?)?,
        "ListQuotaShares" => quota_shares::list(world, &input(body)?)?,
        "ListSchedulingPolicies" => policies::list(world, &input(body)?)?,
        "ListServiceJobs" => list::list_service_jobs(world, &input(body)?)?,
        "ListTagsForResource" => tags::list(world, &input(body)?)?,
        "SubmitServiceJob" => submit::submit_service_job(world, input(body)?)?,
        "TagResource" => tags::tag(world, input(body)?)?,
        "TerminateServiceJob" => submit::terminate_service_job(world, &input(body)?)?,
        "TerminateServiceJobs" => submit::terminate_service_jobs(world, &input(body)?),
        "UntagResource" => tags::untag(world, &input(body)?)?,
        "UpdateJobQueue" => queues::update(world, input(body)?)?,
        "UpdateQuotaShare" => quota_shares::update(world, &input(body)?)?,
        "UpdateSchedulingPolicy" => policies::update(world, input(body)?)?,
        "UpdateServiceEnvironment" => environments::update(world, &input(body)?)?,
        "UpdateServiceJob" => submit::update_service_job(world, &input(body)?)?,
        _ => return Err(refused(format!("the simulator does not serve Batch {operation}"))),
    };
    Ok(without_nulls(answer))
}

/// Input of the describe operations.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Describe {
    job_queues: Vec<String>,
    service_environments: Vec<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

/// Names from a list of names or ARNs of this kind.
fn names<'a>(kind: &str, asked: &'a [String]) -> Vec<&'a str> {
    asked.iter().map(|name| arn::name_of(kind, name)).collect()
}

fn state(enabled: bool) -> &'static str {
    if enabled { "ENABLED" } else { "DISABLED" }
}

/// Whether the requested state is ENABLED, with a default.
fn enabled(asked: Option<&str>, otherwise: bool) -> bool {
    asked.map_or(otherwise, |state| state == "ENABLED")
}

/// Batch's only client error.
fn refused(message: impl Into<String>) -> ApiError {
    ApiError::bad("ClientException", message)
}

fn input<T: DeserializeOwned>(body: &Value) -> Result<T, ApiError> {
    T::deserialize(body).map_err(|error| refused(format!("Error executing request, Exception : {error}")))
}

fn queue<'a>(world: &'a World, name_or_arn: &str) -> Result<&'a QueueSetup, ApiError> {
    world
        .scheduler
        .queue(&QueueName::from(arn::name_of("job-queue", name_or_arn)))
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

/// One page of named resources, ordered by name, and the token of the next page. `list` identifies the list: a token
/// is only valid for its own.
fn page<T>(
    list: &str,
    mut items: Vec<(String, T)>,
    max_results: Option<i64>,
    next_token: Option<&str>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let size = page_size(max_results)?;
    let token = page_token(next_token)?;
    items.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(token) = &token {
        let (of, last) = token.key.rsplit_once(' ').unwrap_or_default();
        if of != list {
            return Err(refused("Invalid nextToken: it belongs to another request."));
        }
        items.retain(|(name, _)| name.as_str() > last);
    }
    let more = items.len() > size;
    items.truncate(size);
    let number = token.map_or(1, |token| token.page);
    let next = items.last().filter(|_| more).map(|(name, _)| {
        PageToken { page: number.saturating_add(1), order: 0, key: format!("{list} {name}") }.encode()
    });
    Ok((items.into_iter().map(|(_, item)| item).collect(), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_by_name_and_survive_what_vanishes() {
        let items = |names: &str| names.chars().map(|c| (c.to_string(), c)).collect::<Vec<_>>();
        let (first, token) = page("names", items("dacb"), Some(2), None).unwrap();
        assert_eq!(first, ['a', 'b']);
        assert!(page("others", items("dac"), Some(2), token.as_deref()).is_err(), "a token of another list");
        let (second, token) = page("names", items("dac"), Some(2), token.as_deref()).unwrap();
        assert_eq!(second, ['c', 'd']);
        assert_eq!(token, None);
        for bad in [0, 101, -1] {
            assert_eq!(page("names", items("a"), Some(bad), None).unwrap_err().code, "ClientException");
        }
    }
}
