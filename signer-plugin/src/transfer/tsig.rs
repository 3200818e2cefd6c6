//! TSIG of a server (RFC 8945): checks the signature of a request, and signs what is sent for it.
//!
//! Our own requests are signed by the library `domain`. Its server side (0.12.3) is not used: a wrong MAC is answered with the TSIG error
//! FORMERR in place of BADSIG, the MAC of a BADTIME answer is over eight octets of time where six are sent, so that no client can
//! verify it, a MAC that is too short is answered with BADTRUNC in place of FORMERR, and what it signs must be built record by record
//! with its own builder. The HMAC itself is ring's.

use std::collections::HashMap;
use std::sync::Arc;

use keystore::dns::Name;
use keystore::time::Timestamp;
use keystore::tsig::{TsigAlgorithm, TsigKey};
use ring::hmac;

use crate::answer::query::{HEADER, Tsig};

/// Seconds that two clocks may differ (RFC 8945 section 10).
const FUDGE: u16 = 300;
/// Shortest MAC that may be sent at all, in octets (RFC 8945 section 5.2.2.1).
const LEAST_MAC: usize = 10;
/// Octets of the class ANY and the TTL 0.
const CLASS_AND_TTL: [u8; 6] = [0, 255, 0, 0, 0, 0];
/// Type TSIG.
const TYPE: [u8; 2] = [0, 250];

/// The keys that requests may be signed with, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys(HashMap<Box<[u8]>, Arc<ServerKey>>);

/// A key, ready for use.
#[derive(Debug)]
pub(crate) struct ServerKey {
    /// In lower case.
    name: Name,
    /// Name of the algorithm in wire form, lower case.
    algorithm: Vec<u8>,
    hmac: hmac::Key,
}

/// The error field of a TSIG record (RFC 8945 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TsigError {
    /// BADSIG.
    Signature = 16,
    /// BADKEY.
    Key = 17,
    /// BADTIME.
    Time = 18,
    /// BADTRUNC.
    Truncation = 22,
}

/// Why a request is not answered.
#[derive(Debug)]
pub(crate) enum Rejection {
    /// The record cannot be what it should be: FORMERR, without TSIG.
    FormErr,
    /// NOTAUTH with a TSIG record that has this error and no MAC, as nobody could check one.
    Unsigned(TsigError),
    /// NOTAUTH with a TSIG record that is signed: the key is right.
    Signed(TsigError, Box<Signer>),
}

/// Signs the messages that answer one request.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    key: Arc<ServerKey>,
    /// The MAC of the request, then of the last message sent.
    prior: Vec<u8>,
    is_first: bool,
    /// Time Signed and Fudge of the request, in wire form.
    request_times: [u8; 8],
}

impl Keys {
    pub fn new(keys: &[TsigKey]) -> Self {
        Self(
            keys.iter()
                .map(|key| (key.name.canonical_wire().into(), Arc::new(ServerKey::new(key))))
                .collect(),
        )
    }

    /// Checks the TSIG record of a request; `message` is the whole request.
    pub fn verify(&self, message: &[u8], tsig: &Tsig<'_>, now: Timestamp) -> Result<Signer, Rejection> {
        let (algorithm, times) = tsig.head.split_last_chunk::<8>().ok_or(Rejection::FormErr)?;
        let fields = Fields::read(tsig.tail).ok_or(Rejection::FormErr)?;
        let known = self.0.get(&*tsig.owner.to_ascii_lowercase());
        let key = known.filter(|key| key.algorithm.eq_ignore_ascii_case(algorithm));
        let key = key.ok_or(Rejection::Unsigned(TsigError::Key))?;
        // What was signed: the message as it was before it had the record (RFC 8945 section 4.3.3), and the variables.
        let mut signed = message.get(..tsig.at).ok_or(Rejection::FormErr)?.to_vec();
        let head = signed.first_chunk_mut::<HEADER>().ok_or(Rejection::FormErr)?;
        head[..2].copy_from_slice(fields.original_id);
        let additional = u16::from_be_bytes([head[10], head[11]]);
        head[10..].copy_from_slice(&additional.saturating_sub(1).to_be_bytes());
        key.put_variables(&mut signed, times, fields.error, fields.other);
        let tag = hmac::sign(&key.hmac, &signed);
        let whole = tag.as_ref().len();
        if fields.mac.len() > whole || fields.mac.len() < LEAST_MAC.max(whole / 2) {
            return Err(Rejection::FormErr);
        }
        let prior = fields.mac.to_vec();
        let signer = || Signer { key: Arc::clone(key), prior, is_first: true, request_times: *times };
        if fields.mac.len() < whole {
            // In a time that does not depend on how much is right.
            let differs = tag.as_ref().iter().zip(fields.mac).fold(0, |differs, (a, b)| differs | (a ^ b));
            return Err(match differs {
                0 => Rejection::Signed(TsigError::Truncation, Box::new(signer())),
                _ => Rejection::Unsigned(TsigError::Signature),
            });
        }
        hmac::verify(&key.hmac, &signed, fields.mac)
            .map_err(|_| Rejection::Unsigned(TsigError::Signature))?;
        let [t0, t1, t2, t3, t4, t5, fudge @ ..] = *times;
        let time = u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]);
        if time.abs_diff(now.secs()) > u64::from(u16::from_be_bytes(fudge)) {
            return Err(Rejection::Signed(TsigError::Time, Box::new(signer())));
        }
        Ok(signer())
    }
}

impl ServerKey {
    fn new(key: &TsigKey) -> Self {
        let hash = match key.algorithm {
            TsigAlgorithm::HmacSha256 => hmac::HMAC_SHA256,
            TsigAlgorithm::HmacSha384 => hmac::HMAC_SHA384,
            TsigAlgorithm::HmacSha512 => hmac::HMAC_SHA512,
        };
        let label = key.algorithm.as_str();
        let algorithm = [&[label.len() as u8], label.as_bytes(), &[0]].concat();
        Self { name: key.name.to_lowercase(), algorithm, hmac: hmac::Key::new(hash, &key.secret) }
    }

    /// Appends the TSIG variables (RFC 8945 section 4.3.3): `times` are Time Signed and Fudge.
    fn put_variables(&self, signed: &mut Vec<u8>, times: &[u8; 8], error: [u8; 2], other: &[u8]) {
        signed.extend_from_slice(self.name.as_wire());
        signed.extend_from_slice(&CLASS_AND_TTL);
        signed.extend_from_slice(&self.algorithm);
        signed.extend_from_slice(times);
        signed.extend_from_slice(&error);
        signed.extend_from_slice(&(other.len() as u16).to_be_bytes());
        signed.extend_from_slice(other);
    }
}

impl Signer {
    /// The name of the key, in lower case.
    pub fn key(&self) -> &Name {
        &self.key.name
    }

    /// The MAC of the request, as long as nothing was signed, and the last time at which it counts.
    pub fn request_mac(&self) -> (&[u8], Timestamp) {
        let [t0, t1, t2, t3, t4, t5, f0, f1] = self.request_times;
        let signed = u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]);
        let until = signed.saturating_add(u16::from_be_bytes([f0, f1]).into());
        (&self.prior, Timestamp::from_secs(until))
    }

    /// Octets that [`Self::sign`] appends.
    pub fn record_len(&self) -> usize {
        let mac = self.key.hmac.algorithm().digest_algorithm().output_len();
        // Type, class, TTL and length; times; sizes of MAC and other data, original ID, error.
        self.key.name.as_wire().len() + 10 + self.key.algorithm.len() + 8 + 8 + mac
    }

    /// Appends the TSIG record of the next message that is sent, which begins at octet `start`. The first one is signed with all variables,
    /// later ones with the times alone (RFC 8945 section 5.3.1).
    pub fn sign(&mut self, start: usize, message: &mut Vec<u8>, now: Timestamp) {
        let mut times = [0; 8];
        times[..6].copy_from_slice(&now.secs().to_be_bytes()[2..]);
        times[6..].copy_from_slice(&FUDGE.to_be_bytes());
        self.sign_with((start, message), &times, [0, 0], &[]);
    }

    /// The same for an answer that says what is wrong with the request; it repeats the times of the request, and for BADTIME it has ours
    /// (RFC 8945 section 5.2.3).
    pub fn sign_error(mut self, message: &mut Vec<u8>, error: TsigError, now: Timestamp) {
        let ours = now.secs().to_be_bytes();
        let other = if error == TsigError::Time { &ours[2..] } else { &[] };
        let times = self.request_times;
        self.sign_with((0, message), &times, (error as u16).to_be_bytes(), other);
    }

    fn sign_with(
        &mut self,
        (start, message): (usize, &mut Vec<u8>),
        times: &[u8; 8],
        error: [u8; 2],
        other: &[u8],
    ) {
        let mut digest = hmac::Context::with_key(&self.key.hmac);
        digest.update(&(self.prior.len() as u16).to_be_bytes());
        digest.update(&self.prior);
        digest.update(&message[start..]);
        if self.is_first {
            let mut variables = Vec::new();
            self.key.put_variables(&mut variables, times, error, other);
            digest.update(&variables);
        } else {
            digest.update(times);
        }
        let tag = digest.sign();
        self.is_first = false;
        self.prior.clear();
        self.prior.extend_from_slice(tag.as_ref());
        let head = [&self.key.algorithm, &times[..]].concat();
        put_record((start, message), self.key.name.as_wire(), &head, tag.as_ref(), error, other);
    }
}

/// Appends a TSIG record without MAC, with the name, algorithm and times of the request.
pub(crate) fn put_unsigned(message: &mut Vec<u8>, tsig: &Tsig<'_>, error: TsigError) {
    put_record((0, message), tsig.owner, tsig.head, &[], (error as u16).to_be_bytes(), &[]);
}

/// Appends a TSIG record to the message that begins at octet `start`, and counts it. `head` is what stands in front of the MAC.
fn put_record(
    (start, message): (usize, &mut Vec<u8>),
    owner: &[u8],
    head: &[u8],
    mac: &[u8],
    error: [u8; 2],
    other: &[u8],
) {
    let id = message[start..].first_chunk::<2>().copied().unwrap_or_default();
    let len = head.len() + 2 + mac.len() + 6 + other.len();
    message.extend_from_slice(owner);
    message.extend_from_slice(&TYPE);
    message.extend_from_slice(&CLASS_AND_TTL);
    message.extend_from_slice(&(len as u16).to_be_bytes());
    message.extend_from_slice(head);
    message.extend_from_slice(&(mac.len() as u16).to_be_bytes());
    message.extend_from_slice(mac);
    message.extend_from_slice(&id);
    message.extend_from_slice(&error);
    message.extend_from_slice(&(other.len() as u16).to_be_bytes());
    message.extend_from_slice(other);
    if let Some(header) = message[start..].first_chunk_mut::<HEADER>() {
        let additional = u16::from_be_bytes([header[10], header[11]]);
        header[10..].copy_from_slice(&additional.wrapping_add(1).to_be_bytes());
    }
}

/// What stands behind the times in the RDATA.
struct Fields<'a> {
    mac: &'a [u8],
    original_id: &'a [u8; 2],
    error: [u8; 2],
    other: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads the fields, which must fill the RDATA.
    fn read(tail: &'a [u8]) -> Option<Self> {
        let (size, rest) = tail.split_first_chunk::<2>()?;
        let (mac, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        let (original_id, rest) = rest.split_first_chunk::<2>()?;
        let (error, rest) = rest.split_first_chunk::<2>()?;
        let (size, other) = rest.split_first_chunk::<2>()?;
        (usize::from(u16::from_be_bytes(*size)) == other.len()).then_some(Self {
            mac,
            original_id,
            error: *error,
            other,
        })
    }
}
