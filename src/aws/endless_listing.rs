//! Guards against listings without end. AWS returns a token for the next page, and nothing guarantees that it ever
//! stops: tokens may repeat, or keep changing while the pages have nothing new. Every pagination loop uses a [`Listing`].

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::aws::limit_hits::Limits;

/// Consecutive pages without new entries before a listing is abandoned. AWS may paginate before it filters, so some
/// pages may be empty.
const MAX_FRUITLESS_PAGES: usize = 100;

/// Name of the limit that counts abandoned listings.
pub(crate) const LIST_PAGES: &str = "list_pages";

/// A listing in progress, with what is needed to detect that it will not end.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    operation: &'static str,
    max_pages: usize,
    limits: Limits,
    pages: usize,
    fruitless: usize,
    /// Hashes of page tokens, and of the first and last id of each page: a listing may have ten thousand pages.
    tokens: HashSet<u64>,
    ends: HashSet<u64>,
}

/// Why a listing was abandoned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndlessListing {
    /// A page token was repeated.
    #[error("{operation}: the listing does not end: page {pages} repeats an earlier page")]
    Circle { operation: &'static str, pages: usize },
    /// Too many consecutive pages without new entries.
    #[error("{operation}: the listing does not end: {MAX_FRUITLESS_PAGES} pages in a row contain nothing new")]
    Fruitless { operation: &'static str },
    /// More pages than possible.
    #[error("{operation}: the listing was stopped after {pages} pages, the maximum")]
    TooMany { operation: &'static str, pages: usize },
}

impl Listing {
    /// Starts a listing of at most `max_pages` pages.
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

    /// Records a page with these ids and returns the token of the next page; `None` at the end of the list.
    pub(crate) fn next<'a>(
        &mut self,
        token: Option<String>,
        ids: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<String>, EndlessListing> {
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(None) };
        self.pages += 1;
        let mut ids = ids.into_iter();
        let first = ids.next();
        let [first, last] = [first, ids.last()].map(|id| id.is_some_and(|id| self.ends.insert(hash(id))));
        let brings = first || last;
        self.fruitless = if brings { 0 } else { self.fruitless + 1 };
        let (operation, pages) = (self.operation, self.pages);
        let endless = if !self.tokens.insert(hash(&token)) {
            EndlessListing::Circle { operation, pages }
        } else if self.fruitless >= MAX_FRUITLESS_PAGES {
            EndlessListing::Fruitless { operation }
        } else if self.pages >= self.max_pages {
            EndlessListing::TooMany { operation, pages }
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

    /// Reads a list whose page `n` is `page(n)`. Returns the number of pages read and how it ended.
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
    fn cycles_of_any_length_end_when_a_token_comes_again() {
        for length in 1..5 {
            let circle = |number: usize| (Some((number % length).to_string()), vec![number.to_string()]);
            let (pages, why, hits) = read(circle);
            assert_eq!((pages, hits), (length + 1, 1));
            assert!(why.unwrap().contains("repeats an earlier page"), "{length}");
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
