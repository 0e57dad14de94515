//! Cost of encoding and pushing 5,000 series by OTLP, here and through the OpenTelemetry SDK:
//! `cargo bench -p trainspotter-otlp`.
//!
//! Both push over gRPC, uncompressed, to the same receiver on the loopback interface. The CPU time of the whole
//! process counts, including the kernel's part, but without the receiver's threads. The SDK owns its values: each
//! round sets all of them again, as a service would. Our path is that of `src/publish/otlp.rs`: requests of the
//! frame, sent with the client of `opentelemetry-proto`.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Gauge, MeterProvider as _};
use opentelemetry_otlp::{MetricExporter, WithTonicConfig as _};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use trainspotter_core::metrics::catalogue::ALL;
use trainspotter_core::metrics::catalogue::Kind;
use trainspotter_core::metrics::{Frame, Sample, Value, labels};
use trainspotter_core::model::Timestamp;
use trainspotter_otlp::{MAX_POINTS_PER_REQUEST, Origin, otlp_requests};

/// The allocator of the binary, for both paths.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SERIES: usize = 5_000;
/// Number of metrics.
const METRICS: usize = 40;
/// Measured pushes, after a warm-up.
const ROUNDS: u32 = 100;
/// The minimum over this many repetitions counts: other load on the machine only adds time.
const TURNS: usize = 3;
const WARM_UP: u32 = 20;
/// Name of the receiver's threads.
const RECEIVER: &str = "receiver";
/// Target cost of a push, in milliseconds.
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
    let service = MetricsServiceServer::new(Receiver)
        .max_decoding_message_size(64 << 20)
        .accept_compressed(CompressionEncoding::Gzip);
    let server = tonic::transport::Server::builder().add_service(service);
    receiving.spawn(server.serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)));

    let sending =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("sender").enable_all().build()?;
    let channel = {
        let _in_runtime = sending.enter();
        Endpoint::from_shared(origin)?.connect_lazy()
    };
    let ours = |push: Push| sending.block_on(ours(&channel, push));
    // Interleave the variants, so that other load affects all of them.
    let mut least = [f64::INFINITY; 4];
    for _ in 0..TURNS {
        let theirs = {
            let _in_runtime = sending.enter();
            theirs(&channel)?
        };
        let turn = [ours(Push::Nothing)?, ours(Push::Plain)?, ours(Push::Zipped)?, theirs];
        least.iter_mut().zip(turn).for_each(|(least, of_turn)| *least = least.min(of_turn));
    }
    let [messages, plain, zipped, theirs] = least;
    let mut out = io::stdout().lock();
    writeln!(out, "| {SERIES} series over gRPC, least of {TURNS} turns | ms of CPU a push |")?;
    writeln!(out, "|---|---:|")?;
    writeln!(out, "| Trainspotter | {plain:.2} |")?;
    writeln!(out, "| ... of which the messages are made in | {messages:.2} |")?;
    writeln!(out, "| ... compressed | {zipped:.2} |")?;
    writeln!(out, "| OpenTelemetry SDK | {theirs:.2} |")?;
    writeln!(out, "| target | {TARGET:.2} |")?;
    if plain > TARGET {
        Err(format!("a push takes {plain:.2} ms of CPU, more than {TARGET:.2}").into())
    } else {
        Ok(())
    }
}

/// What is done with the messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Push {
    Nothing,
    Plain,
    Zipped,
}

async fn ours(channel: &Channel, push: Push) -> Result<f64, Box<dyn Error>> {
    let origin = Origin { began: Timestamp::from_millis(1_600_000_000_000), region: None, account: None };
    let mut client = MetricsServiceClient::new(channel.clone());
    if push == Push::Zipped {
        client = client.send_compressed(CompressionEncoding::Gzip);
    }
    let mut frame = frame();
    let mut before = 0.0;
    for round in 0..WARM_UP + ROUNDS {
        if round == WARM_UP {
            before = cpu_seconds()?;
        }
        frame.at = frame.at + Duration::from_secs(60);
        for (request, _) in otlp_requests(&frame, &origin, None, MAX_POINTS_PER_REQUEST) {
            if push != Push::Nothing {
                client.export(request).await?;
            }
        }
    }
    Ok((cpu_seconds()? - before) * 1_000.0 / f64::from(ROUNDS))
}

/// The same series through the SDK. Needs a runtime for its channel.
fn theirs(channel: &Channel) -> Result<f64, Box<dyn Error>> {
    let exporter = MetricExporter::builder().with_tonic().with_channel(channel.clone()).build()?;
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

/// CPU time of all threads except the receiver's, on Linux.
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
