"""DuckDB reads the archive of a service: its sums are the service's counters and the simulator's truth, and every documented query runs.

usage: archive.py FOLDER DOCUMENT EXPECTED
"""

import json
import re
import sys
from datetime import datetime

import duckdb

folder, document, expected = sys.argv[1:]
expected = json.load(open(expected))
text = open(document).read()

db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")


def blocks(section):
    return re.findall(r"```sql\n(.*?)```", text.split(f"## {section}\n")[1].split("\n## ")[0], re.S)


# The views are made as the document says.
for view in blocks("DuckDB"):
    for statement in view.replace("PLACE", folder).split(";"):
        if statement.strip():
            db.execute(statement)


def one(query, *arguments):
    return db.execute(query, arguments).fetchone()[0]


# -- Hours sum to the counters
COLUMNS = {
    "gpu.time": ("part", "{}_gpu_seconds"),
    "gpu.cost": ("part", "{}_dollars"),
    "gpu.unallocated.time": ("cause", "unallocated_{}_gpu_seconds"),
    "share.time": ("part", "quota_{}_gpu_seconds"),
    "queue.wait": (None, "wait_seconds"),
    "queue.waiting.time": ("reason", "waiting_{}_seconds"),
    "job.ended": ("outcome", "jobs_{}"),
    "job.failures": ("category", "failed_{}"),
    "job.preemptions": (None, "preemptions"),
    "job.lost": ("cause", "lost_{}_gpu_seconds"),
}
compared = 0
for counter in expected["counters"]:
    if counter["metric"] not in COLUMNS:
        continue
    label, column = COLUMNS[counter["metric"]]
    labels = counter["labels"]
    column = column.format(labels.get(label))
    if "share" in labels:
        found = one(f"SELECT sum({column}) FROM hours WHERE queue = ? AND share = ?", labels["queue"], labels["share"])
    else:
        found = one(f"SELECT sum({column}) FROM hours WHERE queue = ? AND level = 'queue'", labels["queue"])
    assert abs((found or 0.0) - counter["value"]) < 1e-3 * max(1.0, counter["value"] * 1e-6), (counter, column, found)
    compared += 1
assert compared > 50, compared

# -- Jobs are the jobs that ended, once each
truth = {job["id"]: job for job in expected["jobs"]}
rows = {row[0]: row for row in db.execute("SELECT id, gpu_seconds, wait_seconds, outcome, owner, ended_at FROM jobs").fetchall()}
assert one("SELECT count(*) FROM jobs") == len(rows), "each job is in one row"
# What ended before the service began to watch is not its own.
polled = expected["polled"]
watched_since = polled[0]
truth = {job_id: job for job_id, job in truth.items() if job_id in rows or job["stopped_at"] >= watched_since}
missing = [job for job_id, job in truth.items() if job_id not in rows]
others = [row for job_id, row in rows.items() if job_id not in truth]
assert not missing and not others, (len(rows), len(truth), missing[:6], others[:3])


def seconds(job, phases):
    at = lambda text: datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    return sum(at(span["to"]) - at(span["from"]) for span in job["spans"] if span["phase"] in phases)


held = {"scheduled", "starting", "running"}
attempts = sum(1 + job["preemptions"] for job in truth.values())
tolerance = expected["poll_seconds"]
ours = sum(row[1] for row in rows.values())
theirs = sum(seconds(job, held) * job["gpus"] for job in truth.values())
largest = max(job["gpus"] for job in truth.values())
preempted = sum(job["preemptions"] for job in truth.values())
assert abs(ours - theirs) <= tolerance * largest * (preempted + 1), (ours, theirs, preempted)
assert abs(ours - theirs) <= 0.02 * theirs, (ours, theirs)
for job_id, job in truth.items():
    outcome = {"succeeded": "succeeded", "failed": "failed"}[job["status"]]
    assert rows[job_id][3] == outcome, (job, rows[job_id])
    # A job that ended before it was described has no owner.
    assert rows[job_id][4] in (job["tags"].get("owner"), None), (job, rows[job_id])
# On a busy machine polls are late: a job that few of them saw may have ended before it was described.
polls_of = lambda job: sum(job["spans"][0]["from"] <= at <= job["stopped_at"] for at in polled)
with_owner = [job_id for job_id, job in truth.items() if job["tags"].get("owner") and polls_of(job) > 2]
assert len(with_owner) > 100, len(with_owner)
known = [job_id for job_id in with_owner if rows[job_id][4]]
assert len(known) >= 0.95 * len(with_owner), (len(known), len(with_owner))

# -- Every documented query runs and finds something
queries = blocks("Ten queries")
assert len(queries) == 10, len(queries)
for query in queries:
    found = db.execute(query).fetchall()
    assert found, query
    assert any(value is not None for row in found for value in row), query
print(f"{len(rows)} jobs, {compared} counters, {len(queries)} queries")
