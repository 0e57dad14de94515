//! STS, awsQuery: any role may be assumed, so that a configuration with `role:` works against the simulator.

use std::time::Duration;

use crate::simulate::World;
use crate::simulate::arn;
use crate::simulate::query::Form;
use crate::simulate::query::element;
use crate::simulate::reply::ApiError;

/// The API version, by which calls are recognised, and the namespace of its answers.
pub(super) const VERSION: &str = "2011-06-15";
pub(super) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

const DEFAULT_DURATION: Duration = Duration::from_hours(1);
/// Shaped like an access key id of temporary credentials; opens nothing.
const ACCESS_KEY: &str = "ASIASIMULATEDEXAMPLE";

/// Performs an operation and gives the members of its result.
pub(super) fn answer(world: &World, operation: &str, form: &Form) -> Result<String, ApiError> {
    match operation {
        "AssumeRole" => assume_role(world, form),
        "GetCallerIdentity" => Ok(element("Arn", &format!("arn:aws:iam::{}:user/simulated", arn::ACCOUNT))
            + &element("UserId", "AIDASIMULATEDEXAMPLE")
            + &element("Account", arn::ACCOUNT)),
        _ => Err(ApiError::bad(
            "InvalidAction",
            format!("the simulator does not serve STS {operation}; it serves AssumeRole and GetCallerIdentity"),
        )),
    }
}

fn assume_role(world: &World, form: &Form) -> Result<String, ApiError> {
    let role = form.required("RoleArn")?;
    let session = form.required("RoleSessionName")?;
    let duration =
        form.get("DurationSeconds").and_then(|text| text.parse().ok()).map_or(DEFAULT_DURATION, Duration::from_secs);
    let (account, name) = role
        .strip_prefix("arn:aws:iam::")
        .and_then(|rest| rest.split_once(":role/"))
        .ok_or_else(|| ApiError::bad("ValidationError", format!("{role} is invalid: not the ARN of a role")))?;
    let credentials = element("AccessKeyId", ACCESS_KEY)
        + &element("SecretAccessKey", "simulated")
        + &element("SessionToken", "simulated")
        + &element("Expiration", &(world.now + duration).to_string());
    let user = element("AssumedRoleId", &format!("AROASIMULATEDEXAMPLE:{session}"))
        + &element("Arn", &format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"));
    Ok(format!("<Credentials>{credentials}</Credentials><AssumedRoleUser>{user}</AssumedRoleUser>"))
}
