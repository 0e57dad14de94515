//! Logs that cannot be used: each is a clear error at the start, or a state with a name while replicas run; nothing is lost, and nothing in
//! the log is overwritten.

use serde_json::{Value, json};

use super::world::{LEASE, World, first_line, is_one_line, tree, verify};
use crate::support::http;
use crate::support::s3::{DENIED, Operation, Refusal, S3};

const RECORDS: &str = "a/prefix/records";

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_bucket_is_a_startup_error_with_advice() {
    let s3 = S3::start("us-east-1").await;
    let world = World::in_a_bucket(&s3.endpoint, "bucket").await;
    let mut first = world.replica("first").await;
    first.leads().await;
    first.signal("-TERM");
    assert!(first.process.wait().await.unwrap().success());
    let before = s3.objects();

    let no_right = "access to the bucket bucket is denied (AccessDenied): allow s3:GetObject, s3:PutObject";
    for operation in [Operation::Get, Operation::Put, Operation::List] {
        s3.refuse(operation, Some(DENIED));
        let said = world.refused(&format!("without-{operation:?}"), |_| {}).await;
        assert!(said.contains(no_right) && said.contains("opening the log"), "{operation:?}: {said}");
        s3.refuse(operation, None);
    }
    let region = |settings: &mut Value| settings["store"]["region"] = json!("eu-west-1");
    let elsewhere = "the bucket bucket is in us-east-1, but the request went to eu-west-1: set `store.region`";
    assert!(world.refused("other-region", region).await.contains(elsewhere));
    for refusal in [Refusal { status: 301, code: "PermanentRedirect" }, Refusal { status: 301, code: "" }] {
        s3.refuse(Operation::List, Some(refusal));
        assert!(world.refused("redirected", region).await.contains(elsewhere), "{refusal:?}");
        s3.refuse(Operation::List, None);
    }
    s3.overwrite(true);
    let said = world.refused("overwrites", |_| {}).await;
    assert!(said.contains("it ignores `If-None-Match: *`, so two replicas could lead at once"), "{said}");
    s3.overwrite(false);
    let bucket = |settings: &mut Value| settings["store"]["log"] = json!("s3://other/a/prefix");
    let none = "the bucket other does not exist: create it, or correct `store.log`";
    assert!(world.refused("no-bucket", bucket).await.contains(none));
    assert_eq!(s3.objects(), before, "what is in the bucket stays as it is");

    // Once all is well again it goes on.
    world.replica("first").await.leads().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_without_write_permission_waits_and_reports_why() {
    let s3 = S3::start("us-east-1").await;
    let world = World::in_a_bucket(&s3.endpoint, "bucket").await;
    s3.refuse(Operation::Put, Some(DENIED));
    let first = world.replica("first").await;
    first.is_in_trouble("access to the bucket bucket is denied").await;
    let ready = http::get(format!("{}/readyz", first.page)).await.unwrap();
    assert_eq!(ready.status(), 503);
    let said = ready.text().await.unwrap();
    assert!(said.contains("the replication log failed: cannot write it: access to the bucket"), "{said}");
    // With several targets it is an error at the start: each replica announces itself there.
    let two_targets = |settings: &mut Value| {
        let targets = settings["targets"].as_array_mut().unwrap();
        targets.push(targets[0].clone());
        targets[1]["region"] = json!("eu-west-1");
    };
    let said = world.refused("two-targets", two_targets).await;
    assert!(said.contains("opening the log") && said.contains("access to the bucket"), "{said}");
    s3.refuse(Operation::Put, None);
    first.leads().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_another_service_are_named_and_left_alone() {
    let s3 = S3::start("us-east-1").await;
    let world = World::in_a_bucket(&s3.endpoint, "bucket").await;
    let foreign = "it is not a record of Trainspotter: give `store.log` a prefix that nothing else uses";
    for name in ["2026-11-28.json", "00000000000000000001"] {
        let name = format!("{RECORDS}/{name}");
        s3.put(&name, "{}");
        let said = world.refused("foreign", |_| {}).await;
        assert!(said.contains(foreign), "{said}");
        assert_eq!(s3.objects().into_iter().collect::<Vec<_>>(), [(name.clone(), b"{}".to_vec())]);
        s3.remove(&name);
    }
    // What is in no folder of the log does not matter.
    let others = ["a/prefix/data.csv", "a/prefix/snapshots/notes.txt", "a/prefix/recordings/1", "a/other"];
    others.iter().for_each(|name| s3.put(name, "theirs"));
    let first = world.replica("first").await;
    first.leads().await;
    assert!(others.iter().all(|name| s3.objects()[*name] == b"theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_taken_away_are_named_and_nothing_is_lost() {
    let s3 = S3::start("us-east-1").await;
    let world = World::in_a_bucket(&s3.endpoint, "bucket").await;
    // Attempts that are refused take a part of the lease, also on a machine where other tests run.
    let lease = |settings: &mut Value| settings["store"]["lease"] = json!("12s");
    let mut first = world.replica_with("first", lease, &[]).await;
    first.leads().await;
    let second = world.replica_with("second", lease, &[]).await;
    second.follows().await;

    // Nobody may write: the leader goes on from its file, and writes all of it later.
    s3.refuse(Operation::Put, Some(DENIED));
    first.is_in_trouble("cannot write it: access to the bucket bucket is denied").await;
    let heard = world.hook.until(|_| true).await.len();
    world.hook.until(|received| received.len() > heard).await;
    let health = first.health().await.unwrap();
    assert_eq!((&health["replica"]["leads"], &health["replica"]["is_ahead"]), (&json!(true), &json!(true)));
    first.until_logged("state is kept in this replica's file only").await;
    assert!(!first.logged().contains("in memory"), "{}", first.logged());
    s3.refuse(Operation::Put, None);
    first.until("it is in the log", |health| health["replica"]["is_ahead"] == false).await;
    first.is_well().await;
    first.until_logged("the replication log works again and is up to date").await;

    // Nobody may read: the leader writes on, and who follows does not take over.
    s3.refuse(Operation::Get, Some(DENIED));
    second.is_in_trouble("cannot read it: access to the bucket bucket is denied").await;
    tokio::time::sleep(LEASE * 2).await;
    assert_eq!(second.health().await.unwrap()["replica"]["leads"], false);
    first.is_well().await;
    s3.refuse(Operation::Get, None);
    second.is_well().await;

    // Nobody may list, which is asked before somebody takes over.
    s3.refuse(Operation::List, Some(DENIED));
    first.process.kill().await.unwrap();
    second.is_in_trouble("access to the bucket bucket is denied").await;
    tokio::time::sleep(LEASE * 2).await;
    assert_eq!(second.health().await.unwrap()["replica"]["leads"], false);
    s3.refuse(Operation::List, None);
    second.leads().await;

    let heard = world.hook.until(|_| true).await.len();
    let received =
        world.hook.until(|received| received.len() > heard + 1 && received.last().unwrap().0 == "resolved").await;
    // A kill between a message and the note that it was sent repeats it, under the same id.
    verify(&received, true);
    let records = s3.objects().into_iter().filter(|(name, _)| name.starts_with(RECORDS));
    is_one_line(&records.map(|(_, bytes)| first_line(&bytes)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_record_is_reported_and_no_replica_leads_past_it() {
    let world = World::start().await;
    let first = world.replica("first").await;
    first.leads().await;
    let second = world.replica("second").await;
    second.follows().await;
    first.signal("-STOP");
    let records = world.records().await;
    let records_of = |number: usize| world.folder_of_log().join(format!("records/{number:020}"));
    let (last, next) = (records_of(records.len()), records_of(records.len() + 1));
    let whole = std::fs::read(last).unwrap();
    let newer = String::from_utf8_lossy(&whole).replacen("log 1 ", "log 2 ", 1);
    std::fs::write(&next, newer).unwrap();
    second.is_in_trouble("newer version of Trainspotter").await;
    std::fs::write(&next, "something else").unwrap();
    second.is_in_trouble("not a record of Trainspotter").await;
    std::fs::write(&next, &whole[..whole.len() - 1]).unwrap();
    second.is_in_trouble("truncated or corrupt").await;
    let before = tree(&world.folder_of_log());
    // Who led finds it, too, and leads no longer.
    first.signal("-CONT");
    first.is_in_trouble("truncated or corrupt").await;
    tokio::time::sleep(LEASE * 2).await;
    for replica in [&first, &second] {
        assert_eq!(replica.health().await.unwrap()["replica"]["leads"], false);
        let ready: Value = http::get(format!("{}/readyz", replica.page)).await.unwrap().json().await.unwrap();
        assert!(ready["problems"].to_string().contains("truncated or corrupt"), "{ready}");
    }
    assert_eq!(tree(&world.folder_of_log()), before, "the log stays as it is");

    // Without it a replica that is started leads.
    std::fs::remove_file(&next).unwrap();
    let third = world.replica("third").await;
    third.leads().await;
    is_one_line(&world.records().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_with_different_configurations_on_one_log_are_named_and_change_nothing_of_each_other() {
    let world = World::start().await;
    let first = world.replica("first").await;
    first.leads().await;
    // Another region has a log of its own below the first one, which is said.
    let region = |settings: &mut Value| settings["targets"][0]["region"] = json!("eu-west-1");
    let other = world.replica_with("other-region", region, &[]).await;
    other.until("it leads its own log", |health| health["replica"]["leads"] == true).await;
    let logged = other.logged();
    assert!(logged.contains("belongs to a service that watches us-east-1"), "{logged}");
    assert!(logged.contains("configure a separate prefix for each in `store.log`"), "{logged}");
    assert!(world.folder_of_log().join("eu-west-1/records").is_dir());
    drop(other);
    // A third one of that name finds no place.
    let role = |settings: &mut Value| {
        region(settings);
        settings["targets"][0]["endpoint"] = json!("http://127.0.0.1:9");
    };
    let said = world.refused("third", role).await;
    assert!(said.contains("this log belongs to a service that watches eu-west-1"), "{said}");
    assert!(said.contains("configure a separate prefix for each in `store.log`"), "{said}");

    let second = world.replica("second").await;
    let health = second.follows().await;
    assert_eq!(health["replica"]["same_config"], true, "{health}");
    let receiver = |settings: &mut Value| settings["receivers"][0]["name"] = json!("other");
    let third = world.replica_with("other-receiver", receiver, &[]).await;
    let health = third.follows().await;
    assert_eq!(health["replica"]["same_config"], false, "{health}");
    let ready: Value = http::get(format!("{}/readyz", third.page)).await.unwrap().json().await.unwrap();
    assert!(ready["problems"].to_string().contains("the leader has a different configuration"), "{ready}");
    first.leads().await;
    is_one_line(&world.records().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_copy_of_the_state_is_named_and_replaced_by_older_ones_and_the_records() {
    let world = World::start().await;
    let mut first = world.replica("first").await;
    first.leads().await;
    world.hook.until(|received| !received.is_empty()).await;
    first.signal("-TERM");
    assert!(first.process.wait().await.unwrap().success());
    let records = world.records().await;
    let last = records.last().unwrap();
    let damaged = format!("snapshots/{:020}-{}", records.len(), last["digest"].as_str().unwrap());
    let copies = world.folder_of_log().join("snapshots");
    std::fs::create_dir_all(&copies).unwrap();
    std::fs::write(world.folder_of_log().join(&damaged), "what is left of a copy").unwrap();

    // A replica with a new disk has the state from the records, says so, and writes a new copy soon.
    let second = world.replica("second").await;
    let health = second.leads().await;
    let said = format!("{damaged}: it is truncated, corrupt or not a snapshot");
    let report = health["replica"]["damaged_copy"].as_str().unwrap_or_else(|| panic!("{health}"));
    assert!(report.contains(&said) && report.contains("nothing is lost"), "{report}");
    assert_eq!(health["status"], "degraded");
    let ready = http::get(format!("{}/readyz", second.page)).await.unwrap();
    assert_eq!(ready.status(), 200);
    let ready: Value = ready.json().await.unwrap();
    assert!(ready["problems"].to_string().contains(&said), "{ready}");
    second.until_logged("trying an older one").await;
    second.until_logged("wrote a snapshot to the replication log").await;
    let third = world.replica("third").await;
    let health = third.follows().await;
    assert!(health["replica"]["damaged_copy"].is_null(), "the new copy is used: {health}");

    // Once it is removed nothing is said any more.
    std::fs::remove_file(world.folder_of_log().join(&damaged)).unwrap();
    second.until("it is removed", |health| health["replica"]["damaged_copy"].is_null()).await;
    let before = world.hook.until(|_| true).await.len();
    let received =
        world.hook.until(|received| received.len() > before + 1 && received.last().unwrap().0 == "resolved").await;
    verify(&received, false);
    is_one_line(&world.records().await);
}
