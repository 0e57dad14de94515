//! awsQuery: form requests, XML responses.

use std::collections::BTreeMap;

use ciborium::Value;

use crate::api_error::ApiError;
use crate::cbor::TIMESTAMP_MEMBERS;
use trainspotter_core::model::Timestamp;

/// Operations without output, hence without a result element.
const WITHOUT_RESULT: [&str; 7] = [
    "DeleteAlarms",
    "DeleteTopic",
    "PutMetricAlarm",
    "PutMetricData",
    "SetSubscriptionAttributes",
    "SetTopicAttributes",
    "Unsubscribe",
];
/// Members that are maps rather than structures.
const MAP_MEMBERS: [&str; 1] = ["ExtendedStatistics"];

/// A form: `Action`, `Version` and the operation's members, with lists and maps flattened by dots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Parses a form-encoded body. Any body is a form; one without `Action` is rejected later, by name.
    pub fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// A member, if present.
    pub fn get(&self, member: &str) -> Option<&str> {
        self.0.get(member).map(String::as_str)
    }

    /// A required, non-empty member.
    pub fn required(&self, member: &str) -> Result<&str, ApiError> {
        self.get(member).filter(|value| !value.is_empty()).ok_or_else(|| {
            ApiError::bad("ValidationError", format!("1 validation error detected: {member} is required"))
        })
    }

    /// Prefixes of the entries of a flattened map or list of structures: for `Attributes`, `Attributes.entry.1` and
    /// so on. Pass them with a member's name to [`Form::get`].
    pub fn entries<'a>(&'a self, list: &'a str) -> impl Iterator<Item = String> + 'a {
        (1..).map(move |n| format!("{list}.{n}")).take_while(|prefix| {
            let inside = format!("{prefix}.");
            self.0.range(inside.clone()..).next().is_some_and(|(name, _)| name.starts_with(&inside))
        })
    }
}

/// An XML element with escaped text.
pub(super) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

/// A successful response.
pub(super) fn response(namespace: &str, action: &str, members: &str, request_id: &str) -> String {
    let result = if WITHOUT_RESULT.contains(&action) {
        String::new()
    } else {
        format!("<{action}Result>{members}</{action}Result>")
    };
    let id = element("RequestId", request_id);
    format!(
        "<{action}Response xmlns=\"{namespace}\">{result}<ResponseMetadata>{id}</ResponseMetadata></{action}Response>"
    )
}

/// Members of a result as XML: list items in `<member>`, maps of numbers in `<entry>`, times as RFC 3339.
pub(super) fn members(tree: &Value) -> String {
    let members = tree.as_map().map(Vec::as_slice).unwrap_or_default();
    members.iter().filter_map(|(name, value)| Some(member(name.as_text()?, value))).collect()
}

fn member(name: &str, value: &Value) -> String {
    let is_time = TIMESTAMP_MEMBERS.contains(&name);
    let inside = if let Some(items) = value.as_array() {
        items.iter().map(|item| format!("<member>{}</member>", content(item, is_time))).collect()
    } else if let Some(entries) = value.as_map().filter(|_| MAP_MEMBERS.contains(&name)) {
        let entry = |(key, value): &(Value, Value)| {
            let key = element("key", key.as_text().unwrap_or_default());
            format!("<entry>{key}<value>{}</value></entry>", content(value, false))
        };
        entries.iter().map(entry).collect()
    } else {
        content(value, is_time)
    };
    format!("<{name}>{inside}</{name}>")
}

fn content(value: &Value, is_time: bool) -> String {
    if let Some(number) = value.as_float() {
        let text = if is_time { Timestamp::from_secs_f64(number).to_string() } else { number.to_string() };
        return escape(&text);
    }
    if let Some(text) = value.as_text() {
        return escape(text);
    }
    if let Some(number) = value.as_integer() {
        return i128::from(number).to_string();
    }
    value.as_bool().map_or_else(|| members(value), |truth| truth.to_string())
}

/// An error response; `code` is the error's code in this protocol.
pub(super) fn error(namespace: &str, code: &str, error: &ApiError, request_id: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"{namespace}\"><Error>{}{}{}</Error>{}</ErrorResponse>",
        element("Type", error.fault()),
        element("Code", code),
        element("Message", &error.message),
        element("RequestId", request_id)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_entry_by_entry() {
        let form = Form::parse(b"Action=Publish&A.entry.1.Name=x&A.entry.2.Name=y+z&A.entry.10.Name=never");
        let names: Vec<_> =
            form.entries("A.entry").filter_map(|entry| form.get(&format!("{entry}.Name")).map(str::to_owned)).collect();
        assert_eq!(names, ["x", "y z"]);
    }

    #[test]
    fn text_cannot_leave_its_element() {
        assert_eq!(element("a", "<b> & \"c\""), "<a>&lt;b&gt; &amp; &quot;c&quot;</a>");
    }
}
