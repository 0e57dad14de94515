//! Start estimates: simulates the scheduler model forward from the current state, with run times and arrivals learned
//! from the past. The intervals are calibrated with resolved estimates. Pure.
//!
//! The start of a job is its dispatch, which ends its wait. There is no estimate for a job that can never start with
//! the current setup, nor while too few attempts have ended or too few estimates are resolved.

mod arrivals;
mod calibration;
mod estimate;
mod forecaster;
mod from_ledger;
mod initial_state;
mod pending_estimates;
mod runtimes;
mod saved_rows;
mod simulate;
mod stored_history;
mod stored_ring;
#[cfg(test)]
mod tests;

pub use arrivals::{Arrival, PastArrivals};
pub use calibration::{Interval, MIN_TRUTHS, Quality, Rough};
pub use estimate::{Estimate, Outlook, Unknown};
pub use forecaster::Forecaster;
pub use from_ledger::{Hypothetical, initial_state, learn};
pub use initial_state::{InitialState, MAX_WAITING, OpenJob, setup_of};
pub use pending_estimates::WaitEnd;
pub use runtimes::{JobKind, Profile, Runtimes, name_stem};
pub use simulate::{HORIZON, JobStarts, NeverBecause, RUNS, Starts, run, run_for_last};
pub use stored_history::{ArrivalRow, AttemptRow, JobTraits, stored_history};
pub(crate) use stored_ring::MAX_ROWS;
