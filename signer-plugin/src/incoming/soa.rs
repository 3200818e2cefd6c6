//! Asks a primary for the SOA record of a zone.

use std::sync::Arc;

use domain::base::{Message, MessageBuilder, Name as WireName, Rtype as WireRtype};
use domain::rdata::tsig::Time48;
use domain::tsig::{ClientTransaction, Key};
use keystore::dns::{Name, Rtype};
use keystore::time::Timestamp;
use keystore::tsig::TsigKey;

use super::fault::TransferFault;
use super::serial;
use super::stream::{check_answer, expire_of, push_opt};
use super::timer::SoaTimes;
use super::wire::{AnswerHead, MessageReader};
use crate::transfer::wire_key;

/// AA bit.
const AA: u16 = 0x0400;

/// A SOA query that was sent.
#[derive(Debug)]
pub(super) struct SoaQuery {
    zone: Name,
    id: u16,
    tsig: Option<ClientTransaction<Arc<Key>>>,
}

/// What a primary has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PrimaryVersion {
    pub serial: u32,
    pub times: SoaTimes,
    /// EDNS EXPIRE (RFC 7314), where the primary says it.
    pub expire: Option<u32>,
}

impl SoaQuery {
    /// The query, and the reader of its answer. It is signed where a key is given, and then the answer must be.
    pub fn begin(
        zone: &Name,
        key: Option<&TsigKey>,
        id: u16,
        now: Timestamp,
    ) -> Result<(Vec<u8>, Self), TransferFault> {
        let (query, tsig) = query(zone, key, id, now).ok_or(TransferFault::NoQuery)?;
        Ok((query, Self { zone: zone.clone(), id, tsig }))
    }

    /// Reads the answer.
    pub fn read(self, message: Vec<u8>, now: Timestamp) -> Result<PrimaryVersion, TransferFault> {
        let head = AnswerHead::read(&message)?;
        check_answer(&head, self.id, &message)?;
        let len = message.len();
        let mut message = Message::from_octets(message).map_err(|_| TransferFault::Malformed { at: len })?;
        if let Some(transaction) = self.tsig {
            transaction.answer(&mut message, Time48::from_u64(now.secs()))?;
        }
        if head.flags & AA == 0 {
            return Err(TransferFault::NotAuthoritative);
        }
        let message = message.into_octets();
        let mut reader = MessageReader::new(&message);
        for _ in 0..head.counts[0] {
            reader.question()?;
        }
        for _ in 0..head.counts[1] {
            let record = reader.record()?;
            let is_ours = record.owner.eq_ignore_ascii_case(self.zone.as_wire());
            if is_ours && record.rtype == Rtype::SOA {
                let serial = serial::of_soa(&record.rdata).ok_or(TransferFault::NoSoa)?;
                let times = SoaTimes::of_rdata(&record.rdata).ok_or(TransferFault::NoSoa)?;
                return Ok(PrimaryVersion { serial, times, expire: expire_of(message) });
            }
        }
        Err(TransferFault::NoSoa)
    }
}

type Query = (Vec<u8>, Option<ClientTransaction<Arc<Key>>>);

fn query(zone: &Name, key: Option<&TsigKey>, id: u16, now: Timestamp) -> Option<Query> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    let mut question = builder.question();
    question.push((WireName::from_octets(zone.as_wire().to_vec()).ok()?, WireRtype::SOA)).ok()?;
    let mut additional = question.additional();
    push_opt(&mut additional)?;
    let transaction = match key {
        Some(key) => {
            let now = Time48::from_u64(now.secs());
            Some(ClientTransaction::request(wire_key(key)?, &mut additional, now).ok()?)
        }
        None => None,
    };
    Some((additional.finish(), transaction))
}
