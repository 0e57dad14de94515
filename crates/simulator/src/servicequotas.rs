//! Service Quotas, awsJson1_1: the account's limits on instances for training jobs. The limit is the same for every
//! type.

use serde_json::Value;
use serde_json::json;

use crate::api_error::ApiError;

/// The prefix of `X-Amz-Target`.
pub(super) const TARGET: &str = "ServiceQuotasV20190624";

/// Maximum instances of the account at a time.
const LIMIT: f64 = 20.0;

/// Performs an operation.
pub(super) fn answer(operation: &str, body: &Value) -> Result<Value, ApiError> {
    if operation != "GetServiceQuota" {
        let message = format!("the simulator does not serve Service Quotas {operation}; it serves GetServiceQuota");
        return Err(ApiError::bad("UnknownOperationException", message));
    }
    let member = |name: &str| {
        let missing = || ApiError::bad("IllegalArgumentException", format!("{name} must be given"));
        body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or_else(missing)
    };
    for (name, most) in [("ServiceCode", 63), ("QuotaCode", 128)] {
        let text = member(name)?;
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let fits = (2..=most).contains(&text.len()) && text.chars().all(legal);
        if !fits || !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let message = format!("{name} must have 2 to {most} letters, digits and hyphens, a letter first");
            return Err(ApiError::bad("IllegalArgumentException", message));
        }
    }
    let (service, code) = (member("ServiceCode")?, member("QuotaCode")?);
    let digits = code.strip_prefix("L-").unwrap_or_default();
    if service != "sagemaker" || digits.len() != 8 || !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
        let message = "The request failed because the specified service or quota does not exist.";
        return Err(ApiError::bad("NoSuchResourceException", message));
    }
    Ok(json!({"Quota": {
        "ServiceCode": service,
        "ServiceName": "Amazon SageMaker",
        "QuotaArn": format!("arn:aws:servicequotas:{}:{}:{service}/{code}", crate::arn::region(), crate::arn::account()),
        "QuotaCode": code,
        "QuotaName": "ml.p5.48xlarge for training job usage",
        "Value": LIMIT,
        "Unit": "None",
        "Adjustable": true,
        "GlobalQuota": false,
    }}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_known_by_its_code_and_another_is_not_there() {
        let ask =
            |service: &str, code: &str| answer("GetServiceQuota", &json!({"ServiceCode": service, "QuotaCode": code}));
        assert_eq!(ask("sagemaker", "L-0123ABCD").unwrap()["Quota"]["Value"], LIMIT);
        for (service, code) in [("ec2", "L-0123ABCD"), ("sagemaker", "L-1"), ("sagemaker", "L-0123ABCX")] {
            assert_eq!(ask(service, code).unwrap_err().code, "NoSuchResourceException", "{service} {code}");
        }
        for (service, code) in [("", "L-0123ABCD"), ("9", "L-0123ABCD"), ("sagemaker", "ml.p5.48xlarge")] {
            assert_eq!(ask(service, code).unwrap_err().code, "IllegalArgumentException", "{service} {code}");
        }
        assert!(answer("ListServices", &json!({})).is_err());
    }
}
