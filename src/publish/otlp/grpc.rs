//! OTLP over gRPC.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use crate::config;
use crate::outbound::{Guard, grpc_channel};
use crate::publish::otlp::error::{ExportError, OtlpSetupError};
use crate::publish::otlp::http::{CONNECT_TIMEOUT, headers_of, timeout_of};
use crate::publish::otlp::refusal_message::{RpcStatus, shown};

/// User agent of requests.
const USER_AGENT: &str = concat!("trainspotter/", env!("CARGO_PKG_VERSION"));

/// A receiver over gRPC.
pub(super) struct GrpcReceiver {
    client: MetricsServiceClient<Channel>,
    metadata: MetadataMap,
}

impl GrpcReceiver {
    pub(super) fn new(config: &config::Otlp) -> Result<Self, OtlpSetupError> {
        let endpoint = Endpoint::from_shared(config.endpoint.expose().to_owned())
            .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
            .map_err(OtlpSetupError::Origin)?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout_of(config));
        let mut client = MetricsServiceClient::new(grpc_channel(endpoint, Guard::new(true))?);
        if config.is_zipped {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        Ok(Self { client, metadata: MetadataMap::from_headers(headers_of(config)?) })
    }

    pub(super) async fn export(
        &mut self,
        body: ExportMetricsServiceRequest,
    ) -> Result<ExportMetricsServiceResponse, ExportError> {
        let mut request = tonic::Request::new(body);
        *request.metadata_mut() = self.metadata.clone();
        match self.client.export(request).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(ExportError::Grpc {
                code: status.code(),
                message: shown(status.message()),
                retry_after: retry_delay(status.details()),
            }),
        }
    }
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The pause requested by a refusal: its `RetryInfo` (OTLP specification, "OTLP/gRPC Throttling").
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let Delay { seconds, nanos } = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?.min(999_999_999)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::otlp::refusal_message::Detail;

    #[test]
    fn the_delay_that_a_refusal_asks_for_is_read() {
        let details = |type_url: &str, delay: Option<Delay>| {
            let value = RetryInfo { retry_delay: delay }.encode_to_vec();
            RpcStatus { message: String::new(), details: vec![Detail { type_url: type_url.to_owned(), value }] }
                .encode_to_vec()
        };
        let url = "type.googleapis.com/google.rpc.RetryInfo";
        let read = |bytes: &[u8]| retry_delay(bytes);
        assert_eq!(
            read(&details(url, Some(Delay { seconds: 7, nanos: 500_000_000 }))),
            Some(Duration::from_millis(7_500))
        );
        assert_eq!(read(&details(url, Some(Delay { seconds: -7, nanos: 0 }))), None);
        assert_eq!(read(&details(url, None)), None);
        assert_eq!(read(&details("type.googleapis.com/google.rpc.Help", Some(Delay { seconds: 7, nanos: 0 }))), None);
        assert_eq!(read(b""), None);
        assert_eq!(read(b"\xff\xff"), None);
    }
}
