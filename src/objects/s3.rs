//! An S3 bucket, or an S3-compatible one: a few signed HTTP requests.

mod conditional_reads;
#[cfg(test)]
mod tests;

pub use conditional_reads::{Listed, Seen};

use std::fmt;
use std::time::Duration;

use reqwest::Method;
use reqwest::Response;
use reqwest::StatusCode;
use url::Url;

use crate::objects::Created;
use crate::objects::Setting;
use crate::objects::Storage;
use crate::objects::StorageError;
use crate::outbound::Body;
use crate::outbound::OutboundError;
use crate::outbound::Signer;
use crate::outbound::causes;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;

/// Maximum time of a request.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Maximum time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum bytes read of an error.
const MAX_ERROR: usize = 4_096;

/// Maximum size of an object. A snapshot of the state with a million jobs is a tenth of it; a larger object is
/// foreign, and would take too much memory.
pub(crate) const MAX_OBJECT_BYTES: usize = 1 << 30;

/// Maximum size of a list. A thousand names of maximum length, with each byte escaped, are less than half of it.
const MAX_LIST_BYTES: usize = 8 << 20;

/// A bucket and a prefix.
pub struct Bucket {
    http: reqwest::Client,
    signer: Signer,
    /// URL of the bucket's objects, with a trailing slash.
    root: Url,
    bucket: String,
    prefix: String,
    region: String,
    setting: Setting,
    clock: Clock,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("root", &self.root.as_str())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Location of a bucket, and credentials.
#[derive(Debug)]
pub struct BucketAddress {
    /// Overrides AWS's endpoint: bucket names are then part of the path.
    pub endpoint: Option<Url>,
    /// The bucket.
    pub bucket: String,
    /// Prefix of object names.
    pub prefix: String,
    /// Region of the bucket.
    pub region: String,
    /// The settings that errors refer to.
    pub setting: Setting,
}

impl Bucket {
    /// Creates a client for a bucket. `client` creates the HTTP client for a URL.
    ///
    /// # Errors
    /// The address is not allowed.
    pub fn new(
        address: BucketAddress,
        signer: Signer,
        client: impl Fn(&Url) -> Result<reqwest::ClientBuilder, OutboundError>,
        clock: Clock,
    ) -> Result<Self, OutboundError> {
        let BucketAddress { endpoint, bucket, prefix, region, setting } = address;
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let root = match endpoint {
            Some(endpoint) => format!("{}/{bucket}/", endpoint.as_str().trim_end_matches('/')),
            // The TLS certificate covers one level of subdomains only.
            None if bucket.contains('.') => format!("https://s3.{region}.{domain}/{bucket}/"),
            None => format!("https://{bucket}.s3.{region}.{domain}/"),
        };
        let root = Url::parse(&root)?;
        let http = client(&root)?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| OutboundError::Tls(error.without_url().to_string()))?;
        Ok(Self { http, signer, root, bucket, prefix, region, setting, clock })
    }

    fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }

    fn url(&self, name: &str) -> Result<Url, StorageError> {
        self.root.join(&self.key(name)).map_err(|error| StorageError::lasting(error.to_string()))
    }

    async fn request(
        &self,
        method: Method,
        url: Url,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Response, StorageError> {
        let signed = self.signer.headers(method.as_str(), &url, headers, &body).await;
        let signed = signed.map_err(|error| StorageError::silent(error.to_string()))?;
        let mut request = self.http.request(method, url).headers(signed).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = self.clock.mark();
        let answer = request.send().await.map_err(|error| {
            // A refused connection counts as a response.
            let refused = error.is_connect() && !error.is_timeout() && is_refused(&error);
            let problem = format!("cannot reach the bucket {}: {}", self.bucket, causes(&error.without_url()));
            if refused { StorageError::answered(problem) } else { StorageError::silent(problem) }
        })?;
        // Corrects a wrong local clock, so that the next request is signed with the right time.
        if let Some(date) = answer.headers().get("date").and_then(|date| date.to_str().ok()).and_then(date_of) {
            self.clock.record_date(sent, date);
        }
        Ok(answer)
    }

    /// Reads the body of a response about an object or folder; refuses more than `at_most` bytes.
    async fn whole(&self, answer: Response, name: &str, at_most: usize) -> Result<Vec<u8>, StorageError> {
        let body = Body::read(answer, at_most).await;
        let body = body.map_err(|error| StorageError::silent(causes(&error.without_url())))?;
        if body.is_whole {
            return Ok(body.bytes);
        }
        let (bucket, key) = (&self.bucket, self.key(name));
        Err(StorageError::lasting(format!("the object s3://{bucket}/{key} is larger than {at_most} bytes")))
    }

    /// Reads a list. A response that is none must not pass for an empty one: a new log would be started.
    async fn list_text(&self, answer: Response, folder: &str) -> Result<String, StorageError> {
        let text = self.whole(answer, folder, MAX_LIST_BYTES).await?;
        let text = String::from_utf8_lossy(&text).into_owned();
        if text.contains("<ListBucketResult") {
            return Ok(text);
        }
        let (bucket, host) = (&self.bucket, self.host());
        Err(StorageError::answered(format!(
            "the response to listing the bucket {bucket} is not a list: {host} is no S3 endpoint, or a proxy responded"
        )))
    }

    /// Host and port that requests go to.
    fn host(&self) -> &str {
        &self.root[url::Position::BeforeHost..url::Position::AfterPort]
    }

    async fn failed(&self, answer: Response) -> StorageError {
        let status = answer.status();
        let region =
            answer.headers().get("x-amz-bucket-region").and_then(|region| region.to_str().ok()).map(str::to_owned);
        let text = Body::read(answer, MAX_ERROR).await.map(|body| body.text()).unwrap_or_default();
        let code = element(&text, "Code").unwrap_or_default();
        let (bucket, asked) = (&self.bucket, &self.region);
        let Setting { place, region: setting, rights } = self.setting;
        let wanted = rights.in_words();
        let region = region.or_else(|| element(&text, "Region").map(str::to_owned)).filter(|region| region != asked);
        match code {
            "NoSuchBucket" => {
                StorageError::lasting(format!("the bucket {bucket} does not exist: create it, or correct `{place}`"))
            }
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
                let where_it_is =
                    region.map_or_else(|| "of another region".to_owned(), |region| format!("in {region}"));
                StorageError::lasting(format!(
                    "the bucket {bucket} is {where_it_is}, but the request went to {asked}: set `{setting}`"
                ))
            }
            "AccessDenied" | "AllAccessDisabled" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" => {
                StorageError::lasting(format!("access to the bucket {bucket} is denied ({code}): {wanted}"))
            }
            "ExpiredToken" | "TokenRefreshRequired" => {
                self.signer.forget_credentials().await;
                StorageError::silent(format!("credentials for the bucket {bucket} have expired"))
            }
            "RequestTimeTooSkewed" | "RequestExpired" => {
                StorageError::silent(format!("the clock of this machine is wrong ({code}); the service uses S3's time"))
            }
            "" if status == StatusCode::MOVED_PERMANENTLY || region.is_some() => {
                let where_it_is = region.unwrap_or_else(|| "another region".to_owned());
                StorageError::lasting(format!(
                    "the bucket {bucket} is in {where_it_is}, but the request went to {asked}: set `{setting}`"
                ))
            }
            "" if status == StatusCode::FORBIDDEN => {
                StorageError::lasting(format!("access to the bucket {bucket} is denied (403): {wanted}"))
            }
            // S3 itself always says why.
            "" if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                StorageError::answered(format!(
                    "the bucket {bucket} responded with {status} and no error code of S3: {} is no S3 endpoint, or a \
                     proxy responded",
                    self.host()
                ))
            }
            "" => StorageError::answered(format!("the bucket {bucket} responded with {status}")),
            _ => StorageError::answered(format!("the bucket {bucket} responded with {status} {code}")),
        }
    }
}

impl Storage for Bucket {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let answer = self.request(Method::GET, self.url(name)?, &[], Vec::new()).await?;
        if answer.status().is_success() {
            return self.whole(answer, name, MAX_OBJECT_BYTES).await.map(Some);
        }
        if answer.status() == StatusCode::NOT_FOUND {
            let error = self.failed(answer).await;
            return if error.is_lasting { Err(error) } else { Ok(None) };
        }
        Err(self.failed(answer).await)
    }

    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StorageError> {
        let only_new = [("if-none-match", "*")];
        let answer = self.request(Method::PUT, self.url(name)?, &only_new, bytes).await?;
        match answer.status() {
            status if status.is_success() => Ok(Created::Yes),
            StatusCode::PRECONDITION_FAILED => Ok(Created::Exists),
            StatusCode::CONFLICT => Ok(Created::Conflict),
            _ => Err(self.failed(answer).await),
        }
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        let answer = self.request(Method::PUT, self.url(name)?, &[], bytes).await?;
        if answer.status().is_success() { Ok(()) } else { Err(self.failed(answer).await) }
    }

    async fn list(&self, folder: &str, after: &str) -> Result<Vec<String>, StorageError> {
        let mut url = self.root.clone();
        url.query_pairs_mut()
            .append_pair("list-type", "2")
            .append_pair("encoding-type", "url")
            .append_pair("prefix", &self.key(&format!("{folder}/")));
        if !after.is_empty() {
            url.query_pairs_mut().append_pair("start-after", &self.key(after));
        }
        let answer = self.request(Method::GET, url, &[], Vec::new()).await?;
        if !answer.status().is_success() {
            return Err(self.failed(answer).await);
        }
        let text = self.list_text(answer, folder).await?;
        let prefix = self.key("");
        let names = elements(&text, "Key").filter_map(|key| name_of(key, &prefix));
        Ok(names.collect())
    }

    async fn delete(&self, name: &str) -> Result<(), StorageError> {
        let answer = self.request(Method::DELETE, self.url(name)?, &[], Vec::new()).await?;
        if answer.status().is_success() || answer.status() == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(self.failed(answer).await)
    }
}

/// The object name for a key in a list, without the prefix.
fn name_of(key: &str, prefix: &str) -> Option<String> {
    let key = form_urlencoded::parse(format!("k={key}").as_bytes()).next().map(|(_, key)| key.into_owned())?;
    key.strip_prefix(prefix).map(str::to_owned)
}

/// Raw text of the first element with this name.
fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    elements(text, name).next()
}

/// Raw texts of all elements with this name. The elements used here have no attributes in S3's responses.
fn elements<'t>(text: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&begin)?;
        let (found, after) = after.split_once(&end)?;
        rest = after;
        Some(found)
    })
}

fn is_refused(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let mut kinds = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    kinds.any(|cause| cause.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// Parses an HTTP date.
fn date_of(text: &str) -> Option<Timestamp> {
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(at.timestamp().as_millisecond()))
}
