//! Planted faults: each in a schedule that is good without it, each with its ID and its exact second.

use super::*;
use crate::check::CheckId;
use crate::crypto::Algorithm;
use crate::exchange::testing::{SkrBuilder, TestKey};
use crate::keys::{FLAG_REVOKE, FLAG_SEP, FLAG_ZONE};
use crate::policy::Policy;

const DAY: u64 = 86_400;
/// How long a DNSKEY RRset stays in sight after its bundle: propagation and TTL.
const SET: u64 = 300 + 3600;
/// The same of signatures over the zone: refresh, propagation, max-zone-ttl.
const SIGNATURES: u64 = 9 * DAY + 300 + DAY;
/// The same of the DS RRset.
const DS: u64 = 3600 + DAY;

fn start() -> Timestamp {
    Timestamp::parse_stamp("20270101000000").expect("a stamp")
}

/// 200 days with bundles every 9 days and at each change. ZSK 2 rolls to ZSK 3 at day 90, KSK 1 to KSK 4 by double
/// signature at day 150; nothing comes a second earlier or later than it must.
#[derive(Clone)]
struct World {
    zsk3_publish: Timestamp,
    zsk2_inactive: Timestamp,
    zsk3_activate: Timestamp,
    zsk2_delete: Timestamp,
    ksk4_publish: Timestamp,
    ksk4_sign: Timestamp,
    ds_change: Timestamp,
    ksk1_stop: Timestamp,
    ksk1_delete: Timestamp,
    /// A key more, in the set in these times.
    more: Option<(Dnskey, Timestamp, Timestamp)>,
    edit: fn(&mut Vec<Bundle>, &SkrBuilder),
    signing: Option<SigningModel>,
    parent: Option<ParentModel>,
}

fn roll() -> Timestamp {
    start().plus(90 * DAY)
}

impl World {
    fn good() -> Self {
        let ksk = start().plus(150 * DAY);
        let ds_change = ksk.plus(SET);
        Self {
            zsk3_publish: roll().minus(SET),
            zsk2_inactive: roll(),
            zsk3_activate: roll(),
            zsk2_delete: roll().plus(SIGNATURES),
            ksk4_publish: ksk,
            ksk4_sign: ksk,
            ds_change,
            ksk1_stop: ds_change.plus(DS),
            ksk1_delete: ds_change.plus(DS),
            more: None,
            edit: |_, _| {},
            signing: None,
            parent: None,
        }
    }

    fn prove(&self) -> ProofReport {
        self.prove_since(Timestamp::EPOCH)
    }

    fn prove_since(&self, from: Timestamp) -> ProofReport {
        let end = start().plus(200 * DAY);
        let (zero, never) = (Timestamp::EPOCH, Timestamp::MAX);
        let mut builder = SkrBuilder::new("example.", start())
            .ksk_during(TestKey::ksk(1), (zero, self.ksk1_delete), (zero, self.ksk1_stop))
            .ksk_during(TestKey::ksk(4), (self.ksk4_publish, never), (self.ksk4_sign, never))
            .zsk_during(TestKey::zsk(2).dnskey, zero, self.zsk2_delete)
            .zsk_during(TestKey::zsk(3).dnskey, self.zsk3_publish, never);
        let mut times: Vec<Timestamp> = (0..=22).map(|i| start().plus(i * 9 * DAY)).collect();
        times.extend([self.zsk3_publish, self.zsk2_delete, self.ksk4_publish, self.ksk4_sign]);
        times.extend([self.ksk1_stop, self.ksk1_delete]);
        if let Some((key, from, to)) = &self.more {
            builder = builder.zsk_during(key.clone(), *from, *to);
            times.extend([*from, *to]);
        }
        times.retain(|t| start() <= *t && *t < end);
        times.sort_unstable();
        times.dedup();
        let mut bundles: Vec<Bundle> = times.into_iter().map(|t| builder.bundle(t)).collect();
        (self.edit)(&mut bundles, &builder);
        let ds = |key: TestKey| vec![TrustAnchor::Dnskey(key.dnskey)];
        let step = |from, key| DsPeriod { from, ds: ds(key), ttl: 86_400 };
        let timeline =
            ParentModel::Timeline(vec![step(zero, TestKey::ksk(1)), step(self.ds_change, TestKey::ksk(4))]);
        let zsk =
            |seed, activate, inactive| SigningPeriod { key: TestKey::zsk(seed).dnskey, activate, inactive };
        let signing = SigningModel::Known(vec![
            zsk(2, start(), Some(self.zsk2_inactive)),
            zsk(3, self.zsk3_activate, None),
        ]);
        prove(&ProofInput {
            zone: &Name::parse("example.").expect("a name"),
            bundles: &bundles.iter().collect::<Vec<_>>(),
            parent: self.parent.clone().unwrap_or(timeline),
            signing: self.signing.clone().unwrap_or(signing),
            delays: Delays::from(&Policy::with_defaults("default")),
            from,
        })
    }
}

/// The first finding of that ID, and that nothing of another kind comes before.
fn assert_planted(name: &str, world: &World, id: CheckId, at: Timestamp) {
    let report = world.prove();
    let first = report.findings.iter().find(|f| f.fault.kind() != FaultKind::Advice);
    let first = first.unwrap_or_else(|| panic!("{name}: nothing found"));
    let text = report.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!((first.fault.id(), first.at.iso()), (id, at.iso()), "{name}:\n{text}");
    assert!(first.rejects() && !report.is_good(), "{name}");
}

fn assert_good(name: &str, world: &World) {
    let report = world.prove();
    let bad: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(bad.is_empty() && report.is_good(), "{name}: {bad:#?}");
    assert_eq!(report.proved_until(), Some(report.to), "{name}");
}

#[test]
fn a_tight_schedule_is_good() {
    assert_good("by key files", &World::good());
    assert_good("by derived times", &World { signing: Some(SigningModel::Derived), ..World::good() });
}

type Change = fn(&mut World);

/// Key with the tag of `like` and of its algorithm.
fn twin(like: &Dnskey, flags: u16) -> Dnskey {
    let mut key = Dnskey { flags, ..like.clone() };
    key.public_key[0] ^= 0x55;
    let fits = |key: &Dnskey| key.tag() == like.tag() && key != like;
    for word in 0..=u16::MAX {
        key.public_key[2..4].copy_from_slice(&word.to_be_bytes());
        if fits(&key) {
            return key;
        }
    }
    panic!("no twin of {}", like.tag());
}

/// Index of the bundle that begins at day 54.
fn middle(bundles: &[Bundle]) -> usize {
    bundles.iter().position(|b| b.inception == start().plus(54 * DAY)).expect("a bundle at day 54")
}

fn at_day(day: u64) -> Timestamp {
    start().plus(day * DAY)
}

/// Takes the DNSKEY signatures out and makes others, with another validity.
fn sign_again(bundle: &mut Bundle, from: Timestamp, to: Timestamp) {
    bundle.signatures = bundle.rrsets().map(|rrset| TestKey::ksk(1).sign(rrset, from, to)).collect();
}

#[test]
fn each_planted_fault_is_found_at_its_second() {
    let ksk = start().plus(150 * DAY);
    let gone = ksk.plus(SET + DS);
    let cases: &[(&str, CheckId, Timestamp, Change)] = &[
        ("a ZSK leaves a second too early", CheckId::ProveEarlyRemoval, roll().plus(SIGNATURES - 1), |w| {
            w.zsk2_delete = w.zsk2_delete.minus(1);
        }),
        ("a ZSK leaves while it signs, as in .nz 2023", CheckId::ProveEarlyRemoval, at_day(81), |w| {
            w.zsk3_publish = at_day(60);
            w.zsk2_delete = at_day(81);
        }),
        ("a ZSK comes a second too late", CheckId::ProveLatePublication, roll(), |w| {
            w.zsk3_publish = w.zsk3_publish.plus(1);
        }),
        ("a ZSK signs a second too early", CheckId::ProveLatePublication, roll().minus(1), |w| {
            w.zsk3_activate = w.zsk3_activate.minus(1);
        }),
        ("a ZSK is published after it began to sign", CheckId::ProveLatePublication, roll(), |w| {
            w.zsk3_publish = roll().plus(500);
        }),
        ("a TTL a second too large before the roll", CheckId::ProveLatePublication, roll(), |w| {
            w.edit = |bundles, builder| {
                let builder = builder.clone().ttl(3601);
                let before = bundles.iter().position(|b| b.inception == roll().minus(SET)).expect("a bundle");
                bundles[before - 1] = builder.bundle(bundles[before - 1].inception);
            };
        }),
        ("a ZSK that nobody published signs", CheckId::ProveUnpublished, at_day(33), |w| {
            let zsk =
                |seed, activate| SigningPeriod { key: TestKey::zsk(seed).dnskey, activate, inactive: None };
            w.signing = Some(SigningModel::Known(vec![zsk(2, start()), zsk(9, at_day(33))]));
        }),
        ("no ZSK signs for a minute", CheckId::ProveNoZsk, roll(), |w| w.zsk3_activate = roll().plus(60)),
        ("without key files, no ZSK can sign for a second", CheckId::ProveNoZsk, roll().minus(1), |w| {
            w.signing = Some(SigningModel::Derived);
            w.zsk2_delete = w.zsk2_delete.minus(1);
        }),
        ("a gap of one second", CheckId::ProveExpired, at_day(63).minus(1), |w| {
            w.edit = |bundles, _| {
                let at = middle(bundles);
                sign_again(&mut bundles[at], at_day(54), at_day(63).minus(2));
            };
        }),
        ("a bundle is missing", CheckId::ProveExpired, at_day(45 + 14).plus(1), |w| {
            w.edit = |bundles, _| {
                let at = middle(bundles);
                bundles.remove(at);
            };
        }),
        ("signatures begin a second after the bundle", CheckId::ProveNotYet, at_day(54), |w| {
            w.edit = |bundles, _| {
                let at = middle(bundles);
                sign_again(&mut bundles[at], at_day(54).plus(1), at_day(70));
            };
        }),
        ("a bundle without signatures", CheckId::ProveUnsigned, at_day(54), |w| {
            w.edit = |bundles, _| {
                let at = middle(bundles);
                bundles[at].signatures.clear();
            };
        }),
        ("a ZSK with the tag of another, as in .ru 2024", CheckId::ProveTagClash, at_day(30), |w| {
            w.more = Some((twin(&TestKey::zsk(2).dnskey, FLAG_ZONE), at_day(30), at_day(40)));
        }),
        ("a ZSK with the tag of the KSK", CheckId::ProveTagClash, at_day(30), |w| {
            w.more = Some((twin(&TestKey::ksk(1).dnskey, FLAG_ZONE), at_day(30), at_day(40)));
        }),
        (
            "the tag of a key that has just left",
            CheckId::ProveTagClash,
            roll().plus(SIGNATURES + SET - 1),
            |w| {
                let from = w.zsk2_delete.plus(SET - 1);
                w.more = Some((twin(&TestKey::zsk(2).dnskey, FLAG_ZONE), from, at_day(120)));
            },
        ),
        ("a CDS for a KSK that is not there", CheckId::ProveCds, at_day(54), |w| {
            w.edit = |bundles, _| {
                let at = middle(bundles);
                let cds = TestKey::ksk(9).dnskey.ds_rdata(&Name::parse("example.").expect("a name"), 2);
                let rdatas = &mut bundles[at].cds.as_mut().expect("CDS").rdatas;
                rdatas.push(cds.expect("a digest").into());
            };
        }),
        ("CDS only for a KSK that does not sign", CheckId::ProveCds, ksk, |w| {
            w.ksk4_sign = at_day(152);
            w.ds_change = at_day(154);
            (w.ksk1_stop, w.ksk1_delete) = (at_day(154).plus(DS), at_day(154).plus(DS));
            w.edit = |bundles, _| {
                let first = bundles.iter_mut().find(|b| b.inception == at_day(150)).expect("a bundle");
                let cdnskey = first.cdnskey.as_mut().expect("CDNSKEY");
                cdnskey.rdatas = vec![TestKey::ksk(4).dnskey.to_rdata().into()];
                first.cds = None;
            };
        }),
        (
            "the old KSK leaves a second before its DS leaves the caches",
            CheckId::ProveKskRemoved,
            gone.minus(1),
            |w| {
                (w.ksk1_stop, w.ksk1_delete) = (w.ksk1_stop.minus(1), w.ksk1_delete.minus(1));
            },
        ),
        ("the old KSK leaves, and the parent did nothing", CheckId::ProveKskRemoved, gone, |w| {
            w.parent = Some(ParentModel::Timeline(vec![DsPeriod {
                from: Timestamp::EPOCH,
                ds: vec![TrustAnchor::Dnskey(TestKey::ksk(1).dnskey)],
                ttl: 86_400,
            }]));
        }),
        (
            "the new KSK signs alone a second before its DS is everywhere",
            CheckId::ProveKskBeforeDs,
            gone.minus(1),
            |w| {
                w.ksk1_stop = w.ksk1_stop.minus(1);
            },
        ),
        (
            "the DS changes a second before the new KSK is everywhere",
            CheckId::ProveKskLate,
            ksk.plus(SET - 1),
            |w| {
                w.ds_change = w.ds_change.minus(1);
            },
        ),
        ("the DS names another key", CheckId::ProveKskUnknown, start(), |w| {
            w.parent = Some(ParentModel::FollowsCds(vec![TrustAnchor::Dnskey(TestKey::ksk(9).dnskey)]));
        }),
        ("the KSK in the DS is revoked", CheckId::ProveRevoked, at_day(54), |w| {
            w.edit = |bundles, _| {
                let at = middle(bundles);
                let revoked = Dnskey { flags: FLAG_ZONE | FLAG_SEP | FLAG_REVOKE, ..TestKey::ksk(1).dnskey };
                bundles[at].dnskey.rdatas[0] = revoked.to_rdata().into();
                for signature in &mut bundles[at].signatures {
                    signature.key_tag = revoked.tag();
                }
            };
        }),
        ("the ZSK that signs is revoked", CheckId::ProveRevoked, at_day(54), |w| {
            w.edit = |bundles, _| {
                let at = middle(bundles);
                let zsk = TestKey::zsk(2).dnskey;
                let rdatas = &mut bundles[at].dnskey.rdatas;
                let place = rdatas.iter().position(|r| **r == *zsk.to_rdata()).expect("ZSK 2");
                rdatas[place] = Dnskey { flags: FLAG_ZONE | FLAG_REVOKE, ..zsk }.to_rdata().into();
            };
        }),
        (
            "an algorithm in the DS that does not sign the DNSKEY RRset",
            CheckId::ProveAlgorithm,
            at_day(20),
            |w| {
                let p256 = Dnskey { algorithm: Algorithm::ECDSAP256SHA256, ..TestKey::ksk(1).dnskey };
                let both = vec![TrustAnchor::Dnskey(TestKey::ksk(1).dnskey), TrustAnchor::Dnskey(p256)];
                let one = vec![TrustAnchor::Dnskey(TestKey::ksk(1).dnskey)];
                w.parent = Some(ParentModel::Timeline(vec![
                    DsPeriod { from: start(), ds: one, ttl: 86_400 },
                    DsPeriod { from: at_day(20), ds: both, ttl: 86_400 },
                ]));
            },
        ),
    ];
    for (name, id, at, change) in cases {
        let mut world = World::good();
        change(&mut world);
        assert_planted(name, &world, *id, *at);
    }
    assert!(cases.len() >= 15);
}

#[test]
fn an_algorithm_in_the_ds_that_does_not_sign_the_zone() {
    let p256 = TestKey::generate(FLAG_ZONE | FLAG_SEP, Algorithm::ECDSAP256SHA256, 256);
    let builder = SkrBuilder::new("example.", start()).ksk(TestKey::ksk(1)).ksk(p256.clone()).bundles(10);
    let skr = builder.build();
    let anchors = |keys: &[&TestKey]| keys.iter().map(|k| TrustAnchor::Dnskey(k.dnskey.clone())).collect();
    let period = SigningPeriod { key: TestKey::zsk(2).dnskey, activate: start(), inactive: None };
    let report = prove(&ProofInput {
        zone: &skr.zone,
        bundles: &skr.bundles.iter().collect::<Vec<_>>(),
        parent: ParentModel::Timeline(vec![
            DsPeriod { from: start(), ds: anchors(&[&TestKey::ksk(1)]), ttl: 60 },
            DsPeriod { from: at_day(20), ds: anchors(&[&TestKey::ksk(1), &p256]), ttl: 60 },
        ]),
        signing: SigningModel::Known(vec![period]),
        delays: Delays::from(&Policy::with_defaults("default")),
        from: Timestamp::EPOCH,
    });
    let found: Vec<_> = report.findings.iter().map(|f| (f.fault.id(), f.at, f.rejects())).collect();
    assert_eq!(
        found,
        [(CheckId::ProveAlgorithmZone, start(), false), (CheckId::ProveAlgorithm, at_day(20), true)]
    );
}

#[test]
fn kind_101_pinned_ksk_of_an_algorithm_that_is_not_in_force_is_no_ds_of_the_parent() {
    let p256 = |flags| TestKey::generate(flags, Algorithm::ECDSAP256SHA256, 256);
    let (ksk, zsk) = (p256(FLAG_ZONE | FLAG_SEP), p256(FLAG_ZONE));
    let begin = at_day(20);
    let alone = |at| SkrBuilder::new("example.", at).zsk(TestKey::zsk(2).dnskey).bundles(3).without_cds();
    let both = |at| alone(at).ksk(TestKey::ksk(1)).ksk(ksk.clone()).zsk(zsk.dnskey.clone());
    let old = TrustAnchor::Dnskey(TestKey::ksk(1).dnskey);
    let of = |key: &TestKey| TrustAnchor::Dnskey(key.dnskey.clone());
    let ds = |key: &TestKey| {
        TrustAnchor::Ds(key.dnskey.ds_rdata(&Name::parse("example.").expect("a name"), 2).expect("a digest"))
    };
    let policy = Policy::with_defaults("default");
    for (what, before, skr, anchors, found) in [
        (
            "the next algorithm is pinned as DNSKEY",
            Some(alone(start())),
            both(begin),
            vec![old.clone(), of(&ksk)],
            false,
        ),
        (
            "the next algorithm is pinned as DS",
            Some(alone(start())),
            both(begin),
            vec![old.clone(), ds(&ksk)],
            false,
        ),
        (
            "both are in force, and one leaves",
            Some(both(start())),
            alone(begin),
            vec![old.clone(), of(&ksk)],
            true,
        ),
        ("nothing was in force, and both are pinned", None, alone(start()), vec![old, of(&ksk)], true),
        ("only the next one is pinned", Some(alone(start())), both(begin), vec![of(&ksk)], true),
    ] {
        let before = before.map(|before| before.build().bundles).unwrap_or_default();
        let bundles = skr.build().bundles;
        let from = begin.minus(60);
        let zone = Name::parse("example.").expect("a name");
        let report = prove_skr(
            &zone,
            (&before, &bundles),
            ParentModel::assumed(&anchors, &before, from),
            None,
            &policy,
            from,
        );
        let is_found = report.findings.iter().any(|f| f.fault.id() == CheckId::ProveAlgorithm);
        assert_eq!(is_found, found, "{what}: {:#?}", report.findings);
    }
}

#[test]
fn ttl_is_compared_with_policy_and_signatures() {
    let mut world = World::good();
    world.edit = |bundles, _| {
        let at = middle(bundles);
        bundles[at].dnskey.ttl = 7200;
    };
    let report = world.prove();
    let found: Vec<_> = report.findings.iter().map(|f| (f.fault.id(), f.at)).collect();
    assert_eq!(found, [(CheckId::ProveTtl, at_day(54)); 2], "{:#?}", report.findings);
    assert!(report.is_good(), "advice only");
}

#[test]
fn what_a_newer_skr_can_heal_does_not_reject() {
    // Day 198 is the last bundle, day 212 the end.
    let mut world = World::good();
    let zsk = |seed, activate, inactive| SigningPeriod { key: TestKey::zsk(seed).dnskey, activate, inactive };
    world.signing = Some(SigningModel::Known(vec![
        zsk(2, start(), Some(roll())),
        zsk(3, roll(), Some(at_day(205))),
        zsk(7, at_day(205), None),
    ]));
    let report = world.prove();
    let found: Vec<_> = report.findings.iter().map(|f| (f.fault.id(), f.at, f.rejects())).collect();
    assert_eq!(found, [(CheckId::ProveUnpublished, at_day(205), false)]);
    assert_eq!(report.proved_until(), Some(at_day(205).minus(1)));
    assert!(report.findings[0].what().ends_with("; a newer SKR must be in force by then"));
}

#[test]
fn zsks_that_end_with_the_last_bundle_are_told_when_it_has_begun() {
    let mut world = World::good();
    let zsk = |seed, activate, inactive| SigningPeriod { key: TestKey::zsk(seed).dnskey, activate, inactive };
    world.signing =
        Some(SigningModel::Known(vec![zsk(2, start(), Some(roll())), zsk(3, roll(), Some(at_day(205)))]));
    for (from, told) in [(start(), 0), (at_day(198).minus(1), 0), (at_day(198), 1)] {
        let report = world.prove_since(from);
        let found: Vec<_> = report.findings.iter().map(|f| (f.fault.id(), f.at)).collect();
        assert_eq!(found, [(CheckId::ProveNoZsk, at_day(205))]);
        let findings = report.as_findings(CheckId::SkrProve, ProofWeight::Rejects);
        assert_eq!(findings.len(), told, "from {from}: {findings:?}");
        assert!(findings.iter().all(|f| !f.rejects()));
    }
}

#[test]
fn only_what_is_asked_for_is_looked_at() {
    let mut world = World::good();
    world.zsk3_publish = roll().plus(500);
    let late = |from| {
        let report = world.prove_from(from);
        report.first_break().map(|f| f.at)
    };
    assert_eq!(late(at_day(10)), Some(roll()));
    assert_eq!(late(roll().plus(10)), Some(roll().plus(10)));
    assert_eq!(late(roll().plus(500 + SET - 1)), Some(roll().plus(500 + SET - 1)));
    assert_eq!(late(roll().plus(500 + SET)), None);
    let over = world.prove_from(at_day(300));
    assert_eq!(over.findings.iter().map(|f| f.fault.id()).collect::<Vec<_>>(), [CheckId::ProveLimits]);
    assert!(!over.is_good());
}

impl World {
    fn prove_from(&self, from: Timestamp) -> ProofReport {
        let (zero, never) = (Timestamp::EPOCH, Timestamp::MAX);
        let builder = SkrBuilder::new("example.", start())
            .zsk_during(TestKey::zsk(2).dnskey, zero, never)
            .zsk_during(TestKey::zsk(3).dnskey, self.zsk3_publish, never);
        let mut times: Vec<Timestamp> = (0..=22).map(|i| start().plus(i * 9 * DAY)).collect();
        times.push(self.zsk3_publish);
        times.sort_unstable();
        let bundles: Vec<Bundle> = times.into_iter().map(|t| builder.bundle(t)).collect();
        let zsk = |seed, activate| SigningPeriod { key: TestKey::zsk(seed).dnskey, activate, inactive: None };
        prove(&ProofInput {
            zone: &Name::parse("example.").expect("a name"),
            bundles: &bundles.iter().collect::<Vec<_>>(),
            parent: ParentModel::FollowsCds(builder.anchors()),
            signing: SigningModel::Known(vec![zsk(2, start()), zsk(3, self.zsk3_activate)]),
            delays: Delays::from(&Policy::with_defaults("default")),
            from,
        })
    }
}

#[test]
fn a_parent_that_follows_cds_has_a_window() {
    // KSK 4 is asked for from day 150 on (with KSK 1), alone from the stop of KSK 1 on.
    let mut world = World::good();
    let follows = || Some(ParentModel::FollowsCds(vec![TrustAnchor::Dnskey(TestKey::ksk(1).dnskey)]));
    world.parent = follows();
    world.ksk1_delete = at_day(180);
    world.ksk1_stop = at_day(170);
    let report = world.prove();
    assert!(report.is_good(), "{:#?}", report.findings);
    let changes: Vec<_> = report.ds_changes.iter().map(|c| (c.asked, c.earliest, c.latest)).collect();
    // Both: no hurry to begin, but the DS of KSK 1 alone must be gone when KSK 4 signs alone.
    assert_eq!(changes, [(at_day(150), at_day(150), Some(at_day(170).minus(DS)))]);

    // BIND's way: the new KSK is published unsigned, CDS change and both sign at once, the old one leaves after a day and 2 h.
    let mut world = World::good();
    world.parent = follows();
    (world.ksk4_publish, world.ksk4_sign) = (at_day(150).minus(7500), at_day(150));
    (world.ksk1_stop, world.ksk1_delete) = (at_day(150), at_day(151).plus(7200));
    world.edit = |bundles, builder| {
        let at = bundles.iter().position(|b| b.inception == at_day(150)).expect("a bundle");
        builder.resign(&mut bundles[at], &[&TestKey::ksk(1), &TestKey::ksk(4)]);
        // The refresh step of day 153 is after the removal.
    };
    let report = world.prove();
    let found: Vec<_> = report.findings.iter().map(|f| (f.fault.id(), f.at, f.rejects())).collect();
    assert_eq!(found, [(CheckId::ProveDsEarly, at_day(150), false)]);
    let change = &report.ds_changes[0];
    // A DS change that waits for the caches is 5 minutes too late for BIND's removal: 3900 s + 90 000 s > 93 600 s.
    assert_eq!((change.earliest, change.latest), (at_day(150).plus(SET), Some(at_day(150).plus(3600))));
    let what = report.findings[0].what();
    assert!(what.ends_with("let the old key stay 300 s longer"), "{what}");

    // A removal that even a parent which acts at once does not survive.
    world.ksk1_delete = at_day(150).plus(DS - 1);
    let report = world.prove();
    let found: Vec<_> = report.findings.iter().map(|f| (f.fault.id(), f.at, f.rejects())).collect();
    let removed = at_day(150).plus(DS - 1);
    assert_eq!(
        found,
        [(CheckId::ProveDsEarly, at_day(150), false), (CheckId::ProveKskRemoved, removed, true)]
    );
}

#[test]
fn no_bundles() {
    let report = prove(&ProofInput {
        zone: &Name::root(),
        bundles: &[],
        parent: ParentModel::FollowsCds(Vec::new()),
        signing: SigningModel::Derived,
        delays: Delays::from(&Policy::with_defaults("default")),
        from: Timestamp::EPOCH,
    });
    assert_eq!(report.findings.iter().map(|f| f.fault.id()).collect::<Vec<_>>(), [CheckId::ProveLimits]);
    assert!(!report.is_good());
}

#[test]
fn each_id_is_listed_once() {
    for (i, check) in CHECKS.iter().enumerate() {
        assert!(check.id.as_str().starts_with("PROVE-"), "{}", check.id);
        assert!(CHECKS[..i].iter().all(|c| c.id != check.id), "{}", check.id);
    }
}
