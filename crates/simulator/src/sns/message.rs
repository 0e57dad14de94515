//! Messages and subscriptions.

use std::collections::BTreeMap;

use serde::Serialize;

use trainspotter_core::model::Timestamp;

/// A subscription of a topic.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subscription {
    pub protocol: String,
    pub endpoint: String,
    pub attributes: BTreeMap<String, String>,
}

/// A published message.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Message {
    pub id: String,
    /// The topic's ARN.
    pub topic: String,
    pub at: Timestamp,
    pub subject: Option<String>,
    pub text: String,
    pub group: Option<String>,
    /// Name, data type and value of each attribute.
    pub attributes: Vec<(String, String, String)>,
}
