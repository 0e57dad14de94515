//! What it costs to encode and push 5,000 series by OTLP, here and by the OpenTelemetry SDK's own path: `cargo bench --bench otlp`.
//!
//! Both push over gRPC, uncompressed, to the same receiver on the loopback, in turns. Counted is the CPU time of the whole process but for
//! the threads of the receiver. The SDK owns its values: each round it is given all of them anew, as it would be by a service.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Gauge, MeterProvider as _};
use opentelemetry_otlp::{MetricExporter, WithTonicConfig as _};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use tokio::net::TcpListener;
use tonic::transport::Endpoint;
use trainspotter::config::{Otlp, OtlpProtocol};
use trainspotter::publish::{Origin, OtlpSink};
use trainspotter_core::metrics::catalogue::ALL;
use trainspotter_core::metrics::catalogue::Kind;
use trainspotter_core::metrics::{Frame, Sample, Value, labels};
use trainspotter_core::model::Timestamp;

const SERIES: usize = 5_000;
/// Metrics that these are spread over.
const METRICS: usize = 40;
/// Pushes that are counted, after some that are not.
const ROUNDS: u32 = 200;
const WARM_UP: u32 = 20;
/// The name of the receiver's threads.
const RECEIVER: &str = "receiver";
/// What a push may cost, in milliseconds.
const TARGET: f64 = 4.0;

#[derive(Clone, Default)]
struct Receiver;

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        _: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let receiving =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name(RECEIVER).enable_all().build()?;
    let listener = receiving.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let origin = format!("http://{}", listener.local_addr()?);
    let service = MetricsServiceServer::new(Receiver).max_decoding_message_size(64 << 20);
    let server = tonic::transport::Server::builder().add_service(service);
    receiving.spawn(server.serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)));

    let sending =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("sender").enable_all().build()?;
    let ours = sending.block_on(ours(&origin))?;
    let theirs = {
        let _in_runtime = sending.enter();
        theirs(&origin)?
    };
    let mut out = io::stdout().lock();
    writeln!(out, "| {SERIES} series over gRPC | ms of CPU a push |")?;
    writeln!(out, "|---|---:|")?;
    writeln!(out, "| Trainspotter | {ours:.2} |")?;
    writeln!(out, "| OpenTelemetry SDK | {theirs:.2} |")?;
    writeln!(out, "| target | {TARGET:.2} |")?;
    Ok(())
}

async fn ours(origin: &str) -> Result<f64, Box<dyn Error>> {
    let config = Otlp { is_zipped: false, ..Otlp::new(origin, OtlpProtocol::Grpc) };
    let source = Origin { began: Timestamp::from_millis(1_600_000_000_000), region: None, account: None };
    let mut sink = OtlpSink::new(&config, source)?;
    let mut frame = frame();
    let mut before = 0.0;
    for round in 0..WARM_UP + ROUNDS {
        if round == WARM_UP {
            before = cpu_seconds()?;
        }
        frame.at = frame.at + Duration::from_secs(60);
        sink.publish(&frame).await?;
    }
    Ok((cpu_seconds()? - before) * 1_000.0 / f64::from(ROUNDS))
}

/// The same series by the SDK. Needs a runtime for its channel.
fn theirs(origin: &str) -> Result<f64, Box<dyn Error>> {
    let channel = Endpoint::from_shared(origin.to_owned())?.connect_lazy();
    let exporter = MetricExporter::builder().with_tonic().with_channel(channel).build()?;
    let reader = PeriodicReader::builder(exporter).with_interval(Duration::from_secs(3_600)).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let meter = provider.meter("trainspotter");
    let gauges: Vec<Gauge<f64>> = gauges()
        .iter()
        .map(|metric| meter.f64_gauge(metric.otlp_name()).with_unit(metric.unit.ucum()).build())
        .collect();
    let attributes: Vec<[KeyValue; 2]> = (0..SERIES / METRICS)
        .map(|n| [KeyValue::new("queue", format!("queue-{}", n % 5)), KeyValue::new("share", format!("share-{n}"))])
        .collect();
    let mut before = 0.0;
    for round in 0..WARM_UP + ROUNDS {
        if round == WARM_UP {
            before = cpu_seconds()?;
        }
        for gauge in &gauges {
            for attributes in &attributes {
                gauge.record(f64::from(round), attributes);
            }
        }
        provider.force_flush()?;
    }
    let spent = cpu_seconds()? - before;
    provider.shutdown()?;
    Ok(spent * 1_000.0 / f64::from(ROUNDS))
}

fn gauges() -> Vec<&'static trainspotter_core::metrics::catalogue::Metric> {
    ALL.iter().copied().filter(|metric| metric.kind == Kind::Gauge).take(METRICS).collect()
}

fn frame() -> Frame {
    let mut samples = Vec::new();
    for metric in gauges() {
        for n in 0..SERIES / METRICS {
            let share = format!("share-{n}");
            let labels = labels([("queue", format!("queue-{}", n % 5).into()), ("share", share.into())]);
            samples.push(Sample { metric, labels, value: Value::Gauge(n as f64) });
        }
    }
    Frame { at: Timestamp::from_millis(1_700_000_000_000), samples, ..Frame::default() }
}

/// CPU time of all threads but the receiver's, as Linux counts it.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let mut nanos = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let folder = thread?.path();
        if fs::read_to_string(folder.join("comm"))?.trim() != RECEIVER {
            let spent = fs::read_to_string(folder.join("schedstat"))?;
            nanos += spent.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
    }
    Ok(nanos as f64 / 1e9)
}
