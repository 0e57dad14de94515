//! Posts to an HTTP endpoint: Alertmanager's version 4 body, with the headers of Standard Webhooks.
//!
//! The URL is a secret, for many receivers put their token into it: logs and errors show its host only. It is also
//! input: no address that serves credentials is ever called, whether the URL says it or DNS does.

mod body;
mod guard;

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header;
use url::Host;
use url::Url;

use crate::clock::Clock;
use crate::config::Secret;
use crate::config::address;
use crate::notify::Failure;
use crate::notify::message::Message;
use crate::notify::retry;

use guard::Guard;
use guard::Refused;

/// Wall time for a connection to come up; DNS and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An HTTP endpoint that is told of alerts.
#[derive(Debug)]
pub struct Webhook {
    url: Secret,
    host: String,
    http: reqwest::Client,
}

impl Webhook {
    /// Prepares a client for this URL alone.
    ///
    /// # Errors
    /// The URL is not `http` or `https` with a host, its literal address is refused, or it is `https` and this machine
    /// has no CA certificates. Says which, without the URL.
    pub fn new(url: &Secret, allow_loopback: bool) -> Result<Self, String> {
        let guard = Guard::new(allow_loopback);
        Self::with_guard(url, allow_loopback, guard)
    }

    fn with_guard(url: &Secret, allow_loopback: bool, guard: Guard) -> Result<Self, String> {
        let parsed = Url::parse(url.expose()).map_err(|error| format!("the webhook URL cannot be read: {error}"))?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("trainspotter/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(1)
            .dns_resolver(guard);
        match parsed.scheme() {
            "https" => {}
            // Plain HTTP needs no CA certificates, and slim images have none to load.
            "http" => http = http.tls_certs_only([]),
            scheme => return Err(format!("a webhook URL begins with https:// or http://, not {scheme}://")),
        }
        let Some(host) = parsed.host() else {
            return Err("the webhook URL names no host".to_owned());
        };
        // A literal address never reaches the resolver.
        let literal = match host {
            Host::Domain(_) => None,
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
        };
        if let Some(reason) = literal.and_then(|ip| address::refusal(ip, allow_loopback)) {
            return Err(format!("the webhook address {host} is refused: {reason}"));
        }
        let http = http
            .build()
            .map_err(|error| format!("no client for the webhook at {host}: {}", causes(&error.without_url())))?;
        Ok(Self { url: url.clone(), host: host.to_string(), http })
    }

    /// Posts a message once. A redirect is not followed; the answer's body is not read.
    ///
    /// # Errors
    /// What to do next, and why.
    pub async fn deliver(&self, message: &Message, clock: &Clock) -> Result<(), Failure> {
        let at = clock.now();
        let body = serde_json::to_vec(&body::of(message))
            .map_err(|error| Failure::park(format!("the notification cannot be written as JSON: {error}")))?;
        let answer = self
            .http
            .post(self.url.expose())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id.as_str())
            .header("webhook-timestamp", at.millis().div_euclid(1_000).to_string())
            .body(body)
            .send()
            .await
            .map_err(|error| self.failure(error))?;
        self.judge(&answer, clock)
    }

    fn judge(&self, answer: &reqwest::Response, clock: &Clock) -> Result<(), Failure> {
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let said = format!("{} answered {status}", self.host);
        if status.is_redirection() {
            return Err(Failure::park(format!("{said}, and redirects are not followed")));
        }
        let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        if status.is_server_error() || again.contains(&status) {
            let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
            let asked =
                text(header::RETRY_AFTER).and_then(|after| retry::retry_after(after, text(header::DATE), clock.now()));
            // The receiver lives in wall time, however fast our clock runs.
            return Err(Failure::retry(said, asked.map(|wall| clock.of_wall(wall))));
        }
        Err(Failure::park(said))
    }

    fn failure(&self, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        let reason = format!("{}: {}", self.host, causes(&error));
        let refused = chain(&error).any(<dyn std::error::Error>::is::<Refused>);
        if refused { Failure::park(reason) } else { Failure::retry(reason, None) }
    }
}

/// An error and what caused it, outermost first.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::evaluate::TransitionKind;
    use crate::model::Timestamp;
    use crate::notify::Remedy;
    use crate::notify::sample;

    const TOKEN: &str = "t0psecret";

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_being_shown() {
        let check = |url: &str, says: &str| {
            let url = Secret::new(format!("{url}/{TOKEN}?token={TOKEN}"));
            let error = Webhook::new(&url, false).unwrap_err();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains(TOKEN), "{error}");
        };
        check("http://169.254.169.254/latest", "169.254.169.254 is refused: it is link-local");
        check("http://169.254.170.2", "link-local");
        check("http://[::ffff:a9fe:a9fe]", "link-local");
        check("http://0xa9fea9fe", "link-local");
        check("http://127.0.0.1:80", "loopback");
        check("http://127.1", "loopback");
        check("ftp://example.com", "not ftp://");
        check("http://:80", "cannot be read");
        check("example.com", "cannot be read");
    }

    async fn attempt(webhook: &Webhook) -> Failure {
        let message = Message::of(&sample::row(TransitionKind::Fired), None);
        let clock = Clock::starting_at(Timestamp::from_millis(0), 1.0);
        webhook.deliver(&message, &clock).await.unwrap_err()
    }

    fn asking(answers: &'static [&'static str], allow_loopback: bool) -> Webhook {
        let guard = Guard::asking(allow_loopback, |_| {
            Box::pin(async { Ok(answers.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect()) })
        });
        // Port 9 is `discard`: nothing listens there.
        let url = Secret::new(format!("http://metadata.example:9/{TOKEN}"));
        Webhook::with_guard(&url, allow_loopback, guard).unwrap()
    }

    #[tokio::test]
    async fn a_name_that_leads_to_metadata_is_never_called() {
        for answers in [&["169.254.169.254"] as &[_], &["169.254.170.2", "fd00:ec2::254"], &["::ffff:169.254.169.254"]]
        {
            let failure = attempt(&asking(answers, true)).await;
            assert_eq!(failure.remedy, Remedy::Park, "{failure:?}");
            assert!(failure.reason.contains("metadata.example"), "{failure:?}");
            assert!(failure.reason.contains("link-local"), "{failure:?}");
            assert!(!failure.reason.contains(TOKEN), "{failure:?}");
        }
        let failure = attempt(&asking(&["127.0.0.1"], false)).await;
        assert_eq!(failure.remedy, Remedy::Park, "{failure:?}");
    }

    #[tokio::test]
    async fn of_mixed_answers_only_the_allowed_ones_are_called() {
        let failure = attempt(&asking(&["169.254.169.254", "127.0.0.1"], true)).await;
        // Loopback was called, and nothing listens there.
        assert!(matches!(failure.remedy, Remedy::Retry { after: None }), "{failure:?}");
        assert!(failure.reason.contains("refused"), "{failure:?}");
        assert!(!failure.reason.contains(TOKEN), "{failure:?}");
    }
}
