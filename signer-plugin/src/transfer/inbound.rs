//! NOTIFY from primaries (RFC 1996): who may send it, what it is answered with, and whom it wakes.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use keystore::dns::{Name, Rtype};
use tokio::sync::Notify;

use super::access::TransferSettings;
use crate::reply::MessageParts;

/// What a primary has said of a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrimaryNews {
    /// The address that it was said from.
    pub from: IpAddr,
    /// The serial that it has, where it said which. It is a hint: nothing but the next question goes by it.
    pub serial: Option<u32>,
}

impl PrimaryNews {
    /// What is to be asked for when this is said behind `before`: the newer serial, with who has it.
    #[must_use]
    pub fn behind(self, before: Self) -> Self {
        match (before.serial, self.serial) {
            (Some(_), None) => before,
            (Some(old), Some(new)) if old.wrapping_sub(new).cast_signed() > 0 => before,
            _ => self,
        }
    }
}

/// What primaries said of new versions, until somebody looks.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// What was said since somebody looked.
    said: Mutex<Option<PrimaryNews>>,
    /// The serial that the primaries had at the last look that succeeded.
    serial: Mutex<Option<u32>>,
    news: Notify,
}

impl Inbound {
    /// A primary says that it has this serial, or does not say which.
    pub fn put(&self, from: IpAddr, serial: Option<u32>) {
        let known = *self.serial.lock().unwrap_or_else(PoisonError::into_inner);
        // What is here, or older, is no work.
        let is_news = match (serial, known) {
            (Some(serial), Some(known)) => {
                let ahead = serial.wrapping_sub(known);
                ahead != 0 && ahead <= 0x8000_0000
            }
            _ => true,
        };
        if is_news {
            let said = PrimaryNews { from: from.to_canonical(), serial };
            let mut pending = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            *pending = Some(pending.map_or(said, |before| said.behind(before)));
            self.news.notify_one();
        }
    }

    /// Waits until something was put since the last call, and gives the newest of it.
    pub async fn wait(&self) -> PrimaryNews {
        loop {
            self.news.notified().await;
            let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(said) = said {
                return said;
            }
        }
    }

    pub fn set_serial(&self, serial: u32) {
        *self.serial.lock().unwrap_or_else(PoisonError::into_inner) = Some(serial);
    }
}

/// True when a NOTIFY from this address, signed with this key, which was found to be right, is of a primary. One that is not signed is taken
/// from the address of a primary: it has us ask that primary, and no more.
pub(super) fn is_of_primary(settings: &TransferSettings, from: IpAddr, key: Option<&Name>) -> bool {
    settings.primaries.iter().any(|primary| {
        let by_key = key.is_some() && primary.key.as_ref() == key;
        by_key || key.is_none() && primary.address.ip().to_canonical() == from.to_canonical()
    })
}

/// The serial that a NOTIFY gives as a hint.
pub(super) fn hint(notify: &[u8], zone: &Name) -> Option<u32> {
    let message = MessageParts::read(notify).ok()?;
    let soa = message.answers.into_iter().find(|rr| rr.rtype == Rtype::SOA && rr.owner == *zone)?;
    let numbers: &[u8; 20] = soa.rdata.last_chunk()?;
    numbers.first_chunk().map(|serial| u32::from_be_bytes(*serial))
}
