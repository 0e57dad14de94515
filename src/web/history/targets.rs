//! Combines the history of several targets.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::web::error::ApiError;
use crate::web::history::{Asked, Folded, HistoryView, Reader};
use crate::web::store_queries::{PastQuery, ask};
use crate::web::watched_targets::WatchedTarget;
use trainspotter_core::model::{Place, Timestamp};

/// Reads the history of each target and merges it; series are labelled with account and region.
pub(super) async fn read(
    targets: Vec<WatchedTarget>,
    asked: Asked,
    views: Vec<HistoryView>,
) -> Result<Vec<HistoryView>, ApiError> {
    let Asked { from, to, every } = asked;
    let is_alone = targets.len() == 1;
    let reading = targets.iter().map(|target| async {
        let views = views.clone();
        let read = ask(&target.history, |reply| PastQuery::Frames {
            from,
            to,
            every,
            reader: Box::new(Reader { views, reply }),
        });
        (target.place_now(), read.await)
    });
    let (mut merged, mut failed) = (None::<Vec<HistoryView>>, None);
    for (place, read) in join_all(reading).await {
        match read {
            Ok(views) => {
                let views = views.into_iter().map(|view| view.of(&place));
                merged = Some(match merged {
                    None => views.collect(),
                    Some(before) => before.into_iter().zip(views).map(|(before, view)| before.and(view)).collect(),
                });
            }
            Err(error) => failed = Some(error),
        }
    }
    match (merged, failed) {
        (None, Some(error)) => Err(error),
        (Some(_), Some(error)) if is_alone => Err(error),
        (merged, _) => Ok(merged.unwrap_or(views)),
    }
}

impl HistoryView {
    /// Adds the place, and a value for each time.
    fn of(self, place: &Place) -> Self {
        let moments = self.at.len();
        let labelled = |(mut labels, mut values): (BTreeMap<String, String>, Vec<Option<Folded>>)| {
            values.resize(moments, None);
            labels.extend(place.labels().map(|(label, value)| (label.to_owned(), value.to_string())));
            (labels, values)
        };
        Self { series: self.series.into_iter().map(labelled).collect(), ..self }
    }

    /// Merges the series of another target; each step gets the later time of the two.
    fn and(self, other: Self) -> Self {
        let (from, step) = (self.from, self.step.as_nanos().max(1));
        let step_of = |at: &Timestamp| at.since(from).as_nanos() / step;
        let mut steps: BTreeMap<u128, Timestamp> = BTreeMap::new();
        for at in self.at.iter().chain(&other.at) {
            let last = steps.entry(step_of(at)).or_insert(*at);
            *last = (*last).max(*at);
        }
        let index: BTreeMap<u128, usize> = steps.keys().enumerate().map(|(index, step)| (*step, index)).collect();
        let count = steps.len();
        let spread = |at: Vec<Timestamp>, series: BTreeMap<BTreeMap<String, String>, Vec<Option<Folded>>>| {
            let places: Vec<usize> = at.iter().filter_map(|at| index.get(&step_of(at)).copied()).collect();
            series.into_iter().map(move |(labels, values)| {
                let mut all = vec![None; count];
                for (place, value) in places.iter().zip(values) {
                    if let Some(slot) = all.get_mut(*place) {
                        *slot = value;
                    }
                }
                (labels, all)
            })
        };
        let Self { at, series, .. } = other;
        let of_other: Vec<_> = spread(at, series).collect();
        let own: BTreeMap<_, _> = spread(self.at, self.series).chain(of_other).collect();
        Self { at: steps.into_values().collect(), series: own, ..self }
    }
}
