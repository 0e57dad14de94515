//! What operators do, for all targets: a silence holds everywhere, and the outbox is that of all.

use futures_util::future::join_all;

use crate::notify::silence::Silence;
use crate::web::Pages;
use crate::web::error::ApiError;
use crate::web::operations::{Change, Operation, Outcome, Refusal, Reply, asked};
use crate::web::outbox::{NotificationPage, OutboxFilter};
use crate::web::targets::{PlaceFilter, WatchedTarget};

/// How often a new silence is given an id while others take theirs.
const ATTEMPTS: usize = 3;

impl Pages {
    async fn each<T>(&self, operation: impl Fn(Reply<T>) -> Operation) -> Result<Vec<Outcome<T>>, ApiError> {
        let targets = self.watched(&PlaceFilter::default());
        join_all(targets.iter().map(|target| asked(&target.operations, &operation))).await.into_iter().collect()
    }

    /// All silences, by id.
    pub(super) async fn list_silences(&self) -> Result<Vec<Silence>, ApiError> {
        let mut all: Vec<Silence> = Vec::new();
        let (mut refused, mut any) = (None, false);
        for answer in self.each(|reply| Operation::ListSilences { reply }).await? {
            match answer {
                Ok(found) => {
                    any = true;
                    all.extend(found);
                }
                Err(refusal) => refused = Some(refusal),
            }
        }
        if let Some(refusal) = refused.filter(|_| !any) {
            return Err(refusal.into());
        }
        // One that ended in some targets only, because others did not answer, still holds there.
        all.sort_by_key(|silence| (silence.id, std::cmp::Reverse(silence.ends_at)));
        all.dedup_by_key(|silence| silence.id);
        Ok(all)
    }

    /// Begins a silence in all targets.
    pub(super) async fn add_silence(&self, silence: Silence, allow_unmatched: bool) -> Result<Silence, ApiError> {
        let targets = self.watched(&PlaceFilter::default());
        if let [target] = targets.as_slice() {
            let add = |reply| Operation::AddSilence { silence: silence.clone(), allow_unmatched, reply };
            return Ok(asked(&target.operations, add).await??);
        }
        let mut taken = Refusal::Unavailable("nothing is watched yet".to_owned());
        for _ in 0..ATTEMPTS {
            let last = self.list_silences().await?.last().map_or(0, |silence| silence.id);
            let new = Silence { id: last + 1, ..silence.clone() };
            let add = |reply| Operation::AddSilence { silence: new.clone(), allow_unmatched, reply };
            let answers = join_all(targets.iter().map(|target| asked(&target.operations, &add))).await;
            let names: Vec<&str> = targets.iter().map(|target| &*target.place.target).collect();
            if let Some(partly) = partly(new.id, &names, &answers) {
                return Err(partly);
            }
            let answers: Vec<Outcome<Silence>> = answers.into_iter().collect::<Result<_, _>>()?;
            let is_added = answers.iter().any(Result::is_ok);
            match answers.into_iter().find_map(Result::err) {
                None => return Ok(new),
                // Where it would silence nothing it is not needed.
                Some(_) if is_added => return Ok(new),
                Some(refusal @ Refusal::Conflict(_)) => taken = refusal,
                Some(refusal) => return Err(refusal.into()),
            }
        }
        Err(taken.into())
    }

    /// Ends a silence wherever it holds.
    pub(super) async fn end_silence(&self, id: i64, author: &str) -> Result<Silence, ApiError> {
        let end = |reply| Operation::EndSilence { id, author: author.to_owned(), reply };
        first_done(self.each(end).await?)
    }

    /// A page of the outbox of all targets, one after the other. The place of a page names the target, where there are several.
    pub(super) async fn list_outbox(&self, filter: OutboxFilter) -> Result<NotificationPage, ApiError> {
        let targets = self.watched(&PlaceFilter { account: filter.account.clone(), region: filter.region.clone() });
        let several = self.targets.borrow().len() > 1;
        let (from, mut after) = match filter.after.as_deref().and_then(|after| after.rsplit_once('@')) {
            Some((place, target)) => (Some(target.to_owned()), Some(place.to_owned())),
            None => (None, filter.after.clone()),
        };
        let is_before = |target: &&WatchedTarget| from.as_deref().is_some_and(|from| *target.place.target != *from);
        let mut page = NotificationPage::default();
        let mut rest = targets.iter().skip_while(is_before).peekable();
        while let Some(target) = rest.next() {
            let limit = filter.limit.saturating_sub(page.notifications.len());
            let one = OutboxFilter { limit, after: after.take(), ..filter.clone() };
            let found = asked(&target.operations, |reply| Operation::ListOutbox { filter: one.clone(), reply });
            let found = found.await??;
            page.notifications.extend(found.notifications);
            let name = &target.place.target;
            page.next = found.next.map(|place| if several { format!("{place}@{name}") } else { place });
            if page.next.is_some() {
                break;
            }
            if page.notifications.len() >= filter.limit {
                page.next = rest.peek().map(|next| format!("0@{}", next.place.target));
                break;
            }
        }
        Ok(page)
    }

    /// Changes notifications of all targets: says how many.
    pub(super) async fn change_outbox(
        &self,
        change: Change,
        receiver: Option<String>,
        ids: Vec<String>,
        author: &str,
    ) -> Result<usize, ApiError> {
        let changing = |reply| {
            let (receiver, ids, author) = (receiver.clone(), ids.clone(), author.to_owned());
            Operation::ChangeOutbox { change, receiver, ids, author, reply }
        };
        let answers = self.each(changing).await?;
        let changed: usize = answers.iter().filter_map(|answer| answer.as_ref().ok()).sum();
        if changed > 0 { Ok(changed) } else { first_done(answers) }
    }
}

/// That a silence was added in some targets only, if it was: others may be led by another replica. Whoever tries again adds another one.
fn partly(id: i64, names: &[&str], answers: &[Result<Outcome<Silence>, ApiError>]) -> Option<ApiError> {
    let (mut added, mut lacking) = (Vec::new(), Vec::new());
    for (name, answer) in names.iter().copied().zip(answers) {
        match answer {
            Ok(Ok(_)) => added.push(name),
            Ok(Err(Refusal::Invalid(_))) => {}
            Ok(Err(_)) | Err(_) => lacking.push(name),
        }
    }
    let message = || {
        format!(
            "silence {id} was added in {} and not in {}: the same request again would add another one; add it at the replicas that lead the others, which /api/v1/health names, or end it",
            added.join(", "),
            lacking.join(", ")
        )
    };
    (!added.is_empty() && !lacking.is_empty()).then(|| ApiError::not_everywhere(message()))
}

/// What was done; if nothing was, the refusal that says most.
fn first_done<T>(answers: Vec<Outcome<T>>) -> Result<T, ApiError> {
    let mut refused: Option<Refusal> = None;
    for answer in answers {
        match answer {
            Ok(done) => return Ok(done),
            Err(refusal) if !matches!(refused, Some(Refusal::Conflict(_))) => {
                let says_more = !matches!(refusal, Refusal::NotFound(_)) || refused.is_none();
                refused = if says_more { Some(refusal) } else { refused };
            }
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| Refusal::Unavailable("nothing is watched yet".to_owned())).into())
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;

    use super::*;
    use trainspotter_core::model::{Matchers, Timestamp};

    #[test]
    fn a_silence_that_was_added_in_a_part_is_a_conflict_that_names_both_parts() {
        let at = Timestamp::from_millis(0);
        let matchers = Matchers::parse("queue=research").unwrap();
        let silence =
            Silence { id: 3, matchers, starts_at: at, ends_at: at, author: "ada".to_owned(), comment: String::new() };
        let added = || Ok(Ok(silence.clone()));
        let elsewhere = || Ok(Err(Refusal::Unavailable("another replica leads".to_owned())));
        let not_needed = || Ok(Err(Refusal::Invalid("it would silence nothing".to_owned())));
        let no_answer = || Err(ApiError::unavailable("no_answer", "try again"));
        let names = ["a", "b", "c", "d"];
        let answer = partly(3, &names, &[added(), elsewhere(), not_needed(), no_answer()]).unwrap();
        let text = format!("{answer:?}");
        assert!(text.contains("not_everywhere") && text.contains("silence 3 was added in a and not in b, d"), "{text}");
        assert_eq!(answer.into_response().status(), StatusCode::CONFLICT);
        assert_eq!(partly(3, &names, &[added(), added(), not_needed(), added()]), None);
        assert_eq!(partly(3, &names, &[elsewhere(), elsewhere(), not_needed(), no_answer()]), None);
    }
}
