//! Who asks AWS, and with whose credentials: only the leader does, and a log belongs to one account.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{PATIENCE, Replica, World, first_line, is_one_line, verify};
use crate::support::aws_proxy::AwsProxy;
use crate::support::http;
use crate::support::s3::S3;

/// Access key ids, one per replica.
const KEYS: [&str; 3] = ["first", "second", "third"];

/// Requests for jobs and queues that a leader sends within a few polls.
const FEW_POLLS: usize = 12;

/// A replica with its own access key, whose figures carry its name.
async fn with_key(world: &World, name: &str) -> Replica {
    let name_figures = |settings: &mut Value| settings["publish"]["otlp"][0]["headers"] = json!({ "x-replica": name });
    world.replica_with(name, name_figures, &environment(name)).await
}

fn environment(key: &str) -> [(&'static str, &str); 2] {
    [("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", "simulated")]
}

/// Waits until a condition holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "not in time: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_asks_aws_publishes_and_notifies() {
    let mut world = World::start().await;
    let proxy = AwsProxy::start(&world.endpoint).await;
    world.endpoint.clone_from(&proxy.endpoint);
    let mut first = with_key(&world, KEYS[0]).await;
    first.leads().await;
    let (second, third) = (with_key(&world, KEYS[1]).await, with_key(&world, KEYS[2]).await);
    second.follows().await;
    third.follows().await;
    let before = proxy.asked(KEYS[0], "batch");
    for path in ["/api/v1/jobs", "/api/v1/queues", "/api/v1/setup", "/api/v1/waits", "/metrics", "/"] {
        assert_eq!(http::get(format!("{}{path}", second.page)).await.unwrap().status(), 200, "{path}");
    }
    until("the leader polls", || proxy.asked(KEYS[0], "batch") >= before + FEW_POLLS).await;
    // At their start followers ask whose credentials they have, and nothing else.
    let only_sts = BTreeSet::from(["sts".to_owned()]);
    for follower in &KEYS[1..] {
        assert_eq!(proxy.services_of(follower), only_sts, "{follower}");
    }
    assert_eq!(world.sink.publishers(), BTreeSet::from([KEYS[0].to_owned()]));

    // Who takes over asks from then on, and who follows does not.
    first.process.kill().await.unwrap();
    until("one of them asks", || KEYS[1..].iter().any(|key| proxy.asked(key, "batch") >= FEW_POLLS)).await;
    let (next, other) = if proxy.asked(KEYS[1], "batch") > 0 { (KEYS[1], KEYS[2]) } else { (KEYS[2], KEYS[1]) };
    assert_eq!(proxy.services_of(other), only_sts, "{next} leads");
    world.sink.until_published_by(next).await;
    assert_eq!(world.sink.publishers(), [KEYS[0], next].map(str::to_owned).into());
    verify(&world.hook.until(|received| received.last().is_some_and(|last| last.0 == "resolved")).await, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_another_account_on_the_same_log_is_refused_and_changes_nothing() {
    let mut world = World::start().await;
    let other = world.another_account("999988887777").await;
    let proxy = AwsProxy::start(&world.endpoint).await;
    world.endpoint.clone_from(&proxy.endpoint);
    proxy.lead("other", &other);
    let first = world.replica_with("first", |_| {}, &environment("first")).await;
    first.leads().await;

    // It is the same to the letter but for the credentials.
    let said = world.refused_with("other", |_| {}, &environment("other")).await;
    let both = "a service that watches us-east-1 at";
    assert!(said.contains(both) && said.contains("in account 123456789012"), "{said}");
    assert!(said.contains("in account 999988887777: configure a separate prefix for each in `store.log`"), "{said}");
    assert_eq!(proxy.services_of("other"), BTreeSet::from(["sts".to_owned()]));
    is_one_line(&world.records().await);

    // While STS cannot be reached it is not known to be another service: at the latest before it would lead over the
    // log with its own account, it is.
    first.signal("-KILL");
    proxy.lead("other", "http://127.0.0.1:9");
    let count = || std::fs::read_dir(world.folder_of_log().join("records")).unwrap().count();
    let before = count();
    let environment_of_other = environment("other");
    let refused = world.refused_with("other", |_| {}, &environment_of_other);
    let led = async {
        until("it leads", || count() > before).await;
        proxy.lead("other", &other);
    };
    let (said, ()) = tokio::join!(refused, led);
    assert!(said.contains("the log belongs to a service in account 123456789012"), "{said}");
    assert!(said.contains("this service is in account 999988887777"), "{said}");
    let records = world.records().await;
    is_one_line(&records);
    let terms = records.iter().skip(before).filter(|record| record["purpose"] == "take_over").count();
    // It may lead again between its refusal and its end.
    assert!(terms <= 2, "it led {terms} times");

    // The service that it belongs to goes on.
    let first = world.replica_with("first", |_| {}, &environment("first")).await;
    first.leads().await;
    let received = world.hook.until(|received| received.last().is_some_and(|last| last.0 == "resolved")).await;
    verify(&received, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_is_used_with_the_role_region_and_endpoint_that_are_given() {
    let s3 = S3::start("eu-central-1").await;
    let proxy = AwsProxy::start(&s3.endpoint).await;
    let world = World::in_a_bucket(&proxy.endpoint, "bucket").await;
    // STS, for the service's own credentials; requests with those of the role go to the bucket.
    proxy.lead("first", &world.endpoint);
    let role = |settings: &mut Value| {
        settings["store"]["role"] = json!("arn:aws:iam::123456789012:role/trainspotter-log");
        settings["store"]["region"] = json!("eu-central-1");
    };
    let first = world.replica_with("first", role, &environment("first")).await;
    first.leads().await;
    assert_eq!(proxy.services_of("first"), BTreeSet::from(["sts".to_owned()]));
    let objects = s3.objects();
    let records: Vec<_> = objects.iter().filter(|(name, _)| name.starts_with("a/prefix/records/")).collect();
    assert!(!records.is_empty(), "{:?}", objects.keys());
    is_one_line(&records.iter().map(|(_, bytes)| first_line(bytes)).collect::<Vec<_>>());
}
