//! Validates `forecast:`.

use crate::config::check::Check;
use crate::config::file::Forecast;

impl Check<'_> {
    /// The share of a core for forecasts.
    pub(super) fn forecast(&mut self, forecast: &Forecast) -> f64 {
        let Forecast { cpu_share } = *forecast;
        if !(0.0..=1.0).contains(&cpu_share) {
            self.problem("forecast.cpu_share", "must be a fraction of one core, from 0 (no estimates) to 1");
        }
        cpu_share
    }
}
