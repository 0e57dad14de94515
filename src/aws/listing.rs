//! The end of a listing. AWS says where the next page begins, and nothing promises that this ever ends: tokens may come round in a
//! circle, or always be new ones for pages that bring nothing. Every loop over pages goes through a [`Listing`].

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// Pages in a row that bring nothing new, before a listing is given up. AWS may cut a page before it filters it, so some may be empty.
const MAX_FRUITLESS_PAGES: usize = 100;

/// The limit that is counted when a listing is given up.
pub(crate) const LIST_PAGES: &str = "list_pages";

/// How often built-in limits cut something off. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Limits(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Limits {
    /// Counts one.
    pub(crate) fn hit(&self, limit: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(limit).or_default() += 1;
    }

    /// What was cut off since the last time this was asked.
    pub fn drain(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One listing under way: which pages have come, as far as it takes to see that they will not end.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    operation: &'static str,
    max_pages: usize,
    limits: Limits,
    pages: usize,
    fruitless: usize,
    /// Hashes of tokens, and of the ids at both ends of each page: a listing may have ten thousand pages.
    tokens: HashSet<u64>,
    ends: HashSet<u64>,
}

/// Why a listing was given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Endless {
    /// The token of a page came a second time.
    #[error("{operation}: the list has no end: after {pages} pages one comes again that came before")]
    Circle { operation: &'static str, pages: usize },
    /// Page after page brought nothing new.
    #[error("{operation}: the list has no end: {MAX_FRUITLESS_PAGES} pages in a row bring nothing new")]
    Fruitless { operation: &'static str },
    /// More pages than there can be.
    #[error("{operation}: the list goes on after {pages} pages; no more are read")]
    TooMany { operation: &'static str, pages: usize },
}

impl Listing {
    /// A listing of at most `max_pages` pages.
    pub(crate) fn new(operation: &'static str, max_pages: usize, limits: &Limits) -> Self {
        Self {
            operation,
            max_pages,
            limits: limits.clone(),
            pages: 0,
            fruitless: 0,
            tokens: HashSet::new(),
            ends: HashSet::new(),
        }
    }

    /// Takes note of a page with these ids and returns the token of the next one; `None` at the end of the list.
    pub(crate) fn next<'a>(
        &mut self,
        token: Option<String>,
        ids: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<String>, Endless> {
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(None) };
        self.pages += 1;
        let mut ids = ids.into_iter();
        let first = ids.next();
        let [first, last] = [first, ids.last()].map(|id| id.is_some_and(|id| self.ends.insert(hash(id))));
        let brings = first || last;
        self.fruitless = if brings { 0 } else { self.fruitless + 1 };
        let (operation, pages) = (self.operation, self.pages);
        let endless = if !self.tokens.insert(hash(&token)) {
            Endless::Circle { operation, pages }
        } else if self.fruitless >= MAX_FRUITLESS_PAGES {
            Endless::Fruitless { operation }
        } else if self.pages >= self.max_pages {
            Endless::TooMany { operation, pages }
        } else {
            return Ok(Some(token));
        };
        self.limits.hit(LIST_PAGES);
        Err(endless)
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pages are read of a list whose page `n` says this, and how that ends.
    fn read(page: impl Fn(usize) -> (Option<String>, Vec<String>)) -> (usize, Option<String>, u64) {
        let limits = Limits::default();
        let mut listing = Listing::new("ListThings", 1_000, &limits);
        for number in 1.. {
            let (token, ids) = page(number);
            match listing.next(token, ids.iter().map(String::as_str)) {
                Ok(Some(_)) => {}
                Ok(None) => return (number, None, limits.drain().values().sum()),
                Err(endless) => return (number, Some(endless.to_string()), limits.drain()[LIST_PAGES]),
            }
        }
        unreachable!()
    }

    #[test]
    fn a_list_that_ends_is_read_to_its_end() {
        let ends = |number: usize| ((number < 900).then(|| number.to_string()), vec![number.to_string()]);
        assert_eq!(read(ends), (900, None, 0));
        let mostly_empty = |number: usize| {
            let full = number.is_multiple_of(MAX_FRUITLESS_PAGES);
            ((number < 900).then(|| number.to_string()), if full { vec![number.to_string()] } else { vec![] })
        };
        assert_eq!(read(mostly_empty), (900, None, 0));
        assert_eq!(read(|_| (Some(String::new()), vec![])), (1, None, 0), "an empty token is none");
    }

    #[test]
    fn circles_of_any_length_end_when_a_token_comes_again() {
        for length in 1..5 {
            let circle = |number: usize| (Some((number % length).to_string()), vec![number.to_string()]);
            let (pages, why, hits) = read(circle);
            assert_eq!((pages, hits), (length + 1, 1));
            assert!(why.unwrap().contains("comes again"), "{length}");
        }
    }

    #[test]
    fn tokens_that_are_always_new_end_by_what_they_bring_and_by_number() {
        let fresh = |number: usize| Some(format!("token {number}"));
        let same = |number: usize| (fresh(number), vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(read(same).0, 1 + MAX_FRUITLESS_PAGES);
        let (pages, why, hits) = read(|number| (fresh(number), vec![]));
        assert_eq!((pages, hits), (MAX_FRUITLESS_PAGES, 1));
        assert!(why.unwrap().contains("nothing new"));
        let (pages, why, hits) = read(|number| (fresh(number), vec![number.to_string()]));
        assert_eq!((pages, hits), (1_000, 1));
        assert!(why.unwrap().contains("after 1000 pages"));
    }
}
