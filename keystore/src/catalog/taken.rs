//! A catalog that zones are taken from, as it is kept in the state folder: a host has the zones of the last version that it could use, also after a restart
//! and where no primary answers (RFC 9432 section 5.1).

use std::io;
use std::path::Path;

use super::Catalog;
use super::kept::{MAX, MODE, damage, member_line, member_of, sealed, unsealed};
use crate::dns::Name;
use crate::durable;
use crate::policy::named_conf::read_regular;

/// First line of the file.
const HEAD: &str = "offline-ksk taken catalog 1\n";

/// The last version of a catalog that could be used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TakenVersion {
    /// What stands in it.
    pub catalog: Catalog,
    /// The serial that it had.
    pub serial: u32,
}

impl TakenVersion {
    /// What was written last; `None` where there is no file.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged: [`super::kept::is_damage`].
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match read_regular(path, MAX) {
            Ok(octets) => {
                let version = std::str::from_utf8(&octets).ok().and_then(Self::from_text);
                version.map(Some).ok_or_else(damage)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it durably; its folder must be there.
    ///
    /// # Errors
    /// What the system says; the file before stays.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        durable::write(path, self.to_text().as_bytes(), MODE)
    }

    fn to_text(&self) -> String {
        let lines = self.catalog.members.iter().map(|(zone, member)| member_line(zone, member));
        sealed(format!("{HEAD}serial {}\n", self.serial) + &lines.collect::<String>())
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut lines = unsealed(text)?.strip_prefix(HEAD)?.lines();
        let serial = lines.next()?.strip_prefix("serial ")?.parse().ok()?;
        let mut catalog = Catalog::default();
        for line in lines {
            let ["zone", zone, label, coo, groups] = line.split(' ').collect::<Vec<_>>()[..] else {
                return None;
            };
            let zone = Name::parse(zone).ok()?;
            if catalog.members.insert(zone, member_of(label, coo, groups)?).is_some() {
                return None;
            }
        }
        Some(Self { catalog, serial })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::catalog::Member;

    #[test]
    fn what_is_written_reads_as_the_same_whatever_labels_and_groups_strangers_choose() {
        let name = |text: &str| Name::parse(text).unwrap();
        let member = |label: &[u8], groups: &[&[u8]], coo: Option<&str>| Member {
            label: label.to_vec(),
            groups: groups.iter().map(|group| group.to_vec()).collect::<BTreeSet<_>>(),
            coo: coo.map(name),
        };
        let mut version = TakenVersion { serial: 7, ..TakenVersion::default() };
        for (zone, member) in [
            ("a.test", member(b"1", &[], None)),
            ("b.test", member(b" \n", &[b""], Some("new.test"))),
            ("c\\032d.test", member(b"-", &[b"", b"gold", b",", "ü".as_bytes()], Some("."))),
            (".", member(&[0xff; 63], &[&[0; 300]], None)),
        ] {
            version.catalog.members.insert(name(zone), member);
        }
        let text = version.to_text();
        assert_eq!(TakenVersion::from_text(&text), Some(version));
        for at in 0..text.len() {
            assert_eq!(TakenVersion::from_text(&text[..at]), None, "cut off at {at}");
            let mut octets = text.clone().into_bytes();
            octets[at] ^= 1;
            let changed = String::from_utf8(octets).unwrap();
            assert_eq!(TakenVersion::from_text(&changed), None, "changed at {at}: {changed}");
        }
    }
}
