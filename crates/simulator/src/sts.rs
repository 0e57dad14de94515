//! STS, awsQuery: roles of the simulated accounts. With a single account any role can be assumed, so that a
//! configuration with `role:` works against the simulator.

use std::time::Duration;

use crate::World;
use crate::accounts::Accounts;
use crate::api_error::ApiError;
use crate::aws_query::Form;
use crate::aws_query::element;

/// API version, which identifies requests, and the XML namespace of responses.
pub(super) const VERSION: &str = "2011-06-15";
pub(super) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Default lifetime of credentials in seconds, and its bounds.
const DEFAULT_DURATION: u64 = 3_600;
const DURATIONS: std::ops::RangeInclusive<u64> = 900..=43_200;
/// Performs an operation for a caller of an account, and returns the members of its result.
pub(super) fn answer(
    accounts: &Accounts,
    world: &World,
    account: &str,
    operation: &str,
    form: &Form,
) -> Result<String, ApiError> {
    match operation {
        "AssumeRole" => assume_role(accounts, world, form),
        "GetCallerIdentity" => Ok(element("Arn", &format!("arn:aws:iam::{}:user/simulated", account))
            + &element("UserId", "AIDASIMULATEDEXAMPLE")
            + &element("Account", account)),
        _ => Err(ApiError::bad(
            "InvalidAction",
            format!("the simulator does not serve STS {operation}; it serves AssumeRole and GetCallerIdentity"),
        )),
    }
}

fn assume_role(accounts: &Accounts, world: &World, form: &Form) -> Result<String, ApiError> {
    let role = form.required("RoleArn")?;
    let session = form.required("RoleSessionName")?;
    let duration = form.get("DurationSeconds").map_or(Some(DEFAULT_DURATION), |text| text.parse().ok());
    let duration = duration.filter(|seconds| DURATIONS.contains(seconds)).map(Duration::from_secs);
    let duration = duration.ok_or_else(|| unfit("durationSeconds", "between 900 and 43200"))?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if !(2..=64).contains(&session.len()) || !session.chars().all(legal) {
        return Err(unfit("roleSessionName", "2 to 64 characters of [\\w+=,.@-]"));
    }
    if !(20..=2_048).contains(&role.len()) {
        return Err(unfit("roleArn", "20 to 2048 characters long"));
    }
    let is_account = |account: &str| account.len() == 12 && account.bytes().all(|digit| digit.is_ascii_digit());
    let (account, name) = role
        .strip_prefix("arn:aws:iam::")
        .and_then(|rest| rest.split_once(":role/"))
        .filter(|(account, name)| is_account(account) && !name.is_empty())
        .ok_or_else(|| ApiError::bad("ValidationError", format!("{role} is invalid: not the ARN of a role")))?;
    let (key, ends_at) = accounts.assume(role, account, form.get("ExternalId"), world.now, duration)?;
    let credentials = element("AccessKeyId", &key)
        + &element("SecretAccessKey", "simulated")
        + &element("SessionToken", "simulated")
        + &element("Expiration", &ends_at.to_string());
    let user = element("AssumedRoleId", &format!("AROASIMULATEDEXAMPLE:{session}"))
        + &element("Arn", &format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"));
    Ok(format!("<Credentials>{credentials}</Credentials><AssumedRoleUser>{user}</AssumedRoleUser>"))
}

fn unfit(member: &str, constraint: &str) -> ApiError {
    let message = format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must be {constraint}"
    );
    ApiError::bad("ValidationError", message)
}
