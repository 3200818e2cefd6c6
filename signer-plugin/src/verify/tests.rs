//! One planted fault each, all else signed correctly. The faults are those of which `dnssec-verify`, `ldns-verify-zone` or `kzonecheck`
//! do not see some, and those that all of them see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use keystore::crypto::Algorithm;
use keystore::dns::nsec3::NameHash;
use keystore::dns::rrsig::{self, Validity};
use keystore::dns::{Name, Rrset, Rrsig, Rtype, rdata};
use keystore::exchange::TrustAnchor;

use super::*;
use crate::signing::{Denial, Nsec3, SigningPolicy, ZoneKey};
use crate::testing::{DAY, NOW, POLICY, key, keys, name, signed_by, zone};

const ZONE: &str = "\
@ SOA ns admin 7 1h 5m 1w 10m
@ NS ns
ns A 192.0.2.1
a TXT t
b.ent A 192.0.2.2
*.wild A 192.0.2.3
red DNAME other.
insec NS ns.insec
ns.insec A 192.0.2.4
cut.mid NS ns.insec
safe NS ns.insec
safe DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF
types TYPE1234 \\# 1 00
";

/// TTL and RDATA of an RRset.
type Set = (u32, Vec<Vec<u8>>);

/// A signed zone that can be damaged, before it is signed and after.
#[derive(Clone)]
struct Raw {
    sets: BTreeMap<(Name, Rtype), Set>,
    signed: BTreeSet<(Name, Rtype)>,
    signatures: BTreeMap<(Name, Rtype), Vec<(u32, Rrsig)>>,
}

const VALIDITY: Validity = Validity { inception: NOW.minus(3600), expiration: NOW.plus(10 * DAY) };

impl Raw {
    fn of(denial: Denial, zonemd: bool) -> Self {
        let policy = SigningPolicy { denial, zonemd, ..POLICY };
        let signed = signed_by(zone("example", ZONE).expect("a zone"), &policy).expect("signs");
        let mut raw = Self { sets: BTreeMap::new(), signed: BTreeSet::new(), signatures: BTreeMap::new() };
        for record in signed.records() {
            let owner = Name::from_wire(&record.owner).expect("a name").to_lowercase();
            if record.rtype == Rtype::RRSIG {
                raw.signed.insert((owner, Rrsig::from_rdata(record.rdata).expect("an RRSIG").covered));
            } else {
                let set = raw.sets.entry((owner, record.rtype)).or_insert((record.ttl, Vec::new()));
                set.1.push(record.rdata.to_vec());
            }
        }
        raw
    }

    fn rrset(&self, at: &(Name, Rtype)) -> Rrset {
        let (ttl, rdatas) = &self.sets[at];
        let rdatas = rdatas.iter().map(|rdata| rdata.as_slice().into()).collect();
        Rrset { owner: at.0.clone(), rtype: at.1, ttl: *ttl, rdatas }
    }

    fn signature(&self, at: &(Name, Rtype), key: &ZoneKey, validity: Validity) -> (u32, Rrsig) {
        let rrset = self.rrset(at);
        let tag = key.dnskey.tag();
        (rrset.ttl, rrsig::sign_raw(&rrset, &name("example"), tag, &*key.signer, validity).expect("signs"))
    }

    fn sign(&mut self) {
        let (ksk, zsk) = keys();
        for at in self.signed.clone().iter().filter(|at| self.sets.contains_key(at)) {
            let by_ksk = matches!(at.1, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY);
            let signature = self.signature(at, if by_ksk { ksk } else { zsk }, VALIDITY);
            self.signatures.insert(at.clone(), vec![signature]);
        }
    }

    fn verify(&self) -> VerifyReport {
        verify(&self.contents(), &self.anchors(), NOW)
    }

    fn anchors(&self) -> [TrustAnchor; 1] {
        [TrustAnchor::Dnskey(keys().0.dnskey.clone())]
    }

    fn contents(&self) -> ZoneContents {
        let mut text = String::new();
        let mut put = |owner: &Name, ttl: u32, rtype: Rtype, data: &[u8]| {
            text += &format!("{owner} {ttl} IN {rtype} {}\n", rdata::to_text(rtype, data, None));
        };
        for ((owner, rtype), (ttl, rdatas)) in &self.sets {
            rdatas.iter().for_each(|data| put(owner, *ttl, *rtype, data));
        }
        for ((owner, _), signatures) in &self.signatures {
            signatures.iter().for_each(|(ttl, rrsig)| put(owner, *ttl, Rtype::RRSIG, &rrsig.to_rdata()));
        }
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("zone");
        std::fs::write(&path, text).expect("write the zone");
        let zone = ZoneContents::read(&path, None).expect("it reads");
        assert_eq!(*zone.origin(), name("example"));
        zone
    }

    fn at(&mut self, owner: &str, rtype: Rtype) -> &mut Set {
        self.sets.get_mut(&key_of(owner, rtype)).expect("it is there")
    }

    fn signatures_at(&mut self, owner: &str, rtype: Rtype) -> &mut Vec<(u32, Rrsig)> {
        self.signatures.get_mut(&key_of(owner, rtype)).expect("it is signed")
    }

    fn add(&mut self, owner: &str, rtype: Rtype, data: &[u8]) {
        self.sets.entry(key_of(owner, rtype)).or_insert((3600, Vec::new())).1.push(data.to_vec());
        self.signed.insert(key_of(owner, rtype));
    }

    /// Takes the NSEC3 record of a name out, and closes the chain.
    fn unlink(&mut self, owner: &str) {
        let (_, gone) = self.sets.remove(&key_of(&nsec3_of(owner), Rtype::NSEC3)).expect("it is there");
        let hash = NameHash::of(name(owner).as_wire(), &[], 0);
        for (_, rdatas) in self.sets.iter_mut().filter(|(at, _)| at.1 == Rtype::NSEC3).map(|(_, set)| set) {
            if rdatas[0][6..26] == hash.0 {
                rdatas[0][6..26].copy_from_slice(&gone[0][6..26]);
            }
        }
    }

    /// Puts an NSEC3 record for a name into the chain.
    fn link(&mut self, owner: &str, bitmap: &[u8]) {
        let hash = NameHash::of(name(owner).as_wire(), &[], 0);
        let chain = self.sets.iter_mut().filter(|(at, _)| at.1 == Rtype::NSEC3);
        let before = chain.filter(|(at, _)| at.0 < name(&format!("{hash}.example"))).last();
        let (_, rdatas) = before.expect("not in front of the first").1;
        let new = [&rdatas[0][..26], bitmap].concat();
        rdatas[0][6..26].copy_from_slice(&hash.0);
        self.add(&nsec3_of(owner), Rtype::NSEC3, &new);
        self.at(&nsec3_of(owner), Rtype::NSEC3).0 = 600;
    }
}

fn key_of(owner: &str, rtype: Rtype) -> (Name, Rtype) {
    (name(owner), rtype)
}

fn nsec3_of(owner: &str) -> String {
    format!("{}.example", NameHash::of(name(owner).as_wire(), &[], 0))
}

fn nsec() -> Denial {
    Denial::Nsec
}

fn plain() -> Denial {
    Denial::Nsec3(Nsec3::new(0, false))
}

fn opt_out() -> Denial {
    Denial::Nsec3(Nsec3::new(0, true))
}

/// What is planted, in which zone, before signing and after, and whether a fault is the one expected.
struct Case {
    title: &'static str,
    zone: fn() -> Denial,
    before: fn(&mut Raw),
    after: fn(&mut Raw),
    expected: fn(&ZoneFault) -> bool,
}

fn nothing(_: &mut Raw) {}

macro_rules! before {
    ($title:literal, $zone:expr, $plant:expr, $($expected:pat_param)|+) => {
        Case { title: $title, zone: $zone, before: $plant, after: nothing, expected: |f| matches!(f, $($expected)|+) }
    };
}

macro_rules! after {
    ($title:literal, $zone:expr, $plant:expr, $($expected:pat_param)|+) => {
        Case { title: $title, zone: $zone, before: nothing, after: $plant, expected: |f| matches!(f, $($expected)|+) }
    };
}

/// The bitmaps `A` and `A RRSIG`.
const A: &[u8] = &[0, 1, 0x40];
const A_RRSIG: &[u8] = &[0, 6, 0x40, 0, 0, 0, 0, 2];

fn bitmap_at(rdata: &mut Vec<u8>, bitmap: &[u8]) {
    rdata.truncate(26);
    rdata.extend_from_slice(bitmap);
}

fn cases() -> Vec<Case> {
    use ZoneFault as F;
    vec![
        // Seen by every checker.
        before!(
            "a name without NSEC",
            nsec,
            |z| drop(z.sets.remove(&key_of("a.example", Rtype::NSEC))),
            F::NotInChain
        ),
        before!(
            "a delegation without NSEC",
            nsec,
            |z| drop(z.sets.remove(&key_of("safe.example", Rtype::NSEC))),
            F::NotInChain
        ),
        before!("a name without NSEC3", plain, |z| z.unlink("a.example"), F::NoNsec3 { .. }),
        before!(
            "a signed delegation without NSEC3",
            opt_out,
            |z| z.unlink("safe.example"),
            F::NoNsec3 { .. }
        ),
        before!(
            "glue in the NSEC chain",
            nsec,
            |z| {
                let rdata = z.at("insec.example", Rtype::NSEC).1[0].clone();
                z.add("ns.insec.example", Rtype::NSEC, &rdata);
            },
            F::NotToBeInChain(_)
        ),
        before!(
            "a broken NSEC link",
            nsec,
            |z| z.at("a.example", Rtype::NSEC).1[0][1] = b'z',
            F::NextName { .. }
        ),
        before!(
            "a broken NSEC3 link",
            plain,
            |z| z.at(&nsec3_of("a.example"), Rtype::NSEC3).1[0][25] ^= 1,
            F::NextHash { .. }
        ),
        after!(
            "an RRset without RRSIG",
            nsec,
            |z| drop(z.signatures.remove(&key_of("a.example", Rtype::TXT))),
            F::Unsigned(_)
        ),
        after!(
            "a damaged RRSIG alone",
            nsec,
            |z| z.signatures_at("a.example", Rtype::TXT)[0].1.signature[9] ^= 1,
            F::Wrong(_)
        ),
        after!(
            "an expired RRSIG alone",
            nsec,
            |z| {
                let past = Validity { inception: NOW.minus(2 * DAY), expiration: NOW.minus(1) };
                z.signatures_at("a.example", Rtype::TXT)[0] =
                    z.clone().signature(&key_of("a.example", Rtype::TXT), &keys().1, past);
            },
            F::Expired { .. }
        ),
        after!(
            "an RRSIG of the future alone",
            nsec,
            |z| {
                let future = Validity { inception: NOW.plus(60), expiration: NOW.plus(DAY) };
                z.signatures_at("a.example", Rtype::TXT)[0] =
                    z.clone().signature(&key_of("a.example", Rtype::TXT), &keys().1, future);
            },
            F::NotYetValid { .. }
        ),
        after!(
            "an RRSIG by an unpublished key alone",
            nsec,
            |z| {
                let other = key(256, Algorithm::ECDSAP256SHA256);
                z.signatures_at("a.example", Rtype::TXT)[0] =
                    z.clone().signature(&key_of("a.example", Rtype::TXT), &other, VALIDITY);
            },
            F::UnknownKey(_)
        ),
        before!(
            "names below a DNAME signed and in the chain",
            nsec,
            |z| {
                let rdata = z.at("red.example", Rtype::NSEC).1[0].clone();
                z.at("red.example", Rtype::NSEC).1[0] =
                    [name("x.red.example").as_wire(), &rdata[rdata.len() - 8..]].concat();
                z.add("x.red.example", Rtype::A, &[192, 0, 2, 1]);
                z.add("x.red.example", Rtype::NSEC, &rdata);
            },
            F::BelowDname(_)
        ),
        // Missed by one at least.
        before!("an empty non-terminal without NSEC3", plain, |z| z.unlink("ent.example"), F::NoNsec3 { .. }),
        before!(
            "an NSEC3 of a name that is gone",
            plain,
            |z| z.link("gone.example", A_RRSIG),
            F::HashOfNothing
        ),
        before!(
            "a bitmap that lacks a type",
            plain,
            |z| bitmap_at(&mut z.at(&nsec3_of("a.example"), Rtype::NSEC3).1[0], &[0, 6, 0, 0, 0, 0, 0, 2]),
            F::BitmapLacks { .. }
        ),
        before!(
            "a bitmap with a type too much",
            plain,
            |z| bitmap_at(
                &mut z.at(&nsec3_of("a.example"), Rtype::NSEC3).1[0],
                &[0, 6, 0x40, 0, 0x80, 0, 0, 2]
            ),
            F::BitmapHas { .. }
        ),
        before!(
            "RRSIG in the bitmap of an unsigned delegation",
            plain,
            |z| bitmap_at(
                &mut z.at(&nsec3_of("insec.example"), Rtype::NSEC3).1[0],
                &[0, 6, 0x20, 0, 0, 0, 0, 2]
            ),
            F::BitmapHas { .. }
        ),
        before!(
            "DS missing in the bitmap of a signed delegation",
            plain,
            |z| bitmap_at(
                &mut z.at(&nsec3_of("safe.example"), Rtype::NSEC3).1[0],
                &[0, 6, 0x20, 0, 0, 0, 0, 2]
            ),
            F::BitmapLacks { .. }
        ),
        before!(
            "NSEC3PARAM missing in the bitmap of the apex",
            plain,
            |z| {
                let rdata = &mut z.at(&nsec3_of("example"), Rtype::NSEC3).1[0];
                let bitmap = rdata[28..].to_vec();
                assert_eq!(bitmap[6] & 0x10, 0x10, "type 51");
                rdata[28 + 6] &= !0x10;
            },
            F::BitmapLacks { .. }
        ),
        before!(
            "A in the NSEC bitmap of a delegation",
            nsec,
            |z| {
                let rdata = &mut z.at("insec.example", Rtype::NSEC).1[0];
                let first_octet = rdata.len() - 6;
                rdata[first_octet] |= 0x40;
            },
            F::BitmapHas { .. }
        ),
        before!(
            "NSEC3PARAM missing",
            plain,
            |z| drop(z.sets.remove(&key_of("example", Rtype::NSEC3PARAM))),
            F::NotOne(0)
        ),
        before!(
            "NSEC3PARAM with other iterations",
            plain,
            |z| z.at("example", Rtype::NSEC3PARAM).1[0][3] = 1,
            F::OtherParameters
        ),
        before!(
            "NSEC3PARAM with a flag",
            opt_out,
            |z| z.at("example", Rtype::NSEC3PARAM).1[0][1] = 1,
            F::ParamFlags(1)
        ),
        before!(
            "NSEC3 with a flag that nobody knows",
            plain,
            |z| z.at(&nsec3_of("a.example"), Rtype::NSEC3).1[0][1] = 2,
            F::Nsec3Flags(2)
        ),
        before!(
            "NSEC3 with opt-out and another flag",
            opt_out,
            |z| z.at(&nsec3_of("a.example"), Rtype::NSEC3).1[0][1] = 0x81,
            F::Nsec3Flags(0x81)
        ),
        before!(
            "one NSEC3 with another hash algorithm",
            plain,
            |z| z.at(&nsec3_of("a.example"), Rtype::NSEC3).1[0][0] = 2,
            F::HashAlgorithm(2)
        ),
        before!(
            "a whole chain with another hash algorithm",
            plain,
            |z| {
                for ((_, rtype), set) in &mut z.sets {
                    if matches!(*rtype, Rtype::NSEC3 | Rtype::NSEC3PARAM) {
                        set.1[0][0] = 2;
                    }
                }
            },
            F::HashAlgorithm(2)
        ),
        before!(
            "two NSEC3PARAM records",
            plain,
            |z| z.add("example", Rtype::NSEC3PARAM, &[1, 0, 0, 9, 0]),
            F::NotOne(2)
        ),
        before!(
            "one NSEC3 with other iterations",
            plain,
            |z| z.at(&nsec3_of("a.example"), Rtype::NSEC3).1[0][3] = 7,
            F::OtherParameters
        ),
        before!(
            "NSEC beside NSEC3",
            plain,
            |z| {
                let rdata = [name("example").as_wire(), A].concat();
                z.add("a.example", Rtype::NSEC, &rdata);
            },
            F::TwoChains
        ),
        before!(
            "a span without the flag over an unsigned delegation",
            opt_out,
            |z| {
                let hash = NameHash::of(name("insec.example").as_wire(), &[], 0);
                let chain = z.sets.iter_mut().filter(|(at, _)| at.1 == Rtype::NSEC3).collect::<Vec<_>>();
                let before = chain.iter().rposition(|(at, _)| at.0 < name(&format!("{hash}.example")));
                let count = chain.len();
                let mut chain = chain;
                chain[before.unwrap_or(count - 1)].1.1[0][1] = 0;
            },
            F::CoveredWithoutOptOut { .. }
        ),
        before!(
            "an NSEC3 with another TTL",
            plain,
            |z| z.at(&nsec3_of("a.example"), Rtype::NSEC3).0 = 3600,
            F::DenialTtl { .. }
        ),
        before!(
            "an NSEC with another TTL",
            nsec,
            |z| z.at("a.example", Rtype::NSEC).0 = 601,
            F::DenialTtl { .. }
        ),
        before!(
            "glue signed",
            nsec,
            |z| z.signed.extend([key_of("ns.insec.example", Rtype::A)]),
            F::NotToBeSigned
        ),
        before!(
            "NS of a delegation signed",
            plain,
            |z| z.signed.extend([key_of("insec.example", Rtype::NS)]),
            F::NotToBeSigned
        ),
        after!(
            "an RRSIG of a type that is not there",
            nsec,
            |z| {
                let mut signature = z.signatures_at("a.example", Rtype::TXT)[0].clone();
                signature.1.covered = Rtype::MX;
                z.signatures_at("a.example", Rtype::TXT).push(signature);
            },
            F::SignatureOfNothing(_)
        ),
        after!(
            "a TTL above the original TTL",
            nsec,
            |z| z.at("a.example", Rtype::TXT).0 = 7200,
            F::OriginalTtl { .. }
        ),
        after!(
            "a TTL below the original TTL",
            nsec,
            |z| z.at("a.example", Rtype::TXT).0 = 60,
            F::OriginalTtl { .. }
        ),
        after!(
            "an RRSIG with another TTL than its RRset",
            nsec,
            |z| z.signatures_at("a.example", Rtype::TXT)[0].0 = 60,
            F::SignatureTtl { .. }
        ),
        after!(
            "an expired RRSIG beside a good one",
            nsec,
            |z| {
                let past = Validity { inception: NOW.minus(2 * DAY), expiration: NOW.minus(1) };
                let old = z.signature(&key_of("a.example", Rtype::TXT), &keys().1, past);
                z.signatures_at("a.example", Rtype::TXT).push(old);
            },
            F::Expired { .. }
        ),
        after!(
            "a damaged RRSIG beside a good one",
            plain,
            |z| {
                let mut bad = z.signature(&key_of("a.example", Rtype::TXT), &keys().1, VALIDITY);
                bad.1.signature[3] ^= 4;
                z.signatures_at("a.example", Rtype::TXT).push(bad);
            },
            F::Wrong(_)
        ),
        after!(
            "an RRSIG by an unpublished key beside a good one",
            nsec,
            |z| {
                let other = key(256, Algorithm::ECDSAP256SHA256);
                let more = z.signature(&key_of("a.example", Rtype::TXT), &other, VALIDITY);
                z.signatures_at("a.example", Rtype::TXT).push(more);
            },
            F::UnknownKey(_)
        ),
        after!(
            "two RRSIGs by one key",
            nsec,
            |z| {
                let other = Validity { expiration: NOW.plus(11 * DAY), ..VALIDITY };
                let more = z.signature(&key_of("a.example", Rtype::TXT), &keys().1, other);
                z.signatures_at("a.example", Rtype::TXT).push(more);
            },
            F::SeveralByOneKey(_)
        ),
        after!(
            "Labels one too few",
            nsec,
            |z| {
                let at = key_of("b.ent.example", Rtype::A);
                let rrset = z.rrset(&at);
                let (_, rrsig) = &mut z.signatures_at("b.ent.example", Rtype::A)[0];
                rrsig.labels = 2;
                // Over the plain owner, as a signer does that reckons wrong.
                let right = Rrsig { labels: 3, ..rrsig.clone() }.signed_data(&rrset);
                let mut octets = right;
                octets[3] = 2;
                rrsig.signature = keys().1.signer.sign(&octets).expect("signs");
            },
            F::Labels { found: 2, wanted: 3, .. }
        ),
        after!(
            "Labels of a wildcard with the asterisk counted",
            nsec,
            |z| {
                let at = key_of("*.wild.example", Rtype::A);
                let rrset = z.rrset(&at);
                let (_, rrsig) = &mut z.signatures_at("*.wild.example", Rtype::A)[0];
                rrsig.labels = 3;
                rrsig.signature = keys().1.signer.sign(&rrsig.signed_data(&rrset)).expect("signs");
            },
            F::Labels { found: 3, wanted: 2, .. }
        ),
        before!(
            "an empty non-terminal with an NSEC",
            nsec,
            |z| {
                let rdata = z.at("a.example", Rtype::NSEC).1[0].clone();
                z.add("ent.example", Rtype::NSEC, &rdata);
            },
            F::NotToBeInChain(_)
        ),
        // The key set.
        before!(
            "a key set of other keys",
            nsec,
            |z| z.at("example", Rtype::DNSKEY).1.retain(|key| key[1] & 1 == 0),
            F::NoTrustedKey
        ),
        after!(
            "a key set that the KSK has not signed",
            nsec,
            |z| {
                let by_zsk = z.signature(&key_of("example", Rtype::DNSKEY), &keys().1, VALIDITY);
                *z.signatures_at("example", Rtype::DNSKEY) = vec![by_zsk];
            },
            F::UntrustedKeySet
        ),
        before!("no keys", nsec, |z| drop(z.sets.remove(&key_of("example", Rtype::DNSKEY))), F::ApexLacks),
        before!(
            "an algorithm that signs nothing",
            nsec,
            |z| {
                let more = key(256, Algorithm::ED25519).dnskey.to_rdata();
                z.at("example", Rtype::DNSKEY).1.push(more);
            },
            F::Unsigned(Algorithm::ED25519)
        ),
        before!(
            "a record outside of the zone",
            nsec,
            |z| z.add("other.test", Rtype::A, &[192, 0, 2, 1]),
            F::OutOfZone
        ),
        after!(
            "a signature by another zone",
            nsec,
            |z| {
                z.signatures_at("a.example", Rtype::TXT)[0].1.signer = name("test");
            },
            F::OtherSigner { .. }
        ),
    ]
}

#[test]
fn a_good_zone_has_no_finding() {
    for denial in [nsec, plain, opt_out] {
        for zonemd in [false, true] {
            let policy = SigningPolicy { denial: denial(), zonemd, ..POLICY };
            let signed = signed_by(zone("example", ZONE).expect("a zone"), &policy).expect("signs");
            let dir = tempfile::tempdir().expect("a folder");
            let path = dir.path().join("zone");
            let mut text = Vec::new();
            signed.write_to(&mut text).expect("memory");
            std::fs::write(&path, text).expect("write the zone");
            for origin in [None, Some(name("Example"))] {
                let zone = ZoneContents::read(&path, origin.as_ref()).expect("it reads");
                let report = verify(&zone, &[TrustAnchor::Dnskey(keys().0.dnskey.clone())], NOW);
                assert_eq!(report.findings, [], "{denial:?}");
                assert_eq!(report.signatures, signed.signatures_made() + 3);
                assert_eq!(report.earliest_expiration, Some(signed.earliest_zsk_expiration()));
            }
        }
        let mut raw = Raw::of(denial(), false);
        raw.sign();
        assert_eq!(raw.verify().findings, [], "signed by the test");
    }
}

#[test]
fn verification_whose_time_is_up_at_any_moment_ends_without_a_report() {
    for denial in [nsec, plain, opt_out] {
        let mut raw = Raw::of(denial(), true);
        raw.sign();
        let (zone, anchors) = (raw.contents(), raw.anchors());
        let asked = AtomicUsize::new(0);
        let within = |limit: usize| {
            asked.store(0, Ordering::Relaxed);
            let in_time = || asked.fetch_add(1, Ordering::Relaxed) < limit;
            verify_in_time(&zone, &anchors, NOW, &in_time)
        };
        assert!(within(usize::MAX).is_some());
        let all = asked.load(Ordering::Relaxed);
        let sets = raw.sets.len();
        assert!(all > sets, "each RRset asks, and so do the chain and the digest: {all} for {sets}");
        for limit in 0..all {
            assert_eq!(within(limit), None, "{limit} of {all}");
        }
        assert_eq!(within(all), Some(verify(&zone, &anchors, NOW)));
    }
}

#[test]
fn each_planted_fault_is_found() {
    let mut missed = Vec::new();
    for case in cases() {
        let mut raw = Raw::of((case.zone)(), false);
        (case.before)(&mut raw);
        raw.sign();
        (case.after)(&mut raw);
        let report = raw.verify();
        if !report.findings.iter().any(|finding| (case.expected)(&finding.fault)) {
            let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
            missed.push(format!("{}: {found:?}", case.title));
        }
    }
    assert!(missed.is_empty(), "{} faults are not found:\n{}", missed.len(), missed.join("\n"));
}

#[test]
fn flag_on_one_record_of_a_plain_chain_is_allowed() {
    let mut raw = Raw::of(plain(), false);
    raw.at(&nsec3_of("a.example"), Rtype::NSEC3).1[0][1] = 1;
    raw.sign();
    assert_eq!(raw.verify().findings, []);
}

#[test]
fn digest_of_another_zone_and_of_another_serial_are_found() {
    for denial in [nsec, plain] {
        let findings = |damage: fn(&mut Raw)| {
            let mut raw = Raw::of(denial(), true);
            damage(&mut raw);
            raw.sign();
            raw.verify().findings.into_iter().map(|finding| finding.fault).collect::<Vec<_>>()
        };
        // The signatures differ from those that the digest is over.
        assert_eq!(findings(nothing), [ZoneFault::DigestWrong]);
        let serial = findings(|raw| raw.at("example", Rtype::ZONEMD).1[0][3] = 8);
        assert_eq!(serial, [ZoneFault::DigestSerial { found: 8, wanted: 7 }, ZoneFault::DigestWrong]);
        // A scheme that nobody knows is let be.
        assert_eq!(findings(|raw| raw.at("example", Rtype::ZONEMD).1[0][4] = 240), []);
    }
}
