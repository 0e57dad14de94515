//! The outbox over the API: pending and dead notifications.

use axum::extract::{RawQuery, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

use crate::notify::OutboxRow;
use crate::notify::outbox::RowState;
use crate::web::Pages;
use crate::web::access::Caller;
use crate::web::error::{ApiError, ErrorBody};
use crate::web::json_body::Body;
use crate::web::operation_messages::{Change, author};
use crate::web::query::{given_twice, pairs, shown, unknown_parameter};
use trainspotter_core::model::Timestamp;

/// Default page size.
const DEFAULT_LIMIT: usize = 100;

/// Maximum page size.
const MAX_LIMIT: usize = 500;

/// Maximum ids per request.
const MAX_IDS: usize = 500;

/// States of a notification.
const STATES: [&str; 4] = ["pending", "dead", "delivered", "muted"];

/// Filter of notifications. `None` or empty means no restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxFilter {
    /// AWS account.
    pub account: Option<String>,
    /// AWS region.
    pub region: Option<String>,
    /// Receiver.
    pub receiver: Option<String>,
    /// States.
    pub states: Vec<&'static str>,
    /// Prefix of the id.
    pub id: Option<String>,
    /// Id of the alert.
    pub alert: Option<String>,
    /// Position after which to start.
    pub after: Option<String>,
    /// Maximum number.
    pub limit: usize,
}

/// A page of notifications, in order of creation.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct NotificationPage {
    /// The notifications.
    pub notifications: Vec<NotificationRow>,
    /// Value of `after` for the next page; null at the end.
    #[schema(value_type = Option<String>)]
    pub next: Option<String>,
}

/// A notification to one receiver.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotificationRow {
    /// Stable over retries and restarts.
    id: String,
    /// Receiver.
    receiver: String,
    /// `pending`, `dead` (given up), `delivered` or `muted` (never sent, because its episode ended before).
    #[schema(value_type = String)]
    state: &'static str,
    /// `fired` or `resolved`.
    #[schema(value_type = String)]
    kind: &'static str,
    /// AWS account of the alert; null while unknown.
    account: Option<String>,
    /// The AWS region.
    region: Option<String>,
    /// The rule.
    rule: String,
    /// The alert.
    alert: String,
    /// The alert's labels.
    labels: BTreeMap<String, String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Number of attempts.
    attempts: u32,
    /// Time of the next attempt; null unless pending.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    /// When it was delivered or given up; null while pending.
    #[schema(value_type = Option<String>, format = DateTime)]
    settled_at: Option<Timestamp>,
    /// Error of the last attempt, or what holds it back.
    last_error: Option<String>,
}

impl From<OutboxRow> for NotificationRow {
    fn from(row: OutboxRow) -> Self {
        let (next_attempt_at, settled_at) = match row.state {
            RowState::Pending => (Some(row.next_attempt_at), None),
            RowState::Delivered { at } | RowState::Dead { at } | RowState::Muted { at } => (None, Some(at)),
        };
        Self {
            id: row.id.to_string(),
            state: row.state.as_str(),
            kind: row.kind().as_str(),
            receiver: row.receiver,
            account: row.transition.alert.labels.get("account").cloned(),
            region: row.transition.alert.labels.get("region").cloned(),
            rule: row.transition.alert.rule,
            alert: row.transition.alert.id.to_string(),
            labels: row.transition.alert.labels,
            created_at: row.created_at,
            attempts: row.attempts,
            next_attempt_at,
            settled_at,
            last_error: row.last_error,
        }
    }
}

/// Filters of a list of notifications.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documentation only; `OutboxFilter` is parsed")]
struct OutboxParameters {
    /// Only notifications of this AWS account.
    account: Option<String>,
    /// Only notifications of this AWS region.
    region: Option<String>,
    /// Only notifications of this receiver.
    receiver: Option<String>,
    /// `pending`, `dead`, `delivered` or `muted`, or several, comma-separated; pending and dead by default.
    state: Option<String>,
    /// Only notifications whose id has this prefix.
    id: Option<String>,
    /// Only notifications of this alert.
    alert: Option<String>,
    /// Page size, 1 to 500; 100 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next` of the previous page.
    after: Option<String>,
}

/// Undelivered notifications, or others by `state`.
#[utoipa::path(
    get, path = "/api/v1/outbox", tag = "operation", params(OutboxParameters),
    responses((status = 200, body = NotificationPage), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn outbox(
    State(pages): State<Pages>,
    RawQuery(query): RawQuery,
) -> Result<Json<NotificationPage>, ApiError> {
    let filter = parse(query.as_deref().unwrap_or_default())?;
    pages.list_outbox(filter).await.map(Json)
}

fn parse(query: &str) -> Result<OutboxFilter, ApiError> {
    let mut read = OutboxFilter { limit: DEFAULT_LIMIT, ..OutboxFilter::default() };
    let mut seen = Vec::new();
    for (key, value) in pairs(query)? {
        match &*key {
            "account" => read.account = Some(value.into_owned()),
            "region" => read.region = Some(value.into_owned()),
            "receiver" => read.receiver = Some(value.into_owned()),
            "state" => read.states = states(&value)?,
            "id" => read.id = Some(value.into_owned()),
            "alert" => read.alert = Some(value.into_owned()),
            "limit" => read.limit = limit(&value)?,
            "after" => {
                let stale = || format!("after is {}; it must be the `next` of the page before", shown(&value));
                let place = value.split_once('@').map_or(&*value, |(place, _)| place);
                place.parse::<i64>().map_err(|_| ApiError::bad_request(stale()))?;
                read.after = Some(value.into_owned());
            }
            _ => {
                return Err(unknown_parameter(
                    &key,
                    "there are account, region, receiver, state, id, alert, limit and after",
                ));
            }
        }
        if seen.contains(&key) {
            return Err(given_twice(&key));
        }
        seen.push(key);
    }
    if read.states.is_empty() {
        read.states = vec!["pending", "dead"];
    }
    Ok(read)
}

fn states(value: &str) -> Result<Vec<&'static str>, ApiError> {
    let one = |word: &str| {
        let known = STATES.into_iter().find(|state| *state == word);
        known.ok_or_else(|| {
            ApiError::bad_request(format!("unknown state {}; there are {}", shown(word), STATES.join(", ")))
        })
    };
    value.split(',').map(one).collect()
}

fn limit(value: &str) -> Result<usize, ApiError> {
    value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
        ApiError::bad_request(format!("limit is {}; it must be a whole number from 1 to {MAX_LIMIT}", shown(value)))
    })
}

/// Selects notifications that can be changed: those that match both fields.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    /// Only those of this receiver.
    receiver: Option<String>,
    /// Only those whose id has one of these prefixes; all by default.
    #[serde(default)]
    ids: Vec<String>,
}

/// Number of changed notifications.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Changed {
    /// Including their resolves.
    changed: usize,
}

/// Retries notifications now, including dead ones. Without `receiver` and `ids`, all of them.
#[utoipa::path(
    post, path = "/api/v1/outbox/retry", tag = "operation", request_body = Chosen,
    responses(
        (status = 200, body = Changed), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 415, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)
    )
)]
pub(super) async fn retry(
    State(pages): State<Pages>,
    caller: Extension<Caller>,
    Body(chosen): Body<Chosen>,
) -> Result<Json<Changed>, ApiError> {
    change(&pages, &caller, Change::Retry, chosen).await
}

/// Gives up pending notifications. They are kept for a week and can be retried.
#[utoipa::path(
    post, path = "/api/v1/outbox/drop", tag = "operation", request_body = Chosen,
    responses(
        (status = 200, body = Changed), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 415, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)
    )
)]
pub(super) async fn drop_notifications(
    State(pages): State<Pages>,
    caller: Extension<Caller>,
    Body(chosen): Body<Chosen>,
) -> Result<Json<Changed>, ApiError> {
    if chosen.receiver.is_none() && chosen.ids.is_empty() {
        return Err(ApiError::invalid("receiver or ids are required; GET /api/v1/outbox lists them"));
    }
    change(&pages, &caller, Change::Drop, chosen).await
}

async fn change(
    pages: &Pages,
    caller: &Extension<Caller>,
    change: Change,
    chosen: Chosen,
) -> Result<Json<Changed>, ApiError> {
    let Chosen { receiver, ids } = chosen;
    // An empty prefix would match every id.
    if ids.iter().any(|id| id.is_empty() || !id.bytes().all(|digit| digit.is_ascii_hexdigit())) || ids.len() > MAX_IDS {
        return Err(ApiError::invalid(format!(
            "ids: up to {MAX_IDS} beginnings of ids, as GET /api/v1/outbox lists them"
        )));
    }
    let author = author(caller)?;
    let changed = pages.change_outbox(change, receiver, ids, &author).await?;
    Ok(Json(Changed { changed }))
}
