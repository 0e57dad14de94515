//! Renews credentials as soon as AWS reports them expired, not only at their expiry time: a session can be revoked,
//! and credentials that were valid when a request was signed may have expired when it arrives.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

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

use crate::aws::failure::causes;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;

/// Wall time limit to load credentials.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Credentials are renewed this long before they expire, in clock time.
const RENEWED_BEFORE: Duration = Duration::from_secs(60);

/// Pause after a failed renewal, in clock time, while the credentials are still valid: a call does not wait for an
/// endpoint that gives none.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

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
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    credentials: Option<Credentials>,
    /// Since the last renewal that succeeded, the last one that failed.
    renewal_failed_at: Option<SystemTime>,
}

impl Known {
    /// The credentials, if they are valid at this time.
    fn valid_at(&self, at: SystemTime) -> Option<&Credentials> {
        self.credentials.as_ref().filter(|credentials| credentials.expiry().is_none_or(|expiry| at < expiry))
    }

    /// The credentials, unless they should be renewed now.
    fn in_use(&self, now: SystemTime) -> Option<&Credentials> {
        let pauses = |failed_at: SystemTime| now.duration_since(failed_at).is_ok_and(|passed| passed < RENEWAL_PAUSE);
        let renew_before = if self.renewal_failed_at.is_some_and(pauses) { Duration::ZERO } else { RENEWED_BEFORE };
        self.valid_at(now + renew_before)
    }
}

impl CachedCredentials {
    pub(super) fn new(provider: SharedCredentialsProvider, clock: Clock) -> Self {
        Self { provider, clock, known: Arc::default() }
    }

    async fn current(&self) -> Result<Credentials, CredentialsError> {
        let mut known = self.known.lock().await;
        if let Some(credentials) = known.in_use(TimeSource::now(&self.clock)) {
            return Ok(credentials.clone());
        }
        let found = tokio::time::timeout(TIMEOUT, self.provider.provide_credentials()).await;
        let found = found.map_err(|_| CredentialsError::provider_timed_out(TIMEOUT)).flatten();
        // If renewal fails, use the cached credentials until they expire. The attempt may have taken long.
        let now = TimeSource::now(&self.clock);
        if let (Err(error), Some(credentials)) = (&found, known.valid_at(now).cloned()) {
            if known.renewal_failed_at.replace(now).is_none() {
                tracing::warn!(
                    error = causes(error),
                    until = credentials.expiry().map(in_words),
                    "cannot renew the credentials; the present ones are used until they expire"
                );
            }
            return Ok(credentials);
        }
        let found = found?;
        *known = Known { credentials: Some(found.clone()), renewal_failed_at: None };
        Ok(found)
    }

    /// Clears the cache. Does nothing while a renewal is in progress.
    fn forget(&self) {
        if let Ok(mut known) = self.known.try_lock() {
            known.credentials = None;
        }
    }
}

fn in_words(at: SystemTime) -> String {
    let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_secs_f64(since_epoch.as_secs_f64()).to_string()
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::log_capture;

    /// An STS that gives a session of 15 minutes, and then refuses.
    #[derive(Debug)]
    struct Refusing {
        first: Credentials,
        asked: Arc<AtomicUsize>,
    }

    impl ProvideCredentials for Refusing {
        fn provide_credentials<'a>(&'a self) -> Provided<'a>
        where
            Self: 'a,
        {
            let is_first = self.asked.fetch_add(1, Ordering::Relaxed) == 0;
            Provided::ready(if is_first {
                Ok(self.first.clone())
            } else {
                Err(CredentialsError::provider_error("AccessDenied: not authorized to perform: sts:AssumeRole"))
            })
        }
    }

    /// An STS that gives a session of half a minute, and then never answers.
    #[derive(Debug)]
    struct Silent(Credentials, Arc<AtomicUsize>);

    impl ProvideCredentials for Silent {
        fn provide_credentials<'a>(&'a self) -> Provided<'a>
        where
            Self: 'a,
        {
            let is_first = self.1.fetch_add(1, Ordering::Relaxed) == 0;
            Provided::new(async move { if is_first { Ok(self.0.clone()) } else { std::future::pending().await } })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_never_answers_delays_few_calls_and_expired_credentials_are_not_used() {
        let clock = Clock::real();
        let expiry = TimeSource::now(&clock) + Duration::from_secs(30);
        let first = Credentials::new("id", "key", None, Some(expiry), "test");
        let asked = Arc::<AtomicUsize>::default();
        let provider = SharedCredentialsProvider::new(Silent(first, Arc::clone(&asked)));
        let cached = CachedCredentials::new(provider, clock);
        let began = tokio::time::Instant::now();
        assert!(cached.current().await.is_ok());
        // It takes 15 seconds to notice; meanwhile and for ten seconds more, calls share what is known.
        for _ in 0..100 {
            assert!(cached.current().await.is_ok());
        }
        assert_eq!((began.elapsed(), asked.load(Ordering::Relaxed)), (TIMEOUT, 2));
        // The next attempt ends after the session has expired.
        tokio::time::advance(RENEWAL_PAUSE).await;
        assert!(cached.current().await.is_err());
    }

    #[test]
    fn a_session_that_cannot_be_renewed_is_used_until_it_ends_and_the_log_says_so_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let mut given = (0, 0);
        let lines = log_capture::lines(|| {
            runtime.block_on(async {
                let clock = Clock::real();
                let expiry = TimeSource::now(&clock) + Duration::from_secs(900);
                let first = Credentials::new("id", "key", None, Some(expiry), "test");
                let asked = Arc::<AtomicUsize>::default();
                let provider = SharedCredentialsProvider::new(Refusing { first, asked: Arc::clone(&asked) });
                let cached = CachedCredentials::new(provider, clock);
                // Ten calls a second: in the last minute it is renewed every ten seconds, and after it by each call.
                for tenth in 0..9_100 {
                    let is_given = cached.current().await.is_ok();
                    assert_eq!(is_given, tenth < 9_000, "after {tenth} tenths of a second");
                    tokio::time::advance(Duration::from_millis(100)).await;
                    given = if is_given { (given.0 + 1, asked.load(Ordering::Relaxed)) } else { given };
                }
            });
        });
        assert_eq!(given, (9_000, 1 + 6));
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert!(line.starts_with("WARN cannot renew the credentials") && line.contains("sts:AssumeRole"), "{line}");
        assert!(line.contains("until=\""), "{line}");
    }
}
