//! The checks of a KSR before it is signed. Each has a stable ID; what BIND would sign and is refused here can be waived.

use std::collections::HashSet;

use keystore::check::{Check, CheckId};
use keystore::crypto;
use keystore::exchange::Ksr;
use keystore::exchange::possession::{self, Flaw, FlawKind};
use keystore::keys::plan::END_TOLERANCE;
use keystore::keys::{Dnskey, FLAG_ZONE, KeyFile};
use keystore::policy::{KeyRole, Policy};
use keystore::time::Timestamp;

use crate::finding::{Advice, Findings, Waiver};
use crate::rollover::is_same_key;

/// The checks, in the order in which they are reported.
pub const CHECKS: &[Check] = &[
    Check { id: CheckId::KsrEmpty, holds: "there are bundles, and each has a ZSK" },
    Check { id: CheckId::KsrOrder, holds: "bundles come in the order of their times" },
    Check { id: CheckId::KsrEnd, holds: "the end is not before the first bundle" },
    Check { id: CheckId::KsrBeyondEnd, holds: "no bundle begins after the end" },
    Check { id: CheckId::KsrSpan, holds: "the end is not far behind what was asked for" },
    Check {
        id: CheckId::KsrHorizon,
        holds: "it is not over, and does not reach more than eleven years ahead",
    },
    Check { id: CheckId::KsrClock, holds: "it was written before now, by the clock of this machine" },
    Check { id: CheckId::KsrKeyProtocol, holds: "each key has protocol 3" },
    Check { id: CheckId::KsrKeyFlags, holds: "each key is a ZSK: flags 256" },
    Check { id: CheckId::KsrKeyInvalid, holds: "each key is well-formed" },
    Check { id: CheckId::KsrKeyAlgorithm, holds: "the policy has a ZSK of that algorithm and size" },
    Check { id: CheckId::KsrKeyCollision, holds: "no two keys have one tag, ZSKs and KSKs, revoked or not" },
    Check { id: CheckId::KsrPopMissing, holds: "each ZSK has signed its bundle" },
    Check { id: CheckId::KsrPopInvalid, holds: "each of these signatures verifies, for the bundle's time" },
    Check { id: CheckId::KsrPolicyTtl, holds: "the TTL is the policy's dnskey-ttl" },
    Check { id: CheckId::KsrChainSkr, holds: "the SKR before verifies, signed by a KSK known here" },
    Check { id: CheckId::KsrChainOverlap, holds: "it begins before the SKR before ends" },
    Check { id: CheckId::KsrChainKeys, holds: "its first bundle has the ZSKs that the SKR before has then" },
    Check { id: CheckId::KsrNoKsk, holds: "a KSK signs each bundle" },
    Check { id: CheckId::KsrParentDs, holds: "the DS at the parent are of KSKs of this folder" },
    Check { id: CheckId::KsrKskHeld, holds: "no KSK waits for the parent" },
    Check {
        id: CheckId::KsrKskLeft,
        holds: "of each KSK whose time is over it is known whether it has left",
    },
    Check { id: CheckId::KsrAlgorithmSet, holds: "each algorithm has a KSK and a ZSK in every bundle" },
    Check { id: CheckId::KsrCdsDelete, holds: "nothing asks the parent to remove the DS" },
    Check {
        id: CheckId::KsrProve,
        holds: "every resolver validates at every second, whatever caches still hold",
    },
];

/// Eleven years, in seconds: the loader's own horizon (SKR-HORIZON).
const HORIZON: u64 = 11 * 365 * 86_400;
/// Seconds by which the clocks of the two sides may differ.
const CLOCK_SKEW: u64 = 300;
/// Five years, in seconds.
const LONG: u64 = 5 * 365 * 86_400;

/// Holds a KSR against the policy, the KSKs and the end of the interval; all findings at once, in the order of the KSR.
pub(crate) fn check(ksr: &Ksr, policy: &Policy, ksks: &[&KeyFile], end: Timestamp, out: &mut Findings) {
    if ksr.bundles.is_empty() {
        out.refuse(CheckId::KsrEmpty, None, "the KSR has no bundles".to_owned());
    }
    check_times(ksr, end, out);
    check_keys(ksr, policy, out);
    check_zsk_collisions(ksr, ksks, out);
    check_possession(ksr, out);
    if let Some(other) = ksr.bundles.iter().find(|bundle| bundle.ttl != policy.dnskey_ttl) {
        let what = format!(
            "TTL {} where policy '{}' has dnskey-ttl {}: the SKR gets the policy's; make both sides the same",
            other.ttl, policy.name, policy.dnskey_ttl
        );
        out.note(CheckId::KsrPolicyTtl, Some(other.inception), what);
    }
}

/// KSR-EMPTY and what [`check_key`] looks at. A key stands in many bundles; it is judged once, where it is seen first.
fn check_keys(ksr: &Ksr, policy: &Policy, out: &mut Findings) {
    let mut seen = HashSet::new();
    for bundle in &ksr.bundles {
        let at = Some(bundle.inception);
        if bundle.keys.is_empty() {
            out.refuse(CheckId::KsrEmpty, at, "no ZSK; make the request anew".to_owned());
        }
        for key in &bundle.keys {
            if seen.insert(key) {
                check_key(key, policy, at, out);
            }
        }
    }
}

/// KSR-KEY-COLLISION among the ZSKs of each bundle, and with the KSKs of the key folder; each pair once.
pub(crate) fn check_zsk_collisions(ksr: &Ksr, ksks: &[&KeyFile], out: &mut Findings) {
    let mut told = HashSet::new();
    for bundle in &ksr.bundles {
        let at = Some(bundle.inception);
        for (i, key) in bundle.keys.iter().enumerate() {
            for other in &bundle.keys[..i] {
                if let Some(collision) = TagCollision::of(key, other)
                    && told.insert((key, other))
                {
                    collision.tell(at, (key, other), out);
                }
            }
            for ksk in ksks {
                if let Some(collision) = TagCollision::with_ksk(key, ksk)
                    && told.insert((key, &ksk.dnskey))
                {
                    collision.tell(at, (key, &ksk.dnskey), out);
                }
            }
        }
    }
}

/// KSR-HORIZON; `now` is the time of the ceremony.
pub(crate) fn check_horizon(ksr: &Ksr, end: Timestamp, now: Timestamp, out: &mut Findings) {
    if end < now {
        let what = format!(
            "the interval is over: it ended at {end}, and now it is {now}; look at the clock, and at the request"
        );
        out.note(CheckId::KsrHorizon, ksr.bundles.last().map(|bundle| bundle.inception), what);
    }
    if end > now.plus(HORIZON) {
        let what = format!("it reaches to {end}, more than eleven years ahead; no loader takes that");
        out.refuse_unless(Waiver::LongSpan, CheckId::KsrHorizon, None, what);
    }
}

/// KSR-CLOCK: the request was written before `now`, the time of the ceremony; clocks may differ by some minutes.
pub(crate) fn check_clock(written: Option<Timestamp>, now: Timestamp, out: &mut Findings) {
    if let Some(written) = written.filter(|written| *written > now.plus(CLOCK_SKEW)) {
        let what = format!(
            "it says that it was written at {written} or later, {} after the time of this machine, {now}: one of the two clocks is wrong; compare them before anything is signed",
            duration_text(written.since(now))
        );
        out.note(CheckId::KsrClock, None, what);
    }
}

/// A time span as people say it: in the largest unit that it fills.
pub(crate) fn duration_text(seconds: u64) -> String {
    let (number, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// KSR-POP-MISSING and KSR-POP-INVALID: one finding a key and kind, at the first bundle.
fn check_possession(ksr: &Ksr, out: &mut Findings) {
    let mut told = HashSet::new();
    for Flaw { bundle, key, kind } in possession::check(ksr) {
        let missing = kind == FlawKind::Missing;
        if !told.insert((key.clone(), missing)) {
            continue;
        }
        let name = key_name(&key);
        match kind {
            FlawKind::Missing => {
                let what = format!(
                    "{name} has no proof of possession: nothing shows that the sender of this KSR holds its private key"
                );
                out.refuse_unless(Waiver::NoPossession, CheckId::KsrPopMissing, Some(bundle), what);
            }
            FlawKind::WrongTimes { proof: (from, to) } => {
                let what = format!(
                    "the proof of possession of {name} is for another time, {from} to {to}: the times of the KSR were altered; ask for it anew"
                );
                out.refuse(CheckId::KsrPopInvalid, Some(bundle), what);
            }
            FlawKind::BadSignature => {
                let what = format!(
                    "the proof of possession of {name} does not verify: the bundle was altered, or the sender does not hold the key; ask for it anew"
                );
                out.refuse(CheckId::KsrPopInvalid, Some(bundle), what);
            }
        }
    }
}

/// KSR-ORDER, KSR-END and KSR-BEYOND-END.
fn check_times(ksr: &Ksr, end: Timestamp, out: &mut Findings) {
    for pair in ksr.bundles.windows(2) {
        let (before, after) = (pair[0].inception, pair[1].inception);
        if after <= before {
            let what = format!("does not begin after the bundle before it ({before}); make the request anew");
            out.refuse(CheckId::KsrOrder, Some(after), what);
        }
    }
    if let Some(first) = ksr.bundles.first().filter(|first| first.inception > end) {
        let what = format!("the end {end} lies before the first bundle");
        out.refuse(CheckId::KsrEnd, Some(first.inception), what).advise(Advice::GiveEnd(None));
    } else if let Some(beyond) = ksr.bundles.iter().find(|bundle| bundle.inception > end) {
        let what = format!("begins after the end {end}");
        out.refuse_unless(Waiver::BeyondEnd, CheckId::KsrBeyondEnd, Some(beyond.inception), what)
            .advise(Advice::GiveEnd(None));
    }
    let (Some(first), Some(last)) = (ksr.bundles.first(), ksr.bundles.last()) else { return };
    match possession::end(ksr) {
        // `-e now+1y` is another second for each command.
        Some(asked) if end > asked.plus(END_TOLERANCE) => {
            let what = format!(
                "the end {end} lies behind that of the request, {asked}: nobody asked for bundles there, and their ZSKs may sign no more"
            );
            out.refuse_unless(Waiver::LongSpan, CheckId::KsrSpan, Some(last.inception), what)
                .advise(Advice::GiveEnd(Some(asked)));
        }
        Some(asked) if end.plus(END_TOLERANCE) < asked => {
            let what = format!(
                "the end {end} lies before that of the request, {asked}: the coverage is shorter than was asked for"
            );
            out.note(CheckId::KsrSpan, Some(last.inception), what);
        }
        // A request by dnssec-ksr does not say its end.
        None if end.since(last.inception) > LONG.max(2 * last.inception.since(first.inception)) => {
            let what = format!(
                "the end {end} lies {} days behind the last bundle of the request",
                end.since(last.inception) / 86_400
            );
            out.refuse_unless(Waiver::LongSpan, CheckId::KsrSpan, Some(last.inception), what)
                .advise(Advice::GiveEnd(None));
        }
        _ => {}
    }
}

/// KSR-KEY-PROTOCOL, KSR-KEY-FLAGS, KSR-KEY-INVALID and KSR-KEY-ALGORITHM.
fn check_key(key: &Dnskey, policy: &Policy, at: Option<Timestamp>, out: &mut Findings) {
    let name = format!("the DNSKEY with tag {} and algorithm {}", key.tag(), key.algorithm);
    if key.protocol != 3 {
        let what = format!("{name} has protocol {}, expected 3", key.protocol);
        out.refuse(CheckId::KsrKeyProtocol, at, what);
    }
    if key.flags != FLAG_ZONE {
        let what = format!("{name} has flags {}; a ZSK has {FLAG_ZONE}", key.flags);
        out.refuse_unless(Waiver::ForeignFlags, CheckId::KsrKeyFlags, at, what);
    }
    let wanted = |bits: Option<u16>| {
        policy.keys.iter().any(|entry| {
            entry.role != KeyRole::Ksk
                && entry.algorithm == key.algorithm
                && bits.is_none_or(|bits| bits == entry.bits)
        })
    };
    match crypto::check_public_key(key.algorithm, &key.public_key) {
        Ok(bits) if wanted(Some(bits)) => {}
        Ok(bits) => {
            let what = format!("{name} has {bits} bits; policy '{}' has no zsk of that kind", policy.name);
            out.refuse_unless(Waiver::ForeignAlgorithms, CheckId::KsrKeyAlgorithm, at, what);
        }
        Err(_) if !wanted(None) => {
            let what = format!("{name}: policy '{}' has no zsk of that algorithm", policy.name);
            out.refuse_unless(Waiver::ForeignAlgorithms, CheckId::KsrKeyAlgorithm, at, what);
        }
        Err(why) => {
            out.refuse(CheckId::KsrKeyInvalid, at, format!("{name}: {why}; make a new ZSK"));
        }
    }
}

/// KSR-KEY-COLLISION among KSKs: the bundles of an SKR, each with its inception and the KSKs that it has, revoked or not.
pub(crate) fn check_ksk_collisions(
    bundles: impl Iterator<Item = (Timestamp, Vec<Dnskey>)>,
    out: &mut Findings,
) {
    let mut told: HashSet<(Dnskey, Dnskey)> = HashSet::new();
    let mut before = Vec::new();
    for (at, ksks) in bundles.filter(|(_, ksks)| ksks.len() > 1) {
        if ksks == before {
            continue;
        }
        for (i, key) in ksks.iter().enumerate() {
            for other in &ksks[..i] {
                if let Some(collision) = TagCollision::of(key, other)
                    && told.insert((key.clone(), other.clone()))
                {
                    collision.tell(Some(at), (key, other), out);
                }
            }
        }
        before = ksks;
    }
}

/// How two keys of one DNSKEY RRset come to have one tag. A validator tries both keys then, and BIND takes one for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TagCollision {
    /// They have it, or will: the revocation is planned.
    Certain,
    /// They will once one of them, a KSK, is revoked, by which its tag changes (RFC 5011 section 7).
    OnceRevoked,
}

impl TagCollision {
    /// Of two keys as they stand in a bundle.
    pub(crate) fn of(a: &Dnskey, b: &Dnskey) -> Option<Self> {
        if is_same_key(a, b) {
            return None;
        }
        if a.tag() == b.tag() {
            return Some(Self::Certain);
        }
        let tags = |key: &Dnskey| [key.tag(), if key.is_ksk() { key.revoked_tag() } else { key.tag() }];
        tags(a).iter().any(|tag| tags(b).contains(tag)).then_some(Self::OnceRevoked)
    }

    /// Of a ZSK with a KSK of the key folder, whose revocation may be planned.
    pub(crate) fn with_ksk(zsk: &Dnskey, ksk: &KeyFile) -> Option<Self> {
        let collision = Self::of(zsk, &ksk.dnskey)?;
        Some(if ksk.timing.revoke.is_some() { Self::Certain } else { collision })
    }

    /// Adds KSR-KEY-COLLISION: `keys` are the two, one of them new.
    pub(crate) fn tell(self, at: Option<Timestamp>, keys: (&Dnskey, &Dnskey), out: &mut Findings) {
        let named = |key: &Dnskey| {
            let role = if key.is_ksk() { "KSK" } else { "ZSK" };
            format!("the {role} of algorithm {} with tag {}", key.algorithm, key.tag())
        };
        let (key, other) = keys;
        match self {
            Self::Certain => {
                let what = format!(
                    "{} and {} have one tag, or will, when the KSK is revoked as planned; make a new key for one of them",
                    named(key),
                    named(other)
                );
                out.refuse_unless(Waiver::TagCollision, CheckId::KsrKeyCollision, at, what);
            }
            Self::OnceRevoked => {
                let what = format!(
                    "{} and {} will have one tag once a KSK of them is revoked; replace one of them before",
                    named(key),
                    named(other)
                );
                out.note(CheckId::KsrKeyCollision, at, what);
            }
        }
    }
}

/// How people name a ZSK.
pub(crate) fn key_name(key: &Dnskey) -> String {
    format!("the ZSK with tag {} and algorithm {}", key.tag(), key.algorithm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{KsrFinding, Waivers};
    use keystore::crypto::{Algorithm, PrivateKey};
    use keystore::dns::Name;
    use keystore::exchange::KsrBundle;
    use keystore::exchange::testing::TestKey;
    use keystore::policy::KeyPolicy;

    fn at(day: u64) -> Timestamp {
        Timestamp::from_secs((20_000 + day) * 86_400)
    }

    fn zsk(algorithm: Algorithm) -> Dnskey {
        let private = PrivateKey::generate(algorithm, 2048).expect("a key");
        let public_key = private.public_key(algorithm).expect("a public key");
        Dnskey { flags: 256, protocol: 3, algorithm, public_key }
    }

    fn policy() -> Policy {
        let entry = |role| KeyPolicy {
            role,
            lifetime: 0,
            algorithm: Algorithm::ECDSAP256SHA256,
            bits: 256,
            tag_range: (0, 65535),
            key_store: None,
        };
        Policy { keys: vec![entry(KeyRole::Ksk), entry(KeyRole::Zsk)], ..Policy::with_defaults("p") }
    }

    fn ksr(bundles: Vec<(u64, Vec<Dnskey>)>) -> Ksr {
        let bundles = bundles.into_iter().map(|(day, keys)| KsrBundle {
            inception: at(day),
            ttl: 3600,
            keys,
            proofs: Vec::new(),
        });
        Ksr { zone: Name::root(), bundles: bundles.collect() }
    }

    fn findings(ksr: &Ksr, policy: &Policy, waivers: Waivers) -> Vec<KsrFinding> {
        let mut out = Findings::new(waivers);
        check(ksr, policy, &[], at(100), &mut out);
        out.all
    }

    /// Each finding with whether the request can be signed nonetheless.
    fn ids(ksr: &Ksr, waivers: Waivers) -> Vec<(CheckId, bool)> {
        let findings = findings(ksr, &policy(), waivers.with(Waiver::NoPossession));
        // The keys of these tests have no proofs; `possession_is_proved` is about that.
        findings.iter().filter(|f| f.id != CheckId::KsrPopMissing).map(|f| (f.id, !f.refuses())).collect()
    }

    #[test]
    fn ksr_pop_missing_and_ksr_pop_invalid() {
        let keys = [TestKey::zsk(2), TestKey::zsk(3)];
        let dnskeys: Vec<Dnskey> = keys.iter().map(|key| key.dnskey.clone()).collect();
        let mut policy = policy();
        policy.keys[1].algorithm = Algorithm::ED25519;
        let mut good = ksr(vec![(0, dnskeys[..1].to_vec()), (50, dnskeys)]);
        let no_possession = Waivers::NONE.with(Waiver::NoPossession);
        let judge = |ksr: &Ksr, waivers| {
            let findings = findings(ksr, &policy, waivers);
            findings.iter().map(|f| (f.id, !f.refuses())).collect::<Vec<_>>()
        };
        assert_eq!(judge(&good, Waivers::NONE), [(CheckId::KsrPopMissing, false); 2], "once a key");
        assert_eq!(judge(&good, no_possession), [(CheckId::KsrPopMissing, true); 2]);
        possession::prove::<keystore::crypto::SignError>(&mut good, at(100), |key| {
            Ok(keys.iter().find(|k| k.dnskey == *key).expect("a key of ours").signer())
        })
        .expect("working keys");
        assert_eq!(judge(&good, Waivers::NONE), []);
        assert_eq!(possession::end(&good), Some(at(100)));
        type Change = fn(&mut Ksr);
        let changes: [(&str, Change); 10] = [
            ("a bit of a proof", |k| k.bundles[1].proofs[0].signature[3] ^= 1),
            ("a key less", |k| drop(k.bundles[1].keys.pop())),
            ("a key more", |k| {
                let key = k.bundles[1].keys[1].clone();
                k.bundles[0].keys.push(key);
            }),
            ("another TTL", |k| k.bundles[0].ttl = 60),
            ("another zone", |k| k.zone = Name::parse("other.").expect("a name")),
            ("a later inception", |k| k.bundles[1].inception = at(51)),
            ("an earlier first inception", |k| k.bundles[0].inception = at(0).minus(1)),
            ("a bundle less", |k| drop(k.bundles.remove(0))),
            ("a bad proof beside the good one", |k| {
                let mut bad = k.bundles[0].proofs[0].clone();
                bad.signature[3] ^= 1;
                k.bundles[0].proofs.push(bad);
            }),
            ("the proofs of another bundle", |k| k.bundles[0].proofs = k.bundles[1].proofs.clone()),
        ];
        for (what, change) in changes {
            let mut bad = good.clone();
            change(&mut bad);
            let found = judge(&bad, no_possession);
            let first_left = what == "a bundle less";
            assert_eq!(
                found.iter().any(|(id, _)| *id == CheckId::KsrPopInvalid),
                !first_left,
                "{what}: {found:?}"
            );
        }
    }

    #[test]
    fn a_good_request_passes() {
        let (a, b) = (zsk(Algorithm::ECDSAP256SHA256), zsk(Algorithm::ECDSAP256SHA256));
        let good = ksr(vec![(0, vec![a.clone()]), (50, vec![a, b.clone()]), (100, vec![b])]);
        assert_eq!(ids(&good, Waivers::NONE), []);
    }

    #[test]
    fn each_bad_key_is_found() {
        let good = zsk(Algorithm::ECDSAP256SHA256);
        let damaged = Dnskey { public_key: vec![1; 63], ..good.clone() };
        let off_curve = Dnskey { public_key: vec![0xff; 64], ..good.clone() };
        for (key, id) in [
            (Dnskey { flags: 257, ..good.clone() }, CheckId::KsrKeyFlags),
            (Dnskey { flags: 385, ..good.clone() }, CheckId::KsrKeyFlags),
            (Dnskey { flags: 0, ..good.clone() }, CheckId::KsrKeyFlags),
            (Dnskey { flags: 384, ..good.clone() }, CheckId::KsrKeyFlags),
            (Dnskey { protocol: 2, ..good.clone() }, CheckId::KsrKeyProtocol),
            (zsk(Algorithm::ED25519), CheckId::KsrKeyAlgorithm),
            (zsk(Algorithm::RSASHA256), CheckId::KsrKeyAlgorithm),
            (Dnskey { algorithm: Algorithm(3), ..good.clone() }, CheckId::KsrKeyAlgorithm),
            (damaged, CheckId::KsrKeyInvalid),
            (off_curve, CheckId::KsrKeyInvalid),
        ] {
            let text = format!("{key:?}");
            // Two bundles have the key, and it is reported once.
            let bad = ksr(vec![(0, vec![key.clone()]), (50, vec![key])]);
            assert_eq!(ids(&bad, Waivers::NONE), [(id, false)], "{text}");
        }
    }

    #[test]
    fn waivers_turn_findings_into_warnings() {
        let good = zsk(Algorithm::ECDSAP256SHA256);
        let waivers = [Waiver::ForeignFlags, Waiver::ForeignAlgorithms].into_iter().collect();
        let odd = ksr(vec![(0, vec![Dnskey { flags: 257, ..good }, zsk(Algorithm::ED25519)])]);
        assert_eq!(ids(&odd, waivers), [(CheckId::KsrKeyFlags, true), (CheckId::KsrKeyAlgorithm, true)]);
    }

    #[test]
    fn rsa_of_another_size() {
        let mut policy = policy();
        policy.keys[1].algorithm = Algorithm::RSASHA256;
        policy.keys[1].bits = 3072;
        let small = ksr(vec![(0, vec![zsk(Algorithm::RSASHA256)])]);
        let waivers = Waivers::NONE.with(Waiver::NoPossession);
        let mut found = findings(&small, &policy, waivers);
        found.retain(|f| f.id != CheckId::KsrPopMissing);
        assert_eq!(found.iter().map(|f| f.id).collect::<Vec<_>>(), [CheckId::KsrKeyAlgorithm]);
        assert!(found[0].what.contains("2048 bits"), "{}", found[0]);
        policy.keys[1].bits = 2048;
        assert!(findings(&small, &policy, waivers).iter().all(|f| f.id == CheckId::KsrPopMissing));
    }

    #[test]
    fn times() {
        let key = || vec![zsk(Algorithm::ECDSAP256SHA256)];
        for (days, waivers, expected) in [
            (vec![], Waivers::NONE, vec![(CheckId::KsrEmpty, false)]),
            (vec![3, 2], Waivers::NONE, vec![(CheckId::KsrOrder, false)]),
            (vec![3, 3], Waivers::NONE, vec![(CheckId::KsrOrder, false)]),
            (vec![3, 101], Waivers::NONE, vec![(CheckId::KsrBeyondEnd, false)]),
            (vec![3, 101], Waivers::NONE.with(Waiver::BeyondEnd), vec![(CheckId::KsrBeyondEnd, true)]),
            (vec![101], Waivers::NONE.with(Waiver::BeyondEnd), vec![(CheckId::KsrEnd, false)]),
        ] {
            let request = ksr(days.iter().map(|day| (*day, key())).collect());
            assert_eq!(ids(&request, waivers), expected, "{days:?}");
        }
        assert_eq!(ids(&ksr(vec![(0, vec![])]), Waivers::NONE), [(CheckId::KsrEmpty, false)]);
    }

    #[test]
    fn two_keys_with_one_tag() {
        let a = zsk(Algorithm::ECDSAP256SHA256);
        // Swapping two 16-bit words of the key keeps the sum, and so the tag.
        let mut b = zsk(Algorithm::ED25519);
        b.algorithm = Algorithm(13);
        b.public_key = a.public_key.clone();
        b.public_key.swap(0, 2);
        b.public_key.swap(1, 3);
        assert_eq!((a.tag(), a == b), (b.tag(), false));
        let found = ids(&ksr(vec![(0, vec![a.clone(), b.clone()]), (50, vec![a, b])]), Waivers::NONE);
        assert_eq!(found.iter().filter(|(id, _)| *id == CheckId::KsrKeyCollision).count(), 1);
    }
}
