//! Operations over several targets, some of which do not reply.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::notify::sample_alerts;
use crate::web::{Access, Snapshot};
use trainspotter_clock::Clock;
use trainspotter_core::model::{Matchers, Place, Timestamp};
use trainspotter_core::rules::TransitionKind;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn silence(id: i64) -> Silence {
    let matchers = Matchers::parse("queue=research").unwrap();
    let (author, comment) = ("ada".to_owned(), String::new());
    Silence { id, matchers, starts_at: at(0), ends_at: at(1_000), author, comment }
}

/// Behaviour of a target.
#[derive(Clone, Copy)]
enum Kind {
    /// Performs everything: has silence 3 and a notification.
    Leads,
    /// Led by another replica; reports whether it has matching items.
    IsLedElsewhere { has_it: bool },
    /// Has neither silence 3 nor notifications.
    HasNothing,
    /// Not watched.
    IsGone,
    /// Never replies.
    Hangs,
}

async fn answer(kind: Kind, mut inbox: mpsc::Receiver<Operation>) {
    let elsewhere = || Refusal::Unavailable("another replica leads".to_owned());
    while let Some(operation) = inbox.recv().await {
        let has_it = matches!(kind, Kind::Leads | Kind::IsLedElsewhere { has_it: true });
        match operation {
            Operation::ListSilences { reply } => {
                drop(reply.send(Ok(has_it.then(|| silence(3)).into_iter().collect())));
            }
            Operation::ListOutbox { reply, .. } => {
                let row = || sample_alerts::row(TransitionKind::Fired).into();
                let notifications = has_it.then(row).into_iter().collect();
                drop(reply.send(Ok(NotificationPage { notifications, next: None })));
            }
            Operation::AddSilence { silence, reply, .. } => drop(reply.send(match kind {
                Kind::Leads => Ok(silence),
                Kind::HasNothing => Err(Refusal::Invalid("it would silence nothing".to_owned())),
                Kind::IsLedElsewhere { .. } | Kind::IsGone | Kind::Hangs => Err(elsewhere()),
            })),
            Operation::EndSilence { id, reply, .. } => drop(reply.send(match kind {
                Kind::Leads => Ok(silence(id)),
                Kind::HasNothing => Err(Refusal::NotFound("there is no such silence".to_owned())),
                Kind::IsLedElsewhere { .. } | Kind::IsGone | Kind::Hangs => Err(elsewhere()),
            })),
            Operation::ChangeOutbox { reply, .. } => drop(reply.send(match kind {
                Kind::Leads => Ok(1),
                Kind::HasNothing => Err(Refusal::NotFound("there is no such notification".to_owned())),
                Kind::IsLedElsewhere { .. } | Kind::IsGone | Kind::Hangs => Err(elsewhere()),
            })),
            Operation::Test { reply, .. } => drop(reply.send(Ok(Vec::new()))),
        }
    }
}

/// Pages over targets named by position: a, b, c.
fn pages(kinds: &[Kind]) -> Pages {
    let targets = ["a", "b", "c", "d"].iter().zip(kinds).map(|(name, kind)| {
        let (operations, inbox) = mpsc::channel(4);
        if let Kind::Hangs = kind {
            std::mem::forget(inbox);
        } else if !matches!(kind, Kind::IsGone) {
            tokio::spawn(answer(*kind, inbox));
        }
        let (snapshot, silences) = (watch::channel(Snapshot::default()).1, watch::channel([].into()).1);
        let (jobs, history) = (mpsc::channel(1).0, mpsc::channel(1).0);
        WatchedTarget { place: Place::new(name, "us-east-1"), snapshot, jobs, history, operations, silences }
    });
    Pages {
        targets: watch::channel(targets.collect()).1,
        access: Access::default(),
        clock: Clock::starting_at(at(100), 1.0),
        started_at: at(0),
        tick_every: Duration::from_secs(30),
        metrics: |_| String::new(),
        was_ready: Arc::default(),
        configuration: watch::channel(None).1,
        recordings: crate::web::what_if::CachedRecordings::default(),
    }
}

/// Status and message of a response.
fn status_and_message<T: std::fmt::Debug>(answer: Result<T, ApiError>) -> (u16, String) {
    match answer {
        Ok(done) => (200, format!("{done:?}")),
        Err(error) => (error.status().as_u16(), format!("{error:?}")),
    }
}

const ELSEWHERE: Kind = Kind::IsLedElsewhere { has_it: true };
const ELSEWHERE_AND_NOT_MEANT: Kind = Kind::IsLedElsewhere { has_it: false };

#[tokio::test]
async fn a_silence_that_was_added_in_a_part_is_a_conflict_that_names_both_parts() {
    let add = async |kinds: &[Kind]| status_and_message(pages(kinds).add_silence(silence(0), false).await);
    let (status, text) = add(&[Kind::Leads, ELSEWHERE, Kind::HasNothing, Kind::IsGone]).await;
    assert_eq!(status, 409, "{text}");
    assert!(text.contains("not_everywhere") && text.contains("silence 4 was added in a and not in b, d"), "{text}");
    assert_eq!(add(&[Kind::Leads, Kind::Leads, Kind::HasNothing]).await.0, 200);
    assert_eq!(add(&[ELSEWHERE, Kind::IsGone]).await.0, 503);
    assert_eq!(add(&[Kind::HasNothing, Kind::HasNothing]).await.0, 422);
    assert_eq!(add(&[]).await.0, 503);
    let conflict = partially_added(3, &vec![("a".into(), Ok(silence(3))), ("b".into(), Err(nothing_yet()))]).unwrap();
    assert_eq!(conflict.into_response().status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_silence_that_may_still_hold_somewhere_has_not_ended() {
    let end = async |kinds: &[Kind]| status_and_message(pages(kinds).end_silence(3, "ada").await);
    for (kinds, status, names) in [
        (&[Kind::Leads, Kind::Leads][..], 200, ""),
        (&[Kind::Leads, ELSEWHERE, Kind::IsGone], 409, "was ended in a and may still hold in b, c"),
        // A target that is led elsewhere and has no match does not matter.
        (&[Kind::Leads, ELSEWHERE_AND_NOT_MEANT, Kind::HasNothing], 200, ""),
        (&[Kind::HasNothing, ELSEWHERE_AND_NOT_MEANT], 404, "no such silence"),
        (&[Kind::HasNothing, ELSEWHERE], 503, "another replica leads"),
        (&[ELSEWHERE_AND_NOT_MEANT], 503, "another replica leads"),
    ] {
        let (found, text) = end(kinds).await;
        assert!(found == status && text.contains(names), "{status} {names:?}: {found} {text}");
    }
}

#[tokio::test]
async fn notifications_that_could_not_all_be_changed_are_no_success() {
    for (kinds, status, says) in [
        (&[Kind::Leads, Kind::Leads][..], 200, "2"),
        (&[Kind::Leads, ELSEWHERE, Kind::IsGone], 409, "1 notifications were dropped, and none of b, c"),
        (&[Kind::Leads, ELSEWHERE_AND_NOT_MEANT, Kind::HasNothing], 200, "1"),
        (&[Kind::HasNothing, ELSEWHERE_AND_NOT_MEANT], 404, "no such notification"),
        (&[Kind::HasNothing, ELSEWHERE], 503, "another replica leads"),
    ] {
        let pages = pages(kinds);
        let (found, text) =
            status_and_message(pages.change_outbox(Change::Drop, None, vec!["ab".to_owned()], "ada").await);
        assert!(found == status && text.contains(says), "{status} {says:?}: {found} {text}");
    }
}

#[tokio::test]
async fn a_target_that_is_not_watched_hinders_no_question_to_the_others() {
    let pages = pages(&[Kind::IsGone, Kind::Leads]);
    assert_eq!(pages.list_silences().await.unwrap().len(), 1);
    assert_eq!(pages.send_tests(&TestRequest::default(), "ada").await, Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_hangs_holds_up_no_act_and_is_named() {
    let pages = pages(&[Kind::Leads, Kind::Hangs]);
    let began = tokio::time::Instant::now();
    let (status, text) = status_and_message(pages.end_silence(3, "ada").await);
    assert!(status == 409 && text.contains("was ended in a and may still hold in b"), "{status} {text}");
    let (status, text) = status_and_message(pages.change_outbox(Change::Retry, None, Vec::new(), "ada").await);
    assert!(status == 409 && text.contains("none of b"), "{status} {text}");
    assert!(began.elapsed() <= 4 * ACT_WITHIN, "{:?}", began.elapsed());
}
