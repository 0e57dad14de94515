//! Reports of a time that is over: what GPUs did and cost, what was wasted, who waited and who failed. PURE.
//!
//! [`Builder`] takes in rows of the archive, one by one, and makes a [`Report`], which is shown as text, HTML or CSV.
//!
//! - What GPUs did comes from hours, which have all of it. What it is broken down by comes from jobs, which are in it with all that they
//!   held when they ended in the time.
//! - Dollars are there where prices were configured.

mod build;
mod csv;
mod figures;
mod html;
mod key;
mod text;
mod wastes;

pub use build::Builder;
pub use csv::csv;
pub use figures::{Breakdown, Failures, Gpus, Lending, Objective, Report, Waits, Waste};
pub use html::html;
pub use key::Key;
pub use text::{summary, text};

#[cfg(test)]
mod tests;
