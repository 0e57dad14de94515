//! Replication status for the API.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::replication::ReplicaStatus;
use crate::replication::lease::Role;
use crate::replication::target_assignment::replica_of;
use crate::web::{ReplicaView, Snapshot};

/// Converts the status of a replica to its API form.
pub(super) fn of(status: &ReplicaStatus) -> ReplicaView {
    ReplicaView {
        leads: status.role == Role::Leading,
        replica: replica_of(&status.own).to_owned(),
        leader: status.leader.as_deref().map(|leader| replica_of(leader).to_owned()),
        record: status.number,
        written_at: status.written_at,
        same_config: status.same_config,
        trouble: status.trouble.clone(),
        is_ahead: status.is_ahead,
        damaged_copy: status.damaged_copy.clone(),
    }
}

/// Keeps the replication status of a leader's snapshot current between ticks, until `stop`. A poll of a leader without a network takes
/// minutes; meanwhile another replica may lead.
pub(super) async fn follow(
    mut status: watch::Receiver<ReplicaStatus>,
    snapshot: watch::Sender<Snapshot>,
    stop: CancellationToken,
) {
    let following = async {
        let parts = |status: &ReplicaStatus| (status.role, status.trouble.clone(), status.is_ahead);
        let mut shown = parts(&status.borrow_and_update());
        while status.changed().await.is_ok() {
            let now = status.borrow_and_update().clone();
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
        let (status, follows) = watch::channel(leading.clone());
        let (snapshot, mut shown) = watch::channel(Snapshot { replica: Some(of(&leading)), ..Snapshot::default() });
        let stop = CancellationToken::new();
        let following = tokio::spawn(follow(follows, snapshot, stop.clone()));
        tokio::task::yield_now().await;
        let cut_off = ReplicaStatus { trouble: Some("no response within 5s".to_owned()), ..leading.clone() };
        for now in [cut_off, ReplicaStatus { role: Role::Following, ..leading }] {
            status.send_replace(now.clone());
            shown.changed().await.unwrap();
            assert_eq!(shown.borrow_and_update().replica, Some(of(&now)));
        }
        // The replica's thread may end before this task, which ends only when it is stopped.
        drop(status);
        tokio::task::yield_now().await;
        assert!(!following.is_finished());
        stop.cancel();
        following.await.unwrap();
    }
}
