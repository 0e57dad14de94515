//! Runbooks: what to do about an alert. Embedded in the binary, so that every message can link to them.

use include_dir::Dir;
use include_dir::include_dir;
use pulldown_cmark::CowStr;
use pulldown_cmark::Event;
use pulldown_cmark::Options;
use pulldown_cmark::Parser;
use pulldown_cmark::Tag;
use pulldown_cmark::TagEnd;
use pulldown_cmark::html;

static FOLDER: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/docs/runbooks");

/// Path of the runbook pages; each is below it, by name.
pub const PATH: &str = "/runbooks";

/// Names of all runbooks, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    FOLDER.files().filter_map(|file| file.path().to_str()?.strip_suffix(".md"))
}

/// The runbook that an annotation refers to: by its path on the service (`/runbooks/LongWait`), its file
/// (`docs/runbooks/LongWait.md`) or its name. `None` for anything else, such as a custom URL.
pub fn named(annotation: &str) -> Option<&'static str> {
    let annotation = annotation.trim();
    let name = annotation.strip_prefix("docs").unwrap_or(annotation);
    let name = name.trim_start_matches('/');
    let name = name.strip_prefix("runbooks/").unwrap_or(name);
    let name = name.strip_suffix(".md").unwrap_or(name);
    names().find(|known| *known == name)
}

/// Renders a runbook as an HTML fragment: its title, and its text with the title as the first heading.
///
/// Markup in the text is shown as text, and so is a link that leads neither to another runbook nor to the web.
pub fn as_html(name: &str) -> Option<(String, String)> {
    let text = FOLDER.get_file(format!("{name}.md"))?.contents_utf8()?;
    let title = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or(name);
    Some((title.to_owned(), rendered(text)))
}

fn rendered(text: &str) -> String {
    let mut dropped = Vec::new();
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).filter_map(|event| shown(event, &mut dropped));
    let mut page = String::new();
    html::push_html(&mut page, events);
    page
}

/// Filters an event. `dropped` holds for each open link whether it is left out.
fn shown<'a>(event: Event<'a>, dropped: &mut Vec<bool>) -> Option<Event<'a>> {
    if let Event::Html(markup) | Event::InlineHtml(markup) = event {
        return Some(Event::Text(markup));
    }
    if let Event::Start(Tag::HtmlBlock) = event {
        return Some(Event::Start(Tag::Paragraph));
    }
    if let Event::End(TagEnd::HtmlBlock) = event {
        return Some(Event::End(TagEnd::Paragraph));
    }
    if let Event::Start(Tag::Link { link_type, dest_url, title, id }) = event {
        let target = target(&dest_url);
        dropped.push(target.is_none());
        return Some(Event::Start(Tag::Link { link_type, dest_url: target?, title, id }));
    }
    // Pages load nothing from other sites.
    let is_image = matches!(event, Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image));
    let ends_dropped = matches!(event, Event::End(TagEnd::Link)) && dropped.pop() == Some(true);
    (!is_image && !ends_dropped).then_some(event)
}

/// Target of a runbook's link on the service: all runbooks are in one folder.
fn target(link: &str) -> Option<CowStr<'static>> {
    if link.starts_with("https://") || link.starts_with("http://") {
        return Some(link.to_owned().into());
    }
    named(link).filter(|_| !link.contains('/')).map(CowStr::from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_annotation_names_a_runbook_by_path_file_or_name() {
        for annotation in
            ["/runbooks/LongWait", "runbooks/LongWait", "docs/runbooks/LongWait.md", "LongWait", " LongWait.md "]
        {
            assert_eq!(named(annotation), Some("LongWait"), "{annotation:?}");
        }
        for annotation in ["https://wiki.example/runbooks/LongWait", "docs/LongWait2.md", "ask ada", ""] {
            assert_eq!(named(annotation), None, "{annotation:?}");
        }
    }

    #[test]
    fn every_file_is_embedded_and_every_runbook_has_a_title_and_no_dead_link() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks");
        let there: BTreeSet<String> =
            folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let embedded: BTreeSet<String> = names().map(|name| format!("{name}.md")).collect();
        assert_eq!(embedded, there, "a new file is seen when this one is compiled again: touch src/runbooks.rs");
        for name in names() {
            let (title, page) = as_html(name).unwrap();
            assert!(page.starts_with(&format!("<h1>{title}</h1>")), "{name}: {page}");
            for target in page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(target.starts_with("http") || names().any(|name| name == target), "{name}: {target}");
            }
        }
        assert_eq!(as_html("../BUILD"), None);
    }

    #[test]
    fn markup_becomes_text_and_links_lead_to_runbooks_or_to_the_web() {
        let page = rendered(
            "<script>alert(1)</script>\n\na <b>b</b> & [x](javascript:alert(1)) [y](LongWait.md) [z](../METRICS.md) \
             [w](https://aws.example/) ![i](http://169.254.169.254/)",
        );
        assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("<img"), "{page}");
        assert!(page.contains("&lt;script&gt;") && page.contains("&lt;b&gt;") && page.contains("&amp;"), "{page}");
        assert!(page.contains(r#"x <a href="LongWait">y</a> z <a href="https://aws.example/">w</a>"#), "{page}");
    }
}
