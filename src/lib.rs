//! Trainspotter: observability and alerting for AWS Batch job queues that feed SageMaker Training jobs.
//!
//! Data flows one way. `trainspotter-core` makes all decisions; this crate does the I/O.
//!
//! ```text
//!  aws ──► core: jobs ──► metrics ──► publish            CloudWatch, OTLP, Prometheus
//!                            ├──► rules ──► notify       SNS, webhook, Slack, PagerDuty, Alertmanager
//!                            └──► web                    JSON API and pages
//!  outbound     outbound HTTP: allowed addresses and proxies
//!  runbooks     embedded runbook pages, linked from notifications
//!  cost         monthly cost per destination
//!  store        persistent state
//!  archive      long-term history as Parquet files
//!  report       reports over the archive
//!  objects      object storage for logs and archives
//!  replication  several replicas with one leader
//!  blocking     work that blocks a thread for long
//!  service      tasks, signals, logs
//!  cli          commands
//! ```
//!
//! `tests/packs/architecture.rs` enforces every arrow of this picture.

pub mod archive;
pub mod aws;
mod blocking;
pub mod cli;
pub mod config;
pub mod cost;
#[cfg(test)]
mod log_capture;
#[cfg(test)]
mod mutated_inputs;
pub mod notify;
pub mod objects;
pub mod outbound;
pub mod publish;
pub mod replication;
pub mod report;
pub mod runbooks;
pub mod service;
#[cfg(test)]
mod simulation;
pub mod store;
pub mod web;

/// The allocator of the binary, and of tests and benchmarks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
