//! Figures and rules against reference models, real traces and independent implementations.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot build its case has failed, and one that is skipped says so"
)]

#[path = "../support"]
mod support {
    pub mod python;
    pub mod random_worlds;
}
mod cluster_traces;
mod conservation_laws;
mod fifo_vs_shares;
mod fuzz_corpora;
mod ledger;
mod oracle;
mod restart;
mod survival;
