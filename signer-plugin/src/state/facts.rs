//! What a version is beside its records and signatures: serial, bundle, keys, and since when the keys are published.

use keystore::dns::{Name, Rrset, Rrsig, Rtype};
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use super::codec::{Put, Take};
use crate::signing::{Denial, Nsec3, SigningKeyInfo, StoredApexRrset, StoredVersion};

/// The facts of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionFacts {
    /// Serial of the SOA record that is served.
    pub serial: u32,
    /// When the version was made.
    pub made_at: Timestamp,
    /// What it was signed with; `None` where nothing was signed here.
    pub signing: Option<SigningFacts>,
    /// Where the differences end that lead to this version; `None` when there are none, as in what earlier releases wrote.
    pub history: Option<HistoryEnd>,
}

/// What a version was signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SigningFacts {
    /// The generation of the SKR that its bundle is from.
    pub generation: u64,
    /// The bundle whose key RRsets it has.
    pub bundle: Bundle,
    /// The keys that signed, in the order of their RRSIGs in a slot.
    pub keys: Vec<SigningKeyInfo>,
    /// The keys of the DNSKEY RRset.
    pub published: Vec<Publication>,
    /// How it denies.
    pub denial: Denial,
    /// Checksum of its denial records.
    pub denial_checksum: u128,
    /// The RRsets that were made for the apex.
    pub made_at_apex: Vec<StoredApexRrset>,
}

/// Up to where a file of differences belongs to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistoryEnd {
    /// Which of the two files.
    pub file: bool,
    /// The digest of the last section.
    pub digest: [u8; 32],
    /// Octets of the file.
    pub len: u64,
}

/// A key that is served in the DNSKEY RRset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    pub dnskey: Dnskey,
    /// Since when it was in every version that was served; where no version is known, since when the bundles of the SKR have it.
    pub since: Timestamp,
}

impl VersionFacts {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.serial);
        out.put_u64(self.made_at.secs());
        match &self.signing {
            Some(signing) => signing.put(out),
            None => put_no_signing(out),
        }
        if let Some(HistoryEnd { file, digest, len }) = &self.history {
            out.put_u8(u8::from(*file));
            out.extend_from_slice(digest);
            out.put_u64(*len);
        }
    }

    /// The facts that `from` begins with; `None` when these octets are none.
    pub(super) fn take(from: &mut Take<'_>, zone: &Name) -> Option<Self> {
        let serial = from.u32()?;
        let made_at = Timestamp::from_secs(from.u64()?);
        let signing = SigningFacts::take(from, zone)?;
        let history = match from.is_empty() {
            true => None,
            false => Some(HistoryEnd { file: from.u8()? != 0, digest: from.array()?, len: from.u64()? }),
        };
        Some(Self { serial, made_at, signing, history })
    }

    /// Octets of the signatures of an RRset.
    pub(super) fn slot_len(&self) -> usize {
        let keys = self.signing.iter().flat_map(|signing| &signing.keys);
        keys.map(|key| usize::from(key.rrsig_len) + 2).sum()
    }

    /// What a version is made again from; `None` where that is the zone alone.
    pub fn stored(&self) -> Option<StoredVersion<'_>> {
        let signing = self.signing.as_ref()?;
        Some(StoredVersion {
            serial: self.serial,
            bundle: &signing.bundle,
            denial: &signing.denial,
            made_at_apex: &signing.made_at_apex,
            keys: &signing.keys,
            denial_checksum: signing.denial_checksum,
        })
    }
}

impl SigningFacts {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u64(self.generation);
        put_bundle(&self.bundle, out);
        out.put_u16(self.keys.len() as u16);
        for key in &self.keys {
            out.put_short(&key.dnskey.to_rdata());
            out.put_u16(key.rrsig_len);
        }
        out.put_u16(self.published.len() as u16);
        for publication in &self.published {
            out.put_short(&publication.dnskey.to_rdata());
            out.put_u64(publication.since.secs());
        }
        put_denial(&self.denial, out);
        out.extend_from_slice(&self.denial_checksum.to_be_bytes());
        out.put_u16(self.made_at_apex.len() as u16);
        for set in &self.made_at_apex {
            out.put_u16(set.rtype.0);
            out.put_u32(set.ttl);
            out.put_long(&set.data);
            out.put_long(&set.signatures);
        }
    }

    /// What `from` begins with: `Some(None)` where nothing was signed; `None` when these octets are none.
    fn take(from: &mut Take<'_>, zone: &Name) -> Option<Option<Self>> {
        let generation = from.u64()?;
        let Some(bundle) = take_bundle(from, zone)? else { return Some(None) };
        let keys = (0..from.u16()?)
            .map(|_| {
                Some(SigningKeyInfo { dnskey: Dnskey::from_rdata(from.short()?)?, rrsig_len: from.u16()? })
            })
            .collect::<Option<_>>()?;
        let published = (0..from.u16()?)
            .map(|_| {
                let dnskey = Dnskey::from_rdata(from.short()?)?;
                Some(Publication { dnskey, since: Timestamp::from_secs(from.u64()?) })
            })
            .collect::<Option<_>>()?;
        let denial = take_denial(from)?;
        let denial_checksum = u128::from_be_bytes(from.array()?);
        let made_at_apex = (0..from.u16()?)
            .map(|_| {
                let (rtype, ttl) = (Rtype(from.u16()?), from.u32()?);
                Some(StoredApexRrset {
                    rtype,
                    ttl,
                    data: from.long()?.into(),
                    signatures: from.long()?.into(),
                })
            })
            .collect::<Option<_>>()?;
        Some(Some(Self { generation, bundle, keys, published, denial, denial_checksum, made_at_apex }))
    }
}

/// What stands in place of generation and bundle where nothing was signed: no generation, no inception, no DNSKEY RRset.
fn put_no_signing(out: &mut Vec<u8>) {
    out.put_u64(0);
    out.put_u64(0);
    out.put_u8(0);
}

fn put_denial(denial: &Denial, out: &mut Vec<u8>) {
    match denial {
        Denial::Nsec => out.put_u8(0),
        Denial::Nsec3(nsec3) => {
            out.put_u8(1);
            out.put_u16(nsec3.iterations);
            out.put_u8(nsec3.opt_out.into());
            out.put_short(&nsec3.salt);
        }
    }
}

fn take_denial(from: &mut Take<'_>) -> Option<Denial> {
    match from.u8()? {
        0 => Some(Denial::Nsec),
        1 => {
            let (iterations, opt_out) = (from.u16()?, from.u8()? != 0);
            Some(Denial::Nsec3(Nsec3::new(iterations, opt_out).with_salt(from.short()?.into())))
        }
        _ => None,
    }
}

fn put_bundle(bundle: &Bundle, out: &mut Vec<u8>) {
    out.put_u64(bundle.inception.secs());
    for set in [Some(&bundle.dnskey), bundle.cdnskey.as_ref(), bundle.cds.as_ref()] {
        out.put_u8(set.is_some().into());
        let Some(set) = set else { continue };
        out.put_u32(set.ttl);
        out.put_u16(set.rdatas.len() as u16);
        for rdata in &set.rdatas {
            out.put_short(rdata);
        }
    }
    out.put_u16(bundle.signatures.len() as u16);
    for signature in &bundle.signatures {
        out.put_short(&signature.to_rdata());
    }
}

/// `Some(None)` where there is no DNSKEY RRset, see [`put_no_signing`].
fn take_bundle(from: &mut Take<'_>, zone: &Name) -> Option<Option<Bundle>> {
    let inception = Timestamp::from_secs(from.u64()?);
    let Some(dnskey) = take_rrset(from, zone, Rtype::DNSKEY)? else { return Some(None) };
    let cdnskey = take_rrset(from, zone, Rtype::CDNSKEY)?;
    let cds = take_rrset(from, zone, Rtype::CDS)?;
    let signatures =
        (0..from.u16()?).map(|_| Rrsig::from_rdata(from.short()?).ok()).collect::<Option<_>>()?;
    let (dnskey, cdnskey, cds) = (dnskey.into(), cdnskey.map(Into::into), cds.map(Into::into));
    Some(Some(Bundle { inception, dnskey, cdnskey, cds, signatures }))
}

/// An RRset of the bundle, which may be missing; `None` when the octets are no RRset.
fn take_rrset(from: &mut Take<'_>, zone: &Name, rtype: Rtype) -> Option<Option<Rrset>> {
    match from.u8()? {
        0 => Some(None),
        1 => {
            let ttl = from.u32()?;
            let rdatas = (0..from.u16()?).map(|_| from.short().map(Into::into)).collect::<Option<_>>()?;
            Some(Some(Rrset { owner: zone.clone(), rtype, ttl, rdatas }))
        }
        _ => None,
    }
}
