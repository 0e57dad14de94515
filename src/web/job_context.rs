//! The context of a job: queue position, holders of its capacity, waits of similar jobs, hosts, attempts and links.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::Pages;
use crate::web::error::{ApiError, ErrorBody};
use crate::web::jobs::{JobQuery, lower_case};
use crate::web::place_filter::PlaceFilter;
use crate::web::query::shown;
use crate::web::watched_targets::ask_each;
use trainspotter_core::metrics::{Alike, AttemptEnd, HostFigures, JobContext, Neighbour};
use trainspotter_core::model::{InstanceType, JobId, JobStatus, ShareName, Timestamp, TrainingJobName};

/// The context of a job.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ContextBody {
    /// Waiting jobs ahead of it, the next one first: at most 20.
    ahead: Vec<NeighbourRow>,
    /// Jobs in flight that hold the capacity it waits for, largest first: at most 20.
    holders: Vec<NeighbourRow>,
    /// Total number of such jobs.
    holders_in_all: usize,
    /// The instance type they hold; null if the job does not wait.
    #[schema(value_type = Option<String>)]
    held_unit: Option<InstanceType>,
    /// First waits of jobs in its share with the same demand; null if fewer than three were dispatched.
    alike: Option<AlikeBody>,
    /// Its hosts with recent reports.
    hosts: Vec<HostRow>,
    /// Its attempts as listed by AWS, oldest first.
    attempts: Vec<AttemptRow>,
    /// Why it failed; null if it did not.
    failure: Option<FailureBody>,
    links: Links,
}

/// A job ahead of another, or holding its capacity.
#[derive(Debug, Serialize, ToSchema)]
struct NeighbourRow {
    #[schema(value_type = String)]
    id: JobId,
    name: String,
    #[schema(value_type = Option<String>)]
    share: Option<ShareName>,
    owner: Option<String>,
    /// State in AWS Batch, in lower case.
    #[serde(serialize_with = "lower_case")]
    #[schema(value_type = String)]
    state: JobStatus,
    /// Deprecated name of `state`, removed in the release after the next.
    #[serde(serialize_with = "lower_case")]
    #[schema(value_type = String, deprecated)]
    status: JobStatus,
    /// Since when it has been waiting, or holding its instances.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Instances of `held_unit`; null for waiting jobs.
    quantity: Option<f64>,
    /// GPUs it requests; null if unknown.
    gpus: Option<f64>,
}

/// First waits of similar jobs.
#[derive(Debug, Serialize, ToSchema)]
struct AlikeBody {
    /// Number of jobs.
    jobs: usize,
    p50_seconds: f64,
    p90_seconds: f64,
    max_seconds: f64,
    /// Submission time of the earliest.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

/// A host of a running job.
#[derive(Debug, Serialize, ToSchema)]
struct HostRow {
    /// `<training job>/algo-<n>`.
    host: String,
    gpus: f64,
    /// GPU utilisation, from 0 to 1.
    utilisation: f64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// An attempt.
#[derive(Debug, Serialize, ToSchema)]
struct AttemptRow {
    /// When it started to run; null if it never did.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    stopped_at: Option<Timestamp>,
    /// Why it ended, as reported by AWS.
    status_reason: Option<String>,
    #[schema(value_type = Option<String>)]
    training_job: Option<TrainingJobName>,
    /// Whether it was preempted.
    preempted: bool,
}

/// Failure of a job.
#[derive(Debug, Serialize, ToSchema)]
struct FailureBody {
    /// As in `/api/v1/failures`.
    #[schema(value_type = String)]
    category: &'static str,
    #[schema(value_type = String)]
    words: &'static str,
    /// Recommended action.
    #[schema(value_type = String)]
    next_step: &'static str,
}

/// Links to a job in the AWS console; null if the queue's region is unknown, or nothing exists yet.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Links {
    /// AWS Batch console.
    batch: Option<String>,
    /// Latest training job in the SageMaker console.
    training_job: Option<String>,
    /// Log streams of that training job in CloudWatch.
    logs: Option<String>,
}

/// The context of a job, by its id: jobs ahead of it, holders of the capacity it needs, and waits of similar jobs.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/context", tag = "jobs",
    params(("id" = String, Path, description = "`jobId`")),
    responses((status = 200, body = ContextBody), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn context(
    State(pages): State<Pages>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ContextBody>, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::bad_request("the job id is not UTF-8 text"))?;
    let targets = pages.watched(&PlaceFilter::default());
    let answers = ask_each(targets, |reply| JobQuery::Context { id: id.as_str().into(), reply }).await?;
    let Some(around) = answers.given.into_iter().find_map(|(_, found)| found) else {
        return Err(ApiError::not_found(format!(
            "no job has the id {}; ended jobs are deleted after at most 7 days",
            shown(&id)
        )));
    };
    let JobWithContext { queue_arn, training_job, context } = *around;
    Ok(Json(ContextBody { links: Links::of(&id, queue_arn.as_deref(), training_job.as_ref()), ..context.into() }))
}

/// A job with its context.
#[derive(Clone, Debug, Default)]
pub struct JobWithContext {
    /// ARN of its queue, if known.
    pub queue_arn: Option<String>,
    /// Latest training job.
    pub training_job: Option<TrainingJobName>,
    /// The context.
    pub context: JobContext,
}

impl Links {
    fn of(id: &str, queue_arn: Option<&str>, training_job: Option<&TrainingJobName>) -> Self {
        let of_queue = || {
            let mut parts = queue_arn?.split(':').skip(1);
            Some((parts.next()?, parts.nth(1).filter(|region| !region.is_empty())?))
        };
        let Some((partition, region)) = of_queue() else { return Self::default() };
        let domain = match partition {
            "aws-cn" => "console.amazonaws.cn".to_owned(),
            "aws-us-gov" => "console.amazonaws-us-gov.com".to_owned(),
            _ => format!("{region}.console.aws.amazon.com"),
        };
        let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|of| of.is_ascii_alphanumeric() || of == b'-');
        let name = training_job.map(TrainingJobName::as_str).filter(|name| is_plain(name));
        let to = |service: &str, rest: String| format!("https://{domain}/{service}/home?region={region}#{rest}");
        let streams = |name: &str| {
            // The console encodes the part after `#` twice, with `$` for `%`.
            format!(
                "logsV2:log-groups/log-group/$252Faws$252Fsagemaker$252FTrainingJobs$3FlogStreamNameFilter$3D{name}"
            )
        };
        Self {
            batch: is_plain(id).then(|| to("batch", format!("jobs/detail/{id}"))),
            training_job: name.map(|name| to("sagemaker", format!("/jobs/{name}"))),
            logs: name.map(|name| to("cloudwatch", streams(name))),
        }
    }
}

impl From<JobContext> for ContextBody {
    fn from(context: JobContext) -> Self {
        let JobContext { ahead, holders, held_unit, holders_in_all, alike, hosts, attempts, failure } = context;
        Self {
            ahead: ahead.into_iter().map(NeighbourRow::from).collect(),
            holders: holders.into_iter().map(NeighbourRow::from).collect(),
            holders_in_all,
            held_unit,
            alike: alike.map(|Alike { jobs, p50, p90, max, since }| AlikeBody {
                jobs,
                p50_seconds: p50,
                p90_seconds: p90,
                max_seconds: max,
                since,
            }),
            hosts: hosts
                .into_iter()
                .map(|HostFigures { host, gpus, utilisation, at }| HostRow { host, gpus, utilisation, at })
                .collect(),
            attempts: attempts.into_iter().map(AttemptRow::from).collect(),
            failure: failure.map(|(category, words, next_step)| FailureBody {
                category: category.as_str(),
                words,
                next_step,
            }),
            links: Links::default(),
        }
    }
}

impl From<Neighbour> for NeighbourRow {
    fn from(neighbour: Neighbour) -> Self {
        let Neighbour { id, name, share, owner, status, since, quantity, gpus } = neighbour;
        Self { id, name, share, owner, state: status.clone(), status, since, quantity, gpus }
    }
}

impl From<AttemptEnd> for AttemptRow {
    fn from(attempt: AttemptEnd) -> Self {
        let AttemptEnd { started_at, stopped_at, status_reason, training_job, preempted } = attempt;
        Self { started_at, stopped_at, status_reason, training_job, preempted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_console_of_the_queues_region_and_nowhere_by_odd_names() {
        let name = TrainingJobName::from("AWSBatch-pretrain-1");
        let of = |id: &str, arn: Option<&str>, name: Option<&TrainingJobName>| Links::of(id, arn, name);
        let arn = "arn:aws:batch:eu-west-1:123456789012:job-queue/prod-a";
        let links = of("0f1e-2d", Some(arn), Some(&name));
        let console = "https://eu-west-1.console.aws.amazon.com";
        assert_eq!(links.batch.unwrap(), format!("{console}/batch/home?region=eu-west-1#jobs/detail/0f1e-2d"));
        assert_eq!(
            links.training_job.unwrap(),
            format!("{console}/sagemaker/home?region=eu-west-1#/jobs/AWSBatch-pretrain-1")
        );
        assert!(links.logs.unwrap().ends_with("TrainingJobs$3FlogStreamNameFilter$3DAWSBatch-pretrain-1"));
        let china = of("0f1e", Some("arn:aws-cn:batch:cn-north-1:1:job-queue/q"), None);
        assert!(china.batch.unwrap().starts_with("https://console.amazonaws.cn/batch/") && china.logs.is_none());
        assert!(of("a#b", Some(arn), Some(&TrainingJobName::from("a\"b"))).batch.is_none());
        assert!(of("0f1e", None, Some(&name)).logs.is_none());
        assert!(of("0f1e", Some("queue"), Some(&name)).batch.is_none());
    }
}
