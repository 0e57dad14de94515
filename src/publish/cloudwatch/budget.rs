//! Selects the series within a budget. Pure.
//!
//! CloudWatch bills each series by the hours in which it is sent. A budget is therefore a number of slots, each
//! taken until an hour after its series was last sent, so that no hour has more series than the budget pays for.
//! Metrics are admitted as a whole, most useful first, up to nine tenths of the slots; the last tenth is for series
//! that appear later, such as those of a new share. If even that is not enough, the least useful metric is removed
//! as a whole, and does not return for a day.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cost::{Item, PriceTable, SECONDS_A_MONTH};
use crate::publish::cloudwatch::requests::{MAX_DATA_PER_REQUEST, Series};
use trainspotter_core::metrics::Frame;
use trainspotter_core::metrics::Labels;
use trainspotter_core::metrics::catalogue::BY_USE;
use trainspotter_core::metrics::catalogue::Metric;
use trainspotter_core::model::Timestamp;

/// How long a series is billed after it was sent: an hour, plus a margin for clocks and delays.
const BILLED_FOR: Duration = Duration::from_secs(3_600 + 120);
/// How long a removed metric stays out.
const READMIT_AFTER: Duration = Duration::from_secs(86_400);
/// Nothing is admitted until queues are known, or until this long after the first frame: the first series need not
/// be the most useful.
const WARM_UP: Duration = Duration::from_secs(600);
/// One in this many slots is reserved for series that appear later.
const RESERVE_DIVISOR: usize = 10;

/// How many series may be sent, and which.
#[derive(Clone, Debug)]
pub struct Budget {
    most: usize,
    /// Basis of `most`: dollars per month, publishing interval, and prices.
    dollars: Option<(f64, Duration, PriceTable)>,
    /// Number of targets that share the dollars.
    parts: usize,
    began: Option<Timestamp>,
    /// When each series with a slot was last in a frame.
    places: BTreeMap<Series, Timestamp>,
    /// Number of slots by metric.
    taken: BTreeMap<&'static str, usize>,
    /// Removed metrics, with the time of removal.
    out: BTreeMap<&'static str, Timestamp>,
    /// Series of the latest frame without a slot, by metric.
    left_out: BTreeMap<&'static str, u64>,
    /// Series omitted before, to detect new ones.
    known_left_out: BTreeSet<Series>,
    newly_left_out: u64,
}

/// Decision about a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is sent.
    Sent,
    /// It waits for a slot; events until then are sent with it.
    Waits,
    /// It is not sent.
    LeftOut,
}

impl Budget {
    /// A budget of dollars per month, at these prices and with this publishing interval. It also pays for requests.
    pub fn new(dollars: f64, every: Duration, prices: &PriceTable) -> Self {
        let most = series_for(dollars, every, prices);
        Self { dollars: Some((dollars, every, prices.clone())), ..Self::of_series(most) }
    }

    /// A budget of a number of series.
    pub fn of_series(most: usize) -> Self {
        Self {
            most,
            dollars: None,
            parts: 1,
            began: None,
            places: BTreeMap::new(),
            taken: BTreeMap::new(),
            out: BTreeMap::new(),
            left_out: BTreeMap::new(),
            known_left_out: BTreeSet::new(),
            newly_left_out: 0,
        }
    }

    /// Skips the warm-up.
    #[must_use]
    pub fn warm(mut self) -> Self {
        self.began = Some(Timestamp::default());
        self
    }

    /// Shares the dollars among `parts` targets, of which this is one. A smaller part removes the least useful
    /// metrics.
    pub fn share_among(&mut self, parts: usize) {
        let parts = parts.max(1);
        if let Some((dollars, every, prices)) = self.dollars.as_ref().filter(|_| parts != self.parts) {
            let part = dollars / f64::from(u32::try_from(parts).unwrap_or(u32::MAX));
            (self.parts, self.most) = (parts, series_for(part, *every, prices));
        }
    }

    /// Number of series it pays for.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Decides which series of a frame are sent. Call it once per frame.
    pub fn admit(&mut self, frame: &Frame) {
        let at = frame.at;
        let taken = &mut self.taken;
        self.places.retain(|(name, _), last| {
            let stays = at.since(*last) < BILLED_FOR;
            if !stays && let Some(count) = taken.get_mut(name) {
                *count = count.saturating_sub(1);
            }
            stays
        });
        self.out.retain(|_, since| at.since(*since) < READMIT_AFTER);
        self.leave_out_beyond(at);
        let began = *self.began.get_or_insert(at);
        let is_warm = !frame.queues.is_empty() || at.since(began) >= WARM_UP;
        let mut wanted: BTreeMap<&'static str, Vec<Series>> = BTreeMap::new();
        for sample in frame.samples.iter().filter(|sample| sample.metric.is_in_cloudwatch()) {
            let series = (sample.metric.name, sample.labels.clone());
            match self.places.get_mut(&series) {
                Some(last) if !self.out.contains_key(series.0) => *last = at,
                Some(_) | None => wanted.entry(series.0).or_default().push(series),
            }
        }
        if is_warm {
            for metric in BY_USE {
                if let Some(series) = wanted.get_mut(metric.name) {
                    self.place(metric, series, at);
                }
            }
        }
        // Metrics that were removed to make place for others are not sent either.
        for ((name, labels), last) in &self.places {
            if *last == at && self.out.contains_key(name) {
                wanted.entry(name).or_default().push((name, labels.clone()));
            }
        }
        self.note(wanted);
    }

    /// The decision about a series of the latest frame.
    pub fn admission(&self, metric: &Metric, labels: &Labels) -> Admission {
        let is_out = self.out.contains_key(metric.name);
        if !is_out && self.places.contains_key(&(metric.name, labels.clone())) {
            Admission::Sent
        } else if !is_out && self.has_places(metric.name) {
            Admission::Waits
        } else {
            Admission::LeftOut
        }
    }

    /// Series of the latest frame without a slot, by metric.
    pub fn left_out(&self) -> &BTreeMap<&'static str, u64> {
        &self.left_out
    }

    /// Returns and resets the number of newly omitted series.
    pub fn take_newly_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.newly_left_out)
    }
}

impl Budget {
    /// Assigns slots to series of a metric: to all or none if it has none yet, else to as many as possible, by
    /// removing less useful metrics. Series with a slot are removed from `series`.
    fn place(&mut self, metric: &'static Metric, series: &mut Vec<Series>, at: Timestamp) {
        if self.out.contains_key(metric.name) {
            return;
        }
        let is_new = !self.has_places(metric.name);
        let room = if is_new { self.most - self.most / RESERVE_DIVISOR } else { self.most };
        let room = room.saturating_sub(self.places.len());
        if is_new && series.len() > room {
            return;
        }
        let lacking = series.len().saturating_sub(room);
        for series in series.drain(..series.len() - lacking) {
            let name = series.0;
            if self.places.insert(series, at).is_none() {
                *self.taken.entry(name).or_default() += 1;
            }
        }
        // Metrics removed now release their slots within the hour.
        let mut leaving: usize = self.out.keys().map(|name| self.taken_by(name)).sum();
        while leaving < lacking {
            let Some(least) = self.least_useful(metric) else { return };
            leaving += self.taken_by(least);
            self.out.insert(least, at);
        }
    }

    /// Removes metrics, least useful first, until the rest fits into the slots.
    fn leave_out_beyond(&mut self, at: Timestamp) {
        let leaving: usize = self.out.keys().map(|name| self.taken_by(name)).sum();
        let mut staying = self.places.len().saturating_sub(leaving);
        while staying > self.most {
            let mut least_first = BY_USE.iter().rev().map(|metric| metric.name);
            let least = least_first.find(|name| self.has_places(name) && !self.out.contains_key(name));
            let Some(least) = least else { return };
            staying = staying.saturating_sub(self.taken_by(least));
            self.out.insert(least, at);
        }
    }

    /// The least useful metric with slots that is less useful than this one.
    fn least_useful(&self, than: &Metric) -> Option<&'static str> {
        let less = BY_USE.iter().rev().take_while(|metric| metric.name != than.name);
        less.map(|metric| metric.name).find(|name| self.has_places(name) && !self.out.contains_key(name))
    }

    fn has_places(&self, name: &'static str) -> bool {
        self.taken_by(name) > 0
    }

    fn taken_by(&self, name: &'static str) -> usize {
        self.taken.get(name).copied().unwrap_or(0)
    }

    fn note(&mut self, wanted: BTreeMap<&'static str, Vec<Series>>) {
        let left_out: BTreeSet<Series> = wanted.into_values().flatten().collect();
        self.newly_left_out += left_out.difference(&self.known_left_out).count() as u64;
        self.left_out.clear();
        for (name, _) in &left_out {
            *self.left_out.entry(name).or_default() += 1;
        }
        self.known_left_out = left_out;
    }
}

/// Number of series that can be paid for, including their requests.
fn series_for(dollars: f64, every: Duration, prices: &PriceTable) -> usize {
    let pushes = SECONDS_A_MONTH / every.as_secs_f64().max(1.0);
    let sending = |series: f64| {
        let requests = pushes * (series / MAX_DATA_PER_REQUEST as f64).ceil().max(1.0);
        prices.cost(Item::PutMetricData, requests).unwrap_or_default()
    };
    let affordable = |left: f64| prices.price(Item::Metric).map_or(0.0, |price| price.affordable(left.max(0.0)));
    // More series need more requests, which leave less for series: iterate from above.
    let mut series = affordable(dollars - sending(1.0));
    for _ in 0..8 {
        series = series.min(affordable(dollars - sending(series)));
    }
    series as usize
}

#[cfg(test)]
mod tests;
