//! An independent validator: the `domain` crate's, with the zone's KSK as its only trust anchor.
//!
//! It shares no code with the signer: names, canonical form, cryptography calls and denial rules are all its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype, Serial};
use domain::dep::octseq::Octets;
use domain::dnssec::validator::anchor::TrustAnchors;
use domain::dnssec::validator::context::{ValidationContext, ValidationState};
use domain::net::client::dgram_stream;
use domain::net::client::protocol::{TcpConnect, UdpConnect};
use domain::net::client::request::{ComposeRequest as _, RequestMessage, SendRequest as _};
use domain::rdata::AllRecordData;

/// How long one query may take.
const TIMEOUT: Duration = Duration::from_secs(5);

type Connection = dgram_stream::Connection<UdpConnect, RequestMessage<Vec<u8>>>;

/// A client of one server that validates what it answers.
pub struct Validator {
    connection: Connection,
    context: ValidationContext<Connection>,
}

/// One validated answer.
#[derive(Debug)]
pub struct ValidatedAnswer {
    /// Response code.
    pub rcode: Rcode,
    /// AA bit.
    pub authoritative: bool,
    /// What the validator says.
    pub state: ValidationState,
    /// Why, when it is not secure.
    pub reason: Option<String>,
    /// Records of the answer section, presentation form.
    pub answer: Vec<String>,
    /// Records of the authority section, presentation form.
    pub authority: Vec<String>,
}

impl Validator {
    /// A validator that asks `server` and trusts `anchors` (DS or DNSKEY records in presentation form). Must be called in a
    /// tokio runtime.
    pub fn new(server: SocketAddr, anchors: &str) -> Result<Self> {
        let anchors = TrustAnchors::from_u8(anchors.as_bytes())
            .map_err(|e| anyhow::anyhow!("the trust anchor does not read: {e}"))?;
        let (connection, transport) = Connection::new(UdpConnect::new(server), TcpConnect::new(server));
        tokio::spawn(transport.run());
        Ok(Self { context: ValidationContext::new(anchors, connection.clone()), connection })
    }

    /// Asks for `name` and `rtype` with DNSSEC, and validates the answer.
    pub async fn ask(&self, name: &str, rtype: Rtype) -> Result<ValidatedAnswer> {
        let mut message = self.send(name, rtype).await?;
        let header = message.header();
        let (state, error) =
            tokio::time::timeout(TIMEOUT, self.context.validate_msg::<_, Vec<u8>>(&mut message))
                .await
                .with_context(|| format!("validating {name} {rtype} took longer than {TIMEOUT:?}"))?
                .map_err(|e| anyhow::anyhow!("validating {name} {rtype}: {e}"))?;
        Ok(ValidatedAnswer {
            rcode: header.rcode(),
            authoritative: header.aa(),
            state,
            reason: error.map(|e| e.to_string()),
            answer: section(message.answer()?)?,
            authority: section(message.authority()?)?,
        })
    }

    /// Asks with DNSSEC, and gives what comes back.
    async fn send(&self, name: &str, rtype: Rtype) -> Result<Message<Vec<u8>>> {
        let mut question = MessageBuilder::new_vec().question();
        let qname: Name<Vec<u8>> = name.parse().with_context(|| format!("{name} is no name"))?;
        question.push((qname, rtype))?;
        let mut request = RequestMessage::new(question)?;
        request.set_dnssec_ok(true);
        request.set_udp_payload_size(1232);
        let reply = tokio::time::timeout(TIMEOUT, self.connection.send_request(request).get_response())
            .await
            .with_context(|| format!("no answer for {name} {rtype} within {TIMEOUT:?}"))??;
        Ok(Message::from_octets(reply.as_slice().to_vec())?)
    }

    /// Asks for a name below the cut `cut`: the answer must be a referral whose proof (DS, or NSEC without it, and the RRSIG) is
    /// that of the validated answer for the DS itself. A referral is no final answer, so a validator judges its parts only.
    pub async fn referral(&self, name: &str, cut: &str) -> Result<()> {
        let message = self.send(name, Rtype::A).await?;
        let header = message.header();
        let (answer, authority) = (section(message.answer()?)?, section(message.authority()?)?);
        ensure!(header.rcode() == Rcode::NOERROR && !header.aa(), "{} aa={}", header.rcode(), header.aa());
        ensure!(answer.is_empty(), "an answer where a referral is due: {answer:?}");
        let of = |rtype: &str| {
            authority
                .iter()
                .any(|r| fields(r).starts_with(&format!("{} {rtype} ", cut.trim_end_matches('.'))))
        };
        ensure!(of("NS"), "no NS of {cut}: {authority:?}");
        ensure!(!of("SOA"), "a SOA in a referral: {authority:?}");
        let ds = self.ask(cut, Rtype::DS).await?;
        ensure!(ds.state == ValidationState::Secure, "the DS of {cut} is {:?}", ds.state);
        let proof: Vec<String> =
            ds.answer.iter().chain(&ds.authority).map(|r| fields(r)).filter(|r| !is_soa(r)).collect();
        for record in &proof {
            ensure!(
                authority.iter().any(|r| fields(r) == *record),
                "the referral lacks {record}: {authority:?}"
            );
        }
        ensure!(!proof.is_empty(), "the DS of {cut} has no proof");
        Ok(())
    }

    /// The SOA serial of `zone`, once it is served and validates.
    pub async fn serial(&self, zone: &str) -> Result<Option<Serial>> {
        let answer = self.ask(zone, Rtype::SOA).await?;
        if answer.state != ValidationState::Secure {
            return Ok(None);
        }
        Ok(answer.answer.iter().find_map(|r| {
            let fields: Vec<&str> = r.split_whitespace().collect();
            let at = fields.iter().position(|f| *f == "SOA")?;
            fields.get(at + 3)?.parse::<u32>().ok().map(Serial::from)
        }))
    }
}

/// Owner, type and data of a record as [`section`] prints it, without the TTL.
fn fields(record: &str) -> String {
    let mut parts = record.splitn(3, ' ');
    let (owner, rest) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
    format!("{} {rest}", owner.trim_end_matches('.'))
}

/// True for the SOA and its RRSIG, which a negative answer has and a referral has not.
fn is_soa(record: &str) -> bool {
    record.contains(" SOA ")
}

fn section<O: Octets>(section: domain::base::message::RecordSection<'_, O>) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for record in section.limit_to::<AllRecordData<_, _>>() {
        let record = record?;
        out.push(format!(
            "{} {} {} {}",
            record.owner(),
            record.ttl().as_secs(),
            record.rtype(),
            record.data()
        ));
    }
    Ok(out)
}
