//! CloudWatch custom metrics: `PutMetricData`.
//!
//! CloudWatch adds up what it receives, so a counter is sent as its increase and a distribution as its new values,
//! each exactly once as far as the network allows: a request that timed out may have been accepted, and is sent
//! again. Each series costs money every month: metrics that are not worth an alarm, or follow from other series,
//! are not sent (see the catalogue), and a budget omits more.

mod budget;
mod requests;
mod unsent_values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatch::operation::put_metric_data::PutMetricDataError;

use crate::aws::Failure;
use crate::publish::Published;
use crate::publish::SinkError;
use trainspotter_core::metrics::catalogue::Metric;
use trainspotter_core::metrics::{Frame, Labels, Sample};

pub use budget::{Admission, Budget};
pub use requests::{Batch, MAX_BYTES_PER_REQUEST, MAX_DATA_PER_REQUEST, MAX_DIMENSIONS, MAX_VALUES_PER_DATUM};
pub use unsent_values::{Deltas, MAX_PENDING_VALUES, MAX_REMEMBERED_SERIES};

/// The operation that publishes metrics.
const OPERATION: &str = "PutMetricData";

/// Publishes to one namespace.
#[derive(Debug)]
pub struct CloudWatchSink {
    client: Client,
    namespace: String,
    deltas: Deltas,
    budget: Option<Budget>,
    /// Whether metrics have dimensions for account and region.
    places: Arc<AtomicBool>,
    /// Number of targets that share the budget.
    targets: Arc<AtomicUsize>,
}

impl CloudWatchSink {
    /// Creates a sink that counts from the first observed frame. Timeouts and retries are the client's.
    pub fn new(client: Client, namespace: String) -> Self {
        Self {
            client,
            namespace,
            deltas: Deltas::default(),
            budget: None,
            places: Arc::default(),
            targets: Arc::default(),
        }
    }

    /// Sets a budget.
    #[must_use]
    pub fn within(mut self, budget: Option<Budget>) -> Self {
        self.budget = budget;
        self
    }

    /// Series of the latest frame omitted by the budget, by metric.
    pub fn left_out(&self) -> BTreeMap<&'static str, u64> {
        self.budget.as_ref().map(|budget| budget.left_out().clone()).unwrap_or_default()
    }

    /// Returns and resets the number of newly omitted series.
    pub fn take_newly_left_out(&mut self) -> u64 {
        self.budget.as_mut().map_or(0, Budget::take_newly_left_out)
    }

    /// Sets the number of targets that share the budget.
    #[must_use]
    pub fn shared_among(self, targets: Arc<AtomicUsize>) -> Self {
        Self { targets, ..self }
    }

    /// Adds the dimensions Account and Region while `places` is true.
    #[must_use]
    pub fn with_places(self, places: Arc<AtomicBool>) -> Self {
        Self { places, ..self }
    }

    fn placed<'a>(&self, frame: &'a Frame) -> Cow<'a, Frame> {
        if !self.places.load(Ordering::Relaxed) {
            return Cow::Borrowed(frame);
        }
        let placed = |sample: &Sample| {
            let of_place = frame.place.labels().map(|(label, value)| (label, Arc::clone(value)));
            let own = sample.labels.iter().map(|(label, value)| (label, Arc::clone(value)));
            Sample { labels: own.chain(of_place).collect(), ..sample.clone() }
        };
        Cow::Owned(Frame { samples: frame.samples.iter().map(placed).collect(), ..frame.clone() })
    }

    /// Records a frame without sending it. Every frame must be observed once.
    pub fn observe(&mut self, frame: &Frame) {
        let frame = &*self.placed(frame);
        if let Some(budget) = &mut self.budget {
            budget.share_among(self.targets.load(Ordering::Relaxed));
            budget.admit(frame);
        }
        let budget = self.budget.as_ref();
        let admission = |metric: &Metric, labels: &Labels| {
            budget.map_or(Admission::Sent, |budget| budget.admission(metric, labels))
        };
        self.deltas.observe_within(&frame.samples, frame.at, &admission);
    }

    /// Sends the gauges of `frame` and everything observed since the last success. An accepted request is settled
    /// even if a later one fails or the caller stops waiting.
    pub async fn publish(&mut self, frame: &Frame) -> Result<Published, SinkError> {
        let mut series = 0;
        let (mut refused, mut refusal) = (0, None);
        let frame = &*self.placed(frame);
        let budget = self.budget.as_ref();
        let is_sent = |metric: &Metric, labels: &Labels| {
            budget.is_none_or(|budget| budget.admission(metric, labels) == Admission::Sent)
        };
        for batch in self.deltas.batches_within(&frame.samples, frame.at, &is_sent) {
            let request = self.client.put_metric_data().namespace(&self.namespace);
            match request.set_metric_data(Some(batch.data.clone())).send().await {
                Ok(_) => series += batch.series,
                Err(error) if is_refusal(&error) => {
                    refused += batch.data.len() as u64;
                    refusal = Some(Failure::new(OPERATION, &error).to_string());
                }
                Err(error) => return Err(SinkError::unavailable(Failure::new(OPERATION, &error).to_string())),
            }
            self.deltas.settle(&batch);
        }
        match refusal {
            None => Ok(Published { series, dropped: self.deltas.take_dropped() }),
            Some(reason) => Err(SinkError::Rejected { dropped: refused, reason }),
        }
    }
}

/// Whether CloudWatch rejected the data themselves. Any other error, including missing permissions, may be
/// temporary. The code is `InvalidParameterValue` or `InvalidParameterValueException`, depending on whether it is
/// in the header for old clients or in the body, so only its beginning is compared.
fn is_refusal(error: &SdkError<PutMetricDataError>) -> bool {
    const CODES: &[&str] = &["InvalidParameter", "MissingParameter", "MissingRequiredParameter", "Validation"];
    const TOO_LARGE: u16 = 413;
    let invalid = error.code().is_some_and(|code| CODES.iter().any(|known| code.starts_with(known)));
    invalid || error.raw_response().is_some_and(|response| response.status().as_u16() == TOO_LARGE)
}
