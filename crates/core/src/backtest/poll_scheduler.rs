//! Observes a scheduler the way a service would, without delays or errors.

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::model::{
    Accelerators, Capacity, HostUtilisation, JobDetails, JobId, JobSeen, Observation, Queue, QueueName,
    ServiceEnvironment, Source, Timestamp, accelerators_of,
};
use crate::scheduler::{Job, QueueSetup, Scheduler};

/// Polls a scheduler.
#[derive(Debug)]
pub struct Observer {
    queues: Vec<Queue>,
    open: BTreeSet<JobId>,
    /// Number of jobs at the last poll.
    known: usize,
}

impl Observer {
    /// Creates an observer of the scheduler's current queues.
    pub fn new(scheduler: &Scheduler) -> Self {
        let environments: Vec<ServiceEnvironment> = scheduler.environments().cloned().collect();
        let queues = scheduler.queues().map(|queue| as_configured(queue, &environments)).collect();
        Self { queues, open: BTreeSet::new(), known: 0 }
    }

    /// Returns everything that one poll would report. Ended jobs are reported once more, then no longer.
    pub fn look(&mut self, scheduler: &Scheduler, engine: &Engine, now: Timestamp) -> Vec<Observation> {
        self.open.extend(scheduler.jobs().skip(self.known).map(|job| job.id.clone()));
        self.known = scheduler.jobs().count();
        let jobs: Vec<&Job> = self.open.iter().filter_map(|id| scheduler.job(id)).collect();
        let host = |(id, host): (JobId, String)| {
            let job = scheduler.job(&id)?;
            let number: f64 = host.rsplit_once("/algo-")?.1.parse().ok()?;
            let mut hosts = 0.0;
            let of_host = |capacity: &&Capacity| {
                hosts += capacity.quantity;
                number <= hosts
            };
            let gpus = accelerators_of(&job.demand.iter().find(of_host)?.unit).map_or(0, Accelerators::gpus);
            // SageMaker sums the percentages of a host's GPUs: eight busy ones are 800 %.
            let gpu_percent = job.utilisation * 100.0 * f64::from(gpus);
            Some(HostUtilisation { job: id, host, at: now, gpu_percent })
        };
        let hosts = engine.questions(now).hosts.into_iter().filter_map(host).collect();
        let mut observations = vec![
            Observation::Topology { at: now, queues: self.queues.clone() },
            Observation::Jobs { at: now, answered_at: now, jobs: jobs.iter().map(|job| as_described(job)).collect() },
            Observation::Utilisation { at: now, hosts },
            answered(Source::Topology, None, now),
            answered(Source::Utilisation, None, now),
        ];
        observations.extend(self.queues.iter().map(|queue| answered(Source::Jobs, Some(queue.name.clone()), now)));
        let ended: Vec<JobId> = jobs.iter().filter(|job| job.status.is_ended()).map(|job| job.id.clone()).collect();
        for id in ended {
            self.open.remove(&id);
        }
        observations
    }
}

fn answered(source: Source, queue: Option<QueueName>, at: Timestamp) -> Observation {
    Observation::Answered { source, queue, at }
}

fn as_configured(queue: &QueueSetup, environments: &[ServiceEnvironment]) -> Queue {
    let environment = environments.iter().find(|environment| environment.name == queue.environment).cloned();
    Queue {
        enabled: queue.enabled,
        has_time_limit: !queue.time_limits.is_empty(),
        ..Queue::new(queue.name.clone(), queue.policy.clone(), environment)
    }
}

fn as_described(job: &Job) -> JobSeen {
    let details = JobDetails {
        priority: Some(job.priority),
        preemptions: job.preemptions,
        owner: job.tags.get(JobDetails::OWNER_TAG).map(|owner| owner.as_str().into()),
        tags: job
            .tags
            .iter()
            .filter(|(tag, _)| *tag != JobDetails::OWNER_TAG)
            .map(|(tag, value)| (tag.clone(), value.clone()))
            .collect(),
        start_by: job.tags.get(JobDetails::START_BY_TAG).and_then(|tag| JobDetails::start_by(tag, job.created_at)),
        ..JobDetails::default()
    };
    JobSeen { details: Some(Box::new(details)), ..job.listed() }
}
