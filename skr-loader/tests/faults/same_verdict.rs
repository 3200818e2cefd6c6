//! `check -c` and the running loader give every file the same verdict, by the same checks. Each file of the other tests is compared, too
//! ([`Bench::import`]); here are those that are made in bulk, and those whose fault is the file itself.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use keystore::exchange::Bundle;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::time::Timestamp;

use crate::bench::*;
use crate::worst;

/// A change to a bundle.
type Change = fn(&mut Bundle);

/// A name and the octets of each file.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let good = skr(9).bundles(2).text();
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    let mut add = |name: String, text: String| files.push((name, text.into_bytes()));
    for at in 0..lines.len() {
        let without = [&lines[..at], &lines[at + 1..]].concat();
        let twice = [&lines[..=at], &lines[at..]].concat();
        let mut swapped = lines.clone();
        swapped.swap(at, (at + 1) % lines.len());
        add(format!("cut before line {at}"), lines[..at].concat());
        add(format!("cut in line {at}"), lines[..at].concat() + &lines[at][..lines[at].len() / 2]);
        add(format!("without line {at}"), without.concat());
        add(format!("line {at} twice"), twice.concat());
        add(format!("line {at} behind the next one"), swapped.concat());
        add(format!("a letter of line {at} changed"), {
            let mut text = good.clone().into_bytes();
            let start = lines[..at].concat().len();
            let middle = start + lines[at].len() / 2;
            text[middle] = if text[middle] == b'A' { b'B' } else { b'A' };
            String::from_utf8(text).unwrap()
        });
    }
    let changes: [(&str, Change); 8] = [
        ("a key less", |b| drop(b.dnskey.rdatas.pop())),
        ("no CDS", |b| b.cds = None),
        ("no CDNSKEY", |b| b.cdnskey = None),
        ("no signature", |b| b.signatures.clear()),
        ("a bit of a key", |b| b.dnskey.rdatas[0][9] ^= 1),
        ("a bit of a signature", |b| b.signatures[0].signature[9] ^= 1),
        ("an hour later", |b| b.inception = b.inception.plus(3600)),
        ("another TTL", |b| b.dnskey.ttl = 60),
    ];
    for (what, change) in changes {
        for at in 0..5 {
            add(format!("{what}, bundle {at}"), changed(|next| change(&mut next.bundles[at])));
            add(
                format!("{what}, bundle {at}, signed"),
                changed(|next| {
                    change(&mut next.bundles[at]);
                    skr(9).resign(&mut next.bundles[at], &[&TestKey::ksk(KSK)]);
                }),
            );
        }
    }
    for days in [0, 1, 9, 20, 40, 49, 50, 51, 60, 400] {
        add(format!("it begins {days} days later"), skr(days).text());
        add(
            format!("it begins {days} days earlier"),
            SkrBuilder::new(ZONE, start().minus(days * DAY)).text(),
        );
        add(
            format!("of another zone, {days} days"),
            SkrBuilder::new("other.", start().plus(days * DAY)).text(),
        );
        add(format!("by another KSK, {days} days"), skr(days).ksk(TestKey::ksk(9)).text());
        add(format!("with another ZSK, {days} days"), skr(days).zsk(TestKey::zsk(9).dnskey).text());
        let never = (Timestamp::EPOCH, Timestamp::EPOCH);
        let stranger = skr(days).ksk(TestKey::ksk(KSK)).ksk_during(
            TestKey::ksk(9),
            (Timestamp::EPOCH, Timestamp::MAX),
            never,
        );
        add(format!("with a KSK that nobody knows, {days} days"), stranger.text());
    }
    add("of two zones".to_owned(), skr(9).text() + &SkrBuilder::new("other.", start()).text());
    add("twice in one file".to_owned(), skr(9).text() + &skr(18).text());
    files.extend(worst::all(20).into_iter().map(|file| (file.name.to_owned(), file.octets)));
    files
}

#[test]
fn check_and_the_loader_give_every_file_the_same_verdict() {
    let mut bench = Bench::new();
    let files = corpus();
    assert!(files.len() >= 150, "{}", files.len());
    let (mut verdicts, mut differences) = (BTreeSet::new(), Vec::new());
    for (name, octets) in &files {
        fs::write(bench.path("to-check"), octets).unwrap();
        let told = bench.check(&bench.path("to-check"));
        bench.drop_file("a.skr", octets);
        let imports = bench.settle();
        let done: Vec<Told> = imports.iter().map(|import| Told::by_loader(&import.outcome)).collect();
        let accepted = done.iter().any(|told| matches!(told, Told::Accepted(_)));
        if told != done {
            differences.push(format!("{name}: check says {told:?}, and the loader {done:?}"));
        }
        verdicts.extend(done);
        if accepted {
            // Each file is held against generation 1.
            bench = Bench::new();
        }
    }
    println!("{} files, {} verdicts, {} differences", files.len(), verdicts.len(), differences.len());
    assert_eq!(differences, [""; 0], "{} of {}", differences.len(), files.len());
    assert!(verdicts.len() >= 20, "{verdicts:?}");
}

/// Puts something at a path.
type Put = fn(&Path, &str);

#[test]
fn check_and_the_loader_refuse_the_same_kinds_of_files() {
    let faults: [(&str, Put, &str); 8] = [
        (
            "a symbolic link",
            |path, text| {
                let to = path.with_extension("target");
                fs::write(&to, text).unwrap();
                symlink(to, path).unwrap();
            },
            "SKR-UNSAFE",
        ),
        ("a link to nothing", |path, _| symlink("/nonexistent/skr", path).unwrap(), "SKR-UNSAFE"),
        (
            "a second name",
            |path, text| {
                let other = path.with_extension("other");
                fs::write(&other, text).unwrap();
                fs::hard_link(other, path).unwrap();
            },
            "SKR-UNSAFE",
        ),
        (
            "everyone can write",
            |path, text| {
                fs::write(path, text).unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
            },
            "SKR-UNSAFE",
        ),
        ("a folder", |path, _| fs::create_dir(path).unwrap(), "SKR-UNSAFE"),
        (
            "a FIFO",
            |path, _| {
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
                    .unwrap();
            },
            "SKR-UNSAFE",
        ),
        ("a socket", |path, _| drop(std::os::unix::net::UnixListener::bind(path).unwrap()), "SKR-UNSAFE"),
        (
            "five gigabytes that are a hole",
            |path, _| {
                fs::File::create(path).unwrap().set_len(5 << 30).unwrap();
            },
            "SKR-LIMITS",
        ),
    ];
    for (what, put, id) in faults {
        let mut bench = Bench::new();
        let text = skr(9).text();
        put(&bench.path("checked"), &text);
        let told = bench.check(&bench.path("checked"));
        let expected = Told::Rejected(BTreeSet::from([id.to_owned()]));
        assert_eq!(told, std::slice::from_ref(&expected), "{what}");
        // Beside the inbox, and moved into it, so that only one name comes there.
        put(&bench.path("put"), &text);
        fs::rename(bench.path("put"), bench.path("inbox/a.skr")).unwrap();
        let mut imports = bench.settle();
        // Once more: the event of the kernel may come late, and a second name is told of at the third look only.
        imports.extend(bench.settle());
        let done = match &imports[..] {
            [] => {
                let report = bench.loader.standing().report(bench.now).report;
                let pending = report.inbox.unwrap().pending;
                let ids = pending.iter().filter_map(|pending| pending.id.clone());
                Told::Rejected(ids.collect())
            }
            [import] => Told::by_loader(&import.outcome),
            more => panic!("{what}: {more:?}"),
        };
        assert_eq!(done, expected, "{what}");
        bench.next_good_one_goes_in();
    }
}
