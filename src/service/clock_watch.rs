//! Monitors the skew between the local clock and AWS's, and reports changes.

use trainspotter_clock::Comparison;
use trainspotter_core::model::format;

/// Skew above this many seconds is reported.
const MAX_SKEW_SECONDS: f64 = 5.0;

/// The last reported state.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    reported: Option<f64>,
    correction_seconds: f64,
    /// Speed of AWS's clock relative to the local one, once reported.
    speed: Option<f64>,
}

impl ClockWatch {
    /// Logs changes of the clock comparison. Returns the correction in seconds since the last call, if it is
    /// significant.
    pub(super) fn report_changes(&mut self, comparison: Comparison) -> Option<f64> {
        let Comparison { skew_seconds, correction_seconds, speed, .. } = comparison;
        if speed.is_some() && self.speed.is_none() {
            self.speed = speed;
            tracing::warn!("{}", self.problem().unwrap_or_default());
        } else if speed.is_none() && self.speed.take().is_some() {
            tracing::info!("AWS's clock and the clock of this machine run at the same speed again");
        }
        let is_off = skew_seconds.abs() > MAX_SKEW_SECONDS;
        match self.reported {
            Some(reported) if is_off && (skew_seconds - reported).abs() <= MAX_SKEW_SECONDS => {}
            _ if is_off => {
                let direction = if skew_seconds > 0.0 { "ahead of" } else { "behind" };
                tracing::warn!(
                    "the clock of this machine is {:.0} s {direction} AWS's; the service uses AWS's time. \
                     Synchronize the clock, for example with NTP",
                    skew_seconds.abs()
                );
                self.reported = Some(skew_seconds);
            }
            Some(_) => {
                tracing::info!("the clock of this machine agrees with AWS's again");
                self.reported = None;
            }
            None => {}
        }
        let before = std::mem::replace(&mut self.correction_seconds, correction_seconds);
        Some(correction_seconds - before).filter(|by| by.abs() > 1.0)
    }

    /// Why the clock cannot be corrected, if so.
    pub(super) fn problem(&self) -> Option<String> {
        let speed = format::trimmed((self.speed? * 10.0).round() / 10.0);
        Some(format!(
            "clock: AWS's clock runs {speed} times as fast as this machine's, so waits and ages are wrong: the \
             endpoint is a simulator at another speed; start it with `simulate --speed 1`, or use `demo`"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correction_is_seen_once_and_a_skew_is_reported_when_it_changes() {
        let mut watch = ClockWatch::default();
        let mut seen = |skew: f64| {
            let corrected = watch.report_changes(compared(skew, None));
            (corrected, watch.reported)
        };
        assert_eq!(seen(0.0), (None, None));
        assert_eq!(seen(3.0), (Some(-3.0), None));
        assert_eq!(seen(20.0), (Some(-17.0), Some(20.0)));
        assert_eq!(seen(20.5), (None, Some(20.0)));
        assert_eq!(seen(-3_600.0), (Some(3_620.5), Some(-3_600.0)));
        assert_eq!(seen(0.0), (Some(-3_600.0), None));
    }

    fn compared(skew: f64, speed: Option<f64>) -> Comparison {
        Comparison { skew_seconds: skew, uncertain_seconds: 0.5, correction_seconds: -skew, speed }
    }

    #[test]
    fn a_clock_of_another_speed_is_a_problem_as_long_as_it_is_one() {
        let mut watch = ClockWatch::default();
        watch.report_changes(compared(0.0, Some(599.96)));
        let problem = watch.problem().unwrap();
        assert!(problem.contains("runs 600 times as fast") && problem.contains("--speed 1"), "{problem}");
        watch.report_changes(compared(0.0, None));
        assert_eq!(watch.problem(), None);
    }
}
