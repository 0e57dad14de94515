#!/usr/bin/env python3
"""Lets the demo's service run for many simulated days, with viewers of its pages and with faults, and samples once a simulated hour what it
holds.

    cargo build --release
    python3 tests/soak/soak.py target/release/trainspotter --days 30 --speed 600 --svg docs/soak.svg

The simulated AWS is a process of its own: it keeps every job that there ever was, which is shown beside. It ends with exit code 1 if the
mean of the service's memory, open files or state file over the last quarter of the samples since the second simulated day is more than a quarter
above that of the first quarter of them, if any of them is not known, or if no viewer got an answer. Jobs are made for sixty days at most.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

# Jobs are made in advance; a few calls are refused at any time.
SCENARIO = """\
workload: { length: DAYSd, load: LOAD, rhythm: calendar }
faults:
  throttle: { operation: ListServiceJobs, probability: 0.03 }
  server_error: { operation: DescribeServiceJob, probability: 0.02 }
"""
PAGES = ["/", "/jobs", "/alerts", "/health", "/metrics", "/api/v1/jobs?limit=500", "/api/v1/queues", "/api/v1/alerts", "/api/v1/service"]
GROWTH = 1.25
SETTLED_AFTER_DAYS = 2
MAX_DAYS = 59
MIN_SAMPLES = 8


def answer(url, path):
    with urllib.request.urlopen(url + path, timeout=60) as response:
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


def size(path):
    """Of a file with what SQLite keeps beside it, or of a folder."""
    path = pathlib.Path(path)
    files = path.rglob("*") if path.is_dir() else path.parent.glob(path.name + "*")
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def resident_mib(pid):
    status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(status["VmRSS"].split()[0]) / 1024


def sample(pid, archive):
    files = []
    for descriptor in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            files.append(os.readlink(descriptor))
    state = next((file for file in files if file.endswith(".db")), None)
    return {
        "memory_mib": resident_mib(pid),
        "open_files": len(files),
        "state_mib": size(state) / 2**20 if state else None,
        "archive_mib": size(archive) / 2**20,
    }


def until_served(url, process):
    """Waits until something answers there."""
    while True:
        if process.poll() is not None:
            sys.exit(f"the simulator ended with {process.returncode}: is its port free?")
        with contextlib.suppress(OSError):
            return answer(url, "")
        time.sleep(0.1)


def value(metrics, name):
    """The sum of a metric's series; None if it has none."""
    found = [float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith((name + "{", name + " "))]
    return sum(found) if found else None


def chart(samples, key, top, title):
    """One line over the days, from zero up."""
    points = [(row["day"], row[key]) for row in samples if row[key] is not None]
    if not points:
        return ""
    days, most = max(1, samples[-1]["day"]), max(value for _, value in points) * 1.1 or 1
    at = lambda day, value: f"{60 + day / days * 760:.1f} {top + 90 - value / most * 80:.1f}"
    line = "M" + "L".join(at(day, value) for day, value in points)
    return (
        f'<text x="60" y="{top}" fill="#222">{title}: at most {max(value for _, value in points):,.1f}, in the end {points[-1][1]:,.1f}</text>\n'
        f'<path d="M60 {top + 90}H820" stroke="#ddd"/><path d="{line}" fill="none" stroke="#2563eb" stroke-width="1.5"/>\n'
    )


def svg(samples, title):
    charts = [("memory_mib", "Resident memory of the service, MiB"), ("simulator_mib", "... of the simulator, which forgets no job, MiB"), ("open_files", "Open files"), ("state_mib", "State file, MiB"),
              ("archive_mib", "Archive, MiB"), ("poll_interval", "Simulated seconds between polls")]
    body = "".join(chart(samples, key, 60 + 125 * row, name) for row, (key, name) in enumerate(charts))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 805" font-family="sans-serif" font-size="12">\n<rect width="860" height="805" fill="#fff"/>\n'
        f'<text x="60" y="28" font-size="14" fill="#222">{title}</text>\n{body}</svg>\n'
    )


def grown(samples):
    """What has grown by more than it may since it has settled."""
    settled = [row for row in samples if row["day"] >= SETTLED_AFTER_DAYS]
    if len(settled) < MIN_SAMPLES:
        sys.exit(f"too short to judge: {len(settled)} samples since day {SETTLED_AFTER_DAYS}, and {MIN_SAMPLES} are needed")
    quarter = len(settled) // 4
    keys = ["memory_mib", "open_files", "state_mib"]
    if unknown := [key for key in keys if any(row[key] is None for row in settled)]:
        sys.exit(f"not known in every sample: {', '.join(unknown)}")
    mean = lambda rows, key: sum(row[key] for row in rows) / len(rows)
    return [key for key in keys if mean(settled[-quarter:], key) > GROWTH * mean(settled[:quarter], key)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--speed", type=float, default=600)
    parser.add_argument("--load", type=float, default=1)
    parser.add_argument("--viewers", type=int, default=4)
    parser.add_argument("--port", type=int, default=19464)
    parser.add_argument("--svg")
    arguments = parser.parse_args()
    if not 0 < arguments.days <= MAX_DAYS:
        parser.error(f"--days: up to {MAX_DAYS}, for which there are jobs")
    seconds = arguments.days * 86_400 / arguments.speed
    length = str(int(arguments.days) + 1)
    text = SCENARIO.replace("DAYS", length).replace("LOAD", f"{arguments.load:g}")
    folder = tempfile.TemporaryDirectory()
    scenario, archive, log = (pathlib.Path(folder.name) / name for name in ("scenario.yaml", "archive", "log"))
    scenario.write_text(text)
    url = f"http://127.0.0.1:{arguments.port}"
    aws = f"127.0.0.1:{arguments.port + 1}"
    simulate = [arguments.program, "simulate", "--scenario", scenario, "--speed", str(arguments.speed), "--listen", aws]
    simulator = subprocess.Popen(simulate, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    processes = [simulator]
    stop, samples, seen = threading.Event(), [], {"answers": 0, "failures": 0}
    viewers = [threading.Thread(target=look, args=(url, stop, seen), daemon=True) for _ in range(arguments.viewers)]
    try:
        until_served(f"http://{aws}/_sim/control", simulator)
        command = [arguments.program, "demo", "--simulator", f"http://{aws}", "--archive", archive, "--listen", f"127.0.0.1:{arguments.port}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log.open("wb"))
        processes.insert(0, process)
        began = time.monotonic()
        for viewer in viewers:
            viewer.start()
        while (elapsed := time.monotonic() - began) < seconds:
            time.sleep(max(1, 3_600 / arguments.speed))
            if process.poll() is not None:
                sys.exit(f"the service ended: {log.read_text()[-2_000:]}")
            row = sample(process.pid, archive) | {"day": elapsed * arguments.speed / 86_400, "poll_interval": None, "jobs": None}
            row["simulator_mib"] = resident_mib(simulator.pid)
            with contextlib.suppress(OSError):
                metrics = answer(url, "/metrics").decode()
                row["poll_interval"] = value(metrics, "trainspotter_poll_interval_seconds")
                row["jobs"] = value(metrics, "trainspotter_job_ended_total")
            samples.append(row)
            print(json.dumps(row), flush=True)
            if arguments.svg:
                title = f"{row['day']:.1f} simulated days at speed {arguments.speed:g}, {time.strftime('%Y-%m-%d', time.gmtime())}"
                title += f": {row['jobs']:,.0f} jobs ended" if row["jobs"] else ""
                pathlib.Path(arguments.svg).write_text(svg(samples, title))
    finally:
        stop.set()
        for running in processes:
            running.terminate()
            running.wait()
        folder.cleanup()
    print(json.dumps({"viewers": seen}))
    if seen["answers"] == 0:
        sys.exit("no viewer got an answer")
    if found := grown(samples):
        sys.exit(f"grown by more than {GROWTH - 1:.0%} since day {SETTLED_AFTER_DAYS}: {', '.join(found)}")


if __name__ == "__main__":
    main()
