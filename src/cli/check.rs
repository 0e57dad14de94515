//! `check`: reports all errors in a configuration and its rules, or a summary of them.

mod json;
mod rules_that_never_fire;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::{Failure, load_config, print, print_json, say};
use crate::config::{Channel, CloudWatch, Config, shown_url};
use crate::cost::PriceTable;
use crate::notify::routing_check::{self, Route};
use crate::publish::affordable_series;
use crate::service::{LiveCheck, LiveCheckError, look};
use trainspotter_clock::Clock;
use trainspotter_core::metrics::QueueFigures;
use trainspotter_core::metrics::misconfiguration::{Finding, Problem};
use trainspotter_core::model::format;
use trainspotter_core::rules::Rule;

/// Validate a configuration and its rules, and show which rules reach which receivers; with --live, also check the
/// queues in AWS.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter check --config config/trainspotter.example.yaml
  trainspotter check --config config/trainspotter.example.yaml --live
  trainspotter check --config config/trainspotter.example.yaml --json | jq '.routes[] | select(.receivers == [])'")]
pub(super) struct Arguments {
    /// The configuration: a file, env:NAME for the content of an environment variable, or s3://bucket/object.
    #[arg(long, value_name = "FILE")]
    config: String,
    /// Also query AWS once: checks permissions, and the set-up of queues, shares and environments.
    #[arg(long)]
    live: bool,
    /// Print the parsed configuration as JSON. Errors are still reported as text.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let source = load_config::Source::load(&arguments.config).await?;
    let rules = source.rules().await?;
    source.check_folders()?;
    let config = &source.config;
    if arguments.json {
        let looks = if arguments.live { looks(config).await } else { Vec::new() };
        print_json(&json::of(&source, &rules, &looks))?;
        return fail_if_any(config, &looks);
    }
    summary(config, &rules)?;
    routing(config, &rules)?;
    crate::cli::rules::warn(&rules, config.poll.every);
    print_never_firing(config, &rules)?;
    if arguments.live {
        let looks = looks(config).await;
        for (name, found) in &looks {
            if config.targets.len() > 1 {
                print(format_args!("target    {name}"))?;
            }
            found.as_ref().map_or(Ok(()), set_up)?;
        }
        fail_if_any(config, &looks)?;
    }
    match source.warnings() {
        Some(warnings) => {
            say(format_args!("{warnings}"));
            print(format_args!("{}: valid, but it does not work on this machine", arguments.config))
        }
        None => print(format_args!("{}: fine", arguments.config)),
    }
}

/// Result of polling each target once, by name.
type Looks = Vec<(String, Result<LiveCheck, LiveCheckError>)>;

/// Polls each target once.
async fn looks(config: &Config) -> Looks {
    let mut looks = Vec::new();
    for target in &config.targets {
        let own = Config { targets: vec![target.clone()], ..config.clone() };
        looks.push((target.name.clone(), look(&own, Clock::real()).await));
    }
    looks
}

/// Fails if any poll failed.
fn fail_if_any(config: &Config, looks: &Looks) -> Result<(), Failure> {
    let failed = looks.iter().filter_map(|(name, found)| Some((name, found.as_ref().err()?)));
    let line = |(name, error): (&String, &LiveCheckError)| {
        if config.targets.len() > 1 { format!("{name}: {error}") } else { error.to_string() }
    };
    let failed: Vec<String> = failed.map(line).collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::failed(failed.join("\n"))) }
}

/// Prints which rules reach which receivers.
fn routing(config: &Config, rules: &[Rule]) -> Result<(), Failure> {
    let routes = routing_check::routes(config, rules);
    if config.receivers.is_empty() {
        return Ok(());
    }
    let width = routes.iter().map(|route| route.rule.chars().count()).max().unwrap_or_default();
    for Route { rule, receivers, held_back_by } in &routes {
        let whom = if receivers.is_empty() { "nobody".to_owned() } else { receivers.join(", ") };
        let held = if held_back_by.is_empty() {
            String::new()
        } else {
            format!("; may be held back by {}", held_back_by.join(", "))
        };
        print(format_args!("route     {rule:width$}  {whom}{held}"))?;
    }
    let unheard: Vec<&str> =
        routes.iter().filter(|route| route.receivers.is_empty()).map(|route| route.rule.as_str()).collect();
    if !unheard.is_empty() {
        print(format_args!(
            "note      {} of {} rules reach nobody: {}",
            unheard.len(),
            routes.len(),
            unheard.join(", ")
        ))?;
    }
    Ok(())
}

/// Prints which rules never fire with this configuration.
fn print_never_firing(config: &Config, rules: &[Rule]) -> Result<(), Failure> {
    let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (rule, why) in rules_that_never_fire::never_fire(config, rules) {
        by_reason.entry(why).or_default().push(rule);
    }
    for (why, rules) in by_reason {
        let (rules, verb) = (rules.join(", "), if rules.len() == 1 { "fires" } else { "fire" });
        print(format_args!("note      {rules} never {verb} with this configuration: {why}"))?;
    }
    Ok(())
}

fn summary(config: &Config, rules: &[Rule]) -> Result<(), Failure> {
    for target in &config.targets {
        let role = target.role.as_ref().map_or(String::new(), |role| format!(" as {role}"));
        let name = if target.name == target.region { String::new() } else { format!("{} in ", target.name) };
        print(format_args!("target    {name}{}{role}: queues {}", target.region, target.queues.join(", ")))?;
    }
    let every = format::duration(config.poll.every.as_secs_f64());
    print(format_args!("poll      every {every}, at most {} calls per second", config.poll.calls_per_second))?;
    print(format_args!("sinks     http://{}/metrics{}", config.listen, other_sinks(config)))?;
    print(format_args!("rules     {}", rules.len()))?;
    for receiver in &config.receivers {
        let kind = kind(&receiver.channel);
        let muted: Vec<String> = receiver.mute.iter().map(ToString::to_string).collect();
        let muted = if muted.is_empty() { String::new() } else { format!(", muted {}", muted.join(" and ")) };
        print(format_args!("receiver  {}: {kind}{muted}", receiver.name))?;
    }
    for (title, what) in optional_settings(config) {
        print(format_args!("{title:<9} {what}"))?;
    }
    if !rules.is_empty() && config.receivers.is_empty() {
        print(format_args!("note      there are rules, but no receiver: alerts will only show on the page"))?;
    }
    if config.idle_inhibitions > 0 {
        print(format_args!(
            "note      `inhibit` has no effect: there is no receiver, so there is nothing to hold back"
        ))?;
    }
    Ok(())
}

/// Describes a receiver.
fn kind(channel: &Channel) -> String {
    match channel {
        Channel::Sns { topic, .. } => format!("SNS topic {topic}"),
        Channel::Webhook { keys, .. } if keys.is_empty() => "webhook".to_owned(),
        Channel::Webhook { .. } => "signed webhook".to_owned(),
        Channel::SlackWebhook { .. } => "Slack webhook".to_owned(),
        Channel::SlackApp { channel, .. } => format!("Slack channel {channel}"),
        Channel::PagerDuty { .. } => "PagerDuty".to_owned(),
        Channel::Alertmanager { .. } => "Alertmanager".to_owned(),
    }
}

/// Titles and descriptions of optional settings.
fn optional_settings(config: &Config) -> Vec<(&'static str, String)> {
    let span = |span: Duration| format::duration(span.as_secs_f64());
    let mut lines = Vec::new();
    if let Some(log) = &config.replication {
        lines.push(("log", format!("{}, lease {}", log.log, span(log.lease))));
    }
    if let Some(archive) = &config.archive {
        lines.push(("archive", format!("{}, each day {} after its end", archive.place, span(archive.grace))));
    }
    if !config.tags.is_empty() {
        lines.push(("tags", format!("owner, {}", config.tags.join(", "))));
    }
    for report in &config.reports {
        let every = format!("{:?}", report.every).to_lowercase();
        let by = if report.by.is_empty() { String::new() } else { format!(", by {}", report.by.join(", ")) };
        lines.push(("report", format!("{every} to {}{by}", report.to)));
    }
    if let Some(sink) = &config.publish.cloudwatch {
        lines.extend(budget(sink, config.targets.len()).map(|budget| ("budget", budget)));
    }
    lines.push((
        "forecast",
        match config.forecast {
            share if share > 0.0 => format!("at most {} % of a core", format::trimmed(share * 100.0)),
            _ => "off: no start estimates".to_owned(),
        },
    ));
    if !config.api.is_empty() {
        let names: Vec<&str> = config.api.iter().map(|token| token.name.as_str()).collect();
        lines.push(("tokens", names.join(", ")));
    }
    if let Some(traces) = &config.traces {
        lines.push(("traces", shown_url(traces)));
    }
    lines
}

/// The budget for classic metrics, and what it pays for.
fn budget(sink: &CloudWatch, targets: usize) -> Option<String> {
    let budget = sink.budget?;
    let series = affordable_series(sink, targets, &PriceTable::shipped().ok()?)?;
    let of_each = if targets > 1 { " of each target" } else { "" };
    let pays_for = if series == 0 {
        format!(
            "it pays for no series{of_each}, because the requests alone cost more than it: raise `budget` or `every`"
        )
    } else {
        format!("at most {series} series{of_each}")
    };
    Some(format!("${budget} a month for classic metrics in CloudWatch: {pays_for}"))
}

/// Prints the watched queues and findings about them. Findings are advice and do not fail the check.
fn set_up(found: &LiveCheck) -> Result<(), Failure> {
    let LiveCheck { frame, clock_skew_seconds, undescribed_outside } = found;
    match clock_skew_seconds.map(|skew| (skew, format::duration(skew.abs()))) {
        None => print(format_args!("clock     not compared with AWS's: too few responses"))?,
        Some((skew, by)) if skew >= 1.0 => print(format_args!("clock     {by} ahead of AWS's"))?,
        Some((skew, by)) if skew <= -1.0 => print(format_args!("clock     {by} behind AWS's"))?,
        Some(_) => print(format_args!("clock     agrees with AWS's"))?,
    }
    for QueueFigures { queue, policy, jobs, .. } in &frame.queues {
        let open: u64 = jobs.values().sum();
        print(format_args!("watched   {queue}: {policy}, {open} open jobs"))?;
    }
    for finding in &frame.setup {
        print(format_args!("finding   {}", in_words(finding)))?;
    }
    if *undescribed_outside > 0 {
        print(format_args!(
            "note      {} outside of the queues not described; findings about quotas lack them",
            format::counted(*undescribed_outside as u64, "training job")
        ))?;
    }
    if frame.setup.is_empty() {
        print(format_args!("set-up    no problems found"))?;
    }
    print(format_args!(
        "note      an unused share is reported only after days: see /api/v1/setup of the running service"
    ))
}

/// A finding with its subject, unless the text already contains it.
fn in_words(finding: &Finding) -> String {
    let Finding { queue, share, problem, what, advice, .. } = finding;
    let of_all = matches!(problem, Problem::ClockSkew);
    let name = share.as_ref().map_or(queue.as_str(), |share| share.as_str());
    if of_all || what.contains(queue.as_str()) && what.contains(name) {
        return format!("{what} {advice}");
    }
    let share = share.as_ref().map_or(String::new(), |share| format!(" / {share}"));
    format!("{queue}{share}: {what} {advice}")
}

fn other_sinks(config: &Config) -> String {
    let cloudwatch = config.publish.cloudwatch.iter().map(|sink| format!(", CloudWatch namespace {}", sink.namespace));
    let otlp = config.publish.otlp.iter().map(|sink| format!(", OTLP at {}", shown_url(sink.endpoint.expose())));
    cloudwatch.chain(otlp).collect()
}
