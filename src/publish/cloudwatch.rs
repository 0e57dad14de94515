//! CloudWatch custom metrics: `PutMetricData`.
//!
//! CloudWatch adds up what it gets, so a counter is sent as its increase and a distribution as its new values, each
//! exactly once as far as the network allows: a request that timed out may have been taken, and is sent again.

mod deltas;
mod price;
mod requests;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatch::operation::put_metric_data::PutMetricDataError;

use crate::aws::describe;
use crate::publish::Published;
use crate::publish::SinkError;
use trainspotter_core::metrics::Frame;

pub use deltas::{Deltas, MAX_PENDING_VALUES, MAX_REMEMBERED_SERIES};
pub use price::monthly_cost_dollars;
pub use requests::{Batch, MAX_BYTES_PER_REQUEST, MAX_DATA_PER_REQUEST, MAX_DIMENSIONS, MAX_VALUES_PER_DATUM};

/// The operation that sends figures.
const OPERATION: &str = "PutMetricData";

/// Publishes to one namespace.
#[derive(Debug)]
pub struct CloudWatchSink {
    client: Client,
    namespace: String,
    deltas: Deltas,
}

impl CloudWatchSink {
    /// A sink that begins to count with the first frame it observes. Timeouts and retries are the client's.
    pub fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace, deltas: Deltas::default() }
    }

    /// Takes note of a frame without sending it. Every frame must be observed once.
    pub fn observe(&mut self, frame: &Frame) {
        self.deltas.observe(&frame.samples, frame.at);
    }

    /// Sends the gauges of `frame` and everything that was observed since the last success. A request that was taken
    /// is settled even if a later one fails or the caller stops waiting.
    pub async fn publish(&mut self, frame: &Frame) -> Result<Published, SinkError> {
        let mut series = 0;
        let (mut refused, mut refusal) = (0, None);
        for batch in self.deltas.batches(&frame.samples, frame.at) {
            let request = self.client.put_metric_data().namespace(&self.namespace);
            match request.set_metric_data(Some(batch.data.clone())).send().await {
                Ok(_) => series += batch.series,
                Err(error) if is_refusal(&error) => {
                    refused += batch.data.len() as u64;
                    refusal = Some(describe(OPERATION, &error));
                }
                Err(error) => return Err(SinkError::unavailable(describe(OPERATION, &error))),
            }
            self.deltas.settle(&batch);
        }
        match refusal {
            None => Ok(Published { series, dropped: self.deltas.take_dropped() }),
            Some(reason) => Err(SinkError::Rejected { dropped: refused, reason }),
        }
    }
}

/// Whether CloudWatch found fault with the data themselves. Everything else, missing permission included, may be over
/// by the next time. The code is `InvalidParameterValue` or `InvalidParameterValueException`, depending on whether it
/// came in the header for old clients or in the body, so only its beginning is looked at.
fn is_refusal(error: &SdkError<PutMetricDataError>) -> bool {
    const CODES: &[&str] = &["InvalidParameter", "MissingParameter", "MissingRequiredParameter", "Validation"];
    const TOO_LARGE: u16 = 413;
    let invalid = error.code().is_some_and(|code| CODES.iter().any(|known| code.starts_with(known)));
    invalid || error.raw_response().is_some_and(|response| response.status().as_u16() == TOO_LARGE)
}
