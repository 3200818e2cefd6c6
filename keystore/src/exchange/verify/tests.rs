mod attacks;
mod edges;
mod seconds;
mod trust;

use super::*;
use crate::check::CheckId;
use crate::crypto::Algorithm;
use crate::dns::{Rrset, Rtype};
use crate::exchange::bind::{parse_skr, print_skr};
use crate::exchange::testing::{SkrBuilder, TestKey};
use crate::keys::{FLAG_REVOKE, FLAG_SEP, FLAG_ZONE};

fn start() -> Timestamp {
    Timestamp::parse_stamp("20270101000000").expect("a stamp")
}

fn builder() -> SkrBuilder {
    SkrBuilder::new("example.", start())
}

/// The findings at the start of the first bundle, held against the builder's own KSKs.
fn judge(builder: &SkrBuilder, skr: &UnverifiedSkr) -> Vec<SkrFinding> {
    let (zone, anchors) = (Name::parse("example.").expect("a name"), builder.anchors());
    let context = VerifyContext::new(&zone, &anchors);
    let findings = findings(skr, &context, start());
    assert_eq!(verify(skr.clone(), &context, start()).is_err(), findings.iter().any(SkrFinding::rejects));
    assert!(findings.iter().all(|f| CHECKS.iter().any(|c| c.id == f.id)), "{findings:#?}");
    findings
}

fn rejecting(findings: &[SkrFinding]) -> Vec<CheckId> {
    let mut ids: Vec<_> = findings.iter().filter(|f| f.rejects()).map(|f| f.id).collect();
    ids.dedup();
    ids
}

fn key(change: impl Fn(&mut Dnskey)) -> Dnskey {
    let mut key = TestKey::zsk(2).dnskey;
    change(&mut key);
    key
}

/// Another key of the same flags, algorithm and tag: the tag is a sum over pairs of octets.
fn twin(key: &Dnskey) -> Dnskey {
    let mut twin = key.clone();
    let other =
        (2..32).step_by(2).find(|i| twin.public_key[*i] != twin.public_key[0]).expect("octets differ");
    twin.public_key.swap(0, other);
    assert_eq!(twin.tag(), key.tag());
    twin
}

/// A ZSK with the tag of a KSK.
fn zsk_like(ksk: &Dnskey) -> Dnskey {
    let mut zsk = Dnskey { flags: FLAG_ZONE, ..ksk.clone() };
    let low = (1..32).step_by(2).find(|i| zsk.public_key[*i] < 255).expect("an octet below 255");
    zsk.public_key[low] += 1;
    assert_eq!(zsk.tag(), ksk.tag());
    zsk
}

fn rsa_key(exponent: &[u8], bits: usize) -> Dnskey {
    let mut public_key = vec![exponent.len() as u8];
    public_key.extend_from_slice(exponent);
    public_key.resize(public_key.len() + bits / 8, 0xff);
    Dnskey { flags: FLAG_ZONE, protocol: 3, algorithm: Algorithm::RSASHA256, public_key }
}

/// Adds a key to the DNSKEY RRset of a bundle and signs again.
fn add_key(b: &SkrBuilder, bundle: &mut Bundle, key: &Dnskey) {
    bundle.dnskey.rdatas.push(key.to_rdata().into());
    b.resign(bundle, &[&TestKey::ksk(1)]);
}

fn sign_again(b: &SkrBuilder, bundle: &mut Bundle) {
    b.resign(bundle, &[&TestKey::ksk(1)]);
}

type Change = fn(&SkrBuilder, &mut UnverifiedSkr);

/// Each change of a good SKR of five bundles with the ID that it must be rejected by; `""` = still accepted.
pub(crate) const CASES: &[(Option<CheckId>, &str, Change)] = &[
    (None, "as built", |_, _| {}),
    (None, "a single bundle", |_, s| s.bundles.truncate(1)),
    (None, "letter case of owner and signer", |_, s| {
        let upper = Name::parse("EXAMPLE.").expect("a name");
        s.zone = upper.clone();
        s.bundles[1].dnskey.owner = upper.clone();
        s.bundles[1].signatures.iter_mut().for_each(|r| r.signer = upper.clone());
    }),
    // --- amount
    (None, "as many keys as allowed", |b, s| {
        let more = (0..30).map(|i| TestKey::zsk(100 + i).dnskey.to_rdata().into());
        s.bundles[1].dnskey.rdatas.extend(more);
        sign_again(b, &mut s.bundles[1]);
    }),
    (Some(CheckId::SkrLimits), "one key more", |b, s| {
        let more = (0..31).map(|i| TestKey::zsk(100 + i).dnskey.to_rdata().into());
        s.bundles[1].dnskey.rdatas.extend(more);
        sign_again(b, &mut s.bundles[1]);
    }),
    (Some(CheckId::SkrLimits), "many signatures", |_, s| {
        let one = s.bundles[1].signatures[0].clone();
        s.bundles[1].signatures.extend(std::iter::repeat_n(one, 60));
    }),
    (Some(CheckId::SkrLimits), "many bundles", |_, s| {
        let one = Bundle { signatures: Vec::new(), cds: None, cdnskey: None, ..s.bundles[0].clone() };
        s.bundles = vec![one; bind::MAX_BUNDLES + 1];
    }),
    (Some(CheckId::SkrLimits), "many keys in all", |_, s| {
        let bundle = |i: u16| {
            let zsk = |k: u8| key(|z| z.public_key[..3].copy_from_slice(&[(i >> 8) as u8, i as u8, k]));
            let mut bundle = s.bundles[0].clone();
            bundle.dnskey.rdatas = (0..30).map(|k| zsk(k).to_rdata().into()).collect();
            bundle
        };
        s.bundles = (0..137).map(bundle).collect();
    }),
    (Some(CheckId::SkrSyntax), "no bundles", |_, s| s.bundles.clear()),
    (Some(CheckId::SkrSyntax), "a bundle without keys", |_, s| s.bundles[2].dnskey.rdatas.clear()),
    // --- records
    (Some(CheckId::SkrWrongZone), "another zone", |_, s| {
        s.zone = Name::parse("example.test.").expect("a name")
    }),
    (Some(CheckId::SkrWrongZone), "a child", |_, s| {
        s.bundles[1].dnskey.owner = Name::parse("a.example.").expect("a name")
    }),
    (Some(CheckId::SkrWrongZone), "the parent", |_, s| {
        s.bundles[1].cds.as_mut().expect("there is CDS").owner = Name::root();
    }),
    (Some(CheckId::SkrType), "TXT for CDS", |_, s| {
        s.bundles[1].cds.as_mut().expect("there is CDS").rtype = Rtype::TXT
    }),
    (Some(CheckId::SkrType), "a signature over A", |_, s| s.bundles[1].signatures[0].covered = Rtype::A),
    (Some(CheckId::SkrType), "a signature over CDS without CDS", |_, s| s.bundles[1].cds = None),
    (None, "the greatest TTL", |b, s| {
        s.bundles[4].dnskey.ttl = 0x7fff_ffff;
        sign_again(b, &mut s.bundles[4]);
    }),
    (Some(CheckId::SkrTtl), "a TTL beyond", |b, s| {
        s.bundles[4].dnskey.ttl = 0x8000_0000;
        sign_again(b, &mut s.bundles[4]);
    }),
    // --- order
    (Some(CheckId::SkrOrder), "two bundles swapped", |_, s| s.bundles.swap(1, 2)),
    (Some(CheckId::SkrDuplicate), "a bundle twice", |_, s| s.bundles.insert(2, s.bundles[2].clone())),
    (Some(CheckId::SkrDuplicate), "the first twice", |_, s| s.bundles.insert(0, s.bundles[0].clone())),
    (Some(CheckId::SkrDuplicate), "one time with other keys first", |b, s| {
        let mut other = s.bundles[2].clone();
        add_key(b, &mut other, &TestKey::zsk(9).dnskey);
        s.bundles.insert(2, other);
    }),
    (None, "one time with the old keys first, as BIND makes it", |b, s| {
        let old = s.bundles[2].clone();
        s.bundles[2..].iter_mut().for_each(|bundle| add_key(b, bundle, &TestKey::zsk(9).dnskey));
        s.bundles.insert(2, old);
    }),
    (Some(CheckId::SkrBadSignature), "the one that is left out has a bad signature", |b, s| {
        let mut old = s.bundles[2].clone();
        s.bundles[2..].iter_mut().for_each(|bundle| add_key(b, bundle, &TestKey::zsk(9).dnskey));
        old.signatures[0].signature[0] ^= 1;
        s.bundles.insert(2, old);
    }),
    // --- keys
    (Some(CheckId::SkrKey), "a revoked KSK", |b, s| {
        add_key(b, &mut s.bundles[1], &key(|k| k.flags = FLAG_ZONE | FLAG_SEP | FLAG_REVOKE));
    }),
    (Some(CheckId::SkrKey), "flags 0", |b, s| add_key(b, &mut s.bundles[1], &key(|k| k.flags = 0))),
    (Some(CheckId::SkrKey), "a reserved flag", |b, s| {
        add_key(b, &mut s.bundles[1], &key(|k| k.flags = FLAG_ZONE | 0x0200))
    }),
    (Some(CheckId::SkrKey), "protocol 2", |b, s| add_key(b, &mut s.bundles[1], &key(|k| k.protocol = 2))),
    (Some(CheckId::SkrKey), "31 octets of Ed25519", |b, s| {
        add_key(b, &mut s.bundles[1], &key(|k| k.public_key.truncate(31)));
    }),
    (Some(CheckId::SkrKey), "an empty key", |b, s| {
        add_key(b, &mut s.bundles[1], &key(|k| k.public_key.clear()))
    }),
    (Some(CheckId::SkrKey), "a record of 3 octets", |b, s| {
        s.bundles[1].dnskey.rdatas.push(Box::from([1, 0, 3]));
        sign_again(b, &mut s.bundles[1]);
    }),
    (Some(CheckId::SkrKey), "a P-256 point off the curve", |b, s| {
        let off = key(|k| (k.algorithm, k.public_key) = (Algorithm::ECDSAP256SHA256, vec![1; 64]));
        add_key(b, &mut s.bundles[1], &off);
    }),
    (Some(CheckId::SkrKey), "RSA of 512 bits", |b, s| {
        add_key(b, &mut s.bundles[1], &rsa_key(&[1, 0, 1], 512))
    }),
    (Some(CheckId::SkrKey), "RSA of 8192 bits", |b, s| {
        add_key(b, &mut s.bundles[1], &rsa_key(&[1, 0, 1], 8192))
    }),
    (Some(CheckId::SkrKey), "RSA exponent 3", |b, s| add_key(b, &mut s.bundles[1], &rsa_key(&[3], 2048))),
    (Some(CheckId::SkrKey), "RSA exponent of 4096 bits", |b, s| {
        add_key(b, &mut s.bundles[1], &rsa_key(&[1; 255], 2048))
    }),
    (None, "RSA of 1024 bits", |b, s| add_key(b, &mut s.bundles[1], &rsa_key(&[1, 0, 1], 1024))),
    (Some(CheckId::SkrAlgorithm), "algorithm 1", |b, s| {
        add_key(b, &mut s.bundles[1], &key(|k| k.algorithm = Algorithm(1)))
    }),
    (Some(CheckId::SkrAlgorithm), "algorithm 3", |b, s| {
        add_key(b, &mut s.bundles[1], &key(|k| k.algorithm = Algorithm(3)))
    }),
    (Some(CheckId::SkrAlgorithm), "algorithm 5", |b, s| {
        add_key(b, &mut s.bundles[1], &key(|k| k.algorithm = Algorithm(5)))
    }),
    (Some(CheckId::SkrAlgorithm), "algorithm 7", |b, s| {
        add_key(b, &mut s.bundles[1], &key(|k| k.algorithm = Algorithm(7)))
    }),
    (Some(CheckId::SkrAlgorithm), "algorithm 253", |b, s| {
        add_key(b, &mut s.bundles[1], &key(|k| k.algorithm = Algorithm(253)));
    }),
    (Some(CheckId::SkrAlgorithm), "a signature of algorithm 5", |_, s| {
        s.bundles[1].signatures[0].algorithm = Algorithm(5);
    }),
    (Some(CheckId::SkrCollision), "ZSK and ZSK of one tag", |b, s| {
        add_key(b, &mut s.bundles[1], &twin(&TestKey::zsk(2).dnskey))
    }),
    (Some(CheckId::SkrCollision), "KSK and ZSK of one tag", |b, s| {
        add_key(b, &mut s.bundles[1], &zsk_like(&TestKey::ksk(1).dnskey));
    }),
    (Some(CheckId::SkrCollision), "KSK and KSK of one tag", |b, s| {
        add_key(b, &mut s.bundles[1], &twin(&TestKey::ksk(1).dnskey));
    }),
    // --- CDS and CDNSKEY
    (None, "CDS only", |b, s| {
        s.bundles[1].cdnskey = None;
        sign_again(b, &mut s.bundles[1]);
    }),
    (None, "two digests", |b, s| {
        let more = TestKey::ksk(1).dnskey.ds_rdata(&s.zone, 4).expect("SHA-384 is known");
        s.bundles[1].cds.as_mut().expect("there is CDS").rdatas.push(more.into());
        sign_again(b, &mut s.bundles[1]);
    }),
    (None, "a second KSK, published and announced before it signs", |b, s| {
        let next = TestKey::ksk(5).dnskey;
        announce(&mut s.bundles[1], &next);
        add_key(b, &mut s.bundles[1], &next);
    }),
    (Some(CheckId::SkrCds), "CDS of a key that is not there", |b, s| {
        announce(&mut s.bundles[1], &TestKey::ksk(5).dnskey);
        sign_again(b, &mut s.bundles[1]);
    }),
    (Some(CheckId::SkrCds), "CDS of a ZSK", |b, s| {
        announce(&mut s.bundles[1], &TestKey::zsk(2).dnskey);
        sign_again(b, &mut s.bundles[1]);
    }),
    (Some(CheckId::SkrCds), "a wrong digest", |b, s| {
        s.bundles[1].cds.as_mut().expect("there is CDS").rdatas[0][10] ^= 1;
        sign_again(b, &mut s.bundles[1]);
    }),
    (Some(CheckId::SkrCds), "an unknown digest type", |b, s| {
        s.bundles[1].cds.as_mut().expect("there is CDS").rdatas[0][3] = 3;
        sign_again(b, &mut s.bundles[1]);
    }),
    (Some(CheckId::SkrCds), "a CDS too short", |b, s| {
        s.bundles[1].cds.as_mut().expect("there is CDS").rdatas[0] = Box::from([1, 2, 3]);
        sign_again(b, &mut s.bundles[1]);
    }),
    (Some(CheckId::SkrCds), "a CDNSKEY too short", |b, s| {
        s.bundles[1].cdnskey.as_mut().expect("there is CDNSKEY").rdatas[0] = Box::from([1, 2, 3]);
        sign_again(b, &mut s.bundles[1]);
    }),
    (Some(CheckId::SkrCds), "CDS and CDNSKEY disagree", |b, s| {
        let next = TestKey::ksk(5).dnskey;
        let cdnskey = s.bundles[1].cdnskey.as_mut().expect("there is CDNSKEY");
        cdnskey.rdatas.push(next.to_rdata().into());
        add_key(b, &mut s.bundles[1], &next);
    }),
    (Some(CheckId::SkrCds), "only a key that does not sign is named", |b, s| {
        let next = TestKey::ksk(5).dnskey;
        s.bundles[1].cds.as_mut().expect("there is CDS").rdatas.clear();
        s.bundles[1].cdnskey.as_mut().expect("there is CDNSKEY").rdatas.clear();
        announce(&mut s.bundles[1], &next);
        add_key(b, &mut s.bundles[1], &next);
    }),
    (Some(CheckId::SkrCds), "deletion, not allowed", |b, s| delete_ds(b, &mut s.bundles[1])),
    (Some(CheckId::SkrCds), "deletion beside a real CDS", |b, s| {
        s.bundles[1].cds.as_mut().expect("there is CDS").rdatas.push(Box::from([0, 0, 0, 0, 0]));
        sign_again(b, &mut s.bundles[1]);
    }),
    // --- times
    (Some(CheckId::SkrValidity), "inception after expiration", |_, s| {
        let r = &mut s.bundles[1].signatures[0];
        std::mem::swap(&mut r.inception, &mut r.expiration);
    }),
    (Some(CheckId::SkrValidity), "signed for two years", |_, s| {
        *s = builder().bundles(2).validity(2 * 366 * DAY).build();
    }),
    (Some(CheckId::SkrValidity), "a header one second off", |_, s| {
        s.bundles[1].inception = s.bundles[1].inception.plus(1)
    }),
    (Some(CheckId::SkrValidity), "one of two headers an hour off", |_, s| {
        s.bundles.truncate(2);
        s.bundles[1].inception = s.bundles[1].inception.minus(3600);
    }),
    (Some(CheckId::SkrNotYet), "signatures that begin later", |_, s| {
        s.bundles[1].inception = s.bundles[1].inception.minus(3601)
    }),
    (Some(CheckId::SkrGap), "a bundle missing", |_, s| drop(s.bundles.remove(2))),
    (Some(CheckId::SkrGap), "one second short", |_, s| {
        *s = builder().step(9 * DAY).validity(9 * DAY - 1).build()
    }),
    (None, "not one second short", |_, s| *s = builder().step(9 * DAY).validity(9 * DAY).build()),
    (Some(CheckId::SkrGap), "a bundle missing though signatures reach across", |_, s| {
        *s = builder().bundles(8).step(9 * DAY).validity(20 * DAY).build();
        s.bundles.remove(3);
    }),
    (None, "an early switch, as at a key change", |_, s| {
        s.bundles.insert(2, builder().bundle(start().plus(10 * DAY)));
    }),
    (Some(CheckId::SkrOverlap), "signatures outlive their bundle by most of a year", |_, s| {
        *s = builder().validity(300 * DAY).build();
    }),
    (None, "the end is in a second", |_, s| {
        *s = SkrBuilder::new("example.", start().minus(50 * DAY).plus(1)).build();
    }),
    (None, "all but the last in the past", |_, s| {
        *s = SkrBuilder::new("example.", start().minus(40 * DAY)).build();
    }),
    (Some(CheckId::SkrExpired), "all in the past", |_, s| {
        *s = SkrBuilder::new("example.", start().minus(51 * DAY)).build()
    }),
    (Some(CheckId::SkrExpired), "the end is now", |_, s| {
        *s = SkrBuilder::new("example.", start().minus(50 * DAY)).build()
    }),
    (Some(CheckId::SkrExpired), "a signature that ends before its bundle", |_, s| {
        s.bundles[4].inception = s.bundles[4].inception.plus(14 * DAY);
    }),
    (Some(CheckId::SkrHorizon), "far in the future", |_, s| {
        *s = SkrBuilder::new("example.", start().plus(20 * 365 * DAY)).build()
    }),
    (None, "ten years of bundles, from a later start", |_, s| {
        *s = SkrBuilder::new("example.", start().plus(30 * DAY)).without_cds().bundles(406).build();
    }),
    // --- signatures
    (Some(CheckId::SkrUnknownKsk), "another KSK", |_, s| *s = builder().ksk(TestKey::ksk(7)).build()),
    (Some(CheckId::SkrUnknownKsk), "the KSK signs and is not in the set", |b, s| {
        s.bundles[1].dnskey.rdatas.remove(0);
        (s.bundles[1].cds, s.bundles[1].cdnskey) = (None, None);
        sign_again(b, &mut s.bundles[1]);
    }),
    (Some(CheckId::SkrUnknownKsk), "no signature at all", |_, s| s.bundles[1].signatures.clear()),
    (Some(CheckId::SkrUnknownKsk), "signed by the ZSK only", |b, s| {
        (s.bundles[1].cds, s.bundles[1].cdnskey) = (None, None);
        b.resign(&mut s.bundles[1], &[&TestKey::zsk(2)]);
    }),
    (Some(CheckId::SkrUnknownKsk), "the pinned KSK is in the set, another signs", |b, s| {
        let other = TestKey::ksk(7);
        (s.bundles[1].cds, s.bundles[1].cdnskey) = (None, None);
        s.bundles[1].dnskey.rdatas.push(other.dnskey.to_rdata().into());
        b.resign(&mut s.bundles[1], &[&other]);
    }),
    (None, "signed by KSK and ZSK", |b, s| {
        b.resign(&mut s.bundles[1], &[&TestKey::zsk(2), &TestKey::ksk(1)])
    }),
    (Some(CheckId::SkrBadSignature), "a second, bad signature beside a good one", |b, s| {
        b.resign(&mut s.bundles[1], &[&TestKey::ksk(1), &TestKey::zsk(2)]);
        s.bundles[1].signatures[1].signature[5] ^= 0x10;
    }),
    (Some(CheckId::SkrBadSignature), "a signature by a key that is not there", |b, s| {
        b.resign(&mut s.bundles[1], &[&TestKey::ksk(1), &TestKey::ksk(7)]);
    }),
    (Some(CheckId::SkrBadSignature), "another key set under the signature", |_, s| {
        s.bundles[1].dnskey.rdatas.push(TestKey::zsk(9).dnskey.to_rdata().into());
    }),
    (Some(CheckId::SkrBadSignature), "signatures of another bundle", |_, s| {
        s.bundles[1].dnskey.rdatas.pop();
        s.bundles[1].signatures = s.bundles[2].signatures.clone();
    }),
    (Some(CheckId::SkrBadSignature), "another signer", |_, s| {
        s.bundles[1].signatures[0].signer = Name::root();
    }),
    (Some(CheckId::SkrBadSignature), "other labels", |_, s| s.bundles[1].signatures[0].labels = 0),
    (Some(CheckId::SkrBadSignature), "more labels", |_, s| s.bundles[1].signatures[0].labels = 2),
    (Some(CheckId::SkrBadSignature), "another original TTL", |_, s| {
        s.bundles[1].signatures[0].original_ttl = 7200
    }),
    (Some(CheckId::SkrBadSignature), "a larger TTL under the original one", |_, s| {
        s.bundles[1].dnskey.ttl = 7200
    }),
    (Some(CheckId::SkrBadSignature), "CDS not signed", |_, s| {
        s.bundles[1].signatures.retain(|r| r.covered != Rtype::CDS)
    }),
    (Some(CheckId::SkrBadSignature), "CDNSKEY not signed", |_, s| {
        s.bundles[1].signatures.retain(|r| r.covered != Rtype::CDNSKEY);
    }),
    (Some(CheckId::SkrBadSignature), "CDS signed by the ZSK only", |b, s| {
        b.resign(&mut s.bundles[1], &[&TestKey::ksk(1), &TestKey::zsk(2)]);
        let ksk = TestKey::ksk(1).dnskey.tag();
        s.bundles[1].signatures.retain(|r| r.covered != Rtype::CDS || r.key_tag != ksk);
    }),
    (Some(CheckId::SkrBadSignature), "an empty signature", |_, s| {
        s.bundles[1].signatures[0].signature.clear()
    }),
];

/// Names a key in CDS and CDNSKEY.
fn announce(bundle: &mut Bundle, key: &Dnskey) {
    let ds = key.ds_rdata(&bundle.dnskey.owner, 2).expect("SHA-256 is known");
    bundle.cds.as_mut().expect("there is CDS").rdatas.push(ds.into());
    bundle.cdnskey.as_mut().expect("there is CDNSKEY").rdatas.push(key.to_rdata().into());
}

fn delete_ds(b: &SkrBuilder, bundle: &mut Bundle) {
    bundle.cds.as_mut().expect("there is CDS").rdatas = vec![Box::from([0, 0, 0, 0, 0])];
    bundle.cdnskey.as_mut().expect("there is CDNSKEY").rdatas = vec![Box::from([0, 0, 3, 0, 0])];
    sign_again(b, bundle);
}

#[test]
fn each_change_is_accepted_or_rejected_by_its_check() {
    for (id, name, change) in CASES {
        let builder = builder();
        let mut skr = builder.build();
        change(&builder, &mut skr);
        let findings = judge(&builder, &skr);
        let ids = rejecting(&findings);
        match id {
            None => assert!(ids.is_empty(), "{name}: {findings:#?}"),
            Some(id) => assert!(ids.contains(id), "{name}: {findings:#?}"),
        }
    }
}

/// Changes that concern one check alone are told by that check alone.
#[test]
fn a_fault_is_told_once() {
    const ALONE: &[CheckId] = &[
        CheckId::SkrLimits,
        CheckId::SkrSyntax,
        CheckId::SkrOrder,
        CheckId::SkrCds,
        CheckId::SkrOverlap,
        CheckId::SkrHorizon,
        CheckId::SkrUnknownKsk,
        CheckId::SkrKey,
        CheckId::SkrTtl,
    ];
    for (id, name, change) in CASES {
        let Some(id) = id.filter(|id| ALONE.contains(id)) else { continue };
        let builder = builder();
        let mut skr = builder.build();
        change(&builder, &mut skr);
        let mut ids = rejecting(&judge(&builder, &skr));
        // A KSK that is not in the set: its signatures have no key either. Out of order there is a hole, too.
        ids.retain(|i| {
            *i == id
                || !matches!(
                    (id, *i),
                    (CheckId::SkrUnknownKsk, CheckId::SkrBadSignature) | (CheckId::SkrOrder, CheckId::SkrGap)
                )
        });
        assert_eq!(ids, [id], "{name}");
    }
}

#[test]
fn every_check_has_a_rejecting_case() {
    // These two only a reader can see.
    const READ: &[CheckId] = &[CheckId::SkrTruncated, CheckId::SkrClass];
    for check in CHECKS {
        let here = CASES.iter().any(|(id, ..)| *id == Some(check.id));
        let there = crate::exchange::bind::tests::REJECTED.iter().any(|(id, ..)| *id == check.id);
        assert!(if READ.contains(&check.id) { there } else { here }, "{}", check.id);
    }
}

#[test]
fn reading_back_asks_no_time() {
    let builder = SkrBuilder::new("example.", start().minus(400 * DAY));
    let (zone, anchors) = (Name::parse("example.").expect("a name"), builder.anchors());
    let context = VerifyContext::new(&zone, &anchors);
    for now in [start(), Timestamp::EPOCH] {
        assert!(verify(builder.build(), &context, now).is_err());
        assert!(verify(builder.build(), &context.clone().for_reload(), now).is_ok());
    }
    // All else is asked.
    let mut skr = builder.build();
    skr.bundles[1].signatures[0].signature[0] ^= 1;
    assert!(verify(skr, &context.for_reload(), start()).is_err());
}

#[test]
fn right_across_2038_and_2106() {
    for wrap in [1u64 << 31, 1 << 32] {
        let first = Timestamp::from_secs(wrap - 17 * DAY);
        let builder = SkrBuilder::new("example.", first).bundles(2);
        let zone = Name::parse("example.").expect("a name");
        let read = parse_skr(builder.text().as_bytes(), &zone).expect("BIND's form");
        assert_eq!(read, builder.build());
        let (anchors, end) = (builder.anchors(), first.plus(23 * DAY));
        assert!(end.secs() > wrap);
        let good =
            verify(read, &VerifyContext::new(&zone, &anchors), first).unwrap_or_else(|f| panic!("{f:#?}"));
        assert_eq!(good.coverage_end(), end);
        assert!(verify(builder.build(), &VerifyContext::new(&zone, &anchors), end).is_err());
    }
}

#[test]
fn verdicts_name_every_check() {
    let findings = vec![
        SkrFinding::warning(CheckId::SkrGap, None, "a"),
        SkrFinding::reject(CheckId::SkrCds, Some(start()), "b"),
        SkrFinding::warning(CheckId::SkrCds, None, "c"),
    ];
    let all = verdicts(CHECKS, &findings);
    assert_eq!(all.len(), CHECKS.len());
    for verdict in &all {
        let want = match verdict.check.id {
            CheckId::SkrGap => CheckOutcome::Warned,
            CheckId::SkrCds => CheckOutcome::Rejected,
            _ => CheckOutcome::Passed,
        };
        assert_eq!(verdict.outcome, want, "{}", verdict.check.id);
    }
    assert_eq!(findings[1].to_string(), "SKR-CDS: bundle 20270101000000: b");
    assert_eq!(findings[0].to_string(), "SKR-GAP: warning: a");
    let finding = SkrFinding::reject(CheckId::SkrType, None, "no");
    for verdict in verdicts_unread(CHECKS, &finding) {
        let here = verdict.check.id == CheckId::SkrType;
        assert_eq!(verdict.outcome, if here { CheckOutcome::Rejected } else { CheckOutcome::NotReached });
    }
    let mut ids: Vec<_> = CHECKS.iter().map(|c| c.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CHECKS.len());
}

#[test]
fn warnings_do_not_reject() {
    type Case = (CheckId, fn(&SkrBuilder, &mut UnverifiedSkr));
    const WARNED: &[Case] = &[
        (CheckId::SkrTtl, |b, s| {
            s.bundles[4].dnskey.ttl = 8 * 86_400;
            sign_again(b, &mut s.bundles[4]);
        }),
        (CheckId::SkrGap, |_, s| *s = builder().validity(9 * DAY + 3599).build()),
        (CheckId::SkrCds, |b, s| {
            let sha1 = TestKey::ksk(1).dnskey.ds_rdata(&s.zone, 1).expect("SHA-1 is known");
            s.bundles[1].cds.as_mut().expect("there is CDS").rdatas.push(sha1.into());
            sign_again(b, &mut s.bundles[1]);
        }),
        (CheckId::SkrAlgorithm, |b, s| add_key(b, &mut s.bundles[1], &rsa_key(&[1, 0, 1], 2048))),
        (CheckId::SkrCollision, |b, s| {
            let tag = TestKey::zsk(2).dnskey.tag();
            let mut other = key(|k| (k.algorithm, k.public_key) = (Algorithm::ED448, vec![0; 57]));
            let wanted = tag.wrapping_sub(other.tag());
            other.public_key[..2].copy_from_slice(&wanted.to_be_bytes());
            // The end-around carry of the sum may cost one.
            if other.tag() != tag {
                other.public_key[1] = other.public_key[1].wrapping_sub(1);
            }
            assert_eq!(other.tag(), tag);
            add_key(b, &mut s.bundles[1], &other);
        }),
    ];
    for (id, change) in WARNED {
        let builder = builder();
        let mut skr = builder.build();
        change(&builder, &mut skr);
        let findings = judge(&builder, &skr);
        assert!(rejecting(&findings).is_empty(), "{id}: {findings:#?}");
        assert!(findings.iter().any(|f| f.id == *id), "{id}: {findings:#?}");
    }
}

#[test]
fn the_bundle_in_force() {
    let builder = builder().bundles(3);
    let (zone, anchors) = (Name::parse("example.").expect("a name"), builder.anchors());
    let skr = verify(builder.build(), &VerifyContext::new(&zone, &anchors), start()).expect("good");
    let day = |n: u64| start().plus(n * DAY);
    for (now, at, next) in [
        (start().minus(1), None, Some(start())),
        (start(), Some(start()), Some(day(9))),
        (day(9).minus(1), Some(start()), Some(day(9))),
        (day(9), Some(day(9)), Some(day(18))),
        (day(100), Some(day(18)), None),
    ] {
        assert_eq!(skr.bundle_at(now).map(|b| b.inception), at);
        assert_eq!(skr.next_switch(now), next);
    }
    assert_eq!(skr.coverage_end(), day(18 + 14));
    assert_eq!(skr.zone(), &zone);
    assert_eq!(skr.bundles(), builder.build().bundles);
}

#[test]
fn spans_for_people() {
    for (seconds, text) in
        [(0, "0s"), (59, "59s"), (3600, "1h"), (9 * DAY + 7260, "9d 2h"), (DAY + 5, "1d 5s")]
    {
        assert_eq!(span(seconds), text);
    }
}
