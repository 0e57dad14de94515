//! The API against its own document: Schemathesis generates valid and invalid requests from `openapi.json`, and
//! checks each response against it: status, format, headers, and no server errors.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::support::http;
use crate::support::process::{listening, trainspotter};
use crate::support::python;

const TOKEN: &str = "operate-token-of-schemathesis";
const SEED: &str = "1";
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

#[tokio::test]
async fn schemathesis_finds_no_answer_that_the_document_does_not_have() {
    let Some(python) = python::python().await else { return };
    let has_it = Command::new(&python).args(["-c", "import schemathesis"]).stderr(Stdio::null()).status().await;
    if !has_it.unwrap().success() {
        assert!(std::env::var_os("TRAINSPOTTER_PEERS").is_none(), "{} lacks schemathesis", python.display());
        eprintln!("skipped: {} lacks schemathesis", python.display());
        return;
    }
    let mut demo = trainspotter(&["demo", "--speed", "60", "--seed", SEED, "--listen", "127.0.0.1:0"]);
    let demo = demo.env("TRAINSPOTTER_TOKEN", TOKEN).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let (_demo, url) = listening(demo).await;
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(&python)
        .args(["-m", "schemathesis.cli", "run", &format!("{url}/api/v1/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "2", "--seed", SEED])
        // Several workers sometimes fail in Python's own parser: "AST constructor recursion depth mismatch".
        .args(["--workers", "1"])
        // Constraints of texts (a metric's name, a matcher, a time) are reported in the error response, documented as
        // 400 and 422.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args(["--generation-database", "none", "--no-shrink", "--request-timeout", "30", "--no-color"])
        .current_dir(Path::new(folder.path()))
        .output()
        .await
        .unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
    assert!(made.status.success(), "seed {SEED}: {said}{complaints}");
    // It has tested every operation of the document, except the document's own.
    let document: Value = http::get(format!("{url}/api/v1/openapi.json")).await.unwrap().json().await.unwrap();
    let of_path = |path: &Value| {
        path.as_object().into_iter().flatten().filter(|(key, _)| METHODS.contains(&key.as_str())).count()
    };
    let paths = document["paths"].as_object().unwrap().iter().filter(|(path, _)| *path != "/api/v1/openapi.json");
    let operations: usize = paths.map(|(_, path)| of_path(path)).sum();
    assert!(operations > 30 && said.contains(&format!("Tested: {operations}\n")), "{operations} operations: {said}");
}
