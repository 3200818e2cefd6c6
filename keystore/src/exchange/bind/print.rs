//! Prints KSR and SKR as `dnssec-ksr` 9.20 does, octet by octet.

use std::fmt::Write;

use crate::dns::{Name, Rrset, Rtype, rdata};
use crate::exchange::{Bundle, Ksr, KsrBundle, UnverifiedSkr, possession};
use crate::time::Timestamp;

/// Columns of TTL, class, type and RDATA.
const COLUMNS: [usize; 4] = [24, 32, 40, 48];
/// Base64 and hex are cut by a blank every so many characters.
const CUT: usize = 56;

/// Prints an SKR as `dnssec-ksr sign` does. `made` goes to the footer, behind `generated at`: time and program.
#[must_use]
pub fn print_skr(skr: &UnverifiedSkr, made: Timestamp, program: &str) -> String {
    print_skr_grouped(&[&skr.bundles], made, program)
}

/// The same with a blank line between groups: BIND puts one between the answers to two bundles of the KSR.
#[must_use]
pub fn print_skr_grouped(groups: &[&[Bundle]], made: Timestamp, program: &str) -> String {
    let mut out = String::new();
    for (i, group) in groups.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        for bundle in *group {
            put_skr_bundle(&mut out, bundle);
        }
    }
    put_skr_footer(&mut out, made, program);
    out
}

/// Prints a KSR as `dnssec-ksr request` does.
#[must_use]
pub fn print_ksr(ksr: &Ksr, made: Timestamp, program: &str) -> String {
    let mut out = String::new();
    for bundle in &ksr.bundles {
        put_ksr_bundle(&mut out, &ksr.zone, bundle);
    }
    put_ksr_footer(&mut out, made, program);
    out
}

/// Appends one bundle of an SKR with its header: each RRset, then the signatures over it.
pub fn put_skr_bundle(out: &mut String, bundle: &Bundle) {
    put_header(out, "SignedKeyResponse", bundle.inception);
    for rrset in bundle.rrsets() {
        put_rrset(out, rrset);
        put_signatures(out, bundle, &rrset.owner, rrset.ttl, |covered| covered == rrset.rtype);
    }
    // Never made by a signer, but nothing of a model is lost in print.
    let (owner, ttl) = (&bundle.dnskey.owner, bundle.dnskey.ttl);
    put_signatures(out, bundle, owner, ttl, |covered| bundle.rrsets().all(|r| r.rtype != covered));
}

/// Appends one bundle of a KSR with its header; proofs of possession follow in comments, which BIND reads over.
pub fn put_ksr_bundle(out: &mut String, zone: &Name, bundle: &KsrBundle) {
    put_header(out, "KeySigningRequest", bundle.inception);
    for key in &bundle.keys {
        put_record(out, zone, bundle.ttl, Rtype::DNSKEY, &key.to_rdata());
        if let Some(proof) = possession::comment(bundle, key) {
            out.pop();
            let _ = writeln!(out, " ; {proof}");
        }
    }
}

/// Appends the closing line of an SKR: made when, and by which program and version.
pub fn put_skr_footer(out: &mut String, made: Timestamp, program: &str) {
    put_footer(out, "SignedKeyResponse", made, program);
}

/// Appends the closing line of a KSR: made when, and by which program and version.
pub fn put_ksr_footer(out: &mut String, made: Timestamp, program: &str) {
    put_footer(out, "KeySigningRequest", made, program);
}

fn put_header(out: &mut String, word: &str, inception: Timestamp) {
    let _ = writeln!(out, ";; {word} 1.0 {inception} ({})", inception.ctime());
}

fn put_footer(out: &mut String, word: &str, made: Timestamp, program: &str) {
    let _ = writeln!(out, ";; {word} 1.0 generated at {} by {program}", made.ctime());
}

fn put_rrset(out: &mut String, rrset: &Rrset) {
    for rdata in &rrset.rdatas {
        put_record(out, &rrset.owner, rrset.ttl, rrset.rtype, rdata);
    }
}

fn put_signatures(out: &mut String, bundle: &Bundle, owner: &Name, ttl: u32, over: impl Fn(Rtype) -> bool) {
    for signature in bundle.signatures.iter().filter(|s| over(s.covered)) {
        put_record(out, owner, ttl, Rtype::RRSIG, &signature.to_rdata());
    }
}

/// One record in one line, the fields at their columns.
fn put_record(out: &mut String, owner: &Name, ttl: u32, rtype: Rtype, rdata: &[u8]) {
    let fields = [owner.to_string(), ttl.to_string(), "IN".to_owned(), rtype.to_string()];
    let mut column = 0;
    for (field, next) in fields.iter().zip(COLUMNS) {
        out.push_str(field);
        column = indent(out, column + field.len(), next);
    }
    out.push_str(&rdata::to_text(rtype, rdata, Some(CUT)));
    out.push('\n');
}

/// Fills with tabs, then blanks, from one column to another, by one column at least.
fn indent(out: &mut String, from: usize, to: usize) -> usize {
    const TAB: usize = 8;
    let to = to.max(from + 1);
    let tabs = to / TAB - from / TAB;
    let blanks = if tabs > 0 { to % TAB } else { to - from };
    out.extend(std::iter::repeat_n('\t', tabs));
    out.extend(std::iter::repeat_n(' ', blanks));
    to
}
