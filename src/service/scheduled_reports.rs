//! Scheduled reports: one per completed day, week or month, each sent once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Every, ScheduledReport, Target};
use crate::notify::{Digest, Notifiers, notification};
use crate::report::{Report, summary, text_within};
use crate::service::COUNTED_UNTIL;
use crate::service::operations::Operations;
use crate::service::report_rows::{ReportError, Sources, objectives, report};
use crate::service::shared_by_targets::Shared;
use crate::store::StoreHandle;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Rule;

/// Interval between checks for due reports.
const CHECK_INTERVAL: Duration = Duration::from_secs(300);

/// Lower bound of that interval in wall time, for clocks that run fast.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Delay after the end of the period, so that the report includes what AWS reports late.
const GRACE: Duration = Duration::from_secs(3_600);

/// Maximum characters of a report in one message.
const MAX_TEXT: usize = 3_500;

/// Sends scheduled reports.
#[derive(Debug)]
pub(super) struct Digests {
    config: Arc<Config>,
    /// The current targets.
    targets: watch::Receiver<Arc<[Target]>>,
    /// The target whose state file records which reports were sent.
    own: Option<String>,
    rules: watch::Receiver<Arc<[Rule]>>,
    store: StoreHandle,
    notifiers: Notifiers,
    clock: Clock,
}

impl Digests {
    /// Creates the sender of the configured reports. Reports cover all targets; the first target sends them.
    pub(super) fn of(operations: &Operations, shared: &Shared) -> Self {
        let Operations { config: own, clock, store, notifiers, rules, .. } = operations.clone();
        let own = own.targets.first().map(|target| target.name.clone());
        let (config, targets) = (Arc::clone(&shared.config), shared.targets.subscribe());
        Self { config, targets, own, rules, store, notifiers, clock }
    }

    /// Runs until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        if self.config.reports.is_empty() {
            return stop.cancelled().await;
        }
        // The last error of each report, so that it is logged once until it changes.
        let mut failing = BTreeMap::new();
        loop {
            let pause = CHECK_INTERVAL.max(self.clock.of_wall(MIN_CHECK_INTERVAL));
            if stop.run_until_cancelled(self.clock.sleep(pause)).await.is_none() {
                return;
            }
            let is_first = self.targets.borrow().first().map(|target| target.name.clone()) == self.own;
            for scheduled in self.config.reports.iter().filter(|_| is_first) {
                let looked = stop.run_until_cancelled(self.look(scheduled)).await;
                match looked {
                    None => return,
                    Some(Ok(())) => _ = failing.remove(&name_of(scheduled)),
                    Some(Err(error)) => {
                        let error = error.to_string();
                        if failing.insert(name_of(scheduled), error.clone()).as_ref() != Some(&error) {
                            tracing::error!(error, to = scheduled.to, "cannot build a scheduled report; retrying");
                        }
                    }
                }
            }
        }
    }

    /// Queues the newest due report, unless it was queued before.
    async fn look(&self, scheduled: &ScheduledReport) -> Result<(), ReportError> {
        let asked = name_of(scheduled);
        let name = asked.clone();
        let known = self.store.call(move |store| {
            Ok((store.watermark(COUNTED_UNTIL)?, store.reported_until(&name)?, store.counts_since()?))
        });
        let (Some(counted_until), reported_until, Some(since)) = known.await? else { return Ok(()) };
        let grace = self.config.archive.as_ref().map_or(GRACE, |archive| archive.grace.max(GRACE));
        let Some((from, to)) = last_completed(scheduled.every, counted_until - grace) else { return Ok(()) };
        if reported_until.is_some_and(|until| until >= to) {
            return Ok(());
        }
        let now = self.clock.now();
        // Skip periods that ended before the service began to watch.
        let row = if since < to {
            let built = self.make((from, to), scheduled.by.clone()).await?;
            let text = text_within(&built, MAX_TEXT);
            let digest = Digest { name: label_of(scheduled), from, summary: summary(&built), text };
            Some(notification(&digest, &scheduled.to, now))
        } else {
            None
        };
        self.store.call(move |store| store.queue_report(&asked, to, row.as_ref(), now)).await?;
        self.notifiers.committed();
        Ok(())
    }

    /// Builds the report on a blocking thread: it reads and decompresses a lot of data.
    async fn make(&self, span: (Timestamp, Timestamp), by: Vec<String>) -> Result<Report, ReportError> {
        let (clock, rules) = (self.clock, self.rules.borrow().clone());
        let config = Config { targets: self.targets.borrow().to_vec(), ..Config::clone(&self.config) };
        let waiting = tokio::runtime::Handle::current();
        let making = tokio::task::spawn_blocking(move || {
            waiting.block_on(async {
                let sources = Sources::of(&config, clock).await?;
                report(&sources, span, &by, &config.tags, objectives(&rules)).await
            })
        });
        making.await.map_err(ReportError::Ended)?
    }
}

/// Name of a scheduled report in the state file.
fn name_of(scheduled: &ScheduledReport) -> String {
    format!("{} to {}", label_of(scheduled), scheduled.to)
}

fn label_of(ScheduledReport { every, by, .. }: &ScheduledReport) -> String {
    let every = match every {
        Every::Daily => "daily",
        Every::Weekly => "weekly",
        Every::Monthly => "monthly",
    };
    if by.is_empty() { every.to_owned() } else { format!("{every} by {}", by.join(", ")) }
}

/// The newest day, week or month that ended by `at`, in UTC.
fn last_completed(every: Every, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let date = jiff::Timestamp::from_millisecond(at.millis()).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date();
    let to = match every {
        Every::Daily => date,
        Every::Weekly => {
            let since_monday = i64::from(date.weekday().to_monday_zero_offset());
            date.checked_sub(jiff::Span::new().days(since_monday)).ok()?
        }
        Every::Monthly => date.first_of_month(),
    };
    let span = match every {
        Every::Daily => jiff::Span::new().days(1),
        Every::Weekly => jiff::Span::new().days(7),
        Every::Monthly => jiff::Span::new().months(1),
    };
    let from = to.checked_sub(span).ok()?;
    let moment = |date: jiff::civil::Date| {
        let at = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        Some(Timestamp::from_millis(at.as_millisecond()))
    };
    Some((moment(from)?, moment(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_over_ends_at_midnight_on_monday_or_on_the_first() {
        let at = |text: &str| serde_json::from_value::<Timestamp>(text.into()).unwrap();
        let day = |text: &str| at(&format!("{text}T00:00:00Z"));
        for (every, now, from, to) in [
            (Every::Daily, "2026-11-27T20:00:00Z", "2026-11-26", "2026-11-27"),
            (Every::Daily, "2026-11-27T00:00:00Z", "2026-11-26", "2026-11-27"),
            (Every::Weekly, "2026-11-27T20:00:00Z", "2026-11-16", "2026-11-23"),
            (Every::Weekly, "2026-11-30T00:00:00Z", "2026-11-23", "2026-11-30"),
            (Every::Weekly, "2026-11-29T23:59:59Z", "2026-11-16", "2026-11-23"),
            (Every::Monthly, "2026-03-31T12:00:00Z", "2026-02-01", "2026-03-01"),
            (Every::Monthly, "2027-01-01T00:00:00Z", "2026-12-01", "2027-01-01"),
        ] {
            assert_eq!(last_completed(every, at(now)), Some((day(from), day(to))), "{every:?} {now}");
        }
    }
}
