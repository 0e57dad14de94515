//! Renews credentials as soon as AWS reports them expired, not only at their expiry time: a session can be revoked,
//! and credentials that were valid when a request was signed may have expired when it arrives.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{FinalizerInterceptorContextRef, InterceptorContext};
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use tokio::sync::Mutex;

use trainspotter_clock::Clock;

/// Wall time limit to load credentials.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Credentials are renewed this long before they expire, in clock time.
const RENEWED_BEFORE: Duration = Duration::from_secs(60);

/// Bytes of a response that are searched for the error code.
const MAX_SEARCHED: usize = 4_096;

/// Error codes for expired credentials.
const EXPIRED_CODES: [&str; 3] = ["ExpiredToken", "RequestExpired", "TokenRefreshRequired"];

/// Caches the credentials of a provider until they expire or are [forgotten](CachedCredentials::forget). Clones share the
/// cache.
#[derive(Clone, Debug)]
pub(super) struct CachedCredentials {
    provider: SharedCredentialsProvider,
    clock: Clock,
    known: Arc<Mutex<Option<Credentials>>>,
}

impl CachedCredentials {
    pub(super) fn new(provider: SharedCredentialsProvider, clock: Clock) -> Self {
        Self { provider, clock, known: Arc::default() }
    }

    async fn current(&self) -> Result<Credentials, CredentialsError> {
        let mut known = self.known.lock().await;
        let now = TimeSource::now(&self.clock);
        let is_fresh =
            |credentials: &&Credentials| credentials.expiry().is_none_or(|expiry| now + RENEWED_BEFORE < expiry);
        if let Some(credentials) = known.as_ref().filter(is_fresh) {
            return Ok(credentials.clone());
        }
        let found = tokio::time::timeout(TIMEOUT, self.provider.provide_credentials()).await;
        let found = found.map_err(|_| CredentialsError::provider_timed_out(TIMEOUT)).flatten();
        // If renewal fails, use the cached credentials until they expire.
        let is_of_use = |credentials: &&Credentials| credentials.expiry().is_none_or(|expiry| now < expiry);
        if let (Err(_), Some(credentials)) = (&found, known.as_ref().filter(is_of_use)) {
            return Ok(credentials.clone());
        }
        let found = found?;
        *known = Some(found.clone());
        Ok(found)
    }

    /// Clears the cache. Does nothing while a renewal is in progress.
    fn forget(&self) {
        if let Ok(mut known) = self.known.try_lock() {
            *known = None;
        }
    }
}

impl ProvideCredentials for CachedCredentials {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(self.current())
    }
}

/// Clears credentials that AWS reports as expired, and marks the attempt as retryable.
#[derive(Clone, Debug)]
pub(super) struct RenewExpired(pub(super) Option<CachedCredentials>);

impl Intercept for RenewExpired {
    fn name(&self) -> &'static str {
        "RenewExpired"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(renewed) = self.0.as_ref().filter(|_| are_too_old(context.inner())) {
            renewed.forget();
        }
        Ok(())
    }
}

impl ClassifyRetry for RenewExpired {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        if are_too_old(context) { RetryAction::transient_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "RenewExpired"
    }
}

fn are_too_old(context: &InterceptorContext) -> bool {
    let Some(response) = context.response().filter(|response| matches!(response.status().as_u16(), 400 | 401 | 403))
    else {
        return false;
    };
    let is_one = |text: &str| EXPIRED_CODES.iter().any(|code| text.contains(code));
    let header = response.headers().get("x-amzn-errortype");
    let body = response.body().bytes().unwrap_or_default();
    header.is_some_and(is_one) || is_one(&String::from_utf8_lossy(body.get(..MAX_SEARCHED).unwrap_or(body)))
}
