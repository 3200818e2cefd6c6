//! A transfer under way: the messages of one AXFR (RFC 5936) or IXFR (RFC 1995), made one after the other from a version that does not
//! change, each when the client has taken the one before.

use std::sync::Arc;

use keystore::time::Timestamp;

use super::message::{MAX_MESSAGE, MessageWriter};
use super::shared::{ComposedMessage, SharedMessages, TransferSeries};
use super::tsig::Signer;
use super::version::TransferVersion;
use crate::answer::edns::{BLOCK, EXTENDED_ERROR, OPT, OPTION, put_option};
use crate::answer::query::{EXPIRE, HEADER, PADDING};
use crate::difference::{Difference, ListPlace, RecordList};
use crate::signing::{RecordRef, VisitPosition};

/// Largest UDP answer that we say we take, in octets.
const OUR_UDP_SIZE: u16 = 1232;

/// INFO-CODE "Prohibited" (RFC 8914 section 4.19).
const PROHIBITED: u16 = 18;

/// OPT and TSIG of a message over TCP have room for a multiple of so many octets.
const BEHIND: usize = 256;

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// The SOA record alone: the client has all that there is, or shall come by TCP.
    Soa(TransferVersion),
    /// The whole zone.
    Zone(TransferVersion),
    /// What changed since the version that the client has.
    Difference(Arc<Difference>),
}

impl Content {
    /// A list of records that is sent as it is; the place behind all of them is the second value.
    fn list(&self, number: usize) -> (Option<&RecordList>, Place) {
        match self {
            Self::Difference(difference) => (difference.lists().get(number).copied(), Place::End),
            Self::Zone(TransferVersion::Plain(version)) => {
                let (_, soa, records) = version.lists();
                ([soa, records].get(number).copied(), Place::LastSoa)
            }
            Self::Soa(_) | Self::Zone(TransferVersion::Signed(_)) => (None, Place::End),
        }
    }
}

/// The OPT record of the answer (RFC 6891), where the query has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct OptReply {
    pub dnssec_ok: bool,
    /// Value of the option EXPIRE in seconds, where the query has it (RFC 7314).
    pub expire: Option<u32>,
    /// Text of the option Extended DNS Error with the code "Prohibited" (RFC 8914 section 4.19).
    pub prohibited: Option<&'static str>,
    /// Messages are filled up to a multiple of [`BLOCK`] octets (RFC 8467 section 4.1).
    pub is_padded: bool,
}

/// A record is so long that no message has room for it and for TSIG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record is too long for a message with its signature")]
pub(crate) struct RecordTooLong;

/// What begins every message.
#[derive(Debug, Clone)]
pub(super) struct Heading {
    pub id: u16,
    /// QR, opcode, AA, RD.
    pub flags: u16,
    /// Name, type and class.
    pub question: Box<[u8]>,
    pub opt: Option<OptReply>,
}

impl Heading {
    /// Writes a message without records; `behind` are the octets of the signature that follows.
    pub fn put_alone(&self, behind: usize, out: &mut Vec<u8>) {
        out.clear();
        out.resize(HEADER, 0);
        out.extend_from_slice(&self.question);
        self.finish(0, 0, behind, out);
    }

    /// Appends OPT to the message that begins at octet `start` and has so many records, and writes its header; `behind` are the octets of the
    /// signature that follows.
    fn finish(&self, start: usize, count: u16, behind: usize, out: &mut Vec<u8>) {
        if let Some(opt) = &self.opt {
            opt.put(start, behind, out);
        }
        let additional = u16::from(self.opt.is_some());
        let words = [self.id, self.flags, 1, count, 0, additional];
        for (room, word) in out[start..].chunks_exact_mut(2).zip(words) {
            room.copy_from_slice(&word.to_be_bytes());
        }
    }
}

/// The messages that are not sent yet.
#[derive(Debug)]
pub(crate) struct Messages {
    heading: Heading,
    content: Content,
    place: Place,
    signer: Option<Signer>,
    packer: MessageWriter,
    /// Header, question and records of a message, before they are copied.
    body: Vec<u8>,
    /// Number of messages so far.
    count: usize,
    /// The transfers with the same content that run beside this one.
    series: Option<Arc<TransferSeries<Place>>>,
}

/// The next record of the content.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// In the zone.
    Zone(VisitPosition),
    /// In one of the lists of the content.
    List(usize, ListPlace),
    /// The SOA record, which is the last one, or the only one.
    LastSoa,
    End,
}

impl Messages {
    pub fn new(heading: Heading, content: Content, signer: Option<Signer>) -> Self {
        let place = match &content {
            Content::Soa(_) => Place::LastSoa,
            Content::Zone(TransferVersion::Signed(_)) => Place::Zone(VisitPosition::default()),
            Content::Zone(TransferVersion::Plain(_)) | Content::Difference(_) => {
                Place::List(0, ListPlace::default())
            }
        };
        let packer = MessageWriter::new();
        Self { heading, content, place, signer, packer, body: Vec::new(), count: 0, series: None }
    }

    /// Takes messages from transfers of the same version that run at the same time, and gives them those that are composed here. Called before
    /// the first message.
    pub fn share(&mut self, shared: &SharedMessages<Place>) {
        if let Content::Zone(version) = &self.content {
            self.series = Some(shared.join(version, &self.heading.question, self.room(MAX_MESSAGE)));
        }
    }

    /// The form of the answer, for people: an IXFR may have that of an AXFR.
    pub const fn kind(&self) -> &'static str {
        match self.content {
            Content::Soa(_) => "soa",
            Content::Zone(_) => "axfr",
            Content::Difference(_) => "ixfr",
        }
    }

    /// Appends the next message to `out`, without the length that TCP has in front; false when there is none.
    pub fn next(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Result<bool, RecordTooLong> {
        self.next_within(MAX_MESSAGE, now, out)
    }

    /// Writes the only message of an answer over UDP of at most `limit` octets into `out`; false when the content needs more.
    pub fn single(&mut self, limit: usize, now: Timestamp, out: &mut Vec<u8>) -> Result<bool, RecordTooLong> {
        out.clear();
        self.next_within(limit, now, out)?;
        Ok(matches!(self.place, Place::End))
    }

    fn next_within(
        &mut self,
        limit: usize,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) -> Result<bool, RecordTooLong> {
        if matches!(self.place, Place::End) {
            return Ok(false);
        }
        let (start, is_stream) = (out.len(), limit == MAX_MESSAGE);
        let is_alone = self.series.as_ref().is_none_or(|series| Arc::strong_count(series) == 1);
        let composed = self.series.as_ref().and_then(|series| series.get(self.count, is_alone));
        let count = match composed {
            Some(composed) => {
                out.extend_from_slice(&composed.octets);
                self.place = composed.next;
                composed.records
            }
            None => {
                let records = self.compose(limit, is_stream);
                out.extend_from_slice(&self.body);
                if let Some(series) = self.series.as_ref().filter(|_| !is_alone) {
                    let octets = std::mem::take(&mut self.body);
                    self.body = series.put(self.count, ComposedMessage { octets, records, next: self.place });
                }
                records
            }
        };
        self.count += 1;
        if count == 0 && is_stream || out.len() - start + self.behind() > usize::from(u16::MAX) {
            return Err(RecordTooLong);
        }
        self.heading.finish(start, count, self.signature(), out);
        if let Some(signer) = &mut self.signer {
            signer.sign(start, out, now);
        }
        Ok(true)
    }

    /// Writes room for the header, the question and the records from the place on into the body; gives the number of records.
    fn compose(&mut self, limit: usize, is_stream: bool) -> u16 {
        let room = self.room(limit);
        let Self { content, heading, packer, body, .. } = self;
        packer.begin(&heading.question, room, is_stream, body);
        self.place = fill(content, self.place, &mut |record| packer.put(&record, body));
        packer.count()
    }

    /// Octets for header, question and records in a message of at most `limit`. Over TCP they are the same whatever key of usual length signs
    /// it, and where none does, so that transfers share messages.
    fn room(&self, limit: usize) -> usize {
        let is_padded = self.heading.opt.as_ref().is_some_and(|opt| opt.is_padded);
        let whole = if is_padded { limit / BLOCK * BLOCK } else { limit };
        let behind = self.behind();
        whole.saturating_sub(if limit == MAX_MESSAGE { (behind / BEHIND + 1) * BEHIND } else { behind })
    }

    /// Octets of OPT and signature.
    fn behind(&self) -> usize {
        self.heading.opt.as_ref().map_or(0, OptReply::len) + self.signature()
    }

    /// Octets of the signature.
    fn signature(&self) -> usize {
        self.signer.as_ref().map_or(0, Signer::record_len)
    }
}

/// Hands records from `place` on to `put` until that gives false; gives the place of the record that was not taken.
fn fill(content: &Content, place: Place, put: &mut dyn FnMut(RecordRef<'_>) -> bool) -> Place {
    let mut place = place;
    loop {
        place = match (place, content) {
            (Place::Zone(at), Content::Zone(TransferVersion::Signed(zone))) => match zone.visit(at, put) {
                Some(at) => return Place::Zone(at),
                None => Place::LastSoa,
            },
            (Place::List(number, at), content) => {
                let (list, behind) = content.list(number);
                match list.map(|list| list.get(at)) {
                    Some(Some((record, next))) if put(record) => Place::List(number, next),
                    Some(Some(_)) => return place,
                    Some(None) => Place::List(number + 1, ListPlace::default()),
                    None => behind,
                }
            }
            (Place::LastSoa, Content::Soa(version) | Content::Zone(version)) => {
                return if version.put_soa(put) { Place::End } else { Place::LastSoa };
            }
            _ => return Place::End,
        };
    }
}

impl OptReply {
    /// Octets of the record, with no padding in it.
    fn len(&self) -> usize {
        let expire = if self.expire.is_some() { OPTION + 4 } else { 0 };
        let error = self.prohibited.map_or(0, |text| OPTION + 2 + text.len());
        OPT + expire + error + if self.is_padded { OPTION } else { 0 }
    }

    /// Appends the record to the message that begins at octet `start`; `behind` octets follow it in the message.
    fn put(&self, start: usize, behind: usize, out: &mut Vec<u8>) {
        let [size_high, size_low] = OUR_UDP_SIZE.to_be_bytes();
        let flags = u8::from(self.dnssec_ok) << 7;
        let padding = self.padding(out.len() - start + behind);
        let options = ((self.len() + padding.unwrap_or(0) - OPT) as u16).to_be_bytes();
        out.extend_from_slice(&[0, 0, 41, size_high, size_low, 0, 0, flags, 0, options[0], options[1]]);
        if let Some(seconds) = self.expire {
            put_option(EXPIRE, &seconds.to_be_bytes(), out);
        }
        if let Some(text) = self.prohibited {
            put_option(EXTENDED_ERROR, &[&PROHIBITED.to_be_bytes(), text.as_bytes()].concat(), out);
        }
        if let Some(len) = padding {
            put_option(PADDING, &[], out);
            let at = out.len() - 2;
            out[at..].copy_from_slice(&(len as u16).to_be_bytes());
            out.resize(out.len() + len, 0);
        }
    }

    /// Octets of padding for a message that has so many without this record.
    fn padding(&self, others: usize) -> Option<usize> {
        let unpadded = others + self.len();
        let whole = unpadded.next_multiple_of(BLOCK).min(usize::from(u16::MAX)).max(unpadded);
        self.is_padded.then_some(whole - unpadded)
    }
}

#[cfg(test)]
mod tests;
