//! The result of a tick: tables for pages and the API, samples for sinks and rules.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::jobs::FailureCategory;
use crate::metrics::catalogue::{Label, Metric, bucket_of};
use crate::metrics::finding::Finding;
use crate::metrics::gpu_part_names::{Part, UnallocatedCause};
use crate::metrics::reasons::Reason;
use crate::model::{InstanceType, Place, Queue, QueueName, Reserved, ShareName, Source, Timestamp};

/// Counting has caught up after a start once it lags by no more than this.
pub const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(600);

/// Progress of counting events from before the service started. Until it has caught up, totals are those of the
/// earlier run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// Caught up.
    #[default]
    Done,
    /// In progress: it takes a poll or two.
    UnderWay,
    /// Blocked by a failing source.
    Stalled,
}

/// The figures of one tick. Immutable and shared.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Time of the figures.
    pub at: Timestamp,
    /// Account and region of the figures.
    pub place: Place,
    /// One row per watched queue, ordered by name.
    pub queues: Vec<QueueFigures>,
    /// One row per queue, share and instance type.
    pub shares: Vec<ShareFigures>,
    /// One row per queue and pair of shares of which one has used the other's quota.
    pub loans: Vec<Loan>,
    /// One row per share identifier with jobs in a fair-share queue.
    pub fair_shares: Vec<FairShareFigures>,
    /// Training plans and warm pools, if watched.
    pub reserved: Vec<Reserved>,
    /// One row per queue and share with a wait.
    pub waits: Vec<WaitFigures>,
    /// One row per queue and share with a current or recent first wait.
    pub estimates: Vec<Estimate>,
    /// One row per queue, share and reason of waiting jobs.
    pub reasons: Vec<ReasonFigures>,
    /// One row per queue.
    pub waterfall: Vec<Waterfall>,
    /// One row per queue, share, owner and category of recently failed jobs.
    pub failures: Vec<FailureFigures>,
    /// Problems of the set-up.
    pub setup: Vec<Finding>,
    /// Freshness of each source.
    pub sources: Vec<SourceHealth>,
    /// All published and evaluated samples, in catalogue order, then by labels.
    pub samples: Vec<Sample>,
    /// The configured queues.
    pub topology: Vec<Queue>,
    /// Progress of counting events from before the service started.
    pub catch_up: CatchUp,
}

/// Current state of a queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueFigures {
    /// The queue.
    pub queue: QueueName,
    /// Its ARN; empty if unknown.
    pub arn: String,
    /// `FIFO`, `FAIR_SHARE` or `QUOTA_SHARE`.
    pub policy: Cow<'static, str>,
    /// Jobs by state (lower case), including zeros; ended jobs as far as the ledger remembers them.
    pub jobs: BTreeMap<String, u64>,
    /// Age of the longest-waiting job; `None` without waiting jobs.
    pub oldest_wait_seconds: Option<f64>,
}

/// A share's current capacity of one instance type, in instances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShareFigures {
    /// The queue.
    pub queue: QueueName,
    /// The share.
    pub share: ShareName,
    /// The instance type.
    pub unit: InstanceType,
    /// The share's quota; `None` if the policy sets none.
    pub quota: Option<f64>,
    /// Held by the share's jobs in flight.
    pub used: f64,
    /// Used beyond its quota, as far as others lend it.
    pub borrowed: f64,
    /// Unused quota that other shares use. Per queue and unit, borrowed and lent have the same sum.
    pub lent: f64,
    /// Unused quota that nobody uses.
    pub idle: f64,
    /// Maximum usage including borrowed instances; `None` if unlimited.
    pub most: Option<f64>,
    /// The largest job that can ever run in the share; `None` if the policy sets no quota.
    pub largest_job: Option<f64>,
    /// Weight of a share identifier in a fair-share queue; a lower weight gets more. `None` in other queues, or if
    /// unknown.
    pub weight: Option<f64>,
}

/// GPUs of one share's quota that another share uses. AWS does not report it, so it is estimated in proportion to
/// what each lends and borrows; all loans of a queue sum to what is lent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loan {
    /// The queue.
    pub queue: QueueName,
    /// The share that owns the quota.
    pub lender: ShareName,
    /// The share that uses it.
    pub borrower: ShareName,
    /// Current GPUs.
    pub gpus: f64,
    /// GPU-seconds since counting began.
    pub gpu_seconds: f64,
}

/// Entitlement and use of a share identifier in a fair-share queue, in GPUs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FairShareFigures {
    /// The queue.
    pub queue: QueueName,
    /// The share identifier.
    pub share: ShareName,
    /// Entitlement by the weights of the shares with jobs now.
    pub target: f64,
    /// Held by its jobs in flight.
    pub used: f64,
    /// Exponentially weighted mean of GPUs in use; its half-life is half the decay window.
    pub recent: f64,
}

/// First waits of a share since counting began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WaitFigures {
    /// The queue.
    pub queue: QueueName,
    /// The share; empty for jobs without one.
    pub share: ShareName,
    /// The figures, in seconds.
    pub seconds: Quantiles,
}

/// Mean and quantiles of a set of values. A quantile `p` is `sorted[floor(p * n)]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Number of values.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Maximum.
    pub max: f64,
}

/// Waiting time of a share's jobs, as a Kaplan-Meier estimate over the last day: jobs that still wait, or were
/// cancelled before they started, are right-censored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The queue.
    pub queue: QueueName,
    /// The share; empty for jobs without one.
    pub share: ShareName,
    /// Seconds by [`crate::metrics::kaplan_meier::QUANTILES`]; if too few jobs have started, the longest wait so
    /// far.
    pub seconds: [f64; 4],
}

/// Waiting jobs of a share by reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReasonFigures {
    /// The queue.
    pub queue: QueueName,
    /// The share; empty for jobs without one.
    pub share: ShareName,
    /// The reason.
    pub reason: Reason,
    /// Number of jobs.
    pub jobs: u64,
    /// GPUs they request, as far as their instance types are known.
    pub gpus: f64,
}

/// Failed jobs of one owner by category, in the last day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureFigures {
    /// The queue.
    pub queue: QueueName,
    /// The share; empty for jobs without one.
    pub share: ShareName,
    /// The owner; empty for jobs without one.
    #[serde(serialize_with = "serialize_text", deserialize_with = "deserialize_text")]
    pub owner: Arc<str>,
    /// Who can fix the failure.
    pub category: FailureCategory,
    /// Number of jobs.
    pub jobs: u64,
    /// GPU-seconds of their last attempts, as far as known.
    pub gpu_seconds: f64,
}

fn serialize_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn deserialize_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(deserializer).map(Arc::from)
}

/// Current use of a queue's GPUs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Waterfall {
    /// The queue.
    pub queue: QueueName,
    /// Capacity of its service environment; `None` if its GPUs are unknown.
    pub capacity_gpus: Option<f64>,
    /// GPUs by part; they sum to the capacity.
    pub parts: BTreeMap<Part, f64>,
    /// Dollars per hour by part; empty unless the price of each instance type in the environment is known.
    pub dollars_per_hour: BTreeMap<Part, f64>,
    /// Unallocated GPUs by cause; they sum to that part. Empty if the capacity is unknown.
    pub unallocated: BTreeMap<UnallocatedCause, f64>,
}

/// Freshness of a source.
#[derive(Clone, Debug)]
pub struct SourceHealth {
    /// The source.
    pub source: Source,
    /// Age of its last complete answer; `None` before the first.
    pub age_seconds: Option<f64>,
    /// Error of its last poll, if it failed.
    pub error: Option<String>,
    /// Single items that it does not return while it returns others, if any.
    pub note: Option<String>,
    /// Queues for which its last poll failed.
    pub failing: BTreeSet<QueueName>,
}

/// Value of a series at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric.
    pub metric: &'static Metric,
    /// The metric's labels, exactly.
    pub labels: Labels,
    /// The value.
    pub value: Value,
}

/// Label values by label, in label order. Cheap to clone: thousands of series keep theirs from tick to tick.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Label, Arc<str>)]>);

impl Labels {
    /// Value of a label.
    pub fn get(&self, label: &str) -> Option<&Arc<str>> {
        self.0.iter().find(|(name, _)| *name == label).map(|(_, value)| value)
    }

    /// All labels and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Label, &Arc<str>)> {
        self.0.iter().map(|(label, value)| (*label, value))
    }

    /// All values.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.0.iter().map(|(_, value)| value)
    }
}

impl FromIterator<(Label, Arc<str>)> for Labels {
    fn from_iter<I: IntoIterator<Item = (Label, Arc<str>)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_unstable_by_key(|(label, _)| *label);
        Self(pairs.into())
    }
}

/// Creates labels from pairs.
pub fn labels<const N: usize>(mut pairs: [(Label, Arc<str>); N]) -> Labels {
    pairs.sort_unstable_by_key(|(label, _)| *label);
    Labels(pairs.into())
}

/// Value of a series, according to its metric's kind. Always finite.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Current value.
    Gauge(f64),
    /// Sum since counting began.
    Counter(f64),
    /// Single values.
    Distribution(Distribution),
}

impl Value {
    /// Whether all numbers are finite.
    pub fn is_finite(&self) -> bool {
        match self {
            Self::Gauge(value) | Self::Counter(value) => value.is_finite(),
            Self::Distribution(distribution) => distribution.sum.is_finite(),
        }
    }
}

/// A distribution since counting began, with the new values of this tick and the quantiles of the last hour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Number of values per bucket of [`crate::metrics::catalogue::DURATION_BOUNDS`] (not cumulative); the last
    /// bucket is beyond the largest bound.
    pub buckets: Vec<u64>,
    /// Sum of all values.
    pub sum: f64,
    /// Number of values.
    pub count: u64,
    /// New values of this tick with their times, which may be long ago after a gap in observation.
    pub fresh: Vec<(Timestamp, f64)>,
    /// Quantiles of the last hour; `None` without values.
    pub recent: Option<Quantiles>,
}

impl Distribution {
    /// Adds a value to buckets, sum and count.
    pub fn add(&mut self, value: f64) {
        if let Some(count) = self.buckets.get_mut(bucket_of(value)) {
            *count += 1;
        }
        self.sum += value;
        self.count += 1;
    }
}
