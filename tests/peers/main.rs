//! Programs that others wrote, at both ends: AWS clients, Prometheus, OTLP receivers.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot build its case has failed, and one that is skipped says so"
)]

#[path = "../support"]
mod support {
    pub mod frames;
    pub mod python;
    pub mod receivers;
}
mod aws_clients;
mod cloudwatch_otlp;
mod prometheus;
mod publish;
