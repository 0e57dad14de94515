//! Silences over the API.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::notify::silence::Silence;
use crate::web::Pages;
use crate::web::access::Caller;
use crate::web::error::{ApiError, ErrorBody};
use crate::web::json_body::Body;
use crate::web::operation_messages::author;
use crate::web::query::{given_twice, pairs, shown, unknown_parameter};
use trainspotter_core::model::{Matchers, Timestamp};

/// Maximum length of a silence.
const MAX_SPAN: Duration = Duration::from_secs(366 * 86_400);

/// Maximum characters of a comment.
const MAX_COMMENT: usize = 1_000;

/// A silence: suppresses notifications of matching alerts for a set time.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SilenceRow {
    /// Assigned by the service, from 1.
    id: i64,
    state: SilenceState,
    /// Label matchers in Alertmanager's notation; all must match.
    matchers: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    starts_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
    /// Who added it: the name of a token, or the name given on the command line.
    author: String,
    /// The reason.
    comment: String,
}

/// State of a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SilenceState {
    Active,
    Over,
}

impl SilenceRow {
    /// The state of a silence at `now`.
    pub(crate) fn at(silence: &Silence, now: Timestamp) -> Self {
        let Silence { id, matchers, starts_at, ends_at, author, comment } = silence.clone();
        Self {
            id,
            state: if now < ends_at { SilenceState::Active } else { SilenceState::Over },
            matchers: matchers.iter().map(ToString::to_string).collect(),
            starts_at,
            ends_at,
            author,
            comment,
        }
    }
}

/// A silence that holds back an alert's notifications.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct SilenceOfAlert {
    /// Id of the silence.
    id: i64,
    /// Its end.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
    /// Its author.
    author: String,
    /// The reason.
    comment: String,
}

impl From<&Silence> for SilenceOfAlert {
    fn from(silence: &Silence) -> Self {
        let Silence { id, ends_at, author, comment, .. } = silence.clone();
        Self { id, ends_at, author, comment }
    }
}

/// Parameters of the list of silences.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
struct SilenceParameters {
    /// `active` or `over`; all by default.
    #[param(value_type = Option<String>)]
    state: Option<SilenceState>,
}

/// Silences by id, including expired ones, which are kept for a week.
#[utoipa::path(
    get, path = "/api/v1/silences", tag = "operation", params(SilenceParameters),
    responses((status = 200, body = Vec<SilenceRow>), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn silences(
    State(pages): State<Pages>,
    RawQuery(query): RawQuery,
) -> Result<Json<Vec<SilenceRow>>, ApiError> {
    let SilenceParameters { state } = SilenceParameters::parse(query.as_deref().unwrap_or_default())?;
    let found = pages.list_silences().await?;
    let now = pages.clock.now();
    let rows = found.iter().map(|silence| SilenceRow::at(silence, now));
    Ok(Json(rows.filter(|row| state.is_none_or(|state| row.state == state)).collect()))
}

impl SilenceParameters {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (key, value) in pairs(query)? {
            let state = match (&*key, &*value) {
                ("state", "active") => SilenceState::Active,
                ("state", "over") => SilenceState::Over,
                ("state", _) => {
                    return Err(ApiError::bad_request(format!(
                        "state is {}; there are active and over",
                        shown(&value)
                    )));
                }
                _ => return Err(unknown_parameter(&key, "there is state")),
            };
            if read.state.replace(state).is_some() {
                return Err(given_twice("state"));
            }
        }
        Ok(read)
    }
}

/// A new silence that begins now. Its author is the name of the token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSilence {
    /// Label matchers, all of which must match: `label=glob`, or in Alertmanager's notation, such as
    /// `severity!=page`.
    matchers: Vec<String>,
    /// Duration, instead of `ends_at`. A year at most.
    duration_seconds: Option<f64>,
    /// End, instead of `duration_seconds`.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    /// The reason.
    comment: String,
    /// Accept matchers that no alert of the current rules can match.
    #[serde(default)]
    allow_unmatched: bool,
}

/// Adds a silence: from now on, notifications of matching alerts are suppressed. Alerts still firing at its end are
/// sent then.
#[utoipa::path(
    post, path = "/api/v1/silences", tag = "operation", request_body = NewSilence,
    responses(
        (status = 201, body = SilenceRow), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 409, body = ErrorBody), (status = 415, body = ErrorBody),
        (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)
    )
)]
pub(super) async fn add_silence(
    State(pages): State<Pages>,
    caller: Extension<Caller>,
    Body(new): Body<NewSilence>,
) -> Result<(StatusCode, Json<SilenceRow>), ApiError> {
    let (now, allow_unmatched) = (pages.clock.now(), new.allow_unmatched);
    let silence = new.checked(author(&caller)?, now)?;
    let added = pages.add_silence(silence, allow_unmatched).await?;
    Ok((StatusCode::CREATED, Json(SilenceRow::at(&added, now))))
}

impl NewSilence {
    fn checked(self, author: String, now: Timestamp) -> Result<Silence, ApiError> {
        let matchers = self.matchers.iter().map(|text| Matchers::parse(text)).collect::<Result<Vec<_>, _>>();
        let matchers = matchers.and_then(Matchers::all).map_err(|why| ApiError::invalid(format!("matchers: {why}")))?;
        if matchers.is_empty() {
            return Err(ApiError::invalid("matchers: at least one is required, such as `queue=prod-*`"));
        }
        let comment = self.comment.trim().to_owned();
        if comment.is_empty() || comment.chars().count() > MAX_COMMENT {
            return Err(ApiError::invalid(format!(
                "comment: a reason of at most {MAX_COMMENT} characters is required"
            )));
        }
        let ends_at = match (self.duration_seconds, self.ends_at) {
            (Some(seconds), None) => {
                let span = Duration::try_from_secs_f64(seconds).ok().filter(|span| *span <= MAX_SPAN);
                now + span.ok_or_else(|| ApiError::invalid("duration_seconds: must be above 0 and at most 366 days"))?
            }
            (None, Some(at)) => at,
            (Some(_), Some(_)) | (None, None) => {
                return Err(ApiError::invalid("either duration_seconds or ends_at is required"));
            }
        };
        if ends_at <= now || ends_at > now + MAX_SPAN {
            return Err(ApiError::invalid("the end must be in the future and within 366 days"));
        }
        Ok(Silence { id: 0, matchers, starts_at: now, ends_at, author, comment })
    }
}

/// An empty object.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Ends a silence now.
#[utoipa::path(
    post, path = "/api/v1/silences/{id}/end", tag = "operation", request_body = Nothing,
    params(("id" = i64, Path, description = "Id from `GET /api/v1/silences`")),
    responses(
        (status = 200, body = SilenceRow), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 415, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)
    )
)]
pub(super) async fn end_silence(
    State(pages): State<Pages>,
    id: Result<Path<i64>, PathRejection>,
    caller: Extension<Caller>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<SilenceRow>, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::not_found("silence ids are whole numbers; see GET /api/v1/silences"))?;
    let author = author(&caller)?;
    let ended = pages.end_silence(id, &author).await?;
    Ok(Json(SilenceRow::at(&ended, pages.clock.now())))
}
