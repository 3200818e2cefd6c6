//! Whether content of a presigned zone may be served: each signature and the whole chain are verified first.

use std::sync::Arc;

use keystore::config::{Signing, Verify};
use keystore::time::Timestamp;

use super::{ConditionId, ZoneRuntime};
use crate::rules::DnssecRecords;
use crate::verify::{VerifyReport, ZoneContents, verify_presigned};
use crate::zone::Zone;

/// Seconds after which content that does not verify is verified again: its signatures may begin later.
const AGAIN: u64 = 3600;
/// Most findings that a message has.
const NAMED: usize = 3;

/// What is known of the content of a presigned zone.
#[derive(Default)]
pub(super) struct VerifiedContent {
    /// The content that was looked at last, when, and what is wrong with it.
    last: Option<(Arc<Zone>, Timestamp, Option<String>)>,
    /// The last content that verified: only what differs from it is verified in the next.
    good: Option<Arc<Zone>>,
}

impl VerifiedContent {
    /// When content that does not verify is verified again.
    pub fn next_try(&self) -> Option<Timestamp> {
        let (_, at, _) = self.last.as_ref().filter(|(_, _, why)| why.is_some())?;
        Some(at.plus(AGAIN))
    }

    /// What was found of this content, as long as it counts.
    fn known(&self, content: &Arc<Zone>, now: Timestamp) -> Option<&Option<String>> {
        let (zone, at, why) = self.last.as_ref()?;
        let counts = why.is_none() || now >= *at && now.since(*at) < AGAIN;
        (Arc::ptr_eq(zone, content) && counts).then_some(why)
    }
}

impl ZoneRuntime {
    /// True for content that may be served as far as its signatures go: always in a zone that is not presigned.
    pub(super) fn is_verified(&mut self, content: &Arc<Zone>, now: Timestamp) -> bool {
        let Signing::Presigned(verify) = self.setup.versions.signing else { return true };
        // It was read when the zone was of another kind, and is read again.
        if content.dnssec() != DnssecRecords::Kept {
            return false;
        }
        if let Some(why) = self.serial_fault(content) {
            self.set_condition(ConditionId::SignerNotVerified, Some(why), now);
            return false;
        }
        let why = match self.verified.known(content, now) {
            Some(why) => why.clone(),
            None => {
                let why = self.signature_fault(content, now);
                let result = if why.is_none() { "ok" } else { "failed" };
                self.metrics.zone_self_checks_total.with_label_values(&[&self.label, result]).inc();
                if why.is_none() {
                    self.verified.good = Some(Arc::clone(content));
                }
                self.verified.last = Some((Arc::clone(content), now, why.clone()));
                why
            }
        };
        let is_good = why.is_none();
        self.set_condition(ConditionId::SignerNotVerified, why, now);
        is_good || verify == Verify::Warn
    }

    /// Why the serial, which is signed and cannot be raised, does not let the content follow on what is served.
    fn serial_fault(&self, content: &Arc<Zone>) -> Option<String> {
        let (standing, served) = self.standing().filter(|(standing, _)| !Arc::ptr_eq(standing, content))?;
        let serial = content.serial();
        let is_later = matches!(serial.wrapping_sub(served), 1..=0x7fff_ffff);
        let is_same = standing.dnssec() == DnssecRecords::Kept && standing.has_content_of(content);
        (!is_later && !is_same).then(|| {
            format!("Version {serial} is not served: its serial is not later than {served}, which is served")
        })
    }

    /// What is wrong with its signatures or its chain.
    fn signature_fault(&self, content: &Zone, now: Timestamp) -> Option<String> {
        let serial = content.serial();
        let contents = match ZoneContents::of_zone(content) {
            Ok(contents) => contents,
            Err(problem) => return Some(format!("Version {serial} cannot be verified: {problem}")),
        };
        let VerifyReport { findings, signatures, .. } =
            verify_presigned(&contents, &self.setup.anchors, self.verified.good.as_deref(), now);
        if findings.is_empty() {
            tracing::info!(zone = %self.setup.name, serial, signatures, "the presigned zone was verified");
            return None;
        }
        let named: Vec<String> = findings.iter().take(NAMED).map(ToString::to_string).collect();
        let more = findings.len().saturating_sub(NAMED);
        let more = if more > 0 { format!("; and {more} more findings") } else { String::new() };
        Some(format!("Version {serial} does not verify: {}{more}", named.join("; ")))
    }
}
