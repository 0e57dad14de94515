//! `healthcheck`: asks a running service for its health, for container health checks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use url::Url;

use crate::cli::remote::{Remote, URL_VARIABLE};
use crate::cli::{Failure, load_config, print, print_json};
use crate::config::shown_url;
use crate::outbound::Body;

/// Maximum bytes read of a response.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Timeout; must be below that of the orchestrator.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Check whether a running service is healthy; exits with 0 if so.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example, in an ECS task definition:
  \"healthCheck\": { \"command\": [\"CMD\", \"/trainspotter\", \"healthcheck\"] }
For a service with a configuration file, or with --listen:
  trainspotter healthcheck --config /etc/trainspotter/trainspotter.yaml
  trainspotter healthcheck --url http://127.0.0.1:8080")]
pub(super) struct Arguments {
    /// URL to request; without a path, /healthz is used.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    url: Option<String>,
    /// Use the `listen` address of this configuration: a file, env:NAME or s3://bucket/object. Without --url and
    /// --config, the configuration in the environment variable TRAINSPOTTER_CONFIG is used, else TRAINSPOTTER_URL, else
    /// 127.0.0.1:9464.
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Print the result and the response as JSON.
    #[arg(long)]
    json: bool,
}

/// Environment variable with the configuration, as set in the image.
const CONFIG_VARIABLE: &str = "TRAINSPOTTER_CONFIG";

/// The URL to check, from arguments or environment.
async fn target(arguments: &Arguments) -> Result<Url, Failure> {
    if let Some(url) = &arguments.url {
        let mut url = service("--url", url)?;
        if url.path() == "/" {
            url.set_path("/healthz");
        }
        return Ok(url);
    }
    let of_image = || std::env::var_os(CONFIG_VARIABLE).map(|_| format!("env:{CONFIG_VARIABLE}"));
    let mut address = match (arguments.config.clone().or_else(of_image), Remote::of_environment()) {
        (Some(config), _) => load_config::listen_of(&config).await?,
        (None, Some(url)) => {
            // The variable has the service's base URL, possibly with a path, as for other commands.
            let mut url = service(URL_VARIABLE, &url)?;
            let path = format!("{}/healthz", url.path().trim_end_matches('/'));
            url.set_path(&path);
            return Ok(url);
        }
        (None, None) => SocketAddr::from(([127, 0, 0, 1], 9464)),
    };
    if address.port() == 0 {
        return Err(Failure::usage("`listen` has port 0, which is assigned at start; use --url"));
    }
    // A service on the unspecified address also listens on loopback.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    Url::parse(&format!("http://{address}/healthz")).map_err(Failure::usage)
}

fn service(said_by: &str, url: &str) -> Result<Url, Failure> {
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| Failure::usage(format!("{said_by}: not an http:// or https:// URL")))
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(Failure::failed)?;
    let url = target(arguments).await?;
    let shown = shown_url(url.as_str());
    let answer = client.get(url).send().await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let error = format!("{shown} does not respond: {}", error.without_url());
            if arguments.json {
                print_json(&json!({ "healthy": false, "status": null, "answer": null, "error": error }))?;
            }
            return Err(Failure::failed(error));
        }
    };
    let status = answer.status();
    let body = Body::read(answer, MAX_ANSWER_BYTES).await.map(|body| body.text()).unwrap_or_default();
    if arguments.json {
        let answer = serde_json::from_str(&body).unwrap_or_else(|_| json!(body.trim()));
        print_json(&json!({ "healthy": status.is_success(), "status": status.as_u16(), "answer": answer }))?;
    }
    if arguments.json && status.is_success() {
        Ok(())
    } else if status.is_success() {
        print(format_args!("healthy"))
    } else {
        Err(Failure::failed(format!("unhealthy: {status} {body}")))
    }
}
