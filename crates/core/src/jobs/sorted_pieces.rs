//! Sorted items in pieces of bounded size. Items that are inserted in order, as jobs by age are, fill each piece; they
//! would leave the nodes of a B-tree half empty.

/// Maximum items per piece: the number moved by an insertion.
pub(super) const PIECE: usize = 64;

/// Fraction by which a full allocation grows: a piece is rarely larger than it has to be.
const GROWTH: usize = 4;

/// Index of a piece, and of an item in it.
pub(super) type Position = (usize, usize);

/// Sorted items, in pieces that are found by the first item that they may hold, in a form that needs no look-up.
#[derive(Clone, Debug)]
pub(super) struct Pieces<F, T>(Vec<Piece<F, T>>);

/// Invariant: it has 1 to [`PIECE`] items, none of them below `from`; all items of the preceding pieces are below it.
/// The first piece also holds items below its `from`.
#[derive(Clone, Debug)]
pub struct Piece<F, T> {
    from: F,
    items: Vec<T>,
}

impl<F, T> Default for Pieces<F, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<F, T> Pieces<F, T> {
    /// Position of the first item that does not precede some limit; `starts` decides whether a piece starts before it.
    pub(super) fn position(&self, starts: impl Fn(&F) -> bool, precedes: impl Fn(&T) -> bool) -> Position {
        let index = self.0.partition_point(|piece| starts(&piece.from)).saturating_sub(1);
        (index, self.0.get(index).map_or(0, |piece| piece.items.partition_point(precedes)))
    }

    /// Position after the last item.
    pub(super) fn end(&self) -> Position {
        (self.0.len(), 0)
    }

    pub(super) fn get(&self, (index, at): Position) -> Option<&T> {
        self.0.get(index)?.items.get(at)
    }

    /// Inserts an item at its position. `from_of` returns the form by which a piece is found.
    pub(super) fn insert(&mut self, (index, at): Position, item: T, from_of: impl Fn(&T) -> F) {
        let Some(piece) = self.0.get_mut(index) else {
            return self.0.push(Piece { from: from_of(&item), items: vec![item] });
        };
        if piece.items.len() < PIECE {
            return piece.insert(at, item);
        }
        // Beyond the ends of a full piece there may be more to come: it stays full.
        if at == PIECE {
            let from = from_of(&item);
            match self.0.get_mut(index + 1).filter(|next| next.items.len() < PIECE) {
                Some(next) => {
                    next.from = from;
                    next.insert(0, item);
                }
                None => self.0.insert(index + 1, Piece { from, items: vec![item] }),
            }
        } else if at == 0 {
            if let Some(first) = piece.items.first() {
                piece.from = from_of(first);
            }
            self.0.insert(index, Piece { from: from_of(&item), items: vec![item] });
        } else {
            // Where more may follow at either end, most items stay together.
            let middle = if (PIECE / 4..PIECE * 3 / 4).contains(&at) { PIECE / 2 } else { at };
            let Some(mut later) = piece.split(middle, from_of) else { return };
            if at <= middle {
                piece.insert(at, item)
            } else {
                later.insert(at - middle, item)
            }
            match self.0.get_mut(index + 1).filter(|next| next.items.len() + later.items.len() <= PIECE) {
                Some(next) => {
                    later.append(&mut next.items);
                    *next = later;
                }
                None => self.0.insert(index + 1, later),
            }
        }
    }

    /// Removes the item at a position.
    pub(super) fn remove(&mut self, (index, at): Position) {
        let Some(piece) = self.0.get_mut(index).filter(|piece| at < piece.items.len()) else { return };
        piece.items.remove(at);
        piece.shrink();
        let len = |index: usize| self.0.get(index).map_or(usize::MAX, |piece| piece.items.len());
        if len(index) == 0 {
            self.0.remove(index);
        } else if len(index).saturating_add(len(index + 1)) <= PIECE / 2 {
            let mut next = self.0.remove(index + 1);
            if let Some(piece) = self.0.get_mut(index) {
                piece.append(&mut next.items);
            }
        }
    }

    /// The items from a position up to another one.
    pub(super) fn between(&self, from: Position, to: Position) -> impl DoubleEndedIterator<Item = &T> + Clone {
        let items = |index: usize| self.0.get(index).map_or(&[][..], |piece| &piece.items);
        let (first, between, last) = if from.0 < to.0 {
            let between = self.0.get(from.0 + 1..to.0).unwrap_or_default();
            (items(from.0).get(from.1..), between, items(to.0).get(..to.1))
        } else {
            (items(from.0).get(from.1..to.1).filter(|_| from.0 == to.0), &[][..], None)
        };
        let first = first.unwrap_or_default().iter();
        first.chain(between.iter().flat_map(|piece| &piece.items)).chain(last.unwrap_or_default())
    }

    /// All items.
    pub(super) fn iter(&self) -> Items<'_, F, T> {
        let items: fn(&Piece<F, T>) -> &Vec<T> = |piece| &piece.items;
        self.0.iter().flat_map(items)
    }

    /// Numbers of items of the pieces.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.0.iter().map(|piece| piece.items.len()).collect()
    }
}

/// Iterator over all items.
pub type Items<'a, F, T> =
    std::iter::FlatMap<std::slice::Iter<'a, Piece<F, T>>, &'a Vec<T>, fn(&'a Piece<F, T>) -> &'a Vec<T>>;

impl<F, T> Piece<F, T> {
    fn insert(&mut self, at: usize, item: T) {
        let len = self.items.len();
        if len == self.items.capacity() {
            self.items.reserve_exact((len / GROWTH).max(GROWTH).min(PIECE - len));
        }
        self.items.insert(at, item);
    }

    fn append(&mut self, items: &mut Vec<T>) {
        self.items.reserve_exact(items.len());
        self.items.append(items);
    }

    /// Splits off the items from a position on.
    fn split(&mut self, at: usize, from_of: impl Fn(&T) -> F) -> Option<Self> {
        let items = self.items.split_off(at);
        self.shrink();
        Some(Self { from: from_of(items.first()?), items })
    }

    fn shrink(&mut self) {
        let len = self.items.len();
        if len <= self.items.capacity() / 2 {
            self.items.shrink_to(len + len / GROWTH);
        }
    }
}
