//! Polls the configured queues of the first target once, without a running service: for `check --live`.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::aws::{self, ConnectError, Poller};
use crate::config::Config;
use crate::service::NoTarget;
use trainspotter_clock::Clock;
use trainspotter_core::engine::{Engine, Saved, cadence};
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::{Observation, Questions};

/// Maximum queued pages of observations.
const MAX_QUEUED_PAGES: usize = 64;

/// Maximum rounds of describing training jobs outside the queues.
const MAX_ROUNDS: usize = 50;

/// Timeout of one round.
const ROUND_TIMEOUT: Duration = Duration::from_secs(60);

/// Result of a single poll.
#[derive(Debug)]
pub struct LiveCheck {
    /// Frame of the poll.
    pub frame: Frame,
    /// Seconds by which the local clock is ahead of AWS's; `None` with too few responses to tell.
    pub clock_skew_seconds: Option<f64>,
    /// Training jobs outside the queues that were not described. They count for no quota.
    pub undescribed_outside: usize,
}

/// Why the check has no result.
#[derive(Debug, thiserror::Error)]
pub enum LiveCheckError {
    /// The configuration has no target.
    #[error(transparent)]
    NoTarget(#[from] NoTarget),
    /// There is no connection to AWS.
    #[error("connecting to AWS: {0}")]
    Connect(#[from] ConnectError),
    /// Requests that failed or were refused, and missing queues.
    #[error("{}", .0.join("\n"))]
    Problems(Vec<String>),
}

/// Errors collected during the check.
#[derive(Default)]
struct Problems {
    failed: BTreeSet<String>,
    no_queues: Option<String>,
}

impl Problems {
    /// Applies all observations to the engine, and collects errors.
    async fn observe(&mut self, mut observed: mpsc::Receiver<Vec<Observation>>, engine: &mut Engine) {
        while let Some(observations) = observed.recv().await {
            for one in &observations {
                if let Observation::Failed { error, .. } = one {
                    self.failed.insert(error.clone());
                }
                if let Observation::NoQueues { why } = one {
                    self.no_queues = Some(why.clone());
                }
            }
            engine.observe(observations);
        }
    }
}

/// Polls every configured queue once.
///
/// # Errors
/// See [`LiveCheckError`].
pub async fn look(config: &Config, clock: Clock) -> Result<LiveCheck, LiveCheckError> {
    let clock = clock.compared();
    let target = config.targets.first().ok_or(NoTarget)?;
    let clients = aws::connect(target, config.poll.calls_per_second, clock).await?;
    let mut poller = Poller::new(clients, target.clone(), config.poll, clock);
    let now = clock.now();
    let cadence = cadence(config.poll.reconcile_every, config.poll.every);
    let mut engine = Engine::new(Vec::new(), cadence, Saved::default(), now).priced(config.prices.clone());
    let questions = Questions { since: Some(now), ..Questions::default() };
    let mut problems = Problems::default();
    let (out, observed) = mpsc::channel(MAX_QUEUED_PAGES);
    let polling = async {
        poller.poll(&questions, &out).await;
        poller.reconcile(&questions, &out).await;
        drop(out);
    };
    tokio::join!(polling, problems.observe(observed, &mut engine));
    // Jobs outside the queues are complete once all training jobs are described.
    for _ in 0..MAX_ROUNDS {
        let outside = engine.questions(clock.now()).outside;
        if outside.is_empty() || !problems.failed.is_empty() {
            break;
        }
        let questions = Questions { outside, ..Questions::default() };
        let (out, observed) = mpsc::channel(MAX_QUEUED_PAGES);
        let answering = async {
            poller.answer(&questions, clock.now() + ROUND_TIMEOUT, &out).await;
            drop(out);
        };
        tokio::join!(answering, problems.observe(observed, &mut engine));
    }
    let problems: Vec<String> = problems.failed.into_iter().chain(problems.no_queues).collect();
    if !problems.is_empty() {
        return Err(LiveCheckError::Problems(problems));
    }
    let undescribed_outside = engine.undescribed_outside();
    let clock_skew_seconds = clock.comparison().map(|comparison| comparison.skew_seconds);
    engine.service().clock_skew_seconds = clock_skew_seconds;
    Ok(LiveCheck { frame: engine.tick(clock.now()).frame, clock_skew_seconds, undescribed_outside })
}
