//! Posts to an HTTP receiver and interprets its response.
//!
//! The URL is a secret, since many receivers have their token in it: logs and errors contain only its host.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;
use url::Url;

use crate::config::Endpoint;
use crate::config::Secret;
use crate::notify::Failure;
use crate::notify::IntegrationError;
use crate::outbound::Guard;
use crate::outbound::Refused;
use crate::outbound::causes;
use crate::outbound::http_client;
use crate::outbound::retry_after;
use trainspotter_clock::Clock;

/// Wall time limit to connect, including DNS and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum bytes read of a response body. More is not needed.
const MAX_ANSWER: usize = 16 * 1_024;

/// Wall time limit to read a response body. Only the status matters: a missing body does not make a delivery fail.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// HTTP client of one receiver.
#[derive(Debug)]
pub(super) struct Http {
    url: Secret,
    host: String,
    /// Sent with each request; empty by default.
    headers: HeaderMap,
    http: reqwest::Client,
}

/// A successful response of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Status, such as `202 Accepted`.
    pub(super) status: String,
    /// The beginning of the body.
    pub(super) body: String,
}

impl Http {
    /// Creates a client for this endpoint only.
    ///
    /// # Errors
    /// The URL is not `http` or `https` with a host, its literal address is refused, or it is `https` and this
    /// machine has no CA certificates. The error does not contain the URL.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self, IntegrationError> {
        Self::with_guard(endpoint, Guard::new(endpoint.allow_loopback))
    }

    fn with_guard(endpoint: &Endpoint, guard: Guard) -> Result<Self, IntegrationError> {
        let parsed = Url::parse(endpoint.url.expose())?;
        let http = http_client(&parsed, guard)?.connect_timeout(CONNECT_TIMEOUT).pool_max_idle_per_host(1);
        let host = parsed.host_str().unwrap_or_default().to_owned();
        match http.build().map_err(reqwest::Error::without_url) {
            Ok(http) => Ok(Self { url: endpoint.url.clone(), host, headers: HeaderMap::new(), http }),
            Err(source) => Err(IntegrationError::Client { host, causes: causes(&source), source }),
        }
    }

    /// Adds headers to every request.
    ///
    /// # Errors
    /// A header is invalid. The error names it, without its value.
    pub(super) fn with_headers(mut self, headers: &BTreeMap<String, Secret>) -> Result<Self, IntegrationError> {
        for (name, value) in headers {
            let key =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| IntegrationError::HeaderName(name.clone()))?;
            let mut value =
                HeaderValue::from_str(value.expose()).map_err(|_| IntegrationError::HeaderValue(name.clone()))?;
            value.set_sensitive(true);
            self.headers.insert(key, value);
        }
        Ok(self)
    }

    /// Posts once, to the endpoint's URL with `path` appended. Redirects are not followed.
    ///
    /// # Errors
    /// Why it failed, and how to proceed.
    pub(super) async fn post(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        clock: &Clock,
    ) -> Result<Answer, Failure> {
        let url = if path.is_empty() {
            self.url.expose().to_owned()
        } else {
            format!("{}{path}", self.url.expose().trim_end_matches('/'))
        };
        let sent = self
            .http
            .post(url)
            .headers(self.headers.clone())
            .headers(headers)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body)
            .send()
            .await;
        let mut answer = sent.map_err(|error| self.failure(error))?;
        let status = answer.status();
        let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (after, date) = (text(header::RETRY_AFTER), text(header::DATE));
        let mut bytes = Vec::new();
        let reading = async {
            while bytes.len() < MAX_ANSWER
                && let Ok(Some(chunk)) = answer.chunk().await
            {
                bytes.extend_from_slice(&chunk);
            }
        };
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, reading).await;
        bytes.truncate(MAX_ANSWER);
        match judge(&self.host, status.as_u16(), after.as_deref(), date.as_deref(), clock) {
            None => Ok(Answer { status: status.to_string(), body: String::from_utf8_lossy(&bytes).into_owned() }),
            Some(failure) => Err(failure),
        }
    }

    /// The host, which is no secret.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    fn failure(&self, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        let reason = format!("{}: {}", self.host, causes(&error));
        let refused = chain(&error).any(<dyn std::error::Error>::is::<Refused>);
        if refused { Failure::park(reason) } else { Failure::retry(reason, None) }
    }
}

/// Interprets a response status: `None` if the message was accepted.
///
/// `after` and `date` are the headers `Retry-After` and `Date`.
pub fn judge(host: &str, status: u16, after: Option<&str>, date: Option<&str>, clock: &Clock) -> Option<Failure> {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if code.is_success() {
        return None;
    }
    let status_text = format!("{host} responded with {code}");
    if code.is_redirection() {
        return Some(Failure::park(format!("{status_text}, and redirects are not followed")));
    }
    let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    if code.is_server_error() || again.contains(&code) {
        let asked = after.and_then(|after| retry_after(after, date, clock.now()));
        // The header is in wall time, whatever the speed of the clock.
        return Some(Failure::retry(status_text, asked.map(|wall| clock.of_wall(wall))));
    }
    let closed = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::GONE];
    Some(if closed.contains(&code) { Failure::park(status_text) } else { Failure::set_aside(status_text) })
}

/// An error and its causes, outermost first.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::notify::RetryClass;
    use trainspotter_core::model::Timestamp;

    const TOKEN: &str = "t0psecret";

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_being_shown() {
        let check = |url: &str, says: &str| {
            let url = Secret::new(format!("{url}/{TOKEN}?token={TOKEN}"));
            let error = Http::new(&Endpoint { url, allow_loopback: false }).unwrap_err();
            let error = format!("{error} {error:?}");
            assert!(error.contains(says), "{error}");
            assert!(!error.contains(TOKEN), "{error}");
        };
        check("http://169.254.169.254/latest", "169.254.169.254: the address is refused: it is link-local");
        check("http://169.254.170.2", "link-local");
        check("http://[::ffff:a9fe:a9fe]", "link-local");
        check("http://0xa9fea9fe", "link-local");
        check("http://127.0.0.1:80", "loopback");
        check("http://127.1", "loopback");
        check("ftp://example.com", "not ftp://");
        check("http://:80", "invalid URL");
        check("example.com", "invalid URL");
    }

    async fn attempt(http: &Http) -> Failure {
        let clock = Clock::starting_at(Timestamp::from_millis(0), 1.0);
        http.post("", HeaderMap::new(), Vec::new(), &clock).await.unwrap_err()
    }

    fn asking(answers: &'static [&'static str], allow_loopback: bool) -> Http {
        let guard = Guard::asking(allow_loopback, |_| {
            Box::pin(async { Ok(answers.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect()) })
        });
        // Port 9 is `discard`: nothing listens there.
        let url = Secret::new(format!("http://metadata.example:9/{TOKEN}"));
        Http::with_guard(&Endpoint { url, allow_loopback }, guard).unwrap()
    }

    #[tokio::test]
    async fn a_name_that_leads_to_metadata_is_never_called() {
        for answers in [&["169.254.169.254"] as &[_], &["169.254.170.2", "fd00:ec2::254"], &["::ffff:169.254.169.254"]]
        {
            let failure = attempt(&asking(answers, true)).await;
            assert_eq!(failure.remedy, RetryClass::Park, "{failure:?}");
            assert!(failure.reason.contains("metadata.example"), "{failure:?}");
            assert!(failure.reason.contains("link-local"), "{failure:?}");
            assert!(!failure.reason.contains(TOKEN), "{failure:?}");
        }
        let failure = attempt(&asking(&["127.0.0.1"], false)).await;
        assert_eq!(failure.remedy, RetryClass::Park, "{failure:?}");
    }

    #[tokio::test]
    async fn of_an_answer_without_an_end_the_beginning_is_read() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Secret::new(format!("http://{}/", listener.local_addr().unwrap()));
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            let chunk = format!("3000\r\n{}\r\n", "x".repeat(0x3000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
        });
        let http = Http::new(&Endpoint { url, allow_loopback: true }).unwrap();
        let clock = Clock::starting_at(Timestamp::from_millis(0), 1.0);
        let answer = http.post("", HeaderMap::new(), Vec::new(), &clock).await.unwrap();
        assert_eq!((answer.status.as_str(), answer.body.len()), ("200 OK", MAX_ANSWER));
    }

    #[tokio::test]
    async fn of_mixed_answers_only_the_allowed_ones_are_called() {
        let failure = attempt(&asking(&["169.254.169.254", "127.0.0.1"], true)).await;
        // The loopback address was called, and nothing listens there.
        assert!(matches!(failure.remedy, RetryClass::Retry { after: None }), "{failure:?}");
        assert!(failure.reason.contains("refused"), "{failure:?}");
        assert!(!failure.reason.contains(TOKEN), "{failure:?}");
    }
}
