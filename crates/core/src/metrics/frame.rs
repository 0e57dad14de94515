//! What one tick says: tables for pages and the API, samples for sinks and rules.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::jobs::FailureCategory;
use crate::metrics::catalogue::{Label, Metric, bucket_of};
use crate::metrics::finding::Finding;
use crate::metrics::gpu_parts::{Part, UnallocatedCause};
use crate::metrics::reasons::Reason;
use crate::model::{InstanceType, Place, Queue, QueueName, Reserved, ShareName, Source, Timestamp};

/// After a start what is counted has caught up as soon as it is behind by no more than this.
pub const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(600);

/// How far the count is with what happened before the service started. Until it has caught up, totals stand as an earlier run left them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// Everything is counted.
    #[default]
    Done,
    /// It will be soon: a poll or two.
    UnderWay,
    /// A source fails, so that nobody knows when.
    Stalled,
}

/// The figures of one tick. Immutable once made; readers share it.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// The moment the figures are for.
    pub at: Timestamp,
    /// Which account and region they are of.
    pub place: Place,
    /// One row per watched queue, by name.
    pub queues: Vec<QueueFigures>,
    /// One row per queue, share and instance type.
    pub shares: Vec<ShareFigures>,
    /// One row per queue and pair of shares of which one has worked on the other's quota.
    pub loans: Vec<Loan>,
    /// One row per share identifier of a fair-share queue that has jobs.
    pub fair_shares: Vec<FairShareFigures>,
    /// Training plans and warm pools, where they are watched.
    pub reserved: Vec<Reserved>,
    /// One row per queue and share that had a wait.
    pub waits: Vec<WaitFigures>,
    /// One row per queue and share that has, or lately had, a first wait.
    pub estimates: Vec<Estimate>,
    /// One row per queue, share and reason for which jobs wait.
    pub reasons: Vec<ReasonFigures>,
    /// One row per queue.
    pub waterfall: Vec<Waterfall>,
    /// One row per queue, share, owner and category of which jobs failed lately.
    pub failures: Vec<FailureFigures>,
    /// What is wrong with the set-up.
    pub setup: Vec<Finding>,
    /// How fresh each source is.
    pub sources: Vec<SourceHealth>,
    /// Everything that is published and evaluated, in catalogue order, then by labels.
    pub samples: Vec<Sample>,
    /// The queues as they are configured.
    pub topology: Vec<Queue>,
    /// How far the count is with what happened before the service started.
    pub catch_up: CatchUp,
    /// Figures of single jobs that a rule asked for: see [`crate::metrics::single_jobs`]. Evaluated and never published.
    pub of_jobs: Vec<Sample>,
}

/// A queue now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueFigures {
    /// The queue.
    pub queue: QueueName,
    /// Its ARN; empty if it is not known.
    pub arn: String,
    /// `FIFO`, `FAIR_SHARE` or `QUOTA_SHARE`.
    pub policy: Cow<'static, str>,
    /// Jobs by state (lower case), zeros included; ended ones as far as the ledger remembers.
    pub jobs: BTreeMap<String, u64>,
    /// Age of the longest-waiting job; `None` when none waits.
    pub oldest_wait_seconds: Option<f64>,
}

/// A share's capacity of one instance type now, in instances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShareFigures {
    /// The queue.
    pub queue: QueueName,
    /// The share.
    pub share: ShareName,
    /// What is counted.
    pub unit: InstanceType,
    /// The share's own; `None` where the policy sets no quota.
    pub quota: Option<f64>,
    /// Held by the share's in-flight jobs.
    pub used: f64,
    /// Beyond its quota, and lent by others.
    pub borrowed: f64,
    /// Of its quota, used by others. Over a queue and unit, borrowed sums to lent.
    pub lent: f64,
    /// Of its quota, used by nobody.
    pub idle: f64,
    /// The most it may use, borrowed instances included; `None` where nothing limits it.
    pub most: Option<f64>,
    /// The largest job that can ever run in the share; `None` where the policy sets no quota.
    pub largest_job: Option<f64>,
    /// The weight of a share identifier of a fair-share queue, of which less gets more; `None` in other queues, or if it is not known.
    pub weight: Option<f64>,
}

/// GPUs of one share's quota on which another share works. AWS does not say whose they are: in proportion to what each
/// lends and borrows, so that all loans of a queue sum to what is lent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loan {
    /// The queue.
    pub queue: QueueName,
    /// Whose quota it is.
    pub lender: ShareName,
    /// Who works on it.
    pub borrower: ShareName,
    /// How many GPUs now.
    pub gpus: f64,
    /// GPU-seconds since counting began.
    pub gpu_seconds: f64,
}

/// What a share identifier of a fair-share queue is due, and what it has, in GPUs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FairShareFigures {
    /// The queue.
    pub queue: QueueName,
    /// The share identifier.
    pub share: ShareName,
    /// Due by the weights of the shares that have jobs now.
    pub target: f64,
    /// Held by its in-flight jobs.
    pub used: f64,
    /// Exponentially weighted mean of GPUs in use; its half-life is half the decay window.
    pub recent: f64,
}

/// First waits of a share since the service began to count.
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
    /// How many values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// How long a job of a share waits, jobs that still wait and jobs cancelled before they started counted as what they are:
/// waits of at least so long. By Kaplan and Meier, over the last day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The queue.
    pub queue: QueueName,
    /// The share; empty for jobs without one.
    pub share: ShareName,
    /// Seconds by [`crate::metrics::kaplan_meier::QUANTILES`]; where too few have started to tell, the longest wait so far.
    pub seconds: [f64; 4],
}

/// Jobs of a share that wait for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReasonFigures {
    /// The queue.
    pub queue: QueueName,
    /// The share; empty for jobs without one.
    pub share: ShareName,
    /// Why they wait.
    pub reason: Reason,
    /// How many.
    pub jobs: u64,
    /// GPUs that they ask for, as far as their instance types are known.
    pub gpus: f64,
}

/// Jobs of one owner that failed for one kind of reason in the last day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureFigures {
    /// The queue.
    pub queue: QueueName,
    /// The share; empty for jobs without one.
    pub share: ShareName,
    /// The owner's tag; empty for jobs without one.
    #[serde(serialize_with = "serialize_text", deserialize_with = "deserialize_text")]
    pub owner: Arc<str>,
    /// Who can fix it.
    pub category: FailureCategory,
    /// How many jobs.
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

/// Where a queue's GPUs are now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Waterfall {
    /// The queue.
    pub queue: QueueName,
    /// What its service environment allows; `None` when its GPU capacity is unknown.
    pub capacity_gpus: Option<f64>,
    /// GPUs by part; they sum to the capacity.
    pub parts: BTreeMap<Part, f64>,
    /// Dollars per hour by part; empty unless the price of each instance type in the environment is known.
    pub dollars_per_hour: BTreeMap<Part, f64>,
    /// The unallocated GPUs by cause; they sum to that part. Empty without a capacity.
    pub unallocated: BTreeMap<UnallocatedCause, f64>,
}

/// How fresh a source is.
#[derive(Clone, Debug)]
pub struct SourceHealth {
    /// Which.
    pub source: Source,
    /// Age of its last complete answer; `None` before the first one.
    pub age_seconds: Option<f64>,
    /// The error of its last poll, if that failed.
    pub error: Option<String>,
    /// The queues about which its last poll failed.
    pub failing: BTreeSet<QueueName>,
}

/// One series at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which metric.
    pub metric: &'static Metric,
    /// Exactly the metric's labels.
    pub labels: Labels,
    /// The value.
    pub value: Value,
}

/// Label values by label, in the order of labels. Cheap to clone: thousands of series keep theirs from tick to tick.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Label, Arc<str>)]>);

impl Labels {
    /// The value of a label.
    pub fn get(&self, label: &str) -> Option<&Arc<str>> {
        self.0.iter().find(|(name, _)| *name == label).map(|(_, value)| value)
    }

    /// All labels with their values.
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

/// Builds labels from pairs.
pub fn labels<const N: usize>(mut pairs: [(Label, Arc<str>); N]) -> Labels {
    pairs.sort_unstable_by_key(|(label, _)| *label);
    Labels(pairs.into())
}

/// The value of a series, as its metric's kind has it. Always finite.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The value now.
    Gauge(f64),
    /// The sum since counting began.
    Counter(f64),
    /// Values one by one.
    Distribution(Distribution),
}

impl Value {
    /// Whether it is a figure: not infinite, and not undefined.
    pub fn is_finite(&self) -> bool {
        match self {
            Self::Gauge(value) | Self::Counter(value) => value.is_finite(),
            Self::Distribution(distribution) => distribution.sum.is_finite(),
        }
    }
}

/// A distribution since counting began, with what is new in this tick and what the last hour looked like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// How many values fell in each bucket of [`crate::metrics::catalogue::DURATION_BOUNDS`] (not cumulated), and, last,
    /// beyond the largest bound.
    pub buckets: Vec<u64>,
    /// Sum of all values.
    pub sum: f64,
    /// How many values.
    pub count: u64,
    /// The values that are new in this tick, and when each came to be: long ago, if nobody looked meanwhile.
    pub fresh: Vec<(Timestamp, f64)>,
    /// The last hour; `None` when it saw no value.
    pub recent: Option<Quantiles>,
}

impl Distribution {
    /// Adds a value to the buckets, the sum and the count.
    pub fn add(&mut self, value: f64) {
        if let Some(count) = self.buckets.get_mut(bucket_of(value)) {
            *count += 1;
        }
        self.sum += value;
        self.count += 1;
    }
}
