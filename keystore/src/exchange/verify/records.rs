//! Checks of the records: zone, types, TTLs, CDS and CDNSKEY.

use crate::check::CheckId;
use std::collections::BTreeSet;

use super::report::FindingList;
use super::{BundleView, Subject};
use crate::dns::{Rrset, Rrsig, Rtype};
use crate::keys::Dnskey;

/// The largest TTL (RFC 2181 section 8).
const MAX_TTL: u32 = 0x7fff_ffff;
/// A TTL over a week: caches cut it (RFC 8767 section 4), and a rollover waits for it.
const LONG_TTL: u32 = 7 * 86_400;
/// The CDS that asks the parent to remove the DS RRset (RFC 8078 section 4).
const CDS_DELETE: &[u8] = &[0, 0, 0, 0, 0];
/// The CDNSKEY that asks for the same.
const CDNSKEY_DELETE: &[u8] = &[0, 0, 3, 0, 0];

/// SKR-WRONG-ZONE: the SKR, every owner and every signer is the zone.
pub(super) fn check_zone(subject: &Subject<'_>, report: &mut FindingList) {
    const ID: CheckId = CheckId::SkrWrongZone;
    let zone = subject.context.zone;
    if subject.zone != zone {
        report.reject(ID, None, format!("the SKR is for {}, not for {zone}", subject.zone));
    }
    for BundleView { bundle, .. } in &subject.bundles {
        for rrset in bundle.rrsets().filter(|r| r.owner != *zone) {
            report.reject(ID, Some(bundle), format!("the owner of {} is {}", rrset.rtype, rrset.owner));
        }
    }
}

/// SKR-TYPE: the RRsets have the types of their places, and each signature covers one of them.
pub(super) fn check_types(subject: &Subject<'_>, report: &mut FindingList) {
    const ID: CheckId = CheckId::SkrType;
    for BundleView { bundle, .. } in &subject.bundles {
        let places = [
            (Some(&bundle.dnskey), Rtype::DNSKEY),
            (bundle.cdnskey.as_ref(), Rtype::CDNSKEY),
            (bundle.cds.as_ref(), Rtype::CDS),
        ];
        for (rrset, place) in places {
            if let Some(rrset) = rrset.filter(|r| r.rtype != place) {
                report.reject(ID, Some(bundle), format!("{} where {place} was expected", rrset.rtype));
            }
        }
        for signature in &bundle.signatures {
            if bundle.rrsets().all(|r| r.rtype != signature.covered) {
                let what =
                    format!("a signature covers {}, which the bundle does not have", signature.covered);
                report.reject(ID, Some(bundle), what);
            }
        }
    }
}

/// SKR-TTL: no TTL is over 2^31-1; one over a week is a warning.
pub(super) fn check_ttls(subject: &Subject<'_>, report: &mut FindingList) {
    const ID: CheckId = CheckId::SkrTtl;
    for BundleView { bundle, .. } in &subject.bundles {
        for rrset in bundle.rrsets() {
            let what = format!("the TTL of {} is {} s", rrset.rtype, rrset.ttl);
            if rrset.ttl > MAX_TTL {
                report.reject(ID, Some(bundle), what);
            } else if rrset.ttl > LONG_TTL {
                report.warn(ID, Some(bundle), what);
            }
        }
    }
}

/// SKR-CDS: CDS and CDNSKEY name KSKs of their bundle, agree with each other, and a parent that follows them does
/// not break the delegation (RFC 7344 section 4.1): a key that they name signs the DNSKEY RRset.
///
/// The delete form (RFC 8078 section 4) stands alone, in both RRsets where there are both, and only where it is allowed.
pub(super) fn check_cds(subject: &Subject<'_>, report: &mut FindingList) {
    for view in &subject.bundles {
        if let Err(fault) = cds_named(view, subject.context.allow_delete, report) {
            report.reject(CheckId::SkrCds, Some(view.bundle), fault.to_string());
        }
    }
}

/// What is wrong with the CDS and CDNSKEY of a bundle.
#[derive(Debug, thiserror::Error)]
enum CdsFault {
    #[error("the delete form stands beside other CDS or CDNSKEY records")]
    DeleteNotAlone,
    #[error("asks the parent to remove the DS RRset, which is not allowed here")]
    DeleteNotAllowed,
    #[error("CDS and CDNSKEY name different keys")]
    Differ,
    #[error(
        "no key that CDS or CDNSKEY names signs the DNSKEY RRset: a parent that follows them breaks the delegation"
    )]
    BreaksDelegation,
    #[error("a {0} record is too short")]
    TooShort(Rtype),
    #[error("the CDS for key {tag} has digest type {digest_type}, which is not supported")]
    DigestType { tag: u16, digest_type: u8 },
    #[error("the {rtype} for key {tag} names a revoked KSK")]
    Revoked { rtype: Rtype, tag: u16 },
    #[error("the {rtype} for key {tag} names no KSK of the DNSKEY RRset")]
    NoKsk { rtype: Rtype, tag: u16 },
}

fn cds_named(view: &BundleView<'_>, allow_delete: bool, report: &mut FindingList) -> Result<(), CdsFault> {
    let bundle = view.bundle;
    let deletes = |r: Option<&Rrset>, form: &[u8]| r.is_some_and(|r| r.rdatas.iter().any(|d| **d == *form));
    let by_cds = deletes(bundle.cds.as_deref(), CDS_DELETE);
    let by_cdnskey = deletes(bundle.cdnskey.as_deref(), CDNSKEY_DELETE);
    if by_cds || by_cdnskey {
        let alone = |r: Option<&Rrset>| r.is_none_or(|r| r.rdatas.len() == 1);
        let both = (by_cds || bundle.cds.is_none()) && (by_cdnskey || bundle.cdnskey.is_none());
        if !both || !alone(bundle.cds.as_deref()) || !alone(bundle.cdnskey.as_deref()) {
            return Err(CdsFault::DeleteNotAlone);
        }
        if !allow_delete {
            return Err(CdsFault::DeleteNotAllowed);
        }
        return Ok(());
    }
    let named_by_cds = bundle.cds.as_ref().map(|r| keys_of_cds(view, r, report)).transpose()?;
    let named_by_cdnskey = bundle.cdnskey.as_ref().map(|r| keys_of_cdnskey(view, r)).transpose()?;
    if let (Some(a), Some(b)) = (&named_by_cds, &named_by_cdnskey)
        && a != b
    {
        return Err(CdsFault::Differ);
    }
    let Some(named) = named_by_cds.or(named_by_cdnskey) else {
        return Ok(());
    };
    let mut signers = bundle.signatures.iter().filter(|s| s.covered == Rtype::DNSKEY).peekable();
    // Without any signer SKR-UNKNOWN-KSK speaks.
    let signed = signers.peek().is_some();
    let is_named = |s: &Rrsig| {
        named.iter().any(|i| view.keys[*i].tag == s.key_tag && view.keys[*i].key.algorithm == s.algorithm)
    };
    if signed && !signers.any(is_named) {
        return Err(CdsFault::BreaksDelegation);
    }
    Ok(())
}

/// The keys, by their place, that the CDS RRset names.
fn keys_of_cds(
    view: &BundleView<'_>,
    cds: &Rrset,
    report: &mut FindingList,
) -> Result<BTreeSet<usize>, CdsFault> {
    const CDS: Rtype = Rtype::CDS;
    let mut named = BTreeSet::new();
    for rdata in &cds.rdatas {
        let [tag_high, tag_low, _, digest_type, ..] = **rdata else {
            return Err(CdsFault::TooShort(CDS));
        };
        let tag = u16::from_be_bytes([tag_high, tag_low]);
        if !matches!(digest_type, 1 | 2 | 4) {
            return Err(CdsFault::DigestType { tag, digest_type });
        }
        let names = |key: &Dnskey| key.ds_rdata(&cds.owner, digest_type).is_some_and(|made| made == **rdata);
        let place = view.keys.iter().position(|kv| kv.tag == tag && kv.key.is_ksk() && names(&kv.key));
        if place.is_some_and(|place| view.keys[place].key.is_revoked_ksk()) {
            return Err(CdsFault::Revoked { rtype: CDS, tag });
        }
        named.insert(place.ok_or(CdsFault::NoKsk { rtype: CDS, tag })?);
        if digest_type == 1 {
            let what =
                format!("the CDS for key {tag} has digest type 1, SHA-1, which is deprecated (RFC 9905)");
            report.warn(CheckId::SkrCds, Some(view.bundle), what);
        }
    }
    Ok(named)
}

/// The keys, by their place, that the CDNSKEY RRset names.
fn keys_of_cdnskey(view: &BundleView<'_>, cdnskey: &Rrset) -> Result<BTreeSet<usize>, CdsFault> {
    const CDNSKEY: Rtype = Rtype::CDNSKEY;
    let find = |rdata: &[u8]| {
        let key = Dnskey::from_rdata(rdata).ok_or(CdsFault::TooShort(CDNSKEY))?;
        let place = view.keys.iter().position(|kv| kv.key.is_ksk() && kv.key == key);
        if key.is_revoked_ksk() {
            return Err(CdsFault::Revoked { rtype: CDNSKEY, tag: key.tag() });
        }
        place.ok_or_else(|| CdsFault::NoKsk { rtype: CDNSKEY, tag: key.tag() })
    };
    cdnskey.rdatas.iter().map(|rdata| find(rdata)).collect()
}
