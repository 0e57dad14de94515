//! Replication status for the API.

use crate::replication::Standing;
use crate::replication::lease::Role;
use crate::replication::sharing::replica_of;
use crate::web::ReplicaView;

/// Converts the status of a replica to its API form.
pub(super) fn of(standing: &Standing) -> ReplicaView {
    ReplicaView {
        leads: standing.role == Role::Leading,
        replica: replica_of(&standing.own).to_owned(),
        leader: standing.leader.as_deref().map(|leader| replica_of(leader).to_owned()),
        record: standing.number,
        written_at: standing.written_at,
        same_config: standing.same_config,
        trouble: standing.trouble.clone(),
        is_ahead: standing.is_ahead,
    }
}
