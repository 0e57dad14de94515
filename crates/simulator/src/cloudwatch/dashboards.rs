//! Dashboards, validated by "Dashboard body structure and syntax" in the CloudWatch API Reference. A body with errors
//! is rejected with all of them; warnings are returned with success.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::arn;
use crate::cloudwatch::invalid_value;
use crate::page_token::PageToken;
use trainspotter_core::model::Timestamp;

/// Maximum widgets per dashboard, variables, and metrics per widget.
const MAX_WIDGETS: usize = 500;
const MAX_VARIABLES: usize = 25;
const MAX_METRICS: usize = 500;
/// Maximum alarms of an alarm widget.
const MAX_ALARMS: usize = 100;
/// Width of the grid, and maximum height of a widget.
const COLUMNS: i64 = 24;
const MAX_HEIGHT: i64 = 1_000;
const MAX_NAME: usize = 255;
const PAGE: usize = 1_000;
const TYPES: [&str; 7] = ["metric", "text", "log", "alarm", "explorer", "custom", "trace"];
const VIEWS: [&str; 7] = ["timeSeries", "singleValue", "gauge", "bar", "pie", "table", "cluster"];

/// The dashboards by name.
pub(super) type Dashboards = BTreeMap<String, Dashboard>;

/// A body, and its last modification.
#[derive(Debug)]
pub(super) struct Dashboard {
    body: String,
    at: Timestamp,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutInput {
    dashboard_name: String,
    dashboard_body: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutOutput {
    dashboard_validation_messages: Vec<Message>,
}

/// An error or warning, and its path.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    data_path: String,
    message: String,
}

/// Creates or replaces a dashboard.
pub(super) fn put_dashboard(world: &mut World, input: PutInput) -> Result<PutOutput, ApiError> {
    let name = input.dashboard_name;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(legal) {
        return Err(refused(&[Message::at(
            "DashboardName",
            "must be 1 to 255 letters, digits, hyphens and underscores",
        )]));
    }
    let body: Value = serde_json::from_str(&input.dashboard_body).map_err(|error| {
        refused(&[Message::at("", &format!("The field DashboardBody must be a valid JSON object: {error}"))])
    })?;
    let mut findings = Findings::default();
    findings.body(&body);
    if !findings.errors.is_empty() {
        return Err(refused(&findings.errors));
    }
    world.metrics.dashboards.insert(name, Dashboard { body: input.dashboard_body, at: world.now });
    Ok(PutOutput { dashboard_validation_messages: findings.doubts })
}

fn refused(errors: &[Message]) -> ApiError {
    let listed: Vec<_> =
        errors.iter().map(|error| json!({"dataPath": error.data_path, "message": error.message})).collect();
    let message = format!(
        "The dashboard body is invalid, there are {} validation errors: {}",
        errors.len(),
        serde_json::Value::from(listed)
    );
    ApiError::bad("DashboardInvalidInputError", message)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetInput {
    dashboard_name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetOutput {
    dashboard_arn: String,
    dashboard_body: String,
    dashboard_name: String,
}

pub(super) fn get_dashboard(world: &World, input: GetInput) -> Result<GetOutput, ApiError> {
    let name = input.dashboard_name;
    let found = world.metrics.dashboards.get(&name).ok_or_else(|| missing(&name))?;
    Ok(GetOutput { dashboard_arn: arn::dashboard(&name), dashboard_body: found.body.clone(), dashboard_name: name })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListInput {
    dashboard_name_prefix: Option<String>,
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListOutput {
    dashboard_entries: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    dashboard_name: String,
    dashboard_arn: String,
    last_modified: f64,
    size: usize,
}

pub(super) fn list_dashboards(world: &World, input: &ListInput) -> Result<ListOutput, ApiError> {
    let after = match &input.next_token {
        None => None,
        Some(token) => Some(PageToken::decode(token).ok_or_else(|| invalid_value("The NextToken is not valid."))?.key),
    };
    let prefix = input.dashboard_name_prefix.as_deref().unwrap_or_default();
    let wanted = |name: &&String| name.starts_with(prefix) && after.as_ref().is_none_or(|after| *name > after);
    let mut names: Vec<&String> = world.metrics.dashboards.keys().filter(wanted).take(PAGE + 1).collect();
    let more = names.len() > PAGE;
    names.truncate(PAGE);
    let next_token = names.last().filter(|_| more).map(|last| {
        let key = (*last).clone();
        PageToken { page: 2, order: 0, key }.encode()
    });
    let entry = |name: &String| {
        let dashboard = world.metrics.dashboards.get(name)?;
        Some(Entry {
            dashboard_name: name.clone(),
            dashboard_arn: arn::dashboard(name),
            last_modified: dashboard.at.secs_f64(),
            size: dashboard.body.len(),
        })
    };
    Ok(ListOutput { dashboard_entries: names.into_iter().filter_map(entry).collect(), next_token })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteInput {
    dashboard_names: Vec<String>,
}

/// Deletes all, or none if one of them does not exist.
pub(super) fn delete_dashboards(world: &mut World, input: &DeleteInput) -> Result<(), ApiError> {
    let dashboards = &mut world.metrics.dashboards;
    if let Some(name) = input.dashboard_names.iter().find(|name| !dashboards.contains_key(*name)) {
        return Err(missing(name));
    }
    dashboards.retain(|name, _| !input.dashboard_names.contains(name));
    Ok(())
}

fn missing(name: &str) -> ApiError {
    ApiError::new(404, "DashboardNotFoundError", format!("Dashboard {name} does not exist"))
}

impl Message {
    fn at(path: &str, message: &str) -> Self {
        Self { data_path: path.to_owned(), message: message.to_owned() }
    }
}

#[derive(Debug, Default)]
struct Findings {
    errors: Vec<Message>,
    doubts: Vec<Message>,
}

impl Findings {
    fn error(&mut self, path: &str, message: &str) {
        self.errors.push(Message::at(path, message));
    }

    fn body(&mut self, body: &Value) {
        let Some(members) = body.as_object() else { return self.error("", "The dashboard body must be an object") };
        let known = ["widgets", "variables", "start", "end", "periodOverride"];
        for name in members.keys().filter(|name| !known.contains(&name.as_str())) {
            self.doubts.push(Message::at(&format!("/{name}"), "This property is not known and is ignored"));
        }
        if let Some(mode) = members.get("periodOverride")
            && !["auto", "inherit"].map(Value::from).contains(mode)
        {
            self.error("/periodOverride", "Should be equal to one of the allowed values: auto, inherit");
        }
        self.few("/variables", members.get("variables"), MAX_VARIABLES, "variables");
        let Some(widgets) = members.get("widgets").and_then(Value::as_array) else {
            return self.error("/widgets", "Should have required property 'widgets', a list");
        };
        self.few("/widgets", members.get("widgets"), MAX_WIDGETS, "widgets");
        for (widget, n) in widgets.iter().zip(0..) {
            self.widget(&format!("/widgets/{n}"), widget);
        }
    }

    fn few(&mut self, path: &str, list: Option<&Value>, most: usize, what: &str) {
        if list.and_then(Value::as_array).is_some_and(|list| list.len() > most) {
            self.error(path, &format!("Should not have more than {most} {what}"));
        }
    }

    fn widget(&mut self, path: &str, widget: &Value) {
        let places = [("x", 0, COLUMNS - 1), ("y", 0, i64::MAX), ("width", 1, COLUMNS), ("height", 1, MAX_HEIGHT)];
        for (name, least, most) in places {
            let given = widget.get(name).map(|value| value.as_i64().filter(|number| (least..=most).contains(number)));
            if given == Some(None) {
                self.error(&format!("{path}/{name}"), &format!("Should be an integer from {least} to {most}"));
            }
        }
        let kind = widget["type"].as_str().unwrap_or_default();
        if !TYPES.contains(&kind) {
            return self.error(
                &format!("{path}/type"),
                "Should be equal to one of the allowed values: metric, text, log, alarm, explorer",
            );
        }
        let inside = format!("{path}/properties");
        let Some(properties) = widget.get("properties").filter(|properties| properties.is_object()) else {
            return self.error(&inside, "Should have required property 'properties'");
        };
        match kind {
            "metric" => self.metric_widget(&inside, properties),
            "text" if !properties["markdown"].is_string() => {
                self.error(&inside, "Should have required property 'markdown'");
            }
            "log" if !(properties["query"].is_string() && properties["region"].is_string()) => {
                self.error(&inside, "Should have required properties 'query' and 'region'");
            }
            "alarm" => {
                let alarms = properties["alarms"].as_array().map_or(0, Vec::len);
                if !(1..=MAX_ALARMS).contains(&alarms) {
                    self.error(&format!("{inside}/alarms"), &format!("Should have 1 to {MAX_ALARMS} items"));
                }
            }
            _ => {}
        }
    }

    fn metric_widget(&mut self, path: &str, properties: &Value) {
        if !properties["region"].is_string() {
            self.error(path, "Should have required property 'region'");
        }
        if let Some(view) = properties.get("view").filter(|view| !VIEWS.map(Value::from).contains(view)) {
            self.error(
                &format!("{path}/view"),
                &format!("{view} is not one of the allowed values: {}", VIEWS.join(", ")),
            );
        }
        if properties["view"] == "gauge"
            && !(properties["yAxis"]["left"]["min"].is_number() && properties["yAxis"]["left"]["max"].is_number())
        {
            self.error(&format!("{path}/yAxis/left"), "A gauge should have a min and a max");
        }
        self.period(path, properties);
        let annotated = properties.get("annotations").is_some_and(|annotations| annotations.get("alarms").is_some());
        let Some(metrics) = properties.get("metrics").and_then(Value::as_array) else {
            if !annotated {
                self.error(path, "Should have required property 'metrics'");
            }
            return;
        };
        self.few(&format!("{path}/metrics"), properties.get("metrics"), MAX_METRICS, "metrics");
        let mut before = 0;
        for (metric, n) in metrics.iter().zip(0..) {
            let path = format!("{path}/metrics/{n}");
            before = self.metric(&path, metric, before);
        }
    }

    /// Checks one row of a metric widget; `before` is the number of texts in the previous row, to which `.` and `...`
    /// refer. Returns the number of texts in this row.
    fn metric(&mut self, path: &str, metric: &Value, before: usize) -> usize {
        let Some(items) = metric.as_array() else {
            self.error(path, "Should be an array");
            return before;
        };
        let (options, texts) = match items.split_last() {
            Some((last, texts)) if last.is_object() => (Some(last), texts),
            _ => (None, items.as_slice()),
        };
        if let Some(options) = options {
            self.period(path, options);
        }
        if texts.is_empty() {
            if !options.is_some_and(|options| options["expression"].is_string()) {
                self.error(path, "Should name a metric or have an expression");
            }
            return before;
        }
        if !texts.iter().all(Value::is_string) {
            self.error(path, "Should have a namespace, a name and dimensions as texts, and options last");
            return before;
        }
        let repeats = texts.iter().any(|text| *text == "...");
        let length = if repeats { before } else { texts.len() };
        if length < 2 || !length.is_multiple_of(2) {
            self.error(path, "Should have a namespace, a metric name, and a value for each dimension name");
        }
        if !repeats && texts.iter().zip(0..).any(|(text, place)| *text == "." && place >= before) {
            self.error(path, "A \".\" repeats what stands there in the metric before, which has nothing there");
        }
        length
    }

    fn period(&mut self, path: &str, options: &Value) {
        let Some(period) = options.get("period") else { return };
        let legal = period
            .as_i64()
            .is_some_and(|period| [1, 5, 10, 20, 30].contains(&period) || (period > 0 && period % 60 == 0));
        if !legal {
            self.error(&format!("{path}/period"), "Should be 1, 5, 10, 20, 30 or a multiple of 60");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_judged() {
        let metric = |properties: Value| json!({"widgets": [{"type": "metric", "properties": properties}]});
        let lines = |metrics: Value| metric(json!({"region": "r", "metrics": metrics}));
        let fine = json!({"widgets": [
            {"type": "text", "x": 23, "width": 1, "properties": {"markdown": "#"}},
            {"type": "metric", "properties": {"region": "r", "metrics": [["N", "m", "d", "v"], ["...", "w"], [".", "n", ".", "."], [{"expression": "m1"}]]}},
        ]});
        let cases = [
            (fine, None),
            (json!({"widgets": []}), None),
            (json!([]), Some("")),
            (json!({}), Some("/widgets")),
            (json!({"widgets": vec![json!({"type": "text", "properties": {"markdown": ""}}); 501]}), Some("/widgets")),
            (json!({"widgets": [{"type": "pie", "properties": {}}]}), Some("/widgets/0/type")),
            (
                json!({"widgets": [{"type": "text", "width": 25, "properties": {"markdown": ""}}]}),
                Some("/widgets/0/width"),
            ),
            (json!({"widgets": [{"type": "text", "x": "1", "properties": {"markdown": ""}}]}), Some("/widgets/0/x")),
            (json!({"widgets": [{"type": "text", "properties": {}}]}), Some("/widgets/0/properties")),
            (metric(json!({"metrics": []})), Some("/widgets/0/properties")),
            (metric(json!({"region": "r"})), Some("/widgets/0/properties")),
            (metric(json!({"region": "r", "metrics": [], "period": 61})), Some("/widgets/0/properties/period")),
            (metric(json!({"region": "r", "metrics": [], "view": "donut"})), Some("/widgets/0/properties/view")),
            (metric(json!({"region": "r", "metrics": [], "view": "gauge"})), Some("/widgets/0/properties/yAxis/left")),
            (lines(json!([["N"]])), Some("/widgets/0/properties/metrics/0")),
            (lines(json!([["N", "m", "d"]])), Some("/widgets/0/properties/metrics/0")),
            (lines(json!([["N", "m"], [".", ".", ".", "v"]])), Some("/widgets/0/properties/metrics/1")),
            (lines(json!([[{"label": "l"}]])), Some("/widgets/0/properties/metrics/0")),
        ];
        for (body, expected) in cases {
            let mut findings = Findings::default();
            findings.body(&body);
            let found = findings.errors.first().map(|error| error.data_path.as_str());
            assert_eq!(found, expected, "{body}: {findings:?}");
        }
        let mut findings = Findings::default();
        findings.body(&json!({"widgets": [], "colour": "red"}));
        assert_eq!((findings.errors.len(), findings.doubts.len()), (0, 1));
    }
}
