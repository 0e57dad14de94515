//! The picture in `src/lib.rs` as a test: which room may name which, and what the pure rooms may not know.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the source has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms each room may name. Read it top to bottom: that is the flow.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("yaml", &[]),
    ("clock", &["model"]),
    ("config", &["model", "yaml"]),
    ("source", &["clock", "config", "model"]),
    ("ledger", &["model"]),
    ("derive", &["ledger", "model"]),
    ("evaluate", &["derive", "model", "yaml"]),
    ("engine", &["derive", "evaluate", "ledger", "model"]),
    ("notify", &["clock", "config", "evaluate", "model", "source"]),
    ("store", &["derive", "evaluate", "model", "notify"]),
    ("publish", &["clock", "config", "derive", "model", "source"]),
    ("web", &["clock", "derive", "engine", "evaluate", "ledger", "model", "publish"]),
    (
        "runtime",
        &[
            "clock", "config", "derive", "engine", "evaluate", "ledger", "model", "notify", "publish", "source",
            "store", "web",
        ],
    ),
    ("scheduler", &["model"]),
    ("backtest", &["derive", "engine", "evaluate", "ledger", "model", "scheduler"]),
    ("simulate", &["clock", "model", "scheduler", "yaml"]),
    (
        "cli",
        &[
            "backtest",
            "clock",
            "config",
            "derive",
            "evaluate",
            "model",
            "notify",
            "publish",
            "runtime",
            "scheduler",
            "simulate",
            "store",
            "web",
            "yaml",
        ],
    ),
];

/// Rooms that are functions of their arguments.
const PURE: &[&str] = &["model", "yaml", "ledger", "derive", "evaluate", "engine", "scheduler", "backtest"];

/// What a pure room may not name.
const IMPURE: &[&str] = &[
    "tokio",
    "aws_",
    "axum",
    "reqwest",
    "rusqlite",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "SystemTime",
    "Instant",
];

/// Longer files hide a second subject.
const MAX_LINES: usize = 500;

#[test]
fn rooms_only_look_upstream() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    for (room, file, text) in files() {
        let permitted =
            allowed.get(room.as_str()).unwrap_or_else(|| panic!("{room} is not in ALLOWED; decide where it stands"));
        for named in code_of(&text).split("crate::").skip(1) {
            let target: String = named.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(
                target == room || permitted.contains(&target.as_str()),
                "{}: {room} must not depend on {target:?}",
                file.display()
            );
        }
    }
}

#[test]
fn pure_rooms_know_no_clock_no_network_and_no_disk() {
    for (room, file, text) in files() {
        if PURE.contains(&room.as_str()) {
            for word in IMPURE {
                assert!(!code_of(&text).contains(word), "{}: the pure room {room} names {word}", file.display());
            }
        }
    }
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    for (_, file, text) in files() {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines; the limit is {MAX_LINES}", file.display());
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (_, file, text) in files() {
        assert!(text.starts_with("//!"), "{} has no module doc", file.display());
    }
}

/// The room, the path and the text of every file of the library.
fn files() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&src).unwrap().with_extension("");
                let room = inside.iter().next().unwrap().to_str().unwrap().to_owned();
                if room != "lib" && room != "main" {
                    found.push((room, path.clone(), fs::read_to_string(&path).unwrap()));
                }
            }
        }
    }
    assert!(found.len() > 10, "found only {} files", found.len());
    found.sort();
    found
}

/// The text without comments, so that prose may name other rooms, and without the tests at its end, which may use
/// anything.
fn code_of(text: &str) -> String {
    text.split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}
