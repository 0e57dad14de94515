"""Topics of moto with an SQS queue behind each: `setup` makes them, `read` tells what arrived, as JSON."""

import json
import sys

import boto3

action, endpoint = sys.argv[1:3]
keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
sns = boto3.client("sns", endpoint_url=endpoint, **keys)
sqs = boto3.client("sqs", endpoint_url=endpoint, **keys)
KINDS = {"standard": ("alerts", {}), "fifo": ("alerts.fifo", {"FifoTopic": "true"})}


def setup():
    topics = {}
    for kind, (name, attributes) in KINDS.items():
        topic = sns.create_topic(Name=name, Attributes=attributes)["TopicArn"]
        of_queue = {"FifoQueue": "true"} if kind == "fifo" else {}
        queue = sqs.create_queue(QueueName=name, Attributes=of_queue)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        # Only what is about a page arrives: the filter is over the attributes that are sent along.
        policy = json.dumps({"severity": ["page"]})
        of_subscription = {"RawMessageDelivery": "true", "FilterPolicy": policy}
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=of_subscription)
        topics[kind] = topic
    return topics


def read():
    arrived = {}
    for kind, (name, _) in KINDS.items():
        queue = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        wanted = {"AttributeNames": ["All"], "MessageAttributeNames": ["All"], "MaxNumberOfMessages": 10}
        messages = sqs.receive_message(QueueUrl=queue, **wanted).get("Messages", [])
        arrived[kind] = [
            {
                "body": message["Body"],
                "attributes": {name: one["StringValue"] for name, one in message["MessageAttributes"].items()},
                "group": message["Attributes"].get("MessageGroupId"),
                "deduplication": message["Attributes"].get("MessageDeduplicationId"),
            }
            for message in messages
        ]
    return arrived


json.dump({"setup": setup, "read": read}[action](), sys.stdout)
