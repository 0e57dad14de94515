//! Renders the catalogue as `docs/METRICS.md`.

use std::fmt::Write;

use trainspotter_core::metrics::catalogue::ALL;
use trainspotter_core::metrics::catalogue::Kind;
use trainspotter_core::metrics::catalogue::Metric;
use trainspotter_core::metrics::catalogue::Stability;
use trainspotter_core::metrics::catalogue::Unit;

const HEAD: &str = "\
# Metrics

Generated from `crates/core/src/metrics/catalogue.rs`; do not edit. To regenerate:
`UPDATE_DOCS=1 cargo test docs_metrics_md_is_current`.

- **Name** is the name in rules. In OTLP it is prefixed with `trainspotter.`.
- **Prometheus**: distributions are histograms, with `_bucket`, `_sum` and `_count`.
- **CloudWatch**: labels become dimensions in PascalCase (`instance_type` is `InstanceType`), and each metric has exactly
  the dimensions of its labels. Counters are sent as their increase, so use the statistic `Sum`; distributions are sent
  value by value, so `p95` works. A job without a share has `Share` = `(none)` there, and an empty label elsewhere. `–`:
  not sent there, because each series is charged for.
- **Stability**: a stable metric changes only with an entry in the CHANGELOG.
- Unknown values are absent, never 0. Counts of zero are published.

";

/// The document.
pub fn metrics_markdown() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("| name | kind | unit | labels | Prometheus | CloudWatch | stability | meaning |\n");
    page.push_str("|---|---|---|---|---|---|---|---|\n");
    for metric in ALL {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{}", row(metric));
    }
    page
}

fn row(metric: &Metric) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let cloudwatch =
        if metric.is_in_cloudwatch() { format!("`{}`", metric.cloudwatch_name()) } else { "–".to_owned() };
    format!(
        "| `{}` | {} | {} | {} | `{}` | {cloudwatch} | {} | {} |",
        metric.name,
        kind(metric.kind),
        unit(metric.unit),
        labels.join(", "),
        metric.prometheus_name(),
        stability(metric.stability),
        metric.meaning,
    )
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
        Kind::Distribution => "distribution",
    }
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "count",
        Unit::Seconds => "seconds",
        Unit::Gpus => "GPUs",
        Unit::GpuSeconds => "GPU-seconds",
        Unit::Instances => "instances",
        Unit::Ratio => "ratio, 0 to 1",
        Unit::Bytes => "bytes",
        Unit::Dollars => "dollars",
    }
}

fn stability(stability: Stability) -> &'static str {
    match stability {
        Stability::Stable => "stable",
        Stability::Experimental => "experimental",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_metrics_md_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
            std::fs::write(path, metrics_markdown()).unwrap();
        }
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            stored == metrics_markdown(),
            "docs/METRICS.md is not what the catalogue says; run: UPDATE_DOCS=1 cargo test docs_metrics_md_is_current"
        );
    }
}
