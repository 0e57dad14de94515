//! Validation of inputs: types and constraints from AWS's models, checked in one place for every protocol.
//!
//! All protocols are decoded to one tree of values. A form (awsQuery) contains only text, so the shape also
//! determines how to parse it.

use ciborium::Value;

use crate::api_error::ApiError;
use crate::aws_query::Form;
use trainspotter_core::model::InstanceType;
use trainspotter_core::model::Timestamp;
use trainspotter_core::model::accelerators_of;
use trainspotter_core::model::training_instance_types;

/// A type with its constraints.
#[derive(Debug)]
pub(super) enum Shape {
    /// Text with a length range in characters.
    Text {
        /// Minimum length.
        min: usize,
        /// Maximum length.
        max: usize,
        /// Whether a leading colon is forbidden: `[^:].*`.
        no_colon: bool,
    },
    /// One of these texts.
    Enum(&'static [&'static str]),
    /// One of these texts, in any case.
    AnyCase(&'static [&'static str]),
    /// A value of SageMaker's `TrainingInstanceType`.
    TrainingInstance,
    /// A unit of capacity: an instance type, or `NUM_INSTANCES` for instances of any type.
    CapacityUnit,
    /// An integer in this inclusive range.
    Integer(i64, i64),
    /// Any number, including NaN and infinities.
    Double,
    /// A number in this inclusive range.
    Number(f64, f64),
    /// 1 to 128 letters, digits, hyphens and underscores, starting with a letter or digit.
    Name,
    /// Letters and digits with single hyphens between them, up to a maximum length, optionally after a prefix that
    /// ends in `after`: a name, or with `after` an ARN.
    Dashed {
        /// Maximum characters of the name.
        most: usize,
        /// End of the optional prefix; empty forbids a prefix.
        after: &'static str,
    },
    /// Text with one of these prefixes, and a length range in characters.
    Begins(&'static [&'static str], usize, usize),
    /// Letters, digits and some other characters.
    Characters {
        /// Minimum length.
        least: usize,
        /// Maximum length.
        most: usize,
        /// Allowed characters besides letters and digits.
        beside: &'static str,
    },
    /// The key or value of a tag, with a length range in characters: letters and digits of any script, spaces and
    /// `_.:/=+-@`.
    TagText(usize, usize),
    /// Texts by key, with a range of their number: keys of 1 to 128 characters, texts of up to 256.
    Tags(usize, usize),
    /// Texts by key: maximum number, maximum key length, maximum text length.
    Texts(usize, usize, usize),
    /// A boolean.
    Boolean,
    /// Seconds since the epoch; in a form also RFC 3339.
    Time,
    /// A list, with a range of its length.
    List(&'static Self, usize, usize),
    /// Members by name; unknown ones are ignored.
    Structure(&'static [Member]),
}

/// A member of a structure.
#[derive(Debug)]
pub(super) struct Member {
    pub name: &'static str,
    pub shape: &'static Shape,
    pub required: bool,
}

/// A required member.
pub(super) const fn required(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, shape, required: true }
}

/// An optional member.
pub(super) const fn optional(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, shape, required: false }
}

/// A text of `min` to `max` characters.
pub(super) const fn text(min: usize, max: usize) -> Shape {
    Shape::Text { min, max, no_colon: false }
}

impl Shape {
    /// Parses a form's members as this structure.
    ///
    /// # Errors
    /// A text is not a number, time or boolean where one is required.
    pub fn of_form(&self, form: &Form) -> Result<Value, ApiError> {
        Ok(self.form_node(form, "")?.unwrap_or(Value::Map(Vec::new())))
    }

    /// Validates a value against this shape. Integers are converted to doubles where required.
    ///
    /// # Errors
    /// `MissingRequiredParameterException` or `InvalidParameterValueException`, with the path in CloudWatch's format.
    pub fn check(&self, value: Value) -> Result<Value, ApiError> {
        self.check_at(value, "")
    }

    /// As [`Self::check`], for a value below this path.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_inside(&self, value: Value, path: &str) -> Result<Value, ApiError> {
        self.check_at(value, path)
    }

    fn form_node(&self, form: &Form, path: &str) -> Result<Option<Value>, ApiError> {
        match self {
            Self::Structure(members) => {
                let mut found = Vec::new();
                for member in *members {
                    if let Some(value) = member.shape.form_node(form, &inside(path, member.name))? {
                        found.push((Value::Text(member.name.to_owned()), value));
                    }
                }
                Ok((!found.is_empty()).then_some(Value::Map(found)))
            }
            Self::List(item, _, _) => {
                let mut items = Vec::new();
                // A form names list items `member.1`, `member.2` and so on.
                let place = |n: usize| format!("{path}.member.{n}");
                while let Some(value) = item.form_node(form, &place(items.len() + 1))? {
                    items.push(value);
                }
                let is_empty_list = form.get(path) == Some("");
                Ok((!items.is_empty() || is_empty_list).then_some(Value::Array(items)))
            }
            Self::Tags(..) | Self::Texts(..) => Ok(None),
            Self::Text { .. }
            | Self::Enum(_)
            | Self::AnyCase(_)
            | Self::TrainingInstance
            | Self::CapacityUnit
            | Self::Name
            | Self::Dashed { .. }
            | Self::Characters { .. }
            | Self::TagText(..)
            | Self::Begins(..) => Ok(form.get(path).map(|text| Value::Text(text.to_owned()))),
            Self::Integer(..) | Self::Double | Self::Number(..) | Self::Boolean | Self::Time => {
                let malformed =
                    |text: &str| ApiError::bad("MalformedInputException", format!("{path} cannot be read: {text:?}"));
                form.get(path).map(|text| self.scalar(text).ok_or_else(|| malformed(text))).transpose()
            }
        }
    }

    fn scalar(&self, text: &str) -> Option<Value> {
        match self {
            Self::Integer(..) => text.parse::<i64>().ok().map(Value::from),
            Self::Double | Self::Number(..) => text.parse::<f64>().ok().map(Value::Float),
            Self::Boolean => text.parse::<bool>().ok().map(Value::Bool),
            Self::Time => text.parse::<f64>().ok().or_else(|| seconds_of(text)).map(Value::Float),
            Self::Text { .. }
            | Self::Enum(_)
            | Self::AnyCase(_)
            | Self::TrainingInstance
            | Self::CapacityUnit
            | Self::Name
            | Self::Dashed { .. }
            | Self::Characters { .. }
            | Self::Begins(..)
            | Self::TagText(..)
            | Self::Tags(..)
            | Self::Texts(..)
            | Self::List(..)
            | Self::Structure(_) => None,
        }
    }

    fn check_at(&self, value: Value, path: &str) -> Result<Value, ApiError> {
        match (self, value) {
            (Self::Structure(members), Value::Map(found)) => check_members(members, found, path),
            (Self::List(item, min, max), Value::Array(items)) => {
                if items.len() > *max {
                    return Err(invalid(format!("The collection {path} must not have a size greater than {max}.")));
                }
                if items.len() < *min {
                    return Err(invalid(format!("The collection {path} must not have a size less than {min}.")));
                }
                let place = |n: usize| format!("{path}.member.{n}");
                let checked = items.into_iter().zip(1..).map(|(value, n)| item.check_at(value, &place(n)));
                checked.collect::<Result<_, _>>().map(Value::Array)
            }
            (Self::Texts(most, key, value), Value::Map(texts)) => {
                let fits = |text: &Value, most| text.as_text().is_some_and(|text| text.chars().count() <= most);
                let all = texts.iter().all(|(name, text)| fits(name, *key) && fits(text, *value));
                let fits = texts.len() <= *most && all;
                let why = || {
                    format!(
                        "{path} must have at most {most} texts, with keys of {key} and texts of {value} characters."
                    )
                };
                if fits { Ok(Value::Map(texts)) } else { Err(invalid(why())) }
            }
            (Self::Tags(min, max), Value::Map(tags)) => check_tags(*min, *max, tags, path),
            (_, Value::Text(text)) => self.check_text(text, path),
            (Self::Integer(least, most), Value::Integer(number)) => {
                if (i128::from(*least)..=i128::from(*most)).contains(&i128::from(number)) {
                    return Ok(Value::Integer(number));
                }
                Err(invalid(format!("The parameter {path} must be between {least} and {most}.")))
            }
            (Self::Double | Self::Time | Self::Number(..), Value::Integer(number)) => {
                #[expect(clippy::cast_precision_loss, reason = "what the wire means is a double")]
                let number = i128::from(number) as f64;
                self.check_at(Value::Float(number), path)
            }
            (Self::Number(least, most), Value::Float(number)) => {
                if (*least..=*most).contains(&number) {
                    return Ok(Value::Float(number));
                }
                Err(invalid(format!("The parameter {path} must be between {least} and {most}.")))
            }
            (Self::Double | Self::Time, value @ Value::Float(_)) | (Self::Boolean, value @ Value::Bool(_)) => Ok(value),
            (_, _) => Err(other_type(path)),
        }
    }

    fn check_text(&self, text: String, path: &str) -> Result<Value, ApiError> {
        let alphanumeric = |c: char| c.is_ascii_alphanumeric();
        let dashed = |c: char| alphanumeric(c) || c == '-';
        let problem = match self {
            Self::Text { min, max, no_colon } => {
                let length = text.chars().count();
                if length < *min {
                    Some(format!("The parameter {path} must have a length of at least {min}."))
                } else if length > *max {
                    Some(format!("The parameter {path} must be shorter than {} characters.", max + 1))
                } else if *no_colon && text.starts_with(':') {
                    Some(format!("The value {text} for parameter {path} must not start with a colon."))
                } else {
                    None
                }
            }
            Self::Enum(known) => (!known.contains(&text.as_str()))
                .then(|| format!("The parameter {path} must be a value in the set [{}].", known.join(", "))),
            Self::AnyCase(known) => (!known.iter().any(|one| one.eq_ignore_ascii_case(&text)))
                .then(|| format!("The parameter {path} must be a value in the set [{}].", known.join(", "))),
            Self::TrainingInstance => (!is_training_instance(&text)).then(|| unknown_instance(&text, path)),
            Self::CapacityUnit => (text != InstanceType::ANY && !is_training_instance(&text)).then(|| {
                format!("{path} must be {} or an instance type of SageMaker Training, not {text}.", InstanceType::ANY)
            }),
            Self::Name => {
                let fits =
                    text.starts_with(alphanumeric) && text.len() <= 128 && text.chars().all(|c| dashed(c) || c == '_');
                (!fits).then(|| {
                    format!(
                        "{path} must have 1 to 128 letters, numbers, hyphens and underscores, a letter or number first."
                    )
                })
            }
            Self::Dashed { most, after } => {
                let name = if after.is_empty() { text.as_str() } else { text.rsplit(after).next().unwrap_or(&text) };
                let ends = name.starts_with(alphanumeric) && name.ends_with(alphanumeric);
                let fits = ends && name.len() <= *most && name.chars().all(dashed);
                (!fits).then(|| format!("{path} must have 1 to {most} letters, numbers and, between those, hyphens."))
            }
            Self::TagText(least, most) => {
                let is_space = |c: char| c.is_whitespace() && !c.is_control();
                let legal = |c: char| c.is_alphanumeric() || is_space(c) || "_.:/=+-@".contains(c);
                let fits = (*least..=*most).contains(&text.chars().count()) && text.chars().all(legal);
                (!fits).then(|| {
                    format!("{path} must have {least} to {most} letters, digits, spaces and characters of _.:/=+-@")
                })
            }
            Self::Begins(with, least, most) => {
                let fits = (*least..=*most).contains(&text.chars().count());
                let begins = with.iter().any(|with| text.starts_with(with));
                let with = with.join(" or ");
                (!fits || !begins)
                    .then(|| format!("{path} must begin with {with} and have {least} to {most} characters."))
            }
            Self::Characters { least, most, beside } => {
                let legal = |c: char| alphanumeric(c) || beside.contains(c);
                (!(*least..=*most).contains(&text.len()) || !text.chars().all(legal))
                    .then(|| format!("{path} must have {least} to {most} letters, numbers and characters of {beside}"))
            }
            Self::Integer(..)
            | Self::Double
            | Self::Number(..)
            | Self::Boolean
            | Self::Time
            | Self::Tags(..)
            | Self::Texts(..)
            | Self::List(..)
            | Self::Structure(_) => return Err(other_type(path)),
        };
        problem.map_or(Ok(Value::Text(text)), |problem| Err(invalid(problem)))
    }
}

fn check_tags(min: usize, max: usize, tags: Vec<(Value, Value)>, path: &str) -> Result<Value, ApiError> {
    if !(min..=max).contains(&tags.len()) {
        return Err(invalid(format!("{path} must hold {min} to {max} tags.")));
    }
    let length = |value: &Value| value.as_text().map(|text| text.chars().count());
    let fits = |(key, value): &(Value, Value)| {
        length(key).is_some_and(|length| (1..=128).contains(&length))
            && length(value).is_some_and(|length| length <= 256)
    };
    let reserved = |text: &Value| {
        text.as_text().and_then(|text| text.get(..4)).is_some_and(|text| text.eq_ignore_ascii_case("aws:"))
    };
    if tags.iter().any(|(key, value)| reserved(key) || reserved(value)) {
        return Err(invalid(format!("{path}: keys and values that begin with aws: are reserved.")));
    }
    if tags.iter().all(fits) {
        return Ok(Value::Map(tags));
    }
    Err(invalid(format!("{path}: a key has 1 to 128 characters, a value at most 256.")))
}

fn is_training_instance(text: &str) -> bool {
    accelerators_of(&InstanceType::from(text)).is_some()
}

fn unknown_instance(text: &str, path: &str) -> String {
    let known: Vec<_> = training_instance_types().collect();
    format!(
        "1 validation error detected: Value '{text}' at '{path}' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
        known.join(", ")
    )
}

fn other_type(path: &str) -> ApiError {
    ApiError::bad("SerializationException", format!("{path} has another type than expected"))
}

fn check_members(members: &[Member], mut found: Vec<(Value, Value)>, path: &str) -> Result<Value, ApiError> {
    let mut checked = Vec::new();
    for member in members {
        let place = found.iter().position(|(name, value)| name.as_text() == Some(member.name) && !value.is_null());
        let path = inside(path, member.name);
        match place.map(|place| found.swap_remove(place)) {
            Some((name, value)) => checked.push((name, member.shape.check_at(value, &path)?)),
            None if member.required => {
                let message = format!("The parameter {path} is required.");
                return Err(ApiError::bad("MissingRequiredParameterException", message));
            }
            None => {}
        }
    }
    Ok(Value::Map(checked))
}

fn inside(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn seconds_of(text: &str) -> Option<f64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()).secs_f64())
}

fn invalid(message: String) -> ApiError {
    ApiError::bad("InvalidParameterValueException", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Shape = Shape::Text { min: 1, max: 3, no_colon: true };
    const UNIT: Shape = Shape::Enum(&["Count", "None"]);
    const COUNT: Shape = Shape::Integer(1, 10);
    const DATUM: Shape = Shape::Structure(&[
        required("Name", &NAME),
        optional("Unit", &UNIT),
        optional("Count", &COUNT),
        optional("Value", &Shape::Double),
        optional("At", &Shape::Time),
        optional("On", &Shape::Boolean),
    ]);
    const DATA: Shape = Shape::List(&DATUM, 1, 2);
    const INPUT: Shape = Shape::Structure(&[optional("Data", &DATA)]);

    #[test]
    fn constraints_are_held() {
        let check = |json: serde_json::Value, expected: Result<(), &str>| {
            let value = Value::serialized(&json).unwrap();
            let result = INPUT.check(value).map(|_| ()).map_err(|error| error.message);
            match expected {
                Ok(()) => assert_eq!(result, Ok(()), "{json}"),
                Err(part) => assert!(result.clone().is_err_and(|message| message.contains(part)), "{json}: {result:?}"),
            }
        };
        let datum = |members: serde_json::Value| serde_json::json!({"Data": [members]});
        check(serde_json::json!({}), Ok(()));
        check(serde_json::json!({"Data": []}), Err("size less than 1"));
        check(serde_json::json!({"Data": [{"Name": "a"}, {"Name": "a"}, {"Name": "a"}]}), Err("size greater than 2"));
        check(datum(serde_json::json!({})), Err("Data.member.1.Name is required"));
        check(datum(serde_json::json!({"Name": null})), Err("is required"));
        check(datum(serde_json::json!({"Name": ""})), Err("at least 1"));
        check(datum(serde_json::json!({"Name": "four"})), Err("shorter than 4"));
        check(datum(serde_json::json!({"Name": ":a"})), Err("colon"));
        check(datum(serde_json::json!({"Name": 1})), Err("another type"));
        check(datum(serde_json::json!({"Name": "a", "Unit": "Furlong"})), Err("[Count, None]"));
        check(datum(serde_json::json!({"Name": "a", "Count": 11})), Err("between 1 and 10"));
        check(datum(serde_json::json!({"Name": "a", "Value": 1, "Strange": true})), Ok(()));
    }

    #[test]
    fn a_form_is_parsed_like_a_tree() {
        let form = Form::parse(
            b"Data.member.1.Name=a&Data.member.1.Value=1.5&Data.member.1.Count=2&Data.member.1.On=true\
              &Data.member.2.Name=b&Data.member.2.At=1970-01-01T00%3A01%3A00Z",
        );
        let expected = serde_json::json!({"Data": [
            {"Name": "a", "Count": 2, "Value": 1.5, "On": true},
            {"Name": "b", "At": 60.0},
        ]});
        let read = INPUT.of_form(&form).unwrap();
        assert_eq!(read.deserialized::<serde_json::Value>().unwrap(), expected);
        let error = INPUT.of_form(&Form::parse(b"Data.member.1.Count=two")).unwrap_err();
        assert_eq!(error.code, "MalformedInputException");
    }
}
