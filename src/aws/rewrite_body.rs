//! Rewrites response bodies before the SDK parses them.

use std::fmt;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;

/// Rewrites the bodies of responses.
pub(crate) trait RewriteBody: fmt::Debug + Send + Sync + 'static {
    /// Returns the body that the SDK parses instead of that of a successful response; `None` leaves it unchanged.
    fn rewrite(&self, operation: &str, body: &[u8]) -> Option<Vec<u8>>;
}

/// SDK interceptor that applies a [`RewriteBody`] to the responses of one call, or of all calls of a client.
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
        // The budget's HTTP client has buffered the whole body.
        let body = response.body().bytes().filter(|_| response.status().is_success());
        if let Some(body) = body.and_then(|body| self.0.rewrite(operation, body)) {
            *response.body_mut() = SdkBody::from(body);
        }
        Ok(())
    }
}
