//! Keys sorted by texts that are stored elsewhere: eight bytes per key, where a tree of texts takes fifty.

use crate::jobs::sorted_pieces::{Pieces, Position};

/// Keys sorted by text, then by key. A search looks up as many texts as the binary logarithm of a piece's size.
#[derive(Debug, Default)]
pub(super) struct Sorted(Pieces<(Box<str>, u64), u64>);

impl Sorted {
    /// Inserts a key at the position of its text; an existing key stays. `text_of` returns the texts of existing
    /// keys.
    pub(super) fn insert<'a>(&mut self, text: &'a str, key: u64, text_of: impl Fn(u64) -> Option<&'a str>) {
        let position = self.position(text, key, &text_of);
        if self.0.get(position) == Some(&key) {
            return;
        }
        let text_of = |of: &u64| if *of == key { Some(text) } else { text_of(*of) };
        self.0.insert(position, key, |of| (text_of(of).unwrap_or_default().into(), *of));
    }

    /// Removes a key.
    pub(super) fn remove<'a>(&mut self, text: &str, key: u64, text_of: impl Fn(u64) -> Option<&'a str>) {
        let position = self.position(text, key, text_of);
        if self.0.get(position) == Some(&key) {
            self.0.remove(position);
        }
    }

    /// All keys from the first one whose text is not below this one.
    pub(super) fn from<'a>(
        &self,
        text: &str,
        text_of: impl Fn(u64) -> Option<&'a str>,
    ) -> impl Iterator<Item = u64> + '_ {
        self.0.between(self.position(text, 0, text_of), self.0.end()).copied()
    }

    /// Position of a key, or where it would be inserted.
    fn position<'a>(&self, text: &str, key: u64, text_of: impl Fn(u64) -> Option<&'a str>) -> Position {
        let comes_before = |other: &u64| *other != key && text_of(*other).is_some_and(|of| (of, *other) < (text, key));
        self.0.position(|(from, of)| (&**from, *of) <= (text, key), comes_before)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::jobs::sorted_pieces::PIECE;

    /// Text of a key; several keys have the same.
    fn text(key: u64) -> &'static str {
        const TEXTS: [&str; 7] = ["", "a", "aa", "ab", "b", "train-1", "train-10"];
        TEXTS[key as usize % TEXTS.len()]
    }

    proptest! {
        #[test]
        fn it_is_as_good_as_a_set(steps in prop::collection::vec((0..3_u8, 0..1_500_u64), 0..4_000), from in 0..7_u64) {
            let (mut sorted, mut set) = (Sorted::default(), BTreeSet::new());
            for (step, key) in steps {
                // More insertions than removals at first, so that there are many pieces.
                if step > 0 {
                    sorted.insert(text(key), key, |key| Some(text(key)));
                    set.insert((text(key), key));
                } else {
                    sorted.remove(text(key), key, |key| Some(text(key)));
                    set.remove(&(text(key), key));
                }
            }
            prop_assert!(sorted.0.sizes().iter().all(|keys| (1..=PIECE).contains(keys)));
            let found: Vec<u64> = sorted.from(text(from), |key| Some(text(key))).collect();
            let expected: Vec<u64> = set.range((text(from), 0)..).map(|(_, key)| *key).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
