//! One look at the configured queues, without a service: what a set-up check needs.

use std::collections::BTreeSet;

use tokio::sync::mpsc;

use crate::aws::{self, Poller};
use crate::config::Config;
use trainspotter_clock::Clock;
use trainspotter_core::engine::{Engine, Saved, cadence};
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::{Observation, Questions};

/// Pages of observations that may wait to be taken in.
const OBSERVED: usize = 64;

/// What one look shows.
#[derive(Debug)]
pub struct Look {
    /// The figures of that moment.
    pub frame: Frame,
    /// By how many seconds this machine's clock is ahead of AWS's; `None` if too few answers came to tell.
    pub clock_skew_seconds: Option<f64>,
}

/// Polls every configured queue once.
///
/// # Errors
/// Why AWS could not be asked, or what it refused.
pub async fn look(config: &Config, clock: Clock) -> Result<Look, String> {
    let clock = clock.compared();
    let target = config.targets.first().ok_or("the configuration has no target")?;
    let clients = aws::connect(target, config.poll.calls_per_second, clock)
        .await
        .map_err(|error| format!("connecting to AWS: {error}"))?;
    let mut poller = Poller::new(clients, target.clone(), config.poll, clock);
    let now = clock.now();
    let cadence = cadence(config.poll.reconcile_every, config.poll.every);
    let mut engine = Engine::new(Vec::new(), cadence, Saved::default(), now).priced(config.prices.clone());
    let (out, mut observed) = mpsc::channel(OBSERVED);
    let questions = Questions { since: Some(now), ..Questions::default() };
    let polling = async {
        poller.poll(&questions, &out).await;
        poller.reconcile(&questions, &out).await;
        drop(out);
    };
    let mut failed = BTreeSet::new();
    let mut no_queues = None;
    let taking_in = async {
        while let Some(observations) = observed.recv().await {
            for one in &observations {
                if let Observation::Failed { error, .. } = one {
                    failed.insert(error.clone());
                }
                if let Observation::NoQueues { why } = one {
                    no_queues = Some(why.clone());
                }
            }
            engine.observe(observations);
        }
    };
    tokio::join!(polling, taking_in);
    let problems: Vec<String> = failed.into_iter().chain(no_queues).collect();
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let clock_skew_seconds = clock.comparison().map(|comparison| comparison.skew_seconds);
    engine.service().clock_skew_seconds = clock_skew_seconds;
    Ok(Look { frame: engine.tick(clock.now()).frame, clock_skew_seconds })
}
