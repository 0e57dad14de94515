//! Checks `deploy/` and the `Dockerfile`: the same policy in two files, no more permissions than calls, and task
//! replacement without a gap.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use saphyr_parser::Event;
use saphyr_parser::Parser;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use trainspotter::config::RulesPlace;

/// Every action that the service calls, with its SDK method.
const ACTIONS: [(&str, &str); 16] = [
    ("batch:DescribeJobQueues", "describe_job_queues"),
    ("batch:DescribeSchedulingPolicies", "describe_scheduling_policies"),
    ("batch:DescribeServiceEnvironments", "describe_service_environments"),
    ("batch:DescribeServiceJob", "describe_service_job"),
    ("batch:GetJobQueueSnapshot", "get_job_queue_snapshot"),
    ("batch:ListQuotaShares", "list_quota_shares"),
    ("batch:ListServiceJobs", "list_service_jobs"),
    ("cloudwatch:GetMetricData", "get_metric_data"),
    ("cloudwatch:PutMetricData", "put_metric_data"),
    ("sagemaker:DescribeTrainingJob", "describe_training_job"),
    ("sagemaker:ListTrainingJobs", "list_training_jobs"),
    ("sagemaker:ListTrainingPlans", "list_training_plans"),
    ("servicequotas:GetServiceQuota", "get_service_quota"),
    ("sns:Publish", "publish"),
    ("sqs:DeleteMessage", "delete_message_batch"),
    ("sqs:ReceiveMessage", "receive_message"),
];

/// Actions for a log in a bucket. Not SDK methods: S3 requests are signed and sent directly.
const BUCKET_ACTIONS: [&str; 4] = ["s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject"];

#[test]
fn the_policy_and_the_template_agree() {
    let policy: Value = serde_json::from_str(&read("deploy/iam-policy.json")).unwrap();
    let template = template();
    let namespace = template["Parameters"]["Namespace"]["Default"].as_str().unwrap();
    let resources = &template["Resources"];
    let policies = &resources["TaskRole"]["Properties"]["Policies"];
    let mut filled = fill(&policies[0]["PolicyDocument"], namespace);
    // The statement of a condition, for both values.
    let conditions = ["HasEvents", "HasArchive", "HasSettingsInBucket"];
    for (policy, condition) in policies.as_array().unwrap().iter().skip(1).zip(conditions) {
        assert_eq!((&policy[0], &policy[2]), (&json!(condition), &json!("AWS::NoValue")));
        let more = fill(&policy[1]["PolicyDocument"], namespace);
        filled["Statement"].as_array_mut().unwrap().extend(statements(&more).cloned());
    }
    assert_eq!(filled, policy);
}

#[test]
fn the_policy_allows_what_is_called_and_nothing_else() {
    let policy: Value = serde_json::from_str(&read("deploy/iam-policy.json")).unwrap();
    let allowed: BTreeSet<_> = statements(&policy).flat_map(|statement| words(&statement["Action"])).collect();
    assert_eq!(allowed, ACTIONS.iter().map(|(action, _)| *action).chain(BUCKET_ACTIONS).collect());
}

#[test]
fn what_is_called_is_what_is_allowed() {
    let code: String = ["aws", "publish", "notify"].into_iter().flat_map(room_files).collect();
    let called: BTreeSet<_> = code.split('.').filter_map(sdk_method).collect();
    // `GetCallerIdentity` needs no permission.
    let open = BTreeSet::from(["get_caller_identity"]);
    assert_eq!(called, ACTIONS.iter().map(|(_, method)| *method).chain(open).collect());
}

#[test]
fn the_role_of_a_target_reads_and_is_assumed_by_one_role_with_an_external_id() {
    let role = &yaml(&read("deploy/target-role.yaml"))["Resources"]["Role"]["Properties"];
    let trust: Vec<&Value> = statements(&role["AssumeRolePolicyDocument"]).collect();
    let [trust] = trust[..] else { panic!("{trust:?}") };
    assert_eq!(trust["Principal"], json!({ "AWS": "TrustedRole" }));
    assert_eq!(trust["Condition"], json!({ "StringEquals": { "sts:ExternalId": "ExternalId" } }));
    let policies = &role["Policies"];
    assert_eq!((&policies[1][0], &policies[1][2]), (&json!("HasEvents"), &json!("AWS::NoValue")));
    let all = statements(&policies[0]["PolicyDocument"]).chain(statements(&policies[1][1]["PolicyDocument"]));
    let allowed: BTreeSet<&str> = all.flat_map(|statement| words(&statement["Action"])).collect();
    // Targets are only read: metrics and notifications are written elsewhere.
    let writes = ["cloudwatch:PutMetricData", "sns:Publish"];
    let reads = ACTIONS.iter().map(|(action, _)| *action).filter(|action| !writes.contains(action));
    assert_eq!(allowed, reads.collect());
    let queue =
        statements(&policies[1][1]["PolicyDocument"]).all(|statement| statement["Resource"] == "EventsQueueArn");
    assert!(queue, "the queue of events is one");
}

#[test]
fn writing_is_narrowed_to_one_namespace_and_one_topic() {
    let policy: Value = serde_json::from_str(&read("deploy/iam-policy.json")).unwrap();
    for statement in statements(&policy) {
        let actions = words(&statement["Action"]);
        let reads = actions.iter().all(|action| {
            let verb = action.split(':').nth(1).unwrap();
            ["Describe", "List", "Get"].iter().any(|prefix| verb.starts_with(prefix))
        });
        let narrowed = statement["Resource"] != "*" || statement["Condition"].is_object();
        assert!(reads || narrowed, "{statement} writes anywhere");
    }
}

#[test]
fn a_deployment_starts_new_tasks_before_it_stops_old_ones() {
    let template = template();
    let service = &template["Resources"]["Service"]["Properties"];
    assert_eq!(service["DesiredCount"], "Replicas");
    assert_eq!(template["Parameters"]["Replicas"]["Default"], "2");
    assert_eq!(
        service["DeploymentConfiguration"],
        json!({
            "MinimumHealthyPercent": "100", "MaximumPercent": "200",
            "DeploymentCircuitBreaker": {"Enable": "true", "Rollback": "true"},
        })
    );
}

#[test]
fn the_bucket_is_private_encrypted_and_outlives_the_stack() {
    let bucket = &template()["Resources"]["Bucket"];
    assert_eq!((&bucket["DeletionPolicy"], &bucket["UpdateReplacePolicy"]), (&json!("Retain"), &json!("Retain")));
    let properties = &bucket["Properties"];
    let access = properties["PublicAccessBlockConfiguration"].as_object().unwrap();
    assert_eq!(access.len(), 4);
    assert!(access.values().all(|blocked| blocked == "true"), "{access:?}");
    assert!(properties["BucketEncryption"].is_object());
    // No lifecycle rule expires objects by age: the only snapshot may be old.
    let rules = properties["LifecycleConfiguration"]["Rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule.get("ExpirationInDays").is_none() && rule.get("Expiration").is_none()));
}

#[test]
fn the_task_runs_as_the_image_was_made() {
    let template = template();
    let task = &template["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0];
    let dockerfile = read("Dockerfile");
    let says = |line: String| assert!(dockerfile.lines().any(|has| has.trim() == line), "Dockerfile lacks {line:?}");

    assert_eq!((&task["ReadonlyRootFilesystem"], &task["StopTimeout"]), (&json!("true"), &json!("60")));
    says(format!("USER {}", task["User"].as_str().unwrap()));
    says(format!("EXPOSE {}", task["PortMappings"][0]["ContainerPort"].as_str().unwrap()));
    says(format!("VOLUME {}", task["MountPoints"][0]["ContainerPath"].as_str().unwrap()));
    // With the configuration in the bucket, the command differs.
    let command = task["Command"].as_array().unwrap();
    assert_eq!(command[2][0], "HasConfigurationInBucket");
    let usual = [&command[..2], std::slice::from_ref(&command[2][2])].concat();
    says(format!("CMD {}", exec_form(&Value::Array(usual))));
    let check = exec_form(&Value::Array(task["HealthCheck"]["Command"].as_array().unwrap()[1..].to_vec()));
    assert!(dockerfile.contains(&format!("CMD {check}")), "Dockerfile lacks the health check {check}");
}

/// Docker sees only what `.dockerignore` lets through. Without cargo's settings SQLite would be built another way than
/// where it is tested.
#[test]
fn the_image_is_built_from_all_that_a_build_reads() {
    let passed = read(".dockerignore");
    let passed: BTreeSet<&str> = passed.lines().filter_map(|line| line.strip_prefix('!')).collect();
    // What cargo reads (manifests name `benches`), what is embedded, and the rules that the image contains.
    for needed in ["Cargo.toml", "Cargo.lock", ".cargo", "crates", "src", "benches", "config", "docs", "alerts"] {
        assert!(passed.contains(needed), ".dockerignore keeps {needed} out");
    }
}

/// The service accepts the template's configuration with default parameters, with all of them set, and with each one
/// set alone.
#[test]
fn the_configuration_in_the_template_is_valid() {
    let all = ["HasToken", "HasArchive", "HasUrl", "HasEvents", "HasRulesInBucket"];
    let alone = all.iter().map(std::slice::from_ref);
    let without: Vec<Vec<&str>> =
        all.iter().map(|left_out| all.iter().filter(|one| *one != left_out).copied().collect()).collect();
    let cases = [&[][..], &all[..]].into_iter().chain(alone).chain(without.iter().map(Vec::as_slice));
    for holds in cases {
        let text = configuration(holds);
        assert!(!text.replace("${TRAINSPOTTER_TOKEN}", "").contains("${"), "not filled in: {text}");
        let secret = |name: &str| (name == "TRAINSPOTTER_TOKEN").then(|| "0123456789abcdef0123456789abcdef".to_owned());
        let loaded = trainspotter::config::load("template", &text, Path::new("/"), &secret);
        let config = loaded.unwrap_or_else(|problems| panic!("{holds:?}: {problems}\n{text}"));
        let has = |condition: &str| holds.contains(&condition);
        assert_eq!(config.targets[0].queues, ["prod-*", "research"]);
        assert_eq!(config.listen.to_string(), "0.0.0.0:9464");
        assert_eq!(config.replication.unwrap().log.to_string(), "s3://bucket/log");
        assert_eq!(config.archive.is_some(), has("HasArchive"), "{text}");
        assert_eq!(config.external_url.is_some(), has("HasUrl"), "{text}");
        assert_eq!(config.api.len(), usize::from(has("HasToken")), "{text}");
        assert_eq!(config.targets[0].events.is_some(), has("HasEvents"), "{text}");
        assert_eq!(matches!(config.rules[0], RulesPlace::Bucket(_)), has("HasRulesInBucket"), "{text}");
    }
}

/// The template's configuration for these conditions.
fn configuration(holds: &[&str]) -> String {
    let template = template();
    let task = &template["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0];
    let environment = task["Environment"].as_array().unwrap();
    let variable = environment.iter().find(|variable| variable["Name"] == "TRAINSPOTTER_CONFIG").unwrap();
    let mut text = variable["Value"][0].as_str().unwrap().to_owned();
    for (name, value) in variable["Value"][1].as_object().unwrap() {
        text = text.replace(&format!("${{{name}}}"), &made(value, holds));
    }
    substituted(&text)
}

/// Evaluates a CloudFormation value: tags are dropped, so `!If`, `!Join` and `!Sub` are recognised by their form.
fn made(value: &Value, holds: &[&str]) -> String {
    match value {
        Value::Array(parts) => match &parts[..] {
            [Value::String(condition), yes, no] => {
                made(if holds.contains(&condition.as_str()) { yes } else { no }, holds)
            }
            [Value::String(between), Value::Array(list)] => {
                list.iter().map(|one| made(one, holds)).collect::<Vec<_>>().join(between)
            }
            [_, Value::String(list)] if list == "Queues" => "prod-*\", \"research".to_owned(),
            other => panic!("{other:?}"),
        },
        Value::String(name) if name == "Bucket" => "bucket".to_owned(),
        Value::String(text) => substituted(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => panic!("{value}"),
    }
}

fn substituted(text: &str) -> String {
    let values = [
        ("AWS::Region", "us-east-1"),
        ("ArchivePrefix", "archive"),
        ("Bucket", "bucket"),
        ("EventsQueue", "https://sqs.us-east-1.amazonaws.com/111122223333/events"),
        ("ExternalUrl", "https://trainspotter.example.com"),
        ("Namespace", "Trainspotter"),
        ("Topic", "arn:aws:sns:us-east-1:111122223333:trainspotter"),
    ];
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn template() -> Value {
    yaml(&read("deploy/cloudformation.yaml"))
}

fn statements(policy: &Value) -> impl Iterator<Item = &Value> {
    policy["Statement"].as_array().unwrap().iter()
}

/// One word, or a list of words.
fn words(value: &Value) -> Vec<&str> {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter().filter_map(Value::as_str).collect()
}

/// A command in a Dockerfile's exec form.
fn exec_form(command: &Value) -> String {
    let words: Vec<_> = words(command).into_iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(", "))
}

/// The SDK method called by this code, which is cut off after a dot: `list_quota_shares().send()`.
fn sdk_method(code: &str) -> Option<&str> {
    const VERBS: [&str; 8] = ["describe_", "list_", "get_", "put_", "search_", "publish", "receive_", "delete_"];
    let (name, _) = code.split_once("()")?;
    let is_name = name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
    let is_std = ["get_mut", "get_ref"].contains(&name);
    (is_name && !is_std && VERBS.iter().any(|verb| name.starts_with(verb))).then_some(name)
}

/// The texts of `src/ROOM.rs` and of all files in `src/ROOM/`, without the tests at their ends.
fn room_files(room: &str) -> Vec<String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![src.join(format!("{room}.rs"))];
    let mut folders = vec![src.join(room)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let code = |file: &PathBuf| fs::read_to_string(file).unwrap().split("#[cfg(test)]").next().unwrap().to_owned();
    files.iter().map(code).collect()
}

/// A policy of the template with the placeholders of the JSON file.
fn fill(value: &Value, namespace: &str) -> Value {
    match value {
        Value::String(text) if text == "Namespace" => json!(namespace),
        Value::String(text) if text == "EventsQueue.Arn" => json!("arn:aws:sqs:REGION:ACCOUNT:trainspotter-events"),
        Value::String(text) if text == "Bucket.Arn" => json!("arn:aws:s3:::BUCKET"),
        Value::String(text) if text == "Topic" => json!("arn:aws:sns:REGION:ACCOUNT:trainspotter"),
        Value::String(text) => {
            let parts = [
                ("${AWS::Partition}", "aws"),
                ("${AWS::Region}", "REGION"),
                ("${AWS::AccountId}", "ACCOUNT"),
                ("${Bucket.Arn}", "arn:aws:s3:::BUCKET"),
                ("${ArchivePrefix}", "archive"),
            ];
            json!(parts.iter().fold(text.clone(), |text, (from, to)| text.replace(from, to)))
        }
        Value::Array(items) => items.iter().map(|item| fill(item, namespace)).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), fill(value, namespace))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Parses YAML as JSON, with scalars as texts and without CloudFormation's tags: `!Ref Topic` is `"Topic"`.
fn yaml(text: &str) -> Value {
    let mut events = Parser::new_from_str(text)
        .map(|event| event.unwrap().0)
        .filter(|event| !matches!(event, Event::StreamStart | Event::DocumentStart(_)));
    let first = events.next().unwrap();
    value(first, &mut events)
}

fn value<'a>(event: Event<'a>, events: &mut impl Iterator<Item = Event<'a>>) -> Value {
    match event {
        Event::Scalar(text, ..) => Value::String(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            while let Some(event) = events.next().filter(|event| *event != Event::SequenceEnd) {
                items.push(value(event, events));
            }
            Value::Array(items)
        }
        Event::MappingStart(..) => {
            let mut fields = Map::new();
            while let Some(event) = events.next().filter(|event| *event != Event::MappingEnd) {
                let key = value(event, events).as_str().unwrap().to_owned();
                let event = events.next().unwrap();
                assert!(fields.insert(key.clone(), value(event, events)).is_none(), "{key} twice");
            }
            Value::Object(fields)
        }
        Event::Nothing
        | Event::StreamStart
        | Event::StreamEnd
        | Event::DocumentStart(_)
        | Event::DocumentEnd
        | Event::Alias(_)
        | Event::SequenceEnd
        | Event::MappingEnd => panic!("{event:?} where a value was expected"),
    }
}
