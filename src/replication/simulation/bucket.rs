//! The bucket, and the network between it and a replica.

use std::sync::Arc;
use std::time::Duration;

use super::mutant;
use super::world::Shared;
use crate::objects::Created;
use crate::objects::Storage;
use crate::objects::StorageError;
use crate::objects::Trouble;
use crate::replication::object_names;
use crate::replication::record;
use crate::store::Store;

/// The bucket as seen by one replica.
#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) world: Shared,
    pub(super) replica: usize,
}

/// What the network does with a request.
struct Way {
    there: Duration,
    back: Duration,
    is_lost: bool,
    is_answer_lost: bool,
}

impl Bucket {
    /// How a request is delivered. `None` if it is lost.
    fn way(&self) -> Way {
        let mut world = self.world.lock().unwrap();
        let (lost_answers, slow, slowest) = (world.perils.lost_answers, world.perils.slow_puts, world.slowest);
        let mut there = world.random(1..slowest);
        if world.happens(slow, 0.02) {
            there += world.random(1_000..30_000);
        }
        let back = world.random(1..slowest);
        let is_cut_off = world.cut_off.contains(&self.replica);
        let is_lost = is_cut_off || world.happens(lost_answers, 0.02);
        let is_answer_lost = world.happens(lost_answers, 0.04);
        if is_lost || is_answer_lost || there > 1_000 {
            world.fault();
        }
        Way { there: Duration::from_millis(there), back: Duration::from_millis(back), is_lost, is_answer_lost }
    }

    /// A request that completes once it has left, even if its caller is gone.
    async fn request<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut super::world::World) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let Way { there, back, is_lost, is_answer_lost } = self.way();
        if is_lost {
            return std::future::pending().await;
        }
        let (world, replica) = (Arc::clone(&self.world), self.replica);
        let acting = tokio::spawn(async move {
            tokio::time::sleep(there).await;
            let done = {
                let mut world = world.lock().unwrap();
                if world.is_out {
                    world.fault();
                    let at = world.passed();
                    tracing::debug!(?at, replica, "503");
                    Err(StorageError::answered("503 Slow Down"))
                } else {
                    act(&mut world)
                }
            };
            tokio::time::sleep(back).await;
            let is_cut_off = world.lock().unwrap().cut_off.contains(&replica);
            (done, is_cut_off)
        });
        let (done, is_cut_off) = acting.await.unwrap();
        if is_answer_lost || is_cut_off {
            self.world.lock().unwrap().fault();
            return if is_cut_off {
                std::future::pending().await
            } else {
                Err(StorageError::silent("connection reset"))
            };
        }
        done
    }

    async fn try_to_create(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StorageError> {
        let name = name.to_owned();
        self.request(move |world| {
            let slow = world.perils.slow_puts;
            if world.happens(slow, 0.02) {
                return Ok(Created::Conflict);
            }
            if world.objects.contains_key(&name) {
                return Ok(Created::Exists);
            }
            if let Some(number) = object_names::record_number(&name) {
                match record::decode(&name, &bytes, number, Store::schema_version()) {
                    Ok((header, _)) => {
                        let at = world.passed();
                        tracing::debug!(?at, number, writer = header.writer, purpose = ?header.purpose, "record");
                        world.log.push(header);
                    }
                    Err(error) => world.violated(error.to_string()),
                }
            }
            world.objects.insert(name, bytes);
            Ok(Created::Yes)
        })
        .await
    }
}

impl Storage for Bucket {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let name = name.to_owned();
        self.request(move |world| Ok(world.objects.get(&name).cloned())).await
    }

    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StorageError> {
        let created = self.try_to_create(name, bytes).await;
        let is_lost = created.as_ref().is_err_and(|error| error.trouble == Trouble::Silent);
        if is_lost && mutant::trusts_a_lost_answer() { Ok(Created::Yes) } else { created }
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        let name = name.to_owned();
        self.request(move |world| {
            world.objects.insert(name, bytes);
            Ok(())
        })
        .await
    }

    async fn list(&self, folder: &str, after: &str) -> Result<Vec<String>, StorageError> {
        let (folder, after) = (format!("{folder}/"), after.to_owned());
        self.request(move |world| {
            let names = world.objects.keys().filter(|name| name.starts_with(&folder) && **name > after);
            Ok(names.take(1_000).cloned().collect())
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<(), StorageError> {
        let name = name.to_owned();
        self.request(move |world| {
            world.objects.remove(&name);
            Ok(())
        })
        .await
    }
}
