#!/usr/bin/env python3
"""Lets the service run for many simulated days, with jobs that come and go, viewers of its pages, reloads and faults, and samples once a
simulated hour what it holds.

    cargo build --release
    python3 tests/soak/soak.py target/release/trainspotter --days 30 --jobs-per-day 33400 --speed 600 --out docs/soak

It writes the samples to OUT.csv and a chart of each figure to OUT.svg. The simulated AWS is a process of its own, whose memory is shown beside:
it forgets no job. A run goes through
  - polls every simulated minute, viewers that ask for page after page, and a webhook that takes all notifications;
  - changes of the rules and the configuration, by turns valid and broken: at most one a simulated hour, and each stays for at least CHANGE_SECONDS
    of real time, since the service reads a change twice, some real seconds apart, before it takes effect;
  - every two simulated hours a fault of AWS;
  - SIGKILL and a restart after half a day.
It ends with exit code 1 if the mean of a figure in CHECKED over the last quarter of the samples since the service is full is more than a quarter
above that of the first quarter of them, if any of them is not known, if the service ends, if no viewer or no receiver got anything, or
if no new rules took effect, no broken rules or no broken configuration were refused. The service is full after two days, or when it holds as many ended jobs as it keeps: those of a week, and at most 100,000.
"""

import argparse
import contextlib
import csv
import http.server
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import chart
import workload

PAGES = ["/", "/jobs", "/alerts", "/health", "/metrics", "/api/v1/jobs?limit=500", "/api/v1/queues", "/api/v1/shares", "/api/v1/alerts", "/api/v1/service"]
CHECKED = ["memory_mib", "open_files", "state_mib", "log_mib", "jobs_tracked", "cpu_seconds"]
GROWTH = 1.25
MIN_SAMPLES = 8
KEPT_DAYS, KEPT_JOBS = 7, 100_000
HOUR, DAY = 3_600, 86_400
KILL_AT_HOUR = 12
CHANGE_SECONDS = 20
# What the service logs of changes.
LOGGED = {
    "new rules": "the new rules are in effect",
    "broken rules": "the rule files have errors",
    "broken configurations": "the configuration has errors",
}
TICKS = os.sysconf("SC_CLK_TCK")


def answer(url, path, body=None):
    headers = {"content-type": "application/json"} if body else {}
    with urllib.request.urlopen(urllib.request.Request(url + path, body, headers), timeout=60) as response:
        return response.read()


def look(url, stop, seen):
    """A viewer: asks for page after page, as an open browser does, and counts the answers and the failures."""
    while not stop.is_set():
        for path in PAGES:
            try:
                answer(url, path)
                seen["answers"] += 1
            except OSError:
                seen["failures"] += 1
            stop.wait(1)


def receiver(seen):
    """A webhook that takes everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            seen["notifications"] += 1
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def size_mib(path):
    """Of a file with what SQLite keeps beside it, or of a folder."""
    files = path.rglob("*") if path.is_dir() else path.parent.glob(path.name + "*")
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total / 2**20


def resident_mib(pid):
    status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(status["VmRSS"].split()[0]) / 1024


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def value(metrics, name):
    """The sum of a metric's series; None if it has none."""
    found = [float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith((name + "{", name + " "))]
    return sum(found) if found else None


class Soak:
    """The processes, and what they share."""

    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.rng = random.Random(arguments.seed)
        self.url = f"http://127.0.0.1:{arguments.port}"
        self.aws = f"http://127.0.0.1:{arguments.port + 1}"
        self.seen = {"answers": 0, "failures": 0, "notifications": 0, "faults": 0}
        self.hook = receiver(self.seen)
        self.rate, self.hours, self.process, self.simulator = 50, 0, None, None
        self.changes, self.changed_at = 0, time.monotonic()
        self.write_rules(100)
        self.write_config()

    def write_rules(self, events, more=""):
        (self.folder / "rules.yaml").write_text(workload.RULES.replace("EVENTS", str(events)) + more)

    def write_config(self, more=""):
        log = f"  log: file://{self.folder}/log\n  lease: 10m\n" if self.arguments.log else ""
        (self.folder / "config.yaml").write_text(
            f"targets:\n  - {{ region: us-east-1, endpoint: '{self.aws}', calls_per_second: {self.rate} }}\n"
            f"poll: {{ every: {self.arguments.poll}, utilisation_every: 15m, reconcile_every: 30m }}\n"
            "rules: [rules.yaml]\n"
            f"receivers:\n  - {{ name: hook, webhook: {{ url: 'http://127.0.0.1:{self.hook}/', allow_loopback: true }} }}\n"
            f"store:\n  file: state.db\n{log}"
            f"history: {{ keep: 1d, megabytes: 100 }}\narchive: archive\n{more}"
        )

    def start_simulator(self, trace):
        command = [self.arguments.program, "simulate", "--trace", trace, "--speed", str(self.arguments.speed), "--listen", self.aws.removeprefix("http://")]
        self.simulator = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            if self.simulator.poll() is not None:
                sys.exit(f"the simulator ended with {self.simulator.returncode}: is its port free?")
            with contextlib.suppress(OSError):
                return answer(self.aws, "/_sim/control")
            time.sleep(0.1)

    def start_service(self):
        command = [self.arguments.program, "run", "--config", self.folder / "config.yaml", "--simulator", self.aws, "--listen", self.url.removeprefix("http://")]
        environment = os.environ | {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "RUST_LOG": "error,trainspotter::service::event_loop=info"}
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(self.folder / "stderr").open("ab"), env=environment)

    def simulated_seconds(self):
        return (time.monotonic() - self.began) * self.arguments.speed

    def alive(self):
        if self.process.poll() is not None:
            sys.exit(f"the service ended: {(self.folder / 'stderr').read_text()[-2_000:]}")

    def trouble(self):
        """What happens at the end of an hour."""
        self.hours += 1
        if self.hours == KILL_AT_HOUR:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            # With broken files it would not start.
            self.write_rules(100)
            self.write_config()
            self.changed_at = time.monotonic()
            self.start_service()
            return
        if self.hours % 2 == 0:
            # A simulator on a busy machine may not answer in time.
            with contextlib.suppress(OSError):
                answer(self.aws, "/_sim/faults", json.dumps(workload.faults(self.rng)).encode())
                self.seen["faults"] += 1
        if time.monotonic() - self.changed_at >= CHANGE_SECONDS:
            self.change()

    def change(self):
        """By turns new valid files and a broken one."""
        self.changes, self.changed_at = self.changes + 1, time.monotonic()
        if self.changes % 4 == 2:
            (self.folder / "rules.yaml").write_text(workload.BROKEN)
        elif self.changes % 4 == 0:
            self.write_config("nonsense: [\n")
        else:
            self.write_rules(self.rng.randrange(50, 2_000), workload.ANOTHER if self.rng.random() < 0.5 else "")
            if self.hours < 24:
                # The target restarts: of ended jobs it keeps none, and later the service would never be full.
                self.rate = 101 - self.rate
            self.write_config()

    def unseen(self):
        """The changes that the service never logged."""
        log = (self.folder / "stderr").read_text()
        counts = {what: log.count(text) for what, text in LOGGED.items()}
        print(json.dumps(counts | {"changes": self.changes}))
        return [what for what, count in counts.items() if not count]

    def sample(self):
        began = time.monotonic()
        row = {"day": self.simulated_seconds() / DAY, "jobs_ended": None, "jobs_tracked": None, "poll_interval": None, "metrics_ms": None}
        with contextlib.suppress(OSError):
            metrics = answer(self.url, "/metrics").decode()
            row["metrics_ms"] = (time.monotonic() - began) * 1_000
            row["jobs_ended"] = value(metrics, "trainspotter_job_ended_total")
            row["jobs_tracked"] = value(metrics, "trainspotter_ledger_jobs")
            row["poll_interval"] = value(metrics, "trainspotter_poll_interval_seconds")
        row["memory_mib"] = resident_mib(self.process.pid)
        row["open_files"] = len(os.listdir(f"/proc/{self.process.pid}/fd"))
        row["cpu_total"] = cpu_seconds(self.process.pid)
        state = [file for file in self.folder.iterdir() if file.name.startswith("state") and file.suffix == ".db"]
        row["state_mib"] = sum(map(size_mib, state)) if state else None
        row["log_mib"] = size_mib(self.folder / "log") if self.arguments.log else None
        row["archive_mib"] = size_mib(self.folder / "archive")
        row["simulator_mib"] = resident_mib(self.simulator.pid)
        return row

    def run(self):
        """One row a simulated hour."""
        self.began = time.monotonic()
        self.start_service()
        rows, before, before_pid = [], 0, self.process.pid
        while self.simulated_seconds() < self.arguments.days * DAY:
            wait = (self.hours + 1) * HOUR / self.arguments.speed - (time.monotonic() - self.began)
            time.sleep(max(0, wait))
            self.alive()
            row = self.sample()
            row["cpu_seconds"] = row["cpu_total"] - (before if before_pid == self.process.pid else 0)
            before, before_pid = row["cpu_total"], self.process.pid
            rows.append(row)
            yield rows
            self.trouble()

    def end(self):
        for running in (self.process, self.simulator):
            if running and running.poll() is None:
                running.terminate()
                running.wait()


def write(rows, out, title):
    """Both files, after each row: a run that is stopped leaves what it has."""
    with pathlib.Path(f"{out}.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()} for row in rows)
    pathlib.Path(f"{out}.svg").write_text(chart.svg(rows, title))


def grown(rows, full_after, keys):
    """What has grown by more than it may since the service was full."""
    settled = [row for row in rows if row["day"] >= full_after]
    if len(settled) < MIN_SAMPLES:
        sys.exit(f"too short to judge: {len(settled)} samples since day {full_after:.1f}, and {MIN_SAMPLES} are needed")
    quarter = len(settled) // 4
    found = []
    for key in keys:
        means = []
        for part in (settled[:quarter], settled[-quarter:]):
            known = [row[key] for row in part if row[key] is not None]
            # A page may not answer during a fault, but most do.
            if len(known) * 2 < len(part):
                sys.exit(f"not known in most samples: {key}")
            means.append(sum(known) / len(known))
        print(f"{key}: {means[0]:,.1f} in the first quarter since day {full_after:.1f}, {means[1]:,.1f} in the last")
        if means[1] > GROWTH * means[0]:
            found.append(key)
    return found


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--jobs-per-day", type=float, default=33_400)
    parser.add_argument("--speed", type=float, default=600)
    parser.add_argument("--poll", default="1m", help="interval between polls")
    parser.add_argument("--viewers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", action="store_true", help="keep the state in a log, too; its lease of ten minutes must be real seconds")
    parser.add_argument("--port", type=int, default=19464)
    parser.add_argument("--out", default="soak", help="without the ending")
    return parser.parse_args()


def main():
    chosen = arguments()
    # Ends the processes, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    full_after = max(2, min(KEPT_DAYS, KEPT_JOBS / chosen.jobs_per_day))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        jobs = workload.write_trace(folder / "jobs.csv", chosen.days, chosen.jobs_per_day, chosen.seed)
        soak = Soak(chosen, folder)
        stop, rows = threading.Event(), []
        viewers = [threading.Thread(target=look, args=(soak.url, stop, soak.seen), daemon=True) for _ in range(chosen.viewers)]
        try:
            soak.start_simulator(folder / "jobs.csv")
            for viewer in viewers:
                viewer.start()
            for rows in soak.run():
                row = rows[-1]
                title = f"{row['day']:.1f} simulated days at speed {chosen.speed:g}, {time.strftime('%Y-%m-%d', time.gmtime())}: {row['jobs_ended'] or 0:,.0f} of {jobs:,} jobs ended"
                write(rows, chosen.out, title)
                print(json.dumps({key: round(value, 1) if isinstance(value, float) else value for key, value in row.items()}), flush=True)
        finally:
            stop.set()
            soak.end()
        unseen = soak.unseen()
    print(json.dumps(soak.seen))
    if not (soak.seen["answers"] and soak.seen["notifications"]):
        sys.exit("no viewer got an answer, or no receiver a notification")
    if unseen:
        sys.exit(f"never seen: {', '.join(unseen)}")
    keys = [key for key in CHECKED if key != "log_mib" or chosen.log]
    if found := grown(rows, full_after, keys):
        sys.exit(f"grown by more than {GROWTH - 1:.0%} since day {full_after:.1f}: {', '.join(found)}")


if __name__ == "__main__":
    main()
