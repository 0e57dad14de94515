//! Real peers against this project's parts, one module each. A peer that is not installed is skipped, and says so.

#![expect(clippy::print_stderr, reason = "what a peer said, or that it was skipped, is for whoever reads the test run")]

#[path = "peers/boto3.rs"]
mod boto3;
