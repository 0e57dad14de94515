//! The whole service: commands, polls, restarts and faults, against the simulator over real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot build its case has failed, and one that is skipped says so"
)]

#[path = "../support"]
mod support {
    pub mod archived;
    pub mod aws_proxy;
    pub mod config;
    pub mod config_file;
    pub mod counted;
    pub mod disk;
    pub mod fakecloud;
    pub mod hook;
    pub mod http;
    pub mod jobs;
    pub mod manual_clock;
    pub mod metrics;
    pub mod moto;
    pub mod paced_clock;
    pub mod ports;
    pub mod process;
    pub mod python;
    pub mod ready_service;
    pub mod recorded_trace;
    pub mod s3;
    pub mod service;
    pub mod stored_ticks;
    pub mod unreachable_bucket;
}
mod archive;
mod archive_trouble;
mod arguments;
mod cannot_read_aws;
mod command;
mod cost;
mod forecast;
mod hints;
mod json_output;
mod operator;
mod outgoing;
mod outside_jobs;
mod own_telemetry;
mod quirks;
mod release_before;
mod remote;
mod replay;
mod replicas;
mod restart_kill;
mod service;
mod settings_in_bucket;
mod sharing;
mod simulated_places;
mod simulator_memory_and_latency;
mod store_trouble;
mod targets;
