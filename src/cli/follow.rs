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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    struct Followed {
        _folder: tempfile::TempDir,
        file: PathBuf,
        changed: mpsc::Receiver<Vec<Target>>,
        stop: CancellationToken,
    }

    fn write(file: &Path, regions: &[&str], more: &str) {
        let targets: String = regions.iter().map(|region| format!("  - region: {region}\n")).collect();
        std::fs::write(file, format!("targets:\n{targets}{more}")).unwrap();
    }

    impl Followed {
        async fn begin() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("trainspotter.yaml");
            write(&file, &["us-east-1"], "");
            let name = file.to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&file).unwrap();
            let config = inputs::Source::load(&name).map_err(|mistakes| mistakes.text().to_string()).unwrap().config;
            let stop = CancellationToken::new();
            let changed = targets(name, text, &config, stop.clone());
            // Between two looks.
            tokio::time::sleep(LOOK_EVERY / 2).await;
            Self { _folder: folder, file, changed, stop }
        }

        /// What comes within so many looks.
        async fn within(&mut self, looks: u32) -> Option<Vec<String>> {
            let changed = tokio::time::timeout(LOOK_EVERY * looks, self.changed.recv()).await;
            Some(changed.ok()??.into_iter().map(|target| target.region).collect())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn targets_are_taken_in_once_two_looks_see_the_same_text() {
        let mut followed = Followed::begin().await;
        assert_eq!(followed.within(3).await, None, "nothing has changed");
        write(&followed.file, &["us-east-1", "eu-west-1"], "");
        assert_eq!(followed.within(1).await, None, "it may still be written");
        assert_eq!(followed.within(1).await, Some(vec!["us-east-1".to_owned(), "eu-west-1".to_owned()]));
        assert_eq!(followed.within(3).await, None, "once");
        followed.stop.cancel();
        assert_eq!(followed.changed.recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mistake_a_missing_file_or_another_setting_changes_no_target() {
        let mut followed = Followed::begin().await;
        write(&followed.file, &["us-east-1", "nowhere"], "");
        assert_eq!(followed.within(3).await, None);
        std::fs::remove_file(&followed.file).unwrap();
        assert_eq!(followed.within(3).await, None);
        write(&followed.file, &["us-east-1"], "poll: { every: 45s }\n");
        assert_eq!(followed.within(3).await, None);
        write(&followed.file, &["eu-west-1"], "poll: { every: 45s }\n");
        assert_eq!(followed.within(3).await, Some(vec!["eu-west-1".to_owned()]));
    }
}
