//! Removes numbers that no response type can hold, such as `1e400`, a creation time of `1e30` or seven billion
//! instances. The SDK would reject the whole response; here the number becomes null, an unknown value, and the rest
//! is used.

use crate::aws::Limits;
use crate::aws::rewrite_body::RewriteBody;

/// Operations whose responses are corrected. Topology lists are handled by `unreadable_entries`, and pages of jobs
/// by their own parser.
const OPERATIONS: [&str; 5] =
    ["DescribeServiceJob", "DescribeTrainingJob", "GetJobQueueSnapshot", "ListTrainingJobs", "ListTrainingPlans"];

/// Name of the limit that counts removed numbers.
const NUMBERS: &str = "numbers_out_of_range";

/// Members with 64-bit integers.
const LONG: [&str; 8] = [
    "DurationHours",
    "DurationMinutes",
    "createdAt",
    "earliestTimeAtPosition",
    "lastUpdatedAt",
    "scheduledAt",
    "startedAt",
    "stoppedAt",
];

/// Members with 32-bit integers.
const SHORT: [&str; 21] = [
    "AvailableInstanceCount",
    "AvailableSpareInstanceCount",
    "BillableTimeInSeconds",
    "InUseInstanceCount",
    "InstanceCount",
    "KeepAlivePeriodInSeconds",
    "MaxPendingTimeInSeconds",
    "MaxRuntimeInSeconds",
    "MaxWaitTimeInSeconds",
    "MaximumRetryAttempts",
    "ResourceRetainedBillableTimeInSeconds",
    "SelectedInstanceCount",
    "TotalInstanceCount",
    "TrainingTimeInSeconds",
    "UnhealthyInstanceCount",
    "VolumeSizeInGB",
    "attemptDurationSeconds",
    "attempts",
    "preemptedAttemptCount",
    "preemptionRetriesBeforeTermination",
    "schedulingPriority",
];

/// Latest plausible time, in seconds or, where AWS means them, in milliseconds: the year 2286.
const MAX_TIME: f64 = 1e13;

/// Corrects the responses of a client.
#[derive(Debug)]
pub(crate) struct NumberFilter(pub(crate) Limits);

impl RewriteBody for NumberFilter {
    fn rewrite(&self, operation: &str, body: &[u8]) -> Option<Vec<u8>> {
        let (corrected, _) = OPERATIONS.contains(&operation).then(|| without(body))??;
        self.0.hit(NUMBERS);
        Some(corrected)
    }
}

/// Replaces each number that its member cannot hold by null. Returns the body and the first such number; `None` if
/// there is none.
pub(crate) fn without(body: &[u8]) -> Option<(Vec<u8>, String)> {
    let (mut corrected, mut first) = (Vec::with_capacity(body.len()), None);
    let (mut rest, mut text, mut key): (&[u8], &[u8], &[u8]) = (body, b"", b"");
    while let Some(begins) = rest.first() {
        let (token, after) = rest.split_at(token_length(rest));
        match begins {
            b'"' => text = token,
            b':' => key = text,
            b',' | b'{' | b'[' => key = b"",
            _ => {}
        }
        let is_value = begins.is_ascii_alphanumeric() || *begins == b'-';
        match std::str::from_utf8(token).ok().filter(|number| is_value && !fits(key, number)) {
            Some(number) => {
                first.get_or_insert_with(|| format!("{} {number}", String::from_utf8_lossy(key).trim_matches('"')));
                corrected.extend(b"null");
            }
            None => corrected.extend(token),
        }
        rest = after;
    }
    Some((corrected, first?))
}

/// Whether a member can hold the value. Non-numbers are left to the parser.
fn fits(key: &[u8], number: &str) -> bool {
    let Ok(value) = number.parse::<f64>() else { return true };
    let key = std::str::from_utf8(key).unwrap_or_default().trim_matches('"');
    if LONG.contains(&key) {
        // The largest double below 2^63.
        value.abs() <= 9_223_372_036_854_774_784.0 || number.parse::<i64>().is_ok()
    } else if SHORT.contains(&key) {
        (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value)
    } else if key.ends_with("Time") {
        value.abs() <= MAX_TIME
    } else {
        value.is_finite()
    }
}

/// Length of the JSON string, number, word or punctuation at the beginning.
pub(super) fn token_length(body: &[u8]) -> usize {
    match body.first() {
        Some(b'"') => text_length(body),
        _ => body.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count().max(1),
    }
}

/// Length of the JSON string at the beginning, including quotes.
fn text_length(body: &[u8]) -> usize {
    let mut is_escaped = false;
    let end = body.iter().skip(1).position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(body.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_its_member_cannot_hold_is_unknown_and_all_else_stays() {
        for (body, corrected) in [
            (r#"{"createdAt": 1e400}"#, r#"{"createdAt": null}"#),
            (r#"{"createdAt": 1e19, "name": "1e400"}"#, r#"{"createdAt": null, "name": "1e400"}"#),
            (r#"{"a":[{"schedulingPriority":3000000000},2]}"#, r#"{"a":[{"schedulingPriority":null},2]}"#),
            (r#"{"CreationTime":-1e300,"x":NaN,"y":-Infinity}"#, r#"{"CreationTime":null,"x":null,"y":null}"#),
            (r#"{"quantity":[1e999,"createdAt",1]}"#, r#"{"quantity":[null,"createdAt",1]}"#),
            (r#"{"a \" createdAt": {"stoppedAt": 9223372036854775808}}"#, r#"{"a \" createdAt": {"stoppedAt": null}}"#),
        ] {
            let (left, _) = without(body.as_bytes()).unwrap_or_else(|| panic!("{body} is left as it is"));
            assert_eq!(String::from_utf8(left).unwrap(), corrected, "{body}");
        }
        for sound in [
            r#"{"createdAt": 1700000000000, "stoppedAt": 9223372036854775807, "schedulingPriority": -2147483648}"#,
            r#"{"quantity": 1e308, "CreationTime": 1.7e9, "attempts": [{"startedAt": 0}], "isTerminated": true, "x": null}"#,
            r#"{"text": "createdAt\": 1e400"}"#,
            "",
            "<html>",
        ] {
            assert_eq!(without(sound.as_bytes()), None, "{sound}");
        }
        assert_eq!(without(br#"{"createdAt": 1e400}"#).unwrap().1, "createdAt 1e400");
    }
}
