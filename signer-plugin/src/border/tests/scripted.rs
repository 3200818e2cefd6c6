//! A zone that answers from a script: every kind of answer.

use super::*;

/// Section (0 to 2), owner, type, RDATA.
pub(super) type Entry = (usize, String, u16, Vec<u8>);

/// What the zone says to a question: flags with RCODE, and records.
pub(super) type Script = fn(qname: &str, qtype: u16, dnssec_ok: bool) -> Option<(u16, Vec<Entry>)>;

pub(super) struct Scripted {
    pub(super) origin: Name,
    pub(super) script: Script,
    pub(super) extended_rcode: u8,
}

impl Scripted {
    pub(super) fn zone(origin: &str, script: Script) -> Arc<dyn Responder> {
        Arc::new(Self { origin: Name::parse(origin).unwrap(), script, extended_rcode: 0 })
    }
}

/// End of the question, and the OPT record's size and flags.
pub(super) fn dissect(query: &[u8]) -> (usize, Option<(u16, bool)>) {
    let end = 12 + keystore::dns::name::wire_len(&query[12..]).unwrap() + 4;
    let opt = query.get(end..end + 11).filter(|o| o[..3] == [0, 0, 41]);
    (end, opt.map(|o| (u16::from_be_bytes([o[3], o[4]]), o[7] & 0x80 != 0)))
}

impl Responder for Scripted {
    fn origin(&self) -> &Name {
        &self.origin
    }

    fn respond(&self, query: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> AnswerOutcome {
        let (transport, max_udp) = (arrival.transport, arrival.max_udp);
        let (end, opt) = dissect(query);
        let qname = Name::from_wire(&query[12..end - 4]).unwrap();
        if !qname.is_at_or_below(&self.origin) {
            return AnswerOutcome::NotOurs;
        }
        let qtype = u16::from_be_bytes([query[end - 4], query[end - 3]]);
        let dnssec_ok = opt.is_some_and(|o| o.1);
        let Some((flags, records)) = (self.script)(&qname.to_lowercase().to_string(), qtype, dnssec_ok)
        else {
            return AnswerOutcome::Drop;
        };
        out.clear();
        out.extend_from_slice(&query[..2]);
        out.extend_from_slice(&(flags | 0x8000 | u16::from(query[2] & 1) << 8).to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&query[12..end]);
        let mut opt_octets = Vec::new();
        if opt.is_some() {
            let flags = u8::from(dnssec_ok) << 7;
            opt_octets.extend_from_slice(&[
                0,
                0,
                41,
                0x04,
                0xd0,
                self.extended_rcode,
                0,
                flags,
                0,
                0,
                6,
                0,
                15,
                0,
                2,
                0,
                9,
            ]);
        }
        for section in 0..3 {
            for (_, owner, rtype, rdata) in records.iter().filter(|r| r.0 == section) {
                // Owners that are the name asked are pointers; `^` in front stands for one more label before it.
                match owner.as_str() {
                    "@" => out.extend_from_slice(&[0xc0, 12]),
                    other => match other.strip_prefix('^') {
                        Some(label) => {
                            out.push(label.len() as u8);
                            out.extend_from_slice(label.as_bytes());
                            out.extend_from_slice(&[0xc0, 12]);
                        }
                        None => out.extend_from_slice(Name::parse(other).unwrap().as_wire()),
                    },
                }
                out.extend_from_slice(&rtype.to_be_bytes());
                out.extend_from_slice(&[0, 1, 0, 0, 1, 44]);
                out.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
                out.extend_from_slice(rdata);
                out[7 + 2 * section] += 1;
            }
        }
        let limit = match transport {
            Transport::Stream => 65_535,
            Transport::Udp => usize::from(opt.map_or(512, |o| o.0.max(512)).min(max_udp)),
        };
        if out.len() + opt_octets.len() > limit {
            out.truncate(end);
            out[2] |= 2;
            out[6..12].fill(0);
        }
        out[11] += u8::from(opt.is_some());
        out.extend_from_slice(&opt_octets);
        AnswerOutcome::Reply(AnswerKind::Positive)
    }
}

pub(super) fn rr(section: usize, owner: &str, rtype: u16, rdata: &[u8]) -> Entry {
    (section, owner.to_owned(), rtype, rdata.to_vec())
}

pub(super) const SOA: &[u8] = b"\x01a\x00\x01b\x00\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05";

pub(super) const SOA_SIG: &[u8] = b"\x00\x06signature of the SOA";

pub(super) const NSEC_SIG: &[u8] = b"\x00\x2fsignature of an NSEC";

pub(super) fn mail_exchangers(count: u8) -> Vec<Entry> {
    (0..count).map(|n| rr(0, "@", 15, &[0, 10, 2, b'm', n, 0xc0, 12])).collect()
}

/// Names stand for kinds of answers.
pub(super) fn all_kinds(qname: &str, qtype: u16, dnssec_ok: bool) -> Option<(u16, Vec<Entry>)> {
    let host = qname.strip_suffix("example.").unwrap_or(qname).trim_end_matches('.');
    let negative = || {
        let mut records = vec![rr(1, "Example.", 6, SOA)];
        if dnssec_ok {
            records.extend([
                rr(1, "Example.", 46, SOA_SIG),
                rr(1, "ENT.example.", 47, b"\x01z\x00\x00\x01\x40"),
                rr(1, "ent.example.", 46, NSEC_SIG),
            ]);
        }
        records
    };
    const AA: u16 = 0x0400;
    let (flags, records) = match host {
        "" if qtype == 6 => (AA, vec![rr(0, "@", 6, SOA), rr(0, "@", 46, SOA_SIG)]),
        "" if qtype == 65_532 => (AA, negative()),
        "a" => (
            AA,
            vec![
                rr(0, "@", 1, &[192, 0, 2, 1]),
                rr(0, "@", 1, &[192, 0, 2, 2]),
                rr(0, "@", 46, b"\x00\x01sig"),
            ],
        ),
        "mx" => (AA, vec![rr(0, "@", 15, b"\x00\x0a\x02mX\xc0\x0c"), rr(2, "^mX", 1, &[192, 0, 2, 3])]),
        "odd" => {
            (AA, vec![rr(0, "@", 65_280, &[]), rr(0, "Od\\.D.\\032\\255.example.", 65_281, &[0xc0, 12, 0])])
        }
        "wild" => (
            AA,
            vec![
                rr(0, "@", 16, b"\x01x"),
                rr(1, "b.example.", 47, b"\x01c\x00"),
                rr(1, "b.example.", 46, NSEC_SIG),
            ],
        ),
        "nodata" => (AA, negative()),
        "nx" => (AA | 3, negative()),
        "cname-nx" => {
            let mut records = negative();
            records.insert(0, rr(0, "@", 5, b"\x02nx\x07example\x00"));
            (AA | 3, records)
        }
        "cut" => {
            let mut records = vec![
                rr(1, "cut.example.", 2, b"\x02ns\x03cut\x07example\x00"),
                rr(2, "ns.cut.example.", 28, &[1; 16]),
            ];
            if dnssec_ok {
                records.insert(1, rr(1, "cut.example.", 43, &[9; 36]));
                records.insert(2, rr(1, "cut.example.", 46, b"\x00\x2bsig"));
            }
            (0, records)
        }
        "servfail" => (2, vec![]),
        "refused" => (5, vec![]),
        "bits" => (AA | 0x0020 | 0x0010 | 0x0080, vec![rr(0, "@", 1, &[1, 1, 1, 1])]),
        // RDATA with compressed names, which hickory writes out in full: 19 octets a record here, 30 there.
        "many" => (AA, mail_exchangers(150)),
        "few" => (AA, mail_exchangers(36)),
        "silent" => return None,
        _ => (AA | 3, vec![]),
    };
    Some((flags, records))
}
