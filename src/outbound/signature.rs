//! Signature Version 4 for AWS requests without an SDK: OTLP to CloudWatch, and objects in S3.

use std::fmt;
use std::time::Duration;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::PayloadChecksumKind;
use aws_sigv4::http_request::PercentEncodingMode;
use aws_sigv4::http_request::SignableBody;
use aws_sigv4::http_request::SignableRequest;
use aws_sigv4::http_request::SigningError;
use aws_sigv4::http_request::SigningSettings;
use aws_sigv4::http_request::UriPathNormalizationMode;
use aws_sigv4::http_request::sign;
use aws_sigv4::sign::v4;
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::identity::Identity;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;
use tokio::sync::Mutex;
use url::Url;

use crate::outbound::causes;
use trainspotter_clock::Clock;

/// Credentials are renewed this long before they expire, in clock time.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

/// A signed AWS service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedService {
    /// CloudWatch.
    Monitoring,
    /// S3, which also requires the body's digest in a header, and unnormalized paths.
    S3,
}

/// Signs requests to one service in one region. Credentials are cached until shortly before they expire.
pub struct Signer {
    credentials: SharedCredentialsProvider,
    region: String,
    service: SignedService,
    clock: Clock,
    known: Mutex<Option<Credentials>>,
}

/// An endpoint with its signer.
#[derive(Debug)]
pub struct SignedEndpoint {
    /// The whole URL.
    pub url: Url,
    /// The signer.
    pub signer: Signer,
}

/// Why a request could not be signed.
#[derive(Debug)]
pub enum SignatureError {
    /// There are no credentials, or loading them failed.
    Credentials(CredentialsError),
    /// A part of the request cannot be signed.
    Request(SigningError),
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials(error) => write!(f, "no AWS credentials: {}", causes(error)),
            Self::Request(error) => write!(f, "cannot sign the request: {}", causes(error)),
        }
    }
}

impl std::error::Error for SignatureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Credentials(error) => Some(error),
            Self::Request(error) => Some(error),
        }
    }
}

impl Signer {
    /// Signs with `credentials`, by the time of `clock`.
    pub fn new(credentials: SharedCredentialsProvider, region: String, service: SignedService, clock: Clock) -> Self {
        Self { credentials, region, service, clock, known: Mutex::new(None) }
    }

    /// The headers that sign a request with this method, URL and body. `headers` are signed too; `host` always is.
    ///
    /// # Errors
    /// There are no credentials, or the request cannot be signed.
    pub async fn headers(
        &self,
        method: &str,
        url: &Url,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<HeaderMap, SignatureError> {
        let now = TimeSource::now(&self.clock);
        let identity = Identity::from(self.current(now).await.map_err(SignatureError::Credentials)?);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service.name())
            .time(now)
            .settings(self.service.settings())
            .build()
            .map_err(|error| SignatureError::Credentials(CredentialsError::invalid_configuration(error)))?;
        let request = SignableRequest::new(method, url.as_str(), headers.iter().copied(), SignableBody::Bytes(body))
            .map_err(SignatureError::Request)?;
        let signed = sign(request, &params.into()).map_err(SignatureError::Request)?;
        Ok(signed.output().headers().filter_map(|(name, value)| header(name, value)).collect())
    }

    /// Clears cached credentials, after the service rejected them.
    pub async fn forget_credentials(&self) {
        *self.known.lock().await = None;
    }

    async fn current(&self, now: SystemTime) -> Result<Credentials, CredentialsError> {
        let mut known = self.known.lock().await;
        let is_fresh =
            |credentials: &&Credentials| credentials.expiry().is_none_or(|expiry| now + RENEWED_BEFORE < expiry);
        if let Some(credentials) = known.as_ref().filter(is_fresh) {
            return Ok(credentials.clone());
        }
        let credentials = self.credentials.provide_credentials().await?;
        *known = Some(credentials.clone());
        Ok(credentials)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("service", &self.service).field("region", &self.region).finish_non_exhaustive()
    }
}

impl SignedService {
    fn name(self) -> &'static str {
        match self {
            Self::Monitoring => "monitoring",
            Self::S3 => "s3",
        }
    }

    fn settings(self) -> SigningSettings {
        let mut settings = SigningSettings::default();
        if self == Self::S3 {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        settings
    }
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;

    use aws_credential_types::provider::future;

    use super::*;
    use trainspotter_core::model::Timestamp;

    #[derive(Debug)]
    struct Lasting {
        seconds: u64,
        asked: Arc<AtomicU32>,
        clock: Clock,
    }

    impl ProvideCredentials for Lasting {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let expiry = TimeSource::now(&self.clock) + Duration::from_secs(self.seconds);
            future::ProvideCredentials::ready(Ok(Credentials::new("AKID", "secret", None, Some(expiry), "test")))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_asked_for_shortly_before_they_expire_and_not_with_each_request() {
        let clock = Clock::starting_at(Timestamp::from_millis(1_800_000_000_000), 1.0);
        let asked = Arc::new(AtomicU32::new(0));
        let provider = SharedCredentialsProvider::new(Lasting { seconds: 3_600, asked: Arc::clone(&asked), clock });
        let signer = Signer::new(provider, "eu-west-1".to_owned(), SignedService::Monitoring, clock);
        let url = Url::parse("https://monitoring.eu-west-1.amazonaws.com/v1/metrics").unwrap();
        for (after, expected) in [(0, 1), (3_200, 1), (200, 2), (60, 2)] {
            clock.sleep(Duration::from_secs(after)).await;
            signer.headers("POST", &url, &[], b"body").await.unwrap();
            assert_eq!(asked.load(Ordering::Relaxed), expected, "after {after} s more");
        }
        signer.forget_credentials().await;
        let headers = signer.headers("POST", &url, &[], b"body").await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        let authorization = headers["authorization"].to_str().unwrap();
        assert!(authorization.contains("/eu-west-1/monitoring/aws4_request"), "{authorization}");
        assert!(headers["authorization"].is_sensitive());
        assert!(!format!("{signer:?}").contains("secret"));
    }

    #[tokio::test]
    async fn s3_gets_the_digest_of_the_body_too() {
        let provider = SharedCredentialsProvider::new(Credentials::new("AKID", "secret", None, None, "test"));
        let signer = Signer::new(provider, "us-east-1".to_owned(), SignedService::S3, Clock::real());
        let url = Url::parse("https://bucket.s3.us-east-1.amazonaws.com/log/a%20b").unwrap();
        let headers = signer.headers("PUT", &url, &[("if-none-match", "*")], b"").await.unwrap();
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(headers["x-amz-content-sha256"], digest);
        assert!(headers["authorization"].to_str().unwrap().contains("if-none-match"));
    }
}
