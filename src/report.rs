//! Reports about a past period: use, cost and waste of GPUs, waits and failures. PURE.
//!
//! [`Builder`] consumes rows of the archive and builds a [`Report`], which is rendered as text, HTML or CSV.
//!
//! - The use of GPUs comes from hourly rows, which are complete. The breakdown comes from jobs that ended in the
//!   period, with everything they held.
//! - Dollars are included if prices were configured.

mod build;
mod contents;
mod csv;
mod gpu_time_coverage;
mod html;
mod key;
mod text;
mod wastes;

pub use build::Builder;
pub use contents::{Breakdown, Failures, Gpus, Lending, Objective, Report, Waits, Waste};
pub use csv::csv;
pub use html::html;
pub use key::Key;
pub use text::{summary, text, text_within};

#[cfg(test)]
mod tests;
