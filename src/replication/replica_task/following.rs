//! A follower: applies the records of others one by one, and takes over when there are none.

use crate::objects::Storage;
use crate::replication::LogError;
use crate::replication::append_record::Fate;
use crate::replication::object_names;
use crate::replication::record;
use crate::replication::record::Purpose;
use crate::replication::replica_task::Outstanding;
use crate::replication::replica_task::Replica;
use crate::replication::restore::Restored;
use crate::replication::restore::restore;
use crate::replication::time_limit::within;
use crate::store::Changes;
use crate::store::Store;

impl<S: Storage + 'static> Replica<S> {
    /// Looks for the next record; applies it, or takes over.
    pub(super) async fn look(&mut self) {
        if self.has_diverged && !self.restore().await {
            return;
        }
        self.store.rejoin_file(self.clock.now());
        let asked = self.now();
        let name = object_names::record(self.log.position.number + 1);
        match within(self.patience(), self.log.storage.get(&name)).await {
            Ok(Some(bytes)) => match self.apply_record(&name, &bytes) {
                Ok(()) => self.set_trouble(None),
                Err(error) => {
                    self.set_trouble(Some(error.to_string()));
                    self.lease.bar(self.now());
                }
            },
            Ok(None) => {
                let takes_over = self.lease.found_nothing(asked, self.now());
                #[cfg(test)]
                let takes_over = takes_over || crate::replication::simulation::mutant::takes_over_too_early();
                if self.trouble.is_some() && self.lease.is_unbarred() && !self.failed_to_take_over {
                    self.set_trouble(None);
                }
                if takes_over {
                    self.take_over().await;
                }
            }
            Err(error) => {
                self.set_trouble(Some(format!("cannot read it: {error}")));
                self.lease.could_not_look(self.now());
            }
        }
    }

    fn apply_record(&mut self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        let number = self.log.position.number + 1;
        let (header, body) = record::decode(name, bytes, number, Store::schema_version())?;
        if header.before.as_bytes() != self.log.position.digest {
            let problem =
                format!("it does not follow record {}, the last one of this replica", self.log.position.number);
            self.has_diverged = true;
            return Err(LogError::Unreadable { name: name.to_owned(), problem });
        }
        if header.watches != self.identity.watches {
            return Err(LogError::OfAnother { found: header.watches, own: self.identity.watches.clone() });
        }
        let changes = record::changes(name, body)?;
        let position = self.after(&header);
        self.store.apply(&changes, &position).map_err(LogError::store)?;
        self.log.position = position;
        self.failed_to_take_over = false;
        // A record that this replica tried to write, without learning the result.
        let own = self.outstanding.take().filter(|own| own.record.header.digest == header.digest);
        match own {
            Some(own) if header.purpose == Purpose::TakeOver => self.begin_to_lead(own.began),
            Some(_) | None => {
                self.lease.found(header.purpose == Purpose::HandOver, self.now());
            }
        }
        self.log.last = Some(header);
        self.identity.check_account(&self.store)
    }

    async fn take_over(&mut self) {
        // The next record may be missing because it is so old that it was removed.
        let later = within(
            self.patience(),
            self.log.storage.list(object_names::RECORDS, &object_names::record(self.log.position.number)),
        )
        .await;
        match later {
            Ok(later) => {
                let mut numbers = later.iter().filter_map(|name| object_names::record_number(name));
                match numbers.next() {
                    None => {}
                    Some(next) if next == self.log.position.number + 1 => return,
                    Some(_) => {
                        self.has_diverged = true;
                        return;
                    }
                }
            }
            Err(error) => {
                self.set_trouble(Some(format!("cannot read it: {error}")));
                self.failed_to_take_over = true;
                return self.lease.could_not_look(self.now());
            }
        }
        let began = self.now();
        let outstanding = match self.outstanding.take() {
            Some(outstanding) => outstanding,
            None => match self.record(Purpose::TakeOver, &Changes::default()) {
                Ok(record) => Outstanding { record, changes: Changes::default(), began, is_kept: false },
                Err(error) => return self.set_trouble(Some(error.to_string())),
            },
        };
        match self.append(&outstanding.record).await {
            Fate::Written => {
                let position = self.after(&outstanding.record.header);
                if let Err(error) = self.store.write_position(&position) {
                    self.set_trouble(Some(error.to_string()));
                }
                self.log.position = position;
                self.log.last = Some(outstanding.record.header);
                // An earlier attempt may have been written since then.
                self.begin_to_lead(outstanding.began);
            }
            // Another replica was faster; its record is found next.
            Fate::Refused => {}
            Fate::Unknown(error) => {
                self.outstanding = Some(outstanding);
                self.failed_to_take_over = true;
                self.set_trouble(Some(format!("cannot write it: {error}")));
                self.lease.could_not_look(self.now());
            }
        }
    }

    fn begin_to_lead(&mut self, began: std::time::Duration) {
        self.lease.wrote(began);
        self.failed_to_take_over = false;
        self.term = self.log.position.number;
        self.store.lead(true);
        self.set_trouble(None);
        tracing::info!(term = self.term, "this replica is the leader now");
    }

    /// Restores the store from the log. Returns whether it succeeded.
    async fn restore(&mut self) -> bool {
        self.unlogged = Changes::default();
        self.outstanding = None;
        let (writer, patience) = (self.identity.writer.clone(), self.patience());
        match restore(&*self.log.storage, &mut self.store, &writer, patience).await {
            Ok(Restored { position, damaged }) => {
                tracing::info!(number = position.number, "restored the state from the replication log");
                self.log.position = position;
                self.log.damaged = damaged;
                self.has_diverged = false;
                self.set_trouble(None);
                true
            }
            Err(error) => {
                self.set_trouble(Some(error.to_string()));
                self.lease.could_not_look(self.now());
                false
            }
        }
    }
}
