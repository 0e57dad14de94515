//! The figures of one tick: ledger, topology and utilisation in, a [`Frame`] out. PURE.
//!
//! A figure that is not known is absent, never 0, and never NaN or infinite. What is counted is published as 0 too, so
//! that a quiet queue and a dead service look different.

mod alert_notes;
pub mod catalogue;
mod closed_labels;
mod compute_reservation;
mod count;
mod counters;
mod ended_job;
mod failures;
mod fair_share;
mod finding;
mod frame;
mod gauges;
pub mod gpu_parts;
mod hosts;
pub mod hourly;
mod job_context;
mod job_story;
pub mod kaplan_meier;
pub mod lending;
pub mod misconfiguration;
mod outcomes;
mod reasons;
mod reserved;
mod shares;
pub mod single_jobs;
mod subjects;
mod unallocated;
mod wait_by_reason;
mod wait_estimates;
mod wait_quantiles;
pub mod waterfall;

use std::collections::BTreeMap;
use std::time::Duration;

pub use alert_notes::{JOBS_NAMED, Notes, WaitNote};
pub use closed_labels::closed_values;
pub use count::Counting;
pub use counters::Counters;
pub use ended_job::EndedJob;
pub use frame::{
    CAUGHT_UP_WITHIN, CatchUp, Distribution, Estimate, FailureFigures, FairShareFigures, Frame, Labels, Loan,
    Quantiles, QueueFigures, ReasonFigures, Sample, ShareFigures, SourceHealth, Value, WaitFigures, Waterfall, labels,
};
pub use job_context::{Alike, AttemptEnd, HostFigures, JobContext, MAX_NEIGHBOURS, Neighbour};
pub use reasons::{Evidence, Reason, Standing, Why};

use crate::jobs::{Job, Ledger};
use crate::model::{Account, JobId, Place, Prices, Queue, QueueName, QueueSnapshot, Reserved, ShareName, Timestamp};

/// What the figures of one tick are made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The moment the figures are for.
    pub now: Timestamp,
    /// Watched queues, by name.
    pub queues: &'a [Queue],
    /// Every job known, and how busy its hosts are.
    pub ledger: &'a Ledger,
    /// The latest snapshot of each queue: the first jobs in dispatch order.
    pub fronts: &'a BTreeMap<QueueName, QueueSnapshot>,
    /// Dollars per instance and hour, by instance type.
    pub prices: &'a Prices,
    /// Capacity that is paid for whether jobs use it or not, as far as it is watched and known.
    pub reserved: &'a [Reserved],
    /// How fresh each source is.
    pub sources: &'a [SourceHealth],
    /// When waiting jobs are expected to start, as far as there are estimates.
    pub expected_starts: &'a BTreeMap<JobId, Timestamp>,
    /// How good the estimates of each share were.
    pub forecasts: &'a [ForecastFigures],
}

/// How good the estimates of when jobs of a share start were.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastFigures {
    /// Of which queue.
    pub queue: QueueName,
    /// Of which share.
    pub share: ShareName,
    /// The part of the intervals that held the truth.
    pub coverage: f64,
    /// The median of how far their middle was off, in seconds.
    pub error_seconds: f64,
}

/// What the service says of itself.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// What the account may run, and what runs outside of the queues, as far as that is asked for.
    pub account: Account,
    /// Which target it watches, and where that is.
    pub place: Place,
    /// Time between the last two polls.
    pub poll_interval: Option<Duration>,
    /// By how many seconds this machine's clock is ahead of AWS's; `None` while that is not known.
    pub clock_skew_seconds: Option<f64>,
    /// Series in the last batch of each sink.
    pub published_series: BTreeMap<String, u64>,
    /// Series that a budget leaves out, by sink and metric.
    pub left_out: BTreeMap<(String, &'static str), u64>,
    /// What the service itself costs in a month at its present usage, in dollars by destination.
    pub monthly_cost: BTreeMap<&'static str, f64>,
    /// What waits for delivery, by receiver.
    pub pending: BTreeMap<String, Pending>,
    /// Alerts that are pending.
    pub alerts_pending: usize,
    /// Alerts that fire.
    pub alerts_firing: usize,
    /// Each alert that is pending or firing, up to [`MAX_ACTIVE_ALERTS`].
    pub active_alerts: Vec<ActiveAlert>,
    /// Whether the rule files have mistakes, so that the rules from before them are evaluated.
    pub rules_broken: bool,
    /// Why the state is kept in memory only; `None` if all is well.
    pub store_error: Option<String>,
    /// Whether the state file, or rows of it, were found broken since the service started, and were set aside.
    pub store_set_aside: bool,
    /// Size of the state file.
    pub store_bytes: Option<u64>,
    /// What waits to be archived; `None` where there is no archive.
    pub archive: Option<PendingArchive>,
}

/// What waits to be archived.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PendingArchive {
    /// Rows in the state file.
    pub rows: u64,
    /// For how long the oldest day that is over has been due.
    pub oldest_age: Duration,
}

/// Alerts that have a series of their own, at most.
pub const MAX_ACTIVE_ALERTS: usize = 500;

/// An alert that is pending or firing, as a series shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActiveAlert {
    /// The rule's name.
    pub alertname: String,
    /// The label `severity`; empty if there is none.
    pub severity: String,
    /// `pending` or `firing`.
    pub state: &'static str,
    /// The queue that it is about; empty if it is not about one.
    pub queue: String,
    /// The share, likewise.
    pub share: String,
    /// What else it is about, like `reason=capacity`.
    pub subject: String,
}

/// Notifications that wait for delivery to one receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pending {
    /// How many.
    pub count: u64,
    /// Age of the oldest; zero when there is none.
    pub oldest_age: Duration,
}

/// Derives the figures of one tick. `counting` hands out its fresh values and is charged the GPU time since the
/// previous tick.
pub fn frame(inputs: &Inputs<'_>, service: &Service, counting: &mut Counting) -> Frame {
    let held = shares::held(inputs.ledger);
    let diagnosis = reasons::of_all(inputs);
    let shares: Vec<ShareFigures> = inputs.queues.iter().flat_map(|queue| shares::figures(queue, &held)).collect();
    let waterfall = |queue| waterfall::of_queue(queue, inputs, &diagnosis);
    let waterfall: Vec<Waterfall> = inputs.queues.iter().map(waterfall).collect();
    let subjects = subjects::shares_of_all(inputs);
    let reasons = wait_estimates::reasons(&diagnosis);
    let (estimates, of_bands) = counting.waiting.estimates_of_all(inputs, &counting.bands);
    let fair_shares = counting.recent_use.fair_shares(inputs, &waterfall);
    let starved = counting.waiting.starved(&diagnosis, &fair_shares, inputs.now);
    let unused = counting.last_use.unused(&shares, inputs.now);
    let failures = counting.failures(inputs.now);
    let refused = misconfiguration::refused(&failures, inputs.ledger, inputs.now);
    let mut setup = misconfiguration::findings(inputs.queues, &shares, &diagnosis, &unused, &refused, &service.account);
    setup.extend(misconfiguration::clock_skew(inputs.queues, service.clock_skew_seconds));

    let mut gauges = gauges::Gauges::default();
    gauges.jobs(&subjects, inputs);
    gauges.waiting(&subjects, &mut counting.demanded, inputs);
    gauges.reasons(&subjects, &reasons);
    gauges.estimates(&estimates);
    gauges.bands(&subjects, &counting.bands, &of_bands, inputs);
    gauges.shares(&shares);
    gauges.starved(&subjects, &starved);
    gauges.forecasts(&subjects, inputs.forecasts);
    gauges.unused(&unused);
    gauges.setup(inputs.queues, &setup);
    gauges.waterfall(&waterfall);
    gauges.fair_shares(&fair_shares);
    let reserved = reserved::states(inputs);
    gauges.utilisation(&subjects, inputs);
    gauges.service(service, inputs);
    for (queue, share, ratio) in counting.failure_ratios(inputs.now) {
        gauges.failure_ratio(queue, share, ratio);
    }

    counting.begin_series(subjects);
    let seconds = counting.seconds_since_last(inputs.now);
    counting.reserved_time(&reserved, inputs, seconds);
    gauges.reserved(&reserved, &counting.was_reserved());
    counting.gpu_time(&waterfall, seconds);
    counting.share_time(lending::parts(&shares, &diagnosis), seconds);
    let loans = counting.lending(&lending::pairs(&shares), seconds);
    counting.waiting_time(&reasons, &diagnosis, seconds);
    let mut samples = gauges.0;
    samples.extend(counting.samples(inputs.now));
    // Whatever it was made from, what is infinite or undefined is not a figure.
    samples.retain(|sample| sample.value.is_finite());
    let samples = in_order(samples);

    let shares = shares::with_idle(shares, inputs);
    Frame {
        at: inputs.now,
        place: service.place.clone(),
        queues: inputs.queues.iter().map(|queue| gauges::queue_figures(queue, inputs)).collect(),
        shares,
        loans,
        fair_shares,
        reserved: inputs.reserved.to_vec(),
        waits: counting.waits(),
        estimates,
        reasons,
        waterfall,
        failures,
        setup,
        sources: inputs.sources.to_vec(),
        samples,
        topology: inputs.queues.to_vec(),
        catch_up: CatchUp::Done,
        of_jobs: Vec::new(),
    }
}

/// In catalogue order, then by labels.
fn in_order(samples: Vec<Sample>) -> Vec<Sample> {
    let order: BTreeMap<&str, usize> = catalogue::ALL.iter().enumerate().map(|(i, metric)| (metric.name, i)).collect();
    let mut by_metric: Vec<Vec<Sample>> = catalogue::ALL.iter().map(|_| Vec::new()).collect();
    for sample in samples {
        if let Some(of_metric) = order.get(sample.metric.name).and_then(|index| by_metric.get_mut(*index)) {
            of_metric.push(sample);
        }
    }
    for of_metric in &mut by_metric {
        of_metric.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    by_metric.into_iter().flatten().collect()
}

/// What a job does or did, a sentence or two a line: why it waits (which is what [`why`] says), how long it waited and ran, why it
/// failed, what to do next.
pub fn story(job: &Job, why: Option<&Why>, inputs: &Inputs<'_>) -> Vec<String> {
    job_story::of(job, why, inputs)
}

/// Why each of some jobs waits, without their places; `None` for one that does not, or whose queue is not watched.
pub fn whys<'a>(
    jobs: impl IntoIterator<Item = &'a JobId>,
    inputs: &Inputs<'_>,
    counting: &Counting,
) -> Vec<Option<Why>> {
    let notes = Notes::new(*inputs);
    let why = |id: &JobId| {
        let job = inputs.ledger.job(id)?;
        notes.why(job, counting.waiting.waited_by_reason(job))
    };
    jobs.into_iter().map(why).collect()
}

/// What is around a job, with why it waits, if it does.
pub fn job_context(job: &Job, why: Option<&Why>, inputs: &Inputs<'_>) -> JobContext {
    job_context::of(job, why, inputs)
}

/// Why a job waits, with how its wait divided so far; `None` if it does not wait, or if its queue is not watched.
pub fn why(job: &Job, inputs: &Inputs<'_>, counting: &Counting) -> Option<Why> {
    reasons::of_job(job, inputs, counting.waiting.waited_by_reason(job))
}
