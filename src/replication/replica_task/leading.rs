//! The leader: changes of its store become the next record.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use crate::objects::Storage;
use crate::objects::StorageError;
use crate::replication::append_record::Fate;
use crate::replication::lease::Mono;
use crate::replication::lease::Role;
use crate::replication::object_names;
use crate::replication::record::Purpose;
use crate::replication::replica_task::Outstanding;
use crate::replication::replica_task::Replica;
use crate::replication::time_limit::within;
use crate::store::Call;
use crate::store::Changes;
use crate::store::Position;
use crate::store::Reply;
use crate::store::StoreError;

impl<S: Storage + 'static> Replica<S> {
    /// Runs calls, writes their changes to the log, and only then sends the replies.
    pub(super) async fn run_batch(&mut self, calls: VecDeque<Call>) {
        self.store.rejoin_file(self.clock.now());
        let mut replies: Vec<Reply> = Vec::new();
        for call in calls {
            if call.term.is_some_and(|term| term != self.term) {
                (call.run)(&mut self.store, Some(StoreError::NotLeading))(Ok(()));
                continue;
            }
            // If a call panics, its changes are rolled back, and its caller gets no reply.
            match catch_unwind(AssertUnwindSafe(|| (call.run)(&mut self.store, None))) {
                Ok(reply) => replies.push(reply),
                Err(_) => tracing::error!(
                    "a store operation panicked, which is a bug; its changes were rolled back, and the store continues"
                ),
            }
        }
        let done = match self.store.batch_changes() {
            Ok(None) => Ok(()),
            Ok(Some(changes)) => self.keep(changes).await,
            Err(error) => {
                self.has_diverged |= !self.store.drop_batch();
                Err(error)
            }
        };
        // Publish the status first, so that callers who are refused can see why.
        self.show();
        for reply in replies {
            reply(done.clone());
        }
    }

    /// Writes changes to the log, and keeps them if it accepts them.
    async fn keep(&mut self, changes: Changes) -> Result<(), StoreError> {
        #[cfg(test)]
        if crate::replication::simulation::mutant::acts_before_it_appends() {
            let position = Position { is_ahead: true, ..self.log.position.clone() };
            self.store.keep_batch(&changes, &position)?;
            self.unlogged.extend(changes);
            let now = self.now();
            self.lease.write_soon(now);
            return Ok(());
        }
        // Records are written one at a time. What the bucket does not accept is kept locally until it does.
        if self.outstanding.is_some() || !self.unlogged.is_empty() {
            return self.keep_for_later(changes);
        }
        self.keep_in_log(changes).await
    }

    async fn keep_in_log(&mut self, changes: Changes) -> Result<(), StoreError> {
        let record = match self.record(Purpose::Changes, &changes) {
            Ok(record) => record,
            Err(error) => {
                self.store.drop_batch();
                return Err(StoreError::Value(error.to_string()));
            }
        };
        let began = self.now();
        if let Fate::Refused = self.check_place().await {
            return self.refused();
        }
        match self.append(&record).await {
            Fate::Written => {
                let position = self.after(&record.header);
                self.store.keep_batch(&changes, &position)?;
                self.log.position = position;
                self.log.last = Some(record.header);
                self.lease.wrote(began);
                self.set_trouble(None);
                Ok(())
            }
            Fate::Refused => self.refused(),
            Fate::Unknown(error) => {
                let is_kept = self.could_not_write(&error, began);
                self.outstanding = Some(Outstanding { record, changes: changes.clone(), began, is_kept });
                if !is_kept {
                    self.has_diverged |= !self.store.drop_batch();
                    return Err(unreachable(&error));
                }
                let position = Position { is_ahead: true, ..self.log.position.clone() };
                self.store.keep_batch(&changes, &position)
            }
        }
    }

    /// Keeps changes locally if the bucket fails for everybody; otherwise discards them: another replica may lead.
    fn keep_for_later(&mut self, changes: Changes) -> Result<(), StoreError> {
        if !self.goes_on {
            self.has_diverged |= !self.store.drop_batch();
            return Err(StoreError::Unwritable(self.trouble.clone().unwrap_or_default()));
        }
        let position = Position { is_ahead: true, ..self.log.position.clone() };
        self.store.keep_batch(&changes, &position)?;
        self.unlogged.extend(changes);
        Ok(())
    }

    fn refused(&mut self) -> Result<(), StoreError> {
        self.has_diverged |= !self.store.drop_batch();
        self.step_down();
        Err(StoreError::NotLeading)
    }

    /// Records a failed write. Returns whether the leader continues without the log.
    fn could_not_write(&mut self, error: &StorageError, began: Mono) -> bool {
        let now = self.now();
        self.set_trouble(Some(format!("cannot write it: {error}")));
        self.goes_on = self.lease.could_not_write(error.trouble, began, now);
        self.goes_on
    }

    /// Writes pending changes, or an empty record.
    pub(super) async fn write(&mut self) {
        if self.outstanding.is_some() || !self.unlogged.is_empty() {
            return self.settle().await;
        }
        if let Fate::Refused = self.check_place().await {
            return self.step_down();
        }
        self.write_unlogged().await;
    }

    /// Resolves the outstanding record, then writes later changes.
    async fn settle(&mut self) {
        if let Some(mut outstanding) = self.outstanding.take() {
            let tried = self.now();
            match self.append(&outstanding.record).await {
                Fate::Written => {
                    let position = self.after(&outstanding.record.header);
                    let changes = std::mem::take(&mut outstanding.changes);
                    self.apply_own(changes, outstanding.is_kept, &position);
                    self.log.position = position;
                    self.lease.wrote(outstanding.began);
                    self.log.last = Some(outstanding.record.header);
                }
                Fate::Refused => {
                    self.has_diverged |= outstanding.is_kept;
                    return self.step_down();
                }
                Fate::Unknown(error) => {
                    self.could_not_write(&error, tried);
                    self.outstanding = Some(outstanding);
                    return;
                }
            }
        }
        self.write_unlogged().await;
    }

    /// Applies the changes of a record that turned out to be in the log.
    fn apply_own(&mut self, changes: Changes, is_kept: bool, position: &Position) {
        let position = Position { is_ahead: !self.unlogged.is_empty(), ..position.clone() };
        let taken = if is_kept { self.store.write_position(&position) } else { self.store.apply(&changes, &position) };
        if let Err(error) = taken {
            tracing::error!(%error, "cannot apply a record of the replication log to the state file");
        }
    }

    async fn write_unlogged(&mut self) {
        let changes = std::mem::take(&mut self.unlogged);
        let record = match self.record(Purpose::Changes, &changes) {
            Ok(record) => record,
            Err(error) => return self.set_trouble(Some(error.to_string())),
        };
        let began = self.now();
        match self.append(&record).await {
            Fate::Written => {
                let position = self.after(&record.header);
                self.apply_own(Changes::default(), true, &position);
                self.log.position = position;
                self.log.last = Some(record.header);
                self.lease.wrote(began);
                self.set_trouble(None);
            }
            Fate::Refused => {
                self.has_diverged |= !changes.is_empty();
                self.step_down();
            }
            Fate::Unknown(error) => {
                self.could_not_write(&error, began);
                self.outstanding = Some(Outstanding { record, changes, began, is_kept: true });
            }
        }
    }

    /// After a long time without a confirmed record: checks whether another replica has written so many records
    /// that the next number is free again.
    async fn check_place(&mut self) -> Fate {
        if !self.lease.is_long_ago(self.now()) {
            return Fate::Written;
        }
        let name = object_names::record(self.log.position.number);
        let listed = self.log.storage.list(object_names::RECORDS, &name);
        match within(self.patience(), listed).await {
            Ok(later) if later.iter().any(|name| object_names::record_number(name).is_some()) => Fate::Refused,
            Ok(_) => Fate::Written,
            Err(error) => Fate::Unknown(error),
        }
    }

    fn step_down(&mut self) {
        tracing::warn!(term = self.term, "another replica is the leader now; this one follows");
        self.has_diverged |= !self.unlogged.is_empty();
        self.unlogged = Changes::default();
        self.outstanding = None;
        self.term = 0;
        self.store.lead(false);
        self.set_trouble(None);
        let now = self.now();
        self.lease.lost(now);
    }

    /// Records in the log that nobody leads. `for_good` means that this replica never leads again.
    pub(super) async fn hand_over(&mut self, for_good: bool) {
        self.retired |= for_good;
        self.fence.open_until(None);
        let mut is_said = false;
        if self.lease.role() == Role::Leading {
            if self.outstanding.is_some() || !self.unlogged.is_empty() {
                self.settle().await;
            }
            if let Ok(record) = self.record(Purpose::HandOver, &Changes::default())
                && self.outstanding.is_none()
                && self.lease.role() == Role::Leading
                && let Fate::Written = self.append(&record).await
            {
                self.log.position = self.after(&record.header);
                let _ = self.store.write_position(&self.log.position);
                self.log.last = Some(record.header);
                is_said = true;
                tracing::info!("this replica handed over leadership");
            }
        }
        // Changes that the log did not accept are lost with the term.
        let is_kept = self.outstanding.take().is_some_and(|outstanding| outstanding.is_kept);
        self.has_diverged |= is_kept || !self.unlogged.is_empty();
        self.unlogged = Changes::default();
        self.term = 0;
        self.store.lead(false);
        let now = self.now();
        self.lease.handed_over(is_said, now);
    }
}

fn unreachable(error: &StorageError) -> StoreError {
    StoreError::Unwritable(format!("cannot reach the log, and another replica may lead: {error}"))
}
