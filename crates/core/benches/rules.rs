//! CPU time of the rules per tick, over thousands of series: `cargo bench -p trainspotter-core --bench rules`.
//!
//! Every (queue, share) has one series of each of ten metrics. A tenth of the values changes between ticks, one
//! minute apart. Ten kinds of rules are equally frequent: thresholds over everything, over one queue and over name
//! patterns, several conditions, increases, trends and statistics. Every tick has alerts that fire and alerts that
//! resolve. Arguments `RULES QUEUES SHARES` measure a single case.

#![expect(clippy::disallowed_methods, reason = "a measurement of real time")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use trainspotter_core::metrics::Distribution;
use trainspotter_core::metrics::Frame;
use trainspotter_core::metrics::Quantiles;
use trainspotter_core::metrics::Sample;
use trainspotter_core::metrics::SourceHealth;
use trainspotter_core::metrics::Value;
use trainspotter_core::metrics::catalogue::{self, Kind, Metric};
use trainspotter_core::metrics::labels;
use trainspotter_core::model::Source;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::ActiveAlerts;
use trainspotter_core::rules::Rule;
use trainspotter_core::rules::parse_rules;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// Warm-up ticks: windows and caches fill.
const WARM_UP: u32 = 70;
/// Measured ticks, a minute apart.
const TICKS: u32 = 60;

/// Rules, queues, and shares per queue.
const CASES: [(usize, usize, usize); 4] = [(100, 20, 50), (1_000, 5, 20), (1_000, 20, 50), (1_000, 100, 10)];

static METRICS: [&Metric; 10] = [
    &catalogue::QUEUE_WAIT_OLDEST,
    &catalogue::QUEUE_DEMAND_LARGEST,
    &catalogue::SHARE_UTILISATION,
    &catalogue::SHARE_STARVED,
    &catalogue::GPU_UTILISATION,
    &catalogue::GPU_DEAD_HOSTS,
    &catalogue::JOB_FAILURE_RATIO,
    &catalogue::JOB_PREEMPTIONS,
    &catalogue::QUEUE_WAIT,
    &catalogue::JOB_RUN,
];

fn main() -> std::io::Result<()> {
    let arguments: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "| rules | series | ms of CPU per tick | worst tick, ms | alerts | transitions per tick |")?;
    writeln!(out, "|---:|---:|---:|---:|---:|---:|")?;
    match arguments[..] {
        [rules, queues, shares] => measure(&mut out, (rules, queues, shares)),
        _ => CASES.into_iter().try_for_each(|case| measure(&mut out, case)),
    }
}

fn measure(out: &mut impl Write, (count, queues, shares): (usize, usize, usize)) -> std::io::Result<()> {
    let rules = match rules(count, queues) {
        Ok(rules) => rules,
        Err(problems) => return writeln!(out, "{problems}"),
    };
    let mut random = Random(7);
    let mut frame = frame(queues, shares);
    let mut book = ActiveAlerts::default();
    let (mut total, mut worst, mut reported) = (Duration::ZERO, Duration::ZERO, 0);
    for tick in 0..WARM_UP + TICKS {
        frame.at = START + Duration::from_secs(60) * tick;
        frame.samples.iter_mut().for_each(|sample| random.change(sample));
        let began = cpu_time();
        let transitions = book.step(&rules, &frame, frame.at);
        let took = cpu_time().saturating_sub(began);
        if tick >= WARM_UP {
            total += took;
            worst = worst.max(took);
            reported += transitions.len();
        }
    }
    let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
    let (mean, worst, reported) = (millis(total / TICKS), millis(worst), reported as f64 / f64::from(TICKS));
    let (count, series, alerts) = (rules.len(), frame.samples.len(), book.alerts().count());
    writeln!(out, "| {count} | {series} | {mean:.1} | {worst:.1} | {alerts} | {reported:.1} |")
}

/// CPU time of this thread; wall time where the system does not provide it.
fn cpu_time() -> Duration {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let reported = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = reported.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| BEGAN.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}

/// Generates `count` rules.
fn rules(count: usize, queues: usize) -> Result<Vec<Rule>, String> {
    let mut text = "rules:\n".to_owned();
    for n in 0..count {
        let queue = format!("queue-{}", n % queues);
        // 0.1 % of the values exceed this, different ones for each rule.
        let percent = format!("99.{}%", n % 10);
        let rest = match n % 10 {
            0 => format!("by: [queue, share], metric: share.utilisation, above: {percent}"),
            1 => format!("by: [queue, share], metric: gpu.utilisation, where: {{ queue: {queue} }}, above: {percent}"),
            2 => format!("by: [queue], metric: job.failure_ratio, where: {{ share: '*-1?' }}, above: {percent}, for: 5m"),
            3 => "by: [queue, share], all: [{ metric: share.utilisation, above: 90% }, { metric: gpu.utilisation, below: 5% },
                 { metric: job.failure_ratio, above: 50% }]"
                .to_owned(),
            4 => "by: [queue, share], metric: job.preemptions, increase: 1h, above: 400".to_owned(),
            5 => "by: [queue, share], metric: queue.wait.oldest, change_over: 1h, above: 59m".to_owned(),
            6 => "by: [queue, share], metric: queue.wait, stat: p95, above: 3596s, datapoints: 2 of 3".to_owned(),
            7 => format!("metric: queue.demand.largest, where: {{ queue: 'queue-*' }}, fold: mean, above: {n}"),
            8 => format!("by: [queue], metric: gpu.dead_hosts, fold: sum, where: {{ queue: {queue} }}, above: 1e9"),
            _ => format!(
                "by: [queue, share], any: [{{ metric: share.starved, where: {{ queue: {queue} }}, above: 59m 58s }},
                 {{ metric: job.run, stat: mean, where: {{ queue: {queue} }}, above: 59m 58s }}]"
            ),
        };
        let _ = writeln!(text, "  - {{ alert: Rule{n}, {rest}, annotations: {{ summary: '{{{{ value }}}}' }} }}");
    }
    parse_rules("bench.yaml", &text).map_err(|problems| problems.to_string())
}

fn frame(queues: usize, shares: usize) -> Frame {
    let mut samples = Vec::new();
    for metric in METRICS {
        for (queue, share) in (0..queues).flat_map(|queue| (0..shares).map(move |share| (queue, share))) {
            let value = match metric.kind {
                Kind::Gauge => Value::Gauge(0.0),
                Kind::Counter => Value::Counter(0.0),
                Kind::Distribution => Value::Distribution(Distribution::default()),
            };
            let queue = format!("queue-{queue}").into();
            let labels = labels([("queue", queue), ("share", format!("share-{share}").into())]);
            samples.push(Sample { metric, labels, value });
        }
    }
    let health = |source| SourceHealth {
        source,
        age_seconds: Some(10.0),
        error: None,
        note: None,
        failing: BTreeSet::default(),
    };
    Frame { at: START, samples, sources: Source::ALL.into_iter().map(health).collect(), ..Frame::default() }
}

/// Xorshift: the same values on every machine.
struct Random(u64);

impl Random {
    fn change(&mut self, sample: &mut Sample) {
        // A gauge or distribution changes about every ten ticks.
        if sample.metric.kind != Kind::Counter && self.unit() > 0.1 {
            return;
        }
        let next = self.unit();
        let most = if sample.metric.unit == catalogue::Unit::Ratio { 1.0 } else { 3_600.0 };
        match &mut sample.value {
            Value::Gauge(value) => *value = next * most,
            Value::Counter(value) => *value += (next * 10.0).floor(),
            Value::Distribution(distribution) => {
                let value = next * most;
                let quantiles =
                    Quantiles { count: 10, mean: value, p50: value, p90: value, p95: value, p99: value, max: value };
                distribution.count += 1;
                distribution.recent = Some(quantiles);
            }
        }
    }

    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}
