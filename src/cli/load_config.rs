//! Reads the files of commands: configuration and rules.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cli::Failure;
use crate::cli::config_text::ConfigText;
use crate::config::{self, Config, ObjectPlace};
use crate::notify::routing_check;
use crate::service::{self, RuleSources};
use trainspotter_clock::Clock;
use trainspotter_core::rules::Rule;
use trainspotter_core::rules::rule_tests::{RuleTests, parse_rule_tests};

/// A configuration with its text.
pub(super) struct Source {
    /// Name shown in errors.
    pub(super) name: String,
    /// The text.
    pub(super) text: String,
    /// The parsed configuration.
    pub(super) config: Config,
}

impl Source {
    /// Reads and validates a configuration: a file, `env:NAME` for an environment variable with its text, or
    /// `s3://bucket/object`.
    pub(super) async fn load(name: &str) -> Result<Self, Failure> {
        let mut found = ConfigText::of(name).await?;
        let text = found.first().await?;
        Self::checked(name, text, &found.folder())
    }

    /// Validates the text of a configuration; relative paths start at `folder`.
    pub(super) fn checked(name: &str, text: String, folder: &Path) -> Result<Self, Failure> {
        let config = config::load(name, &text, folder, &variable).map_err(Failure::usage)?;
        Ok(Self { name: name.to_owned(), text, config })
    }

    /// Loads its rules, and checks that the matchers of the configuration can match their alerts.
    pub(super) async fn rules(&self) -> Result<Vec<Rule>, Failure> {
        let mut sources = RuleSources::of(&self.config, Clock::real());
        let missing = sources.problems().await.into_iter();
        self.refuse(missing.map(|(index, problem)| (format!("rules[{index}]"), problem.to_string())).collect())?;
        let rules = sources.load().await.map_err(Failure::usage)?;
        self.refuse(routing_check::problems(&self.config, &rules))?;
        Ok(rules)
    }

    /// Refuses local folders that can never be created, because something else is in their path.
    pub(super) fn check_folders(&self) -> Result<(), Failure> {
        let found = self.places().filter_map(|(at, place)| Some((at.to_owned(), folder_problem(place)?)));
        self.refuse(found.collect())
    }

    /// Configured object locations, with their keys.
    fn places(&self) -> impl Iterator<Item = (&'static str, &ObjectPlace)> {
        let archive = self.config.archive.iter().map(|archive| ("archive", &archive.place));
        archive.chain(self.config.replication.iter().map(|replication| ("store.log", &replication.log)))
    }

    /// Problems specific to this machine. They are warnings, since the service runs without.
    pub(super) fn warnings(&self) -> Option<String> {
        let store = store_problem(&self.config.store).map(|message| ("store".to_owned(), message));
        let of_places = self.places().filter_map(|(at, place)| Some((at.to_owned(), unwritable(place)?)));
        let problems = config::problems(&self.name, &self.text, store.into_iter().chain(of_places).collect())?;
        Some(problems.as_warnings().to_string())
    }

    fn refuse(&self, found: Vec<(String, String)>) -> Result<(), Failure> {
        config::problems(&self.name, &self.text, found).map_or(Ok(()), |problems| Err(Failure::usage(problems)))
    }
}

/// Checks that a file given by an option can be a state file.
///
/// # Errors
/// It does not exist, or is not a state file.
pub(super) fn check_state_file(option: &str, file: &Path) -> Result<(), Failure> {
    let shown = file.display();
    let usage = |why: &str| Err(Failure::usage(format!("{option}: {shown} {why}")));
    match std::fs::metadata(file) {
        Err(error) => Err(Failure::usage(format!("{option}: cannot read {shown}: {error}"))),
        Ok(found) if !found.is_file() => usage("is not a file"),
        Ok(found) if found.len() == 0 => usage("is empty: no service has used it"),
        Ok(_) if is_foreign(file) => usage("is not a state file of the service"),
        Ok(_) => Ok(()),
    }
}

/// Why a local folder cannot be created: something else is in its path.
fn folder_problem(place: &ObjectPlace) -> Option<String> {
    let ObjectPlace::Folder(folder) = place else { return None };
    let there = folder.ancestors().find(|path| path.symlink_metadata().is_ok())?;
    let is_folder = std::fs::metadata(there).is_ok_and(|found| found.is_dir());
    (!is_folder).then(|| format!("{} is not a folder", there.display()))
}

/// Why an existing folder is not writable.
fn unwritable(place: &ObjectPlace) -> Option<String> {
    let ObjectPlace::Folder(folder) = place else { return None };
    // A missing folder will be created in its nearest existing ancestor.
    let there = folder.ancestors().find(|path| path.is_dir())?;
    probe(there).map(|error| format!("cannot write to {} on this machine: {error}", there.display()))
}

/// Why a folder can neither be used nor created.
pub(super) fn unusable_folder(folder: &Path) -> Option<String> {
    let place = ObjectPlace::Folder(folder.to_owned());
    folder_problem(&place).or_else(|| unwritable(&place))
}

/// Creates and removes a file in a folder.
fn probe(folder: &Path) -> Option<std::io::Error> {
    let probe = folder.join(format!(".trainspotter-check-{}", std::process::id()));
    let written = std::fs::File::create_new(&probe);
    let _ = std::fs::remove_file(&probe);
    written.err()
}

/// Why the state file cannot be stored on this machine, if so.
fn store_problem(store: &Path) -> Option<String> {
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shown = folder.display();
    match std::fs::metadata(folder) {
        Err(error) => return Some(format!("cannot use the folder {shown} on this machine: {error}")),
        Ok(found) if !found.is_dir() => return Some(format!("{shown} is not a folder on this machine")),
        Ok(_) => {}
    }
    if store.exists() && !store.is_file() {
        return Some(format!("{} is not a file on this machine", store.display()));
    }
    if is_foreign(store) {
        return Some(format!("{} on this machine is not a state file", store.display()));
    }
    probe(folder).map(|error| format!("cannot write to {shown} on this machine: {error}"))
}

/// Whether the file exists and was not written by this program, by its header.
fn is_foreign(store: &Path) -> bool {
    let mut header = Vec::new();
    let read = std::fs::File::open(store).and_then(|file| file.take(100).read_to_end(&mut header));
    // SQLite's application id; for a while it may be in the write-ahead log only.
    let owner = header.get(68..72).unwrap_or_default();
    let may_be_ours = header.starts_with(b"SQLite format 3\0") && (owner == b"TSPT" || owner == [0; 4]);
    read.is_ok() && !header.is_empty() && !may_be_ours
}

/// Reads and validates a configuration without its rules.
pub(super) async fn load_config(source: &str) -> Result<Config, Failure> {
    Ok(Source::load(source).await?.config)
}

/// The listen address in a configuration.
pub(super) async fn listen_of(source: &str) -> Result<std::net::SocketAddr, Failure> {
    let text = ConfigText::of(source).await?.first().await?;
    config::listen_of(source, &text, &variable).map_err(Failure::usage)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads and validates the rule files of a list of files and folders; rule names must be unique across files.
pub(super) fn load_rules(paths: &[PathBuf]) -> Result<Vec<Rule>, Failure> {
    service::load_rules(paths).map_err(Failure::usage)
}

/// Reads and validates rule test files (in folders those named `*.test.yaml`), each with the rules it tests.
pub(super) fn load_rule_tests(paths: &[PathBuf]) -> Result<Vec<(PathBuf, RuleTests, Vec<Rule>)>, Failure> {
    let mut loaded = Vec::new();
    for file in service::files_of(paths, service::is_test_file).map_err(Failure::usage)? {
        let text = service::read_file(&file).map_err(Failure::usage)?;
        let rule_tests_file = parse_rule_tests(&file.display().to_string(), &text);
        let rule_tests_file = rule_tests_file.map_err(|problems| Failure::Usage(problems.to_string()))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let rules: Vec<PathBuf> = rule_tests_file.rules.iter().map(|rules| folder.join(rules)).collect();
        let rules = load_rules(&rules)?;
        loaded.push((file, rule_tests_file, rules));
    }
    Ok(loaded)
}
