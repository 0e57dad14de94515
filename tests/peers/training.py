"""What every script here needs to have training queues: names, payloads, and waiting for resources."""

import json

from account import until

INSTANCE = "ml.g5.12xlarge"
OTHER_INSTANCE = "ml.p5.48xlarge"
ROLE = "arn:aws:iam::123456789012:role/training"


def payload(name, instance_type=INSTANCE, count=1, seconds=60, **members):
    """A CreateTrainingJob request that the simulator runs for so long."""
    return json.dumps(
        {
            "TrainingJobName": name,
            "RoleArn": ROLE,
            "AlgorithmSpecification": {"TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/image:1", "TrainingInputMode": "File"},
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
            "ResourceConfig": {"InstanceType": instance_type, "InstanceCount": count, "VolumeSizeInGB": 30},
            "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
            "HyperParameters": {"simulated_seconds": str(seconds)},
            **members,
        }
    )


def everything(name):
    """A CreateTrainingJob request with members of every kind."""
    request = json.loads(payload(name, seconds=10**6))
    place = "s3://bucket/place"
    rules = [{"RuleConfigurationName": "r", "RuleEvaluatorImage": "image", "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 1, "RuleParameters": {"a": "b"}}]
    request["AlgorithmSpecification"] |= {
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}],
        "EnableSageMakerMetricsTimeSeries": True,
        "ContainerEntrypoint": ["python"],
        "ContainerArguments": ["train.py"],
        "TrainingImageConfig": {"TrainingRepositoryAccessMode": "Vpc"},
    }
    request["OutputDataConfig"] |= {"KmsKeyId": "alias/key", "CompressionType": "NONE"}
    request["ResourceConfig"] |= {"KeepAlivePeriodInSeconds": 600, "VolumeKmsKeyId": "alias/key"}
    request["StoppingCondition"] |= {"MaxWaitTimeInSeconds": 90_000, "MaxPendingTimeInSeconds": 7_200}
    return request | {
        "InputDataConfig": [
            {
                "ChannelName": "train",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": place}},
                "ContentType": "text/csv",
                "CompressionType": "None",
                "RecordWrapperType": "None",
                "InputMode": "File",
                "ShuffleConfig": {"Seed": 1},
            }
        ],
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        "Tags": [{"Key": "owner", "Value": "ada"}],
        "Environment": {"A": "b"},
        "CheckpointConfig": {"S3Uri": place, "LocalPath": "/opt"},
        "DebugHookConfig": {"S3OutputPath": place, "LocalPath": "/opt", "HookParameters": {"a": "b"}, "CollectionConfigurations": [{"CollectionName": "c", "CollectionParameters": {"a": "b"}}]},
        "DebugRuleConfigurations": rules,
        "ProfilerRuleConfigurations": rules,
        "ProfilerConfig": {"S3OutputPath": place, "ProfilingParameters": {"a": "b"}, "DisableProfiler": False},
        "TensorBoardOutputConfig": {"S3OutputPath": place, "LocalPath": "/opt"},
        "ExperimentConfig": {"ExperimentName": "e", "TrialName": "t", "RunName": "r"},
        "RetryStrategy": {"MaximumRetryAttempts": 3},
        "EnableManagedSpotTraining": True,
        "EnableNetworkIsolation": False,
        "EnableInterContainerTrafficEncryption": False,
    }


def submission(name, queue, **members):
    """A SubmitServiceJob request; `payload` and its members may be given."""
    return {
        "jobName": name,
        "jobQueue": queue,
        "serviceJobType": "SAGEMAKER_TRAINING",
        "serviceRequestPayload": payload(name),
        **members,
    }


def environment(batch, name):
    """The environment, or None."""
    found = batch.describe_service_environments(serviceEnvironments=[name])["serviceEnvironments"]
    return found[0] if found else None


def queue(batch, name):
    """The queue, or None."""
    found = batch.describe_job_queues(jobQueues=[name])["jobQueues"]
    return found[0] if found else None


def valid(read, batch, name):
    """Waits until an environment or a queue is VALID."""
    return until(lambda: read(batch, name), lambda found: found is not None and found["status"] == "VALID")


def gone(read, batch, name):
    """Waits until an environment or a queue is there no more."""
    until(lambda: read(batch, name), lambda found: found is None or found["status"] == "DELETED")


def valid_share(batch, arn):
    """Waits until a quota share is VALID."""
    return until(lambda: batch.describe_quota_share(quotaShareArn=arn), lambda found: found["status"] == "VALID")


def reached(batch, job, *statuses):
    """Waits until a job has one of the statuses."""
    return until(lambda: batch.describe_service_job(jobId=job), lambda found: found["status"] in statuses)
