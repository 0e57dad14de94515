//! Looks at the configuration file while the service runs: its targets are taken in, everything else waits for a restart.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::inputs;
use crate::config::{Config, Target};

/// Wall time between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The targets of a configuration whenever they change, until `stop`. A text counts when two looks in a row see it, so that a file that is
/// being written changes nothing; one with a mistake anywhere changes nothing either.
pub(super) fn targets(
    name: String,
    text: String,
    config: &Config,
    stop: CancellationToken,
) -> mpsc::Receiver<Vec<Target>> {
    let (changes, changed) = mpsc::channel(1);
    let known = Known { text, config: config.clone() };
    tokio::spawn(async move {
        let looking = look(name, known, changes);
        tokio::select! {
            () = stop.cancelled() => {}
            () = looking => {}
        }
    });
    changed
}

/// What was read last without a mistake.
struct Known {
    text: String,
    config: Config,
}

async fn look(name: String, mut known: Known, changes: mpsc::Sender<Vec<Target>>) {
    let mut seen = known.text.clone();
    let mut refused = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let of_file = name.clone();
        let Ok(text) = tokio::task::spawn_blocking(move || inputs::text(&of_file)).await else { return };
        // What cannot be read now may be on its way.
        let Ok(text) = text else { continue };
        let is_settled = std::mem::replace(&mut seen, text.clone()) == text;
        if !is_settled || text == known.text || refused.as_ref() == Some(&text) {
            continue;
        }
        let config = match inputs::Source::load(&name) {
            Ok(source) => source.config,
            Err(mistakes) => {
                tracing::error!("the configuration has mistakes; what it said before stays\n{}", mistakes.text());
                refused = Some(text);
                continue;
            }
        };
        if (Config { targets: Vec::new(), ..config.clone() })
            != (Config { targets: Vec::new(), ..known.config.clone() })
        {
            tracing::warn!("the configuration has changed beside its targets; that is taken in by a restart");
        }
        let is_changed = config.targets != known.config.targets;
        known = Known { text, config };
        if is_changed {
            tracing::info!(targets = known.config.targets.len(), "the targets have changed, and are taken in");
            if changes.send(known.config.targets.clone()).await.is_err() {
                return;
            }
        }
    }
}
