//! Where observations come from: everything that speaks to AWS, or prepares to.
//!
//! - [`connect`] makes one target's clients. Every request of theirs, retries included, waits its turn in one
//!   [`Budget`] and is counted in one [`CallCounter`].
//! - [`Poller`] asks the target's queues and sends what it learns as observations, page by page.
//! - [`JobEvents`] say between polls which jobs to look at, if the target has a queue of events.
//! - `page` reads pages of jobs: a list of a million is read in the SDK's place.
//! - `translate` turns answers into `model` types. No other module sees an SDK type of Batch, SageMaker or metrics read.
//!
//! Invariants: an answer that did not come is an observation too ([`trainspotter_core::model::Observation::Failed`]); what is not
//! understood is a value ([`trainspotter_core::model::Observation::UnknownValue`]), never a guess and never a panic; a throttle slows
//! the calls, never the process.

mod answer_body;
mod call_counter;
mod clients;
mod completeness;
mod credentials;
mod describe;
mod eventbridge;
mod failure;
#[cfg(test)]
mod fake;
mod identity;
mod job_summary;
mod listing;
mod odd_numbers;
mod outside_jobs;
mod page;
mod poller;
mod publishing;
mod quotas;
mod rate_limit;
mod reservations;
mod sweep_pages;
mod topology;
mod translate;
mod unreadable_entries;

pub use call_counter::CallCounter;
pub use clients::{Clients, ConnectError, connect};
pub use eventbridge::{Heard, JobEvent, JobEvents};
pub(crate) use failure::Failure;
pub use listing::Limits;
pub use poller::Poller;
pub use publishing::{BucketAccess, cloudwatch, cloudwatch_otlp, s3, sns};
pub use rate_limit::Budget;
