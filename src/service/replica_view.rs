//! Replication status for the API.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::replication::ReplicaStatus;
use crate::replication::lease::Role;
use crate::replication::sharing::replica_of;
use crate::web::{ReplicaView, Snapshot};

/// Converts the status of a replica to its API form.
pub(super) fn of(standing: &ReplicaStatus) -> ReplicaView {
    ReplicaView {
        leads: standing.role == Role::Leading,
        replica: replica_of(&standing.own).to_owned(),
        leader: standing.leader.as_deref().map(|leader| replica_of(leader).to_owned()),
        record: standing.number,
        written_at: standing.written_at,
        same_config: standing.same_config,
        trouble: standing.trouble.clone(),
        is_ahead: standing.is_ahead,
        damaged_copy: standing.damaged_copy.clone(),
    }
}

/// Keeps the replication status of a leader's snapshot current between ticks, until `stop`. A poll of a leader without a network takes
/// minutes; meanwhile another replica may lead.
pub(super) async fn follow(
    mut standing: watch::Receiver<ReplicaStatus>,
    snapshot: watch::Sender<Snapshot>,
    stop: CancellationToken,
) {
    let following = async {
        let parts = |standing: &ReplicaStatus| (standing.role, standing.trouble.clone(), standing.is_ahead);
        let mut shown = parts(&standing.borrow_and_update());
        while standing.changed().await.is_ok() {
            let now = standing.borrow_and_update().clone();
            // A tick shows the other fields, which change with every record.
            if shown != parts(&now) {
                shown = parts(&now);
                snapshot.send_modify(|snapshot| snapshot.replica = Some(of(&now)));
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = following => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_leader_shows_between_two_ticks_that_it_has_lost_the_log() {
        let leading = ReplicaStatus {
            role: Role::Leading,
            term: 1,
            own: "one-1".to_owned(),
            leader: Some("one-1".to_owned()),
            number: 1,
            written_at: None,
            same_config: true,
            trouble: None,
            is_ahead: false,
            damaged_copy: None,
        };
        let (standing, follows) = watch::channel(leading.clone());
        let (snapshot, mut shown) = watch::channel(Snapshot { replica: Some(of(&leading)), ..Snapshot::default() });
        let stop = CancellationToken::new();
        let following = tokio::spawn(follow(follows, snapshot, stop.clone()));
        tokio::task::yield_now().await;
        let cut_off = ReplicaStatus { trouble: Some("no response within 5s".to_owned()), ..leading.clone() };
        for status in [cut_off, ReplicaStatus { role: Role::Following, ..leading }] {
            standing.send_replace(status.clone());
            shown.changed().await.unwrap();
            assert_eq!(shown.borrow_and_update().replica, Some(of(&status)));
        }
        // The replica's thread may end before this task, which ends only when it is stopped.
        drop(standing);
        tokio::task::yield_now().await;
        assert!(!following.is_finished());
        stop.cancel();
        following.await.unwrap();
    }
}
