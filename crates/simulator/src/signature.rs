//! Verifies AWS signatures (Signature Version 4).
//!
//! Only secrets of access keys issued by the simulator are known, so only their signatures are computed and compared.
//! For other keys the form, the Region, the service and the time are checked.

use std::time::Duration;

use axum::http::HeaderMap;
use hmac::Hmac;
use hmac::KeyInit as _;
use hmac::Mac as _;
use sha2::Digest as _;
use sha2::Sha256;

use crate::api_error::ApiError;
use crate::arn;
use trainspotter_core::model::Timestamp;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Maximum difference of a request's time from AWS's.
const MAX_SKEW: Duration = Duration::from_secs(300);
/// Access key of clients configured without one.
const USUAL_KEY: &str = "simulated";
/// Prefix of the access key ids of temporary credentials; they give access to nothing.
const KEY_PREFIX: &str = "ASIASIMULATED";
/// Secret of all these keys.
const SECRET: &str = "simulated";

/// The signed parts of a request without a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// The parsed `Authorization` header.
struct Authorization<'a> {
    access_key: &'a str,
    /// `date/region/service/aws4_request`.
    scope: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

/// The signer of a request, as it claims.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignedBy<'a> {
    pub access_key: &'a str,
    pub region: &'a str,
}

/// The signer; `None` for an unsigned request.
pub(super) fn signer(headers: &HeaderMap) -> Option<SignedBy<'_>> {
    let authorization = Authorization::of(headers.get("authorization")?.to_str().ok()?)?;
    let region = authorization.scope.split('/').nth(1)?;
    Some(SignedBy { access_key: authorization.access_key, region })
}

/// Checks that the request is signed for `service`, for this Region and the current time.
pub(super) fn check(request: Signed<'_>, service: &str, now: Timestamp) -> Result<(), ApiError> {
    let missing = || ApiError::new(403, "MissingAuthenticationToken", "Missing Authentication Token");
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = header("authorization").ok_or_else(missing)?;
    let authorization = Authorization::of(authorization).ok_or_else(|| {
        ApiError::new(403, "IncompleteSignature", "The Authorization header is not that of AWS Signature Version 4.")
    })?;
    let date = header("x-amz-date").ok_or_else(missing)?;
    let at = time_of(date).ok_or_else(|| wrong(format!("Date {date} is not of the form 20300102T030405Z.")))?;
    if at + MAX_SKEW < now {
        return Err(wrong(format!("Signature expired: {date} is now earlier than {now} less 5 min.")));
    }
    if now + MAX_SKEW < at {
        return Err(wrong(format!("Signature not yet current: {date} is still later than {now} and 5 min.")));
    }
    let expected = format!("{}/{}/{service}/aws4_request", &date[..8], arn::region());
    if authorization.scope != expected {
        return Err(wrong(format!("Credential should be scoped to {expected}, not {}.", authorization.scope)));
    }
    let is_known = authorization.access_key == USUAL_KEY || authorization.access_key.starts_with(KEY_PREFIX);
    if is_known && authorization.signature != authorization.right(request, date) {
        return Err(wrong(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method.",
        ));
    }
    Ok(())
}

fn wrong(message: impl Into<String>) -> ApiError {
    ApiError::new(403, "InvalidSignatureException", message)
}

impl<'a> Authorization<'a> {
    fn of(header: &'a str) -> Option<Self> {
        let rest = header.strip_prefix(ALGORITHM)?;
        let part = |name: &str| rest.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        let (access_key, scope) = part("Credential")?.split_once('/')?;
        Some(Self { access_key, scope, signed_headers: part("SignedHeaders")?, signature: part("Signature")? })
    }

    /// The correct signature of the request.
    fn right(&self, request: Signed<'_>, date: &str) -> String {
        let header = |name: &str| {
            let value = request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            format!("{name}:{}\n", value.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let headers: String = self.signed_headers.split(';').map(header).collect();
        let body = hex(&Sha256::digest(request.body));
        let canonical = format!("{}\n{}\n\n{headers}\n{}\n{body}", request.method, request.path, self.signed_headers);
        let text = format!("{ALGORITHM}\n{date}\n{}\n{}", self.scope, hex(&Sha256::digest(canonical)));
        let key = self.scope.split('/').fold(format!("AWS4{SECRET}").into_bytes(), |key, part| mac(&key, part));
        hex(&mac(&key, &text))
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // Any key length is valid.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn time_of(date: &str) -> Option<Timestamp> {
    let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(Timestamp::from_millis(at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_893_553_445_000);
    const DATE: &str = "20300102T030405Z";

    fn authorization(key: &str, scope: &str, signature: &str) -> String {
        format!("{ALGORITHM} Credential={key}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}")
    }

    fn checked(authorization: Option<&str>, date: &str) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert("host", "127.0.0.1:4566".parse().unwrap());
        headers.insert("x-amz-date", date.parse().unwrap());
        if let Some(authorization) = authorization {
            headers.insert("authorization", authorization.parse().unwrap());
        }
        let request = Signed { method: "POST", path: "/v1/metrics", headers: &headers, body: b"body" };
        check(request, "monitoring", NOW).map_err(|error| error.message)
    }

    #[test]
    fn what_is_not_signed_here_and_now_is_refused() {
        let scope = "20300102/us-east-1/monitoring/aws4_request";
        let other = authorization("AKIAOTHER", scope, "00");
        let refused = |authorization: Option<&str>, date, part: &str| {
            let message = checked(authorization, date).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        assert_eq!(checked(Some(&other), DATE), Ok(()), "of a key that is not ours the form counts");
        refused(None, DATE, "Missing");
        refused(Some("Bearer token"), DATE, "Version 4");
        refused(Some(&other), "20300102T025904Z", "expired");
        refused(Some(&other), "20300102T030906Z", "not yet current");
        refused(Some(&other), "now", "form");
        for scope in ["20300102/eu-west-1/monitoring/aws4_request", "20300102/us-east-1/batch/aws4_request"] {
            refused(Some(&authorization("AKIAOTHER", scope, "00")), DATE, "scoped");
        }
        refused(Some(&authorization("simulated", scope, "00")), DATE, "does not match");
    }
}
