//! One port for all services: routes each request to its service and operation, and encodes the response.

mod errors_by_service;

use std::io;
use std::io::Read;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::extract::FromRequestParts;
use axum::extract::Query;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header::CONTENT_LENGTH;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::DATE;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use flate2::read::GzDecoder;
use futures_util::stream;
use serde_json::Value;
use serde_json::json;

use crate::Simulation;
use crate::World;
use crate::accounts::Accounts;
use crate::accounts::Change;
use crate::api_error::ApiError;
use crate::api_error::Payload;
use crate::aws_query::Form;
use crate::batch;
use crate::cbor;
use crate::cloudwatch;
use crate::cloudwatch::otlp;
use crate::control;
use crate::control::Command;
use crate::faults::Arrangement;
use crate::faults::CallEffects;
use crate::faults::Damage;
use crate::faults::Refusals;
use crate::response_encoding::Protocol;
use crate::sagemaker;
use crate::servicequotas;
use crate::sns;
use crate::sts;
use crate::truth;
use trainspotter_core::model::Timestamp;

/// Larger than any service's limit, so that the service's own error is returned.
const MAX_BODY_BYTES: usize = 4 * 1_024 * 1_024;
/// Path prefix of Batch's tagging operations, followed by an ARN.
const TAGS: &str = "/v1/tags/";
/// The content type of awsQuery.
const FORM: &str = "application/x-www-form-urlencoded";
/// PutMetricData: "1 MB for HTTP POST requests", before compression.
const MAX_CLOUDWATCH_BYTES: usize = 1_024 * 1_024;

/// Message for expired credentials.
const EXPIRED: &str = "The security token included in the request is expired";

/// All routes: the simulator's own under `/_sim/`; everything else is AWS.
pub(super) fn router(accounts: Accounts) -> Router {
    Router::new()
        .route("/_sim/truth", get(show_truth))
        .route("/_sim/truth/jobs", get(show_jobs))
        .route("/_sim/truth/messages", get(show_messages))
        .route("/_sim/truth/otlp", get(show_otlp))
        .route("/_sim/control", get(show_control).post(perform_control))
        .route("/_sim/accounts", get(show_accounts).post(change_account))
        .route("/_sim/faults", get(show_faults).post(arrange_faults).delete(clear_faults))
        .route(otlp::PATH, post(put_otlp))
        .fallback(call)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(accounts)
}

async fn show_truth(At(simulation): At) -> Json<Value> {
    let world = simulation.world();
    Json(truth::figures(&world, control::speed(&world, simulation.clock)))
}

async fn show_jobs(At(simulation): At, Query(page): Query<truth::Page>) -> Json<Value> {
    Json(truth::jobs(&simulation.world(), &page))
}

async fn show_messages(At(simulation): At) -> Json<Value> {
    Json(json!({"messages": simulation.world().topics.kept()}))
}

async fn show_otlp(At(simulation): At) -> Json<Value> {
    Json(simulation.world().metrics.otlp.shown())
}

/// CloudWatch's OTLP endpoint, which no SDK calls.
async fn put_otlp(State(accounts): State<Accounts>, headers: HeaderMap, sent: Bytes) -> Response {
    let simulation = match accounts.of_request(&headers, false) {
        Ok((simulation, _)) => simulation.clone(),
        Err(error) => return Protocol::RestJson1.write_error(&error, "otlp"),
    };
    let (response, effects) = {
        let mut world = simulation.world();
        let throttled = ApiError::new(429, "ThrottlingException", "Rate exceeded");
        let expired = ApiError::new(403, "ExpiredTokenException", EXPIRED);
        let denied =
            ApiError::new(403, "AccessDeniedException", "User is not authorized to perform: cloudwatch:PutMetricData");
        let effects = world.faults.effects_on(otlp::OPERATION, Refusals { throttled, expired, denied });
        let result = match &effects.refusal {
            Some(error) => Err(error.clone()),
            None => decoded(&headers, &sent).and_then(|body| otlp::answer(&mut world, &headers, &sent, &body)),
        };
        let mut response = result.map_or_else(
            |error| Protocol::RestJson1.write_error(&error, "otlp"),
            |body| ([(CONTENT_TYPE, "application/x-protobuf")], body).into_response(),
        );
        response.headers_mut().extend(date(world.now).map(|date| (DATE, date)));
        (response, effects)
    };
    simulation.clock.sleep(effects.late).await;
    match effects.damage {
        None => response,
        Some(damage) => damaged(response, damage).await,
    }
}

async fn show_control(At(simulation): At) -> Json<Value> {
    Json(control::state(&simulation.world(), simulation.clock))
}

async fn perform_control(At(simulation): At, Json(command): Json<Command>) -> Response {
    let result = control::perform(&mut simulation.world(), command, simulation.clock);
    result.map_or_else(refusal, |state| Json(state).into_response())
}

async fn show_faults(At(simulation): At) -> Json<Value> {
    Json(simulation.world().faults.described())
}

async fn arrange_faults(At(simulation): At, Json(arrangement): Json<Arrangement>) -> Response {
    let mut world = simulation.world();
    match control::arrange(&mut world, arrangement) {
        Ok(()) => Json(world.faults.described()).into_response(),
        Err(error) => refusal(error),
    }
}

async fn clear_faults(At(simulation): At) -> StatusCode {
    simulation.world().faults.clear();
    StatusCode::NO_CONTENT
}

async fn show_accounts(State(accounts): State<Accounts>) -> Json<Value> {
    Json(accounts.shown())
}

async fn change_account(State(accounts): State<Accounts>, Json(change): Json<Change>) -> Response {
    accounts.change(change).map_or_else(refusal, |shown| Json(shown).into_response())
}

/// The simulation selected by `?account=` and `?region=` under `/_sim/`, if there are several.
struct At(Simulation);

impl FromRequestParts<Accounts> for At {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, accounts: &Accounts) -> Result<Self, Response> {
        let query = parts.uri.query().unwrap_or_default();
        let value = |wanted: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
        };
        let (account, region) = (value("account"), value("region"));
        let found = accounts.at(account.as_deref(), region.as_deref()).cloned();
        found.map(Self).ok_or_else(|| refusal(ApiError::bad("BadRequest", "there is no such account and region")))
    }
}

fn refusal(error: ApiError) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": error.message}))).into_response()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Batch,
    SageMaker,
    Quotas,
    CloudWatch,
    Sns,
    Sts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    service: Service,
    protocol: Protocol,
    operation: String,
}

async fn call(State(accounts): State<Accounts>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let (path, body) = match uri.path().strip_prefix(TAGS) {
        Some(arn) => match tagging(&method, arn, uri.query().unwrap_or_default(), &body) {
            Some((path, body)) => (path, Bytes::from(body.to_string())),
            None => (uri.path(), body),
        },
        None => (uri.path(), body),
    };
    let is_sts = header(&headers, "content-type").is_some_and(|kind| kind.starts_with(FORM))
        && Form::parse(&body).get("Version") == Some(sts::VERSION);
    let asked = accounts.of_request(&headers, is_sts).map(|(simulation, account)| (simulation.clone(), account));
    let (simulation, caller) = match (asked, accounts.first()) {
        (Ok((simulation, account)), _) => (simulation, Ok(account)),
        (Err(error), Some(first)) => (first.clone(), Err(error)),
        (Err(error), None) => return Protocol::RestJson1.write_error(&error, "nobody"),
    };
    let (response, deliveries, effects) = {
        let mut world = simulation.world();
        let (mut response, effects) = answer(&accounts, &mut world, caller, path, &headers, &body);
        response.headers_mut().extend(date(world.now).map(|date| (DATE, date)));
        (response, world.topics.take_due(), effects)
    };
    simulation.postman.send(deliveries);
    if let Some(late) = effects.as_ref().map(|effects| effects.late).filter(|late| !late.is_zero()) {
        simulation.clock.sleep(late).await;
    }
    match effects.and_then(|effects| effects.damage) {
        None => response,
        Some(damage) => damaged(response, damage).await,
    }
}

/// Converts Batch's three operations with the ARN in the path to the form of the others. `None` for other methods.
fn tagging(method: &Method, arn: &str, query: &str, body: &[u8]) -> Option<(&'static str, Value)> {
    let arn: String = form_urlencoded::parse(format!("arn={}", arn.replace('+', "%2B")).as_bytes())
        .map(|(_, arn)| arn.into_owned())
        .collect();
    match method.as_str() {
        "GET" => Some(("/v1/listtagsforresource", json!({"resourceArn": arn}))),
        "POST" => {
            let mut body: Value = serde_json::from_slice(body).unwrap_or_else(|_| json!({}));
            if let Value::Object(members) = &mut body {
                members.insert("resourceArn".to_owned(), json!(arn));
            }
            Some(("/v1/tagresource", body))
        }
        "DELETE" => {
            let keys = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "tagKeys");
            let keys: Vec<_> = keys.map(|(_, key)| key.into_owned()).collect();
            Some(("/v1/untagresource", json!({"resourceArn": arn, "tagKeys": keys})))
        }
        _ => None,
    }
}

/// The response to a call, and the faults that apply to it.
fn answer(
    accounts: &Accounts,
    world: &mut World,
    caller: Result<String, ApiError>,
    path: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> (Response, Option<CallEffects>) {
    let request_id = world.next_id();
    let body = match decoded(headers, body) {
        Ok(body) => body,
        Err(error) => return (Protocol::RestJson1.write_error(&error, &request_id), None),
    };
    let Some(call) = Call::of(path, headers, &body) else {
        let what = format!("the simulator knows no service or operation for {path}");
        let error = ApiError::bad("UnknownOperationException", what);
        // Clients that send forms can read XML only.
        let is_form = header(headers, "content-type").is_some_and(|kind| kind.starts_with(FORM));
        let protocol = if is_form { Protocol::AwsQuery(sns::NAMESPACE) } else { Protocol::RestJson1 };
        return (protocol.write_error(&error, &request_id), None);
    };
    let effects = world.faults.effects_on(&call.operation, call.refusals());
    let result = match (&effects.refusal, caller) {
        (Some(error), _) => Err(error.clone()),
        (None, Err(error)) => Err(call.in_service_format(error)),
        (None, Ok(_)) if call.service != Service::Sts => perform(world, &call, &body),
        (None, Ok(account)) => {
            sts::answer(accounts, world, &account, &call.operation, &Form::parse(&body)).map(Payload::Xml)
        }
    };
    if let Err(error) = &result {
        tracing::debug!(service = ?call.service, operation = call.operation, %error, "refused");
    }
    (call.protocol.write(&call.operation, result, &request_id), Some(effects))
}

/// A time in the format of the `Date` header.
fn date(at: Timestamp) -> Option<HeaderValue> {
    let at = jiff::Timestamp::from_millisecond(at.millis()).ok()?;
    let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()?;
    HeaderValue::from_str(&text).ok()
}

/// Applies damage to a response.
async fn damaged(response: Response, damage: Damage) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let half = whole.slice(..whole.len() / 2);
    parts.headers.remove(CONTENT_LENGTH);
    let body = match damage {
        Damage::Cut => {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(whole.len().max(1)));
            let broken = Err(io::Error::new(io::ErrorKind::ConnectionReset, "the simulator was asked to cut this"));
            Body::from_stream(stream::iter([Ok(half), broken]))
        }
        Damage::Truncated => Body::from(half),
        Damage::Malformed => {
            parts.status = StatusCode::OK;
            Body::from("<html><body><h1>Welcome to the captive portal</h1></body></html>")
        }
    };
    Response::from_parts(parts, body)
}

fn decoded(headers: &HeaderMap, body: &Bytes) -> Result<Vec<u8>, ApiError> {
    if header(headers, "content-encoding") != Some("gzip") {
        return Ok(body.to_vec());
    }
    let mut plain = Vec::new();
    let limit = MAX_BODY_BYTES as u64 + 1;
    GzDecoder::new(body.as_ref())
        .take(limit)
        .read_to_end(&mut plain)
        .map_err(|error| ApiError::bad("SerializationException", format!("the body is not gzip: {error}")))?;
    Ok(plain)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

impl Call {
    /// Identifies a request: by path (Batch; CloudWatch in CBOR), by target (SageMaker; CloudWatch in JSON), or by
    /// the form's version.
    fn of(path: &str, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let new =
            |service, protocol, operation: &str| Some(Self { service, protocol, operation: operation.to_owned() });
        if let Some(name) = path.strip_prefix("/v1/") {
            return new(Service::Batch, Protocol::RestJson1, batch::operation(name).unwrap_or(name));
        }
        if let Some(rest) = path.strip_prefix("/service/") {
            let operation = rest.strip_prefix(cloudwatch::SERVICE)?.strip_prefix("/operation/")?;
            return new(Service::CloudWatch, Protocol::RpcV2Cbor, operation);
        }
        if let Some(target) = header(headers, "x-amz-target") {
            return match target.split_once('.')? {
                (sagemaker::TARGET, operation) => new(Service::SageMaker, Protocol::AwsJson1_1, operation),
                (servicequotas::TARGET, operation) => new(Service::Quotas, Protocol::AwsJson1_1, operation),
                (cloudwatch::SERVICE, operation) => new(Service::CloudWatch, Protocol::AwsJson1_0, operation),
                _ => None,
            };
        }
        let form = Form::parse(body);
        let (service, namespace) = match form.get("Version")? {
            sns::VERSION => (Service::Sns, sns::NAMESPACE),
            sts::VERSION => (Service::Sts, sts::NAMESPACE),
            cloudwatch::VERSION => (Service::CloudWatch, cloudwatch::NAMESPACE),
            _ => return None,
        };
        new(service, Protocol::AwsQuery(namespace), form.get("Action")?)
    }
}

fn perform(world: &mut World, call: &Call, body: &[u8]) -> Result<Payload, ApiError> {
    let operation = call.operation.as_str();
    match call.service {
        Service::Batch => {
            let input = json_body(body, "ClientException")?;
            let answer = batch::answer(world, operation, &input)?;
            world.faults.show(operation, &input, answer).map(Payload::Json)
        }
        Service::SageMaker => {
            sagemaker::answer(world, operation, &json_body(body, "SerializationException")?).map(Payload::Json)
        }
        Service::Quotas => {
            servicequotas::answer(operation, &json_body(body, "SerializationException")?).map(Payload::Json)
        }
        Service::CloudWatch => {
            if body.len() > MAX_CLOUDWATCH_BYTES {
                let message = "The request is larger than 1 MB before compression.";
                return Err(ApiError::new(413, "RequestEntityTooLarge", message));
            }
            let request = match call.protocol {
                Protocol::RpcV2Cbor => cloudwatch::Request::Tree(cbor::decode(body)?),
                Protocol::AwsQuery(_) => cloudwatch::Request::Form(Form::parse(body)),
                Protocol::RestJson1 | Protocol::AwsJson1_0 | Protocol::AwsJson1_1 => {
                    cloudwatch::Request::Tree(cbor::output(&json_body(body, "SerializationException")?)?)
                }
            };
            cloudwatch::answer(world, operation, request).map(Payload::Tree)
        }
        Service::Sns => sns::answer(world, operation, &Form::parse(body)).map(Payload::Xml),
        // Needs the caller's account: see `answer`.
        Service::Sts => Err(ApiError::bad("InvalidAction", "STS is asked elsewhere")),
    }
}

/// Parses a JSON body; an empty one is an empty object, as SDKs send it for operations without input.
fn json_body(body: &[u8], code: &'static str) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(body).map_err(|error| ApiError::bad(code, format!("the body is not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_recognised_by_path_target_or_version() {
        let check =
            |path: &str, target: Option<&'static str>, body: &str, expected: Option<(Service, Protocol, &str)>| {
                let mut headers = HeaderMap::new();
                if let Some(target) = target {
                    headers.insert("x-amz-target", target.parse().unwrap());
                }
                let call = Call::of(path, &headers, body.as_bytes());
                let expected =
                    expected.map(|(service, protocol, name)| Call { service, protocol, operation: name.to_owned() });
                assert_eq!(call, expected, "{path} {target:?} {body}");
            };
        check("/v1/listservicejobs", None, "{}", Some((Service::Batch, Protocol::RestJson1, "ListServiceJobs")));
        check(
            "/v1/registerjobdefinition",
            None,
            "{}",
            Some((Service::Batch, Protocol::RestJson1, "registerjobdefinition")),
        );
        let cbor = "/service/GraniteServiceVersion20100801/operation/PutMetricData";
        check(cbor, None, "", Some((Service::CloudWatch, Protocol::RpcV2Cbor, "PutMetricData")));
        let target = "GraniteServiceVersion20100801.PutMetricData";
        check("/", Some(target), "{}", Some((Service::CloudWatch, Protocol::AwsJson1_0, "PutMetricData")));
        check("/service/Other/operation/X", None, "", None);
        check(
            "/",
            Some("SageMaker.DescribeTrainingJob"),
            "{}",
            Some((Service::SageMaker, Protocol::AwsJson1_1, "DescribeTrainingJob")),
        );
        check(
            "/",
            None,
            "Action=Publish&Version=2010-03-31",
            Some((Service::Sns, Protocol::AwsQuery(sns::NAMESPACE), "Publish")),
        );
        check(
            "/",
            None,
            "Action=AssumeRole&Version=2011-06-15",
            Some((Service::Sts, Protocol::AwsQuery(sts::NAMESPACE), "AssumeRole")),
        );
        check("/", None, "Action=Publish", None);
    }
}
