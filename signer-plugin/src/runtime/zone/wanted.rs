//! What the next version of a zone is to be made of.

use std::sync::Arc;

use keystore::config::Signing;
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use super::super::publication::publications;
use super::super::roll;
use super::{PendingUpdates, RETRY, ZoneRuntime};
use crate::signing::{Denial, RetiringKey, ZoneKey};
use crate::state::{Publication, SigningFacts};
use crate::zone::Zone;

/// What the next version is to be made of.
pub(super) struct NextVersion {
    pub zone: Arc<Zone>,
    pub making: Making,
}

/// How it is made.
pub(super) enum Making {
    /// It is signed here.
    Signed(Box<ToSign>),
    /// It has the records of the zone and none beside.
    Given,
}

/// What a version is signed with.
pub(super) struct ToSign {
    pub generation: u64,
    pub bundle: Bundle,
    /// Since when its keys are published, if it is served from now on.
    pub published: Vec<Publication>,
    /// The ZSKs that sign.
    pub keys: Vec<ZoneKey>,
    /// The ZSKs whose signatures stay for a while.
    pub retiring: Vec<RetiringKey>,
    /// `None` when the salt for it cannot be had.
    pub denial: Option<Denial>,
}

/// True when the signatures of the same keys are replaced at the same times.
pub(super) fn is_replaced_alike(one: &[RetiringKey], other: &[RetiringKey]) -> bool {
    let replaced = |keys: &[RetiringKey]| -> Vec<RetiringKey> {
        keys.iter().filter(|key| key.replaced.is_some()).cloned().collect()
    };
    replaced(one) == replaced(other)
}

impl ZoneRuntime {
    /// What the next version is to be made of; `None` while something for it is missing.
    pub(super) fn wanted(&mut self, now: Timestamp) -> Option<NextVersion> {
        let pending = self.pending.as_ref().map(PendingUpdates::zone);
        let zone = pending.or(self.source.zone()).cloned().filter(|_| self.serial.is_some())?;
        let making = match self.setup.versions.signing {
            Signing::Online => match self.signing_parts(&zone, now) {
                Some(parts) => Making::Signed(Box::new(parts)),
                // It was never signed here so far: until there is an SKR it follows its content as it is.
                None if self.made.as_ref().is_some_and(|made| made.signed.is_unsigned()) => Making::Given,
                None => return None,
            },
            Signing::Presigned(_) | Signing::Unsigned => Making::Given,
        };
        Some(NextVersion { zone, making })
    }

    /// What `zone` is to be signed with.
    fn signing_parts(&mut self, zone: &Zone, now: Timestamp) -> Option<ToSign> {
        let (bundle, key_time) = self.bundle(now).map(|(bundle, at)| (bundle.clone(), at))?;
        let generation = self.skr.in_use().map_or(0, |in_use| in_use.generation);
        let known = self.signing_facts().map(|facts| &facts.published).or(self.published_before.as_ref());
        let published = publications(known.map(Vec::as_slice), &self.skr.in_use()?.skr, &bundle, now);
        let keys = self.signing_keys(&bundle, &published, key_time, now);
        let retiring = self.retiring_keys(zone, &bundle, &keys);
        let denial = self.denial(now);
        Some(ToSign { generation, bundle, published, keys, retiring, denial })
    }

    /// What the version in use was signed with.
    fn signing_facts(&self) -> Option<&SigningFacts> {
        self.made.as_ref().and_then(|made| made.facts.signing.as_ref())
    }

    /// True when a bundle came into force since the last step: that waits for no retry of anything.
    pub(super) fn has_switched(&self, now: Timestamp) -> bool {
        let since = self.stepped.map(|(stepped, _)| stepped);
        let next = self.skr.in_use().zip(since).and_then(|(in_use, since)| in_use.skr.next_switch(since));
        next.is_some_and(|next| next <= now)
    }

    /// The ZSKs that sign. An active key that caches may not have yet waits, as long as another key of its algorithm can sign: one that is
    /// active, or one that signs the version in use and is still published.
    fn signing_keys(
        &mut self,
        bundle: &Bundle,
        published: &[Publication],
        key_time: Timestamp,
        now: Timestamp,
    ) -> Vec<ZoneKey> {
        let ready_at = |key: &ZoneKey| {
            roll::ready_at(&key.dnskey, published, bundle.dnskey.ttl, &self.setup.delays).unwrap_or(now)
        };
        let active = self.keys.active(bundle, key_time);
        let (mut keys, young): (Vec<_>, Vec<_>) =
            active.into_iter().map(|key| (ready_at(&key), key)).partition(|(at, _)| *at <= now);
        let mut keys: Vec<ZoneKey> = keys.drain(..).map(|(_, key)| key).collect();
        self.stand_in(bundle, &mut keys, now);
        let has = |keys: &[ZoneKey], algorithm| keys.iter().any(|key| key.dnskey.algorithm == algorithm);
        // One that stands in signs already, and waits for nothing.
        let others = young.into_iter().filter(|(_, key)| keys.iter().all(|other| other.dnskey != key.dnskey));
        let others: Vec<_> = others.collect();
        let (waiting, needed): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(_, key)| has(&keys, key.dnskey.algorithm));
        keys.extend(needed.into_iter().map(|(_, key)| key));
        let roll_at = waiting.iter().map(|(at, _)| *at).min();
        if roll_at != self.roll_at
            && let Some((at, key)) = waiting.first()
        {
            tracing::info!(
                zone = %self.setup.name, key = key.dnskey.tag(), until = %at.iso(),
                "this ZSK is active and waits until caches can have it; the ZSK before signs on"
            );
        }
        self.roll_at = roll_at;
        keys
    }

    /// The published ZSKs that do not sign, and until when their signatures are replaced.
    fn retiring_keys(&self, zone: &Zone, bundle: &Bundle, keys: &[ZoneKey]) -> Vec<RetiringKey> {
        let bundles = self.skr.in_use().map_or(&[][..], |in_use| in_use.skr.bundles());
        let later: Vec<&Bundle> = bundles.iter().filter(|b| b.inception > bundle.inception).collect();
        let is_signing = |dnskey: &Dnskey| keys.iter().any(|key| key.dnskey == *dnskey);
        let published = bundle.keys().filter(|dnskey| !dnskey.is_ksk() && !is_signing(dnskey));
        published
            .map(|dnskey| {
                let timing = self.keys.timing(&dnskey);
                let goes = later.iter().find(|b| !b.keys().any(|key| key == dnskey)).map(|b| b.inception);
                let margin = || u64::from(zone.largest_ttl()) + u64::from(self.setup.delays.propagation);
                let replaced = roll::replaced(timing, goes.map(|goes| goes.minus(margin())));
                RetiringKey { dnskey, replaced }
            })
            .collect()
    }

    /// How the zone denies by its policy. Where the salt for it cannot be had, the version in use shows how; `None` when there is none.
    fn denial(&mut self, now: Timestamp) -> Option<Denial> {
        match self.salt.denial(self.setup.nsec3.as_ref()) {
            Ok(denial) => Some(denial),
            Err(error) => {
                let message = format!("the NSEC3 salt of the zone cannot be read or written down: {error}");
                if self.salt_failure.is_news(&message, now) {
                    tracing::error!(zone = %self.setup.name, "{message}");
                }
                self.retry_at = Some(now.plus(RETRY));
                self.signing_facts().map(|facts| facts.denial.clone())
            }
        }
    }

    /// Lets keys that sign the version in use go on where an algorithm of the bundle has no active key (key files gone, or their
    /// times edited), as long as they are published: their signatures validate.
    fn stand_in(&mut self, bundle: &Bundle, keys: &mut Vec<ZoneKey>, now: Timestamp) {
        let Some((made, facts)) =
            self.made.as_ref().and_then(|made| Some((made, made.facts.signing.as_ref()?)))
        else {
            return;
        };
        let published: Vec<Dnskey> = bundle.keys().collect();
        for dnskey in facts.keys.iter().map(|key| &key.dnskey) {
            let lacks = !keys.iter().any(|k| k.dnskey.algorithm == dnskey.algorithm);
            if lacks && published.contains(dnskey) {
                let known = made.keys.iter().find(|key| key.dnskey == *dnskey).cloned();
                keys.extend(known.or_else(|| self.keys.pair(dnskey, now)));
            }
        }
    }
}
