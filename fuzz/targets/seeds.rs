//! Good inputs that no fixture of the project has.

use std::str::FromStr;

use domain::base::MessageBuilder;
use metrics::health::report::{Component, ComponentReport};

use super::answers::{NOW, ZONE};
use super::changes::{incoming_transfer_seeds, update_seeds, zone_content_seeds, zone_differences_seeds};
use super::files::zone_state_seeds;
use super::network::transfer_key;

/// Targets, each with an input.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut out: Vec<(&'static str, Vec<u8>)> = Vec::new();
    let mut put = |target, texts: &[&[u8]]| out.extend(texts.iter().map(|text| (target, text.to_vec())));
    put("name", &[b"www.example.com.", b"\\000a\\.b.*._x", b"\x03www\x07example\0", b"@", b"a.b\\255"]);
    put("times", &[b"20270101000000", b"now+3mo", b"2027-01-01", b"1w2d3h", b"P1Y2M3DT4H", b"1800000000-1y"]);
    put("zone_file", &[ZONE.as_bytes(), GENERATE.as_bytes()]);
    put("record_text", &RECORDS.map(str::as_bytes));
    put("anchors", &ANCHORS.map(str::as_bytes));
    put("http", &HTTP.map(str::as_bytes));
    put("control", &CONTROL.map(str::as_bytes));
    put("web_config", &WEB_CONFIG.map(str::as_bytes));
    put("token_uri", &URIS.map(str::as_bytes));
    put("state_files", &STATE_FILES.map(str::as_bytes));
    put("accepted_skr", &[b"", b"\x00\x00\x00\x01;", b"\x01\x00\x02\x00\x01\x80\x01\x02a\t"]);
    put(
        "token_messages",
        &[
            b"\0\0\0\0\x05\0\0\0\x01\x03",
            b"\0\0\0\0\x0d\0\0\0\x01\x03\0\0\0\x07data",
            b"\0\0\0\0\x09\0\0\0\x01\x061234",
            b"\x01\0\0\0\x05\0\0\0\x01\x03\0\0\0\x0b\0\0\0\x02\x06\"name\"",
            b"\x01\0\0\0\x09\0\0\0\x01\x02abcd",
            b"\x01\0\0\0\x2f\0\0\0\x01\x01{\"key\":1,\"token\":\"t\",\"public_key\":[1,2]}",
        ],
    );
    for rtype in [1u16, 2, 5, 6, 15, 16, 28, 33, 43, 48, 50, 65, 255] {
        for name in [
            &b"\x07example\0"[..],
            b"\x03www\x07example\0",
            b"\x01x\x05alias\x07example\0",
            b"\x01a\x03old\x07example\0",
        ] {
            let question = [name, &rtype.to_be_bytes(), &[0, 1]].concat();
            let query =
                [&b"\0\x01\x01\0\0\x01\0\0\0\0\0\x01"[..], &question, b"\0\0\x29\x04\xd0\0\0\x80\0\0\0"]
                    .concat();
            out.push(("query", [&[0][..], &query].concat()));
        }
    }
    let soa = b"\x03ns1\x07example\0\x05admin\x07example\0\0\0\0\x07\0\0\x0e\x10\0\0\x01\x2c\0\x09\x3a\x80\0\0\x02\x58";
    let record = |rtype: u16, data: &[u8]| {
        let len = u16::try_from(data.len()).expect("a short record").to_be_bytes();
        [&[0xc0, 12][..], &rtype.to_be_bytes(), &[0, 1, 0, 0, 14, 16], &len, data].concat()
    };
    let rrsig = [
        &[0, 6, 13, 1, 0, 0, 14, 16, 0x6b, 0x5e, 0, 0, 0x6b, 0x40, 0, 0, 0x12, 0x34][..],
        b"\x07example\0",
        &[7; 64],
    ]
    .concat();
    let head = |answers: u8| {
        [&[0, 1, 0x84, 0, 0, 1, 0, answers, 0, 0, 0, 0][..], b"\x07example\0\0\x06\0\x01"].concat()
    };
    let reply = [head(2), record(6, soa), record(46, &rrsig)].concat();
    let transfer =
        [head(4), record(6, soa), record(46, &rrsig), record(1, &[192, 0, 2, 1]), record(6, soa)].concat();
    let framed =
        [&u16::try_from(transfer.len()).expect("a short message").to_be_bytes()[..], &transfer].concat();
    out.push(("dns_reply", reply));
    out.push(("transfer", framed));
    for (rtype, data) in [
        (6u16, &soa[..]),
        (46, &rrsig),
        (1, &[192, 0, 2, 1]),
        (47, b"\x01a\0\0\x06\x40\0\0\0\0\x03"),
        (64, b"\0\x01\0\0\x01\0\x03\x02h2"),
    ] {
        out.push(("rdata_wire", [&rtype.to_be_bytes()[..], data].concat()));
    }
    let axfr = b"\0\x01\0\0\0\x01\0\0\0\0\0\0\x07example\0\0\xfc\0\x01";
    let ixfr = [&b"\0\x01\0\0\0\x01\0\0\0\x01\0\0\x07example\0\0\xfb\0\x01"[..], &record(6, soa)].concat();
    for query in [&axfr[..], &ixfr, &signed_query(252), &signed_query(1)] {
        out.extend([0, 1].map(|way| ("transfer_query", [&[way][..], query].concat())));
    }
    let mut report = vec![5];
    serde_json::to_writer(&mut report, &ComponentReport::new(Component::SkrLoader, NOW, NOW))
        .expect("a report is JSON");
    out.push(("state_files", report));
    for (target, inputs) in [
        ("zone_state", zone_state_seeds()),
        ("zone_content", zone_content_seeds()),
        ("zone_differences", zone_differences_seeds()),
        ("update", update_seeds()),
        ("incoming_transfer", incoming_transfer_seeds()),
    ] {
        out.extend(inputs.into_iter().map(|octets| (target, octets)));
    }
    out
}

/// A query for the zone that is signed with the key of the transfers.
fn signed_query(rtype: u16) -> Vec<u8> {
    let key = transfer_key();
    let name = domain::tsig::KeyName::from_str(&key.name.to_string()).expect("a name");
    let key = domain::tsig::Key::new(domain::tsig::Algorithm::Sha256, &key.secret, name, None, None);
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(1);
    let mut question = builder.question();
    let zone = domain::base::Name::vec_from_str("example.").expect("a name");
    question.push((zone, domain::base::Rtype::from_int(rtype))).expect("room");
    let mut additional = question.additional();
    let key = std::sync::Arc::new(key.expect("a key"));
    let time = domain::rdata::tsig::Time48::from_u64(NOW.secs());
    domain::tsig::ClientSequence::request(key, &mut additional, time).expect("room");
    additional.finish()
}

const WEB_CONFIG: [&str; 3] = [
    "tls_server_config:\n  cert_file: a.pem\n  key_file: b.pem\n  min_version: TLS13\nbasic_auth_users:\n  a: $2y$10$abcdefghijklmnopqrstuusPRfuYCohFn7ujAGmVeMYL/Ul7CdsOW\n",
    "http_server_config:\n  headers:\n    X-Frame-Options: deny\nrate_limit:\n  interval: 1s\n  burst: 3\n",
    "Basic YTpi",
];

const GENERATE: &str = "$TTL 1h\n$ORIGIN example.\n@ SOA ns. h. ( 1 2 ; x\n 3 4 5 )\n$GENERATE 1-3/2 a${0,3,d} CNAME b$\n$GENERATE 0-1 ${0,4,n} PTR \\$x\n\tTXT \"a b\" c\\\"\n";

const ANCHORS: [&str; 2] = [
    "example. IN DS 12345 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF\n",
    "example. 3600 IN DNSKEY 257 3 15 ( l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4= ) ; KSK\n",
];

const HTTP: [&str; 6] = [
    "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n",
    "GET /zone/example./request.ksr HTTP/1.0\r\n\r\n",
    "GET /?q=ex&condition=coverage-none&severity=critical&order=name&page=2 HTTP/1.1\n\n",
    "GET /api/v1/health?zone=%2e HTTP/1.1\r\n\r\n",
    "GET /calendar.ics?zone=example. HTTP/1.1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
];

const CONTROL: [&str; 8] = [
    r#"{"command":"status","zones":["example."]}"#,
    r#"{"command":"reload"}"#,
    r#"{"command":"import","name":"a.skr","content":"YQ==","force":["SKR-GAP"],"reason":"r","dry-run":true}"#,
    r#"{"command":"rollback","zone":"example.","to":3,"force":[],"reason":null,"dry-run":false}"#,
    r#"{"answer":"reloaded","zones":2,"warnings":["w"]}"#,
    r#"{"answer":"not-reloaded","findings":["f"]}"#,
    r#"{"answer":"partly-reloaded","zones":1,"findings":["f"]}"#,
    r#"{"answer":"imported","imports":[]}"#,
];

const URIS: [&str; 3] = [
    "pkcs11:token=ksk;object=example.-ksk;id=%01%02?pin-source=file:/etc/pin&module-path=/usr/lib/m.so",
    "pkcs11:manufacturer=m;model=o;serial=1;slot-id=3;type=private",
    "PKCS11:object=a%20b?module-name=softhsm2",
];

const STATE_FILES: [&str; 7] = [
    "\x007 reserved 1007\n",
    "\x013 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
    "\x02385 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4= 1800000000 3\n",
    "\x031800000000 3 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
    "\x042027-01-01T00:00:00Z COVERAGE-NONE example. subject of it\n2027-01-01T00:00:01Z COVERAGE-NEVER - \n",
    "\x06{\"example.\":{}}",
    "\x07{\"time\":1800000000,\"event\":\"started\",\"previous\":\"-\"}",
];

const RECORDS: [&str; 40] = [
    "A 192.0.2.1",
    "AAAA 2001:db8::1",
    "SOA ns. h. 1 2h 3 4w 5",
    "MX 10 mail",
    "TXT \"a b\" c\\\"\\065",
    "SRV 1 2 3 t.",
    "NAPTR 1 2 \"s\" \"SIP+D2U\" \"!a!b!\" .",
    "DS 1 RSASHA256 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
    "DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
    "RRSIG A 13 2 3600 20270101000000 20261201000000 1234 example. AAAA",
    "NSEC a. A MX TYPE1234",
    "NSEC3 1 1 10 aabb 2t7b4g4vsa5smi47k61mv5bv1a22bojr A RRSIG",
    "NSEC3PARAM 1 0 0 -",
    "CAA 0 issue \"ca.example\"",
    "TLSA 3 1 1 abcdef",
    "SSHFP 1 2 abcdef",
    "LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m",
    "APL 1:192.168.32.0/21 !1:192.168.38.0/28 2:ff00::/8",
    "HTTPS 1 . alpn=h2,h3 port=443 ipv4hint=192.0.2.1 ech=AAAA",
    "SVCB 0 foo.",
    "SVCB 16 foo. mandatory=alpn,ipv4hint alpn=\"f\\\\\\\\oo\\\\,bar,h2\" ipv4hint=192.0.2.1 key667=\"hello\\210qoo\"",
    "CERT PKIX 1 RSASHA256 AAAA",
    "IPSECKEY 10 3 2 gw. AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    "HIP 2 200100107B1A74DF365639CC39F1D578 AwEAAbdxyhNuSutc5EMzxTs9LBPCIkOFH8cIvM4p9+LrV4e19WzK00+CI6zBCQTdtWsuxKbWIy87UOoJTwkUs7lBu+Upr1gsNrut79ryra+bSRGQb1slImA8YVJyuIDsj7kwzG7jnERNqnWxZ48AWkskmdHaVDP4BcelrTI3rMXdXF5D rvs.",
    "EUI48 00-00-5e-00-53-2a",
    "EUI64 00-00-5e-ef-10-00-00-2a",
    "L64 10 2001:0DB8:1140:1000",
    "NID 10 0014:4fff:ff20:ee64",
    "URI 10 1 \"ftp://x\"",
    "WKS 192.0.2.1 TCP ( 25 80 )",
    "NSAP 0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00",
    "ATMA +358.400.1234567",
    "A6 64 ::1 p.",
    "AMTRELAY 10 0 3 relay.",
    "ZONEMD 1 1 1 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
    "CSYNC 66 3 A NS AAAA",
    "DSYNC CDS NOTIFY 5359 cds.",
    "NXT a. A NS",
    "TYPE65280 \\# 4 aabbccdd",
    "KEY 256 3 5 AQPSKmynfzW4kyBv015MUG2DeIQ3Cbl+BBZH4b/0PY1kxkmvHjcZc8nokfzj31GajIQKY+5CptLr3buXA10hWqTkF7H6RfoRqXQeogmMHfpftf6zMv1LyBUgia7za6ZEzOJBOztyvhjL742iU/TpPSEDhm2SNKLijfUppn1UaNvv4w==",
];
