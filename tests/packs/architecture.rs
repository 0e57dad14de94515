//! Enforces the module graph in `src/lib.rs`: which module may use which, and what pure modules must not use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::read_sources::{File, code_of, files, root};
use trainspotter_core::metrics::{catalogue, single_jobs};

/// Modules that each module may use, those of its own crate by name and other crates as `crate`. Read from top to
/// bottom, this is the data flow. The core's manifest excludes async runtimes, the AWS SDK and databases.
const ALLOWED: &[(&str, &str, &[&str])] = &[
    ("crates/core", "model", &[]),
    ("crates/core", "yaml", &["model"]),
    ("crates/core", "jobs", &["model"]),
    ("crates/core", "metrics", &["jobs", "model"]),
    ("crates/core", "rules", &["metrics", "model", "yaml"]),
    ("crates/core", "scheduler", &["model"]),
    ("crates/core", "forecast", &["jobs", "metrics", "model", "scheduler"]),
    ("crates/core", "what_if", &["forecast", "model", "scheduler"]),
    ("crates/core", "engine", &["forecast", "jobs", "metrics", "model", "rules", "what_if"]),
    ("crates/core", "backtest", &["engine", "metrics", "model", "rules", "scheduler"]),
    ("crates/otlp", "billed_size", &[]),
    ("crates/otlp", "samples_by_metric", &["core::metrics"]),
    ("crates/otlp", "origin", &["core::model"]),
    ("crates/otlp", "exponential_histogram", &["core::metrics", "core::model"]),
    ("crates/otlp", "unchanged", &["core::metrics", "core::model"]),
    (
        "crates/otlp",
        "encode",
        &["core::metrics", "core::model", "exponential_histogram", "origin", "samples_by_metric", "unchanged"],
    ),
    (".", "runbooks", &[]),
    (".", "blocking", &[]),
    // Compiled for tests only.
    (".", "log_capture", &[]),
    (".", "mutated_inputs", &[]),
    (".", "config", &["core::model", "core::yaml"]),
    (".", "cost", &["config", "core::metrics", "core::model", "core::yaml"]),
    (".", "outbound", &["clock", "config", "core::model"]),
    (".", "aws", &["clock", "config", "core::model", "outbound"]),
    (".", "notify", &["clock", "config", "core::model", "core::rules", "core::yaml", "outbound", "runbooks"]),
    (".", "store", &["core::jobs", "core::metrics", "core::model", "core::rules", "notify"]),
    (".", "objects", &["aws", "blocking", "clock", "config", "core::model", "outbound"]),
    (".", "replication", &["blocking", "clock", "core::model", "objects", "store"]),
    (".", "archive", &["aws", "blocking", "clock", "config", "core::metrics", "core::model", "objects", "store"]),
    (".", "report", &["core::jobs", "core::metrics", "core::model", "core::rules"]),
    (
        ".",
        "publish",
        &["aws", "clock", "config", "core::metrics", "core::model", "core::yaml", "cost", "otlp", "outbound"],
    ),
    (
        ".",
        "web",
        &[
            "clock",
            "core::forecast",
            "core::jobs",
            "core::metrics",
            "core::model",
            "core::rules",
            "core::what_if",
            "notify",
            "runbooks",
        ],
    ),
    (
        ".",
        "service",
        &[
            "archive",
            "aws",
            "blocking",
            "clock",
            "config",
            "core::engine",
            "core::forecast",
            "core::jobs",
            "core::metrics",
            "core::model",
            "core::rules",
            "core::yaml",
            "cost",
            "notify",
            "objects",
            "otlp",
            "outbound",
            "publish",
            "replication",
            "report",
            "store",
            "web",
        ],
    ),
    (
        ".",
        "cli",
        &[
            "archive",
            "clock",
            "config",
            "core::backtest",
            "core::metrics",
            "core::model",
            "core::rules",
            "core::what_if",
            "cost",
            "notify",
            "objects",
            "outbound",
            "publish",
            "report",
            "runbooks",
            "service",
            "simulator",
            "store",
            "web",
        ],
    ),
];

/// Compiled for tests only, so that any module's tests may name them.
const FOR_TESTS: &[&str] = &["log_capture", "mutated_inputs"];

/// Standard library modules that the core must not use.
const IMPURE: &[&str] = &["std::fs", "std::net", "std::env", "std::thread", "std::process", "SystemTime", "Instant"];

/// Dependencies that the core's manifest must not have.
const NOT_IN_CORE: &[&str] = &["tokio", "aws-", "axum", "reqwest", "rusqlite"];

#[test]
fn modules_only_name_those_before_them() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().map(|(of, module, allowed)| ((*of, *module), *allowed)).collect();
    for File { of, module, path, text } in files().into_iter().filter(|file| !is_of_simulation(&file.path)) {
        let Some(permitted) = allowed.get(&(of, module.as_str())) else {
            let in_the_simulator = ["crates/simulator", "crates/clock"].contains(&of);
            assert!(in_the_simulator, "{module} of {of} is not in ALLOWED; decide where it stands");
            continue;
        };
        for target in named(&code_of(&text)) {
            assert!(
                target == module
                    || FOR_TESTS.contains(&target.as_str())
                    || permitted.contains(&target.as_str())
                    || (target.starts_with("core::") && is_in_a_folder_of_tests(&path)),
                "{}: {module} must not depend on {target:?}",
                path.display()
            );
        }
    }
}

/// An unused arrow would permit a later use unnoticed.
#[test]
fn every_allowed_arrow_is_used() {
    let mut used: BTreeMap<(&str, String), BTreeSet<String>> = BTreeMap::new();
    for File { of, module, text, .. } in files() {
        used.entry((of, module)).or_default().extend(named(&code_of(&text)));
    }
    for (of, module, allowed) in ALLOWED {
        for target in *allowed {
            let used = &used[&(*of, (*module).to_owned())];
            assert!(used.contains(*target), "{module} of {of} may name {target} and does not");
        }
    }
}

#[test]
fn the_core_knows_no_clock_no_network_and_no_disk() {
    for File { path, text, .. } in files().into_iter().filter(|file| file.of == "crates/core") {
        for word in IMPURE {
            assert!(!code_of(&text).contains(word), "{} names {word}", path.display());
        }
    }
    let manifest = fs::read_to_string(root().join("crates/core/Cargo.toml")).unwrap();
    for word in NOT_IN_CORE {
        assert!(!manifest.lines().any(|line| line.starts_with(word)), "the core's manifest names {word}");
    }
}

/// Facts about a metric belong in its catalogue row, rather than in code that names it.
#[test]
fn only_the_catalogue_knows_metrics_by_their_names() {
    let names = || catalogue::ALL.iter().copied().chain(single_jobs::ALL).map(|metric| metric.name);
    let declared = ["metrics/catalogue.rs", "metrics/single_jobs.rs"];
    for File { path, text, .. } in files().into_iter().filter(|file| !declared.iter().any(|of| file.path.ends_with(of)))
    {
        let is_of_tests = is_of_simulation(&path)
            || path.components().any(|part| part.as_os_str().to_string_lossy().contains("tests"));
        for literal in code_of(&text).split('"').filter(|literal| literal.contains('.') && !is_of_tests) {
            // Parts of a name count too, such as an argument of `starts_with`.
            let is_name = names().any(|name| name.starts_with(literal) && literal.len() > 1);
            assert!(!is_name, "{} knows a metric as {literal:?}; make it a column of the catalogue", path.display());
        }
    }
}

/// Whether a file is part of a simulation, of the whole service or inside a module: compiled for tests only, it may use anything.
fn is_of_simulation(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "simulation" || part.as_os_str() == "simulation.rs")
}

/// Whether a file is in a folder of tests: those of a source may give an engine what was observed, and look at its figures.
fn is_in_a_folder_of_tests(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
}

/// The modules that code names: those of its own crate as they are, those of the core as `core::NAME`, other crates
/// by name.
fn named(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let own = code.split("crate::").skip(1).map(word);
    let core = code.split("trainspotter_core::").skip(1).map(|rest| format!("core::{}", word(rest)));
    let others =
        ["clock", "otlp", "simulator"].into_iter().filter(|name| code.contains(&format!("trainspotter_{name}")));
    own.chain(core).chain(others.map(str::to_owned)).collect()
}
