//! Cached recordings for change-by-change queries: each is kept as it was when its candidates were listed, with its
//! replay without changes, so that all changes are compared with the same baseline and the baseline is replayed
//! once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use sha2::{Digest, Sha256};

use trainspotter_clock::{Clock, Mark};
use trainspotter_core::model::{Place, Prices};
use trainspotter_core::what_if::{self, Before, Past};

/// Maximum cached recordings, each of at most the 10,000 jobs of a state file. The least recently used one is
/// evicted, which `limit.hits` counts as `kept_pasts`, and requests for it get an error that it is no longer cached.
pub(super) const MAX_CACHED_RECORDINGS: usize = 4;

/// How long an unused recording stays cached, in wall time.
const MAX_CACHED_FOR: Duration = Duration::from_secs(3_600);

/// A recording with its replay without changes.
#[derive(Debug)]
pub(super) struct CachedRecording {
    /// Id: a hash of the content.
    pub(super) id: String,
    /// Account and region.
    pub(super) place: Place,
    pub(super) past: Past,
    pub(super) prices: Prices,
    before: OnceLock<Before>,
}

impl CachedRecording {
    /// The replay without changes, computed once.
    pub(super) fn before(&self) -> &Before {
        self.before.get_or_init(|| what_if::before(&self.past, &self.prices, |_| {}))
    }
}

/// Cached recordings, the most recently used last.
#[derive(Clone, Debug, Default)]
pub(crate) struct CachedRecordings(Arc<Mutex<Cache>>);

#[derive(Debug, Default)]
struct Cache {
    /// With the time of the last use; the most recently used last.
    pasts: VecDeque<(Mark, Arc<CachedRecording>)>,
    /// Whether a task removes expired recordings.
    has_cleaner: bool,
}

impl CachedRecordings {
    /// Parses a recording from the rows of a state file, or returns the cached one; with how many others were evicted.
    ///
    /// # Errors
    /// The rows cannot be replayed.
    pub(super) fn keep(
        &self,
        place: Place,
        rows: BTreeMap<String, String>,
        prices: Prices,
        clock: Clock,
    ) -> Result<(Arc<CachedRecording>, u64), String> {
        let id = id_of(&place, &rows, &prices);
        if let Some(kept) = self.get(&id, clock) {
            return Ok((kept, 0));
        }
        let past = Past::of_kept(rows)?;
        let kept = Arc::new(CachedRecording { id, place, past, prices, before: OnceLock::new() });
        let displaced = self.insert(Arc::clone(&kept), clock);
        Ok((kept, displaced))
    }

    fn insert(&self, kept: Arc<CachedRecording>, clock: Clock) -> u64 {
        let mut cache = self.cache();
        cache.pasts.push_back((clock.mark(), kept));
        if !std::mem::replace(&mut cache.has_cleaner, true) {
            tokio::spawn(remove_expired(Arc::downgrade(&self.0), clock));
        }
        let displaced = cache.pasts.len().saturating_sub(MAX_CACHED_RECORDINGS);
        cache.pasts.drain(..displaced);
        displaced as u64
    }

    /// The recording with an id, if it is cached.
    pub(super) fn get(&self, id: &str, clock: Clock) -> Option<Arc<CachedRecording>> {
        let mut cache = self.cache();
        let index = cache.pasts.iter().position(|(_, kept)| kept.id == id)?;
        let (_, kept) = cache.pasts.remove(index)?;
        cache.pasts.push_back((clock.mark(), Arc::clone(&kept)));
        Some(kept)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes expired recordings, until none is left.
async fn remove_expired(pasts: Weak<Mutex<Cache>>, clock: Clock) {
    let longest = clock.of_wall(MAX_CACHED_FOR);
    while let Some(last_use) = remove_expired_now(&pasts, longest, clock) {
        clock.sleep_from(last_use, longest).await;
    }
}

/// Last use of the least recently used recording that has not expired; `None` if none is left.
fn remove_expired_now(pasts: &Weak<Mutex<Cache>>, longest: Duration, clock: Clock) -> Option<Mark> {
    let pasts = pasts.upgrade()?;
    let mut cache = pasts.lock().unwrap_or_else(PoisonError::into_inner);
    let expired = cache.pasts.partition_point(|(asked, _)| clock.since(*asked) >= longest);
    cache.pasts.drain(..expired);
    cache.has_cleaner = !cache.pasts.is_empty();
    cache.pasts.front().map(|(asked, _)| *asked)
}

fn id_of(place: &Place, rows: &BTreeMap<String, String>, prices: &Prices) -> String {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    };
    part(&place.target);
    for text in [&place.account, &place.region] {
        part(text.as_deref().unwrap_or(""));
    }
    for (name, body) in rows {
        part(name);
        part(body);
    }
    for (unit, price) in prices {
        part(unit.as_str());
        part(&price.to_string());
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use trainspotter_core::scheduler::Setup;

    use super::*;

    fn keep(pasts: &CachedRecordings, name: usize, clock: Clock) -> u64 {
        let kept = CachedRecording {
            id: name.to_string(),
            place: Place::default(),
            past: Past::new(Setup::default(), Vec::new(), None),
            prices: Prices::new(),
            before: OnceLock::new(),
        };
        pasts.insert(Arc::new(kept), clock)
    }

    #[tokio::test(start_paused = true)]
    async fn the_past_that_was_not_asked_about_for_longest_makes_room() {
        let (pasts, clock) = (CachedRecordings::default(), Clock::fast(600.0));
        let displaced: Vec<u64> = (0..MAX_CACHED_RECORDINGS).map(|name| keep(&pasts, name, clock)).collect();
        assert_eq!(displaced, [0; MAX_CACHED_RECORDINGS]);
        assert!(pasts.get("0", clock).is_some());
        assert_eq!(keep(&pasts, MAX_CACHED_RECORDINGS, clock), 1);
        let are_kept = |name: usize| pasts.get(&name.to_string(), clock).is_some();
        assert_eq!((are_kept(0), are_kept(1), are_kept(MAX_CACHED_RECORDINGS)), (true, false, true));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_recording_expires_and_a_used_one_stays() {
        let (pasts, clock) = (CachedRecordings::default(), Clock::fast(600.0));
        let names = || pasts.cache().pasts.iter().map(|(_, kept)| kept.id.clone()).collect::<Vec<_>>();
        for _ in 0..2 {
            keep(&pasts, 0, clock);
            keep(&pasts, 1, clock);
            tokio::time::sleep(MAX_CACHED_FOR / 2).await;
            assert!(pasts.get("0", clock).is_some());
            tokio::time::sleep(MAX_CACHED_FOR / 2 + Duration::from_secs(1)).await;
            assert_eq!(names(), ["0"]);
            tokio::time::sleep(MAX_CACHED_FOR / 2).await;
            assert_eq!((names().len(), pasts.cache().has_cleaner), (0, false));
        }
    }
}
