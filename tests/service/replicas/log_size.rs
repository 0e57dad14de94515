//! How little a tick with many unchanged jobs writes to the log.

use std::time::Duration;

use super::world::PATIENCE;
use crate::replicas::many_waiting::{replica, until_all_are_described, world};

/// Maximum bytes of the changes of a tick in which little happened: with the tables of queues and shares, which are
/// written every half minute, and without. Measured: 5.7 KB and 4.6 KB; the figures have 3.4 KB, counters 1 KB.
const FEW_KILOBYTES: u64 = 8_000;
const WITHOUT_TABLES: u64 = 6_000;

/// Ticks that are measured.
const TICKS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_tick_is_a_few_kilobytes_in_the_log() {
    let (world, proxy) = world().await;
    let leader = replica(&world, "first", "first").await;
    leader.leads().await;
    until_all_are_described(&proxy).await;
    let before = world.records().await.len();
    let sizes = async || -> Vec<u64> {
        let records = world.records().await;
        let after = records.iter().skip(before).map(|record| record["bytes"].as_u64().unwrap());
        after.filter(|bytes| *bytes > 0).collect()
    };
    let waiting = async {
        while sizes().await.len() < TICKS {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "ticks are written");
    let sizes = sizes().await;
    eprintln!("bytes of the records of {} ticks: {sizes:?}", sizes.len());
    assert!(sizes.iter().all(|bytes| *bytes <= FEW_KILOBYTES), "{sizes:?}");
    let without_tables = sizes.iter().filter(|bytes| **bytes <= WITHOUT_TABLES).count();
    assert!(without_tables * 2 > sizes.len(), "most ticks write no tables: {sizes:?}");
}
