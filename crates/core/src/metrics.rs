//! Computes the figures of one tick: ledger, topology and utilisation in, a [`Frame`] out. PURE.
//!
//! Unknown figures are absent, never 0, NaN or infinite. Counts are published even if 0, so that a quiet queue
//! differs from a dead service.

mod alert_notes;
pub mod archived_hour;
mod archived_job;
mod borrowed_and_lent;
pub mod catalogue;
mod censored_wait_quantiles;
mod closed_labels;
mod compute_reservation;
mod count_events;
mod counters;
mod dispatched_wait_quantiles;
mod failure_ratio;
mod fair_share;
mod finding;
mod frame;
mod gauges;
pub mod gpu_part_names;
pub mod gpu_waterfall;
mod host_utilisation;
mod job_context;
mod job_story;
pub mod kaplan_meier;
pub mod lost_work;
pub mod misconfiguration;
pub mod quota_share_use;
mod reasons;
mod recent_failures;
mod reserved_capacity;
mod shares_with_series;
pub mod single_jobs;
mod starving_shares;
mod time_waited_by_reason;
mod unallocated_gpus;
mod uncounted_events;
mod waiting_by_reason;
mod waiting_gauges;

use std::collections::BTreeMap;
use std::time::Duration;

pub use alert_notes::{JOBS_NAMED, Notes, WaitNote};
pub use archived_job::EndedJob;
pub use closed_labels::closed_values;
pub use count_events::Counting;
pub use counters::Counters;
pub use frame::{
    CAUGHT_UP_WITHIN, CatchUp, Distribution, Estimate, FailureFigures, FairShareFigures, Frame, Labels, Loan,
    Quantiles, QueueFigures, ReasonFigures, Sample, ShareFigures, SourceHealth, Value, WaitFigures, Waterfall, labels,
};
pub use job_context::{Alike, AttemptEnd, HostFigures, JobContext, MAX_NEIGHBOURS, Neighbour};
pub use reasons::{Evidence, QueuePosition, Reason, Why};

use crate::jobs::{Job, Ledger};
use crate::model::{Account, JobId, Place, Prices, Queue, QueueName, QueueSnapshot, Reserved, ShareName, Timestamp};

/// Input of the figures of one tick.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Time of the figures.
    pub now: Timestamp,
    /// Watched queues, by name.
    pub queues: &'a [Queue],
    /// All known jobs, with the utilisation of their hosts.
    pub ledger: &'a Ledger,
    /// Latest snapshot of each queue: the first jobs in dispatch order.
    pub fronts: &'a BTreeMap<QueueName, QueueSnapshot>,
    /// Prices per instance-hour, by instance type.
    pub prices: &'a Prices,
    /// Capacity that is paid for whether or not jobs use it, as far as it is watched and known.
    pub reserved: &'a [Reserved],
    /// Freshness of each source.
    pub sources: &'a [SourceHealth],
    /// Estimated start times of waiting jobs, where available.
    pub expected_starts: &'a BTreeMap<JobId, Timestamp>,
    /// Accuracy of the estimates, by share.
    pub forecasts: &'a [ForecastFigures],
}

/// Accuracy of a share's start estimates.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastFigures {
    /// The queue.
    pub queue: QueueName,
    /// The share.
    pub share: ShareName,
    /// Fraction of intervals that contained the actual start.
    pub coverage: f64,
    /// Median error of the midpoints, in seconds.
    pub error_seconds: f64,
}

/// The service's own figures.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Account limits and use outside the queues, if watched.
    pub account: Account,
    /// Name, region and account of the target.
    pub place: Place,
    /// Progress of counting events from before the service started.
    pub catch_up: CatchUp,
    /// Time between the last two polls.
    pub poll_interval: Option<Duration>,
    /// Seconds by which the local clock is ahead of AWS's; `None` while unknown.
    pub clock_skew_seconds: Option<f64>,
    /// Series in the last batch of each sink.
    pub published_series: BTreeMap<String, u64>,
    /// Series omitted by a budget, by sink and metric.
    pub left_out: BTreeMap<(String, &'static str), u64>,
    /// Projected monthly cost of the service at its current usage, in dollars by destination.
    pub monthly_cost: BTreeMap<&'static str, f64>,
    /// Pending notifications, by receiver.
    pub pending: BTreeMap<String, Pending>,
    /// Number of pending alerts.
    pub alerts_pending: usize,
    /// Number of firing alerts.
    pub alerts_firing: usize,
    /// Pending and firing alerts, up to [`MAX_ACTIVE_ALERTS`].
    pub active_alerts: Vec<ActiveAlert>,
    /// Whether the rule files are invalid, so that the previous rules stay in effect.
    pub rules_broken: bool,
    /// Why the state file, or the log in object storage, does not accept the state; `None` if it does.
    pub store_error: Option<String>,
    /// Whether the state file, or rows of it, were broken and moved aside since the service started.
    pub store_set_aside: bool,
    /// Size of the state file.
    pub store_bytes: Option<u64>,
    /// Data waiting to be archived; `None` without an archive.
    pub archive: Option<PendingArchive>,
}

/// Data waiting to be archived.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PendingArchive {
    /// Number of rows in the state file.
    pub rows: u64,
    /// How long the oldest completed day has been due.
    pub oldest_age: Duration,
}

/// Maximum number of alerts with a separate series.
pub const MAX_ACTIVE_ALERTS: usize = 500;

/// A pending or firing alert, as a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActiveAlert {
    /// The rule's name.
    pub alertname: String,
    /// The label `severity`; empty if there is none.
    pub severity: String,
    /// `pending` or `firing`.
    pub state: &'static str,
    /// Queue of the alert; empty if it has none.
    pub queue: String,
    /// Share of the alert, likewise.
    pub share: String,
    /// Other labels, like `reason=capacity`.
    pub subject: String,
}

/// Pending notifications of one receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pending {
    /// Their number.
    pub count: u64,
    /// Age of the oldest; zero when there is none.
    pub oldest_age: Duration,
}

/// Computes the figures of one tick. Takes the fresh values from `counting`, and charges it the GPU time since the
/// previous tick.
pub fn frame(inputs: &Inputs<'_>, service: &Service, counting: &mut Counting) -> Frame {
    let held = borrowed_and_lent::held(inputs.ledger);
    let diagnosis = reasons::of_all(inputs);
    let shares: Vec<ShareFigures> =
        inputs.queues.iter().flat_map(|queue| borrowed_and_lent::figures(queue, &held)).collect();
    let waterfall = |queue| gpu_waterfall::of_queue(queue, inputs, &diagnosis);
    let waterfall: Vec<Waterfall> = inputs.queues.iter().map(waterfall).collect();
    let subjects = shares_with_series::shares_of_all(inputs);
    let reasons = waiting_by_reason::reasons(&diagnosis);
    let (estimates, of_bands) = counting.waiting.estimates_of_all(inputs, &counting.bands);
    let fair_shares = counting.recent_use.fair_shares(inputs, &waterfall);
    let starved = counting.starving.starved(&diagnosis, &fair_shares, inputs.now);
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
    let reserved = reserved_capacity::states(inputs);
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
    counting.share_time(quota_share_use::parts(&shares, &diagnosis), seconds);
    let loans = counting.lending(&quota_share_use::pairs(&shares), seconds);
    counting.waiting_time(&reasons, &diagnosis, seconds);
    let mut samples = gauges.0;
    samples.extend(counting.samples(inputs.now));
    // Infinite or undefined values are not figures, whatever the input.
    samples.retain(|sample| sample.value.is_finite());
    let samples = in_order(samples);

    let shares = borrowed_and_lent::with_idle(shares, inputs);
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
        catch_up: service.catch_up,
    }
}

/// Sorts by catalogue order, then by labels.
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

/// Explains a job in lines of one or two sentences: why it waits (as given by [`why`]), how long it waited and ran,
/// why it failed, what to do.
pub fn story(job: &Job, why: Option<&Why>, inputs: &Inputs<'_>) -> Vec<String> {
    job_story::of(job, why, inputs)
}

/// Why each of the jobs waits, without queue positions; `None` for a job that does not wait, or whose queue is not
/// watched.
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

/// Context of a job; `why` is the reason it waits, if it does.
pub fn job_context(job: &Job, why: Option<&Why>, inputs: &Inputs<'_>) -> JobContext {
    job_context::of(job, why, inputs)
}

/// Why a job waits, with its wait so far by reason; `None` if it does not wait, or if its queue is not watched.
pub fn why(job: &Job, inputs: &Inputs<'_>, counting: &Counting) -> Option<Why> {
    reasons::of_job(job, inputs, counting.waiting.waited_by_reason(job))
}
