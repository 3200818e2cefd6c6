//! What changes the content of a zone: updates, transfers from a primary, and the files that keep what they have made.

use std::sync::{Arc, OnceLock};

use keystore::dns::Name;
use signer_plugin::fuzzing as signer;
use signer_plugin::zone::Zone;

use super::answers::{NOW, ZONE};
use super::files::{sealed, sections};

/// The zone that changes.
pub(crate) fn zone() -> &'static Arc<Zone> {
    static READ: OnceLock<Arc<Zone>> = OnceLock::new();
    READ.get_or_init(|| {
        let origin = Name::parse("example.").expect("a name");
        Arc::new(signer::read_zone(ZONE.as_bytes(), &origin, usize::MAX).expect("a zone"))
    })
}

/// A DNS UPDATE message (RFC 2136). What it makes is a zone that reads from a file as the same: what is checked of a change is what is checked
/// of a zone file.
pub fn update(data: &[u8]) -> bool {
    let Some(next) = signer::update(zone(), data) else { return false };
    reads_again(&next);
    true
}

/// The messages of a primary, each with two octets of length in front as over TCP; the first octet chooses AXFR or IXFR.
pub fn incoming_transfer(data: &[u8]) -> bool {
    let Some((choice, mut octets)) = data.split_first() else { return false };
    let messages = std::iter::from_fn(|| {
        let (len, rest) = octets.split_first_chunk::<2>()?;
        let (message, behind) = rest.split_at(rest.len().min(usize::from(u16::from_be_bytes(*len))));
        octets = behind;
        Some(message.to_vec())
    });
    let Some(next) = signer::receive(zone(), choice & 1 == 0, messages, NOW) else { return false };
    reads_again(&next);
    true
}

/// The files `content` and `content-changes`, as sections whose checksums are made to be right. What they hold is written so that it reads as
/// the same.
pub fn zone_content(data: &[u8]) -> bool {
    let (content, changes) = sealed(&sections(data));
    let origin = zone().origin();
    let Some([base, current]) = signer::read_content(&content, &changes, origin) else { return false };
    let (content, changes) = signer::stored_content(&base, &current, &base);
    let [base_again, last] =
        signer::read_content(&content, &changes, origin).expect("what was written reads");
    assert!(signer::have_same_content(&base, &base_again), "the base");
    assert!(
        signer::have_same_content(&base, &last),
        "the change takes back what the content has beside the base"
    );
    let [_, current_again] = signer::read_content(&content, &changes[..HEAD], origin).expect("no change");
    assert!(signer::have_same_content(&current, &current_again), "the content");
    true
}

/// The file `differences-0`, as sections whose checksums are made to be right. What it holds is written so that it reads as the same, and its
/// differences are put together as for a secondary that is behind.
pub fn zone_differences(data: &[u8]) -> bool {
    let (octets, _) = signer::seal(&sections(data));
    let Some(read) = signer::read_differences(&octets, zone().origin()) else { return false };
    let written = signer::stored_differences(&read, zone().origin());
    let again = signer::read_differences(&written, zone().origin()).expect("what was written reads");
    assert_eq!(again, read);
    let Some(merged) = signer::merged_differences(&read) else { return false };
    let written = signer::stored_differences(&merged, zone().origin());
    assert_eq!(signer::read_differences(&written, zone().origin()), Some(merged));
    true
}

/// Octets of `content-changes` in front of the first change.
const HEAD: usize = 10 + 9 + 32 + 8 + 16;

fn reads_again(zone: &Zone) {
    let text = signer::text_of(zone);
    let shown = || String::from_utf8_lossy(&text);
    let again =
        signer::read_zone(&text, zone.origin(), usize::MAX).unwrap_or_else(|e| panic!("{e}\n{}", shown()));
    assert!(signer::have_same_content(&again, zone), "it reads as another zone\n{}", shown());
}

/// Inputs of [`zone_content`] that are good: content with a change of a file, and a change behind it.
pub fn zone_content_seeds() -> Vec<Vec<u8>> {
    let change = |message: &[u8]| Arc::new(signer::update(zone(), message).expect("an update that changes"));
    let seed = |current: &Zone, next: &Zone| {
        let (content, changes) = signer::stored_content(zone(), current, next);
        let mut journal = signer::open(&changes);
        journal[0].1.clear();
        in_octets(signer::open(&content).into_iter().chain(journal))
    };
    let updates = update_seeds();
    vec![seed(zone(), zone()), seed(&change(&updates[0]), zone()), seed(zone(), &change(&updates[1]))]
}

/// Inputs of [`zone_differences`]: one difference, and two that follow on each other.
pub fn zone_differences_seeds() -> Vec<Vec<u8>> {
    let (versions, origin) =
        ([(7, [192, 0, 2, 7]), (8, [192, 0, 2, 8]), (10, [192, 0, 2, 7])], zone().origin());
    let file = |versions| signer::stored_differences(&signer::differences_of(origin, versions), origin);
    [&versions[..2], &versions[..]].map(|versions| in_octets(signer::open(&file(versions)))).to_vec()
}

/// Sections as the targets take them.
fn in_octets(sections: impl IntoIterator<Item = (u8, Vec<u8>)>) -> Vec<u8> {
    sections.into_iter().fold(Vec::new(), |mut out, (kind, payload)| {
        out.push(kind);
        out.extend(u16::try_from(payload.len()).expect("a small zone").to_be_bytes());
        out.extend(payload);
        out
    })
}

/// A record of class `class` whose owner is this and the name of the zone.
fn record(owner: &[u8], rtype: u16, class: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).expect("a short record").to_be_bytes();
    [owner, &[0xc0, 12], &rtype.to_be_bytes(), &class.to_be_bytes(), &ttl.to_be_bytes(), &len, data].concat()
}

/// A message with this second header word, one question for the zone, and these records in the second and third section.
fn message(flags: u16, qtype: u16, [second, third]: [&[Vec<u8>]; 2]) -> Vec<u8> {
    let count = |records: &[Vec<u8>]| u16::try_from(records.len()).expect("few").to_be_bytes();
    let head = [&[0, 1][..], &flags.to_be_bytes(), &[0, 1], &count(second), &count(third), &[0, 0]].concat();
    let question = [b"\x07example\0", &qtype.to_be_bytes()[..], &[0, 1]].concat();
    [head, question, second.concat(), third.concat()].concat()
}

/// Inputs of [`update`] that change the zone, each in another way.
pub fn update_seeds() -> Vec<Vec<u8>> {
    const UPDATE: u16 = 5 << 11;
    let (none, any) = (254, 255);
    let www = b"\x03www";
    let no = |owner: &[u8], rtype| record(owner, rtype, any, 0, &[]);
    [
        // A new name; one whose addresses go; a record that goes; a name that goes, if it is there.
        (vec![], vec![record(b"\x03New", 1, 1, 60, &[192, 0, 2, 7])]),
        (vec![record(www, 1, any, 0, &[])], vec![no(www, 1), record(www, 1, 1, 60, &[192, 0, 2, 81])]),
        (vec![record(www, 1, 1, 0, &[192, 0, 2, 80])], vec![record(www, 16, none, 0, b"\x01t")]),
        (vec![record(b"\x02no", 255, none, 0, &[])], vec![no(b"\x04safe", 255)]),
        // A delegation, an alias, a DNAME, a text of its own spelling.
        (vec![], vec![record(b"\x03sub", 2, 1, 60, b"\x02ns\xc0\x0c")]),
        (
            vec![],
            vec![record(b"\x01c", 5, 1, 60, b"\x03www\xc0\x0c"), record(b"\x01d", 39, 1, 60, b"\x01e\0")],
        ),
        (
            vec![],
            vec![record(b"\x01*", 16, 1, 0, b"\x03A;\"\0"), record(b"", 15, 1, 9, b"\0\x05\x04MAIL\xc0\x0c")],
        ),
    ]
    .map(|(prerequisites, updates)| message(UPDATE, 6, [&prerequisites, &updates]))
    .to_vec()
}

/// Inputs of [`incoming_transfer`]: a whole zone by AXFR and by IXFR, and differences.
pub fn incoming_transfer_seeds() -> Vec<Vec<u8>> {
    let soa = |serial: u8| {
        let times = [0, 0, 0, serial, 0, 0, 14, 16, 0, 0, 1, 44, 0, 9, 58, 128, 0, 0, 2, 88];
        let names = b"\x03ns1\x07example\0\x05admin\x07example\0";
        record(b"", 6, 1, 3600, &[&names[..], &times].concat())
    };
    let a = |last: u8| record(b"\x03www", 1, 1, 3600, &[192, 0, 2, last]);
    let ns = record(b"", 2, 1, 3600, b"\x03ns1\xc0\x0c");
    let whole = [soa(9), ns, a(1), soa(9)];
    let differences = [soa(10), soa(7), a(80), soa(9), a(81), soa(9), a(81), soa(10), a(82), soa(10)];
    [(0, 252, &whole[..]), (1, 251, &whole), (1, 251, &differences)]
        .map(|(choice, qtype, records)| {
            // Two messages: where one ends means nothing.
            let parts = records.split_at(2);
            let messages = [parts.0, parts.1].map(|part| message(0x8400, qtype, [part, &[]]));
            let framed = messages.map(|octets| {
                [&u16::try_from(octets.len()).expect("a short message").to_be_bytes()[..], &octets].concat()
            });
            [&[choice][..], &framed.concat()].concat()
        })
        .to_vec()
}
