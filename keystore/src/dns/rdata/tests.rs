use proptest::prelude::*;

use super::*;
use crate::dns::lexer::Entries;

/// Reads `TYPE DATA` against the origin `example.`.
fn read(text: &str) -> Result<(Rtype, Vec<u8>), RdataError> {
    let entry = Entries::new(text.as_bytes()).next().expect("an entry").expect("an entry that lexes");
    let rtype = Rtype::from_mnemonic(entry.tokens[0].text).expect("a type");
    let origin = Name::parse("example.").expect("a name");
    let mut out = b"kept".to_vec();
    let read = from_tokens(rtype, &entry.tokens[1..], Some(&origin), &mut out);
    assert!(out.starts_with(b"kept"));
    match read {
        Ok(()) => Ok((rtype, out[4..].to_vec())),
        Err(error) => {
            assert_eq!(out, b"kept", "leftovers of a failed read: {text}");
            Err(error)
        }
    }
}

/// Text as written, and as printed.
const GOOD: &[(&str, &str)] = &[
    ("A 192.0.2.1", "192.0.2.1"),
    ("A \\# 4 C0 000201", "192.0.2.1"),
    ("AAAA 2001:DB8:0:0::1", "2001:db8::1"),
    ("NS ns1", "ns1.example."),
    ("NS @", "example."),
    ("CNAME .", "."),
    ("PTR a", "a.example."),
    ("MD a", "a.example."),
    ("MF a", "a.example."),
    ("MB a", "a.example."),
    ("MG a", "a.example."),
    ("MR a", "a.example."),
    ("DNAME a\\.b\\032c.test.", "a\\.b\\032c.test."),
    (
        "SOA ns hostmaster 2026010100 1h 15m 4w 1d",
        "ns.example. hostmaster.example. 2026010100 3600 900 2419200 86400",
    ),
    ("MX 10 Mail.Test.", "10 Mail.Test."),
    (
        "TXT plain \"two words\" \"\" \\\"q\\\" \"\\000\\200;\"",
        "\"plain\" \"two words\" \"\" \"\\\"q\\\"\" \"\\000\\200;\"",
    ),
    ("TXT a=\"b\"", "\"a=\" \"b\""),
    ("SPF \"v=spf1 -all\"", "\"v=spf1 -all\""),
    ("SRV 0 5 443 w.test.", "0 5 443 w.test."),
    ("NAPTR 100 10 U E2U+sip \"!^.*$!sip:i@x!\" .", "100 10 \"U\" \"E2U+sip\" \"!^.*$!sip:i@x!\" ."),
    ("RP a b.test.", "a.example. b.test."),
    ("MINFO a b", "a.example. b.example."),
    ("PX 10 a b", "10 a.example. b.example."),
    ("AFSDB 1 a", "1 a.example."),
    ("KX 1 a", "1 a.example."),
    ("RT 1 a", "1 a.example."),
    ("HINFO PC \"Linux 7\"", "\"PC\" \"Linux 7\""),
    ("X25 311061700956", "\"311061700956\""),
    ("ISDN 150862028003217", "\"150862028003217\""),
    ("ISDN 150862028003217 004", "\"150862028003217\" \"004\""),
    ("GPOS -32.6882 116.8652 10.0", "\"-32.6882\" \"116.8652\" \"10.0\""),
    ("LOC 42 21 54 N 71 06 18 W -24m 30m", "42 21 54.000 N 71 6 18.000 W -24m 30m 10000m 10m"),
    ("LOC 90 S 180 E 0.5 1.25m 0 9", "90 0 0.000 S 180 0 0.000 E 0.50m 1m 0m 9m"),
    (
        "APL 1:192.168.32.0/21 !1:192.168.38.0/28 2:2001:db8::/32 1:0.0.0.0/0",
        "1:192.168.32.0/21 !1:192.168.38.0/28 2:2001:db8::/32 1:0.0.0.0/0",
    ),
    ("APL", ""),
    (
        "DS 60485 5 1 2BB183AF5F22588179A53B0A 98631FAD1A292118",
        "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
    ),
    ("DS 1 RSASHA256 99 ab", "1 8 99 AB"),
    ("CDS 0 0 0 00", "0 0 0 00"),
    ("CDNSKEY 0 3 0 AA==", "0 3 0 AA=="),
    ("DNSKEY 256 3 13 bk9T UEFS", "256 3 13 bk9TUEFS"),
    ("DNSKEY 257 3 ED25519 bk9TUEFS", "257 3 15 bk9TUEFS"),
    ("KEY 49152 3 1", "49152 3 1"),
    ("KEY 256 3 5 AA==", "256 3 5 AA=="),
    (
        "RRSIG DNSKEY 13 1 3600 20270115000000 20261231223000 12345 Example. AAAA",
        "DNSKEY 13 1 3600 20270115000000 20261231223000 12345 Example. AAAA",
    ),
    (
        "RRSIG TYPE65280 13 1 3600 1800000000 4294967295 1 . AAAA",
        "TYPE65280 13 1 3600 20270115080000 21060207062815 1 . AAAA",
    ),
    ("SIG A 5 2 60 1 0 7 a AA==", "A 5 2 60 19700101000001 19700101000000 7 a.example. AA=="),
    ("NSEC b MX A RRSIG NSEC TYPE1234", "b.example. A MX RRSIG NSEC TYPE1234"),
    ("NXT b A NXT", "b.example. A TYPE30"),
    (
        "NSEC3 1 1 12 aabbccdd 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX",
        "1 1 12 AABBCCDD 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR MX",
    ),
    ("NSEC3 1 0 0 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr", "1 0 0 - 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR"),
    ("NSEC3PARAM 1 0 0 -", "1 0 0 -"),
    ("TLSA 3 1 1 ab cd", "3 1 1 ABCD"),
    ("SMIMEA 3 1 1 abcd", "3 1 1 ABCD"),
    ("SSHFP 4 9 abcd", "4 9 ABCD"),
    ("CERT PGP 0 0 AAAA", "3 0 0 AAAA"),
    ("OPENPGPKEY AAAA", "AAAA"),
    ("DHCID AAAA", "AAAA"),
    ("IPSECKEY 10 0 2 . AAAA", "10 0 2 . AAAA"),
    ("IPSECKEY 10 1 2 192.0.2.3 AAAA", "10 1 2 192.0.2.3 AAAA"),
    ("IPSECKEY 10 2 2 2001:db8::1 AAAA", "10 2 2 2001:db8::1 AAAA"),
    ("IPSECKEY 10 3 0 gw AAAA", "\\# 18 0A0300026777076578616D706C6500000000"),
    (
        "HIP 2 200100107B1A74DF365639CC39F1D578 AwEA r1 r2.test.",
        "2 200100107B1A74DF365639CC39F1D578 AwEA r1.example. r2.test.",
    ),
    ("CSYNC 66 3 A NS AAAA", "66 3 A NS AAAA"),
    ("CSYNC 0 0", "\\# 6 000000000000"),
    ("NID 10 14:4fff:ff20:ee64", "10 0014:4fff:ff20:ee64"),
    ("L64 10 2001:0DB8:1140:1000", "10 2001:0db8:1140:1000"),
    ("L32 10 10.1.2.0", "10 10.1.2.0"),
    ("LP 10 l", "10 l.example."),
    ("EUI48 00-00-5E-00-53-2a", "00-00-5e-00-53-2a"),
    ("EUI64 00-00-5e-ef-10-00-00-2a", "00-00-5e-ef-10-00-00-2a"),
    ("URI 10 1 \"ftp://ftp1.example.com/public\"", "10 1 \"ftp://ftp1.example.com/public\""),
    ("CAA 0 issue \"ca.test; policy=ev\"", "0 issue \"ca.test; policy=ev\""),
    ("CAA 128 tbs \"\"", "128 tbs \"\""),
    ("SVCB 0 @", "0 example."),
    (
        "HTTPS 1 . port=8443 alpn=\"h2,h3\" no-default-alpn ipv6hint=2001:db8::1,::1 ech=AAAA",
        "1 . alpn=\"h2,h3\" no-default-alpn port=8443 ech=AAAA ipv6hint=2001:db8::1,::1",
    ),
    (
        "SVCB 16 foo mandatory=ipv4hint,alpn alpn=h2 ipv4hint=192.0.2.1 key667=\"hello\\210qoo\" key8",
        "16 foo.example. mandatory=alpn,ipv4hint alpn=\"h2\" ipv4hint=192.0.2.1 key8 key667=\"hello\\210qoo\"",
    ),
    // RFC 9460 appendix D.2, the two spellings of one list.
    ("SVCB 16 foo alpn=\"f\\\\\\\\oo\\\\,bar,h2\"", "16 foo.example. alpn=\"f\\\\\\\\oo\\\\,bar,h2\""),
    ("SVCB 16 foo alpn=f\\\\\\092oo\\092,bar,h2", "16 foo.example. alpn=\"f\\\\\\\\oo\\\\,bar,h2\""),
    ("HTTPS 1 . ech", "1 . key5"),
    ("HTTPS 1 . dohpath=/dns-query{?dns}", "1 . key7=\"/dns-query{?dns}\""),
    ("WKS \\# 5 C000020106", "192.0.2.1 6"),
    ("WKS 192.0.2.1 TCP smtp 80 telnet 25", "192.0.2.1 6 23 25 80"),
    ("WKS 192.0.2.1 17 domain", "192.0.2.1 17 53"),
    ("NSAP 0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00", "0x47000580005A0000000001E133FFFFFF00016100"),
    ("NSAP-PTR Foo", "Foo.example."),
    ("EID 12 89aB", "1289AB"),
    ("NIMLOC 32251A", "32251A"),
    ("ATMA +61.200000000", "+61200000000"),
    ("ATMA 39.246F.00", "39246f00"),
    ("ATMA \\# 2 0201", "\\# 2 0201"),
    ("A6 0 2001:db8::1", "0 2001:db8::1"),
    ("A6 64 ff::1 Pre", "64 ::1 Pre.example."),
    ("A6 61 ff:0:0:fd:0:0:0:1 pre", "61 ::5:0:0:0:1 pre.example."),
    ("A6 128 pre.test.", "128 pre.test."),
    ("SINK 8 0 2 l4ik AAAA", "8 0 2 l4ikAAAA"),
    ("SINK 1 0 0", "1 0 0"),
    ("NINFO \"a\" b", "\"a\" \"b\""),
    ("RKEY 0 255 RSASHA256 AQME", "0 255 8 AQME"),
    ("TALINK . Foo", ". Foo.example."),
    ("DSYNC CDS NOTIFY 5359 Endpoint", "CDS 1 5359 Endpoint.example."),
    ("DSYNC TYPE65280 77 1 x", "TYPE65280 77 1 x.example."),
    ("HHIT AA AA", "AAAA"),
    ("BRID AAAA", "AAAA"),
    ("AVC \"app\" x", "\"app\" \"x\""),
    ("DOA 1234567890 1 2 \"image/gif\" R0lG", "1234567890 1 2 \"image/gif\" R0lG"),
    ("DOA 0 1 2 \"\" -", "0 1 2 \"\" -"),
    ("AMTRELAY 0 0 0 .", "0 0 0 ."),
    ("AMTRELAY 10 1 1 203.0.113.15", "10 1 1 203.0.113.15"),
    ("AMTRELAY 10 0 2 2001:db8::15", "10 0 2 2001:db8::15"),
    ("AMTRELAY 128 1 3 Relays", "128 1 3 Relays.example."),
    ("AMTRELAY \\# 3 0A84FF", "\\# 3 0A84FF"),
    ("RESINFO qnamemin exterr=15,16 infourl=x", "\"qnamemin\" \"exterr=15,16\" \"infourl=x\""),
    ("WALLET EUR x", "\"EUR\" \"x\""),
    ("CLA a b", "\"a\" \"b\""),
    ("IPN 18446744073709551615", "18446744073709551615"),
    ("IPN 1.2", "4294967298"),
    ("SVCB 1 . key9=\\000\\029", "\\# 9 00010000090002001D"),
    ("HTTPS 1 . alpn=h2 key65535=x", "\\# 15 00010000010003026832FFFF000178"),
    ("UNECE 16 - JPTYO \"place of inspection\"", "16 - JPTYO \"place of inspection\""),
    ("UNECE 20 -18 CEL", "20 -18 CEL"),
    ("UNECE \"20\" \"?\" P1 \"\"", "20 ? P1"),
    ("ISO 3166-2 - US-CA \"state \\\"of\\\" \\233\"", "3166-2 - US-CA \"state \\\"of\\\" \\233\""),
    ("ISO 4217 2400000\\(50000\\) EUR \"value\"", "4217 2400000\\(50000\\) EUR \"value\""),
    ("ISO 4217 \"780000(?)\" CHF", "4217 780000\\(?\\) CHF"),
    ("ISO TR\\03224028 - x", "\\# 12 085452203234303238000178"),
    (
        "TA 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
        "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
    ),
    ("DLV 1 RSASHA256 99 ab", "1 8 99 AB"),
    ("UID \\# 1 05", "\\# 1 05"),
    ("NULL \\# 1 05", "\\# 1 05"),
    ("TYPE65280 \\# 0", "\\# 0"),
    ("TYPE65280 \\# 3 ab cd ef", "\\# 3 ABCDEF"),
];

#[test]
fn reads_and_prints_every_type() {
    for (text, want) in GOOD {
        let (rtype, wire) = read(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let printed = to_text(rtype, &wire, None);
        assert_eq!(printed, *want, "{text}");
        assert_eq!(read(&format!("{rtype} {printed}")), Ok((rtype, wire.clone())), "{text}");
        assert_eq!(check(rtype, &wire), Ok(()), "{text}");
        let generic = format!("{rtype} {}", to_text(Rtype(65280), &wire, Some(7)));
        assert_eq!(read(&generic), Ok((rtype, wire)), "{generic}");
    }
}

#[test]
fn every_type_with_fields_has_a_good_text() {
    for number in 0..=u16::MAX {
        let rtype = Rtype(number);
        let tried = || {
            GOOD.iter()
                .any(|(text, _)| text.split(' ').next() == Some(&*rtype.to_string()) && !text.contains("\\#"))
        };
        // The digests of ZONEMD are long; `digests_have_the_length_of_their_type` reads one.
        assert!(fields(rtype).is_none() || rtype == Rtype::ZONEMD || tried(), "{rtype}");
    }
}

#[test]
fn wire_forms_of_the_rfcs() {
    for (text, want) in [
        // RFC 4034 section 4.3.
        (
            "NSEC host.example.com. A MX RRSIG NSEC TYPE1234",
            "\x04host\x07example\x03com\0\0\x06\x40\x01\0\0\0\x03\x04\x1b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x20",
        ),
        ("CAA 0 issue \"ca\"", "\0\x05issueca"),
        ("TXT \"a\" \"\"", "\x01a\0"),
        ("SVCB 1 foo.example.com. port=53", "\0\x01\x03foo\x07example\x03com\0\0\x03\0\x02\0\x35"),
    ] {
        assert_eq!(read(text).expect(text).1, want.as_bytes(), "{text}");
    }
    let (_, loc) = read("LOC 42 21 54 N 71 06 18 W -24m 30m").expect("a LOC");
    assert_eq!(
        loc,
        [0, 0x33, 0x16, 0x13, 0x89, 0x17, 0x2d, 0xd0, 0x70, 0xbe, 0x15, 0xf0, 0, 0x98, 0x8d, 0x20]
    );
    // Zero with an exponent has no text of its own.
    let mut zero = loc;
    zero[1] = 0x05;
    let text = to_text(Rtype::LOC, &zero, None);
    assert!(text.starts_with("\\# 16 0005"), "{text}");
    assert_eq!(read(&format!("LOC {text}")), Ok((Rtype::LOC, zero)));
}

#[test]
fn refuses_and_says_what_was_expected() {
    for (text, want) in [
        ("A", "the record ends where an IPv4 address was expected"),
        ("A 192.0.2", "`192.0.2` is no IPv4 address"),
        ("A 192.0.2.1 x", "unexpected `x` behind the record"),
        ("A \\# 3 c00002", "the octets are no A record data"),
        ("A \\# 4 c00002", "`4` is no length of the hexadecimal digits behind it"),
        ("A \\# 4 c000020", "`c000020` is no hexadecimal text of whole octets"),
        ("MX ten a", "`ten` is no number from 0 to 65535"),
        ("MX 65536 a", "`65536` is no number from 0 to 65535"),
        ("MX \"1\" a", "`1` is no number from 0 to 65535"),
        ("NS a..b", "`a..b` is no domain name: a label is empty"),
        ("TXT", "the record ends where a string was expected"),
        ("TXT \\9", "`\\9` is no text: a backslash needs a character or three digits up to 255 behind it"),
        ("DNSKEY 256 3 13", "the record ends where base64 text was expected"),
        ("DNSKEY 256 3 13 AA", "`AA` is no base64 text"),
        ("DNSKEY 256 3 13 AB==", "`AB==` is no base64 text"),
        ("DNSKEY 256 3 13 AA== AA==", "`AA==` is no base64 text"),
        ("DNSKEY 256 3 13 \"AAAA\"", "`AAAA` is no base64 text"),
        ("DNSKEY 256 3 FOO AAAA", "`FOO` is no DNSSEC algorithm"),
        ("DS 1 8 1 ab", "the digest has not the length that its type says"),
        ("SSHFP 1 1 ab", "the digest has not the length that its type says"),
        ("ZONEMD 1 1 240 ab", "the digest is shorter than 12 octets"),
        (
            "RRSIG A 13 1 60 20270115000060 0 1 . AAAA",
            "`20270115000060` is no time: YYYYMMDDHHMMSS, or seconds since 1970",
        ),
        ("NSEC b", "the record ends where a type was expected"),
        ("NSEC b A B", "`B` is no type"),
        ("NSEC3PARAM 1 0 0 abc", "`abc` is no salt of up to 255 octets in hexadecimal, `-` for none"),
        ("CAA 0 is-sue x", "`is-sue` is no property tag of letters and digits"),
        ("URI 1 1 \"\"", "the text is empty"),
        ("SVCB 1 . port=http", "`http` is no port from 0 to 65535"),
        ("SVCB 1 . alpn", "`alpn` is no list of protocol identifiers of 1 to 255 octets"),
        ("SVCB 1 . alpn=h2 alpn=h3", "a service parameter is there twice"),
        (
            "SVCB 1 . mandatory=port alpn=h2",
            "a parameter that `mandatory` names is missing (RFC 9460 section 8)",
        ),
        (
            "SVCB 1 . mandatory=mandatory",
            "`mandatory` is no list of service parameter keys, without `mandatory` itself and doubles",
        ),
        ("SVCB 1 . PORT=1", "`PORT=1` is no service parameter, as alpn=h2 or key65280=text"),
        (
            "NAPTR 1 1 U E2U \"!^.*$!sip:i@x\" .",
            "the regexp is no substitution `!PATTERN!REPLACEMENT!` with maybe an `i` behind (RFC 3402 section 3.2)",
        ),
        (
            "SVCB 1 . dohpath=/dns-query{?udns}",
            "`/dns-query{?udns}` is no URI template in UTF-8 with the variable `dns`, as in /dns-query{?dns}",
        ),
        (
            "IPSECKEY 1 4 1 . AA==",
            "the gateway or relay type is none of 0, 1, 2 and 3 (RFC 4025 section 2.3, RFC 8777 section 4.2.3)",
        ),
        ("LOC 91 N 0 E 0", "`91` is no angle: degrees, minutes, seconds, then N or S, E or W"),
        ("LOC 90 0 1 N 0 E 0", "`N` is no direction of an angle in range"),
        ("APL 1:192.0.2.0/33", "`1:192.0.2.0/33` is no address prefix, [!]FAMILY:ADDRESS/LENGTH"),
        ("X25 123", "an X.121 address has at least 4 digits and nothing else"),
        ("EUI48 00-00-5e-00-53", "`00-00-5e-00-53` is no EUI-48 address, xx-xx-xx-xx-xx-xx"),
        ("NID 1 1:2:3", "`1:2:3` is no locator, four groups of hexadecimal digits parted by `:`"),
        ("WKS 192.0.2.1 6 65536", "`65536` is no service: a name such as smtp, or a port"),
        ("WKS 192.0.2.1 tcp nothing", "`nothing` is no service: a name such as smtp, or a port"),
        ("NSAP 4700", "`4700` is no NSAP address, 0x and hexadecimal digits"),
        ("ATMA +", "`+` is no ATM address: + and digits, or hexadecimal digits"),
        ("A6 129 ::1", "`129` is no prefix length from 0 to 128"),
        ("A6 0 ::1 x", "unexpected `x` behind the record"),
        ("RKEY 1 3 1 AQME", "the flags of an RKEY are 0"),
        ("AMTRELAY 1 2 0 .", "`2` is no 0 or 1 for the discovery-optional bit"),
        ("DOA 0 1 2 x", "the record ends where base64 text was expected"),
        ("DSYNC CDS MAIL 1 x", "`MAIL` is no scheme, such as NOTIFY"),
        ("IPN 18446744073709551616", "`18446744073709551616` is no number of up to 64 bits"),
        ("IPN 1.4294967296", "`1.4294967296` is no number of up to 64 bits"),
        ("UNECE 20 5", "the record ends where a code was expected"),
        ("UNECE \"\" - X", "`` is no text of up to 255 octets that is not empty"),
        ("UNECE \\# 6 023230012d00", "the octets are no UNECE record data"),
        ("ISO \\# 6 023230012d01", "the octets are no ISO record data"),
        ("ISO 4217 2400000(50000) EUR", "`EUR` is no description of up to 255 octets in quotes"),
        ("ISO 639 - ar \"a\" \"b\"", "unexpected `b` behind the record"),
        ("IPSECKEY 10 0 0 .", "the record ends where base64 text was expected"),
        (
            "TYPE65280 x",
            "type TYPE65280 can only be written in the generic form, `\\# LENGTH HEX` (RFC 3597)",
        ),
    ] {
        assert_eq!(read(text).expect_err(text).to_string(), want, "{text}");
    }
    let long = format!("TXT {}", format!("\"{}\" ", "x".repeat(255)).repeat(256));
    assert_eq!(read(&long), Err(RdataError::TooLong));
    let long = format!("TXT {}", "x".repeat(256));
    assert!(read(&long).expect_err("too long").to_string().ends_with("cut it into several"));
}

#[test]
fn substitutions_of_naptr() {
    let read =
        |regexp: &str| read(&format!("NAPTR 1 1 U E2U \"{}\" .", regexp.replace('\\', "\\\\"))).is_ok();
    for good in ["", "!^.*$!sip:i@x!", "!^(.*)$!\\1@x!i", "#a#b#", "!a\\!b!c!"] {
        assert!(read(good), "{good}");
    }
    for bad in ["!", "!a!b", "!a!b!c!", "!a!b!I", "1a1b1", "iaibi", "!(a)!\\2!", "!a!\\0!", "!a!b\\"] {
        assert!(!read(bad), "{bad}");
    }
    let dohpath = |template: &str| self::read(&format!("SVCB 1 . dohpath={template}")).is_ok();
    for good in ["/q{?dns}", "/q/{dns}", "/{x}/{&a,dns*}", "/{dns:9}"] {
        assert!(dohpath(good), "{good}");
    }
    for bad in ["/q", "/q{dns", "/{x}dns", "/{?dnsx}"] {
        assert!(!dohpath(bad), "{bad}");
    }
}

#[test]
fn digests_have_the_length_of_their_type() {
    for (head, octets) in [
        ("DS 1 8 1", 20),
        ("DS 1 8 2", 32),
        ("CDS 1 8 4", 48),
        ("ZONEMD 1 1 1", 48),
        ("ZONEMD 1 1 2", 64),
        ("SSHFP 1 2", 32),
    ] {
        let text = |octets: usize| format!("{head} {}", "ab".repeat(octets));
        assert!(read(&text(octets)).is_ok(), "{head}");
        assert!(read(&text(octets + 1)).is_err() && read(&text(octets - 1)).is_err(), "{head}");
    }
}

#[test]
fn canonical_form_lowers_the_names_of_the_list_and_no_others() {
    for (text, want) in [
        ("NS A.B.", "NS a.b."),
        ("SOA A. B. 1 1 1 1 1", "SOA a. b. 1 1 1 1 1"),
        ("MX 65 A.", "MX 65 a."),
        ("NAPTR 1 1 U E2U \"!X!Y!\" A.", "NAPTR 1 1 U E2U \"!X!Y!\" a."),
        ("SRV 16705 1 1 A.", "SRV 16705 1 1 a."),
        ("RRSIG A 65 1 1 1 1 1 A. QUJD", "RRSIG A 65 1 1 1 1 1 a. QUJD"),
        ("NXT A. A", "NXT a. A"),
        ("PX 1 A. B.", "PX 1 a. b."),
        ("NSEC A. A", "NSEC A. A"),
        ("HINFO A B", "HINFO A B"),
        ("SVCB 1 A. key65=A", "SVCB 1 A. key65=A"),
        ("LP 1 A.", "LP 1 A."),
        ("IPSECKEY 1 3 1 A. AA==", "IPSECKEY 1 3 1 A. AA=="),
        ("TXT A", "TXT A"),
    ] {
        let (rtype, wire) = read(text).expect(text);
        assert_eq!(canonical(rtype, &wire), read(want).expect(want).1, "{text}");
    }
    assert_eq!(canonical(Rtype::MX, b"AB\x01"), b"AB\x01", "malformed data comes back as it is");
}

#[test]
fn cuts_long_fields_as_bind_does() {
    let (rtype, wire) = read(&format!("DNSKEY 256 3 13 {}", "A".repeat(88))).expect("a DNSKEY");
    let text = to_text(rtype, &wire, Some(56));
    assert_eq!(text, format!("256 3 13 {} {}", "A".repeat(56), "A".repeat(32)));
    assert_eq!(to_text(Rtype::A, b"abc", None), "\\# 3 616263", "malformed data in the generic form");
}

/// Types with fields, and one without.
fn any_rtype() -> impl Strategy<Value = Rtype> {
    let types: Vec<Rtype> =
        (0..300).map(Rtype).filter(|t| fields(*t).is_some()).chain([Rtype(65280)]).collect();
    prop::sample::select(types)
}

/// Octets that are likely to be RDATA: a good one with a few octets changed, or anything.
fn any_rdata() -> impl Strategy<Value = (Rtype, Vec<u8>)> {
    let near = (
        prop::sample::select(GOOD),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    )
        .prop_map(|((text, _), changes)| {
            let (rtype, mut wire) = read(text).expect(text);
            for (at, octet) in changes {
                if !wire.is_empty() {
                    let at = at.index(wire.len());
                    wire[at] = octet;
                }
            }
            (rtype, wire)
        });
    prop_oneof![near, (any_rtype(), prop::collection::vec(any::<u8>(), 0..80))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn wire_to_text_to_wire((rtype, wire) in any_rdata(), columns in prop::option::of(0usize..70)) {
        let text = to_text(rtype, &wire, columns);
        prop_assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)));
        prop_assert!(!text.ends_with(' ') && !text.starts_with(' '));
        match (check(rtype, &wire), read(&format!("{rtype} {text}"))) {
            (Ok(()), got) => prop_assert_eq!(got, Ok((rtype, wire.clone())), "{}", text),
            (Err(_), got) => prop_assert!(got.is_err(), "{} was read", text),
        }
        let once = canonical(rtype, &wire);
        prop_assert_eq!(once.len(), wire.len());
        prop_assert!(once.eq_ignore_ascii_case(&wire));
        prop_assert_eq!(check(rtype, &once).is_ok(), check(rtype, &wire).is_ok());
        prop_assert_eq!(canonical(rtype, &once), once);
    }

    #[test]
    fn what_is_read_is_well_formed(
        (text, _) in prop::sample::select(GOOD),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&b"a1 .,:-\\\"=@/9"[..])), 0..4),
    ) {
        let mut octets = text.as_bytes().to_vec();
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        if let Some(Ok(entry)) = Entries::new(&octets).next()
            && let Some(rtype) = entry.tokens.first().and_then(|t| Rtype::from_mnemonic(t.text))
        {
            let mut out = Vec::new();
            if from_tokens(rtype, &entry.tokens[1..], None, &mut out).is_ok() {
                prop_assert_eq!(check(rtype, &out), Ok(()));
            }
        }
    }
}

/// Lists of the record types that IANA has assigned, as others have them; `README.md` beside them says whence they are.
const ASSIGNED: [(&str, &str); 3] = [
    ("dnsbox", include_str!("../../../tests/fixtures/iana/dnsbox-0.0.3.csv")),
    ("domain", include_str!("../../../tests/fixtures/iana/domain-0.12.3.csv")),
    ("dnspython", include_str!("../../../tests/fixtures/iana/dnspython-2.9.2.csv")),
];

/// Types that have a number and no form of their own: only the generic form (RFC 3597) writes them.
const OPAQUE: [&str; 5] = ["NULL", "UINFO", "UID", "GID", "UNSPEC"];

/// Types that no zone holds: they are of queries and messages (RFC 6895 section 3.1), NXNAME is of denial records (RFC 9824).
const NOT_DATA: [&str; 9] = ["OPT", "NXNAME", "TKEY", "TSIG", "IXFR", "AXFR", "MAILB", "MAILA", "ANY"];

#[test]
fn kind_17_every_type_of_the_iana_list_is_read_in_records_and_in_bitmaps() {
    let mut assigned = std::collections::BTreeMap::new();
    for (source, list) in ASSIGNED {
        for line in list.lines() {
            let (name, number) = line.split_once(',').expect("NAME,NUMBER");
            let name = if name == "*" { "ANY" } else { name };
            let number: u16 = number.parse().expect("a number");
            let before = assigned.insert(number, name);
            assert!(before.is_none_or(|before| before == name), "{source}: {line}");
        }
    }
    assert!(assigned.len() >= 99, "{} types", assigned.len());
    for (number, name) in &assigned {
        let rtype = Rtype(*number);
        for spelling in [(*name).to_owned(), name.to_lowercase(), format!("TYPE{number}")] {
            assert_eq!(Rtype::from_mnemonic(spelling.as_bytes()), Some(rtype), "{spelling}");
            let (_, bitmap) = read(&format!("NSEC a {spelling}")).expect("a type in a bitmap");
            assert_eq!(
                to_text(Rtype::NSEC, &bitmap, None),
                format!("a.example. {}", PortableRtype(rtype)),
                "{spelling}"
            );
        }
        assert_eq!(rtype.to_string(), *name);
        assert_eq!(rtype.is_meta(), NOT_DATA.contains(name), "{name}");
        let form = !rtype.is_meta() && !OPAQUE.contains(name);
        assert_eq!(fields(rtype).is_some(), form, "{name} has a form of its own");
    }
    // The other way round: no type has a name that is not assigned.
    let named: Vec<u16> =
        (0..=u16::MAX).filter(|number| !Rtype(*number).to_string().starts_with("TYPE")).collect();
    assert_eq!(named, assigned.keys().copied().collect::<Vec<_>>());
}

#[test]
fn kind_16_value_of_a_numbered_key_is_the_wire_form_of_known_keys_too() {
    // As written with the number, and as written with the word.
    for (number, word) in [
        ("alpn=h2 key0=\\000\\001", "mandatory=alpn alpn=h2"),
        ("key1=\"\\002h2\"", "alpn=h2"),
        ("key1=\\002h2\\002h3", "alpn=h2,h3"),
        ("key2 key1=\\002h2", "no-default-alpn alpn=h2"),
        ("key3=\"\\001\\187\"", "port=443"),
        ("key4=\\192\\000\\002\\001", "ipv4hint=192.0.2.1"),
        ("key5=\\001\\002", "ech=AQI="),
        (
            "key6=\\032\\001\\013\\184\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\001",
            "ipv6hint=2001:db8::1",
        ),
        ("key7=/q{?dns}", "dohpath=/q{?dns}"),
        ("key8", "ohttp"),
    ] {
        for rtype in ["SVCB", "HTTPS"] {
            let (by_number, by_word) =
                (read(&format!("{rtype} 1 . {number}")), read(&format!("{rtype} 1 . {word}")));
            assert!(by_number.is_ok(), "{number}: {by_number:?}");
            assert_eq!(by_number, by_word, "{number}");
        }
    }
    for bad in ["key1=h2", "key2=x", "key3=443", "key3=\"443\"", "key4=192.0.2.1", "key6=::1", "key7=/q"] {
        let error = read(&format!("SVCB 1 . {bad}")).expect_err(bad).to_string();
        assert!(error.contains("the octets of the wire form"), "{bad}: {error}");
    }
}

#[test]
fn kind_15_parameters_and_records_that_bind_refuses_are_refused() {
    for (text, want) in [
        ("SVCB 1 . no-default-alpn", "no-default-alpn stands without alpn"),
        ("HTTPS 1 . no-default-alpn port=1", "no-default-alpn stands without alpn"),
        ("HTTPS 1 . key2", "no-default-alpn stands without alpn"),
        ("IPSECKEY 10 0 0 .", "base64 text was expected"),
        ("IPSECKEY 10 1 0 192.0.2.1", "base64 text was expected"),
        ("IPSECKEY 10 3 2 gw", "base64 text was expected"),
        ("IPSECKEY \\# 3 0a0000", "the octets are no IPSECKEY record data"),
    ] {
        let error = read(text).expect_err(text).to_string();
        assert!(error.contains(want), "{text}: {error}");
    }
}
