//! A signed zone file as a source: of the apex key RRsets that are signed already, and of signatures that are still good.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use keystore::dns::{Name, Rrset, Rrsig, Rtype, rrsig};
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;
use rayon::prelude::*;

use super::apex::{self, ApexRrset};
use super::denial::OwnerBuf;
use super::draft::Draft;
use super::slots::KeySlot;
use super::{Basis, Denial, Nsec3, RrsetView, SignedZone, SigningTimes};
use crate::rules::ZoneRules;
use crate::zone::{Zone, ZoneBuilder};
use crate::zonefile::{self, Record, SourceFiles, ZoneFileError};

/// Flag Opt-Out of NSEC3 (RFC 5155 section 3.1.2.1).
const OPT_OUT: u8 = 1;

/// RDATA of RRSIGs, by owner in lower case and type covered.
type SignaturesByRrset = HashMap<(Box<[u8]>, Rtype), Vec<Box<[u8]>>>;

/// What a signed zone file has: the zone without its DNSSEC records, and these.
#[derive(Debug)]
pub struct SignedFile {
    zone: Arc<Zone>,
    /// RRsets of the apex that a zone file does not have: DNSKEY, CDS, CDNSKEY, NSEC3PARAM, ZONEMD.
    apex: Vec<Rrset>,
    signatures: SignaturesByRrset,
    opt_out: bool,
}

impl SignedFile {
    /// Reads a signed master file; its unsigned part is judged by `rules`.
    ///
    /// # Errors
    /// As [`Zone::load`].
    pub fn load(path: &Path, origin: &Name, rules: ZoneRules) -> Result<Self, ZoneFileError> {
        let mut builder = ZoneBuilder::with_rules(origin, rules);
        let (mut apex, mut signatures, mut opt_out) = (Vec::new(), HashMap::new(), false);
        let mut files = SourceFiles::default();
        zonefile::read_noting(path, origin, &mut files, &mut |record| {
            match record.rtype {
                Rtype::RRSIG => put_signature(&mut signatures, &record),
                Rtype::NSEC3 => opt_out |= record.rdata.get(1).is_some_and(|flags| flags & OPT_OUT != 0),
                rtype if is_of_apex(rtype) && record.owner.eq_ignore_ascii_case(origin.as_wire()) => {
                    put_rrset(&mut apex, origin, &record);
                }
                _ => {}
            }
            builder.push(&record)
        })?;
        Ok(Self { zone: Arc::new(builder.finish(files)?), apex, signatures, opt_out })
    }

    /// The zone without its DNSSEC records.
    #[must_use]
    pub const fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }

    /// The apex key RRsets with their signatures, as a bundle that is in force since the last of these begins; `None` without a DNSKEY RRset.
    /// Whether the signatures hold is the caller's matter.
    #[must_use]
    pub fn bundle(&self, now: Timestamp) -> Option<Bundle> {
        let find = |rtype| self.apex.iter().find(|set| set.rtype == rtype).cloned();
        let (dnskey, cdnskey, cds) = (find(Rtype::DNSKEY)?, find(Rtype::CDNSKEY), find(Rtype::CDS));
        let sets = [Some(&dnskey), cdnskey.as_ref(), cds.as_ref()];
        let rdatas =
            sets.into_iter().flatten().flat_map(|set| self.signatures_of(set.owner.as_wire(), set.rtype));
        let signatures: Vec<Rrsig> = rdatas.filter_map(|rdata| Rrsig::from_rdata(rdata).ok()).collect();
        let inception = signatures.iter().map(|s| s.incepts(now)).max().unwrap_or(now);
        let (dnskey, cdnskey, cds) = (dnskey.into(), cdnskey.map(Into::into), cds.map(Into::into));
        Some(Bundle { inception, dnskey, cdnskey, cds, signatures })
    }

    /// The signed zone with those of its signatures that verify, to be taken over by [`super::sign`]; `None` when the file has no key set or
    /// no signature over its SOA record.
    #[must_use]
    pub fn to_signed(&self, now: Timestamp) -> Option<SignedZone> {
        let bundle = self.bundle(now)?;
        let made = self.apex.iter().filter(|set| !apex::is_of_bundle(set.rtype)).map(|set| {
            let signatures = self.signatures_of(set.owner.as_wire(), set.rtype).map(<[u8]>::to_vec);
            let signatures = apex::with_lengths(signatures);
            ApexRrset { signatures, ..ApexRrset::new(set.rtype, set.ttl, set.canonical_rdatas()) }
        });
        let made = made.collect();
        let draft = Draft::new(&self.zone, &bundle, made, &self.denial(), self.zone.serial(), None).ok()?;
        let (keys, slot_len) = self.keys(&bundle);
        if keys.is_empty() {
            return None;
        }
        let viewer = draft.viewer();
        let mut blocks = draft.blocks(slot_len);
        blocks.par_iter_mut().for_each(|block| {
            block.each(
                |task, _, head, slot| {
                    let mut room = OwnerBuf::new();
                    let (owner, view) = (draft.owner(task, head, &mut room), viewer.view(task, head));
                    self.fill(owner, view, &keys, slot);
                },
                slot_len,
            );
        });
        // Whoever goes on from here looks at each signature.
        let times = SigningTimes { validity: 0, refresh: 0, jitter: 0 };
        let basis = Basis { times, retiring: Vec::new(), made_at: Timestamp::MAX };
        Some(draft.finish(&bundle, (keys, slot_len), blocks, basis, now))
    }

    /// By NSEC3 when the file has NSEC3PARAM.
    fn denial(&self) -> Denial {
        let param = self.apex.iter().find(|set| set.rtype == Rtype::NSEC3PARAM);
        let nsec3 = param.and_then(|set| set.rdatas.first()).and_then(|rdata| {
            let (head, salt) = rdata.split_first_chunk::<5>()?;
            Some(Nsec3::new(u16::from_be_bytes([head[2], head[3]]), self.opt_out).with_salt(salt.into()))
        });
        nsec3.map_or(Denial::Nsec, Denial::Nsec3)
    }

    fn signatures_of(&self, owner: &[u8], rtype: Rtype) -> impl Iterator<Item = &[u8]> {
        let at = (owner.to_ascii_lowercase().into_boxed_slice(), rtype);
        self.signatures.get(&at).into_iter().flatten().map(|rdata| &**rdata)
    }

    /// The keys that signed the SOA, with the places of their signatures, and the octets of a slot.
    fn keys(&self, bundle: &Bundle) -> (Vec<KeySlot>, usize) {
        let (mut keys, mut offset) = (Vec::new(), 0);
        for dnskey in bundle.keys() {
            let tag = dnskey.tag();
            let mut signatures = self.signatures_of(self.zone.origin().as_wire(), Rtype::SOA);
            if let Some(rdata) = signatures.find(|rdata| is_by(rdata, tag, &dnskey)) {
                keys.push(KeySlot { dnskey, tag, offset, len: rdata.len() });
                offset += 2 + rdata.len();
            }
        }
        (keys, offset)
    }

    /// Puts the signatures of an RRset in that verify; the others stay 0, and are never taken for good.
    fn fill(&self, owner: &[u8], view: RrsetView<'_>, keys: &[KeySlot], slot: &mut [u8]) {
        let Some(rrset) = view.to_rrset(owner) else { return };
        for key in keys {
            let good = self.signatures_of(owner, view.rtype).find(|rdata| {
                is_by(rdata, key.tag, &key.dnskey)
                    && rdata.len() == key.len
                    && Rrsig::from_rdata(rdata).is_ok_and(|rrsig| {
                        rrsig.original_ttl == view.ttl
                            && rrsig.labels == rrset.owner.rrsig_labels()
                            && rrsig.signer == *self.zone.origin()
                            && rrsig::verify_raw(&rrset, &key.dnskey.public_key, &rrsig).is_ok()
                    })
            });
            if let Some(rdata) = good {
                let place = &mut slot[key.offset..key.offset + 2 + key.len];
                place[..2].copy_from_slice(&(key.len as u16).to_be_bytes());
                place[2..].copy_from_slice(rdata);
            }
        }
    }
}

const fn is_of_apex(rtype: Rtype) -> bool {
    apex::is_of_bundle(rtype) || matches!(rtype, Rtype::NSEC3PARAM | Rtype::ZONEMD)
}

/// True for an RRSIG with this key's algorithm and tag.
fn is_by(rrsig: &[u8], tag: u16, key: &Dnskey) -> bool {
    rrsig.get(2) == Some(&key.algorithm.0) && rrsig.get(16..18) == Some(&tag.to_be_bytes()[..])
}

fn put_signature(signatures: &mut SignaturesByRrset, record: &Record<'_>) {
    if let Some(covered) = record.rdata.first_chunk::<2>() {
        let owner = record.owner.to_ascii_lowercase().into_boxed_slice();
        signatures.entry((owner, Rtype(u16::from_be_bytes(*covered)))).or_default().push(record.rdata.into());
    }
}

fn put_rrset(sets: &mut Vec<Rrset>, origin: &Name, record: &Record<'_>) {
    let at = match sets.iter().position(|set| set.rtype == record.rtype) {
        Some(at) => at,
        None => {
            let (owner, rtype) = (origin.clone(), record.rtype);
            sets.push(Rrset { owner, rtype, ttl: record.ttl, rdatas: Vec::new() });
            sets.len() - 1
        }
    };
    if !sets[at].rdatas.iter().any(|rdata| **rdata == *record.rdata) {
        sets[at].rdatas.push(record.rdata.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::{SigningPolicy, sign};
    use crate::testing::{NOW, POLICY, keys, name, signed_by, zone};

    const ZONE: &str = "\
@ SOA ns admin 7 1h 5m 1w 10m
@ NS ns
ns A 192.0.2.1
a.ent TXT t
*.Wild A 192.0.2.2
sub NS ns
safe NS ns
safe DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF
";

    fn policies() -> Vec<SigningPolicy> {
        let salted = Nsec3::new(3, true).with_salt([1, 2].into());
        [Denial::Nsec, Denial::Nsec3(Nsec3::new(0, false)), Denial::Nsec3(salted)]
            .into_iter()
            .map(|denial| SigningPolicy { denial, zonemd: true, ..POLICY })
            .collect()
    }

    /// The file of a signed zone, changed by `edit`, read again.
    fn read(signed: &SignedZone, edit: impl Fn(String) -> String) -> SignedFile {
        let mut text = Vec::new();
        signed.write_to(&mut text).expect("memory");
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("signed");
        std::fs::write(&path, edit(String::from_utf8(text).expect("ASCII"))).expect("write the zone");
        SignedFile::load(&path, &name("example"), ZoneRules::default()).expect("it reads")
    }

    /// Signs `text` again over the file of `signed`; gives the signatures made and kept.
    fn again(
        policy: &SigningPolicy,
        signed: &SignedZone,
        text: &str,
        now: Timestamp,
        edit: impl Fn(String) -> String,
    ) -> (usize, usize) {
        let file = read(signed, edit);
        let previous = file.to_signed(now).expect("it is signed");
        let bundle = file.bundle(now).expect("it has keys");
        let zone = Arc::new(zone("example", text).expect("a zone"));
        let zsk = std::slice::from_ref(&keys().1);
        let made = sign(&zone, &bundle, zsk, policy, 7, Some(&previous), now).expect("signs");
        made.self_check(now, usize::MAX).expect("valid");
        (made.signatures_made(), made.signatures_reused())
    }

    #[test]
    fn signatures_of_a_signed_file_are_kept_while_their_data_stays_and_they_are_not_due() {
        for policy in policies() {
            let signed = signed_by(zone("example", ZONE).expect("a zone"), &policy).expect("signs");
            let all = signed.signatures_made();
            let same = |text: String| text;
            let again =
                |text: &str, now, edit: &dyn Fn(String) -> String| again(&policy, &signed, text, now, edit);
            assert_eq!(again(ZONE, NOW.plus(60), &same), (0, all), "{policy:?}");
            // All is due.
            let late = NOW.plus(u64::from(policy.times.validity));
            assert_eq!(again(ZONE, late, &same), (all, 0));
            // Another address, and ZONEMD; another TTL, and ZONEMD.
            let changed = ZONE.replace("192.0.2.1\n", "192.0.2.9\n");
            assert_eq!(again(&changed, NOW, &same), (2, all - 2));
            assert_eq!(again(&ZONE.replace("ns A", "ns 60 A"), NOW, &same), (2, all - 2));
            // A signature that does not verify is made anew.
            let damage = |text: String| text.replace("\"t\"", "\"u\"");
            assert_eq!(again(ZONE, NOW, &damage), (2, all - 2));
        }
    }

    #[test]
    fn another_denial_keeps_what_does_not_depend_on_it() {
        let [nsec, nsec3, _] = &policies()[..] else { panic!("three policies") };
        let signed = signed_by(zone("example", ZONE).expect("a zone"), nsec).expect("signs");
        let (made, kept) = again(nsec3, &signed, ZONE, NOW, |text| text);
        // SOA, NS, A, TXT, A and DS stay.
        assert_eq!(kept, 6);
        assert!(made > 0);
    }

    #[test]
    fn key_set_of_a_signed_file_is_that_of_its_bundle() {
        let signed = signed_by(zone("example", ZONE).expect("a zone"), &policies()[1]).expect("signs");
        let bundle = read(&signed, |text| text).bundle(NOW).expect("it has keys");
        for rrset in bundle.rrsets() {
            let served = signed.find(crate::zone::NodeId::APEX, rrset.rtype).expect("it is served");
            assert_eq!(
                rrset.canonical_rdatas(),
                super::super::Records(served.data).map(<[u8]>::to_vec).collect::<Vec<_>>()
            );
        }
        assert_eq!((bundle.signatures.len(), bundle.rrsets().count()), (3, 3));
        let unsigned = |text: String| {
            text.lines()
                .filter(|line| !line.contains("RRSIG\tDNSKEY") && !line.contains("\tDNSKEY\t"))
                .map(|line| format!("{line}\n"))
                .collect()
        };
        assert!(read(&signed, unsigned).bundle(NOW).is_none());
        assert!(read(&signed, unsigned).to_signed(NOW).is_none());
    }
}
