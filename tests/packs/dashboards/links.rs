//! Every panel leads to the page that explains it, at the address that a variable holds.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Pages that there are, beside runbooks.
const PAGES: [&str; 4] = ["/", "/alerts", "/health", "/jobs"];

#[test]
fn every_panel_links_to_a_page_that_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
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
                let page = page.split('?').next().unwrap();
                let is_runbook = page
                    .strip_prefix("/runbooks/")
                    .is_some_and(|name| root.join("docs/runbooks").join(format!("{name}.md")).is_file());
                if !is_runbook && !PAGES.contains(&page) {
                    problems.push(format!("{title}: {url} leads nowhere"));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
