//! The figures of one tick: ledger, topology and utilisation in, a [`Frame`] out. PURE.
//!
//! A figure that is not known is absent, never 0, and never NaN or infinite. What is counted is published as 0 too, so
//! that a quiet queue and a dead service look different.

pub mod catalogue;
mod frame;

pub use frame::{
    Distribution, Frame, Labels, Quantiles, QueueFigures, Sample, ShareFigures, SourceHealth, Value, WaitFigures,
    Waterfall, labels,
};
