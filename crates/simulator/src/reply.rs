//! What a call is answered with, before a protocol puts it on the wire.

use std::fmt;

/// An error in AWS's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The code that SDKs match on, such as `ClientException`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl ApiError {
    /// The caller's mistake: HTTP 400.
    pub fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into() }
    }

    /// An error with another status.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// Whose fault it is, in the words of the query protocol.
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

/// The body of a successful answer.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// For services that speak JSON only.
    Json(serde_json::Value),
    /// For a service that speaks several protocols: what each of them writes.
    Tree(ciborium::Value),
    /// For awsQuery: the members of the `<OperationResult>` element, already XML.
    Xml(String),
}

/// The nearest number that fits an `Integer` of AWS's models, which has 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, which is what is wanted")]
pub(super) fn integer(number: f64) -> i32 {
    number.round() as i32
}

/// The same JSON without its nulls: AWS omits what is absent.
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
