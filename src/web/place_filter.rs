//! Account and region: the filter of requests, and the columns of rows.

use std::sync::Arc;

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::web::error::ApiError;
use crate::web::query::{given_twice, pairs, unknown_parameter};
use trainspotter_core::model::Place;

/// Account and region of a row.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(super) struct PlaceRow {
    /// AWS account; null while unknown.
    account: Option<String>,
    /// The AWS region.
    region: Option<String>,
}

/// A row with account and region.
pub(super) trait InPlace {
    /// Sets the place.
    #[must_use]
    fn at(self, place: &Place) -> Self;
}

impl PlaceRow {
    pub(super) fn new(place: &Place) -> Self {
        let owned = |value: &Option<Arc<str>>| value.as_deref().map(str::to_owned);
        Self { account: owned(&place.account), region: owned(&place.region) }
    }
}

/// Implements [`InPlace`] for rows with a field `place`.
macro_rules! in_place {
    ($($row:ty),+) => {
        $(impl $crate::web::place_filter::InPlace for $row {
            fn at(self, place: &trainspotter_core::model::Place) -> Self {
                Self { place: $crate::web::place_filter::PlaceRow::new(place), ..self }
            }
        })+
    };
}

pub(super) use in_place;

/// Selects targets by account and region.
#[derive(Clone, Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PlaceFilter {
    /// Only this AWS account.
    pub(super) account: Option<String>,
    /// Only this AWS region.
    pub(super) region: Option<String>,
}

impl PlaceFilter {
    /// Parses a query string without other parameters.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut filter = Self::default();
        for (key, value) in pairs(query.unwrap_or_default())? {
            match filter.take(&key, &value) {
                Some(false) => {}
                Some(true) => return Err(given_twice(&key)),
                None => {
                    return Err(unknown_parameter(&key, "there are account and region"));
                }
            }
        }
        Ok(filter)
    }

    /// Sets the filter if `key` is one of its parameters. Returns whether it was set before.
    pub(super) fn take(&mut self, key: &str, value: &str) -> Option<bool> {
        let place = match key {
            "account" => &mut self.account,
            "region" => &mut self.region,
            _ => return None,
        };
        Some(place.replace(value.to_owned()).is_some())
    }

    /// Whether the filter matches a place.
    pub(super) fn fits(&self, place: &Place) -> bool {
        let is = |wanted: &Option<String>, known: &Option<Arc<str>>| {
            wanted.as_ref().is_none_or(|wanted| known.as_deref() == Some(wanted.as_str()))
        };
        is(&self.account, &place.account) && is(&self.region, &place.region)
    }
}
