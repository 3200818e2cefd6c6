//! Octets of the engine to hickory's types.
//!
//! hickory takes records, not octets. Each becomes a record of an unknown type ([`RData::Unknown`]), whose RDATA hickory emits as
//! it is: nothing is parsed, and no type can be refused or spelt anew. hickory compresses owner names in its own way, so that
//! the size differs from the engine's; [`HickoryAnswer::len`] gives the size on the wire.

use hickory_proto::op::{Edns, EdnsFlags, Header, HeaderCounts, MessageType, Metadata, OpCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption, OPT};
use hickory_proto::rr::rdata::{NULL, TSIG};
use hickory_proto::rr::{DNSClass, LowerName, Name as HickoryName, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncoder};
use hickory_server::server::ResponseInfo;
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder, Queries};

use crate::reply::{MessageParts, Opt, Rr};

const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const RD: u16 = 0x0100;
const RA: u16 = 0x0080;
const AD: u16 = 0x0020;
const CD: u16 = 0x0010;

/// An answer in hickory's types.
#[derive(Debug, Clone)]
pub(super) struct HickoryAnswer {
    pub metadata: Metadata,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
    pub edns: Option<Edns>,
    pub tsig: Option<Box<Record<TSIG>>>,
}

impl HickoryAnswer {
    /// Takes a reply over, all of it, but for the UDP size that OPT announces: hickory takes it for the limit of this answer, so it
    /// must be ours and not the smaller one that the engine was asked to keep to.
    pub fn from_reply(reply: MessageParts, max_udp: u16) -> Self {
        let flag = |bit: u16| reply.flags & bit != 0;
        let mut metadata =
            Metadata::new(reply.id, MessageType::Response, OpCode::from_u8((reply.flags >> 11 & 0x0f) as u8));
        metadata.authoritative = flag(AA);
        metadata.truncation = flag(TC);
        metadata.recursion_desired = flag(RD);
        metadata.recursion_available = flag(RA);
        metadata.authentic_data = flag(AD);
        metadata.checking_disabled = flag(CD);
        metadata.response_code = reply.rcode().into();
        Self {
            metadata,
            answers: records(reply.answers),
            authorities: records(reply.authorities),
            additionals: records(reply.additionals),
            edns: reply.opt.map(|opt| edns(opt, max_udp)),
            tsig: reply.tsig.and_then(tsig),
        }
    }

    /// The same without records and with TC set: all that fits when nothing else does. OPT stays (RFC 6891 section 7).
    pub fn truncated(self) -> Self {
        let mut metadata = self.metadata;
        metadata.truncation = true;
        Self {
            metadata,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            edns: self.edns,
            tsig: self.tsig,
        }
    }

    /// The message that hickory sends for it.
    pub fn message<'a>(
        &'a self,
        queries: &'a Queries,
    ) -> MessageResponse<
        'a,
        'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
    > {
        let mut message = MessageResponseBuilder::new(queries, self.edns.as_ref()).build(
            self.metadata,
            self.answers.iter(),
            self.authorities.iter(),
            std::iter::empty(),
            self.additionals.iter(),
        );
        if let Some(tsig) = &self.tsig {
            message.set_signature(tsig.clone());
        }
        message
    }

    /// Octets that hickory makes of it; `None` when it does not fit into a message at all.
    pub fn len(&self, queries: &Queries) -> Option<usize> {
        let mut octets = Vec::new();
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.set_max_size(u16::MAX);
        let info = self.message(queries).destructive_emit(&mut encoder).ok()?;
        let cut = info.truncation && !self.metadata.truncation;
        (!cut).then_some(octets.len())
    }

    /// What a handler returns when its answer could not be sent.
    pub fn unsent(&self) -> ResponseInfo {
        ResponseInfo::from(Header { metadata: self.metadata, counts: HeaderCounts::default() })
    }
}

/// The records of a section, whose RDATA is emitted as it is. Most have the owner of the one before, which is read once.
pub(super) fn records(section: Vec<Rr>) -> Vec<Record> {
    let mut known: Option<(keystore::dns::Name, HickoryName)> = None;
    let record = |Rr { owner, rtype, class, ttl, rdata }| {
        let before = known.take().filter(|(spelled, _)| spelled.as_wire() == owner.as_wire());
        let read = before.map_or_else(|| name(&owner), |(_, read)| read);
        let rdata = if rdata.is_empty() { NULL::new() } else { NULL::with(rdata) };
        let data = RData::Unknown { code: RecordType::from(rtype.0), rdata };
        let mut record = Record::from_rdata(read.clone(), ttl, data);
        record.dns_class = DNSClass::from(class.0);
        known = Some((owner, read));
        record
    };
    section.into_iter().map(record).collect()
}

/// A name; ours are never longer than hickory allows, as both keep to RFC 1035. It is read from its octets, as hickory reads those of a
/// message: that is several times faster than putting it together of labels.
pub(super) fn name(name: &keystore::dns::Name) -> HickoryName {
    let mut octets = BinDecoder::new(name.as_wire());
    HickoryName::read(&mut octets).unwrap_or_else(|_| HickoryName::root())
}

/// The uncompressed wire form of a name, lower case.
pub(super) fn wire(name: &LowerName) -> Vec<u8> {
    let mut wire = Vec::with_capacity(64);
    for label in name.iter() {
        wire.push(label.len() as u8);
        wire.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    wire.push(0);
    wire
}

/// OPT without its extended RCODE, which hickory takes from the response code.
fn edns(opt: Opt, max_udp: u16) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(max_udp).set_version((opt.ttl >> 16 & 0xff) as u8);
    *edns.flags_mut() = EdnsFlags::from((opt.ttl & 0xffff) as u16);
    let options =
        opt.options.into_iter().map(|(code, data)| (EdnsCode::from(code), EdnsOption::Unknown(code, data)));
    *edns.options_mut() = OPT::new(options.collect());
    edns
}

/// TSIG, which hickory puts last itself. `None` for RDATA that hickory does not read; ours it does.
fn tsig(rr: Rr) -> Option<Box<Record<TSIG>>> {
    let mut octets = rr.owner.as_wire().to_vec();
    octets.extend_from_slice(&[0, 250, 0, 255, 0, 0, 0, 0]);
    octets.extend_from_slice(&u16::try_from(rr.rdata.len()).ok()?.to_be_bytes());
    octets.extend_from_slice(&rr.rdata);
    let record = Record::<RData>::read(&mut BinDecoder::new(&octets)).ok()?;
    let RData::TSIG(data) = record.data else { return None };
    let mut tsig = Record::from_rdata(record.name, record.ttl, data);
    tsig.dns_class = DNSClass::ANY;
    Some(Box::new(tsig))
}
