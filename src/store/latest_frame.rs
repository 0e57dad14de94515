//! Tables of the latest frame, for followers: what its samples do not contain. One compressed row, overwritten.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use crate::store::{Frames, StoreError};
use trainspotter_core::metrics::misconfiguration::Finding;
use trainspotter_core::metrics::{
    Estimate, FailureFigures, FairShareFigures, Frame, Loan, QueueFigures, ReasonFigures, ShareFigures, WaitFigures,
    Waterfall,
};
use trainspotter_core::model::{Queue, Reserved, Timestamp};

/// Minimum time between two writes of the tables, to keep the log small with frequent ticks.
const WRITE_EVERY: Duration = Duration::from_secs(20);

/// Maximum decompressed size; larger tables count as broken.
const MAX_BYTES: u64 = 256 << 20;

/// Contents of a frame besides its samples.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Tables {
    queues: Vec<QueueFigures>,
    shares: Vec<ShareFigures>,
    loans: Vec<Loan>,
    fair_shares: Vec<FairShareFigures>,
    reserved: Vec<Reserved>,
    waits: Vec<WaitFigures>,
    estimates: Vec<Estimate>,
    reasons: Vec<ReasonFigures>,
    waterfall: Vec<Waterfall>,
    failures: Vec<FailureFigures>,
    setup: Vec<Finding>,
    topology: Vec<Queue>,
}

impl Tables {
    fn of(frame: &Frame) -> Self {
        let frame = frame.clone();
        Self {
            queues: frame.queues,
            shares: frame.shares,
            loans: frame.loans,
            fair_shares: frame.fair_shares,
            reserved: frame.reserved,
            waits: frame.waits,
            estimates: frame.estimates,
            reasons: frame.reasons,
            waterfall: frame.waterfall,
            failures: frame.failures,
            setup: frame.setup,
            topology: frame.topology,
        }
    }

    fn add_to(self, frame: Frame) -> Frame {
        let Self { queues, shares, loans, fair_shares, reserved, waits, estimates, reasons, .. } = self;
        let (waterfall, failures, setup, topology) = (self.waterfall, self.failures, self.setup, self.topology);
        Frame {
            queues,
            shares,
            loans,
            fair_shares,
            reserved,
            waits,
            estimates,
            reasons,
            waterfall,
            failures,
            setup,
            topology,
            ..frame
        }
    }
}

/// Overwrites the stored tables, unless they are recent.
pub(super) fn record(transaction: &Connection, frame: &Frame) -> Result<(), StoreError> {
    let before: Option<i64> =
        transaction.prepare_cached("SELECT at FROM latest_tables")?.query_row([], |row| row.get(0)).optional()?;
    let before = before.map(Timestamp::from_millis);
    if before.is_some_and(|before| before <= frame.at && frame.at.since(before) < WRITE_EVERY) {
        return Ok(());
    }
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&serde_json::to_vec(&Tables::of(frame))?).map_err(unreadable)?;
    let body = encoder.finish().map_err(unreadable)?;
    transaction
        .prepare_cached(
            "INSERT INTO latest_tables (only_row, at, body) VALUES (1, ?1, ?2)
             ON CONFLICT (only_row) DO UPDATE SET at = excluded.at, body = excluded.body",
        )?
        .execute(params![frame.at.millis(), body])?;
    Ok(())
}

/// The newest frame of a file, with its stored tables or those of a slightly older frame; `None` if there is none.
/// Unreadable tables are skipped.
///
/// # Errors
/// The file cannot be read.
pub fn latest_with_tables(path: &Path) -> Result<Option<Frame>, StoreError> {
    let frames = Frames::open(path)?;
    let Some(frame) = frames.latest()? else { return Ok(None) };
    let body: Option<Vec<u8>> = frames
        .connection()
        .prepare_cached("SELECT body FROM latest_tables")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let tables = body.and_then(|body| decode(&body).ok());
    Ok(Some(match tables {
        Some(tables) => tables.add_to(frame),
        None => frame,
    }))
}

fn decode(body: &[u8]) -> Result<Tables, StoreError> {
    let mut text = Vec::new();
    DeflateDecoder::new(body).take(MAX_BYTES).read_to_end(&mut text).map_err(unreadable)?;
    Ok(serde_json::from_slice(&text)?)
}

fn unreadable(error: std::io::Error) -> StoreError {
    StoreError::Value(error.to_string())
}
