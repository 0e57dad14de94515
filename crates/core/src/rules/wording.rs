//! Figures and annotations in words.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::{Environment, UndefinedBehavior};

use crate::metrics::catalogue::Unit;
use crate::metrics::words::{amount, trimmed};

/// A value as people read it: `1h 5m`, `43 %`, `12 GPUs`.
pub fn of_value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => of_seconds(value),
        Unit::Ratio => format!("{} %", trimmed(value * 100.0)),
        Unit::Gpus => amount(value, "GPU"),
        Unit::Instances => amount(value, "instance"),
        Unit::GpuSeconds => amount(value / 3600.0, "GPU hour"),
        Unit::Dollars => format!("${}", trimmed(value)),
        Unit::Bytes => amount(value, "byte"),
        Unit::Count => trimmed(value),
    }
}

/// The two largest units of a duration, rounded down.
fn of_seconds(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default().as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut rest = whole;
    let mut parts = Vec::new();
    for (name, length) in units {
        if rest >= length || (name == "s" && parts.is_empty()) {
            parts.push(format!("{}{name}", rest / length));
            rest %= length;
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

/// Annotations of one rule, ready to be rendered. Strict: a name that is not there is an error.
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

    /// Compiles annotations that may name `words`; an error names the annotation and says what is wrong with it.
    pub(super) fn compile(
        annotations: &BTreeMap<String, String>,
        words: &BTreeSet<&str>,
    ) -> Result<Self, Vec<(String, String)>> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let mut problems = Vec::new();
        for (name, template) in annotations {
            match environment.add_template_owned(name.clone(), template.clone()) {
                Ok(()) => problems.extend(unknown_words(&environment, name, words)),
                Err(error) => problems.push((name.clone(), told(&error))),
            }
        }
        let templates = Self { environment, sources: annotations.clone() };
        if problems.is_empty() {
            // Filters and tests are looked up only when they are used.
            let example = words.iter().map(|word| ((*word).to_owned(), (*word).to_owned())).collect();
            problems = templates.render(&example).1;
        }
        if problems.is_empty() { Ok(templates) } else { Err(problems) }
    }

    /// Renders every annotation; those that cannot be are told by name.
    pub(super) fn render(&self, words: &BTreeMap<String, String>) -> (BTreeMap<String, String>, Vec<(String, String)>) {
        let mut rendered = BTreeMap::new();
        let mut problems = Vec::new();
        for name in self.sources.keys() {
            match self.environment.get_template(name).and_then(|template| template.render(words)) {
                Ok(text) => {
                    rendered.insert(name.clone(), text);
                }
                Err(error) => problems.push((name.clone(), told(&error))),
            }
        }
        (rendered, problems)
    }
}

/// Names that a template uses and nobody gives it, in branches not taken too.
fn unknown_words(environment: &Environment<'_>, name: &str, words: &BTreeSet<&str>) -> Option<(String, String)> {
    let used: BTreeSet<String> = environment.get_template(name).ok()?.undeclared_variables(false).into_iter().collect();
    let global = |word: &String| environment.globals().any(|(known, _)| known == word);
    let unknown = used.iter().find(|word| !words.contains(word.as_str()) && !global(word))?;
    let known: Vec<&str> = words.iter().copied().collect();
    Some((name.to_owned(), format!("there is no `{unknown}` here; a template may name {}", known.join(", "))))
}

fn told(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_people_say_them() {
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
