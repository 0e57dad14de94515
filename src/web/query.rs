//! Query strings: what is no text is refused rather than guessed at, and what is wrong is shown in no more than a line.

use std::borrow::Cow;

use crate::web::error::ApiError;

/// Characters of a mistake that an error shows.
const MAX_SHOWN: usize = 80;

/// A parameter and its value.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The parameters of a query string, in order.
pub(super) fn pairs(query: &str) -> Result<Vec<Pair<'_>>, ApiError> {
    // What is not UTF-8 is decoded as this; nobody who means it writes it.
    let is_unreadable = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    match pairs.iter().find(|(key, value)| is_unreadable(key) || is_unreadable(value)) {
        Some((key, _)) => Err(ApiError::bad_request(format!("parameter {} is not UTF-8 text", shown(key)))),
        None => Ok(pairs),
    }
}

/// A text from outside in quotes, cut where it is long.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
