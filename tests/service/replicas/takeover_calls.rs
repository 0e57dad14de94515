//! Calls of AWS after a start or takeover with many waiting jobs: a replica asks only for lists.

use std::time::Duration;

use tokio::time::Instant;

use super::world::{PATIENCE, World};
use crate::replicas::many_waiting::{QUIET_POLLS, jobs, replica, until_all_are_described, world};
use crate::support::aws_proxy::{AwsProxy, DESCRIBE, LIST, SNAPSHOT};

/// Jobs per page of a list.
const JOBS_PER_PAGE: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_starts_or_takes_over_describes_no_job_again_and_has_figures_after_its_lists() {
    let (world, proxy) = world().await;
    let mut first = replica(&world, "first", "disk").await;
    first.leads().await;
    until_all_are_described(&proxy).await;

    // The same disk again.
    first.signal("-TERM");
    assert!(first.process.wait().await.unwrap().success());
    let mut again = replica(&world, "again", "disk").await;
    has_figures_after_its_lists(&world, &proxy, "again").await;

    // A new task, with an empty disk, after one that died.
    again.process.kill().await.unwrap();
    let mut new = replica(&world, "new", "new-disk").await;
    has_figures_after_its_lists(&world, &proxy, "new").await;

    // A follower.
    let follower = replica(&world, "follower", "other-disk").await;
    follower.follows().await;
    new.process.kill().await.unwrap();
    has_figures_after_its_lists(&world, &proxy, "follower").await;
    drop(follower);
}

/// Waits until a replica leads and publishes. Until then it has listed jobs once and described none, and afterwards it
/// describes only a few again, because of their place in the queue.
async fn has_figures_after_its_lists(world: &World, proxy: &AwsProxy, key: &str) {
    world.sink.until_published_by(key).await;
    let published = world.sink.first_published_by(key).unwrap();
    let count = |path: &str, until: Option<Instant>| {
        let requests = proxy.about_jobs().into_iter().filter(|it| it.key == key && it.path == path);
        requests.filter(|it| until.is_none_or(|until| it.at <= until)).count()
    };
    let [lists, descriptions, snapshots] = [LIST, DESCRIBE, SNAPSHOT].map(|path| count(path, Some(published)));
    eprintln!("{key}: {lists} lists, {descriptions} descriptions, {snapshots} snapshots until the first figures");
    assert_eq!(descriptions, 0, "{key}");
    // SUBMITTED, PENDING, SCHEDULED, STARTING, RUNNING and arrivals are a page each.
    let pages = jobs().div_ceil(JOBS_PER_PAGE);
    assert!((pages..=pages + 6).contains(&lists), "{key} lists once: {lists} pages for {pages}");
    assert!(snapshots <= 1, "{key} has figures after its first poll");

    let waiting = async {
        while count(SNAPSHOT, None) < snapshots + QUIET_POLLS {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{key} polls");
    let again = count(DESCRIBE, None);
    assert!(again < jobs() / 3, "{key} has described {again} jobs again");
}
