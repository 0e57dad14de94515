//! Real peers against this project's parts, one module each. A peer that is not installed is skipped, and says so.

#[path = "peers/boto3.rs"]
mod boto3;
