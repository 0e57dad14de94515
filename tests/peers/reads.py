"""Reads a busy account as monitoring does, every answer checked; pages, filters and lists must tell one story.

usage: reads.py ENDPOINT
"""

import json
import sys
import time

from account import CBOR, JSON, Account, utc

STATUSES = ["SUBMITTED", "PENDING", "RUNNABLE", "SCHEDULED", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"]


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


def read_training_jobs(account, sagemaker, jobs):
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
    account.refused("ValidationException", "", sagemaker.describe_training_job, TrainingJobName="nothing")


def read_metrics(account, cloudwatch, namespace):
    now = account.now()
    metric = {"Namespace": namespace, "MetricName": "queue.wait"}
    dimensions = [{"Name": "share", "Value": "vision"}]
    data = [
        {"MetricName": "queue.wait", "Dimensions": dimensions, "Values": [1.0, float(n)], "Timestamp": utc(now)}
        for n in range(1000)
    ]
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)
    hosts = cloudwatch.list_metrics(Namespace="/aws/sagemaker/TrainingJobs")["Metrics"]
    assert hosts, "no host runs"
    queries = [
        {"Id": f"q{number}", "MetricStat": {"Metric": read, "Period": 60, "Stat": "Average"}}
        for number, read in enumerate([{**metric, "Dimensions": dimensions}] + hosts[:100])
    ]
    window = {"StartTime": utc(now - 3600), "EndTime": utc(now + 3600)}
    results = cloudwatch.get_metric_data(MetricDataQueries=queries, **window)["MetricDataResults"]
    assert results[0]["Values"] == [(1000 + sum(range(1000))) / 2000], results[0]
    assert any(result["Values"] for result in results[1:]), "no GPU reports"
    too_large = [{"MetricName": "m", "Value": 2.0**361}]
    account.refused("InvalidParameterValue", "", cloudwatch.put_metric_data, Namespace="n", MetricData=too_large)


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
    account = Account(sys.argv[1])
    began = time.monotonic()
    batch = account.client("batch")
    jobs = {}
    for queue in read_queues(batch):
        with account.step(f"jobs of {queue}"):
            jobs |= read_jobs(batch, queue)
            submit(batch, queue)
    account.refused("ClientException", "", batch.list_service_jobs, jobQueue="nowhere")
    account.refused("ClientException", "", batch.describe_service_job, jobId="nothing")
    with account.step("training jobs"):
        read_training_jobs(account, account.client("sagemaker"), jobs)
    for protocol in (JSON, CBOR):
        with account.step(f"metrics in {protocol}"):
            read_metrics(account, account.client("cloudwatch", protocol), f"By/{protocol}")
    print(f"{len(jobs)} jobs; {time.monotonic() - began:.1f} s")
    account.finish()


if __name__ == "__main__":
    main()
