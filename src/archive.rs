//! Long-term archive: Parquet files in a bucket or folder, with one row per ended job and one per queue, share and
//! hour.
//!
//! ```text
//!  PLACE/jobs/v1/day=2026-11-27/SOURCE.parquet
//!  PLACE/hours/v1/day=2026-11-27/SOURCE.parquet
//! ```
//!
//! - Days are in UTC; a job belongs to the day in which it ended. `SOURCE` is the target, so that several targets
//!   can share a location.
//! - A day is written once it has ended, all of its events are counted, and the grace period has passed. Later rows
//!   rewrite the day's file: it is read, completed and written again. Rows are deduplicated, so that repeating a
//!   write after a crash or a takeover changes nothing.
//! - Until then the rows are in the state file, as part of the commit that counted them.

mod column;
mod compressed_rows;
mod decode;
mod encode;
mod error;
mod layout;
mod read;
mod table_columns;
#[cfg(test)]
mod tests;
mod write;

pub use column::{Column, Kind};
pub use compressed_rows::{unarchived_of, unpack};
pub use decode::decode;
pub use encode::{Encoder, ROWS_OF_A_GROUP};
pub use error::ArchiveError;
pub use layout::{day_of, day_text, source_of};
pub use read::{ArchivedDays, days, read_days};
pub use table_columns::{Row, SCHEMA_VERSION};
pub use write::{Written, write_day};

use crate::aws::BucketAccess;
use crate::config::{Archive, Config};
use crate::objects::{self, AnyStorage, OpenError, Rights, Setting};
use trainspotter_clock::Clock;

/// Opens the location of an archive. Makes no request yet.
///
/// # Errors
/// There are no credentials for the bucket, or its endpoint cannot be used.
pub async fn open(archive: &Archive, config: Option<&Config>, clock: Clock) -> Result<AnyStorage, OpenError> {
    let Archive { place, region, endpoint, role, .. } = archive;
    let access = BucketAccess { region: region.as_deref(), endpoint: endpoint.as_deref(), role: role.as_deref() };
    let access = config.map_or(access, |config| access.or_target_defaults(config));
    let setting = Setting { place: "archive", region: "archive.region", rights: Rights::Write };
    objects::open(place, access, setting, clock).await
}
