//! Encodes frames as OTLP messages, as pure functions; `trainspotter` sends them (`src/publish/otlp.rs`).
//!
//! - `encode` builds requests from a frame; `families` groups samples by metric, for every kind of sink.
//! - `exponential_histogram` keeps distributions as exponential histograms; `unchanged` tracks which points have not changed.
//! - `origin` identifies the publisher; `billed_size` computes CloudWatch's charge.
//!
//! A separate crate, so that the cost of a push is measured without building an AWS SDK:
//! `cargo bench -p trainspotter-otlp`.

mod billed_size;
mod encode;
mod exponential_histogram;
mod origin;
mod samples_by_metric;
mod unchanged;

pub use billed_size::charged_bytes;
pub use encode::{Form, LATE_AFTER, MAX_POINTS_PER_REQUEST, otlp_requests, reported_by, requests_in};
pub use exponential_histogram::{ExponentialHistograms, MAX_HISTOGRAMS};
pub use origin::{Origin, uuid_of};
pub use samples_by_metric::{buckets_of, families};
pub use unchanged::Unchanged;
