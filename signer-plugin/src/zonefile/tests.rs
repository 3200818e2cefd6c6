use proptest::prelude::*;

use super::*;

/// A folder with the files of a zone, the first of them being read.
fn zone(files: &[(&str, &[u8])]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
    let path = folder.path().join(files[0].0);
    (folder, path)
}

/// The records as lines, `FILE:LINE OWNER TTL TYPE DATA`, and the files by name.
fn records(files: &[(&str, &[u8])]) -> Result<(Vec<String>, Vec<String>), String> {
    let (folder, path) = zone(files);
    let mut lines = Vec::new();
    let read = read(&path, &Name::parse("example.").expect("a name"), &mut |r| {
        let owner = Name::from_wire(r.owner).expect("the reader hands over names");
        rdata::check(r.rtype, r.rdata)?;
        let data = rdata::to_text(r.rtype, r.rdata, None);
        lines.push(format!("{}:{} {owner} {} {} {data}", r.place.file, r.place.line, r.ttl, r.rtype));
        Ok(())
    });
    let folder = format!("{}/", folder.path().display());
    match read {
        Ok(source) => {
            let name = |path: &PathBuf| path.display().to_string().replace(&folder, "");
            Ok((lines, source.paths.iter().map(name).collect()))
        }
        Err(error) => Err(error.to_string().replace(&folder, "")),
    }
}

fn lines(text: &str) -> Vec<String> {
    records(&[("zone", text.as_bytes())]).unwrap_or_else(|e| panic!("{e}")).0
}

fn refusal(text: &str) -> String {
    records(&[("zone", text.as_bytes())]).expect_err(text)
}

const GOOD: &str = "\
$ORIGIN example.
$TTL 1h ; an hour
@ IN SOA ns.example. host\\.master ( ; over lines
        2026010100 ; serial
        1d 2h 4w 5m )
        NS ns
        IN 60 NS ns.other.
ns      A 192.0.2.1
        60 IN AAAA 2001:db8::1
$ORIGIN sub
www     IN A 192.0.2.2\r
\"a b\"   TXT \"quo\\\"ted; \" plain \\226\\130\\172
*       CNAME @
$GENERATE 1-3/2 h$.example. 30 A 192.0.2.$
        MX 10 mail
x TYPE65280 \\# 2 abcd
y TYPE1 \\# 4 c0000203";

#[test]
fn reads_a_zone() {
    assert_eq!(
        lines(GOOD),
        [
            "0:3 example. 3600 SOA ns.example. host\\.master.example. 2026010100 86400 7200 2419200 300",
            "0:6 example. 3600 NS ns.example.",
            "0:7 example. 60 NS ns.other.",
            "0:8 ns.example. 3600 A 192.0.2.1",
            "0:9 ns.example. 60 AAAA 2001:db8::1",
            "0:11 www.sub.example. 3600 A 192.0.2.2",
            "0:12 a\\032b.sub.example. 3600 TXT \"quo\\\"ted; \" \"plain\" \"\\226\\130\\172\"",
            "0:13 *.sub.example. 3600 CNAME sub.example.",
            "0:14 h1.example. 30 A 192.0.2.1",
            "0:14 h3.example. 30 A 192.0.2.3",
            "0:15 *.sub.example. 3600 MX 10 mail.sub.example.",
            "0:16 x.sub.example. 3600 TYPE65280 \\# 2 ABCD",
            "0:17 y.sub.example. 3600 A 192.0.2.3",
        ]
    );
}

#[test]
fn ttl_of_records_without_one() {
    // RFC 1035: that of the record before; the SOA's minimum when there is none.
    let soa = "@ SOA . . 1 1 1 1 77";
    assert_eq!(
        lines(&format!("{soa}\na A 192.0.2.1\nb 5 A 192.0.2.1\nc A 192.0.2.1"))[1..],
        ["0:2 a.example. 77 A 192.0.2.1", "0:3 b.example. 5 A 192.0.2.1", "0:4 c.example. 77 A 192.0.2.1",]
    );
    assert_eq!(
        lines("@ 9 SOA . . 1 1 1 1 77\na A 192.0.2.1\nb 5 A 192.0.2.1\nc A 192.0.2.1")[1..],
        ["0:2 a.example. 9 A 192.0.2.1", "0:3 b.example. 5 A 192.0.2.1", "0:4 c.example. 5 A 192.0.2.1",]
    );
    // RFC 2308 section 4: that of the last $TTL, whatever other records have.
    assert_eq!(
        lines("$TTL 1m\na 5 A 192.0.2.1\nb A 192.0.2.1\n$TTL 0\nc A 192.0.2.1"),
        ["0:2 a.example. 5 A 192.0.2.1", "0:3 b.example. 60 A 192.0.2.1", "0:5 c.example. 0 A 192.0.2.1",]
    );
    assert!(refusal("a A 192.0.2.1").starts_with("zone:1: the record has no TTL"));
    // RFC 2181 section 8: the zone counts it as 0.
    assert_eq!(lines("@ SOA . . 1 1 1 1 2147483648")[0].split(' ').nth(2), Some("2147483648"));
    assert_eq!(lines("$TTL 4294967295\na A 192.0.2.1"), ["0:2 a.example. 4294967295 A 192.0.2.1"]);
}

#[test]
fn includes_restore_origin_and_owner() {
    let (got, files) = records(&[
        ("zone", b"$TTL 9\nw A 192.0.2.1\n$INCLUDE sub/one other ; remark\n AAAA ::1\nv A 192.0.2.4\n$include \"sub/one\"\n"),
        ("sub/one", b" TXT inherited\na A 192.0.2.2\n$ORIGIN x.\n$INCLUDE two\n"),
        ("sub/two", b"b A 192.0.2.3"),
    ])
    .expect("a good zone");
    assert_eq!(
        got,
        [
            "0:2 w.example. 9 A 192.0.2.1",
            "1:1 w.example. 9 TXT \"inherited\"",
            "1:2 a.other.example. 9 A 192.0.2.2",
            "2:1 b.x. 9 A 192.0.2.3",
            "0:4 w.example. 9 AAAA ::1",
            "0:5 v.example. 9 A 192.0.2.4",
            "1:1 v.example. 9 TXT \"inherited\"",
            "1:2 a.example. 9 A 192.0.2.2",
            "2:1 b.x. 9 A 192.0.2.3",
        ]
    );
    assert_eq!(files, ["zone", "sub/one", "sub/two"]);
}

#[test]
fn includes_that_cannot_be() {
    let refused = |files: &[(&str, &[u8])]| records(files).expect_err("refused");
    assert!(refused(&[("zone", b"\n$INCLUDE none\n")]).starts_with("zone:2: $INCLUDE of none: No such file"));
    assert!(refused(&[("zone", b"$INCLUDE .\n")]).starts_with("zone:1: $INCLUDE of .: not a regular file"));
    assert_eq!(
        refused(&[("zone", b"$INCLUDE sub/a\n"), ("sub/a", b"\n\n$INCLUDE ../zone\n")]),
        "sub/a:3: $INCLUDE of sub/../zone: that file is being read already, so this would never end"
    );
    assert!(
        refused(&[("zone", b"$INCLUDE a\n"), ("a", b"\n\nw 60 A bad\n")]).starts_with("a:3: A record: `bad`")
    );
    let names: Vec<String> = (0..=MAX_DEPTH).map(|n| format!("f{n}")).collect();
    let texts: Vec<String> = (1..=MAX_DEPTH + 1).map(|n| format!("$INCLUDE f{n}\n")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().map(|n| &**n).zip(texts.iter().map(|t| t.as_bytes())).collect();
    let depth = refused(&files);
    assert!(depth.starts_with(&format!("f{}:1: $INCLUDE inside of 16 files", MAX_DEPTH - 1)), "{depth}");
    let many = "$INCLUDE a\n".repeat(MAX_INCLUDES + 1);
    let many = refused(&[("zone", many.as_bytes()), ("a", b"")]);
    assert!(many.starts_with("zone:10001: more than 10000 $INCLUDE"), "{many}");
}

#[test]
fn generates() {
    assert_eq!(
        lines(
            "$TTL 9\n$GENERATE 1-2 $ PTR host-${10,3}\n$GENERATE 0-0 @ MX \"10 m$\"\n$GENERATE 10-10 ${0,3,n}.r TXT \"\\\"a $\\\"\"\nz A 192.0.2.1\n$GENERATE 1-1 k$ 5 IN MX 1$ m$\n TXT last"
        ),
        [
            "0:2 1.example. 9 PTR host-011.example.",
            "0:2 2.example. 9 PTR host-012.example.",
            "0:3 example. 9 MX 10 m0.example.",
            "0:4 a.0.r.example. 9 TXT \"a 10\"",
            "0:5 z.example. 9 A 192.0.2.1",
            "0:6 k1.example. 5 MX 11 m1.example.",
            "0:7 z.example. 9 TXT \"last\"",
        ]
    );
    for (text, want) in [
        ("$GENERATE 1-2 a$ A", "expected $GENERATE START-STOP[/STEP] OWNER [TTL] [CLASS] TYPE DATA"),
        ("$GENERATE 2-1 a$ A 192.0.2.1", "`2-1` is no range"),
        ("$GENERATE 1-2 a$ BOGUS x", "`BOGUS` is no known type"),
        ("$GENERATE 1-2 a$ CH A 192.0.2.1", "class CH record"),
        (
            "$GENERATE 0-1048576 a$ A 192.0.2.1",
            "the $GENERATE directives of the zone make more than 1048576 records",
        ),
        ("$GENERATE 255-256 a$ A 192.0.2.$", "$GENERATE at 256: A record: `192.0.2.256` is no IPv4 address"),
        ("$GENERATE 1-2 a..$ A 192.0.2.1", "$GENERATE at 1: `a..1` is no owner name"),
        ("$GENERATE 1-2 a${x} A 192.0.2.1", "`{x}` is no number format"),
        ("$GENERATE 1-2 a$ TXT \"\\\"x\"", "$GENERATE at 1: the string has no closing quote"),
    ] {
        let got = refusal(&format!("$TTL 9\n{text}\n"));
        assert!(got.starts_with(&format!("zone:2: {want}")), "{got}");
    }
    assert!(refusal("$GENERATE 1-2 a$ A 192.0.2.1").starts_with("zone:1: the record has no TTL"));
}

#[test]
fn refuses_with_file_line_and_advice() {
    for (text, want) in [
        ("a..b A 192.0.2.1", "`a..b` is no owner name: a label is empty"),
        ("a A 192.0.2", "A record: `192.0.2` is no IPv4 address"),
        ("a BOGUS x", "`BOGUS` is no known type; types without mnemonic are written TYPEnnn (RFC 3597)"),
        ("a 60 IN", "the record ends where its type was expected: OWNER [TTL] [CLASS] TYPE DATA"),
        ("a CH A 192.0.2.1", "class CH record; a zone file of class IN has no others"),
        ("a 4294967296 A 192.0.2.1", "`4294967296` is no TTL"),
        ("a AXFR", "type AXFR is for queries and messages"),
        ("a A (192.0.2.1", "the file ends inside the parentheses that were opened here"),
        ("a TXT \"x", "the string has no closing quote on its line"),
        ("a\0 A 192.0.2.1", "control octet 0x00"),
        ("$TTL", "expected one TTL"),
        ("$TTL 1x", "`1x` is no TTL"),
        ("$TTL 4294967296", "`4294967296` is no TTL"),
        ("$ORIGIN a b", "expected one name"),
        ("$ORIGIN a..b", "`a..b` is no owner name"),
        ("$INCLUDE", "expected a file"),
        ("$DATE 20260101000000", "`$DATE` is no directive"),
        ("$5 A 192.0.2.1", "`$5` is no directive"),
    ] {
        let got = refusal(&format!("$TTL 9\n\n{text}\n"));
        assert!(got.starts_with(&format!("zone:3: {want}")), "{got}");
    }
    assert_eq!(
        refusal(" A 192.0.2.1"),
        "zone:1: the first record has no owner name; write it at the start of the line"
    );
    assert_eq!(lines("\\$5 9 A 192.0.2.1"), ["0:1 \\0365.example. 9 A 192.0.2.1"]);
}

#[test]
fn long_names() {
    let label = "a".repeat(63);
    let long = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    assert_eq!(lines(&format!("{long}. 9 A 192.0.2.1")).len(), 1);
    assert!(refusal(&format!("{long}b. 9 A 192.0.2.1")).contains("longer than 255 octets"));
    assert!(refusal(&format!("{long} 9 A 192.0.2.1")).contains("longer than 255 octets"));
    assert!(refusal(&format!("a{label}. 9 A 192.0.2.1")).contains("a label is longer than 63 octets"));
    assert_eq!(lines(&format!("{} 9 A 192.0.2.1", "a.".repeat(127))).len(), 1);
    assert_eq!(lines("\\000\\.x 9 A 192.0.2.1"), ["0:1 \\000\\.x.example. 9 A 192.0.2.1"]);
}

#[test]
fn a_refusing_sink_stops_with_the_place() {
    let (_folder, path) = zone(&[("zone", GOOD.as_bytes())]);
    let mut seen = 0;
    let error = read(&path, &Name::root(), &mut |r| {
        seen += 1;
        if r.place.line < 9 { Ok(()) } else { Err(RecordProblem::ZoneTooLarge) }
    });
    let error = error.expect_err("refused");
    assert_eq!(error.to_string(), format!("{}:9: the zone is larger than 4 GiB; split it", path.display()));
    assert_eq!(seen, 5);
    let missing = read(Path::new("/nonexistent/zone"), &Name::root(), &mut |_| Ok(()));
    assert!(missing.expect_err("no file").to_string().starts_with("/nonexistent/zone: No such file"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn damaged_files_give_records_or_an_error_with_a_line(
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), 0u8..3, prop_oneof![any::<u8>(), prop::sample::select(&b"$();\"\\ \n{},-/@."[..])]),
            1..8,
        ),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut text = GOOD.as_bytes().to_vec();
        for (at, kind, octet) in changes {
            let at = at.index(text.len());
            match kind {
                0 => text[at] = octet,
                1 => text.insert(at, octet),
                _ => drop(text.remove(at)),
            }
        }
        if let Some(cut) = cut {
            text.truncate(cut.index(text.len()));
        }
        if let Err(error) = records(&[("zone", &text)]) {
            let line = error.strip_prefix("zone:").and_then(|e| e.split(':').next()?.parse::<usize>().ok());
            prop_assert!(line.is_some_and(|l| (1..=40).contains(&l)), "{}", error);
        }
    }
}
