//! Operator actions over all targets: silences apply everywhere, and the outbox is the union.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::notify::silence::Silence;
use crate::web::Pages;
use crate::web::error::ApiError;
use crate::web::operation_messages::{Change, Operation, Outcome, Refusal, Reply, asked};
use crate::web::outbox::{NotificationPage, OutboxFilter};
use crate::web::place_filter::PlaceFilter;
use crate::web::test_notifications::{TestRequest, TestResult};
use crate::web::watched_targets::WatchedTarget;

/// Wall time limit per target for an operation on all: less than half of a request's, since some targets are asked
/// twice.
const ACT_WITHIN: Duration = Duration::from_secs(3);

/// Attempts to assign an id to a new silence while others are being added.
const ATTEMPTS: usize = 3;

/// Values by target name.
type Of<T> = Vec<(Arc<str>, T)>;

/// Reply of each target.
type Answers<T> = Of<Outcome<T>>;

impl Pages {
    /// Sends the operation to all targets concurrently; one that does not reply delays no other.
    async fn each<T>(&self, operation: impl Fn(Reply<T>) -> Operation) -> Answers<T> {
        let targets = self.watched(&PlaceFilter::default());
        let answers = join_all(targets.iter().map(|target| asked_in_time(target, &operation))).await;
        let names = targets.iter().map(|target| Arc::clone(&target.place.target));
        names.zip(answers).collect()
    }

    /// All silences, by id.
    pub(super) async fn list_silences(&self) -> Result<Vec<Silence>, ApiError> {
        let mut all: Vec<Silence> = Vec::new();
        let (mut refused, mut any) = (None, false);
        for (_, answer) in self.each(|reply| Operation::ListSilences { reply }).await {
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
        // A silence that was ended in some targets only, because others did not reply, is still active there.
        all.sort_by_key(|silence| (silence.id, std::cmp::Reverse(silence.ends_at)));
        all.dedup_by_key(|silence| silence.id);
        Ok(all)
    }

    /// Adds a silence in all targets.
    pub(super) async fn add_silence(&self, silence: Silence, allow_unmatched: bool) -> Result<Silence, ApiError> {
        let targets = self.watched(&PlaceFilter::default());
        if let [target] = targets.as_slice() {
            let add = |reply| Operation::AddSilence { silence: silence.clone(), allow_unmatched, reply };
            return Ok(asked(&target.operations, add).await.flatten()?);
        }
        let mut taken = nothing_yet();
        for _ in 0..ATTEMPTS {
            let last = self.list_silences().await?.last().map_or(0, |silence| silence.id);
            let new = Silence { id: last + 1, ..silence.clone() };
            let add = |reply| Operation::AddSilence { silence: new.clone(), allow_unmatched, reply };
            let answers = self.each(add).await;
            if let Some(error) = partially_added(new.id, &answers) {
                return Err(error);
            }
            let is_added = answers.iter().any(|(_, answer)| answer.is_ok());
            match answers.into_iter().find_map(|(_, answer)| answer.err()) {
                // A target without anything to silence does not need it.
                _ if is_added => return Ok(new),
                None => return Err(nothing_yet().into()),
                Some(refusal @ Refusal::Conflict(_)) => taken = refusal,
                Some(refusal) => return Err(refusal.into()),
            }
        }
        Err(taken.into())
    }

    /// Ends a silence in every target that has it.
    pub(super) async fn end_silence(&self, id: i64, author: &str) -> Result<Silence, ApiError> {
        let end = |reply| Operation::EndSilence { id, author: author.to_owned(), reply };
        let (ended, refused) = split_results(self.each(end).await);
        let still = self.possibly_active_in(id, refused.iter().filter(|(_, refusal)| is_temporary(refusal))).await;
        if !ended.is_empty() && !still.is_empty() {
            return Err(ApiError::not_everywhere(format!(
                "silence {id} was ended in {} and may still hold in {}: send the same request again, with several replicas to those that lead these targets (see /api/v1/health)",
                names(&ended),
                still.join(", ")
            )));
        }
        done(ended, relevant(refused, &still))
    }

    /// Of the targets that did not end a silence, those where it may still be active: all but those that report
    /// they do not have it.
    async fn possibly_active_in(&self, id: i64, targets: impl Iterator<Item = &(Arc<str>, Refusal)>) -> Vec<Arc<str>> {
        let now = self.clock.now();
        let holds = |silence: &Silence| silence.id == id && silence.is_active(now);
        let asking = targets.map(async |(name, _)| {
            let listed = self.of_one(name, |reply| Operation::ListSilences { reply }).await;
            listed.is_none_or(|silences| silences.iter().any(holds)).then(|| Arc::clone(name))
        });
        join_all(asking).await.into_iter().flatten().collect()
    }

    /// Reply of one target; `None` on failure.
    async fn of_one<T>(&self, name: &str, question: impl FnOnce(Reply<T>) -> Operation) -> Option<T> {
        let targets = self.watched(&PlaceFilter::default());
        let target = targets.iter().find(|target| *target.place.target == *name)?;
        asked_in_time(target, question).await.ok()
    }

    /// A page of the outbox of all targets, one after the other. With several targets the page token contains the
    /// target's name.
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
            let found = found.await.flatten()?;
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

    /// Changes notifications of all targets. Returns their number.
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
        let (changed, refused) = split_results(self.each(changing).await);
        let not_now = refused.iter().filter(|(_, refusal)| is_temporary(refusal));
        let asking = not_now.map(async |(name, _)| {
            self.may_have(name, change, receiver.as_deref(), &ids).await.then(|| Arc::clone(name))
        });
        let unchanged: Vec<Arc<str>> = join_all(asking).await.into_iter().flatten().collect();
        let total: usize = changed.iter().map(|(_, changed)| changed).sum();
        if total > 0 && !unchanged.is_empty() {
            return Err(ApiError::not_everywhere(format!(
                "{total} notifications were {}, and none of {}: send the same request again, with several replicas to those that lead these targets (see /api/v1/health)",
                match change {
                    Change::Retry => "tried again",
                    Change::Drop => "dropped",
                },
                unchanged.join(", ")
            )));
        }
        if total > 0 {
            return Ok(total);
        }
        // "Not found" in one target is no final answer while another has not replied.
        let changed = if unchanged.is_empty() { changed } else { Vec::new() };
        done(changed, relevant(refused, &unchanged))
    }

    /// Whether a target that did not change notifications may have matching ones: not if it reports none.
    async fn may_have(&self, name: &str, change: Change, receiver: Option<&str>, ids: &[String]) -> bool {
        let states = match change {
            Change::Retry => vec!["pending", "dead"],
            Change::Drop => vec!["pending"],
        };
        let ids = if ids.is_empty() { vec![None] } else { ids.iter().cloned().map(Some).collect() };
        for id in ids {
            let (receiver, states) = (receiver.map(str::to_owned), states.clone());
            let filter = OutboxFilter { receiver, states, id, limit: 1, ..OutboxFilter::default() };
            let found = self.of_one(name, |reply| Operation::ListOutbox { filter, reply }).await;
            if found.is_none_or(|page| !page.notifications.is_empty()) {
                return true;
            }
        }
        false
    }

    /// Sends test notifications. Receivers belong to no target, so the first target that replies does it.
    pub(super) async fn send_tests(&self, test: &TestRequest, author: &str) -> Result<Vec<TestResult>, ApiError> {
        let mut unanswered = nothing_yet();
        for target in &self.watched(&PlaceFilter::default()) {
            let testing = |reply| Operation::Test { test: test.clone(), author: author.to_owned(), reply };
            match asked(&target.operations, testing).await {
                Ok(answer) => return Ok(answer?),
                Err(refusal) => unanswered = refusal,
            }
        }
        Err(unanswered.into())
    }
}

/// Reply of a target to an operation; a refusal after the time limit.
async fn asked_in_time<T>(target: &WatchedTarget, operation: impl FnOnce(Reply<T>) -> Operation) -> Outcome<T> {
    let asking = asked(&target.operations, operation);
    match tokio::time::timeout(ACT_WITHIN, asking).await {
        Ok(answer) => answer.flatten(),
        Err(_) => Err(Refusal::Unavailable(format!("no response within {} s; try again", ACT_WITHIN.as_secs()))),
    }
}

fn nothing_yet() -> Refusal {
    Refusal::Unavailable("the service is still starting; try again".to_owned())
}

/// Whether a refusal is temporary, or for another replica to handle.
fn is_temporary(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Unavailable(_))
}

/// Splits replies into successes and refusals.
fn split_results<T>(answers: Answers<T>) -> (Of<T>, Of<Refusal>) {
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for (name, answer) in answers {
        match answer {
            Ok(answer) => done.push((name, answer)),
            Err(refusal) => refused.push((name, refusal)),
        }
    }
    (done, refused)
}

/// The relevant refusals: those of targets that were not needed are ignored, as long as there are others.
fn relevant(refused: Of<Refusal>, needed: &[Arc<str>]) -> Of<Refusal> {
    let counts = |(name, refusal): &&(Arc<str>, Refusal)| !is_temporary(refusal) || needed.contains(name);
    let relevant: Vec<_> = refused.iter().filter(counts).cloned().collect();
    if relevant.is_empty() { refused } else { relevant }
}

fn names<T>(of: &[(Arc<str>, T)]) -> String {
    of.iter().map(|(name, _)| &**name).collect::<Vec<_>>().join(", ")
}

/// The error that a silence was added in some targets only, if so: others may be led by another replica. A retry
/// adds another silence.
fn partially_added(id: i64, answers: &Answers<Silence>) -> Option<ApiError> {
    let (mut added, mut lacking) = (Vec::new(), Vec::new());
    for (name, answer) in answers {
        match answer {
            Ok(_) => added.push(&**name),
            Err(Refusal::Invalid(_)) => {}
            Err(_) => lacking.push(&**name),
        }
    }
    let message = || {
        format!(
            "silence {id} was added in {} and not in {}: do not repeat the request, which would add another silence; once the others have a leader (see /api/v1/health), add it there with matchers for their account and region, or end it",
            added.join(", "),
            lacking.join(", ")
        )
    };
    (!added.is_empty() && !lacking.is_empty()).then(|| ApiError::not_everywhere(message()))
}

/// The result; if all targets refused, the most informative refusal: temporary, conflict, then not found.
fn done<T>(done: Of<T>, refused: Of<Refusal>) -> Result<T, ApiError> {
    if let Some((_, done)) = done.into_iter().next() {
        return Ok(done);
    }
    let weight = |refusal: &Refusal| match refusal {
        Refusal::Unavailable(_) => 0,
        Refusal::Invalid(_) => 1,
        Refusal::Conflict(_) => 2,
        Refusal::NotFound(_) => 3,
    };
    let most = refused.into_iter().map(|(_, refusal)| refusal).min_by_key(weight);
    Err(most.unwrap_or_else(nothing_yet).into())
}

#[cfg(test)]
mod tests;
