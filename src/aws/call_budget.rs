//! The call budget of a target: a rate limiter for AWS calls.
//!
//! AWS does not document the rate limits of the calls used here, so the service keeps to its own. The limiter is a
//! schedule of turns: each caller takes the next free turn and sleeps until then. That is first come, first served
//! without a queue, and costs nothing below the limit.
//!
//! A throttled call halves the rate and a successful call raises it by a fixed step, as in TCP congestion control.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::date_time::Format;

use trainspotter_clock::{Clock, Mark};
use trainspotter_core::model::Timestamp;

/// Burst size after an idle period.
const BURST: f64 = 5.0;
/// Lower bound of the rate under throttling, in calls per second (or the configured rate, if lower): a turn must
/// come within the five minutes that a request's signature is valid.
const MIN_RATE: f64 = 0.1;
/// Further throttles within this time of a slow-down belong to the same burst and are ignored.
const BURST_WINDOW: Duration = Duration::from_secs(1);
/// Number of successful calls that restore the configured rate.
const CALLS_TO_RECOVER: f64 = 64.0;
/// Timer resolution in wall time. Turns missed within it are made up for, so that a fast clock loses none.
const TIMER_RESOLUTION: Duration = Duration::from_millis(2);
/// Wall time limit for a complete response.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Rate limiter for AWS calls, in calls per second of clock time. Clones share it.
#[derive(Clone)]
pub struct Budget {
    clock: Clock,
    began: Mark,
    configured: f64,
    turns: Arc<Mutex<Turns>>,
}

#[derive(Clone, Copy)]
struct Turns {
    /// Current calls per second.
    rate: f64,
    /// Time of the next free turn, in seconds since the budget was created.
    next: f64,
    /// Time of the last slow-down, likewise.
    slowed: f64,
}

impl Budget {
    /// Creates a budget of `calls_per_second`, which must be positive.
    pub fn new(calls_per_second: f64, clock: Clock) -> Self {
        debug_assert!(calls_per_second > 0.0, "calls_per_second {calls_per_second}");
        let turns = Turns { rate: calls_per_second, next: f64::NEG_INFINITY, slowed: f64::NEG_INFINITY };
        Self { clock, began: clock.mark(), configured: calls_per_second, turns: Arc::new(Mutex::new(turns)) }
    }

    /// Waits for a turn, first come, first served. A cancelled caller loses its turn.
    pub async fn turn(&self) {
        let wait = self.take_turn();
        if wait > 0.0 {
            self.clock.sleep(Duration::from_secs_f64(wait)).await;
        }
    }

    /// Records a throttled call: halves the rate, once per burst of throttles.
    pub fn throttled(&self) {
        let now = self.elapsed();
        let mut turns = self.lock();
        if now - turns.slowed < BURST_WINDOW.as_secs_f64() {
            return;
        }
        turns.slowed = now;
        let before = turns.rate;
        turns.rate = (before / 2.0).max(MIN_RATE.min(self.configured));
        turns.next = turns.next.max(now + 1.0 / turns.rate);
        if turns.rate < before {
            tracing::warn!(calls_per_second = turns.rate, "AWS throttles requests; reduced the call rate");
        }
    }

    /// Records a successful call: raises the rate a step towards the configured rate.
    pub fn answered(&self) {
        let mut turns = self.lock();
        turns.rate = (turns.rate + self.configured / CALLS_TO_RECOVER).min(self.configured);
    }

    /// Current calls per second.
    pub fn rate(&self) -> f64 {
        self.lock().rate
    }

    /// Wraps an HTTP client: every request, retries included, waits for its turn. The wait counts towards no
    /// timeout.
    pub(crate) fn guard(&self, inner: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(GuardedClient { inner, budget: self.clone(), compares: false })
    }

    /// As [`Budget::guard`], and compares the clock with the `Date` of each response.
    pub(crate) fn guard_and_compare(&self, inner: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(GuardedClient { inner, budget: self.clone(), compares: true })
    }

    /// Takes the next free turn. Returns the seconds until then.
    fn take_turn(&self) -> f64 {
        let now = self.elapsed();
        let mut turns = self.lock();
        let interval = 1.0 / turns.rate;
        let resolution = self.clock.of_wall(TIMER_RESOLUTION).as_secs_f64();
        let saved_up = ((BURST - 1.0) * interval).max(resolution);
        let turn = turns.next.max(now - saved_up);
        turns.next = turn + interval;
        turn - now
    }

    fn elapsed(&self) -> f64 {
        self.clock.since(self.began).as_secs_f64()
    }

    /// A poisoned lock is fine: the turns are plain numbers, valid after any panic.
    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("configured", &self.configured).field("rate", &self.rate()).finish()
    }
}

#[derive(Debug)]
struct GuardedClient {
    inner: SharedHttpClient,
    budget: Budget,
    compares: bool,
}

impl HttpClient for GuardedClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(GuardedConnector { inner, budget: self.budget.clone(), compares: self.compares })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

#[derive(Debug)]
struct GuardedConnector {
    inner: SharedHttpConnector,
    budget: Budget,
    compares: bool,
}

impl HttpConnector for GuardedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, budget, compares) = (self.inner.clone(), self.budget.clone(), self.compares);
        HttpConnectorFuture::new(async move {
            budget.turn().await;
            let sent = budget.clock.mark();
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer(&inner, request));
            let late = || format!("no complete response within {} s", ANSWER_TIMEOUT.as_secs());
            let answer = answer.await.unwrap_or_else(|_| Err(ConnectorError::timeout(late().into())));
            if let Some(date) = answer.as_ref().ok().filter(|_| compares).and_then(date_of) {
                budget.clock.record_date(sent, date);
            }
            answer
        })
    }
}

/// The `Date` of a response.
fn date_of(answer: &HttpResponse) -> Option<Timestamp> {
    let date = DateTime::from_str(answer.headers().get("date")?, Format::HttpDate).ok()?;
    Some(Timestamp::from_millis(date.to_millis().ok()?))
}

/// Sends a request and reads the whole response within a timeout: the SDK's timeouts end at the first byte, so a
/// stalled body would block forever. No operation used here streams.
async fn answer(connector: &SharedHttpConnector, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let mut response = connector.call(request).await?;
    let body = std::mem::replace(response.body_mut(), SdkBody::taken());
    let whole = ByteStream::new(body).collect().await.map_err(|error| ConnectorError::io(error.into()))?;
    *response.body_mut() = SdkBody::from(whole.into_bytes());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{FuturesUnordered, StreamExt};

    use super::*;

    async fn turns(budget: &Budget, clock: Clock, count: usize) -> f64 {
        let began = clock.now();
        for _ in 0..count {
            budget.turn().await;
        }
        clock.now().seconds_since(began)
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_small_burst_the_rate_is_held() {
        let clock = Clock::real();
        let budget = Budget::new(5.0, clock);
        assert_eq!(turns(&budget, clock, 5).await, 0.0);
        let spent = turns(&budget, clock, 50).await;
        assert!((10.0..10.1).contains(&spent), "{spent} s for 50 turns at 5 per second");
        clock.sleep(Duration::from_secs(3600)).await;
        assert_eq!(turns(&budget, clock, 5).await, 0.0);
        assert!(turns(&budget, clock, 1).await > 0.19, "a long pause must not save up more than the burst");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_that_is_as_low_as_it_gets_is_not_reported_as_reduced() {
        crate::log_capture::keep_lines_enabled();
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = std::sync::Arc::new(file.reopen().unwrap());
        let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let clock = Clock::real();
        let budget = Budget::new(8.0 * MIN_RATE, clock);
        for _ in 0..20 {
            budget.throttled();
            clock.sleep(BURST_WINDOW).await;
        }
        assert!((budget.rate() - MIN_RATE).abs() < 1e-9);
        let logged = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(logged.matches("reduced the call rate").count(), 3, "{logged}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_clock_gets_its_full_rate() {
        for speed in [1.0, 600.0, 10_000.0] {
            let clock = Clock::fast(speed);
            let budget = Budget::new(10.0, clock);
            let spent = turns(&budget, clock, 10_000).await;
            assert!((970.0..1020.0).contains(&spent), "{spent} s for 10 000 turns at 10 per second, speed {speed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_without_end_costs_nothing() {
        let clock = Clock::real();
        let budget = Budget::new(1e9, clock);
        assert_eq!(turns(&budget, clock, 10_000).await, 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_first_is_served_first_across_clones() {
        let budget = Budget::new(2.0, Clock::real());
        let mut waiting: FuturesUnordered<_> = (0..20)
            .map(|caller| {
                let budget = budget.clone();
                async move {
                    budget.turn().await;
                    caller
                }
            })
            .collect();
        let mut served = Vec::new();
        while let Some(caller) = waiting.next().await {
            served.push(caller);
        }
        assert_eq!(served, (0..20).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_throttles_halves_the_rate_once_and_answers_restore_it() {
        let clock = Clock::real();
        let budget = Budget::new(8.0, clock);
        for _ in 0..8 {
            budget.throttled();
        }
        assert_eq!(budget.rate(), 4.0);
        assert!(turns(&budget, clock, 1).await > 0.24, "no burst right after a throttle");
        clock.sleep(Duration::from_secs(2)).await;
        budget.throttled();
        assert_eq!(budget.rate(), 2.0);
        for _ in 0..24 {
            budget.answered();
        }
        assert_eq!(budget.rate(), 5.0);
        for _ in 0..1000 {
            budget.answered();
        }
        assert_eq!(budget.rate(), 8.0);
    }

    #[tokio::test(start_paused = true)]
    async fn throttles_without_end_slow_but_never_stop() {
        let clock = Clock::real();
        for (configured, slowest) in [(5.0, 0.1), (0.02, 0.02)] {
            let budget = Budget::new(configured, clock);
            for _ in 0..50 {
                clock.sleep(Duration::from_secs(2)).await;
                budget.throttled();
            }
            assert_eq!(budget.rate(), slowest);
        }
    }

    /// Never responds.
    #[derive(Debug)]
    struct Silent;

    impl HttpConnector for Silent {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            HttpConnectorFuture::new(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_to_answer_begins_with_the_turn() {
        let clock = Clock::real();
        let budget = Budget::new(0.01, clock);
        let connector =
            GuardedConnector { inner: SharedHttpConnector::new(Silent), budget: budget.clone(), compares: false };
        for _ in 0..5 {
            budget.turn().await;
        }
        let began = clock.now();
        let error = connector.call(HttpRequest::get("http://127.0.0.1").unwrap()).await.unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        let spent = clock.now().seconds_since(began);
        assert!((129.9..130.1).contains(&spent), "{spent} s: 100 for the turn, 30 for the answer");
    }
}
