//! Placeholder.

pub mod trace;
pub mod workload;
