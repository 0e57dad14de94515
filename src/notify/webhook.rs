//! Webhook receiver: Alertmanager's body, version 4, with the headers of Standard Webhooks.

pub(in crate::notify) mod body;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use hmac::KeyInit as _;
use hmac::Mac as _;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderValue;
use sha2::Sha256;

use crate::config::Endpoint;
use crate::config::Secret;
use crate::config::SigningKey;
use crate::notify::Failure;
use crate::notify::IntegrationError;
use crate::notify::Receipt;
use crate::notify::http::Http;
use crate::notify::message::Message;
use trainspotter_clock::Clock;

/// A webhook receiver.
#[derive(Debug)]
pub struct Webhook {
    http: Http,
    keys: Vec<SigningKey>,
}

impl Webhook {
    /// Creates a client for this URL only. Each of `keys` signs every body.
    ///
    /// # Errors
    /// The URL cannot be used. The reason does not contain the URL.
    pub fn new(endpoint: &Endpoint, keys: &[SigningKey]) -> Result<Self, IntegrationError> {
        Ok(Self { http: Http::new(endpoint)?, keys: keys.to_vec() })
    }

    /// Adds the configured headers to every request.
    ///
    /// # Errors
    /// A header is invalid. The error names it, without its value.
    pub fn with_headers(self, headers: &BTreeMap<String, Secret>) -> Result<Self, IntegrationError> {
        Ok(Self { http: self.http.with_headers(headers)?, ..self })
    }

    /// Posts a message once.
    ///
    /// # Errors
    /// Why it failed, and how to proceed.
    pub(super) async fn deliver(&self, message: &Message, clock: &Clock) -> Result<Receipt, Failure> {
        // Time of the attempt, which lets receivers refuse replayed requests.
        let timestamp = clock.now().millis().div_euclid(1_000);
        let body = serde_json::to_vec(&body::of(message)).map_err(|error| Failure::unwritable(&error))?;
        let mut headers = HeaderMap::new();
        let mut set = |name, text: &str| {
            let value = HeaderValue::from_str(text).map_err(|error| Failure::unwritable(&error))?;
            headers.insert(name, value);
            Ok(())
        };
        set("webhook-id", message.id.as_str())?;
        set("webhook-timestamp", &timestamp.to_string())?;
        if !self.keys.is_empty() {
            set("webhook-signature", &signatures(&self.keys, message.id.as_str(), timestamp, &body))?;
        }
        Ok(self.http.post("", headers, body, clock).await?.into())
    }
}

/// The Standard Webhooks header `webhook-signature`: one `v1` signature per key, so that a receiver with any of the
/// keys accepts the message.
fn signatures(keys: &[SigningKey], id: &str, timestamp: i64, body: &[u8]) -> String {
    let sign = |key: &SigningKey| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    };
    // HMAC accepts keys of any length, so no signature is skipped.
    keys.iter().filter_map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;

    #[test]
    fn signatures_are_those_of_the_published_vector() {
        let key = SigningKey::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        let signed = signatures(&[key], "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, BODY);
        assert_eq!(signed, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn while_a_secret_is_exchanged_both_sign() {
        let old = SigningKey::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        let new = SigningKey::parse(&format!("whsec_{}", STANDARD.encode([7; 32]))).unwrap();
        let alone = |key: &SigningKey| signatures(std::slice::from_ref(key), "id", 5, BODY);
        let both = signatures(&[new.clone(), old.clone()], "id", 5, BODY);
        assert_eq!(both, format!("{} {}", alone(&new), alone(&old)));
        assert_ne!(alone(&new), alone(&old));
        assert!(SigningKey::parse("whsec_c2hvcnQ=").is_none() && SigningKey::parse("C2FVsBQIhrscChlQ").is_none());
        assert_eq!(format!("{new:?}"), "[secret]");
    }
}
