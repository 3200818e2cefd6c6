//! What stands at the parent of a zone: its DS records, as the resolver and the servers of the parent have them.

use std::net::SocketAddr;
use std::time::Instant;

use keystore::dns::{Name, Rtype};
use keystore::exchange::TrustAnchor;
use keystore::keys::Dnskey;

use super::servers;
use crate::ask::{AskError, Asker, each};

/// Most servers of the parent that are asked, and how many at once.
const MAX_SERVERS: usize = 8;

/// The DS records of a zone, from everybody who gave an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DsView {
    /// What the resolver says: the RDATA, and whether it has validated them. `None` = no answer.
    pub at_resolver: Option<(Vec<Vec<u8>>, bool)>,
    /// The RDATA that each server of the parent has which gave an answer.
    pub at_servers: Vec<Vec<Vec<u8>>>,
}

/// Whether a KSK has a DS record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DsState {
    /// It has these, everywhere.
    There(Vec<Vec<u8>>),
    /// It has none, anywhere.
    Absent,
    /// Some have one and others not, or nobody knows.
    Unknown,
}

impl DsView {
    /// Asks the resolver and the servers of the parent: `parents`, or those that the resolver finds.
    pub fn gather(resolver: &Asker, parents: &[SocketAddr], zone: &Name, until: Instant) -> Self {
        let at_resolver = resolver.ask(zone, Rtype::DS, until).ok();
        let found = if parents.is_empty() { of_parent(resolver, zone, until) } else { Ok(parents.to_vec()) };
        let mut servers = found.unwrap_or_default();
        servers.truncate(MAX_SERVERS);
        let answers =
            each(&servers, MAX_SERVERS, |server| Asker::new(*server, None).ask(zone, Rtype::DS, until));
        Self {
            at_resolver: at_resolver.map(|answer| (answer.rrset.canonical_rdatas(), answer.authentic)),
            at_servers: answers.into_iter().flatten().map(|answer| answer.rrset.canonical_rdatas()).collect(),
        }
    }

    /// Whether `key` has a DS record. It is there when the resolver has validated it and every server of the parent that gave an answer has
    /// one. It is absent when neither the resolver nor such a server has one. That there is no DS record at all is validated by no resolver
    /// where the parent uses NSEC3 with opt-out (RFC 5155 section 9.2); then at least one server of the parent must say so.
    pub fn of(&self, zone: &Name, key: &Dnskey) -> DsState {
        let matching = |records: &[Vec<u8>]| -> Vec<Vec<u8>> {
            let is_of = |rdata: &&Vec<u8>| TrustAnchor::Ds((*rdata).clone()).matches(zone, key);
            records.iter().filter(is_of).cloned().collect()
        };
        let Some((records, is_authentic)) = &self.at_resolver else { return DsState::Unknown };
        let found = matching(records);
        let has = self.at_servers.iter().filter(|records| !matching(records).is_empty()).count();
        match found.is_empty() {
            false if *is_authentic && has == self.at_servers.len() => DsState::There(found),
            true if has == 0 && (*is_authentic || (records.is_empty() && !self.at_servers.is_empty())) => {
                DsState::Absent
            }
            _ => DsState::Unknown,
        }
    }
}

/// The servers of the closest ancestor of `zone` that is a zone.
fn of_parent(resolver: &Asker, zone: &Name, until: Instant) -> Result<Vec<SocketAddr>, AskError> {
    for ancestor in std::iter::successors(zone.parent(), Name::parent) {
        match servers::of_zone(resolver, &ancestor, until) {
            // A name without records is no zone.
            Err(error) if !error.is_silence() => {}
            found => return found.map(|found| found.addresses),
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use keystore::exchange::testing::TestKey;

    use super::*;
    use crate::testing::zone;

    #[test]
    fn a_record_is_there_or_absent_only_where_all_who_answer_agree() {
        let ds = |seed: u8| TestKey::ksk(seed).dnskey.ds_rdata(&zone(), 2).unwrap();
        let (one, both, other, none) = (vec![ds(1)], vec![ds(1), ds(5)], vec![ds(5)], Vec::new());
        let there = DsState::There(vec![ds(1)]);
        for (at_resolver, at_servers, wanted) in [
            (Some((one.clone(), true)), vec![], there.clone()),
            (Some((both.clone(), true)), vec![one.clone(), both.clone()], there),
            (Some((one.clone(), false)), vec![one.clone()], DsState::Unknown),
            (Some((one.clone(), true)), vec![one.clone(), other.clone()], DsState::Unknown),
            (Some((one.clone(), true)), vec![none.clone()], DsState::Unknown),
            (None, vec![one.clone()], DsState::Unknown),
            (Some((other.clone(), true)), vec![other.clone()], DsState::Absent),
            (Some((other.clone(), true)), vec![], DsState::Absent),
            (Some((other.clone(), true)), vec![other.clone(), both], DsState::Unknown),
            (Some((other.clone(), false)), vec![other], DsState::Unknown),
            // No DS record at all: an opt-out parent has no secure proof of that.
            (Some((none.clone(), true)), vec![], DsState::Absent),
            (Some((none.clone(), false)), vec![none.clone()], DsState::Absent),
            (Some((none.clone(), false)), vec![], DsState::Unknown),
            (Some((none.clone(), false)), vec![none, one], DsState::Unknown),
        ] {
            let view = DsView { at_resolver, at_servers };
            assert_eq!(view.of(&zone(), &TestKey::ksk(1).dnskey), wanted, "{view:?}");
        }
    }
}
