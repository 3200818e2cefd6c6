//! Writes a response: header, question, RRsets, OPT.
//!
//! Owner names, and the names in RDATA of the types that every resolver knows (RFC 3597 section 4), are compressed against all names
//! written before.

use keystore::dns::Rtype;
use keystore::time::Timestamp;

use super::Context;
use super::edns::ReplyOptions;
use super::names::{Case, WrittenNames, compressible};
use super::query::{HEADER, Head, Query};
use super::rcode::Rcode;
use super::refusal::Refusal;
use crate::signing::RrsetView;
use crate::zone::Records;

/// A section that records are put in, in the order of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Answer,
    Authority,
    Additional,
}

/// Why an RRset was not put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It does not fit.
    Full,
    /// One of its signatures has expired.
    Expired,
    /// It is over the rate limit.
    Limited,
    /// The hash of a name that is not there is that of one that is there: no NSEC3 record denies it (RFC 5155 section 7.2.9).
    Collision,
}

/// The owner of an RRset.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner<'a> {
    /// The name asked for, with its letter case.
    Question,
    /// Another, uncompressed.
    Name(&'a [u8]),
}

/// Extended DNS Error "Signature Expired" (RFC 8914 section 4.8).
const EDE_SIGNATURE_EXPIRED: u16 = 7;
/// TSIG error "key not recognised" (RFC 8945 section 3).
const TSIG_BADKEY: u16 = 17;

const QR: u16 = 0x8000;
const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const OPCODE: u16 = 0x7800;
const RD: u16 = 0x0100;

/// The flags of the query that the response repeats. RD means something to the opcode QUERY alone.
const fn copied(flags: u16) -> u16 {
    if flags & OPCODE == 0 { flags & RD } else { flags & OPCODE }
}

/// Writes the header of a response that repeats no question and has at most records of the additional section.
pub(super) fn put_header(head: &Head, rcode: Rcode, additional: u16, out: &mut Vec<u8>) {
    let flags = QR | copied(head.flags) | rcode.in_header();
    for word in [head.id, flags, 0, 0, 0, additional] {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

pub(super) struct Composer<'a> {
    query: &'a Query<'a>,
    out: &'a mut Vec<u8>,
    names: WrittenNames,
    /// No signature of the zone has expired, so that none is looked at.
    all_are_valid: bool,
    /// Octets that records may fill; what OPT needs is already taken off.
    limit: usize,
    now: Timestamp,
    max_udp: u16,
    counts: [u16; 3],
    rcode: Rcode,
    authoritative: bool,
    truncated: bool,
    options: ReplyOptions<'a>,
}

impl<'a> Composer<'a> {
    /// Starts a response of at most `limit` octets.
    pub fn new(
        query: &'a Query<'a>,
        limit: usize,
        options: ReplyOptions<'a>,
        context: &Context<'_>,
        out: &'a mut Vec<u8>,
    ) -> Self {
        out.extend_from_slice(&[0; HEADER]);
        out.extend_from_slice(query.question.octets);
        let reserve = query.rest.edns.map_or(0, |edns| options.reserve(edns));
        Self {
            query,
            out,
            names: WrittenNames::new(),
            all_are_valid: false,
            limit: limit.saturating_sub(reserve),
            now: context.now,
            max_udp: context.arrival.max_udp,
            counts: [0; 3],
            rcode: Rcode::NOERROR,
            authoritative: true,
            truncated: false,
            options,
        }
    }

    /// The signature of the zone that expires first does so at `earliest`.
    pub fn set_earliest_expiration(&mut self, earliest: Timestamp) {
        self.all_are_valid = self.now <= earliest;
    }

    pub fn set_rcode(&mut self, rcode: Rcode) {
        self.rcode = rcode;
    }

    pub fn clear_authoritative(&mut self) {
        self.authoritative = false;
    }

    /// Answers the option EXPIRE, if the query has it.
    pub fn set_expire(&mut self, seconds: u32) {
        self.options.expire =
            Some(seconds).filter(|_| self.query.rest.edns.is_some_and(|edns| edns.wants_expire));
    }

    /// Answers the option ZONEVERSION, if the query has it.
    pub fn set_zone_version(&mut self, labels: u8, serial: u32) {
        let wants = self.query.rest.edns.is_some_and(|edns| edns.wants_zone_version);
        self.options.zone_version = Some((labels, serial)).filter(|_| wants);
    }

    /// Puts in a TXT record of class CH with this text, which is of the server and not of a zone (RFC 4892).
    pub fn put_identity(&mut self, text: &[u8]) {
        const CHAOS: u16 = 3;
        let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
        let text = &text[..usize::from(len)];
        for word in [0xc000 | HEADER as u16, Rtype::TXT.0, CHAOS, 0, 0, u16::from(len) + 1] {
            self.out.extend_from_slice(&word.to_be_bytes());
        }
        self.out.push(len);
        self.out.extend_from_slice(text);
        self.counts[Section::Answer as usize] += 1;
    }

    pub fn set_truncated(&mut self) {
        self.truncated = true;
    }

    /// Number of records so far in the answer section.
    pub fn answers(&self) -> u16 {
        self.counts[0]
    }

    /// Puts an RRset in, with its RRSIGs if `signed`, whole or not at all. `ttl` is given where it is not the RRset's own.
    pub fn put(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        view: &RrsetView<'_>,
        ttl: Option<u32>,
        signed: bool,
    ) -> Result<(), Stop> {
        let signatures = if signed { view.signatures } else { &[] };
        let ttl = ttl.unwrap_or(view.ttl);
        self.put_all(section, owner, &[(view.rtype, view.data), (Rtype::RRSIG, signatures)], ttl)
    }

    /// Puts the RRSIGs of an RRset in, without it.
    pub fn put_signatures(&mut self, owner: Owner<'_>, view: &RrsetView<'_>) -> Result<(), Stop> {
        self.put_all(Section::Answer, owner, &[(Rtype::RRSIG, view.signatures)], view.ttl)
    }

    fn put_all(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        sets: &[(Rtype, &[u8])],
        ttl: u32,
    ) -> Result<(), Stop> {
        debug_assert!(
            self.counts[section as usize + 1..].iter().all(|n| *n == 0),
            "sections are filled in order"
        );
        let (start, mark) = (self.out.len(), self.names.mark());
        let mut pointer = match owner {
            Owner::Question => Some(0xc000 | HEADER as u16),
            Owner::Name(_) => None,
        };
        let mut count = 0;
        let result = sets.iter().try_for_each(|(rtype, records)| {
            let is_past = |rdata: &[u8]| *rtype == Rtype::RRSIG && self.is_expired(rdata);
            let has_expired = Records(records).any(is_past);
            // One that is in time is enough: others may be left over from a roll of another signer.
            if has_expired && Records(records).all(is_past) {
                return Err(Stop::Expired);
            }
            for rdata in Records(records) {
                if has_expired && *rtype == Rtype::RRSIG && self.is_expired(rdata) {
                    continue;
                }
                match (pointer, owner) {
                    (Some(pointer), _) => self.out.extend_from_slice(&pointer.to_be_bytes()),
                    (None, Owner::Name(name)) => {
                        let at = self.out.len();
                        self.names.put(name, Case::Any, self.out);
                        // Later records point to this one; pointers reach no further than 14 bits.
                        pointer = u16::try_from(at).ok().filter(|at| *at < 0x4000).map(|at| 0xc000 | at);
                    }
                    (None, Owner::Question) => {}
                }
                let mut fixed = [0; 8];
                fixed[..2].copy_from_slice(&rtype.0.to_be_bytes());
                fixed[3] = 1;
                fixed[4..].copy_from_slice(&ttl.to_be_bytes());
                self.out.extend_from_slice(&fixed);
                self.put_rdata(*rtype, rdata);
                if self.out.len() > self.limit {
                    return Err(Stop::Full);
                }
                count += 1;
            }
            Ok(())
        });
        match result {
            Ok(()) => self.counts[section as usize] += count,
            Err(_) => {
                self.out.truncate(start);
                self.names.forget_since(mark);
            }
        }
        result
    }

    /// Puts in the CNAME that a DNAME makes of `owner` (RFC 6672 section 3.1); it is never signed.
    pub fn put_cname(&mut self, owner: Owner<'_>, target: &[u8], ttl: u32) -> Result<(), Stop> {
        let data = [&(target.len() as u16).to_be_bytes(), target].concat();
        self.put_all(Section::Answer, owner, &[(Rtype::CNAME, &data)], ttl)
    }

    /// True when the signature must not be sent any more.
    fn is_expired(&self, rrsig: &[u8]) -> bool {
        debug_assert!(
            !self.all_are_valid || !self.has_expired(rrsig),
            "the zone knows its earliest expiration"
        );
        !self.all_are_valid && self.has_expired(rrsig)
    }

    fn has_expired(&self, rrsig: &[u8]) -> bool {
        let Some(expiration) = rrsig.get(8..).and_then(|r| r.first_chunk::<4>()) else { return true };
        // Serial arithmetic (RFC 4034 section 3.1.5); the last second is valid.
        u32::from_be_bytes(*expiration).wrapping_sub(self.now.to_rrsig()).cast_signed() < 0
    }

    /// Writes length and RDATA; names in the types of RFC 1035 are compressed (RFC 3597 section 4).
    fn put_rdata(&mut self, rtype: Rtype, rdata: &[u8]) {
        let Some((fixed, names)) = compressible(rtype) else {
            self.out.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            self.out.extend_from_slice(rdata);
            return;
        };
        let at = self.out.len();
        self.out.extend_from_slice(&[0, 0]);
        let (head, mut rest) = rdata.split_at(fixed.min(rdata.len()));
        self.out.extend_from_slice(head);
        for _ in 0..names {
            let read = self.names.put(rest, Case::Exact, self.out);
            rest = &rest[read..];
        }
        self.out.extend_from_slice(rest);
        let len = (self.out.len() - at - 2) as u16;
        self.out[at..at + 2].copy_from_slice(&len.to_be_bytes());
    }

    /// Takes all records out again.
    fn clear(&mut self) {
        self.out.truncate(HEADER + self.query.question.octets.len());
        self.names = WrittenNames::new();
        self.counts = [0; 3];
    }

    /// Something that must be in the answer does not fit: header, question and OPT are left, with TC.
    pub fn truncate(&mut self) {
        self.clear();
        self.truncated = true;
    }

    /// SERVFAIL in place of an expired signature.
    pub fn expired(&mut self) {
        self.fail();
        self.options.error = Some(EDE_SIGNATURE_EXPIRED);
    }

    /// SERVFAIL in place of an answer that cannot be proven.
    pub fn fail(&mut self) {
        self.clear();
        self.rcode = Rcode::SERVFAIL;
        self.authoritative = false;
    }

    /// Says that there are no records, and why.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.clear();
        self.rcode = refusal.rcode();
        self.options.error = refusal.extended_error();
        self.options.report_agent = None;
        self.authoritative = false;
    }

    /// The answer is over a limit: it has no records, and the client is to come again, with the cookie of this answer where it knows cookies
    /// (RFC 7873 section 5.2.3), else over TCP.
    pub fn slip(&mut self) {
        self.clear();
        self.options = self.options.cookie_alone();
        if self.options.cookie.is_some() {
            self.rcode = Rcode::BADCOOKIE;
            self.authoritative = false;
        } else {
            self.truncated = true;
        }
    }

    /// There is to be no answer.
    pub fn discard(self) {
        self.out.clear();
    }

    /// Writes OPT and header.
    pub fn finish(self) {
        let mut additional = self.counts[2];
        if let Some(edns) = self.query.rest.edns {
            self.options.put_opt(edns, self.max_udp, self.rcode, self.out);
            additional += 1;
        }
        if let Some(tsig) = self.query.rest.tsig
            && self.rcode == Rcode::NOTAUTH
        {
            // Unsigned, as nobody could check it: no MAC, the original ID, the error, no other data.
            self.out.extend_from_slice(tsig.owner);
            self.out.extend_from_slice(&[0, 250, 0, 255, 0, 0, 0, 0]);
            self.out.extend_from_slice(&(tsig.head.len() as u16 + 8).to_be_bytes());
            self.out.extend_from_slice(tsig.head);
            self.out.extend_from_slice(&[0, 0]);
            self.out.extend_from_slice(&self.query.head.id.to_be_bytes());
            self.out.extend_from_slice(&TSIG_BADKEY.to_be_bytes());
            self.out.extend_from_slice(&[0, 0]);
            additional += 1;
        }
        let mut flags = QR | copied(self.query.head.flags) | self.rcode.in_header();
        if self.authoritative {
            flags |= AA;
        }
        if self.truncated {
            flags |= TC;
        }
        let words = [self.query.head.id, flags, 1, self.counts[0], self.counts[1], additional];
        for (room, word) in self.out.chunks_exact_mut(2).zip(words) {
            room.copy_from_slice(&word.to_be_bytes());
        }
    }
}
