"""Reads a simulator with boto3 and validates every answer against botocore's own models.

usage: boto3_reads.py ENDPOINT

botocore's parsers are lenient: they skip what they do not know and take what they are given. So each answer is also
held against the output shape of its operation: required members, types, enums, lengths, and members that the model
does not have.
"""

import datetime
import json
import sys
import time
import urllib.request

import boto3
import botocore.model
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

STATUSES = ["SUBMITTED", "PENDING", "RUNNABLE", "SCHEDULED", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"]

# AWS marks `startedAt` of DescribeServiceJob as required and yet shows descriptions without it (AWS Batch User Guide,
# the "Queue Blocked" event of a RUNNABLE job).
ABSENT_AT_TIMES = {("DescribeServiceJobResponse", "startedAt")}

PYTHON_TYPES = {
    "string": str,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "boolean": bool,
    "timestamp": datetime.datetime,
    "structure": dict,
    "map": dict,
    "list": list,
    "blob": bytes,
}

problems = []
answers = {}


def validate(shape, value, place):
    """Notes every way in which a parsed value does not fit its shape."""
    expected = PYTHON_TYPES[shape.type_name]
    if not isinstance(value, expected) or (isinstance(value, bool) and shape.type_name != "boolean"):
        problems.append(f"{place}: {value!r} is not a {shape.type_name}")
        return
    if shape.type_name == "structure":
        for name in shape.required_members:
            if name not in value and (shape.name, name) not in ABSENT_AT_TIMES:
                problems.append(f"{place}.{name} is required and absent")
        for name, member in value.items():
            if name not in shape.members:
                problems.append(f"{place}.{name} is not in the model")
            else:
                validate(shape.members[name], member, f"{place}.{name}")
    elif shape.type_name == "list":
        for number, member in enumerate(value):
            validate(shape.member, member, f"{place}[{number}]")
    elif shape.type_name == "map":
        for key, member in value.items():
            validate(shape.value, member, f"{place}[{key!r}]")
    elif shape.type_name == "string":
        if shape.enum and value not in shape.enum:
            problems.append(f"{place}: {value!r} is not in the enum")
        low, high = shape.metadata.get("min", 0), shape.metadata.get("max", sys.maxsize)
        if not low <= len(value) <= high:
            problems.append(f"{place}: {len(value)} characters, not {low} to {high}")


def client(service, endpoint):
    """A client whose every answer is validated."""
    made = boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="AKIASIMULATED",
        aws_secret_access_key="simulated",
        config=Config(retries={"max_attempts": 0}),
    )

    def check(parsed, model, **_):
        if parsed["ResponseMetadata"]["HTTPStatusCode"] >= 300:
            return
        answers[model.name] = answers.get(model.name, 0) + 1
        body = {key: value for key, value in parsed.items() if key != "ResponseMetadata"}
        if model.output_shape is not None:
            validate(model.output_shape, body, model.name)

    made.meta.events.register(f"after-call.{made.meta.service_model.service_id.hyphenize()}", check)
    return made


def raw_members(endpoint, path, body, shape):
    """Notes members on the wire that the model does not have: botocore's parser drops them unseen."""
    request = urllib.request.Request(endpoint + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        walk(shape, json.load(response), path)


def walk(shape, value, place):
    if shape.type_name == "structure":
        for name, member in value.items():
            if name not in shape.members:
                problems.append(f"{place}.{name} is on the wire and not in the model")
            else:
                walk(shape.members[name], member, f"{place}.{name}")
    elif shape.type_name == "list":
        for member in value:
            walk(shape.member, member, f"{place}[]")
    elif shape.type_name == "map":
        for member in value.values():
            walk(shape.value, member, f"{place}[]")
    elif value is None:
        problems.append(f"{place} is null on the wire")


def refused(code, call, **arguments):
    """Notes a call that should have been refused with `code` and was not."""
    try:
        call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] != code or not error.response["Error"]["Message"]:
            problems.append(f"expected {code}, got {error.response['Error']}")
    else:
        problems.append(f"{arguments} should have been refused with {code}")


def read_queues(batch):
    queues = batch.describe_job_queues()["jobQueues"]
    assert queues, "no queues"
    batch.describe_service_environments()
    arns = [policy["arn"] for policy in batch.list_scheduling_policies()["schedulingPolicies"]]
    batch.describe_scheduling_policies(arns=arns)
    for queue in queues:
        batch.get_job_queue_snapshot(jobQueue=queue["jobQueueName"])
        for page in batch.get_paginator("list_quota_shares").paginate(
            jobQueue=queue["jobQueueArn"], PaginationConfig={"PageSize": 2}
        ):
            for share in page["quotaShares"]:
                batch.describe_quota_share(quotaShareArn=share["quotaShareArn"])
    return [queue["jobQueueName"] for queue in queues]


def read_jobs(batch, queue):
    """Every job of a queue by one filter that they all pass, then each status, one description of each."""
    pages = batch.get_paginator("list_service_jobs")
    everything = {}
    created = []
    for page in pages.paginate(jobQueue=queue, filters=[{"name": "AFTER_CREATED_AT", "values": ["0"]}]):
        for job in page["jobSummaryList"]:
            assert job["jobId"] not in everything, f"{job['jobId']} is listed twice"
            everything[job["jobId"]] = job
            created.append(job["createdAt"])
    assert created == sorted(created, reverse=True), "not the newest first"
    seen = set()
    for status in STATUSES:
        jobs = [
            job
            for page in pages.paginate(jobQueue=queue, jobStatus=status, PaginationConfig={"PageSize": 37})
            for job in page["jobSummaryList"]
        ]
        assert all(job["status"] == status for job in jobs), f"not only {status}"
        seen |= {job["jobId"] for job in jobs}
        for job in jobs[:20]:
            batch.describe_service_job(jobId=job["jobArn"])
    # Statuses are read in the order of a job's life, so that one that moves is seen twice, never missed. A preempted
    # one moves the other way.
    missed = [
        job
        for job in set(everything) - seen
        if "preemptionSummary" not in batch.describe_service_job(jobId=job)
    ]
    assert not missed, f"listed by filter and not by status: {missed}"
    return everything


def read_training_jobs(sagemaker, jobs):
    names = [
        job["latestAttempt"]["serviceResourceId"]["value"].split("/")[-1]
        for job in jobs.values()
        if "latestAttempt" in job
    ]
    for name in names[:50]:
        sagemaker.describe_training_job(TrainingJobName=name)
    pages = sagemaker.get_paginator("list_training_jobs")
    for page in pages.paginate(StatusEquals="Failed", PaginationConfig={"PageSize": 50, "MaxItems": 20}):
        assert all(job["TrainingJobStatus"] == "Failed" for job in page["TrainingJobSummaries"])
    refused("ValidationException", sagemaker.describe_training_job, TrainingJobName="nothing")


def read_metrics(cloudwatch, endpoint, namespace):
    now = datetime.datetime.fromisoformat(
        json.load(urllib.request.urlopen(endpoint + "/_sim/truth"))["now"].replace("Z", "+00:00")
    )
    metric = {"Namespace": namespace, "MetricName": "queue.wait"}
    dimensions = [{"Name": "share", "Value": "vision"}]
    data = [
        {"MetricName": "queue.wait", "Dimensions": dimensions, "Values": [1.0, float(n)], "Timestamp": now}
        for n in range(1000)
    ]
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)
    hosts = cloudwatch.list_metrics(Namespace="/aws/sagemaker/TrainingJobs")["Metrics"]
    assert hosts, "no host runs"
    queries = [
        {"Id": f"q{number}", "MetricStat": {"Metric": read, "Period": 60, "Stat": "Average"}}
        for number, read in enumerate([{**metric, "Dimensions": dimensions}] + hosts[:100])
    ]
    window = {"StartTime": now - datetime.timedelta(hours=1), "EndTime": now + datetime.timedelta(hours=1)}
    results = cloudwatch.get_metric_data(MetricDataQueries=queries, **window)["MetricDataResults"]
    assert results[0]["Values"] == [(1000 + sum(range(1000))) / 2000], results[0]
    assert any(result["Values"] for result in results[1:]), "no GPU reports"
    refused(
        "InvalidParameterValue",
        cloudwatch.put_metric_data,
        Namespace="n",
        MetricData=[{"MetricName": "m", "Value": 2.0**361}],
    )


def write_topics(sns, sts):
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint="http://127.0.0.1:9/", ReturnSubscriptionArn=True)
    sns.publish(TopicArn=topic, Subject="A subject", Message="A message")
    refused("NotFound", sns.publish, TopicArn=topic + "-gone", Message="A message")
    refused("InvalidParameter", sns.publish, TopicArn=topic, Message="m" * (256 * 1024 + 1))
    sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/reader", RoleSessionName="reader")
    sts.get_caller_identity()


def submit(batch, queue):
    """As the SageMaker Python SDK does: jobs are described and terminated by their ARN."""
    payload = {"TrainingJobName": "mine", "ResourceConfig": {"InstanceType": "ml.g5.12xlarge", "InstanceCount": 1}}
    share = batch.list_quota_shares(jobQueue=queue)["quotaShares"]
    job = batch.submit_service_job(
        jobName="mine",
        jobQueue=queue,
        serviceJobType="SAGEMAKER_TRAINING",
        serviceRequestPayload=json.dumps(payload),
        retryStrategy={"attempts": 1, "evaluateOnExit": [{"action": "EXIT", "onStatusReason": "*"}]},
        timeoutConfig={"attemptDurationSeconds": 86400},
        tags={"owner": "ada"},
        **({"quotaShareName": share[0]["quotaShareName"]} if share else {}),
    )
    batch.terminate_service_job(jobId=job["jobArn"], reason="enough")
    described = batch.describe_service_job(jobId=job["jobArn"])
    assert described["status"] == "FAILED" and described["statusReason"] == "enough", described
    assert json.loads(described["serviceRequestPayload"]) == payload


def main():
    endpoint = sys.argv[1]
    began = time.monotonic()
    batch, sagemaker, cloudwatch, sns, sts = (
        client(service, endpoint) for service in ["batch", "sagemaker", "cloudwatch", "sns", "sts"]
    )
    model = botocore.session.get_session().get_service_model("batch")
    jobs = {}
    for queue in read_queues(batch):
        of_queue = read_jobs(batch, queue)
        jobs |= of_queue
        body = {"jobQueue": queue, "jobStatus": "SUCCEEDED"}
        raw_members(endpoint, "/v1/listservicejobs", body, model.operation_model("ListServiceJobs").output_shape)
        shape = model.operation_model("DescribeServiceJob").output_shape
        raw_members(endpoint, "/v1/describeservicejob", {"jobId": next(iter(of_queue))}, shape)
        shape = model.operation_model("GetJobQueueSnapshot").output_shape
        raw_members(endpoint, "/v1/getjobqueuesnapshot", {"jobQueue": queue}, shape)
        submit(batch, queue)
    refused("ClientException", batch.list_service_jobs, jobQueue="nowhere")
    refused("ClientException", batch.describe_service_job, jobId="nothing")
    read_training_jobs(sagemaker, jobs)
    read_metrics(cloudwatch, endpoint, "ByJson")
    botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS = ("smithy-rpc-v2-cbor",)
    in_cbor = client("cloudwatch", endpoint)
    assert in_cbor.meta.service_model.resolved_protocol == "smithy-rpc-v2-cbor"
    read_metrics(in_cbor, endpoint, "ByCbor")
    write_topics(sns, sts)

    calls = ", ".join(f"{name} {count}" for name, count in sorted(answers.items()))
    print(f"{len(jobs)} jobs; {time.monotonic() - began:.1f} s; valid answers: {calls}")
    for problem in sorted(set(problems))[:50]:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
