//! Watching how far this machine's clock is from AWS's, and reporting it when that changes.

use trainspotter_clock::Comparison;

/// Clocks that are further apart than this many seconds are reported.
const MAX_SKEW_SECONDS: f64 = 5.0;

/// What was reported last.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    reported: Option<f64>,
    correction_seconds: f64,
}

impl ClockWatch {
    /// Logs what is new about the clock. Says whether it was corrected by more than a moment since the last time.
    pub(super) fn take_in(&mut self, comparison: Comparison) -> bool {
        let Comparison { skew_seconds, correction_seconds, .. } = comparison;
        let is_off = skew_seconds.abs() > MAX_SKEW_SECONDS;
        match self.reported {
            Some(reported) if is_off && (skew_seconds - reported).abs() <= MAX_SKEW_SECONDS => {}
            _ if is_off => {
                let direction = if skew_seconds > 0.0 { "ahead of" } else { "behind" };
                tracing::warn!(
                    "this machine's clock is {:.0} s {direction} AWS's; the service uses AWS's time. Set the machine's clock, \
                     for example by NTP",
                    skew_seconds.abs()
                );
                self.reported = Some(skew_seconds);
            }
            Some(_) => {
                tracing::info!("this machine's clock agrees with AWS's again");
                self.reported = None;
            }
            None => {}
        }
        let before = std::mem::replace(&mut self.correction_seconds, correction_seconds);
        (correction_seconds - before).abs() > 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correction_is_seen_once_and_a_skew_is_reported_when_it_changes() {
        let mut watch = ClockWatch::default();
        let mut seen = |skew: f64| {
            let corrected =
                watch.take_in(Comparison { skew_seconds: skew, uncertain_seconds: 0.5, correction_seconds: -skew });
            (corrected, watch.reported)
        };
        assert_eq!(seen(0.0), (false, None));
        assert_eq!(seen(3.0), (true, None));
        assert_eq!(seen(20.0), (true, Some(20.0)));
        assert_eq!(seen(20.4), (false, Some(20.0)));
        assert_eq!(seen(-3_600.0), (true, Some(-3_600.0)));
        assert_eq!(seen(0.0), (true, None));
    }
}
