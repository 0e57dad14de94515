//! Ids of the attempts or arrivals already learned, so that none counts twice. It goes back as far as the stored rows.

use std::collections::{HashSet, VecDeque};

use crate::forecast::saved_rows::MAX_ROWS;

/// Ids of the rows of one ring.
#[derive(Debug, Default)]
pub struct LearnedIds {
    ids: HashSet<u64>,
    /// Oldest first.
    order: VecDeque<u64>,
}

impl LearnedIds {
    /// Adds an id; returns false if it is known. The oldest id is dropped when its row is overwritten.
    pub fn insert(&mut self, id: u64) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() as u64 > MAX_ROWS
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_is_known_as_long_as_its_row_is_kept() {
        let mut seen = LearnedIds::default();
        assert!((0..=MAX_ROWS).all(|id| seen.insert(id)));
        assert_eq!((seen.ids.len() as u64, seen.order.len() as u64), (MAX_ROWS, MAX_ROWS));
        assert!(!seen.insert(1), "its row is kept");
        assert!(seen.insert(0), "its row was overwritten");
    }
}
