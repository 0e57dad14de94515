//! CloudWatch: what clients put, and the GPU utilisation that SageMaker reports.
//!
//! Operations take and give serde types, so that they can be spoken to in CBOR (the Rust SDK) and JSON (boto3). Limits and codes are those of the API reference
//! of PutMetricData and GetMetricData.

mod gpu;
mod read;
mod series;
mod write;

use serde::Deserialize;
use serde::Serialize;

use crate::simulate::World;
use crate::simulate::protocol::Document;
use crate::simulate::reply::ApiError;
use crate::simulate::reply::Payload;

pub(super) use series::Metrics;

/// The name in paths and targets, from when CloudWatch was young.
pub(super) const SERVICE: &str = "GraniteServiceVersion20100801";

/// Performs an operation.
pub(super) fn answer(world: &mut World, operation: &str, body: &Document) -> Result<Payload, ApiError> {
    match operation {
        "PutMetricData" => {
            write::put_metric_data(&mut world.metrics, world.now, body.input()?)?;
            body.output(&Nothing {})
        }
        "GetMetricData" => body.output(&read::get_metric_data(world, body.input()?)?),
        "ListMetrics" => body.output(&read::list_metrics(world, &body.input()?)?),
        _ => Err(ApiError::bad(
            "InvalidAction",
            format!(
                "the simulator does not serve CloudWatch {operation}; it serves PutMetricData, GetMetricData and ListMetrics"
            ),
        )),
    }
}

/// The output of an operation without output.
#[derive(Debug, Serialize)]
struct Nothing {}

/// A metric: what tells series apart. Dimensions are kept sorted, because their order has no meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    namespace: String,
    metric_name: String,
    #[serde(default)]
    dimensions: Vec<Dimension>,
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dimension {
    name: String,
    value: String,
}

fn invalid_value(message: impl Into<String>) -> ApiError {
    ApiError::bad("InvalidParameterValueException", message)
}

fn invalid_combination(message: impl Into<String>) -> ApiError {
    ApiError::bad("InvalidParameterCombinationException", message)
}
