//! Links in messages: to the alert's page, its runbook and the AWS console.

use crate::notify::message::Message;
use crate::notify::outbox::RECEIVER_IN_TROUBLE;
use crate::runbooks;
use trainspotter_core::rules::Transition;
use trainspotter_core::rules::{Alert, REPORT};

impl Message {
    /// Link to the alert's page.
    pub fn link(&self) -> Option<String> {
        self.link_of(&self.transition.alert)
    }

    /// Link to the page of one of the alerts.
    pub fn link_of(&self, alert: &Alert) -> Option<String> {
        let url = self.external_url.as_ref()?;
        // Rules raise alerts; a failing receiver is shown on the health page.
        Some(if alert.rule == RECEIVER_IN_TROUBLE {
            format!("{url}/health")
        } else if alert.rule == REPORT {
            format!("{url}/")
        } else {
            format!("{url}/alerts/{}", alert.id)
        })
    }

    /// Link to the runbook, if it has a URL.
    pub fn runbook(&self) -> Option<String> {
        let annotations = &self.transition.alert.annotations;
        let link = annotations.get("runbook_url").or_else(|| annotations.get("runbook"))?;
        link.starts_with("http").then(|| link.clone())
    }

    /// Link to the job or the queue in the AWS console.
    pub fn console(&self) -> Option<String> {
        Self::console_of(&self.transition.alert)
    }

    /// Link to an alert's job, or else its queue, in the AWS console.
    pub fn console_of(alert: &Alert) -> Option<String> {
        let arn = alert.queue_arn.as_ref()?;
        let mut parts = arn.split(':').skip(1);
        let (partition, region) = (parts.next()?, parts.nth(1).filter(|region| !region.is_empty())?);
        let domain = match partition {
            "aws-cn" => "console.amazonaws.cn".to_owned(),
            "aws-us-gov" => "console.amazonaws-us-gov.com".to_owned(),
            _ => format!("{region}.console.aws.amazon.com"),
        };
        let is_id =
            |id: &&String| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let about = match alert.labels.get("job").or_else(|| alert.by.get("job")).filter(is_id) {
            Some(job) => format!("jobs/detail/{job}"),
            None => format!("queues/detail/{arn}"),
        };
        Some(format!("https://{domain}/batch/home?region={region}#{about}"))
    }
}

/// Replaces the runbook of a transition by its link, if the service serves it; without an external URL, by its path.
pub(super) fn linked(transition: &Transition, external_url: Option<&str>) -> Transition {
    let mut transition = transition.clone();
    for key in ["runbook", "runbook_url"] {
        if let Some(annotation) = transition.alert.annotations.get_mut(key)
            && let Some(name) = runbooks::named(annotation)
        {
            *annotation = format!("{}{}/{name}", external_url.unwrap_or_default(), runbooks::PATH);
        }
    }
    transition
}
