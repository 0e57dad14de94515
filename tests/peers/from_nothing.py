"""Training queues set up from an empty account, used, and torn down in the order that AWS asks for; and what must fail.

usage: from_nothing.py ENDPOINT
"""

import sys

import training
from account import Account, until

NAME = "quota-managed"
FORWARD = ["SUBMITTED", "RUNNABLE", "SCHEDULED", "STARTING", "RUNNING", "SUCCEEDED"]
ENVIRONMENT = {
    "serviceEnvironmentName": NAME,
    "serviceEnvironmentType": "SAGEMAKER_TRAINING",
    "capacityLimits": [{"maxCapacity": 40, "capacityUnit": training.INSTANCE}],
}
POLICY = {"name": NAME, "quotaSharePolicy": {"idleResourceAssignmentStrategy": "FIFO"}}
# As the SageMaker SDK's own fixture creates it: with no compute environments, and saying so.
QUEUE = {
    "jobQueueName": NAME,
    "priority": 1,
    "jobQueueType": "SAGEMAKER_TRAINING",
    "computeEnvironmentOrder": [],
    "serviceEnvironmentOrder": [{"order": 1, "serviceEnvironment": NAME}],
}


def share(name, capacity=1, **members):
    return {
        "quotaShareName": name,
        "jobQueue": NAME,
        "capacityLimits": [{"maxCapacity": capacity, "capacityUnit": training.INSTANCE}],
        "resourceSharingConfiguration": {"strategy": "RESERVE"},
        "preemptionConfiguration": {"inSharePreemption": "DISABLED"},
        **members,
    }


def exists_already(account, call, **arguments):
    """Helpers of AWS's example read the message at the top of the response."""
    error = account.refused("ClientException", "^Object already exists$", call, **arguments)
    if error and error.response.get("message") != "Object already exists":
        account.problem(f"{call.__name__}: top-level message {error.response.get('message')!r}")


def set_up(account, batch):
    with account.step("service environment"):
        made = batch.create_service_environment(**ENVIRONMENT)
        assert training.environment(batch, NAME)["status"] in ("CREATING", "VALID")
        exists_already(account, batch.create_service_environment, **ENVIRONMENT)
        found = training.valid(training.environment, batch, NAME)
        assert found["state"] == "ENABLED" and found["serviceEnvironmentArn"] == made["serviceEnvironmentArn"], found
        assert training.environment(batch, made["serviceEnvironmentArn"]) == found
        account.refused("ClientException", "", batch.delete_service_environment, serviceEnvironment=NAME)
        six = [{"maxCapacity": 1, "capacityUnit": f"ml.g5.{size}xlarge"} for size in (2, 4, 8, 12, 16, 24)]
        unequal = {**ENVIRONMENT, "serviceEnvironmentName": "unequal", "capacityLimits": six}
        account.refused("ClientException", "", batch.create_service_environment, **unequal)
    with account.step("scheduling policy"):
        arn = batch.create_scheduling_policy(**POLICY)["arn"]
        exists_already(account, batch.create_scheduling_policy, **POLICY)
        both = {"name": "both", "fairsharePolicy": {}, "quotaSharePolicy": POLICY["quotaSharePolicy"]}
        account.refused("ClientException", "", batch.create_scheduling_policy, **both)
        overlapping = [{"shareIdentifier": "UserA*"}, {"shareIdentifier": "UserA1"}]
        account.refused(
            "ClientException", "", batch.create_scheduling_policy, name="fair", fairsharePolicy={"shareDistribution": overlapping}
        )
    with account.step("job queue"):
        unknown = [{"order": 1, "serviceEnvironment": "nowhere"}]
        account.refused("ClientException", "", batch.create_job_queue, **{**QUEUE, "serviceEnvironmentOrder": unknown})
        account.refused("ClientException", "", batch.create_job_queue, **{**QUEUE, "schedulingPolicyArn": arn + "-not"})
        batch.create_job_queue(schedulingPolicyArn=arn, **QUEUE)
        exists_already(account, batch.create_job_queue, schedulingPolicyArn=arn, **QUEUE)
        found = training.valid(training.queue, batch, NAME)
        assert found["state"] == "ENABLED" and found["schedulingPolicyArn"] == arn, found
        # One queue per service environment with quota management; and a policy in use stays.
        second = {**QUEUE, "jobQueueName": "second"}
        account.refused("ClientException", "", batch.create_job_queue, schedulingPolicyArn=arn, **second)
        account.refused("ClientException", "", batch.delete_scheduling_policy, arn=arn)
        account.refused("ClientException", "", batch.delete_job_queue, jobQueue=NAME)
    return arn


def set_up_shares(account, batch):
    arns = {}
    with account.step("quota shares"):
        for number in range(20):
            name = f"share-{number}"
            sharing = {"strategy": "LEND_AND_BORROW", "borrowLimit": -1 if number else 100}
            wanted = share(name, 2, resourceSharingConfiguration=sharing)
            arns[name] = batch.create_quota_share(**wanted)["quotaShareArn"]
        for arn in arns.values():
            assert training.valid_share(batch, arn)["state"] == "ENABLED"
        account.refused("ClientException", "already exists", batch.create_quota_share, **share("share-0"))
        account.refused("ClientException", "", batch.create_quota_share, **share("share-20"))
        batch.update_quota_share(quotaShareArn=arns["share-19"], state="DISABLED")
        training.valid_share(batch, arns["share-19"])
        batch.delete_quota_share(quotaShareArn=arns.pop("share-19"))
    with account.step("quota shares over a limit"):
        limits = [{"maxCapacity": 1, "capacityUnit": f"ml.g5.{size}xlarge"} for size in (2, 4, 8, 12, 16, 24)]
        account.refused("ClientException", "", batch.create_quota_share, **share("wide", capacityLimits=limits))
        lends = {"strategy": "LEND", "borrowLimit": 10}
        account.refused("ClientException", "", batch.create_quota_share, **share("odd", resourceSharingConfiguration=lends))
        account.refused("ClientException", "", batch.create_quota_share, **share("lost", jobQueue="nowhere"))
        account.refused("ClientException", "", batch.delete_quota_share, quotaShareArn=arns["share-0"])
    return arns


def submissions_refused(account, batch):
    with account.step("refused submissions"):
        good = training.submission("refused", NAME, quotaShareName="share-0")
        for members in [
            {"serviceRequestPayload": training.payload("refused", Environment={"TEXT": "x" * 10 * 1024})},
            {"tags": {f"tag-{number}": "v" * 256 for number in range(51)}},
            {"quotaShareName": "nobody"},
            {"shareIdentifier": "fair"},
            {"jobQueue": "nowhere"},
        ]:
            account.refused("ClientException", "", batch.submit_service_job, **{**good, **members})
        without_share = {key: value for key, value in good.items() if key != "quotaShareName"}
        account.refused("ClientException", "", batch.submit_service_job, **without_share)
        listed = batch.list_service_jobs(jobQueue=NAME, filters=[{"name": "JOB_NAME", "values": ["refused"]}])
        assert listed["jobSummaryList"] == [], listed


def use(account, batch):
    with account.step("a job on its way"):
        wanted = training.submission("first", NAME, quotaShareName="share-0", tags={"owner": "ada"}, clientToken="once")
        job = batch.submit_service_job(**wanted)
        # "These requests are considered the same request": there is one job, whatever the second answer is.
        try:
            assert batch.submit_service_job(**wanted)["jobId"] == job["jobId"]
        except batch.exceptions.ClientException:
            pass
        named = [{"name": "JOB_NAME", "values": ["First"]}]
        assert len(batch.list_service_jobs(jobQueue=NAME, filters=named)["jobSummaryList"]) == 1
        seen = []

        def watched():
            found = batch.describe_service_job(jobId=job["jobArn"])
            if found["status"] not in seen:
                seen.append(found["status"])
            return found

        ended = until(watched, lambda found: found["status"] in ("SUCCEEDED", "FAILED"))
        assert seen == [status for status in FORWARD if status in seen] and seen[-1] == "SUCCEEDED", seen
        assert len(seen) > 2, seen
        times = [ended[name] for name in ("createdAt", "scheduledAt", "startedAt", "stoppedAt")]
        assert times == sorted(times) and ended["stoppedAt"] - ended["startedAt"] >= 60_000, times
        assert ended["capacityUsage"] == [{"capacityUnit": training.INSTANCE, "quantity": 1.0}], ended
        assert ended["latestAttempt"]["serviceResourceId"]["name"] == "TrainingJobArn", ended
    with account.step("a job over its share"):
        big = training.payload("big", count=9)
        job = batch.submit_service_job(
            **training.submission("big", NAME, quotaShareName="share-0", serviceRequestPayload=big)
        )
        found = until(
            lambda: batch.describe_service_job(jobId=job["jobId"]), lambda found: "MISCONFIGURATION" in found.get("statusReason", "")
        )
        assert found["status"] == "RUNNABLE", found
        assert found["statusReason"].startswith("MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - "), found
        batch.terminate_service_job(jobId=job["jobId"], reason="too big")
        ended = training.reached(batch, job["jobId"], "FAILED")
        assert ended["isTerminated"] and ended["statusReason"] == "too big", ended


def priorities(account, batch):
    with account.step("a payload that SageMaker cannot use"):
        odd = training.submission("odd", NAME, quotaShareName="share-0", serviceRequestPayload="not JSON")
        ended = training.reached(batch, batch.submit_service_job(**odd)["jobId"], "FAILED")
        assert ended["statusReason"].startswith("Received status from SageMaker: ValidationException"), ended
        assert ended["attempts"] == [] and ended["isTerminated"] is False, ended
    with account.step("priorities"):
        long = {"quotaShareName": "share-0", "serviceRequestPayload": training.payload("long", count=4, seconds=10**7)}
        running = batch.submit_service_job(**training.submission("long", NAME, **long))
        training.reached(batch, running["jobId"], "RUNNING")
        waiting = [batch.submit_service_job(**training.submission("long", NAME, **long))["jobArn"] for _ in range(3)]
        for arn in waiting:
            training.reached(batch, arn, "RUNNABLE")
        assert front(batch) == waiting[0]
        batch.update_service_job(jobId=waiting[2], schedulingPriority=90)
        until(lambda: front(batch), lambda arn: arn == waiting[2])
        account.refused("ClientException", "", batch.update_service_job, jobId="nothing", schedulingPriority=1)
        # With its share disabled, no job comes in and none is lost.
        arn = batch.describe_job_queues(jobQueues=[NAME])["jobQueues"][0]["jobQueueArn"] + "/quota-share/share-1"
        batch.update_quota_share(quotaShareArn=arn, state="DISABLED")
        training.valid_share(batch, arn)
        account.refused("ClientException", "", batch.submit_service_job, **training.submission("late", NAME, quotaShareName="share-1"))
        batch.terminate_service_job(jobId=running["jobArn"], reason="enough")
        ended = training.reached(batch, running["jobArn"], "FAILED")
        assert ended["isTerminated"] and ended["statusReason"] == "enough", ended
        training.reached(batch, waiting[2], "RUNNING")
        # An ended job may be terminated again: nothing happens.
        batch.terminate_service_job(jobId=running["jobArn"], reason="again")
        assert batch.describe_service_job(jobId=running["jobArn"])["statusReason"] == "enough"
        return waiting
    return []


def front(batch):
    """The ARN of the first job of the share."""
    return batch.get_job_queue_snapshot(jobQueue=NAME)["frontOfQuotaShares"]["quotaShares"]["share-0"][0]["jobArn"]


def tags(account, batch, arns):
    for arn in arns:
        with account.step(f"tags of {arn}"):
            batch.tag_resource(resourceArn=arn, tags={"team": "vision", "colour": "green"})
            batch.tag_resource(resourceArn=arn, tags={"colour": "blue"})
            batch.untag_resource(resourceArn=arn, tagKeys=["team", "never-there"])
            found = batch.list_tags_for_resource(resourceArn=arn)["tags"]
            assert found.get("colour") == "blue" and "team" not in found, found
    with account.step("tags of nothing"):
        account.refused("ClientException", "", batch.tag_resource, resourceArn=arns[0] + "-gone", tags={"a": "b"})


def tear_down(account, batch, policy, shares, waiting):
    with account.step("end of the shares"):
        for arn in shares.values():
            batch.update_quota_share(quotaShareArn=arn, state="DISABLED")
        for arn in shares.values():
            training.valid_share(batch, arn)
            batch.delete_quota_share(quotaShareArn=arn)
        until(lambda: batch.list_quota_shares(jobQueue=NAME)["quotaShares"], lambda found: not found)
        account.refused("ClientException", "does not exist", batch.describe_quota_share, quotaShareArn=shares["share-0"])
        # "All jobs in the share are eventually terminated."
        for arn in waiting:
            training.reached(batch, arn, "FAILED")
    with account.step("end of the queue"):
        batch.update_job_queue(jobQueue=NAME, state="DISABLED")
        training.valid(training.queue, batch, NAME)
        account.refused("ClientException", "", batch.submit_service_job, **training.submission("late", NAME, quotaShareName="share-0"))
        batch.update_service_environment(serviceEnvironment=NAME, state="DISABLED")
        training.valid(training.environment, batch, NAME)
        # Its queue is still there.
        account.refused("ClientException", "", batch.delete_service_environment, serviceEnvironment=NAME)
        batch.delete_job_queue(jobQueue=NAME)
        training.gone(training.queue, batch, NAME)
    with account.step("end of the environment and the policy"):
        batch.delete_service_environment(serviceEnvironment=NAME)
        training.gone(training.environment, batch, NAME)
        batch.delete_scheduling_policy(arn=policy)
        assert batch.list_scheduling_policies()["schedulingPolicies"] == []
    with account.step("the names are free again"):
        batch.create_service_environment(**ENVIRONMENT)
        training.valid(training.environment, batch, NAME)


def main():
    account = Account(sys.argv[1])
    batch = account.client("batch")
    with account.step("an empty account"):
        assert batch.describe_job_queues()["jobQueues"] == []
        assert batch.describe_service_environments()["serviceEnvironments"] == []
    policy = set_up(account, batch)
    shares = set_up_shares(account, batch)
    submissions_refused(account, batch)
    use(account, batch)
    waiting = priorities(account, batch)
    arn = "arn:aws:batch:us-east-1:123456789012:"
    job = waiting[:1]
    tags(account, batch, [f"{arn}service-environment/{NAME}", f"{arn}job-queue/{NAME}", *[policy], *list(shares.values())[:1], *job])
    tear_down(account, batch, policy, shares, waiting)
    account.finish()


if __name__ == "__main__":
    main()
