//! Who may transfer zones, where zones are transferred from, and the keys and certificates of both.

use super::*;

#[test]
fn transfers_are_allowed_to_nobody_by_default_and_each_zone_may_have_its_own_rules() {
    let zone = |name: &str, more: &str| {
        format!(
            "[[zone]]\nname = \"{name}\"\npolicy = \"p\"\n{more}\ntrust-anchors = [\"{name}. DS 1 13 2 {}\"]\n",
            "AB".repeat(32)
        )
    };
    let text = |transfer: &str, more: &str| {
        format!(
            "version = 1\nstate-dir = \"/s\"\n{}{}{transfer}\n[policy.p]\noffline-ksk = true\n\
             keys = [{{ role = \"ksk\", lifetime = 0, algorithm = 13 }}, {{ role = \"zsk\", lifetime = 0, algorithm = 13 }}]\n",
            zone("a.example", ""),
            zone("b.example", more)
        )
    };
    let read =
        |transfer: &str, more: &str| Config::parse(text(transfer, more).as_bytes(), Path::new("/etc/c.toml"));
    let nobody = read("", "").unwrap();
    assert!(nobody.zones.iter().all(|zone| zone.allow_transfer.is_empty() && zone.notify.is_empty()));
    let transfer = "[transfer]\nkey-files = [\"xfr.key\"]\nallow-transfer = [{ address = \"192.0.2.0/24\", key = \"Xfr.\" }]\n\
                    notify = [\"192.0.2.53\", { address = \"[2001:db8::53]:5300\", key = \"xfr\" }]";
    let config =
        read(transfer, "allow-transfer = [{ key = \"other\" }, { address = \"::/0\" }]\nnotify = []")
            .unwrap();
    assert_eq!(config.transfer.key_files, [Path::new("/etc/xfr.key")]);
    let [a, b] = config.zones.as_slice() else { panic!("two zones") };
    let xfr = Name::parse("xfr").ok();
    assert_eq!(
        a.allow_transfer,
        [AllowTransfer { address: Network::parse("192.0.2.0/24"), key: xfr.clone(), tls: None }]
    );
    let told: Vec<_> =
        a.notify.iter().map(|target| (target.address.to_string(), target.key.clone())).collect();
    assert_eq!(told, [("192.0.2.53:53".to_owned(), None), ("[2001:db8::53]:5300".to_owned(), xfr)]);
    let other = AllowTransfer { address: None, key: Name::parse("other").ok(), tls: None };
    let open = AllowTransfer { address: Network::parse("::/0"), key: None, tls: None };
    assert_eq!((b.allow_transfer.as_slice(), b.notify.len()), (&[other, open][..], 0));
    for (line, what) in [
        ("allow-transfer = [{}]", "everybody could transfer"),
        ("allow-transfer = [{ address = \"192.0.2.1/24\" }]", "without bits behind its prefix"),
        ("allow-transfer = [{ address = \"any\" }]", "must be an IP address"),
        ("allow-transfer = [{ key = \"a..b\" }]", "must be the name of a key"),
        ("allow-transfer = [{ keys = \"a\" }]", "unknown key 'keys'"),
        ("allow-transfer = [\"192.0.2.1\"]", "expected a table"),
        ("allow-transfer = \"any\"", "expected an array"),
        ("notify = [\"ns.example\"]", "with or without a port"),
        ("notify = [\"192.0.2.1:0\"]", "with or without a port"),
        ("notify = [\"0.0.0.0\"]", "with or without a port"),
        ("notify = [\"192.0.2.1\", { address = \"192.0.2.1:53\", key = \"xfr\" }]", "given twice"),
        ("notify = [{ key = \"xfr\" }]", "address is missing"),
    ] {
        for (transfer, more) in [(format!("[transfer]\n{line}"), ""), (String::new(), line)] {
            let error = read(&transfer, more).unwrap_err().to_string();
            assert!(error.contains(what), "{line}: {error}");
        }
    }
    assert!(read("[transfer]\nkey-file = \"xfr.key\"", "").unwrap_err().to_string().contains("key-files"));
}

#[test]
fn primaries_of_a_zone_stand_in_place_of_its_file() {
    let read = |transfer: &str, zone: &str| {
        let text =
            EXAMPLE.replacen("\n[[zone]]\n", &format!("\n[transfer]\n{transfer}\n[[zone]]\n{zone}\n"), 1);
        let text: String =
            text.lines().filter(|line| !line.starts_with("file =")).map(|line| format!("{line}\n")).collect();
        Config::parse(text.as_bytes(), Path::new("/etc/c.toml"))
    };
    let config = read(
        "min-refresh = \"1m\"\nmin-retry = 5\nmax-octets = 1000000",
        "primaries = [\"192.0.2.10\", { address = \"[2001:db8::1]:5300\", key = \"xfr\" }]",
    )
    .unwrap();
    let incoming = config.transfer.incoming;
    assert_eq!((incoming.min_refresh, incoming.min_retry, incoming.max_octets), (60, 5, Some(1_000_000)));
    let zone = &config.zones[0];
    let primaries: Vec<_> =
        zone.content.primaries.iter().map(|p| (p.address.to_string(), p.key.clone())).collect();
    let expected =
        [("192.0.2.10:53".to_owned(), None), ("[2001:db8::1]:5300".to_owned(), Name::parse("xfr").ok())];
    assert_eq!(primaries, expected);
    assert!(zone.has_content() && zone.file.is_none());
    assert!(!read("", "").unwrap().zones[0].has_content());
    for (transfer, zone, what) in [
        ("", "primaries = []", "names no server"),
        ("", "primaries = [\"ns.example\"]", "with or without a port"),
        ("", "primaries = [\"192.0.2.1\", \"192.0.2.1:53\"]", "given twice"),
        ("", "primaries = [\"192.0.2.1\"]\n file = \"zone\"", "from its file or from primaries"),
        (
            "",
            "primaries = [\"192.0.2.1\"]\nupdate = [{ key = \"a\", names = \"zone\" }]",
            "send updates to the primary",
        ),
        ("min-retry = 0", "", "at least a second"),
        ("max-octets = 1", "", "from 65536"),
    ] {
        let error = read(transfer, zone).unwrap_err().to_string();
        assert!(error.contains(what), "{transfer} {zone}: {error}");
    }
}

#[test]
fn transfers_over_tls_name_the_other_side_and_ours() {
    const PIN: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let read = |allow: &str, primaries: &str| {
        let tables =
            format!("\n[transfer]\nallow-transfer = [{allow}]\n[[zone]]\nprimaries = [{primaries}]\n");
        let text = EXAMPLE.replacen("\n[[zone]]\n", &tables, 1);
        let text: String =
            text.lines().filter(|line| !line.starts_with("file =")).map(|line| format!("{line}\n")).collect();
        Config::parse(text.as_bytes(), Path::new("/etc/c.toml")).map(|config| config.zones[0].clone())
    };
    let zone = read(
        &format!(
            "{{ key = \"xfr\", tls = true }}, {{ tls = {{ pin-sha256 = \"{PIN}\" }} }}, {{ address = \"::1\", tls = false }}, \
             {{ tls = {{ client-ca-file = \"ca.pem\", name = \"Secondary.Example.\" }} }}"
        ),
        &format!(
            "{{ address = \"192.0.2.1\", tls = {{ name = \"primary.example\", ca-file = \"ca.pem\" }} }}, \
             {{ address = \"192.0.2.2:8530\", key = \"xfr\", tls = {{ pin-sha256 = [\"{PIN}\"], certificate = \"c.pem\", key-file = \"/c.key\" }} }}"
        ),
    )
    .unwrap();
    let pins = vec![KeyPin::parse(PIN).unwrap()];
    let (ca, name) = (Some("/etc/ca.pem".into()), |text: &str| Some(text.to_owned()));
    let wanted: Vec<_> = zone.allow_transfer.iter().map(|rule| rule.tls.clone()).collect();
    let of_authority = ClientTls { pins: vec![], authority: ca.clone(), name: name("secondary.example") };
    let pinned = ClientTls { pins: pins.clone(), ..ClientTls::default() };
    assert_eq!(wanted, [Some(ClientTls::default()), Some(pinned), None, Some(of_authority)]);
    let [one, two] = zone.content.primaries.as_slice() else { panic!("two primaries") };
    assert_eq!([one.address.port(), two.address.port()], [853, 8530]);
    let first = PrimaryTls { name: name("primary.example"), authority: ca, pins: vec![], own: None };
    assert_eq!(one.tls, Some(first));
    let own = Some(OwnCertificate { certificate: "/etc/c.pem".into(), key: "/c.key".into() });
    assert_eq!(two.tls, Some(PrimaryTls { name: None, authority: None, pins, own }));
    for (tls, what) in [
        ("{}", "says nothing of the client"),
        ("{ name = \"a.example\" }", "says nothing of the client"),
        (&format!("{{ name = \"a.example\", pin-sha256 = \"{PIN}\" }}"), "name needs client-ca-file"),
        ("{ pin-sha256 = \"abc\" }", "SHA-256 of a public key in Base64"),
        ("{ pin-sha256 = [] }", "names no key"),
        ("{ client-ca-file = \"c\", name = \"192.0.2.1\" }", "must be a DNS name"),
        ("{ ca-file = \"c\" }", "unknown key 'ca-file'"),
        ("true", "everybody could transfer"),
        ("\"yes\"", "expected a table"),
    ] {
        let error = read(&format!("{{ tls = {tls} }}"), "\"192.0.2.1\"").unwrap_err().to_string();
        assert!(error.contains(what), "{tls}: {error}");
    }
    for (tls, what) in [
        ("{}", "does not say how the primary is known"),
        ("{ name = \"a.example\" }", "does not say how the primary is known"),
        ("{ ca-file = \"c\", certificate = \"c\" }", "certificate and key-file go together"),
        ("{ ca-file = \"c\", key-file = \"c\" }", "certificate and key-file go together"),
        ("{ ca-file = \"c\", name = \"a b\" }", "must be a DNS name"),
        ("{ ca-file = \"c\", name = \"a-.example\" }", "must be a DNS name"),
        ("{ ca-file = \"c\", name = \"host.1\" }", "must be a DNS name"),
        ("true", "expected a table"),
    ] {
        let error = read("", &format!("{{ address = \"192.0.2.1\", tls = {tls} }}")).unwrap_err().to_string();
        assert!(error.contains(what), "{tls}: {error}");
    }
}

#[test]
fn keys_of_transfers_are_read_where_zones_are_served_and_held_against_the_zones() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let key = |file: &str, text: &str| {
        let path = dir.path().join(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let statement = |name: &str| format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"c2VjcmV0\"; }};");
    let (one, two) = (key("one", &statement("xfr")), key("two", &statement("XFR")));
    let broken = key("broken", "key xfr;");
    let mut config = parse_text(EXAMPLE).unwrap();
    let target =
        |name: &str| NotifyTarget { address: "192.0.2.53:53".parse().unwrap(), key: Name::parse(name).ok() };
    for (files, named, wrong) in [
        (vec![], None, vec![]),
        (vec![&one], Some("Xfr"), vec![]),
        (vec![&one], Some("other"), vec!["notify names the key other., which no file"]),
        (vec![&one, &two], Some("xfr"), vec!["two files have a key with the name"]),
        (vec![&broken], Some("xfr"), vec!["broken:1: "]),
        (
            vec![&broken, &dir.path().join("nowhere")],
            Some("other"),
            vec!["broken:1: ", "nowhere: No such file"],
        ),
    ] {
        config.transfer.key_files = files.into_iter().cloned().collect();
        config.zones[0].notify = named.map(target).into_iter().collect();
        let errors = config.load_transfer_keys().err().unwrap_or_default();
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), wrong.len(), "{errors:?}");
        for (error, wrong) in errors.iter().zip(wrong) {
            assert!(error.contains(wrong), "{error}");
        }
    }
}
