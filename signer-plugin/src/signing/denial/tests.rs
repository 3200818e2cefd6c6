//! The chain of random zones, against a model that is written from the text of RFC 4034, 5155 and 7129.

mod versions;

use std::collections::{BTreeMap, BTreeSet};

use keystore::dns::nsec3::NameHash;
use keystore::dns::{Name, Rtype, name::wire_len};
use proptest::prelude::*;

use super::*;
use crate::signing::{CheckError, SignedZone, SigningError, SigningPolicy};
use crate::testing::{NOW, POLICY, name, signed_by, zone};
use crate::zone::{NodeId, Records};

const HEAD: &str = "@ SOA ns admin 7 1h 5m 1w 10m\n@ NS ns.other.\n";

fn nsec3(opt_out: bool) -> Nsec3 {
    Nsec3::new(0, opt_out)
}

fn policy(denial: Denial) -> SigningPolicy {
    SigningPolicy { denial, ..POLICY }
}

/// The zone of [`HEAD`] and `text`, signed.
fn sign(text: &str, denial: Denial) -> Result<SignedZone, SigningError> {
    signed_by(zone("example", &format!("{HEAD}{text}")).expect("a zone"), &policy(denial))
}

/// What each member has: its types. From the records as they are served.
fn chain_of(signed: &SignedZone) -> BTreeMap<Name, BTreeSet<Rtype>> {
    let mut members = BTreeMap::new();
    for node in signed.members_from(0) {
        let rdata = Records(signed.denial(node).data).next().expect("a record");
        let mut bitmap = match signed.chain() {
            Chain::Nothing | Chain::Nsec => &rdata[wire_len(rdata).expect("a name")..],
            Chain::Nsec3(chain) => &rdata[5 + chain.nsec3().salt.len() + 1 + 20..],
        };
        let mut types = BTreeSet::new();
        while let [window, octets, rest @ ..] = bitmap {
            let (bits, rest) = rest.split_at(usize::from(*octets));
            assert!(bits.last().is_some_and(|last| *last != 0), "octets without a bit at the end");
            for (index, octet) in bits.iter().enumerate() {
                for bit in (0..8).filter(|bit| octet & (0x80 >> bit) != 0) {
                    types.insert(Rtype(u16::from(*window) << 8 | (index * 8 + bit) as u16));
                }
            }
            bitmap = rest;
        }
        let owner = Name::from_wire(signed.zone().owner(node)).expect("a name").to_lowercase();
        assert!(members.insert(owner, types).is_none(), "one record a name");
    }
    members
}

fn described(signed: &SignedZone) -> Vec<String> {
    let types = |types: BTreeSet<Rtype>| types.iter().map(Rtype::to_string).collect::<Vec<_>>().join(" ");
    chain_of(signed)
        .into_iter()
        .map(|(owner, t)| format!("{owner} {}", types(t)).trim_end().to_owned())
        .collect()
}

const CASES: &str = "\
a A 192.0.2.1
x.ent TXT t
*.wild A 192.0.2.2
secure NS ns.other.
secure DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF
plain NS ns.plain
plain A 192.0.2.3
ns.plain A 192.0.2.4
cut.deep.down NS ns.other.
cut.mixed NS ns.other.
y.mixed A 192.0.2.5
";

#[test]
fn nsec3_chain_has_empty_non_terminals_and_all_delegations() {
    let signed = sign(CASES, Denial::Nsec3(nsec3(false))).expect("signs");
    assert_eq!(
        described(&signed),
        [
            "example. NS SOA RRSIG DNSKEY NSEC3PARAM CDS CDNSKEY",
            "a.example. A RRSIG",
            "down.example.",
            "deep.down.example.",
            "cut.deep.down.example. NS",
            "ent.example.",
            "x.ent.example. TXT RRSIG",
            "mixed.example.",
            "cut.mixed.example. NS",
            "y.mixed.example. A RRSIG",
            "plain.example. NS",
            "secure.example. NS DS RRSIG",
            "wild.example.",
            "*.wild.example. A RRSIG",
        ]
    );
}

#[test]
fn opt_out_leaves_out_unsigned_delegations_and_what_only_they_need() {
    let signed = sign(CASES, Denial::Nsec3(nsec3(true))).expect("signs");
    assert_eq!(
        described(&signed),
        [
            "example. NS SOA RRSIG DNSKEY NSEC3PARAM CDS CDNSKEY",
            "a.example. A RRSIG",
            "ent.example.",
            "x.ent.example. TXT RRSIG",
            "mixed.example.",
            "y.mixed.example. A RRSIG",
            "secure.example. NS DS RRSIG",
            "wild.example.",
            "*.wild.example. A RRSIG",
        ]
    );
    // Beside a wildcard an empty non-terminal stays, so that names below it can be denied.
    let signed = sign("* TXT t\ncut.ent NS ns.other.\n", Denial::Nsec3(nsec3(true))).expect("signs");
    assert_eq!(
        described(&signed)[1..],
        ["*.example. TXT RRSIG", "ent.example."],
        "without its record {} could not be denied",
        "x.ent.example."
    );
}

#[test]
fn row_44_parameters_are_at_the_apex_and_in_every_record_with_the_flag_in_records_only() {
    let params = Nsec3 { salt: [0xab, 0xcd].into(), ..Nsec3::new(3, true) };
    let signed = sign(CASES, Denial::Nsec3(params)).expect("signs");
    let param = signed.find(NodeId::APEX, Rtype::NSEC3PARAM).expect("NSEC3PARAM");
    assert_eq!((param.ttl, param.data), (0, &b"\0\x07\x01\0\0\x03\x02\xab\xcd"[..]));
    assert!(!param.signatures.is_empty());
    for node in signed.members_from(0) {
        assert_eq!(signed.denial(node).data[2..9], *b"\x01\x01\0\x03\x02\xab\xcd");
        assert_eq!(signed.denial(node).ttl, 600);
    }
    signed.self_check(NOW, usize::MAX).expect("all signatures verify");
}

#[test]
fn row_46_ttl_of_nsec3_is_the_lesser_of_soa_ttl_and_minimum() {
    for (soa, ttl) in [("@ 60 SOA ns admin 7 1h 5m 1w 10m", 60), ("@ 1d SOA ns admin 7 1h 5m 1w 5", 5)] {
        let zone = zone("example", &format!("{soa}\n@ NS ns.other.\n")).expect("a zone");
        let signed = signed_by(zone, &policy(Denial::Nsec3(nsec3(false)))).expect("signs");
        assert_eq!(signed.members_from(0).map(|node| signed.denial(node).ttl).collect::<Vec<_>>(), [ttl]);
    }
}

#[test]
fn row_45_a_hash_that_two_names_have_refuses_the_version_and_names_both() {
    let truncated = |bits| Denial::Nsec3(Nsec3 { hasher: Hasher::Truncated(bits), ..nsec3(false) });
    let text: String = (0..40).map(|i| format!("h{i} A 192.0.2.1\n")).collect();
    match sign(&text, truncated(6)) {
        Err(SigningError::HashCollision { first, second }) => {
            assert_ne!(first, second);
            let Denial::Nsec3(nsec3) = truncated(6) else { unreachable!() };
            assert_eq!(nsec3.hash(first.as_wire()), nsec3.hash(second.as_wire()));
        }
        other => panic!("{other:?}"),
    }
    sign(&text, truncated(64)).expect("64 bits suffice for 40 names");
}

#[test]
fn row_47_an_apex_of_more_than_222_octets_cannot_have_nsec3() {
    for (last, fits) in [(28, true), (29, false)] {
        let labels = [63, 63, 63, last].map(|len| "x".repeat(len)).join(".");
        assert_eq!(name(&labels).as_wire().len(), if fits { 222 } else { 223 });
        let signed = |denial| signed_by(zone(&labels, HEAD).expect("a zone"), &policy(denial));
        signed(Denial::Nsec).expect("NSEC has no limit");
        match signed(Denial::Nsec3(nsec3(false))) {
            Ok(signed) if fits => signed.self_check(NOW, usize::MAX).expect("valid"),
            Err(SigningError::ApexTooLong(apex)) if !fits => assert_eq!(apex, name(&labels)),
            other => panic!("{last}: {other:?}"),
        }
    }
}

#[test]
fn data_at_the_owner_of_an_nsec3_record_is_a_name_like_others() {
    let hash = nsec3(false).hash(name("a.example").as_wire());
    let signed = sign(&format!("a A 192.0.2.1\n{hash} TXT t\n"), Denial::Nsec3(nsec3(false))).expect("signs");
    signed.self_check(NOW, usize::MAX).expect("valid");
    assert!(described(&signed).contains(&format!("{hash}.example. TXT RRSIG")));
    let own: Vec<Rtype> = signed
        .records()
        .filter(|r| r.owner[1..].starts_with(hash.to_string().as_bytes()))
        .map(|r| r.rtype)
        .collect();
    assert_eq!(own, [Rtype::TXT, Rtype::RRSIG, Rtype::NSEC3, Rtype::RRSIG]);
}

#[test]
fn the_self_check_sees_a_damaged_nsec3_chain() {
    let mut bad = sign(CASES, Denial::Nsec3(nsec3(false))).expect("signs");
    bad.corrupt_denial();
    let error = bad.self_check(NOW, 0).expect_err("damaged");
    assert!(matches!(error, CheckError::Chain { rtype: Rtype::NSEC3, .. }), "{error}");
}

/// A line of a zone; [`build`] leaves out those that a zone refuses.
fn line() -> impl Strategy<Value = (String, Rtype)> {
    let label = prop::sample::select(vec!["a", "b", "c", "*", "A"]);
    let owner = prop::collection::vec(label, 1..6).prop_map(|labels| labels.join("."));
    let types =
        vec![Rtype::A, Rtype::A, Rtype::TXT, Rtype::NS, Rtype::NS, Rtype::DS, Rtype::DNAME, Rtype::CNAME];
    (owner, prop::sample::select(types))
}

/// The zone of the lines that can stand together, and the types of its names in lower case.
fn build(lines: &[(String, Rtype)]) -> (crate::zone::Zone, BTreeMap<Name, BTreeSet<Rtype>>) {
    let mut text = HEAD.to_owned();
    for (owner, rtype) in lines {
        let data = match *rtype {
            Rtype::A => "192.0.2.1".to_owned(),
            Rtype::TXT => "t".to_owned(),
            Rtype::DS => format!("1 13 2 {}", "AB".repeat(32)),
            _ => "x.other.".to_owned(),
        };
        let more = format!("{text}{owner} {rtype} {data}\n");
        if zone("example", &more).is_ok_and(|zone| zone.warnings().left_out == 0) {
            text = more;
        }
    }
    let zone = zone("example", &text).expect("a zone");
    let mut model: BTreeMap<Name, BTreeSet<Rtype>> = BTreeMap::new();
    for node in zone.node_ids() {
        let types: BTreeSet<Rtype> = zone.rrsets_of(node).map(|id| zone.rrset(id).rtype).collect();
        if !types.is_empty() {
            model.insert(Name::from_wire(zone.owner(node)).expect("a name").to_lowercase(), types);
        }
    }
    (zone, model)
}

/// The members of the chain and their types, by the text of the RFCs.
fn expected(model: &BTreeMap<Name, BTreeSet<Rtype>>, denial: &Denial) -> BTreeMap<Name, BTreeSet<Rtype>> {
    let origin = name("example");
    let has = |owner: &Name, rtype| model.get(owner).is_some_and(|types| types.contains(&rtype));
    let is_cut = |owner: &Name| *owner != origin && has(owner, Rtype::NS);
    let above = |owner: &Name| {
        let origin = origin.clone();
        std::iter::successors(owner.parent(), Name::parent).take_while(move |n| n.is_at_or_below(&origin))
    };
    let mut members = BTreeMap::new();
    for (owner, own) in model {
        if above(owner).any(|name| is_cut(&name)) {
            continue;
        }
        let secure = has(owner, Rtype::DS);
        let mut types = own.clone();
        if is_cut(owner) {
            types.retain(|rtype| matches!(*rtype, Rtype::NS | Rtype::DS));
        }
        if *owner == origin {
            types.extend([Rtype::DNSKEY, Rtype::CDS, Rtype::CDNSKEY]);
        }
        match denial {
            Denial::Nsec => types.extend([Rtype::RRSIG, Rtype::NSEC]),
            Denial::Nsec3(nsec3) if is_cut(owner) && !secure => {
                if nsec3.opt_out {
                    continue;
                }
            }
            Denial::Nsec3(_) => types.extend([Rtype::RRSIG]),
        }
        if *owner == origin && *denial != Denial::Nsec {
            types.insert(Rtype::NSEC3PARAM);
        }
        members.insert(owner.clone(), types);
    }
    let Denial::Nsec3(nsec3) = denial else { return members };
    let mut empty = BTreeSet::new();
    for owner in members.keys() {
        empty.extend(above(owner));
    }
    if nsec3.opt_out {
        // Every name between a delegation and the apex; those beside a wildcard stay.
        let exists = |asked: &Name| model.keys().any(|owner| owner.is_at_or_below(asked));
        let hidden = |owner: &Name| above(owner).any(|name| is_cut(&name));
        let mut more = BTreeSet::new();
        for ent in model.keys().filter(|owner| !hidden(owner)).flat_map(&above).filter(|ent| *ent != origin) {
            let parent = ent.parent().expect("below the apex");
            let wildcard = Name::from_wire(&[b"\x01*", parent.as_wire()].concat()).expect("short");
            if ent != wildcard && exists(&wildcard) && !hidden(&wildcard) {
                more.extend(above(&ent));
                more.insert(ent);
            }
        }
        empty.extend(more);
    }
    for ent in empty {
        // A delegation without DS is no empty non-terminal, and nothing below one is looked at.
        if !is_cut(&ent) {
            members.entry(ent).or_default();
        }
    }
    members
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn row_45_chains_of_random_zones_are_one_ring_of_the_members_with_the_types_served(
        lines in prop::collection::vec(line(), 0..16),
        mode in 0u8..3,
    ) {
        let denial = match mode {
            0 => Denial::Nsec,
            mode => Denial::Nsec3(nsec3(mode == 2)),
        };
        let (zone, model) = build(&lines);
        let signed = signed_by(zone, &policy(denial.clone())).expect("signs");
        signed.self_check(NOW, 0).expect("sound");
        prop_assert_eq!(chain_of(&signed), expected(&model, &denial));
        // One ring: from the first record on each is met once.
        let links: Vec<NodeId> = signed.members_from(0).collect();
        let next = |node: NodeId| {
            let rdata = Records(signed.denial(node).data).next().expect("a record");
            match signed.chain() {
                Chain::Nothing | Chain::Nsec => {
                    let len = wire_len(rdata).expect("a name");
                    signed.member_up_to(signed.zone().lookup(&rdata[..len]).expect("it exists"))
                }
                Chain::Nsec3(chain) => {
                    match signed.find_hash(chain, NameHash(rdata[6..26].try_into().expect("20 octets"))) {
                        HashPosition::Matches(node) => node,
                        HashPosition::Covered(node) => panic!("{node:?} leads to no member"),
                    }
                }
            }
        };
        let (mut met, mut at) = (BTreeSet::new(), links[0]);
        while met.insert(at.position()) {
            at = next(at);
        }
        prop_assert_eq!((met.len(), at), (links.len(), links[0]));
    }
}
