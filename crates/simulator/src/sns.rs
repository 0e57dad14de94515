//! SNS, awsQuery: topics, subscriptions, and publishing with its limits.
//!
//! Subscriptions are confirmed at once, without the token that SNS sends first.

mod delivery;
mod manage;
mod message;
mod publish;
mod topics;

use crate::World;
use crate::api_error::ApiError;
use crate::aws_query::Form;

pub(super) use delivery::Postman;
pub(super) use topics::Topics;

/// API version, which identifies requests, and the XML namespace of responses.
pub(super) const VERSION: &str = "2010-03-31";
pub(super) const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

/// Performs an operation and returns the members of its result.
pub(super) fn answer(world: &mut World, operation: &str, form: &Form) -> Result<String, ApiError> {
    match operation {
        "CreateTopic" => manage::create_topic(&mut world.topics, form),
        "DeleteTopic" => manage::delete_topic(&mut world.topics, form),
        "GetSubscriptionAttributes" => manage::get_subscription_attributes(&mut world.topics, form),
        "GetTopicAttributes" => manage::get_topic_attributes(&mut world.topics, form),
        "ListSubscriptions" => manage::list_subscriptions(&world.topics, form),
        "ListSubscriptionsByTopic" => manage::list_subscriptions_by_topic(&mut world.topics, form),
        "ListTopics" => manage::list_topics(&world.topics, form),
        "Publish" => publish::publish(world, form),
        "PublishBatch" => publish::publish_batch(world, form),
        "SetSubscriptionAttributes" => manage::set_subscription_attributes(&mut world.topics, form),
        "SetTopicAttributes" => manage::set_topic_attributes(&mut world.topics, form),
        "Subscribe" => manage::subscribe(world, form),
        "Unsubscribe" => manage::unsubscribe(&mut world.topics, form),
        _ => Err(ApiError::bad("InvalidAction", format!("the simulator does not serve SNS {operation}"))),
    }
}

fn invalid(what: &str) -> ApiError {
    ApiError::bad("InvalidParameter", format!("Invalid parameter: {what}"))
}
