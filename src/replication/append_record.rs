//! Writes one record: creates the object if it does not exist, and reads it back if the result is unknown.

use std::time::Duration;

use crate::objects::Created;
use crate::objects::Storage;
use crate::objects::StorageError;
use crate::replication::object_names;
use crate::replication::record::Record;
use crate::replication::time_limit::within;

/// Attempts in a row per record.
const ATTEMPTS: u32 = 4;

/// Pause after the first attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// With a short lease the first pause is shorter: all attempts together take no longer than one request may.
const PAUSES_PER_REQUEST: u32 = 40;

/// What became of a record.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is in the log.
    Written,
    /// Another record has its number.
    Refused,
    /// Unknown, or not written yet. The same record may be retried.
    Unknown(StorageError),
}

/// Tries to write a record. `patience` is the timeout of each request.
pub(super) async fn append<S: Storage>(storage: &S, record: &Record, patience: Duration) -> Fate {
    let name = object_names::record(record.header.number);
    let mut pause = PAUSE.min(patience / PAUSES_PER_REQUEST);
    let mut last = StorageError::silent("no answer");
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let created = within(patience, storage.create(&name, record.bytes.clone())).await;
        match created {
            Ok(Created::Yes) => return Fate::Written,
            Ok(Created::Exists | Created::Conflict) => {}
            Err(error) => last = error,
        }
        match within(patience, storage.get(&name)).await {
            Ok(Some(found)) if found == record.bytes => return Fate::Written,
            Ok(Some(_)) => return Fate::Refused,
            // Not written, or not yet.
            Ok(None) => {}
            Err(error) => last = error,
        }
        // A request that timed out is not retried often: the caller has other things to do.
        if attempt > 0 && last.trouble == crate::objects::Trouble::Silent {
            break;
        }
    }
    Fate::Unknown(last)
}
