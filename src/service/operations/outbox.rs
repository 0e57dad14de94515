//! The outbox: lists, retries and drops waiting or failed notifications.

use crate::service::operations::{Operations, unavailable};
use crate::store::{Selection, Store, Wanted};
use crate::web::{Change, NotificationPage, OutboxFilter, Outcome, Refusal};

impl Operations {
    pub(super) async fn list_outbox(&self, filter: OutboxFilter) -> Outcome<NotificationPage> {
        let OutboxFilter { account: _, region: _, receiver, states, id, alert, after, limit } = filter;
        let after = after.and_then(|after| after.parse().ok());
        let wanted = Wanted { receiver, states, ids: id.into_iter().collect(), alert, after };
        let found = self.store.call(move |store| store.outbox_page(&wanted, limit)).await;
        let (rows, next) = found.map_err(unavailable)?;
        let notifications = rows.into_iter().map(Into::into).collect();
        Ok(NotificationPage { notifications, next: next.map(|place| place.to_string()) })
    }

    pub(super) async fn change_outbox(
        &self,
        change: Change,
        receiver: Option<String>,
        ids: Vec<String>,
        author: &str,
    ) -> Outcome<usize> {
        let configured = |name: &String| self.config.receivers.iter().any(|receiver| receiver.name == *name);
        let is_unknown = receiver.as_ref().is_some_and(|name| !configured(name));
        let now = self.clock.now();
        let selection = Selection { receiver: receiver.clone(), ids: ids.clone() };
        let run = move |store: &mut Store| {
            let changed = match change {
                Change::Retry => store.retry(&selection, now)?,
                Change::Drop => store.give_up(&selection, now)?,
            };
            let wanted = Wanted { receiver: selection.receiver, ids: selection.ids, ..Wanted::default() };
            Ok((changed, !store.outbox_page(&wanted, 1)?.0.is_empty()))
        };
        let (changed, is_there) = self.store.call(run).await.map_err(unavailable)?;
        let names_some = is_unknown || !ids.is_empty();
        if changed == 0 && names_some && !is_there {
            let message = "there is no such notification; see GET /api/v1/outbox?state=pending,dead,delivered,muted";
            return Err(Refusal::NotFound(message.to_owned()));
        }
        if changed == 0 && names_some {
            let states = match change {
                Change::Retry => "pending or dead",
                Change::Drop => "pending",
            };
            return Err(Refusal::Conflict(format!("none of these notifications is still {states}")));
        }
        let done = match change {
            Change::Retry => "notifications were queued for a retry",
            Change::Drop => "notifications were dropped",
        };
        let receiver = receiver.unwrap_or_default();
        tracing::info!(author, changed, receiver, ids = ids.join(","), "{done}");
        self.notifiers.committed();
        Ok(changed)
    }
}
