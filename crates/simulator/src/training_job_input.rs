//! Input of `CreateTrainingJob`, which clients send to SageMaker or as the payload of a service job.

use serde_json::Value;

use crate::api_error::ApiError;
use crate::cbor;
use crate::input_types::Member;
use crate::input_types::Shape;
use crate::input_types::optional;
use crate::input_types::required;
use crate::input_types::text;

/// The validated members; others are accepted unchecked.
pub(crate) const INPUT: Shape = Shape::Structure(&[
    NAME,
    required("RoleArn", &Shape::Begins(&["arn:aws"], 20, 2_048)),
    required("OutputDataConfig", &Shape::Structure(&OUTPUT)),
    optional("AlgorithmSpecification", &Shape::Structure(&ALGORITHM)),
    optional("CheckpointConfig", &Shape::Structure(&[required("S3Uri", &S3_URI), optional("LocalPath", &PATH)])),
    optional("DebugHookConfig", &Shape::Structure(&DEBUG_HOOK)),
    optional("DebugRuleConfigurations", &Shape::List(&RULE, 0, 20)),
    optional("EnableInterContainerTrafficEncryption", &Shape::Boolean),
    optional("EnableManagedSpotTraining", &Shape::Boolean),
    optional("EnableNetworkIsolation", &Shape::Boolean),
    optional("Environment", &Shape::Texts(100, 512, 512)),
    optional("ExperimentConfig", &Shape::Structure(&EXPERIMENT)),
    optional("HyperParameters", &Shape::Texts(100, 256, 2_500)),
    optional("InfraCheckConfig", &Shape::Structure(&[optional("EnableInfraCheck", &Shape::Boolean)])),
    optional("InputDataConfig", &Shape::List(&Shape::Structure(&CHANNEL), 1, 20)),
    optional("ProfilerConfig", &Shape::Structure(&PROFILER)),
    optional("ProfilerRuleConfigurations", &Shape::List(&RULE, 0, 20)),
    optional("RemoteDebugConfig", &Shape::Structure(&[optional("EnableRemoteDebug", &Shape::Boolean)])),
    optional("ResourceConfig", &Shape::Structure(&RESOURCES)),
    optional("RetryStrategy", &Shape::Structure(&[required("MaximumRetryAttempts", &Shape::Integer(1, 30))])),
    optional("SessionChainingConfig", &Shape::Structure(&[optional("EnableSessionTagChaining", &Shape::Boolean)])),
    optional("StoppingCondition", &Shape::Structure(&STOPPING)),
    optional("Tags", &TAGS),
    optional(
        "TensorBoardOutputConfig",
        &Shape::Structure(&[required("S3OutputPath", &S3_URI), optional("LocalPath", &PATH)]),
    ),
    optional("VpcConfig", &Shape::Structure(&NETWORK)),
]);

/// Checks those members of a request that are there. Members that are missing are not: payloads of service jobs may leave
/// out what the simulator does not need.
///
/// # Errors
/// As [`Shape::check`].
pub(crate) fn check_present(request: &Value) -> Result<(), ApiError> {
    let Shape::Structure(members) = INPUT else { return Ok(()) };
    for member in members.iter().filter(|member| member.name != NAME.name) {
        if let Some(value) = request.get(member.name).filter(|value| !value.is_null()) {
            member.shape.check_inside(cbor::output(value)?, member.name)?;
        }
    }
    Ok(())
}

/// Name of a training job.
pub(crate) const NAME: Member = required("TrainingJobName", &Shape::Dashed { most: 63, after: "" });

const AMOUNT: Shape = Shape::Integer(0, i32::MAX as i64);
const SOME: Shape = Shape::Integer(1, i32::MAX as i64);
const S3_URI: Shape = Shape::Begins(&["https://", "s3://"], 0, 1_024);
const PATH: Shape = text(0, 4_096);
const KEY: Shape = Shape::Characters { least: 0, most: 2_048, beside: ":/_-" };
const INSTANCE_TYPE: Shape = Shape::TrainingInstance;
/// SageMaker's `ProcessingInstanceType`, whose values are not listed here.
const PROCESSING_INSTANCE_TYPE: Shape = Shape::Begins(&["ml."], 0, 64);
const INPUT_MODE: Shape = Shape::Enum(&["Pipe", "File", "FastFile"]);
const PARAMETERS: Shape = Shape::Texts(20, 256, 256);
const WORDS: Shape = Shape::List(&text(0, 256), 1, 100);
const TRAINING_PLAN: Shape = Shape::Begins(&["arn:aws"], 50, 2_048);

const TAGS: Shape = Shape::List(
    &Shape::Structure(&[required("Key", &Shape::TagText(1, 128)), required("Value", &Shape::TagText(0, 256))]),
    0,
    50,
);
const OUTPUT: [Member; 3] = [
    required("S3OutputPath", &S3_URI),
    optional("KmsKeyId", &KEY),
    optional("CompressionType", &Shape::Enum(&["GZIP", "NONE"])),
];
const ALGORITHM: [Member; 8] = [
    optional("TrainingImage", &text(0, 255)),
    optional("AlgorithmName", &text(1, 170)),
    required("TrainingInputMode", &INPUT_MODE),
    optional("MetricDefinitions", &Shape::List(&Shape::Structure(&METRIC), 0, 40)),
    optional("EnableSageMakerMetricsTimeSeries", &Shape::Boolean),
    optional("ContainerEntrypoint", &WORDS),
    optional("ContainerArguments", &WORDS),
    optional(
        "TrainingImageConfig",
        &Shape::Structure(&[required("TrainingRepositoryAccessMode", &Shape::Enum(&["Platform", "Vpc"]))]),
    ),
];
const METRIC: [Member; 2] = [required("Name", &text(1, 255)), required("Regex", &text(1, 500))];
const CHANNEL: [Member; 7] = [
    required("ChannelName", &Shape::Characters { least: 1, most: 64, beside: ".-_" }),
    required("DataSource", &Shape::Structure(&[optional("S3DataSource", &Shape::Structure(&S3_SOURCE))])),
    optional("ContentType", &text(0, 256)),
    optional("CompressionType", &Shape::Enum(&["None", "Gzip"])),
    optional("RecordWrapperType", &Shape::Enum(&["None", "RecordIO"])),
    optional("InputMode", &INPUT_MODE),
    optional("ShuffleConfig", &Shape::Structure(&[required("Seed", &Shape::Integer(i64::MIN, i64::MAX))])),
];
const S3_SOURCE: [Member; 2] = [
    required("S3DataType", &Shape::Enum(&["ManifestFile", "S3Prefix", "AugmentedManifestFile", "Converse"])),
    required("S3Uri", &S3_URI),
];
const RESOURCES: [Member; 8] = [
    optional("InstanceType", &INSTANCE_TYPE),
    optional("InstanceCount", &AMOUNT),
    optional("VolumeSizeInGB", &AMOUNT),
    optional("VolumeKmsKeyId", &KEY),
    optional("KeepAlivePeriodInSeconds", &Shape::Integer(0, 21_600)),
    optional("InstanceGroups", &Shape::List(&Shape::Structure(&GROUP), 0, 5)),
    optional("InstancePreferences", &Shape::List(&Shape::Structure(&PREFERENCE), 1, 5)),
    optional("TrainingPlanArn", &TRAINING_PLAN),
];
const GROUP: [Member; 3] = [
    required("InstanceType", &INSTANCE_TYPE),
    required("InstanceCount", &AMOUNT),
    required("InstanceGroupName", &text(1, 64)),
];
const PREFERENCE: [Member; 3] = [
    required("InstanceType", &INSTANCE_TYPE),
    optional("InstanceCount", &AMOUNT),
    optional("TrainingPlanArns", &Shape::List(&TRAINING_PLAN, 1, 1)),
];
const NETWORK: [Member; 2] = [
    required("SecurityGroupIds", &Shape::List(&NETWORK_ID, 1, 5)),
    required("Subnets", &Shape::List(&NETWORK_ID, 1, 16)),
];
const NETWORK_ID: Shape = Shape::Characters { least: 0, most: 32, beside: "-" };
const STOPPING: [Member; 3] = [
    optional("MaxRuntimeInSeconds", &SOME),
    optional("MaxWaitTimeInSeconds", &SOME),
    optional("MaxPendingTimeInSeconds", &Shape::Integer(1_800, 2_419_200)),
];
const EXPERIMENT_NAME: Shape = Shape::Dashed { most: 120, after: "" };
const EXPERIMENT: [Member; 4] = [
    optional("ExperimentName", &EXPERIMENT_NAME),
    optional("TrialName", &EXPERIMENT_NAME),
    optional("TrialComponentDisplayName", &EXPERIMENT_NAME),
    optional("RunName", &EXPERIMENT_NAME),
];
const DEBUG_HOOK: [Member; 4] = [
    required("S3OutputPath", &S3_URI),
    optional("LocalPath", &PATH),
    optional("HookParameters", &PARAMETERS),
    optional("CollectionConfigurations", &Shape::List(&Shape::Structure(&COLLECTION), 0, 20)),
];
const COLLECTION: [Member; 2] =
    [optional("CollectionName", &text(1, 256)), optional("CollectionParameters", &PARAMETERS)];
const RULE: Shape = Shape::Structure(&[
    required("RuleConfigurationName", &text(1, 256)),
    required("RuleEvaluatorImage", &text(0, 255)),
    optional("InstanceType", &PROCESSING_INSTANCE_TYPE),
    optional("LocalPath", &PATH),
    optional("RuleParameters", &Shape::Texts(100, 256, 256)),
    optional("S3OutputPath", &S3_URI),
    optional("VolumeSizeInGB", &AMOUNT),
]);
const PROFILER: [Member; 4] = [
    optional("S3OutputPath", &S3_URI),
    optional("ProfilingIntervalInMilliseconds", &Shape::Integer(i64::MIN, i64::MAX)),
    optional("ProfilingParameters", &PARAMETERS),
    optional("DisableProfiler", &Shape::Boolean),
];
