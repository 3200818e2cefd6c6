//! A naive model of the lookup over plain lists, from the text of the RFCs, and random zones to hold the engine against it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::signing::{Denial, Nsec3, SigningPolicy};
use crate::testing::signed_by;

const ALIAS_LIMIT: usize = 17;

/// Owner → types; for CNAME and DNAME the target.
#[derive(Debug, Clone, Default)]
struct Model {
    types: BTreeMap<Name, BTreeSet<Rtype>>,
    targets: BTreeMap<Name, Name>,
}

#[derive(Debug, PartialEq, Eq)]
struct Expected {
    rcode: u16,
    aa: bool,
    /// (owner, type) of the answer section, RRSIGs left out.
    answer: BTreeSet<(Name, Rtype)>,
    /// Types in the authority section, DNSSEC left out, with owner.
    authority: BTreeSet<(Name, Rtype)>,
}

impl Model {
    fn origin() -> Name {
        name("example")
    }

    fn exists(&self, asked: &Name) -> bool {
        self.types.keys().any(|owner| owner.is_at_or_below(asked))
    }

    fn cut(&self, asked: &Name) -> Option<Name> {
        // Topmost NS between apex (without it) and the name.
        let mut found = None;
        let mut at = asked.clone();
        while at != Self::origin() {
            if self.types.get(&at).is_some_and(|types| types.contains(&Rtype::NS)) {
                found = Some(at.clone());
            }
            at = at.parent()?;
        }
        found
    }

    /// Takes out the names that a DNAME hides (RFC 6672 section 2.4), as long as no delegation above hides the DNAME.
    fn leave_out_what_dnames_hide(&mut self) {
        let has = |name: &Name, rtype| self.types.get(name).is_some_and(|types| types.contains(&rtype));
        let hidden = |owner: &Name| {
            let ancestors = std::iter::successors(owner.parent(), Name::parent);
            let mut above: Vec<Name> =
                ancestors.take_while(|name| name.is_at_or_below(&Self::origin())).collect();
            above.reverse();
            let cut = |name: &Name| *name != Self::origin() && has(name, Rtype::NS);
            let topmost = above.iter().find(|name| cut(name) || has(name, Rtype::DNAME));
            topmost.is_some_and(|name| !cut(name))
        };
        let hidden: Vec<Name> = self.types.keys().filter(|owner| hidden(owner)).cloned().collect();
        for owner in hidden {
            self.types.remove(&owner);
        }
    }

    fn ask(&self, asked: &Name, rtype: Rtype) -> Expected {
        let mut expected =
            Expected { rcode: 0, aa: true, answer: BTreeSet::new(), authority: BTreeSet::new() };
        let mut current = asked.clone();
        let negative = (Self::origin(), Rtype::SOA);
        for _ in 0..ALIAS_LIMIT {
            if !current.is_at_or_below(&Self::origin()) {
                return expected;
            }
            if let Some(cut) = self.cut(&current)
                && !(cut == current && rtype == Rtype::DS)
            {
                expected.aa = !expected.answer.is_empty();
                expected.authority.insert((cut, Rtype::NS));
                return expected;
            }
            let node = if self.exists(&current) {
                current.clone()
            } else {
                let mut encloser = current.parent().expect("below the apex");
                while !self.exists(&encloser) {
                    encloser = encloser.parent().expect("below the apex");
                }
                if self.types.get(&encloser).is_some_and(|types| types.contains(&Rtype::DNAME)) {
                    let keep = current.label_count() - encloser.label_count();
                    let mut wire: Vec<u8> = Vec::new();
                    for label in current.labels().take(keep) {
                        wire.push(label.len() as u8);
                        wire.extend(label);
                    }
                    wire.extend(self.targets[&encloser].as_wire());
                    expected.answer.insert((encloser, Rtype::DNAME));
                    let Ok(target) = Name::from_wire(&wire) else {
                        expected.rcode = 6;
                        return expected;
                    };
                    if !expected.answer.insert((current.clone(), Rtype::CNAME)) || rtype == Rtype::CNAME {
                        return expected;
                    }
                    current = target;
                    continue;
                }
                let wildcard = Name::from_wire(&[b"\x01*", encloser.as_wire()].concat()).expect("short");
                if !self.exists(&wildcard) {
                    expected.rcode = 3;
                    expected.authority.insert(negative);
                    return expected;
                }
                wildcard
            };
            let types = self.types.get(&node).cloned().unwrap_or_default();
            if types.contains(&rtype) {
                expected.answer.insert((current, rtype));
                return expected;
            }
            if types.contains(&Rtype::CNAME) {
                if !expected.answer.insert((current.clone(), Rtype::CNAME)) {
                    return expected;
                }
                current = self.targets[&node].clone();
                continue;
            }
            expected.authority.insert(negative);
            return expected;
        }
        expected
    }
}

fn owner() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "*", "A"]), 1..4)
        .prop_map(|labels| labels.join("."))
}

/// A line of a zone; [`build`] leaves out those that a zone refuses.
fn line() -> impl Strategy<Value = (String, Rtype, String)> {
    let types = vec![
        Rtype::A,
        Rtype::A,
        Rtype::TXT,
        Rtype::MX,
        Rtype::NS,
        Rtype::DS,
        Rtype::CNAME,
        Rtype::CNAME,
        Rtype::DNAME,
    ];
    (owner(), prop::sample::select(types), owner(), any::<bool>()).prop_map(|(owner, rtype, target, out)| {
        (owner, rtype, if out && rtype == Rtype::CNAME { "x.other.".to_owned() } else { target })
    })
}

/// The zone of those lines that can stand together, and its model.
fn build(lines: &[(String, Rtype, String)], denial: Denial) -> (SignedZone, Model) {
    let mut text = "@ SOA ns admin 1 1h 5m 1w 10m\n@ NS ns.other.\n".to_owned();
    let mut model = Model::default();
    model
        .types
        .insert(Model::origin(), [Rtype::SOA, Rtype::NS, Rtype::DNSKEY, Rtype::CDS, Rtype::CDNSKEY].into());
    for (owner, rtype, target) in lines {
        let data = match *rtype {
            Rtype::A => "192.0.2.1".to_owned(),
            Rtype::TXT => "t".to_owned(),
            Rtype::MX => format!("10 {target}"),
            Rtype::DS => format!("1 13 2 {}", "AB".repeat(32)),
            _ => target.clone(),
        };
        let more = format!("{text}{owner} {rtype} {data}\n");
        if zone("example", &more).is_ok() {
            text = more;
            let full = Name::parse_bytes(owner.as_bytes(), Some(&Model::origin())).expect("a name");
            if matches!(*rtype, Rtype::CNAME | Rtype::DNAME) {
                let target = Name::parse_bytes(target.as_bytes(), Some(&Model::origin())).expect("a name");
                model.targets.insert(full.clone(), target);
            }
            model.types.entry(full).or_default().insert(*rtype);
        }
    }
    model.leave_out_what_dnames_hide();
    let policy = SigningPolicy { denial, ..POLICY };
    (signed_by(zone("example", &text).expect("a zone"), &policy).expect("signs"), model)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn answers_are_the_models_and_prove_themselves(
        lines in prop::collection::vec(line(), 0..14),
        mode in 0u8..3,
        asked in prop::collection::vec((owner(), prop::sample::select(vec![Rtype::A, Rtype::TXT, Rtype::DS, Rtype::NS, Rtype::CNAME, Rtype::DNAME])), 1..30),
    ) {
        let denial = match mode {
            0 => Denial::Nsec,
            mode => Denial::Nsec3(Nsec3::new(0, mode == 2)),
        };
        let (zone, model) = build(&lines, denial);
        zone.self_check(NOW, 0).expect("sound");
        for (owner, rtype) in asked {
            let ask = Ask::new(&owner, rtype);
            let (kind, message, _) = reply(&zone, &ask.octets(), &STREAM);
            let pick = |section: usize| -> BTreeSet<(Name, Rtype)> {
                let records = message.sections[section].iter().filter(|rr| !matches!(rr.rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3) && (section == 0 || rr.rtype != Rtype::DS));
                records.map(|rr| (rr.owner.clone(), rr.rtype)).collect()
            };
            let got = Expected { rcode: message.rcode, aa: message.aa(), answer: pick(0), authority: pick(1) };
            let want = model.ask(&Name::from_wire(&ask.name).expect("a name"), rtype);
            prop_assert_eq!(&got, &want, "{} {}", owner, rtype);
            if message.rcode != 6 && !message.tc() {
                prop_assert_eq!(validate(&message, &ask, NOW), Ok(()), "{} {}: {}", owner, rtype, message.summary("example."));
            }
            let want_kind = match (want.rcode, want.authority.iter().next()) {
                (6, _) => AnswerKind::Error,
                (3, _) => AnswerKind::NxDomain,
                (_, Some((_, Rtype::SOA))) => AnswerKind::NoData,
                (_, Some(_)) if want.answer.is_empty() => AnswerKind::Referral,
                _ => AnswerKind::Positive,
            };
            prop_assert_eq!(kind, want_kind);
        }
    }
}
