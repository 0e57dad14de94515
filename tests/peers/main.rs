//! Independent programs that talk to the project: AWS clients and emulators, Prometheus, receivers of metrics, readers of
//! Parquet files and of the OpenAPI document.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot build its case has failed, and one that is skipped says so"
)]

#[path = "../support"]
mod support {
    pub mod archived;
    pub mod config;
    pub mod demo;
    pub mod fakecloud;
    pub mod frames;
    pub mod http;
    pub mod metric_receivers;
    pub mod paced_clock;
    pub mod ports;
    pub mod process;
    pub mod prometheus;
    pub mod python;
    pub mod read_frames;
    pub mod remote_write;
}
mod archive;
mod archive_month;
mod aws_clients;
mod cloudwatch_otlp;
mod fakecloud;
mod late_points;
mod openapi;
mod otlp_exporter_requirements;
mod panels;
mod prometheus;
mod publish;
