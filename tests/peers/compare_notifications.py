"""One rule, three ways to be notified of it, and the same faults: what each of them costs, how late it is, what it loses and doubles.

usage: compare_notifications.py TRAINSPOTTER

Takes 13 minutes of real time and prints the tables of docs/COMPARISON.md. The account is simulated (`trainspotter simulate`), and
everything else is a process of its own:

- `trainspotter run` with the rule and a webhook;
- Prometheus and Alertmanager with the rule as `trainspotter rules export` writes it. What they scrape is a second `trainspotter run`
  without rules, as an exporter of the same figures;
- a script with boto3 that lists jobs, computes the figure and puts it to CloudWatch. CloudWatch itself is modelled here, by what is
  documented: a standard alarm looks at the maximum of each whole minute, missing data changes nothing, and SNS tries a delivery four
  times, 20 s apart. The alarms were made in advance, one for each share.
"""

import datetime
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import boto3

THRESHOLD = 20
POLL = 5
QUEUE = "jobs"
INSTANCE = "ml.p5.4xlarge"
END = 760
#: By share: when a job begins to wait, and when it is terminated, in seconds since the beginning.
EPISODES = {
    "calm-1": (5, 90),
    "calm-2": (12, 95),
    "away-1": (85, 200),
    "away-2": (60, 120),
    "refused-1": (195, 300),
    "refused-2": (165, 310),
    "killed-1": (312, 410),
    "killed-2": (270, 335),
    "cut-1": (400, 500),
}
#: Receivers answer 503 to everything.
AWAY = (100, 160)
#: AWS refuses each list of jobs.
REFUSED = (205, 265)
#: Everything that watches is killed, and started again.
KILLED = (325, 345)
#: How long after being cut off in the middle of a delivery a sender is started again.
RESTART = 5
WAYS = ("trainspotter", "prometheus", "script")
NAMES = {"trainspotter": "Trainspotter", "prometheus": "Prometheus, Alertmanager and an exporter", "script": "boto3 and CloudWatch alarms (modelled)"}

RULE = f"""rules:
  - alert: Waits
    metric: queue.wait.oldest
    by: [queue, share]
    above: {THRESHOLD}s
    no_data: ok
    annotations: {{ summary: "waits" }}
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes what the three send, each at a path of its own."""

    taken = []
    is_away = False
    cut = {}
    lock = threading.Lock()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        way = self.path.strip("/")
        if Receiver.is_away:
            self.send_response(503)
            self.end_headers()
            return
        now = time.time()
        shares = {(alert["labels"]["share"], alert["status"]) for alert in body["alerts"]}
        with Receiver.lock:
            for share, status in sorted(shares):
                Receiver.taken.append((now, way, share, status, self.headers.get("webhook-id")))
            cut = Receiver.cut.pop(way, None) if ("cut-1", "firing") in shares else None
        if cut:
            # It has arrived, and whoever sent it never hears so.
            cut()
            self.connection.close()
            return
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class Way:
    """Some processes that belong together."""

    def __init__(self, commands):
        self.commands = commands
        self.running = {}
        self.cpu = dict.fromkeys(commands, 0.0)
        self.peak = 0
        self.is_over = False
        self.lock = threading.RLock()

    def start(self):
        with self.lock:
            if self.is_over:
                return
            for name, command in self.commands.items():
                self.running[name] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def look(self):
        """Memory now; CPU is read when a process ends."""
        with self.lock:
            self.peak = max(self.peak, self.resident())

    def resident(self):
        resident = 0
        for process in self.running.values():
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            lines = [line for line in status.splitlines() if line.startswith("VmRSS:")]
            resident += sum(int(line.split()[1]) for line in lines)
        return resident

    def kill(self):
        with self.lock:
            for name, process in self.running.items():
                fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
                self.cpu[name] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                process.send_signal(signal.SIGKILL)
            for process in self.running.values():
                process.wait()
            self.running = {}

    def end(self):
        """Kills all of it, for good: nothing starts it again."""
        with self.lock:
            self.is_over = True
            self.kill()


class CloudWatch(threading.Thread):
    """Alarms on what the script has put, by what is documented of them."""

    def __init__(self, data, url):
        super().__init__(daemon=True)
        self.data, self.url = data, url
        self.firing = set()

    def run(self):
        minute = int(time.time()) // 60
        while True:
            time.sleep(max(0.0, (minute + 1) * 60 - time.time()))
            self.evaluate(minute * 60)
            minute += 1

    def evaluate(self, begin):
        most = {}
        for line in self.data.read_text().splitlines() if self.data.exists() else []:
            at, share, age = json.loads(line)
            if begin <= at < begin + 60:
                most[share] = max(most.get(share, 0.0), age)
        for share, age in sorted(most.items()):
            if (age > THRESHOLD) != (share in self.firing):
                (self.firing.add if age > THRESHOLD else self.firing.discard)(share)
                status = "firing" if age > THRESHOLD else "resolved"
                threading.Thread(target=self.deliver, args=(share, status), daemon=True).start()

    def deliver(self, share, status):
        body = {"alerts": [{"status": status, "labels": {"share": share}}]}
        for _ in range(4):
            try:
                post(self.url, body)
                return
            except (urllib.error.URLError, OSError, ValueError):
                time.sleep(20)


def script(endpoint, data):
    """What people write first: the oldest wait of each share, every few seconds."""
    batch = boto3.client("batch", endpoint_url=endpoint)
    cloudwatch = boto3.client("cloudwatch", endpoint_url=endpoint)
    known = set()
    while True:
        began = time.time()
        try:
            oldest = dict.fromkeys(known, 0.0)
            for state in ("SUBMITTED", "PENDING", "RUNNABLE"):
                pages = batch.get_paginator("list_service_jobs").paginate(jobQueue=QUEUE, jobStatus=state)
                for job in pages.search("jobSummaryList[]"):
                    share = job.get("quotaShareName") or job.get("shareIdentifier") or ""
                    oldest[share] = max(oldest.get(share, 0.0), began - job["createdAt"] / 1000)
            known |= set(oldest)
            dimensions = lambda share: [{"Name": "Queue", "Value": QUEUE}, {"Name": "Share", "Value": share}]
            values = [{"MetricName": "OldestWait", "Dimensions": dimensions(share), "Value": age} for share, age in oldest.items()]
            if values:
                cloudwatch.put_metric_data(Namespace="Script", MetricData=values)
            with open(data, "a") as file:
                file.writelines(json.dumps([began, share, age]) + "\n" for share, age in oldest.items())
        except Exception as error:
            print(error, file=sys.stderr)
        time.sleep(max(0.0, POLL - (time.time() - began)))


def prepare(folder, binary, endpoint, receiver):
    """The commands of each way."""
    rules = folder / "rules.yaml"
    rules.write_text(RULE)
    ports = {name: free_port() for name in ("service", "exporter", "prometheus", "alertmanager")}
    poll = f"{{ every: {POLL}s, calls_per_second: 20.0 }}"
    target = f'targets: [{{ region: us-east-1, endpoint: "{endpoint}" }}]\npoll: {poll}\n'
    hook = f'receivers: [{{ name: hook, webhook: {{ url: "{receiver}/trainspotter", allow_loopback: true }} }}]\n'
    (folder / "service.yaml").write_text(f"{target}rules: [rules.yaml]\nstore: {folder}/service.db\n{hook}")
    (folder / "exporter.yaml").write_text(f"{target}rules: []\nstore: {folder}/exporter.db\n")
    exported = subprocess.run([binary, "rules", "export", "--to", "prometheus", rules], check=True, capture_output=True, text=True)
    (folder / "exported.yaml").write_text(exported.stdout)
    (folder / "prometheus.yaml").write_text(json.dumps({
        "global": {"scrape_interval": f"{POLL}s", "evaluation_interval": f"{POLL}s"},
        "rule_files": [f"{folder}/exported.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{ports['alertmanager']}"]}]}]},
        "scrape_configs": [{"job_name": "exporter", "static_configs": [{"targets": [f"127.0.0.1:{ports['exporter']}"]}]}],
    }))
    (folder / "alertmanager.yaml").write_text(json.dumps({
        "route": {"receiver": "hook", "group_by": ["..."], "group_wait": "0s", "group_interval": f"{POLL}s", "repeat_interval": "4h"},
        "receivers": [{"name": "hook", "webhook_configs": [{"url": f"{receiver}/prometheus", "send_resolved": True}]}],
    }))
    run = lambda name: [binary, "run", "--config", f"{folder}/{name}.yaml", "--listen", f"127.0.0.1:{ports[name]}"]
    alertmanager = next(found for found in map(shutil.which, ("prometheus-alertmanager", "alertmanager")) if found)
    data = folder / "data.jsonl"
    commands = {
        "trainspotter": {"service": run("service")},
        "prometheus": {
            "exporter": run("exporter"),
            "prometheus": [
                "prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/tsdb",
                f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
            ],
            "alertmanager": [
                alertmanager, f"--config.file={folder}/alertmanager.yaml", f"--storage.path={folder}/alertmanager",
                f"--web.listen-address=127.0.0.1:{ports['alertmanager']}", "--cluster.listen-address=",
            ],
        },
        "script": {"script": [sys.executable, __file__, "--script", endpoint, str(data)]},
    }
    return commands, data, [f"http://127.0.0.1:{ports[name]}/readyz" for name in ("service", "exporter")]


def measure(binary, folder):
    endpoint_port = free_port()
    endpoint = f"http://127.0.0.1:{endpoint_port}"
    jobs = "".join(f"first-{share},{share},1,0,1\n" for share in EPISODES)
    (folder / "jobs.csv").write_text("job_id,share,num_gpu,submit_s,duration_s\n" + jobs)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    receiver = f"http://127.0.0.1:{server.server_port}"
    commands, data, ready = prepare(folder, binary, endpoint, receiver)
    ways = {name: Way(commands[name]) for name in WAYS}
    simulator = subprocess.Popen(
        [binary, "simulate", "--speed", "1", "--trace", folder / "jobs.csv", "--listen", f"127.0.0.1:{endpoint_port}"],
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: answers(f"{endpoint}/_sim/control"))
        for way in ways.values():
            way.start()
        until(lambda: all(map(answers, ready)))
        CloudWatch(data, f"{receiver}/script").start()
        return ways, play(endpoint, ways)
    finally:
        for way in ways.values():
            way.end()
        simulator.kill()


def until(is_so, patience=120):
    end = time.time() + patience
    while not is_so():
        assert time.time() < end, "it takes too long"
        time.sleep(0.2)


def play(endpoint, ways):
    """Lets everything happen at its time. Returns when it began and when each share's condition began and ended."""
    control = f"{endpoint}/_sim/control"
    began, submitted, truth = time.time(), {}, {}

    def submit(share):
        job = {"queue": QUEUE, "share": share, "instance_type": INSTANCE, "instances": 500, "lasts": "10s"}
        submitted[share] = post(control, {"submit": job})["submitted"][0]
        truth[share] = [time.time() + THRESHOLD, None]

    def terminate(share):
        post(control, {"terminate": {"job": submitted[share], "reason": "the comparison is over"}})
        truth[share][1] = time.time()

    def again(way):
        def cut():
            way.kill()
            threading.Timer(RESTART, way.start).start()
        return cut

    def refuse():
        fault = {"throttle": {"operation": "ListServiceJobs", "for": f"{REFUSED[1] - REFUSED[0]}s"}}
        post(f"{endpoint}/_sim/faults", fault)

    def each(act):
        return lambda: [act(way) for way in ways.values()]

    plan = [(begin, submit, share) for share, (begin, _) in EPISODES.items()]
    plan += [(end, terminate, share) for share, (_, end) in EPISODES.items()]
    plan += [
        (AWAY[0], lambda _: setattr(Receiver, "is_away", True), None),
        (AWAY[1], lambda _: setattr(Receiver, "is_away", False), None),
        (REFUSED[0], lambda _: refuse(), None),
        (KILLED[0], lambda _: each(Way.kill)(), None),
        (KILLED[1], lambda _: each(Way.start)(), None),
        # CloudWatch is no process of ours, and nothing cuts it off; only its answer is lost.
        (399, lambda _: Receiver.cut.update({name: again(ways[name]) for name in WAYS[:2]} | {"script": lambda: None}), None),
        (END, lambda _: None, None),
    ]
    for at, act, share in sorted(plan, key=lambda step: step[0]):
        while time.time() < began + at:
            for way in ways.values():
                way.look()
            time.sleep(min(1.0, max(0.0, began + at - time.time())))
        act(share)
    return began, truth


def of_share(way, share, status):
    return [(at, uid) for at, of, about, was, uid in Receiver.taken if (of, about, was) == (way, share, status)]


def seconds(value):
    return "never" if value is None else f"{value:.0f} s"


def notified(way, share, since):
    """How long after a moment the first notification came."""
    came = [at for at, _ in of_share(way, share, "firing")]
    return max(0.0, min(came) - since) if came else None


def print_tables(ways, began, truth):
    today = datetime.date.today().isoformat()
    print(f"Measured on {today}, polls and evaluations every {POLL} s:\n")
    print("| | " + " | ".join(NAMES[way] for way in WAYS) + " |")
    print("|---|" + "---:|" * len(WAYS))

    def row(title, cell):
        print(f"| {title} | " + " | ".join(cell(way) for way in WAYS) + " |")

    crossed = lambda share: truth[share][0]
    calm = lambda way: [notified(way, share, crossed(share)) for share in ("calm-1", "calm-2")]
    row("notified after the condition started, without faults", lambda way: ", ".join(map(seconds, calm(way))))
    row("receiver down for a minute: after its return", lambda way: seconds(notified(way, "away-1", began + AWAY[1])))
    row("AWS rejects lists for a minute: after its recovery", lambda way: seconds(notified(way, "refused-1", began + REFUSED[1])))
    row("all killed as the condition starts: after the restart", lambda way: seconds(notified(way, "killed-1", began + KILLED[1])))
    row("firings lost", lambda way: str(sum(not of_share(way, share, "firing") for share in EPISODES)))
    more = lambda way, status, count: sum(max(0, count(of_share(way, share, status)) - 1) for share in EPISODES)
    row("firings duplicated", lambda way: str(more(way, "firing", len)))
    distinct = lambda rows: len({uid or at for at, uid in rows})
    row("... with different ids", lambda way: str(more(way, "firing", distinct)))
    row("resolves lost", lambda way: str(sum(bool(of_share(way, share, "firing")) and not of_share(way, share, "resolved") for share in EPISODES)))
    false = lambda way, share: any(at < truth[share][1] for at, _ in of_share(way, share, "resolved"))
    row("false resolves", lambda way: str(sum(false(way, share) for share in EPISODES)))
    row("CPU a minute", lambda way: f"{sum(ways[way].cpu.values()) / END * 60:.2f} s")
    row("... of which", lambda way: ", ".join(f"{name} {cpu / END * 60:.2f}" for name, cpu in ways[way].cpu.items()))
    row("memory at most", lambda way: f"{ways[way].peak / 1024:.0f} MiB")
    print("\nWhat came, in seconds since the beginning:", file=sys.stderr)
    for at, way, share, status, uid in Receiver.taken:
        print(f"{at - began:7.1f} {way} {share} {status} {uid or ''}", file=sys.stderr)


def main():
    if sys.argv[1] == "--script":
        script(*sys.argv[2:])
        return
    with tempfile.TemporaryDirectory() as folder:
        ways, (began, truth) = measure(str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(folder))
        print_tables(ways, began, truth)


if __name__ == "__main__":
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "anybody")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "anything")
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    main()
