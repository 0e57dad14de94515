//! The tables of the latest frame: queues, shares, waits, waterfall.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::Pages;
use crate::web::error::{ApiError, ErrorBody};
use crate::web::share_jobs::jobs_of;
use crate::web::targets::{InPlace, PlaceFilter, PlaceRow, in_place};
use trainspotter_core::metrics::Estimate;
use trainspotter_core::metrics::FailureFigures;
use trainspotter_core::metrics::FairShareFigures;
use trainspotter_core::metrics::Frame;
use trainspotter_core::metrics::Loan;
use trainspotter_core::metrics::QueueFigures;
use trainspotter_core::metrics::ReasonFigures;
use trainspotter_core::metrics::ShareFigures;
use trainspotter_core::metrics::WaitFigures;
use trainspotter_core::metrics::Waterfall;
use trainspotter_core::metrics::gpu_parts::Part;
use trainspotter_core::metrics::misconfiguration::Finding;
use trainspotter_core::model::InstanceType;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::Reserved;
use trainspotter_core::model::ShareName;
use trainspotter_core::model::Timestamp;

/// A queue now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueueRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// `FIFO`, `FAIR_SHARE` or `QUOTA_SHARE`.
    #[schema(value_type = String)]
    policy: Cow<'static, str>,
    /// Jobs by state (lower case), zeros included; ended ones as far as the service remembers.
    jobs: BTreeMap<String, u64>,
    /// Age of the longest-waiting job; null when none waits.
    oldest_wait_seconds: Option<f64>,
}

/// A share's capacity of one instance type now, in instances.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShareRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// Empty for jobs without a share.
    #[schema(value_type = String)]
    share: ShareName,
    /// The instance type that is counted; `NUM_INSTANCES` for any.
    #[schema(value_type = String)]
    unit: InstanceType,
    /// The share's own; null where the policy sets no quota.
    quota: Option<f64>,
    /// Held by the share's in-flight jobs.
    used: f64,
    /// Used beyond the quota.
    borrowed: f64,
    /// Of the quota, used by other shares.
    lent: f64,
    /// Of the quota, used by nobody.
    idle: f64,
    /// The most it may use, borrowed instances included; null where nothing limits it.
    most: Option<f64>,
    /// The largest job that can ever run in the share; null where the policy sets no quota.
    largest_job: Option<f64>,
    /// The weight of a share identifier of a fair-share queue, of which less gets more; null in other queues.
    weight: Option<f64>,
    /// GPUs, of all types, that the share identifier is due by the weights of those that have jobs now; null where it has none.
    target_gpus: Option<f64>,
    /// GPUs, of all types, in use: recent mean; null where it has no jobs.
    recent_gpus: Option<f64>,
    /// Jobs of the share, of all types, by state (lower case); empty where the share has no series of its own.
    jobs: BTreeMap<String, u64>,
    /// Age of its longest-waiting job, of all types; null when none waits, or where the share has no series of its own.
    oldest_wait_seconds: Option<f64>,
}

/// First waits of a share since the service began to count.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WaitRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// Empty for jobs without a share.
    #[schema(value_type = String)]
    share: ShareName,
    /// How many jobs were dispatched.
    count: u64,
    mean_seconds: f64,
    p50_seconds: f64,
    p90_seconds: f64,
    p95_seconds: f64,
    p99_seconds: f64,
    max_seconds: f64,
}

/// Where a queue's GPUs are now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WaterfallRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// What the queue's service environment allows; null when its GPU capacity is unknown.
    capacity_gpus: Option<f64>,
    /// GPUs by part; they sum to the capacity.
    #[schema(value_type = BTreeMap<String, f64>)]
    parts: BTreeMap<&'static str, f64>,
    /// Dollars per hour by part; empty unless all prices are configured.
    #[schema(value_type = BTreeMap<String, f64>)]
    dollars_per_hour: BTreeMap<&'static str, f64>,
    /// The unallocated GPUs by cause: `provider_has_none`, `quota_bound`, `shape_does_not_fit`, `being_placed`,
    /// `no_demand`; they sum to the part `unallocated`. Empty where the capacity is not known.
    #[schema(value_type = BTreeMap<String, f64>)]
    unallocated: BTreeMap<&'static str, f64>,
}

/// GPUs of one share's quota on which another works: in proportion to what each lends and borrows, since AWS does not say
/// whose they are. Pairs that are even now stay, for their past.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoanRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// Whose quota it is.
    #[schema(value_type = String)]
    lender: ShareName,
    /// Who works on it.
    #[schema(value_type = String)]
    borrower: ShareName,
    /// Now.
    gpus: f64,
    /// Since counting began, in GPU-hours.
    gpu_hours: f64,
}

/// What a share identifier of a fair-share queue is due, and what it has, in GPUs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FairShareRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    #[schema(value_type = String)]
    share: ShareName,
    /// Due by the weights of the share identifiers that have jobs now.
    target: f64,
    /// Held by its in-flight jobs.
    used: f64,
    /// Exponentially weighted mean of GPUs in use; its half-life is half the decay window.
    recent: f64,
}

/// A training plan or a warm pool, in instances.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReservedRow {
    #[serde(flatten)]
    place: PlaceRow,
    /// `training_plan` or `warm_pool`.
    #[schema(value_type = String)]
    kind: &'static str,
    /// The name of the plan, or of the training job that left the pool.
    name: String,
    #[schema(value_type = String)]
    instance_type: InstanceType,
    total: Option<f64>,
    in_use: Option<f64>,
    /// On which something could run, and nothing does.
    idle: Option<f64>,
    /// When a plan ends; null for warm pools, and where AWS does not say.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
}

/// How long a job of a share waits, by Kaplan and Meier over the last day: jobs that still wait, or were cancelled before
/// they started, count as waits of at least so long.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EstimateRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// Empty for jobs without a share.
    #[schema(value_type = String)]
    share: ShareName,
    p50_seconds: f64,
    p90_seconds: f64,
    p95_seconds: f64,
    p99_seconds: f64,
}

/// Jobs of a share that wait for one reason.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReasonRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// Empty for jobs without a share.
    #[schema(value_type = String)]
    share: ShareName,
    /// As in `why.reason` of a job.
    #[schema(value_type = String)]
    reason: &'static str,
    /// How many.
    jobs: u64,
    /// GPUs that they ask for, as far as their instance types are known.
    gpus: f64,
}

/// Jobs of one owner that failed for one kind of reason in the last day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FailureRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// Empty for jobs without a share.
    #[schema(value_type = String)]
    share: ShareName,
    /// The job's tag `owner`; empty without one.
    owner: String,
    /// `capacity`, `preempted`, `sagemaker_internal`, `misconfiguration`, `timed_out`, `terminated`, `user_code` or
    /// `account_quota`.
    #[schema(value_type = String)]
    category: &'static str,
    /// How many.
    jobs: u64,
    /// GPU-hours of their last attempts, as far as known.
    gpu_hours: f64,
}

/// Something that is wrong with the set-up of a queue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FindingRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// Null when it is not about one share.
    #[schema(value_type = Option<String>)]
    share: Option<ShareName>,
    /// `over_promised`, `job_too_large`, `nobody_borrows`, `share_unused`, `no_time_limit`, `account_quota`, `invalid` or
    /// `clock_skew`.
    #[schema(value_type = String)]
    problem: &'static str,
    /// What is wrong, with numbers.
    what: String,
    /// What would mend it.
    #[schema(value_type = String)]
    advice: Cow<'static, str>,
}

in_place!(
    QueueRow,
    ShareRow,
    WaitRow,
    WaterfallRow,
    LoanRow,
    FairShareRow,
    ReservedRow,
    EstimateRow,
    ReasonRow,
    FailureRow,
    FindingRow
);

/// Rows of all targets that a request is about.
type Rows<T> = Result<Json<Vec<T>>, ApiError>;

fn rows<T: InPlace>(pages: &Pages, RawQuery(query): &RawQuery, of: impl Fn(&Frame) -> Vec<T>) -> Rows<T> {
    let latest = pages.latest_of(&PlaceFilter::parse(query.as_deref())?);
    let in_place = latest.iter().flat_map(|one| of(&one.frame).into_iter().map(|row| row.at(&one.place)));
    Ok(Json(in_place.collect()))
}

/// Queues with their jobs by state.
#[utoipa::path(get, path = "/api/v1/queues", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<QueueRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn queues(State(pages): State<Pages>, query: RawQuery) -> Rows<QueueRow> {
    rows(&pages, &query, |frame| frame.queues.iter().map(QueueRow::from).collect())
}

/// Shares with their quota and what they use, borrow and lend.
#[utoipa::path(get, path = "/api/v1/shares", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<ShareRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn shares(State(pages): State<Pages>, query: RawQuery) -> Rows<ShareRow> {
    let row = |frame: &Frame, share: &ShareFigures| {
        let fair = frame.fair_shares.iter().find(|row| row.queue == share.queue && row.share == share.share);
        let (target_gpus, recent_gpus) = (fair.map(|row| row.target), fair.map(|row| row.recent));
        let (jobs, oldest_wait_seconds) = jobs_of(frame, share);
        ShareRow { target_gpus, recent_gpus, jobs, oldest_wait_seconds, ..ShareRow::from(share) }
    };
    rows(&pages, &query, |frame| frame.shares.iter().map(|share| row(frame, share)).collect())
}

/// Which share works on whose quota.
#[utoipa::path(get, path = "/api/v1/loans", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<LoanRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn loans(State(pages): State<Pages>, query: RawQuery) -> Rows<LoanRow> {
    rows(&pages, &query, |frame| frame.loans.iter().map(LoanRow::from).collect())
}

/// What the share identifiers of fair-share queues are due, and what they have.
#[utoipa::path(get, path = "/api/v1/fair_shares", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<FairShareRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn fair_shares(State(pages): State<Pages>, query: RawQuery) -> Rows<FairShareRow> {
    rows(&pages, &query, |frame| frame.fair_shares.iter().map(FairShareRow::from).collect())
}

/// Capacity that is paid for whether jobs use it or not, where it is watched.
#[utoipa::path(get, path = "/api/v1/reserved", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<ReservedRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn reserved(State(pages): State<Pages>, query: RawQuery) -> Rows<ReservedRow> {
    rows(&pages, &query, |frame| frame.reserved.iter().map(ReservedRow::from).collect())
}

/// How long jobs waited, by share.
#[utoipa::path(get, path = "/api/v1/waits", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<WaitRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn waits(State(pages): State<Pages>, query: RawQuery) -> Rows<WaitRow> {
    rows(&pages, &query, |frame| frame.waits.iter().map(WaitRow::from).collect())
}

/// How long jobs wait, those that still wait included, by share.
#[utoipa::path(get, path = "/api/v1/estimates", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<EstimateRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn estimates(State(pages): State<Pages>, query: RawQuery) -> Rows<EstimateRow> {
    rows(&pages, &query, |frame| frame.estimates.iter().map(EstimateRow::from).collect())
}

/// Why jobs wait, by share: one reason for each job.
#[utoipa::path(get, path = "/api/v1/reasons", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<ReasonRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn reasons(State(pages): State<Pages>, query: RawQuery) -> Rows<ReasonRow> {
    rows(&pages, &query, |frame| frame.reasons.iter().map(ReasonRow::from).collect())
}

/// Where each queue's GPUs are.
#[utoipa::path(get, path = "/api/v1/waterfall", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<WaterfallRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn waterfall(State(pages): State<Pages>, query: RawQuery) -> Rows<WaterfallRow> {
    rows(&pages, &query, |frame| frame.waterfall.iter().map(WaterfallRow::from).collect())
}

/// Jobs that failed in the last day, by owner and category, the most frequent first.
#[utoipa::path(get, path = "/api/v1/failures", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<FailureRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn failures(State(pages): State<Pages>, query: RawQuery) -> Rows<FailureRow> {
    rows(&pages, &query, |frame| frame.failures.iter().map(FailureRow::from).collect())
}

/// What is wrong with the set-up of queues, shares and environments.
#[utoipa::path(get, path = "/api/v1/setup", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<FindingRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn setup(State(pages): State<Pages>, query: RawQuery) -> Rows<FindingRow> {
    rows(&pages, &query, |frame| frame.setup.iter().map(FindingRow::from).collect())
}

impl From<&QueueFigures> for QueueRow {
    fn from(figures: &QueueFigures) -> Self {
        let QueueFigures { queue, arn: _, policy, jobs, oldest_wait_seconds } = figures.clone();
        Self { place: PlaceRow::default(), queue, policy, jobs, oldest_wait_seconds }
    }
}

impl From<&ShareFigures> for ShareRow {
    fn from(figures: &ShareFigures) -> Self {
        let ShareFigures { queue, share, unit, quota, used, borrowed, lent, idle, most, largest_job, weight } =
            figures.clone();
        let (target_gpus, recent_gpus) = (None, None);
        Self {
            place: PlaceRow::default(),
            queue,
            share,
            unit,
            quota,
            used,
            borrowed,
            lent,
            idle,
            most,
            largest_job,
            weight,
            target_gpus,
            recent_gpus,
            jobs: BTreeMap::new(),
            oldest_wait_seconds: None,
        }
    }
}

impl From<&WaitFigures> for WaitRow {
    fn from(figures: &WaitFigures) -> Self {
        let WaitFigures { queue, share, seconds } = figures.clone();
        Self {
            place: PlaceRow::default(),
            queue,
            share,
            count: seconds.count,
            mean_seconds: seconds.mean,
            p50_seconds: seconds.p50,
            p90_seconds: seconds.p90,
            p95_seconds: seconds.p95,
            p99_seconds: seconds.p99,
            max_seconds: seconds.max,
        }
    }
}

impl From<&Waterfall> for WaterfallRow {
    fn from(figures: &Waterfall) -> Self {
        let Waterfall { queue, capacity_gpus, parts, dollars_per_hour, unallocated } = figures;
        let by_part = |figures: &BTreeMap<Part, f64>| figures.iter().map(|(part, of)| (part.as_str(), *of)).collect();
        Self {
            place: PlaceRow::default(),
            queue: queue.clone(),
            capacity_gpus: *capacity_gpus,
            parts: by_part(parts),
            dollars_per_hour: by_part(dollars_per_hour),
            unallocated: unallocated.iter().map(|(cause, gpus)| (cause.as_str(), *gpus)).collect(),
        }
    }
}

impl From<&FailureFigures> for FailureRow {
    fn from(figures: &FailureFigures) -> Self {
        let FailureFigures { queue, share, owner, category, jobs, gpu_seconds } = figures.clone();
        let gpu_hours = gpu_seconds / 3_600.0;
        Self {
            place: PlaceRow::default(),
            queue,
            share,
            owner: owner.to_string(),
            category: category.as_str(),
            jobs,
            gpu_hours,
        }
    }
}

impl From<&Finding> for FindingRow {
    fn from(finding: &Finding) -> Self {
        let Finding { queue, share, problem, what, advice } = finding.clone();
        Self { place: PlaceRow::default(), queue, share, problem: problem.as_str(), what, advice }
    }
}

impl From<&Loan> for LoanRow {
    fn from(figures: &Loan) -> Self {
        let Loan { queue, lender, borrower, gpus, gpu_seconds } = figures.clone();
        Self { place: PlaceRow::default(), queue, lender, borrower, gpus, gpu_hours: gpu_seconds / 3_600.0 }
    }
}

impl From<&FairShareFigures> for FairShareRow {
    fn from(figures: &FairShareFigures) -> Self {
        let FairShareFigures { queue, share, target, used, recent } = figures.clone();
        Self { place: PlaceRow::default(), queue, share, target, used, recent }
    }
}

impl From<&Reserved> for ReservedRow {
    fn from(reserved: &Reserved) -> Self {
        let Reserved { kind, name, unit, total, in_use, idle, ends_at } = reserved.clone();
        Self {
            place: PlaceRow::default(),
            kind: kind.as_str(),
            name,
            instance_type: unit,
            total,
            in_use,
            idle,
            ends_at,
        }
    }
}

impl From<&Estimate> for EstimateRow {
    fn from(figures: &Estimate) -> Self {
        let Estimate { queue, share, seconds: [p50_seconds, p90_seconds, p95_seconds, p99_seconds] } = figures.clone();
        Self { place: PlaceRow::default(), queue, share, p50_seconds, p90_seconds, p95_seconds, p99_seconds }
    }
}

impl From<&ReasonFigures> for ReasonRow {
    fn from(figures: &ReasonFigures) -> Self {
        let ReasonFigures { queue, share, reason, jobs, gpus } = figures.clone();
        Self { place: PlaceRow::default(), queue, share, reason: reason.as_str(), jobs, gpus }
    }
}
