//! BIND reads the same records from a zone file as we do, down to the octets: `named-compilezone` writes its raw format,
//! which holds the wire form.

mod common;
#[path = "common/raw_zone.rs"]
mod raw_zone;

use std::collections::BTreeSet;

use raw_zone::{Record, binds, ours};

const HEAD: &str = "$TTL 60\n@ SOA ns host 1 2 3 4 5\n@ NS ns.other.\n";

/// Bodies of zones that both read, and read alike.
const GOOD: &[(&str, &str)] = &[
    (
        "$GENERATE",
        "$GENERATE 1-3 $ PTR host-${10,3}\n$GENERATE 0-4/2 a${0,3,o}.x A 192.0.2.$\n\
         $GENERATE 10-17 ${0,3,n}.r 30 IN TXT \"\\\"a $ b\\\" c\"\n$GENERATE 10-11 ${0,7,N}.q TXT ${0,4,X}-${1,2,x}\n\
         $GENERATE 1-2 m$ MX \"10 mx$\"\n$GENERATE 1-2 d$$$ TXT a\\$b$$c\n$GENERATE 1-2 e\\$$ CNAME x\\$$\n\
         $GENERATE 5-6 f${-5} CNAME g${-5,2}\nw A 192.0.2.1\n$GENERATE 1-1 k$ A 192.0.2.$\n TXT of-w\n",
    ),
    (
        "TTL units",
        "a 1h30m A 192.0.2.1\nb 1w2d3h4m5s IN A 192.0.2.2\nc IN 1D A 192.0.2.3\n$TTL 2h\nd A 192.0.2.4\n",
    ),
    ("$INCLUDE", "w A 192.0.2.1\n$INCLUDE part other\n AAAA ::1\nv A 192.0.2.4\n$INCLUDE \"part\" ; again\n"),
    (
        "escapes",
        "a\\.b A 192.0.2.1\na\\032b A 192.0.2.2\n\\097\\066 A 192.0.2.3\n\\@ A 192.0.2.4\n\"q w\" A 192.0.2.5\n\
         a\\\"b A 192.0.2.6\na\\(b A 192.0.2.7\n\u{fc}ber A 192.0.2.8\n\"@\" A 192.0.2.9\n* A 192.0.2.9\n*.* A 192.0.2.9\n\
         t TXT \\\"a\\\" \"b\\\"c\" d\\;e \"f;g\" \\065 \"\\200\" \"\" a\"b\"c\nc CNAME \\@\n",
    ),
    (
        "parentheses",
        "( ) a A 192.0.2.1\nb A ( 192.0.2.2 )\nc TXT (a\nb ; remark \"\n\"c d\")\nd TXT (a)(b)\ne TXT (a)b(c)\n",
    ),
    ("line ends", "a A 192.0.2.1\r\n\r\n\t TXT x\r\nb A 192.0.2.2"),
    (
        "$ORIGIN",
        "$ORIGIN sub\na A 192.0.2.1\n$ORIGIN @\nb A 192.0.2.2\n$origin example.\nc NS @\n$ORIGIN .\nd.example A 192.0.2.3\n",
    ),
    (
        "class, TTL and type in any order and case",
        "a IN 5 A 192.0.2.1\nb 5 IN A 192.0.2.2\nc CLASS1 A 192.0.2.3\nd in a 192.0.2.4\nIN A 192.0.2.6\n60 A 192.0.2.8\nTXT TXT TXT\n",
    ),
    (
        "generic form",
        "a TYPE65280 \\# 2 abcd\nb TYPE65280 \\# 0\nc TYPE1 \\# 4 c0 00 02 01\nd A \\# 4 ( c000\n 0201 )\ne MX \\# 5 000a016100\n",
    ),
    ("case of names", "WWW.Example. A 192.0.2.1\nwww TXT x\nWWW AAAA ::1\nx CNAME Www.EXAMPLE.\n"),
    (
        "types",
        "a HINFO PC \"Linux 7\"\na RP me.x. t.x.\na LOC 42 21 54 N 71 06 18 W -24m 30m\n\
         a NAPTR 100 50 \"s\" \"z3950+I2L+I2C\" \"\" _z3950._tcp.gatech.edu.\na NAPTR 1 1 U E2U+sip \"!^(.*)$!sip:\\\\1@x!i\" .\n\
         a CAA 0 issue \"ca.test; x=y\"\na CAA 128 iodef mailto:a@b\na URI 10 1 \"https://x/\"\na TLSA 3 1 1 aabb ( cc\n dd )\n\
         a SSHFP 1 1 123456789abcdef67890123456789abcdef67890\na SVCB 1 b alpn=\"h2,h3\" port=53 key667=x\na HTTPS 0 c\n\
         a SVCB 16 foo alpn=\"f\\\\\\\\oo\\\\,bar,h2\"\na HTTPS 1 . mandatory=port port=1 dohpath=/q{?dns} ipv4hint=192.0.2.1\n\
         a CERT PKIX 1 RSASHA256 AAAA\na APL 1:192.168.32.0/21 !1:192.168.38.0/28 2:2001:db8::/32\na EUI48 00-00-5e-00-53-2a\n\
         a EUI64 00-00-5e-ef-10-00-00-2a\na CSYNC 66 3 A NS AAAA\na DS 1 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118\n\
         b DS 1 RSASHA1 SHA-1 2BB183AF5F22588179A53B0A98631FAD1A292118\nb NS c\nd DNAME e.x.\nf OPENPGPKEY AAAA\n\
         h SPF \"v=spf1 -all\"\ni KX 10 j\nk NID 10 14:4fff:ff20:ee64\nk L32 10 10.1.2.0\nk L64 10 2001:0DB8:1140:1000\n\
         k LP 10 l\nl AFSDB 1 m\nl RT 1 m\nl PX 1 m n\nl X25 311061700956\nl ISDN 150862028003217 004\nl MINFO a b\n\
         l GPOS -32.6882 116.8652 10.0\nl KEY 256 3 5 AAAA\nl IPSECKEY 10 3 2 gw AAAA\nl IPSECKEY 10 2 2 2001:db8::1 AAAA\n\
         l HIP 2 200100107B1A74DF365639CC39F1D578 AwEA r1 r2.test.\nl SMIMEA 3 1 1 abcd\nl DHCID AAAA\n\
         l CDS 0 0 0 00\nl CDNSKEY 0 3 0 AA==\nl SRV 0 5 443 w.test.\n",
    ),
];

/// Bodies that neither reads, the fault being in line 5.
const BAD: &[&str] = &[
    "a A ( 192.0.2.1",
    "a A 192.0.2.1 )",
    "a TXT \"x",
    "a TXT x\\",
    "a\\25 A 192.0.2.1",
    "a\\256b A 192.0.2.1",
    "a 1h30 A 192.0.2.1",
    "a A 192.0.2.1 x",
    "a A 192.0.2",
    "a A @",
    "a CH A 192.0.2.1",
    "a ANY A 192.0.2.1",
    "a \"A\" 192.0.2.1",
    "$FOO x",
    " $ORIGIN x.",
    ".a A 192.0.2.1",
    "a..b A 192.0.2.1",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa A 192.0.2.1",
    "a MX \"10\" x",
    "a MX \\# 4 000a0161",
    "a A \\# 3 c00002",
    "a TXT x\ry",
    "a TXT x\0y",
    "$GENERATE 2-1 a$ A 192.0.2.1",
    "$GENERATE 255-256 a$ A 192.0.2.$",
    "$GENERATE 1-1 a${0,64} A 192.0.2.1",
    "a NAPTR 1 1 U E2U \"!a!b\" .",
    "a SVCB 1 . dohpath=/q",
    "a SVCB 1 . alpn=h2 alpn=h3",
    "a SVCB 1 . mandatory=port",
    "a DS 1 8 2 abcd",
    "$INCLUDE none",
    "$INCLUDE zone",
];

#[test]
fn bind_reads_the_same_records() {
    let folder = tempfile::tempdir().expect("a folder");
    let part = " TXT inherited\na A 192.0.2.2\n$ORIGIN x\nb A 192.0.2.3\n$TTL 99\nc A 192.0.2.5\n";
    std::fs::write(folder.path().join("part"), part).expect("a file");
    let path = folder.path().join("zone");
    let soa = "@ SOA ns host 1 2 3 4 77\n NS ns.other.\na A 192.0.2.1\nb 5 A 192.0.2.2\nc A 192.0.2.3\n";
    let whole = [
        ("TTL of the SOA's minimum", soa.to_owned()),
        ("TTL of the record before", soa.replace("@ SOA", "@ 9 SOA") + "$TTL 8\nd A 192.0.2.4\n"),
    ];
    let bodies = GOOD.iter().map(|(what, body)| (*what, format!("{HEAD}{body}")));
    for (what, text) in bodies.chain(whole) {
        std::fs::write(&path, text).expect("a file");
        let Some(theirs) = binds(folder.path(), "zone") else { return };
        let theirs = theirs.unwrap_or_else(|error| panic!("{what}: BIND refuses: {error}"));
        let ours = ours(&path).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(ours.len() > 2, "{what}");
        let only = |a: &BTreeSet<Record>, b| a.difference(b).cloned().collect::<Vec<_>>();
        assert_eq!((only(&ours, &theirs), only(&theirs, &ours)), (vec![], vec![]), "{what}: (ours, BIND's)");
    }
}

#[test]
fn bind_refuses_the_same_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("zone");
    for body in BAD {
        std::fs::write(&path, format!("{HEAD}\n{body}\n")).expect("a file");
        let Some(theirs) = binds(folder.path(), "zone") else { return };
        assert!(theirs.is_err(), "BIND takes {body:?}");
        let error = ours(&path).expect_err(body);
        assert!(error.starts_with(&format!("{}:5: ", path.display())), "{body:?}: {error}");
    }
}
