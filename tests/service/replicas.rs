//! Several replicas as real processes on one log, which are killed, paused and replaced: a receiver gets what a
//! single undisturbed service would have sent.
//!
//! `TRAINSPOTTER_SEED=N` selects other times, `TRAINSPOTTER_KILLS=N` more or fewer of them.

mod clocks;
mod deployments;
mod log_size;
mod log_trouble;
mod many_waiting;
mod only_leader_calls_aws;
mod operators;
mod takeover_calls;
mod world;

use crate::support;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use support::http;
use world::{PATIENCE, POLL, Replica, World, is_one_line, tree, verify};

/// What a machine on which other tests run may add to a time.
const BUSY: Duration = Duration::from_secs(4);

/// A number in the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// A follower's responses equal the leader's, and state their time and the leader.
async fn answers_as(follower: &Replica, leader: &Replica) {
    let ask = async |replica: &Replica, path: &str| {
        let answer = http::get(format!("{}{path}", replica.page)).await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        assert_eq!(status, 200, "{path}: {}", answer.text().await.unwrap());
        (headers, answer.json::<Value>().await.unwrap())
    };
    let leads = ask(leader, "/api/v1/health").await.1["replica"]["replica"].as_str().unwrap().to_owned();
    // Members that do not change from tick to tick; arrays are compared by length.
    for (path, members) in [
        ("/api/v1/shares", ["share", "unit"]),
        ("/api/v1/waterfall", ["queue", "capacity_gpus"]),
        ("/api/v1/setup", ["problem", "advice"]),
        ("/api/v1/queues", ["queue", "policy"]),
    ] {
        let (headers, theirs) = ask(follower, path).await;
        let (_, ours) = ask(leader, path).await;
        let rows = |answer: &Value| -> Vec<String> {
            let rows = answer.as_array().unwrap().iter();
            rows.map(|row| members.map(|member| row[member].to_string()).join(" ")).collect()
        };
        assert!(!rows(&ours).is_empty() && rows(&theirs) == rows(&ours), "{path}: {theirs} {ours}");
        assert_eq!(headers["trainspotter-leader"], leads.as_str(), "{path}");
        assert!(headers["trainspotter-as-of"].to_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{headers:?}");
    }
    for path in ["/api/v1/waits", "/api/v1/reasons", "/api/v1/failures"] {
        ask(follower, path).await;
    }
    // The past of a follower comes from the log. The leader may not have stored its latest tick itself yet.
    let as_of = ask(follower, "/api/v1/queues").await.0["trainspotter-as-of"].to_str().unwrap().to_owned();
    let as_of = as_of.parse::<jiff::Timestamp>().unwrap();
    let (from, to) = (as_of - jiff::SignedDuration::from_secs(60), as_of - jiff::SignedDuration::from_millis(1));
    let past = format!("/api/v1/history?metric=queue.jobs&step=1s&fold=last&from={from}&to={to}");
    let (ours, theirs) = (ask(leader, &past).await.1, ask(follower, &past).await.1);
    let known = theirs["series"].as_array().unwrap().iter().flat_map(|series| series["values"].as_array().unwrap());
    assert!(known.filter(|value| value.is_number()).count() > 0, "{theirs}");
    assert_eq!(theirs["series"], ours["series"]);
    let (_, jobs) = ask(follower, "/api/v1/jobs?limit=5").await;
    let job = &jobs["jobs"][0];
    let (_, one) = ask(follower, &format!("/api/v1/jobs/{}", job["id"].as_str().unwrap())).await;
    assert_eq!((&one["name"], one["spans"].as_array().map(Vec::is_empty)), (&job["name"], Some(false)), "{one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_deployment_hands_over_at_once_and_sends_nothing_twice() {
    let world = World::start().await;
    let mut old = world.replica("first").await;
    old.leads().await;
    // By then some ticks are stored.
    world.hook.until(|received| received.iter().any(|(status, ..)| status == "resolved")).await;
    for name in ["second", "third"] {
        let new = world.replica(name).await;
        new.follows().await;
        let queues: Value = http::get(format!("{}/api/v1/queues", new.page)).await.unwrap().json().await.unwrap();
        assert_eq!(queues.as_array().unwrap().len(), 1, "a follower answers: {queues}");
        let metrics = http::get(format!("{}/metrics", new.page)).await.unwrap().text().await.unwrap();
        assert!(metrics.contains("trainspotter_queue_jobs"), "{metrics}");
        answers_as(&new, &old).await;
        old.signal("-TERM");
        new.leads().await;
        let ended = tokio::time::timeout(PATIENCE, old.process.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
        old = new;
    }
    let records = world.records().await;
    let handed_over = records.iter().filter(|record| record["purpose"] == "hand_over").count();
    assert_eq!(handed_over, 2);
    for pair in records.windows(2).filter(|pair| pair[0]["purpose"] == "hand_over") {
        let at = |record: &Value| record["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let gap = at(&pair[1]) - at(&pair[0]);
        assert_eq!(pair[1]["purpose"], "take_over");
        // One second if nothing else runs.
        assert!(gap.get_seconds() < 5, "{gap}");
    }
    let received =
        world.hook.until(|received| received.iter().filter(|(status, ..)| status == "resolved").count() >= 3).await;
    verify(&received, false);
    // Of each hand-over: what the old one published last, then the new one's first poll.
    let gap = world.sink.longest_gap();
    eprintln!("longest time without figures: {gap:?}");
    assert!(gap < POLL + BUSY, "figures are missing for {gap:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_paused_at_random_moments_they_lose_and_double_nothing() {
    let (seed, kills) = (number("TRAINSPOTTER_SEED", 1), number("TRAINSPOTTER_KILLS", 2));
    eprintln!("seed {seed}, {kills} kills");
    // In a bucket, if there is an emulator of one.
    let python = support::python::python().await;
    let moto = match &python {
        Some(python) => Some(support::moto::moto(python).await),
        None => None,
    };
    let world = match &moto {
        Some((_, s3)) => World::in_a_new_bucket(s3, "logs").await,
        None => World::start().await,
    };
    let mut replicas = Vec::new();
    for name in ["a-0", "b-0", "c-0"] {
        replicas.push(world.replica(name).await);
    }
    let mut dice = seed;
    let mut roll = |below: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % below
    };
    let mut killed = 0;
    for kill in 1..=kills {
        tokio::time::sleep(Duration::from_millis(2_000 + roll(8_000))).await;
        let which = usize::try_from(roll(3)).unwrap();
        if roll(2) == 0 {
            killed += 1;
            replicas[which].process.kill().await.unwrap();
            replicas[which] = world.replica(&format!("{which}-{kill}")).await;
        } else {
            replicas[which].signal("-STOP");
            tokio::time::sleep(Duration::from_millis(500 + roll(9_000))).await;
            replicas[which].signal("-CONT");
        }
    }
    let before = world.hook.until(|_| true).await.len();
    let received =
        world.hook.until(|received| received.len() >= before + 3 && received.last().unwrap().0 == "resolved").await;
    let records = world.records().await;
    let leaders = records.iter().filter(|record| record["purpose"] == "take_over").count();
    let ids: BTreeSet<&String> = received.iter().map(|(_, _, id)| id).collect();
    eprintln!(
        "{killed} killed, {} paused, {leaders} times a leader, {} notifications, {} of them repeated",
        kills - killed,
        ids.len(),
        received.len() - ids.len()
    );
    verify(&received, true);
    is_one_line(&records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_followed_is_a_clear_error_and_stays_as_it_is() {
    let world = World::start().await;
    let mut first = world.replica("first").await;
    first.leads().await;
    first.process.kill().await.unwrap();
    let log = world.folder_of_log();
    let last = log.join(format!("records/{:020}", world.records().await.len()));
    let whole = std::fs::read(&last).unwrap();

    std::fs::write(&last, &whole[..whole.len() - 1]).unwrap();
    assert!(refused(&world, "cut").await.contains("truncated or corrupt: restore it from an older version"));
    for left in ["", "trainsp"] {
        std::fs::write(&last, left).unwrap();
        assert!(refused(&world, "nearly-empty").await.contains("truncated or corrupt"), "{left:?}");
    }
    let newer = String::from_utf8_lossy(&whole).replacen("log 1 ", "log 2 ", 1);
    std::fs::write(&last, newer).unwrap();
    assert!(refused(&world, "newer").await.contains("newer version"));
    std::fs::write(&last, "something else").unwrap();
    assert!(refused(&world, "foreign").await.contains("not a record of Trainspotter"));
    std::fs::write(&last, &whole).unwrap();
    std::fs::remove_file(log.join(format!("records/{:020}", 1))).unwrap();
    assert!(refused(&world, "headless").await.contains("the log is incomplete: restore"));
    // As the error says, a new log begins with the state file of a replica.
    let elsewhere = |settings: &mut Value| settings["store"]["log"] = format!("{}-new", world.log).into();
    let first = world.replica_with("first", elsewhere, &[]).await;
    first.leads().await;
    first.until_logged("restored the jobs from the state file").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_a_bucket_of_moto_is_led_handed_over_and_taken_over() {
    let Some(python) = support::python::python().await else { return };
    let (_moto, s3) = support::moto::moto(&python).await;
    is_led_handed_over_and_taken_over(&s3).await;
}

/// An independent S3 emulator: a second opinion on conditional puts.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_a_bucket_of_fakecloud_is_led_handed_over_and_taken_over() {
    let Some(program) = support::fakecloud::fakecloud() else { return };
    let (_fakecloud, s3) = support::fakecloud::start(&program).await;
    is_led_handed_over_and_taken_over(&s3).await;
}

async fn is_led_handed_over_and_taken_over(s3: &str) {
    let nowhere = World::in_a_bucket(s3, "nowhere").await;
    assert!(nowhere.refused("nowhere", |_| {}).await.contains("the bucket nowhere does not exist"));
    let world = World::in_a_new_bucket(s3, "logs").await;
    let first = world.replica("first").await;
    first.leads().await;
    let mut second = world.replica("second").await;
    second.follows().await;
    first.signal("-TERM");
    second.leads().await;
    world.hook.until(|received| received.iter().any(|(status, ..)| status == "resolved")).await;
    let third = world.replica("third").await;
    third.follows().await;
    second.process.kill().await.unwrap();
    third.leads().await;
    let heard = world.hook.until(|_| true).await.len();
    let received =
        world.hook.until(|received| received.len() > heard + 2 && received.last().unwrap().0 == "resolved").await;
    verify(&received, true);
}

/// The error message of a replica that does not start, and leaves the log as it is.
async fn refused(world: &World, name: &str) -> String {
    let before = tree(&world.folder_of_log());
    let said = world.refused(name, |_| {}).await;
    assert_eq!(tree(&world.folder_of_log()), before, "the log stays as it is");
    said
}
