//! What a poll of the topology reports to the engine: the watched queues, those without a complete description, and a
//! problem if there are too many queues to watch them all in time.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::aws::Poller;
use crate::aws::failure::Failure;
use crate::aws::topology::{MAX_QUEUES, Topology};
use trainspotter_core::model::format::duration;
use trainspotter_core::model::{Observation, QueueName, Source, Timestamp};

/// Maximum queue names listed in the error that no queue matches.
const MAX_NAMED: usize = 20;

/// Minimum calls of a poll per queue: six lists by status, the arrivals and the snapshot.
const CALLS_PER_QUEUE: usize = 8;

/// Polls that take longer than this are a problem; or than two intervals, if that is longer.
const SLOW_POLL: Duration = Duration::from_secs(300);

impl Poller {
    /// Observations of a topology: the queues, which of them are complete, and the failures of the others.
    pub(super) fn topology_observations(&self, topology: Topology, at: Timestamp) -> Vec<Observation> {
        let source = Source::Topology;
        let Topology { queues, others, failures, left_out: _ } = topology;
        let failed: BTreeSet<&QueueName> = failures.iter().map(|(queue, _)| queue).collect();
        let complete = queues.iter().map(|queue| &queue.name).filter(|name| !failed.contains(name));
        let answered = |name: &QueueName| Observation::Answered { source, queue: Some(name.clone()), at };
        let answered: Vec<Observation> = complete.map(answered).collect();
        let why = queues.is_empty().then(|| self.nothing_matches(&others));
        let mut observations = vec![Observation::Topology { at, queues }];
        observations.extend(answered);
        let failed = |(queue, failure): (QueueName, Failure)| Observation::Failed {
            source,
            queue: Some(queue),
            at,
            error: failure.to_string(),
        };
        observations.extend(failures.into_iter().map(failed));
        observations.extend(why.map(|why| Observation::NoQueues { why }));
        observations
    }

    /// Why not all queues are watched, or not in time; `None` if they are.
    pub(super) fn too_many_queues(&self, left_out: usize) -> Option<String> {
        let watched = self.queues.len();
        let are_left_out = (left_out > 0).then(|| {
            format!(
                "{} queues match `queues: {}`, and the first {MAX_QUEUES} by name are watched; the others are not: use \
                 narrower patterns, and several targets",
                watched + left_out,
                self.target.queues.join(", ")
            )
        });
        let calls = watched * CALLS_PER_QUEUE;
        let takes = Duration::from_secs_f64(calls as f64 / self.poll.calls_per_second);
        let is_slow = (takes > SLOW_POLL.max(self.poll.every * 2)).then(|| {
            let [takes, every] = [takes, self.poll.every].map(|time| duration(time.as_secs_f64()));
            let rate = self.poll.calls_per_second;
            format!(
                "a poll of {watched} queues takes at least {takes} instead of {every}, and alerts come as much later: it \
                 needs {calls} calls, at {rate} calls a second. Raise `calls_per_second`, or watch fewer queues"
            )
        });
        let all: Vec<String> = are_left_out.into_iter().chain(is_slow).collect();
        if all.is_empty() { None } else { Some(all.join("; ")) }
    }

    /// Error text that no queue matches: the filter, and the queues that exist.
    fn nothing_matches(&self, others: &BTreeSet<String>) -> String {
        let globs = self.target.queues.join(", ");
        let region = &self.target.region;
        let what = format!("no job queue of type SAGEMAKER_TRAINING in {region} matches `queues: {globs}`");
        let named: Vec<&str> = others.iter().take(MAX_NAMED).map(String::as_str).collect();
        match others.len().saturating_sub(MAX_NAMED) {
            _ if named.is_empty() => {
                format!("{what}: there is none at all (is it the right region, account and role?)")
            }
            0 => format!("{what}; there are: {}", named.join(", ")),
            more => format!("{what}; there are: {} and {more} more", named.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::aws::scripted_endpoint;
    use crate::config::Poll;

    /// What the first poll of so many queues says about them: how many are watched, why that is a problem, and limits that were reached.
    async fn first_poll(queues: usize, calls_per_second: f64) -> (usize, Option<String>, Vec<String>) {
        let (endpoint, _) = scripted_endpoint::serve(move |operation, _| match operation {
            "describejobqueues" => {
                let queue = |number: usize| {
                    json!({"jobQueueName": format!("queue-{number:04}"), "jobQueueArn": format!("arn:{number}"), "priority": 1,
                           "jobQueueType": "SAGEMAKER_TRAINING", "state": "ENABLED", "status": "VALID"})
                };
                (200, json!({"jobQueues": (0..queues).rev().map(queue).collect::<Vec<_>>()}))
            }
            _ => (200, json!({"serviceEnvironments": []})),
        })
        .await;
        let poll = Poll { calls_per_second, ..scripted_endpoint::poll_config() };
        let (mut poller, clients, _) = scripted_endpoint::poller(&endpoint, poll).await;
        let (out, mut from) = scripted_endpoint::channel();
        poller.begin(&out).await;
        let mut said = None;
        for observation in scripted_endpoint::received(&mut from) {
            if let Observation::TooManyQueues { why } = observation {
                said = why;
            }
        }
        let first = poller.queues.first().map(|queue| queue.name.to_string());
        assert_eq!(first.as_deref(), Some("queue-0000"));
        (poller.queues.len(), said, clients.limits().drain().into_keys().map(str::to_owned).collect())
    }

    #[tokio::test]
    async fn more_queues_than_can_be_listed_in_time_or_at_all_are_a_problem_with_a_remedy() {
        assert_eq!(first_poll(50, 5.0).await, (50, None, vec![]), "as many as AWS allows");
        let (watched, said, limits) = first_poll(300, 5.0).await;
        let said = said.unwrap();
        assert!(watched == 300 && limits.is_empty(), "{watched} {limits:?}");
        assert!(
            said.starts_with("a poll of 300 queues takes at least 8m instead of 30s") && said.contains("Raise"),
            "{said}"
        );
        assert_eq!(first_poll(300, 50.0).await, (300, None, vec![]));
        let (watched, said, limits) = first_poll(3_000, 100.0).await;
        assert!(watched == MAX_QUEUES && limits == ["queues"], "{watched} {limits:?}");
        assert!(
            said.as_deref()
                .is_some_and(|said| said.starts_with("3000 queues match `queues: *`, and the first 500 by name")),
            "{said:?}"
        );
    }
}
