"""Makes a cluster that nobody has, minute by minute, and integrates its figures the plain way: one minute after the other.

    python3 make.py            writes minutes.csv and expected.csv beside this file, the same ones each time
    python3 make.py --check    fails if they are others
"""

import csv
import io
import pathlib
import random
import sys

SEED = 20
DAYS = 3
MINUTES = DAYS * 24 * 60
# Each virtual cluster has a quota of its own, and more work than it takes now and then.
CLUSTERS = {"vision": 64, "speech": 24, "language": 96, "robots": 8}
ROWS = ["time", "vc", "quota_gpus", "running_gpus", "pending_gpus", "pending_gpu_jobs"]
FIGURES = ["vc", "pending_gpu_job_minutes", "pending_gpu_minutes", "idle_gpu_hours", "idle_while_pending_gpu_hours", "mean_util"]


def work(dice, quota):
    """The minutes of one cluster: GPUs that run, GPUs that are asked for in vain, and by how many jobs. First come, first served."""
    running, waiting, minutes = [], [], []
    for minute in range(MINUTES):
        running = [(ends, gpus) for ends, gpus in running if ends > minute]
        busy_hours = 9 <= minute // 60 % 24 < 19
        if dice.random() < (0.05 if busy_hours else 0.012) * quota / 64:
            gpus = min(quota, dice.choice([1, 1, 2, 4, 8, 8, 16, 32]))
            waiting.append((max(1, int(dice.lognormvariate(4.2, 1.3))), gpus))
        # The first in line holds up all behind it, though they would fit.
        while waiting and sum(gpus for _, gpus in running) + waiting[0][1] <= quota:
            minutes_long, gpus = waiting.pop(0)
            running.append((minute + minutes_long, gpus))
        minutes.append((sum(gpus for _, gpus in running), sum(gpus for _, gpus in waiting), len(waiting)))
    return minutes


def changes(clusters):
    rows = []
    for minute in range(MINUTES):
        for name, minutes in clusters.items():
            if minute == 0 or minutes[minute] != minutes[minute - 1]:
                time = f"2020-05-{minute // 1440 + 1:02} {minute // 60 % 24:02}:{minute % 60:02}:00"
                rows.append([time, name, CLUSTERS[name], *minutes[minute]])
    return rows


def expected(clusters):
    for name, minutes in clusters.items():
        quota = CLUSTERS[name]
        idle = sum(quota - running for running, _, _ in minutes)
        idle_while_pending = sum(quota - running for running, _, jobs in minutes if jobs)
        used = sum(running for running, _, _ in minutes)
        yield [
            name,
            sum(jobs for _, _, jobs in minutes),
            sum(gpus for _, gpus, _ in minutes),
            f"{idle / 60:.1f}",
            f"{idle_while_pending / 60:.1f}",
            f"{used / (quota * MINUTES):.4f}",
        ]


def text(header, rows):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def main():
    dice = random.Random(SEED)
    clusters = {name: work(dice, quota) for name, quota in CLUSTERS.items()}
    files = {"minutes.csv": text(ROWS, changes(clusters)), "expected.csv": text(FIGURES, expected(clusters))}
    for name, made in files.items():
        path = pathlib.Path(__file__).parent / name
        if "--check" not in sys.argv[1:]:
            path.write_text(made)
        elif path.read_text() != made:
            sys.exit(f"{path} is not what this program makes")


main()
