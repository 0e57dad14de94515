"""The checks themselves: what `wire` must find in an answer, and what `breakage` must make of a request."""

import json
import struct
import sys

import botocore.session

import breakage
import wire

SESSION = botocore.session.get_session()
HEADERS = {
    "rest-json": {"content-type": "application/json"},
    "json": {"content-type": "application/x-amz-json-1.1"},
    "smithy-rpc-v2-cbor": {"content-type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"},
    "query": {"content-type": "text/xml"},
}
JOB = {"jobId": "i", "jobName": "n", "jobQueue": "q", "serviceJobType": "SAGEMAKER_TRAINING", "status": "RUNNING", "startedAt": 1_800_000_000_000}
CALLER = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>{}'
    "</GetCallerIdentityResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
)

# (service, protocol, operation, body, what must be found; None for nothing)
ANSWERS = [
    ("batch", "rest-json", "DescribeServiceJob", json.dumps(JOB), None),
    ("batch", "rest-json", "DescribeServiceJob", json.dumps({**JOB, "jobId": None}), "null on the wire"),
    ("batch", "rest-json", "DescribeServiceJob", json.dumps({**JOB, "jobId": 7}), "is not a string"),
    ("batch", "rest-json", "DescribeServiceJob", json.dumps({**JOB, "odd": 7}), "not in the model"),
    ("batch", "rest-json", "DescribeServiceJob", json.dumps({**JOB, "status": "WAITING"}), "not in the enum"),
    ("batch", "rest-json", "DescribeServiceJob", json.dumps({**JOB, "startedAt": 1_800_000_000}), "not in milliseconds"),
    ("batch", "rest-json", "DescribeServiceJob", json.dumps({**JOB, "createdAt": 1.5}), "not a whole number"),
    ("batch", "rest-json", "DescribeServiceJob", json.dumps({**JOB, "schedulingPriority": 2**31}), "too large"),
    ("batch", "rest-json", "DescribeServiceJob", json.dumps({**JOB, "isTerminated": "true"}), "not a boolean"),
    ("batch", "rest-json", "DescribeServiceJob", json.dumps({**JOB, "tags": {"k": "v" * 257}}), "not within"),
    ("batch", "rest-json", "DescribeServiceJob", json.dumps({**JOB, "attempts": {}}), "not a list"),
    ("batch", "rest-json", "DescribeServiceJob", json.dumps({**JOB, "latestAttempt": {"serviceResourceId": {"name": "TrainingJobArn"}}}), "required and absent"),
    ("batch", "rest-json", "DescribeServiceJob", json.dumps({key: JOB[key] for key in JOB if key != "jobId"}), "required and absent"),
    ("batch", "rest-json", "DescribeServiceJob", json.dumps(JOB)[:-1], "unreadable"),
    ("batch", "rest-json", "TagResource", '{"odd": 1}', "not in the model"),
    ("sagemaker", "json", "ListTrainingPlans", '{"TrainingPlanSummaries": [{"TrainingPlanArn": "a", "TrainingPlanName": "n", "Status": "Active", "StartTime": "2026-01-01"}]}', "not a time"),
    ("sagemaker", "json", "ListTrainingPlans", '{"TrainingPlanSummaries": [{"TrainingPlanArn": "a", "TrainingPlanName": "n", "Status": "Active", "StartTime": 1800000000000}]}', "not in seconds"),
    ("cloudwatch", "smithy-rpc-v2-cbor", "ListMetrics", bytes.fromhex("a1674d65747269637380"), None),
    # {"MetricDataResults": [{"Timestamps": [1.8e9, without a tag]}]}
    ("cloudwatch", "smithy-rpc-v2-cbor", "GetMetricData", b"\xa1\x71MetricDataResults\x81\xa1\x6aTimestamps\x81\xfb" + struct.pack(">d", 1.8e9), "under tag 1"),
    ("cloudwatch", "smithy-rpc-v2-cbor", "GetMetricData", b"\xa1\x71MetricDataResults\x81\xa1\x6aTimestamps\x81\xc1\xfb" + struct.pack(">d", 1.8e9), None),
    ("cloudwatch", "smithy-rpc-v2-cbor", "GetMetricData", b"\xa1\x71MetricDataResults\xf6", "null on the wire"),
    ("cloudwatch", "smithy-rpc-v2-cbor", "ListMetrics", b"\xa0\xa0", "unreadable"),
    ("sts", "query", "GetCallerIdentity", CALLER.format("<Account>1</Account>"), None),
    ("sts", "query", "GetCallerIdentity", CALLER.format("<Odd>1</Odd>"), "not in the model"),
    ("sts", "query", "GetCallerIdentity", CALLER.format("<Account><b/></Account>"), "elements inside"),
    ("sts", "query", "GetCallerIdentity", CALLER.format("").replace("sts.", "sns."), "namespace"),
    ("sts", "query", "GetCallerIdentity", CALLER.format("").replace("<RequestId>r</RequestId>", ""), "no RequestId"),
]

DIMENSIONS = [{"Name": "share", "Value": "v"}]
BROKEN_PUT = {
    ("Namespace", "required"), ("Namespace", "min"), ("Namespace", "max"), ("Namespace", "pattern"), ("Namespace", "type"),
    ("MetricData[].MetricName", "required"), ("MetricData[].MetricName", "min"), ("MetricData[].MetricName", "max"),
    ("MetricData[].MetricName", "type"), ("MetricData[].Unit", "enum"), ("MetricData[].Unit", "type"),
    ("MetricData[].Dimensions", "max"), ("MetricData[].Dimensions[].Name", "required"), ("MetricData[].Dimensions[].Name", "min"),
    ("MetricData[].Dimensions[].Name", "max"), ("MetricData[].Dimensions[].Name", "type"), ("MetricData[].Dimensions[].Value", "required"),
    ("MetricData[].Dimensions[].Value", "min"), ("MetricData[].Dimensions[].Value", "max"), ("MetricData[].Dimensions[].Value", "type"),
}
BROKEN_PUT |= {(place, "type of scalar") for place, constraint in BROKEN_PUT if constraint == "type"}
BROKEN_PUT |= {(place, "case") for place, constraint in BROKEN_PUT if constraint == "enum"}


def main():
    wrong = []
    for service, protocol, operation, body, expected in ANSWERS:
        body = body if isinstance(body, bytes) else body.encode()
        model = SESSION.get_service_model(service).operation_model(operation)
        response = {"status_code": 200, "headers": {"x-amzn-requestid": "r", **HEADERS[protocol]}, "body": body}
        found = list(wire.problems_of_answer(model, protocol, response, set()))
        if (expected is None and found) or (expected and not any(expected in problem for problem in found)):
            wrong.append(f"{operation} {body!r:.200}: expected {expected!r}, found {found}")
    shape = SESSION.get_service_model("cloudwatch").operation_model("PutMetricData").input_shape
    request = {"Namespace": "n", "MetricData": [{"MetricName": "m", "Unit": "Count", "Dimensions": DIMENSIONS}]}
    before = json.dumps(request)
    made = {(place, constraint) for place, constraint, _ in breakage.breakages("cloudwatch", shape, request, typed=True)}
    if made != BROKEN_PUT or json.dumps(request) != before:
        wrong.append(f"breakages: {sorted(made ^ BROKEN_PUT)} and the request is now {request}")
    print("\n".join(wrong) or f"{len(ANSWERS)} answers and {len(made)} broken requests judged right")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
