//! Pasts that are asked about change by change: each is kept as it was when its changes were listed, with the replay of what was, so that all
//! changes are compared with the same and nothing is replayed anew for each of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};

use trainspotter_core::model::{Place, Prices};
use trainspotter_core::whatif::{self, Before, Past};

/// Pasts that are kept at once, each of at most the 10,000 jobs of a state file: another one takes the place of the one that was not asked about
/// for longest, and who asks about that one is answered that it is not kept any more.
pub(super) const MAX_KEPT_PASTS: usize = 4;

/// A past with the replay of what was.
#[derive(Debug)]
pub(super) struct KeptPast {
    /// What it is asked for by: a hash of its content.
    pub(super) id: String,
    /// Whose it is.
    pub(super) place: Place,
    pub(super) past: Past,
    pub(super) prices: Prices,
    before: OnceLock<Before>,
}

impl KeptPast {
    /// The replay of what was, made once.
    pub(super) fn before(&self) -> &Before {
        self.before.get_or_init(|| whatif::before(&self.past, &self.prices, |_| {}))
    }
}

/// The pasts that were asked about lately, the one that was asked about last at the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptPasts(Arc<Mutex<VecDeque<Arc<KeptPast>>>>);

impl KeptPasts {
    /// Reads the past from the rows of a state file, or finds it if it is kept.
    ///
    /// # Errors
    /// The rows hold nothing that can be replayed.
    pub(super) fn keep(
        &self,
        place: Place,
        rows: BTreeMap<String, String>,
        prices: Prices,
    ) -> Result<Arc<KeptPast>, String> {
        let id = id_of(&place, &rows, &prices);
        if let Some(kept) = self.get(&id) {
            return Ok(kept);
        }
        let past = Past::of_kept(rows)?;
        let kept = Arc::new(KeptPast { id, place, past, prices, before: OnceLock::new() });
        self.insert(Arc::clone(&kept));
        Ok(kept)
    }

    fn insert(&self, kept: Arc<KeptPast>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_back(kept);
        if all.len() > MAX_KEPT_PASTS {
            all.pop_front();
        }
    }

    /// The past of an id, if it is still kept.
    pub(super) fn get(&self, id: &str) -> Option<Arc<KeptPast>> {
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
        let pasts = KeptPasts::default();
        let keep = |name: usize| {
            let kept = KeptPast {
                id: name.to_string(),
                place: Place::default(),
                past: Past::new(Setup::default(), Vec::new(), None),
                prices: Prices::new(),
                before: OnceLock::new(),
            };
            pasts.insert(Arc::new(kept));
        };
        (0..MAX_KEPT_PASTS).for_each(keep);
        assert!(pasts.get("0").is_some());
        keep(MAX_KEPT_PASTS);
        let are_kept = |name: usize| pasts.get(&name.to_string()).is_some();
        assert_eq!((are_kept(0), are_kept(1), are_kept(MAX_KEPT_PASTS)), (true, false, true));
    }
}
