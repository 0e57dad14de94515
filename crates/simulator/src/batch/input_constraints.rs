//! Inputs of the supported operations: types and enums from the model of botocore 1.44.5, lengths and ranges from the
//! text of the API reference.

use crate::input_types::Member;
use crate::input_types::Shape;
use crate::input_types::optional;
use crate::input_types::required;
use crate::input_types::text;

/// The supported operations by name, with their inputs. A path is `/v1/` and the name in lower case.
pub(super) const SERVED: [(&str, Shape); 28] = [
    ("CreateJobQueue", Shape::Structure(&CREATE_QUEUE)),
    ("CreateQuotaShare", Shape::Structure(&CREATE_SHARE)),
    ("CreateSchedulingPolicy", Shape::Structure(&CREATE_POLICY)),
    ("CreateServiceEnvironment", Shape::Structure(&CREATE_ENVIRONMENT)),
    ("DeleteJobQueue", Shape::Structure(&[required("jobQueue", &ANY)])),
    ("DeleteQuotaShare", Shape::Structure(&[required("quotaShareArn", &ANY)])),
    ("DeleteSchedulingPolicy", Shape::Structure(&[required("arn", &ANY)])),
    ("DeleteServiceEnvironment", Shape::Structure(&[required("serviceEnvironment", &ANY)])),
    ("DescribeJobQueues", Shape::Structure(&[optional("jobQueues", &NAMES), PAGE_SIZE, PAGE_TOKEN])),
    ("DescribeQuotaShare", Shape::Structure(&[required("quotaShareArn", &ANY)])),
    ("DescribeSchedulingPolicies", Shape::Structure(&[required("arns", &NAMES)])),
    (
        "DescribeServiceEnvironments",
        Shape::Structure(&[optional("serviceEnvironments", &NAMES), PAGE_SIZE, PAGE_TOKEN]),
    ),
    ("DescribeServiceJob", Shape::Structure(&[required("jobId", &ANY)])),
    ("GetJobQueueSnapshot", Shape::Structure(&[required("jobQueue", &ANY)])),
    ("ListQuotaShares", Shape::Structure(&[required("jobQueue", &ANY), PAGE_SIZE, PAGE_TOKEN])),
    ("ListSchedulingPolicies", Shape::Structure(&[PAGE_SIZE, PAGE_TOKEN])),
    ("ListServiceJobs", Shape::Structure(&LIST_JOBS)),
    ("ListTagsForResource", Shape::Structure(&[required("resourceArn", &ANY)])),
    ("SubmitServiceJob", Shape::Structure(&SUBMIT)),
    ("TagResource", Shape::Structure(&[required("resourceArn", &ANY), required("tags", &TAGS)])),
    ("TerminateServiceJob", Shape::Structure(&[required("jobId", &ANY), required("reason", &ANY)])),
    ("TerminateServiceJobs", Shape::Structure(&[required("jobs", &JOBS), required("reason", &ANY)])),
    ("UntagResource", Shape::Structure(&[required("resourceArn", &ANY), required("tagKeys", &TAG_KEYS)])),
    ("UpdateJobQueue", Shape::Structure(&UPDATE_QUEUE)),
    ("UpdateQuotaShare", Shape::Structure(&UPDATE_SHARE)),
    ("UpdateSchedulingPolicy", Shape::Structure(&UPDATE_POLICY)),
    ("UpdateServiceEnvironment", Shape::Structure(&UPDATE_ENVIRONMENT)),
    ("UpdateServiceJob", Shape::Structure(&[required("jobId", &ANY), required("schedulingPriority", &PRIORITY)])),
];

const ANY: Shape = text(1, usize::MAX);
const TEXT: Shape = text(0, usize::MAX);
const NAMES: Shape = Shape::List(&TEXT, 0, 100);
const TAGS: Shape = Shape::Tags(1, 50);
const TAG_KEYS: Shape = Shape::List(&text(1, 128), 1, 50);
const JOBS: Shape = Shape::List(&ANY, 1, 50);
const STATE: Shape = Shape::Enum(&["ENABLED", "DISABLED"]);
const TRAINING: Shape = Shape::Enum(&["SAGEMAKER_TRAINING"]);
const PRIORITY: Shape = Shape::Integer(0, 9_999);
const WHOLE: Shape = Shape::Integer(0, i32::MAX as i64);
const PAGE_SIZE: Member = optional("maxResults", &Shape::Integer(1, 100));
const PAGE_TOKEN: Member = optional("nextToken", &TEXT);

const LIMITS: Shape = Shape::List(
    &Shape::Structure(&[required("maxCapacity", &WHOLE), required("capacityUnit", &Shape::CapacityUnit)]),
    1,
    super::MAX_LIMITS,
);
/// The quota of a share counts instances of a type.
const QUOTA: Shape = Shape::List(
    &Shape::Structure(&[required("maxCapacity", &WHOLE), required("capacityUnit", &Shape::TrainingInstance)]),
    1,
    super::MAX_LIMITS,
);
const SHARING: Shape = Shape::Structure(&[
    required("strategy", &Shape::Enum(&["RESERVE", "LEND", "LEND_AND_BORROW"])),
    optional("borrowLimit", &Shape::Integer(-1, i32::MAX as i64)),
]);
const PREEMPTION: Shape = Shape::Structure(&[required("inSharePreemption", &STATE)]);
const QUOTAS: Shape = Shape::Structure(&[required("idleResourceAssignmentStrategy", &Shape::Enum(&["FIFO"]))]);
const FAIR: Shape = Shape::Structure(&[
    optional("shareDecaySeconds", &Shape::Integer(0, 604_800)),
    optional("computeReservation", &Shape::Integer(0, 99)),
    optional("shareDistribution", &Shape::List(&Shape::Structure(&WEIGHT), 0, 500)),
]);
const WEIGHT: [Member; 2] =
    [required("shareIdentifier", &text(1, 255)), optional("weightFactor", &Shape::Number(0.0001, 999.9999))];
const ENVIRONMENTS: Shape =
    Shape::List(&Shape::Structure(&[required("order", &WHOLE), required("serviceEnvironment", &ANY)]), 0, 1);
const COMPUTE: Shape =
    Shape::List(&Shape::Structure(&[required("order", &WHOLE), required("computeEnvironment", &ANY)]), 0, 3);
const TIME_LIMITS: Shape = Shape::List(
    &Shape::Structure(&[
        required("reason", &ANY),
        required("state", &Shape::Enum(&["RUNNABLE"])),
        required("maxTimeSeconds", &Shape::Integer(600, 86_400)),
        required("action", &Shape::Enum(&["CANCEL", "TERMINATE"])),
    ]),
    0,
    10,
);

const CREATE_ENVIRONMENT: [Member; 5] = [
    required("serviceEnvironmentName", &Shape::Name),
    required("serviceEnvironmentType", &TRAINING),
    optional("state", &STATE),
    required("capacityLimits", &LIMITS),
    optional("tags", &TAGS),
];
const UPDATE_ENVIRONMENT: [Member; 3] =
    [required("serviceEnvironment", &ANY), optional("state", &STATE), optional("capacityLimits", &LIMITS)];
const CREATE_POLICY: [Member; 4] = [
    required("name", &Shape::Name),
    optional("quotaSharePolicy", &QUOTAS),
    optional("fairsharePolicy", &FAIR),
    optional("tags", &TAGS),
];
const UPDATE_POLICY: [Member; 3] =
    [required("arn", &ANY), optional("quotaSharePolicy", &QUOTAS), optional("fairsharePolicy", &FAIR)];
const QUEUE_TYPES: Shape = Shape::Enum(&["EKS", "ECS", "ECS_FARGATE", "SAGEMAKER_TRAINING", "ECS_MANAGED_INSTANCES"]);
const CREATE_QUEUE: [Member; 9] = [
    required("jobQueueName", &Shape::Name),
    optional("state", &STATE),
    optional("schedulingPolicyArn", &TEXT),
    required("priority", &WHOLE),
    optional("computeEnvironmentOrder", &COMPUTE),
    optional("serviceEnvironmentOrder", &ENVIRONMENTS),
    optional("jobQueueType", &QUEUE_TYPES),
    optional("tags", &TAGS),
    optional("jobStateTimeLimitActions", &TIME_LIMITS),
];
const UPDATE_QUEUE: [Member; 7] = [
    required("jobQueue", &ANY),
    optional("state", &STATE),
    optional("schedulingPolicyArn", &TEXT),
    optional("priority", &WHOLE),
    optional("computeEnvironmentOrder", &COMPUTE),
    optional("serviceEnvironmentOrder", &ENVIRONMENTS),
    optional("jobStateTimeLimitActions", &TIME_LIMITS),
];
const CREATE_SHARE: [Member; 7] = [
    required("quotaShareName", &Shape::Name),
    required("jobQueue", &ANY),
    required("capacityLimits", &QUOTA),
    required("resourceSharingConfiguration", &SHARING),
    required("preemptionConfiguration", &PREEMPTION),
    optional("state", &STATE),
    optional("tags", &TAGS),
];
const UPDATE_SHARE: [Member; 5] = [
    required("quotaShareArn", &ANY),
    optional("capacityLimits", &QUOTA),
    optional("resourceSharingConfiguration", &SHARING),
    optional("preemptionConfiguration", &PREEMPTION),
    optional("state", &STATE),
];
const LIST_JOBS: [Member; 5] = [
    optional("jobQueue", &TEXT),
    optional("jobStatus", &TEXT),
    optional("filters", &Shape::List(&Shape::Structure(&FILTER), 0, usize::MAX)),
    PAGE_SIZE,
    PAGE_TOKEN,
];
const FILTER: [Member; 2] = [optional("name", &TEXT), optional("values", &Shape::List(&TEXT, 0, usize::MAX))];
const RETRY: Shape = Shape::Structure(&[
    required("attempts", &Shape::Integer(1, 10)),
    optional("evaluateOnExit", &Shape::List(&Shape::Structure(&EXIT), 0, 5)),
]);
const EXIT: [Member; 2] =
    [optional("action", &Shape::AnyCase(&["RETRY", "EXIT"])), optional("onStatusReason", &text(1, 512))];
const SUBMIT: [Member; 12] = [
    required("jobName", &Shape::Name),
    required("jobQueue", &ANY),
    optional("retryStrategy", &RETRY),
    optional("schedulingPriority", &PRIORITY),
    required("serviceRequestPayload", &ANY),
    required("serviceJobType", &TRAINING),
    optional("shareIdentifier", &text(1, 255)),
    optional("quotaShareName", &ANY),
    optional("preemptionConfiguration", &Shape::Structure(&[optional("preemptionRetriesBeforeTermination", &WHOLE)])),
    optional(
        "timeoutConfig",
        &Shape::Structure(&[optional("attemptDurationSeconds", &Shape::Integer(60, i32::MAX as i64))]),
    ),
    optional("tags", &TAGS),
    optional("clientToken", &text(1, 64)),
];
