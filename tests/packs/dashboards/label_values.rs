//! Label values that are known in advance. A matcher on any other value selects nothing.

use trainspotter_core::metrics::catalogue::Metric;

/// `(metric, label, values)`.
const KNOWN: &[(&str, &str, &[&str])] = &[
    (
        "queue.jobs",
        "state",
        &["submitted", "pending", "runnable", "scheduled", "starting", "running", "succeeded", "failed"],
    ),
    ("gpu.part", "part", PARTS),
    ("gpu.time", "part", PARTS),
    ("gpu.unallocated", "cause", CAUSES),
    ("gpu.unallocated.time", "cause", CAUSES),
    ("queue.wait.estimate", "percentile", &["p50", "p90", "p95", "p99"]),
    ("queue.waiting", "reason", REASONS),
    ("setup.findings", "problem", PROBLEMS),
    ("alerts", "state", &["pending", "firing"]),
    (
        "source.age",
        "source",
        &[
            "topology",
            "jobs",
            "snapshot",
            "descriptions",
            "training_jobs",
            "utilisation",
            "reserved",
            "account",
            "events",
        ],
    ),
];

const PARTS: &[&str] = &["unallocated", "scheduled", "starting", "running_busy", "running_idle", "running_unknown"];

const REASONS: &[&str] = &[
    "misconfigured",
    "disabled",
    "exceeds_share",
    "share_at_limit",
    "borrow_limit",
    "reclaiming",
    "no_capacity",
    "capacity_in_use",
    "reserved",
    "behind",
    "evaluating",
];

const PROBLEMS: &[&str] = &[
    "over_promised",
    "job_too_large",
    "nobody_borrows",
    "share_unused",
    "no_time_limit",
    "account_quota",
    "invalid",
    "clock_skew",
];

const CAUSES: &[&str] = &["provider_has_none", "quota_bound", "shape_does_not_fit", "being_placed", "no_demand"];

/// Reports values, separated by `|`, that a label never has. Variables and patterns are accepted.
pub fn check(metric: &Metric, label: &str, wanted: &str) -> Vec<String> {
    let known = KNOWN.iter().find(|(name, known, _)| *name == metric.name && *known == label);
    let Some((_, _, known)) = known else { return Vec::new() };
    wanted
        .split('|')
        .filter(|value| value.chars().all(|c| c.is_alphanumeric() || c == '_') && !known.contains(value))
        .map(|value| format!("{metric} never has {label}={value}"))
        .collect()
}
