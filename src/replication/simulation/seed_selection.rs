//! Which seeds a run has, and how far it is.

use std::io::Write as _;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Interval of progress reports.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// The seeds that the environment selects: one, the first N, or a range such as `5000..10000`; by default the first `usual`.
pub(super) fn selected(usual: u64) -> Range<u64> {
    let text = |name| std::env::var(name).ok();
    parse(text("TRAINSPOTTER_SEED").as_deref(), text("TRAINSPOTTER_SEEDS").as_deref(), usual)
}

fn parse(seed: Option<&str>, seeds: Option<&str>, usual: u64) -> Range<u64> {
    let number = |name: &str, text: &str| -> u64 {
        text.trim().parse().unwrap_or_else(|error| panic!("{name}: {text:?} is no number: {error}"))
    };
    if let Some(seed) = seed.map(|text| number("TRAINSPOTTER_SEED", text)) {
        return seed..seed + 1;
    }
    let Some(seeds) = seeds else { return 0..usual };
    let number = |text| number("TRAINSPOTTER_SEEDS", text);
    let range = seeds.split_once("..").map_or_else(|| 0..number(seeds), |(from, to)| number(from)..number(to));
    assert!(!range.is_empty(), "TRAINSPOTTER_SEEDS: {seeds:?} selects no seed");
    range
}

/// Reports how many seeds are done, every ten seconds.
pub(super) struct Progress {
    seeds: Range<u64>,
    /// When it was reported last, and how many seeds are done.
    state: Mutex<(Instant, u64)>,
}

impl Progress {
    pub(super) fn of(seeds: Range<u64>) -> Self {
        Self { seeds, state: Mutex::new((Instant::now(), 0)) }
    }

    /// A seed is done.
    pub(super) fn done(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        if state.0.elapsed() >= REPORT_EVERY {
            state.0 = Instant::now();
            // Written directly, because the test harness holds back what `eprintln` prints until a test ends.
            let all = self.seeds.end - self.seeds.start;
            let _ = writeln!(std::io::stderr(), "{} of {all} seeds of {:?} done", state.1, self.seeds);
        }
    }
}

#[test]
fn seeds_are_one_the_first_ones_or_a_range() {
    let seeds = |seeds| parse(None, Some(seeds), 2_000);
    assert_eq!(parse(None, None, 2_000), 0..2_000);
    assert_eq!(seeds("20000"), 0..20_000);
    assert_eq!(seeds("5000..10000"), 5_000..10_000);
    assert_eq!(parse(Some("7"), Some("20000"), 2_000), 7..8);
    for wrong in ["many", "..5", "10..5", "5..=10", "0", ""] {
        assert!(std::panic::catch_unwind(|| seeds(wrong)).is_err(), "{wrong:?}");
    }
}
