//! AWS clients and pollers: the source of all observations, and clients for what is published to AWS.
//!
//! - [`connect`] creates the clients of one target. Every request, retries included, waits for its turn in one
//!   [`Budget`] and is counted in one [`CallCounter`].
//! - [`Poller`] queries the target's queues and sends observations page by page.
//! - [`JobEvents`] receives events that tell which jobs to describe between polls, if the target has an event
//!   queue.
//! - `job_list_page` parses pages of jobs instead of the SDK, since a list may have a million entries.
//! - `translate` converts responses to `model` types. No other module sees the SDK types of Batch, SageMaker or
//!   metric reads.
//!
//! Invariants: a failed request is an observation too ([`trainspotter_core::model::Observation::Failed`]); an
//! unknown value is kept as a value ([`trainspotter_core::model::Observation::UnknownValue`]) and causes neither a
//! guess nor a panic; throttling slows down calls, never the process.

mod call_budget;
mod call_counter;
mod clients;
mod describe;
mod endless_listing;
mod eventbridge;
mod expired_credentials;
mod failure;
mod full_list_limit;
mod identity;
mod incomplete_answers;
mod job_list_page;
mod job_summary;
mod limit_hits;
mod odd_numbers;
mod outside_jobs;
mod poller;
mod publishing_clients;
mod quotas;
mod reserved_capacity;
mod rewrite_body;
#[cfg(test)]
mod scripted_endpoint;
mod topology;
mod topology_observations;
mod translate;
mod unreadable_entries;

pub use call_budget::Budget;
pub use call_counter::CallCounter;
#[cfg(test)]
pub(crate) use clients::{CONNECT_TIMEOUT, READ_TIMEOUT};
pub use clients::{Clients, ConnectError, connect};
pub use eventbridge::{JobEvent, JobEvents, Received};
pub(crate) use failure::Failure;
pub use identity::account_of;
pub use limit_hits::Limits;
pub use poller::Poller;
pub use publishing_clients::{BucketAccess, cloudwatch, cloudwatch_otlp, s3, sns};
