//! What the content of a zone is beside its file: `[[zone]] update`, `primaries`.

use std::net::IpAddr;

use super::transfer::{Network, PrimaryConfig};
use crate::dns::{Name, Rtype};

/// Types that nobody may change by an update: signatures are made by the signer, and the key records of the apex come from the SKR.
pub const MADE_BY_SIGNER: [Rtype; 7] =
    [Rtype::RRSIG, Rtype::NSEC, Rtype::NSEC3, Rtype::NSEC3PARAM, Rtype::DNSKEY, Rtype::CDS, Rtype::CDNSKEY];

/// Where the content of a zone comes from beside its file, or in place of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContentConfig {
    /// `update`: who may change the zone by DNS UPDATE (RFC 2136); empty = nobody.
    pub updates: Vec<UpdateRule>,
    /// `primaries`: the servers that the zone is transferred from, in place of a file; none for a zone with a file.
    pub primaries: Vec<PrimaryConfig>,
}

/// An entry of `update`: what the holder of a key may change. All that it says must hold; one entry suffices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateRule {
    /// `key`: the TSIG key that the update is signed with.
    pub key: Name,
    /// `address`: the client has an address of this network; `None` = any.
    pub address: Option<Network>,
    /// `names`: the names that it may change.
    pub names: UpdateNames,
    /// `types`: the types that it may change; `None` = all but SOA and NS.
    pub types: Option<Vec<Rtype>>,
}

/// The names that an update may change. In brackets: the word of BIND's `update-policy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateNames {
    /// `"zone"`: every name of the zone (`zonesub`).
    Zone,
    /// `"exact"`: the name of `name` (`name`).
    Exact(Name),
    /// `"subtree"`: that name and all below it (`subdomain`).
    Subtree(Name),
    /// `"wildcard"`: all names that the wildcard `name` stands for (`wildcard`).
    Wildcard(Name),
    /// `"self"`: the name that the key has (`self`).
    OwnName,
    /// `"self-subtree"`: the name that the key has, and all below it (`selfsub`).
    OwnSubtree,
}

impl UpdateRule {
    /// True when the rule is for updates with this key from this client.
    #[must_use]
    pub fn is_for(&self, key: &Name, client: IpAddr) -> bool {
        self.key == *key && self.address.is_none_or(|network| network.contains(client))
    }

    /// True when it lets records of this type be changed at this name.
    #[must_use]
    pub fn allows(&self, owner: &Name, rtype: Rtype) -> bool {
        let is_named = match &self.names {
            UpdateNames::Zone => true,
            UpdateNames::Exact(name) => owner == name,
            UpdateNames::Subtree(name) => owner.is_at_or_below(name),
            UpdateNames::Wildcard(name) => {
                name.parent().is_some_and(|above| owner != &above && owner.is_at_or_below(&above))
            }
            UpdateNames::OwnName => *owner == self.key,
            UpdateNames::OwnSubtree => owner.is_at_or_below(&self.key),
        };
        is_named
            && match &self.types {
                None => !matches!(rtype, Rtype::SOA | Rtype::NS),
                Some(types) => types.contains(&rtype) || types.contains(&Rtype::ANY),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_allows_its_names_and_types_and_no_others() {
        let name = |text: &str| Name::parse(text).unwrap();
        let exact = || UpdateNames::Exact(name("a.example"));
        let txt = || Some(vec![Rtype::TXT]);
        for (names, types, owner, rtype, allowed) in [
            (UpdateNames::Zone, None, "example", Rtype::A, true),
            (UpdateNames::Zone, None, "x.y.example", Rtype::CAA, true),
            (UpdateNames::Zone, None, "x.example", Rtype::NS, false),
            (UpdateNames::Zone, None, "example", Rtype::SOA, false),
            (UpdateNames::Zone, Some(vec![Rtype::NS]), "x.example", Rtype::NS, true),
            (UpdateNames::Zone, Some(vec![Rtype::ANY]), "example", Rtype::SOA, true),
            (exact(), txt(), "A.Example", Rtype::TXT, true),
            (exact(), txt(), "a.example", Rtype::A, false),
            (exact(), txt(), "b.a.example", Rtype::TXT, false),
            (UpdateNames::Subtree(name("a.example")), None, "a.example", Rtype::A, true),
            (UpdateNames::Subtree(name("a.example")), None, "b.a.example", Rtype::A, true),
            (UpdateNames::Subtree(name("a.example")), None, "ba.example", Rtype::A, false),
            (UpdateNames::Wildcard(name("*.a.example")), None, "b.a.example", Rtype::A, true),
            (UpdateNames::Wildcard(name("*.a.example")), None, "a.example", Rtype::A, false),
            (UpdateNames::OwnName, None, "Host.example", Rtype::AAAA, true),
            (UpdateNames::OwnName, None, "x.host.example", Rtype::AAAA, false),
            (UpdateNames::OwnSubtree, None, "x.host.example", Rtype::AAAA, true),
            (UpdateNames::OwnSubtree, None, "example", Rtype::AAAA, false),
        ] {
            let rule = UpdateRule { key: name("host.example"), address: None, names, types };
            assert_eq!(rule.allows(&name(owner), rtype), allowed, "{rule:?} {owner} {rtype}");
        }
    }

    #[test]
    fn a_rule_is_for_its_key_and_network() {
        let name = |text: &str| Name::parse(text).unwrap();
        let address = Network::parse("192.0.2.0/24");
        let rule = UpdateRule { key: name("acme"), address, names: UpdateNames::Zone, types: None };
        for (key, client, is_for) in [
            ("acme", "192.0.2.7", true),
            ("ACME.", "::ffff:192.0.2.7", true),
            ("acme", "192.0.3.7", false),
            ("other", "192.0.2.7", false),
        ] {
            assert_eq!(rule.is_for(&name(key), client.parse().unwrap()), is_for, "{key} {client}");
        }
    }
}
