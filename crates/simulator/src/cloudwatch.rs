//! CloudWatch: metrics put by clients, the GPU utilisation reported by SageMaker, and the job metrics of Batch.
//!
//! Every protocol of CloudWatch is decoded to one tree of values, which is checked against the model's constraints
//! ([`input_constraints`]) before an operation reads it. Limits, codes and messages are those of the API reference.

mod alarms;
pub(super) mod batch_metrics;
mod dashboards;
mod get_metric_data;
mod get_metric_statistics;
mod gpu;
mod input_constraints;
mod metric_store;
pub(super) mod otlp;
mod period_statistics;
mod put_metric_data;
mod search;

use ciborium::Value;
use serde::Deserialize;
use serde::Serialize;

use crate::World;
use crate::api_error::ApiError;
use crate::aws_query::Form;
use crate::cbor::input;
use crate::cbor::output;

pub(super) use metric_store::Metrics;

/// Service name in paths and targets, CloudWatch's historical one.
pub(super) const SERVICE: &str = "GraniteServiceVersion20100801";
/// API version, which identifies awsQuery requests, and the XML namespace of their responses.
pub(super) const VERSION: &str = "2010-08-01";
pub(super) const NAMESPACE: &str = "http://monitoring.amazonaws.com/doc/2010-08-01/";

/// A request in its protocol's form.
#[derive(Debug)]
pub(super) enum Request {
    /// Already a tree.
    Tree(Value),
    /// A form, which is parsed by the operation's shape.
    Form(Form),
}

/// Performs an operation.
pub(super) fn answer(world: &mut World, operation: &str, request: Request) -> Result<Value, ApiError> {
    let Some(shape) = input_constraints::of(operation) else {
        let served: Vec<_> = input_constraints::served().collect();
        let message = format!("the simulator does not serve CloudWatch {operation}; it serves {}", served.join(", "));
        return Err(ApiError::bad("InvalidAction", message));
    };
    let tree = match request {
        Request::Tree(tree) => tree,
        Request::Form(form) => shape.of_form(&form)?,
    };
    let body = shape.check(tree)?;
    let nothing = Value::Map(Vec::new());
    match operation {
        "DeleteAlarms" => alarms::delete_alarms(world, &input(&body)?).map(|()| nothing),
        "DeleteDashboards" => dashboards::delete_dashboards(world, &input(&body)?).map(|()| nothing),
        "DescribeAlarms" => alarms::describe_alarms(world, &input(&body)?),
        "GetDashboard" => output(&dashboards::get_dashboard(world, input(&body)?)?),
        "GetMetricData" => output(&get_metric_data::get_metric_data(world, input(&body)?)?),
        "GetMetricStatistics" => output(&get_metric_statistics::get_metric_statistics(world, input(&body)?)?),
        "ListDashboards" => output(&dashboards::list_dashboards(world, &input(&body)?)?),
        "ListMetrics" => output(&get_metric_data::list_metrics(world, &input(&body)?)?),
        "PutDashboard" => output(&dashboards::put_dashboard(world, input(&body)?)?),
        "PutMetricAlarm" => alarms::put_metric_alarm(world, body).map(|()| nothing),
        _ => put_metric_data::put_metric_data(&mut world.metrics, world.now, input(&body)?).map(|()| nothing),
    }
}

/// A metric: the identity of a series. Dimensions are kept sorted, because their order has no meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    namespace: String,
    metric_name: String,
    #[serde(default)]
    dimensions: Vec<Dimension>,
}

impl Metric {
    /// Sorts the dimensions.
    fn sorted(mut self) -> Self {
        self.dimensions.sort();
        self
    }
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
