//! Pasts that are asked about change by change: each is kept as it was when its changes were listed, with the replay of what was, so that all
//! changes are compared with the same and nothing is replayed anew for each of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};

use trainspotter_core::model::Prices;
use trainspotter_core::whatif::{self, Before, Past};

/// Pasts that are kept at once: one that is asked for next takes the place of the oldest.
pub(super) const MAX_KEPT_PASTS: usize = 4;

/// A past with the replay of what was.
#[derive(Debug)]
pub(super) struct KeptPast {
    /// What it is asked for by: a hash of its content.
    pub(super) id: String,
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

/// The pasts that were asked about lately, the latest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptPasts(Arc<Mutex<VecDeque<Arc<KeptPast>>>>);

impl KeptPasts {
    /// Reads the past from the rows of a state file, or finds it if it is kept.
    ///
    /// # Errors
    /// The rows hold nothing that can be replayed.
    pub(super) fn keep(&self, rows: BTreeMap<String, String>, prices: Prices) -> Result<Arc<KeptPast>, String> {
        let id = id_of(&rows, &prices);
        if let Some(kept) = self.get(&id) {
            return Ok(kept);
        }
        let past = Past::of_kept(rows)?;
        let kept = Arc::new(KeptPast { id, past, prices, before: OnceLock::new() });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_back(Arc::clone(&kept));
        if all.len() > MAX_KEPT_PASTS {
            all.pop_front();
        }
        Ok(kept)
    }

    /// The past of an id, if it is still kept.
    pub(super) fn get(&self, id: &str) -> Option<Arc<KeptPast>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|kept| kept.id == id).map(Arc::clone)
    }
}

fn id_of(rows: &BTreeMap<String, String>, prices: &Prices) -> String {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    };
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
