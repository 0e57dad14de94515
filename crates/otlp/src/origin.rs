//! Who publishes, as OpenTelemetry wants to know it.

use sha2::{Digest as _, Sha256};

use trainspotter_core::model::Timestamp;

/// Who publishes: what a frame says of its account and region goes before this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// When counting began. Totals survive restarts, so this does too.
    pub began: Timestamp,
    /// The AWS region that is watched, if it is one.
    pub region: Option<String>,
    /// The AWS account that is watched, if known.
    pub account: Option<String>,
}

impl Origin {
    /// An id of this source of figures, as OpenTelemetry wants one (`service.instance.id`): a UUID that is the same as long as the totals
    /// go on, over restarts and in the replica that takes over, and another one for another state.
    pub fn instance_id(&self) -> String {
        self.instance_id_in("")
    }

    /// The same for one of several targets, each of which has totals of its own.
    pub(crate) fn instance_id_in(&self, target: &str) -> String {
        let mut whole = format!("trainspotter {} {:?} {:?}", self.began.millis(), self.region, self.account);
        whole.push_str(target);
        uuid_of(&whole)
    }
}

/// A UUID that is the same for the same text.
pub fn uuid_of(text: &str) -> String {
    let digest = Sha256::digest(text);
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest.iter()).for_each(|(byte, of_digest)| *byte = *of_digest);
    // Version 8 (RFC 9562): by a rule of one's own.
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}
