//! How queries are answered: cookies, encrypted connections, limits, and what is told of the server.

use super::*;

#[test]
fn settings_of_cookies() {
    let with = |keys: &str| parse_text(&EXAMPLE.replace("[signer]\n", &format!("[signer]\n{keys}\n")));
    let query = |keys: &str| with(keys).unwrap_or_else(|e| panic!("{e}")).signer.unwrap().query;
    assert_eq!(query(""), QueryConfig::default());
    assert!(!query("cookies = false").cookies);
    let file = query("cookie-secret-file = \"/run/cookies\"").cookie_secret_file;
    assert_eq!(file.as_deref(), Some(Path::new("/run/cookies")));
    for bad in ["cookies = 1", "cookie-secret-file = 1", "cookies = false\ncookie-secret-file = \"x\""] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_is_told_of_the_server_and_to_whom() {
    let with = |keys: &str| parse_text(&EXAMPLE.replace("[signer]\n", &format!("[signer]\n{keys}\n")));
    let query = |keys: &str| with(keys).unwrap_or_else(|e| panic!("{e}")).signer.unwrap().query;
    let network = |text: &str| Network::parse(text).unwrap();
    assert_eq!(query("allow-query = [\"192.0.2.0/24\"]").allow_query, Some(vec![network("192.0.2.0/24")]));
    assert_eq!(query("nsid = \"ns1.fra\"").nsid, Some(b"ns1.fra".to_vec()));
    assert_eq!(query("nsid = \"0x00fF\"").nsid, Some(vec![0, 0xff]));
    assert_eq!(query("identity = \"ns1\"").identity.as_deref(), Some("ns1"));
    assert_eq!(
        query("version = \"none of your business\"").version.as_deref(),
        Some("none of your business")
    );
    let agent = query("report-agent = \"reports.example.net\"").report_agent;
    assert_eq!(agent, Some(Name::parse("reports.example.net.").unwrap()));
    for bad in [
        "allow-query = []",
        "allow-query = \"any\"",
        "allow-query = [\"192.0.2.1/24\"]",
        "nsid = \"\"",
        "nsid = \"0x0\"",
        "nsid = \"0xzz\"",
        "nsid = 1",
        "identity = \"\"",
        "report-agent = \".\"",
        "report-agent = \"a..b\"",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
    assert!(with(&format!("version = \"{}\"", "x".repeat(256))).is_err());
    assert!(with(&format!("nsid = \"{}\"", "x".repeat(65))).is_err());
    let of_zone = EXAMPLE.replacen("[[zone]]\n", "[[zone]]\nallow-query = [\"2001:db8::/32\"]\n", 1);
    let config = parse_text(&of_zone).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.zones[0].allow_query, Some(vec![network("2001:db8::/32")]));
}

#[test]
fn settings_of_encrypted_connections() {
    let with = |keys: &str| parse_text(&EXAMPLE.replace("[signer]\n", &format!("[signer]\n{keys}\n")));
    let files = "tls-certificate = \"c.pem\"\ntls-key = \"/k.pem\"\n";
    let config = with(&format!("tls-listen = [\"127.0.0.1:853\", \"[::1]:853\"]\n{files}")).unwrap();
    let tls = config.signer.unwrap().query.tls.unwrap();
    assert_eq!(tls.listen.len(), 2);
    assert!(tls.certificate.is_absolute() && tls.key == Path::new("/k.pem"));
    assert!(tls.https.is_empty() && tls.quic.is_empty());
    // Each can be had alone; DNS over TLS and QUIC may have one port, as TCP and UDP are two.
    for (keys, counts) in [
        ("https-listen = [\"127.0.0.1:443\"]", [0, 1, 0]),
        ("quic-listen = [\"127.0.0.1:853\"]", [0, 0, 1]),
        ("tls-listen = [\"127.0.0.1:853\"]\nquic-listen = [\"127.0.0.1:853\", \"[::1]:853\"]", [1, 0, 2]),
    ] {
        let tls = with(&format!("{keys}\n{files}")).unwrap().signer.unwrap().query.tls.unwrap();
        assert_eq!([tls.listen.len(), tls.https.len(), tls.quic.len()], counts, "{keys}");
    }
    for bad in [
        "tls-listen = [\"127.0.0.1:853\"]",
        "https-listen = [\"127.0.0.1:443\"]",
        "quic-listen = [\"127.0.0.1:853\"]",
        &format!("https-listen = []\n{files}"),
        &format!("quic-listen = [\"127.0.0.1:53\"]\n{files}"),
        &format!("https-listen = [\"127.0.0.1:53\"]\n{files}"),
        &format!("tls-listen = [\"127.0.0.1:853\"]\nhttps-listen = [\"127.0.0.1:853\"]\n{files}"),
        files,
        &format!("tls-listen = []\n{files}"),
        &format!("tls-listen = [\"127.0.0.1\"]\n{files}"),
        &format!("tls-listen = [\"127.0.0.1:53\"]\n{files}"),
        &format!("tls-listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n{files}"),
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn limits_of_answers() {
    let with = |keys: &str| {
        parse_text(&EXAMPLE.replace("[signer]\n", &format!("[signer]\nrate-limit = {{ {keys} }}\n")))
    };
    let limit = |keys: &str| with(keys).unwrap_or_else(|e| panic!("{e}")).signer.unwrap().query.rate_limit;
    assert_eq!(limit(""), RateLimitConfig::default());
    let all = "responses-per-second = 200, all-per-second = 1000, slip = 1, ipv4-prefix = 32, ipv6-prefix = 64, exempt = [\"192.0.2.0/24\"]";
    let want = RateLimitConfig {
        responses_per_second: 200,
        all_per_second: 1000,
        slip: 1,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        exempt: vec![Network::parse("192.0.2.0/24").unwrap()],
    };
    assert_eq!(limit(all), want);
    for bad in [
        "responses-per-second = -1",
        "responses-per-second = 100001",
        "responses-per-second = 100, all-per-second = 50",
        "slip = 11",
        "ipv4-prefix = 0",
        "ipv4-prefix = 33",
        "ipv6-prefix = 129",
        "exempt = [\"192.0.2.1/24\"]",
        "exempt = \"192.0.2.1\"",
        "window = 15",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
}
