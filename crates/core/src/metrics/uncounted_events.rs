//! Events that no complete poll has covered yet. While descriptions are late, those of many thousand jobs are held back
//! for up to a quarter of an hour, so each takes little memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::jobs::{Event, EventKind, Outcome};
use crate::model::{JobId, QueueName, ShareName, Timestamp};

/// Events in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    /// As they were added, without room for more.
    batches: Vec<Vec<Held>>,
}

/// What many events have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    queue: QueueName,
    share: Option<ShareName>,
    owner: Option<Arc<str>>,
    priority: Option<i32>,
}

#[derive(Debug)]
struct Held {
    at: Timestamp,
    origin: Arc<Origin>,
    job: Option<JobId>,
    uncertain_seconds: f64,
    what: What,
    is_news: bool,
}

/// [`EventKind`], with the rare large one on the heap.
#[derive(Debug)]
enum What {
    Dispatched { seconds: f64, first: bool },
    Cancelled(f64),
    Started(f64),
    Ran(f64),
    Ended { gpu_seconds: Option<f64>, outcome: Outcome },
    Preempted(Box<EventKind>),
}

impl From<EventKind> for What {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Dispatched { seconds, first } => Self::Dispatched { seconds, first },
            EventKind::Cancelled { seconds } => Self::Cancelled(seconds),
            EventKind::Started { seconds } => Self::Started(seconds),
            EventKind::Ran { seconds } => Self::Ran(seconds),
            EventKind::Ended { outcome, gpu_seconds } => Self::Ended { gpu_seconds, outcome },
            EventKind::Preempted { .. } => Self::Preempted(Box::new(kind)),
        }
    }
}

impl From<What> for EventKind {
    fn from(what: What) -> Self {
        match what {
            What::Dispatched { seconds, first } => Self::Dispatched { seconds, first },
            What::Cancelled(seconds) => Self::Cancelled { seconds },
            What::Started(seconds) => Self::Started { seconds },
            What::Ran(seconds) => Self::Ran { seconds },
            What::Ended { gpu_seconds, outcome } => Self::Ended { outcome, gpu_seconds },
            What::Preempted(kind) => *kind,
        }
    }
}

impl From<Held> for Event {
    fn from(Held { at, origin, job, uncertain_seconds, what, is_news }: Held) -> Self {
        let Origin { queue, share, owner, priority } = Arc::unwrap_or_clone(origin);
        Self { at, queue, share, owner, priority, job, uncertain_seconds, is_news, what: what.into() }
    }
}

impl HeldBack {
    /// Adds events after all others.
    pub(super) fn add(&mut self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut origins = BTreeSet::new();
        let held = events.into_iter().map(|event| {
            let Event { at, queue, share, owner, priority, job, uncertain_seconds, is_news, what } = event;
            let origin = shared(&mut origins, Origin { queue, share, owner, priority });
            Held { at, origin, job, uncertain_seconds, what: what.into(), is_news }
        });
        let mut batch = Vec::with_capacity(held.len());
        batch.extend(held);
        self.batches.push(batch);
    }

    /// Removes and returns the events up to a time, in the order in which they came.
    pub(super) fn take_until(&mut self, horizon: Timestamp) -> impl Iterator<Item = Event> + use<> {
        let mut due = Vec::new();
        for batch in &mut self.batches {
            due.extend(batch.extract_if(.., |held| held.at <= horizon));
            if batch.len() < batch.capacity() / 2 {
                batch.shrink_to_fit();
            }
        }
        self.batches.retain(|batch| !batch.is_empty());
        due.into_iter().map(Event::from)
    }

    /// The job of each event, if it is known, and whether the event is a preemption.
    pub(super) fn of_jobs(&self) -> impl Iterator<Item = (&JobId, bool)> {
        let all = self.batches.iter().flatten();
        all.filter_map(|held| Some((held.job.as_ref()?, matches!(held.what, What::Preempted(_)))))
    }

    /// Assigns the events of a share to another one.
    pub(super) fn move_share(&mut self, queue: &QueueName, share: &ShareName, other: &ShareName) {
        let mut origins = BTreeSet::new();
        let is_of_it = |origin: &Origin| origin.queue == *queue && origin.share.as_ref() == Some(share);
        for held in self.batches.iter_mut().flatten().filter(|held| is_of_it(&held.origin)) {
            held.origin = shared(&mut origins, Origin { share: Some(other.clone()), ..Origin::clone(&held.origin) });
        }
    }

    /// Keeps the events of the queues for which `is_watched` holds.
    pub(super) fn watch(&mut self, is_watched: impl Fn(&str) -> bool) {
        self.batches.iter_mut().for_each(|batch| batch.retain(|held| is_watched(held.origin.queue.as_str())));
        self.batches.retain(|batch| !batch.is_empty());
    }
}

/// The one of equal origins that is shared.
fn shared(origins: &mut BTreeSet<Arc<Origin>>, origin: Origin) -> Arc<Origin> {
    match origins.get(&origin) {
        Some(known) => Arc::clone(known),
        None => {
            let origin = Arc::new(origin);
            origins.insert(Arc::clone(&origin));
            origin
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::FailureCategory;

    fn events() -> Vec<Event> {
        let kinds = [
            EventKind::Dispatched { seconds: 1.0, first: true },
            EventKind::Dispatched { seconds: 2.0, first: false },
            EventKind::Cancelled { seconds: 3.0 },
            EventKind::Started { seconds: 4.0 },
            EventKind::Ran { seconds: 5.0 },
            EventKind::Preempted { ran_seconds: Some(6.0), gpus: None },
            EventKind::Ended { outcome: Outcome::Failed(FailureCategory::Capacity), gpu_seconds: Some(7.0) },
        ];
        let event = |(number, what): (usize, EventKind)| Event {
            at: Timestamp::from_millis(1_000 * (number as i64 % 4)),
            queue: if number.is_multiple_of(2) { "even" } else { "odd" }.into(),
            share: (number % 3 > 0).then(|| format!("share-{}", number % 3).as_str().into()),
            owner: (number > 4).then(|| "ada".into()),
            priority: (number > 3).then_some(7),
            job: (number != 1).then(|| format!("job-{number}").into()),
            uncertain_seconds: number as f64,
            is_news: number.is_multiple_of(2),
            what,
        };
        kinds.into_iter().enumerate().map(event).collect()
    }

    #[test]
    fn events_come_back_as_they_were_in_their_order_once_they_are_due() {
        let (mut held_back, all) = (HeldBack::default(), events());
        held_back.add(all[..4].to_vec());
        held_back.add(all[4..].to_vec());
        for second in 0..4 {
            let horizon = Timestamp::from_millis(second * 1_000);
            let due: Vec<Event> = held_back.take_until(horizon).collect();
            assert_eq!(due, all.iter().filter(|event| event.at == horizon).cloned().collect::<Vec<_>>());
        }
        assert_eq!(held_back.of_jobs().count(), 0);
        assert!(held_back.batches.is_empty());
    }

    #[test]
    fn jobs_preemptions_moved_shares_and_queues_that_are_no_longer_watched() {
        let (mut held_back, all) = (HeldBack::default(), events());
        held_back.add(all.clone());
        assert_eq!(held_back.of_jobs().collect::<Vec<_>>(), all.iter().filter_map(Event::of_job).collect::<Vec<_>>());
        assert_eq!(held_back.of_jobs().filter(|(_, is_preemption)| *is_preemption).count(), 1);
        held_back.move_share(&"odd".into(), &"share-2".into(), &"other".into());
        held_back.watch(|queue| queue == "odd");
        let left: Vec<Event> = held_back.take_until(Timestamp::from_millis(i64::MAX)).collect();
        let expected = all.into_iter().filter(|event| event.queue.as_str() == "odd").map(|event| match &event.share {
            Some(share) if share.as_str() == "share-2" => Event { share: Some("other".into()), ..event },
            _ => event,
        });
        assert_eq!(left, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_held_event_takes_little_memory() {
        assert!(size_of::<Held>() <= 80, "{}", size_of::<Held>());
        assert!(size_of::<Event>() >= 128, "{}", size_of::<Event>());
    }
}
