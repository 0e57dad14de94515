//! Result of a call, before a protocol encodes it.

use std::fmt;

/// An error in AWS's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The code that SDKs match on, such as `ClientException`.
    pub code: &'static str,
    /// Message for users.
    pub message: String,
}

impl ApiError {
    /// A client error: HTTP 400.
    pub fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into() }
    }

    /// An error with another status.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// `Sender` or `Receiver`, in the terms of the query protocol.
    pub fn fault(&self) -> &'static str {
        if self.status >= 500 { "Receiver" } else { "Sender" }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.message)
    }
}

impl std::error::Error for ApiError {}

/// Body of a successful response.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// For services with JSON protocols only.
    Json(serde_json::Value),
    /// For services with several protocols, each of which encodes it.
    Tree(ciborium::Value),
    /// For awsQuery: the members of the `<OperationResult>` element, already XML.
    Xml(String),
}

/// The nearest number that fits into an `Integer` of AWS's models, which has 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, which is what is wanted")]
pub(super) fn integer(number: f64) -> i32 {
    number.round() as i32
}

/// Removes nulls: AWS omits absent members.
pub(super) fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value::{Array, Object};
    if let Object(members) = value {
        return Object(members.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect());
    }
    if let Array(items) = value {
        return Array(items.into_iter().map(without_nulls).collect());
    }
    value
}
