//! The unsigned content of a zone as a zone file, for a person.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use keystore::dns::{Name, PortableRtype, Rtype, name, rdata};
use keystore::store;

use crate::rules::DnssecRecords;
use crate::state::{CONTENT, ContentStore};
use crate::zone::{NodeId, Records, Zone};

/// Times that the content is read, until it is not replaced meanwhile.
const TRIES: u32 = 5;

/// Why the content of a zone is not printed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The zone is served from its file alone.
    #[error(
        "{0} has no content beside its file: no zone with `update` was served from this state folder under this name"
    )]
    NoContent(Name),
    /// The files of the state folder cannot be read, or are damaged.
    #[error(transparent)]
    State(Box<dyn std::error::Error + Send + Sync>),
    /// It cannot be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Prints the unsigned content of a zone that updates change, as it is on disk: its SOA record first, one record a line. Its serial is that of
/// the content, which may be behind the one that is served.
///
/// # Errors
/// See [`DumpError`].
pub fn dump(state_dir: &Path, zone: &Name, out: &mut impl Write) -> Result<(), DumpError> {
    let folder = store::zone_dir(&state_dir.join("zones"), zone);
    let content = folder.join(CONTENT);
    let number = || content.metadata().map(|metadata| metadata.ino()).ok();
    let mut found;
    let mut tries = 0;
    loop {
        let before = number();
        // Content without DNSSEC records reads alike either way.
        let mut store = ContentStore::of_kind(&folder, zone, DnssecRecords::Kept);
        found = store.load().map_err(|error| DumpError::State(error.into()))?;
        tries += 1;
        // A daemon at work may have replaced the content between the two files.
        if number() == before || tries == TRIES {
            break;
        }
    }
    let found = found.ok_or_else(|| DumpError::NoContent(zone.clone()))?;
    print(&found.current, out)?;
    Ok(())
}

/// Prints the records of a zone, its SOA record first, one record a line.
pub(crate) fn print(zone: &Zone, out: &mut impl Write) -> io::Result<()> {
    let soa = |is_soa: bool| move |rtype: Rtype| (rtype == Rtype::SOA) == is_soa;
    print_node(zone, NodeId::APEX, soa(true), out)?;
    for node in zone.node_ids() {
        print_node(zone, node, soa(false), out)?;
    }
    out.flush()
}

fn print_node(
    zone: &Zone,
    node: NodeId,
    is_wanted: impl Fn(Rtype) -> bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut owner = String::new();
    // Writing into a string does not fail.
    let _ = name::print_wire(zone.owner(node), &mut owner);
    for id in zone.rrsets_of(node) {
        let set = zone.rrset(id);
        for record in Records(set.data).filter(|_| is_wanted(set.rtype)) {
            let mut text = String::new();
            rdata::print_portable(set.rtype, record, &mut text);
            let ttl = zone.ttl_of(node, &set, record);
            writeln!(out, "{owner} {ttl} IN {} {text}", PortableRtype(set.rtype))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::{name, zone};

    #[test]
    fn what_is_printed_is_read_as_the_same_content() {
        let dir = tempfile::tempdir().unwrap();
        let example = name("example");
        assert!(matches!(dump(dir.path(), &example, &mut Vec::new()), Err(DumpError::NoContent(_))));
        let content = zone(
            "example",
            "@ SOA ns H.admin 7 1 1 1 60\n@ NS ns\nns A 192.0.2.1\nWWW.a\\.b 60 TXT \"A; b\" c\n* 5 TYPE65400 \\# 2 0102\n",
        )
        .expect("a zone");
        let folder = store::zone_dir(&dir.path().join("zones"), &example);
        ContentStore::new(&folder, &example).replace(&content, &content).unwrap();
        let mut text = Vec::new();
        dump(dir.path(), &example, &mut text).unwrap();
        assert!(text.starts_with(b"example. 3600 IN SOA "), "{}", String::from_utf8_lossy(&text));
        let file = dir.path().join("zone");
        fs::write(&file, text).unwrap();
        let again = Zone::load(&file, &example, crate::rules::ZoneRules::default()).unwrap();
        assert!(again.has_content_of(&content));
    }
}
