//! Validates AWS names by their form, as far as AWS would refuse them in any account.

use url::Url;

use trainspotter_core::yaml::nearest;

/// Region prefixes with their partition.
const PARTITIONS: [(&str, &str); 16] = [
    ("us-gov", "aws-us-gov"),
    ("us-isob", "aws-iso-b"),
    ("us-isof", "aws-iso-f"),
    ("us-iso", "aws-iso"),
    ("eu-isoe", "aws-iso-e"),
    ("eusc-de", "aws-eusc"),
    ("cn", "aws-cn"),
    ("us", "aws"),
    ("eu", "aws"),
    ("ap", "aws"),
    ("sa", "aws"),
    ("ca", "aws"),
    ("me", "aws"),
    ("af", "aws"),
    ("il", "aws"),
    ("mx", "aws"),
];

/// Part of a region's name before its number.
const DIRECTIONS: [&str; 9] =
    ["central", "north", "northeast", "northwest", "south", "southeast", "southwest", "east", "west"];

/// Common regions, for suggestions.
const COMMON: [&str; 20] = [
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "ca-central-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "ap-south-1",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "sa-east-1",
    "us-gov-west-1",
    "cn-north-1",
];

/// The partition of a region, such as `aws` for `us-east-1`.
///
/// # Errors
///
/// It is not a region; the text suggests one.
pub(super) fn partition_of(region: &str) -> Result<&'static str, String> {
    let parts = region.rsplit_once('-').and_then(|(rest, number)| Some((rest.rsplit_once('-')?, number)));
    let found = parts.and_then(|((beginning, direction), number)| {
        let is_number = number.len() == 1 && number.bytes().all(|byte| (b'1'..=b'9').contains(&byte));
        let (_, partition) = PARTITIONS.iter().find(|(known, _)| *known == beginning)?;
        (is_number && DIRECTIONS.contains(&direction)).then_some(*partition)
    });
    found.ok_or_else(|| {
        let hint = nearest(region, COMMON.into_iter())
            .map_or_else(|| "write it like us-east-1".to_owned(), |near| format!("did you mean `{near}`?"));
        format!("`{region}` is not a region; {hint}")
    })
}

/// Checks the ARN of a topic.
pub(super) fn check_topic(topic: &str) -> Result<(), String> {
    let parts: Vec<&str> = topic.split(':').collect();
    let &["arn", partition, "sns", region, account, name] = parts.as_slice() else {
        let subscription =
            if parts.len() == 7 { "this is the ARN of a subscription" } else { "not the ARN of a topic" };
        return Err(format!("{subscription}; write it like arn:aws:sns:us-east-1:111122223333:name"));
    };
    check_partition(partition, region)?;
    check_account(account)?;
    let plain = name.strip_suffix(".fifo").unwrap_or(name);
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if plain.is_empty() || name.len() > 256 || !plain.chars().all(is_letter) {
        return Err(format!("`{name}` is not the name of a topic: 1 to 256 letters, digits, - and _"));
    }
    Ok(())
}

/// Checks the ARN of a role, which must be in the partition of the region.
pub(super) fn check_role(role: &str, region: &str) -> Result<(), String> {
    let form = || "not the ARN of a role; write it like arn:aws:iam::111122223333:role/Name".to_owned();
    let parts: Vec<&str> = role.splitn(6, ':').collect();
    let &["arn", partition, "iam", "", account, resource] = parts.as_slice() else { return Err(form()) };
    let name = resource.strip_prefix("role/").and_then(|path| path.rsplit('/').next()).ok_or_else(form)?;
    check_account(account)?;
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_letter) {
        return Err(format!("`{name}` is not the name of a role: 1 to 64 letters, digits and any of _+=,.@-"));
    }
    // An invalid region is reported at its own location.
    if partition_of(region).is_ok() { check_partition(partition, region) } else { Ok(()) }
}

/// Checks the URL of an SQS queue, which must be in the region.
pub(super) fn check_queue_url(url: &Url, region: &str) -> Result<(), String> {
    let form =
        || "not the URL of a queue; write it like https://sqs.us-east-1.amazonaws.com/111122223333/name".to_owned();
    let segments: Vec<&str> = url.path_segments().map(Iterator::collect).unwrap_or_default();
    let &[account, name] = segments.as_slice() else { return Err(form()) };
    if name.is_empty() || url.query().is_some() || url.fragment().is_some() {
        return Err(form());
    }
    // Other SQS implementations have their own accounts.
    let host = url.host_str().unwrap_or_default();
    let of_aws = host.strip_prefix("sqs.").and_then(|rest| rest.split_once(".amazonaws.com"));
    match of_aws {
        Some((other, _)) if other != region => Err(format!("the queue is in {other} and the target in {region}")),
        Some(_) => check_account(account),
        None => Ok(()),
    }
}

/// Checks a namespace of CloudWatch custom metrics.
pub fn check_namespace(namespace: &str) -> Result<(), String> {
    if namespace.is_empty() || namespace.len() > 255 || namespace.starts_with("AWS/") || namespace.starts_with(':') {
        return Err("must have 1 to 255 characters and not begin with AWS/ or a colon".to_owned());
    }
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || ".-_/#: ".contains(letter);
    match namespace.chars().find(|letter| !is_letter(*letter)) {
        Some(odd) => {
            Err(format!("`{odd}` is not allowed in a namespace: use letters, digits, spaces and any of .-_/#:"))
        }
        None => Ok(()),
    }
}

fn check_partition(partition: &str, region: &str) -> Result<(), String> {
    let right = partition_of(region)?;
    if partition == right {
        Ok(())
    } else {
        Err(format!("ARNs of {region} begin with arn:{right}, not arn:{partition}"))
    }
}

fn check_account(account: &str) -> Result<(), String> {
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    if is_account { Ok(()) } else { Err(format!("`{account}` is not an account id: account ids have 12 digits")) }
}

/// Why the form of an account or region is invalid; `None` if valid.
pub fn place_problem(account: &str, region: &str) -> Option<String> {
    check_account(account).err().or_else(|| partition_of(region).err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_judged_by_their_form() {
        for region in [
            "us-east-1",
            "ap-southeast-7",
            "us-gov-west-1",
            "cn-northwest-1",
            "mx-central-1",
            "il-central-1",
            "us-isob-east-1",
            "eusc-de-east-1",
        ] {
            assert!(partition_of(region).is_ok(), "{region}");
        }
        for region in [
            "us-esat-1",
            "virginia",
            "us-east",
            "us-east-1a",
            "us-east-0",
            "US-EAST-1",
            "us_east_1",
            "",
            "xx-east-1",
            "us-east-one",
            "${REGION}",
            "us-east-1 ",
        ] {
            assert!(partition_of(region).is_err(), "{region}");
        }
        assert_eq!(partition_of("us-esat-1").unwrap_err(), "`us-esat-1` is not a region; did you mean `us-east-1`?");
    }

    #[test]
    fn what_aws_would_refuse_by_form_is_refused() {
        let topic = |topic: &str, why: Option<&str>| {
            let found = check_topic(topic);
            assert!(
                why.map_or(found.is_ok(), |why| found.as_ref().is_err_and(|reported| reported.contains(why))),
                "{topic} {found:?}"
            );
        };
        topic("arn:aws:sns:us-east-1:111122223333:alerts", None);
        topic("arn:aws:sns:us-east-1:111122223333:alerts.fifo", None);
        topic("arn:aws-cn:sns:cn-north-1:111122223333:alerts", None);
        topic("arn:aws:sns:us-east-1:1234:alerts", Some("`1234` is not an account"));
        topic("arn:aws:sns:us-esat-1:111122223333:alerts", Some("did you mean `us-east-1`?"));
        topic("arn:aws:sns:cn-north-1:111122223333:alerts", Some("begin with arn:aws-cn"));
        topic("arn:aws:sqs:us-east-1:111122223333:alerts", Some("not the ARN of a topic"));
        topic("arn:aws:sns:us-east-1:111122223333:alerts:6f1c2d3e", Some("the ARN of a subscription"));
        topic("arn:aws:sns:us-east-1:111122223333:my alerts", Some("not the name of a topic"));
        let role = |role: &str, why: Option<&str>| {
            let found = check_role(role, "us-east-1");
            assert!(
                why.map_or(found.is_ok(), |why| found.as_ref().is_err_and(|reported| reported.contains(why))),
                "{role} {found:?}"
            );
        };
        role("arn:aws:iam::111122223333:role/TrainspotterRead", None);
        role("arn:aws:iam::111122223333:role/teams/ml/Read", None);
        role("arn:aws:iam::1111:role/Read", Some("is not an account"));
        role("arn:aws:iam::111122223333:user/Read", Some("not the ARN of a role"));
        role("arn:aws-cn:iam::111122223333:role/Read", Some("begin with arn:aws, not arn:aws-cn"));
        role("arn:aws:iam::111122223333:role/", Some("is not the name of a role"));
        let queue = |url: &str, why: Option<&str>| {
            let found = check_queue_url(&Url::parse(url).unwrap(), "us-east-1");
            assert!(
                why.map_or(found.is_ok(), |why| found.as_ref().is_err_and(|reported| reported.contains(why))),
                "{url} {found:?}"
            );
        };
        queue("https://sqs.us-east-1.amazonaws.com/111122223333/events", None);
        queue("http://127.0.0.1:5000/123456789012/events", None);
        queue(
            "https://sqs.eu-west-1.amazonaws.com/111122223333/events",
            Some("in eu-west-1 and the target in us-east-1"),
        );
        queue("https://sqs.us-east-1.amazonaws.com/", Some("not the URL of a queue"));
        queue("https://sqs.us-east-1.amazonaws.com/1234/events", Some("is not an account"));
        assert!(check_namespace("ML/Trainspotter").is_ok());
        for namespace in ["", "AWS/Batch", ":x", "a\tb", "ML!"] {
            assert!(check_namespace(namespace).is_err(), "{namespace}");
        }
    }
}
