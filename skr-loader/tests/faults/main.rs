//! The fault cases of an SKR on its way in: one test a row of the table in `docs/manual/faults.md`, named by row and check.
//!
//! Each drops the bad file beside a good generation in force and looks at all that must hold afterwards ([`bench::Bench::reject`]): the
//! generation in force is the old one, octet by octet; the file is in `rejected/` with a reason that names the check; the
//! counters moved; the loader takes the next good file.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

mod bench;
mod content;
mod folder;
mod process;

/// The table has every row, names tests that exist, and each test that is named by a row.
#[test]
fn the_table_of_the_manual_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut named = BTreeSet::new();
    let mut folders: Vec<_> = ["keystore", "ksr-gen", "skr-loader", "signer-plugin", "integration"]
        .iter()
        .flat_map(|package| ["src", "tests"].map(|folder| root.join(package).join(folder)))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let names =
                    text.lines().filter_map(|line| line.trim().strip_prefix("fn row_")?.split_once('('));
                named.extend(names.map(|(name, _)| format!("row_{name}")));
            }
        }
    }
    let table = fs::read_to_string(root.join("docs/manual/faults.md")).unwrap();
    let rows: Vec<Vec<&str>> =
        table.lines().filter(|line| line.starts_with("| ")).map(|line| line.split('|').collect()).collect();
    let numbers: Vec<u32> = rows.iter().filter_map(|row| row[1].trim().parse().ok()).collect();
    assert_eq!(numbers, (1..=43).collect::<Vec<_>>());
    let told: BTreeSet<String> = rows
        .iter()
        .flat_map(|row| row[3].split('`').filter(|word| word.starts_with("row_")))
        .map(str::to_owned)
        .collect();
    assert_eq!(told, named);
    for row in rows.iter().filter(|row| row[1].trim().parse::<u32>().is_ok()) {
        let number = format!("{:02}", row[1].trim().parse::<u32>().unwrap());
        assert!(
            row[3].contains(&format!("row_{number}_")) || row[3].contains(&format!("_{number}_")),
            "{row:?}"
        );
    }
}
