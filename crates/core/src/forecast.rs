//! Start estimates: simulates the scheduler model forward from the current state, with run times and arrivals learned
//! from the past. The intervals are calibrated with resolved estimates. Pure.
//!
//! The start of a job is its dispatch, which ends its wait. There is no estimate for a job that can never start with
//! the current setup, nor while too few attempts have ended or too few estimates are resolved.

mod arrivals;
mod calibration;
mod forecaster;
mod kept_estimates;
mod learnt;
mod observed;
mod outlook;
mod past_attempts;
mod rows;
mod runtimes;
mod simulate;
#[cfg(test)]
mod tests;
mod world;

pub use arrivals::{Arrival, PastArrivals};
pub use calibration::{Interval, MIN_TRUTHS, Quality, Rough};
pub use forecaster::Forecaster;
pub use kept_estimates::WaitEnd;
pub use observed::{Hypothetical, learn, world};
pub use outlook::{Estimate, Outlook, Unknown};
pub use past_attempts::{ArrivalRow, AttemptRow, JobTraits, stored_history};
pub(crate) use rows::MAX_ROWS;
pub use runtimes::{JobKind, Profile, Runtimes, name_stem};
pub use simulate::{HORIZON, JobStarts, NeverBecause, RUNS, Starts, run, run_for_last};
pub use world::{MAX_WAITING, OpenJob, World, setup_of};
