//! [`SignerZoneHandler`]: our zone as one handler of a chain inside hickory's `Catalog`.

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::dnssec::Nsec3HashAlgorithm;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{LowerName, RecordType, TSigResponseContext};
use hickory_server::dnssec::NxProofKind;
use hickory_server::server::{Request, RequestInfo};
use hickory_server::zone_handler::{
    AuthLookup, AxfrPolicy, LookupControlFlow, LookupError, LookupOptions, LookupRecords, Nsec3QueryInfo,
    ZoneHandler, ZoneTransfer, ZoneType,
};

use keystore::dns::{Name, Rtype};

use super::convert::{name, records, wire};
use crate::answer::{AnswerOutcome, Arrival, Transport};
use crate::hosted::{Hosted, Responder};
use crate::reply::{MessageParts, Rr};

/// Our zone for use inside a `Catalog`, for instance behind a blocklist or in front of a forwarder.
///
/// `Catalog` composes the message, therefore, and unlike [`super::SignerHandler`]:
/// - AA is set on every answer, referrals included; resolvers may take the NS RRset of a cut for authoritative data.
/// - A CNAME (or DNAME) that leads to a name which does not exist gives NOERROR with the right proofs, not NXDOMAIN.
/// - No EDNS options of ours (extended errors), and no limit of ours on UDP answers: what does not fit is cut by hickory, which
///   may cut an RRset in two and drop OPT.
/// - An answer to a SOA query has no authority section, not even the proof that a CNAME leads to a name without SOA.
/// - No zone transfer.
/// - Cookies and the rate limit do not hold; `allow-query` does.
///
/// The DS records of the apex are asked of the zone above it where that is among [`Hosted`] too.
///
/// It ends the chain for every name that the zone answers for, and leaves the chain to the next handler for names outside; when
/// the zone cannot answer (no valid signatures), it leaves the chain too, which as the last handler means SERVFAIL. The same holds while
/// the zone is not among those of [`Hosted`], which a reload of the configuration changes: it is looked up by its apex for each query.
pub struct SignerZoneHandler {
    zones: Hosted,
    apex: Name,
    origin: LowerName,
    proof: NxProofKind,
}

impl SignerZoneHandler {
    /// A handler for the zone at `apex` among `zones`, now or later; register it in the `Catalog` under the same apex.
    #[must_use]
    pub fn new(zones: Hosted, apex: &Name) -> Self {
        let origin = LowerName::new(&name(apex));
        // The kind only decides which callback brings the authority section: with NSEC3, one that is called for every answer.
        let proof = NxProofKind::Nsec3 {
            algorithm: Nsec3HashAlgorithm::SHA1,
            salt: Arc::new([]),
            iterations: 0,
            opt_out: false,
        };
        Self { zones, apex: apex.clone(), origin, proof }
    }

    /// The zone that answers `query`: ours, but for the DS records of its apex, which the zone above has where that is hosted too (RFC 4035
    /// section 3.1.4.1). `Catalog` sends that question to the handler of the apex.
    fn zone_for(&self, query: &[u8]) -> Option<Arc<dyn Responder>> {
        let own = self.zones.zone(&self.apex)?;
        let apex = self.apex.canonical_wire();
        let question = query.get(12..).and_then(|rest| rest.split_at_checked(apex.len()));
        let is_ds_of_apex = question.is_some_and(|(qname, rest)| {
            qname.eq_ignore_ascii_case(&apex) && rest.starts_with(&Rtype::DS.0.to_be_bytes())
        });
        if is_ds_of_apex { self.zones.find(&apex, Rtype::DS) } else { Some(own) }
    }

    /// Whether the client of a request may ask for names of the zone that has the answer.
    fn allows(&self, request: &Request) -> bool {
        let access = &self.zones.settings().load().access;
        self.zone_for(request.as_slice()).is_none_or(|zone| access.allows(zone.origin(), request.src().ip()))
    }

    /// The engine's whole answer to a question.
    fn ask(&self, query: &[u8]) -> Option<MessageParts> {
        let zone = self.zone_for(query)?;
        let mut octets = Vec::with_capacity(512);
        match zone.respond(query, &Arrival::new(Transport::Stream, super::MAX_UDP), &mut octets) {
            AnswerOutcome::Reply(_) => MessageParts::read(&octets).ok(),
            AnswerOutcome::NotOurs | AnswerOutcome::Drop => None,
        }
    }
}

/// A query for `qname` (wire form), with OPT.
fn query(qname: &[u8], qtype: u16, dnssec_ok: bool) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    out.extend_from_slice(qname);
    out.extend_from_slice(&qtype.to_be_bytes());
    out.extend_from_slice(&[0, 1, 0, 0, 41, 0x10, 0, 0, 0, u8::from(dnssec_ok) << 7, 0, 0, 0]);
    out
}

fn section(rrs: Vec<Rr>) -> LookupRecords {
    LookupRecords::Section(records(rrs))
}

/// True when `Catalog` is told of an error, and then adds the SOA record itself: NXDOMAIN, and SOA queries, for which it never
/// asks for the authority section of a positive answer.
fn soa_is_added(reply: &MessageParts, qtype: RecordType) -> bool {
    let negative = reply.answers.is_empty() && !is_referral(reply);
    negative && (reply.rcode() == u16::from(ResponseCode::NXDomain) || qtype == RecordType::SOA)
}

/// A referral: the NS RRset of the cut comes first.
fn is_referral(reply: &MessageParts) -> bool {
    reply.answers.is_empty() && reply.authorities.first().is_some_and(|rr| rr.rtype == Rtype::NS)
}

/// The SOA record and its signatures.
fn is_soa(rr: &Rr) -> bool {
    rr.rtype == Rtype::SOA || rr.rtype == Rtype::RRSIG && rr.rdata.starts_with(&Rtype::SOA.0.to_be_bytes())
}

fn flow(records: Vec<Rr>) -> LookupControlFlow<AuthLookup> {
    LookupControlFlow::Break(Ok(AuthLookup::answers(section(records), None)))
}

#[async_trait]
impl ZoneHandler for SignerZoneHandler {
    fn zone_type(&self) -> ZoneType {
        ZoneType::Primary
    }

    fn axfr_policy(&self) -> AxfrPolicy {
        AxfrPolicy::Deny
    }

    fn origin(&self) -> &LowerName {
        &self.origin
    }

    /// `Catalog` calls this for the apex only: SOA, to end a negative answer, and NS, to go along with a SOA answer. The SOA
    /// record is the one of a negative answer, with its TTL (RFC 2308 section 3).
    async fn lookup(
        &self,
        name: &LowerName,
        rtype: RecordType,
        _request_info: Option<&RequestInfo<'_>>,
        lookup_options: LookupOptions,
    ) -> LookupControlFlow<AuthLookup> {
        let negative_soa = rtype == RecordType::SOA && *name == self.origin;
        // A type that no zone has (RFC 6895 section 3.1 keeps it for private use), so that the answer is negative.
        let qtype = if negative_soa { 65_532 } else { rtype.into() };
        match self.ask(&query(&wire(name), qtype, lookup_options.dnssec_ok)) {
            Some(reply) if negative_soa => flow(reply.authorities.into_iter().filter(is_soa).collect()),
            Some(_) if rtype == RecordType::NS => flow(Vec::new()),
            Some(reply) => flow(reply.answers),
            None => LookupControlFlow::Skip,
        }
    }

    async fn search(
        &self,
        request: &Request,
        _lookup_options: LookupOptions,
    ) -> (LookupControlFlow<AuthLookup>, Option<TSigResponseContext>) {
        if !self.allows(request) {
            return (LookupControlFlow::Break(Err(LookupError::ResponseCode(ResponseCode::Refused))), None);
        }
        let qtype = request.queries.queries().first().map_or(RecordType::ZERO, |q| q.query_type());
        let Some(reply) = self.ask(request.as_slice()) else {
            return (LookupControlFlow::Skip, None);
        };
        let nxdomain = reply.rcode() == u16::from(ResponseCode::NXDomain);
        let flow = match reply.rcode().into() {
            ResponseCode::NoError | ResponseCode::NXDomain if soa_is_added(&reply, qtype) => {
                let code = if nxdomain { ResponseCode::NXDomain } else { ResponseCode::NoError };
                LookupControlFlow::Break(Err(LookupError::ResponseCode(code)))
            }
            ResponseCode::NoError | ResponseCode::NXDomain => {
                // `Catalog` puts all into the authority section when NS comes first; for SOA queries it asks for no other.
                let answers = if qtype == RecordType::SOA && is_referral(&reply) {
                    reply.authorities
                } else {
                    reply.answers
                };
                let additionals = (!reply.additionals.is_empty()).then(|| section(reply.additionals));
                LookupControlFlow::Break(Ok(AuthLookup::answers(section(answers), additionals)))
            }
            ResponseCode::ServFail => LookupControlFlow::Skip,
            _ => LookupControlFlow::Break(Err(LookupError::ResponseCode(ResponseCode::Refused))),
        };
        (flow, None)
    }

    async fn nsec_records(
        &self,
        _name: &LowerName,
        _options: LookupOptions,
    ) -> LookupControlFlow<AuthLookup> {
        // Never called for a zone whose kind of proof is NSEC3.
        flow(Vec::new())
    }

    /// The authority section, without what `Catalog` adds itself.
    async fn nsec3_records(
        &self,
        info: Nsec3QueryInfo<'_>,
        lookup_options: LookupOptions,
    ) -> LookupControlFlow<AuthLookup> {
        let qtype = info.qtype;
        match self.ask(&query(&wire(info.qname), qtype.into(), lookup_options.dnssec_ok)) {
            Some(reply) => {
                let leave_soa = soa_is_added(&reply, qtype);
                flow(reply.authorities.into_iter().filter(|rr| !(leave_soa && is_soa(rr))).collect())
            }
            None => flow(Vec::new()),
        }
    }

    async fn zone_transfer(
        &self,
        _request: &Request,
        _lookup_options: LookupOptions,
        _now: u64,
    ) -> Option<(Result<ZoneTransfer, LookupError>, Option<TSigResponseContext>)> {
        Some((Err(LookupError::ResponseCode(ResponseCode::Refused)), None))
    }

    fn nx_proof_kind(&self) -> Option<&NxProofKind> {
        Some(&self.proof)
    }

    fn metrics_label(&self) -> &'static str {
        "offline-ksk-signer"
    }
}
