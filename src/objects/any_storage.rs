//! A bucket or a folder behind one type.

use crate::objects::folder::Folder;
use crate::objects::s3::Bucket;
use crate::objects::{Created, Storage, StorageError};

/// A bucket or a folder.
#[derive(Debug)]
pub enum AnyStorage {
    /// A local folder.
    Folder(Folder),
    /// An S3 bucket.
    Bucket(Box<Bucket>),
    /// One of the simulation of the whole service.
    #[cfg(test)]
    Simulated(crate::simulation::Bucket),
}

impl AnyStorage {
    /// Checks that it can be used, and leaves nothing behind: a folder is created and a file in it written and
    /// removed; of a bucket this folder is listed, which shows all mistakes but a missing right to write.
    ///
    /// # Errors
    /// What is wrong and what to do.
    pub async fn check(&self, folder: &str) -> Result<(), StorageError> {
        match self {
            Self::Folder(root) => root.check().await,
            Self::Bucket(_) => self.list(folder, "").await.map(drop),
            #[cfg(test)]
            Self::Simulated(_) => Ok(()),
        }
    }
}

impl Storage for AnyStorage {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        match self {
            Self::Folder(folder) => folder.get(name).await,
            Self::Bucket(bucket) => bucket.get(name).await,
            #[cfg(test)]
            Self::Simulated(bucket) => bucket.get(name).await,
        }
    }

    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StorageError> {
        match self {
            Self::Folder(folder) => folder.create(name, bytes).await,
            Self::Bucket(bucket) => bucket.create(name, bytes).await,
            #[cfg(test)]
            Self::Simulated(bucket) => bucket.create(name, bytes).await,
        }
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        match self {
            Self::Folder(folder) => folder.put(name, bytes).await,
            Self::Bucket(bucket) => bucket.put(name, bytes).await,
            #[cfg(test)]
            Self::Simulated(bucket) => bucket.put(name, bytes).await,
        }
    }

    async fn list(&self, folder: &str, after: &str) -> Result<Vec<String>, StorageError> {
        match self {
            Self::Folder(of) => of.list(folder, after).await,
            Self::Bucket(of) => of.list(folder, after).await,
            #[cfg(test)]
            Self::Simulated(of) => of.list(folder, after).await,
        }
    }

    async fn delete(&self, name: &str) -> Result<(), StorageError> {
        match self {
            Self::Folder(folder) => folder.delete(name).await,
            Self::Bucket(bucket) => bucket.delete(name).await,
            #[cfg(test)]
            Self::Simulated(bucket) => bucket.delete(name).await,
        }
    }
}
