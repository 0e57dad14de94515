//! Reports about a past period, as in `trainspotter report --url`.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::Value;
use utoipa::IntoParams;

use crate::web::Pages;
use crate::web::error::{ApiError, ErrorBody};
use crate::web::history::moment;
use crate::web::query::{given_twice, pairs, shown, unknown_parameter};
use crate::web::store_queries::{PastQuery, ask};

/// Default period.
const DEFAULT_SPAN: Duration = Duration::from_secs(7 * 86_400);

/// Maximum period of a report over the API; the command builds longer ones from the archive.
const MAX_SPAN: Duration = Duration::from_secs(100 * 86_400);

/// Maximum grouping keys.
const MAX_KEYS: usize = 4;

/// Parameters of a report.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
struct ReportParameters {
    /// Start time, absolute or relative (`-7d` by default).
    #[param(value_type = Option<String>)]
    from: Option<String>,
    /// End time, in the same form; now by default.
    #[param(value_type = Option<String>)]
    to: Option<String>,
    /// Grouping keys, comma-separated: queue, share, owner, account, region, instance_type, or tags of jobs.
    #[param(value_type = Option<String>)]
    by: Option<String>,
}

/// Use, cost and waste of GPUs, waits and failures in a past period: from the archive, and from the state file for
/// what is not archived yet.
#[utoipa::path(
    get, path = "/api/v1/report", tag = "figures", params(ReportParameters),
    responses((status = 200, body = Object), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn report(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Result<Json<Value>, ApiError> {
    let ReportParameters { from, to, by } = parse(query.as_deref().unwrap_or(""))?;
    let now = pages.clock.now();
    let to = to.map_or(Ok(now), |text| moment("to", &text, now))?;
    let from = from.map_or(Ok(to - DEFAULT_SPAN), |text| moment("from", &text, now))?;
    if from > now {
        return Err(ApiError::bad_request("`from` is in the future: a report covers a past period"));
    }
    if from >= to {
        return Err(ApiError::bad_request("`from` must be before `to`"));
    }
    if to.since(from) > MAX_SPAN {
        let message = "a report over the API covers at most 100 days; `trainspotter report --config` or \
         `--archive` has no such limit";
        return Err(ApiError::bad_request(message));
    }
    let by: Vec<String> =
        by.iter().flat_map(|by| by.split(',')).filter(|key| !key.is_empty()).map(str::to_owned).collect();
    if by.len() > MAX_KEYS {
        return Err(ApiError::bad_request(format!("`by` takes {MAX_KEYS} keys at most")));
    }
    if let Some((_, twice)) =
        by.iter().enumerate().find(|(index, key)| by.iter().take(*index).any(|other| other == *key))
    {
        return Err(ApiError::bad_request(format!("`by` has the key {} twice", shown(twice))));
    }
    // A report covers all targets, and any of them can build it.
    let targets = pages.targets.borrow().clone();
    let no_target = || ApiError::unavailable("no_answer", "no target is ready yet; try again");
    let target = targets.first().ok_or_else(no_target)?;
    let built = ask(&target.history, |reply| PastQuery::Report { from, to, by, reply }).await?;
    built.map(Json).map_err(|invalid| ApiError::bad_request(invalid.0))
}

fn parse(query: &str) -> Result<ReportParameters, ApiError> {
    let mut read = ReportParameters::default();
    for (key, value) in pairs(query)? {
        let field = match &*key {
            "from" => &mut read.from,
            "to" => &mut read.to,
            "by" => &mut read.by,
            _ => {
                return Err(unknown_parameter(&key, "there are from, to and by"));
            }
        };
        if field.replace(value.into_owned()).is_some() {
            return Err(given_twice(&key));
        }
    }
    Ok(read)
}
