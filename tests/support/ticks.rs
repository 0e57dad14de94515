//! The ticks that a service has stored.

use std::path::Path;

use trainspotter::store::Frames;
use trainspotter_core::metrics::Frame;

/// Every tick in a state file, oldest first. Panics if one cannot be read.
pub fn ticks(state: &Path) -> Vec<Frame> {
    let frames = Frames::open(state).unwrap();
    let Some((first, last)) = frames.span().unwrap() else { return Vec::new() };
    let mut ticks = Vec::new();
    let unreadable = frames.each(first, last, None, |frame| ticks.push(frame)).unwrap();
    assert_eq!(unreadable, 0, "{state:?}");
    ticks
}

/// The longest time between two ticks, in seconds; 0 with less than two. On a busy machine polls are late.
pub fn longest_gap(state: &Path) -> f64 {
    let ticks = ticks(state);
    ticks.windows(2).map(|pair| pair[1].at.seconds_since(pair[0].at)).fold(0.0, f64::max)
}
