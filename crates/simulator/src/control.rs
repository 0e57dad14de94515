//! Time and events on request: `POST /_sim/control`. `README.md` has the commands.
//!
//! Simulated time follows the clock that the simulation was given, at the same pace, until a command says otherwise.
//! Whoever shares that clock, as the service of the demo does, does not know: these commands are for a simulator that runs
//! alone, and for tests.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::faults::Arrangement;
use crate::gpu::Shape;
use crate::reply::ApiError;
use crate::scenario::OutageText;
use trainspotter_clock::Clock;
use trainspotter_core::model::Capacity;
use trainspotter_core::model::JobId;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::ShareName;
use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::Plan;
use trainspotter_core::scheduler::PlannedOutcome;
use trainspotter_core::scheduler::RetryStrategy;
use trainspotter_core::scheduler::Submission;
use trainspotter_core::scheduler::Terms;
use trainspotter_core::yaml::HumanDuration;

/// Simulated seconds per real second, at most.
const MAX_SPEED: f64 = 100_000.0;
/// How busy the GPUs of a submitted job are.
const UTILISATION: f64 = 0.8;
/// Jobs submitted by one command, at most.
const MAX_JOBS: u32 = 100_000;

/// How simulated time follows the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// A moment of the clock, and what simulated time it was then.
    since: Timestamp,
    shown: Timestamp,
    /// Simulated seconds per second of the clock.
    rate: f64,
    paused: bool,
}

impl Pace {
    /// The clock's own.
    pub fn of_clock(now: Timestamp) -> Self {
        Self { since: now, shown: now, rate: 1.0, paused: false }
    }

    /// The simulated time when the clock shows `clock`.
    pub fn at(self, clock: Timestamp) -> Timestamp {
        if self.paused { self.shown } else { self.shown + clock.since(self.since).mul_f64(self.rate) }
    }

    /// The same from `clock` on, to be changed.
    fn from(self, clock: Timestamp) -> Self {
        Self { since: clock, shown: self.at(clock), ..self }
    }
}

/// A request to `/_sim/control`: what is given is done, in this order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    /// Stops time (true) or lets it go on (false).
    pause: Option<bool>,
    /// Simulated seconds per real second.
    speed: Option<f64>,
    /// Arranges faults, as `/_sim/faults` does.
    faults: Option<Arrangement>,
    /// Gives jobs another shape of GPU utilisation.
    shape: Option<Reshape>,
    /// Takes all instances of a type away for a while.
    outage: Option<OutageText>,
    /// Submits jobs.
    submit: Option<Submit>,
    /// Ends a job.
    terminate: Option<Terminate>,
    /// Lets time pass at once.
    advance: Option<HumanDuration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reshape {
    job: JobId,
    shape: Shape,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Submit {
    queue: QueueName,
    share: Option<ShareName>,
    #[serde(default = "name")]
    name: String,
    instance_type: String,
    #[serde(default = "one")]
    instances: u32,
    #[serde(default)]
    priority: i32,
    /// How long it runs.
    lasts: HumanDuration,
    /// The status reason, if it is to fail.
    fails: Option<String>,
    /// The status reason, if SageMaker is to refuse it when it is dispatched.
    refused: Option<String>,
    shape: Option<Shape>,
    /// How often it may try.
    #[serde(default = "one")]
    attempts: u32,
    /// How many such jobs.
    #[serde(default = "one")]
    jobs: u32,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Terminate {
    job: JobId,
    reason: Option<String>,
}

fn name() -> String {
    "injected".to_owned()
}

fn one() -> u32 {
    1
}

/// How time passes now.
pub(super) fn state(world: &World, clock: Clock) -> Value {
    json!({
        "now": world.now,
        "paused": world.pace.paused,
        "speed": speed(world, clock),
        "next_event": world.scheduler.next_event(),
    })
}

/// Simulated seconds per real second.
pub(super) fn speed(world: &World, clock: Clock) -> f64 {
    clock.speed() * world.pace.rate
}

/// Does what a command says, and returns how time passes now and the ids of jobs that were submitted.
///
/// # Errors
/// 400 if a part of it makes no sense; the parts before it are done.
pub(super) fn perform(world: &mut World, command: Command, clock: Clock) -> Result<Value, ApiError> {
    let clock_now = clock.now();
    let mut pace = world.pace.from(clock_now);
    pace.paused = command.pause.unwrap_or(pace.paused);
    if let Some(speed) = command.speed {
        if !(speed > 0.0 && speed <= MAX_SPEED) {
            return Err(refused(format!("speed {speed}: it must lie between 0 and {MAX_SPEED}; `pause` stops time")));
        }
        pace.rate = speed / clock.speed();
    }
    world.pace = pace;
    if let Some(faults) = command.faults {
        arrange(world, faults)?;
    }
    if let Some(Reshape { job, shape }) = command.shape {
        known(world, &job)?;
        world.gpus.reshape(job, shape);
    }
    if let Some(outage) = command.outage {
        let outage = outage.outage(world.now);
        world.scheduler.add_outage(outage);
    }
    let submitted = command.submit.map_or(Ok(Vec::new()), |submit| submit_jobs(world, submit))?;
    if let Some(Terminate { job, reason }) = command.terminate {
        known(world, &job)?;
        world.scheduler.terminate(&job, reason.as_deref().unwrap_or("terminated on request"));
    }
    if let Some(span) = command.advance {
        world.pace.shown = world.pace.shown + span.0;
    }
    world.catch_up(clock_now);
    let mut answer = state(world, clock);
    answer["submitted"] = json!(submitted);
    Ok(answer)
}

/// Arranges faults.
///
/// # Errors
/// 400 with everything that is wrong with them.
pub(super) fn arrange(world: &mut World, faults: Arrangement) -> Result<(), ApiError> {
    let findings: Vec<_> = faults.findings().into_iter().map(|(path, what)| format!("{path}: {what}")).collect();
    if !findings.is_empty() {
        return Err(refused(findings.join("; ")));
    }
    world.faults.arrange(faults);
    Ok(())
}

fn submit_jobs(world: &mut World, submit: Submit) -> Result<Vec<JobId>, ApiError> {
    if submit.jobs > MAX_JOBS {
        return Err(refused(format!("{} jobs: at most {MAX_JOBS} at once", submit.jobs)));
    }
    let outcome = submit.fails.map_or(PlannedOutcome::Succeeds, PlannedOutcome::Fails);
    let submission = Submission {
        at: world.now,
        name: submit.name,
        queue: submit.queue,
        share: submit.share,
        priority: submit.priority,
        demand: vec![Capacity::new(submit.instance_type, f64::from(submit.instances))],
        tags: submit.tags,
        plan: submit.refused.map_or(Plan::Runs { duration: submit.lasts.0, outcome }, Plan::Refused),
        terms: Terms {
            retry: RetryStrategy { attempts: submit.attempts.max(1), ..RetryStrategy::default() },
            ..Terms::default()
        },
        utilisation: UTILISATION,
    };
    let mut ids = Vec::new();
    for _ in 0..submit.jobs {
        let id = world.scheduler.submit(submission.clone()).map_err(|refusal| refused(refusal.to_string()))?;
        if let Some(shape) = submit.shape {
            world.gpus.reshape(id.clone(), shape);
        }
        ids.push(id);
    }
    world.scheduler.advance(world.now);
    Ok(ids)
}

fn known(world: &World, job: &JobId) -> Result<(), ApiError> {
    world.scheduler.job(job).map(|_| ()).ok_or_else(|| refused(format!("no job {job}")))
}

fn refused(message: impl Into<String>) -> ApiError {
    ApiError::bad("BadRequest", message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_keeps_its_place_when_its_pace_changes() {
        let at = Timestamp::from_millis;
        let mut pace = Pace::of_clock(at(1_000));
        assert_eq!(pace.at(at(3_000)), at(3_000));
        pace = Pace { rate: 10.0, ..pace.from(at(3_000)) };
        assert_eq!(pace.at(at(4_000)), at(13_000));
        pace = Pace { paused: true, ..pace.from(at(4_000)) };
        assert_eq!(pace.at(at(9_000)), at(13_000));
        pace.shown = pace.shown + Duration::from_secs(60);
        pace = Pace { paused: false, rate: 1.0, ..pace.from(at(9_000)) };
        assert_eq!(pace.at(at(10_000)), at(74_000));
    }
}
