//! One workload on the same hundred instances, divided in two ways: five FIFO queues with a fifth each, and one queue
//! with five quota shares that lend. `docs/UTILISATION.md` shows Trainspotter's figures of both.
//!
//! `UPDATE_DOCS=1 cargo test --test models fifo_vs_shares` regenerates the page and its picture. Everything runs in virtual
//! time from one seed, so the page is the same on every machine.

#![expect(
    clippy::cast_precision_loss,
    reason = "a test that cannot build its case has failed, and its counts are small"
)]

mod five_teams;
mod page;
mod watch;

use std::path::Path;

use self::five_teams::{Division, setup, submissions};
use self::watch::watch;

#[test]
fn lending_shares_use_what_fixed_parts_leave_idle() {
    let [parts, shares] = [Division::FixedParts, Division::LendingShares].map(|division| {
        let watched = watch(setup(division), submissions(division));
        assert_eq!(watched.unbalanced, 0, "{division:?}: ticks in which the parts did not sum to the capacity");
        watched
    });
    assert_eq!(parts.succeeded, shares.succeeded, "the work is the same");
    assert!(parts.peak() < 0.5 && shares.peak() > 0.8, "{} and {}", parts.peak(), shares.peak());
    assert!(shares.wait(0.5) < parts.wait(0.5) && shares.wait(0.95) < parts.wait(0.95));
    assert_eq!((parts.preemptions, shares.preemptions > 0), (0, true), "lent capacity was taken back");

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (file, text) in
        [("UTILISATION.md", page::markdown(&parts, &shares)), ("utilisation.svg", page::picture(&parts, &shares))]
    {
        let path = folder.join(file);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == text,
            "docs/{file} is not what comes out; run: UPDATE_DOCS=1 cargo test --test models fifo_vs_shares"
        );
    }
}
