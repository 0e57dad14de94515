//! Jobs: a page of the list, and one job. Both send a [`JobQuery`] to the owner of the ledger; other routes send their own.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Path;
use axum::extract::RawQuery;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use serde::Serialize;
use serde::Serializer;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use utoipa::IntoParams;
use utoipa::ToSchema;

use crate::web::Pages;
use crate::web::cursor::Cursor;
use crate::web::error::ApiError;
use crate::web::error::ErrorBody;
use crate::web::job_context::JobWithContext;
use crate::web::merged_jobs;
use crate::web::place_filter::PlaceFilter;
use crate::web::query::{given_twice, pairs, shown, unknown_parameter};
use crate::web::start_estimate::StartView;
use crate::web::wait_reason::WhyView;
use crate::web::watched_targets::ask_each;
use trainspotter_core::forecast::{Hypothetical, InitialState, Outlook, Starts};
use trainspotter_core::jobs::Filter;
use trainspotter_core::metrics::Reason;
use trainspotter_core::model::InstanceType;
use trainspotter_core::model::JobId;
use trainspotter_core::model::JobStatus;
use trainspotter_core::model::Prices;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::ShareName;
use trainspotter_core::model::Timestamp;
use trainspotter_core::model::TrainingJobName;
use trainspotter_core::rules::{Alert, PastValues, Rule};

/// Default page size.
const DEFAULT_LIMIT: usize = 100;

/// Maximum page size: queries are answered between ticks and must not delay them.
const MAX_LIMIT: usize = 500;

/// Maximum jobs listed when a text is ambiguous.
pub const MAX_JOB_MATCHES: usize = 20;

/// A query to the owner of the ledger. If `reply` is dropped the response is 503: try again later.
#[derive(Debug)]
pub enum JobQuery {
    /// Jobs that match all filters, oldest or newest first (by [`Cursor`]).
    List {
        /// Filters.
        filter: Filter,
        /// Only waiting jobs with this reason.
        reason: Option<Reason>,
        /// Sort by newest first.
        newest_first: bool,
        /// Only jobs after this position.
        after: Option<Cursor>,
        /// Maximum number: 1 to 500.
        limit: usize,
        /// Reply channel.
        reply: oneshot::Sender<JobPage>,
    },
    /// Waiting jobs that match all filters, longest wait first.
    WaitingLongest {
        /// Filters.
        filter: Filter,
        /// Only jobs with this reason.
        reason: Option<Reason>,
        /// Maximum number: 1 to 500.
        limit: usize,
        /// Reply channel.
        reply: oneshot::Sender<JobPage>,
    },
    /// One job, with its spans.
    One {
        /// Id, name, prefix of either, or owner.
        words: String,
        /// Reply channel.
        reply: oneshot::Sender<JobMatches>,
    },
    /// The context of a job; `None` if the job is unknown.
    Context {
        /// Its id.
        id: JobId,
        /// Reply channel.
        reply: oneshot::Sender<Option<Box<JobWithContext>>>,
    },
    /// The initial state of a forecast with a hypothetical job at the end of the queue. `None` while the state is unknown; an
    /// error says which queue or share does not exist.
    Present {
        /// The hypothetical job.
        asked: Box<Hypothetical>,
        /// Reply channel.
        reply: oneshot::Sender<Result<Option<Box<InitialState>>, String>>,
    },
    /// Estimated start of the last job of such a state.
    Outlook {
        /// The state.
        initial: Box<InitialState>,
        /// Simulated start times of its waiting jobs, by run.
        starts: Box<Starts>,
        /// Reply channel.
        reply: oneshot::Sender<Outlook>,
    },
    /// The recorded past for a replay, by name, and the prices per instance-hour.
    Past {
        /// Reply channel.
        reply: oneshot::Sender<(BTreeMap<String, String>, Prices)>,
    },
    /// Rules in effect.
    Rules {
        /// Reply channel.
        reply: oneshot::Sender<Vec<Rule>>,
    },
    /// A built-in limit of the web module evicted or left out this many items.
    LimitHit {
        /// Name of the limit.
        limit: &'static str,
        /// Items.
        times: u64,
    },
    /// How to compute an alert's value from earlier frames; `None` if its rule is gone.
    PastValues {
        /// The alert.
        alert: Box<Alert>,
        /// Reply channel.
        reply: oneshot::Sender<Option<PastValues>>,
    },
}

/// The jobs that match a text.
#[derive(Clone, Debug)]
pub enum JobMatches {
    /// No known job.
    None,
    /// One job.
    One(Box<JobView>),
    /// More than one: at most [`MAX_JOB_MATCHES`] of them, and whether there are more.
    Several(Vec<JobView>, bool),
}

/// A page of jobs, oldest first.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Value of `after` for the next page; null at the end. A page may have fewer jobs than its limit, or none,
    /// although more follow: at most 10,000 jobs are examined per page.
    #[schema(value_type = Option<String>)]
    pub next: Option<Cursor>,
    /// Number of matching jobs that are in no page yet: AWS lists them as ended, they were not seen before, and they
    /// appear once AWS has described them.
    pub undescribed: usize,
    /// Targets that did not answer, so that their jobs are missing; omitted if all did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// A job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobView {
    /// `jobId`.
    #[schema(value_type = String)]
    pub id: JobId,
    /// `jobName`; not unique.
    pub name: String,
    /// AWS account; null while unknown.
    pub account: Option<String>,
    /// The AWS region.
    pub region: Option<String>,
    /// The queue.
    #[schema(value_type = String)]
    pub queue: QueueName,
    /// The share; null without one.
    #[schema(value_type = Option<String>)]
    pub share: Option<ShareName>,
    /// State in AWS Batch, in lower case, such as `runnable`.
    #[serde(serialize_with = "lower_case")]
    #[schema(value_type = String)]
    pub state: JobStatus,
    /// Deprecated name of `state`, removed in the release after the next.
    #[serde(serialize_with = "lower_case")]
    #[schema(value_type = String, deprecated)]
    pub status: JobStatus,
    /// Status reason reported by AWS.
    pub status_reason: Option<String>,
    /// Higher goes first; null if unknown.
    pub priority: Option<i32>,
    /// When the job was submitted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the job was dispatched to SageMaker.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub scheduled_at: Option<Timestamp>,
    /// When the job started to run.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When the job ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub stopped_at: Option<Timestamp>,
    /// First wait: until now, or until the job was dispatched. Null if unknown: for a job that was first listed after it
    /// had been dispatched, until it is described.
    pub wait_seconds: Option<f64>,
    /// Duration of the current uninterrupted wait; null if the job does not wait.
    pub waiting_seconds: Option<f64>,
    /// Number of attempts so far; null if unknown, as for `wait_seconds`.
    pub attempts: Option<u32>,
    /// Number of preempted attempts; null before the job was described.
    pub preemptions: Option<u32>,
    /// Number of further attempts that may fail before the job does; null if unknown.
    pub retries_left: Option<u32>,
    /// Number of further preemptions the job survives; null if unlimited or unknown.
    pub preemptions_left: Option<u32>,
    /// Maximum duration of an attempt in seconds; null if unknown.
    pub attempt_timeout_seconds: Option<f64>,
    /// When a time limit of the queue will end the job if its reason to wait does not change; null without one, and
    /// in lists.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub time_limit_at: Option<Timestamp>,
    /// GPUs the job needs in total; null if an instance type is unknown.
    pub gpus: Option<f64>,
    /// Demand by instance type.
    pub demand: Vec<Demand>,
    /// Owner, from its tags.
    pub owner: Option<String>,
    /// Its other tags that are listed in `tags` of the configuration.
    pub tags: BTreeMap<String, String>,
    /// Training job of the latest attempt.
    #[schema(value_type = Option<String>)]
    pub training_job: Option<TrainingJobName>,
    /// Explanation in lines of one or two sentences: why it waits, how long it waited and ran, why it failed, what
    /// to do. Empty in lists.
    pub story: Vec<String>,
    /// Why it waits; null if it does not. Without its queue position in lists.
    pub why: Option<WhyView>,
    /// Estimated start; null if it does not wait, and in lists.
    pub start: Option<StartView>,
    /// Start deadline from its tag `start-by`; null without one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub start_by: Option<Timestamp>,
    /// Timeline, oldest span first. May be empty in lists.
    pub spans: Vec<Span>,
}

/// A number of instances.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Demand {
    /// The instance type, or `NUM_INSTANCES` for any.
    #[schema(value_type = String)]
    pub unit: InstanceType,
    /// The number.
    pub quantity: f64,
}

/// A phase of a job's timeline.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Span {
    /// `waiting`, `scheduled`, `starting` or `running`.
    #[schema(value_type = String)]
    pub phase: &'static str,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// When it ended; null while it lasts.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub to: Option<Timestamp>,
    /// How much earlier it may have begun, if only polls show it; 0 if AWS reports the time.
    pub from_uncertain_seconds: f64,
    /// The same for its end; null while it lasts.
    pub to_uncertain_seconds: Option<f64>,
    /// For a finished wait, its seconds by reason, as far as observed; omitted for other phases. The current reason
    /// is in `why`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub waited_seconds: BTreeMap<String, f64>,
}

/// Jobs, oldest first, in pages; newest first with `sort=newest`; longest current wait first with `sort=waiting`.
#[utoipa::path(
    get, path = "/api/v1/jobs", tag = "jobs", params(ListParameters),
    responses((status = 200, body = JobPage), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn jobs(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Result<Json<JobPage>, ApiError> {
    let ListParameters { account, region, queue, share, state, id, name, owner, reason, unit, sort, limit, after } =
        ListParameters::parse(query.as_deref().unwrap_or(""))?;
    let filter = Filter { queue, share, state, id, name, owner, unit, waiting: reason.is_some() };
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let targets = pages.watched(&PlaceFilter { account, region });
    if sort == Some(Sort::Waiting) {
        if after.is_some() {
            return Err(ApiError::bad_request("sort=waiting has one page; use filters instead of `after`"));
        }
        let asked =
            ask_each(targets, |reply| JobQuery::WaitingLongest { filter: filter.clone(), reason, limit, reply });
        return asked.await.map(|answers| Json(merged_jobs::longest(answers, limit)));
    }
    let newest_first = sort == Some(Sort::Newest);
    let asked = ask_each(targets, |reply| {
        let (filter, after) = (filter.clone(), after.clone());
        JobQuery::List { filter, reason, newest_first, after, limit, reply }
    });
    asked.await.map(|answers| Json(merged_jobs::in_order(answers, newest_first, limit)))
}

/// One job with its timeline: by id, name, prefix of id or name, or owner. The first of these that matches any job
/// counts; if it matches several, the response is 409 and lists them.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", tag = "jobs",
    params(("id" = String, Path, description = "`jobId`, or another value that identifies a job"), PlaceFilter),
    responses(
        (status = 200, body = JobView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 503, body = ErrorBody)
    )
)]
pub(super) async fn job(
    State(pages): State<Pages>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<JobView>, ApiError> {
    let targets = pages.watched(&PlaceFilter::parse(query.as_deref())?);
    let Path(words) = id.map_err(|_| ApiError::bad_request("the job id is not UTF-8 text"))?;
    let answers = ask_each(targets, |reply| JobQuery::One { words: words.clone(), reply }).await?;
    match merged_jobs::meant(answers, &words) {
        JobMatches::One(job) => Ok(Json(*job)),
        JobMatches::None => Err(ApiError::not_found(format!(
            "no job has the id, name or owner {}; ended jobs are deleted after at most 7 days",
            shown(&words)
        ))),
        JobMatches::Several(jobs, more) => Err(several(&words, &jobs, more)),
    }
}

fn several(words: &str, jobs: &[JobView], more: bool) -> ApiError {
    let reported = |job: &JobView| {
        let owner = job.owner.as_ref().map_or_else(String::new, |owner| format!(", owner {owner}"));
        format!("{} ({}, {}{owner})", job.id, job.name, job.status.as_str().to_ascii_lowercase())
    };
    let list = jobs.iter().map(reported).collect::<Vec<_>>().join("; ");
    let count = if more { format!("more than {}", jobs.len()) } else { jobs.len().to_string() };
    let rest = if more { "; and others" } else { "" };
    let message = format!("{count} jobs match {}; give the id of one: {list}{rest}", shown(words));
    ApiError::several(message, jobs.iter().filter_map(|job| serde_json::to_value(job).ok()).collect())
}

/// Filters of a list of jobs.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParameters {
    /// Only jobs of this AWS account.
    account: Option<String>,
    /// Only jobs of this AWS region.
    region: Option<String>,
    /// Only jobs of this queue.
    #[param(value_type = Option<String>)]
    queue: Option<QueueName>,
    /// Only jobs of this share; empty for jobs without a share.
    #[param(value_type = Option<String>)]
    share: Option<ShareName>,
    /// Only jobs in this state, such as `runnable`.
    #[param(value_type = Option<String>)]
    state: Option<JobStatus>,
    /// Only jobs whose id has this prefix.
    id: Option<String>,
    /// Only jobs whose name has this prefix.
    name: Option<String>,
    /// Only jobs of this owner, from their tag `owner`; empty for jobs without one.
    owner: Option<String>,
    /// Only jobs that wait for this reason, such as `share_at_limit`; see `why.reason`.
    #[param(value_type = Option<String>)]
    reason: Option<Reason>,
    /// Only jobs that request this instance type.
    #[param(rename = "type", value_type = Option<String>)]
    unit: Option<InstanceType>,
    /// `created` (default: oldest first), `newest` (newest first) or `waiting`: only waiting jobs, longest current
    /// wait first, on one page. With filters that very many jobs match, only the 10,000 longest-waiting jobs are
    /// examined.
    #[param(value_type = Option<String>)]
    sort: Option<Sort>,
    /// Page size, 1 to 500; 100 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next` of the previous page.
    #[param(value_type = Option<String>)]
    after: Option<Cursor>,
}

/// Sort order of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Created,
    Newest,
    Waiting,
}

fn parse_sort(value: &str) -> Result<Sort, ApiError> {
    match value {
        "created" => Ok(Sort::Created),
        "newest" => Ok(Sort::Newest),
        "waiting" => Ok(Sort::Waiting),
        _ => Err(ApiError::bad_request(format!("sort is {}; there are created, newest and waiting", shown(value)))),
    }
}

impl ListParameters {
    /// Parses a query string; unknown parameters are refused, so that a typo does not return an unfiltered list.
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (key, value) in pairs(query)? {
            let twice = match &*key {
                "account" => read.account.replace(value.into_owned()).is_some(),
                "region" => read.region.replace(value.into_owned()).is_some(),
                "queue" => read.queue.replace(QueueName::new(&*value)).is_some(),
                "share" => read.share.replace(ShareName::new(&*value)).is_some(),
                "state" => read.state.replace(parse_state(&value)?).is_some(),
                "id" => read.id.replace(value.into_owned()).is_some(),
                "name" => read.name.replace(value.into_owned()).is_some(),
                "owner" => read.owner.replace(value.into_owned()).is_some(),
                "reason" => read.reason.replace(parse_reason(&value)?).is_some(),
                "type" => read.unit.replace(InstanceType::from(&*value)).is_some(),
                "sort" => read.sort.replace(parse_sort(&value)?).is_some(),
                "limit" => read.limit.replace(parse_limit(&value)?).is_some(),
                "after" => read.after.replace(value.parse().map_err(|_| stale_cursor(&value))?).is_some(),
                _ => {
                    return Err(unknown_parameter(
                        &key,
                        "there are account, region, queue, share, state, id, name, owner, reason, type, sort, limit and after",
                    ));
                }
            };
            if twice {
                return Err(given_twice(&key));
            }
        }
        Ok(read)
    }
}

fn parse_state(value: &str) -> Result<JobStatus, ApiError> {
    let known = |status: &JobStatus| status.as_str().eq_ignore_ascii_case(value);
    JobStatus::KNOWN.into_iter().find(known).ok_or_else(|| {
        let words = JobStatus::KNOWN.map(|status| status.as_str().to_ascii_lowercase()).join(", ");
        ApiError::bad_request(format!("unknown state {}; there are {words}", shown(value)))
    })
}

fn parse_reason(value: &str) -> Result<Reason, ApiError> {
    let known = |reason: &Reason| reason.as_str().eq_ignore_ascii_case(value);
    Reason::ALL.into_iter().find(known).ok_or_else(|| {
        let words = Reason::ALL.map(Reason::as_str).join(", ");
        ApiError::bad_request(format!("unknown reason {}; there are {words}", shown(value)))
    })
}

fn parse_limit(value: &str) -> Result<usize, ApiError> {
    value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
        ApiError::bad_request(format!("limit is {}; it must be a whole number from 1 to {MAX_LIMIT}", shown(value)))
    })
}

fn stale_cursor(value: &str) -> ApiError {
    ApiError::bad_request(format!("after is {}; it must be the `next` of the page before", shown(value)))
}

/// Sends a query and waits for its reply; the request timeout bounds both.
pub(super) async fn ask<T>(
    questions: &mpsc::Sender<JobQuery>,
    question: impl FnOnce(oneshot::Sender<T>) -> JobQuery,
) -> Result<T, ApiError> {
    let no_answer = || ApiError::unavailable("no_answer", "the job list is unavailable; try again");
    let (reply, answer) = oneshot::channel();
    questions.send(question(reply)).await.map_err(|_| no_answer())?;
    answer.await.map_err(|_| no_answer())
}

pub(super) fn lower_case<S: Serializer>(status: &JobStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&status.as_str().to_ascii_lowercase())
}
