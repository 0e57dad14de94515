//! GPU utilisation as SageMaker reports it: 0 to 100 times the GPUs of a host, a datapoint per minute, only while the
//! container runs, and a minute late. Computed on the fly, so that asking costs memory to no one.

use std::time::Duration;

use crate::model::Accelerators;
use crate::model::Timestamp;
use crate::model::accelerators_of;
use crate::scheduler::Job;
use crate::scheduler::Phase;
use crate::simulate::World;
use crate::simulate::cloudwatch::Dimension;
use crate::simulate::cloudwatch::Metric;
use crate::simulate::cloudwatch::series::MINUTE_MILLIS;
use crate::simulate::cloudwatch::series::Summary;
use crate::simulate::training_jobs;

/// SageMaker's namespace for training jobs.
pub(super) const NAMESPACE: &str = "/aws/sagemaker/TrainingJobs";
/// The one metric of that namespace that the simulator has.
const METRIC: &str = "GPUUtilization";
const DIMENSION: &str = "Host";
/// How long after the end of its minute a datapoint can be read.
const DELAY: Duration = Duration::from_secs(60);
/// Noise around a job's mean, as a fraction of it.
const NOISE: f64 = 0.05;

/// The complete minutes of a host's metric that begin in `from..to`, oldest first; `None` for other metrics.
pub(super) fn minutes(
    world: &mut World,
    metric: &Metric,
    from: Timestamp,
    to: Timestamp,
) -> Option<Vec<(i64, Summary)>> {
    if metric.namespace != NAMESPACE {
        return None;
    }
    let [Dimension { name, value: host }] = metric.dimensions.as_slice() else { return Some(Vec::new()) };
    if metric.metric_name != METRIC || name != DIMENSION {
        return Some(Vec::new());
    }
    Some(of_host(world, host, from, to).unwrap_or_default())
}

/// The metrics of hosts that run now.
pub(super) fn metrics(world: &World) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for job in world.scheduler.jobs().filter(|job| job.running_since().is_some()) {
        let Some(training_job) = &job.training_job else { continue };
        if gpus_per_host(job).is_some() {
            for n in 1..=hosts(job) {
                metrics.push(Metric {
                    namespace: NAMESPACE.to_owned(),
                    metric_name: METRIC.to_owned(),
                    dimensions: vec![Dimension {
                        name: DIMENSION.to_owned(),
                        value: format!("{training_job}/algo-{n}"),
                    }],
                });
            }
        }
    }
    metrics.sort();
    metrics
}

fn of_host(world: &mut World, host: &str, from: Timestamp, to: Timestamp) -> Option<Vec<(i64, Summary)>> {
    let (name, number) = host.split_once("/algo-")?;
    let number: u32 = number.parse().ok()?;
    let visible_until = world.now - DELAY;
    let run = training_jobs::find(world, name)?;
    if number == 0 || number > hosts(run.job) {
        return None;
    }
    let gpus = f64::from(gpus_per_host(run.job)?);
    let span = run.spans().find(|span| span.phase == Phase::Running)?;
    let from = from.max(span.from).millis();
    let to = to.min(span.to.unwrap_or(visible_until)).min(visible_until).millis();
    // A minute is there if the container ran all through it.
    let first = -(-from).div_euclid(MINUTE_MILLIS);
    let end = to.div_euclid(MINUTE_MILLIS);
    let percent = run.job.utilisation * 100.0 * gpus;
    let point = |minute| {
        let value = (percent * (1.0 + NOISE * noise(host, minute))).clamp(0.0, 100.0 * gpus);
        (minute, Summary::of([(value, 1.0)]))
    };
    Some((first..end).map(point).collect())
}

/// Hosts of a job: its instances, whatever their type.
fn hosts(job: &Job) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates; counts are small")]
    let count = job.demand.iter().map(|capacity| capacity.quantity.ceil()).sum::<f64>() as u32;
    count
}

/// `None` where hosts have no GPU or their type is unknown: no such metric then.
fn gpus_per_host(job: &Job) -> Option<u32> {
    let first = job.demand.first()?;
    accelerators_of(&first.unit).map(Accelerators::gpus).filter(|gpus| *gpus > 0)
}

/// Between -1 and 1, the same for the same host and minute (FNV-1a, then its high bits).
fn noise(host: &str, minute: i64) -> f64 {
    let hash = host
        .bytes()
        .chain(minute.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let unit = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    2.0 * unit - 1.0
}
