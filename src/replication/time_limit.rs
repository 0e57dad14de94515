//! The time limit of requests to the object store.

use std::time::Duration;

use crate::objects::StorageError;

/// Applies a timeout to a request.
pub(super) async fn within<T>(
    patience: Duration,
    request: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    let waited = || StorageError::silent(format!("no response within {}", humantime::format_duration(patience)));
    tokio::time::timeout(patience, request).await.unwrap_or_else(|_| Err(waited()))
}
