//! Reads answers, by another way than the composer writes them, and proves them from nothing but their own records and the zone's key.

use std::collections::{BTreeMap, BTreeSet};

use keystore::dns::{Name, Rrset, Rrsig, Rtype, rrsig};
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use super::nsec3::Nsec3Set;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rr {
    pub owner: Name,
    pub rtype: Rtype,
    pub class: u16,
    pub ttl: u32,
    pub rdata: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(super) struct Message {
    pub id: u16,
    pub flags: u16,
    /// With the bits of OPT.
    pub rcode: u16,
    pub question: Option<(Name, Rtype, u16)>,
    /// Answer, authority, additional; without OPT.
    pub sections: [Vec<Rr>; 3],
    /// UDP size, version and flags, options.
    pub opt: Option<(u16, u32, Vec<u8>)>,
}

impl Message {
    pub fn aa(&self) -> bool {
        self.flags & 0x400 != 0
    }

    pub fn tc(&self) -> bool {
        self.flags & 0x200 != 0
    }

    /// Panics on anything malformed, octets behind the end included.
    pub fn read(octets: &[u8]) -> Self {
        let word = |at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
        let mut at = 12;
        let question = (word(4) == 1).then(|| {
            let name = read_name(octets, &mut at);
            at += 4;
            (name, Rtype(word(at - 4)), word(at - 2))
        });
        let mut message = Self {
            id: word(0),
            flags: word(2),
            rcode: word(2) & 0xf,
            question,
            sections: Default::default(),
            opt: None,
        };
        for (section, count) in [word(6), word(8), word(10)].into_iter().enumerate() {
            for _ in 0..count {
                let owner = read_name(octets, &mut at);
                let (rtype, class) = (Rtype(word(at)), word(at + 2));
                let ttl = u32::from(word(at + 4)) << 16 | u32::from(word(at + 6));
                let end = at + 10 + usize::from(word(at + 8));
                at += 10;
                let mut rdata = Vec::new();
                let (fixed, names) = match rtype {
                    Rtype::NS | Rtype::CNAME | Rtype::PTR => (0, 1),
                    Rtype::SOA => (0, 2),
                    Rtype::MX => (2, 1),
                    _ => (0, 0),
                };
                rdata.extend_from_slice(&octets[at..at + fixed]);
                at += fixed;
                for _ in 0..names {
                    rdata.extend_from_slice(read_name(octets, &mut at).as_wire());
                }
                rdata.extend_from_slice(&octets[at..end]);
                at = end;
                if rtype == Rtype::OPT {
                    assert!(message.opt.is_none() && section == 2 && owner.is_root());
                    message.rcode |= (ttl >> 24 << 4) as u16;
                    message.opt = Some((class, ttl & 0x00ff_ffff, rdata));
                } else {
                    message.sections[section].push(Rr { owner, rtype, class, ttl, rdata });
                }
            }
        }
        assert_eq!(at, octets.len(), "octets behind the end");
        message
    }

    /// `NOERROR aa | www A, www RRSIG(A) | … | …`, names relative to `origin`.
    pub fn summary(&self, origin: &str) -> String {
        let rcode = match self.rcode {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            6 => "YXDOMAIN",
            9 => "NOTAUTH",
            16 => "BADVERS",
            _ => "?",
        };
        let mut out = rcode.to_owned();
        for (flag, text) in [(self.aa(), " aa"), (self.tc(), " tc")] {
            out.push_str(if flag { text } else { "" });
        }
        for section in &self.sections {
            let records: Vec<String> = section
                .iter()
                .map(|rr| {
                    let owner = rr.owner.to_string();
                    let owner = if owner == origin {
                        "@"
                    } else {
                        owner.strip_suffix(&format!(".{origin}")).unwrap_or(&owner)
                    };
                    match rr.rtype {
                        Rtype::RRSIG => format!(
                            "{owner} RRSIG({})",
                            Rtype(u16::from_be_bytes([rr.rdata[0], rr.rdata[1]]))
                        ),
                        other => format!("{owner} {other}"),
                    }
                })
                .collect();
            out.push_str(" | ");
            out.push_str(&records.join(", "));
        }
        out
    }
}

/// Reads a name that may be compressed; pointers must lead back.
fn read_name(octets: &[u8], at: &mut usize) -> Name {
    let mut wire = Vec::new();
    let (mut position, mut limit, mut jumped) = (*at, usize::MAX, false);
    loop {
        let len = usize::from(octets[position]);
        if len >= 0xc0 {
            let target = (len & 0x3f) << 8 | usize::from(octets[position + 1]);
            assert!(target < position.min(limit), "a pointer that leads forward");
            if !jumped {
                *at = position + 2;
            }
            (position, limit, jumped) = (target, target, true);
            continue;
        }
        wire.extend_from_slice(&octets[position..=position + len]);
        position += len + 1;
        if len == 0 {
            break;
        }
    }
    if !jumped {
        *at = position;
    }
    Name::from_wire(&wire).expect("a name")
}

/// A validator of one zone: checks every signature, and that the answer proves itself (RFC 4035 section 5.4).
pub(super) struct Validator<'a> {
    pub origin: Name,
    pub keys: &'a [Dnskey],
    pub now: Timestamp,
}

/// RRsets with the RRSIGs that cover them.
type Sets<'a> = BTreeMap<(Name, Rtype), (Vec<&'a Rr>, Vec<Rrsig>)>;

struct Nsec {
    owner: Name,
    next: Name,
    types: BTreeSet<Rtype>,
}

impl Nsec {
    fn read(rr: &Rr) -> Self {
        let len = keystore::dns::name::wire_len(&rr.rdata).expect("a name");
        let next = Name::from_wire(&rr.rdata[..len]).expect("a name");
        Self { owner: rr.owner.clone(), next, types: read_bitmap(&rr.rdata[len..]) }
    }

    /// True when `name` lies strictly between owner and next; the last record leads to the apex. A delegation's NSEC says nothing of
    /// the names below it.
    fn covers(&self, name: &Name, origin: &Name) -> bool {
        let behind_next = if self.next == *origin { true } else { *name < self.next };
        let is_cut = self.types.contains(&Rtype::NS) && !self.types.contains(&Rtype::SOA);
        self.owner < *name && behind_next && !(is_cut && name.is_at_or_below(&self.owner))
    }
}

/// The types of a bitmap.
pub(super) fn read_bitmap(mut bitmap: &[u8]) -> BTreeSet<Rtype> {
    let mut types = BTreeSet::new();
    while let [window, octets, rest @ ..] = bitmap {
        let (bits, rest) = rest.split_at(usize::from(*octets));
        for (index, octet) in bits.iter().enumerate() {
            for bit in (0..8).filter(|bit| octet & (0x80 >> bit) != 0) {
                types.insert(Rtype(u16::from(*window) << 8 | (index * 8 + bit) as u16));
            }
        }
        bitmap = rest;
    }
    types
}

impl Validator<'_> {
    /// Checks the answer to `name`/`rtype` asked with DO. Gives why it does not hold.
    pub fn check(&self, message: &Message, name: &Name, rtype: Rtype) -> Result<(), String> {
        self.check_signatures(message)?;
        let nsecs: Vec<Nsec> =
            message.sections[1].iter().filter(|rr| rr.rtype == Rtype::NSEC).map(Nsec::read).collect();
        let nsec3s = Nsec3Set::read(&self.origin, &message.sections[1]);
        let nsec3s = nsec3s.as_ref();
        let mut current = name.clone();
        let answer = &message.sections[0];
        for _ in 0..20 {
            let here = |rtype| answer.iter().any(|rr| rr.owner == current && rr.rtype == rtype);
            self.check_wildcard(answer, &current, &nsecs, nsec3s)?;
            if here(rtype)
                || rtype == Rtype::ANY && answer.iter().any(|rr| rr.owner == current)
                || rtype == Rtype::RRSIG && !answer.is_empty()
            {
                return Ok(());
            }
            let Some(cname) = answer.iter().find(|rr| rr.owner == current && rr.rtype == Rtype::CNAME) else {
                break;
            };
            current = Name::from_wire(&cname.rdata).expect("a name");
            if !current.is_at_or_below(&self.origin) {
                return Ok(());
            }
        }
        if let Some(ns) = message.sections[1].iter().find(|rr| rr.rtype == Rtype::NS) {
            return self.check_referral(message, &ns.owner, &current, &nsecs, nsec3s);
        }
        if !message.sections[1].iter().any(|rr| rr.rtype == Rtype::SOA) {
            return if answer.is_empty() || message.rcode == 3 { Err("no SOA".to_owned()) } else { Ok(()) };
        }
        match (message.rcode, nsec3s) {
            (3, Some(nsec3s)) => nsec3s.name_error(&current).map(drop),
            (0, Some(nsec3s)) => nsec3s.no_data(&current, rtype).map(drop),
            (3, None) => self.check_name_error(&current, &nsecs),
            (0, None) => self.check_no_data(&current, rtype, &nsecs),
            (other, _) => Err(format!("rcode {other}")),
        }
    }

    /// Every RRset of answer and authority section but NS of a referral and a DNAME's CNAME has RRSIGs, all of them valid.
    fn check_signatures(&self, message: &Message) -> Result<(), String> {
        let mut dnames: Vec<&Name> = Vec::new();
        for (number, section) in message.sections.iter().enumerate() {
            let mut sets: Sets<'_> = BTreeMap::new();
            for rr in section {
                if rr.rtype == Rtype::RRSIG {
                    let sig = Rrsig::from_rdata(&rr.rdata).map_err(|e| e.to_string())?;
                    sets.entry((rr.owner.clone(), sig.covered)).or_default().1.push(sig);
                } else {
                    let set = &mut sets.entry((rr.owner.clone(), rr.rtype)).or_default().0;
                    if set.iter().any(|other| other.rdata == rr.rdata) {
                        return Err(format!("{} {} twice", rr.owner, rr.rtype));
                    }
                    set.push(rr);
                }
                if rr.rtype == Rtype::DNAME {
                    dnames.push(&rr.owner);
                }
            }
            for ((owner, rtype), (records, signatures)) in sets {
                if message.question.as_ref().is_some_and(|(_, asked, _)| *asked == Rtype::RRSIG) {
                    continue;
                }
                let synthesized =
                    rtype == Rtype::CNAME && dnames.iter().any(|d| owner != **d && owner.is_at_or_below(d));
                let unsigned = synthesized || rtype == Rtype::NS && number == 1 || number == 2;
                if signatures.is_empty() && !unsigned {
                    return Err(format!("{owner} {rtype} is not signed"));
                }
                if records.is_empty() {
                    return Err(format!("{owner} has RRSIGs of {rtype} and not the RRset"));
                }
                for sig in &signatures {
                    let rrset = Rrset {
                        owner: owner.clone(),
                        rtype,
                        ttl: records[0].ttl,
                        rdatas: records.iter().map(|rr| rr.rdata.as_slice().into()).collect(),
                    };
                    let valid = sig.is_valid_at(self.now)
                        && sig.signer == self.origin
                        && records.iter().all(|rr| rr.ttl <= sig.original_ttl && rr.ttl == records[0].ttl)
                        && self.keys.iter().any(|key| {
                            key.tag() == sig.key_tag
                                && rrsig::verify_raw(&rrset, &key.public_key, sig).is_ok()
                        });
                    if !valid {
                        return Err(format!("signature of {owner} {rtype} is not valid"));
                    }
                }
            }
        }
        Ok(())
    }

    /// What came from a wildcard needs the proof that no closer name exists (RFC 4035 section 5.3.4).
    fn check_wildcard(
        &self,
        answer: &[Rr],
        owner: &Name,
        nsecs: &[Nsec],
        nsec3s: Option<&Nsec3Set>,
    ) -> Result<(), String> {
        for rr in answer.iter().filter(|rr| rr.rtype == Rtype::RRSIG && rr.owner == *owner) {
            let sig = Rrsig::from_rdata(&rr.rdata).map_err(|e| e.to_string())?;
            let labels = usize::from(sig.labels);
            if labels < usize::from(owner.rrsig_labels()) {
                if let Some(nsec3s) = nsec3s {
                    nsec3s.expansion(owner, labels)?;
                    continue;
                }
                let next_closer = ancestor(owner, labels + 1);
                if !nsecs.iter().any(|nsec| nsec.covers(&next_closer, &self.origin)) {
                    return Err(format!("{owner} came from a wildcard, and {next_closer} is not denied"));
                }
            }
        }
        Ok(())
    }

    fn check_referral(
        &self,
        message: &Message,
        cut: &Name,
        name: &Name,
        nsecs: &[Nsec],
        nsec3s: Option<&Nsec3Set>,
    ) -> Result<(), String> {
        let has_ds = message.sections[1].iter().any(|rr| rr.rtype == Rtype::DS && rr.owner == *cut);
        let denied = nsec3s.is_some_and(|set| set.no_ds(cut).is_ok())
            || nsecs.iter().any(|nsec| {
                nsec.owner == *cut
                    && nsec.types.contains(&Rtype::NS)
                    && !nsec.types.contains(&Rtype::DS)
                    && !nsec.types.contains(&Rtype::SOA)
            });
        if !name.is_at_or_below(cut) || *cut == self.origin || has_ds == denied {
            return Err(format!("referral to {cut} with DS: {has_ds}, denied: {denied}"));
        }
        Ok(())
    }

    fn check_name_error(&self, name: &Name, nsecs: &[Nsec]) -> Result<(), String> {
        let Some(cover) = nsecs.iter().find(|nsec| nsec.covers(name, &self.origin)) else {
            return Err(format!("nothing covers {name}"));
        };
        let wildcard = self.source_of_synthesis(name, cover);
        if !nsecs.iter().any(|nsec| nsec.covers(&wildcard, &self.origin)) {
            return Err(format!("nothing covers {wildcard}"));
        }
        if cover.next.is_at_or_below(name) {
            return Err(format!("{name} is an empty non-terminal"));
        }
        Ok(())
    }

    fn check_no_data(&self, name: &Name, rtype: Rtype, nsecs: &[Nsec]) -> Result<(), String> {
        let lacks = |nsec: &Nsec| {
            let cut = nsec.types.contains(&Rtype::NS) && !nsec.types.contains(&Rtype::SOA);
            // RFC 4035 section 5.4 and RFC 6840 section 4.4: the parent's NSEC speaks of DS only, the child's apex of all else.
            let side = if rtype == Rtype::DS {
                nsec.owner == self.origin || !nsec.types.contains(&Rtype::SOA)
            } else {
                !cut
            };
            !nsec.types.contains(&rtype) && !nsec.types.contains(&Rtype::CNAME) && side
        };
        if let Some(at) = nsecs.iter().find(|nsec| nsec.owner == *name) {
            return if lacks(at) { Ok(()) } else { Err(format!("the NSEC of {name} does not deny {rtype}")) };
        }
        let Some(cover) = nsecs.iter().find(|nsec| nsec.covers(name, &self.origin)) else {
            return Err(format!("nothing speaks of {name}"));
        };
        if cover.next.is_at_or_below(name) {
            return Ok(());
        }
        let wildcard = self.source_of_synthesis(name, cover);
        let denied = nsecs.iter().any(|nsec| {
            nsec.owner == wildcard && lacks(nsec)
                || nsec.covers(&wildcard, &self.origin) && nsec.next.is_at_or_below(&wildcard)
        });
        if denied { Ok(()) } else { Err(format!("{rtype} of {wildcard} is not denied")) }
    }

    /// `*` at the closest encloser that the covering NSEC shows: the longest name that it shares with owner or next.
    fn source_of_synthesis(&self, name: &Name, cover: &Nsec) -> Name {
        let mut encloser = name.parent().expect("below the apex");
        while !cover.owner.is_at_or_below(&encloser) && !cover.next.is_at_or_below(&encloser) {
            encloser = encloser.parent().expect("the apex encloses all");
        }
        Name::from_wire(&[b"\x01*", encloser.as_wire()].concat()).expect("short enough")
    }
}

pub(super) fn ancestor(name: &Name, labels: usize) -> Name {
    let mut name = name.clone();
    while name.label_count() > labels {
        name = name.parent().expect("has labels");
    }
    name
}
