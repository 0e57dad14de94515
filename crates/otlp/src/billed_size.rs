//! CloudWatch's charge for a request: each data point by its serialized size, with its metric's name and the
//! attributes of its resource (CloudWatch User Guide, "OTel metrics pricing and storage"). On the wire a request
//! contains each of those once. Pure.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use prost::Message as _;

/// The charged bytes of a request.
pub fn charged_bytes(request: &ExportMetricsServiceRequest) -> u64 {
    let mut bytes = 0;
    for of_resource in &request.resource_metrics {
        let resource = of_resource.resource.as_ref().map_or(0, prost::Message::encoded_len);
        for metric in of_resource.scope_metrics.iter().flat_map(|of_scope| &of_scope.metrics) {
            let sizes = point_sizes(metric);
            bytes += sizes.iter().sum::<usize>() + sizes.len() * (resource + metric.name.len());
        }
    }
    bytes as u64
}

fn point_sizes(metric: &Metric) -> Vec<usize> {
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.iter().map(|point| point.encoded_len()).collect(),
        Some(Data::Sum(sum)) => sum.data_points.iter().map(|point| point.encoded_len()).collect(),
        Some(Data::Histogram(histogram)) => histogram.data_points.iter().map(|point| point.encoded_len()).collect(),
        Some(Data::ExponentialHistogram(histogram)) => {
            histogram.data_points.iter().map(|point| point.encoded_len()).collect()
        }
        Some(Data::Summary(summary)) => summary.data_points.iter().map(|point| point.encoded_len()).collect(),
        None => Vec::new(),
    }
}
