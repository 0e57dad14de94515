//! Validates `forecast:`.

use crate::config::check::Check;
use crate::config::file::Forecast;

impl Check<'_> {
    /// The share of a core for forecasts.
    pub(super) fn forecast(&mut self, forecast: &Forecast) -> f64 {
        let Forecast { cpu_share } = *forecast;
        if !(0.0..=1.0).contains(&cpu_share) {
            self.problem("forecast.cpu_share", "a part of one core lies between 0 (no estimates) and 1");
        }
        cpu_share
    }
}
