//! Response headers with replicas: the time of the figures, and the leader.

use std::collections::BTreeSet;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use crate::web::Pages;

/// Time of the figures, in RFC 3339; with several targets, that of the oldest.
const AS_OF: HeaderName = HeaderName::from_static("trainspotter-as-of");

/// Id of the leader, as in `/api/v1/health`; with several targets, all leaders. Absent without a leader.
const LEADER: HeaderName = HeaderName::from_static("trainspotter-leader");

pub(super) async fn add(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let snapshots = pages.latest();
    let replicas: Vec<_> =
        snapshots.iter().filter_map(|snapshot| Some((snapshot.replica.as_ref()?, snapshot.ticked_at))).collect();
    let as_of = replicas.iter().filter_map(|(_, ticked_at)| *ticked_at).min().map(|at| at.to_string());
    let leaders: BTreeSet<&str> = replicas.iter().filter_map(|(replica, _)| replica.leader.as_deref()).collect();
    let leaders = leaders.into_iter().collect::<Vec<_>>().join(", ");
    for (name, value) in [(AS_OF, as_of), (LEADER, Some(leaders).filter(|leaders| !leaders.is_empty()))] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
