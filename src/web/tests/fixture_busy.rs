//! A busy service with a history, to look at pages with: growing waits, capacity that changes hands, a gap.

use std::sync::Arc;

use crate::web::Snapshot;
use crate::web::tests::fixture_snapshot;
use trainspotter_core::metrics::catalogue::{self, Metric};
use trainspotter_core::metrics::gpu_part_names::{Part, UnallocatedCause};
use trainspotter_core::metrics::{Distribution, Estimate, Frame, Labels, Quantiles, Sample, Value};
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;

const QUEUE: &str = "research";
const TYPE: &str = "ml.p5.48xlarge";

/// The gap in the recording, in hours ago.
const GAP: (f64, f64) = (4.6, 4.1);

/// A realistic service: with prices, advice, and a stuck receiver.
pub(super) fn snapshot() -> Snapshot {
    let mut snapshot = fixture_snapshot::snapshot();
    let frame = Arc::make_mut(&mut snapshot.frame);
    for waterfall in &mut frame.waterfall {
        let dollars = |(part, gpus): (&Part, &f64)| (*part, gpus * 12.3);
        waterfall.dollars_per_hour = waterfall.parts.iter().map(dollars).collect();
        if let Some(unallocated) = waterfall.unallocated.get_mut(&UnallocatedCause::NoDemand) {
            *unallocated -= 12.0;
            waterfall.unallocated.insert(UnallocatedCause::QuotaBound, 12.0);
        }
    }
    frame.estimates = ["audio", "language", "vision"]
        .into_iter()
        .zip([300.0, 5_400.0, 900.0])
        .map(|(share, p50)| Estimate {
            queue: QUEUE.into(),
            share: share.into(),
            seconds: [p50, p50 * 2.1, p50 * 2.6, p50 * 4.0],
        })
        .collect();
    for (queue, name) in frame.queues.iter_mut().zip(["production", "research"]) {
        queue.arn = format!("arn:aws:batch:eu-west-1:123456789012:job-queue/{name}");
    }
    let service = |metric, pairs: &[(&'static str, &str)], value| Sample {
        metric,
        labels: pairs.iter().map(|(label, of)| (*label, (*of).into())).collect(),
        value,
    };
    frame.samples.extend([
        service(&catalogue::POLL_INTERVAL, &[], Value::Gauge(30.0)),
        service(&catalogue::LEDGER_JOBS, &[], Value::Gauge(5_321.0)),
        service(&catalogue::PUBLISH_SERIES, &[("sink", "cloudwatch")], Value::Gauge(412.0)),
        service(&catalogue::PUBLISH_FAILURES, &[("sink", "cloudwatch")], Value::Counter(0.0)),
        service(&catalogue::NOTIFY_PENDING, &[("receiver", "oncall")], Value::Gauge(2.0)),
        service(&catalogue::NOTIFY_OLDEST, &[("receiver", "oncall")], Value::Gauge(840.0)),
        service(&catalogue::NOTIFY_PENDING, &[("receiver", "slack")], Value::Gauge(0.0)),
        service(
            &catalogue::NOTIFY_DELIVERIES,
            &[("receiver", "slack"), ("outcome", "delivered")],
            Value::Counter(37.0),
        ),
        service(&catalogue::LIMIT_HITS, &[("limit", "shares")], Value::Counter(3.0)),
        service(&catalogue::STORE_SIZE, &[], Value::Gauge(41_000_000.0)),
        service(&catalogue::SERVICE_COST, &[("destination", "classic")], Value::Gauge(28.5)),
        service(&catalogue::SERVICE_COST, &[("destination", "archive")], Value::Gauge(0.25)),
    ]);
    let advised = |alert: &Alert| {
        let mut alert = alert.clone();
        let text = |key: &str, words: &str| (key.to_owned(), words.to_owned());
        alert.queue_arn = Some("arn:aws:batch:eu-west-1:123456789012:job-queue/research".to_owned());
        alert.annotations.extend([
            text("likely_reason", "its share is at its limit, and nobody lends it more"),
            text("next_step", "wait for a job of the share to end, or ask for a higher quota"),
            text("runbook", "docs/runbooks/LongWait.md"),
        ]);
        if let Some(summary) = alert.annotations.get_mut("summary") {
            *summary = summary.replace("<b>", "").replace("</b>", "");
        }
        alert
    };
    snapshot.alerts = snapshot.alerts.iter().map(advised).collect();
    snapshot
}

/// The figures of a moment. In the gap the frame is empty: nothing is known.
pub(super) fn frame(at: Timestamp, _number: u32) -> Frame {
    let ago = fixture_snapshot::now().seconds_since(at) / 3_600.0;
    if ago < GAP.0 && ago > GAP.1 {
        return Frame { at, ..Frame::default() };
    }
    let mut samples = waits(ago);
    samples.extend(gpus(ago));
    samples.extend(shares(ago));
    samples.extend(events(ago));
    samples.sort_by_key(|sample| catalogue::ALL.iter().position(|metric| metric.name == sample.metric.name));
    Frame { at, samples, ..Frame::default() }
}

fn wave(ago: f64, hours: f64, phase: f64) -> f64 {
    0.5 + 0.5 * (std::f64::consts::TAU * ago / hours + phase).sin()
}

fn gauge(metric: &'static Metric, pairs: &[(&'static str, &str)], value: f64) -> Sample {
    Sample { metric, labels: with(pairs), value: Value::Gauge(value) }
}

fn with(pairs: &[(&'static str, &str)]) -> Labels {
    let given = pairs.iter().map(|(label, value)| (*label, (*value).into()));
    std::iter::once(("queue", QUEUE.into())).chain(given).collect()
}

fn waits(ago: f64) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (index, share) in ["audio", "language", "vision"].into_iter().enumerate() {
        let phase = index as f64 * 2.0;
        let before = 900.0 * wave(ago, 2.3, phase) + 600.0 * wave(ago, 0.7, phase);
        let oldest = if share == "language" { (13_500.0 - 1.5 * 3_600.0 * ago).max(before) } else { before };
        samples.push(gauge(&catalogue::QUEUE_WAIT_OLDEST, &[("share", share)], oldest));
        let p50 = 300.0 + 500.0 * wave(ago, 5.0, phase);
        let recent =
            Quantiles { count: 12, mean: p50, p50, p90: p50 * 2.0, p95: p50 * 2.4, p99: p50 * 3.0, max: p50 * 3.2 };
        let distribution = Distribution { recent: Some(recent), ..Distribution::default() };
        let value = Value::Distribution(distribution);
        samples.push(Sample { metric: &catalogue::QUEUE_WAIT, labels: with(&[("share", share)]), value });
        for (percentile, of) in [("p50", 1.2), ("p95", 3.4)] {
            let pairs = [("share", share), ("percentile", percentile)];
            samples.push(gauge(&catalogue::QUEUE_WAIT_ESTIMATE, &pairs, p50 * of));
        }
        samples.push(gauge(&catalogue::GPU_UTILISATION, &[("share", share)], 0.55 + 0.4 * wave(ago, 3.0, phase)));
    }
    let waiting = |reason: &str, jobs: f64| {
        gauge(&catalogue::QUEUE_WAITING, &[("share", "language"), ("reason", reason)], jobs.round())
    };
    samples.push(waiting("share_at_limit", 2.0 + 9.0 * wave(ago, 6.0, 1.0)));
    samples.push(waiting("behind", 5.0 * wave(ago, 4.0, 0.0)));
    samples.push(waiting("no_capacity", (4.0 * wave(ago, 3.0, 4.0) - 2.0).max(0.0)));
    let demand = [("share", "language"), ("instance_type", TYPE)];
    samples.push(gauge(&catalogue::QUEUE_DEMAND, &demand, (60.0 + 200.0 * wave(ago, 6.0, 1.0)).round()));
    samples
}

fn gpus(ago: f64) -> Vec<Sample> {
    let idle = (40.0 * wave(ago, 3.7, 0.0)).round();
    let unallocated = (48.0 * wave(ago, 9.0, 2.0)).round();
    let starting = (16.0 * wave(ago, 1.1, 1.0)).round();
    let parts = [
        ("running_busy", 256.0 - idle - unallocated - starting - 16.0),
        ("running_idle", idle),
        ("running_unknown", 16.0),
        ("starting", starting),
        ("scheduled", 0.0),
        ("unallocated", unallocated),
    ];
    let mut samples: Vec<Sample> =
        parts.into_iter().map(|(part, gpus)| gauge(&catalogue::GPU_PART, &[("part", part)], gpus)).collect();
    let quota = (unallocated * 0.6).round();
    for (cause, gpus) in [("quota_bound", quota), ("shape_does_not_fit", unallocated - quota)] {
        samples.push(gauge(&catalogue::GPU_UNALLOCATED, &[("cause", cause)], gpus));
    }
    samples
}

fn shares(ago: f64) -> Vec<Sample> {
    let borrowed = (4.0 * wave(ago, 8.0, 3.0)).round();
    let of = |metric, share: &str, value| gauge(metric, &[("share", share), ("instance_type", TYPE)], value);
    let rows = [
        ("audio", 8.0, 8.0 - borrowed - 2.0, 0.0, borrowed),
        ("language", 16.0, 16.0 + borrowed, borrowed, 0.0),
        ("vision", 8.0, 7.0, 0.0, 0.0),
    ];
    rows.into_iter()
        .flat_map(|(share, quota, used, borrowed, lent)| {
            [
                of(&catalogue::SHARE_QUOTA, share, quota),
                of(&catalogue::SHARE_USED, share, used),
                of(&catalogue::SHARE_BORROWED, share, borrowed),
                of(&catalogue::SHARE_LENT, share, lent),
            ]
        })
        .collect()
}

/// Monotonic counters.
fn events(ago: f64) -> Vec<Sample> {
    let since = 1_000.0 - ago;
    let counter = |metric, pairs: &[(&'static str, &str)], value: f64| Sample {
        metric,
        labels: with(pairs),
        value: Value::Counter(value.floor()),
    };
    vec![
        counter(&catalogue::JOB_PREEMPTIONS, &[("share", "audio")], since * 1.3),
        counter(&catalogue::JOB_PREEMPTIONS, &[("share", "vision")], since * 0.4),
        counter(&catalogue::JOB_FAILURES, &[("share", "language"), ("category", "user_code")], since * 0.9),
        counter(&catalogue::JOB_FAILURES, &[("share", "language"), ("category", "capacity")], since * 0.3),
    ]
}
