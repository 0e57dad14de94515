//! Keys sorted by texts that are stored elsewhere: eight bytes per key, where a tree of texts takes fifty.

/// Maximum keys per piece: the number moved by an insertion, whose binary logarithm is the number of texts a search
/// looks up.
const PIECE: usize = 64;

/// Keys sorted by text, then by key, in pieces.
#[derive(Debug, Default)]
pub(super) struct Sorted(Vec<Piece>);

/// Invariant: it has 1 to [`PIECE`] keys, none of them below `from`; all keys of the preceding pieces are below it,
/// so a piece is found without looking up a text. The first piece also holds keys below its `from`.
#[derive(Debug)]
struct Piece {
    from: (Box<str>, u64),
    keys: Vec<u64>,
}

impl Sorted {
    /// Inserts a key at the position of its text; an existing key stays. `text_of` returns the texts of existing
    /// keys.
    pub(super) fn insert<'a>(&mut self, text: &str, key: u64, text_of: impl Fn(u64) -> Option<&'a str>) {
        let index = self.piece_of(text, key);
        let Some(piece) = self.0.get_mut(index) else {
            return self.0.push(Piece { from: (text.into(), key), keys: vec![key] });
        };
        let at = piece.position(text, key, &text_of);
        if piece.keys.get(at) == Some(&key) {
            return;
        }
        piece.keys.insert(at, key);
        if piece.keys.len() > PIECE
            && let Some(middle) = piece.keys.get(PIECE / 2).copied()
        {
            let middle_text = if middle == key { Some(text) } else { text_of(middle) };
            let keys = piece.keys.split_off(PIECE / 2);
            self.0.insert(index + 1, Piece { from: (middle_text.unwrap_or_default().into(), middle), keys });
        }
    }

    /// Removes a key.
    pub(super) fn remove<'a>(&mut self, text: &str, key: u64, text_of: impl Fn(u64) -> Option<&'a str>) {
        let index = self.piece_of(text, key);
        let Some(piece) = self.0.get_mut(index) else { return };
        let at = piece.position(text, key, &text_of);
        if piece.keys.get(at) == Some(&key) {
            piece.keys.remove(at);
            self.tidy(index);
        }
    }

    /// All keys from the first one whose text is not below this one.
    pub(super) fn from<'a>(
        &self,
        text: &str,
        text_of: impl Fn(u64) -> Option<&'a str>,
    ) -> impl Iterator<Item = u64> + '_ {
        let index = self.piece_of(text, 0);
        let at = self.0.get(index).map_or(0, |piece| piece.position(text, 0, &text_of));
        self.0.iter().skip(index).flat_map(|piece| &piece.keys).skip(at).copied()
    }

    /// The piece for a key.
    fn piece_of(&self, text: &str, key: u64) -> usize {
        let begins_at_or_before = |piece: &Piece| (&*piece.from.0, piece.from.1) <= (text, key);
        self.0.partition_point(begins_at_or_before).saturating_sub(1)
    }

    /// Merges small pieces after removals.
    fn tidy(&mut self, index: usize) {
        let len = |index: usize| self.0.get(index).map_or(usize::MAX, |piece| piece.keys.len());
        if len(index) == 0 {
            self.0.remove(index);
        } else if len(index).saturating_add(len(index + 1)) <= PIECE / 2 {
            let next = self.0.remove(index + 1);
            if let Some(piece) = self.0.get_mut(index) {
                piece.keys.extend(next.keys);
            }
        }
    }
}

impl Piece {
    /// Position of a key, or where it would be inserted.
    fn position<'a>(&self, text: &str, key: u64, text_of: &impl Fn(u64) -> Option<&'a str>) -> usize {
        let comes_before = |other: &u64| *other != key && text_of(*other).is_some_and(|of| (of, *other) < (text, key));
        self.keys.partition_point(comes_before)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

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
            prop_assert!(sorted.0.iter().all(|piece| (1..=PIECE).contains(&piece.keys.len())));
            let found: Vec<u64> = sorted.from(text(from), |key| Some(text(key))).collect();
            let expected: Vec<u64> = set.range((text(from), 0)..).map(|(_, key)| *key).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
