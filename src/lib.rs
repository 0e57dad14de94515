//! Trainspotter: observability and alerting for AWS Batch job queues that feed SageMaker Training jobs.
//!
//! Data goes one way, and every room speaks [`model`]:
//!
//! ```text
//!  source ──► ledger ──► derive ──► publish             CloudWatch, OTLP, Prometheus
//!    AWS                   ├──────► evaluate ──► notify  SNS, webhook
//!                          └──────► web                  JSON API and page
//!  engine     owns ledger, rules and alerts: observations in, outputs out   PURE
//!  store      what must survive a restart
//!  runtime    tasks, signals, logs
//!  scheduler  a model of AWS Batch on virtual time                          PURE
//!  backtest   what rules would have told over a workload or a past          PURE
//!  simulate   an AWS-compatible endpoint over `scheduler`
//! ```
//!
//! The pure rooms (`model ledger derive evaluate engine scheduler backtest`) know no tokio, no AWS SDK and no clock: `now` is an
//! argument. `tests/architecture.rs` holds every arrow of this picture.

pub mod backtest;
pub mod cli;
pub mod clock;
pub mod config;
pub mod derive;
pub mod engine;
pub mod evaluate;
pub mod ledger;
pub mod model;
pub mod notify;
pub mod publish;
pub mod runtime;
pub mod scheduler;
pub mod simulate;
pub mod source;
pub mod store;
pub mod web;
pub mod yaml;

/// For tests and benchmarks as for the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
