//! Cached recordings for change-by-change queries: each is kept as it was when its candidates were listed, with its
//! replay without changes, so that all changes are compared with the same baseline and the baseline is replayed
//! once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};

use trainspotter_core::model::{Place, Prices};
use trainspotter_core::whatif::{self, Before, Past};

/// Maximum cached recordings, each of at most the 10,000 jobs of a state file. The least recently used one is
/// evicted, and requests for it get an error that it is no longer cached.
pub(super) const MAX_CACHED_RECORDINGS: usize = 4;

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
        self.before.get_or_init(|| whatif::before(&self.past, &self.prices, |_| {}))
    }
}

/// Cached recordings, the most recently used last.
#[derive(Clone, Debug, Default)]
pub(crate) struct CachedRecordings(Arc<Mutex<VecDeque<Arc<CachedRecording>>>>);

impl CachedRecordings {
    /// Parses a recording from the rows of a state file, or returns the cached one.
    ///
    /// # Errors
    /// The rows cannot be replayed.
    pub(super) fn keep(
        &self,
        place: Place,
        rows: BTreeMap<String, String>,
        prices: Prices,
    ) -> Result<Arc<CachedRecording>, String> {
        let id = id_of(&place, &rows, &prices);
        if let Some(kept) = self.get(&id) {
            return Ok(kept);
        }
        let past = Past::of_kept(rows)?;
        let kept = Arc::new(CachedRecording { id, place, past, prices, before: OnceLock::new() });
        self.insert(Arc::clone(&kept));
        Ok(kept)
    }

    fn insert(&self, kept: Arc<CachedRecording>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_back(kept);
        if all.len() > MAX_CACHED_RECORDINGS {
            all.pop_front();
        }
    }

    /// The recording with an id, if it is cached.
    pub(super) fn get(&self, id: &str) -> Option<Arc<CachedRecording>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.iter().position(|kept| kept.id == id).and_then(|index| all.remove(index))?;
        all.push_back(Arc::clone(&kept));
        Some(kept)
    }
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

    #[test]
    fn the_past_that_was_not_asked_about_for_longest_makes_room() {
        let recordings = CachedRecordings::default();
        let keep = |name: usize| {
            let kept = CachedRecording {
                id: name.to_string(),
                place: Place::default(),
                past: Past::new(Setup::default(), Vec::new(), None),
                prices: Prices::new(),
                before: OnceLock::new(),
            };
            recordings.insert(Arc::new(kept));
        };
        (0..MAX_CACHED_RECORDINGS).for_each(keep);
        assert!(recordings.get("0").is_some());
        keep(MAX_CACHED_RECORDINGS);
        let are_kept = |name: usize| recordings.get(&name.to_string()).is_some();
        assert_eq!((are_kept(0), are_kept(1), are_kept(MAX_CACHED_RECORDINGS)), (true, false, true));
    }
}
