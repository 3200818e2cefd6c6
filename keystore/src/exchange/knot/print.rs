//! Prints KSR and SKR as `keymgr` of Knot DNS 3.4 does, octet by octet.

use std::fmt::Write;

use data_encoding::{BASE64, HEXUPPER};

use crate::crypto::{Algorithm, check_public_key};
use crate::dns::{Name, Rrset, Rrsig, Rtype, rdata};
use crate::exchange::{Bundle, Ksr, UnverifiedSkr, possession};
use crate::keys::Dnskey;
use crate::time::Timestamp;

/// Columns of the owner.
const OWNER: usize = 20;
/// Base64 and hex are cut into lines of so many characters.
const CUT: usize = 40;
/// What a continued line starts with.
const INDENT: &str = "\n\t\t\t\t";

/// The form of the times in headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stamps {
    /// Seconds since 1970; every Knot reads them, and 3.4 and before nothing else.
    #[default]
    Unix,
    /// `YYYYMMDDHHMMSS`; Knot after 3.5.0 reads them. 3.4 takes them for seconds: the year 644019.
    Digits14,
}

/// Prints an SKR as `keymgr sign-ksr` does. `made` and `program` go to the closing line.
///
/// The records of an RRset come sorted by their data, as Knot keeps them.
#[must_use]
pub fn print_skr(skr: &UnverifiedSkr, stamps: Stamps, made: Timestamp, program: &str) -> String {
    const WORD: &str = "SignedKeyResponse";
    let mut out = String::new();
    for bundle in &skr.bundles {
        put_header(&mut out, WORD, bundle.inception, stamps);
        for rrset in bundle.rrsets() {
            put_rrset(&mut out, rrset);
        }
        put_signatures(&mut out, bundle);
    }
    put_footer(&mut out, WORD, made, program);
    out
}

/// Prints a KSR as `keymgr generate-ksr` does.
#[must_use]
pub fn print_ksr(ksr: &Ksr, stamps: Stamps, made: Timestamp, program: &str) -> String {
    const WORD: &str = "KeySigningRequest";
    let mut out = String::new();
    for bundle in &ksr.bundles {
        put_header(&mut out, WORD, bundle.inception, stamps);
        let rdatas = bundle.keys.iter().map(|k| k.to_rdata().into()).collect();
        let rrset = Rrset { owner: ksr.zone.clone(), rtype: Rtype::DNSKEY, ttl: bundle.ttl, rdatas };
        put_rrset_with(&mut out, &rrset, |rdata| {
            Dnskey::from_rdata(rdata).and_then(|key| possession::comment(bundle, &key))
        });
    }
    put_footer(&mut out, WORD, made, program);
    out
}

fn put_header(out: &mut String, word: &str, at: Timestamp, stamps: Stamps) {
    let _ = write!(out, ";; {word} 1.0 ");
    let _ = match stamps {
        // Ten digits also before 2001, which is what the readers tell the form from.
        Stamps::Unix => write!(out, "{:010}", at.secs()),
        Stamps::Digits14 => write!(out, "{at}"),
    };
    let _ = writeln!(out, " ({}) =========", at.iso());
}

fn put_footer(out: &mut String, word: &str, made: Timestamp, program: &str) {
    let _ = writeln!(out, ";; {word} 1.0 generated at {} by {program}", made.iso());
}

fn put_rrset(out: &mut String, rrset: &Rrset) {
    put_rrset_with(out, rrset, |_| None);
}

/// `proof` gives the proof of possession of a key, which comes before Knot's own comment.
fn put_rrset_with(out: &mut String, rrset: &Rrset, proof: impl Fn(&[u8]) -> Option<String>) {
    let mut rdatas: Vec<&[u8]> = rrset.rdatas.iter().map(|r| &**r).collect();
    rdatas.sort_unstable();
    for rdata in rdatas {
        let _ = match (rrset.rtype, rdata) {
            (Rtype::DNSKEY | Rtype::CDNSKEY, [flags_high, flags_low, protocol, algorithm, key @ ..]) => {
                let flags = u16::from_be_bytes([*flags_high, *flags_low]);
                put_head(out, &rrset.owner, rrset.ttl, rrset.rtype);
                let _ = write!(out, "{flags} {protocol} {algorithm} (");
                put_block(out, &BASE64.encode(key));
                let proof = proof(rdata).map_or_else(String::new, |proof| format!("{proof} ; "));
                write!(out, "{INDENT}) ; {proof}{}", about(rdata, Algorithm(*algorithm), key))
            }
            (Rtype::CDS, [tag_high, tag_low, algorithm, digest_type, digest @ ..]) => {
                let tag = u16::from_be_bytes([*tag_high, *tag_low]);
                put_head(out, &rrset.owner, rrset.ttl, rrset.rtype);
                let _ = write!(out, "{tag} {algorithm} {digest_type} (");
                put_block(out, &HEXUPPER.encode(digest));
                write!(out, "{INDENT})")
            }
            // Never made by a signer, but nothing of a model is lost in print.
            _ => {
                put_head(out, &rrset.owner, rrset.ttl, rrset.rtype);
                write!(out, "{}", rdata::to_text(rrset.rtype, rdata, None))
            }
        };
        out.push('\n');
    }
}

/// All signatures of a bundle, sorted by their data, that is, by the number of the type that they cover.
fn put_signatures(out: &mut String, bundle: &Bundle) {
    let mut sorted: Vec<(Vec<u8>, &Rrsig)> = bundle.signatures.iter().map(|s| (s.to_rdata(), s)).collect();
    sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    for (_, s) in sorted {
        let rrset = bundle.rrsets().find(|r| r.rtype == s.covered).unwrap_or(&bundle.dnskey);
        put_head(out, &rrset.owner, rrset.ttl, Rtype::RRSIG);
        let (from, to) = (s.incepts(bundle.inception), s.expires(bundle.inception));
        let _ = write!(out, "{} {} {} {} {to} (", s.covered, s.algorithm.0, s.labels, s.original_ttl);
        let _ = write!(out, "{INDENT}{from} {} {}", s.key_tag, s.signer);
        put_block(out, &BASE64.encode(&s.signature));
        let _ = writeln!(out, "{INDENT})");
    }
}

fn put_head(out: &mut String, owner: &Name, ttl: u32, rtype: Rtype) {
    let owner = owner.to_string();
    let _ = write!(out, "{owner:<OWNER$}\t{ttl} {rtype} ");
}

fn put_block(out: &mut String, text: &str) {
    // The text is ASCII.
    for (i, c) in text.chars().enumerate() {
        if i % CUT == 0 {
            out.push_str(INDENT);
        }
        out.push(c);
    }
}

/// What Knot says of a key: `ZSK, ECDSAP256SHA256 (256b), id = 53016`.
fn about(rdata: &[u8], algorithm: Algorithm, key: &[u8]) -> String {
    let role = if Dnskey::from_rdata(rdata).is_some_and(|k| k.is_ksk()) { "KSK" } else { "ZSK" };
    let tag = crate::keys::key_tag(rdata);
    let name = match algorithm.0 {
        // No key but the wish of a CDNSKEY to have the DS RRset removed (RFC 8078).
        0 => return format!("{role}, DELETE, id = {tag}"),
        7 => "RSASHA1_NSEC3_SHA1",
        _ => algorithm.mnemonic().unwrap_or("Unknown"),
    };
    let bits = check_public_key(algorithm, key).unwrap_or(0);
    format!("{role}, {name} ({bits}b), id = {tag}")
}
