//! From what the file says to what the service runs on, with every mistake at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use crate::config::address;
use crate::config::file::{self, File};
use crate::config::{
    CloudWatch, Config, History, LogFormat, Otlp, OtlpProtocol, Poll, Publish, Reserved, Secret, Target,
};
use trainspotter_core::model::{InstanceType, MAX_PRICE, Prices, PriorityBands, SharesShown, accelerators_of};
use trainspotter_core::yaml::{Document, Problem, Problems};

/// Priority bands, at most.
const MOST_BANDS: usize = 10;

/// As long as figures take a utilisation for the present one.
const UTILISATION_AT_MOST: Duration = Duration::from_secs(900);

/// Finds the value of an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(super) fn check(
    document: &Document<File>,
    folder: &Path,
    environment: Environment<'_>,
) -> Result<Config, Problems> {
    let mut check = Check { document, environment, problems: Vec::new() };
    let file = &document.value;
    let config = Config {
        targets: check.targets(&file.targets),
        poll: check.poll(&file.poll),
        publish: check.publish(&file.publish),
        prices: check.prices(&file.prices),
        shares: check.shares(&file.shares),
        priority_bands: check.priority_bands(&file.priority_bands),
        rules: file.rules.iter().map(|path| folder.join(path)).collect(),
        receivers: check.receivers(&file.receivers, &file.inhibit),
        store: check.store(&file.store, folder),
        history: check.history(&file.history),
        listen: check.listen(&file.listen),
        external_url: check.external_url(file.external_url.as_deref()),
        log: match file.log {
            file::Log::Json => LogFormat::Json,
            file::Log::Pretty => LogFormat::Pretty,
        },
        traces: file.traces.as_deref().and_then(|url| check.outgoing("traces", url)).map(|url| url.to_string()),
    };
    document.conclude(check.problems)?;
    Ok(config)
}

pub(super) struct Check<'a> {
    document: &'a Document<File>,
    environment: Environment<'a>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    pub(super) fn problem(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(self.document.problem(path, message));
    }

    fn targets(&mut self, targets: &[file::Target]) -> Vec<Target> {
        if targets.is_empty() {
            self.problem("targets", "there is no target; name at least a region to watch");
        }
        if targets.len() > 1 {
            let message = "one process watches one target for now; run one service for each";
            self.problem("targets[1]", message);
        }
        let mut checked = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            let at = |key: &str| format!("targets[{index}].{key}");
            if !is_region(&target.region) {
                let message = format!("`{}` is not a region; write it like us-east-1", target.region);
                self.problem(&at("region"), message);
            }
            if let Some(role) = &target.role {
                self.role(&at("role"), role);
            }
            if let Some(endpoint) = &target.endpoint {
                self.outgoing(&at("endpoint"), endpoint);
            }
            if let Some(events) = &target.events {
                self.outgoing(&at("events"), events);
            }
            if target.queues.iter().all(|glob| glob.is_empty()) {
                self.problem(&at("queues"), "no queue can match; leave `queues` out to watch all");
            }
            for (instance_type, code) in &target.quotas {
                let digits = code.strip_prefix("L-").unwrap_or_default();
                if digits.len() != 8 || !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
                    let path = format!("{}.{instance_type}", at("quotas"));
                    self.problem(
                        &path,
                        "not the code of a quota; write it as Service Quotas shows it, like L-0123ABCD",
                    );
                }
            }
            checked.push(Target {
                region: target.region.clone(),
                role: target.role.clone(),
                endpoint: target.endpoint.clone(),
                queues: target.queues.clone(),
                events: target.events.clone(),
                reserved: Reserved {
                    training_plans: target.reserved.training_plans,
                    warm_pools: target.reserved.warm_pools,
                },
                quotas: target.quotas.clone(),
            });
        }
        checked
    }

    fn poll(&mut self, poll: &file::Poll) -> Poll {
        let least = [
            ("every", poll.every, 5),
            ("topology_every", poll.topology_every, 30),
            ("reconcile_every", poll.reconcile_every, 60),
            ("utilisation_every", poll.utilisation_every, 60),
        ];
        for (key, given, least) in least {
            self.at_least(&format!("poll.{key}"), given.0, Duration::from_secs(least));
        }
        if poll.utilisation_every.0 > UTILISATION_AT_MOST {
            let message = "must be at most 15m: older utilisation says nothing of the GPUs now";
            self.problem("poll.utilisation_every", message);
        }
        if !(0.1..=100.0).contains(&poll.calls_per_second) {
            self.problem("poll.calls_per_second", "must lie between 0.1 and 100");
        }
        Poll {
            every: poll.every.0,
            topology_every: poll.topology_every.0,
            reconcile_every: poll.reconcile_every.0,
            utilisation_every: poll.utilisation_every.0,
            calls_per_second: poll.calls_per_second,
        }
    }

    fn shares(&mut self, shares: &file::Shares) -> SharesShown {
        if !(1..=10_000).contains(&shares.most) {
            self.problem("shares.most", "must lie between 1 and 10000");
        }
        SharesShown { show: shares.show.clone(), most: shares.most }
    }

    fn priority_bands(&mut self, bands: &BTreeMap<String, i32>) -> PriorityBands {
        if bands.len() > MOST_BANDS {
            self.problem(
                "priority_bands",
                format!("must be {MOST_BANDS} bands at most: each has series for every share"),
            );
        }
        let mut taken: BTreeMap<i32, &str> = BTreeMap::new();
        for (name, lowest) in bands {
            let path = format!("priority_bands[{name}]");
            if name.is_empty() || name == "other" {
                self.problem(&path, "must have a name, and not `other`: that is where all other jobs are");
            }
            if !(0..=9_999).contains(lowest) {
                self.problem(&path, "must begin at a priority from 0 to 9999");
            }
            if let Some(other) = taken.insert(*lowest, name) {
                self.problem(&path, format!("begins at the same priority as `{other}`"));
            }
        }
        PriorityBands::new(bands.iter().map(|(name, lowest)| (name.as_str(), *lowest)))
    }

    fn prices(&mut self, prices: &BTreeMap<String, f64>) -> Prices {
        for (instance_type, dollars) in prices {
            let path = format!("prices[{instance_type}]");
            if !(0.0..=MAX_PRICE).contains(dollars) {
                self.problem(&path, "is not a price; write dollars per hour like 98.32");
            } else if accelerators_of(&InstanceType::from(instance_type.as_str())).is_none() {
                let message = "is no instance type that this build knows; training jobs' types begin with ml.";
                self.problem(&path, message);
            }
        }
        prices.iter().map(|(instance_type, dollars)| (InstanceType::from(instance_type.as_str()), *dollars)).collect()
    }

    fn publish(&mut self, publish: &file::Publish) -> Publish {
        let cloudwatch = publish.cloudwatch.as_ref().map(|cloudwatch| {
            let namespace = &cloudwatch.namespace;
            if namespace.is_empty() || namespace.len() > 255 || namespace.starts_with("AWS/") {
                let message = "must have 1 to 255 characters and not begin with AWS/";
                self.problem("publish.cloudwatch.namespace", message);
            }
            self.at_least("publish.cloudwatch.every", cloudwatch.every.0, Duration::from_secs(10));
            let at = |key: &str| format!("publish.cloudwatch.{key}");
            if let Some(region) = cloudwatch.region.as_ref().filter(|region| !is_region(region)) {
                self.problem(&at("region"), format!("`{region}` is not a region; write it like us-east-1"));
            }
            if let Some(role) = &cloudwatch.role {
                self.role(&at("role"), role);
            }
            if let Some(endpoint) = &cloudwatch.endpoint {
                self.outgoing(&at("endpoint"), endpoint);
            }
            CloudWatch {
                namespace: namespace.clone(),
                every: cloudwatch.every.0,
                region: cloudwatch.region.clone(),
                role: cloudwatch.role.clone(),
                endpoint: cloudwatch.endpoint.clone(),
            }
        });
        let otlp = publish.otlp.iter().enumerate().map(|(index, otlp)| self.otlp(index, otlp)).collect();
        Publish { cloudwatch, otlp }
    }

    fn otlp(&mut self, index: usize, otlp: &file::Otlp) -> Otlp {
        let at = format!("publish.otlp[{index}]");
        self.outgoing(&format!("{at}.endpoint"), &otlp.endpoint);
        let headers = otlp.headers.iter();
        Otlp {
            endpoint: otlp.endpoint.clone(),
            protocol: match otlp.protocol {
                file::Protocol::Http => OtlpProtocol::Http,
                file::Protocol::Grpc => OtlpProtocol::Grpc,
            },
            headers: headers
                .map(|(name, value)| (name.clone(), Secret::new(self.filled(&format!("{at}.headers.{name}"), value))))
                .collect(),
        }
    }

    fn store(&mut self, store: &str, folder: &Path) -> PathBuf {
        if store.is_empty() {
            self.problem("store", "a path is needed");
        }
        folder.join(store)
    }

    fn history(&mut self, history: &file::History) -> History {
        if !(1..=100_000).contains(&history.megabytes) {
            self.problem("history.megabytes", "must lie between 1 and 100000");
        }
        History { keep: history.keep.0, at_most: u64::from(history.megabytes) * 1_000_000 }
    }

    fn listen(&mut self, listen: &str) -> std::net::SocketAddr {
        listen.parse().unwrap_or_else(|_| {
            let message = format!("`{listen}` is not an address; write it like 127.0.0.1:9464");
            self.problem("listen", message);
            std::net::SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn external_url(&mut self, url: Option<&str>) -> Option<String> {
        let url = self.http_url("external_url", url?)?;
        Some(url.as_str().trim_end_matches('/').to_owned())
    }

    pub(super) fn at_least(&mut self, path: &str, given: Duration, least: Duration) {
        if given < least {
            self.problem(path, format!("must be at least {}", humantime::format_duration(least)));
        }
    }

    pub(super) fn role(&mut self, path: &str, role: &str) {
        if !(role.starts_with("arn:") && role.contains(":role/")) {
            self.problem(path, "not the ARN of a role; write it like arn:aws:iam::111122223333:role/Name");
        }
    }

    /// The URL of something that the service calls: on this machine too, but never where credentials are served.
    pub(super) fn outgoing(&mut self, path: &str, text: &str) -> Option<Url> {
        let url = self.http_url(path, text)?;
        if let Some(refusal) = address::literal(&url).and_then(|ip| address::refusal(ip, true)) {
            self.problem(path, format!("nothing is sent there: {refusal}"));
        }
        Some(url)
    }

    /// Does not show the text: it may hold a secret.
    pub(super) fn http_url(&mut self, path: &str, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if url.is_none() {
            self.problem(path, "not an http:// or https:// URL");
        }
        url
    }

    /// Fills in `${NAME}` from the environment and `${file:/path}` from a file; `$${` stands for `${`.
    pub(super) fn filled(&mut self, path: &str, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, after) = (&rest[..at], &rest[at + 2..]);
            if let Some(escaped) = before.strip_suffix('$') {
                filled.push_str(escaped);
                filled.push_str("${");
                rest = after;
                continue;
            }
            filled.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                self.problem(path, "`${` without `}`; write $${ for the characters themselves");
                return filled;
            };
            match name.strip_prefix("file:").map(std::fs::read_to_string) {
                // Files of secrets end with a line feed that is not meant.
                Some(Ok(value)) => filled.push_str(value.trim_end_matches(['\r', '\n'])),
                Some(Err(error)) => self.problem(path, format!("the file of {name} cannot be read: {error}")),
                None => match (self.environment)(name) {
                    Some(value) => filled.push_str(&value),
                    None => self.problem(path, format!("the environment variable {name} is not set")),
                },
            }
            rest = after;
        }
        filled + rest
    }
}

/// `us-east-1`, `us-gov-west-1`, `ap-southeast-2`.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.split_last().is_some_and(|(last, words)| {
        words.len() >= 2
            && last.chars().all(|c| c.is_ascii_digit())
            && !last.is_empty()
            && words.iter().all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase()))
    })
}
