"""Training queues set up and torn down as AWS's published samples do it: without waiting for a service environment to be
VALID, and with deletions while it is UPDATING. At the pace of real time.

usage: without_waiting.py ENDPOINT
"""

import sys

import training
from account import Account

NAMES = ["as-published-fifo", "as-published-fair"]
WEIGHTS = {"HIGHPRI": 1, "MIDPRI": 3, "LOWPRI": 5}


def set_up(batch):
    for name in NAMES:
        batch.create_service_environment(
            serviceEnvironmentName=name,
            serviceEnvironmentType="SAGEMAKER_TRAINING",
            capacityLimits=[{"maxCapacity": 1, "capacityUnit": "NUM_INSTANCES"}],
            tags={"made": "by-a-sample"},
        )
        assert training.environment(batch, name)["status"] == "CREATING"
        policy = {}
        if name == "as-published-fair":
            shares = [{"shareIdentifier": share, "weightFactor": weight} for share, weight in WEIGHTS.items()]
            made = batch.create_scheduling_policy(
                name=name, fairsharePolicy={"shareDecaySeconds": 3600, "shareDistribution": shares}, tags={"made": "by-a-sample"}
            )
            policy = {"schedulingPolicyArn": made["arn"]}
        batch.create_job_queue(
            jobQueueName=name,
            state="ENABLED",
            priority=1,
            jobQueueType="SAGEMAKER_TRAINING",
            serviceEnvironmentOrder=[{"order": 1, "serviceEnvironment": name}],
            tags={"made": "by-a-sample"},
            **policy,
        )
        for read in (training.environment, training.queue):
            assert read(batch, name)["tags"] == {"made": "by-a-sample"}


def use(account, batch):
    for name in NAMES:
        account.refused(
            "ClientException", "does not accept service job submissions|CREATING", batch.submit_service_job, **training.submission("early", name)
        )
    # Both were made at once, so waiting for one would make the other.
    for name in NAMES:
        training.valid(training.queue, batch, name)
        training.valid(training.environment, batch, name)
    # All wait behind none: the share that may use most goes first, however late it came.
    for share in reversed(WEIGHTS):
        batch.submit_service_job(**training.submission(share.lower(), NAMES[1], shareIdentifier=share))
    named = {"jobQueue": NAMES[1], "filters": [{"name": "SHARE_IDENTIFIER", "values": ["MIDPRI"]}]}
    [job] = batch.list_service_jobs(**named)["jobSummaryList"]
    training.reached(batch, job["jobId"], "RUNNABLE", "SCHEDULED")
    front = batch.get_job_queue_snapshot(jobQueue=NAMES[1])["frontOfQueue"]["jobs"]
    shares = [batch.describe_service_job(jobId=one["jobArn"])["shareIdentifier"] for one in front]
    assert shares == [share for share in WEIGHTS if share in shares], shares


def tear_down(account, batch):
    for name in NAMES:
        batch.update_job_queue(jobQueue=name, state="DISABLED")
        account.refused("ClientException", "resource is being modified", batch.delete_job_queue, jobQueue=name)
        training.valid(training.queue, batch, name)
        batch.delete_job_queue(jobQueue=name)
    for name in NAMES:
        training.gone(training.queue, batch, name)
        batch.update_service_environment(serviceEnvironment=name, state="DISABLED")
        assert training.environment(batch, name)["status"] == "UPDATING"
        batch.delete_service_environment(serviceEnvironment=name)
        training.gone(training.environment, batch, name)


def main():
    account = Account(sys.argv[1])
    batch = account.client("batch")
    with account.step("set-up"):
        set_up(batch)
    with account.step("use"):
        use(account, batch)
    with account.step("tear-down"):
        tear_down(account, batch)
    account.finish()


if __name__ == "__main__":
    main()
