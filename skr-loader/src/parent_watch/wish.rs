//! What a zone asks of its parent: the CDS and CDNSKEY RRsets of the bundle in force (RFC 7344, RFC 8078).

use keystore::dns::{Name, Rrset};
use keystore::exchange::{Bundle, TrustAnchor};
use keystore::keys::Dnskey;
use keystore::store::digest;
use keystore::time::Timestamp;

use crate::files::hex;

/// The CDS and CDNSKEY records of a bundle in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// RDATA of the CDS records.
    pub cds: Vec<Vec<u8>>,
    /// RDATA of the CDNSKEY records.
    pub cdnskey: Vec<Vec<u8>>,
}

impl Wish {
    /// What a bundle asks for.
    pub fn of(bundle: &Bundle) -> Self {
        let records = |rrset: Option<&Rrset>| rrset.map(Rrset::canonical_rdatas).unwrap_or_default();
        Self { cds: records(bundle.cds.as_deref()), cdnskey: records(bundle.cdnskey.as_deref()) }
    }

    /// What is asked for at `now`, since when, and when the next bundle asks for something else. `None` before the first bundle.
    pub fn at(bundles: &[Bundle], now: Timestamp) -> (Option<(Self, Timestamp)>, Option<Timestamp>) {
        let (begun, to_come) = bundles.split_at(bundles.partition_point(|bundle| bundle.inception <= now));
        let current = begun.last().map(Self::of);
        let next = to_come.iter().find(|bundle| current.as_ref() != Some(&Self::of(bundle)));
        let since = current.as_ref().map(|wish| {
            let alike = begun.iter().rev().take_while(|bundle| Self::of(bundle) == *wish);
            alike.last().map_or(now, |bundle| bundle.inception)
        });
        (current.zip(since), next.map(|bundle| bundle.inception))
    }

    /// True when the parent is asked for nothing: without the records it keeps the DS RRset that it has (RFC 7344 section 4).
    pub fn is_empty(&self) -> bool {
        self.cds.is_empty() && self.cdnskey.is_empty()
    }

    /// True when these DS records of `zone`, in canonical form, are what is asked for.
    pub fn is_granted(&self, zone: &Name, ds: &[Vec<u8>]) -> bool {
        // Algorithm 0 asks for the removal of all (RFC 8078 section 4); it stands third in CDS and fourth in CDNSKEY.
        let is_removal = self.cds.iter().any(|rdata| rdata.get(2) == Some(&0))
            || self.cdnskey.iter().any(|rdata| rdata.get(3) == Some(&0));
        if is_removal {
            return ds.is_empty();
        }
        if !self.cds.is_empty() {
            return self.cds == ds;
        }
        let keys: Vec<Dnskey> = self.cdnskey.iter().filter_map(|rdata| Dnskey::from_rdata(rdata)).collect();
        let fits = |rdata: &[u8], key: &Dnskey| TrustAnchor::Ds(rdata.to_vec()).matches(zone, key);
        !ds.is_empty()
            && keys.iter().all(|key| ds.iter().any(|rdata| fits(rdata, key)))
            && ds.iter().all(|rdata| keys.iter().any(|key| fits(rdata, key)))
    }

    /// SHA-256 of all records, in hexadecimal: what tells one wish from another in a note.
    pub fn id(&self) -> String {
        let mut octets = Vec::new();
        for (kind, records) in [(0_u8, &self.cds), (1, &self.cdnskey)] {
            for record in records {
                octets.push(kind);
                octets.extend(u32::try_from(record.len()).unwrap_or(u32::MAX).to_be_bytes());
                octets.extend(record);
            }
        }
        hex(&digest(&octets))
    }
}
