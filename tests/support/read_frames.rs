//! The ticks that a service has stored. On a busy machine there are few of them.

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
