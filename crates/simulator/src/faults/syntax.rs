//! The syntax of faults, in a scenario's YAML or as JSON to `/_sim/faults`.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;
use serde::de::value::SeqAccessDeserializer;

use trainspotter_core::model::parse_duration;
use trainspotter_core::yaml::HumanDuration;

/// Any operation.
pub(super) const ANY: &str = "*";

/// Faults to inject. Each member is one fault or a list of them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Arrangement {
    /// Calls are throttled.
    pub(super) throttle: Many<CallFault>,
    /// Calls are answered 500.
    pub(super) server_error: Many<CallFault>,
    /// Calls are rejected because their security token has expired.
    pub(super) expired_credentials: Many<CallFault>,
    /// Calls are rejected because access is denied.
    pub(super) access_denied: Many<CallFault>,
    /// Responses are delayed by this much simulated time (`by`).
    pub(super) slow: Many<CallFault>,
    /// The connection closes before the body.
    pub(super) cut: Many<CallFault>,
    /// Only half of the body is sent.
    pub(super) truncated: Many<CallFault>,
    /// The body is a proxy's HTML.
    pub(super) malformed: Many<CallFault>,
    /// One `page` of a list fails with 500.
    pub(super) fail_page: Many<CallFault>,
    /// GetJobQueueSnapshot keeps returning its first response.
    pub(super) stale_snapshot: Many<CallFault>,
    /// AWS's clock, in all times and `Date` headers, is ahead by this much (`by`); behind, if negative.
    pub(super) clock_skew: Many<CallFault>,
    /// ListServiceJobs shows the account as of this much earlier (`by`); descriptions are current.
    pub(super) list_lag: Many<CallFault>,
    /// Jobs that AWS no longer returns.
    pub(super) vanish: Many<Vanish>,
    /// A status that the first returned job shows from now on.
    pub(super) unknown_status: Option<String>,
    /// An instance type that the first returned job shows from now on.
    pub(super) unknown_instance_type: Option<String>,
    /// Publications to an SNS topic fail.
    pub(super) topic: Many<TopicFault>,
}

/// Selects calls: those of `operation`, at most `count` of them, starting `after` and `for` this long, each with a
/// `probability`. Absent members do not limit.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CallFault {
    /// An operation's name, or `*`.
    #[serde(default = "any")]
    pub operation: String,
    /// Maximum number of calls. `fail_page` applies once unless this or `for` is given.
    pub count: Option<u64>,
    /// Start, relative to the request.
    pub after: Option<HumanDuration>,
    /// Duration.
    pub r#for: Option<HumanDuration>,
    /// Probability for each call, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub probability: Option<f64>,
    /// Delay (`slow`), lead (`clock_skew`) or lag (`list_lag`).
    pub by: Option<Shift>,
    /// Page number (`fail_page`), from 1.
    pub page: Option<u32>,
}

/// Jobs that disappear from lists and descriptions, while they keep their capacity.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Vanish {
    /// A job's id or name; a trailing `*` matches a prefix.
    pub job: String,
    /// Maximum number of jobs; all by default.
    pub count: Option<u64>,
    /// Start, relative to the request.
    pub after: Option<HumanDuration>,
    /// Duration.
    pub r#for: Option<HumanDuration>,
}

/// A topic that rejects publications.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicFault {
    /// The topic's name.
    pub name: String,
    /// HTTP status; 404 means that the topic does not exist.
    pub status: u16,
    /// Number of publications.
    pub count: u64,
}

fn any() -> String {
    ANY.to_owned()
}

/// A semantic error: the member's path, and the message.
pub(crate) type Finding = (String, String);

impl Arrangement {
    /// Semantic errors, by the path of the member within it.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (kind, call_faults) in self.call_faults() {
            for (place, fault) in call_faults.0.iter().enumerate() {
                // A single item has no index; the path of the member is close enough.
                let path =
                    if call_faults.0.len() > 1 { format!("{}[{place}]", kind.as_str()) } else { kind.as_str().into() };
                findings.extend(fault.finding(kind).map(|(member, message)| (format!("{path}.{member}"), message)));
            }
        }
        findings
    }

    /// All faults on calls, by kind.
    pub(super) fn call_faults(&self) -> [(Kind, &Many<CallFault>); 12] {
        [
            (Kind::Throttle, &self.throttle),
            (Kind::ServerError, &self.server_error),
            (Kind::ExpiredCredentials, &self.expired_credentials),
            (Kind::AccessDenied, &self.access_denied),
            (Kind::Slow, &self.slow),
            (Kind::Cut, &self.cut),
            (Kind::Truncated, &self.truncated),
            (Kind::Malformed, &self.malformed),
            (Kind::FailPage, &self.fail_page),
            (Kind::StaleSnapshot, &self.stale_snapshot),
            (Kind::ClockSkew, &self.clock_skew),
            (Kind::ListLag, &self.list_lag),
        ]
    }
}

impl CallFault {
    fn finding(&self, kind: Kind) -> Option<(&'static str, String)> {
        if self.probability.is_some_and(|probability| !(0.0..=1.0).contains(&probability)) {
            return Some(("probability", "a probability lies between 0 and 1".to_owned()));
        }
        let (takes_by, takes_page) =
            (matches!(kind, Kind::Slow | Kind::ClockSkew | Kind::ListLag), kind == Kind::FailPage);
        match (self.by, self.page) {
            (None, _) if takes_by => {
                Some(("by", "say `by` how much: 5s, or -2m for a clock that is behind".to_owned()))
            }
            (Some(by), _) if kind == Kind::ListLag && by.0 < 0 => {
                Some(("by", "a list cannot show what has not happened yet".to_owned()))
            }
            (Some(by), _) if kind == Kind::Slow && by.0 < 0 => {
                Some(("by", "an answer cannot come before its question".to_owned()))
            }
            (Some(_), _) if !takes_by => Some(("by", format!("`by` has no effect on {}", kind.as_str()))),
            (_, None) if takes_page => Some(("page", "say which `page`, from 1".to_owned())),
            (_, Some(_)) if !takes_page => Some(("page", format!("`page` has no effect on {}", kind.as_str()))),
            (_, _) => None,
        }
    }
}

/// Kind of a fault on calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Throttle,
    ServerError,
    ExpiredCredentials,
    AccessDenied,
    Slow,
    Cut,
    Truncated,
    Malformed,
    FailPage,
    StaleSnapshot,
    ClockSkew,
    ListLag,
}

impl Kind {
    /// Name of its member in an [`Arrangement`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::ServerError => "server_error",
            Self::ExpiredCredentials => "expired_credentials",
            Self::AccessDenied => "access_denied",
            Self::Slow => "slow",
            Self::Cut => "cut",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::FailPage => "fail_page",
            Self::StaleSnapshot => "stale_snapshot",
            Self::ClockSkew => "clock_skew",
            Self::ListLag => "list_lag",
        }
    }
}

/// A signed duration in milliseconds: `5m`, `-30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shift(pub i64);

impl Shift {
    /// As a duration; zero if negative.
    pub fn duration(self) -> Duration {
        Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }
}

impl<'de> Deserialize<'de> for Shift {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (sign, plain) = text.strip_prefix('-').map_or((1, text.as_str()), |plain| (-1, plain));
        let span = parse_duration(plain.trim())
            .map_err(|_| D::Error::custom(format!("`{text}` is not a duration; write it like 30s, 15m or -5m")))?;
        Ok(Self(sign * i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl JsonSchema for Shift {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Shift".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "description": "A duration, perhaps negative: 5m, -30s."})
    }
}

/// One or several items, written with or without a list.
#[derive(Clone, Debug)]
pub(super) struct Many<T>(pub Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: JsonSchema> JsonSchema for Many<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrMore{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<T>();
        schemars::json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    /// A custom visitor: an untagged enum would lose the position of errors.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMore<T> {
            type Value = Many<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a fault or a list of faults")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Many)
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(|one| Many(vec![one]))
            }
        }
        deserializer.deserialize_any(OneOrMore(PhantomData))
    }
}
