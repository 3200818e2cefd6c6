//! What people and other programs write into files: zone files, key files, configurations, and what the daemons keep on disk.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use domain::base::Name as WireName;
use domain::base::name::ToName;
use domain::base::rdata::ComposeRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};
use keystore::config::Config;
use keystore::dns::{Name, Rtype};
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::files::fuzzing::{self as key_files, KeyTexts};
use keystore::policy::{named_conf, toml};
use keystore::store;
use keystore::tsig::TsigKey;
use metrics::health::model::Since;
use metrics::health::report::{ComponentReport, ZoneReports};
use signer_plugin::answer::{Arrival, Transport};
use signer_plugin::fuzzing::{self as signer, Sections};
use signer_plugin::signing::{Denial, Nsec3};

use super::answers::{NOW, REFRESH, answers, signed};
use super::dns::portable;

/// Most records that are made of one text: `$GENERATE` makes a million of a line.
const MOST_RECORDS: usize = 300;

/// True when the text could name another file, which no input may open.
fn names_files(data: &[u8]) -> bool {
    data.windows(7).any(|word| word.eq_ignore_ascii_case(b"include"))
}

/// The text of a zone file.
pub fn zone_file(data: &[u8]) -> bool {
    if names_files(data) {
        return false;
    }
    let origin = Name::parse("example.").expect("a name");
    let mut text = String::new();
    let mut records = Vec::new();
    let read = signer::read_records(data, &origin, MOST_RECORDS, &mut |record| {
        let owner = Name::from_wire(record.owner).expect("an owner");
        let (rtype, ttl) = (record.rtype, record.ttl);
        // A TTL above 2^31 - 1 reads as it is written, and counts as 0 in the zone.
        text += &format!("{owner} {ttl} IN {}\n", portable(rtype, record.rdata));
        records.push((owner, rtype, ttl, record.rdata.to_vec()));
        Ok(())
    });
    if read.is_err() {
        return false;
    }
    let mut again = Vec::new();
    let reread = signer::read_records(text.as_bytes(), &origin, usize::MAX, &mut |record| {
        let owner = Name::from_wire(record.owner).expect("an owner");
        again.push((owner, record.rtype, record.ttl, record.rdata.to_vec()));
        Ok(())
    });
    assert!(reread.is_ok(), "{reread:?}\n{text}");
    assert_eq!(again, records, "{text}");
    if let Some(domains) = domain_reads(data) {
        let ours: Vec<_> =
            records.into_iter().map(|(owner, rtype, _, rdata)| (owner, rtype, rdata)).collect();
        assert_eq!(ours, domains, "{text}");
    }
    signer::read_zone(data, &origin, MOST_RECORDS).is_ok()
}

/// The records of a zone file as `domain` reads them; `None` where it does not, or is known to read something otherwise: `@` before a
/// comment, and directives.
fn domain_reads(data: &[u8]) -> Option<Vec<(Name, Rtype, Vec<u8>)>> {
    if data.contains(&b'@') || data.contains(&b'$') {
        return None;
    }
    let mut file = Zonefile::load(&mut [data, b"\n"].concat().as_slice()).ok()?;
    file.set_origin(WireName::bytes_from_str("example.").ok()?);
    let mut records = Vec::new();
    while let Some(entry) = file.next_entry().ok()? {
        let Entry::Record(record) = entry else { return None };
        let mut owner = Vec::new();
        record.owner().compose(&mut owner).ok()?;
        let mut rdata = Vec::new();
        record.data().compose_rdata(&mut rdata).ok()?;
        records.push((Name::from_wire(&owner).ok()?, Rtype(record.rtype().to_int()), rdata));
    }
    Some(records)
}

/// The three files of a key, parted by lines of `---`.
pub fn key_files(data: &[u8]) -> bool {
    let mut parts = parts(data);
    let mut next = || parts.next().map(<[u8]>::to_vec);
    let texts =
        KeyTexts { key: next().unwrap_or_default(), private: next().unwrap_or_default(), state: next() };
    let Ok(read) = key_files::read(&texts) else { return false };
    let again = key_files::read(&read.updated).unwrap_or_else(|error| panic!("{error}: {:?}", read.updated));
    assert_eq!(again.key, read.key, "{:?}", read.updated);
    assert_eq!(again.updated, read.updated);
    if let Some(written) = &read.written {
        let again = key_files::read(written).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(again.key, read.key);
        assert_eq!(again.written.as_ref(), Some(written));
    }
    read.written.is_some()
}

/// The parts of an input between lines of `---`.
fn parts(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let octets = rest?;
        match octets.windows(5).position(|window| window == b"\n---\n") {
            Some(at) => {
                rest = Some(&octets[at + 5..]);
                Some(&octets[..=at])
            }
            None => rest.take(),
        }
    })
}

/// A `named.conf`, and the file of a TSIG key.
pub fn named_conf(data: &[u8]) -> bool {
    if names_files(data) {
        return false;
    }
    let key = TsigKey::parse(data);
    match named_conf::parse(data, Path::new("named.conf")) {
        Ok(policies) => policies.names().all(|name| {
            let _ = policies.warnings(name);
            policies.get(name).is_ok()
        }),
        Err(errors) => {
            assert!(!errors.to_string().is_empty());
            key.is_ok()
        }
    }
}

/// A configuration, or a file of policies, in TOML.
pub fn toml_files(data: &[u8]) -> bool {
    // What the settings name must not be opened: only relative paths, and none of them exists there.
    if data.windows(2).any(|pair| pair == b"..") {
        return false;
    }
    let path = Path::new("/nonexistent/offline-ksk.toml");
    if let Err(errors) = Config::parse(data, path) {
        assert!(!errors.to_string().is_empty());
    }
    match toml::parse(data, path) {
        Ok(policies) => policies.names().count() > 0,
        Err(errors) => {
            assert!(!errors.to_string().is_empty());
            false
        }
    }
}

/// The files `version` and `changes` of a zone, as sections: kind, length (two octets), payload. The kind `J` begins the second file.
/// Their checksums are made here, because no fuzzer guesses SHA-256; an input that begins with 0 is both files as they are.
pub fn zone_state(data: &[u8]) -> bool {
    let zone = Name::parse("example.").expect("a name");
    let Some((choice, rest)) = data.split_first() else { return false };
    let (version, changes) = match choice {
        0 => (rest.to_vec(), rest.to_vec()),
        _ => sealed(&sections(rest)),
    };
    let Some(signed) = signer::read_state(&version, &changes, &zone, REFRESH, NOW) else { return false };
    for query in QUERIES {
        answers(&signed, query, &Arrival::new(Transport::Udp, 1232));
    }
    let _ = signer::is_in_order(&signed, NOW);
    signed.write_to(&mut std::io::sink()).expect("a sink takes all");
    true
}

/// Queries with DO for the apex, for a name that is there, and for two that are not.
const QUERIES: [&[u8]; 4] = [
    b"\0\x01\x01\0\0\x01\0\0\0\0\0\x01\x07example\0\0\x30\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0",
    b"\0\x01\x01\0\0\x01\0\0\0\0\0\x01\x03www\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0",
    b"\0\x01\x01\0\0\x01\0\0\0\0\0\x01\x02no\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0",
    b"\0\x01\x01\0\0\x01\0\0\0\0\0\x01\x01a\x04safe\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0",
];

pub(crate) fn sections(mut data: &[u8]) -> Sections {
    let mut sections = Sections::new();
    while let Some((head, rest)) = data.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([head[1], head[2]])).min(rest.len());
        let (payload, behind) = rest.split_at(len);
        sections.push((head[0], payload.to_vec()));
        data = behind;
    }
    sections
}

/// Both files of these sections. The journal is made to follow on the snapshot, unless its first section has a payload.
pub(crate) fn sealed(sections: &Sections) -> (Vec<u8>, Vec<u8>) {
    let at = sections.iter().position(|(kind, _)| *kind == b'J').unwrap_or(sections.len());
    let (version, changes) = sections.split_at(at);
    let (version, id) = signer::seal(version);
    let mut changes = changes.to_vec();
    if let Some((_, payload)) = changes.first_mut()
        && payload.is_empty()
    {
        *payload = id.to_vec();
    }
    (version, signer::seal(&changes).0)
}

/// Inputs of [`zone_state`] that are good, for its corpus: a zone with NSEC and one with NSEC3.
pub fn zone_state_seeds() -> Vec<Vec<u8>> {
    let bundle =
        SkrBuilder::new("example.", NOW.minus(3600)).ksk(TestKey::ksk(1)).zsk(TestKey::zsk(2).dnskey);
    let bundle = bundle.build().bundles.remove(0);
    let denials = [Denial::Nsec, Denial::Nsec3(Nsec3::new(1, true))];
    let seed = |denial: Denial| {
        let (version, changes) = signer::stored(&signed(denial.clone()), &bundle, &denial, NOW);
        let mut journal = signer::open(&changes);
        journal[0].1.clear();
        let mut out = vec![1];
        for (kind, payload) in signer::open(&version).into_iter().chain(journal) {
            out.push(kind);
            out.extend(u16::try_from(payload.len()).expect("a small zone").to_be_bytes());
            out.extend(payload);
        }
        out
    };
    denials.into_iter().map(seed).collect()
}

/// The small files of the state folder, chosen by the first octet.
pub fn state_files(data: &[u8]) -> bool {
    let Some((choice, text)) = data.split_first() else { return false };
    match choice % 8 {
        0 => signer::serial(text).is_some(),
        1 => store::parse_current(text)
            .map(|(generation, digest)| {
                assert_eq!(store::format_current(generation, &digest).as_bytes(), text);
            })
            .is_some(),
        2 => skr_loader::fuzzing::revoked_lines(&String::from_utf8_lossy(text)) > 0,
        3 => skr_loader::fuzzing::replaced_marks(text.to_vec()).is_some_and(|marks| marks > 0),
        4 => {
            let since = Since::parse(&String::from_utf8_lossy(text));
            assert_eq!(Since::parse(&since.to_text()), since);
            since != Since::default()
        }
        5 => rereads::<ComponentReport>(text),
        6 => rereads::<ZoneReports>(text),
        _ => rereads::<skr_loader::audit::Record>(text),
    }
}

/// JSON that reads as a value is written so that it reads as the same value; true when it reads.
pub(crate) fn rereads<T>(text: &[u8]) -> bool
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Ok(value) = serde_json::from_slice::<T>(text) else { return false };
    let again = serde_json::to_vec(&value).expect("a value that was read is written");
    assert_eq!(serde_json::from_slice::<T>(&again).expect("what was written reads"), value);
    true
}

/// Detached signatures in CMS over a file, by a pinned certificate.
pub fn cms(data: &[u8]) -> bool {
    use keystore::crypto::cms::{CmsCertificate, CmsError, is_whole, verify_detached};
    static PINNED: OnceLock<Arc<Vec<CmsCertificate>>> = OnceLock::new();
    let pinned = PINNED.get_or_init(|| {
        Arc::new(CmsCertificate::read_pem(include_bytes!("../seeds/operator.pem")).expect("a certificate"))
    });
    let whole = is_whole(data);
    let _ = CmsCertificate::read_pem(data);
    match verify_detached(data, SIGNED, pinned, NOW) {
        Err(error) => {
            assert_eq!(whole, error != CmsError::Syntax, "{error}");
            false
        }
        Ok(_) => {
            assert!(whole && verify_detached(data, b"another file", pinned, NOW).is_err());
            true
        }
    }
}

/// What the seeds of [`cms`] sign.
const SIGNED: &[u8] = b"the file that is signed\n";
