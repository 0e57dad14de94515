//! Silences: add, end and list.

use crate::notify::routing_check;
use crate::notify::silence::Silence;
use crate::service::operations::{Operations, unavailable};
use crate::store::Store;
use crate::web::{Outcome, Refusal};

/// Maximum active silences: each notification is matched against all of them.
const MAX_ACTIVE: usize = 1_000;

impl Operations {
    /// Publishes the current silences to the pages.
    pub(super) async fn publish_silences(&self) {
        match self.all_silences().await {
            Ok(found) => {
                let found = found.into();
                self.silences.send_if_modified(|shown| {
                    let changed = *shown != found;
                    *shown = found;
                    changed
                });
            }
            Err(refusal) => tracing::debug!(?refusal, "cannot read the silences; pages show the previous ones"),
        }
    }

    pub(super) async fn all_silences(&self) -> Outcome<Vec<Silence>> {
        self.store.call(|store| store.silences()).await.map_err(unavailable)
    }

    pub(super) async fn add_silence(&self, silence: Silence, allow_unmatched: bool) -> Outcome<Silence> {
        let rules = self.rules.borrow().clone();
        if let Some(why) = routing_check::never(&silence.matchers, &rules).filter(|_| !allow_unmatched) {
            let message = format!("matchers: this would silence nothing: {why} (`allow_unmatched` accepts it anyway)");
            return Err(Refusal::Invalid(message));
        }
        let (new, now) = (silence.clone(), self.clock.now());
        let add = move |store: &mut Store| {
            if store.silences()?.iter().filter(|silence| silence.is_active(now)).count() >= MAX_ACTIVE {
                return Ok(Err(Refusal::Conflict(format!(
                    "the limit of {MAX_ACTIVE} active silences is reached; end some first"
                ))));
            }
            if new.id != 0 && store.silences()?.iter().any(|silence| silence.id == new.id) {
                return Ok(Err(Refusal::Conflict(format!("silence {} was added meanwhile; try again", new.id))));
            }
            Ok(Ok(store.silence(&new)?))
        };
        let id = self.store.call(add).await.map_err(unavailable)??;
        let silence = Silence { id, ..silence };
        tracing::info!(
            author = silence.author,
            silence = id,
            matchers = %silence.matchers,
            until = %silence.ends_at,
            comment = silence.comment,
            "silence added"
        );
        self.publish_silences().await;
        Ok(silence)
    }

    pub(super) async fn end_silence(&self, id: i64, author: &str) -> Outcome<Silence> {
        let now = self.clock.now();
        let end = move |store: &mut Store| {
            // In the in-memory fallback the end of the silence would be lost.
            if let Some(trouble) = store.trouble() {
                return Ok(Err(unavailable(trouble.clone())));
            }
            let Some(found) = store.silences()?.into_iter().find(|silence| silence.id == id) else {
                return Ok(Err(Refusal::NotFound(format!("there is no silence {id}; see GET /api/v1/silences"))));
            };
            if !store.end_silence(id, now)? {
                return Ok(Err(Refusal::Conflict(format!("silence {id} ended at {}", found.ends_at))));
            }
            Ok(Ok(Silence { ends_at: now, ..found }))
        };
        let ended = self.store.call(end).await.map_err(unavailable)??;
        tracing::info!(author, silence = id, matchers = %ended.matchers, "silence ended");
        self.publish_silences().await;
        // Notifications of alerts that still fire are sent now.
        self.notifiers.committed();
        Ok(ended)
    }
}
