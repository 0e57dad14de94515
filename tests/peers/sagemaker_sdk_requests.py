"""What the SageMaker Python SDK's `TrainingQueue` sends, member by member, and what it reads of the answers.

usage: sagemaker_sdk_requests.py ENDPOINT

The requests are those that sagemaker-train 1.27.0 and sagemaker 2.257.7 were seen to send (the packages themselves are
930 MB): retry rules with and without a space, jobs named by their ARN, hyperparameters as JSON in strings, tags merged
from the payload, a token on every submission.
"""

import json
import sys
import uuid

import training
from account import Account, until

# The SDK's default rules; its reason has no space after the colon, AWS's own has one.
RETRY = {
    "attempts": 1,
    "evaluateOnExit": [
        {
            "action": "RETRY",
            "onStatusReason": "Received status from SageMaker:InternalServerError: "
            "We encountered an internal error. Please try again.",
        },
        {"action": "EXIT", "onStatusReason": "*"},
    ],
}
CHANNEL = {
    "ChannelName": "code",
    "DataSource": {
        "S3DataSource": {
            "S3DataType": "S3Prefix",
            "S3Uri": "s3://sagemaker-us-east-1-123456789012/trainer/input/code",
            "S3DataDistributionType": "FullyReplicated",
        }
    },
}


def request(name, seconds=60, count=1):
    """A CreateTrainingJob request as `ModelTrainer` writes it."""
    return {
        "TrainingJobName": name,
        "HyperParameters": {"epochs": "3", "simulated_seconds": json.dumps(seconds)},
        "AlgorithmSpecification": {
            "TrainingImage": "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.8.0-gpu-py312",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/bash"],
            "ContainerArguments": ["-c", "chmod +x /opt/ml/input/data/sm_drivers/sm_train.sh && /opt/ml/input/data/sm_drivers/sm_train.sh"],
            "EnableSageMakerMetricsTimeSeries": True,
        },
        "RoleArn": training.ROLE,
        "InputDataConfig": [CHANNEL],
        "OutputDataConfig": {"S3OutputPath": "s3://sagemaker-us-east-1-123456789012/trainer", "CompressionType": "GZIP"},
        "ResourceConfig": {"InstanceType": training.INSTANCE, "InstanceCount": count, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "Tags": [{"Key": "owner", "Value": "ada"}],
        "Environment": {},
    }


def submit(batch, queue, payload, **members):
    """`submit_service_job` of the SDK: the payload's tags are merged into the job's."""
    return batch.submit_service_job(
        jobName=payload["TrainingJobName"],
        jobQueue=queue,
        retryStrategy=RETRY,
        serviceJobType="SAGEMAKER_TRAINING",
        serviceRequestPayload=json.dumps(payload),
        timeoutConfig={"attemptDurationSeconds": 86_400},
        tags={"project": "vision", **{tag["Key"]: tag["Value"] for tag in payload["Tags"]}},
        clientToken=str(uuid.uuid4()),
        **members,
    )


def set_up(account, batch):
    policies = {
        "sdk-fifo": {},
        "sdk-fair": {"fairsharePolicy": {"shareDecaySeconds": 3600, "shareDistribution": [{"shareIdentifier": "HIGHPRI", "weightFactor": 1.0}]}},
        "sdk-quota": {"quotaSharePolicy": {"idleResourceAssignmentStrategy": "FIFO"}},
    }
    for name, policy in policies.items():
        unit = training.INSTANCE if name == "sdk-quota" else "NUM_INSTANCES"
        batch.create_service_environment(
            serviceEnvironmentName=name, serviceEnvironmentType="SAGEMAKER_TRAINING", capacityLimits=[{"maxCapacity": 3, "capacityUnit": unit}]
        )
        training.valid(training.environment, batch, name)
        arn = {"schedulingPolicyArn": batch.create_scheduling_policy(name=name, **policy)["arn"]} if policy else {}
        batch.create_job_queue(
            jobQueueName=name,
            state="ENABLED",
            priority=1,
            jobQueueType="SAGEMAKER_TRAINING",
            computeEnvironmentOrder=[],
            serviceEnvironmentOrder=[{"order": 1, "serviceEnvironment": name}],
            **arn,
        )
        training.valid(training.queue, batch, name)
    share = batch.create_quota_share(
        quotaShareName="team",
        jobQueue="sdk-quota",
        capacityLimits=[{"maxCapacity": 3, "capacityUnit": training.INSTANCE}],
        resourceSharingConfiguration={"strategy": "RESERVE"},
        preemptionConfiguration={"inSharePreemption": "ENABLED"},
        state="ENABLED",
    )
    training.valid_share(batch, share["quotaShareArn"])


def described(batch, arn, payload, members):
    """`describe`: everything that was submitted comes back."""
    found = batch.describe_service_job(jobId=arn)
    assert found["jobArn"] == arn and found["jobName"] == payload["TrainingJobName"], found
    assert json.loads(found["serviceRequestPayload"]) == payload, found["serviceRequestPayload"]
    assert found["tags"] == {"project": "vision", "owner": "ada"}, found["tags"]
    assert found["retryStrategy"] == RETRY, found["retryStrategy"]
    assert found["timeoutConfig"] == {"attemptDurationSeconds": 86_400}, found["timeoutConfig"]
    for name, value in members.items():
        assert found[name] == value, f"{name}: {found.get(name)!r} is not {value!r}"
    return found


def whole_life(account, batch, sagemaker, queue, members):
    payload = request(f"trainer-{queue}")
    job = submit(batch, queue, payload, **members)
    described(batch, job["jobArn"], payload, members)
    # `wait()` describes by ARN until the end; `get_model_trainer()` then reads the training job.
    ended = until(lambda: described(batch, job["jobArn"], payload, members), lambda found: found["status"] in ("SUCCEEDED", "FAILED"))
    assert ended["status"] == "SUCCEEDED", ended
    assert len(ended["attempts"]) == 1, ended["attempts"]
    name = ended["latestAttempt"]["serviceResourceId"]["value"].split("/")[-1]
    made = sagemaker.describe_training_job(TrainingJobName=name)
    assert made["TrainingJobStatus"] == "Completed" and made["TrainingJobName"] == name, made
    for member in ["AlgorithmSpecification", "HyperParameters", "InputDataConfig", "OutputDataConfig", "ResourceConfig", "RoleArn", "StoppingCondition"]:
        assert contains(made.get(member), payload[member]), f"{member}: {made.get(member)!r} is not {payload[member]!r}"
    assert made["ModelArtifacts"]["S3ModelArtifacts"].startswith("s3://"), made["ModelArtifacts"]
    # What `Estimator.attach` of SDK 2 reads on, and the waiter of boto3 for a training job.
    assert made["OutputDataConfig"]["KmsKeyId"] == "", made["OutputDataConfig"]
    tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=made["TrainingJobArn"])["Tags"]}
    assert tags == {"owner": "ada"}, tags
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=name)


def contains(answer, given):
    """Whether an answer has what was given; it may say more."""
    if isinstance(given, dict):
        return isinstance(answer, dict) and all(contains(answer.get(key), value) for key, value in given.items())
    if isinstance(given, list):
        return isinstance(answer, list) and len(answer) == len(given) and all(map(contains, answer, given))
    return answer == given


def queue_methods(account, batch, queue, members, share_filter):
    """`list_jobs`, `list_jobs_by_share`, `get_job`, `update` and `terminate`."""
    jobs = [submit(batch, queue, request(f"long-{number}", seconds=10**6, count=3), **members) for number in range(3)]
    training.reached(batch, jobs[0]["jobArn"], "RUNNING")
    training.reached(batch, jobs[2]["jobArn"], "RUNNABLE")
    running = batch.list_service_jobs(jobQueue=queue, jobStatus="RUNNING")["jobSummaryList"]
    assert [job["jobArn"] for job in running] == [jobs[0]["jobArn"]], running
    by_name = batch.list_service_jobs(jobQueue=queue, filters=[{"name": "JOB_NAME", "values": ["long-2"]}])["jobSummaryList"]
    assert [job["jobArn"] for job in by_name] == [jobs[2]["jobArn"]], by_name
    if share_filter:
        name, value = share_filter
        by_share = batch.list_service_jobs(jobQueue=queue, jobStatus="RUNNABLE", filters=[{"name": name, "values": [value]}])
        assert {job["jobArn"] for job in by_share["jobSummaryList"]} == {job["jobArn"] for job in jobs[1:]}, by_share
        batch.update_service_job(jobId=jobs[2]["jobArn"], schedulingPriority=99)
        assert batch.describe_service_job(jobId=jobs[2]["jobArn"])["schedulingPriority"] == 99
    for job in jobs:
        batch.terminate_service_job(jobId=job["jobArn"], reason="Terminated by sagemaker-python-sdk")
    for job in jobs:
        ended = training.reached(batch, job["jobArn"], "FAILED")
        assert ended["statusReason"] == "Terminated by sagemaker-python-sdk", ended["statusReason"]


def retried_call(account, batch, queue):
    """A submission whose answer was lost is sent again with its token: there is one job."""
    payload = request("twice")
    token = str(uuid.uuid4())
    sent = {"jobName": "twice", "jobQueue": queue, "serviceJobType": "SAGEMAKER_TRAINING", "clientToken": token}
    for _ in range(2):
        try:
            batch.submit_service_job(serviceRequestPayload=json.dumps(payload), **sent)
        except batch.exceptions.ClientException:
            pass
    found = batch.list_service_jobs(jobQueue=queue, filters=[{"name": "JOB_NAME", "values": ["twice"]}])["jobSummaryList"]
    assert len(found) == 1, found


def main():
    account = Account(sys.argv[1])
    batch, sagemaker = account.client("batch"), account.client("sagemaker")
    with account.step("set-up"):
        set_up(account, batch)
    preemption = {"preemptionConfiguration": {"preemptionRetriesBeforeTermination": 2}}
    for queue, members, share_filter in [
        ("sdk-fifo", {}, None),
        ("sdk-fair", {"shareIdentifier": "HIGHPRI", "schedulingPriority": 5}, ("SHARE_IDENTIFIER", "HIGHPRI")),
        ("sdk-quota", {"quotaShareName": "team", "schedulingPriority": 5, **preemption}, ("QUOTA_SHARE_NAME", "team")),
    ]:
        with account.step(f"a job through {queue}"):
            whole_life(account, batch, sagemaker, queue, members)
        with account.step(f"methods of {queue}"):
            queue_methods(account, batch, queue, members, share_filter)
    with account.step("a call sent twice"):
        retried_call(account, batch, "sdk-fifo")
    account.finish()


if __name__ == "__main__":
    main()
