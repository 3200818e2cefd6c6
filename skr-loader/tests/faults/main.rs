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
mod kinds;
mod process;

/// The table of rows and that of kinds name tests that exist; each row is there, and each test of a row is named.
#[test]
fn the_tables_of_the_manual_are_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/manual/faults.md")).unwrap();
    let (rows, kinds) = page.split_once("## Kinds").expect("a section on kinds");
    let rows = table(rows);
    let numbers: Vec<u32> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=43).collect::<Vec<_>>());
    for (prefix, rows) in [("row_", &rows), ("kind_", &table(kinds))] {
        let told: BTreeSet<String> = rows.iter().flat_map(|(_, tests)| tests.clone()).collect();
        let named = tests_named(&root, prefix);
        let unknown: Vec<_> = told.difference(&named).collect();
        assert!(unknown.is_empty(), "no such test: {unknown:#?}");
        if prefix == "row_" {
            assert_eq!(told, named);
        }
        for (number, tests) in rows {
            let of_row =
                |test: &String| test.split('_').any(|part| part.parse::<u32>().is_ok_and(|n| n == *number));
            assert!(tests.iter().any(of_row), "{prefix}{number}: {tests:?}");
        }
    }
}

/// The rows of a table: number, and the tests in the last column.
fn table(text: &str) -> Vec<(u32, Vec<String>)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').collect();
        let tests =
            cells.get(3)?.split('`').filter(|word| word.starts_with("row_") || word.starts_with("kind_"));
        Some((cells[1].trim().parse().ok()?, tests.map(str::to_owned).collect()))
    };
    text.lines().filter(|line| line.starts_with("| ")).filter_map(row).collect()
}

/// The test functions of the workspace whose names begin so.
fn tests_named(root: &Path, prefix: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let crates = ["keystore", "metrics", "ksr-gen", "skr-loader", "signer-plugin", "integration"];
    let mut folders: Vec<_> = crates
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
                let names = text.lines().filter_map(|line| {
                    let line = line.trim();
                    let line = line.strip_prefix("async ").unwrap_or(line);
                    line.strip_prefix("fn ")?.split_once('(')
                });
                named.extend(names.map(|(name, _)| name.to_owned()).filter(|name| name.starts_with(prefix)));
            }
        }
    }
    named
}
