//! The zone that a server transfers, verified as a whole within limits: what it costs is decided before, from what it holds, so that no server
//! can keep this process busy (CVE-2023-50387) or fill its disk.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::io::{BufWriter, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use keystore::dns::{Name, Rtype};
use keystore::keys::Dnskey;
use keystore::time::Timestamp;
use signer_plugin::verify::{VerifyReport, ZoneContents, ZoneFault, ZoneFinding, verify_in_time};
use skr_loader::ask::RawRecord;

/// Most octets that a zone may have as text.
const MAX_OCTETS: usize = 16 << 20;
/// Most signatures of a zone.
const MAX_SIGNATURES: usize = 50_000;
/// Most signatures of one RRset.
const MAX_OF_ONE_SET: u32 = 16;
/// Most keys of the zone, and most of one tag.
const MAX_KEYS: usize = 32;
const MAX_OF_ONE_TAG: usize = 4;
/// Most iterations of NSEC3; validators take a zone with more as unsigned (RFC 9276 section 3.2).
const MAX_ITERATIONS: u16 = 150;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// It was not verified.
    NotVerified(NotVerified),
    /// No validator would miss anything.
    Good,
    /// It does not read as a zone, and why.
    Unreadable(String),
    /// What validators would not take.
    Faulty {
        /// How many findings there are.
        findings: usize,
        /// The first of them.
        first: String,
    },
}

/// Why a zone was not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotVerified {
    /// It has more octets or signatures than are taken.
    TooLarge,
    /// It has so many keys of one tag, signatures of one RRset or iterations of NSEC3 that it would cost too much.
    TooCostly,
    /// This host could not keep it in a temporary file.
    NotKept,
    /// It took longer than it may.
    TimeUp,
}

impl fmt::Display for NotVerified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "too large to be verified as a whole",
            Self::TooCostly => {
                "not verified as a whole: its keys, signatures or NSEC3 iterations would cost too much"
            }
            Self::NotKept => "not verified as a whole: this host could not keep it in a temporary file",
            Self::TimeUp => "not verified as a whole: the time was up",
        })
    }
}

/// The records of a transfer, in the form of a zone file.
#[derive(Debug)]
pub struct ZoneCopy {
    out: BufWriter<tempfile::NamedTempFile>,
    octets: usize,
    signatures: usize,
    /// Signatures over each RRset.
    of_sets: HashMap<(Name, u16), u32>,
    /// Tag and algorithm of each key at the apex.
    keys: Vec<(u16, u8)>,
}

impl ZoneCopy {
    /// No record yet.
    ///
    /// # Errors
    /// When no temporary file can be had.
    pub fn new() -> Result<Self, NotVerified> {
        let file = tempfile::NamedTempFile::new().map_err(|_| NotVerified::NotKept)?;
        let (of_sets, keys) = (HashMap::new(), Vec::new());
        Ok(Self { out: BufWriter::new(file), octets: 0, signatures: 0, of_sets, keys })
    }

    /// Adds a record of `zone`, with its data in the form of any type (RFC 3597 section 5).
    ///
    /// # Errors
    /// When the zone will not be verified; nothing more need be added then.
    pub fn add(&mut self, record: &RawRecord, zone: &Name) -> Result<(), NotVerified> {
        let RawRecord { owner, rtype, ttl, rdata } = record;
        self.count(owner, *rtype, rdata, zone)?;
        let mut line = format!("{owner} {ttl} IN TYPE{} \\# {}", rtype.0, rdata.len());
        if !rdata.is_empty() {
            let _ = write!(line, " {}", data_encoding::HEXLOWER.encode(rdata));
        }
        line.push('\n');
        self.octets += line.len();
        if self.octets > MAX_OCTETS {
            return Err(NotVerified::TooLarge);
        }
        self.out.write_all(line.as_bytes()).map_err(|_| NotVerified::NotKept)
    }

    /// Keeps count of what a verification costs.
    fn count(&mut self, owner: &Name, rtype: Rtype, rdata: &[u8], zone: &Name) -> Result<(), NotVerified> {
        match (rtype, rdata) {
            (Rtype::RRSIG, [high, low, ..]) => {
                self.signatures += 1;
                let covered = u16::from_be_bytes([*high, *low]);
                let of_set = self.of_sets.entry((owner.clone(), covered)).or_default();
                *of_set += 1;
                match () {
                    () if *of_set > MAX_OF_ONE_SET => Err(NotVerified::TooCostly),
                    () if self.signatures > MAX_SIGNATURES => Err(NotVerified::TooLarge),
                    () => Ok(()),
                }
            }
            (Rtype::DNSKEY, _) if owner == zone => {
                if let Some(key) = Dnskey::from_rdata(rdata) {
                    self.keys.push((key.tag(), key.algorithm.0));
                }
                let same = |tag| self.keys.iter().filter(|(other, _)| *other == tag).count();
                let is_crowded = self.keys.last().is_some_and(|(tag, _)| same(*tag) > MAX_OF_ONE_TAG);
                if is_crowded || self.keys.len() > MAX_KEYS { Err(NotVerified::TooCostly) } else { Ok(()) }
            }
            (Rtype::NSEC3 | Rtype::NSEC3PARAM, [_, _, high, low, ..])
                if u16::from_be_bytes([*high, *low]) > MAX_ITERATIONS =>
            {
                Err(NotVerified::TooCostly)
            }
            _ => Ok(()),
        }
    }

    /// Verifies the zone, one at a time in this process, on a thread of its own: the signer needs the others. It may take `time` from its
    /// turn on: its limits allow for signatures of slow algorithms and for records that are many times slower than those of a zone in use.
    #[must_use]
    pub fn verify(self, zone: &Name, now: Timestamp, time: Duration) -> Contents {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let not_kept = Contents::NotVerified(NotVerified::NotKept);
        let begun = Instant::now();
        let algorithms: HashSet<u8> = self.keys.iter().map(|(_, algorithm)| *algorithm).collect();
        let Ok(file) = self.out.into_inner() else { return not_kept };
        let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(1).build() else { return not_kept };
        pool.install(|| match ZoneContents::read(file.path(), Some(zone)) {
            Ok(contents) => verify_in_time(&contents, &[], now, &|| begun.elapsed() < time)
                .map_or(Contents::NotVerified(NotVerified::TimeUp), |report| {
                    judged(&report, algorithms.len())
                }),
            Err(error) => Contents::Unreadable(error.to_string()),
        })
    }
}

/// What of a report no validator would take; the rest is what a roll under way or an older signer leaves.
fn judged(report: &VerifyReport, algorithms: usize) -> Contents {
    let mut unsigned: HashMap<(&Name, Rtype), usize> = HashMap::new();
    for finding in report.findings.iter().filter(|f| matches!(f.fault, ZoneFault::Unsigned(_))) {
        *unsigned.entry((&finding.owner, finding.rtype)).or_default() += 1;
    }
    // A chain that is being replaced has records of two.
    let is_replaced = report
        .findings
        .iter()
        .any(|finding| matches!(finding.fault, ZoneFault::OtherParameters | ZoneFault::TwoChains));
    let breaks = |finding: &&ZoneFinding| match &finding.fault {
        // A validator is content with one algorithm (RFC 6840 section 5.11).
        ZoneFault::Unsigned(_) => {
            unsigned.get(&(&finding.owner, finding.rtype)).is_some_and(|n| *n >= algorithms)
        }
        ZoneFault::NoDenial => true,
        ZoneFault::NextName { .. } | ZoneFault::NextHash { .. } => !is_replaced,
        _ => false,
    };
    let mut broken = report.findings.iter().filter(breaks);
    match broken.next() {
        None => Contents::Good,
        Some(first) => Contents::Faulty { findings: 1 + broken.count(), first: first.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use keystore::crypto::Algorithm;
    use keystore::exchange::testing::TestKey;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect(text)
    }

    fn record(owner: &str, rtype: Rtype, rdata: &[u8]) -> RawRecord {
        RawRecord { owner: name(owner), rtype, ttl: 300, rdata: rdata.to_vec() }
    }

    #[test]
    fn zone_that_would_cost_too_much_is_not_verified() {
        let zone = name("example.");
        let key = TestKey::zsk(2).dnskey.to_rdata();
        let of_tag = |n: usize| (0..n).map(|_| record("example.", Rtype::DNSKEY, &key)).collect::<Vec<_>>();
        let signatures =
            |n: usize| (0..n).map(|_| record("a.example.", Rtype::RRSIG, &[0, 1, 9])).collect::<Vec<_>>();
        let elsewhere = (0..99).map(|_| record("b.example.", Rtype::DNSKEY, &key)).collect::<Vec<_>>();
        let iterations = |n: u16| {
            let [high, low] = n.to_be_bytes();
            vec![record("example.", Rtype::NSEC3PARAM, &[1, 0, high, low, 0])]
        };
        let long = [
            vec![63],
            vec![b'a'; 63],
            vec![63],
            vec![b'b'; 63],
            vec![63],
            vec![b'c'; 63],
            vec![61],
            vec![b'd'; 61],
        ];
        let long = Name::from_wire(&[long.concat(), vec![0]].concat()).expect("255 octets").to_string();
        let large = (0..200_000).map(|_| record(&long, Rtype::TXT, &[0])).collect::<Vec<_>>();
        for (what, records, want) in [
            ("four keys of one tag", of_tag(4), None),
            ("five keys of one tag", of_tag(5), Some(NotVerified::TooCostly)),
            ("keys that are not of the zone", elsewhere, None),
            ("16 signatures of one RRset", signatures(16), None),
            ("17 signatures of one RRset", signatures(17), Some(NotVerified::TooCostly)),
            ("150 iterations", iterations(150), None),
            ("151 iterations", iterations(151), Some(NotVerified::TooCostly)),
            ("much text of few octets", large, Some(NotVerified::TooLarge)),
        ] {
            let mut copy = ZoneCopy::new().expect("a file");
            let found = records.iter().find_map(|record| copy.add(record, &zone).err());
            assert_eq!(found, want, "{what}");
        }
    }

    #[test]
    fn zone_that_does_not_read_is_told_and_what_validators_tolerate_is_not() {
        let zone = name("example.");
        let copy = |records: &[RawRecord]| {
            let mut copy = ZoneCopy::new().expect("a file");
            records.iter().for_each(|record| copy.add(record, &zone).expect("small"));
            |time| copy.verify(&zone, Timestamp::from_secs(1_800_000_000), time)
        };
        let found = copy(&[record("example.", Rtype::SOA, &[1, 2, 3])])(Duration::MAX);
        assert!(matches!(found, Contents::Unreadable(_)), "{found:?}");
        let soa = [&[0, 0][..], &[0; 20]].concat();
        let found = |time| copy(&[record("example.", Rtype::SOA, &soa)])(time);
        assert!(matches!(found(Duration::MAX), Contents::Faulty { .. }), "{:?}", found(Duration::MAX));
        let time_up = Contents::NotVerified(NotVerified::TimeUp);
        assert_eq!(found(Duration::ZERO), time_up, "a zone that is not verified is not called faulty");
        let owner = name("a.example.");
        let report = |faults: Vec<ZoneFault>| VerifyReport {
            findings: faults
                .into_iter()
                .map(|fault| ZoneFinding { owner: owner.clone(), rtype: Rtype::A, fault })
                .collect(),
            names: 1,
            rrsets: 1,
            signatures: 1,
            earliest_expiration: None,
        };
        let next = || ZoneFault::NextName { found: owner.clone(), wanted: owner.clone() };
        let (one, other) = (ZoneFault::Unsigned(Algorithm(13)), ZoneFault::Unsigned(Algorithm(15)));
        for (faults, algorithms, is_good) in [
            (vec![], 1, true),
            (vec![one.clone()], 1, false),
            // The liberal and the conservative roll of the algorithm (RFC 6781 section 4.1.4).
            (vec![one.clone()], 2, true),
            (vec![one, other], 2, false),
            (vec![ZoneFault::UnknownKey(7), ZoneFault::SeveralByOneKey(7)], 1, true),
            (vec![ZoneFault::DenialTtl { found: 1, wanted: 2 }, ZoneFault::Iterations(100)], 1, true),
            (vec![next()], 1, false),
            (vec![next(), ZoneFault::OtherParameters], 1, true),
            (vec![ZoneFault::NoDenial], 1, false),
        ] {
            let shown = format!("{faults:?} {algorithms}");
            assert_eq!(judged(&report(faults), algorithms) == Contents::Good, is_good, "{shown}");
        }
    }
}
