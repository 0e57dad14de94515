//! The output of `rules export` is accepted by the tools of its target systems: promtool and cfn-lint.

use crate::support;

use std::path::Path;
use std::process::{Command, Output};

use support::python::python;

/// One rule of every kind.
const EVERY_FORM: &str = r#"rules:
  - { alert: Now, metric: queue.wait.oldest, by: [queue, share], above: 30m, recover: 20m, for: 5m, keep_firing_for: 10m, annotations: { summary: "{{ share or '-' }}: {{ value }}" } }
  - { alert: Often, metric: gpu.idle.ratio, by: [queue], above: 50%, datapoints: 3 of 5, annotations: { summary: "{{ value }}" } }
  - { alert: Grown, metric: job.preemptions, increase: 1h, by: [queue], above: 3, annotations: { summary: x } }
  - { alert: Growing, metric: queue.jobs, change_over: 1h, by: [queue], above: 3, annotations: { summary: x } }
  - { alert: Slow, metric: queue.wait, stat: p95, by: [queue], above: 1h, annotations: { summary: x } }
  - { alert: Many, metric: queue.wait, stat: count, above: 100, annotations: { summary: x } }
  - { alert: Mean, metric: queue.wait, stat: mean, below: 1m, annotations: { summary: x } }
  - { alert: Both, by: [queue], all: [{ metric: gpu.capacity, above: 1 }, { metric: gpu.idle.ratio, above: 40%, recover: 30% }], annotations: { summary: x } }
  - { alert: Either, by: [queue], any: [{ metric: gpu.capacity, above: 1 }, { metric: queue.wait.oldest, above: 1h }], annotations: { summary: x } }
  - { alert: Objective, by: [queue], objective: { metric: queue.wait, target: 95%, within: 30m }, annotations: { summary: "{{ value }}" } }
"#;

fn trainspotter(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_trainspotter")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The default pack, and the file with every kind.
fn sources(folder: &Path) -> [String; 2] {
    let forms = folder.join("forms.yaml");
    std::fs::write(&forms, EVERY_FORM).unwrap();
    [concat!(env!("CARGO_MANIFEST_DIR"), "/alerts").to_owned(), forms.to_str().unwrap().to_owned()]
}

#[test]
fn promtool_takes_every_exported_rule() {
    if Command::new("promtool").arg("--version").output().is_err() {
        assert!(std::env::var_os("TRAINSPOTTER_PEERS").is_none(), "promtool is required");
        eprintln!("skipped: no promtool");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for source in sources(folder.path()) {
        let file = folder.path().join("exported.yaml");
        std::fs::write(&file, trainspotter(&["rules", "export", "--to", "prometheus", &source]).stdout).unwrap();
        let judged = Command::new("promtool").args(["check", "rules", "--lint=all", "--lint-fatal"]).arg(file).output();
        let judged = judged.unwrap();
        let said = String::from_utf8_lossy(&judged.stderr).into_owned() + &String::from_utf8_lossy(&judged.stdout);
        assert!(judged.status.success(), "{source}: {said}");
    }
}

#[tokio::test]
async fn cfn_lint_takes_every_exported_template() {
    let Some(python) = python().await else { return };
    let folder = tempfile::tempdir().unwrap();
    for source in sources(folder.path()) {
        let file = folder.path().join("alarms.json");
        let exported = trainspotter(&["rules", "export", "--to", "cloudwatch", &source]);
        assert!(!exported.stderr.is_empty(), "what cannot be carried over is reported");
        std::fs::write(&file, exported.stdout).unwrap();
        let judged = Command::new(python.with_file_name("cfn-lint")).arg(file).output().unwrap();
        let said = String::from_utf8_lossy(&judged.stderr).into_owned() + &String::from_utf8_lossy(&judged.stdout);
        assert!(judged.status.success(), "{source}: {said}");
    }
}
