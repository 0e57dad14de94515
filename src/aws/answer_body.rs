//! Looking into the body of an answer before the SDK reads it, and giving it another one to read.

use std::fmt;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;

/// What reads answers before the SDK does.
pub(crate) trait RewriteBody: fmt::Debug + Send + Sync + 'static {
    /// The body that the SDK is to read instead of the one of an answer that succeeded; `None` leaves it as it is.
    fn rewrite(&self, operation: &str, body: &[u8]) -> Option<Vec<u8>>;
}

/// Lets something read the answers to a call, or to all calls of a client.
#[derive(Debug)]
pub(crate) struct AnswerBody<T>(pub(crate) T);

impl<T: RewriteBody> Intercept for AnswerBody<T> {
    fn name(&self) -> &'static str {
        "AnswerBody"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = cfg.load::<Metadata>().map_or("", Metadata::name);
        let response = context.response_mut();
        // The budget's client hands over whole bodies.
        let body = response.body().bytes().filter(|_| response.status().is_success());
        if let Some(body) = body.and_then(|body| self.0.rewrite(operation, body)) {
            *response.body_mut() = SdkBody::from(body);
        }
        Ok(())
    }
}
