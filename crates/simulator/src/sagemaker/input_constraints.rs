//! Inputs of the supported operations, with the constraints of SageMaker's model (botocore 1.44.5).

use crate::input_types::Member;
use crate::input_types::Shape;
use crate::input_types::optional;
use crate::input_types::required;
use crate::input_types::text;
use crate::training_job_input;
use crate::training_job_input::NAME;

/// The supported operations by name, with their inputs.
pub(super) const SERVED: [(&str, Shape); 7] = [
    ("CreateTrainingJob", training_job_input::INPUT),
    ("DescribeTrainingJob", Shape::Structure(&[NAME])),
    (
        "DescribeTrainingPlan",
        Shape::Structure(&[required("TrainingPlanName", &Shape::Dashed { most: 64, after: PLAN })]),
    ),
    (
        "ListTags",
        Shape::Structure(&[
            required("ResourceArn", &text(1, 256)),
            optional("NextToken", &text(0, 8_192)),
            optional("MaxResults", &Shape::Integer(50, i32::MAX as i64)),
        ]),
    ),
    ("ListTrainingJobs", Shape::Structure(&LIST_JOBS)),
    ("ListTrainingPlans", Shape::Structure(&LIST_PLANS)),
    ("StopTrainingJob", Shape::Structure(&[NAME])),
];

/// The part of a training plan's ARN before its name.
const PLAN: &str = ":training-plan/";
const PAGE_SIZE: Member = optional("MaxResults", &Shape::Integer(1, 100));
const PAGE_TOKEN: Member = optional("NextToken", &text(0, 8_192));
const SORT_ORDER: Member = optional("SortOrder", &Shape::Enum(&["Ascending", "Descending"]));
const TIME: Shape = Shape::Time;
const STATUS: Shape = Shape::Enum(&["InProgress", "Completed", "Failed", "Stopping", "Stopped", "Deleting"]);
const WARM_POOL: Shape = Shape::Enum(&["Available", "Terminated", "Reused", "InUse"]);

const LIST_JOBS: [Member; 12] = [
    PAGE_SIZE,
    PAGE_TOKEN,
    SORT_ORDER,
    optional("CreationTimeAfter", &TIME),
    optional("CreationTimeBefore", &TIME),
    optional("LastModifiedTimeAfter", &TIME),
    optional("LastModifiedTimeBefore", &TIME),
    optional("NameContains", &Shape::Characters { least: 0, most: 63, beside: "-" }),
    optional("StatusEquals", &STATUS),
    optional("SortBy", &Shape::Enum(&["Name", "CreationTime", "Status"])),
    optional("WarmPoolStatusEquals", &WARM_POOL),
    optional("TrainingPlanArnEquals", &Shape::Dashed { most: 64, after: PLAN }),
];
const LIST_PLANS: [Member; 7] = [
    PAGE_SIZE,
    PAGE_TOKEN,
    SORT_ORDER,
    optional("StartTimeAfter", &TIME),
    optional("StartTimeBefore", &TIME),
    optional("SortBy", &Shape::Enum(&["TrainingPlanName", "StartTime", "Status"])),
    optional("Filters", &Shape::List(&FILTER, 1, 5)),
];
const FILTER: Shape = Shape::Structure(&[required("Name", &Shape::Enum(&["Status"])), required("Value", &text(0, 64))]);
