//! One look at the configured queues, without a service: what a set-up check needs.

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

/// Pages of observations that may wait to be taken in.
const OBSERVED: usize = 64;

/// Rounds in which training jobs outside of the queues are described, at most.
const MAX_ROUNDS: usize = 50;

/// How long one round may take.
const ANSWERING: Duration = Duration::from_secs(60);

/// What one look shows.
#[derive(Debug)]
pub struct Look {
    /// The figures of that moment.
    pub frame: Frame,
    /// By how many seconds this machine's clock is ahead of AWS's; `None` if too few answers came to tell.
    pub clock_skew_seconds: Option<f64>,
}

/// Why a look shows nothing.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Nothing is watched.
    #[error(transparent)]
    NoTarget(#[from] NoTarget),
    /// AWS cannot be asked at all.
    #[error("connecting to AWS: {0}")]
    Connect(#[from] ConnectError),
    /// Questions that AWS did not answer, or refused, and that there is no queue to watch.
    #[error("{}", .0.join("\n"))]
    Problems(Vec<String>),
}

/// What went wrong on the way.
#[derive(Default)]
struct Problems {
    failed: BTreeSet<String>,
    no_queues: Option<String>,
}

impl Problems {
    /// Hands on what is observed, to the end, and keeps what went wrong.
    async fn take_in(&mut self, mut observed: mpsc::Receiver<Vec<Observation>>, engine: &mut Engine) {
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
/// See [`LookError`].
pub async fn look(config: &Config, clock: Clock) -> Result<Look, LookError> {
    let clock = clock.compared();
    let target = config.targets.first().ok_or(NoTarget)?;
    let clients = aws::connect(target, config.poll.calls_per_second, clock).await?;
    let mut poller = Poller::new(clients, target.clone(), config.poll, clock);
    let now = clock.now();
    let cadence = cadence(config.poll.reconcile_every, config.poll.every);
    let mut engine = Engine::new(Vec::new(), cadence, Saved::default(), now).priced(config.prices.clone());
    let questions = Questions { since: Some(now), ..Questions::default() };
    let mut problems = Problems::default();
    let (out, observed) = mpsc::channel(OBSERVED);
    let polling = async {
        poller.poll(&questions, &out).await;
        poller.reconcile(&questions, &out).await;
        drop(out);
    };
    tokio::join!(polling, problems.take_in(observed, &mut engine));
    // What runs outside of the queues is known when all of it is described.
    for _ in 0..MAX_ROUNDS {
        let outside = engine.questions(clock.now()).outside;
        if outside.is_empty() || !problems.failed.is_empty() {
            break;
        }
        let questions = Questions { outside, ..Questions::default() };
        let (out, observed) = mpsc::channel(OBSERVED);
        let answering = async {
            poller.answer(&questions, clock.now() + ANSWERING, &out).await;
            drop(out);
        };
        tokio::join!(answering, problems.take_in(observed, &mut engine));
    }
    let problems: Vec<String> = problems.failed.into_iter().chain(problems.no_queues).collect();
    if !problems.is_empty() {
        return Err(LookError::Problems(problems));
    }
    let clock_skew_seconds = clock.comparison().map(|comparison| comparison.skew_seconds);
    engine.service().clock_skew_seconds = clock_skew_seconds;
    Ok(Look { frame: engine.tick(clock.now()).frame, clock_skew_seconds })
}
