//! awsQuery: a form on the way in, XML on the way out.

use std::collections::BTreeMap;

use crate::simulate::reply::ApiError;

/// A form: `Action`, `Version` and the operation's members, lists and maps flattened with dots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads a form-encoded body. Every body is a form; one without `Action` is refused later, by name.
    pub fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// A member, if it is there.
    pub fn get(&self, member: &str) -> Option<&str> {
        self.0.get(member).map(String::as_str)
    }

    /// A member that must be there and not be empty.
    pub fn required(&self, member: &str) -> Result<&str, ApiError> {
        self.get(member).filter(|value| !value.is_empty()).ok_or_else(|| {
            ApiError::bad("ValidationError", format!("1 validation error detected: {member} is required"))
        })
    }

    /// The entries of a flattened map or list of structures: for `Attributes`, `("Attributes.entry.1", ..)`; ask for
    /// each entry's members by [`Form::get`] with the prefix that this yields.
    pub fn entries<'a>(&'a self, list: &'a str) -> impl Iterator<Item = String> + 'a {
        (1..).map(move |n| format!("{list}.{n}")).take_while(|prefix| {
            let inside = format!("{prefix}.");
            self.0.range(inside.clone()..).next().is_some_and(|(name, _)| name.starts_with(&inside))
        })
    }
}

/// An element with text, escaped.
pub(super) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

/// A successful answer.
pub(super) fn response(namespace: &str, action: &str, members: &str, request_id: &str) -> String {
    format!(
        "<{action}Response xmlns=\"{namespace}\"><{action}Result>{members}</{action}Result>\
         <ResponseMetadata>{}</ResponseMetadata></{action}Response>",
        element("RequestId", request_id)
    )
}

/// An error answer.
pub(super) fn error(namespace: &str, error: &ApiError, request_id: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"{namespace}\"><Error>{}{}{}</Error>{}</ErrorResponse>",
        element("Type", error.fault()),
        element("Code", error.code),
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
