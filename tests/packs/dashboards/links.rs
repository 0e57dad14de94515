//! Every panel links to the page that explains it, at the address in a variable.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Default address of the pages in the CloudWatch dashboard.
const PAGE: &str = "https://trainspotter.example.com";

/// Existing pages besides runbooks.
const PAGES: [&str; 4] = ["/", "/alerts", "/health", "/jobs"];

/// Whether a page or runbook exists at a path.
fn is_page(path: &str) -> bool {
    let page = path.split('?').next().unwrap_or_default();
    let runbooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks");
    let is_runbook = |name: &str| runbooks.join(format!("{name}.md")).is_file();
    PAGES.contains(&page) || page.strip_prefix("/runbooks/").is_some_and(is_runbook)
}

/// CloudWatch widgets have no links, so the heading above each has one with its title.
#[test]
fn the_heading_above_each_widget_of_cloudwatch_links_to_a_page_that_there_is() {
    let mut problems = Vec::new();
    for path in crate::dashboards::files("dashboards/cloudwatch", "json") {
        let body: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let variables = body["variables"].as_array().unwrap();
        assert!(variables.iter().any(|variable| variable["pattern"] == PAGE), "{}", path.display());
        let mut heading = "";
        for widget in body["widgets"].as_array().unwrap() {
            let properties = &widget["properties"];
            if let Some(text) = properties["markdown"].as_str() {
                heading = if text.starts_with('#') { text } else { heading };
                let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or_default());
                let wrong = links.filter(|link| !link.strip_prefix(PAGE).is_some_and(is_page));
                problems.extend(wrong.map(|link| format!("{link} leads nowhere")));
                continue;
            }
            let title = properties["title"].as_str().unwrap();
            if !heading.contains(&format!("[{title}]({PAGE}/")) {
                problems.push(format!("{title}: no link in the heading above it"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_panel_links_to_a_page_that_there_is() {
    let mut problems = Vec::new();
    for path in crate::dashboards::files("dashboards/grafana", "json") {
        let board: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let variables = board["templating"]["list"].as_array().unwrap();
        assert!(variables.iter().any(|variable| variable["name"] == "page"), "{}", path.display());
        for panel in board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().unwrap();
            let links = panel["links"].as_array().map(Vec::as_slice).unwrap_or_default();
            if links.is_empty() {
                problems.push(format!("{title}: no link"));
            }
            for link in links {
                let url = link["url"].as_str().unwrap();
                let page = url.strip_prefix("${page}").unwrap_or("not at ${page}");
                if !is_page(page) {
                    problems.push(format!("{title}: {url} leads nowhere"));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
