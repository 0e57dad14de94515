//! Writing one record: created if it is not there, and read where it is not known what became of it.

use std::time::Duration;

use crate::objects::Created;
use crate::objects::Storage;
use crate::objects::StorageError;
use crate::replication::names;
use crate::replication::record::Record;

/// How often a record is tried in a row.
const ATTEMPTS: u32 = 4;

/// The pause after the first attempt. It doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of a record.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is in the log.
    Written,
    /// Another one has its number.
    Refused,
    /// Not known, or not yet. The same record may be tried again.
    Unknown(StorageError),
}

/// Tries to write a record. `patience` is for each request.
pub(super) async fn append<S: Storage>(storage: &S, record: &Record, patience: Duration) -> Fate {
    let name = names::record(record.header.number);
    let mut pause = PAUSE;
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
            Err(error) => {
                last = error;
                #[cfg(test)]
                if crate::replication::simulation::mutant::trusts_a_lost_answer() {
                    return Fate::Written;
                }
            }
        }
        match within(patience, storage.get(&name)).await {
            Ok(Some(found)) if found == record.bytes => return Fate::Written,
            Ok(Some(_)) => return Fate::Refused,
            // Not written; perhaps not yet.
            Ok(None) => {}
            Err(error) => last = error,
        }
        // What takes its whole time is not tried so often: who waits for it has other things to do.
        if attempt > 0 && last.trouble == crate::objects::Trouble::Silent {
            break;
        }
    }
    Fate::Unknown(last)
}

/// Gives a request so much time.
pub(super) async fn within<T>(
    patience: Duration,
    request: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    let waited = || StorageError::silent(format!("no answer within {}", humantime::format_duration(patience)));
    tokio::time::timeout(patience, request).await.unwrap_or_else(|_| Err(waited()))
}
