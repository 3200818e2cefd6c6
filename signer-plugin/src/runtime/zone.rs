//! One zone, stepped: what it looks at, what it serves from when on, and when it wants to be looked at again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use keystore::config::{Config, ZoneConfig};
use keystore::dns::Name;
use keystore::exchange::bind::parse_skr;
use keystore::exchange::{Bundle, TrustAnchor, VerifiedSkr, VerifyContext, verify};
use keystore::keys::Dnskey;
use keystore::store::{self, read_current};
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::zones::Part;

use super::keyring::Keyring;
use super::serial::SerialFile;
use super::served::{SignerZone, label};
use super::watch::Stamp;
use crate::rules::ZoneRules;
use crate::signing::{SignedZone, SigningError, SigningTimes, ZoneKey, sign};
use crate::zone::Zone;

/// What a zone is made from, and where that lies.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneSetup {
    /// The apex.
    pub name: Name,
    /// The unsigned zone.
    pub file: PathBuf,
    /// Where its ZSKs lie.
    pub key_directory: PathBuf,
    /// The accepted store of all zones.
    pub accepted: PathBuf,
    /// Folder of its own for what must outlive a restart.
    pub state: PathBuf,
    /// The pinned KSKs.
    pub anchors: Vec<TrustAnchor>,
    /// How long signatures live.
    pub times: SigningTimes,
}

impl ZoneSetup {
    /// From the configuration; `None` for a zone without a file, which is not served.
    #[must_use]
    pub fn from_config(config: &Config, zone: &ZoneConfig) -> Option<Self> {
        Some(Self {
            name: zone.name.clone(),
            file: zone.file.clone()?,
            key_directory: zone.key_directory.clone(),
            accepted: config.state_dir.join("accepted"),
            state: store::zone_dir(&config.state_dir.join("zones"), &zone.name),
            anchors: zone.anchors.clone(),
            times: SigningTimes {
                validity: zone.policy.signatures_validity,
                refresh: zone.policy.signatures_refresh,
                jitter: zone.policy.signatures_jitter,
            },
        })
    }
}

/// Seconds between two attempts at what failed, as long as nothing it depends on changes.
const RETRY: u64 = 10;
/// Seconds between two messages about a zone that is not, or not validly, signed.
const ALARM: u64 = 600;
/// RRsets whose signatures are verified before a version is served, besides the apex.
const SAMPLES: usize = 256;

/// The life of one zone. [`ZoneRuntime::step`] does what is due; nothing here sleeps or asks the clock.
pub struct ZoneRuntime {
    setup: ZoneSetup,
    label: String,
    metrics: Metrics,
    served: Arc<SignerZone>,
    skr: Option<InUse>,
    skr_seen: Option<Stamp>,
    source: Source,
    keys: Keyring,
    serial: SerialFile,
    made: Option<Made>,
    /// Not before this time is tried again what failed.
    retry_at: Option<Timestamp>,
    alarmed: Option<Timestamp>,
}

/// The accepted generation in use.
struct InUse {
    generation: u64,
    skr: VerifiedSkr,
}

/// The zone file and what it was read to.
#[derive(Default)]
struct Source {
    zone: Option<Arc<Zone>>,
    /// Of the file and its includes, when they were last read, successfully or not.
    read: Vec<Stamp>,
    /// As they look since a change that is not read yet, and the time of the look: a file is read when it has rested.
    changed: Option<(Vec<Stamp>, Timestamp)>,
}

/// What the version that is served was made of.
struct Made {
    signed: Arc<SignedZone>,
    at: Timestamp,
    /// When the last of its signatures becomes valid.
    valid_from: Timestamp,
    records: u64,
    zone: Arc<Zone>,
    generation: u64,
    bundle: Timestamp,
    keys: Vec<ZoneKey>,
}

impl ZoneRuntime {
    /// A zone that has not looked at anything yet; it publishes to `served`.
    #[must_use]
    pub fn new(setup: ZoneSetup, metrics: Metrics, served: Arc<SignerZone>) -> Self {
        let label = label(&setup.name);
        metrics.add_zone(&label, Part::Signer);
        metrics.policy_signature_refresh_seconds.with_label_values(&[&label]).set(setup.times.refresh.into());
        Self {
            keys: Keyring::new(setup.name.clone(), setup.key_directory.clone()),
            serial: SerialFile::open(&setup.state),
            label,
            metrics,
            served,
            skr: None,
            skr_seen: None,
            source: Source::default(),
            made: None,
            retry_at: None,
            alarmed: None,
            setup,
        }
    }

    /// Takes its series out of the metrics, for good.
    pub(super) fn leave(&mut self) {
        self.keys.forget_series(&self.metrics);
        self.metrics.remove_zone(&self.label, Part::Signer);
    }

    /// The zone as queries see it.
    #[must_use]
    pub fn served(&self) -> &Arc<SignerZone> {
        &self.served
    }

    /// Does what is due at `now`, and gives the time of the next step that is known to be due. Files are only seen to change in
    /// a step, so step every second besides.
    pub fn step(&mut self, now: Timestamp) -> Timestamp {
        let mut changed = self.look_at_skr(now);
        changed |= self.look_at_zone_file(now);
        changed |= self.keys.look();
        if changed || self.retry_at.is_some_and(|at| at <= now || at.since(now) > RETRY) {
            self.retry_at = None;
        }
        if self.retry_at.is_none() {
            changed |= self.renew(now);
        }
        if changed && let Some(in_use) = &self.skr {
            self.keys.count_missing(&in_use.skr, now);
        }
        self.report(now);
        self.next_step(now)
    }

    /// Takes a new generation over. One that does not read or verify is reported; the one in use stays.
    fn look_at_skr(&mut self, now: Timestamp) -> bool {
        let current = store::zone_dir(&self.setup.accepted, &self.setup.name).join(store::CURRENT);
        let stamp = Stamp::of(&current);
        if self.skr_seen == Some(stamp) {
            return false;
        }
        match self.read_skr(now) {
            Ok(Some(new)) => {
                tracing::info!(
                    zone = %self.setup.name, generation = new.generation, until = %new.skr.coverage_end().iso(),
                    "a generation of the SKR is in use"
                );
                self.skr = Some(new);
            }
            Ok(None) if self.skr.is_none() => {
                tracing::warn!(zone = %self.setup.name, "no SKR was accepted yet; the zone is not served until one is");
            }
            Ok(None) => tracing::error!(
                zone = %self.setup.name, file = %current.display(),
                "the accepted SKR is gone; the generation read before stays in use until a restart. Restore the store"
            ),
            Err(error) => {
                tracing::error!(zone = %self.setup.name, error, "the accepted SKR is not taken; the one in use stays");
            }
        }
        self.skr_seen = Some(stamp);
        true
    }

    fn read_skr(&self, now: Timestamp) -> Result<Option<InUse>, String> {
        let zone = &self.setup.name;
        let Some(current) = read_current(&self.setup.accepted, zone).map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        let path = store::skr_path(&store::zone_dir(&self.setup.accepted, zone), current.generation);
        let skr =
            parse_skr(&current.octets, zone).map_err(|e| format!("{}: {}: {e}", path.display(), e.id))?;
        let mut context = VerifyContext::new(zone, &self.setup.anchors).for_reload();
        // Whether the parent may be asked to remove the DS was settled when the SKR was accepted.
        context.allow_delete = true;
        // And so was a hole, or a short overlap, between what was in force and an SKR that begins later.
        context.allow_gaps = true;
        let skr = verify(skr, &context, now).map_err(|findings| {
            let rejecting = findings.iter().filter(|f| f.rejects()).map(|f| format!("{}: {}", f.id, f.what));
            format!("{}: {}", path.display(), rejecting.collect::<Vec<_>>().join("; "))
        })?;
        Ok(Some(InUse { generation: current.generation, skr }))
    }

    /// Reads the zone file when it or one of its includes changed and has rested since the step before. One that does not read is
    /// reported; the zone read before stays.
    fn look_at_zone_file(&mut self, now: Timestamp) -> bool {
        let stamps = self.source_stamps();
        if stamps == self.source.read {
            self.source.changed = None;
            return false;
        }
        let first = self.source.read.is_empty();
        let rested = self.source.changed.as_ref().is_some_and(|(seen, at)| *seen == stamps && *at != now);
        if !first && !rested {
            if self.source.changed.as_ref().is_none_or(|(seen, _)| *seen != stamps) {
                self.source.changed = Some((stamps, now));
            }
            return false;
        }
        let loaded = Zone::load(&self.setup.file, &self.setup.name, ZoneRules::default());
        let result = if loaded.is_ok() { "ok" } else { "failed" };
        self.metrics.zone_loads_total.with_label_values(&[&self.label, result]).inc();
        self.metrics.zone_last_load_success.with_label_values(&[&self.label]).set(loaded.is_ok().into());
        match loaded {
            Ok(zone) => {
                tracing::info!(
                    zone = %self.setup.name, serial = zone.serial(), names = zone.name_count(), "the zone file was read"
                );
                self.source.zone = Some(Arc::new(zone));
                // Includes may be others now. When one was written during the reading, its stamp is not the one from before.
                self.source.read = self.source_stamps();
                if self.source.read.len() == stamps.len() {
                    self.source.read = stamps;
                }
            }
            Err(error) => {
                let stays = if self.source.zone.is_some() {
                    "the zone read before stays"
                } else {
                    "the zone is not served"
                };
                tracing::error!(zone = %self.setup.name, %error, "the zone file does not read; {stays}");
                self.source.read = stamps;
            }
        }
        self.source.changed = None;
        true
    }

    /// Of the zone file and of the includes that it had when it was last read.
    fn source_stamps(&self) -> Vec<Stamp> {
        let includes = self.source.zone.iter().flat_map(|zone| &zone.files().paths).map(PathBuf::as_path);
        let includes = includes.filter(|path| *path != self.setup.file);
        Stamp::of_all(std::iter::once::<&Path>(&self.setup.file).chain(includes))
    }

    /// The bundle to serve at `now`, and the time by which keys are chosen.
    ///
    /// It is the last one whose inception is reached. When the clock went back behind the inception of the bundle in use, that one
    /// stays as long as its signatures are valid: caches have it, and its keys must not be unpublished.
    fn bundle(&self, now: Timestamp) -> Option<(&Bundle, Timestamp)> {
        let InUse { generation, skr } = self.skr.as_ref()?;
        let in_use = self.made.as_ref().filter(|made| made.generation == *generation && made.bundle > now);
        let kept = in_use.and_then(|made| skr.bundle_at(made.bundle)).filter(|bundle| is_valid(bundle, now));
        match kept {
            Some(bundle) => Some((bundle, bundle.inception)),
            None => skr.bundle_at(now).map(|bundle| (bundle, now)),
        }
    }

    /// Makes and publishes a new version, if there is a reason; true when it tried.
    fn renew(&mut self, now: Timestamp) -> bool {
        let Some(zone) = self.source.zone.clone() else { return false };
        let Some((bundle, key_time)) = self.bundle(now).map(|(bundle, at)| (bundle.clone(), at)) else {
            return false;
        };
        let generation = self.skr.as_ref().map_or(0, |in_use| in_use.generation);
        let mut keys = self.keys.active(&bundle, key_time);
        self.stand_in(&bundle, &mut keys);
        let reason = self.reason(&zone, generation, &bundle, &keys, now);
        let Some(reason) = reason else { return false };
        match self.make(&zone, &bundle, &keys, now) {
            Ok(signed) => {
                tracing::info!(
                    zone = %self.setup.name, serial = signed.serial(), bundle = %bundle.inception.iso(), reason,
                    made = signed.signatures_made(), kept = signed.signatures_reused(), "the zone was signed"
                );
                let signed = Arc::new(signed);
                self.served.publish(Arc::clone(&signed));
                if signed.next_refresh() <= now {
                    self.retry_at = Some(now.plus(RETRY));
                }
                let incepts = bundle.signatures.iter().map(|s| s.incepts(now)).max();
                self.made = Some(Made {
                    at: now,
                    valid_from: incepts.unwrap_or(bundle.inception).max(now.minus(SLOW_CLOCKS)),
                    records: signed.records().count() as u64,
                    signed,
                    zone,
                    generation,
                    bundle: bundle.inception,
                    keys,
                });
            }
            Err(error) => {
                let stays =
                    if self.made.is_some() { "the version before stays" } else { "nothing is served" };
                tracing::error!(zone = %self.setup.name, reason, error, "the zone could not be signed; {stays}");
                self.retry_at = Some(now.plus(RETRY));
            }
        }
        true
    }

    /// Lets keys that sign the version in use go on where an algorithm of the bundle has no active key (key files gone, or their
    /// times edited), as long as they are published: their signatures validate.
    fn stand_in(&self, bundle: &Bundle, keys: &mut Vec<ZoneKey>) {
        let Some(made) = &self.made else { return };
        let published: Vec<Dnskey> = bundle.keys().collect();
        for key in &made.keys {
            let algorithm = key.dnskey.algorithm;
            if published.contains(&key.dnskey) && !keys.iter().any(|k| k.dnskey.algorithm == algorithm) {
                keys.push(key.clone());
            }
        }
    }

    /// Why a new version is due, if it is.
    fn reason(
        &self,
        zone: &Arc<Zone>,
        generation: u64,
        bundle: &Bundle,
        keys: &[ZoneKey],
        now: Timestamp,
    ) -> Option<&'static str> {
        let Some(made) = &self.made else { return Some("start") };
        let same_keys = made.keys.len() == keys.len()
            && keys.iter().all(|key| made.keys.iter().any(|other| other.dnskey == key.dnskey));
        if !Arc::ptr_eq(&made.zone, zone) {
            Some("new zone file")
        } else if (made.generation, made.bundle) != (generation, bundle.inception) {
            Some("new bundle")
        } else if !same_keys {
            Some("new keys")
        } else if made.signed.next_refresh() <= now {
            Some("renewal")
        } else if now < made.at.minus(SLOW_CLOCKS) {
            Some("the clock went back")
        } else {
            None
        }
    }

    /// Signs, checks, and notes the serial.
    fn make(
        &mut self,
        zone: &Arc<Zone>,
        bundle: &Bundle,
        keys: &[ZoneKey],
        now: Timestamp,
    ) -> Result<SignedZone, String> {
        let serial = self.serial.next(zone.serial());
        let previous = self.made.as_ref().map(|made| &*made.signed);
        let started = Instant::now();
        let signed = sign(zone, bundle, keys, &self.setup.times, serial, previous, now);
        let mode = match &signed {
            Ok(signed) if signed.signatures_reused() > 0 => "incremental",
            Err(_) if previous.is_some() => "incremental",
            _ => "full",
        };
        let result = if signed.is_ok() { "ok" } else { "failed" };
        self.metrics.zone_sign_runs_total.with_label_values(&[&self.label, mode, result]).inc();
        let signed = signed.map_err(|error| {
            self.count_failure(&error, keys);
            error.to_string()
        })?;
        self.metrics
            .zone_sign_duration_seconds
            .with_label_values(&[mode])
            .observe(started.elapsed().as_secs_f64());
        self.count_signatures(&signed, keys);

        let check = signed.self_check(now, SAMPLES);
        // The KSK's signatures may be past: that is not the fault of what was made here, and the rest is worth serving.
        let check = if is_valid(bundle, now) { check } else { Ok(()) };
        let result = if check.is_ok() { "ok" } else { "failed" };
        self.metrics.zone_self_checks_total.with_label_values(&[&self.label, result]).inc();
        check.map_err(|error| format!("the check of the fresh signatures failed: {error}"))?;

        if let Err(error) = self.serial.keep(serial) {
            // Not to serve would let signatures expire, which is worse than a serial that may go back after a restart.
            tracing::error!(zone = %self.setup.name, serial, %error, "the SOA serial could not be written down");
        }
        Ok(signed)
    }

    fn count_signatures(&self, signed: &SignedZone, keys: &[ZoneKey]) {
        // Each key signs every RRset.
        let share = signed.signatures_made() as u64 / (keys.len() as u64).max(1);
        for key in keys {
            let algorithm = key.dnskey.algorithm.to_string();
            self.metrics.signatures_total.with_label_values(&[algorithm.as_str(), "ok"]).inc_by(share);
            self.metrics.signatures_total.with_label_values(&[algorithm.as_str(), "failed"]);
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

    /// Sets the gauges, and says again and again what is wrong.
    fn report(&mut self, now: Timestamp) {
        let gauge = |family: &prometheus::IntGaugeVec, value: u64| {
            family.with_label_values(&[&self.label]).set(value.cast_signed());
        };
        let metrics = &self.metrics;
        let mut valid = false;
        gauge(&metrics.signer_skr_generation, self.skr.as_ref().map_or(0, |in_use| in_use.generation));
        if let Some(made) = &self.made {
            let (zsk, ksk) = (made.signed.earliest_zsk_expiration(), made.signed.earliest_ksk_expiration());
            valid = made.valid_from <= now && now <= zsk && now <= ksk;
            for (role, time) in [("zsk", zsk), ("ksk", ksk)] {
                let family = &metrics.zone_rrsig_earliest_expiration_timestamp_seconds;
                family.with_label_values(&[self.label.as_str(), role]).set(time.secs().cast_signed());
            }
            gauge(&metrics.zone_serial, made.signed.serial().into());
            gauge(&metrics.zone_last_signed_timestamp_seconds, made.at.secs());
            gauge(&metrics.zone_records, made.records);
            gauge(&metrics.resign_next_timestamp_seconds, made.signed.next_refresh().secs());
        }
        gauge(&metrics.zone_signed, valid.into());
        self.keys.report(now, metrics);
        self.alarm(valid, now);
    }

    fn alarm(&mut self, valid: bool, now: Timestamp) {
        if valid {
            if self.alarmed.take().is_some() {
                tracing::info!(zone = %self.setup.name, "the zone is validly signed again");
            }
            return;
        }
        if self.alarmed.is_some_and(|at| now >= at && now.since(at) < ALARM) {
            return;
        }
        self.alarmed = Some(now);
        let why = match (&self.skr, &self.source.zone, self.bundle(now)) {
            (None, ..) => "no SKR is in use; have a ceremony's SKR accepted",
            (_, None, _) => "the zone file does not read; mend it",
            (.., None) => {
                "the first bundle of the SKR is not in force yet; check the clock, or accept an SKR that covers now"
            }
            (.., Some((bundle, _))) if !is_valid(bundle, now) => {
                "the coverage ran out: the KSK's signatures of the last bundle expired; accept a new SKR. \
                 What is still valid is served, expired signatures are answered by SERVFAIL"
            }
            _ => "its ZSKs cannot sign; see the messages before",
        };
        tracing::error!(zone = %self.setup.name, "the zone is not validly signed: {why}");
    }

    /// The first time after `now` at which something is known to be due.
    fn next_step(&self, now: Timestamp) -> Timestamp {
        let mut times = vec![self.keys.next_event(now), self.retry_at];
        times.push(self.source.changed.is_some().then(|| now.plus(1)));
        if let Some(in_use) = &self.skr {
            times.push(in_use.skr.next_switch(now));
        }
        if let Some(made) = &self.made {
            times.push(Some(made.signed.next_refresh()));
            times.push(Some(made.signed.earliest_zsk_expiration().plus(1)));
            times.push(Some(made.signed.earliest_ksk_expiration().plus(1)));
        }
        times.into_iter().flatten().filter(|time| *time > now).min().unwrap_or(Timestamp::MAX)
    }
}

/// Seconds that signatures reach back before the time they are made.
const SLOW_CLOCKS: u64 = 3600;

/// True when every signature of the bundle is valid at `now`.
fn is_valid(bundle: &Bundle, now: Timestamp) -> bool {
    bundle.signatures.iter().all(|signature| signature.is_valid_at(now))
}
