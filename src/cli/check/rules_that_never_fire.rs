//! Rules that never fire with a configuration, because it leaves what they need switched off or out.

use crate::config::Config;
use trainspotter_core::metrics::catalogue::{self, ClosedLabel, Metric};
use trainspotter_core::metrics::single_jobs;
use trainspotter_core::model::{Place, Source, matches_glob};
use trainspotter_core::rules::Rule;

/// Metrics that need `prices`.
const OF_PRICES: [&Metric; 2] = [&catalogue::GPU_COST, &catalogue::RESERVED_COST];

/// Metrics that need forecasts.
const OF_FORECASTS: [&Metric; 4] = [
    &single_jobs::JOB_START_ESTIMATE,
    &single_jobs::JOB_START_LATE,
    &catalogue::FORECAST_COVERAGE,
    &catalogue::FORECAST_ERROR,
];

/// Metrics that need an archive.
const OF_ARCHIVE: [&Metric; 3] =
    [&catalogue::ARCHIVE_PENDING, &catalogue::ARCHIVE_OLDEST, &catalogue::ARCHIVE_FAILURES];

/// Filters of a condition: label and glob.
type Filters<'a> = &'a [(&'static str, String)];

/// Such rules, each with the reason.
pub(super) fn never_fire<'a>(config: &Config, rules: &'a [Rule]) -> Vec<(&'a str, String)> {
    let why = |rule: &'a Rule| rule.never_holds(|metric, filters| lacks(config, metric, filters));
    rules.iter().filter_map(|rule| Some((rule.name(), why(rule)?))).collect()
}

/// Why a metric never has values that pass these filters.
fn lacks(config: &Config, metric: &Metric, filters: Filters<'_>) -> Option<String> {
    off(config, metric, filters).map(str::to_owned).or_else(|| elsewhere(config, filters))
}

/// The setting that the metric needs and that is off.
fn off(config: &Config, metric: &Metric, filters: Filters<'_>) -> Option<&'static str> {
    // Figures from a source, and those about it.
    let needs = |source: Source| {
        let is_about = |(label, glob): &(&str, String)| {
            metric.closed_label(label) == Some(ClosedLabel::Source) && glob == source.as_str()
        };
        metric.sources.contains(&source) || filters.iter().any(is_about)
    };
    let is_any_of = |metrics: &[&Metric]| metrics.iter().any(|one| one.name == metric.name);
    let targets = &config.targets;
    let has_reserved = targets.iter().any(|target| target.reserved.training_plans || target.reserved.warm_pools);
    let has_quotas = targets.iter().any(|target| !target.quotas.is_empty());
    let has_events = targets.iter().any(|target| target.events.is_some());
    if needs(Source::Reserved) && !has_reserved {
        Some("no target has `reserved`")
    } else if needs(Source::Account) && !has_quotas {
        Some("no target has `quotas`")
    } else if needs(Source::Events) && !has_events {
        Some("no target has `events`")
    } else if is_any_of(&OF_PRICES) && config.prices.is_empty() {
        Some("there are no `prices`")
    } else if metric.labels.contains(&"band") && !config.priority_bands.are_set() {
        Some("there are no `priority_bands`")
    } else if is_any_of(&OF_FORECASTS) && config.forecast <= 0.0 {
        Some("`forecast.cpu_share` is 0")
    } else if is_any_of(&OF_ARCHIVE) && config.archive.is_none() {
        Some("there is no `archive`")
    } else {
        None
    }
}

/// The filter that selects a place, a queue or a band that the configuration does not have.
fn elsewhere(config: &Config, filters: Filters<'_>) -> Option<String> {
    let is_glob = |text: &str| text.contains(['*', '?']);
    filters.iter().find_map(|(label, glob)| {
        let targets = config.targets.iter();
        let there: bool = match *label {
            "region" => targets.into_iter().any(|target| matches_glob(glob, &target.region)),
            "target" => targets.into_iter().any(|target| matches_glob(glob, &target.name)),
            // Without a role the account is known only once AWS says it.
            "account" => targets.into_iter().any(|target| {
                target.role.as_deref().and_then(Place::account_of).is_none_or(|account| matches_glob(glob, account))
            }),
            "queue" => targets.into_iter().flat_map(|target| &target.queues).any(|queues| {
                (is_glob(glob) && is_glob(queues)) || matches_glob(glob, queues) || matches_glob(queues, glob)
            }),
            "band" => config.priority_bands.names().any(|band| matches_glob(glob, band)),
            _ => true,
        };
        (!there).then(|| format!("nothing that is configured has `{label}: {glob}`"))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use trainspotter_core::rules::parse_rules;

    fn configured(text: &str) -> Config {
        config::load("t.yaml", text, Path::new("."), &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn check(config: &Config, condition: &str, expected: Option<&str>) {
        let rules =
            parse_rules("rules.yaml", &format!("rules: [{{ alert: A, {condition}, annotations: {{ summary: x }} }}]"));
        let rules = rules.unwrap();
        let found = never_fire(config, &rules);
        assert_eq!(found.first().map(|(_, why)| why.as_str()), expected, "{condition}");
    }

    #[test]
    fn a_rule_never_fires_if_what_it_needs_is_off() {
        let config = configured("targets: [{ region: us-east-1 }]\nforecast: { cpu_share: 0 }");
        for (condition, why) in [
            ("metric: reserved.instances, above: 1", "no target has `reserved`"),
            ("metric: source.age, where: { source: events }, above: 1h", "no target has `events`"),
            ("metric: source.age, where: { source: account }, above: 1h", "no target has `quotas`"),
            ("metric: account.outside, above: 1", "no target has `quotas`"),
            ("metric: gpu.cost, increase: 1h, above: $1", "there are no `prices`"),
            ("metric: priority.wait.oldest, above: 1h", "there are no `priority_bands`"),
            ("metric: job.start.late, above: 1h", "`forecast.cpu_share` is 0"),
            ("metric: archive.oldest, above: 1h", "there is no `archive`"),
            (
                "metric: queue.jobs, where: { region: eu-west-1 }, above: 1",
                "nothing that is configured has `region: eu-west-1`",
            ),
        ] {
            check(&config, condition, Some(why));
        }
        check(&config, "metric: source.age, where: { source: jobs }, above: 1h", None);
        check(&config, "metric: source.age, above: 1h", None);
        // Waits are estimated from past ones, not from a forecast.
        check(&config, "metric: queue.wait.estimate, above: 1h", None);
        check(&config, "metric: queue.jobs, where: { region: us-* }, above: 1", None);
        check(&config, "metric: job.start.late, above: 1h, no_data: alert", None);
    }

    #[test]
    fn a_rule_never_fires_if_its_queue_is_not_watched() {
        let config = configured("targets: [{ region: us-east-1, queues: [research, prod-*] }]");
        for (glob, never_fires) in [
            ("research", false),
            ("rese*", false),
            ("prod-a", false),
            ("prod-?", false),
            ("*-a", false),
            ("nightly", true),
            ("prod", true),
        ] {
            let why = format!("nothing that is configured has `queue: {glob}`");
            let condition = format!("metric: queue.jobs, where: {{ queue: '{glob}' }}, above: 1");
            check(&config, &condition, never_fires.then_some(why.as_str()));
        }
        let two = |combine: &str| {
            format!(
                "{combine}: [{{ metric: queue.jobs, where: {{ queue: prod }}, above: 1 }}, {{ metric: queue.jobs, above: 9 }}]"
            )
        };
        check(&config, &two("any"), None);
        check(&config, &two("all"), Some("nothing that is configured has `queue: prod`"));
    }
}
