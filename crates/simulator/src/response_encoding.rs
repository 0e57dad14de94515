//! Encodes responses and errors in each protocol.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;
use serde_json::json;

use crate::api_error::ApiError;
use crate::api_error::Payload;
use crate::aws_query;
use crate::cbor;

const REQUEST_ID: &str = "x-amzn-requestid";

/// Protocol of a request and its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// JSON; the operation is the path, an error's code is a header.
    RestJson1,
    /// JSON; the operation is a header.
    AwsJson1_0,
    /// As `AwsJson1_0`, with another content type.
    AwsJson1_1,
    /// CBOR; the operation is in the path.
    RpcV2Cbor,
    /// A form; the response is XML in this namespace.
    AwsQuery(&'static str),
}

impl Protocol {
    /// Encodes the result of an operation.
    pub fn write(self, operation: &str, result: Result<Payload, ApiError>, request_id: &str) -> Response {
        match result {
            Ok(payload) => self.write_answer(operation, payload, request_id),
            Err(error) => self.write_error(&error, request_id),
        }
    }

    fn write_answer(self, operation: &str, payload: Payload, request_id: &str) -> Response {
        let body = match payload {
            Payload::Json(body) => body.to_string().into_bytes(),
            Payload::Tree(tree) => self.write_tree(operation, tree, request_id),
            Payload::Xml(members) => {
                aws_query::response(self.namespace(), operation, &members, request_id).into_bytes()
            }
        };
        self.respond(StatusCode::OK, request_id, body)
    }

    fn write_tree(self, operation: &str, tree: ciborium::Value, request_id: &str) -> Vec<u8> {
        match self {
            Self::RpcV2Cbor => cbor::encode(tree),
            Self::AwsQuery(namespace) => {
                aws_query::response(namespace, operation, &aws_query::members(&tree), request_id).into_bytes()
            }
            Self::RestJson1 | Self::AwsJson1_0 | Self::AwsJson1_1 => {
                // These trees have text keys and finite numbers only.
                tree.deserialized::<Value>().unwrap_or_default().to_string().into_bytes()
            }
        }
    }

    /// Encodes an error.
    pub fn write_error(self, error: &ApiError, request_id: &str) -> Response {
        let body = match self {
            Self::RestJson1 => json!({"message": error.message}).to_string().into_bytes(),
            Self::AwsJson1_0 | Self::AwsJson1_1 => {
                json!({"__type": error.code, "message": error.message}).to_string().into_bytes()
            }
            Self::RpcV2Cbor => {
                let text = |text: &str| ciborium::Value::Text(text.to_owned());
                let members = [("__type", error.code), ("message", error.message.as_str())];
                cbor::encode(ciborium::Value::Map(members.map(|(name, value)| (text(name), text(value))).into()))
            }
            Self::AwsQuery(namespace) => {
                aws_query::error(namespace, query_code(error.code), error, request_id).into_bytes()
            }
        };
        let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let response = self.respond(status, request_id, body);
        match self {
            Self::RestJson1 => ([("x-amzn-errortype", error.code)], response).into_response(),
            // Only CloudWatch uses these, and it formerly used the query protocol.
            Self::AwsJson1_0 | Self::RpcV2Cbor => {
                let in_query = format!("{};{}", query_code(error.code), error.fault());
                ([("x-amzn-query-error", in_query)], response).into_response()
            }
            Self::AwsJson1_1 | Self::AwsQuery(_) => response,
        }
    }

    fn respond(self, status: StatusCode, request_id: &str, body: Vec<u8>) -> Response {
        let content_type = match self {
            Self::RestJson1 => "application/json",
            Self::AwsJson1_0 => "application/x-amz-json-1.0",
            Self::AwsJson1_1 => "application/x-amz-json-1.1",
            Self::RpcV2Cbor => "application/cbor",
            Self::AwsQuery(_) => "text/xml",
        };
        let response = (status, [("content-type", content_type), (REQUEST_ID, request_id)], body).into_response();
        if self == Self::RpcV2Cbor {
            return ([("smithy-protocol", "rpc-v2-cbor")], response).into_response();
        }
        response
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::AwsQuery(namespace) => namespace,
            Self::RestJson1 | Self::AwsJson1_0 | Self::AwsJson1_1 | Self::RpcV2Cbor => "",
        }
    }
}

/// CloudWatch's codes of the query protocol, which SDKs prefer if present.
fn query_code(code: &str) -> &str {
    match code {
        "MissingRequiredParameterException" => "MissingParameter",
        "DashboardInvalidInputError" => "InvalidParameterInput",
        "DashboardNotFoundError" => "ResourceNotFound",
        "InternalServiceFault" => "InternalServiceError",
        "ValidationException" => "ValidationError",
        // These are not specific to CloudWatch, and have no shorter query code.
        "SerializationException" | "ExpiredTokenException" => code,
        _ => code.strip_suffix("Exception").unwrap_or(code),
    }
}
