//! Frames as OTLP messages, without sending them: functions of their arguments. `trainspotter` sends them (`src/publish/otlp.rs`).
//!
//! - `encode` makes requests of a frame, `families` puts the samples of a metric together for every kind of sink.
//! - `exponential` keeps distributions as exponential histograms, `unchanged` knows which points have no news.
//! - `origin` says who publishes, `charge` what CloudWatch charges for.
//!
//! A crate of its own, so that what a push costs is measured without building an AWS SDK: `cargo bench -p trainspotter-otlp`.

mod charge;
mod encode;
mod exponential;
mod families;
mod origin;
mod unchanged;

pub use charge::charged_bytes;
pub use encode::{Form, LATE_AFTER, MAX_POINTS_PER_REQUEST, otlp_requests, reported_by, requests_in};
pub use exponential::{ExponentialHistograms, MAX_HISTOGRAMS};
pub use families::{buckets_of, families};
pub use origin::{Origin, uuid_of};
pub use unchanged::Unchanged;
