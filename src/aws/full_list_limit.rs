//! Limits the pages of full lists in one poll, by number and by time.

use trainspotter_core::model::Timestamp;

/// Minimum pages per poll, however small the budget and however late it is.
pub(super) const SWEEP_PAGES_MIN: u64 = 10;

/// The remaining pages of one poll.
#[derive(Debug)]
pub(super) struct SweepPages {
    left: u64,
    taken: u64,
    /// No page starts after this time.
    until: Option<Timestamp>,
}

impl SweepPages {
    /// Creates a limit of `pages` pages, and of time if `until` is given.
    pub(super) fn new(pages: u64, until: Option<Timestamp>) -> Self {
        Self { left: pages, taken: 0, until }
    }

    /// Takes one page, if any is left.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        let is_late = self.taken >= SWEEP_PAGES_MIN && self.until.is_some_and(|until| now >= until);
        if self.left == 0 || is_late {
            return false;
        }
        self.left -= 1;
        self.taken += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_that_should_be_over_takes_a_few_pages_and_one_in_time_all_of_them() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let taken = |pages: u64, until: Option<Timestamp>, seconds_a_page: i64| {
            let mut pages = SweepPages::new(pages, until);
            (0_i64..).take_while(|page| pages.take(at(page * seconds_a_page))).count() as u64
        };
        assert_eq!(taken(75, None, 1), 75);
        assert_eq!(taken(75, Some(at(100)), 1), 75);
        assert_eq!(taken(75, Some(at(50)), 1), 50);
        assert_eq!(taken(75, Some(at(0)), 1), SWEEP_PAGES_MIN);
        assert_eq!(taken(3, Some(at(0)), 1), 3);
    }
}
