"""An account of fakecloud: `setup` makes queues, shares, jobs and a topic with an SQS queue behind it; `read` says what of
Trainspotter arrived: metrics that were published, and messages. Both answer in JSON."""

import json
import sys

import boto3

action, endpoint = sys.argv[1:3]
keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}


def client(service):
    return boto3.client(service, endpoint_url=endpoint, **keys)


batch, cloudwatch, sns, sqs = (client(service) for service in ("batch", "cloudwatch", "sns", "sqs"))
TYPE = "ml.g5.12xlarge"
PAYLOAD = {
    "AlgorithmSpecification": {"TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/train", "TrainingInputMode": "File"},
    "RoleArn": "arn:aws:iam::123456789012:role/training",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
    "ResourceConfig": {"InstanceType": TYPE, "InstanceCount": 1, "VolumeSizeInGB": 10},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
}


def setup():
    limits = [{"maxCapacity": 3, "capacityUnit": "NUM_INSTANCES"}]
    batch.create_service_environment(
        serviceEnvironmentName="gpus", serviceEnvironmentType="SAGEMAKER_TRAINING", capacityLimits=limits
    )
    fair = batch.create_scheduling_policy(
        name="fair",
        fairsharePolicy={
            "shareDecaySeconds": 3600,
            "shareDistribution": [
                {"shareIdentifier": "research", "weightFactor": 1.0},
                {"shareIdentifier": "nightly", "weightFactor": 2.0},
            ],
        },
    )
    quota = batch.create_scheduling_policy(
        name="quota", quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"}
    )
    for name, policy in (("first-come", None), ("weighted", fair["arn"]), ("shared", quota["arn"])):
        batch.create_job_queue(
            jobQueueName=name,
            jobQueueType="SAGEMAKER_TRAINING",
            priority=1,
            state="ENABLED",
            serviceEnvironmentOrder=[{"order": 1, "serviceEnvironment": "gpus"}],
            **({"schedulingPolicyArn": policy} if policy else {}),
        )
    for share, strategy in (("vision", {"strategy": "LEND_AND_BORROW", "borrowLimit": 50}), ("speech", {"strategy": "RESERVE"})):
        batch.create_quota_share(
            quotaShareName=share,
            jobQueue="shared",
            capacityLimits=[{"maxCapacity": 1, "capacityUnit": "NUM_INSTANCES"}],
            resourceSharingConfiguration=strategy,
            preemptionConfiguration={"inSharePreemption": "DISABLED"},
            state="ENABLED",
        )
    jobs = []
    for queue, member in (
        ("first-come", {}),
        ("weighted", {"shareIdentifier": "research"}),
        ("shared", {"quotaShareName": "vision"}),
    ):
        for number in range(2):
            job = batch.submit_service_job(
                jobName=f"train-{number}",
                jobQueue=queue,
                serviceJobType="SAGEMAKER_TRAINING",
                serviceRequestPayload=json.dumps(PAYLOAD),
                tags={"owner": "amara"},
                **member,
            )
            jobs.append(job["jobId"])
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="alerts")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    return {"topic": topic, "jobs": jobs}


def read():
    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace="Trainspotter")
    metrics = [metric for page in pages for metric in page["Metrics"]]
    queue = sqs.get_queue_url(QueueName="alerts")["QueueUrl"]
    wanted = {"MessageAttributeNames": ["All"], "MaxNumberOfMessages": 10, "VisibilityTimeout": 0}
    messages = sqs.receive_message(QueueUrl=queue, **wanted).get("Messages", [])
    return {
        "metrics": [
            {"name": metric["MetricName"], "dimensions": {d["Name"]: d["Value"] for d in metric["Dimensions"]}}
            for metric in metrics
        ],
        "messages": [
            {
                "body": message["Body"],
                "attributes": {name: one["StringValue"] for name, one in message.get("MessageAttributes", {}).items()},
            }
            for message in messages
        ],
    }


json.dump({"setup": setup, "read": read}[action](), sys.stdout)
