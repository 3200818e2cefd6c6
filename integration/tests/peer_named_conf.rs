//! The verdicts of BIND that `keystore/tests/fixtures/named_conf/verdicts.tsv` claims are those of the BIND that is here.

mod common;

use std::path::Path;

#[test]
fn bind_judges_the_fixtures_as_the_table_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keystore/tests/fixtures/named_conf");
    let keys = tempfile::tempdir().expect("a folder");
    let table = std::fs::read_to_string(folder.join("verdicts.tsv")).expect("the table");
    let mut checked = 0;
    for line in table.lines().filter(|l| !l.starts_with('#')) {
        let mut columns = line.split('\t');
        let mut column = || columns.next().expect("four columns");
        let (file, checkconf, ksr) = (column(), column(), column());
        if file.starts_with("plugin") {
            // Judged by whether the plugin is installed, or, without parameters, by a crash.
            continue;
        }
        let mut judge = peer!("named-checkconf");
        judge.current_dir(&folder).arg(file);
        compare(&mut judge, checkconf, file);
        let mut judge = peer!("dnssec-ksr");
        judge.current_dir(&folder).arg("-K").arg(keys.path()).args(["-k", "x", "-l", file]);
        // An end before the start: the policy is read, and no key is needed.
        judge.args(["-i", "20300101", "-e", "20200101", "request", "example.test"]);
        compare(&mut judge, ksr, file);
        checked += 1;
    }
    assert!(checked > 150, "{checked} files");
}

fn compare(judge: &mut std::process::Command, expected: &str, file: &str) {
    let output = judge.output().expect("run the judge");
    let verdict = if output.status.success() { "ok" } else { "refused" };
    assert_eq!(verdict, expected, "{file}: {judge:?}\n{}", common::text(&output));
}
