//! What a receiver says when it refuses points: bounded, on one line, and safe to display.

use prost::Message;

use trainspotter_core::model::readable_line;

/// Maximum characters shown of a receiver's message.
const MAX_MESSAGE: usize = 300;

/// `google.rpc.Status`, the body of an error over HTTP and the details of one over gRPC, as far as it is used.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Detail {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// The message in the body of an error response: `google.rpc.Status` as protobuf (OTLP specification, "OTLP/HTTP
/// Response"), JSON as of AWS services and most gateways, or plain text. `None` for other bodies, such as a page of a
/// proxy.
pub(super) fn message_in(media_type: &str, body: &[u8]) -> Option<String> {
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let message = match media_type.as_str() {
        "application/x-protobuf" | "application/protobuf" => RpcStatus::decode(body).ok()?.message,
        "text/html" => return None,
        _ => match serde_json::from_slice::<serde_json::Value>(body) {
            Ok(body) => {
                let message = ["message", "Message", "error"].iter().find_map(|key| body.get(key)?.as_str());
                message?.to_owned()
            }
            Err(_) => {
                let text = std::str::from_utf8(body).ok()?;
                if text.contains('\0') || text.trim_start().starts_with('<') {
                    return None;
                }
                text.to_owned()
            }
        },
    };
    Some(shown(&message)).filter(|message| !message.is_empty())
}

/// A message of a receiver as it is shown.
pub(super) fn shown(message: &str) -> String {
    let words: Vec<&str> = message.split_whitespace().collect();
    let line = words.join(" ");
    let mut shown: String = readable_line(&line).chars().take(MAX_MESSAGE).collect();
    if line.chars().nth(MAX_MESSAGE).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_refusal_is_read_in_each_form_and_bounded() {
        let status = RpcStatus { message: "out of\norder".to_owned(), details: Vec::new() }.encode_to_vec();
        let text = |media_type: &str, body: &[u8], expected: Option<&str>| {
            assert_eq!(message_in(media_type, body).as_deref(), expected, "{media_type} {body:?}");
        };
        text("application/x-protobuf", &status, Some("out of order"));
        text("Application/X-Protobuf; charset=utf-8", &status, Some("out of order"));
        text("application/x-protobuf", b"\xff\xff", None);
        text("application/json", br#"{"message": "too old"}"#, Some("too old"));
        text("application/x-amz-json-1.0", br#"{"__type": "X", "Message": "too old"}"#, Some("too old"));
        text("application/json", br#"{"status": "error", "error": "no such tenant"}"#, Some("no such tenant"));
        text("application/json", br#"{"code": 3}"#, None);
        text("text/plain; charset=utf-8", b"otlp receiver is not enabled\n", Some("otlp receiver is not enabled"));
        text("", b"entity too large", Some("entity too large"));
        text("text/plain", b"a\x1b[31mb\xe2\x80\xaec", Some("a\u{fffd}[31mb\u{fffd}c"));
        text("text/html", b"<html>", None);
        text("", b" <!doctype html>", None);
        text("text/plain", b"\xff\xfe", None);
        text("text/plain", b"  \n", None);
        assert_eq!(shown(&"x".repeat(301)), format!("{}…", "x".repeat(300)));
        assert_eq!(shown(&"x".repeat(300)), "x".repeat(300));
    }
}
