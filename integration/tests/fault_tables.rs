//! The tables of `docs/manual/faults.md` name every test of a fault case (`row_NN_…`) and of a kind of fault (`kind_NN_…`), and no
//! test that is not there.

mod source;

use std::collections::BTreeSet;

use source::{CRATES, rust_files, workspace};

/// Names of the functions of the workspace that begin with `prefix`.
fn tests_named(prefix: &str) -> BTreeSet<String> {
    let start = format!("fn {prefix}");
    let mut names = BTreeSet::new();
    for file in CRATES.iter().flat_map(|name| rust_files(&workspace().join(name))) {
        let text = std::fs::read_to_string(&file).expect("readable");
        let functions = text.lines().filter_map(|line| {
            let line = line.trim().trim_start_matches("async ");
            line.strip_prefix(&start)?.split_once('(')
        });
        names.extend(functions.map(|(name, _)| format!("{prefix}{name}")));
    }
    names
}

/// Number and tests of each row of a table.
fn rows<'a>(table: &'a str, prefix: &str) -> Vec<(u32, Vec<&'a str>)> {
    let row = |line: &'a str| {
        let cells: Vec<&str> = line.split('|').collect();
        let number = cells.get(1)?.trim().parse().ok()?;
        let tests = line.split('`').filter(|word| word.starts_with(prefix));
        Some((number, tests.collect()))
    };
    table.lines().filter(|line| line.starts_with("| ")).filter_map(row).collect()
}

#[test]
fn tables_of_faults_name_every_test_and_no_other() {
    let text = std::fs::read_to_string(workspace().join("docs/manual/faults.md")).expect("readable");
    let (cases, kinds) = text.split_once("\n## Kinds\n").expect("a table of kinds");
    for (table, prefix) in [(cases, "row_"), (kinds, "kind_")] {
        let rows = rows(table, prefix);
        let told: BTreeSet<String> =
            rows.iter().flat_map(|(_, tests)| tests).map(ToString::to_string).collect();
        let there = tests_named(prefix);
        let missing: Vec<_> = there.difference(&told).collect();
        let gone: Vec<_> = told.difference(&there).collect();
        assert!(missing.is_empty() && gone.is_empty(), "not in the table: {missing:#?}\nno test: {gone:#?}");
        for (number, tests) in rows {
            assert!(!tests.is_empty(), "{prefix}{number:02} has no test");
            for test in tests {
                let numbers = test[prefix.len()..].split('_').map_while(|word| word.parse::<u32>().ok());
                assert!(numbers.clone().any(|n| n == number), "{test} stands in the row {number}");
            }
        }
    }
    let numbers: Vec<u32> = rows(cases, "row_").into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, (1..=47).collect::<Vec<_>>(), "each fault case has its row");
}
