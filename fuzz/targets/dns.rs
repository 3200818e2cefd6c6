//! Names, record data and records: what is read is printed so that it reads as the same octets, and `domain` and hickory read the same.

use std::str::FromStr;

use domain::base::name::ParsedName;
use domain::base::rdata::{ComposeRecordData, ParseAnyRecordData};
use domain::dep::octseq::Parser;
use domain::rdata::AllRecordData;
use domain::zonefile::inplace::{Entry, ScannedRecordData, Zonefile};
use hickory_proto::rr::{Name as HickoryName, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, Restrict};
use keystore::dns::lexer::Entries;
use keystore::dns::record;
use keystore::dns::{Name, PortableRtype, Rtype, rdata, ttl};
use keystore::time::{Timestamp, duration, syntax};

type WireName = domain::base::Name<Vec<u8>>;

/// A name, in wire form and in text.
pub fn name(data: &[u8]) -> bool {
    let ours = Name::from_wire(data);
    let domains = WireName::from_octets(data.to_vec());
    assert_eq!(ours.is_ok(), domains.is_ok(), "a name in wire form");
    if let Ok(name) = &ours {
        name_reads_again(name);
        let text = name.to_string();
        let domains = WireName::from_str(&text).expect("domain reads our text of a name");
        assert_eq!(domains.as_slice(), data);
        let hickorys = HickoryName::from_bytes(data).expect("hickory reads a name in wire form");
        assert_eq!(hickorys.to_bytes().expect("a name is short"), data);
    }
    let Ok(name) = Name::parse_bytes(data, None) else { return ours.is_ok() };
    name_reads_again(&name);
    let origin = Name::parse("example.").expect("a name");
    if let Ok(below) = Name::parse_bytes(data, Some(&origin)) {
        assert!(below == name || below.as_wire().ends_with(origin.as_wire()), "{below} of {name}");
    }
    // Knot, BIND and `domain` do not agree on which octets may stand bare; whoever reads the text reads the same name.
    if let Some(domains) = std::str::from_utf8(data).ok().and_then(|text| WireName::from_str(text).ok()) {
        assert_eq!(domains.as_slice(), name.as_wire());
    }
    true
}

fn name_reads_again(name: &Name) {
    let text = name.to_string();
    assert!(text.is_ascii(), "{text:?}");
    assert_eq!(Name::parse(&text).as_ref().map(Name::as_wire), Ok(name.as_wire()), "{text}");
    assert_eq!(name.labels().count(), name.label_count());
    assert!(name.parent().is_none_or(|parent| parent.label_count() + 1 == name.label_count()));
}

/// Record data in wire form behind two octets of its type.
pub fn rdata_wire(data: &[u8]) -> bool {
    let Some((head, octets)) = data.split_first_chunk::<2>() else { return false };
    let rtype = Rtype(u16::from_be_bytes(*head));
    if octets.len() > rdata::MAX_RDATA || rtype.is_meta() {
        return false;
    }
    let ours = rdata::check(rtype, octets).is_ok();
    let canonical = rdata::canonical(rtype, octets);
    assert_eq!(canonical.len(), octets.len());
    assert_eq!(rdata::canonical(rtype, &canonical), canonical, "the canonical form of the canonical form");
    // Malformed data is printed in the generic form, which is checked when it is read.
    for text in [rdata::to_text(rtype, octets, None), rdata::to_text(rtype, octets, Some(56))] {
        let read = record_of(&format!("{rtype} {text}"));
        assert_eq!(read, ours.then(|| (rtype, octets.to_vec())), "{rtype} {text}");
    }
    let portable = portable(rtype, octets);
    assert_eq!(record_of(&portable), ours.then(|| (rtype, octets.to_vec())), "{portable}");
    let domains = domain_agrees(rtype, octets, ours.then_some(&*canonical));
    assert!(domains || !ours || !READ_BY_BOTH.contains(&rtype), "{rtype}: we read it, and `domain` does not");
    assert!(ours || !domains || !READ_ALIKE.contains(&rtype), "{rtype}: `domain` reads it, and we do not");
    if ours {
        hickory_agrees(rtype, octets);
    }
    ours
}

/// Type and data of a record, as all programs read them.
pub fn portable(rtype: Rtype, octets: &[u8]) -> String {
    let mut text = format!("{}\t", PortableRtype(rtype));
    rdata::print_portable(rtype, octets, &mut text);
    text
}

/// Types of which `domain` reads all that we read.
const READ_BY_BOTH: [Rtype; 20] = [
    Rtype::A,
    Rtype::AAAA,
    Rtype::NS,
    Rtype::CNAME,
    Rtype::DNAME,
    Rtype::PTR,
    Rtype::SOA,
    Rtype::MX,
    Rtype::SRV,
    Rtype::TXT,
    Rtype::HINFO,
    Rtype::NAPTR,
    Rtype::DS,
    Rtype::CDS,
    Rtype::DNSKEY,
    Rtype::CDNSKEY,
    Rtype::RRSIG,
    Rtype::NSEC,
    Rtype::NSEC3,
    Rtype::NSEC3PARAM,
];

/// Types of which we read all that `domain` reads. It takes others where they are empty: no string, no digest, no key, no types.
const READ_ALIKE: [Rtype; 11] = [
    Rtype::A,
    Rtype::AAAA,
    Rtype::NS,
    Rtype::CNAME,
    Rtype::DNAME,
    Rtype::PTR,
    Rtype::SOA,
    Rtype::MX,
    Rtype::SRV,
    Rtype::HINFO,
    Rtype::NSEC3PARAM,
];

/// The record of a text without owner, read as in a zone file whose origin is the root.
fn record_of(text: &str) -> Option<(Rtype, Vec<u8>)> {
    let line = format!(". {text}");
    let mut entries = Entries::new(line.as_bytes());
    let entry = entries.next()?.ok()?;
    assert!(entries.next().is_none(), "{text:?} is more than a line");
    let record = record::parse(&entry, Some(&Name::root()), None).ok()?;
    Some((record.rtype, record.rdata))
}

/// Types whose canonical form `domain` makes as RFC 4034 section 6.2 has it.
const CANONICAL: [Rtype; 8] =
    [Rtype::NS, Rtype::CNAME, Rtype::SOA, Rtype::MX, Rtype::PTR, Rtype::SRV, Rtype::DNAME, Rtype::RRSIG];

/// True when `domain` reads the octets too; then it writes the same ones again, and the canonical form that is given.
fn domain_agrees(rtype: Rtype, octets: &[u8], canonical: Option<&[u8]>) -> bool {
    let mut parser = Parser::from_ref(octets);
    let read = AllRecordData::<_, ParsedName<_>>::parse_any_rdata(rtype.0.into(), &mut parser);
    let Ok(read) = read else { return false };
    let mut again = Vec::new();
    read.compose_rdata(&mut again).expect("a vector takes all");
    // It follows compression pointers, which record data by itself cannot have.
    if parser.remaining() > 0 || again.len() != octets.len() {
        return false;
    }
    assert_eq!(again, octets, "{rtype} as `domain` reads it");
    if let Some(canonical) = canonical.filter(|_| CANONICAL.contains(&rtype)) {
        let mut again = Vec::new();
        read.compose_canonical_rdata(&mut again).expect("a vector takes all");
        assert_eq!(again, canonical, "{rtype} in the canonical form");
    }
    true
}

fn hickory_agrees(rtype: Rtype, octets: &[u8]) {
    let Ok(len) = u16::try_from(octets.len()) else { return };
    let mut decoder = BinDecoder::new(octets);
    let Ok(read) = RData::read(&mut decoder, RecordType::from(rtype.0), Restrict::new(len)) else { return };
    if let Ok(again) = read.to_bytes_uncompressed() {
        assert_eq!(again, octets, "{rtype} as hickory reads it: {read:?}");
    }
}

/// The octets of hickory's record data with whole names.
trait Uncompressed {
    fn to_bytes_uncompressed(&self) -> Result<Vec<u8>, hickory_proto::ProtoError>;
}

impl Uncompressed for RData {
    fn to_bytes_uncompressed(&self) -> Result<Vec<u8>, hickory_proto::ProtoError> {
        use hickory_proto::serialize::binary::{BinEncoder, NameEncoding};
        let mut out = Vec::new();
        let mut encoder = BinEncoder::new(&mut out);
        encoder.set_name_encoding(NameEncoding::Uncompressed);
        self.emit(&mut encoder)?;
        Ok(out)
    }
}

/// A record in text, without its owner.
pub fn record_text(data: &[u8]) -> bool {
    if data.contains(&b'\n') || data.contains(&b'\r') {
        return false;
    }
    let line = [b". 3600 IN ", data].concat();
    let mut entries = Entries::new(&line);
    let Some(Ok(entry)) = entries.next() else { return false };
    let Ok(record) = record::parse(&entry, Some(&Name::root()), None) else { return false };
    let (rtype, octets) = (record.rtype, record.rdata);
    assert_eq!(rdata::check(rtype, &octets), Ok(()), "{rtype} that was read from text");
    let text = rdata::to_text(rtype, &octets, None);
    assert_eq!(record_of(&format!("{rtype} {text}")), Some((rtype, octets.clone())), "{rtype} {text}");
    // `domain` takes an `@` before a comment for a label, BIND for the origin; and it decodes base64 in `key5=`, where BIND and Knot take
    // the octets as they are (RFC 9460 section 2.1). We do as they do.
    if !data.contains(&b'@')
        && !text.contains("ech=")
        && let Some(domains) = domain_reads(&line)
    {
        assert_eq!(domains, (rtype, octets), "{text}");
    }
    true
}

/// The only record of a line as `domain` reads it.
fn domain_reads(line: &[u8]) -> Option<(Rtype, Vec<u8>)> {
    let mut file = Zonefile::load(&mut [line, b"\n"].concat().as_slice()).ok()?;
    file.set_origin(domain::base::Name::root_bytes());
    let Ok(Some(Entry::Record(record))) = file.next_entry() else { return None };
    let mut octets = Vec::new();
    let data: ScannedRecordData = record.data().clone();
    data.compose_rdata(&mut octets).ok()?;
    Some((Rtype(record.rtype().to_int()), octets))
}

/// Times, durations and TTLs in text.
pub fn times(data: &[u8]) -> bool {
    let _ = ttl::parse(data);
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let now = Timestamp::from_secs(1_800_000_000);
    if let Some(time) = Timestamp::parse_stamp(text) {
        assert_eq!(time.to_string(), text);
    }
    let _ = duration::parse(text);
    let Ok(Some(time)) = syntax::parse(text, now) else { return false };
    assert!(u32::try_from(time.secs()).is_ok(), "{text}");
    assert_eq!(syntax::parse(&time.to_string(), now), Ok(Some(time)), "{text}");
    true
}
