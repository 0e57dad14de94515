//! Files that commands read: configuration and rules.

use std::path::{Path, PathBuf};

use crate::cli::Failure;
use crate::config::{self, Config};
use crate::service;
use trainspotter_core::rules::Rule;
use trainspotter_core::rules::rule_tests::{Rehearsals, parse_rehearsals};

/// Configuration from the environment: `--config env:NAME`, for containers without a file.
const FROM_ENVIRONMENT: &str = "env:";

/// Reads and checks a configuration: a file, or `env:NAME` for an environment variable that holds its text.
pub(super) fn load_config(source: &str) -> Result<Config, Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    let (text, folder) = match source.strip_prefix(FROM_ENVIRONMENT) {
        Some(name) => {
            let unset = || Failure::usage(format!("the environment variable {name} is not set"));
            (environment(name).ok_or_else(unset)?, PathBuf::from("."))
        }
        None => (read(Path::new(source))?, Path::new(source).parent().unwrap_or(Path::new(".")).to_path_buf()),
    };
    config::load(source, &text, &folder, &environment).map_err(Failure::usage)
}

/// Reads and checks every rule file of a list of files and folders; names are unique over all of them.
pub(super) fn load_rules(paths: &[PathBuf]) -> Result<Vec<Rule>, Failure> {
    service::load_rules(paths).map_err(Failure::Usage)
}

/// Reads and checks files of rule tests (of folders the `*.test.yaml` in them), each with the rules that it is about.
pub(super) fn load_rehearsals(paths: &[PathBuf]) -> Result<Vec<(PathBuf, Rehearsals, Vec<Rule>)>, Failure> {
    let mut loaded = Vec::new();
    for file in service::files_of(paths, |name| name.ends_with(".test.yaml")).map_err(Failure::Usage)? {
        let rehearsals = parse_rehearsals(&file.display().to_string(), &read(&file)?);
        let rehearsals = rehearsals.map_err(|problems| Failure::Usage(problems.to_string()))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let rules: Vec<PathBuf> = rehearsals.rules.iter().map(|rules| folder.join(rules)).collect();
        let rules = load_rules(&rules)?;
        loaded.push((file, rehearsals, rules));
    }
    Ok(loaded)
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| cannot_read(path, &error))
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot read {}: {error}", path.display()))
}
