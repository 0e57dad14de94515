"""The same calls to moto and to the simulator: where both serve an operation, both say the same.

usage: against_moto.py ENDPOINT MOTO

Answers are compared without what must differ: ids, times, and the members that one of them leaves out on purpose
(`IGNORED`). Refusals are compared by code and status. Where moto is known to be wrong or lax, the call is not here: it lets
most limits pass.
"""

import http.server
import json
import sys
import threading

import training
from account import JSON, Account, until, utc

IGNORED = {
    "ResponseMetadata", "MessageId", "SubscriptionArn", "SequenceNumber", "Timestamp", "Timestamps", "Messages",
    "AlarmConfigurationUpdatedTimestamp", "StateUpdatedTimestamp", "StateTransitionedTimestamp", "StateReason", "StateReasonData",
    "LastModified", "Size", "Policy", "EffectiveDeliveryPolicy", "DashboardValidationMessages",
}


class Mailbox(http.server.BaseHTTPRequestHandler):
    """Takes what topics deliver: to /ours and to /theirs."""

    taken = {"/ours": [], "/theirs": []}

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.taken[self.path].append((self.headers["x-amz-sns-message-type"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def mailbox():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mailbox)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


class Both:
    """Calls two clients with the same arguments and compares what they say."""

    def __init__(self, account, ours, theirs):
        self.account, self.ours, self.theirs = account, ours, theirs
        self.compared = 0

    def __call__(self, operation, only=None, **arguments):
        ours, theirs = (self.outcome(client, operation, arguments) for client in (self.ours, self.theirs))
        seen = [normal(ours, only), normal(theirs, only)]
        if seen[0] != seen[1]:
            self.account.problem(f"{operation}: the simulator says {seen[0]!r}, moto {seen[1]!r}, given {arguments!r:.500}")
        self.compared += 1
        return ours

    def outcome(self, client, operation, arguments):
        self.account.refusal_expected = True
        try:
            return getattr(client, operation)(**arguments)
        except client.exceptions.ClientError as error:
            return {"code": error.response["Error"]["Code"], "status": error.response["ResponseMetadata"]["HTTPStatusCode"]}
        finally:
            self.account.refusal_expected = False


def normal(answer, only):
    """An answer without what must differ."""
    if isinstance(answer, dict):
        kept = {key: value for key, value in answer.items() if key not in IGNORED and (only is None or key in only)}
        # An empty list or map and none at all mean the same.
        return {key: normal(value, None) for key, value in kept.items() if value not in ([], {}, None)}
    if isinstance(answer, list) and all(isinstance(value, dict) for value in answer):
        # Lists of things have no order here, and moto lists a metric once for each of its data.
        different = {json.dumps(normal(value, None), default=str, sort_keys=True) for value in answer}
        return [json.loads(value) for value in sorted(different)]
    return answer


def topics(both, served):
    arn = both("create_topic", Name="alerts")["TopicArn"]
    both("create_topic", Name="alerts")
    fifo = both("create_topic", Name="alerts.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]
    both("create_topic", Name="not a name")
    both("create_topic", Name="no-attributes.fifo")
    address = mailbox()
    for client, path in [(both.ours, "/ours"), (both.theirs, "/theirs")]:
        client.subscribe(TopicArn=arn, Protocol="http", Endpoint=address + path)
    both("subscribe", TopicArn=arn + "-gone", Protocol="http", Endpoint=address)
    attributes = {"severity": {"DataType": "String", "StringValue": "page"}}
    both("publish", TopicArn=arn, Subject="a subject", Message="a message", MessageAttributes=attributes)
    notices = until(
        lambda: [[notice for notice in Mailbox.taken[path] if notice[1]["Type"] == "Notification"] for path in ("/ours", "/theirs")],
        lambda found: all(found),
    )
    for member in ["Type", "TopicArn", "Subject", "Message"]:
        seen = [found[0][1].get(member) for found in notices]
        if seen[0] != seen[1]:
            both.account.problem(f"delivered {member}: {seen[0]!r}, moto {seen[1]!r}")
    assert notices[0][0][0] == "Notification", "no x-amz-sns-message-type header"  # which moto leaves out
    missing = notices[1][0][1].keys() - notices[0][0][1].keys()
    if missing:
        both.account.problem(f"delivered without {sorted(missing)}, which moto has")
    both("publish", TopicArn=arn + "-gone", Message="a message")
    both("publish", TopicArn=arn, Subject="s" * 101, Message="a message")
    both("publish", TopicArn=arn, Message="m" * (256 * 1024 + 1))
    both("publish", TopicArn=fifo, Message="without an id", MessageGroupId="g")
    both("publish", TopicArn=fifo, Message="a message", MessageGroupId="g", MessageDeduplicationId="d")
    if "ListTopics" in served:
        both("list_topics")
    if "GetTopicAttributes" in served:
        both("get_topic_attributes", TopicArn=arn + "-gone")
    if "PublishBatch" in served:
        entries = [{"Id": str(number), "Message": "m"} for number in range(11)]
        both("publish_batch", TopicArn=arn, PublishBatchRequestEntries=entries[:3], only=["code", "Failed"])
        both("publish_batch", TopicArn=arn, PublishBatchRequestEntries=entries)
        both("publish_batch", TopicArn=arn, PublishBatchRequestEntries=entries[:1] * 2)
    if "DeleteTopic" in served:
        both("delete_topic", TopicArn=arn)
        both("publish", TopicArn=arn, Message="a message")


def metrics(both, served, now):
    # On the minute, so that both find the same periods.
    now -= now % 3600
    space, dimensions = "Peers", [{"Name": "share", "Value": "vision"}, {"Name": "queue", "Value": "prod"}]
    for minute in range(5):
        data = [
            {"MetricName": "wait", "Dimensions": dimensions, "Timestamp": utc(now - 600 + 60 * minute), "Value": float(minute * value), "Unit": "Seconds"}
            for value in (1, 2, 4)
        ]
        both("put_metric_data", Namespace=space, MetricData=data)
    both("list_metrics", Namespace=space)
    both("list_metrics", Namespace=space, Dimensions=[{"Name": "share", "Value": "vision"}])
    both("list_metrics", Namespace="Elsewhere")
    window = {"StartTime": utc(now - 900), "EndTime": utc(now)}
    for stat in ["Average", "Sum", "Minimum", "Maximum", "SampleCount"]:
        for period in (60, 300):
            metric = {"Namespace": space, "MetricName": "wait", "Dimensions": dimensions}
            query = {"Id": "q", "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}, "Label": "w"}
            both("get_metric_data", MetricDataQueries=[query], ScanBy="TimestampAscending", **window)
            if "GetMetricStatistics" in served:
                both("get_metric_statistics", Period=period, Statistics=[stat], **metric, **window)
    if "PutDashboard" in served and "GetDashboard" in served:
        body = json.dumps({"widgets": [{"type": "text", "x": 0, "y": 0, "width": 3, "height": 3, "properties": {"markdown": "hello"}}]})
        both("put_dashboard", DashboardName="peers", DashboardBody=body)
        both("get_dashboard", DashboardName="peers", only=["DashboardName", "DashboardArn", "DashboardBody"])
        both("get_dashboard", DashboardName="nowhere")
        both("put_dashboard", DashboardName="peers", DashboardBody="not JSON")
        if "ListDashboards" in served:
            both("list_dashboards")
    if "PutMetricAlarm" in served and "DescribeAlarms" in served:
        alarm = {
            "AlarmName": "waits", "MetricName": "wait", "Namespace": space, "Statistic": "Maximum", "Dimensions": dimensions,
            "Period": 60, "EvaluationPeriods": 3, "DatapointsToAlarm": 2, "Threshold": 1800.0, "ComparisonOperator": "GreaterThanThreshold",
            "AlarmDescription": "a long wait", "ActionsEnabled": True, "TreatMissingData": "ignore",
            "AlarmActions": ["arn:aws:sns:us-east-1:123456789012:alerts"],
        }
        both("put_metric_alarm", **alarm)
        found = both.ours.describe_alarms(AlarmNames=["waits"])["MetricAlarms"]
        theirs = both.theirs.describe_alarms(AlarmNames=["waits"])["MetricAlarms"]
        for name in [*alarm, "AlarmArn"]:
            if found[0].get(name) != theirs[0].get(name):
                both.account.problem(f"describe_alarms {name}: {found[0].get(name)!r}, moto {theirs[0].get(name)!r}")
        both("describe_alarms", AlarmNames=["nobody"])


def training_jobs(both, account):
    """moto's jobs are created by CreateTrainingJob and Completed at once; the simulator's come through a queue."""
    batch = account.client("batch")
    name = "peer"
    batch.create_service_environment(
        serviceEnvironmentName=name, serviceEnvironmentType="SAGEMAKER_TRAINING", capacityLimits=[{"maxCapacity": 3, "capacityUnit": "NUM_INSTANCES"}]
    )
    training.valid(training.environment, batch, name)
    order = [{"order": 1, "serviceEnvironment": name}]
    batch.create_job_queue(jobQueueName=name, state="ENABLED", priority=1, jobQueueType="SAGEMAKER_TRAINING", serviceEnvironmentOrder=order)
    training.valid(training.queue, batch, name)
    payload = json.loads(training.payload("peer-job", count=2))
    job = batch.submit_service_job(**training.submission("peer-job", name, serviceRequestPayload=json.dumps(payload)))
    ended = training.reached(batch, job["jobId"], "SUCCEEDED", "FAILED")
    made = ended["latestAttempt"]["serviceResourceId"]["value"].rpartition("/")[2]
    both.theirs.create_training_job(**{**payload, "TrainingJobName": made})
    shared = [
        "TrainingJobName", "TrainingJobArn", "TrainingJobStatus", "SecondaryStatus", "HyperParameters", "ResourceConfig", "RoleArn",
        "StoppingCondition", "AlgorithmSpecification",
    ]
    ours, theirs = (client.describe_training_job(TrainingJobName=made) for client in (both.ours, both.theirs))
    for member in shared:
        mine, other = ours.get(member), theirs.get(member)
        if isinstance(mine, dict) and isinstance(other, dict):  # each may add defaults
            mine, other = ({key: side[key] for key in mine.keys() & other.keys()} for side in (mine, other))
        if mine != other:
            account.problem(f"describe_training_job {member}: {mine!r}, moto {other!r}")
    both.compared += 1
    names = {"TrainingJobSummaries"}
    for filters in [{}, {"StatusEquals": "Completed"}, {"StatusEquals": "Failed"}, {"NameContains": made[:20]}, {"NameContains": "zz9"}]:
        ours, theirs = (client.list_training_jobs(**filters) for client in (both.ours, both.theirs))
        seen = [[(job["TrainingJobName"], job["TrainingJobArn"], job["TrainingJobStatus"]) for job in answer[next(iter(names))]] for answer in (ours, theirs)]
        if seen[0] != seen[1]:
            account.problem(f"list_training_jobs {filters}: {seen[0]!r}, moto {seen[1]!r}")
        both.compared += 1
    both("describe_training_job", TrainingJobName="nothing")
    both("list_training_jobs", MaxResults=101)


def main():
    account, moto = Account(sys.argv[1]), Account(sys.argv[2])
    compared = {}
    for service, run in [("sns", topics), ("cloudwatch", metrics), ("sagemaker", training_jobs)]:
        # moto speaks no CBOR.
        protocol = JSON if service == "cloudwatch" else None
        both = Both(account, account.client(service, protocol), moto.bare_client(service, protocol, parameter_validation=False))
        both.ours = account.client(service, protocol)
        with account.step(service):
            if service == "sagemaker":
                run(both, account)
            else:
                names = both.ours.meta.service_model.operation_names
                served = account.served(service, names)
                run(both, served, *([account.now()] if service == "cloudwatch" else []))
        compared[service] = both.compared
    print("compared:", ", ".join(f"{service} {count}" for service, count in compared.items()))
    account.finish()


if __name__ == "__main__":
    main()
