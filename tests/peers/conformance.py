"""Walks botocore's models for every operation that the simulator serves: answers, and requests that must be refused.

usage: conformance.py ENDPOINT

The endpoint serves a busy synthetic account. See `account` for what is checked of each call.
"""

import json
import re
import sys
import time

import botocore.session

import training
from account import CBOR, JSON, QUERY, Account, until, utc

# What the simulator must serve; of the rest it may serve what it likes, and each must be exercised here.
MUST_SERVE = {
    "batch": "ServiceEnvironment|SchedulingPolic|QuotaShare|JobQueue|ServiceJob|TagResource|UntagResource|TagsForRes",
    "sagemaker": "^(DescribeTrainingJob|ListTrainingJobs|DescribeTrainingPlan|ListTrainingPlans)$",
    "cloudwatch": "^(PutMetricData|GetMetricData|ListMetrics|GetMetricStatistics|PutDashboard|PutMetricAlarm)$",
    "sns": "^(CreateTopic|Subscribe|Publish)$",
    "sts": "^(AssumeRole|GetCallerIdentity)$",
    "service-quotas": "^GetServiceQuota$",
}
# What stands in the place of this account, of its Region and of a kind of resource.
ELSEWHERE = [("123456789012", "999999999999"), ("us-east-1", "eu-west-1"), (":batch:", ":sagemaker:")]
# Members never seen in an answer are printed for these, where the operation is what the service lives on.
QUOTA = "conformance-quota"
FAIR = "conformance-fair"
FIFO = "conformance-fifo"


def environments(account, batch):
    for name, limits in [
        (FIFO, [{"maxCapacity": 4, "capacityUnit": "NUM_INSTANCES"}]),
        (FAIR, [{"maxCapacity": 4, "capacityUnit": "NUM_INSTANCES"}]),
        (QUOTA, [{"maxCapacity": 6, "capacityUnit": training.INSTANCE}, {"maxCapacity": 2, "capacityUnit": training.OTHER_INSTANCE}]),
    ]:
        with account.step(f"service environment {name}"):
            batch.create_service_environment(
                serviceEnvironmentName=name,
                serviceEnvironmentType="SAGEMAKER_TRAINING",
                state="ENABLED",
                capacityLimits=limits,
                tags={"made-by": "conformance"},
            )
            training.valid(training.environment, batch, name)
    with account.step("update of a service environment"):
        batch.update_service_environment(
            serviceEnvironment=FIFO,
            state="ENABLED",
            capacityLimits=[{"maxCapacity": 5, "capacityUnit": "NUM_INSTANCES"}],
        )
        updated = training.valid(training.environment, batch, FIFO)
        assert updated["capacityLimits"][0]["maxCapacity"] == 5, updated
        assert updated["tags"] == {"made-by": "conformance"}, updated
    with account.step("pages of service environments"):
        paged(account, batch, "describe_service_environments", "serviceEnvironments", "serviceEnvironmentName")


def paged(account, batch, operation, key, name, **arguments):
    """Pages of one hold, together, what one page holds; a token belongs to its query."""
    call = getattr(batch, operation)
    whole = [item[name] for item in call(**arguments)[key]]
    alone, token = [], {}
    while True:
        answer = call(maxResults=1, **arguments, **token)
        assert len(answer[key]) <= 1, f"{len(answer[key])} entries in a page of one"
        alone += [item[name] for item in answer[key]]
        if "nextToken" not in answer:
            break
        token = {"nextToken": answer["nextToken"]}
    assert alone == whole, f"{operation}: {alone} is not {whole}"
    account.refused("ClientException", "(?i)token", call, nextToken="no token", **arguments)


def policies(account, batch):
    arns = {}
    with account.step("scheduling policies"):
        arns[QUOTA] = batch.create_scheduling_policy(
            name=QUOTA, quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"}, tags={"made-by": "conformance"}
        )["arn"]
        fair = {
            "shareDecaySeconds": 3600,
            "computeReservation": 10,
            "shareDistribution": [
                {"shareIdentifier": "high", "weightFactor": 0.5},
                {"shareIdentifier": "low*", "weightFactor": 2.0},
            ],
        }
        arns[FAIR] = batch.create_scheduling_policy(name=FAIR, fairsharePolicy=fair)["arn"]
        described = batch.describe_scheduling_policies(arns=[arns[FAIR]])["schedulingPolicies"]
        assert described[0]["fairsharePolicy"] == fair, described
        described = batch.describe_scheduling_policies(arns=[arns[QUOTA]])["schedulingPolicies"]
        assert described[0]["quotaSharePolicy"] == {"idleResourceAssignmentStrategy": "FIFO"}, described
        assert described[0]["tags"] == {"made-by": "conformance"}, described
    with account.step("update of a scheduling policy"):
        batch.update_scheduling_policy(arn=arns[FAIR], fairsharePolicy={**fair, "computeReservation": 0})
        described = batch.describe_scheduling_policies(arns=[arns[FAIR]])["schedulingPolicies"]
        assert described[0]["fairsharePolicy"]["computeReservation"] == 0, described
        account.refused("ClientException", "", batch.update_scheduling_policy, arn=arns[FAIR], quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"})
    with account.step("pages of scheduling policies"):
        paged(account, batch, "list_scheduling_policies", "schedulingPolicies", "arn")
    return arns


def queues(account, batch, arns):
    actions = [
        {"reason": f"{code}", "state": "RUNNABLE", "maxTimeSeconds": 86_400, "action": "TERMINATE"}
        for code in ["CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE"]
    ]
    for name in [FIFO, FAIR, QUOTA]:
        with account.step(f"job queue {name}"):
            policy = {"schedulingPolicyArn": arns[name]} if name in arns else {}
            batch.create_job_queue(
                jobQueueName=name,
                state="ENABLED",
                priority=7,
                jobQueueType="SAGEMAKER_TRAINING",
                serviceEnvironmentOrder=[{"order": 1, "serviceEnvironment": name}],
                jobStateTimeLimitActions=actions,
                tags={"made-by": "conformance"},
                **policy,
            )
            made = training.valid(training.queue, batch, name)
            assert made["computeEnvironmentOrder"] == [] and made["statusReason"] == "JobQueue Healthy", made
            assert made["jobStateTimeLimitActions"] == actions, made
    with account.step("update of a job queue"):
        batch.update_job_queue(jobQueue=FIFO, priority=8, state="ENABLED", jobStateTimeLimitActions=actions[:1])
        updated = training.valid(training.queue, batch, FIFO)
        assert updated["priority"] == 8 and updated["jobStateTimeLimitActions"] == actions[:1], updated
    with account.step("pages of job queues"):
        paged(account, batch, "describe_job_queues", "jobQueues", "jobQueueName")


def shares(account, batch):
    made = []
    for name, sharing in [
        ("one", {"strategy": "LEND_AND_BORROW", "borrowLimit": 100}),
        ("two", {"strategy": "LEND"}),
        ("three", {"strategy": "RESERVE"}),
    ]:
        with account.step(f"quota share {name}"):
            made.append(
                batch.create_quota_share(
                    quotaShareName=name,
                    jobQueue=QUOTA,
                    capacityLimits=[{"maxCapacity": 2, "capacityUnit": training.INSTANCE}],
                    resourceSharingConfiguration=sharing,
                    preemptionConfiguration={"inSharePreemption": "ENABLED"},
                    state="ENABLED",
                    tags={"made-by": "conformance"},
                )["quotaShareArn"]
            )
            found = training.valid_share(batch, made[-1])
            assert found["resourceSharingConfiguration"]["strategy"] == sharing["strategy"], found
            assert found["tags"] == {"made-by": "conformance"}, found
    with account.step("update of a quota share"):
        batch.update_quota_share(
            quotaShareArn=made[1],
            capacityLimits=[{"maxCapacity": 1, "capacityUnit": training.INSTANCE}],
            resourceSharingConfiguration={"strategy": "LEND_AND_BORROW", "borrowLimit": 50},
            preemptionConfiguration={"inSharePreemption": "DISABLED"},
            state="ENABLED",
        )
        updated = training.valid_share(batch, made[1])
        assert updated["capacityLimits"] == [{"maxCapacity": 1, "capacityUnit": training.INSTANCE}], updated
        assert updated["resourceSharingConfiguration"] == {"strategy": "LEND_AND_BORROW", "borrowLimit": 50}, updated
    with account.step("pages of quota shares"):
        paged(account, batch, "list_quota_shares", "quotaShares", "quotaShareName", jobQueue=QUOTA)
    return made


def jobs(account, batch):
    submitted = {}
    everything = {
        "retryStrategy": {"attempts": 2, "evaluateOnExit": [{"action": "RETRY", "onStatusReason": "Received status*"}, {"action": "EXIT", "onStatusReason": "*"}]},
        "timeoutConfig": {"attemptDurationSeconds": 86_400},
        "tags": {"owner": "ada"},
        "schedulingPriority": 10,
    }
    for queue, members in [
        (QUOTA, {"quotaShareName": "one", "preemptionConfiguration": {"preemptionRetriesBeforeTermination": 3}}),
        (FAIR, {"shareIdentifier": "high"}),
        (FIFO, {}),
    ]:
        with account.step(f"submission to {queue}"):
            # A FIFO queue ignores priorities; nothing says that it refuses them.
            given = {**everything, **members}
            job = batch.submit_service_job(clientToken=f"token-{queue}", **training.submission("complete", queue, **given))
            described = batch.describe_service_job(jobId=job["jobId"])
            for name, value in given.items():
                assert described[name] == value, f"{name}: {described.get(name)!r} is not {value!r}"
            submitted[queue] = job["jobId"]
    with account.step("filters"):
        for name, value in [
            ("JOB_NAME", "COMPL*"),
            ("AFTER_CREATED_AT", "0"),
            ("BEFORE_CREATED_AT", "4000000000000"),
            ("QUOTA_SHARE_NAME", "one"),
        ]:
            found = batch.list_service_jobs(jobQueue=QUOTA, filters=[{"name": name, "values": [value]}], jobStatus="RUNNING")
            ids = [job["jobId"] for job in found["jobSummaryList"]]
            # A share combines with the status, the others ignore it.
            assert name == "QUOTA_SHARE_NAME" or submitted[QUOTA] in ids, f"{name}: {found}"
        account.refused("ClientException", "", batch.list_service_jobs, jobQueue=QUOTA, filters=[{"name": "job_name", "values": ["x"]}])
        account.refused(
            "ClientException", "", batch.list_service_jobs, jobQueue=QUOTA,
            filters=[{"name": "JOB_NAME", "values": ["x"]}, {"name": "AFTER_CREATED_AT", "values": ["0"]}],
        )
        batch.list_service_jobs(jobQueue=FAIR, filters=[{"name": "SHARE_IDENTIFIER", "values": ["high"]}], jobStatus="RUNNING")
    with account.step("pages of jobs"):
        for _ in range(3):
            batch.submit_service_job(**training.submission("filler", FIFO))
        paged(account, batch, "list_service_jobs", "jobSummaryList", "jobId", jobQueue=FIFO, filters=[{"name": "JOB_NAME", "values": ["filler"]}])
    for queue in submitted:
        with account.step(f"snapshot of {queue}"):
            batch.get_job_queue_snapshot(jobQueue=queue)
        with account.step(f"the job of {queue} succeeds"):
            ended = training.reached(batch, submitted[queue], "SUCCEEDED", "FAILED")
            assert ended["status"] == "SUCCEEDED" and not ended.get("isTerminated"), ended
    with account.step("update and termination"):
        long = {"serviceRequestPayload": training.payload("long", seconds=10**7), "quotaShareName": "two", "schedulingPriority": 1}
        first, second, third = (batch.submit_service_job(**training.submission("long", QUOTA, **long)) for _ in range(3))
        batch.update_service_job(jobId=third["jobArn"], schedulingPriority=500)
        assert batch.describe_service_job(jobId=third["jobId"])["schedulingPriority"] == 500
        batch.terminate_service_job(jobId=first["jobArn"], reason="enough")
        ended = training.reached(batch, first["jobId"], "FAILED")
        assert ended["isTerminated"] is True and "enough" in ended["statusReason"], ended
        # "Service jobs that can't be found are treated as successfully processed."
        unknown = "00000000-0000-0000-0000-000000000000"
        answer = batch.terminate_service_jobs(jobs=[second["jobId"], third["jobArn"], unknown], reason="all of it")
        assert len(answer["successful"]) == 3 and answer["errors"] == [], answer
        for job in (second, third):
            training.reached(batch, job["jobId"], "FAILED")


def tags(account, batch, arns):
    for arn in arns:
        with account.step(f"tags of {arn}"):
            batch.tag_resource(resourceArn=arn, tags={"colour": "green"})
            assert batch.list_tags_for_resource(resourceArn=arn)["tags"]["colour"] == "green"
            batch.untag_resource(resourceArn=arn, tagKeys=["colour"])
            assert "colour" not in batch.list_tags_for_resource(resourceArn=arn)["tags"]


def arns_of_others(account, batch, share_arns):
    """An ARN of another account, Region or service names nothing here, though its last part is known."""
    with account.step("ARNs of other places"):
        queue = batch.describe_job_queues(jobQueues=[QUOTA])["jobQueues"][0]
        environment = queue["serviceEnvironmentOrder"][0]["serviceEnvironment"]
        job = batch.submit_service_job(**training.submission("known-by-id", FIFO))["jobArn"]
        policy = queue["schedulingPolicyArn"]
        changes = {"state": "ENABLED"}
        for here, there in [*ELSEWHERE, ("job-queue/", "service-environment/")]:
            other = queue["jobQueueArn"].replace(here, there)
            assert batch.describe_job_queues(jobQueues=[other])["jobQueues"] == [], other
            for call, arguments in [
                (batch.list_service_jobs, {}),
                (batch.list_quota_shares, {}),
                (batch.get_job_queue_snapshot, {}),
                (batch.update_job_queue, changes),
                (batch.submit_service_job, training.submission("x", other)),
            ]:
                account.refused("ClientException", "exist", call, **{**arguments, "jobQueue": other})
        for here, there in ELSEWHERE:
            other = queue["jobQueueArn"].replace(here, there)
            account.refused("ClientException", "", batch.tag_resource, resourceArn=other, tags={"a": "b"})
        for here, there in [*ELSEWHERE, ("service-environment/", "job-queue/")]:
            other = environment.replace(here, there)
            assert batch.describe_service_environments(serviceEnvironments=[other])["serviceEnvironments"] == [], other
            account.refused("ClientException", "exist", batch.update_service_environment, serviceEnvironment=other, state="ENABLED")
        for here, there in [*ELSEWHERE, ("service-job/", "job/")]:
            other = job.replace(here, there)
            account.refused("ClientException", "exist", batch.describe_service_job, jobId=other)
            account.refused("ClientException", "exist", batch.update_service_job, jobId=other, schedulingPriority=1)
            account.refused("ClientException", "exist", batch.terminate_service_job, jobId=other, reason="x")
            batch.terminate_service_jobs(jobs=[other], reason="another's")
            assert not batch.describe_service_job(jobId=job).get("isTerminated"), other
        for here, there in ELSEWHERE:
            account.refused("ClientException", "exist", batch.describe_quota_share, quotaShareArn=share_arns[0].replace(here, there))
            account.refused("ClientException", "exist", batch.update_scheduling_policy, arn=policy.replace(here, there), quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"})
        batch.terminate_service_job(jobId=job, reason="enough")


def quotas(account, service_quotas):
    with account.step("quotas"):
        service_quotas.get_service_quota(ServiceCode="sagemaker", QuotaCode="L-0123ABCD")
        account.refused("NoSuchResourceException", "", service_quotas.get_service_quota, ServiceCode="sagemaker", QuotaCode="L-1")


def busy_queues(account, batch):
    """The synthetic account: jobs in every state, preempted, failed, borrowed for."""
    for queue in batch.describe_job_queues()["jobQueues"]:
        name = queue["jobQueueName"]
        with account.step(f"queue {name}"):
            batch.get_job_queue_snapshot(jobQueue=name)
            for status in ["RUNNABLE", "SCHEDULED", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"]:
                listed = batch.list_service_jobs(jobQueue=name, jobStatus=status)["jobSummaryList"]
                for job in listed[:40]:
                    batch.describe_service_job(jobId=job["jobArn"])


def teardown(account, batch, arns, share_arns):
    for arn in share_arns:
        with account.step(f"end of {arn}"):
            batch.update_quota_share(quotaShareArn=arn, state="DISABLED")
            training.valid_share(batch, arn)
            batch.delete_quota_share(quotaShareArn=arn)
            with_error = until(lambda: outcome(batch.describe_quota_share, quotaShareArn=arn), lambda error: error)
            assert "does not exist" in with_error, with_error
    for name in [FIFO, FAIR, QUOTA]:
        with account.step(f"end of queue {name}"):
            batch.update_job_queue(jobQueue=name, state="DISABLED")
            training.valid(training.queue, batch, name)
            batch.delete_job_queue(jobQueue=name)
            training.gone(training.queue, batch, name)
    for name in [FIFO, FAIR, QUOTA]:
        with account.step(f"end of service environment {name}"):
            batch.update_service_environment(serviceEnvironment=name, state="DISABLED")
            training.valid(training.environment, batch, name)
            batch.delete_service_environment(serviceEnvironment=name)
            training.gone(training.environment, batch, name)
    for arn in arns.values():
        with account.step(f"end of {arn}"):
            batch.delete_scheduling_policy(arn=arn)
            assert not batch.describe_scheduling_policies(arns=[arn])["schedulingPolicies"]


def outcome(call, **arguments):
    """The message of the error, or the empty string."""
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        return str(error)
    return ""


def training_jobs(account, sagemaker, batch):
    names = set()
    with account.step("training jobs"):
        for queue in batch.describe_job_queues()["jobQueues"]:
            for status in ["SCHEDULED", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"]:
                found = batch.list_service_jobs(jobQueue=queue["jobQueueName"], jobStatus=status, maxResults=30)
                names |= {
                    job["latestAttempt"]["serviceResourceId"]["value"].rpartition("/")[2]
                    for job in found["jobSummaryList"]
                    if "latestAttempt" in job
                }
        statuses = {sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] for name in sorted(names)}
        assert {"InProgress", "Completed", "Failed"} <= statuses, statuses
    with account.step("lists of training jobs"):
        long_ago, far = utc(1_000_000_000), utc(4_000_000_000)
        found = sagemaker.list_training_jobs(
            MaxResults=5, CreationTimeAfter=long_ago, CreationTimeBefore=far, LastModifiedTimeAfter=long_ago,
            LastModifiedTimeBefore=far, NameContains="a", SortBy="CreationTime", SortOrder="Ascending",
        )
        created = [job["CreationTime"] for job in found["TrainingJobSummaries"]]
        assert created and created == sorted(created), created
        sagemaker.list_training_jobs(MaxResults=5, NextToken=found["NextToken"], CreationTimeAfter=long_ago, CreationTimeBefore=far,
            LastModifiedTimeAfter=long_ago, LastModifiedTimeBefore=far, NameContains="a", SortBy="CreationTime", SortOrder="Ascending")
        sagemaker.list_training_jobs(StatusEquals="Completed")
        sagemaker.list_training_jobs(WarmPoolStatusEquals="Available")
    with account.step("training jobs outside of the watched queues"):
        sagemaker.create_training_job(**training.everything("conformance-outside"))
        assert sagemaker.describe_training_job(TrainingJobName="conformance-outside")["TrainingJobStatus"] == "InProgress"
        sagemaker.stop_training_job(TrainingJobName="conformance-outside")
        assert sagemaker.describe_training_job(TrainingJobName="conformance-outside")["TrainingJobStatus"] == "Stopped"
    with account.step("training plans"):
        plans = sagemaker.list_training_plans(
            MaxResults=10, SortBy="StartTime", SortOrder="Descending", StartTimeAfter=utc(1_000_000_000),
            StartTimeBefore=utc(4_000_000_000), Filters=[{"Name": "Status", "Value": "Active"}],
        )["TrainingPlanSummaries"]
        plans = plans or sagemaker.list_training_plans()["TrainingPlanSummaries"]
        assert plans, "no training plan to describe"
        sagemaker.describe_training_plan(TrainingPlanName=plans[0]["TrainingPlanArn"])
        sagemaker.describe_training_plan(TrainingPlanName=plans[0]["TrainingPlanName"])
        sagemaker.list_training_jobs(TrainingPlanArnEquals=plans[0]["TrainingPlanArn"])


def metrics(account, cloudwatch, served, now):
    space = "Conformance/" + cloudwatch.meta.service_model.resolved_protocol
    dimensions = [{"Name": "share", "Value": "vision"}]
    with account.step(f"metrics, {space}"):
        cloudwatch.put_metric_data(
            Namespace=space,
            MetricData=[
                {"MetricName": "one", "Dimensions": dimensions, "Timestamp": utc(now - 60), "Value": 3.5, "Unit": "Seconds", "StorageResolution": 60},
                {"MetricName": "many", "Dimensions": dimensions, "Timestamp": utc(now - 60), "Values": [1.0, 2.0], "Counts": [3.0, 1.0]},
                {"MetricName": "statistics", "StatisticValues": {"SampleCount": 2.0, "Sum": 3.0, "Minimum": 1.0, "Maximum": 2.0}},
            ],
        )
        metric = {"Namespace": space, "MetricName": "many", "Dimensions": dimensions}
        window = {"StartTime": utc(now - 3600), "EndTime": utc(now + 3600)}
        answer = cloudwatch.get_metric_data(
            MetricDataQueries=[
                {"Id": "mean", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Average"}, "Label": "the mean", "ReturnData": True},
                {"Id": "p99", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "p99"}},
            ],
            ScanBy="TimestampAscending",
            MaxDatapoints=1000,
            **window,
        )
        assert answer["MetricDataResults"][0]["Values"] == [1.25], answer
        listed = cloudwatch.list_metrics(Namespace=space, MetricName="many", Dimensions=[{"Name": "share", "Value": "vision"}])
        assert listed["Metrics"] == [metric], listed
        assert cloudwatch.list_metrics(Namespace="/aws/sagemaker/TrainingJobs", RecentlyActive="PT3H")["Metrics"]
    with account.step(f"statistics, {space}"):
        answer = cloudwatch.get_metric_statistics(
            Namespace=space, MetricName="many", Dimensions=dimensions, Period=60, Statistics=["Average", "SampleCount"], **window
        )
        assert [(point["Average"], point["SampleCount"]) for point in answer["Datapoints"]] == [(1.25, 4.0)], answer
        answer = cloudwatch.get_metric_statistics(
            Namespace=space, MetricName="many", Dimensions=dimensions, Period=60, ExtendedStatistics=["p50"], **window
        )
        assert answer["Datapoints"][0]["ExtendedStatistics"], answer
    with account.step(f"dashboards, {space}"):
        name = "conformance"
        body = {"widgets": [{"type": "text", "x": 0, "y": 0, "width": 6, "height": 3, "properties": {"markdown": "hello"}}]}
        cloudwatch.put_dashboard(DashboardName=name, DashboardBody=json.dumps(body))
        account.refused("InvalidParameterInput", "", cloudwatch.put_dashboard, DashboardName=name, DashboardBody="{")
        if "GetDashboard" in served:
            assert json.loads(cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"]) == body
        if "ListDashboards" in served:
            listed = cloudwatch.list_dashboards(DashboardNamePrefix="conf")["DashboardEntries"]
            assert [entry["DashboardName"] for entry in listed] == [name], listed
        if "DeleteDashboards" in served:
            cloudwatch.delete_dashboards(DashboardNames=[name])
    with account.step(f"alarms, {space}"):
        alarm = {
            "AlarmName": f"alarm {space}", "AlarmDescription": "waits", "ActionsEnabled": True,
            "OKActions": ["arn:aws:sns:us-east-1:123456789012:alerts"], "AlarmActions": ["arn:aws:sns:us-east-1:123456789012:alerts"],
            "InsufficientDataActions": ["arn:aws:sns:us-east-1:123456789012:alerts"],
            "MetricName": "many", "Namespace": space, "Statistic": "Average", "Dimensions": dimensions, "Period": 60, "Unit": "Seconds",
            "EvaluationPeriods": 5, "DatapointsToAlarm": 3, "Threshold": 1.5, "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
        }
        cloudwatch.put_metric_alarm(Tags=[{"Key": "team", "Value": "vision"}], **alarm)
        by_query = {
            "AlarmName": f"maths {space}", "EvaluationPeriods": 1, "Threshold": 0.0, "ComparisonOperator": "LessThanThreshold",
            "Metrics": [
                {"Id": "m1", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}, "ReturnData": False},
                {"Id": "e1", "Expression": "m1 * 2", "Label": "twice", "ReturnData": True},
            ],
        }
        cloudwatch.put_metric_alarm(**by_query)
        account.refused("ValidationError", "", cloudwatch.put_metric_alarm, **{**alarm, "Metrics": by_query["Metrics"]})
        if "DescribeAlarms" in served:
            found = cloudwatch.describe_alarms(AlarmNames=[alarm["AlarmName"]], StateValue="INSUFFICIENT_DATA", MaxRecords=10)["MetricAlarms"]
            for name, value in alarm.items():
                assert found[0][name] == value, f"{name}: {found[0].get(name)!r} is not {value!r}"
            assert len(cloudwatch.describe_alarms(AlarmNamePrefix=f"maths {space}", AlarmTypes=["MetricAlarm"])["MetricAlarms"]) == 1
        if "DeleteAlarms" in served:
            cloudwatch.delete_alarms(AlarmNames=[alarm["AlarmName"], by_query["AlarmName"]])


def topics(account, sns, served):
    with account.step("topics"):
        arn = sns.create_topic(Name="conformance", Tags=[{"Key": "team", "Value": "vision"}])["TopicArn"]
        fifo = sns.create_topic(Name="conformance.fifo", Attributes={"FifoTopic": "true", "ContentBasedDeduplication": "false"})["TopicArn"]
        endpoint = "http://127.0.0.1:9/"
        subscription = sns.subscribe(TopicArn=arn, Protocol="http", Endpoint=endpoint, ReturnSubscriptionArn=True)["SubscriptionArn"]
        message = {
            "Subject": "A subject", "Message": "A message",
            "MessageAttributes": {"severity": {"DataType": "String", "StringValue": "page"}},
        }
        sns.publish(TopicArn=arn, **message)
        sns.publish(TopicArn=arn, Message=json.dumps({"default": "x"}), MessageStructure="json")
        published = sns.publish(TopicArn=fifo, MessageGroupId="g", MessageDeduplicationId="d", **message)
        assert published.get("SequenceNumber"), published
        again = sns.publish(TopicArn=fifo, MessageGroupId="g", MessageDeduplicationId="d", **message)
        assert again["MessageId"] == published["MessageId"], (published, again)
        for broken in [
            {"Subject": "s" * 100}, {"Subject": "two\nlines"}, {"Subject": ""}, {"Message": ""}, {"Message": "m" * (256 * 1024 + 1)},
            {"Message": "no default", "MessageStructure": "json"}, {"Message": "{}", "MessageStructure": "json"},
        ]:
            account.refused("InvalidParameter", "", sns.publish, TopicArn=arn, **{**message, **broken})
        account.refused("InvalidParameter", "", sns.publish, TopicArn=fifo, Message="no group")
        account.refused("InvalidParameter", "", sns.publish, TopicArn=fifo, Message="no id", MessageGroupId="g")
        account.refused("NotFound", "", sns.publish, TopicArn=arn + "-gone", Message="nobody")
    with account.step("batches of messages"):
        if "PublishBatch" in served:
            answer = sns.publish_batch(TopicArn=arn, PublishBatchRequestEntries=[{"Id": "1", **message}, {"Id": "2", "Message": "m" * 10}])
            assert len(answer["Successful"]) == 2 and not answer.get("Failed"), answer
            entries = [{"Id": str(number), "Message": "m"} for number in range(11)]
            account.refused("TooManyEntriesInBatchRequest", "", sns.publish_batch, TopicArn=arn, PublishBatchRequestEntries=entries)
    with account.step("attributes"):
        if "ListTopics" in served:
            assert arn in [topic["TopicArn"] for topic in sns.list_topics()["Topics"]]
        if "GetTopicAttributes" in served:
            assert sns.get_topic_attributes(TopicArn=arn)["Attributes"]["TopicArn"] == arn
        if "SetTopicAttributes" in served:
            sns.set_topic_attributes(TopicArn=arn, AttributeName="DisplayName", AttributeValue="Alerts")
        if "ListSubscriptions" in served:
            assert subscription in [found["SubscriptionArn"] for found in sns.list_subscriptions()["Subscriptions"]]
        if "ListSubscriptionsByTopic" in served:
            found = sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
            assert [(one["Protocol"], one["Endpoint"]) for one in found] == [("http", endpoint)], found
        if "GetSubscriptionAttributes" in served:
            assert sns.get_subscription_attributes(SubscriptionArn=subscription)["Attributes"]["TopicArn"] == arn
        if "SetSubscriptionAttributes" in served:
            sns.set_subscription_attributes(SubscriptionArn=subscription, AttributeName="RawMessageDelivery", AttributeValue="true")
        if "Unsubscribe" in served:
            sns.unsubscribe(SubscriptionArn=subscription)
        if "DeleteTopic" in served:
            sns.delete_topic(TopicArn=arn)


def roles(account, sts):
    with account.step("roles"):
        sts.get_caller_identity()
        sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/reader", RoleSessionName="reader", DurationSeconds=900)


def main():
    account = Account(sys.argv[1], breaks=True)
    began = time.monotonic()
    session = botocore.session.get_session()
    served = {}
    for service, must in MUST_SERVE.items():
        names = session.get_service_model(service).operation_names
        candidates = names if service != "sagemaker" else [name for name in names if "Training" in name]
        served[service] = account.served(service, candidates)
        for name in names:
            if re.search(must, name) and name not in served[service]:
                account.problem(f"{service} {name} is not served")

    batch = account.client("batch")
    busy_queues(account, batch)
    environments(account, batch)
    arns = policies(account, batch)
    queues(account, batch, arns)
    share_arns = shares(account, batch)
    jobs(account, batch)
    arn = "arn:aws:batch:us-east-1:123456789012:"
    tags(account, batch, [f"{arn}job-queue/{FIFO}", f"{arn}service-environment/{FIFO}", *arns.values(), *share_arns])
    arns_of_others(account, batch, share_arns)
    training_jobs(account, account.client("sagemaker"), batch)
    teardown(account, batch, arns, share_arns)
    for protocol in (CBOR, JSON, QUERY):
        cloudwatch = account.client("cloudwatch", protocol)
        metrics(account, cloudwatch, served["cloudwatch"], account.now())
    topics(account, account.client("sns"), served["sns"])
    roles(account, account.client("sts"))
    quotas(account, account.client("service-quotas"))

    exercised = {(service, operation) for (service, _, operation), covered in account.covered.items() if covered.answers}
    for service, operations in served.items():
        for operation in operations:
            if (service, operation) not in exercised:
                account.problem(f"{service} {operation} is served and was never answered here")
    broken = sum(covered.broken for covered in account.covered.values())
    print(f"{time.monotonic() - began:.1f} s, {broken} broken requests")
    account.finish()


if __name__ == "__main__":
    main()
