//! Compares this parser with the SDK's: for every response, valid or not, the results must be equal.

use std::borrow::Cow;

use aws_credential_types::Credentials;
use aws_sdk_batch::config::{BehaviorVersion, Region};
use aws_sdk_batch::operation::list_service_jobs::{ListServiceJobsError, ListServiceJobsOutput};
use aws_sdk_batch::types::ServiceJobSummary;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::aws::job_summary::{CapacityUsage, LatestAttempt, Millis, Quantity, ResourceId};
use crate::aws::rewrite_body::AnswerBody;
use crate::mutated_inputs::try_mutated;
use trainspotter_core::model::Observation;

const FULL: &str = r#"{"jobSummaryList": [{
    "jobId": "j1", "jobArn": "arn:aws:batch:us-east-1:123456789012:service-job/j1", "jobName": "n\u00e4chtlich \"1\"",
    "serviceJobType": "SAGEMAKER_TRAINING", "status": "RUNNING", "statusReason": "", "quotaShareName": "research",
    "shareIdentifier": null, "createdAt": 1.7e12, "scheduledAt": 1700000000001, "startedAt": 0,
    "capacityUsage": [{"capacityUnit": "ml.p5.48xlarge", "quantity": 2}, {"capacityUnit": "ml.p5.48xlarge", "quantity": "NaN"}],
    "latestAttempt": {"serviceResourceId": {"name": "TrainingJobArn",
        "value": "arn:aws:sagemaker:us-east-1:123456789012:training-job/AWSBatchj1"}},
    "isTerminated": true, "of": {"tomorrow": [1, {"jobId": "j2"}, null]}}], "nextToken": "2", "also": [[]]}"#;

/// The members of a response that are used.
const USED: [&str; 20] = [
    "jobSummaryList",
    "nextToken",
    "jobId",
    "jobArn",
    "jobName",
    "status",
    "statusReason",
    "quotaShareName",
    "shareIdentifier",
    "createdAt",
    "scheduledAt",
    "startedAt",
    "stoppedAt",
    "capacityUsage",
    "capacityUnit",
    "quantity",
    "latestAttempt",
    "serviceResourceId",
    "value",
    "isTerminated",
];

/// An HTTP client with a fixed response.
#[derive(Clone, Debug)]
struct Canned(u16, Vec<u8>);

impl HttpConnector for Canned {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let status = StatusCode::try_from(self.0).unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(self.1.clone()))))
    }
}

impl HttpClient for Canned {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

type Answered = Result<ListServiceJobsOutput, SdkError<ListServiceJobsError, HttpResponse>>;

/// Returns the SDK's result alone, the SDK's result behind a [`PageReader`], and the reader's page.
fn read_twice(status: u16, body: &str) -> (Answered, Answered, Option<Page>) {
    let config = aws_sdk_batch::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("a", "b", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .http_client(Canned(status, body.as_bytes().to_vec()))
        .build();
    let client = aws_sdk_batch::Client::from_conf(config);
    let reader = PageReader::new("q".into());
    let calls = async {
        let alone = client.list_service_jobs().job_queue("q").send().await;
        let after =
            client.list_service_jobs().job_queue("q").customize().interceptor(AnswerBody(reader.clone())).send().await;
        (alone, after)
    };
    let (alone, after) = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(calls);
    (alone, after, reader.take())
}

/// Converts the SDK's response to a page.
fn page_of(answer: &ListServiceJobsOutput) -> Page {
    let (queue, mut unknowns) = ("q".into(), Unknowns::default());
    let mut translate = ListedJobs::new(&queue);
    let summaries = answer.job_summary_list().iter().map(summary_of);
    let jobs = summaries.filter_map(|job| translate.next(&job, &mut unknowns)).collect();
    let next = answer.next_token().filter(|next| !next.is_empty()).map(str::to_owned);
    Page { jobs, next, is_list: true, unknowns }
}

fn summary_of(job: &ServiceJobSummary) -> Summary<'_> {
    let text = |text: Option<_>| text.map(|text| Text(Cow::Borrowed(text)));
    let usage = |usage: &aws_sdk_batch::types::ServiceJobCapacityUsageSummary| {
        let unit = usage.capacity_unit().map(|unit| Text(Cow::Owned(unit.to_owned())));
        CapacityUsage { capacity_unit: unit, quantity: usage.quantity().map(Quantity) }
    };
    let resource = job.latest_attempt().and_then(|attempt| attempt.service_resource_id());
    Summary {
        job_id: text(job.job_id()),
        job_arn: text(job.job_arn()),
        job_name: text(job.job_name()),
        status: text(job.status().map(|status| status.as_str())),
        status_reason: text(job.status_reason()),
        quota_share_name: text(job.quota_share_name()),
        share_identifier: text(job.share_identifier()),
        created_at: job.created_at().map(Millis),
        scheduled_at: job.scheduled_at().map(Millis),
        started_at: job.started_at().map(Millis),
        stopped_at: job.stopped_at().map(Millis),
        capacity_usage: Some(job.capacity_usage().iter().map(usage).collect()),
        latest_attempt: Some(LatestAttempt {
            service_resource_id: resource.map(|resource| ResourceId { value: text(resource.value()) }),
        }),
        is_terminated: job.is_terminated(),
    }
}

/// Whether it is a page.
fn check(body: &str) -> bool {
    let (alone, after, page) = read_twice(200, body);
    // The SDK substitutes an empty list for a missing one.
    let page = page.map(|page| Page { is_list: true, ..page });
    let is_page = page.is_some();
    match (alone, after) {
        (Ok(alone), Ok(after)) => {
            assert_eq!(page, Some(page_of(&alone)), "{body}");
            assert!(after.job_summary_list().is_empty() && after.next_token().is_none(), "{body}");
        }
        (Err(alone), Err(after)) => {
            assert_eq!((format!("{alone:?}"), None), (format!("{after:?}"), page), "{body}");
        }
        (Err(_), Ok(_)) => assert_eq!(page, page_of_readable(body), "{body}"),
        (alone, after) => panic!("{body}: {alone:?}, but {after:?}"),
    }
    is_page
}

/// What the SDK makes of a page that it refuses as a whole, without what it refuses: members that nothing uses, numbers that their member cannot
/// hold or, if that is not enough, the jobs that it cannot read alone.
fn page_of_readable(body: &str) -> Option<Page> {
    let by_sdk = |body: &str| {
        let mut answer = serde_json::from_str(body).ok()?;
        keep_used(&mut answer);
        read_twice(200, &answer.to_string()).0.ok().map(|answer| page_of(&answer))
    };
    let numbers = odd_numbers::without(body.as_bytes());
    let numbers = numbers.map(|(corrected, odd)| (String::from_utf8(corrected).unwrap(), odd));
    let with_number = |mut page: Page, odd: &str| {
        page.unknowns.note("number", odd);
        page
    };
    let corrected = || numbers.as_ref().and_then(|(body, odd)| Some(with_number(by_sdk(body)?, odd)));
    let both = || numbers.as_ref().and_then(|(body, odd)| Some(with_number(page_of_readable_jobs(body)?, odd)));
    by_sdk(body).or_else(corrected).or_else(|| page_of_readable_jobs(body)).or_else(both)
}

/// What the SDK makes of a page without the jobs that it cannot read alone; `None` if it can read all or none.
fn page_of_readable_jobs(body: &str) -> Option<Page> {
    let mut answer: serde_json::Value = serde_json::from_str(body).ok()?;
    keep_used(&mut answer);
    let jobs = answer.get_mut("jobSummaryList")?.as_array_mut()?;
    let all = jobs.len();
    jobs.retain(|job| {
        job.is_object() && read_twice(200, &serde_json::json!({"jobSummaryList": [job]}).to_string()).0.is_ok()
    });
    if jobs.is_empty() || jobs.len() == all {
        return None;
    }
    let mut page = page_of(&read_twice(200, &answer.to_string()).0.ok()?);
    page.unknowns.note("unreadable_job", "q");
    Some(page)
}

/// Removes the members that nothing uses: the SDK refuses a page in which one of them has the wrong type.
fn keep_used(json: &mut serde_json::Value) {
    if let Some(members) = json.as_object_mut() {
        members.retain(|name, _| USED.contains(&name.as_str()));
        members.values_mut().for_each(keep_used);
    } else if let Some(all) = json.as_array_mut() {
        all.iter_mut().for_each(keep_used);
    }
}

#[test]
fn a_job_that_cannot_be_read_costs_no_other() {
    let sound = r#"{"jobId": "sound", "createdAt": 1, "status": "RUNNING"}"#;
    for odd in [
        r#"{"jobId": "odd", "createdAt": "abc"}"#,
        r#"{"jobId": "odd", "createdAt": 1, "latestAttempt": []}"#,
        r#"{"jobId": "odd", "createdAt": 1, "capacityUsage": {}}"#,
        r#"{"jobId": "odd", "createdAt": 1, "isTerminated": "no"}"#,
        r#"{"jobId": "odd", "createdAt": 1.5}"#,
        r#"{"jobId": 7}"#,
        r#""text""#,
        "[]",
    ] {
        let body = format!(r#"{{"jobSummaryList": [{odd}, {sound}], "nextToken": "2"}}"#);
        check(&body);
        let page = read_twice(200, &body).2.unwrap_or_else(|| panic!("{odd}: the page is lost"));
        let ids: Vec<_> = page.jobs.iter().map(|job| job.id.as_str()).collect();
        assert_eq!((ids, page.next.as_deref()), (vec!["sound"], Some("2")), "{odd}");
        let noted = page.unknowns.into_observations().next().unwrap();
        let Observation::UnknownValue { kind, value } = noted else { panic!("{odd}: {noted:?}") };
        assert_eq!((kind, value.as_str()), ("unreadable_job", "q"), "{odd}");
        // Beside a number that no member can hold.
        let huge = r#"{"jobId": "huge", "createdAt": 1e400}"#;
        let both = format!(r#"{{"jobSummaryList": [{odd}, {huge}, {sound}]}}"#);
        let page = read_twice(200, &both).2.unwrap_or_else(|| panic!("{both}: the page is lost"));
        let ids: Vec<_> = page.jobs.iter().map(|job| job.id.as_str()).collect();
        assert!(ids.contains(&"sound"), "{both}");
        let noted = format!("{:?}", page.unknowns);
        assert!(noted.contains("unreadable_job") && noted.contains("number"), "{both}: {noted}");
        // A page of which nothing can be read is a failure and no empty list.
        check(&format!(r#"{{"jobSummaryList": [{odd}]}}"#));
        assert_eq!(read_twice(200, &format!(r#"{{"jobSummaryList": [{odd}]}}"#)).2, None, "{odd}");
    }
}

#[test]
fn a_page_in_full_is_read_as_by_the_sdk() {
    check(FULL);
    let (_, _, page) = read_twice(200, FULL);
    let page = page.unwrap();
    let [job] = page.jobs.as_slice() else { panic!("{page:?}") };
    assert_eq!((&*job.name, job.created_at.millis()), ("nächtlich \"1\"", 1_700_000_000_000));
    assert_eq!(job.training_job, Some("AWSBatchj1".into()));
    assert_eq!((job.share.clone(), job.started_at, job.demand.len()), (Some("research".into()), None, 0));
    assert_eq!(page.next.as_deref(), Some("2"));
    // One amount is invalid, so the size is unknown.
    let unknown = Observation::UnknownValue { kind: "instance_count", value: "NaN".to_owned() };
    assert_eq!(page.unknowns.into_observations().collect::<Vec<Observation>>(), vec![unknown]);

    let sound = FULL.replace("\"NaN\"", "3");
    check(&sound);
    let page = read_twice(200, &sound).2.unwrap();
    assert_eq!(page.jobs[0].demand.len(), 2);
    assert_eq!(page.unknowns.into_observations().collect::<Vec<Observation>>(), vec![]);
}

#[test]
fn a_quantity_that_is_a_text_is_read_as_by_the_sdk() {
    let unknown = ["1e400", "-1e400", "NaN", "naN", "Infinity", "-Infinity", "+Infinity", "INFINITY", "inf", "-inf"];
    for (texts, is_read) in [(&unknown[..], true), (&["", "1", "1e4", " NaN", "Infinit", "0x1", "one"][..], false)] {
        for text in texts {
            let body = FULL.replace("\"NaN\"", &format!("\"{text}\""));
            check(&body);
            assert_eq!(read_twice(200, &body).0.is_ok(), is_read, "{text}");
        }
    }
}

#[test]
fn what_is_no_page_is_refused_as_by_the_sdk() {
    for length in (0..FULL.len()).filter(|length| FULL.is_char_boundary(*length)) {
        check(&FULL[..length]);
    }
    for body in [
        "",
        "{}",
        " {} ",
        "{}{}",
        "null",
        "[]",
        "<html>",
        r#"{"jobSummaryList": null, "nextToken": ""}"#,
        r#"{"jobSummaryList": [null]}"#,
        r#"{"jobSummaryList": {}}"#,
        r#"{"jobSummaryList": [{"capacityUsage": [null]}]}"#,
        r#"{"jobSummaryList": [{"latestAttempt": {"serviceResourceId": null}}]}"#,
        r#"{"nextToken": 2}"#,
    ] {
        check(body);
    }
}

#[test]
fn a_number_that_cannot_be_held_costs_no_page() {
    for odd in ["1e400", "-1e400", "1e19", "9223372036854775808", "NaN", "Infinity"] {
        let text = |member: &str| {
            format!(
                r#"{{"jobSummaryList": [{{"jobId": "sound", "createdAt": 1, "status": "RUNNING"}},
                    {{"jobId": "odd", "createdAt": 1, "status": "RUNNABLE", "{member}": {odd}}}], "nextToken": "2"}}"#
            )
        };
        for member in ["scheduledAt", "startedAt", "stoppedAt", "ofTomorrow"] {
            let page = read_twice(200, &text(member)).2;
            // Unused members may have any numeric value.
            let Some(page) = page else { panic!("{member} {odd}: the page is lost") };
            let jobs: Vec<_> = page.jobs.iter().map(|job| (job.id.as_str(), job.started_at)).collect();
            assert_eq!(
                (jobs, page.next.as_deref()),
                (vec![("sound", None), ("odd", None)], Some("2")),
                "{member} {odd}"
            );
        }
        let body = text("createdAt").replacen(r#""odd", "createdAt": 1,"#, r#""odd","#, 1);
        let page = read_twice(200, &body).2.unwrap_or_else(|| panic!("{odd}: the page is lost"));
        assert_eq!(page.jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["sound"]);
        let noted: Vec<_> = page.unknowns.into_observations().collect();
        let unknown = |kind, value: &str| Observation::UnknownValue { kind, value: value.to_owned() };
        assert!(noted.contains(&unknown("number", &format!("createdAt {odd}"))), "{noted:?}");
        assert!(noted.contains(&unknown("job_without_created_at", "odd")), "{noted:?}");
    }
}

#[test]
fn an_answer_without_a_list_is_known() {
    for (body, is_list) in [
        (FULL, true),
        (r#"{"jobSummaryList": []}"#, true),
        (r#"{"jobSummaryList": null}"#, false),
        (r#"{"message": "sorry"}"#, false),
        ("{}", false),
        ("", false),
    ] {
        let (_, _, page) = read_twice(200, body);
        assert_eq!(page.map(|page| page.is_list), Some(is_list), "{body}");
    }
}

#[test]
fn errors_are_left_to_the_sdk() {
    for (status, body) in [(400, r#"{"__type": "ClientException", "message": "no"}"#), (500, FULL), (404, "")] {
        let (alone, after, page) = read_twice(status, body);
        assert_eq!((format!("{:?}", alone.unwrap_err()), None), (format!("{:?}", after.unwrap_err()), page), "{body}");
    }
}

/// A member with this name and one of these values, null or, rarely, a value of another type.
fn member(name: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = String> {
    let others = select(&["true", "1", "1.5", "\"text\"", "{}", "[1]", "[{\"a\": [\"b\"]}]"][..]);
    let value = prop_oneof![60 => select(values), 3 => Just("null"), 1 => others];
    (value, select(&["", " ", "\n\t"][..])).prop_map(move |(value, space)| format!("\"{name}\"{space}:{space}{value}"))
}

fn object(members: Vec<BoxedStrategy<String>>) -> impl Strategy<Value = String> {
    let some = subsequence((0..members.len()).collect::<Vec<_>>(), 0..=members.len()).prop_shuffle();
    (members, some).prop_map(|(members, some)| {
        let some: Vec<_> = some.into_iter().map(|place| members[place].clone()).collect();
        format!("{{{}}}", some.join(","))
    })
}

const TEXTS: &[&str] = &[r#""j1""#, r#""""#, r#""a\/b\n\u00e9""#, r#""\ud83d\ude00""#, "\"\u{1f33b}\"", r#""x/j1""#];
const TIMES: &[&str] = &["1700000000000", "0", "-5", "1.7e12", "1700000000000.0", "9223372036854775807", "-0"];
const STATUSES: &[&str] = &[r#""RUNNABLE""#, r#""RUNNING""#, r#""HIBERNATING""#, r#""RUN\u004eING""#];
const UNITS: &[&str] = &[r#""ml.p5.48xlarge""#, r#""NUM_INSTANCES""#, r#""ml.p9.48xlarge""#, r#""""#];
const QUANTITIES: &[&str] =
    &["2", "0.5", "-1", "1e2", r#""NaN""#, r#""Infinity""#, r#""-Infinity""#, r#""1e400""#, r#""naN""#, r#""1""#];
const ARNS: &[&str] = &[r#""arn:aws:sagemaker:us-east-1:1:training-job/t""#, r#""plain""#, r#""a:training-job\/t""#];

fn summary() -> impl Strategy<Value = String> {
    let usage = object(vec![member("capacityUnit", UNITS).boxed(), member("quantity", QUANTITIES).boxed()]);
    let usage = prop::collection::vec(usage, 0..3);
    let usage = usage.prop_map(|all| format!("\"capacityUsage\":[{}]", all.join(" , ")));
    // The SDK checks the type of the name although it is unused.
    let name = select(TEXTS).prop_map(|text| format!("\"name\":{text}"));
    let resource = object(vec![name.boxed(), member("value", ARNS).boxed()]);
    let attempt = resource.prop_map(|id| format!("\"latestAttempt\": {{\"a\": 1, \"serviceResourceId\": {id}}}"));
    let times = ["createdAt", "scheduledAt", "startedAt", "stoppedAt"].map(|name| member(name, TIMES).boxed());
    let texts = ["jobId", "jobArn", "jobName", "statusReason", "quotaShareName", "shareIdentifier"];
    let texts = texts.map(|name| member(name, TEXTS).boxed());
    let mut members = vec![
        member("status", STATUSES).boxed(),
        member("isTerminated", &["true", "false"]).boxed(),
        member("ofTomorrow", &["{\"jobId\": [1, null]}", "[[]]"]).boxed(),
        usage.boxed(),
        attempt.boxed(),
    ];
    members.extend(times.into_iter().chain(texts));
    object(members)
}

/// As [`check`], for a text that no server sends. The SDK is lenient about some, such as repeated members: those are compared without.
fn check_any(text: &str) -> bool {
    let (alone, _, page) = read_twice(200, text);
    if let (Ok(alone), Some(page)) = (alone, page) {
        assert_eq!(Page { is_list: true, ..page }, page_of(&alone), "{text}");
    }
    let Ok(json) = serde_json::from_str::<serde_json::Value>(text) else { return false };
    check(&json.to_string())
}

#[test]
fn a_mutated_page_is_read_as_by_the_sdk() {
    let read = |input: &[u8]| str::from_utf8(input).is_ok_and(check_any);
    let tally = try_mutated("pages of jobs", &[FULL.as_bytes()], 1_000, read);
    assert!(0 < tally.accepted && tally.accepted < tally.inputs || tally.inputs < 100, "{tally:?}");
}

proptest! {
    #[test]
    fn any_page_is_read_as_by_the_sdk(
        jobs in prop::collection::vec(summary(), 0..4),
        next in member("nextToken", TEXTS),
    ) {
        check(&format!("{{\"jobSummaryList\":[{}],{next}}}", jobs.join(",")));
    }
}
