//! CloudWatch: what clients put, and the GPU utilisation that SageMaker reports.
//!
//! Operations take and give serde types; [`answer`] speaks rpc-v2-cbor. Limits and codes are those of the API reference
//! of PutMetricData and GetMetricData.

mod gpu;
mod read;
mod series;
mod write;

use ciborium::Value;
use serde::Deserialize;
use serde::Serialize;

use crate::simulate::World;
use crate::simulate::cbor;
use crate::simulate::reply::ApiError;

pub(super) use series::Metrics;

/// The name in paths and targets, from when CloudWatch was young.
pub(super) const SERVICE: &str = "GraniteServiceVersion20100801";

/// Performs an operation.
pub(super) fn answer(world: &mut World, operation: &str, body: &Value) -> Result<Value, ApiError> {
    match operation {
        "PutMetricData" => {
            write::put_metric_data(&mut world.metrics, world.now, cbor::input(body)?)?;
            Ok(Value::Map(Vec::new()))
        }
        "GetMetricData" => cbor::output(&read::get_metric_data(world, cbor::input(body)?)?),
        "ListMetrics" => cbor::output(&read::list_metrics(world, &cbor::input(body)?)?),
        _ => Err(ApiError::bad(
            "InvalidAction",
            format!(
                "the simulator does not serve CloudWatch {operation}; it serves PutMetricData, GetMetricData and ListMetrics"
            ),
        )),
    }
}

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
