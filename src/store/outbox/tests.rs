//! The outbox on disk, with rows and verdicts.

use super::*;
use crate::notify::outbox::Due;
use crate::notify::sample_alerts;
use crate::store::Commit;
use trainspotter_core::rules::AlertId;
use trainspotter_core::rules::AlertState;
use trainspotter_core::rules::ResolveReason;
use trainspotter_core::rules::TransitionKind;

const FIRED: TransitionKind = TransitionKind::Fired;
const RESOLVED: TransitionKind = TransitionKind::Resolved(ResolveReason::Recovered);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

/// A row of alert `alert`, whose episode began at second `episode`.
fn row(alert: &str, episode: i64, kind: TransitionKind) -> OutboxRow {
    let mut row = sample_alerts::row(kind);
    row.transition.alert.id = AlertId::of(alert, &BTreeMap::new());
    row.transition.alert.state = AlertState::Firing { active_at: at(episode), fired_at: at(episode), keep_since: None };
    row.id = NotificationId::of(&row.transition, &row.receiver);
    OutboxRow { created_at: at(0), next_attempt_at: at(0), ..row }
}

fn store_with(rows: &[OutboxRow]) -> Store {
    let mut store = Store::in_memory().unwrap();
    commit(&mut store, rows, 0);
    store
}

fn commit(store: &mut Store, rows: &[OutboxRow], seconds: i64) -> u64 {
    let commit = Commit { at: at(seconds), outbox: rows.to_vec(), ..Commit::default() };
    store.commit(&commit).unwrap().over_limit
}

fn due(store: &Store, seconds: i64) -> Vec<NotificationId> {
    store.due("oncall", at(seconds), 100).unwrap().rows.into_iter().map(|row| row.id).collect()
}

fn delivered(store: &mut Store, row: &OutboxRow, seconds: i64) {
    store.settle(&row.id, &Verdict::Delivered { at: at(seconds), reference: None }, &[]).unwrap();
}

fn later(store: &mut Store, row: &OutboxRow, seconds: i64) {
    let verdict = Verdict::Later {
        at: at(0),
        next_attempt_at: at(seconds),
        error: "down".to_owned(),
        trouble: false,
        apart: false,
    };
    store.settle(&row.id, &verdict, &[]).unwrap();
}

#[test]
fn rows_come_back_as_they_were_written() {
    let rows = [row("a", 1, FIRED), row("b", 1, FIRED), row("a", 1, RESOLVED)];
    assert_eq!(store_with(&rows).outbox().unwrap(), rows);
}

#[test]
fn a_resolve_waits_for_its_firing_and_blocks_no_other_alert() {
    let (fired, resolved, other) = (row("a", 1, FIRED), row("a", 1, RESOLVED), row("b", 2, FIRED));
    let mut store = store_with(&[fired.clone(), resolved.clone(), other.clone()]);
    assert_eq!(due(&store, 1), [fired.id.clone(), other.id.clone()]);
    later(&mut store, &fired, 60);
    assert_eq!(due(&store, 1), std::slice::from_ref(&other.id));
    assert_eq!(store.due("oncall", at(1), 100).unwrap().next_at, Some(at(60)));
    assert_eq!(due(&store, 60), [other.id.clone(), fired.id.clone()]);
    delivered(&mut store, &fired, 61);
    assert_eq!(due(&store, 61), [resolved.id.clone(), other.id.clone()]);
    delivered(&mut store, &resolved, 62);
    delivered(&mut store, &other, 62);
    assert_eq!(store.due("oncall", at(99), 100).unwrap(), Due::default());
}

#[test]
fn the_next_episode_waits_for_the_resolve_of_the_last() {
    let rows = [row("a", 1, FIRED), row("a", 1, RESOLVED), row("a", 2, FIRED), row("a", 2, RESOLVED)];
    let mut store = store_with(&rows);
    for row in &rows {
        assert_eq!(due(&store, 5), std::slice::from_ref(&row.id));
        delivered(&mut store, row, 5);
    }
}

#[test]
fn a_commit_that_is_tried_again_doubles_nothing_and_revives_nothing() {
    let fired = row("a", 1, FIRED);
    let mut store = store_with(std::slice::from_ref(&fired));
    delivered(&mut store, &fired, 2);
    commit(&mut store, std::slice::from_ref(&fired), 3);
    let rows = store.outbox().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].state, RowState::Delivered { at: at(2) });
    later(&mut store, &fired, 9);
    assert_eq!(store.outbox().unwrap(), rows, "settled is settled");
}

#[test]
fn a_receiver_gets_no_resolve_without_a_firing() {
    let (fired, resolved) = (row("a", 1, FIRED), row("a", 1, RESOLVED));
    let dead = Verdict::Dead { at: at(5), error: "gone".to_owned() };
    // The resolve exists when the firing dies, or comes later, or there never was a firing.
    let mut before = store_with(&[fired.clone(), resolved.clone()]);
    before.settle(&fired.id, &dead, &[]).unwrap();
    let mut after = store_with(std::slice::from_ref(&fired));
    after.settle(&fired.id, &dead, &[]).unwrap();
    commit(&mut after, std::slice::from_ref(&resolved), 6);
    for (store, died_at) in [(before, 5), (after, 6)] {
        assert!(due(&store, 99).is_empty());
        let rows = store.outbox().unwrap();
        assert_eq!(rows[1].state, RowState::Dead { at: at(died_at) });
        assert_eq!(rows[1].last_error.as_deref(), Some("its firing notification was not delivered"));
    }
    assert!(store_with(&[resolved]).outbox().unwrap().is_empty());
}

#[test]
fn the_backlog_counts_what_waits_and_what_was_given_up() {
    let (a, b, mut c) = (row("a", 1, FIRED), row("b", 1, FIRED), row("c", 1, FIRED));
    c.created_at = at(-30);
    let mut store = store_with(&[a.clone(), b.clone(), c]);
    delivered(&mut store, &a, 1);
    store.settle(&b.id, &Verdict::Dead { at: at(1), error: String::new() }, &[]).unwrap();
    let expected = Backlog { pending: 1, oldest: Some(at(-30)), dead: 1 };
    assert_eq!(store.backlog().unwrap(), BTreeMap::from([("oncall".to_owned(), expected)]));
    let kept = BTreeSet::from(["someone else".to_owned()]);
    assert_eq!(store.keep_receivers(&kept, Duration::ZERO, at(2)).unwrap(), 1);
    let expected = Backlog { pending: 0, oldest: None, dead: 2 };
    assert_eq!(store.backlog().unwrap()["oncall"], expected);
}

#[test]
fn only_episodes_that_are_long_over_are_removed() {
    let rows = [row("over", 1, FIRED), row("over", 1, RESOLVED), row("firing", 1, FIRED), row("late", 1, FIRED)];
    let mut store = store_with(&rows);
    for row in &rows[..3] {
        delivered(&mut store, row, 10);
    }
    let keep = i64::try_from(KEEP_SETTLED.as_secs()).unwrap();
    commit(&mut store, &[], 10 + keep);
    assert_eq!(store.outbox().unwrap().len(), 4);
    commit(&mut store, &[], 11 + keep);
    let left: Vec<_> = store.outbox().unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(left, [rows[2].id.clone(), rows[3].id.clone()]);
}

#[test]
fn an_outbox_that_is_full_takes_resolves_but_no_further_firings() {
    let limit = i64::from(MAX_PENDING);
    let rows: Vec<_> = (0..limit + 2).map(|episode| row("a", episode, FIRED)).collect();
    let mut store = Store::in_memory().unwrap();
    assert_eq!(commit(&mut store, &rows, 0), 2);
    assert_eq!(commit(&mut store, &[row("a", 0, RESOLVED), row("a", limit, RESOLVED)], 1), 0);
    let backlog = store.backlog().unwrap()["oncall"];
    assert_eq!((backlog.pending, backlog.dead), (MAX_PENDING + 1, 3));
}

#[test]
fn an_id_always_has_the_same_content_alone_or_in_a_group() {
    let (a, b, c) = (row("a", 1, FIRED), row("b", 1, FIRED), row("c", 1, FIRED));
    let mut store = store_with(&[a.clone(), b.clone(), c.clone(), row("b", 1, RESOLVED)]);
    store.begin(&a.id, &[], at(1)).unwrap();
    store.begin(&b.id, std::slice::from_ref(&c.id), at(2)).unwrap();
    let together = |store: &Store| -> Vec<(NotificationId, usize)> {
        let rows = store.due_together("oncall", at(9)).unwrap().rows;
        assert!(rows.iter().all(|row| row.begun_at.is_some()));
        rows.into_iter().map(|row| (row.id, row.together.len())).collect()
    };
    assert_eq!(together(&store), [(a.id.clone(), 0), (b.id.clone(), 1)], "and the resolve of b waits behind it");
    // Also if alerts are no longer grouped.
    assert_eq!(due(&store, 9), [a.id.clone(), b.id.clone()]);
    let apart =
        Verdict::Later { at: at(9), next_attempt_at: at(9), error: "large".to_owned(), trouble: false, apart: true };
    store.settle(&b.id, &apart, &[]).unwrap();
    assert_eq!(together(&store), [(a.id, 0), (b.id, 0), (c.id, 0)]);
}

#[test]
fn what_was_written_while_the_clock_was_ahead_goes_out_when_it_is_right_again() {
    let day = 86_400;
    let ahead = |name: &str, next: i64| {
        let row = row(name, 1, FIRED);
        OutboxRow { created_at: at(day), next_attempt_at: at(day + next), ..row }
    };
    let (fresh, tried) = (ahead("a", 0), ahead("b", 300));
    // An escalation is created for a later time; that is not a wrong clock.
    let escalation = OutboxRow { while_firing: true, ..ahead("c", 0) };
    let mut store = store_with(&[fresh.clone(), tried.clone(), escalation]);
    assert_eq!(due(&store, 60), [fresh.id.clone(), tried.id.clone()]);
    let together = store.due_together("oncall", at(60)).unwrap().rows;
    assert_eq!(together.into_iter().map(|row| row.id).collect::<Vec<_>>(), [fresh.id.clone(), tried.id.clone()]);
    // A retry waits for its time again: the row's creation is still in the future.
    later(&mut store, &fresh, 90);
    later(&mut store, &tried, 120);
    assert_eq!(due(&store, 60), []);
    assert_eq!(due(&store, 90), [fresh.id]);
}
