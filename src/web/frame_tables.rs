//! Tables of the latest frame: queues, shares, waits, waterfall.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::Pages;
use crate::web::error::{ApiError, ErrorBody};
use crate::web::place_filter::{InPlace, PlaceFilter, PlaceRow, in_place};
use crate::web::share_job_counts::jobs_of;
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
use trainspotter_core::metrics::gpu_part_names::Part;
use trainspotter_core::metrics::misconfiguration::Finding;
use trainspotter_core::model::InstanceType;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::Reserved;
use trainspotter_core::model::ShareName;
use trainspotter_core::model::Timestamp;

/// Current state of a queue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueueRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// `FIFO`, `FAIR_SHARE` or `QUOTA_SHARE`.
    #[schema(value_type = String)]
    policy: Cow<'static, str>,
    /// Jobs by state (lower case), including zeros; ended jobs as far as the service remembers them.
    jobs: BTreeMap<String, u64>,
    /// Age of the longest-waiting job; null without waiting jobs.
    oldest_wait_seconds: Option<f64>,
}

/// A share's current capacity of one instance type, in instances.
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
    /// The share's quota; null if the policy sets none.
    quota: Option<f64>,
    /// Held by the share's jobs in flight.
    used: f64,
    /// Used beyond the quota.
    borrowed: f64,
    /// Unused quota that other shares use.
    lent: f64,
    /// Unused quota that nobody uses.
    idle: f64,
    /// Maximum usage including borrowed instances; null if unlimited.
    most: Option<f64>,
    /// The largest job that can ever run in the share; null if the policy sets no quota.
    largest_job: Option<f64>,
    /// Weight of the share identifier in a fair-share queue; a lower weight gets more. Null in other queues.
    weight: Option<f64>,
    /// GPUs of all types that the share identifier is entitled to, by the weights of those with jobs now; null
    /// without jobs.
    target_gpus: Option<f64>,
    /// GPUs of all types in use, recent mean; null without jobs.
    recent_gpus: Option<f64>,
    /// Jobs of the share, of all types, by state (lower case); empty if the share has no series of its own.
    jobs: BTreeMap<String, u64>,
    /// Age of its longest-waiting job, of all types; null without waiting jobs, or if the share has no series of
    /// its own.
    oldest_wait_seconds: Option<f64>,
}

/// First waits of a share since counting began.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WaitRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// Empty for jobs without a share.
    #[schema(value_type = String)]
    share: ShareName,
    /// Number of dispatched jobs.
    count: u64,
    mean_seconds: f64,
    p50_seconds: f64,
    p90_seconds: f64,
    p95_seconds: f64,
    p99_seconds: f64,
    max_seconds: f64,
}

/// Current use of a queue's GPUs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WaterfallRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// Capacity of the queue's service environment; null if its GPUs are unknown.
    capacity_gpus: Option<f64>,
    /// GPUs by part; they sum to the capacity.
    #[schema(value_type = BTreeMap<String, f64>)]
    parts: BTreeMap<&'static str, f64>,
    /// Dollars per hour by part; empty unless all prices are configured.
    #[schema(value_type = BTreeMap<String, f64>)]
    dollars_per_hour: BTreeMap<&'static str, f64>,
    /// Unallocated GPUs by cause: `provider_has_none`, `quota_bound`, `shape_does_not_fit`, `being_placed`,
    /// `no_demand`; they sum to the part `unallocated`. Empty if the capacity is unknown.
    #[schema(value_type = BTreeMap<String, f64>)]
    unallocated: BTreeMap<&'static str, f64>,
}

/// GPUs of one share's quota that another share uses. Estimated in proportion to what each lends and borrows, since
/// AWS does not report it. Pairs without a current loan are kept for their history.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoanRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// The share that owns the quota.
    #[schema(value_type = String)]
    lender: ShareName,
    /// The share that uses it.
    #[schema(value_type = String)]
    borrower: ShareName,
    /// Current GPUs.
    gpus: f64,
    /// GPU-hours since counting began.
    gpu_hours: f64,
}

/// Entitlement and use of a share identifier in a fair-share queue, in GPUs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FairShareRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    #[schema(value_type = String)]
    share: ShareName,
    /// Entitlement by the weights of the share identifiers that have jobs now.
    target: f64,
    /// Held by its jobs in flight.
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
    /// Name of the plan, or of the training job that left the pool.
    name: String,
    #[schema(value_type = String)]
    instance_type: InstanceType,
    total: Option<f64>,
    in_use: Option<f64>,
    /// Available and unused.
    idle: Option<f64>,
    /// End of a plan; null for warm pools, and if AWS does not report it.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
}

/// Waiting time of a share's jobs, as a Kaplan-Meier estimate over the last day: jobs that still wait, or were
/// cancelled before they started, are right-censored.
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

/// Waiting jobs of a share by reason.
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
    /// Number of jobs.
    jobs: u64,
    /// GPUs they request, as far as their instance types are known.
    gpus: f64,
}

/// Failed jobs of one owner by category, in the last day.
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
    /// Number of jobs.
    jobs: u64,
    /// GPU-hours of their last attempts, as far as known.
    gpu_hours: f64,
}

/// A problem in the set-up of a queue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FindingRow {
    #[serde(flatten)]
    place: PlaceRow,
    #[schema(value_type = String)]
    queue: QueueName,
    /// Null if it does not concern a single share.
    #[schema(value_type = Option<String>)]
    share: Option<ShareName>,
    /// `over_promised`, `job_too_large`, `nobody_borrows`, `share_unused`, `no_time_limit`, `account_quota`, `invalid` or
    /// `clock_skew`.
    #[schema(value_type = String)]
    problem: &'static str,
    /// The problem, with numbers.
    what: String,
    /// How to fix it.
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

/// Rows of all requested targets.
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

/// Shares with quota, usage, borrowing and lending.
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

/// Which share uses whose quota.
#[utoipa::path(get, path = "/api/v1/loans", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<LoanRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn loans(State(pages): State<Pages>, query: RawQuery) -> Rows<LoanRow> {
    rows(&pages, &query, |frame| frame.loans.iter().map(LoanRow::from).collect())
}

/// Entitlement and use of the share identifiers in fair-share queues.
#[utoipa::path(get, path = "/api/v1/fair_shares", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<FairShareRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn fair_shares(State(pages): State<Pages>, query: RawQuery) -> Rows<FairShareRow> {
    rows(&pages, &query, |frame| frame.fair_shares.iter().map(FairShareRow::from).collect())
}

/// Capacity that is paid for whether or not jobs use it, if it is watched.
#[utoipa::path(get, path = "/api/v1/reserved", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<ReservedRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn reserved(State(pages): State<Pages>, query: RawQuery) -> Rows<ReservedRow> {
    rows(&pages, &query, |frame| frame.reserved.iter().map(ReservedRow::from).collect())
}

/// How long jobs waited, by share.
#[utoipa::path(get, path = "/api/v1/waits", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<WaitRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn waits(State(pages): State<Pages>, query: RawQuery) -> Rows<WaitRow> {
    rows(&pages, &query, |frame| frame.waits.iter().map(WaitRow::from).collect())
}

/// Waiting time by share, including jobs that still wait.
#[utoipa::path(get, path = "/api/v1/estimates", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<EstimateRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn estimates(State(pages): State<Pages>, query: RawQuery) -> Rows<EstimateRow> {
    rows(&pages, &query, |frame| frame.estimates.iter().map(EstimateRow::from).collect())
}

/// Why jobs wait, by share: one reason per job.
#[utoipa::path(get, path = "/api/v1/reasons", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<ReasonRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn reasons(State(pages): State<Pages>, query: RawQuery) -> Rows<ReasonRow> {
    rows(&pages, &query, |frame| frame.reasons.iter().map(ReasonRow::from).collect())
}

/// Current use of each queue's GPUs.
#[utoipa::path(get, path = "/api/v1/waterfall", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<WaterfallRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn waterfall(State(pages): State<Pages>, query: RawQuery) -> Rows<WaterfallRow> {
    rows(&pages, &query, |frame| frame.waterfall.iter().map(WaterfallRow::from).collect())
}

/// Failed jobs of the last day by owner and category, most frequent first.
#[utoipa::path(get, path = "/api/v1/failures", tag = "figures", params(PlaceFilter), responses((status = 200, body = Vec<FailureRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn failures(State(pages): State<Pages>, query: RawQuery) -> Rows<FailureRow> {
    rows(&pages, &query, |frame| frame.failures.iter().map(FailureRow::from).collect())
}

/// Problems in the set-up of queues, shares and environments.
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
