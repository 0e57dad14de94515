"""An SQS queue of moto: `make` prints its URL, `send URL` sends each line of standard input, `left URL` prints how many are there."""

import sys

import boto3

action, endpoint = sys.argv[1:3]
keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
sqs = boto3.client("sqs", endpoint_url=endpoint, **keys)

if action == "make":
    print(sqs.create_queue(QueueName="events")["QueueUrl"])
elif action == "send":
    for body in sys.stdin.read().splitlines():
        sqs.send_message(QueueUrl=sys.argv[3], MessageBody=body)
else:
    wanted = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = sqs.get_queue_attributes(QueueUrl=sys.argv[3], AttributeNames=wanted)["Attributes"]
    print(sum(int(count) for count in counts.values()))
