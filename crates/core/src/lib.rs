//! The core of Trainspotter: all knowledge and decisions, as functions of their arguments, without clock, network
//! or disk.
//!
//! Data flows one way through the modules:
//!
//! ```text
//!  model ──► jobs ──► metrics ──► rules        one tick: `engine`
//!            scheduler                         a model of AWS Batch in virtual time
//!            forecast, what_if                  when jobs start, and the effect of changes
//!            backtest                          rules over a simulated or recorded past
//!            yaml                              user-written files, with a caret on each error
//! ```
//!
//! `now` is always an argument. The manifest has no async runtime, AWS SDK or database, so the compiler enforces
//! this.

pub mod backtest;
pub mod engine;
pub mod forecast;
pub mod jobs;
pub mod metrics;
pub mod model;
pub mod rules;
pub mod scheduler;
pub mod what_if;
pub mod yaml;
