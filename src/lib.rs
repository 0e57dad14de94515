//! Trainspotter: observability and alerting for AWS Batch job queues that feed SageMaker Training jobs.
//!
//! Data goes one way. What is decided on the way is in `trainspotter-core`; this crate is what touches the world.
//!
//! ```text
//!  aws ──► core: jobs ──► metrics ──► publish            CloudWatch, OTLP, Prometheus
//!                            ├──► rules ──► notify       SNS, webhook, Slack, PagerDuty, Alertmanager
//!                            └──► web                    JSON API and pages
//!  outbound   which addresses are called, and through which proxy
//!  runbooks   what to do about an alert: pages in the binary, to which messages link
//!  cost       what a month costs, by destination
//!  store      what must survive a restart
//!  archive    the past for years, as Parquet files
//!  report     what the archive says of a time that is over
//!  objects    buckets and folders, in which logs and archives are kept
//!  replication  several replicas of it, of which one leads
//!  service    tasks, signals, logs
//!  cli        the commands
//! ```
//!
//! `tests/packs/architecture.rs` holds every arrow of this picture.

pub mod archive;
pub mod aws;
pub mod cli;
pub mod config;
pub mod cost;
pub mod notify;
pub mod objects;
pub mod outbound;
pub mod publish;
pub mod replication;
pub mod report;
pub mod runbooks;
pub mod service;
pub mod store;
pub mod web;

/// For tests and benchmarks as for the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
