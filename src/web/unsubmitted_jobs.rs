//! Start estimates for jobs that are not submitted yet.

use axum::Json;
use axum::extract::{RawQuery, State};
use tokio::sync::Semaphore;
use utoipa::IntoParams;

use trainspotter_core::forecast::{self, Hypothetical, InitialState, RUNS};
use trainspotter_core::model::{Capacity, InstanceType, MAX_INSTANCES, QueueName, ShareName, format};

use crate::web::Pages;
use crate::web::error::{ApiError, ErrorBody};
use crate::web::jobs::{JobQuery, ask};
use crate::web::place_filter::PlaceFilter;
use crate::web::query::{given_twice, pairs, shown, unknown_parameter};
use crate::web::start_estimate::StartView;
use crate::web::watched_targets::ask_each;

/// Forecasts run one at a time: each takes a core for a second or two.
static RUNNING: Semaphore = Semaphore::const_new(1);

/// Outlook of a job that never starts.
const NEVER: &str = "never";

/// Parameters of a hypothetical job.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
struct WhenParameters {
    /// Queue to submit to.
    #[param(value_type = String)]
    queue: Option<QueueName>,
    /// Share; for queues with shares.
    #[param(value_type = Option<String>)]
    share: Option<ShareName>,
    /// Number of instances; 1 by default.
    instances: Option<f64>,
    /// Instance type.
    #[param(rename = "type", value_type = String)]
    unit: Option<InstanceType>,
    /// Priority; 0 by default.
    priority: Option<i32>,
    /// Name, to use what is known of jobs with such names.
    name: Option<String>,
    /// Owner, likewise.
    owner: Option<String>,
}

impl WhenParameters {
    fn parse(query: &str) -> Result<(Hypothetical, PlaceFilter), ApiError> {
        let mut read = Self::default();
        let mut place = PlaceFilter::default();
        for (key, value) in pairs(query)? {
            if let Some(twice) = place.take(&key, &value) {
                if twice {
                    return Err(given_twice(&key));
                }
                continue;
            }
            let twice = match &*key {
                "queue" => read.queue.replace(QueueName::new(&*value)).is_some(),
                "share" => read.share.replace(ShareName::new(&*value)).is_some(),
                "instances" => read.instances.replace(parse_instances(&value)?).is_some(),
                "type" => read.unit.replace(InstanceType::from(&*value)).is_some(),
                "priority" => read.priority.replace(parse_priority(&value)?).is_some(),
                "name" => read.name.replace(value.into_owned()).is_some(),
                "owner" => read.owner.replace(value.into_owned()).is_some(),
                _ => {
                    return Err(unknown_parameter(
                        &key,
                        "there are queue, share, instances, type, priority, name, owner, account and region",
                    ));
                }
            };
            if twice {
                return Err(given_twice(&key));
            }
        }
        let missing = |name: &str, example: &str| {
            ApiError::bad_request(format!("parameter {name} is missing, for example {name}={example}"))
        };
        let queue =
            read.queue.filter(|queue| !queue.as_str().is_empty()).ok_or_else(|| missing("queue", "research"))?;
        let unit =
            read.unit.filter(|unit| !unit.as_str().is_empty()).ok_or_else(|| missing("type", "ml.p5.48xlarge"))?;
        let asked = Hypothetical {
            queue,
            share: read.share.filter(|share| !share.as_str().is_empty()),
            priority: read.priority.unwrap_or(0),
            demand: vec![Capacity { unit, quantity: read.instances.unwrap_or(1.0) }].into(),
            name: read.name.unwrap_or_default(),
            owner: read.owner,
        };
        Ok((asked, place))
    }
}

fn parse_instances(value: &str) -> Result<f64, ApiError> {
    let instances =
        value.parse::<f64>().ok().filter(|count| (1.0..=MAX_INSTANCES).contains(count) && count.fract() == 0.0);
    instances.ok_or_else(|| {
        ApiError::bad_request(format!(
            "instances is {}; it must be a whole number from 1 to {MAX_INSTANCES}",
            shown(value)
        ))
    })
}

fn parse_priority(value: &str) -> Result<i32, ApiError> {
    let priority = value.parse::<i32>().ok().filter(|priority| (0..=9_999).contains(priority));
    priority.ok_or_else(|| {
        ApiError::bad_request(format!("priority is {}; AWS takes whole numbers from 0 to 9999", shown(value)))
    })
}

/// Estimated start of a job submitted now: simulates the queue with it as the last job.
#[utoipa::path(
    get, path = "/api/v1/when", tag = "jobs", params(WhenParameters, PlaceFilter),
    responses(
        (status = 200, body = StartView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)
    )
)]
pub(super) async fn when(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Result<Json<StartView>, ApiError> {
    let (asked, place) = WhenParameters::parse(query.as_deref().unwrap_or(""))?;
    let too_busy = || ApiError::unavailable("busy", "another request is being computed; try again");
    let permit = RUNNING.acquire().await.map_err(|_| too_busy())?;
    let targets = pages.watched(&place);
    let answers = ask_each(targets, |reply| JobQuery::Present { asked: Box::new(asked.clone()), reply }).await?;
    let (mut found, mut none) = (Vec::new(), None);
    for (target, initial) in answers.given {
        match initial {
            Ok(initial) => found.push((target, initial)),
            Err(why) => none = Some(why),
        }
    }
    let Some((target, initial)) = found.pop() else {
        let nothing = || "no queue of this account and region is watched".to_owned();
        return Err(ApiError::not_found(none.unwrap_or_else(nothing)));
    };
    if !found.is_empty() {
        return Err(ApiError::conflict("several accounts or regions have this queue: give account and region"));
    }
    let Some(initial) = initial else {
        return Err(ApiError::unavailable("not_ready", "the first poll is not complete yet; try again"));
    };
    let capacity = capacity_of(&initial, &asked.queue);
    let running = tokio::task::spawn_blocking(move || {
        let starts = forecast::run_for_last(&initial, RUNS);
        drop(permit);
        (initial, starts)
    });
    let (initial, starts) =
        running.await.map_err(|_| ApiError::unavailable("failed", "the forecast failed; try again"))?;
    let outlook = ask(&target.jobs, |reply| JobQuery::Outlook { initial, starts: Box::new(starts), reply }).await?;
    let mut start = StartView::of(outlook, pages.clock.now());
    if start.outlook == NEVER {
        start.sentence += &capacity;
    }
    Ok(Json(start))
}

/// The capacity of a queue, as a follow-up sentence.
fn capacity_of(initial: &InitialState, queue: &QueueName) -> String {
    let environment = initial.setup.queues.iter().find(|one| one.name == *queue).map(|one| &one.environment);
    let found = initial.setup.environments.iter().find(|one| Some(&one.name) == environment);
    let limits = found.map_or(&[][..], |environment| &environment.limits);
    let limits: Vec<String> = limits.iter().map(in_words).collect();
    if limits.is_empty() { String::new() } else { format!(" Queue {queue} has {}.", limits.join(", ")) }
}

fn in_words(limit: &Capacity) -> String {
    if limit.unit.is_any() {
        let instances = if (limit.quantity - 1.0).abs() < f64::EPSILON { "instance" } else { "instances" };
        return format!("{} {instances} of any type", format::trimmed(limit.quantity));
    }
    format!("{} × {}", format::trimmed(limit.quantity), limit.unit)
}

#[cfg(test)]
mod tests {
    use trainspotter_core::forecast::{NeverBecause, Outlook, Unknown};
    use trainspotter_core::model::Capacity;

    #[test]
    fn a_capacity_reads_as_words() {
        let words = |unit: &str, quantity: f64| super::in_words(&Capacity::new(unit, quantity));
        assert_eq!(words("NUM_INSTANCES", 1.0), "1 instance of any type");
        assert_eq!(words("NUM_INSTANCES", 8.0), "8 instances of any type");
        assert_eq!(words("ml.p5.48xlarge", 8.0), "8 × ml.p5.48xlarge");
    }

    #[test]
    fn what_never_starts_is_known_by_its_outlook() {
        let view = super::StartView::of(Outlook::Unknown(Unknown::Never(NeverBecause::Disabled)), Default::default());
        assert_eq!(view.outlook, super::NEVER);
    }
}
