//! Exports rules to Prometheus, over the series of `/metrics`.
//!
//! `for`, `keep_firing_for` and thresholds have the same meaning there. Hysteresis is expressed with `ALERTS`, M of N
//! with a subquery at the evaluation interval. `tests/models/oracle.rs` compares promtool with the evaluator, cell by
//! cell.

use std::fmt::Write as _;
use std::time::Duration;

use crate::metrics::catalogue::{Kind, Label, Metric, Unit};
use crate::metrics::{catalogue, single_jobs};
use crate::rules::check::is_label_name;
use crate::rules::export::Exported;
use crate::rules::rule::{Aggregation, Clause, Combine, Condition, Datapoints, Fold, NoData, Rule, Stat, unit_of};

/// Differences that apply to every rule.
const ALWAYS: &str = "\
# Exported from Trainspotter's rules. Differences that apply to every rule:
# - In Prometheus an alert resolves when its series is missing. Trainspotter distinguishes a removed subject, a failed
#   source (nothing changes) and no data (`no_data`; here always as `ok`).
# - `limit` is left out: in Prometheus it would drop all alerts of a group.
";

/// Returns a Prometheus rule file for this evaluation interval.
pub fn prometheus(rules: &[Rule], every: Duration) -> Exported {
    let mut text = format!("{ALWAYS}groups:\n  - name: trainspotter\n    interval: {}\n    rules:\n", span(every));
    let mut notes = Vec::new();
    let mut count = 0;
    for rule in rules {
        let mut caveats = Vec::new();
        match expression(rule, Spelling::Prometheus, every, &mut caveats) {
            Ok(expression) => {
                write(&mut text, rule, &expression, &mut caveats);
                count += 1;
            }
            Err(why) => caveats.push(format!("is left out: {why}")),
        }
        for what in caveats {
            let _ = writeln!(text, "      # {}: {what}", rule.name);
            notes.push(format!("{}: {what}", rule.name));
        }
    }
    if count == 0 {
        text = text.replace("    rules:\n", "    rules: []\n");
    }
    Exported { text, notes }
}

fn write(text: &mut String, rule: &Rule, expression: &str, caveats: &mut Vec<String>) {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let _ = writeln!(text, "      - alert: {}", quoted(&rule.name));
    let _ = writeln!(text, "        expr: {}", quoted(expression));
    if !rule.hold.is_zero() {
        let _ = writeln!(text, "        for: {}", span(rule.hold));
    }
    if !rule.keep_firing_for.is_zero() {
        let _ = writeln!(text, "        keep_firing_for: {}", span(rule.keep_firing_for));
    }
    if !rule.labels.is_empty() {
        let _ = writeln!(text, "        labels:");
        for (label, value) in &rule.labels {
            if value.contains("{{") {
                // Prometheus would treat it as a template.
                caveats.push(format!("the label `{label}` is left out: its value has {{{{ in it"));
                continue;
            }
            let _ = writeln!(text, "          {label}: {}", quoted(value));
        }
    }
    let _ = writeln!(text, "        annotations:");
    for (name, template) in rule.templates.sources() {
        match translated(template, rule) {
            _ if !is_label_name(name) => {
                caveats.push(format!(
                    "the annotation `{name}` is left out: names in Prometheus consist of letters, digits and _"
                ));
            }
            Some(template) => {
                let _ = writeln!(text, "          {}: {}", quoted(name), quoted(&template));
            }
            None => caveats.push(format!("the annotation `{name}` is left out: its template cannot be translated")),
        }
    }
}

/// The system that evaluates an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Prometheus, over `/metrics`.
    Prometheus,
    /// CloudWatch, over metrics sent by OTLP. It has no `ALERTS`.
    Otlp,
}

/// The whole condition.
pub(super) fn expression(
    rule: &Rule,
    spelling: Spelling,
    every: Duration,
    caveats: &mut Vec<String>,
) -> Result<String, String> {
    let clause = |clause| condition(rule, clause, spelling, caveats);
    let clauses = rule.clauses.iter().map(clause).collect::<Result<Vec<_>, _>>()?;
    let join = match rule.combine {
        Combine::All => format!(" and on ({}) ", rule.by.join(", ")),
        Combine::Any => format!(" or on ({}) ", rule.by.join(", ")),
    };
    let whole = match clauses.as_slice() {
        [only] => only.clone(),
        several => several.iter().map(|clause| format!("({clause})")).collect::<Vec<_>>().join(&join),
    };
    match rule.no_data {
        NoData::Ok | NoData::Keep => {}
        NoData::Alert => caveats.push("`no_data: alert` is left out; write an `absent()` for it".to_owned()),
    }
    Ok(match rule.datapoints {
        None => whole,
        Some(Datapoints { needed, of }) => {
            // A range slightly shorter than N intervals contains N evaluations, whether or not ranges include their
            // older end.
            let less = Duration::from_secs(1).min(every / 2);
            let over = every.saturating_mul(u32::try_from(of).unwrap_or(u32::MAX)).saturating_sub(less);
            format!("count_over_time(({whole})[{}:{}]) >= {needed}", span(over), span(every))
        }
    })
}

/// One condition; with hysteresis, a firing alert holds up to `recover`.
fn condition(rule: &Rule, clause: &Clause, spelling: Spelling, caveats: &mut Vec<String>) -> Result<String, String> {
    let value = value(rule, clause, spelling)?;
    let (sign, threshold, recover) = match clause.condition {
        Condition::Above { threshold, recover } => (">", threshold, recover),
        Condition::Below { threshold, recover } => ("<", threshold, recover),
    };
    if threshold.to_bits() == recover.to_bits() {
        return Ok(format!("{value} {sign} {threshold}"));
    }
    if spelling == Spelling::Otlp {
        caveats.push("`recover` is left out: the alarm resolves at its threshold".to_owned());
        return Ok(format!("{value} {sign} {threshold}"));
    }
    let by = rule.by.join(", ");
    let name = serde_json::Value::from(rule.name.as_str());
    let fires = format!("ALERTS{{alertname={name}, alertstate=\"firing\"}}");
    Ok(format!("({value} {sign} {threshold}) or on ({by}) (({value} {sign} {recover}) and on ({by}) {fires})"))
}

fn value(rule: &Rule, clause: &Clause, spelling: Spelling) -> Result<String, String> {
    let metric = published(clause.metric)?;
    if spelling == Spelling::Otlp && metric.kind == Kind::Distribution {
        return Err("PromQL over OTLP histograms in CloudWatch is not documented".to_owned());
    }
    let by = rule.by.join(", ");
    let fold = match clause.fold {
        Fold::Max => "max",
        Fold::Min => "min",
        Fold::Sum => "sum",
        Fold::Mean => "avg",
    };
    let selected = |suffix: &str, more: &str| {
        let mut matchers = matchers(&clause.filters);
        matchers.extend((!more.is_empty()).then(|| more.to_owned()));
        match spelling {
            Spelling::Prometheus if matchers.is_empty() => format!("{}{suffix}", metric.prometheus_name()),
            Spelling::Prometheus => format!("{}{suffix}{{{}}}", metric.prometheus_name(), matchers.join(", ")),
            Spelling::Otlp => {
                matchers.insert(0, format!("\"{}\"", metric.otlp_name()));
                format!("{{{}}}", matchers.join(", "))
            }
        }
    };
    let increase = |suffix: &str, more: &str, over| format!("increase({}[{}])", selected(suffix, more), span(over));
    Ok(match clause.take {
        Aggregation::Now => format!("{fold} by ({by}) ({})", selected("", "")),
        Aggregation::Increase(over) => format!("{fold} by ({by}) ({})", increase("", "", over)),
        Aggregation::Change(over) => {
            let now = selected("", "");
            format!("{fold} by ({by}) ({now} - {now} offset {})", span(over))
        }
        Aggregation::FractionAbove(bound, over) => {
            let bound = catalogue::DURATION_BOUNDS.get(bound).copied().unwrap_or_default();
            let good = increase("_bucket", &format!("le=\"{bound}\""), over);
            format!("1 - sum by ({by}) ({good}) / sum by ({by}) ({})", increase("_count", "", over))
        }
        Aggregation::Stat(stat) => statistic(stat, &by, &selected)?,
    })
}

/// A statistic of the last hour, from buckets where needed.
fn statistic(stat: Stat, by: &str, selected: &impl Fn(&str, &str) -> String) -> Result<String, String> {
    let hour = |suffix: &str| format!("increase({}[1h])", selected(suffix, ""));
    let le = if by.is_empty() { "le".to_owned() } else { format!("{by}, le") };
    let quantile = |q: &str| Ok(format!("histogram_quantile({q}, sum by ({le}) ({}))", hour("_bucket")));
    match stat {
        Stat::P50 => quantile("0.5"),
        Stat::P90 => quantile("0.9"),
        Stat::P95 => quantile("0.95"),
        Stat::P99 => quantile("0.99"),
        Stat::Mean => Ok(format!("sum by ({by}) ({}) / sum by ({by}) ({})", hour("_sum"), hour("_count"))),
        Stat::Count => Ok(format!("sum by ({by}) ({})", hour("_count"))),
        Stat::Max => Err("a histogram has no maximum".to_owned()),
    }
}

fn published(metric: &'static Metric) -> Result<&'static Metric, String> {
    match single_jobs::find(metric.name) {
        Some(_) => Err(format!("`{}` is a metric of single jobs, which are not published", metric.name)),
        None => Ok(metric),
    }
}

fn matchers(filters: &[(Label, String)]) -> Vec<String> {
    let matcher = |(label, glob): &(Label, String)| format!("{label}=~{}", serde_json::Value::from(regex(glob)));
    filters.iter().map(matcher).collect()
}

/// Translates a glob to a regular expression; Prometheus anchors it at both ends.
fn regex(glob: &str) -> String {
    let mut regex = String::new();
    for letter in glob.chars() {
        match letter {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            letter if letter.is_alphanumeric() || letter == '_' || letter == '-' => regex.push(letter),
            letter => {
                regex.push('\\');
                regex.push(letter);
            }
        }
    }
    regex
}

/// Translates a template to Prometheus' language: names, and names with a default text.
fn translated(template: &str, rule: &Rule) -> Option<String> {
    if template.contains("{%") || template.contains("{#") {
        return None;
    }
    let mut rest = template;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once("{{") {
        let (inner, after) = after.split_once("}}")?;
        text.push_str(before);
        text.push_str(&word(inner.trim(), rule)?);
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

fn word(inner: &str, rule: &Rule) -> Option<String> {
    let label = |name: &str| rule.by.iter().find(|label| **label == name).map(|label| format!("$labels.{label}"));
    let clause = rule.clauses.first()?;
    match inner {
        "threshold" => return Some(clause.in_words(clause.condition.threshold())),
        "value" => {
            return Some(match unit_of(clause.metric, clause.take) {
                _ if rule.datapoints.is_some() => "{{ $value }} evaluations".to_owned(),
                Unit::Seconds => "{{ $value | humanizeDuration }}".to_owned(),
                Unit::Ratio => "{{ $value | humanizePercentage }}".to_owned(),
                Unit::Dollars => "${{ $value | humanize }}".to_owned(),
                Unit::Gpus | Unit::GpuSeconds | Unit::Instances | Unit::Bytes | Unit::Count => {
                    "{{ $value | humanize }}".to_owned()
                }
            });
        }
        _ => {}
    }
    let Some((name, otherwise)) = inner.split_once(" or ") else { return Some(format!("{{{{ {} }}}}", label(inner)?)) };
    let otherwise = otherwise.trim().strip_prefix('\'')?.strip_suffix('\'')?;
    let label = label(name.trim())?;
    Some(format!("{{{{ if {label} }}}}{{{{ {label} }}}}{{{{ else }}}}{otherwise}{{{{ end }}}}"))
}

/// A duration in Prometheus' notation: whole units, largest first.
fn span(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (name, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= length {
            let _ = write!(text, "{}{name}", rest / length);
            rest %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::parse_rules;

    #[test]
    fn every_form_of_a_rule_becomes_an_expression_or_a_reason_why_not() {
        let check = |rule: &str, expected: &str| {
            let text = format!("rules: [{{ alert: A, annotations: {{ summary: x }}, {rule} }}]");
            let rules = parse_rules("rules.yaml", &text).unwrap();
            let found = expression(&rules[0], Spelling::Prometheus, Duration::from_secs(30), &mut Vec::new());
            assert_eq!(found.unwrap_or_else(|why| why), expected, "{rule}");
        };
        check(
            "metric: queue.wait.oldest, by: [queue, share], above: 30m, where: { share: 'prod-*.x?' }",
            r#"max by (queue, share) (trainspotter_queue_wait_oldest_seconds{share=~"prod-.*\\.x."}) > 1800"#,
        );
        check(
            "metric: gpu.idle.ratio, above: 50%, recover: 40%, by: [queue]",
            "(max by (queue) (trainspotter_gpu_idle_ratio) > 0.5) or on (queue) ((max by (queue) \
             (trainspotter_gpu_idle_ratio) > 0.4) and on (queue) ALERTS{alertname=\"A\", alertstate=\"firing\"})",
        );
        check(
            "metric: gpu.idle.ratio, below: 50%, datapoints: 3 of 5",
            "count_over_time((min by () (trainspotter_gpu_idle_ratio) < 0.5)[2m29s:30s]) >= 3",
        );
        check(
            "metric: job.preemptions, increase: 1h, above: 20, by: [queue]",
            "sum by (queue) (increase(trainspotter_job_preemptions_total[1h])) > 20",
        );
        check(
            "by: [queue], any: [{ metric: gpu.capacity, below: 1 }, { metric: queue.jobs, change_over: 1h, above: 5 }]",
            "(min by (queue) (trainspotter_gpu_capacity_gpus) < 1) or on (queue) (max by (queue) \
             (trainspotter_queue_jobs - trainspotter_queue_jobs offset 1h) > 5)",
        );
        check("metric: queue.wait, stat: max, above: 1h", "a histogram has no maximum");
        check(
            "metric: job.running.age, by: [job], above: 1h",
            "`job.running.age` is a metric of single jobs, which are not published",
        );
    }

    #[test]
    fn intervals_below_a_second_and_names_that_prometheus_refuses_are_handled() {
        let text = "rules: [{ alert: A, metric: gpu.capacity, below: 1, datapoints: 1 of 1, labels: { team: 'a{{b' },
            annotations: { summary: x, look-here: y } }]";
        let exported = prometheus(&parse_rules("rules.yaml", text).unwrap(), Duration::from_millis(500));
        assert!(exported.text.contains("[250ms:500ms]"), "{}", exported.text);
        assert!(!exported.text.contains("look-here:") && !exported.text.contains("team:"), "{}", exported.text);
        assert_eq!(exported.notes.len(), 2, "{:?}", exported.notes);
    }

    #[test]
    fn annotations_are_translated_to_the_other_template_language() {
        let text = "rules: [{ alert: A, metric: queue.wait.oldest, by: [queue, share], above: 30m, annotations: {
            summary: \"{{ share or '(none)' }} on {{ queue }}: {{ value }} of {{ threshold }}\", more: '{{ queue | upper }}' } }]";
        let exported = prometheus(&parse_rules("rules.yaml", text).unwrap(), Duration::from_secs(30));
        let summary = "{{ if $labels.share }}{{ $labels.share }}{{ else }}(none){{ end }} on {{ $labels.queue }}: \
                       {{ $value | humanizeDuration }} of 30m";
        assert!(exported.text.contains(summary), "{}", exported.text);
        assert_eq!(exported.notes, ["A: the annotation `more` is left out: its template cannot be translated"]);
    }

    #[test]
    fn with_several_targets_rules_group_by_account_and_region() {
        let text = "rules: [{ alert: A, metric: queue.wait.oldest, by: [queue, region], above: 30m, annotations: { summary: s } }]";
        let rules = crate::rules::export::by_place(&crate::rules::parse_rules("r.yaml", text).unwrap());
        let text = prometheus(&rules, Duration::from_secs(30)).text;
        assert!(
            text.contains("max by (queue, region, account) (trainspotter_queue_wait_oldest_seconds) > 1800"),
            "{text}"
        );
    }
}
