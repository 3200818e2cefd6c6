//! The records of a zone file, as we read them and as `named-compilezone` does: its raw format holds the wire form.

use std::collections::BTreeSet;
use std::path::Path;

use keystore::dns::{Name, Rtype, rdata};
use signer_plugin::zonefile;

/// A record as owner in lower case, TTL, type and RDATA; `Display` shows what differs.
pub type Record = (String, u32, Rtype, String);

fn record(owner: &[u8], ttl: u32, rtype: Rtype, data: &[u8]) -> Record {
    let owner = Name::from_wire(owner).expect("a name").to_lowercase().to_string();
    // The generic form, so that the octets are compared and not two texts.
    (owner, ttl, rtype, rdata::to_text(Rtype(65280), data, None))
}

pub fn ours(path: &Path) -> Result<BTreeSet<Record>, String> {
    let mut records = BTreeSet::new();
    let origin = Name::parse("example.").expect("a name");
    zonefile::read(path, &origin, &mut |r| {
        records.insert(record(r.owner, r.ttl, r.rtype, r.rdata));
        Ok(())
    })
    .map_err(|error| error.to_string())?;
    Ok(records)
}

/// What `named-compilezone` reads; `None` when it refuses the file. The checks of names and addresses are off: they
/// are not the reader's.
pub fn binds(folder: &Path, file: &str) -> Option<Result<BTreeSet<Record>, String>> {
    let mut command = crate::common::peer("named-compilezone")?;
    let raw = folder.join("raw");
    drop(std::fs::remove_file(&raw));
    for check in ["-k", "-n", "-m", "-M", "-S", "-r"] {
        command.args([check, "ignore"]);
    }
    command.current_dir(folder).args(["-i", "none", "-F", "raw", "-o"]).arg(&raw).args(["example.", file]);
    let output = command.output().expect("named-compilezone runs");
    if !output.status.success() {
        return Some(Err(crate::common::text(&output)));
    }
    Some(Ok(from_raw(&std::fs::read(raw).expect("the raw file"))))
}

/// BIND's raw format, version 1: a head of 24 octets, then for each RRset its length (32 bits), class, type, covered type,
/// TTL (32), number of records (32), owner and records, those behind a length of 16 bits each.
fn from_raw(mut rest: &[u8]) -> BTreeSet<Record> {
    fn take<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
        let (head, tail) = rest.split_at(len);
        *rest = tail;
        head
    }
    let number = |octets: &[u8]| octets.iter().fold(0u32, |v, b| v << 8 | u32::from(*b));
    let mut records = BTreeSet::new();
    assert_eq!(take(&mut rest, 8), [0, 0, 0, 2, 0, 0, 0, 1], "raw format, version 1");
    take(&mut rest, 16);
    while !rest.is_empty() {
        let len = number(take(&mut rest, 4)) as usize - 4;
        let mut set = take(&mut rest, len);
        assert_eq!(number(take(&mut set, 2)), 1, "class IN");
        let rtype = Rtype(number(take(&mut set, 2)) as u16);
        take(&mut set, 2);
        let ttl = number(take(&mut set, 4));
        let count = number(take(&mut set, 4));
        let len = number(take(&mut set, 2)) as usize;
        let owner = take(&mut set, len);
        for _ in 0..count {
            let len = number(take(&mut set, 2)) as usize;
            let data = take(&mut set, len);
            records.insert(record(owner, ttl, rtype, data));
        }
        assert!(set.is_empty(), "octets behind the records of a set");
    }
    records
}
