//! Alerts: firing ones first, then pending ones, then what was resolved recently.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::notify::silence::Silence;
use crate::web::Pages;
use crate::web::Snapshot;
use crate::web::error::{ApiError, ErrorBody};
use crate::web::place_filter::PlaceFilter;
use crate::web::silences::SilenceOfAlert;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;
use trainspotter_core::rules::AlertState;
use trainspotter_core::rules::ResolveReason;
use trainspotter_core::rules::Transition;
use trainspotter_core::rules::TransitionKind;
use trainspotter_core::rules::Unit;

/// One alert.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlertRow {
    /// Stable over ticks and restarts: derived from the rule and the alert's labels.
    id: String,
    /// The rule's name.
    rule: String,
    /// AWS account of the alert; null while unknown.
    account: Option<String>,
    /// The AWS region.
    region: Option<String>,
    state: AlertRowState,
    /// All labels, including `alertname`.
    labels: BTreeMap<String, String>,
    /// The rule's annotations with current values.
    annotations: BTreeMap<String, String>,
    /// The latest value, in the metric's unit; null without data.
    value: Option<f64>,
    /// The value when it fired; null while pending.
    value_at_fire: Option<f64>,
    /// Unit of values and threshold: `count`, `seconds`, `gpus`, `gpu_seconds`, `instances`, `ratio`, `bytes` or
    /// `dollars`.
    #[schema(value_type = String)]
    unit: Unit,
    /// The threshold; null before the condition first held.
    threshold: Option<f64>,
    /// When the condition became true.
    #[schema(value_type = String, format = DateTime)]
    active_at: Timestamp,
    /// When it fired; null while pending.
    #[schema(value_type = Option<String>, format = DateTime)]
    fired_at: Option<Timestamp>,
    /// When it was last evaluated.
    #[schema(value_type = String, format = DateTime)]
    evaluated_at: Timestamp,
    /// When it was resolved; null if it is not.
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved_at: Option<Timestamp>,
    /// Why it was resolved: `recovered`, `gone`, `no_data`, `rule_removed` or `target_removed`; null if it is not.
    #[schema(value_type = Option<String>)]
    ending: Option<ResolveReason>,
    /// End of the silences that hold back its notifications; null without one.
    #[schema(value_type = Option<String>, format = DateTime)]
    silenced_until: Option<Timestamp>,
    /// Active silences for it, the longest-lasting first; empty once resolved.
    silences: Vec<SilenceOfAlert>,
}

/// State of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Standing)]
enum AlertRowState {
    Pending,
    Firing,
    Resolved,
}

/// Alerts: firing ones first, the longest-firing at the top, then pending ones, then recently resolved ones.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", params(PlaceFilter), responses((status = 200, body = Vec<AlertRow>), (status = 400, body = ErrorBody)))]
pub(super) async fn alerts(
    State(pages): State<Pages>,
    RawQuery(query): RawQuery,
) -> Result<Json<Vec<AlertRow>>, ApiError> {
    let latest = pages.latest_of(&PlaceFilter::parse(query.as_deref())?);
    Ok(Json(rows(&latest, &pages.all_silences(), pages.clock.now())))
}

fn rows(snapshots: &[Snapshot], silences: &[Silence], now: Timestamp) -> Vec<AlertRow> {
    let active = active(silences, now);
    let live = |alert| AlertRow::live(alert).silenced_by(&active);
    let mut live: Vec<_> = snapshots.iter().flat_map(|snapshot| snapshot.alerts.iter()).map(live).collect();
    live.sort_by_key(|row| (Reverse(row.fired_at.is_some()), row.fired_at.unwrap_or(row.active_at)));
    let mut ended: Vec<_> =
        snapshots.iter().flat_map(|one| one.resolved.iter()).filter_map(AlertRow::resolved).collect();
    if snapshots.len() > 1 {
        ended.sort_by_key(|row| Reverse(row.resolved_at));
    }
    live.extend(ended);
    live
}

/// Active silences, the longest-lasting first.
fn active(silences: &[Silence], now: Timestamp) -> Vec<&Silence> {
    let mut active: Vec<&Silence> = silences.iter().filter(|silence| silence.is_active(now)).collect();
    active.sort_by_key(|silence| Reverse(silence.ends_at));
    active
}

impl AlertRow {
    /// When it fired, or when its condition became true.
    pub(super) fn began_at(&self) -> Timestamp {
        self.fired_at.unwrap_or(self.active_at)
    }

    pub(super) fn resolved_at(&self) -> Option<Timestamp> {
        self.resolved_at
    }

    pub(super) fn ending(&self) -> Option<ResolveReason> {
        self.ending
    }

    /// The row of a pending or firing alert, with its silences.
    pub(super) fn now(alert: &Alert, silences: &[Silence], now: Timestamp) -> Self {
        Self::live(alert).silenced_by(&active(silences, now))
    }

    /// The row of an alert as it was when it fired or was resolved.
    pub(super) fn of(transition: &Transition) -> Self {
        Self::resolved(transition).unwrap_or_else(|| Self::live(&transition.alert))
    }

    pub(super) fn live(alert: &Alert) -> Self {
        let (state, active_at) = match alert.state {
            AlertState::Pending { active_at } => (AlertRowState::Pending, active_at),
            AlertState::Firing { active_at, .. } => (AlertRowState::Firing, active_at),
        };
        let alert = alert.clone();
        Self {
            id: alert.id.to_string(),
            rule: alert.rule,
            account: alert.labels.get("account").cloned(),
            region: alert.labels.get("region").cloned(),
            state,
            labels: alert.labels,
            annotations: alert.annotations,
            value: alert.value,
            value_at_fire: alert.value_at_fire,
            unit: alert.unit,
            threshold: alert.threshold,
            active_at,
            fired_at: alert.state.fired_at(),
            evaluated_at: alert.evaluated_at,
            resolved_at: None,
            ending: None,
            silenced_until: None,
            silences: Vec::new(),
        }
    }

    /// `active` in display order.
    fn silenced_by(self, active: &[&Silence]) -> Self {
        let of_it: Vec<&&Silence> = active.iter().filter(|silence| silence.matches(&self.labels)).collect();
        Self {
            silenced_until: of_it.first().map(|silence| silence.ends_at),
            silences: of_it.into_iter().map(|silence| SilenceOfAlert::from(*silence)).collect(),
            ..self
        }
    }

    fn resolved(transition: &Transition) -> Option<Self> {
        match transition.kind {
            TransitionKind::Fired => None,
            TransitionKind::Resolved(ending) => Some(Self {
                state: AlertRowState::Resolved,
                resolved_at: Some(transition.at),
                ending: Some(ending),
                ..Self::live(&transition.alert)
            }),
        }
    }
}
