//! Gauge samples of a tick, from tables and ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::jobs::{Job, Phase, ShareJobs};
use crate::metrics::borrowed_and_lent::Unused;
use crate::metrics::catalogue::{self, Metric};
use crate::metrics::finding::{Finding, Problem};
use crate::metrics::frame::{FairShareFigures, Labels, QueueFigures, Sample, ShareFigures, Value, Waterfall, labels};
use crate::metrics::gpu_part_names::Part;
use crate::metrics::reserved_capacity::{States, labels_of};
use crate::metrics::shares_with_series::{Subjects, no_share};
use crate::metrics::{Inputs, Service, gpu_waterfall, host_utilisation};
use crate::model::{Account, InstanceType, JobStatus, Queue, QueueName, ShareName, Source, accelerators_of};

/// Collects gauge samples.
#[derive(Default)]
pub(super) struct Gauges(pub(super) Vec<Sample>);

impl Gauges {
    pub(super) fn set<const N: usize>(
        &mut self,
        metric: &'static Metric,
        pairs: [(&'static str, Arc<str>); N],
        value: f64,
    ) {
        self.set_labels(metric, labels(pairs), value);
    }

    fn set_labels(&mut self, metric: &'static Metric, labels: Labels, value: f64) {
        // Infinite or undefined values are not figures.
        if value.is_finite() {
            self.0.push(Sample { metric, labels, value: Value::Gauge(value) });
        }
    }

    pub(super) fn unused(&mut self, unused: &Unused) {
        for ((queue, share), seconds) in unused {
            self.set(&catalogue::SHARE_UNUSED, [("queue", queue.shared()), ("share", share.shared())], *seconds);
        }
    }

    pub(super) fn setup(&mut self, queues: &[Queue], findings: &[Finding]) {
        for queue in queues {
            for problem in Problem::ALL {
                let count = findings.iter().filter(|one| one.queue == queue.name && one.problem == problem).count();
                let pairs = [("queue", queue.name.shared()), ("problem", problem.as_str().into())];
                self.set(&catalogue::SETUP_FINDINGS, pairs, count as f64);
            }
        }
    }

    pub(super) fn shares(&mut self, rows: &[ShareFigures]) {
        for row in rows {
            let pairs =
                || [("queue", row.queue.shared()), ("share", row.share.shared()), ("instance_type", row.unit.shared())];
            if let Some(quota) = row.quota {
                self.set(&catalogue::SHARE_QUOTA, pairs(), quota);
                self.set(&catalogue::SHARE_BORROWED, pairs(), row.borrowed);
                self.set(&catalogue::SHARE_LENT, pairs(), row.lent);
                self.set(&catalogue::SHARE_IDLE, pairs(), row.idle);
            }
            self.set(&catalogue::SHARE_USED, pairs(), row.used);
            for (metric, value) in
                [(&catalogue::SHARE_MOST, row.most), (&catalogue::SHARE_LARGEST_JOB, row.largest_job)]
            {
                if let Some(value) = value {
                    self.set(metric, pairs(), value);
                }
            }
        }
        let mut gpus: BTreeMap<(&QueueName, &ShareName), (f64, f64)> = BTreeMap::new();
        for row in rows {
            let (Some(quota), Some(accelerators)) = (row.quota, accelerators_of(&row.unit)) else { continue };
            let (used, own) = gpus.entry((&row.queue, &row.share)).or_default();
            *used += row.used * f64::from(accelerators.gpus());
            *own += quota * f64::from(accelerators.gpus());
        }
        for ((queue, share), (used, own)) in gpus {
            let pairs = [("queue", queue.shared()), ("share", share.shared())];
            self.set(&catalogue::SHARE_UTILISATION, pairs, used / own);
        }
    }

    pub(super) fn fair_shares(&mut self, rows: &[FairShareFigures]) {
        for row in rows {
            let pairs = || [("queue", row.queue.shared()), ("share", row.share.shared())];
            self.set(&catalogue::SHARE_TARGET, pairs(), row.target);
            self.set(&catalogue::SHARE_USED_RECENT, pairs(), row.recent);
            self.set(&catalogue::SHARE_DEVIATION, pairs(), row.recent - row.target);
        }
    }

    /// `past` are series that existed before: without reservations they are reported as 0.
    pub(super) fn reserved(&mut self, states: &States, past: &[Labels]) {
        let now = states.iter().map(|((kind, unit, state), instances)| (labels_of(*kind, unit, state), *instances));
        let mut all: BTreeMap<Labels, Option<f64>> = past.iter().map(|labels| (labels.clone(), Some(0.0))).collect();
        all.extend(now);
        for (labels, instances) in all.into_iter().filter_map(|(labels, instances)| Some((labels, instances?))) {
            self.set_labels(&catalogue::RESERVED_INSTANCES, labels, instances);
        }
    }

    pub(super) fn waterfall(&mut self, rows: &[Waterfall]) {
        for row in rows {
            let queue = || ("queue", row.queue.shared());
            for (part, gpus) in &row.parts {
                self.set(&catalogue::GPU_PART, [queue(), ("part", part.as_str().into())], *gpus);
            }
            for (cause, gpus) in &row.unallocated {
                self.set(&catalogue::GPU_UNALLOCATED, [queue(), ("cause", cause.as_str().into())], *gpus);
            }
            let Some(capacity) = row.capacity_gpus else { continue };
            self.set(&catalogue::GPU_CAPACITY, [queue()], capacity);
            let part = |part: Part| row.parts.get(&part).copied().unwrap_or(0.0);
            let diagnosis = capacity - part(Part::Unknown) - part(Part::OtherQueues);
            if diagnosis > 0.0 {
                self.set(&catalogue::GPU_IDLE_RATIO, [queue()], (1.0 - part(Part::Busy) / diagnosis).clamp(0.0, 1.0));
            }
        }
    }

    pub(super) fn utilisation(&mut self, subjects: &Subjects, inputs: &Inputs<'_>) {
        let mut sums: BTreeMap<(QueueName, ShareName), (f64, f64)> = BTreeMap::new();
        let mut dead: BTreeMap<_, f64> = subjects.iter().cloned().map(|key| (key, 0.0)).collect();
        let running = |job: &&Job| job.timeline.current().is_some_and(|span| span.phase == Phase::Running);
        for job in inputs.ledger.in_flight().filter(running) {
            let share = job.share().cloned().unwrap_or_else(no_share);
            let dead_hosts = gpu_waterfall::dead_hosts(job, inputs);
            *dead.entry((job.queue().clone(), share.clone())).or_default() += dead_hosts as f64;
            if let Some((gpus, busy)) = host_utilisation::mean(host_utilisation::reporting(job, inputs)) {
                let (sum, all) = sums.entry((job.queue().clone(), share)).or_default();
                *sum += busy * gpus;
                *all += gpus;
            }
        }
        for ((queue, share), hosts) in dead {
            self.set(&catalogue::GPU_DEAD_HOSTS, [("queue", queue.shared()), ("share", share.shared())], hosts);
        }
        for ((queue, share), (sum, all)) in sums {
            self.set(&catalogue::GPU_UTILISATION, [("queue", queue.shared()), ("share", share.shared())], sum / all);
        }
    }

    /// Account limits and use outside the queues, including zeros.
    fn account(&mut self, account: &Account) {
        for limit in &account.limits {
            self.set(&catalogue::ACCOUNT_LIMIT, [("instance_type", limit.unit.shared())], limit.quantity);
        }
        let Some(outside) = account.outside.as_ref().filter(|outside| outside.is_complete) else { return };
        let units: BTreeSet<&InstanceType> =
            account.limits.iter().chain(&outside.instances).map(|one| &one.unit).collect();
        for unit in units {
            self.set(&catalogue::ACCOUNT_OUTSIDE, [("instance_type", unit.shared())], outside.of(unit));
        }
    }

    pub(super) fn service(&mut self, service: &Service, inputs: &Inputs<'_>) {
        self.account(&service.account);
        for health in inputs.sources {
            if let Some(age) = health.age_seconds {
                self.set(&catalogue::SOURCE_AGE, [("source", health.source.as_str().into())], age);
            }
        }
        if let Some(answering) = answering(inputs).filter(|_| !service.place.target.is_empty()) {
            let target = Arc::clone(&service.place.target);
            self.set(&catalogue::TARGET_ANSWERING, [("target", target)], f64::from(u8::from(answering)));
        }
        if let Some(skew) = service.clock_skew_seconds {
            self.set(&catalogue::CLOCK_SKEW, [], skew.abs());
        }
        if let Some(interval) = service.poll_interval {
            self.set(&catalogue::POLL_INTERVAL, [], interval.as_secs_f64());
        }
        self.set(&catalogue::LEDGER_JOBS, [], inputs.ledger.len() as f64);
        for queue in inputs.queues {
            let unverified = inputs.ledger.unverified(&queue.name) as f64;
            self.set(&catalogue::LEDGER_UNVERIFIED, [("queue", queue.name.shared())], unverified);
        }
        for (sink, series) in &service.published_series {
            self.set(&catalogue::PUBLISH_SERIES, [("sink", sink.as_str().into())], *series as f64);
        }
        for ((sink, metric), series) in &service.left_out {
            let labels = [("sink", sink.as_str().into()), ("metric", (*metric).into())];
            self.set(&catalogue::PUBLISH_LEFT_OUT, labels, *series as f64);
        }
        for (destination, dollars) in &service.monthly_cost {
            self.set(&catalogue::SERVICE_COST, [("destination", (*destination).into())], *dollars);
        }
        for (receiver, pending) in &service.pending {
            let receiver = || ("receiver", receiver.as_str().into());
            self.set(&catalogue::NOTIFY_PENDING, [receiver()], pending.count as f64);
            self.set(&catalogue::NOTIFY_OLDEST, [receiver()], pending.oldest_age.as_secs_f64());
        }
        self.set(&catalogue::RULES_BROKEN, [], f64::from(u8::from(service.rules_broken)));
        for (state, count) in [("pending", service.alerts_pending), ("firing", service.alerts_firing)] {
            self.set(&catalogue::ALERTS, [("state", state.into())], count as f64);
        }
        for alert in &service.active_alerts {
            let crate::metrics::ActiveAlert { alertname, severity, state, queue, share, subject } = alert;
            let labels = [
                ("alertname", alertname.as_str().into()),
                ("severity", severity.as_str().into()),
                ("state", (*state).into()),
                ("queue", queue.as_str().into()),
                ("share", share.as_str().into()),
                ("subject", subject.as_str().into()),
            ];
            self.set(&catalogue::ALERTS_ACTIVE, labels, 1.0);
        }
        for (kind, trouble) in [("unwritable", service.store_error.is_some()), ("set_aside", service.store_set_aside)] {
            self.set(&catalogue::STORE_TROUBLE, [("kind", kind.into())], f64::from(u8::from(trouble)));
        }
        if let Some(bytes) = service.store_bytes {
            self.set(&catalogue::STORE_SIZE, [], bytes as f64);
        }
        if let Some(archive) = service.archive {
            self.set(&catalogue::ARCHIVE_PENDING, [], archive.rows as f64);
            self.set(&catalogue::ARCHIVE_OLDEST, [], archive.oldest_age.as_secs_f64());
        }
    }

    pub(super) fn failure_ratio(&mut self, queue: &QueueName, share: &ShareName, ratio: f64) {
        self.set(&catalogue::JOB_FAILURE_RATIO, [("queue", queue.shared()), ("share", share.shared())], ratio);
    }
}

/// Whether the target answers: neither the listing of its queues nor that of the jobs of all queues failed. `None`
/// before the first request.
fn answering(inputs: &Inputs<'_>) -> Option<bool> {
    let of = |source: Source| inputs.sources.iter().find(|health| health.source == source);
    let (topology, jobs) = (of(Source::Topology)?, of(Source::Jobs));
    let all_jobs_fail = jobs.is_some_and(|health| {
        health.error.is_some() && inputs.queues.iter().all(|queue| health.failing.contains(&queue.name))
    });
    if topology.error.is_some() || all_jobs_fail {
        return Some(false);
    }
    topology.age_seconds.map(|_| true)
}

/// Jobs by state of one queue, including every known state, and its longest wait.
pub(super) fn queue_figures(queue: &Queue, inputs: &Inputs<'_>) -> QueueFigures {
    let lower = |status: &JobStatus| status.as_str().to_ascii_lowercase();
    let mut jobs: BTreeMap<String, u64> = JobStatus::KNOWN.iter().map(|status| (lower(status), 0)).collect();
    let shares = || inputs.ledger.shares_of(&queue.name).map(|(_, share_jobs)| share_jobs);
    for (status, count) in shares().flat_map(ShareJobs::counts).chain(inputs.ledger.ended_counts(&queue.name)) {
        *jobs.entry(lower(status)).or_default() += count as u64;
    }
    let oldest = shares().filter_map(ShareJobs::oldest).map(|(since, _)| *since).min();
    let oldest_wait_seconds = oldest.map(|since| inputs.now.seconds_since(since));
    let (arn, policy) = (queue.arn.clone(), queue.policy.as_str().into());
    QueueFigures { queue: queue.name.clone(), arn, policy, jobs, oldest_wait_seconds }
}

#[cfg(test)]
mod tests;
