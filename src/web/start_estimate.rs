//! Response body: a job's start estimate.

use serde::Serialize;
use utoipa::ToSchema;

use trainspotter_core::forecast::{Estimate, Outlook, Rough};
use trainspotter_core::model::{Timestamp, format};

/// Estimated start of a job.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct StartView {
    /// `expected`, or why there is no estimate: `never`, `too_little_history`, `too_far_back` or `not_made_yet`.
    #[schema(value_type = String)]
    pub outlook: &'static str,
    /// The estimate in a sentence or two.
    pub sentence: String,
    /// One in ten such jobs starts earlier; null without an estimate, and beyond 30 days.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub p10: Option<Timestamp>,
    /// Half of such jobs start earlier; null as above.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub p50: Option<Timestamp>,
    /// Nine in ten such jobs start earlier; null as above.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub p90: Option<Timestamp>,
    /// When the estimate was made; null without one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub made_at: Option<Timestamp>,
    /// Whether the job is behind those that were simulated, so that its start is extrapolated from their rate.
    pub beyond_front: bool,
    /// Whether the estimate is unreliable, because too few earlier ones have been verified or too many were wrong;
    /// the sentence says so.
    pub rough: bool,
    /// Basis of the estimate; null without one.
    pub rests_on: Option<String>,
    /// Events that would change it; null without one.
    pub would_change: Option<String>,
    /// Fraction of recent estimates for this share, or for this queue, whose interval contained the actual start;
    /// null with too few of them. 0.8 is ideal.
    pub coverage: Option<f64>,
    /// Median error of their midpoints; null likewise.
    pub median_error_seconds: Option<f64>,
    /// Number of verified estimates that this one is corrected by.
    pub truths: usize,
}

impl StartView {
    /// Converts an outlook for display at `now`.
    pub fn of(outlook: Outlook, now: Timestamp) -> Self {
        let unknown = |outlook, sentence| Self {
            outlook,
            sentence,
            p10: None,
            p50: None,
            p90: None,
            made_at: None,
            beyond_front: false,
            rough: false,
            rests_on: None,
            would_change: None,
            coverage: None,
            median_error_seconds: None,
            truths: 0,
        };
        match outlook {
            Outlook::Unknown(because) => unknown(because.as_str(), because.sentence()),
            Outlook::Expected(estimate) => Self {
                sentence: sentence(&estimate, now),
                p10: estimate.p10,
                p50: estimate.p50,
                p90: estimate.p90,
                made_at: Some(estimate.made_at),
                beyond_front: estimate.beyond_front,
                rough: estimate.rough.is_some(),
                coverage: estimate.quality.as_ref().map(|quality| quality.coverage),
                median_error_seconds: estimate.quality.as_ref().map(|quality| quality.error),
                truths: estimate.truths,
                rests_on: Some(estimate.rests_on),
                would_change: Some(estimate.would_change),
                ..unknown("expected", String::new())
            },
        }
    }
}

/// The interval in words, and how often such intervals were right.
fn sentence(estimate: &Estimate, now: Timestamp) -> String {
    let passes = |at: Timestamp| format::duration(at.seconds_since(now));
    let likely = match estimate.p50 {
        Some(at) if at <= now => "at any moment".to_owned(),
        Some(at) => format!("in {}", passes(at)),
        None => "in more than 30 days".to_owned(),
    };
    let first = match estimate.p10 {
        Some(at) if at <= now => "one starts at any moment".to_owned(),
        Some(at) => format!("one starts within {}", passes(at)),
        None => "at most one starts within 30 days".to_owned(),
    };
    let last = match estimate.p90 {
        Some(at) => format!(" and nine within {}", passes(at)),
        None if estimate.p10.is_none() => String::new(),
        None => " and at least one waits more than 30 days".to_owned(),
    };
    let of_ten = match estimate.p90 {
        Some(at) if at <= now => "nine start at any moment".to_owned(),
        _ => first + &last,
    };
    let right = match &estimate.quality {
        Some(quality) => {
            let (held, all) = (quality.coverage * quality.truths as f64, quality.truths);
            format!(" Of {all} recent such intervals, {held:.0} contained the actual start.")
        }
        None => " The accuracy of such intervals is not known yet.".to_owned(),
    };
    let rough = match estimate.rough {
        None => "",
        Some(Rough::FewTruths) => " It is rough: few estimates have been verified so far.",
        Some(Rough::Young) => " It is rough: the estimates verified so far span only a few hours.",
        Some(Rough::OftenWrong) => " It is rough: too many such intervals missed the actual start.",
    };
    format!("Likely to start {likely} (P50). Of ten such jobs, {of_ten}.{right}{rough}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use trainspotter_core::forecast::{Quality, Unknown};

    #[test]
    fn an_estimate_has_its_interval_and_its_accuracy() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let after = |hours: u64| Some(now + Duration::from_secs(3600 * hours));
        let estimate = Estimate {
            made_at: now,
            p10: Some(now),
            p50: after(3),
            p90: None,
            beyond_front: false,
            rough: None,
            rests_on: "R.".to_owned(),
            would_change: "C.".to_owned(),
            quality: Some(Quality { truths: 50, coverage: 0.82, error: 600.0 }),
            truths: 60,
        };
        let rough =
            StartView::of(Outlook::Expected(Box::new(Estimate { rough: Some(Rough::Young), ..estimate.clone() })), now);
        assert!(rough.rough && rough.sentence.ends_with("only a few hours."), "{}", rough.sentence);
        let view = StartView::of(Outlook::Expected(Box::new(estimate.clone())), now);
        assert_eq!(
            view.sentence,
            "Likely to start in 3h (P50). Of ten such jobs, one starts at any moment and at least one waits more than 30 days. \
             Of 50 recent such intervals, 41 contained the actual start."
        );
        assert_eq!((view.outlook, view.p90, view.coverage), ("expected", None, Some(0.82)));
        for (p10, p50, p90, said) in [
            (after(1), after(3), after(7), "in 3h (P50). Of ten such jobs, one starts within 1h and nine within 7h."),
            (after(0), after(0), after(0), "at any moment (P50). Of ten such jobs, nine start at any moment."),
            (None, None, None, "in more than 30 days (P50). Of ten such jobs, at most one starts within 30 days."),
        ] {
            let found = sentence(&Estimate { p10, p50, p90, ..estimate.clone() }, now);
            assert!(found.starts_with(&format!("Likely to start {said} Of 50 recent")), "{found}");
        }
        let none = StartView::of(Outlook::Unknown(Unknown::FewTruths(3)), now);
        assert_eq!((none.outlook, none.p50, none.coverage), ("too_little_history", None, None));
    }
}
