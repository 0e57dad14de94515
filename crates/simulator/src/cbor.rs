//! rpc-v2-cbor bodies: maps with text keys, timestamps as tag 1 over seconds.
//!
//! Operations use plain serde types, so that they work with any protocol: timestamp tags are removed from requests
//! and added to responses by member name.

use ciborium::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api_error::ApiError;

/// RFC 8949 section 3.4.2: seconds since the epoch.
const EPOCH_SECONDS: u64 = 1;

/// Members of responses that hold timestamps.
pub(super) const TIMESTAMP_MEMBERS: [&str; 6] = [
    "AlarmConfigurationUpdatedTimestamp",
    "LastModified",
    "StateTransitionedTimestamp",
    "StateUpdatedTimestamp",
    "Timestamp",
    "Timestamps",
];

/// Decodes a body. An empty one is an empty map.
pub(super) fn decode(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Map(Vec::new()));
    }
    ciborium::from_reader::<Value, _>(body)
        .map(untagged)
        .map_err(|error| ApiError::bad("SerializationException", format!("the body is not CBOR: {error}")))
}

/// Deserialises an operation's input.
pub(super) fn input<T: DeserializeOwned>(body: &Value) -> Result<T, ApiError> {
    body.deserialized()
        .map_err(|error| ApiError::bad("SerializationException", format!("the body does not fit: {error}")))
}

/// Serialises an operation's output.
pub(super) fn output<T: Serialize>(output: &T) -> Result<Value, ApiError> {
    Value::serialized(output).map_err(|error| ApiError::new(500, "InternalServiceFault", error.to_string()))
}

/// Encodes a body, with tags on timestamps.
pub(super) fn encode(value: Value) -> Vec<u8> {
    let mut body = Vec::new();
    // Writing to memory cannot fail, and all these values can be encoded.
    let _ = ciborium::into_writer(&tagged(value, false), &mut body);
    body
}

/// Removes tags at every depth.
fn untagged(value: Value) -> Value {
    if let Value::Tag(_, inner) = value {
        return untagged(*inner);
    }
    each_inside(value, |_, inner| untagged(inner))
}

/// Adds tags to the members that hold timestamps.
fn tagged(value: Value, is_timestamp: bool) -> Value {
    if is_timestamp && value.is_float() {
        return Value::Tag(EPOCH_SECONDS, Box::new(value));
    }
    each_inside(value, |key, inner| {
        let is_timestamp = key.map_or(is_timestamp, |key| TIMESTAMP_MEMBERS.contains(&key));
        tagged(inner, is_timestamp)
    })
}

/// Maps the items of an array and the members of a map; members are passed with their keys.
fn each_inside(value: Value, change: impl Fn(Option<&str>, Value) -> Value) -> Value {
    if let Value::Array(items) = value {
        return Value::Array(items.into_iter().map(|item| change(None, item)).collect());
    }
    if let Value::Map(members) = value {
        let change = |(key, member): (Value, Value)| {
            let changed = change(Some(key.as_text().unwrap_or_default()), member);
            (key, changed)
        };
        return Value::Map(members.into_iter().map(change).collect());
    }
    value
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "PascalCase")]
    struct Sample {
        timestamps: Vec<f64>,
        values: Vec<f64>,
    }

    #[test]
    fn timestamps_are_tagged_on_the_wire_and_plain_inside() {
        let sample = Sample { timestamps: vec![1.5e9], values: vec![2.0] };
        let body = encode(output(&sample).unwrap());
        let raw: Value = ciborium::from_reader(body.as_slice()).unwrap();
        let members = raw.as_map().unwrap();
        assert!(members[0].1.as_array().unwrap()[0].is_tag(), "{raw:?}");
        assert!(members[1].1.as_array().unwrap()[0].is_float(), "{raw:?}");
        assert_eq!(input::<Sample>(&decode(&body).unwrap()).unwrap(), sample);
    }

    #[test]
    fn a_body_that_is_not_cbor_is_the_callers_mistake() {
        assert_eq!(decode(&[0xff]).unwrap_err().status, 400);
        assert_eq!(decode(&[]).unwrap(), Value::Map(Vec::new()));
    }
}
