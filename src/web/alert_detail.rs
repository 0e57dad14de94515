//! One alert: its state, its firings, and its value before and since.

use std::cmp::Reverse;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::{IntoParams, ToSchema};

use crate::notify::message::Message;
use crate::web::Pages;
use crate::web::alerts::AlertRow;
use crate::web::error::{ApiError, ErrorBody};
use crate::web::history::{MAX_FRAMES, MAX_MOMENTS, moment};
use crate::web::jobs::{JobQuery, ask as ask_engine};
use crate::web::place_filter::PlaceFilter;
use crate::web::query::{given_twice, pairs, shown, unknown_parameter};
use crate::web::store_queries::{PastQuery, ReadFrames, ask};
use crate::web::watched_targets::WatchedTarget;
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{Alert, Condition, KEEP_ENDED, PastValues, Transition, Unit};

/// Time before the firing that is shown.
const BEFORE: Duration = Duration::from_secs(6 * 3_600);

/// Time after the end that is shown.
const AFTER: Duration = Duration::from_secs(3_600);

/// Maximum alerts per response.
const MAX_LISTED: u32 = 1_000;

/// One alert.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlertDetail {
    /// The alert, in its current or final state.
    alert: AlertRow,
    /// Its rule; null if the rule was removed or changed.
    rule: Option<RuleView>,
    /// Link to its subject in the AWS console; null if unknown.
    console: Option<String>,
    /// Its firings, latest first, of the last 30 days.
    episodes: Vec<Episode>,
}

/// The condition that an alert's value is compared with.
#[derive(Debug, Serialize, ToSchema)]
struct RuleView {
    /// As in `docs/METRICS.md`.
    #[schema(value_type = String)]
    metric: &'static str,
    /// Whether the value must be above the threshold; otherwise below.
    above: bool,
    threshold: f64,
    /// Value at which a firing alert resolves.
    recover: f64,
    /// How long the condition must hold before the alert fires.
    for_seconds: f64,
}

/// A period in which an alert was firing.
#[derive(Debug, Serialize, ToSchema)]
struct Episode {
    #[schema(value_type = String, format = DateTime)]
    fired_at: Timestamp,
    /// Null while it fires.
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved_at: Option<Timestamp>,
    /// Why it was resolved; null while it fires.
    #[schema(value_type = Option<String>)]
    ending: Option<trainspotter_core::rules::ResolveReason>,
    value_at_fire: Option<f64>,
}

/// The value behind an alert over time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlertFigure {
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// As in `docs/METRICS.md`; null if the rule is gone.
    #[schema(value_type = Option<String>)]
    metric: Option<&'static str>,
    #[schema(value_type = String)]
    unit: Unit,
    threshold: Option<f64>,
    /// Value at which a firing alert resolves; null if the rule is gone.
    recover: Option<f64>,
    /// Minimum interval between values.
    step_seconds: f64,
    /// Times of the stored frames.
    #[schema(value_type = Vec<String>)]
    at: Vec<Timestamp>,
    /// One value per time: in each step the one nearest to firing; null if there was none.
    values: Vec<Option<f64>>,
    /// Why there are no values; null if there are some.
    why_none: Option<&'static str>,
}

/// One alert, in its current or final state.
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}", tag = "alerts",
    params(("id" = String, Path, description = "Id from `GET /api/v1/alerts`")),
    responses((status = 200, body = AlertDetail), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn alert(
    State(pages): State<Pages>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<AlertDetail>, ApiError> {
    let Found { row, alert, episodes, target } = find(&pages, id).await?;
    let console = Message::console_of(&alert);
    let past = rule_of(&target, alert).await?;
    let rule = past.as_ref().and_then(|past| {
        let (above, threshold, recover) = parts(past.condition()?);
        let (metric, for_seconds) = (past.metric()?.name, past.hold().as_secs_f64());
        Some(RuleView { metric, above, threshold, recover, for_seconds })
    });
    Ok(Json(AlertDetail { alert: row, rule, console, episodes: episodes.iter().map(Episode::from).collect() }))
}

/// Parameters of an alert's values.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documentation only; `times` parses it")]
struct FigureParameters {
    /// Start time, as in `/api/v1/history`; six hours before it last fired by default.
    from: Option<String>,
    /// End time; an hour after its end, or now, by default.
    to: Option<String>,
}

/// The value behind an alert over time, by default from six hours before it fired.
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}/figure", tag = "alerts",
    params(("id" = String, Path, description = "Id from `GET /api/v1/alerts`"), FigureParameters),
    responses(
        (status = 200, body = AlertFigure), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody)
    )
)]
pub(super) async fn figure(
    State(pages): State<Pages>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<AlertFigure>, ApiError> {
    let now = pages.clock.now();
    let (from, to) = times(query.as_deref().unwrap_or_default(), now)?;
    let Found { row, alert, target, .. } = find(&pages, id).await?;
    let to = to.unwrap_or_else(|| row.resolved_at().map_or(now, |at| (at + AFTER).min(now)));
    let from = from.unwrap_or_else(|| row.began_at().min(to) - BEFORE);
    if from >= to {
        return Err(ApiError::bad_request("`from` must be before `to`"));
    }
    let (unit, threshold) = (alert.unit, alert.threshold);
    let step = to.since(from) / MAX_MOMENTS;
    let figure = AlertFigure {
        from,
        to,
        metric: None,
        unit,
        threshold,
        recover: None,
        step_seconds: step.as_secs_f64(),
        at: Vec::new(),
        values: Vec::new(),
        why_none: None,
    };
    let Some(past) = rule_of(&target, alert).await? else {
        let why_none = Some("its rule was removed or changed");
        return Ok(Json(AlertFigure { why_none, ..figure }));
    };
    let (above, threshold, recover) = past.condition().map(parts).unwrap_or_default();
    let (metric, unit) = (past.metric().map(|metric| metric.name), past.unit().unwrap_or(unit));
    let figure = AlertFigure { metric, unit, threshold: Some(threshold), recover: Some(recover), ..figure };
    if past.metric().is_some_and(|metric| metric.labels.contains(&"job")) {
        let why_none = Some("metrics of single jobs are not recorded; the page of the job shows its times");
        return Ok(Json(AlertFigure { why_none, ..figure }));
    }
    let every = (to.since(from) / MAX_FRAMES).min(step);
    let begins = from - past.looks_back();
    let mut figure = ask(&target.history, |reply| {
        let reader = Box::new(Reader { past, above, step, current: None, figure, reply });
        PastQuery::Frames { from: begins, to, every, reader }
    })
    .await?;
    if figure.values.iter().all(Option::is_none) {
        figure.why_none = Some("no metrics were recorded in this period");
    }
    Ok(Json(figure))
}

#[derive(Debug)]
struct Reader {
    past: PastValues,
    above: bool,
    step: Duration,
    current: Option<u128>,
    figure: AlertFigure,
    reply: oneshot::Sender<AlertFigure>,
}

impl ReadFrames for Reader {
    fn take(&mut self, frame: &Frame) {
        let value = self.past.take(frame);
        if frame.at < self.figure.from {
            return;
        }
        let step = frame.at.since(self.figure.from).as_nanos() / self.step.as_nanos().max(1);
        let is_same = self.current.replace(step) == Some(step);
        match (self.figure.at.last_mut(), self.figure.values.last_mut()) {
            (Some(at), Some(kept)) if is_same => {
                *at = frame.at;
                let worse = |kept: f64, value: f64| if self.above { kept.max(value) } else { kept.min(value) };
                *kept = match (*kept, value) {
                    (Some(kept), Some(value)) => Some(worse(kept, value)),
                    (kept, value) => kept.or(value),
                };
            }
            _ => {
                self.figure.at.push(frame.at);
                self.figure.values.push(value);
            }
        }
    }

    fn is_awaited(&self) -> bool {
        !self.reply.is_closed()
    }

    fn finish(self: Box<Self>) {
        // The client may have disconnected.
        let _ = self.reply.send(self.figure);
    }
}

/// Parameters of the list of past alerts.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
struct PastParameters {
    /// Start time, as in `/api/v1/history`; a day before `to` by default.
    from: Option<String>,
    /// End time; now by default.
    to: Option<String>,
    /// Only alerts of this queue.
    queue: Option<String>,
    /// Only alerts of this share, and those of the whole queue.
    share: Option<String>,
}

/// Alerts that were firing at any time between `from` and `to`: latest first, at most 1,000.
#[utoipa::path(
    get, path = "/api/v1/alerts/past", tag = "alerts", params(PastParameters, PlaceFilter),
    responses((status = 200, body = Vec<AlertRow>), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn past(
    State(pages): State<Pages>,
    RawQuery(query): RawQuery,
) -> Result<Json<Vec<AlertRow>>, ApiError> {
    let (mut read, mut place) = (PastParameters::default(), PlaceFilter::default());
    for (key, value) in pairs(query.as_deref().unwrap_or_default())? {
        match place.take(&key, &value) {
            None => {}
            Some(false) => continue,
            Some(true) => return Err(given_twice(&key)),
        }
        let place = match &*key {
            "from" => &mut read.from,
            "to" => &mut read.to,
            "queue" => &mut read.queue,
            "share" => &mut read.share,
            _ => {
                return Err(unknown_parameter(&key, "there are account, region, from, to, queue and share"));
            }
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(given_twice(&key));
        }
    }
    let now = pages.clock.now();
    let to = read.to.map_or(Ok(now), |text| moment("to", &text, now))?;
    let from = read.from.map_or(Ok(to - Duration::from_secs(86_400)), |text| moment("from", &text, now))?;
    let PastParameters { queue, share, .. } =
        PastParameters { from: None, to: None, queue: read.queue, share: read.share };
    let targets = pages.watched(&place);
    let asking = targets.iter().map(|target| {
        let (queue, share) = (queue.clone(), share.clone());
        ask(&target.history, move |reply| PastQuery::Alerts { from, to, queue, share, limit: MAX_LISTED, reply })
    });
    let mut found = answered(join_all(asking).await)?;
    if targets.len() > 1 {
        found.sort_by_key(|transition| Reverse(transition.alert.state.fired_at()));
        found.truncate(MAX_LISTED as usize);
    }
    Ok(Json(found.iter().map(AlertRow::of).collect()))
}

/// An alert with its target.
struct Found {
    row: AlertRow,
    alert: Alert,
    episodes: Vec<Transition>,
    target: WatchedTarget,
}

/// Finds an alert by its id: current or recently resolved, or else from the stored history.
async fn find(pages: &Pages, id: Result<Path<String>, PathRejection>) -> Result<Found, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::bad_request("the alert's id is not UTF-8 text"))?;
    let targets = pages.watched(&PlaceFilter::default());
    let episodes_of = |target: &WatchedTarget| {
        let (history, alert) = (target.history.clone(), id.clone());
        async move { ask(&history, |reply| PastQuery::Episodes { alert, reply }).await }
    };
    for target in &targets {
        let latest = target.latest();
        let found = match latest.alerts.iter().find(|alert| alert.id.as_str() == id) {
            Some(alert) => Some((AlertRow::now(alert, &pages.all_silences(), pages.clock.now()), alert.clone())),
            None => {
                let resolved = latest.resolved.iter().find(|transition| transition.alert.id.as_str() == id);
                resolved.map(|transition| (AlertRow::of(transition), transition.alert.clone()))
            }
        };
        if let Some((row, alert)) = found {
            let episodes = episodes_of(target).await.unwrap_or_default();
            return Ok(Found { row, alert, episodes, target: target.clone() });
        }
    }
    let mut failed = None;
    for target in targets {
        match episodes_of(&target).await {
            Ok(episodes) => {
                if let Some(last) = episodes.first() {
                    return Ok(Found { row: AlertRow::of(last), alert: last.alert.clone(), episodes, target });
                }
            }
            Err(error) => failed = Some(error),
        }
    }
    let days = KEEP_ENDED.as_secs() / 86_400;
    let message =
        format!("no alert has the id {}: it ended more than {days} days ago, or was a test notification", shown(&id));
    Err(failed.unwrap_or_else(|| ApiError::not_found(message)))
}

/// The combined answers of the targets; an error if none answered.
fn answered<T>(answers: Vec<Result<Vec<T>, ApiError>>) -> Result<Vec<T>, ApiError> {
    let (mut all, mut any, mut failed) = (Vec::new(), false, None);
    for answer in answers {
        match answer {
            Ok(found) => {
                any = true;
                all.extend(found);
            }
            Err(error) => failed = Some(error),
        }
    }
    failed.filter(|_| !any).map_or(Ok(all), Err)
}

async fn rule_of(target: &WatchedTarget, alert: Alert) -> Result<Option<PastValues>, ApiError> {
    ask_engine(&target.jobs, |reply| JobQuery::PastValues { alert: Box::new(alert), reply }).await
}

/// Direction (`true` is above), threshold, and value at which the alert resolves.
fn parts(condition: Condition) -> (bool, f64, f64) {
    match condition {
        Condition::Above { threshold, recover } => (true, threshold, recover),
        Condition::Below { threshold, recover } => (false, threshold, recover),
    }
}

fn times(query: &str, now: Timestamp) -> Result<(Option<Timestamp>, Option<Timestamp>), ApiError> {
    let (mut from, mut to) = (None, None);
    for (key, value) in pairs(query)? {
        let place = match &*key {
            "from" => &mut from,
            "to" => &mut to,
            _ => {
                return Err(unknown_parameter(&key, "there are from and to"));
            }
        };
        if place.replace(moment(&key, &value, now)?).is_some() {
            return Err(given_twice(&key));
        }
    }
    Ok((from, to))
}

impl From<&Transition> for Episode {
    fn from(transition: &Transition) -> Self {
        let row = AlertRow::of(transition);
        Self {
            fired_at: row.began_at(),
            resolved_at: row.resolved_at(),
            ending: row.ending(),
            value_at_fire: transition.alert.value_at_fire,
        }
    }
}
