//! Access control: who may read and who may act, by the request's token.
//!
//! Without tokens everybody may read and nobody may act. Once a token for reading is configured, reading requires a
//! token too, except for probes and the static files of the pages. See docs/adr/0008-tokens.md.

mod failed_attempts;
mod sign_in_page;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use crate::web::access::failed_attempts::FailedAttempts;
use crate::web::error::ApiError;

/// Paths that never require a token: probes, and static files without data.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/favicon.svg"];
const OPEN_BELOW: &str = "/assets/";

/// Configuration hint for callers without a token for acting.
const ACT_HINT: &str =
    "add a token to the configuration: `api: { tokens: [{ name: NAME, token: \"${VARIABLE}\", may: operate }] }`";

/// A configured token, as a hash.
#[derive(Clone)]
pub struct Token {
    name: Arc<str>,
    hash: [u8; 32],
    may_operate: bool,
}

impl Token {
    /// Hashes a token. Its name is recorded as the author of its actions.
    pub fn new(name: &str, token: &str, may_operate: bool) -> Self {
        Self { name: name.into(), hash: Sha256::digest(token).into(), may_operate }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, hash: _, may_operate } = self;
        f.debug_struct("Token").field("name", name).field("may_operate", may_operate).finish_non_exhaustive()
    }
}

/// All tokens, and the addresses that sent wrong ones. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Access {
    tokens: Arc<[Token]>,
    failed: Arc<FailedAttempts>,
}

/// Remote address of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// The caller of a request.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// No token was sent.
    Anonymous {
        /// Whether a token for acting is configured.
        could_act: bool,
    },
    /// A caller who may read.
    Reader(Arc<str>),
    /// A caller who may act, by the name of the token.
    Operator(Arc<str>),
}

impl Access {
    /// Access control with these tokens.
    pub fn new(tokens: impl IntoIterator<Item = Token>) -> Self {
        Self { tokens: tokens.into_iter().collect(), failed: Arc::default() }
    }

    /// Refused requests since the last call: with a wrong token, and after too many wrong tokens from their
    /// address.
    pub fn take_refused(&self) -> [(&'static str, u64); 2] {
        self.failed.take_counts()
    }

    fn reading_needs_token(&self) -> bool {
        self.tokens.iter().any(|token| !token.may_operate)
    }

    /// Determines the caller from the headers.
    fn caller(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Caller, ApiError> {
        let could_act = self.tokens.iter().any(|token| token.may_operate);
        // The header may be for a proxy's login; without configured tokens no token is wrong.
        let Some(sent) = bearer(headers)?.filter(|_| !self.tokens.is_empty()) else {
            return Ok(Caller::Anonymous { could_act });
        };
        if let Err(seconds) = self.failed.may_try(peer) {
            return Err(ApiError::too_many_attempts(seconds));
        }
        match self.known(sent) {
            Some(token) if token.may_operate => Ok(Caller::Operator(Arc::clone(&token.name))),
            Some(token) => Ok(Caller::Reader(Arc::clone(&token.name))),
            None => {
                self.failed.failed(peer);
                tracing::warn!(%peer, "rejected a request whose token is not in `api.tokens`");
                Err(ApiError::wrong_token())
            }
        }
    }

    /// Compares hashes in constant time, so that timing reveals nothing about a token.
    fn known(&self, sent: &str) -> Option<&Token> {
        let hash: [u8; 32] = Sha256::digest(sent).into();
        let mut known = None;
        for token in self.tokens.iter() {
            if bool::from(token.hash.ct_eq(&hash)) {
                known = Some(token);
            }
        }
        known
    }
}

/// The bearer token of a request, if any. Other schemes are ignored.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut found = None;
    for value in headers.get_all(header::AUTHORIZATION) {
        let bytes = value.as_bytes();
        let scheme = bytes.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"));
        if !scheme || bytes.get(6).is_some_and(|next| *next != b' ') {
            continue;
        }
        let token = value.to_str().ok().and_then(|text| text.get(6..)).map_or("", str::trim);
        if found.replace(token).is_some() {
            return Err(ApiError::bad_request("the request has two tokens; send one `Authorization: Bearer TOKEN`"));
        }
    }
    Ok(found)
}

/// Middleware that admits callers who may read, and adds the caller to the request.
pub(super) async fn readers_only(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if OPEN.contains(&path) || path.starts_with(OPEN_BELOW) {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
    let caller = match access.caller(request.headers(), peer) {
        Ok(Caller::Anonymous { .. }) if access.reading_needs_token() => Err(ApiError::token_needed()),
        caller => caller,
    };
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) if sign_in_page::is_wanted(&request) => sign_in_page::page(request.uri().path(), error.status()),
        Err(error) => error.into_response(),
    }
}

/// Middleware that admits callers who may act.
pub(super) async fn operators_only(request: Request, next: Next) -> Response {
    let refusal = match request.extensions().get::<Caller>() {
        Some(Caller::Operator(_)) => None,
        Some(Caller::Reader(name)) => Some(ApiError::may_not_act(format!(
            "the token {name} is read-only; a token with `may: operate` is required"
        ))),
        Some(Caller::Anonymous { could_act: false }) => {
            Some(ApiError::may_not_act(format!("this service is read-only; {ACT_HINT}")))
        }
        Some(Caller::Anonymous { could_act: true }) | None => Some(ApiError::token_needed()),
    };
    match refusal {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

/// Whether the method changes something.
pub(super) fn is_act(method: &Method) -> bool {
    ![Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap())).collect()
    }

    #[test]
    fn a_token_is_what_follows_bearer_and_nothing_else() {
        for (sent, token) in [
            (&["Bearer abc"][..], Some("abc")),
            (&["bearer  abc "], Some("abc")),
            (&["BEARER abc"], Some("abc")),
            (&["Bearer"], Some("")),
            (&["Bearer "], Some("")),
            (&["Basic YWJj"], None),
            (&["Bearerabc"], None),
            (&["abc"], None),
            (&[""], None),
            (&[], None),
            (&["Basic YWJj", "Bearer abc"], Some("abc")),
        ] {
            assert_eq!(bearer(&headers(sent)).unwrap(), token, "{sent:?}");
        }
        assert!(bearer(&headers(&["Bearer a", "Bearer b"])).is_err());
    }

    #[test]
    fn a_token_is_known_as_a_whole_and_not_shown() {
        let access =
            Access::new([Token::new("ann", "token-of-ann-0001", true), Token::new("bo", "token-of-bo-00002", false)]);
        let name = |sent: &str| access.known(sent).map(|token| token.name.to_string());
        assert_eq!(name("token-of-ann-0001").as_deref(), Some("ann"));
        assert_eq!(name("token-of-bo-00002").as_deref(), Some("bo"));
        for other in ["", "token-of-ann-000", "token-of-ann-00011", "TOKEN-OF-ANN-0001", "ann"] {
            assert_eq!(name(other), None, "{other}");
        }
        let shown = format!("{access:?}");
        assert!(shown.contains("ann") && !shown.contains("token-of") && !shown.contains("hash"), "{shown}");
    }
}
