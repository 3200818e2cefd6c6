//! The key files of a zone: what must not be there, and what will be missing.

use crate::condition::{ConditionId, Severity};
use keystore::time::Timestamp;

use super::Findings;
use crate::health::facts::{BundleFacts, BundleKey, ZoneFacts};
use crate::health::model::Event;
use crate::health::words::{DAY, date_time};

/// Seconds before a ZSK has to sign at which its missing is a warning, and critical.
const WARNING: u64 = 30 * DAY;
const CRITICAL: u64 = 3 * DAY;

pub(super) fn judge(zone: &ZoneFacts, found: &mut Findings<'_>, now: Timestamp) {
    for path in &zone.keys.private_ksks {
        let path = path.display().to_string();
        found.subject = Some(path.clone());
        let what = format!("{path} is the private key of a KSK.");
        found.raise(ConditionId::KeyKskOnline, Severity::Critical, what);
    }
    let damaged = zone.keys.damaged.iter().chain(&zone.keys.folder_error);
    for what in damaged {
        found.subject = Some(what.split(": ").next().unwrap_or(what).to_owned());
        found.raise(ConditionId::KeyFilesDamaged, Severity::Warning, format!("{what}."));
    }
    let ahead = bundles_ahead(zone, now);
    for (path, key) in &zone.keys.without_private {
        if let Some(from) = listed_from(ahead, *key, now) {
            let what = format!("{} has no .private file.", path.display());
            raise_zsk(ConditionId::KeyZskMissing, *key, from, what, found, now);
        }
    }
    for (key, why) in &zone.keys.unreadable {
        if let Some(from) = listed_from(ahead, *key, now) {
            raise_zsk(ConditionId::KeyZskUnreadable, *key, from, format!("{why}."), found, now);
        }
    }
    for why in zone.report.served.iter().flat_map(|served| &served.key_errors) {
        found.subject = Some(why.split(": ").next().unwrap_or(why).to_owned());
        found.raise(ConditionId::KeyZskUnreadable, Severity::Critical, format!("The signer says: {why}."));
    }
    nobody_signs(zone, ahead, found, now);
}

/// The bundle in force and those to come.
fn bundles_ahead(zone: &ZoneFacts, now: Timestamp) -> &[BundleFacts] {
    let Some(schedule) = &zone.store.schedule else { return &[] };
    let from = schedule.bundles.partition_point(|bundle| bundle.inception <= now).saturating_sub(1);
    schedule.bundles.get(from..).unwrap_or_default()
}

/// When a bundle first lists the key, but not before now; `None` = none does.
fn listed_from(ahead: &[BundleFacts], key: BundleKey, now: Timestamp) -> Option<Timestamp> {
    ahead.iter().find(|bundle| bundle.keys.contains(&key)).map(|bundle| bundle.inception.max(now))
}

fn raise_zsk(
    id: ConditionId,
    key: BundleKey,
    from: Timestamp,
    what: String,
    found: &mut Findings<'_>,
    now: Timestamp,
) {
    found.subject = Some(format!("ZSK {}", key.tag));
    found.next.push(Event::at(from, format!("ZSK {} is published, and may have to sign", key.tag)));
    found.raise(id, by_time(from, now), what);
}

fn by_time(from: Timestamp, now: Timestamp) -> Severity {
    match from.since(now) {
        left if left < CRITICAL => Severity::Critical,
        left if left < WARNING => Severity::Warning,
        _ => Severity::Attention,
    }
}

/// A time from which on no ZSK of the bundle in force is here. An empty folder says nothing: the keys are another program's then.
fn nobody_signs(zone: &ZoneFacts, ahead: &[BundleFacts], found: &mut Findings<'_>, now: Timestamp) {
    let keys = &zone.keys;
    let here = |key: &BundleKey| {
        keys.keys.iter().any(|known| known.key == *key)
            || keys.without_private.iter().any(|(_, lone)| lone == key)
            || keys.unreadable.iter().any(|(sealed, _)| sealed == key)
    };
    if keys.folder_error.is_some() || !keys.keys.iter().any(|key| !key.key.is_ksk) && !zone.is_served {
        return;
    }
    let lacks = |bundle: &&BundleFacts| !bundle.keys.iter().any(|key| !key.is_ksk && here(key));
    let Some(bundle) = ahead.iter().find(lacks) else { return };
    let tags: Vec<String> =
        bundle.keys.iter().filter(|key| !key.is_ksk).map(|key| key.tag.to_string()).collect();
    let from = bundle.inception.max(now);
    found.subject = Some(format!("ZSK {}", tags.join(", ")));
    found.next.push(Event::at(from, "bundle is in force that no key here can sign for"));
    let what = format!(
        "The bundle of {} UTC lists ZSK {}, of which no key file is here.",
        date_time(bundle.inception),
        tags.join(", ")
    );
    found.raise(ConditionId::KeyZskMissing, by_time(from, now), what);
}
