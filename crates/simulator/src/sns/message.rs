//! A message, and where a topic's messages go.

use std::collections::BTreeMap;

use serde::Serialize;

use trainspotter_core::model::Timestamp;

/// Where a topic's messages go.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subscription {
    pub protocol: String,
    pub endpoint: String,
    pub attributes: BTreeMap<String, String>,
}

/// A message as published.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Message {
    pub id: String,
    /// The topic's ARN.
    pub topic: String,
    pub at: Timestamp,
    pub subject: Option<String>,
    pub text: String,
    pub group: Option<String>,
    /// Name, data type and value.
    pub attributes: Vec<(String, String, String)>,
}
