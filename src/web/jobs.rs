//! Jobs one by one: the only routes that ask the ledger's owner.

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
use crate::web::job_context::JobAround;
use crate::web::merged_jobs;
use crate::web::query::{pairs, shown};
use crate::web::start::StartView;
use crate::web::targets::{PlaceFilter, ask_each};
use crate::web::why::WhyView;
use trainspotter_core::forecast::{Hypothetical, Outlook, Starts, World};
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

/// Jobs on a page unless the request says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// The most jobs on a page: the ledger's owner answers between ticks and must not be held up.
const MAX_LIMIT: usize = 500;

/// Jobs that are named when a text means several.
pub const MAX_MEANT: usize = 20;

/// A question to the ledger's owner. Dropping `reply` unanswered makes the answer 503: try again later.
#[derive(Debug)]
pub enum JobQuery {
    /// Jobs that match all given conditions, oldest or newest first (by [`Cursor`]).
    List {
        /// The conditions.
        filter: Filter,
        /// Of those that wait only those with this reason.
        reason: Option<Reason>,
        /// The newest first.
        newest_first: bool,
        /// Only jobs that come after this place.
        after: Option<Cursor>,
        /// At most this many: 1 to 500.
        limit: usize,
        /// Where the answer goes.
        reply: oneshot::Sender<JobPage>,
    },
    /// Jobs that match all given conditions and wait, those first that have waited longest until now.
    WaitingLongest {
        /// The conditions.
        filter: Filter,
        /// Only those with this reason.
        reason: Option<Reason>,
        /// At most this many: 1 to 500.
        limit: usize,
        /// Where the answer goes.
        reply: oneshot::Sender<JobPage>,
    },
    /// One job, with its spans.
    One {
        /// Its id, its name, how one of these begins, or its owner.
        words: String,
        /// Where the answer goes.
        reply: oneshot::Sender<Meant>,
    },
    /// What is around one job; `None` if it is not known.
    Context {
        /// Its id.
        id: JobId,
        /// Where the answer goes.
        reply: oneshot::Sender<Option<Box<JobAround>>>,
    },
    /// The present, with a job that is not submitted as the last one that waits: `None` while it is not known, and in words what there is no queue or
    /// share for.
    Present {
        /// The job.
        asked: Box<Hypothetical>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Option<Box<World>>, String>>,
    },
    /// When the last job of such a present starts.
    Outlook {
        /// The present.
        world: Box<World>,
        /// When its waiting jobs start, run by run.
        starts: Box<Starts>,
        /// Where the answer goes.
        reply: oneshot::Sender<Outlook>,
    },
    /// What is kept of the past for a replay, by name, and dollars per instance and hour.
    Past {
        /// Where the answer goes.
        reply: oneshot::Sender<(BTreeMap<String, String>, Prices)>,
    },
    /// The rules that are evaluated.
    Rules {
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<Rule>>,
    },
    /// How the value behind an alert can be read off earlier frames; `None` if its rule is gone.
    PastValues {
        /// The alert.
        alert: Box<Alert>,
        /// Where the answer goes.
        reply: oneshot::Sender<Option<PastValues>>,
    },
}

/// The jobs that a text may mean.
#[derive(Clone, Debug)]
pub enum Meant {
    /// No job that is known.
    None,
    /// One job.
    One(Box<JobView>),
    /// More than one: at most [`MAX_MEANT`] of them, and whether there are others.
    Several(Vec<JobView>, bool),
}

/// Some jobs, oldest first.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// What to give as `after` to get the jobs that follow; null at the end. A page may hold fewer jobs than its limit, even none,
    /// and others still follow: one page looks at no more than 10,000 jobs.
    #[schema(value_type = Option<String>)]
    pub next: Option<Cursor>,
    /// Targets that did not answer now, so that their jobs are missing; left out if all did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// What is known of one job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobView {
    /// `jobId`.
    #[schema(value_type = String)]
    pub id: JobId,
    /// `jobName`; not unique.
    pub name: String,
    /// The AWS account; null while it is not known.
    pub account: Option<String>,
    /// The AWS region.
    pub region: Option<String>,
    /// The queue.
    #[schema(value_type = String)]
    pub queue: QueueName,
    /// The share; null for jobs without one.
    #[schema(value_type = Option<String>)]
    pub share: Option<ShareName>,
    /// Where it stands by AWS Batch, in lower case: `runnable`.
    #[serde(serialize_with = "lower_case")]
    #[schema(value_type = String)]
    pub state: JobStatus,
    /// The same under its former name, which the release after the next no longer has.
    #[serde(serialize_with = "lower_case")]
    #[schema(value_type = String, deprecated)]
    pub status: JobStatus,
    /// Why, in AWS's words.
    pub status_reason: Option<String>,
    /// Higher goes first; null when not known.
    pub priority: Option<i32>,
    /// When the job was submitted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the job was handed to SageMaker.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub scheduled_at: Option<Timestamp>,
    /// When the job started to run.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When the job ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub stopped_at: Option<Timestamp>,
    /// The first wait: so far, or for good once the job was dispatched. Null when that is not known.
    pub wait_seconds: Option<f64>,
    /// For how long the job has been waiting now, without a break; null if it does not wait.
    pub waiting_seconds: Option<f64>,
    /// Attempts so far.
    pub attempts: u32,
    /// How many of them were preempted; null when not known, before the job was described.
    pub preemptions: Option<u32>,
    /// How many more attempts may fail before the job does; null when not known.
    pub retries_left: Option<u32>,
    /// How many more preemptions the job survives; null when without end, or not known.
    pub preemptions_left: Option<u32>,
    /// How long an attempt may run, in seconds; null when not known.
    pub attempt_timeout_seconds: Option<f64>,
    /// When a time limit of the queue ends the job if it goes on waiting for the same reason; null if none does, and in lists.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub time_limit_at: Option<Timestamp>,
    /// GPUs the job needs in all; null when an instance type is not known.
    pub gpus: Option<f64>,
    /// What the job needs, by instance type.
    pub demand: Vec<Demand>,
    /// Who the job belongs to, from its tags.
    pub owner: Option<String>,
    /// Those of its other tags that `tags` of the configuration names.
    pub tags: BTreeMap<String, String>,
    /// The training job of the latest attempt.
    #[schema(value_type = Option<String>)]
    pub training_job: Option<TrainingJobName>,
    /// What it does or did, a sentence or two a line: why it waits, how long it waited and ran, why it failed, what to do next. Empty in
    /// lists.
    pub story: Vec<String>,
    /// Why it waits; null if it does not. In lists without its place.
    pub why: Option<WhyView>,
    /// When it starts; null if it does not wait, and in lists.
    pub start: Option<StartView>,
    /// By when it should start, from its tag `start-by`; null without one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub start_by: Option<Timestamp>,
    /// The job's life so far, oldest first. May be left empty in lists.
    pub spans: Vec<Span>,
}

/// An amount of instances.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Demand {
    /// The instance type, or `NUM_INSTANCES` for any.
    #[schema(value_type = String)]
    pub unit: InstanceType,
    /// How many.
    pub quantity: f64,
}

/// A phase of a job's life.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Span {
    /// `waiting`, `scheduled`, `starting` or `running`.
    #[schema(value_type = String)]
    pub phase: &'static str,
    /// Which attempt it belongs to, from 1.
    pub attempt: u32,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// When it ended; null while it lasts.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub to: Option<Timestamp>,
    /// By how much earlier it may have begun, for only polls know; 0 where AWS gives the time.
    pub from_uncertain_seconds: f64,
    /// Likewise, its end; null while it lasts.
    pub to_uncertain_seconds: Option<f64>,
    /// Of a wait that is over, its seconds by reason, as far as it was watched; left out of other phases. What a job waits for now is in
    /// `why`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub waited_seconds: BTreeMap<String, f64>,
}

/// Jobs, oldest first, a page at a time; or the newest first, with `sort=newest`; or those that have waited longest until now, with
/// `sort=waiting`.
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
            return Err(ApiError::bad_request("sort=waiting has one page; narrow it down instead of giving `after`"));
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

/// One job with its whole life: by its id, or else by its name, by how its id or name begins, or by its owner. The first of these that
/// any job has counts; when several jobs have it, the answer is 409 and lists them.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", tag = "jobs",
    params(("id" = String, Path, description = "`jobId`, or what else a job may be found by"), PlaceFilter),
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
    let Path(words) = id.map_err(|_| ApiError::bad_request("the job id is not readable text"))?;
    let answers = ask_each(targets, |reply| JobQuery::One { words: words.clone(), reply }).await?;
    match merged_jobs::meant(answers, &words) {
        Meant::One(job) => Ok(Json(*job)),
        Meant::None => Err(ApiError::not_found(format!(
            "no job is known by the id, name or owner {}; ended ones are forgotten in time",
            shown(&words)
        ))),
        Meant::Several(jobs, more) => Err(several(&words, &jobs, more)),
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

/// What a list of jobs can be narrowed by.
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
    /// Only jobs of this share; empty for jobs without one.
    #[param(value_type = Option<String>)]
    share: Option<ShareName>,
    /// Only jobs in this state, such as `runnable`.
    #[param(value_type = Option<String>)]
    state: Option<JobStatus>,
    /// Only jobs whose id begins so.
    id: Option<String>,
    /// Only jobs whose name begins so.
    name: Option<String>,
    /// Only jobs of this owner, which is their tag `owner`; empty for jobs without one.
    owner: Option<String>,
    /// Only jobs that wait for this reason: `share_at_limit` and so on, as in `why.reason`.
    #[param(value_type = Option<String>)]
    reason: Option<Reason>,
    /// Only jobs that ask for this instance type.
    #[param(rename = "type", value_type = Option<String>)]
    unit: Option<InstanceType>,
    /// `created` (the default: oldest first), `newest` (the youngest first) or `waiting`: only jobs that wait, those first that have waited longest until now, on one page. Narrowed by
    /// what very many jobs have, it looks only among the 10,000 that have waited longest.
    #[param(value_type = Option<String>)]
    sort: Option<Sort>,
    /// Jobs on the page, 1 to 500; 100 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Cursor>,
}

/// In which order jobs are listed.
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
    /// Reads a query string; refuses what it does not know, so that a typing error is not an unfiltered list.
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
                    let there_are = "there are account, region, queue, share, state, id, name, owner, reason, type, sort, \
                                     limit and after";
                    return Err(ApiError::bad_request(format!("unknown parameter {}; {there_are}", shown(&key))));
                }
            };
            if twice {
                return Err(ApiError::bad_request(format!("parameter {key:?} is given twice")));
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

/// Sends a question and waits for its answer; the guard's timeout bounds both.
pub(super) async fn ask<T>(
    questions: &mpsc::Sender<JobQuery>,
    question: impl FnOnce(oneshot::Sender<T>) -> JobQuery,
) -> Result<T, ApiError> {
    let no_answer = || ApiError::unavailable("no_answer", "the ledger does not answer now; try again");
    let (reply, answer) = oneshot::channel();
    questions.send(question(reply)).await.map_err(|_| no_answer())?;
    answer.await.map_err(|_| no_answer())
}

pub(super) fn lower_case<S: Serializer>(status: &JobStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&status.as_str().to_ascii_lowercase())
}
