//! Identity of the publisher, in OpenTelemetry's terms.

use sha2::{Digest as _, Sha256};

use trainspotter_core::model::Timestamp;

/// Identity of the publisher. A frame's own account and region take precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Start of counting. Like the totals, it survives restarts.
    pub began: Timestamp,
    /// The watched AWS region, if there is exactly one.
    pub region: Option<String>,
    /// The watched AWS account, if known.
    pub account: Option<String>,
}

impl Origin {
    /// Id of this source of figures (`service.instance.id` in OpenTelemetry): a UUID that stays the same as long as
    /// the totals continue, across restarts and in a replica that takes over, and that differs for a different state.
    pub fn instance_id(&self) -> String {
        self.instance_id_in("")
    }

    /// As [`Self::instance_id`], for one of several targets with separate totals.
    pub(crate) fn instance_id_in(&self, target: &str) -> String {
        let mut whole = format!("trainspotter {} {:?} {:?}", self.began.millis(), self.region, self.account);
        whole.push_str(target);
        uuid_of(&whole)
    }
}

/// A UUID derived from a text.
pub fn uuid_of(text: &str) -> String {
    let digest = Sha256::digest(text);
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest.iter()).for_each(|(byte, of_digest)| *byte = *of_digest);
    // Version 8 (RFC 9562): custom.
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}
