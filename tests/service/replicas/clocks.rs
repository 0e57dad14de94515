//! Replicas whose machines have a wrong clock: who leads is decided as always, and alerts have the right time.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::world::{LEASE, World, verify};
use crate::support::s3::S3;

/// How far a wrong clock is off, at least of what is shown with it.
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// What sets the time of day of a process off, for `LD_PRELOAD`. It is compiled by what links Rust programs, too.
fn clock_off(folder: &Path) -> String {
    let library = folder.join("clock_off.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/clock_off.c");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, Path::new(source)]).status();
    assert!(compiled.unwrap().success());
    library.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_whose_clocks_are_an_hour_off_lead_follow_and_take_over_as_others_do() {
    let s3 = S3::start("us-east-1").await;
    let world = World::in_a_bucket(&s3.endpoint, "bucket").await;
    let folder = tempfile::tempdir().unwrap();
    let library = clock_off(folder.path());
    let replica = async |name: &str, off: &str| {
        world.replica_with(name, |_| {}, &[("LD_PRELOAD", &library), ("CLOCK_OFF_SECONDS", off)]).await
    };
    let mut leader = replica("ahead", "3600").await;
    leader.leads().await;
    // Two that are off alike, one that is off the other way, and one that is right.
    for (name, off) in [("ahead-too", "3600"), ("behind", "-3600"), ("right", "0")] {
        let next = replica(name, off).await;
        next.follows().await;
        // Nobody takes over while the leader leads.
        tokio::time::sleep(LEASE + LEASE / 2).await;
        let health = leader.leads().await;
        assert_eq!(next.follows().await["replica"]["leader"], health["replica"]["replica"]);
        leader.process.kill().await.unwrap();
        let killed = tokio::time::Instant::now();
        next.leads().await;
        // Nobody leads for ever: a lease and a poll, on a machine where other tests run.
        assert!(killed.elapsed() < LEASE + Duration::from_secs(20), "{:?}", killed.elapsed());
        leader = next;
    }
    let heard = world.hook.until(|_| true).await.len();
    let received =
        world.hook.until(|received| received.len() > heard + 2 && received.last().unwrap().0 == "resolved").await;
    verify(&received, true);
    let now = Timestamp::now();
    for (status, alert, _) in &received {
        let began: Timestamp = alert["startsAt"].as_str().unwrap().parse().unwrap();
        let passed = now.duration_since(began);
        assert!(passed > -MINUTE && passed < MINUTE * 10, "{status} at {began}, now {now}");
    }
}
