//! Cost of a thousand rules over ten thousand series, here and in Prometheus: `cargo bench --bench rules_against_prometheus`.
//!
//! Prometheus scrapes the same frame that the evaluator uses, and evaluates the same rules as exported by
//! `rules export`. Both are measured in CPU time; Prometheus' time without rules, including scrapes, is subtracted.
//! Without Prometheus (Debian's package) only the evaluator is measured.

#![expect(clippy::disallowed_methods, reason = "a measurement of real time")]

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use trainspotter::publish::{PROMETHEUS_CONTENT_TYPE, prometheus_text};
use trainspotter_core::metrics::catalogue::QUEUE_WAIT_OLDEST;
use trainspotter_core::metrics::{Frame, Sample, SourceHealth, Value, labels};
use trainspotter_core::model::{Source, Timestamp};
use trainspotter_core::rules::{ActiveAlerts, Rule, export, parse_rules};

const RULES: usize = 1_000;
const QUEUES: usize = 100;
const SHARES: usize = 100;
/// Ticks of the evaluator; the first ones, in which alerts are created, do not count.
const TICKS: u32 = 20;
/// Measurement time of Prometheus, without and with rules.
const WATCH: Duration = Duration::from_secs(15);
/// Timeout for its start and first scrape.
const PATIENCE: Duration = Duration::from_secs(60);
/// Clock ticks per second of CPU time, as Linux reports it.
const CLOCK: f64 = 100.0;

/// Series that the rules look at.
#[derive(Clone, Copy)]
enum Case {
    /// Each rule looks at one queue, a hundred series.
    OneQueueEach,
    /// Each rule looks at every series.
    Everything,
}

fn main() -> Result<(), Box<dyn Error>> {
    let frame = frame();
    let mut out = io::stdout().lock();
    writeln!(out, "| {RULES} rules, {} series | ms a tick here | ms in Prometheus | ratio |", frame.samples.len())?;
    writeln!(out, "|---|---:|---:|---:|")?;
    for case in [Case::OneQueueEach, Case::Everything] {
        let text = rule_file(case);
        let rules = parse_rules("rules.yaml", &text)?;
        let ours = ours(&rules, frame.clone())?;
        let theirs = theirs(&rules, &frame)?;
        let name = match case {
            Case::OneQueueEach => "each about one queue",
            Case::Everything => "each about all series",
        };
        match theirs {
            Some(theirs) => writeln!(out, "| {name} | {ours:.1} | {theirs:.0} | {:.0} |", theirs / ours)?,
            None => writeln!(out, "| {name} | {ours:.1} | not installed | |")?,
        }
    }
    Ok(())
}

/// One series for every share of every queue; a hundredth of them exceed the thresholds.
fn frame() -> Frame {
    let mut samples = Vec::new();
    for index in 0..QUEUES * SHARES {
        let (queue, share) = (format!("queue-{}", index / SHARES), format!("share-{}", index % SHARES));
        let labels = labels([("queue", queue.into()), ("share", share.into())]);
        let value = Value::Gauge((index * 7_919 % 3_600) as f64);
        samples.push(Sample { metric: &QUEUE_WAIT_OLDEST, labels, value });
    }
    let health = |source| SourceHealth { source, age_seconds: Some(1.0), error: None, note: None, failing: [].into() };
    Frame { samples, sources: Source::ALL.into_iter().map(health).collect(), ..Frame::default() }
}

fn rule_file(case: Case) -> String {
    let mut text = "rules:\n".to_owned();
    for index in 0..RULES {
        let filter = match case {
            Case::OneQueueEach => format!("where: {{ queue: queue-{} }}, ", index % QUEUES),
            Case::Everything => String::new(),
        };
        let _ = writeln!(
            text,
            "  - {{ alert: R{index}, metric: queue.wait.oldest, by: [queue, share], {filter}above: {}s, for: 5m, \
             annotations: {{ summary: waits }} }}",
            3_564 + index % 7,
        );
    }
    text
}

/// Milliseconds of CPU per tick here.
fn ours(rules: &[Rule], mut frame: Frame) -> io::Result<f64> {
    let mut book = ActiveAlerts::default();
    let mut began = 0.0;
    for tick in 0..2 * TICKS {
        if tick == TICKS {
            began = cpu_seconds("self")?;
        }
        frame.at = Timestamp::default() + Duration::from_secs(30) * tick;
        book.step(rules, &frame, frame.at);
    }
    Ok((cpu_seconds("self")? - began) * 1e3 / f64::from(TICKS))
}

/// Milliseconds of CPU per evaluation of all rules in Prometheus, if it is installed.
fn theirs(rules: &[Rule], frame: &Frame) -> Result<Option<f64>, Box<dyn Error>> {
    if Command::new("prometheus").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return Ok(None);
    }
    let folder = tempfile::tempdir()?;
    let target = serve(prometheus_text(&[std::sync::Arc::new(frame.clone())]))?;
    let idle = watch(folder.path(), target, "")?.seconds_of_cpu;
    // At the shortest interval, so that it evaluates as often as possible; Prometheus skips evaluations that are due
    // too early.
    let exported = export::prometheus(rules, Duration::from_secs(1)).text;
    let busy = watch(folder.path(), target, &exported)?;
    Ok(Some((busy.seconds_of_cpu - idle) * 1e3 / busy.rounds))
}

struct Watched {
    seconds_of_cpu: f64,
    /// Evaluations of all rules.
    rounds: f64,
}

/// Runs Prometheus with these rules and measures it.
fn watch(folder: &Path, target: u16, rules: &str) -> Result<Watched, Box<dyn Error>> {
    let named = if rules.is_empty() { "" } else { "rule_files: [rules.yaml]\n" };
    fs::write(folder.join("rules.yaml"), rules)?;
    fs::write(
        folder.join("prometheus.yml"),
        format!(
            "{named}scrape_configs:\n- job_name: trainspotter\n  scrape_interval: 5s\n  static_configs:\n  \
             - targets: ['127.0.0.1:{target}']\n"
        ),
    )?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = Running(
        Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let series = (QUEUES * SHARES) as f64;
    let began = Instant::now();
    while figure(port, "prometheus_tsdb_head_series").unwrap_or_default() < series {
        if began.elapsed() > PATIENCE {
            return Err("Prometheus scraped nothing".into());
        }
        thread::sleep(Duration::from_millis(200));
    }
    thread::sleep(Duration::from_secs(2));
    let pid = server.0.id().to_string();
    let rounds = || figure(port, "prometheus_rule_evaluations_total").unwrap_or_default() / RULES as f64;
    let before = (cpu_seconds(&pid)?, rounds());
    thread::sleep(WATCH);
    Ok(Watched { seconds_of_cpu: cpu_seconds(&pid)? - before.0, rounds: rounds() - before.1 })
}

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves a page to any client for the life of this process.
fn serve(page: String) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut request = BufReader::new(&stream);
            while request.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let length = page.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: {PROMETHEUS_CONTENT_TYPE}\r\ncontent-length: {length}\r\n\
                 connection: close\r\n\r\n{page}"
            );
        }
    });
    Ok(port)
}

/// The first of Prometheus' own figures with this name.
fn figure(port: u16, name: &str) -> Option<f64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    let line = page.lines().find(|line| line.starts_with(name))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// CPU seconds used by a process so far.
fn cpu_seconds(pid: &str) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The process name, in parentheses, may contain spaces.
    let fields = text.rsplit_once(')').map(|(_, fields)| fields.split_whitespace()).into_iter().flatten();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / CLOCK)
}
