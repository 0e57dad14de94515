//! SEARCH expressions, as dashboards have them: `SEARCH('{Namespace,Dimension} MetricName="name" Dimension="value"', 'Stat', 300)`.
//!
//! Only a subset of the language is supported: a schema, and quoted terms that must be equal. Metric math, unquoted
//! words, OR and NOT are rejected by name.

use crate::World;
use crate::api_error::ApiError;
use crate::cloudwatch::Metric;
use crate::cloudwatch::gpu;
use crate::cloudwatch::invalid_value;
use crate::cloudwatch::period_statistics::Summary;

/// Maximum series per expression: AWS's limit.
const MAX_SERIES: usize = 500;

/// A parsed expression.
#[derive(Debug, PartialEq)]
pub(super) struct Search {
    namespace: String,
    /// The exact set of dimension names of a matching metric.
    dimensions: Vec<String>,
    terms: Vec<(String, String)>,
    pub stat: String,
    pub period: i64,
}

impl Search {
    /// Parses an expression.
    ///
    /// # Errors
    /// The expression is not a single SEARCH.
    pub fn parse(expression: &str) -> Result<Self, ApiError> {
        let not_served = || {
            invalid_value(format!(
                "The simulator evaluates expressions of the form SEARCH('{{Namespace,Dimension}} MetricName=\"name\"', 'Sum', 300) \
                 and no others, not {expression}"
            ))
        };
        let inside = expression.trim().strip_prefix("SEARCH(").and_then(|rest| rest.strip_suffix(')'));
        let mut parts = inside.ok_or_else(not_served)?.splitn(2, "',");
        let query = parts.next().and_then(|query| query.trim().strip_prefix('\'')).ok_or_else(not_served)?;
        let (stat, period) = parts.next().and_then(|rest| rest.rsplit_once(',')).ok_or_else(not_served)?;
        let (schema, terms) =
            query.trim().strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or_else(not_served)?;
        let mut names = schema.split(',').map(|name| name.trim().trim_matches('"').to_owned());
        let search = Self {
            namespace: names.next().unwrap_or_default(),
            dimensions: names.collect(),
            terms: self::terms(terms).ok_or_else(not_served)?,
            stat: stat.trim().trim_matches('\'').to_owned(),
            period: period.trim().parse().map_err(|_| not_served())?,
        };
        let known = Summary::of([(1.0, 1.0)]).statistic(&search.stat).is_some();
        if known && search.period >= 60 && search.period % 60 == 0 { Ok(search) } else { Err(not_served()) }
    }

    /// The matching metrics, in order.
    pub fn find(&self, world: &World) -> Vec<Metric> {
        let hosts = gpu::metrics(world);
        let all = world.metrics.after(None).chain(&hosts);
        all.filter(|metric| self.admits(metric)).take(MAX_SERIES).cloned().collect()
    }

    fn admits(&self, metric: &Metric) -> bool {
        let has = |name: &str| metric.dimensions.iter().find(|dimension| dimension.name == name);
        let names = &self.dimensions;
        let fits = names.len() == metric.dimensions.len() && names.iter().all(|name| has(name).is_some());
        let term = |(name, value): &(String, String)| match name.as_str() {
            "MetricName" => metric.metric_name == *value,
            "Namespace" => metric.namespace == *value,
            name => has(name).is_some_and(|dimension| dimension.value == *value),
        };
        metric.namespace == self.namespace && fits && self.terms.iter().all(term)
    }
}

/// Parses `name="value"` terms, with or without AND between them.
fn terms(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut terms = Vec::new();
    loop {
        text = text.trim_start();
        text = text.strip_prefix("AND ").unwrap_or(text).trim_start();
        if text.is_empty() {
            return Some(terms);
        }
        let (name, rest) = text.split_once("=\"")?;
        let (value, rest) = rest.split_once('"')?;
        if name.contains(char::is_whitespace) {
            return None;
        }
        terms.push((name.to_owned(), value.to_owned()));
        text = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_by_schema_and_terms_are_read_and_others_refused() {
        let search = Search::parse("SEARCH('{\"AWS/Batch\",JobQueueName} MetricName=\"JobsSubmitted\"', 'Sum', 300)");
        let expected = Search {
            namespace: "AWS/Batch".to_owned(),
            dimensions: vec!["JobQueueName".to_owned()],
            terms: vec![("MetricName".to_owned(), "JobsSubmitted".to_owned())],
            stat: "Sum".to_owned(),
            period: 300,
        };
        assert_eq!(search, Ok(expected));
        let two =
            Search::parse("SEARCH('{N,Queue,Part} MetricName=\"GpuPart\" AND Part=\"idle\"', 'p90', 60)").unwrap();
        assert_eq!(two.terms.len(), 2);
        for refused in [
            "m1 + m2",
            "SUM(SEARCH('{N,Q} MetricName=\"a\"', 'Sum', 60))",
            "SEARCH('{N,Q} MetricName=\"a\" OR MetricName=\"b\"', 'Sum', 60)",
            "SEARCH('{N,Q} a', 'Sum', 60)",
            "SEARCH('{N,Q} MetricName=\"a\"', 'Median', 60)",
            "SEARCH('{N,Q} MetricName=\"a\"', 'Sum', 7)",
            "SELECT AVG(a) FROM b",
        ] {
            let error = Search::parse(refused).unwrap_err();
            assert!(error.message.contains(refused), "{refused}: {error}");
        }
    }
}
