//! Opaque page tokens that stay right while what they page through moves.
//!
//! A token holds the key of the last item that was given out, not an offset: items that come, go or change state
//! meanwhile neither repeat others nor hide them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Where a listing continues.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PageToken {
    /// The number of the page that the token asks for; the first page, which needs no token, is 1.
    pub page: u32,
    /// Orders the items: milliseconds for jobs, 0 where names alone order.
    pub order: i64,
    /// Tells items of equal order apart.
    pub key: String,
}

impl PageToken {
    /// The token as given to clients.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("1 {} {} {}", self.page, self.order, self.key))
    }

    /// Reads a token; `None` if it was not made here.
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
    fn a_token_comes_back_as_it_was() {
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
