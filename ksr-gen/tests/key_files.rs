//! Key files that could not be made, or not be used by those who need them: said before a key is made.

mod common;

use std::os::unix::fs::{MetadataExt, chown};

use common::{COMMON, Site};
use keystore::dns::Name;
use keystore::keys::plan::Interval;
use keystore::policy::{self, Role};
use offline_ksk_ksr_gen::keygen::{self, Keygen, KeygenError, OtherOwner};

const TIMES: &str = "-l @policy -k common -i 20270101 -e 20280101";

/// A zone whose name has `octets` octets as text, without the final dot.
fn long_zone(octets: usize) -> String {
    let label = "a".repeat(63);
    let rest = octets - 3 * 64;
    format!("{label}.{label}.{label}.{}", "b".repeat(rest))
}

#[test]
fn kind_12_zone_whose_name_is_too_long_for_key_files_is_named_before_a_key_is_made() {
    let escaped: String = (0..60).map(|_| "\\200").collect();
    for (zone, good) in [
        (long_zone(250), false),
        (long_zone(234), false),
        (format!("{escaped}.{escaped}.test"), false),
        (long_zone(233), true),
        (format!("{escaped}.test"), true),
        ("example.test".to_owned(), true),
    ] {
        let site = Site::new(COMMON);
        for (folder, what) in [("zsk", "keygen"), ("ksk", "-o keygen")] {
            let ran = site.run(&format!("{TIMES} -K @{folder} {what} {zone}"));
            assert_eq!(ran.code == 0, good, "{zone}: {}", ran.stderr);
            assert_eq!(site.names(folder).is_empty(), !good, "{zone}");
            if !good {
                assert!(ran.stderr.contains("too long for key files"), "{}", ran.stderr);
                assert!(ran.stderr.contains("BIND does not shorten such names"), "{}", ran.stderr);
            }
        }
        if good {
            let ksr = site.run(&format!("{TIMES} -K @zsk request {zone}")).ok();
            site.write("ksr", &ksr);
            site.run(&format!("{TIMES} -K @ksk -f @ksr sign {zone}")).ok();
        }
    }
}

/// True when this test can give files away; else it says so.
fn is_root(site: &Site) -> bool {
    let root = std::fs::metadata(site.path("zsk")).expect("a folder").uid() == 0;
    if !root {
        assert!(std::env::var_os("CI").is_none(), "this test needs root, to give files to another user");
        eprintln!("SKIPPED: only root can give files to another user");
    }
    root
}

#[test]
fn kind_22_zsk_that_the_owner_of_folder_or_keys_could_not_read_is_not_made() {
    const SIGNER: u32 = 12_345;
    let site = Site::new(COMMON);
    if !is_root(&site) {
        return;
    }
    let keygen =
        |folder: &str, more: &str| site.run(&format!("{TIMES} -K @{folder} {more} keygen example.test"));
    // The folder is the signer's.
    chown(site.path("zsk"), Some(SIGNER), None).expect("chown");
    let refused = keygen("zsk", "").fails(1);
    assert!(
        refused.contains("belongs to user 12345") && refused.contains("--allow-other-owner"),
        "{refused}"
    );
    assert!(keygen("zsk", "--standby").fails(1).contains("belongs to user 12345"));
    assert!(site.names("zsk").is_empty(), "nothing was made");
    // So with the library, and so the request timer.
    let policies = policy::load(&site.path("policy")).expect("a file");
    let policy = policies.get("common").expect("a policy");
    let (dir, zone) = (site.path("zsk"), Name::parse("example.test").expect("a name"));
    let interval = Interval { start: site.now, end: site.now.plus(86_400) };
    let mut wanted = Keygen::new(&dir, &zone, policy, Role::Zsk, interval, site.now);
    let error = keygen::run(&wanted, || {}).expect_err("refused");
    assert!(matches!(error, KeygenError::OtherOwner { owner: SIGNER, user: 0, .. }), "{error}");
    wanted.owner = OtherOwner::Accept;
    keygen::run(&wanted, || {}).expect("keys");
    // Only a ZSK is one for the signer.
    chown(site.path("ksk"), Some(SIGNER), None).expect("chown");
    keygen("ksk", "-o").ok();

    // The folder is ours, and the keys in it are the signer's.
    let site = Site::new(COMMON);
    let keygen = |end: &str| {
        site.run(&format!("-l @policy -k common -i 20270101 -e {end} -K @zsk keygen example.test"))
    };
    let first = keygen("20270301").ok();
    let path = site.path("zsk").join(format!("{}.private", first.trim()));
    chown(&path, Some(SIGNER), None).expect("chown");
    let before = site.names("zsk");
    let refused = keygen("20280101").fails(1);
    assert!(refused.contains(&path.display().to_string()) && refused.contains("user 12345"), "{refused}");
    assert_eq!(site.names("zsk"), before);
    // What is there is selected as ever.
    assert_eq!(keygen("20270301").ok(), first);
    chown(&path, Some(0), None).expect("chown");
    keygen("20280101").ok();
}
