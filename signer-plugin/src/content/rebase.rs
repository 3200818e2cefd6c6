//! A zone file that changes beside updates: what the file changed is applied on top of what the updates made.

use keystore::dns::{Name, Rtype};

use crate::rules::RecordProblem;
use crate::zone::{ContentChange, Edit, EditedRrset, Zone};

/// What became of the content.
#[derive(Debug)]
pub(crate) struct Rebased {
    pub zone: Zone,
    /// RRsets that the file and the updates have changed in different ways.
    pub conflicts: Vec<(Name, Rtype)>,
}

/// Applies to `current`, which updates made of `base`, what `file` changes of `base`. Where both have changed an RRset, the records that the
/// file took away go, and those that it added come; the one record of a CNAME, a DNAME or the SOA becomes that of the file, with the later
/// serial.
///
/// # Errors
/// When the two do not go together, such as a CNAME of the file beside records of updates.
pub(crate) fn rebased(base: &Zone, file: &Zone, current: &Zone) -> Result<Rebased, RecordProblem> {
    let most = base.name_count() + file.name_count();
    let change = ContentChange::between(base, file, most).unwrap_or_default();
    let (old, new) = (Edit::new(base), Edit::new(file));
    let mut edit = Edit::new(current);
    let mut conflicts = Vec::new();
    for name in &change.names {
        let owner = &*name.owner;
        let mut types = old.types(owner);
        types.extend(new.types(owner));
        types.sort_unstable();
        types.dedup();
        for rtype in types {
            let (before, after) = (old.rrset(owner, rtype), new.rrset(owner, rtype));
            let now = edit.rrset(owner, rtype);
            if before == after || now == after {
                continue;
            }
            let empty = || EditedRrset::new(0);
            let set = if now == before {
                after.unwrap_or_else(empty)
            } else {
                conflicts.extend(Name::from_wire(owner).map(|owner| (owner, rtype)));
                joined(rtype, before.as_ref(), after.as_ref(), now.unwrap_or_else(empty))
            };
            edit.set(owner, rtype, set);
        }
    }
    let zone = match edit.finish() {
        Some(change) => current.changed_checked(&change)?,
        None => current.changed(&ContentChange::default()),
    };
    Ok(Rebased { zone, conflicts })
}

/// The RRset that has what `after` changes of `before`, on top of `now`.
fn joined(
    rtype: Rtype,
    before: Option<&EditedRrset>,
    after: Option<&EditedRrset>,
    now: EditedRrset,
) -> EditedRrset {
    let has = |set: Option<&EditedRrset>, record: &[u8]| set.is_some_and(|set| set.contains(rtype, record));
    if let Some(after) = after
        && matches!(rtype, Rtype::SOA | Rtype::CNAME | Rtype::DNAME)
    {
        return if rtype == Rtype::SOA { with_later_serial(after, &now) } else { after.clone() };
    }
    let mut set = now;
    set.retain(|record| !has(before, record) || has(after, record));
    if let Some(after) = after {
        for record in after.records().filter(|record| !has(before, record)) {
            set.insert(rtype, record);
        }
        if before.is_none_or(|before| before.ttl != after.ttl) {
            set.ttl = after.ttl;
        }
    }
    set
}

/// The SOA record with the serial of another, where that is later (RFC 1982).
fn with_later_serial(soa: &EditedRrset, other: &EditedRrset) -> EditedRrset {
    let serial = |set: &EditedRrset| {
        let record = set.records().next()?;
        let at = record.len().checked_sub(20)?;
        Some((at, u32::from_be_bytes(*record[at..].first_chunk()?)))
    };
    let mut set = EditedRrset::new(soa.ttl);
    for record in soa.records() {
        let mut record = record.to_vec();
        if let (Some((at, own)), Some((_, others))) = (serial(soa), serial(other))
            && (1..1 << 31).contains(&others.wrapping_sub(own))
        {
            record[at..at + 4].copy_from_slice(&others.to_be_bytes());
        }
        set.insert(Rtype::SOA, &record);
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn zone_of(text: &str) -> Zone {
        testing::zone("example", text).expect(text)
    }

    const APEX: &str = "@ 300 SOA ns. h. 10 1 1 1 60\n@ 300 NS ns.\n";

    #[test]
    fn what_the_file_changes_comes_on_top_of_what_updates_made() {
        for (base, file, current, want, conflicts) in [
            // Each changes what the other does not.
            (
                "a A 192.0.2.1",
                "a A 192.0.2.2",
                "a A 192.0.2.1\nb A 192.0.2.9",
                "a A 192.0.2.2\nb A 192.0.2.9",
                0,
            ),
            (
                "a A 192.0.2.1\nb A 192.0.2.2",
                "b A 192.0.2.2",
                "a A 192.0.2.1\nb A 192.0.2.3",
                "b A 192.0.2.3",
                0,
            ),
            // Both add to one set.
            (
                "a A 192.0.2.1",
                "a A 192.0.2.1\na A 192.0.2.2",
                "a A 192.0.2.1\na A 192.0.2.3",
                "a A 192.0.2.1\na A 192.0.2.2\na A 192.0.2.3",
                1,
            ),
            // The file takes away a record of a set that an update has added to.
            ("a A 192.0.2.1", "", "a A 192.0.2.1\na A 192.0.2.3", "a A 192.0.2.3", 1),
            // Both do the same.
            ("a A 192.0.2.1", "a A 192.0.2.2", "a A 192.0.2.2", "a A 192.0.2.2", 0),
            // A CNAME has one record.
            ("a CNAME x.", "a CNAME y.", "a CNAME z.", "a CNAME y.", 1),
            ("a CNAME x.", "", "a CNAME z.", "a CNAME z.", 1),
            // Letter case is no difference.
            ("a CNAME x.", "a CNAME x.\nb A 192.0.2.1", "a CNAME x.", "a CNAME x.\nb A 192.0.2.1", 0),
        ] {
            let zone = |text: &str| zone_of(&format!("{APEX}{text}\n"));
            let made = rebased(&zone(base), &zone(file), &zone(current)).unwrap();
            assert!(made.zone.has_content_of(&zone(want)), "{base} | {file} | {current}");
            assert_eq!(made.conflicts.len(), conflicts, "{base} | {file} | {current}");
        }
    }

    #[test]
    fn the_soa_record_is_the_files_with_the_later_serial() {
        let zone = |serial: u32, minimum: u32| {
            zone_of(&format!("@ SOA ns. h. {serial} 1 1 1 {minimum}\n@ NS ns.\n"))
        };
        for (file, current, want) in [(11, 20, 20), (30, 20, 30), (11, 10, 11)] {
            let made = rebased(&zone(10, 60), &zone(file, 90), &zone(current, 60)).unwrap();
            assert_eq!((made.zone.serial(), made.zone.negative_ttl()), (want, 90), "{file} {current}");
        }
    }

    #[test]
    fn a_file_that_does_not_go_with_the_updates_is_an_error() {
        let zone = |text: &str| zone_of(&format!("{APEX}{text}\n"));
        for (file, current) in
            [("a CNAME x.", "a A 192.0.2.1"), ("a NS ns.", "b.a TXT x"), ("a DNAME x.", "b.a A 192.0.2.1")]
        {
            assert!(rebased(&zone(""), &zone(file), &zone(current)).is_err(), "{file} | {current}");
        }
    }
}
