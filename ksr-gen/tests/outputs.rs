//! What `-O` may be: never a file that is read, nor a key.

mod common;

use std::os::unix::fs::symlink;

use common::{COMMON, Site};
use keystore::crypto::{Algorithm, PrivateKey};
use keystore::keys::timing::State;
use keystore::keys::{Dnskey, KeyFile, Timing};

const TIMES: &str = "-l @policy -k common -i 20270101 -e 20280101";

/// A KSK, ZSKs, a request, an SKR and DS records.
fn site() -> Site {
    let site = Site::new(COMMON);
    site.run(&format!("{TIMES} -o -K @ksk keygen example.test")).ok();
    site.run(&format!("{TIMES} -K @zsk keygen example.test")).ok();
    site.run(&format!("{TIMES} -K @zsk -O @t.ksr request example.test")).ok();
    site.run(&format!("{TIMES} -K @ksk -f @t.ksr -O @t.skr sign example.test")).ok();
    std::fs::create_dir(site.path("spare")).expect("a folder");
    site.run(&format!("{TIMES} -K @spare --standby keygen example.test")).ok();
    symlink("t.ksr", site.path("link")).expect("a link");
    std::fs::hard_link(site.path("t.ksr"), site.path("hard")).expect("a link");
    site
}

/// Every file below the folder of the site.
fn all(site: &Site) -> Vec<(String, String)> {
    let mut out = site.content("zsk");
    out.extend(site.content("ksk"));
    out.extend(site.content("spare"));
    for name in ["policy", "t.ksr", "t.skr"] {
        out.push((name.to_owned(), std::fs::read_to_string(site.path(name)).expect("text")));
    }
    out
}

#[test]
fn kind_11_output_over_an_input_or_a_key_is_refused_and_changes_nothing() {
    let site = site();
    let before = all(&site);
    let private = |folder: &str| {
        let names = site.names(folder);
        let name = names.iter().find(|name| name.ends_with(".private")).expect("a key");
        format!("@{folder}/{name}")
    };
    let key = |folder: &str| private(folder).replace(".private", ".key");
    let (sign, check) = ("-K @ksk -f @t.ksr", "-K @ksk");
    for (line, reason) in [
        (format!("{sign} -O @t.ksr sign example.test"), "which this run reads"),
        (format!("{sign} -O @link sign example.test"), "which this run reads"),
        (format!("{sign} -O @hard sign example.test"), "which this run reads"),
        (format!("{sign} -O @policy sign example.test"), "which this run reads"),
        (format!("{sign} --previous @t.skr -O @t.skr sign example.test"), "which this run reads"),
        (format!("{check} -O @t.ksr check @t.ksr"), "which this run reads"),
        (format!("{check} --json -O @link check @t.ksr"), "which this run reads"),
        (format!("{sign} -O {} sign example.test", private("ksk")), "key file"),
        (format!("{sign} -O {} sign example.test", key("ksk")), "key file"),
        (format!("{sign} -O {} sign example.test", private("zsk")), "key file"),
        (format!("-K @zsk -O {} request example.test", private("zsk")), "key file"),
        (format!("-K @ksk -O {} -o keygen example.test", private("ksk")), "key file"),
        (format!("-K @zsk -O {} request --all", private("ksk")), "key file"),
        ("-K @zsk -O @Kother.test.+013+00001.state request example.test".to_owned(), "key file"),
        (format!("{sign} -O @ksk/t.skr sign example.test"), "key folder"),
        ("-K @zsk -O @zsk/new.ksr request example.test".to_owned(), "key folder"),
        ("-K @zsk --spare @spare -O @spare/new.ksr request example.test".to_owned(), "key folder"),
        ("-K @zsk -O @zsk/all.ksr request --all".to_owned(), "key folder"),
    ] {
        let refused = site.run(&format!("{TIMES} {line}")).fails(1);
        assert!(refused.contains("cannot write ") && refused.contains(reason), "{line}: {refused}");
        assert_eq!(all(&site), before, "{line}");
    }
    // Before a person is asked.
    let line = format!("{TIMES} {sign} -O @t.ksr sign example.test");
    assert!(!site.run_at_terminal(&line, "yes\n").fails(1).contains("Type yes"));
    // An output of before is written again.
    site.run(&format!("{TIMES} {sign} -O @t.skr sign example.test")).ok();
    assert_ne!(all(&site), before);
}

/// What an input includes is read as well, and known only once that is read.
#[test]
fn kind_11_output_over_an_included_file_is_refused_and_changes_nothing() {
    let site = site();
    site.write("named.conf", "include \"policy\"; include \"part.*\";");
    site.write("part.a", "acl x { any; };");
    site.write("by-name.toml", "version = 1\nnamed-conf = \"named.conf\"\n");
    let policy = std::fs::read_to_string(site.path("policy")).expect("text");
    site.write("nested", "include \"deep\";");
    site.write("deep", &policy);
    let anchor = site.names("ksk").into_iter().find(|name| name.ends_with(".key")).expect("a key");
    std::fs::copy(site.path("ksk").join(anchor), site.path("anchors")).expect("a copy");
    site.write(
        "offline-ksk.toml",
        "version = 1\nstate-dir = \"state\"\nnamed-conf = \"nested\"\n[[zone]]\nname = \"example.test\"\npolicy = \"common\"\n\
         key-directory = \"zsk\"\ntrust-anchor-file = \"anchors\"\n",
    );
    let names = ["policy", "part.a", "named.conf", "nested", "deep", "anchors"];
    let content = || names.map(|name| std::fs::read_to_string(site.path(name)).expect("text"));
    let before = content();
    let times = TIMES.replace("-l @policy ", "");
    for (config, line, output) in [
        ("named.conf", "-K @zsk request example.test", "policy"),
        ("named.conf", "-K @zsk request --all", "policy"),
        ("named.conf", "-K @ksk -f @t.ksr sign example.test", "part.a"),
        ("named.conf", "-K @ksk check @t.ksr", "policy"),
        ("by-name.toml", "-K @zsk request example.test", "named.conf"),
        ("by-name.toml", "-K @zsk request example.test", "policy"),
        ("nested", "-K @zsk keygen example.test", "deep"),
        ("offline-ksk.toml", "request --all", "deep"),
        ("offline-ksk.toml", "request --all", "nested"),
        ("offline-ksk.toml", "-K @ksk -f @t.ksr sign --all", "anchors"),
    ] {
        let refused = site.run(&format!("{times} -l @{config} -O @{output} {line}")).fails(1);
        assert!(
            refused.contains("cannot write ") && refused.contains("which this run reads"),
            "{line}: {refused}"
        );
        assert_eq!(content(), before, "{config} {line}");
        site.run(&format!("{times} -l @{config} -O @elsewhere {line}")).ok();
    }
}

/// What `request` and `sign` write is read by `check` and by the loader: the limit of 32 keys in a bundle holds on writing too.
#[test]
fn kind_24_what_is_written_is_read_and_too_many_keys_are_refused_before() {
    let folder_of = |keys: u16| {
        let site = Site::new(COMMON);
        site.run(&format!("{TIMES} -o -K @ksk keygen example.test")).ok();
        let start = common::stamp("20261201000000");
        for _ in 0..keys {
            let key = PrivateKey::generate(Algorithm::ECDSAP256SHA256, 0).expect("a key");
            let timing = Timing { publish: Some(start), activate: Some(start), ..Timing::default() };
            let public_key = key.public_key(Algorithm::ECDSAP256SHA256).expect("its public part");
            let dnskey =
                Dnskey { flags: 256, protocol: 3, algorithm: Algorithm::ECDSAP256SHA256, public_key };
            // P6M, as BIND reckons it.
            let lifetime = Some(186 * 86_400);
            let state = State { lifetime, zsk: Some(true), ksk: Some(false), ..State::default() };
            let file = KeyFile {
                zone: common::zone(),
                ttl: 3600,
                dnskey,
                timing,
                state: Some(state),
                dir: site.path("zsk"),
            };
            file.write(&key).expect("a key file");
        }
        site
    };
    for (keys, requested, signed) in
        [(1, true, true), (31, true, true), (32, true, false), (33, false, false)]
    {
        let site = folder_of(keys);
        let request = site.run(&format!("{TIMES} -K @zsk -O @t.ksr request example.test"));
        assert_eq!(request.code == 0, requested, "{keys} keys: {}", request.stderr);
        if !requested {
            let text = request.fails(1);
            assert!(text.contains("33 ZSKs") && text.contains("more than 32"), "{text}");
            assert!(!site.path("t.ksr").exists(), "nothing is written");
            continue;
        }
        let sign = site.run(&format!("{TIMES} -K @ksk -f @t.ksr -O @t.skr sign example.test"));
        assert_eq!(sign.code == 0, signed, "{keys} keys: {}", sign.stderr);
        if signed {
            let skr = std::fs::read(site.path("t.skr")).expect("the SKR");
            keystore::exchange::bind::parse_skr(&skr, &common::zone()).expect("it is read");
        } else {
            let text = sign.fails(1);
            assert!(text.contains("33 keys") && text.contains("more than 32"), "{text}");
        }
    }
}
