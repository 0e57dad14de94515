//! `alerts`: shows the alerts of a running service.

use serde_json::{Value, json};

use crate::cli::format_api_values::{label, measure, span_several_targets, text};
use crate::cli::remote::{Client, Remote};
use crate::cli::table::{Align, NOTHING, Table};
use crate::cli::unknown_names;
use crate::cli::{Failure, print, print_json, say};
use trainspotter_core::model::{Timestamp, format};

/// Severities, worst first; all others follow.
const SEVERITIES: [&str; 3] = ["page", "warning", "info"];

/// Show alerts and their silences: firing ones first, by severity and age.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter alerts
  trainspotter alerts --state firing --severity page
  trainspotter alerts --json | jq '.[] | select(.silenced_until == null)'
  trainspotter silence add --url http://127.0.0.1:9464 --for 2h --comment maintenance alertname=LongWait")]
pub(super) struct Arguments {
    /// Only alerts in these states: firing, pending, resolved. [default: firing,pending]
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = ["firing", "pending", "resolved"])]
    state: Vec<String>,
    /// Only alerts of this severity.
    #[arg(long, value_name = "SEVERITY")]
    severity: Option<String>,
    /// Only alerts of this rule.
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Print the API response of each alert as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let client = arguments.remote.connect()?;
    let (all, now) = found(&client).await?;
    let is_shown = |state: &str| match arguments.state.as_slice() {
        [] => state != "resolved",
        states => states.iter().any(|shown| shown == state),
    };
    let is = |given: &Option<String>, value: &Value| given.as_ref().is_none_or(|given| value.as_str() == Some(given));
    let (alerts, others): (Vec<Value>, Vec<Value>) = all.into_iter().partition(|alert| {
        is_shown(alert["state"].as_str().unwrap_or_default())
            && is(&arguments.severity, &alert["labels"]["severity"])
            && is(&arguments.rule, &alert["rule"])
    });
    if alerts.is_empty() {
        check_names(&client, arguments, &others).await?;
    }
    if arguments.json {
        return print_json(&json!(alerts));
    }
    if alerts.is_empty() {
        say(format_args!("{}", none_found(arguments)));
        return Ok(());
    }
    table(&alerts, now).lines().iter().try_for_each(|line| print(format_args!("{line}")))
}

/// Message if there is no alert to show.
fn none_found(arguments: &Arguments) -> String {
    let states = match arguments.state.as_slice() {
        [] => "pending or firing".to_owned(),
        states => states.join(" or "),
    };
    let of = [("of rule ", &arguments.rule), ("of severity ", &arguments.severity)];
    let of: String = of.into_iter().filter_map(|(what, name)| Some(format!(" {what}{}", name.as_ref()?))).collect();
    format!("no alert{of} is {states}")
}

/// If no alert was found, checks that the filters name something that exists. `others` are the alerts that were
/// filtered out.
async fn check_names(client: &Client, arguments: &Arguments, others: &[Value]) -> Result<(), Failure> {
    if arguments.rule.is_none() && arguments.severity.is_none() {
        return Ok(());
    }
    let service = client.get(&["service"], &[]).await?;
    let rules = service["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some(rule) = &arguments.rule {
        // Alerts of removed rules are shown for a while.
        let known =
            unknown_names::known(rules, "rule").into_iter().chain(unknown_names::known(others, "rule")).collect();
        unknown_names::refuse("--rule", "rule", rule, &known)?;
    }
    if let Some(severity) = &arguments.severity {
        let of_alerts = others.iter().filter_map(|alert| alert["labels"]["severity"].as_str());
        let known = SEVERITIES.into_iter().chain(unknown_names::known(rules, "severity")).chain(of_alerts).collect();
        unknown_names::refuse("--severity", "severity", severity, &known)?;
    }
    Ok(())
}

/// Alerts in display order, and the service's time.
pub(super) async fn found(client: &Client) -> Result<(Vec<Value>, Option<Timestamp>), Failure> {
    let health = client.get(&["health"], &[]).await?;
    let mut alerts = client.list("alerts").await?;
    alerts.sort_by_key(|alert| {
        let place = |words: &[&str], word: &Value| {
            words.iter().position(|known| word.as_str() == Some(*known)).unwrap_or(words.len())
        };
        let since = alert["fired_at"].as_str().or(alert["active_at"].as_str()).unwrap_or_default().to_owned();
        let state = place(&["firing", "pending", "resolved"], &alert["state"]);
        (state, place(&SEVERITIES, &alert["labels"]["severity"]), since)
    });
    Ok((alerts, time(&health["now"])))
}

fn time(value: &Value) -> Option<Timestamp> {
    serde_json::from_value(value.clone()).ok()
}

pub(super) fn table(alerts: &[Value], now: Option<Timestamp>) -> Table {
    let mut table = Table::new(&[
        ("STATE", Align::Left),
        ("SEVERITY", Align::Left),
        ("RULE", Align::Left),
        ("FOR", Align::Right),
        ("VALUE", Align::Right),
        ("THRESHOLD", Align::Right),
        ("ABOUT", Align::Left),
        ("SILENCED", Align::Left),
    ]);
    let several = span_several_targets(alerts);
    for alert in alerts {
        let labels = alert["labels"].as_object().into_iter().flatten();
        let about: Vec<String> = labels
            .filter(|(name, _)| !["alertname", "severity"].contains(&name.as_str()))
            .filter(|(name, _)| several || !["account", "region"].contains(&name.as_str()))
            .map(|(name, value)| label(name, value))
            .collect();
        let since = ["resolved_at", "fired_at", "active_at"].iter().find_map(|key| time(&alert[*key]));
        let age = now
            .zip(since)
            .map_or_else(|| NOTHING.to_owned(), |(now, since)| format::duration(now.seconds_since(since)));
        table.row([
            text(alert, "state"),
            text(&alert["labels"], "severity"),
            text(alert, "rule"),
            age,
            measure(&alert["value"], &alert["unit"]),
            measure(&alert["threshold"], &alert["unit"]),
            if about.is_empty() { NOTHING.to_owned() } else { about.join(" ") },
            silenced(alert),
        ]);
    }
    table
}

/// Until when it is silenced, by whom and why.
fn silenced(alert: &Value) -> String {
    let silences = alert["silences"].as_array().into_iter().flatten();
    let one = |silence: &Value| {
        let [until, author, comment] = ["ends_at", "author", "comment"].map(|key| text(silence, key));
        format!("until {until} by {author}: {comment}")
    };
    let all: Vec<String> = silences.map(one).collect();
    if all.is_empty() { NOTHING.to_owned() } else { all.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_shows_its_duration_and_who_silenced_it() {
        let silence = json!({ "id": 2, "ends_at": "2026-03-01T13:00:00Z", "author": "ann", "comment": "maintenance" });
        let alert = |state: &str, silences: Value| {
            json!({
                "state": state, "rule": "LongWait", "value": 2_100.0, "threshold": 1_800.0, "unit": "seconds", "silences": silences,
                "labels": { "alertname": "LongWait", "severity": "page", "queue": "prod", "share": "" },
                "active_at": "2026-03-01T11:45:00Z", "fired_at": "2026-03-01T11:55:00Z", "resolved_at": null,
            })
        };
        let now = time(&json!("2026-03-01T12:00:00Z"));
        let lines = table(&[alert("firing", json!([silence])), alert("pending", json!([]))], now).lines().join("\n");
        insta::assert_snapshot!(lines, @r"
        STATE    SEVERITY  RULE      FOR  VALUE  THRESHOLD  ABOUT                SILENCED
        firing   page      LongWait   5m    35m        30m  queue=prod no share  until 2026-03-01T13:00:00Z by ann: maintenance
        pending  page      LongWait   5m    35m        30m  queue=prod no share  -
        ");
    }
}
