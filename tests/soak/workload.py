"""A trace of jobs for the simulator, and the faults and changes that happen meanwhile."""

import random

DAY = 86_400
SHARES = ["language", "vision", "speech", "evaluation"]
MEAN_RUN, MEAN_WAIT = 900, 600
MAX_RUN, MAX_WAIT = 6 * 3_600, 4 * 3_600
FAILING = 0.05

RULES = """\
rules:
  - { alert: LongWait, metric: queue.wait.oldest, by: [queue, share], above: 30m, recover: 20m, for: 5m, labels: { severity: warning }, annotations: { summary: "{{ value }}" } }
  - { alert: ManyEnded, metric: job.ended, increase: 1h, by: [queue], fold: sum, above: EVENTS, labels: { severity: info }, annotations: { summary: "{{ value }} jobs ended" } }
  - { alert: Failures, metric: job.failures, increase: 1h, by: [queue, share], fold: sum, above: 3, labels: { severity: warning }, annotations: { summary: "{{ value }} failures" } }
"""
ANOTHER = '  - { alert: Another, metric: queue.jobs, by: [queue], where: { state: running }, fold: sum, above: 100000, annotations: { summary: "never" } }\n'
BROKEN = "rules: [{ alert: "


def write_trace(path, days, jobs_per_day, seed):
    """Jobs that arrive at random, wait and run as recorded: no queue grows, so that neither may what the service holds."""
    rng = random.Random(seed)
    jobs = int(days * jobs_per_day)
    submits = sorted(rng.uniform(0, days * DAY) for _ in range(jobs))
    with path.open("w") as file:
        file.write("job_id,share,num_gpu,instance_type,submit_s,start_s,end_s,owner,status\n")
        for number, submit in enumerate(submits):
            start = submit + min(rng.expovariate(1 / MEAN_WAIT), MAX_WAIT)
            end = start + min(rng.expovariate(1 / MEAN_RUN), MAX_RUN)
            share = rng.choices(SHARES, [4, 3, 2, 1])[0]
            status = "failed" if rng.random() < FAILING else "succeeded"
            times = f"{submit:.0f},{start:.0f},{end:.0f}"
            file.write(f"train-{number},{share},8,ml.p5.48xlarge,{times},owner-{rng.randrange(40)},{status}\n")
    return jobs


def faults(rng):
    """What AWS does wrong for ten minutes, as the body of a request to the simulator."""
    operation = rng.choice(["ListServiceJobs", "DescribeServiceJob", "DescribeTrainingJob", "GetJobQueueSnapshot", "DescribeJobQueues"])
    some = {"operation": operation, "for": "10m", "probability": 0.5}
    return rng.choice([
        {"throttle": some},
        {"server_error": some},
        {"access_denied": some},
        {"cut": some},
        {"truncated": some},
        {"malformed": some},
        {"slow": {"operation": operation, "for": "10m", "by": "20s"}},
        {"list_lag": {"operation": "ListServiceJobs", "for": "10m", "by": "40s"}},
        {"fail_page": {"operation": "ListServiceJobs", "for": "10m", "page": 2}},
        {"stale_snapshot": {"for": "10m"}},
    ])
