//! When jobs start: the scheduler model run forward from the present, with what was learnt of how long jobs hold their instances and of how
//! they come, and intervals that are corrected by what came true. PURE.
//!
//! A start is the dispatch of a job: what its wait ends with. There is no estimate for a job that never starts as things are set up, nor
//! while too little has ended or come true.

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
pub use past_attempts::{ArrivalRow, AttemptRow, JobTraits, learnt_of};
pub(crate) use rows::MAX_ROWS;
pub use runtimes::{JobKind, Profile, Runtimes, name_stem};
pub use simulate::{HORIZON, JobStarts, NeverBecause, RUNS, Starts, run, run_for_last};
pub use world::{MAX_WAITING, OpenJob, World, setup_of};
