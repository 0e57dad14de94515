//! Shipped files besides the binary: dashboards, rules, deployment; and the structure of the code itself.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot build its case has failed, and one that is skipped says so"
)]

#[path = "../support"]
mod support {
    pub mod python;
}
mod architecture;
mod archive;
mod circular_dependencies;
mod dashboards;
mod deploy;
mod exports;
mod limit_names_in_runbook;
mod links_in_documents;
mod names_in_documents;
mod paths_in_documents;
mod read_sources;
mod source_rules;
