//! No client connects to blocked addresses, and each connects to allowed ones.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_sns::config::{BehaviorVersion, Region, retry::RetryConfig};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use tokio::net::TcpListener;
use tonic::transport::Endpoint;
use url::Url;

use super::*;

/// Timeout of a call: what is refused ends at once, what is allowed once it is accepted.
const PATIENCE: Duration = Duration::from_secs(300);

/// A guard that resolves every name to this machine.
fn guard(allow_loopback: bool) -> Guard {
    Guard::asking(allow_loopback, |_| Box::pin(async { Ok(vec![IpAddr::from(Ipv4Addr::LOCALHOST)]) }))
}

async fn by_http(url: &str, guard: Guard) {
    let client = http_client(&Url::parse(url).unwrap(), guard).unwrap().build().unwrap();
    let _ = client.get(url).timeout(PATIENCE).send().await;
}

async fn by_grpc(url: &str, guard: Guard) {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap().timeout(PATIENCE);
    let mut client = MetricsServiceClient::new(grpc_channel(endpoint, guard).unwrap());
    let export = client.export(ExportMetricsServiceRequest::default());
    let _ = tokio::time::timeout(PATIENCE, export).await;
}

async fn by_sdk(url: &str, guard: Guard) {
    let config = aws_sdk_sns::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .endpoint_url(url)
        .retry_config(RetryConfig::disabled())
        .http_client(sdk_client(true, guard).unwrap())
        .build();
    let publish = aws_sdk_sns::Client::from_conf(config).publish().topic_arn("arn").message("x");
    let _ = tokio::time::timeout(PATIENCE, publish.send()).await;
}

#[tokio::test]
async fn no_client_connects_to_what_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("http://metadata.example:{port}");
    for allowed in [false, true] {
        for client in ["http", "grpc", "sdk"] {
            let calling = async {
                match client {
                    "http" => by_http(&url, guard(allowed)).await,
                    "grpc" => by_grpc(&url, guard(allowed)).await,
                    _ => by_sdk(&url, guard(allowed)).await,
                }
            };
            let connected = tokio::select! {
                biased;
                accepted = listener.accept() => accepted.is_ok(),
                () = calling => false,
            };
            assert_eq!(connected, allowed, "{client}, allowed: {allowed}");
        }
    }
}

#[tokio::test]
async fn addresses_of_credentials_are_refused_in_every_form() {
    for host in
        ["169.254.169.254", "169.254.170.2", "2852039166", "0xa9fea9fe", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"]
    {
        let url = format!("http://{host}:4317/");
        assert!(http_client(&Url::parse(&url).unwrap(), Guard::new(true)).is_err(), "{url}");
        let endpoint = Endpoint::from_shared(url.clone()).unwrap();
        assert!(grpc_channel(endpoint, Guard::new(true)).is_err(), "{url}");
        assert!(Guard::new(true).judge(&Url::parse(&url).unwrap()).is_err(), "{url}");
    }
}
