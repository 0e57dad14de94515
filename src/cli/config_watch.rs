//! Watches the configuration while the service runs: changed targets take effect at once, everything else after a
//! restart. If the current text is not in effect, the reason is logged and shown on pages and in `/readyz`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::cli::config_text::ConfigText;
use crate::cli::load_config::Source;
use crate::cli::{Failure, remote_simulator_clock};
use crate::config::{Config, Target};
use crate::service::{ConfigUpdates, summary_line};

/// Wall time between reads of a file.
const READ_INTERVAL: Duration = Duration::from_secs(5);

/// Wall time between reads of an object, each of which costs money. After a change it is read again as soon as a
/// file would be.
const OBJECT_READ_INTERVAL: Duration = Duration::from_secs(30);

/// Watches the configuration until `stop`. A change takes effect once two consecutive reads agree, so that a file
/// in the middle of a write has no effect; neither has an invalid configuration.
pub(super) fn configuration(watch: Watch, stop: CancellationToken) -> ConfigUpdates {
    let ((changes, targets), (says, problem)) = (mpsc::channel(1), watch::channel(None));
    tokio::spawn(async move {
        let looking = look(watch, changes, says);
        tokio::select! {
            () = stop.cancelled() => {}
            () = looking => {}
        }
    });
    ConfigUpdates { targets, problem }
}

async fn look(mut watch: Watch, changes: mpsc::Sender<Vec<Target>>, says: watch::Sender<Option<Arc<str>>>) {
    let mut found = loop {
        match ConfigText::of(&watch.name).await {
            Ok(found) => break found,
            Err(error) => tracing::error!("cannot read the configuration: {}", error.text()),
        }
        tokio::time::sleep(OBJECT_READ_INTERVAL).await;
    };
    watch.folder = found.folder();
    loop {
        let is_dear = found.costs_money() && !watch.is_unsettled();
        tokio::time::sleep(if is_dear { OBJECT_READ_INTERVAL } else { READ_INTERVAL }).await;
        let seen = found.now().await.map_err(|unreadable| unreadable.failure.text().to_owned());
        let targets = watch.look(seen);
        says.send_if_modified(|problem| {
            let before = std::mem::replace(problem, watch.problem.as_deref().map(Arc::from));
            *problem != before
        });
        if let Some(targets) = targets
            && changes.send(targets).await.is_err()
        {
            return;
        }
    }
}

/// State of the watch.
pub(super) struct Watch {
    name: String,
    /// Base folder of relative paths.
    folder: PathBuf,
    /// The running configuration: that of the start, with the current targets.
    running: Config,
    /// The simulator whose clock the service runs on: new targets must be its own.
    simulator: Option<Url>,
    /// Last accepted text, or the error.
    known: Result<String, String>,
    /// Result of the last read.
    seen: Result<String, String>,
    /// Why the current text is not in effect.
    problem: Option<String>,
}

impl Watch {
    /// `text` and `config` are what the service was started with.
    pub(super) fn of(name: String, text: String, config: &Config, simulator: Option<Url>) -> Self {
        let (folder, running) = (PathBuf::from("."), config.clone());
        Self { name, folder, running, simulator, known: Ok(text.clone()), seen: Ok(text), problem: None }
    }

    /// Validates a text as at the start.
    fn checked(&self, text: String) -> Result<Config, Failure> {
        let config = Source::checked(&self.name, text, &self.folder)?.config;
        if let Some(simulator) = &self.simulator {
            remote_simulator_clock::check_targets(simulator, &config.targets)?;
        }
        Ok(config)
    }

    /// Whether the last read differs from the accepted text.
    fn is_unsettled(&self) -> bool {
        self.seen != self.known
    }

    /// Processes a read. Returns the new targets if they changed.
    fn look(&mut self, seen: Result<String, String>) -> Option<Vec<Target>> {
        let before = std::mem::replace(&mut self.seen, seen);
        if self.seen != before || self.seen == self.known {
            return None;
        }
        self.known.clone_from(&self.seen);
        let found = match self.seen.clone() {
            Ok(text) => self.checked(text).map_err(|mistakes| {
                tracing::error!("the configuration has errors; the previous one stays in effect\n{}", mistakes.text());
                let shown = summary_line(mistakes.text());
                format!("it has errors; the previous one stays in effect: {shown}")
            }),
            Err(error) => {
                tracing::error!("cannot read the configuration; the previous one stays in effect: {error}");
                Err(format!("it is unreadable; the previous one stays in effect: {error}"))
            }
        };
        let config = match found {
            Ok(config) => config,
            Err(problem) => {
                self.problem = Some(problem);
                return None;
            }
        };
        let is_only_targets = Config { targets: self.running.targets.clone(), ..config.clone() } == self.running;
        self.problem = (!is_only_targets).then(|| {
            tracing::warn!("the configuration has changes other than targets; they take effect after a restart");
            "it has changes other than targets, which take effect after a restart".to_owned()
        });
        if config.targets == self.running.targets {
            return None;
        }
        tracing::info!(targets = config.targets.len(), "the targets changed; applying the new list");
        self.running.targets.clone_from(&config.targets);
        Some(config.targets)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BEFORE: &str = "targets: [{ region: us-east-1 }]\n";

    fn watch() -> Watch {
        let config = Source::checked("t.yaml", BEFORE.to_owned(), ".".as_ref()).ok().unwrap().config;
        Watch::of("t.yaml".to_owned(), BEFORE.to_owned(), &config, None)
    }

    fn regions(targets: Option<Vec<Target>>) -> Option<Vec<String>> {
        targets.map(|targets| targets.into_iter().map(|target| target.region).collect())
    }

    #[test]
    fn new_targets_apply_once_the_file_is_stable_and_mistakes_change_nothing() {
        let mut watch = watch();
        let mut see = |text: &str| regions(watch.look(Ok(text.to_owned())));
        let two = "targets: [{ region: us-east-1 }, { region: eu-west-1 }]\n";
        assert_eq!(see(BEFORE), None);
        assert_eq!(see("targets: [{ region: us-"), None, "half a file");
        assert_eq!(see(two), None, "it may still be half a file");
        assert_eq!(see(two), Some(vec!["us-east-1".to_owned(), "eu-west-1".to_owned()]));
        assert_eq!(see(two), None, "once");
        let broken = "targets: [{ regoin: us-east-1 }]\n";
        assert_eq!((see(broken), see(broken)), (None, None));
        let problem = watch.problem.clone().unwrap();
        assert!(problem.contains("it has errors") && problem.contains("(t.yaml:1:"), "{problem}");
        assert_eq!((watch.look(Ok(two.to_owned())), watch.look(Ok(two.to_owned()))), (None, None));
        assert_eq!(watch.problem, None, "corrected");
    }

    #[test]
    fn what_needs_a_restart_or_cannot_be_read_is_named_until_it_is_over() {
        let mut watch = watch();
        let more = format!("{BEFORE}poll: {{ every: 1m }}\n");
        assert_eq!((watch.look(Ok(more.clone())), watch.look(Ok(more))), (None, None));
        assert!(watch.problem.as_ref().unwrap().contains("after a restart"), "{:?}", watch.problem);
        let gone = || Err("there is no object s3://b/t.yaml".to_owned());
        assert_eq!((watch.look(gone()), watch.look(gone())), (None, None));
        assert!(watch.problem.as_ref().unwrap().contains("no object"), "{:?}", watch.problem);
        assert_eq!((watch.look(Ok(BEFORE.to_owned())), watch.look(Ok(BEFORE.to_owned()))), (None, None));
        assert_eq!(watch.problem, None);
    }

    #[test]
    fn on_the_clock_of_a_simulator_only_its_own_targets_apply() {
        let of_simulator = "{ region: us-east-1, endpoint: 'http://127.0.0.1:9/' }";
        let mut watch = Watch { simulator: Some("http://127.0.0.1:9".parse().unwrap()), ..watch() };
        let mut see = |more: &str| {
            let text = format!("targets: [{of_simulator}{more}]\n");
            assert_eq!(watch.look(Ok(text.clone())).map(|_| ()), None);
            (regions(watch.look(Ok(text))).map(|regions| regions.len()), watch.problem.clone())
        };
        for other in ["", ", endpoint: 'http://127.0.0.1:10'", ", endpoint: 'https://127.0.0.1:9'"] {
            let (applied, problem) = see(&format!(", {{ region: eu-west-1{other} }}"));
            assert_eq!(applied, None, "{other}");
            let problem = problem.unwrap();
            assert!(problem.contains("eu-west-1") && problem.contains("http://127.0.0.1:9"), "{problem}");
        }
        assert_eq!(see(", { region: eu-west-1, endpoint: 'http://127.0.0.1:9' }"), (Some(2), None));
    }

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
            let config = Source::load(&name).await.map_err(|mistakes| mistakes.text().to_string()).unwrap().config;
            let stop = CancellationToken::new();
            let changed = configuration(Watch::of(name, text, &config, None), stop.clone()).targets;
            // Between two reads.
            tokio::time::sleep(READ_INTERVAL / 2).await;
            Self { _folder: folder, file, changed, stop }
        }

        /// The change within the next `looks` reads, if any.
        async fn within(&mut self, looks: u32) -> Option<Vec<String>> {
            let changed = tokio::time::timeout(READ_INTERVAL * looks, self.changed.recv()).await;
            Some(changed.ok()??.into_iter().map(|target| target.region).collect())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn targets_apply_once_two_reads_return_the_same_text() {
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
