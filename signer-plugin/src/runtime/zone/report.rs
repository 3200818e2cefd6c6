//! What a zone shows of itself: gauges, and messages that come again as long as something is wrong.

use std::collections::BTreeMap;

use keystore::config::Signing;
use keystore::dns::Rrsig;
use keystore::time::Timestamp;

use super::{ALARM, ConditionId, ZoneRuntime, is_valid};
use crate::runtime::served::ServedState;
use crate::runtime::status::{ZoneEvent, ZoneEventKind};
use crate::signing::SignedZone;
use crate::zone::Records;

impl ZoneRuntime {
    /// Sets the gauges, and says again and again what is wrong.
    pub(super) fn report(&mut self, now: Timestamp) {
        let gauge = |family: &metrics::values::GaugeFamily, value: u64| {
            family.with_label_values(&[&self.label]).set(value.cast_signed());
        };
        let metrics = &self.metrics;
        let valid = self.is_validly_signed(now);
        if let Some(made) = &self.made {
            gauge(&metrics.zone_serial, made.signed.serial().into());
            gauge(&metrics.zone_records, made.records);
        }
        let held = [ConditionId::SignerContentHeld, ConditionId::SignerReviewRefused];
        gauge(&metrics.zone_content_held, u64::from(self.conditions.ids().any(|id| held.contains(&id))));
        match self.setup.versions.signing {
            Signing::Online => self.report_signing(valid, now),
            Signing::Presigned(_) => self.report_presigned(valid),
            Signing::Unsigned => {}
        }
        self.alarm(valid, now);
    }

    /// Sets the gauges of a zone that is signed here.
    fn report_signing(&mut self, valid: bool, now: Timestamp) {
        let gauge = |family: &metrics::values::GaugeFamily, value: u64| {
            family.with_label_values(&[&self.label]).set(value.cast_signed());
        };
        let metrics = &self.metrics;
        gauge(&metrics.signer_skr_generation, self.skr.in_use().map_or(0, |in_use| in_use.generation));
        if let Some(made) = self.made.as_ref().filter(|made| made.facts.signing.is_some()) {
            let (zsk, ksk) = (made.signed.earliest_zsk_expiration(), made.signed.earliest_ksk_expiration());
            for (role, time) in [("zsk", zsk), ("ksk", ksk)] {
                let family = &metrics.zone_rrsig_earliest_expiration_timestamp_seconds;
                family.with_label_values(&[self.label.as_str(), role]).set(time.secs().cast_signed());
            }
            gauge(&metrics.zone_last_signed_timestamp_seconds, made.facts.made_at.secs());
            gauge(&metrics.resign_next_timestamp_seconds, made.signed.next_refresh().secs());
        }
        gauge(&metrics.zone_signed, valid.into());
        self.keys.report(now, metrics);
    }

    /// Sets the gauges of a presigned zone.
    fn report_presigned(&self, valid: bool) {
        let metrics = &self.metrics;
        metrics.zone_signed.with_label_values(&[&self.label]).set(valid.into());
        let Some(made) = self.made.as_ref().filter(|made| made.signed.is_presigned()) else { return };
        let refresh = u64::from(presigned_refresh(&made.signed, made.facts.made_at));
        metrics.policy_signature_refresh_seconds.with_label_values(&[&self.label]).set(refresh.cast_signed());
        let earliest = made.signed.earliest_zsk_expiration();
        let family = &metrics.zone_rrsig_earliest_expiration_timestamp_seconds;
        family.with_label_values(&[self.label.as_str(), "zsk"]).set(earliest.secs().cast_signed());
    }

    fn alarm(&mut self, valid: bool, now: Timestamp) {
        if valid {
            if self.alarmed.take().is_some() {
                tracing::info!(zone = %self.setup.name, "what is served of the zone is in order again");
            }
            return;
        }
        if self.alarmed.is_some_and(|at| now >= at && now.since(at) < ALARM) {
            return;
        }
        self.alarmed = Some(now);
        let why = self.why_not_valid(now);
        let what = if self.setup.is_signed_here() {
            "the zone is not validly signed"
        } else {
            "the zone is not served"
        };
        tracing::error!(zone = %self.setup.name, "{what}: {why}");
    }

    /// Why the zone is not validly signed, or not served; asked only when it is not.
    fn why_not_valid(&self, now: Timestamp) -> &'static str {
        const NO_CONTENT: &str =
            "the zone has no content: its file does not read, or no primary has given it yet";
        if !self.setup.is_signed_here() {
            let earliest = self.made.as_ref().map(|made| made.signed.earliest_zsk_expiration());
            return match self.source.zone() {
                _ if earliest.is_some_and(|earliest| earliest < now) => {
                    "signatures that it came with have expired; answers with them are SERVFAIL. Have it signed anew where it comes from"
                }
                Some(_) => "no version of its kind is served yet; see the messages before",
                None => NO_CONTENT,
            };
        }
        match (self.skr.in_use(), self.source.zone(), self.bundle(now)) {
            (None, ..) => "no SKR is in use; have a ceremony's SKR accepted",
            (_, None, _) => NO_CONTENT,
            (.., None) => {
                "the first bundle of the SKR is not in force yet; check the clock, or accept an SKR that covers now"
            }
            (.., Some((bundle, _))) if !is_valid(bundle, now) => {
                "the coverage ran out: the KSK's signatures of the last bundle expired; accept a new SKR. \
                 What is still valid is served, expired signatures are answered by SERVFAIL"
            }
            _ if self.serial.is_none() => {
                "the SOA serial that was served last cannot be read; see the messages before"
            }
            _ => "its ZSKs cannot sign; see the messages before",
        }
    }

    /// True when what is served has only signatures that are valid at `now`; of a zone without signatures, when it is served.
    fn is_validly_signed(&self, now: Timestamp) -> bool {
        self.made.as_ref().is_some_and(|made| {
            let (zsk, ksk) = (made.signed.earliest_zsk_expiration(), made.signed.earliest_ksk_expiration());
            let is_of_kind = made.facts.signing.is_some() == self.setup.is_signed_here()
                && made.zone().dnssec() == self.setup.rules.dnssec;
            is_of_kind && made.valid_from <= now && now <= zsk && now <= ksk
        })
    }

    /// What is due first after `now`.
    fn next_event(&self, now: Timestamp) -> Option<ZoneEvent> {
        let times = [
            (ZoneEventKind::BundleSwitch, self.skr.in_use().and_then(|in_use| in_use.skr.next_switch(now))),
            (ZoneEventKind::KeyTime, self.keys.next_event(now)),
            (
                ZoneEventKind::Renewal,
                self.made.as_ref().map(|made| made.signed.next_refresh()).filter(|at| *at < Timestamp::MAX),
            ),
            (ZoneEventKind::Retry, self.retry_at),
        ];
        let events = times.into_iter().filter_map(|(kind, at)| Some(ZoneEvent { at: at?, kind }));
        events.filter(|event| event.at > now).min_by_key(|event| event.at)
    }

    /// How the zone stands, for whoever shows it.
    pub(super) fn served_state(&self, now: Timestamp) -> ServedState {
        let made = self.made.as_ref();
        let validly_signed = self.is_validly_signed(now);
        ServedState {
            loaded: self.source.zone().is_some(),
            file_error: self.source.failure().map(str::to_owned),
            validly_signed,
            why_not: (!validly_signed).then(|| self.why_not_valid(now)),
            generation: self.skr.in_use().map_or(0, |in_use| in_use.generation),
            serial: made.map_or(0, |made| made.signed.serial()),
            is_served: made.is_some(),
            zsk_expires: made
                .filter(|made| !made.signed.is_unsigned())
                .map(|made| made.signed.earliest_zsk_expiration()),
            refresh: match made.filter(|made| made.signed.is_presigned()) {
                Some(made) => presigned_refresh(&made.signed, made.facts.made_at),
                None => self.setup.times.refresh,
            },
            key_errors: self.keys.errors(),
            conditions: self.conditions.reported(),
            next_event: self.next_event(now),
            secondaries: BTreeMap::new(),
            // Known while a step is under way only.
            work: None,
        }
    }
}

/// The remaining validity, in seconds, at which a signature of a presigned zone should have been replaced by a newer one. A third more than what is
/// told as a warning, so that what is said of zones that are signed here holds for it too. That warning is due when a twelfth of the time is
/// left for which the SOA record was signed, or when a secondary that misses one refresh, and caches behind it, would have what has expired
/// (SOA REFRESH and RETRY, and the largest TTL); but not before a quarter of that time is left, as there are signers who renew at that time.
fn presigned_refresh(signed: &SignedZone, now: Timestamp) -> u32 {
    let soa = signed.soa();
    let signatures = Records(soa.signatures).filter_map(|rdata| Rrsig::from_rdata(rdata).ok());
    let lifetime = signatures.map(|rrsig| rrsig.expires(now).since(rrsig.incepts(now))).min().unwrap_or(0);
    let times = Records(soa.data).next().and_then(|rdata| rdata.last_chunk::<16>());
    let time = |at: usize| times.map_or(0, |t| u32::from_be_bytes([t[at], t[at + 1], t[at + 2], t[at + 3]]));
    let behind = u64::from(time(0)) + u64::from(time(4)) + u64::from(signed.zone().largest_ttl());
    let warning = (lifetime / 12).max(behind).min(lifetime / 4);
    u32::try_from(warning / 3 * 4).unwrap_or(u32::MAX)
}
