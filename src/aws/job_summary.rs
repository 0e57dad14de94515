//! One entry of a `ListServiceJobs` response, borrowed from the body where possible.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// The used members of `ServiceJobSummary`.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary<'a> {
    #[serde(borrow)]
    pub(crate) job_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) job_arn: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) job_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) status: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) status_reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) quota_share_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) share_identifier: Option<Text<'a>>,
    pub(crate) created_at: Option<Millis>,
    pub(crate) scheduled_at: Option<Millis>,
    pub(crate) started_at: Option<Millis>,
    pub(crate) stopped_at: Option<Millis>,
    #[serde(borrow)]
    pub(crate) capacity_usage: Option<Vec<CapacityUsage<'a>>>,
    #[serde(borrow)]
    pub(crate) latest_attempt: Option<LatestAttempt<'a>>,
    pub(crate) is_terminated: Option<bool>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CapacityUsage<'a> {
    #[serde(borrow)]
    pub(crate) capacity_unit: Option<Text<'a>>,
    pub(crate) quantity: Option<Quantity>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LatestAttempt<'a> {
    #[serde(borrow)]
    pub(crate) service_resource_id: Option<ResourceId<'a>>,
}

#[derive(serde::Deserialize)]
pub(crate) struct ResourceId<'a> {
    #[serde(borrow)]
    pub(crate) value: Option<Text<'a>>,
}

/// A JSON string, copied only if it has escapes.
#[derive(serde::Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl Text<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An integer in any notation: `1e3` is accepted.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(try_from = "serde_json::Number")]
pub(crate) struct Millis(pub(crate) i64);

impl TryFrom<serde_json::Number> for Millis {
    type Error = String;

    fn try_from(number: serde_json::Number) -> Result<Self, Self::Error> {
        #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and what is not whole is refused")]
        let whole = |number: f64| Some(number as i64).filter(|whole| *whole as f64 == number);
        let float = || number.as_f64().filter(|_| number.is_f64()).and_then(whole);
        number.as_i64().or_else(float).map(Self).ok_or_else(|| format!("{number} is not a number of milliseconds"))
    }
}

/// A number; non-finite numbers are strings in the response.
#[derive(Clone, Copy)]
pub(crate) struct Quantity(pub(crate) f64);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNumber)
    }
}

struct AnyNumber;

impl Visitor<'_> for AnyNumber {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or NaN, Infinity or -Infinity as a text")
    }

    fn visit_f64<E>(self, number: f64) -> Result<Quantity, E> {
        Ok(Quantity(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Quantity, E> {
        Ok(Quantity(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Quantity, E> {
        Ok(Quantity(number as f64))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Quantity, E> {
        // As the SDK: the three words in any case and their short forms, too, and numbers that overflow.
        let number = text.parse().ok().filter(|number: &f64| !number.is_finite());
        number.map(Quantity).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}
