//! What-if: replays the recorded past of a running service with changes. Read-only.

mod cached_recordings;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use trainspotter_core::model::{Place, Prices, QueueName, ShareName, Timestamp};
use trainspotter_core::what_if::{self, Before, Change, Past, QueueReport, Report, ShareReport, UseReport, Waits};

use crate::web::Pages;
use crate::web::error::{ApiError, ErrorBody};
use crate::web::jobs::{JobQuery, ask};
use crate::web::place_filter::PlaceFilter;
use crate::web::query::{given_twice, pairs, shown, unknown_parameter};
use crate::web::watched_targets::WatchedTarget;
use crate::web::what_if::cached_recordings::{CachedRecording, MAX_CACHED_RECORDINGS};

pub(crate) use crate::web::what_if::cached_recordings::CachedRecordings;

/// Maximum changes per request.
const MAX_CHANGES: usize = 20;

/// Replays run one at a time.
static REPLAYING: Semaphore = Semaphore::const_new(1);

/// Result of a replay with changes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WhatIfBody {
    /// First submission in the replay.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// End of the replay.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// Number of jobs replayed.
    jobs: usize,
    /// The changes, as requested.
    changes: Vec<String>,
    /// Remarks about the recording, one sentence each.
    notes: Vec<String>,
    /// Waits by queue and share.
    shares: Vec<WhatIfShare>,
    /// Use of the capacity by queue.
    queues: Vec<WhatIfQueue>,
}

/// Waits of a share.
#[derive(Debug, Serialize, ToSchema)]
struct WhatIfShare {
    #[schema(value_type = String)]
    queue: QueueName,
    #[schema(value_type = Option<String>)]
    share: Option<ShareName>,
    /// Number of submitted jobs.
    jobs: usize,
    /// As recorded.
    happened: Option<WhatIfWaits>,
    /// In the replay without changes.
    before: WhatIfWaits,
    /// In the replay with the changes.
    after: WhatIfWaits,
    /// Error bound of the p95 after the change: the larger of the difference between the recording and its replay,
    /// and the spread between replays of the change. Null if nothing was recorded and the replays agree.
    p95_error_seconds: Option<f64>,
}

/// First waits in one replay; null if no job started.
#[derive(Debug, Serialize, ToSchema)]
struct WhatIfWaits {
    /// Number of jobs that started.
    started: usize,
    p50_seconds: Option<f64>,
    p90_seconds: Option<f64>,
    p95_seconds: Option<f64>,
    mean_seconds: Option<f64>,
}

/// Use of a queue's capacity.
#[derive(Debug, Serialize, ToSchema)]
struct WhatIfQueue {
    #[schema(value_type = String)]
    queue: QueueName,
    /// As recorded.
    happened: Option<WhatIfUse>,
    /// In the replay without changes.
    before: WhatIfUse,
    /// In the replay with the changes.
    after: WhatIfUse,
}

/// Use of the capacity in one replay; dollars are null if a price is unknown.
#[derive(Debug, Serialize, ToSchema)]
struct WhatIfUse {
    /// From 0 to 1; null without capacity.
    utilisation: Option<f64>,
    preemptions: usize,
    /// Lost by preemptions.
    lost_instance_hours: f64,
    lost_dollars: Option<f64>,
    /// Cost of the whole capacity over the period.
    capacity_dollars: Option<f64>,
}

impl From<Report> for WhatIfBody {
    fn from(report: Report) -> Self {
        let Report { from, to, jobs, changes, notes, shares, queues } = report;
        let shares = shares.into_iter().map(WhatIfShare::from).collect();
        Self { from, to, jobs, changes, notes, shares, queues: queues.into_iter().map(WhatIfQueue::from).collect() }
    }
}

impl From<ShareReport> for WhatIfShare {
    fn from(report: ShareReport) -> Self {
        let ShareReport { queue, share, jobs, happened, before, after, p95_error_seconds } = report;
        let happened = happened.map(WhatIfWaits::from);
        Self { queue, share, jobs, happened, before: before.into(), after: after.into(), p95_error_seconds }
    }
}

impl From<Waits> for WhatIfWaits {
    fn from(waits: Waits) -> Self {
        let Waits { started, p50_seconds, p90_seconds, p95_seconds, mean_seconds } = waits;
        Self { started, p50_seconds, p90_seconds, p95_seconds, mean_seconds }
    }
}

impl From<QueueReport> for WhatIfQueue {
    fn from(report: QueueReport) -> Self {
        let QueueReport { queue, happened, before, after } = report;
        Self { queue, happened: happened.map(WhatIfUse::from), before: before.into(), after: after.into() }
    }
}

impl From<UseReport> for WhatIfUse {
    fn from(used: UseReport) -> Self {
        let UseReport { utilisation, preemptions, lost_instance_hours, lost_dollars, capacity_dollars } = used;
        Self { utilisation, preemptions, lost_instance_hours, lost_dollars, capacity_dollars }
    }
}

/// Replays the recorded past (the latest 10,000 jobs) without and with changes: waits by share, use, preemptions
/// and their cost. Without changes it shows how far the replay is from the recording.
#[utoipa::path(
    get, path = "/api/v1/what-if", tag = "figures",
    params(
        ("set" = Vec<String>, Query, description = "A change, such as `queue.research.share.speech.quota=8`; may be given more than once"),
        ("past" = Option<String>, Query, description = "Recording id from `/api/v1/what-if/candidates`, instead of the latest recording; 404 once it was deleted"),
        PlaceFilter
    ),
    responses(
        (status = 200, body = WhatIfBody),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)
    )
)]
pub(super) async fn what_if(
    State(pages): State<Pages>,
    RawQuery(query): RawQuery,
) -> Result<Json<WhatIfBody>, ApiError> {
    let Question { changes, past, place } = Question::of(query.as_deref().unwrap_or(""))?;
    let failed = || ApiError::unavailable("failed", "the replay failed; try again");
    let permit = REPLAYING.acquire().await.map_err(|_| failed())?;
    let asked = match past {
        Some(id) => {
            let kept = pages.recordings.get(&id, pages.clock).ok_or_else(|| not_kept(&id))?;
            if !place.fits(&kept.place) {
                return Err(ApiError::bad_request(
                    "the recording is of another account or region: leave out account and region",
                ));
            }
            Asked::Kept(kept)
        }
        None => {
            let (_, rows, prices) = kept_past(&watched(&pages, &place)?).await?;
            Asked::Latest((rows, prices))
        }
    };
    let replaying = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        match asked {
            Asked::Kept(kept) => report(&kept.past, &changes, &kept.prices, Some(kept.before())),
            Asked::Latest((rows, prices)) => {
                report(&Past::of_kept(rows).map_err(ApiError::conflict)?, &changes, &prices, None)
            }
        }
    });
    replaying.await.map_err(|_| failed())?.map(Json)
}

/// Which recording to use.
enum Asked {
    Kept(Arc<CachedRecording>),
    Latest((BTreeMap<String, String>, Prices)),
}

/// Replays a recording with changes, and without them unless that replay is given.
fn report(past: &Past, changes: &[Change], prices: &Prices, before: Option<&Before>) -> Result<WhatIfBody, ApiError> {
    let answer = match before {
        Some(before) => what_if::answer_beside(past, before, changes, prices, |_| {}),
        None => what_if::answer(past, changes, prices, |_, _| {}),
    };
    let answer = answer.map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(WhatIfBody::from(Report::of(past, changes, &answer)))
}

fn not_kept(id: &str) -> ApiError {
    ApiError::not_found(format!(
        "there is no recording {}: the latest {MAX_CACHED_RECORDINGS} are kept for an hour; request the candidates \
         again",
        shown(id)
    ))
}

/// Candidates: single changes to try.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CandidatesBody {
    /// Id of the recording they are about: `past` of `/api/v1/what-if`. It is replayed once for all of them.
    past: String,
    candidates: Vec<CandidateView>,
}

/// A candidate change.
#[derive(Debug, Serialize, ToSchema)]
struct CandidateView {
    /// The change; several if a quota grows together with the capacity. Each is a `set` of `/api/v1/what-if`.
    changes: Vec<String>,
    /// Number of instances it adds.
    instances: f64,
}

/// Single changes to try (more instances, quotas, borrowing), to be queried one by one.
#[utoipa::path(
    get, path = "/api/v1/what-if/candidates", tag = "figures", params(PlaceFilter),
    responses(
        (status = 200, body = CandidatesBody),
        (status = 400, body = ErrorBody), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)
    )
)]
pub(super) async fn candidates(
    State(pages): State<Pages>,
    RawQuery(query): RawQuery,
) -> Result<Json<CandidatesBody>, ApiError> {
    let Question { changes, past, place } = Question::of(query.as_deref().unwrap_or(""))?;
    for (name, is_given) in [("set", !changes.is_empty()), ("past", past.is_some())] {
        if is_given {
            return Err(ApiError::bad_request(format!("unknown parameter {name:?}; there are account and region")));
        }
    }
    let failed = || ApiError::unavailable("failed", "the recording is unavailable; try again");
    let permit = REPLAYING.acquire().await.map_err(|_| failed())?;
    let target = watched(&pages, &place)?;
    let (place, rows, prices) = kept_past(&target).await?;
    let reading = tokio::task::spawn_blocking(move || {
        let (kept, displaced) = pages.recordings.keep(place, rows, prices, pages.clock).map_err(ApiError::conflict)?;
        drop(permit);
        if displaced > 0 {
            // A target that is stopping counts nothing any more.
            let _ = target.jobs.try_send(JobQuery::LimitHit { limit: "kept_pasts", times: displaced });
        }
        let view = |candidate: what_if::Candidate| CandidateView {
            changes: candidate.changes.into_iter().map(|change| change.text).collect(),
            instances: candidate.instances,
        };
        let candidates = what_if::candidates(&kept.past, None).into_iter().map(view).collect();
        Ok(CandidatesBody { past: kept.id.clone(), candidates })
    });
    reading.await.map_err(|_| failed())?.map(Json)
}

/// The one selected account and region.
fn watched(pages: &Pages, place: &PlaceFilter) -> Result<WatchedTarget, ApiError> {
    let mut targets = pages.watched(place);
    match (targets.pop(), targets.is_empty()) {
        (Some(target), true) => Ok(target),
        (None, _) => Err(ApiError::conflict("no queue of this account and region is watched")),
        _ => Err(ApiError::conflict("several accounts or regions are watched: give account and region")),
    }
}

/// The recording of a target, with its prices.
async fn kept_past(target: &WatchedTarget) -> Result<(Place, BTreeMap<String, String>, Prices), ApiError> {
    let (rows, prices) = ask(&target.jobs, |reply| JobQuery::Past { reply }).await?;
    Ok((target.place_now(), rows, prices))
}

/// Parameters of a what-if request.
struct Question {
    changes: Vec<Change>,
    past: Option<String>,
    place: PlaceFilter,
}

impl Question {
    fn of(query: &str) -> Result<Self, ApiError> {
        let mut question = Self { changes: Vec::new(), past: None, place: PlaceFilter::default() };
        for (key, value) in pairs(query)? {
            let is_second = match (question.place.take(&key, &value), key.as_ref()) {
                (Some(is_second), _) => is_second,
                (None, "past") => question.past.replace(value.to_string()).is_some(),
                (None, "set") => {
                    let change = what_if::parse(&value).map_err(|error| ApiError::bad_request(error.to_string()))?;
                    question.changes.push(change);
                    false
                }
                (None, _) => {
                    return Err(unknown_parameter(&key, "there are set, past, account and region"));
                }
            };
            if is_second {
                return Err(given_twice(&key));
            }
        }
        let given = question.changes.len();
        if given > MAX_CHANGES {
            return Err(ApiError::bad_request(format!("{given} changes exceed the limit of {MAX_CHANGES}")));
        }
        Ok(question)
    }
}
