//! Query strings: invalid text is refused, and errors quote at most one line of it.

use std::borrow::Cow;

use crate::web::error::ApiError;

/// Maximum characters quoted in an error.
const MAX_SHOWN: usize = 80;

/// A parameter and its value.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The parameters of a query string, in order.
pub(super) fn pairs(query: &str) -> Result<Vec<Pair<'_>>, ApiError> {
    // Invalid UTF-8 is decoded to this character, which nobody writes on purpose.
    let is_unreadable = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    match pairs.iter().find(|(key, value)| is_unreadable(key) || is_unreadable(value)) {
        Some((key, _)) => Err(ApiError::bad_request(format!("parameter {} is not UTF-8 text", shown(key)))),
        None => Ok(pairs),
    }
}

/// The error of a parameter that occurs more than once.
pub(super) fn given_twice(key: &str) -> ApiError {
    ApiError::bad_request(format!("parameter {} is given twice", shown(key)))
}

/// The error of a parameter that an endpoint does not have; `known` says which it has.
pub(super) fn unknown_parameter(key: &str, known: &str) -> ApiError {
    ApiError::bad_request(format!("unknown parameter {}; {known}", shown(key)))
}

/// Quotes a foreign text, shortened if long.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
