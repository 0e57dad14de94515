//! Shared types: time, names, jobs, topology, observations, units.
//!
//! Nothing here performs I/O, reads a clock or depends on the AWS SDK. The service's `aws` module converts API
//! responses into these types; everything else uses only them. An enum value that AWS adds later becomes `Unknown`,
//! never an error or a guess.

mod accelerators;
mod account_and_region;
mod account_limits;
mod check_name;
pub mod format;
mod glob;
mod ids;
mod job;
mod matcher;
mod observation;
mod parse_duration;
mod poll_questions;
mod priority_bands;
mod reserved_capacity;
mod sanitize;
mod saved_state;
mod time;
mod topology;

pub use accelerators::{Accelerators, accelerators_of, training_instance_types};
pub use account_and_region::{PLACE_LABELS, Place};
pub use account_limits::{Account, OutsideUse};
pub use check_name::check_name;
pub use glob::matches_glob;
pub use ids::{InstanceType, JobId, QueueName, ShareKey, ShareName, TrainingJobName};
pub use job::{Attempt, Capacity, Demand, JobDetails, JobSeen, JobStatus, MAX_INSTANCES, StoppedAttempt};
pub use matcher::{LabelValue, Matcher, Matchers, Overlap, check_glob, check_label, check_place, is_of_queue_name};
pub use observation::{
    CallOutcome, Calls, HostUtilisation, Observation, Position, QueueSnapshot, Source, TrainingJobSeen, Undescribed,
};
pub use parse_duration::parse_duration;
pub use poll_questions::{MANY_REFUSED, Questions};
pub use priority_bands::PriorityBands;
pub use reserved_capacity::{Reserved, ReservedKind};
pub use sanitize::{readable, readable_line, unknown_value};
pub use saved_state::{SavedEvent, SavedForecast, SavedJob, SavedJobs, SavedQueue, SavedRows, SavedSeries};
pub use time::Timestamp;
pub use topology::{
    MAX_PRICE, Policy, Prices, Queue, QuotaShare, ServiceEnvironment, SharesShown, Sharing, TimeLimit, WeightedShare,
};
