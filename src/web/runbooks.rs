//! Runbooks as pages: static text in the style of the other pages, without scripts.

use axum::extract::Path;
use axum::response::Response;

use crate::runbooks;
use crate::web::error::ApiError;
use crate::web::page::document;

/// One runbook. Links are relative, so that a proxy may serve the page below any path.
pub(super) async fn runbook(Path(name): Path<String>) -> Result<Response, ApiError> {
    let found = runbooks::named(&name).filter(|_| !name.contains('/')).and_then(runbooks::as_html);
    let (title, text) = found.ok_or_else(|| ApiError::not_found("there is no runbook of this name; see /runbooks"))?;
    Ok(page("../", &title, &format!("{text}<p><a href=\"../runbooks\">All runbooks</a></p>\n")))
}

/// All runbooks by name.
pub(super) async fn list() -> Response {
    let item = |name: &str| {
        let title = runbooks::as_html(name).map(|(title, _)| escaped(&title)).unwrap_or_default();
        format!("<li><a href=\"runbooks/{name}\">{name}</a>: {title}</li>\n")
    };
    let items: String = runbooks::names().map(item).collect();
    page("./", "Runbooks", &format!("<h1>Runbooks</h1>\n<ul>\n{items}</ul>\n"))
}

/// `root` is the relative path to the service's root.
fn page(root: &str, title: &str, text: &str) -> Response {
    let script = "<script type=\"module\" src=\"{root}assets/runbook.js\"></script>";
    document(root, &escaped(title), script, "runbook", text)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_TYPE;

    use super::*;

    async fn body(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn each_runbook_is_a_page_and_an_unknown_one_is_not_there() {
        for name in runbooks::names() {
            let response = runbook(Path(name.to_owned())).await.unwrap();
            assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
            let page = body(response).await;
            assert!(page.contains("<h1>") && page.contains("../assets/page.css"), "{page}");
            assert!(body(list().await).await.contains(&format!("href=\"runbooks/{name}\"")));
        }
        assert!(runbook(Path("Nothing".to_owned())).await.is_err());
        assert!(runbook(Path("docs/runbooks/LongWait.md".to_owned())).await.is_err());
    }
}
