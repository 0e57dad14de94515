//! Traces of alerts in the service's own telemetry: from the tick in which an alert fires or resolves to each
//! delivery attempt.
//!
//! The spans come from different tasks and, after a restart, from different processes. The trace id is therefore
//! derived from the alert's id.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use sha2::{Digest, Sha256};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::notify::outbox::OutboxRow;
use trainspotter_core::rules::{Alert, AlertState, Transition, TransitionKind};

/// Span of the tick in which an alert fires or resolves.
pub fn of_transition(transition: &Transition) -> Span {
    let alert = &transition.alert;
    let kind = match transition.kind {
        TransitionKind::Fired => "fired",
        TransitionKind::Resolved(_) => "resolved",
    };
    within(tracing::debug_span!("alert.transition", alert = %alert.rule, id = %alert.id, kind), alert)
}

/// Span of a delivery attempt.
pub(crate) fn of_delivery(row: &OutboxRow) -> Span {
    let alert = &row.transition.alert;
    let span = tracing::debug_span!(
        "alert.delivery",
        alert = %alert.rule,
        id = %alert.id,
        receiver = row.receiver,
        attempt = row.attempts + 1,
    );
    within(span, alert)
}

fn within(span: Span, alert: &Alert) -> Span {
    if !span.is_disabled() {
        let parent = opentelemetry::Context::new().with_remote_span_context(trace_of(alert));
        // Fails only if tracing is off.
        let _ = span.set_parent(parent);
    }
    span
}

/// Trace context of an alert, from the time its condition became true.
fn trace_of(alert: &Alert) -> SpanContext {
    let (AlertState::Pending { active_at } | AlertState::Firing { active_at, .. }) = alert.state;
    let digest = Sha256::digest(format!("alert {} {}", alert.id, active_at.millis()));
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    let mut bytes = digest.iter().copied();
    trace.iter_mut().chain(span.iter_mut()).zip(&mut bytes).for_each(|(to, from)| *to = from);
    let (trace, span) = (TraceId::from_bytes(trace), SpanId::from_bytes(span));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_is_that_of_the_alert_and_of_when_it_began() {
        let alert = |id: &str, active_at: &str, fired: bool| -> Alert {
            let state = if fired {
                serde_json::json!({"state": "firing", "active_at": active_at, "fired_at": active_at, "keep_since": null})
            } else {
                serde_json::json!({"state": "pending", "active_at": active_at})
            };
            serde_json::from_value(serde_json::json!({
                "id": id, "rule": "R", "by": {}, "labels": {}, "annotations": {}, "state": state,
                "value": null, "value_at_fire": null, "evaluated_at": active_at,
            }))
            .unwrap()
        };
        let (first, later) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let id = "00000000000000aa";
        let trace = trace_of(&alert(id, first, true));
        assert!(trace.is_valid() && trace.is_sampled() && trace.is_remote());
        assert_eq!(trace, trace_of(&alert(id, first, false)));
        assert!(
            trace != trace_of(&alert(id, later, true)) && trace != trace_of(&alert("00000000000000ab", first, true))
        );
    }
}
