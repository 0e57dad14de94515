//! What Trainspotter knows and decides: functions of their arguments, without a clock, a network or a disk.
//!
//! Data goes one way through the modules:
//!
//! ```text
//!  model ──► jobs ──► metrics ──► rules        one tick: `engine`
//!            scheduler                         a model of AWS Batch on virtual time
//!            forecast, whatif                  when jobs start, and what a change would have done
//!            backtest                          rules over a simulated or recorded past
//!            yaml                              files of people, with a caret on each mistake
//! ```
//!
//! `now` is always an argument. The manifest names no async runtime, no AWS SDK and no database, so the compiler holds that.

pub mod backtest;
pub mod engine;
pub mod forecast;
pub mod jobs;
pub mod metrics;
pub mod model;
pub mod rules;
pub mod scheduler;
pub mod whatif;
pub mod yaml;
