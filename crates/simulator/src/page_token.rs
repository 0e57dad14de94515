//! Opaque page tokens that stay valid while the list changes.
//!
//! A token holds the key of the last returned item rather than an offset: items that are added, removed or change
//! state meanwhile cause neither duplicates nor gaps.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Position at which a listing continues.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PageToken {
    /// Number of the requested page; the first page, which needs no token, is 1.
    pub page: u32,
    /// Sort key of the items: milliseconds for jobs, 0 for lists ordered by name.
    pub order: i64,
    /// Distinguishes items with equal sort keys.
    pub key: String,
}

impl PageToken {
    /// The token for clients.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("1 {} {} {}", self.page, self.order, self.key))
    }

    /// Decodes a token; `None` if it is invalid.
    pub fn decode(text: &str) -> Option<Self> {
        let plain = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = plain.splitn(4, ' ');
        let (version, page, order, key) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        (version == "1")
            .then_some(())
            .and_then(|()| Some(Self { page: page.parse().ok()?, order: order.parse().ok()?, key: key.to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_a_round_trip() {
        let token = PageToken { page: 3, order: -5, key: "a b".to_owned() };
        assert_eq!(PageToken::decode(&token.encode()), Some(token));
    }

    #[test]
    fn foreign_tokens_are_refused() {
        for text in ["", "?", "AAAA", "MiAxIDEgYQ"] {
            assert_eq!(PageToken::decode(text), None, "{text}");
        }
    }
}
