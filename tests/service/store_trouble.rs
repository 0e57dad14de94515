//! Unusable state files with a real process: its messages, what still works, and that nothing is lost silently.

use crate::support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};
use trainspotter::store::Store;
use trainspotter_core::model::Timestamp;

use support::config_file::configured;
use support::disk::Disk;
use support::hook::{Received, hook};
use support::http;
use support::process::{listening, listening_and_telling, trainspotter};
use support::ready_service::ready_service;

const PATIENCE: Duration = Duration::from_secs(300);

async fn simulator() -> (Child, String) {
    let mut simulator = trainspotter(&["simulate", "--speed", "60", "--for", "30m", "--listen", "127.0.0.1:0"]);
    listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await
}

/// A rule that fires with the second poll.
fn rule(name: &str) -> String {
    format!("rules: [{{ alert: {name}, metric: poll.interval, above: 0s, annotations: {{ summary: polls }} }}]\n")
}

fn is_reported(reported: &Received, status: &str, alert: &str) -> bool {
    reported.iter().any(|(was, about, _)| was == status && about["labels"]["alertname"] == alert)
}

async fn health(page: &str) -> Value {
    http::get(format!("{page}/api/v1/health")).await.unwrap().json().await.unwrap()
}

async fn until(what: &str, page: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        loop {
            let health = health(page).await;
            if is_so(&health) {
                return health;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect(what)
}

#[tokio::test]
async fn a_service_whose_file_cannot_grow_keeps_notifying_and_writes_everything_later() {
    let (_simulator, endpoint) = simulator().await;
    let hook = hook().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let rules = folder.path().join("rules.yaml");
    std::fs::write(&rules, rule("Before")).unwrap();
    let more = format!("rules: [rules.yaml]\n{}", kept_and_notified(&path, &hook.url));
    let (mut service, page, _told) = ready_service(folder.path(), &endpoint, &more).await;
    hook.until(|reported| is_reported(reported, "firing", "Before")).await;
    assert_eq!(health(&page).await["store_error"], Value::Null);

    // No write to any file gets beyond its first byte.
    limit(&service, "1").await;
    std::fs::write(&rules, rule("After")).unwrap();
    let reported = hook
        .until(|reported| is_reported(reported, "firing", "After") && is_reported(reported, "resolved", "Before"))
        .await;
    let failing = until("health reports it", &page, |health| health["store_error"].is_string()).await;
    assert_eq!(failing["status"], "degraded", "{failing}");
    assert_eq!(http::get(format!("{page}/readyz")).await.unwrap().status(), 200, "it does its work");
    assert!(
        crate::support::without_place_labels::without_place(
            &http::get(format!("{page}/metrics")).await.unwrap().text().await.unwrap()
        )
        .contains("store_trouble{kind=\"unwritable\"} 1")
    );

    limit(&service, "unlimited").await;
    until("it is over", &page, |health| health["store_error"].is_null()).await;
    service.kill().await.unwrap();
    let rows = Store::open(&path, Timestamp::default()).unwrap().0.outbox().unwrap();
    let ids: Vec<_> = rows.iter().map(|row| (row.id.to_string(), row.state.as_str())).collect();
    let reported: Vec<_> = reported.iter().map(|(_, _, id)| (id.clone(), "delivered")).collect();
    assert_eq!(ids, reported, "each was sent once, in order, and is in the file");
}

fn kept_and_notified(state: &Path, url: &str) -> String {
    let hook = format!("{{ name: hook, webhook: {{ url: \"{url}\", allow_loopback: true }} }}");
    format!("store: \"{}\"\nreceivers: [{hook}]\n", state.display())
}

/// Limits the size of the files that a process writes, in bytes.
async fn limit(process: &Child, bytes: &str) {
    let pid = process.id().unwrap().to_string();
    let limit = format!("--fsize={bytes}:unlimited");
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().await.unwrap().success());
}

#[tokio::test]
async fn a_service_whose_folder_is_missing_starts_sends_alerts_and_takes_the_file_once_it_can() {
    let (_simulator, endpoint) = simulator().await;
    let hook = hook().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume/state.db");
    let rules = folder.path().join("rules.yaml");
    std::fs::write(&rules, rule("Before")).unwrap();
    let more = format!("rules: [rules.yaml]\n{}", kept_and_notified(&path, &hook.url));
    let (mut service, page, mut lines) = ready_service(folder.path(), &endpoint, &more).await;
    let reported = hook.until(|reported| is_reported(reported, "firing", "Before")).await;
    let failing = until("health reports it", &page, |health| health["store_error"].is_string()).await;
    assert!(failing["store_error"].as_str().unwrap().contains(path.to_str().unwrap()), "{failing}");
    while !lines.recv().await.expect("the log reports it").contains("state is kept in memory only") {}

    std::fs::create_dir(path.parent().unwrap()).unwrap();
    until("the file is taken", &page, |health| health["store_error"].is_null()).await;
    // If deleted while the service runs, it is recreated.
    std::fs::remove_file(&path).unwrap();
    let deleted = until("that it was deleted is seen", &page, |health| health["store_error"].is_string()).await;
    assert!(deleted["store_error"].as_str().unwrap().contains("deleted"), "{deleted}");
    until("it is written anew", &page, |health| health["store_error"].is_null()).await;
    service.kill().await.unwrap();
    let rows = Store::open(&path, Timestamp::default()).unwrap().0.outbox().unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row.id.to_string()).collect();
    assert_eq!(ids, reported.iter().map(|(_, _, id)| id.clone()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_disk_that_is_full_or_read_only_is_named_while_alerts_leave() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("disk"), "24m").await else {
        eprintln!("skipped: no file system can be mounted here; other tests limit the size of files instead");
        return;
    };
    let (_simulator, endpoint) = simulator().await;
    let hook = hook().await;
    let path = disk.path().join("state.db");
    let rules = folder.path().join("rules.yaml");
    std::fs::write(&rules, rule("Before")).unwrap();
    let more = format!("rules: [rules.yaml]\n{}", kept_and_notified(&path, &hook.url));
    let (mut service, page, _lines) = ready_service(folder.path(), &endpoint, &more).await;
    hook.until(|reported| is_reported(reported, "firing", "Before")).await;

    let filler = disk.fill();
    std::fs::write(&rules, rule("Full")).unwrap();
    hook.until(|reported| is_reported(reported, "firing", "Full")).await;
    let failing = until("that it is full is seen", &page, |health| health["store_error"].is_string()).await;
    assert!(failing["status"] == "degraded" && failing["store_error"].to_string().contains("full"), "{failing}");
    std::fs::remove_file(&filler).unwrap();
    until("there is room again", &page, |health| health["store_error"].is_null()).await;

    service.kill().await.unwrap();
    disk.remount("ro").await;
    std::fs::write(&rules, rule("ReadOnly")).unwrap();
    let (mut service, page, _lines) = ready_service(folder.path(), &endpoint, &more).await;
    hook.until(|reported| is_reported(reported, "firing", "ReadOnly")).await;
    let failing = until("that nothing can be written is seen", &page, |health| health["store_error"].is_string()).await;
    assert!(failing["status"] == "degraded", "{failing}");
    let why = failing["store_error"].to_string();
    assert!(why.to_lowercase().contains("read-only") && why.contains("state.db"), "{why}");
    disk.remount("rw").await;
    until("it can be written again", &page, |health| health["store_error"].is_null()).await;
    service.kill().await.unwrap();
    let rows = Store::open(&path, Timestamp::default()).unwrap().0.outbox().unwrap();
    let kept = |rule: &str| rows.iter().filter(|row| row.transition.alert.rule == rule).count();
    assert!(kept("Full") > 0 && kept("ReadOnly") > 0, "what was sent meanwhile is in the file: {rows:?}");
}

#[tokio::test]
async fn of_two_services_on_one_file_the_second_waits_and_takes_over_when_the_first_ends() {
    let (_simulator, endpoint) = simulator().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (first_hook, second_hook) = (hook().await, hook().await);
    let folder_of = |name: &str| {
        let own = folder.path().join(name);
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("rules.yaml"), rule(name)).unwrap();
        own
    };
    let more = format!("rules: [rules.yaml]\n{}", kept_and_notified(&path, &first_hook.url));
    let (mut first, first_page, _lines) = ready_service(&folder_of("First"), &endpoint, &more).await;
    first_hook.until(|reported| is_reported(reported, "firing", "First")).await;

    // Under another name, without a lock file beside it.
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let second = folder_of("Second");
    let more = format!("poll: {{ every: 5s }}\nrules: [rules.yaml]\n{}", kept_and_notified(&link, &second_hook.url));
    let config = configured(&second, &endpoint, &more);
    let mut service = trainspotter(&["run", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let (mut service, page, mut lines) = listening_and_telling(service.stderr(Stdio::piped()).spawn().unwrap()).await;
    let line = tokio::time::timeout(PATIENCE, lines.recv()).await.unwrap().unwrap();
    assert!(line.contains("WARN") && line.contains("another process uses this state file"), "{line}");
    let ready = http::get(format!("{page}/readyz")).await.unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.text().await.unwrap().contains("the service is still starting: see the log"));

    assert_eq!(health(&first_page).await["store_error"], Value::Null, "the first goes on");
    assert!(second_hook.until(|_| true).await.is_empty(), "two would send everything twice");
    first.kill().await.unwrap();
    second_hook.until(|reported| is_reported(reported, "firing", "Second")).await;
    until("it has the file", &page, |health| health["ready"] == true && health["store_error"].is_null()).await;
    service.kill().await.unwrap();
    let rows = Store::open(&path, Timestamp::default()).unwrap().0.outbox().unwrap();
    assert!(rows.iter().any(|row| row.transition.alert.rule == "Second"), "{rows:?}");
}
