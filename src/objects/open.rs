//! Opens the object store at a configured location.

use crate::aws::{self, BucketAccess, ConnectError};
use crate::config::ObjectPlace;
use crate::objects::folder::Folder;
use crate::objects::s3::{Bucket, BucketAddress};
use crate::objects::{AnyStorage, Setting};
use crate::outbound::{Guard, OutboundError, http_client};
use trainspotter_clock::Clock;

/// Why an object store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There are no credentials, or the endpoint cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The address is not allowed.
    #[error(transparent)]
    Address(#[from] OutboundError),
}

/// Opens the object store at a location. Makes no request yet. `setting` is the setting that errors refer to.
///
/// # Errors
/// See [`OpenError`].
pub async fn open(
    address: &ObjectPlace,
    access: BucketAccess<'_>,
    setting: Setting,
    clock: Clock,
) -> Result<AnyStorage, OpenError> {
    #[cfg(test)]
    if let Some(bucket) = crate::simulation::bucket_at(address, clock) {
        return Ok(AnyStorage::Simulated(bucket));
    }
    match address {
        ObjectPlace::Folder(folder) => Ok(AnyStorage::Folder(Folder::new(folder.clone()))),
        ObjectPlace::Bucket { bucket: name, prefix } => {
            Ok(AnyStorage::Bucket(Box::new(bucket(name, prefix, access, setting, clock).await?)))
        }
    }
}

/// Opens a bucket with a prefix.
pub(super) async fn bucket(
    bucket: &str,
    prefix: &str,
    access: BucketAccess<'_>,
    setting: Setting,
    clock: Clock,
) -> Result<Bucket, OpenError> {
    let (signer, endpoint, region) = aws::s3(access, clock).await?;
    let address = BucketAddress { endpoint, bucket: bucket.to_owned(), prefix: prefix.to_owned(), region, setting };
    let client = |url: &url::Url| http_client(url, Guard::new(true));
    Ok(Bucket::new(address, signer, client, clock)?)
}
