//! When signatures begin, expire and are made anew.

use keystore::dns::Rtype;
use keystore::time::Timestamp;

use super::SigningTimes;

/// Resolvers' clocks may be slow by as much, in seconds.
const INCEPTION_OFFSET: u64 = 3600;
/// RRsets from which on a zone is renewed bit by bit: a version for each would be too many for a smaller one.
const LARGE: usize = 1000;

/// The times of a signing, worked out from the policy. Seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct RenewalPlan {
    pub now: Timestamp,
    validity: u32,
    jitter: u32,
    /// Remaining validity at which a signature is renewed.
    pub refresh: u32,
    /// Those that come due within this time are renewed along.
    batch: u32,
}

/// How the expirations of one run are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// Over the jitter: a part of the zone is made, and the other signatures are spread already.
    Jitter,
    /// All somewhat earlier, by so many seconds, and over the jitter: a small zone is renewed in one go, and not at the same time as others.
    Together(u32),
    /// Over the whole time between making and renewing: most of a large zone is made at once, and comes due evenly from now on.
    Even,
}

/// An RRset, as far as its times depend on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position<'a> {
    /// Search key of the name.
    pub key: &'a [u8],
    pub rtype: Rtype,
}

impl Position<'_> {
    /// A number from 0 to 2^32 - 1 that is the same for the same RRset and salt.
    pub fn hash(&self, salt: u64) -> u64 {
        hash(self.key.iter().copied().chain(self.rtype.0.to_be_bytes()), salt)
    }
}

/// A signature that can be served.
#[derive(Debug, Clone, Copy)]
pub(super) struct OldSignature<'a> {
    /// RRSIG RDATA with two octets of length in front.
    pub octets: &'a [u8],
    pub expiration: Timestamp,
    /// When it is to be made anew.
    pub due: Timestamp,
    /// When it must have been made anew.
    pub deadline: Timestamp,
}

/// Whether a signature is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignatureState {
    /// Not now.
    Good,
    /// Now, unless much else is.
    Due,
    /// Now.
    Urgent,
}

impl RenewalPlan {
    pub fn new(times: &SigningTimes, now: Timestamp) -> Self {
        let validity = times.validity.max(1);
        // Policies are checked at load; whatever comes here, a new signature must not be due at once.
        let refresh = if times.refresh < validity { times.refresh } else { validity / 2 };
        let jitter = times.jitter.min((validity - refresh) / 2);
        Self { now, validity, jitter, refresh, batch: jitter / 24 }
    }

    pub const fn inception(&self) -> Timestamp {
        inception_at(self.now)
    }

    /// When a signature with this expiration comes due.
    pub const fn due(&self, expiration: Timestamp) -> Timestamp {
        expiration.minus(self.refresh as u64)
    }

    /// True when a signature that comes due then may be made anew now.
    pub fn is_due(&self, due: Timestamp) -> bool {
        due <= self.now.plus(u64::from(self.batch))
    }

    /// How a run spreads that makes `made` of the `all` RRsets of the zone `origin`.
    pub fn spread(&self, made: usize, all: usize, origin: &[u8]) -> Spread {
        if all >= LARGE && made > all / 20 {
            Spread::Even
        } else if all < LARGE && made > all / 2 {
            let offset =
                (hash(origin.iter().copied(), self.now.secs()) * u64::from(self.room() - self.jitter)) >> 32;
            Spread::Together(offset as u32)
        } else {
            Spread::Jitter
        }
    }

    /// What may be taken off the validity at most, so that no signature is due at once.
    fn room(&self) -> u32 {
        (self.validity - self.refresh).saturating_sub(self.jitter.max(1)).max(self.jitter)
    }

    /// The expiration for an RRset. The SOA, which every version signs anew, has the whole validity.
    pub fn expiration(&self, position: &Position<'_>, spread: Spread) -> Timestamp {
        let share = |of: u32| (position.hash(self.now.secs()) * (u64::from(of) + 1)) >> 32;
        let less = match spread {
            _ if position.rtype == Rtype::SOA => 0,
            Spread::Jitter => share(self.jitter),
            Spread::Together(offset) => u64::from(offset) + share(self.jitter),
            Spread::Even => share(self.room()),
        };
        self.now.plus(u64::from(self.validity) - less)
    }

    /// The signature `octets` when it can be served, that is from now on; `retire` gives the times from which on it is to be replaced, and
    /// must be, because its key retires.
    pub fn judge<'a>(
        &self,
        octets: &'a [u8],
        retire: Option<(Timestamp, Timestamp)>,
    ) -> Option<OldSignature<'a>> {
        let (inception, expiration) = times(octets.get(2..)?, self.now)?;
        // One from the future (a clock was set back) cannot.
        if inception > self.now || expiration < self.now {
            return None;
        }
        let due = self.due(expiration);
        // Half of what is left for renewing: from then on nothing is put off.
        let deadline = expiration.minus(u64::from(self.refresh) / 2);
        let (replace, must) = retire.unwrap_or((due, deadline));
        Some(OldSignature { octets, expiration, due: due.min(replace), deadline: deadline.min(must) })
    }

    pub fn state(&self, signature: &OldSignature<'_>) -> SignatureState {
        if signature.deadline <= self.now {
            SignatureState::Urgent
        } else if self.is_due(signature.due) {
            SignatureState::Due
        } else {
            SignatureState::Good
        }
    }

    /// True when a signature with these times need not be made anew.
    pub fn keeps(&self, inception: Timestamp, expiration: Timestamp) -> bool {
        inception <= self.now && self.due(expiration) > self.now.plus(u64::from(self.batch))
    }
}

/// The inception of signatures that are made at `now`.
pub(super) const fn inception_at(now: Timestamp) -> Timestamp {
    now.minus(INCEPTION_OFFSET)
}

/// Inception and expiration of RRSIG RDATA.
pub(super) fn times(rdata: &[u8], near: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let expiration = u32::from_be_bytes(*rdata.get(8..)?.first_chunk()?);
    let inception = u32::from_be_bytes(*rdata.get(12..)?.first_chunk()?);
    Some((Timestamp::from_rrsig(inception, near), Timestamp::from_rrsig(expiration, near)))
}

/// FNV-1a with its high bits folded in, since its low bits are poor; 32 bits.
fn hash(octets: impl Iterator<Item = u8>, salt: u64) -> u64 {
    let fnv = octets
        .chain(salt.to_be_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    (fnv ^ (fnv >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
}
