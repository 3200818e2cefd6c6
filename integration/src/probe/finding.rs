//! What the probe finds wrong: each with the ID of its condition, how urgent it is, the server, and one sentence.

use std::fmt;
use std::net::SocketAddr;

use keystore::dns::{Name, Rtype};
use keystore::time::Timestamp;
use metrics::condition::{ConditionId, Severity};

use crate::probe::denial::Unproven;
use crate::probe::facts::ServerId;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFinding {
    /// The condition.
    pub id: ConditionId,
    /// How urgent it is.
    pub severity: Severity,
    /// Which server; none when it is the same at all of them, or not of a server.
    pub server: Option<ServerId>,
    /// What is wrong.
    pub fault: ProbeFault,
}

/// Who made a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignerRole {
    /// A key with the SEP flag, or any key over the DNSKEY RRset.
    Ksk,
    /// Another key.
    Zsk,
}

impl SignerRole {
    /// The value of the label `role`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ksk => "ksk",
            Self::Zsk => "zsk",
        }
    }
}

impl fmt::Display for SignerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ksk => "KSK",
            Self::Zsk => "ZSK",
        })
    }
}

/// What is wrong. The server and the zone are in the finding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProbeFault {
    /// No answer over UDP.
    Silent(String),
    /// Answers over UDP, not over TCP.
    SilentOverTcp(String),
    /// An answer that says that the zone is not served here.
    NotServed(String),
    /// No server of the zone is known.
    NoServers,
    /// The server was not asked: there is no way to it from here, or the time was up.
    NotAsked(String),
    /// No answer for a name that does not exist.
    SilentToUnknownName(String),
    /// No server of the parent, and no resolver, has said whether there is a DS; and whether the zone is signed.
    DsNotKnown {
        /// A server has signatures.
        signed: bool,
    },
    /// So many keys of one tag, or signatures, that it is not verified.
    TooCostly,
    /// The accepted SKR cannot be read.
    StoreUnread(String),
    /// No address of a name in the NS RRset.
    NoAddress(Name, String),
    /// The zone is signed elsewhere or has a DS, and is served here without DNSKEY or signatures.
    Unsigned(Vec<Rtype>),
    /// DNSKEY records without a signature over them.
    KeysUnsigned,
    /// The zone that was transferred does not verify as a whole.
    FaultyContents {
        /// How many findings there are.
        findings: usize,
        /// The first of them.
        first: String,
    },
    /// The answer for a name that does not exist does not prove it.
    NoDenial(Unproven),
    /// Every signature over these RRsets has expired, the first of them then.
    Expired(Vec<Rtype>, u16, Timestamp),
    /// Every signature over these RRsets is made later than now.
    NotYetValid(Vec<Rtype>, u16, Timestamp),
    /// No signature over these RRsets verifies with a key of the zone.
    Bogus(Vec<Rtype>),
    /// No key that the trust anchor leads to has signed the DNSKEY RRset.
    NotTrusted,
    /// The chain from the trust anchor does not reach the zone.
    ChainBroken(String),
    /// A resolver that validates refuses to answer; with its extended error.
    ResolverRefuses(SocketAddr, Option<u16>),
    /// A signature ends soon.
    EndsSoon {
        /// Who made it.
        role: SignerRole,
        /// Owner of the RRset.
        owner: Name,
        /// Type of the RRset.
        rtype: Rtype,
        /// The key.
        key_tag: u16,
        /// When it ends.
        at: Timestamp,
    },
    /// The serial is behind that of another server.
    Behind {
        /// The serial here.
        serial: u32,
        /// The latest one.
        newest: u32,
    },
    /// Other records than at the other servers, at the same serial.
    OtherRecords(Vec<Rtype>),
    /// Other signatures than at the other servers, at the same serial.
    OtherSignatures(Vec<Rtype>),
    /// The NS RRset at the parent is another one.
    OtherDelegation,
    /// The RRsets of the bundle in force are not those served.
    NotOfBundle(Vec<Rtype>, Timestamp),
    /// No DS at the parent.
    DsMissing,
    /// No DS matches a key that signs the DNSKEY RRset.
    DsMatchesNone(Vec<u16>),
    /// A DS matches no key of the zone; another one does.
    DsUnknown(Vec<u16>),
    /// The servers of the parent have different DS RRsets.
    DsDiffers,
    /// A secondary that is cut off serves expired signatures.
    ExpireTooLong {
        /// SOA expire, in seconds.
        expire: u64,
        /// The remaining validity that it was held against, in seconds.
        remaining: u64,
        /// The remaining validity is the refresh time of the policy, not what was measured.
        by_policy: bool,
        /// The longest that would do, in seconds.
        allowed: u64,
    },
    /// The transfer failed.
    NoTransfer(String),
}

/// Seconds in words: days, or hours below two days.
#[must_use]
pub fn in_words(seconds: u64) -> String {
    let (number, unit) = match seconds {
        172_800.. => (seconds / 86_400, "day"),
        7_200.. => (seconds / 3_600, "hour"),
        120.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl ProbeFinding {
    /// The sentence, with what is relative to `now`.
    #[must_use]
    pub fn text(&self, now: Timestamp) -> String {
        use ProbeFault as F;
        match &self.fault {
            F::Silent(why) | F::NotServed(why) | F::NoTransfer(why) | F::ChainBroken(why) | F::NotAsked(why) => {
                why.clone()
            }
            F::SilentToUnknownName(why) => format!("asked for a name that does not exist: {why}"),
            F::DsNotKnown { signed: true } => {
                "whether there is a DS record at the parent is not known: none of its servers was asked".to_owned()
            }
            F::DsNotKnown { signed: false } => {
                "no server has signatures, and whether there is a DS record at the parent, which asks for them, is not known"
                    .to_owned()
            }
            F::TooCostly => {
                "has so many keys of one tag, or so many signatures, that it is not verified; validating resolvers refuse it too"
                    .to_owned()
            }
            F::StoreUnread(why) => format!("what is served cannot be held against the SKR in force: {why}"),
            F::SilentOverTcp(why) => format!("answers over UDP and not over TCP: {why}"),
            F::NoAddress(name, why) => format!("no address of the nameserver {name} was found: {why}"),
            F::NoServers => "no server of the zone is known".to_owned(),
            F::Unsigned(types) => format!("serves the zone without signatures ({})", list(types)),
            F::KeysUnsigned => {
                "the DNSKEY RRset has no signature: the KSK or its signature is missing".to_owned()
            }
            F::FaultyContents { findings: 1, first } => format!("the transferred zone does not verify: {first}"),
            F::FaultyContents { findings, first } => {
                format!("the transferred zone does not verify: {first}; {} findings more", findings - 1)
            }
            F::NoDenial(gap) => format!("the answer for a name that does not exist {gap}"),
            F::Expired(types, tag, at) => {
                let ago = in_words(now.since(*at));
                format!("the signature by key {tag} over {} expired {ago} ago ({})", list(types), at.iso())
            }
            F::NotYetValid(types, tag, at) => {
                let still = in_words(at.since(now));
                format!(
                    "the signature by key {tag} over {} is not valid for another {still} ({})",
                    list(types),
                    at.iso()
                )
            }
            F::Bogus(types) => format!("no signature over {} verifies with a key of the zone", list(types)),
            F::NotTrusted => "no key that the trust anchor leads to has signed the DNSKEY RRset".to_owned(),
            F::ResolverRefuses(resolver, code) => {
                let code = code.map(|code| format!(", extended error {code}")).unwrap_or_default();
                format!("the resolver {resolver} answers SERVFAIL{code}, and answers without validation")
            }
            F::EndsSoon { role, owner, rtype, key_tag, at } => {
                let left = in_words(at.since(now));
                format!(
                    "the signature by {role} {key_tag} over {owner} {rtype} ends in {left} ({})",
                    at.iso()
                )
            }
            F::Behind { serial, newest } => format!("has serial {serial}, another server has {newest}"),
            F::OtherRecords(types) => format!("serves other {} records at the same serial", list(types)),
            F::OtherSignatures(types) => {
                format!("serves other signatures over {} at the same serial", list(types))
            }
            F::OtherDelegation => "the NS RRset at the parent is not that of the zone".to_owned(),
            F::NotOfBundle(types, bundle) => {
                format!("the {} records are not those of the bundle in force ({})", list(types), bundle.iso())
            }
            F::DsMissing => "the zone is signed and has no DS record at its parent".to_owned(),
            F::DsMatchesNone(tags) => format!(
                "no DS record at the parent matches a key that signs the DNSKEY RRset; they are of key {}",
                list(tags)
            ),
            F::DsUnknown(tags) => {
                format!("the DS record of key {} at the parent matches no key of the zone", list(tags))
            }
            F::DsDiffers => "the servers of the parent have different DS records".to_owned(),
            F::ExpireTooLong { expire, remaining, by_policy, allowed } => {
                let than = if *by_policy { "signatures are renewed" } else { "a signature ends" };
                let then = if *by_policy { "before they end" } else { "from now" };
                format!(
                    "SOA expire is {}, but {than} {} {then}: a secondary that is cut off serves expired signatures; set expire to at most {}",
                    in_words(*expire),
                    in_words(*remaining),
                    in_words(*allowed)
                )
            }
        }
    }

    /// One line: severity, ID, zone, server, sentence.
    #[must_use]
    pub fn line(&self, zone: &Name, now: Timestamp) -> String {
        let server = self.server.as_ref().map(|server| format!("{server}: ")).unwrap_or_default();
        format!("{} {} {}: {server}{}", self.severity, self.id.as_str(), zone.to_lowercase(), self.text(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_largest_unit_of_which_there_are_two() {
        for (seconds, words) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_199, "119 minutes"),
            (7_200, "2 hours"),
            (86_400, "24 hours"),
            (172_800, "2 days"),
            (3_000_000, "34 days"),
        ] {
            assert_eq!(in_words(seconds), words);
        }
    }
}
