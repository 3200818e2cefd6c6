//! Which denial records prove what (RFC 4035 section 3.1.3 for NSEC, RFC 5155 section 7.2 for NSEC3).
//!
//! | what is proven | NSEC | NSEC3 |
//! |---|---|---|
//! | no such name | covers the name; covers `*` at the closest encloser | matches the closest encloser; covers the next closer name; covers `*` |
//! | no such type | matches the name; at an empty non-terminal, covers it | matches the name; opted out, the closest provable encloser and what covers the next closer name |
//! | no such type at the wildcard | that of the wildcard; covers the name | that of the wildcard; the closest encloser; covers the next closer name |
//! | expanded from a wildcard | covers the name | covers the next closer name |
//! | no DS at a delegation | as no such type | as no such type |

use super::compose::Stop;
use crate::signing::SignedZone;
use crate::signing::denial::{Chain, HashPosition, Nsec3Chain};
use crate::zone::{Labels, NodeId};

/// The names whose denial records are one proof; at most three.
pub(super) type Proof = [Option<NodeId>; 3];

/// A name that does not exist.
#[derive(Debug, Clone, Copy)]
pub(super) struct Absent<'a> {
    /// In wire form.
    pub wire: &'a [u8],
    /// Its search key.
    pub key: &'a [u8],
    /// The longest name above it that exists.
    pub encloser: NodeId,
}

/// Neither the name exists nor a wildcard for it.
pub(super) fn name_error(signed: &SignedZone, absent: &Absent<'_>) -> Result<Proof, Stop> {
    let zone = signed.zone();
    match signed.chain() {
        Chain::Nothing => Ok([None; 3]),
        Chain::Nsec => {
            let before = signed.member_up_to(zone.last_up_to(absent.key));
            let no_wildcard = || Ok(signed.member_up_to(zone.before_wildcard(absent.encloser)));
            Ok([Some(before), Some(at_encloser(signed, absent.encloser, no_wildcard)?), None])
        }
        Chain::Nsec3(chain) => {
            let Provable { encloser, record } = provable(signed, absent.encloser)?;
            let next_closer = next_closer(signed, chain, absent.wire, encloser)?;
            let no_wildcard = || no_wildcard(signed, chain, encloser);
            Ok([Some(record), Some(next_closer), Some(at_encloser(signed, encloser, no_wildcard)?)])
        }
    }
}

/// What denies the wildcard below `encloser`, by `find`; at the apex, as it was found before.
fn at_encloser(
    signed: &SignedZone,
    encloser: NodeId,
    find: impl FnOnce() -> Result<NodeId, Stop>,
) -> Result<NodeId, Stop> {
    if encloser == NodeId::APEX { signed.no_apex_wildcard(find) } else { find() }
}

/// The name exists, and no RRset of the type that is asked for.
pub(super) fn no_data(signed: &SignedZone, node: NodeId) -> Result<Proof, Stop> {
    match signed.chain() {
        Chain::Nothing => Ok([None; 3]),
        Chain::Nsec => Ok([Some(signed.member_up_to(node)), None, None]),
        Chain::Nsec3(chain) => {
            if let Some(record) = signed.denial_at(node) {
                return Ok([Some(record), None, None]);
            }
            let Provable { encloser, record } = provable(signed, node)?;
            let next_closer = next_closer(signed, chain, signed.zone().owner(node), encloser)?;
            Ok([Some(record), Some(next_closer), None])
        }
    }
}

/// The name does not exist, and the wildcard for it has no RRset of the type. [`expansion`] goes with it.
pub(super) fn wildcard_no_data(
    signed: &SignedZone,
    wildcard: NodeId,
    absent: &Absent<'_>,
) -> Result<Proof, Stop> {
    match signed.chain() {
        Chain::Nothing => Ok([None; 3]),
        Chain::Nsec => Ok([Some(signed.member_up_to(wildcard)), None, None]),
        Chain::Nsec3(chain) => {
            let Provable { encloser, record } = provable(signed, absent.encloser)?;
            let at_wildcard = match signed.denial_at(wildcard) {
                Some(at_wildcard) => at_wildcard,
                None => no_wildcard(signed, chain, encloser)?,
            };
            Ok([Some(at_wildcard), Some(record), None])
        }
    }
}

/// No closer name than the wildcard exists.
pub(super) fn expansion(signed: &SignedZone, absent: &Absent<'_>) -> Result<NodeId, Stop> {
    match signed.chain() {
        // Nobody asks for what cannot be proven.
        Chain::Nothing => Err(Stop::Collision),
        Chain::Nsec => Ok(signed.member_up_to(signed.zone().last_up_to(absent.key))),
        Chain::Nsec3(chain) => {
            next_closer(signed, chain, absent.wire, provable(signed, absent.encloser)?.encloser)
        }
    }
}

/// A name that is in the chain, and the node of its denial record.
struct Provable {
    encloser: NodeId,
    record: NodeId,
}

/// The closest name at or above `node` that is in the chain (RFC 5155 section 1.3, closest provable encloser).
fn provable(signed: &SignedZone, mut node: NodeId) -> Result<Provable, Stop> {
    loop {
        if let Some(record) = signed.denial_at(node) {
            return Ok(Provable { encloser: node, record });
        }
        // The apex is in every chain; of one that came with its zone that is looked at when it is taken.
        if node == NodeId::APEX {
            return Err(Stop::Collision);
        }
        node = signed.zone().node(node).parent;
    }
}

/// The record that covers the name one label longer than `encloser` on the way to `wire`.
fn next_closer(
    signed: &SignedZone,
    chain: &Nsec3Chain,
    wire: &[u8],
    encloser: NodeId,
) -> Result<NodeId, Stop> {
    let encloser = signed.zone().owner(encloser);
    let labels = Labels::of(wire).ok_or(Stop::Collision)?;
    // The last label that begins in front of the encloser.
    let end = wire.len().saturating_sub(encloser.len());
    let start = (0..labels.count()).map(|i| labels.offset(i)).take_while(|at| *at < end).last();
    covered(signed, chain, &wire[start.unwrap_or(0)..])
}

/// The record that covers `*` below `encloser`.
fn no_wildcard(signed: &SignedZone, chain: &Nsec3Chain, encloser: NodeId) -> Result<NodeId, Stop> {
    let mut room = [0; 2 + keystore::dns::name::MAX_NAME];
    let encloser = signed.zone().owner(encloser);
    room[..2].copy_from_slice(b"\x01*");
    room[2..2 + encloser.len()].copy_from_slice(encloser);
    covered(signed, chain, &room[..2 + encloser.len()])
}

/// The record that covers the hash of a name which is not in the chain. A match means that two names have one hash, so that nothing can be
/// proven (RFC 5155 section 7.2.9).
fn covered(signed: &SignedZone, chain: &Nsec3Chain, name: &[u8]) -> Result<NodeId, Stop> {
    match signed.find_hash(chain, chain.nsec3().hash(name)) {
        HashPosition::Covered(node) => Ok(node),
        // Other signers leave empty non-terminals with opt-out out of the chain beside a wildcard, which then seems to be for names below them, and
        // cannot be denied. What there is is given, as by other servers.
        HashPosition::Matches(node) if signed.is_presigned() => Ok(node),
        HashPosition::Matches(_) => Err(Stop::Collision),
    }
}
