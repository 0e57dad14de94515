//! The bucket of the log, and the network between it and a replica.

use std::time::Duration;

use super::scenario::FaultKind;
use super::world::{Shared, World};
use crate::objects::{Created, Storage, StorageError};

/// What one replica sees of the bucket.
#[derive(Clone)]
pub struct Bucket {
    pub(super) world: Shared,
    pub(super) replica: usize,
    pub(super) prefix: String,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket").field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl Bucket {
    /// A request. Once sent, it is performed even if the sender is gone.
    async fn request<T: Send + 'static>(
        &self,
        purpose: &[&[u8]],
        act: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> Result<T, StorageError> {
        let (there, back, is_lost, is_answer_lost, fails) = {
            let mut world = self.world.lock().unwrap();
            let mut draw = world.draw(self.replica, purpose);
            let mut there = draw.millis(1..40);
            if world.has(FaultKind::SlowBucket, self.replica) {
                there += draw.millis(500..12_000);
            }
            let is_lost =
                [FaultKind::Partition, FaultKind::SilentBucket].iter().any(|kind| world.has(*kind, self.replica));
            let is_answer_lost = world.has(FaultKind::LostAnswers, self.replica) && draw.one_in(4);
            (there, draw.millis(1..40), is_lost, is_answer_lost, world.has_any(FaultKind::BucketOutage))
        };
        if is_lost {
            return std::future::pending().await;
        }
        let world = self.world.clone();
        let acting = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(there)).await;
            let done =
                if fails { Err(StorageError::answered("503 Slow Down")) } else { Ok(act(&mut world.lock().unwrap())) };
            tokio::time::sleep(Duration::from_millis(back)).await;
            done
        });
        let done = acting.await.map_err(|_| StorageError::silent("the process ends"))?;
        if is_answer_lost { Err(StorageError::silent("connection reset")) } else { done }
    }

    fn at(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Storage for Bucket {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let name = self.at(name);
        self.request(&[b"get"], move |world| world.objects.get(&name).cloned()).await
    }

    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StorageError> {
        let (name, replica, is_record) = (self.at(name), self.replica, name.starts_with("records/"));
        self.request(&[b"create"], move |world| {
            if world.objects.contains_key(&name) {
                return Created::Exists;
            }
            world.objects.insert(name, bytes);
            if is_record {
                world.writer = Some(replica);
            }
            Created::Yes
        })
        .await
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        let name = self.at(name);
        self.request(&[b"put"], move |world| {
            world.objects.insert(name, bytes);
        })
        .await
    }

    async fn list(&self, folder: &str, after: &str) -> Result<Vec<String>, StorageError> {
        let (folder, after, prefix) = (self.at(&format!("{folder}/")), self.at(after), self.prefix.clone());
        self.request(&[b"list"], move |world| {
            let names = world.objects.keys().filter(|name| name.starts_with(&folder) && **name > after);
            names.take(1_000).map(|name| name[prefix.len()..].to_owned()).collect()
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<(), StorageError> {
        let name = self.at(name);
        self.request(&[b"delete"], move |world| {
            world.objects.remove(&name);
        })
        .await
    }
}
