//! NOTIFY(CDS): tells a receiver that a zone has other CDS or CDNSKEY records (RFC 9859 section 4, in the form of RFC 1996).

use std::time::Instant;

use domain::base::iana::{Opcode, Rcode};
use domain::base::{Message, MessageBuilder, Name as WireName, Rtype as WireRtype};
use keystore::dns::{Name, Rtype};

use super::{AnswerFault, AskError, Asker, Transport, is_name, message_id};

impl Asker {
    /// Sends NOTIFY(CDS) for `zone`, and gives the response code of the answer. UDP first, and TCP where nothing comes or the answer is
    /// truncated. QTYPE is CDS also where only CDNSKEY has changed (RFC 9859 section 4).
    pub fn notify_cds(&self, zone: &Name, until: Instant) -> Result<Rcode, AskError> {
        let bad = |fault| AskError::BadAnswer { rtype: Rtype::CDS, fault };
        let id = message_id();
        let message = message(zone, id).ok_or(bad(AnswerFault::NoQuery))?;
        let answer = match self.exchange(&message, id, until) {
            Err(error) if error.is_silence() && self.transport == Transport::UdpThenTcp => {
                // Says the error of UDP where TCP gets no answer either: a closed port is mostly closed for both.
                self.clone().over(Transport::Tcp).exchange(&message, id, until).map_err(|_| error)?
            }
            answer => answer?,
        };
        read(&answer, zone, id).map_err(bad)
    }
}

/// The message: opcode NOTIFY, AA, and the question (RFC 1996 section 3).
fn message(zone: &Name, id: u16) -> Option<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_opcode(Opcode::NOTIFY);
    builder.header_mut().set_aa(true);
    let mut question = builder.question();
    let name = WireName::from_octets(zone.as_wire().to_vec()).ok()?;
    question.push((name, WireRtype::CDS)).ok()?;
    Some(question.finish())
}

/// The response code of an answer to that message. The question may be left out (FORMERR).
fn read(answer: &[u8], zone: &Name, id: u16) -> Result<Rcode, AnswerFault> {
    let message = Message::from_octets(answer).map_err(|_| AnswerFault::Malformed)?;
    let header = message.header();
    if header.id() != id || !header.qr() || header.opcode() != Opcode::NOTIFY {
        return Err(AnswerFault::NotOurs);
    }
    if message.header_counts().qdcount() > 0 {
        let question = message.sole_question().map_err(|_| AnswerFault::NoQuestion)?;
        if !is_name(question.qname(), zone) || question.qtype() != WireRtype::CDS {
            return Err(AnswerFault::OtherQuestion);
        }
    }
    Ok(header.rcode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_the_message_counts_and_no_octets_stop_the_reader() {
        let zone = Name::parse("example.").unwrap();
        let mut good = message(&zone, 0x0102).unwrap();
        good[2] |= 0x80;
        assert_eq!(read(&good, &zone, 0x0102), Ok(Rcode::NOERROR));
        assert_eq!(read(&good, &zone, 0x0103), Err(AnswerFault::NotOurs));
        assert_eq!(read(&good, &Name::parse("other.").unwrap(), 0x0102), Err(AnswerFault::OtherQuestion));
        // A server that could not read the message may leave the question out.
        let mut refused = good[..12].to_vec();
        (refused[3], refused[5]) = (1, 0);
        assert_eq!(read(&refused, &zone, 0x0102), Ok(Rcode::FORMERR));
        for end in 0..good.len() {
            assert!(read(&good[..end], &zone, 0x0102).is_err(), "cut off at {end}");
        }
        for at in 0..good.len() {
            for value in 0..=u8::MAX {
                let mut changed = good.clone();
                changed[at] = value;
                let said = read(&changed, &zone, 0x0102);
                // Identification, QR, opcode, and the question with its number; other flags and counts say nothing here.
                let counts = changed[..2] != good[..2]
                    || changed[2] & 0xf8 != good[2] & 0xf8
                    || changed[12..changed.len() - 2].to_ascii_lowercase() != good[12..good.len() - 2];
                assert!(!(counts && said.is_ok()), "octet {at} is {value}: {said:?}");
            }
        }
    }
}
