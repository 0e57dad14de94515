//! Formats values and renders annotations.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

use crate::metrics::catalogue::Unit;
use crate::model::format::{amount, duration, trimmed};
use crate::rules::template_limits;

/// Maximum work of rendering one template, in minijinja's units: about one instruction, or 64 bytes.
const MAX_FUEL: u64 = 10_000;

/// Maximum work of all templates of one rule in one evaluation.
pub(super) const MAX_FUEL_PER_RULE: u64 = 1_000_000;

/// Filters and functions that nest lists. Their results are not counted before they exist: see
/// [`template_limits::check`].
const LIST_BUILDERS: [&str; 20] = [
    "batch",
    "chain",
    "debug",
    "dict",
    "dictsort",
    "groupby",
    "items",
    "map",
    "namespace",
    "pprint",
    "reject",
    "rejectattr",
    "select",
    "selectattr",
    "slice",
    "sum",
    "tojson",
    "unique",
    "xmlattr",
    "zip",
];

/// Maximum length of `range`.
const MAX_RANGE: isize = 1_000;

/// Maximum bytes of a rendered template.
const MAX_RENDERED_BYTES: usize = 32 << 10;

/// A value in readable form: `1h 5m`, `43 %`, `12 GPUs`.
pub fn of_value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => duration(value),
        Unit::Ratio => format!("{} %", trimmed(value * 100.0)),
        Unit::Gpus => amount(value, "GPU"),
        Unit::Instances => amount(value, "instance"),
        Unit::GpuSeconds => amount(value / 3600.0, "GPU hour"),
        Unit::Dollars => format!("${}", trimmed(value)),
        Unit::Bytes => amount(value, "byte"),
        Unit::Count => trimmed(value),
    }
}

/// The compiled annotations of one rule. Strict: an undefined name is an error.
#[derive(Clone, Debug)]
pub(super) struct Templates {
    environment: Environment<'static>,
    sources: BTreeMap<String, String>,
}

impl Templates {
    /// The templates as written, by name.
    pub(super) fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.iter().map(|(name, template)| (name.as_str(), template.as_str()))
    }

    /// Compiles annotations that may use `words`; an error names the annotation and the problem.
    pub(super) fn compile(
        annotations: &BTreeMap<String, String>,
        words: &BTreeSet<&str>,
    ) -> Result<Self, Vec<(String, String)>> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(MAX_FUEL));
        for name in LIST_BUILDERS {
            environment.remove_filter(name);
            environment.remove_global(name);
        }
        environment.add_function("range", range);
        let mut problems = Vec::new();
        for (name, template) in annotations {
            if let Err(message) = template_limits::check(template) {
                problems.push((name.clone(), message));
                continue;
            }
            match environment.add_template_owned(name.clone(), template.clone()) {
                Ok(()) => problems.extend(unknown_words(&environment, name, words)),
                Err(error) => problems.push((name.clone(), message_of(&error))),
            }
        }
        let templates = Self { environment, sources: annotations.clone() };
        if problems.is_empty() {
            // Filters and tests are resolved at render time only, so render once.
            let example = words.iter().map(|word| ((*word).to_owned(), (*word).to_owned())).collect();
            problems = templates.render(&example).1;
        }
        if problems.is_empty() { Ok(templates) } else { Err(problems) }
    }

    /// Renders every annotation; failures are returned by name.
    pub(super) fn render(&self, words: &BTreeMap<String, String>) -> (BTreeMap<String, String>, Vec<(String, String)>) {
        self.render_within(words, &mut MAX_FUEL_PER_RULE.clone())
    }

    /// As [`Self::render`], limited to `fuel`, from which the work is subtracted.
    pub(super) fn render_within(
        &self,
        words: &BTreeMap<String, String>,
        fuel: &mut u64,
    ) -> (BTreeMap<String, String>, Vec<(String, String)>) {
        let mut rendered = BTreeMap::new();
        let mut problems = Vec::new();
        for name in self.sources.keys() {
            match self.render_one(name, words, fuel) {
                Ok(text) => {
                    rendered.insert(name.clone(), text);
                }
                Err(message) => problems.push((name.clone(), message)),
            }
        }
        (rendered, problems)
    }

    fn render_one(&self, name: &str, words: &BTreeMap<String, String>, fuel: &mut u64) -> Result<String, String> {
        if *fuel == 0 {
            return Err("rendering the templates of this rule for all alerts exceeds the limit".to_owned());
        }
        let template = self.environment.get_template(name).map_err(|error| message_of(&error))?;
        let captured = template.render_captured(words).map_err(|error| {
            *fuel = fuel.saturating_sub(MAX_FUEL);
            message_of(&error)
        })?;
        *fuel = fuel.saturating_sub(captured.state().fuel_levels().map_or(MAX_FUEL, |(used, _)| used));
        match captured.into_output() {
            text if text.len() > MAX_RENDERED_BYTES => Err(format!("its result exceeds {MAX_RENDERED_BYTES} bytes")),
            text => Ok(text),
        }
    }
}

/// As minijinja's `range`, with a maximum length.
fn range(lower: isize, upper: Option<isize>, step: Option<isize>) -> Result<Value, minijinja::Error> {
    let span = upper.map_or(lower, |upper| upper.saturating_sub(lower));
    let length = span.saturating_abs() / step.unwrap_or(1).saturating_abs().max(1);
    if length > MAX_RANGE {
        let message = format!("a range has at most {MAX_RANGE} numbers");
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, message));
    }
    minijinja::functions::range(lower, upper, step)
}

/// Undefined names that a template uses, including in branches that were not taken.
fn unknown_words(environment: &Environment<'_>, name: &str, words: &BTreeSet<&str>) -> Option<(String, String)> {
    let used: BTreeSet<String> = environment.get_template(name).ok()?.undeclared_variables(false).into_iter().collect();
    let global = |word: &String| environment.globals().any(|(known, _)| known == word);
    let unknown = used.iter().find(|word| !words.contains(word.as_str()) && !global(word))?;
    let known: Vec<&str> = words.iter().copied().collect();
    Some((name.to_owned(), format!("there is no `{unknown}` here; available: {}", known.join(", "))))
}

fn message_of(error: &minijinja::Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "rendering it exceeds the limit of work".to_owned();
    }
    error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_formatted_for_people() {
        let check = |value, unit, expected: &str| assert_eq!(of_value(value, unit), expected);
        check(0.0, Unit::Seconds, "0s");
        check(59.9, Unit::Seconds, "59s");
        check(3_900.0, Unit::Seconds, "1h 5m");
        check(3_605.0, Unit::Seconds, "1h");
        check(90_061.0, Unit::Seconds, "1d 1h");
        check(0.425, Unit::Ratio, "42.5 %");
        check(1_234.5, Unit::Dollars, "$1234.5");
        check(16.0, Unit::Gpus, "16 GPUs");
        check(1.0, Unit::Gpus, "1 GPU");
        check(1.0, Unit::Instances, "1 instance");
        check(3_600.0, Unit::GpuSeconds, "1 GPU hour");
    }
}
