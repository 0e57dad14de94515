//! `openapi.json` documents every route, and its schemas match the responses.

use std::collections::BTreeSet;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::web::openapi_document;
use crate::web::tests::Server;
use crate::web::tests::fixture_snapshot;

#[test]
fn the_document_lists_every_route() {
    let document: Value = serde_json::from_str(openapi_document()).unwrap();
    let paths: BTreeSet<_> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        BTreeSet::from([
            "/api/v1/alerts",
            "/api/v1/alerts/past",
            "/api/v1/alerts/{id}",
            "/api/v1/alerts/{id}/figure",
            "/api/v1/estimates",
            "/api/v1/failures",
            "/api/v1/fair_shares",
            "/api/v1/health",
            "/api/v1/histories",
            "/api/v1/history",
            "/api/v1/jobs",
            "/api/v1/jobs/{id}",
            "/api/v1/jobs/{id}/context",
            "/api/v1/loans",
            "/api/v1/notifications/test",
            "/api/v1/openapi.json",
            "/api/v1/outbox",
            "/api/v1/outbox/drop",
            "/api/v1/outbox/retry",
            "/api/v1/queues",
            "/api/v1/reasons",
            "/api/v1/report",
            "/api/v1/reserved",
            "/api/v1/service",
            "/api/v1/setup",
            "/api/v1/shares",
            "/api/v1/silences",
            "/api/v1/silences/{id}/end",
            "/api/v1/tick",
            "/api/v1/waits",
            "/api/v1/waterfall",
            "/api/v1/what-if",
            "/api/v1/what-if/candidates",
            "/api/v1/when",
            "/healthz",
            "/metrics",
            "/readyz",
        ])
    );
    let parameters = document["paths"]["/api/v1/jobs"]["get"]["parameters"].as_array().unwrap();
    let names: Vec<_> = parameters.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
    let expected = [
        "account", "region", "queue", "share", "state", "id", "name", "owner", "reason", "type", "sort", "limit",
        "after",
    ];
    assert_eq!(names, expected);
    assert!(parameters.iter().all(|parameter| parameter["required"] == false && parameter["in"] == "query"));
}

#[tokio::test]
async fn every_response_matches_the_openapi_document() {
    let server = Server::start().await;
    let document = server.get("/api/v1/openapi.json").await.json();
    let mut checked = 0;
    for (path, item) in document["paths"].as_object().unwrap().iter().filter(|(_, item)| item["get"].is_object()) {
        let asked = match path.as_str() {
            "/api/v1/when" => "/api/v1/when?queue=research&type=ml.p5.48xlarge".to_owned(),
            "/api/v1/what-if" => "/api/v1/what-if?set=queue.research.capacity%3D%2B4".to_owned(),
            "/api/v1/history" => "/api/v1/history?metric=queue.wait".to_owned(),
            "/api/v1/histories" => "/api/v1/histories?metrics=queue.wait:p50,gpu.part&share=audio".to_owned(),
            of_alert if of_alert.starts_with("/api/v1/alerts/{id}") => {
                of_alert.replace("{id}", fixture_snapshot::snapshot().alerts[1].id.as_str())
            }
            other => other.replace("{id}", "job-nightly"),
        };
        let answer = server.get(&asked).await;
        assert_eq!(answer.status, 200, "{path}");
        let content = item["get"]["responses"]["200"]["content"].as_object().unwrap();
        if let Some(json) = content.get("application/json") {
            conforms(&answer.json(), &json["schema"], &document, path);
            checked += 1;
        }
    }
    assert_eq!(checked, 32, "all but /metrics");
}

#[tokio::test]
async fn errors_match_the_openapi_document() {
    let server = Server::start().await;
    let document = server.get("/api/v1/openapi.json").await.json();
    for (path, route, status) in
        [("/api/v1/jobs?limit=0", "/api/v1/jobs", "400"), ("/api/v1/jobs/none", "/api/v1/jobs/{id}", "404")]
    {
        let answer = server.get(path).await;
        let response = &document["paths"][route]["get"]["responses"][status];
        conforms(&answer.json(), &response["content"]["application/json"]["schema"], &document, path);
    }
}

/// Validates a value against the parts of JSON Schema that the document uses. Fields missing from the schema are
/// errors too: they would be undocumented.
fn conforms(value: &Value, schema: &Value, document: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let found = document.pointer(reference.trim_start_matches('#'));
        return conforms(value, found.unwrap_or_else(|| panic!("{at}: no {reference}")), document, at);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        // Flattened parts: the fields of all of them together.
        let resolved = parts.iter().map(|part| match part["$ref"].as_str() {
            Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => part,
        });
        let mut whole = json!({ "type": "object", "properties": {}, "required": [] });
        for part in resolved {
            for (name, property) in part["properties"].as_object().unwrap() {
                whole["properties"][name] = property.clone();
            }
            let required = part["required"].as_array().cloned().unwrap_or_default();
            whole["required"].as_array_mut().unwrap().extend(required);
        }
        return conforms(value, &whole, document, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let meant = choices.iter().find(|choice| (choice["type"] == "null") == value.is_null());
        return conforms(value, meant.unwrap_or_else(|| panic!("{at}: {value} is none of {schema}")), document, at);
    }
    // `type` is a string or a list of strings.
    let listed = schema["type"].as_array().map_or(std::slice::from_ref(&schema["type"]), Vec::as_slice);
    let types: Vec<_> = listed.iter().filter_map(Value::as_str).collect();
    let name = type_of(value);
    assert!(types.contains(&name) || (name == "integer" && types.contains(&"number")), "{at}: {value} is no {schema}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is not in {schema}");
    }
    match value {
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, item)| conforms(item, &schema["items"], document, &format!("{at}/{i}")));
        }
        Value::Object(fields) => fields_conform(fields, schema, document, at),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fields_conform(fields: &Map<String, Value>, schema: &Value, document: &Value, at: &str) {
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.contains_key(required.as_str().unwrap()), "{at}: lacks {required}");
    }
    let Some(properties) = schema["properties"].as_object() else {
        let each = &schema["additionalProperties"];
        return fields
            .iter()
            .filter(|_| each.is_object())
            .for_each(|(key, value)| conforms(value, each, document, &format!("{at}/{key}")));
    };
    for (key, value) in fields {
        let property = properties.get(key).unwrap_or_else(|| panic!("{at}: {key} is not documented"));
        conforms(value, property, document, &format!("{at}/{key}"));
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
