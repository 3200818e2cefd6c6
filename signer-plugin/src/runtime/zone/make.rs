//! How the next version is made: signed and checked, or as the zone is.

use std::sync::Arc;
use std::time::Instant;

use keystore::time::Timestamp;

use super::wanted::{Making, NextVersion, ToSign};
use super::{Made, MakeError, ZoneRuntime, is_valid};
use crate::rules::DnssecRecords;
use crate::signing::{SignedZone, SigningError, SigningKeys, SigningPolicy, ZoneKey, sign};
use crate::state::{SigningFacts, VersionFacts};
use crate::zone::Zone;

/// Names whose signatures are looked at before a version is served, besides the apex and those that are new.
const SAMPLES: usize = 256;

impl ZoneRuntime {
    /// Reserves the serial, makes the version under it, and checks.
    pub(super) fn make(&mut self, wanted: &NextVersion, now: Timestamp) -> Result<Made, MakeError> {
        if let Making::Signed(parts) = &wanted.making {
            // Before a serial is used up.
            self.policy(parts)?;
        }
        let serial = self.take_serial(&wanted.zone, now)?;
        let signed = Arc::new(self.version(wanted, serial, now)?);
        let (signing, keys, retiring) = match &wanted.making {
            Making::Signed(parts) => {
                let facts = SigningFacts {
                    generation: parts.generation,
                    bundle: parts.bundle.clone(),
                    keys: signed.signing_keys().collect(),
                    published: parts.published.clone(),
                    denial: self.policy(parts)?.denial,
                    denial_checksum: signed.denial_checksum(),
                    made_at_apex: signed.made_at_apex(),
                };
                (Some(facts), parts.keys.clone(), parts.retiring.clone())
            }
            Making::Given => (None, Vec::new(), Vec::new()),
        };
        Ok(Made::new(signed, VersionFacts { serial, made_at: now, signing, history: None }, keys, retiring))
    }

    /// The version under a serial, checked.
    pub(super) fn version(
        &self,
        wanted: &NextVersion,
        serial: u32,
        now: Timestamp,
    ) -> Result<SignedZone, MakeError> {
        match &wanted.making {
            Making::Signed(parts) => self.sign_and_check(&wanted.zone, parts, serial, now),
            Making::Given => {
                let previous = self.made.as_ref().map(|made| &*made.signed);
                Ok(SignedZone::given(&wanted.zone, serial, previous, now))
            }
        }
    }

    fn policy(&self, parts: &ToSign) -> Result<SigningPolicy, MakeError> {
        let Some(denial) = parts.denial.clone() else { return Err(MakeError::NoSalt) };
        Ok(SigningPolicy { times: self.setup.times, denial, zonemd: self.setup.versions.zonemd })
    }

    /// The serial of the next version, reserved. Where it cannot be reserved, new content waits; what is served goes on to be signed
    /// under the serial that it has, and a zone of which nothing is served is served nevertheless: that it is dark would be worse than a
    /// serial that may come a second time after a restart.
    fn take_serial(&mut self, zone: &Arc<Zone>, now: Timestamp) -> Result<u32, MakeError> {
        let Some(file) = &mut self.serial else { return Err(MakeError::SerialUnknown) };
        // That of a presigned zone is signed.
        let is_signed = zone.dnssec() == DnssecRecords::Kept;
        let serial = if is_signed { zone.serial() } else { file.next(zone.serial()) };
        let Err(error) = file.reserve(serial, now) else { return Ok(serial) };
        match self.standing() {
            Some((standing, serial)) if Arc::ptr_eq(&standing, zone) => Ok(serial),
            Some(_) => Err(MakeError::SerialNotWritten(error)),
            None => Ok(serial),
        }
    }

    fn sign_and_check(
        &self,
        zone: &Arc<Zone>,
        parts: &ToSign,
        serial: u32,
        now: Timestamp,
    ) -> Result<SignedZone, MakeError> {
        let policy = &self.policy(parts)?;
        let ToSign { bundle, keys, retiring, .. } = parts;
        let served = self.served.signed();
        let previous = self.made.as_ref().map(|made| &made.signed).or(served.as_ref());
        let previous = previous.or(self.unserved.as_ref()).map(|signed| &**signed);
        let started = Instant::now();
        let progress = self.served.begin_signing();
        let signing = SigningKeys { active: keys, retiring, progress: Some(&progress) };
        let signed = sign(zone, bundle, signing, policy, serial, previous, now);
        self.served.end_work();
        let mode = match &signed {
            Ok(signed) if signed.signatures_reused() > 0 => "incremental",
            Err(_) if previous.is_some() => "incremental",
            _ => "full",
        };
        let result = if signed.is_ok() { "ok" } else { "failed" };
        self.metrics.zone_sign_runs_total.with_label_values(&[&self.label, mode, result]).inc();
        let signed = signed.inspect_err(|error| self.count_failure(error, keys))?;
        self.metrics
            .zone_sign_duration_seconds
            .with_label_values(&[mode])
            .observe(started.elapsed().as_secs_f64());
        self.count_signatures(&signed, keys);

        let all = self.setup.versions.self_check.is_of_all(signed.signatures_made());
        let check = signed.self_check_next(now, SAMPLES, all, &self.checks);
        // The KSK's signatures may be past: that is not the fault of what was made here, and the rest is worth serving.
        let check = if is_valid(bundle, now) { check } else { Ok(()) };
        let result = if check.is_ok() { "ok" } else { "failed" };
        self.metrics.zone_self_checks_total.with_label_values(&[&self.label, result]).inc();
        check?;
        Ok(signed)
    }

    fn count_signatures(&self, signed: &SignedZone, keys: &[ZoneKey]) {
        // Each key signs every RRset.
        let share = signed.signatures_made() as u64 / (keys.len() as u64).max(1);
        for key in keys {
            let algorithm = key.dnskey.algorithm.to_string();
            self.metrics.signatures_total.with_label_values(&[algorithm.as_str(), "ok"]).inc_by(share);
            self.metrics.signatures_total.touch(&[algorithm.as_str(), "failed"]);
        }
    }

    fn count_failure(&self, error: &SigningError, keys: &[ZoneKey]) {
        if let SigningError::Sign { tag, .. } = error {
            for key in keys.iter().filter(|key| key.dnskey.tag() == *tag) {
                let algorithm = key.dnskey.algorithm.to_string();
                self.metrics.signatures_total.with_label_values(&[algorithm.as_str(), "failed"]).inc();
            }
        }
    }
}
