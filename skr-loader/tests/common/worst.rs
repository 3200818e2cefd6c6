//! The files that cost most to judge, of each kind that anybody can write without the KSK, and good ones beside them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the test and the benchmark use a part each; a failure here is theirs"
)]

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use keystore::crypto::Algorithm;
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::exchange::{TrustAnchor, UnverifiedSkr, bind, many};
use keystore::keys::{Dnskey, FLAG_SEP, FLAG_ZONE};
use keystore::policy::Policy;
use keystore::time::Timestamp;
use offline_ksk_skr_loader::checks;
use offline_ksk_skr_loader::files::{self, NamedBy};
use offline_ksk_skr_loader::judge::{
    self, Candidate, Evidence, FileContent, Overrides, UnreadableSkr, Verdict,
};
use offline_ksk_skr_loader::store::AcceptedState;

pub const ZONE: &str = "example.";
const FOOTER: &str = ";; SignedKeyResponse 1.0 generated\n";
const MIB: usize = 1 << 20;
const DAY: u64 = 86_400;

/// A file and the check that must reject it; `None` = it is good.
pub struct Worst {
    pub name: &'static str,
    pub id: Option<&'static str>,
    pub octets: Vec<u8>,
}

pub fn now() -> Timestamp {
    Timestamp::parse_stamp("20270101000000").unwrap()
}

/// Judges the file as the loader does, from reading to the last check; the IDs that reject, or `good`.
pub fn judge(path: &Path) -> String {
    let file = match files::read(path, NamedBy::Dropper, many::max_octets(1)) {
        Ok(file) => file,
        Err(error) => return error.id().to_string(),
    };
    let ours = |zone: &Name| (*zone == Name::parse(ZONE).unwrap()).then(|| zone.clone());
    let candidates = match judge::split(&file.octets) {
        Err(unread) => vec![Err(unread)],
        Ok(FileContent::One) => vec![Candidate::read(&file.octets, ours)],
        Ok(FileContent::Many(parts)) => parts.iter().map(|part| part.read(&file.octets, ours)).collect(),
    };
    let verdicts = candidates.into_iter().map(judge_candidate);
    verdicts.fold(String::new(), |all, one| if all.is_empty() || all == "good" { one } else { all })
}

fn judge_candidate(candidate: Result<Candidate, UnreadableSkr>) -> String {
    let candidate = match candidate {
        Ok(candidate) => candidate,
        Err(unread) => return unread.finding.id.to_string(),
    };
    let evidence = Evidence {
        anchors: vec![TrustAnchor::Dnskey(TestKey::ksk(1).dnskey)].into(),
        policy: Some(Cow::Owned(Policy::with_defaults("test"))),
        state: Some(Cow::Owned(AcceptedState { next: 1, ..AcceptedState::default() })),
        ..Evidence::default()
    };
    match judge::judge(candidate, &evidence, &Overrides::default(), now()) {
        Verdict::Reject(rejection) => keystore::check::join(&checks::rejecting(&rejection.findings), ","),
        Verdict::Accept(_) | Verdict::Unchanged { .. } => "good".to_owned(),
    }
}

impl Worst {
    /// True when the verdict is what it must be; other checks may reject the file, too.
    pub fn is_right(&self, verdict: &str) -> bool {
        verdict.split(',').any(|id| id == self.id.unwrap_or("good"))
    }
}

/// All of them; `bundles` is how many the files have that take a signature for each.
pub fn all(bundles: u64) -> Vec<Worst> {
    let head = ";; SignedKeyResponse 1.0 20270110000000\n";
    let key = "example. 3600 IN DNSKEY 256 3 15 ";
    let file = |body: String| format!("{head}{body}{FOOTER}").into_bytes();
    let base64 = |octets: &[u8]| data_encoding::BASE64.encode(octets);
    let distinct: String =
        (0..10_000u32).fold(String::new(), |all, n| all + key + &base64(&n.to_be_bytes()) + "\n");
    let mut zones = String::new();
    for n in 0..20_001u32 {
        let _ = write!(zones, "{head}z{n}. 60 IN DNSKEY 256 3 15 AQID\n{FOOTER}");
    }
    let full = |unit: &str| unit.repeat(8 * MIB / unit.len() - 1).into_bytes();
    let one = |name, id, octets| Worst { name, id: Some(id), octets };
    let skr = SkrBuilder::new(ZONE, now().minus(DAY));
    let mut found = vec![
        one("100 000 bundles", "SKR-LIMITS", (head.repeat(100_000) + FOOTER).into_bytes()),
        one("10 000 keys in a bundle", "SKR-LIMITS", file(distinct)),
        one("64 KiB of key", "SKR-LIMITS", file(format!("{key}{}\n", "AAAA".repeat(16_384)))),
        one("base64 of odd length", "SKR-SYNTAX", file(format!("{key}{}\n", "A".repeat(1021)))),
        one("8 MiB and one octet", "SKR-LIMITS", vec![b'\n'; 8 * MIB + 1]),
        one("8 MiB of comments", "SKR-SYNTAX", full("; nothing to see here, and there is none below\n")),
        one("8 MiB of empty lines", "SKR-LIMITS", full("\n")),
        one("8 MiB on one line", "SKR-LIMITS", full("x")),
        one("8 MiB of octets that are no text", "SKR-LIMITS", full("\u{7f}\u{0}")),
        one("8 MiB of open parentheses", "SKR-LIMITS", full("(")),
        one(
            "an entry over 8 MiB of lines",
            "SKR-SYNTAX",
            [
                key.as_bytes(),
                b"(\n",
                &full("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")[..8 * MIB - 200],
            ]
            .concat(),
        ),
        one(
            "8 MiB of other records",
            "SKR-TYPE",
            [
                head.as_bytes(),
                &full("example. 60 IN TXT xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n")[..8 * MIB - 4200],
            ]
            .concat(),
        ),
        one("20 001 zones", "SKR-LIMITS", zones.into_bytes()),
        one("a million XML entities", "SKR-SYNTAX", xml_entities()),
        one("XML nested 100 000 deep", "SKR-SYNTAX", xml("<a>".repeat(100_000))),
        one("1 MiB of XML attributes", "SKR-SYNTAX", xml(format!("<a {}>", "b='c' ".repeat(170_000)))),
        one("KeyTrap in every bundle", "SKR-COLLISION", text(&key_trap(bundles.min(1000)))),
        one(
            "RSA-4096 with exponent 2^32+1 in every bundle",
            "SKR-BAD-SIGNATURE",
            text(&with_keys(bundles.min(4000), |_| rsa(&[1, 0, 0, 0, 1], 4096, 0))),
        ),
        one("4 000 RSA-4096 keys", "SKR-BAD-SIGNATURE", text(&many_keys(4000, |n| rsa(&[1, 0, 1], 4096, n)))),
        one("4 000 P-256 points off the curve", "SKR-KEY", text(&many_keys(4000, off_curve))),
        one("a good bundle again and again", "SKR-ORDER", text(&again(&skr, bundles))),
        one(
            "good bundles of the past",
            "SKR-EXPIRED",
            SkrBuilder::new(ZONE, now().minus(DAY * 4000))
                .bundles(bundles)
                .step(6 * 3600)
                .text()
                .into_bytes(),
        ),
        one("bundles without a trusted signature", "SKR-UNKNOWN-KSK", foreign(bundles)),
    ];
    let good = |name, skr: SkrBuilder| Worst { name, id: None, octets: skr.text().into_bytes() };
    found.push(good("good: one year", skr.clone().bundles(41)));
    found.push(good("good: ten years", skr.clone().bundles(408)));
    found.push(good("good: a bundle every six hours", skr.bundles(bundles).step(6 * 3600)));
    found
}

fn text(skr: &UnverifiedSkr) -> Vec<u8> {
    bind::print_skr(skr, now(), "a test").into_bytes()
}

fn xml(body: String) -> Vec<u8> {
    format!("<?xml version=\"1.0\"?>\n<KSR id=\"a\" serial=\"1\" domain=\".\">\n{body}").into_bytes()
}

fn xml_entities() -> Vec<u8> {
    let mut text = "<?xml version=\"1.0\"?>\n<!DOCTYPE x [\n<!ENTITY a0 \"ha\">\n".to_owned();
    for n in 1..20 {
        let _ = writeln!(text, "<!ENTITY a{n} \"{}\">", format!("&a{};", n - 1).repeat(10));
    }
    format!("{text}]>\n<KSR id=\"&a19;\" serial=\"1\" domain=\".\">\n{}", "&a19;".repeat(170_000))
        .into_bytes()
}

/// The keys of one bundle share a tag, and all signatures name it (CVE-2023-50387).
fn key_trap(bundles: u64) -> UnverifiedSkr {
    let ksk = TestKey::ksk(1).dnskey;
    let twins: Vec<Box<[u8]>> = (0..31u8)
        .map(|n| {
            let mut key = ksk.clone();
            key.public_key[0] = ksk.public_key[0].wrapping_add(n);
            key.public_key[2] = ksk.public_key[2].wrapping_sub(n);
            key.to_rdata().into()
        })
        .collect();
    with(bundles, |bundle, _| {
        bundle.dnskey.rdatas.extend(twins.iter().cloned());
        bundle.dnskey.rdatas.sort();
        bundle.dnskey.rdatas.dedup();
        let one = bundle.signatures[0].clone();
        bundle.signatures = (0..16)
            .map(|n| {
                let mut bad = one.clone();
                bad.signature[n] ^= 0x55;
                bad
            })
            .collect();
    })
}

fn with_keys(bundles: u64, key: impl Fn(u64) -> Dnskey) -> UnverifiedSkr {
    with(bundles, |bundle, n| bundle.dnskey.rdatas.push(key(n).to_rdata().into()))
}

/// So many different keys, thirty in a bundle.
fn many_keys(keys: u64, key: impl Fn(u64) -> Dnskey) -> UnverifiedSkr {
    with(keys / 30, |bundle, n| {
        bundle.dnskey.rdatas.extend((0..30).map(|k| Box::from(key(30 * n + k).to_rdata())))
    })
}

/// One bundle made and signed, and copied to all the times.
fn with(bundles: u64, change: impl Fn(&mut keystore::exchange::Bundle, u64)) -> UnverifiedSkr {
    let mut skr = SkrBuilder::new(ZONE, now().minus(DAY)).bundles(1).build();
    let model = skr.bundles.remove(0);
    skr.bundles = (0..bundles)
        .map(|n| {
            let mut bundle = model.clone();
            bundle.inception = model.inception.plus(n * 6 * 3600);
            change(&mut bundle, n);
            bundle
        })
        .collect();
    skr
}

fn again(skr: &SkrBuilder, bundles: u64) -> UnverifiedSkr {
    let mut skr = skr.clone().bundles(2).build();
    let pair = [skr.bundles[1].clone(), skr.bundles[0].clone()];
    skr.bundles = (0..bundles).map(|n| pair[n as usize % 2].clone()).collect();
    skr
}

fn foreign(bundles: u64) -> Vec<u8> {
    let skr = SkrBuilder::new(ZONE, now().minus(DAY)).ksk(TestKey::ksk(7)).zsk(TestKey::zsk(2).dnskey);
    skr.bundles(bundles).step(6 * 3600).text().into_bytes()
}

fn rsa(exponent: &[u8], bits: usize, n: u64) -> Dnskey {
    let mut public_key = vec![exponent.len() as u8];
    public_key.extend_from_slice(exponent);
    let start = public_key.len();
    public_key.resize(start + bits / 8, 0xff);
    public_key[start + 1..start + 9].copy_from_slice(&n.to_be_bytes());
    Dnskey { flags: FLAG_ZONE | FLAG_SEP, protocol: 3, algorithm: Algorithm::RSASHA256, public_key }
}

fn off_curve(n: u64) -> Dnskey {
    let mut public_key = vec![0x5a; 64];
    public_key[..8].copy_from_slice(&n.to_be_bytes());
    Dnskey { flags: FLAG_ZONE, protocol: 3, algorithm: Algorithm::ECDSAP256SHA256, public_key }
}
