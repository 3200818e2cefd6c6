//! Asks a secondary once for the serial that it has.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::base::Message;
use domain::base::iana::Rcode;
use domain::rdata::tsig::Time48;
use domain::tsig::{ClientTransaction, Key};
use keystore::dns::Name;
use keystore::time::Timestamp;
use keystore::tsig::TsigKey;

use super::notify::{MAX_ANSWER, NoAnswer, message_id, serial_of, soa_query};
use super::wire_key::wire_key;

/// How long one try may take.
const TRY: Duration = Duration::from_millis(700);

/// Pause after an answer that was not signed as it should be.
const PAUSE: Duration = Duration::from_millis(50);

/// A zone at one secondary.
#[derive(Debug, Clone)]
pub struct AskedSerial {
    /// The zone.
    pub zone: Name,
    /// The secondary.
    pub secondary: SocketAddr,
    /// The key that query and answer are signed with.
    pub key: Option<TsigKey>,
}

impl AskedSerial {
    /// The serial that the secondary has; `None` where it has no version of the zone to answer from, which servers say by SERVFAIL, REFUSED or
    /// NOTAUTH. It is asked again and again until the time is up: one datagram may be lost.
    ///
    /// # Errors
    /// Why it did not say.
    pub fn ask(&self, until: Instant, now: impl Fn() -> Timestamp) -> Result<Option<u32>, String> {
        let key = match &self.key {
            Some(key) => Some(wire_key(key).ok_or("its key cannot be used")?),
            None => None,
        };
        loop {
            match self.ask_once(key.as_ref(), until.min(Instant::now() + TRY), &now) {
                Ok(serial) => return Ok(Some(serial)),
                Err(NoAnswer::Rcode(Rcode::SERVFAIL | Rcode::REFUSED | Rcode::NOTAUTH)) => return Ok(None),
                // Whoever has no key may have sent it.
                Err(NoAnswer::Tsig(_)) if Instant::now() < until => {
                    std::thread::sleep(PAUSE);
                }
                Err(NoAnswer::Io(error)) if Instant::now() < until => {
                    // A host that is down says so at once.
                    if error.kind() == io::ErrorKind::ConnectionRefused {
                        std::thread::sleep(TRY.min(until.saturating_duration_since(Instant::now())));
                    }
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn ask_once(
        &self,
        key: Option<&Arc<Key>>,
        until: Instant,
        now: impl Fn() -> Timestamp,
    ) -> Result<u32, NoAnswer> {
        let time = || Time48::from_u64(now().secs());
        let id = message_id();
        let mut message = soa_query(&self.zone, id).ok_or(NoAnswer::Unwritable)?;
        let transaction = match key {
            Some(key) => {
                let signed = ClientTransaction::request(Arc::clone(key), &mut message, time());
                Some(signed.map_err(|_| NoAnswer::Unwritable)?)
            }
            None => None,
        };
        let any: SocketAddr = match self.secondary {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(self.secondary)?;
        socket.send(&message.finish())?;
        let mut octets = vec![0; MAX_ANSWER];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            socket.set_read_timeout(Some(left))?;
            let len = match socket.recv(&mut octets) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                len => len?,
            };
            let Ok(mut answer) = Message::from_octets(octets[..len].to_vec()) else { continue };
            if answer.header().id() != id || !answer.header().qr() {
                continue;
            }
            // Also an error: one without a signature may be anybody's (RFC 8945 section 5.3).
            if let Some(transaction) = transaction {
                transaction.answer(&mut answer, time())?;
            }
            return serial_of(&self.zone, &answer);
        }
    }
}
