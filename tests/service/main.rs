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
    pub mod disk;
    pub mod fakecloud;
    pub mod generated_trace;
    pub mod hook;
    pub mod http;
    pub mod moto;
    pub mod paced_clock;
    pub mod ports;
    pub mod process;
    pub mod python;
    pub mod read_frames;
    pub mod ready_service;
    pub mod s3;
    pub mod service;
    pub mod service_on_manual_clock;
    pub mod stored_counter;
    pub mod two_share_trace;
    pub mod unreachable_bucket;
    pub mod without_place_labels;
}
mod archive;
mod archive_trouble;
mod arguments;
mod aws_error_messages;
mod cost;
mod demo;
mod eventbridge;
mod exit_codes;
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
mod replicas_share_targets;
mod restart_kill;
mod service;
mod settings_in_bucket;
mod signals_and_reload;
mod simulated_places;
mod simulator_memory_and_latency;
mod start_estimates;
mod store_trouble;
mod targets;
