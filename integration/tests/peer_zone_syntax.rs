//! Every record type in every spelling, good and bad: what BIND, Knot and NSD make of each zone file stands beside what we make of it,
//! and what we write of the good ones all of them read.

mod common;
#[path = "common/raw_zone.rs"]
mod raw_zone;
#[path = "peer_zone_syntax/servers.rs"]
mod servers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use keystore::crypto::{Algorithm, PrivateKey, SigningKey};
use keystore::dns::{Name, Rtype, rdata};
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::time::Timestamp;
use rayon::prelude::*;
use signer_plugin::rules::ZoneRules;
use signer_plugin::signing::{Denial, SigningPolicy, SigningTimes, ZoneKey, sign};
use signer_plugin::zone::Zone;

const RECORDS: &str = include_str!("peer_zone_syntax/records.txt");
const HEAD: &str = "$TTL 60\n@ SOA ns host 1 2 3 4 5\n NS ns\nns A 192.0.2.1\n";

/// Types, and why one of us and BIND reads what the other refuses.
const DIFFERENCES: &[(&str, &str)] = &[
    ("MD", "BIND refuses it as obsolete"),
    ("MF", "BIND refuses it as obsolete"),
    ("CLA", "BIND 9.20 does not know the type yet"),
    ("IPN", "BIND 9.20 does not know the type yet"),
    ("UNECE", "BIND 9.20 does not know the type yet"),
    ("ISO", "BIND 9.20 does not know the type yet"),
    ("SIG", "BIND reads times of 14 digits only"),
    ("RRSIG", "BIND takes a second 60, which Knot and NSD refuse too"),
    ("SOA", "it is another SOA than that of the apex, which BIND refuses and the reader does not judge"),
];

/// Types that an unsigned zone does not hold, or not so: the signer makes them, or they belong to the apex or to a delegation.
const NOT_IN_A_ZONE: &[&str] = &[
    "SOA",
    "RRSIG",
    "SIG",
    "NXT",
    "NSEC",
    "NSEC3",
    "NSEC3PARAM",
    "DNSKEY",
    "CDS",
    "CDNSKEY",
    "DS",
    "ZONEMD",
    "KEY",
    "MD",
    "MF",
];

/// Records that BIND reads and another one of the three refuses in every form, and why.
const NOT_READ_BY_ALL: &[(&str, &str)] = &[
    ("ATMA \\# 2 0201", "NSD knows the formats 0 and 1 only"),
    ("DHCID AAAA", "NSD wants the length of a digest"),
    ("OPENPGPKEY AAAA", "NSD wants what begins as a key does"),
    ("IPSECKEY 10 3 0 gw AAAA", "NSD refuses a key behind algorithm 0"),
    ("NSAP-PTR foo", "NSD 4.11 refuses the type in every form"),
    ("DLV 1 RSASHA256 99 ab", "NSD wants a digest type that it knows"),
];

fn records() -> Vec<&'static str> {
    RECORDS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect()
}

fn split(record: &str) -> (&str, &str) {
    record.split_once(' ').unwrap_or((record, ""))
}

/// The record data in wire form when we read it.
fn wire(record: &str) -> Option<(Rtype, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("zone");
    fs::write(&path, format!("{HEAD}x {record}\n")).expect("a file");
    let read = raw_zone::ours(&path).ok()?;
    let found = read.iter().find(|(owner, ..)| owner == "x.example.")?;
    let hex = found.3.split(' ').nth(2).unwrap_or_default();
    Some((found.2, data_encoding::HEXUPPER.decode(hex.as_bytes()).expect("hexadecimal")))
}

/// The record in every spelling, each a whole zone file.
fn spellings(record: &str) -> Vec<(&'static str, String)> {
    let (rtype, data) = split(record);
    let mut all = vec![
        ("as it is", format!("x {rtype} {data}\n")),
        ("TTL and class", format!("x 1h IN {rtype} {data}\n")),
        ("class, TTL, lower case, CR LF", format!("x in 3600 {} {data}\r\n", rtype.to_lowercase())),
        ("parentheses and a comment", format!("x {rtype} ( {data} ) ; a comment\n")),
    ];
    if let Ok(number) = rtype.parse::<Rtype>() {
        all.push(("type by its number", format!("x TYPE{} {data}\n", number.0)));
    }
    if let Some((number, octets)) = wire(record) {
        let generic = rdata::to_text(Rtype(65280), &octets, None);
        all.push(("generic form", format!("x TYPE{} {generic}\n", number.0)));
    }
    all.into_iter().map(|(what, body)| (what, format!("{HEAD}{body}"))).collect()
}

fn succeeds(command: Option<Command>, arguments: &[&str], file: &Path) -> Option<bool> {
    let output = command?.args(arguments).arg(file).output().expect("the program runs");
    Some(output.status.success())
}

/// One line of the table.
struct Row {
    record: &'static str,
    spelling: &'static str,
    ours: bool,
    bind: bool,
    knot: bool,
    nsd: bool,
    /// BIND and we read other records from the file.
    differs: Option<String>,
}

fn judge(record: &'static str, spelling: &'static str, text: &str) -> Option<Row> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("zone");
    fs::write(&path, text).expect("a file");
    let ours = raw_zone::ours(&path);
    let bind = raw_zone::binds(folder.path(), "zone")?;
    let differs = match (&ours, &bind) {
        (Ok(ours), Ok(theirs)) if ours != theirs => Some(format!("{ours:?}\n{theirs:?}")),
        _ => None,
    };
    Some(Row {
        record,
        spelling,
        ours: ours.is_ok(),
        bind: bind.is_ok(),
        knot: succeeds(common::peer("kzonecheck"), &["-o", "example."], &path)?,
        nsd: succeeds(common::peer("nsd-checkzone"), &["example."], &path)?,
        differs,
    })
}

#[test]
fn kind_17_zone_files_of_every_type_and_spelling_are_judged_as_bind_judges_them() {
    let files: Vec<_> = records()
        .into_iter()
        .flat_map(|record| spellings(record).into_iter().map(move |(what, text)| (record, what, text)))
        .collect();
    assert!(files.len() >= 600, "{} zone files", files.len());
    let rows: Vec<Option<Row>> =
        files.par_iter().map(|(record, what, text)| judge(record, what, text)).collect();
    let Some(rows) = rows.into_iter().collect::<Option<Vec<Row>>>() else { return };
    let word = |good: bool| if good { "good" } else { "-" };
    let mut table = String::from("ours  BIND  Knot  NSD   record (spelling)\n");
    let mut unlisted = Vec::new();
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        let line = format!(
            "{:<5} {:<5} {:<5} {:<5} {} ({})",
            word(row.ours),
            word(row.bind),
            word(row.knot),
            word(row.nsd),
            row.record,
            row.spelling
        );
        let _ = writeln!(table, "{line}");
        let listed = DIFFERENCES.iter().find(|(rtype, _)| *rtype == split(row.record).0);
        if row.ours != row.bind || row.differs.is_some() {
            match listed {
                Some((rtype, _)) => *met.entry(rtype).or_default() += 1,
                None => unlisted.push(format!("{line} {}", row.differs.as_deref().unwrap_or_default())),
            }
        }
        if row.bind && row.knot && row.nsd && !row.ours {
            unlisted.push(format!("all others read it: {line}"));
        }
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("zone-verdicts.txt");
    fs::write(&path, &table).expect("the table");
    assert!(unlisted.is_empty(), "{} of {} files\n{}", unlisted.len(), rows.len(), unlisted.join("\n"));
    for (rtype, why) in DIFFERENCES {
        assert!(met.contains_key(rtype), "no difference any more: {rtype}, {why}; see {}", path.display());
    }
}

#[test]
fn kind_17_types_have_the_names_that_bind_and_knot_have_for_them() {
    // One NSEC record whose bitmap has every type there is, and what each prints of it.
    let mut octets = b"\x01y\0".to_vec();
    for window in 0..=255 {
        octets.extend([window, 32]);
        octets.extend(if window == 0 { [&[0x7f][..], &[255; 31]].concat() } else { vec![255; 32] });
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("zone");
    let record = format!("x TYPE47 {}\n", rdata::to_text(Rtype(65280), &octets, None));
    fs::write(&path, format!("{HEAD}{record}")).expect("a file");
    let bind = ["-q", "-k", "ignore", "-n", "ignore", "-i", "none", "-o", "-", "example."];
    for (mut command, arguments, least) in
        [(peer!("named-compilezone"), &bind[..], 90), (peer!("kzonecheck"), &["-p", "-o", "example."], 55)]
    {
        let output = command.args(arguments).arg(&path).output().expect("the program runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let line = text.lines().find(|line| line.contains("y. A NS ")).expect("the record is printed");
        let (_, types) = line.split_once("y. ").expect("types behind the name");
        let types: Vec<&str> = types.split_whitespace().collect();
        assert_eq!(types.len(), 65535, "every type is printed");
        let of_theirs =
            |(number, name): (u16, &&str)| (!name.starts_with("TYPE")).then(|| (number, (*name).to_owned()));
        let theirs: Vec<(u16, String)> = (1..=u16::MAX).zip(&types).filter_map(of_theirs).collect();
        assert!(theirs.len() >= least, "{} types", theirs.len());
        for (number, name) in theirs {
            assert_eq!(Rtype(number).to_string(), name);
            assert_eq!(name.parse(), Ok(Rtype(number)));
        }
    }
}

#[test]
fn kind_15_signed_zone_with_every_type_is_read_by_bind_knot_and_nsd() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("zone");
    let good = records().into_iter().filter(|record| {
        let (rtype, _) = split(record);
        let refused = NOT_READ_BY_ALL.iter().any(|(bad, _)| bad == record);
        !refused && !NOT_IN_A_ZONE.contains(&rtype) && wire(record).is_some()
    });
    let mut text = HEAD.to_owned();
    for (n, record) in good.enumerate() {
        // Owners whose labels some program would read otherwise, were they written bare.
        let odd =
            ["", "[", "\\+", "\\'", "\\=", "\\@", "\\$", "\\;", "\\\"", "\\(", "\\.", "\\\\", "/"][n % 13];
        let _ = writeln!(text, "{odd}r{n} {record}");
    }
    fs::write(&path, &text).expect("a file");
    let origin = Name::parse("example.").expect("a name");
    let zone = Arc::new(Zone::load(&path, &origin, ZoneRules::default()).expect("a zone"));
    let now = keystore::clock::now();
    let bundle = SkrBuilder::new("example.", now).bundles(1).build().bundles.remove(0);
    let private = PrivateKey::Raw(vec![2; 32]).signer(Algorithm::ED25519).expect("a signer");
    let key = ZoneKey { dnskey: TestKey::zsk(2).dnskey, signer: Arc::<dyn SigningKey>::from(private) };
    let times = SigningTimes { validity: 14 * 86_400, refresh: 5 * 86_400, jitter: 3600 };
    let policy = SigningPolicy { times, denial: Denial::Nsec, zonemd: false };
    let signed =
        sign(&zone, &bundle, &[key], &policy, 1, None, Timestamp::from_secs(now.secs())).expect("signs");
    let mut octets = Vec::new();
    signed.write_to(&mut octets).expect("memory");
    let file = folder.path().join("signed");
    fs::write(&file, octets).expect("a file");
    common::run(peer!("dnssec-verify").args(["-o", "example."]).arg(&file));
    common::run(
        peer!("named-checkzone").args(["-k", "ignore", "-n", "ignore", "-i", "none", "example."]).arg(&file),
    );
    common::run(peer!("nsd-checkzone").arg("example.").arg(&file));
    common::run(peer!("kzonecheck").args(["-o", "example."]).arg(&file));
    // ldns 1.8 reads lists with escapes in SVCB, and SINK, into other octets; it must read the file.
    let output = peer!("ldns-verify-zone").arg(&file).output().expect("ldns-verify-zone runs");
    assert!(!common::text(&output).contains("Syntax error"), "{}", common::text(&output));
}
