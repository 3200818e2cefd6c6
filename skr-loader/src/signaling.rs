//! Signaling records for zones that are to become secure (RFC 9615): copies of the CDS and CDNSKEY RRsets of a zone in the zones of its
//! nameservers, by which the parent authenticates the first DS records.

use std::time::Instant;

use keystore::dns::{Name, Rrset, Rtype, rdata};
use keystore::exchange::Bundle;

use crate::ask::{AskError, Asker};

/// Why a nameserver has no signaling records for a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// Its zone becomes secure with the zone itself, so that it can vouch for nothing (RFC 9615 section 4.1).
    #[error(
        "{0} is in the zone itself and can vouch for nothing: RFC 9615 takes nameservers outside of the zone alone"
    )]
    InZone(Name),
    /// The name of the records would be longer than a name can be.
    #[error(
        "the name of the records for {0} would have more than 255 octets: this nameserver cannot have any"
    )]
    TooLong(Name),
    /// The bundle asks for nothing.
    #[error("the bundle in force has neither CDS nor CDNSKEY records")]
    NoRecords,
    /// The bundle asks for the removal of the DS records, which makes no zone secure.
    #[error("the bundle in force asks for the removal of the DS records")]
    Removal,
}

/// The signaling records of a zone at one of its nameservers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Their name.
    pub owner: Name,
    /// The RRsets: CDS and CDNSKEY, as far as the bundle has them.
    pub rrsets: Vec<Rrset>,
}

/// How the records of one type are found in the DNS.
#[derive(Debug)]
pub enum SignalState {
    /// They are there, validated, and those that must be.
    Good,
    /// There are none.
    Missing,
    /// There are others.
    Differs,
    /// The resolver has not validated them: the zone of the nameserver must be signed, with a chain of trust.
    NotSecure,
    /// Nobody knows.
    Unknown(AskError),
}

impl std::fmt::Display for SignalState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Good => f.write_str("there, validated, and those of the bundle in force"),
            Self::Missing => f.write_str("not there"),
            Self::Differs => f.write_str("other records than those of the bundle in force"),
            Self::NotSecure => f.write_str("not validated by the resolver"),
            Self::Unknown(error) => error.fmt(f),
        }
    }
}

impl Signal {
    /// The records of `zone` with this bundle at `nameserver`: `_dsboot.ZONE._signal.NAMESERVER`.
    pub fn new(zone: &Name, bundle: &Bundle, nameserver: &Name) -> Result<Self, SignalError> {
        if nameserver.is_at_or_below(zone) {
            return Err(SignalError::InZone(nameserver.clone()));
        }
        let sets: Vec<&Rrset> = bundle.cds.as_deref().into_iter().chain(bundle.cdnskey.as_deref()).collect();
        if sets.is_empty() {
            return Err(SignalError::NoRecords);
        }
        // Algorithm 0 (RFC 8078 section 4).
        let is_removal = |set: &&Rrset| {
            let at = if set.rtype == Rtype::CDS { 2 } else { 3 };
            set.rdatas.iter().any(|rdata| rdata.get(at) == Some(&0))
        };
        if sets.iter().any(is_removal) {
            return Err(SignalError::Removal);
        }
        let owner = owner(zone, nameserver).ok_or_else(|| SignalError::TooLong(nameserver.clone()))?;
        let rrsets = sets.into_iter().map(|set| Rrset { owner: owner.clone(), ..set.clone() }).collect();
        Ok(Self { owner, rrsets })
    }

    /// The records in presentation form, one a line with its line end.
    #[must_use]
    pub fn to_text(&self) -> String {
        let line = |set: &Rrset, rdata: &[u8]| {
            format!("{} {} IN {} {}\n", set.owner, set.ttl, set.rtype, rdata::to_text(set.rtype, rdata, None))
        };
        let lines = self.rrsets.iter().flat_map(|set| set.rdatas.iter().map(move |rdata| line(set, rdata)));
        lines.collect()
    }

    /// Looks the records up through a validating resolver until `until`: the state of each type, CDS and CDNSKEY.
    #[must_use]
    pub fn check(&self, resolver: &Asker, until: Instant) -> Vec<(Rtype, SignalState)> {
        let check = |rtype: Rtype| {
            let wanted = self.rrsets.iter().find(|set| set.rtype == rtype);
            let wanted = wanted.map(Rrset::canonical_rdatas).unwrap_or_default();
            match resolver.ask(&self.owner, rtype, until) {
                // A name that does not exist is an error of the answer.
                Err(error) if error.is_no_name() && wanted.is_empty() => SignalState::Good,
                Err(error) if error.is_no_name() => SignalState::Missing,
                Err(error) => SignalState::Unknown(error),
                Ok(answer) => match answer.rrset.canonical_rdatas() {
                    found if found.is_empty() && !wanted.is_empty() => SignalState::Missing,
                    found if found != wanted => SignalState::Differs,
                    _ if !answer.authentic && !wanted.is_empty() => SignalState::NotSecure,
                    _ => SignalState::Good,
                },
            }
        };
        [Rtype::CDS, Rtype::CDNSKEY].map(|rtype| (rtype, check(rtype))).into()
    }
}

fn owner(zone: &Name, nameserver: &Name) -> Option<Name> {
    let mut wire = Vec::new();
    for label in [&b"_dsboot"[..]].into_iter().chain(zone.labels()).chain([&b"_signal"[..]]) {
        wire.push(u8::try_from(label.len()).ok()?);
        wire.extend(label);
    }
    wire.extend(nameserver.as_wire());
    Name::from_wire(&wire).ok()
}

#[cfg(test)]
mod tests {
    use keystore::exchange::testing::SkrBuilder;

    use super::*;
    use crate::testing::{ZONE, start, zone};

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn bundle() -> Bundle {
        SkrBuilder::new(ZONE, start()).bundle(start())
    }

    #[test]
    fn records_are_those_of_the_bundle_under_the_name_of_the_nameserver() {
        let signal = Signal::new(&zone(), &bundle(), &name("ns1.example.net")).unwrap();
        assert_eq!(signal.owner, name("_dsboot.example._signal.ns1.example.net"));
        let text = signal.to_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("_dsboot.example._signal.ns1.example.net. 3600 IN CDS "), "{text}");
        assert!(
            lines[1].starts_with("_dsboot.example._signal.ns1.example.net. 3600 IN CDNSKEY 257 3 15 "),
            "{text}"
        );
        let without_cds = Bundle { cds: None, ..bundle() };
        assert_eq!(Signal::new(&zone(), &without_cds, &name("ns1.example.net")).unwrap().rrsets.len(), 1);
        // A root zone with such a server has no labels of its own.
        assert_eq!(owner(&Name::root(), &name("ns")).unwrap(), name("_dsboot._signal.ns"));
    }

    #[test]
    fn nameservers_and_bundles_that_can_signal_nothing_are_refused_with_the_reason() {
        for inside in ["example", "ns.example", "a.b.EXAMPLE"] {
            assert_eq!(
                Signal::new(&zone(), &bundle(), &name(inside)),
                Err(SignalError::InZone(name(inside)))
            );
        }
        let outside = name("ns.example.net");
        let none = Bundle { cds: None, cdnskey: None, ..bundle() };
        assert_eq!(Signal::new(&zone(), &none, &outside), Err(SignalError::NoRecords));
        let mut removal = bundle();
        let mut cds = Rrset::clone(removal.cds.as_ref().unwrap());
        cds.rdatas = vec![vec![0, 0, 0, 0, 0].into()];
        removal.cds = Some(cds.into());
        assert_eq!(Signal::new(&zone(), &removal, &outside), Err(SignalError::Removal));
        // `_dsboot`, `example` and `_signal` take 24 octets.
        let of_length = |octets: usize| {
            let last = "a".repeat(octets - 2 - 3 * 64);
            name(&format!("{last}.{0}.{0}.{0}", "b".repeat(63)))
        };
        assert!(Signal::new(&zone(), &bundle(), &of_length(255 - 24)).is_ok());
        let long = of_length(255 - 23);
        assert_eq!(Signal::new(&zone(), &bundle(), &long), Err(SignalError::TooLong(long)));
    }
}
