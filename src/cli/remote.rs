//! Client for the API of a running service.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::sync::OnceCell;
use url::Url;

use crate::cli::format_api_values::{queue_of, span_several_targets};
use crate::cli::{Failure, unknown_names};
use crate::config::shown_url;
use crate::outbound::Body;

/// Default URL.
const DEFAULT_URL: &str = "http://127.0.0.1:9464";

/// Environment variables for URL and token.
pub(super) const URL_VARIABLE: &str = "TRAINSPOTTER_URL";
pub(super) const TOKEN_VARIABLE: &str = "TRAINSPOTTER_TOKEN";

/// Wall time limit for a response. Test notifications wait for their receivers.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum size of a response: lists are paginated, and a report of a month is less than a hundredth of it.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// Maximum size of a token file.
const MAX_TOKEN_FILE: u64 = 4_096;

/// URL and token of the service.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Remote {
    /// URL of the running service. [default: the environment variable TRAINSPOTTER_URL, or http://127.0.0.1:9464]
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// File with an access token (`api.tokens` of the service's configuration). [default: the token in the environment
    /// variable TRAINSPOTTER_TOKEN, if set]
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Only this account, if the service has several targets.
    #[arg(long, value_name = "ID")]
    pub(super) account: Option<String>,
    /// Only this region, if the service has several targets.
    #[arg(long, value_name = "REGION")]
    pub(super) region: Option<String>,
}

impl Remote {
    /// The URL from the environment.
    pub(super) fn of_environment() -> Option<String> {
        variable(URL_VARIABLE)
    }

    /// Whether the command line or the environment names a service.
    pub(super) fn is_named(&self) -> bool {
        self.url.is_some() || Self::of_environment().is_some()
    }

    /// Creates the client. Makes no request yet.
    pub(super) fn connect(&self) -> Result<Client, Failure> {
        let (text, said_by) = match (&self.url, Self::of_environment()) {
            (Some(url), _) => (url.clone(), "--url"),
            (None, Some(url)) => (url, URL_VARIABLE),
            (None, None) => (DEFAULT_URL.to_owned(), "--url"),
        };
        let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| {
            Failure::usage(format!("{said_by}: not an http:// or https:// URL; write it like {DEFAULT_URL}"))
        })?;
        let token = match &self.token_file {
            Some(file) => Some(token_of(file)?),
            None => variable(TOKEN_VARIABLE),
        };
        if token.as_ref().is_some_and(|token| token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            let place = if self.token_file.is_some() { "--token-file" } else { TOKEN_VARIABLE };
            return Err(Failure::usage(format!("{place}: a token must not contain spaces or line breaks")));
        }
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(Failure::failed)?;
        let place = [("account", self.account.clone()), ("region", self.region.clone())];
        let place = place.into_iter().filter_map(|(label, value)| Some((label, value?))).collect();
        Ok(Client { http, shown: shown_url(url.as_str()), base: url, token, place, place_is_known: Arc::default() })
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn token_of(file: &Path) -> Result<String, Failure> {
    use std::io::Read as _;
    let failed =
        |error: std::io::Error| Failure::usage(format!("--token-file: cannot read {}: {error}", file.display()));
    let mut text = String::new();
    std::fs::File::open(file).map_err(failed)?.take(MAX_TOKEN_FILE).read_to_string(&mut text).map_err(failed)?;
    Ok(text.trim().to_owned())
}

/// Client for a service.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    /// The URL without parts that may be secret.
    shown: String,
    /// Requested account and region; empty for all.
    place: Vec<(&'static str, String)>,
    /// Set once the service has confirmed that it watches them.
    place_is_known: Arc<OnceCell<()>>,
}

impl Client {
    /// The URL as it may be shown.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Response of `GET /api/v1/PATH`.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        if !self.place.is_empty() {
            self.place_is_known.get_or_try_init(|| self.check_place()).await?;
        }
        let mut url = self.address(path)?;
        if !query.is_empty() || !self.place.is_empty() {
            url.query_pairs_mut().extend_pairs(query).extend_pairs(&self.place);
        }
        self.send(self.http.request(Method::GET, url)).await
    }

    /// Refuses an account or region that the service does not watch.
    async fn check_place(&self) -> Result<(), Failure> {
        let health = self.send(self.http.request(Method::GET, self.address(&["health"])?)).await?;
        let targets = health["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (label, value) in &self.place {
            // An account is unknown before the first poll.
            if targets.iter().all(|target| target[*label].is_string()) {
                unknown_names::refuse(&format!("--{label}"), label, value, &unknown_names::known(targets, label))?;
            }
        }
        Ok(())
    }

    /// Rows of `GET /api/v1/PATH`.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let Value::Array(rows) = self.get(&[path], &[]).await? else {
            return Err(self.is_something_else("the response is not a list"));
        };
        Ok(rows)
    }

    /// Rows of `GET /api/v1/PATH` under `list`, page by page until there are `enough`, and whether there are more.
    pub(super) async fn pages(
        &self,
        path: &str,
        query: &[(&str, &str)],
        list: &str,
        enough: usize,
    ) -> Result<(Vec<Value>, bool), Failure> {
        let mut rows = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.extend(after.as_deref().map(|after| ("after", after)));
            let mut page = self.get(&[path], &query).await?;
            let Some(more) = page.get_mut(list).and_then(Value::as_array_mut) else {
                return Err(self.is_something_else(&format!("the response has no list of {list}")));
            };
            let brings_nothing = more.is_empty();
            rows.append(more);
            let next = page["next"].as_str().map(str::to_owned);
            if next.is_some() && (brings_nothing || next == after) {
                return Err(self.is_something_else(&format!("the list of {list} does not end")));
            }
            after = next;
            if after.is_none() || rows.len() >= enough {
                return Ok((rows, after.is_some()));
            }
        }
    }

    /// Response of `POST /api/v1/PATH`.
    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.send(self.http.request(Method::POST, self.address(path)?).json(body)).await
    }

    fn address(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.path_segments_mut()
            .map_err(|()| Failure::usage("--url: a path cannot be appended to this address"))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        Ok(url)
    }

    async fn send(&self, mut request: RequestBuilder) -> Result<Value, Failure> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(|error| self.is_silent(error))?;
        let status = answer.status();
        let text = Body::read(answer, MAX_ANSWER_BYTES).await.map_err(|error| self.is_silent(error))?;
        if !text.is_whole {
            return Err(self.is_something_else(&format!("the response exceeds {MAX_ANSWER_BYTES} bytes")));
        }
        let Ok(body) = serde_json::from_slice::<Value>(&text.bytes) else {
            return Err(self.is_something_else(&format!("it responded with {status} and without JSON")));
        };
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    fn is_silent(&self, error: reqwest::Error) -> Failure {
        let timed_out = error.is_timeout();
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let why = if timed_out { "no response in time".to_owned() } else { cause.to_string() };
        Failure::failed(format!(
            "{} does not respond: {why}\nIs the service running there? Say where it is with --url URL or \
             {URL_VARIABLE}.",
            self.shown
        ))
    }

    pub(super) fn is_something_else(&self, why: &str) -> Failure {
        Failure::failed(format!(
            "what listens at {} is not Trainspotter: {why}\nSay where the service is with --url URL or {URL_VARIABLE}, with its path if \
             it has one.",
            self.shown
        ))
    }

    fn refused(&self, status: StatusCode, body: &Value) -> Failure {
        let Some(message) = body["error"]["message"].as_str() else {
            return self.is_something_else(&format!("it responded with {status} in an unknown format"));
        };
        let how = format!(
            "give a token with {TOKEN_VARIABLE} or --token-file FILE: one of `api.tokens` in the service's configuration"
        );
        match status {
            StatusCode::UNAUTHORIZED if self.token.is_none() => {
                Failure::failed(format!("{} needs a token: {how}", self.shown))
            }
            StatusCode::UNAUTHORIZED => Failure::failed(format!("{} rejected the token: {how}", self.shown)),
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Failure::usage(message),
            StatusCode::NOT_FOUND => Failure::NotFound(message.to_owned()),
            StatusCode::CONFLICT if body["jobs"].is_array() => Failure::failed(several(message, body)),
            _ => Failure::failed(message),
        }
    }
}

/// Formats the candidates as a list; the API's own message is for clients that show it as is.
fn several(message: &str, body: &Value) -> String {
    let jobs = body["jobs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |job: &Value, key: &str| job[key].as_str().unwrap_or("-").to_owned();
    let line = |job: &Value| {
        let queue = queue_of(job, span_several_targets(jobs));
        [text(job, "id"), text(job, "name"), text(job, "state"), queue, text(job, "owner"), text(job, "created_at")]
            .join("  ")
    };
    let title = message.split(": ").next().unwrap_or(message);
    std::iter::once(format!("{title}:")).chain(jobs.iter().map(line)).collect::<Vec<_>>().join("\n  ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn several_jobs_are_listed() {
        let jobs =
            [json!({"id": "a1", "name": "train", "state": "runnable", "queue": "q", "owner": null, "created_at": "t"})];
        let body = json!({"error": {"code": "ambiguous", "message": "2 jobs match \"a\"; give the id of one: a1"}, "jobs": jobs});
        let shown = several(body["error"]["message"].as_str().unwrap(), &body);
        assert_eq!(shown, "2 jobs match \"a\"; give the id of one:\n  a1  train  runnable  q  -  t");
    }

    #[test]
    fn jobs_with_the_same_name_are_told_apart_by_where_they_are() {
        let job =
            |id: &str, region: &str| json!({"id": id, "name": "train", "queue": "q", "account": "1", "region": region});
        let body = json!({"jobs": [job("a1", "us-east-1"), job("b2", "eu-west-1")]});
        let shown = several("2 jobs match \"train\"", &body);
        assert!(shown.contains("a1  train  -  q 1 us-east-1  -  -") && shown.contains("q 1 eu-west-1"), "{shown}");
    }

    #[test]
    fn a_url_is_a_service_and_its_secrets_are_not_shown() {
        let connect = |url: &str| Remote { url: Some(url.to_owned()), ..Remote::default() }.connect();
        let client = connect("https://ann:s3cret@ops.example.com/spot/?k=s3cret").unwrap();
        assert_eq!(client.shown(), "https://ops.example.com");
        assert_eq!(client.address(&["jobs", "a/b"]).unwrap().path(), "/spot/api/v1/jobs/a%2Fb");
        for wrong in ["", "ops.example.com", "localhost:9464", "ftp://ops.example.com", "http://"] {
            assert!(matches!(connect(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
