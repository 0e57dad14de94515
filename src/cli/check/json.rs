//! The result of `check` as JSON.

use serde_json::{Value, json};

use crate::cli::check::{Looks, kind, rules_that_never_fire};
use crate::cli::load_config::Source;
use crate::cli::rules::findings;
use crate::config::{Receiver, ScheduledReport, Target, shown_url};
use crate::notify::routing_check::{self, Route};
use crate::service::{LiveCheck, LiveCheckError};
use trainspotter_core::rules::Rule;

/// A configuration, its rules, their receivers, and the result of polling each target.
pub(super) fn of(source: &Source, rules: &[Rule], looks: &Looks) -> Value {
    let config = &source.config;
    let target = |target: &Target| {
        let role = target.role.as_ref().map(ToString::to_string);
        json!({ "target": target.name, "region": target.region, "role": role, "queues": target.queues })
    };
    let receiver = |receiver: &Receiver| {
        let muted: Vec<String> = receiver.mute.iter().map(ToString::to_string).collect();
        json!({ "receiver": receiver.name, "kind": kind(&receiver.channel), "muted": muted })
    };
    let report = |report: &ScheduledReport| {
        let every = format!("{:?}", report.every).to_lowercase();
        json!({ "every": every, "to": report.to, "by": report.by })
    };
    let route = |Route { rule, receivers, held_back_by }: &Route| json!({ "rule": rule, "receivers": receivers, "held_back_by": held_back_by });
    let routes = routing_check::routes(config, rules);
    json!({
        "config": source.name,
        "targets": config.targets.iter().map(target).collect::<Vec<_>>(),
        "poll_every_seconds": config.poll.every.as_secs_f64(),
        "calls_per_second": config.poll.calls_per_second,
        "listen": config.listen,
        "cloudwatch_namespaces": config.publish.cloudwatch.iter().map(|sink| &sink.namespace).collect::<Vec<_>>(),
        "otlp_endpoints": config.publish.otlp.iter().map(|sink| shown_url(sink.endpoint.expose())).collect::<Vec<_>>(),
        "log": config.replication.as_ref().map(|replication| replication.log.to_string()),
        "archive": config.archive.as_ref().map(|archive| archive.place.to_string()),
        "tags": config.tags,
        "reports": config.reports.iter().map(report).collect::<Vec<_>>(),
        "cloudwatch_budget_dollars": config.publish.cloudwatch.as_ref().and_then(|sink| sink.budget),
        "forecast_cpu_share": config.forecast,
        "rules": rules.iter().map(Rule::name).collect::<Vec<_>>(),
        "receivers": config.receivers.iter().map(receiver).collect::<Vec<_>>(),
        "routes": routes.iter().map(route).collect::<Vec<_>>(),
        "rule_warnings": findings(rules, config.poll.every),
        "rules_that_never_fire": rules_that_never_fire::never_fire(config, rules).into_iter().map(|(rule, why)| json!({ "rule": rule, "why": why })).collect::<Vec<_>>(),
        "machine_warning": source.warnings(),
        "live": looks.iter().map(look).collect::<Vec<_>>(),
    })
}

fn look((name, found): &(String, Result<LiveCheck, LiveCheckError>)) -> Value {
    match found {
        Err(error) => json!({ "target": name, "error": error.to_string() }),
        Ok(LiveCheck { frame, clock_skew_seconds, undescribed_outside }) => json!({
            "target": name, "error": null, "clock_skew_seconds": clock_skew_seconds, "queues": frame.queues, "findings": frame.setup,
            "undescribed_outside": undescribed_outside,
        }),
    }
}
