//! Our server as the secondary of zones that BIND and Knot sign: it verifies them, has each record as it was made, and gives it on by IXFR.

use std::path::Path;
use std::time::Duration;

use keystore::config::Config;
use metrics::condition::ConditionId;

use crate::common;
use crate::incoming::{Ours, Peer};
use crate::primary::{self, ZONE};
use crate::secondaries::{Product, block, block_of, changed};
use crate::{records_at, validate_file, write_zone};

const PAGE: &str = include_str!("../../../docs/manual/other-zones.md");
const CHANGES: u32 = 3;
/// How long a version may take from the signer to ours.
const LIMIT: Duration = Duration::from_secs(60);

/// A secondary of `peer` with the configuration of the manual.
fn configured(dir: &Path, peer: &Peer) -> Config {
    primary::write_private(&dir.join("xfr.key"), &block("The key"));
    let zone = changed(
        &block_of(PAGE, "A presigned zone: `offline-ksk.toml`"),
        &[
            ("192.0.2.10", &peer.address.to_string()),
            ("notify = [\"192.0.2.53\"]\n", ""),
            ("address = \"192.0.2.53\"", "address = \"127.0.0.1\""),
            ("[transfer]\n", "[transfer]\nmin-retry = 1\n"),
        ],
    );
    let head = "version = 1\nstate-dir = \"state\"\n[signer]\nlisten = [\"127.0.0.1:0\"]\n";
    let path = dir.join("offline-ksk.toml");
    std::fs::write(&path, format!("{head}{zone}")).expect("write");
    Config::load(&path).unwrap_or_else(|e| panic!("{e}"))
}

/// Has the product sign the zone: BIND by two algorithms with NSEC, Knot with NSEC3, iterations and a salt.
fn signing(product: Product, dir: &Path, text: &str) -> String {
    match product {
        Product::Bind => changed(
            text,
            &[
                (
                    "zone \"example.com\" {",
                    "dnssec-policy \"two\" { keys { csk lifetime unlimited algorithm ecdsap256sha256; csk lifetime unlimited \
                     algorithm rsasha256 2048; }; };\nzone \"example.com\" {",
                ),
                (
                    "ixfr-from-differences yes;",
                    &format!(
                        "ixfr-from-differences yes; dnssec-policy \"two\"; inline-signing yes; key-directory \"{}\";",
                        dir.display()
                    ),
                ),
            ],
        ),
        Product::Knot => changed(
            text,
            &[
                (
                    "zone:\n  - domain",
                    "policy:\n  - id: p\n    nsec3: on\n    nsec3-iterations: 3\n    nsec3-salt-length: 4\nzone:\n  - domain",
                ),
                (
                    "    zonefile-load: difference\n",
                    "    zonefile-load: difference-no-serial\n    journal-content: all\n    dnssec-signing: on\n    dnssec-policy: p\n",
                ),
            ],
        ),
        Product::Nsd => panic!("NSD does not sign"),
    }
}

#[test]
fn zones_that_bind_and_knot_sign_are_verified_and_given_on_record_for_record() {
    let programs = ["dig", "rndc", "named", "knotd", "ldns-verify-zone", "kzonecheck"];
    if programs.iter().any(|program| common::peer(program).is_none()) {
        return;
    }
    std::thread::scope(|scope| {
        for product in [Product::Bind, Product::Knot] {
            scope.spawn(move || follows(product));
        }
    });
}

fn follows(product: Product) {
    let dir = tempfile::tempdir().expect("a folder");
    let (port, ours) = (common::free_port(), common::free_port());
    let folder = dir.path().join("peer");
    let peer = Peer::start_edited(product, &folder, port, ours, |text| signing(product, &folder, text));
    let us = Ours::start(&configured(dir.path(), &peer), ours);
    let key = format!("hmac-sha256:{}:{}", primary::KEY, primary::SECRET);
    let same = |what: &str, host: Option<u32>| {
        common::wait_for(&format!("{product:?}: {what}"), LIMIT, || {
            let (theirs, here) = (records_at(peer.address, Some(&key)), records_at(us.address(), Some(&key)));
            let is_changed = |line: &String| {
                host.is_none_or(|host| {
                    line.starts_with(&format!("host{host}.")) && line.ends_with(" A 192.0.2.1")
                })
            };
            let lower = |records: &std::collections::BTreeSet<String>| -> Vec<String> {
                records.iter().map(|line| line.to_lowercase()).collect()
            };
            (theirs.len() > 600 && theirs.iter().any(is_changed) && lower(&theirs) == lower(&here))
                .then_some(())
        });
    };
    same("the first version", None);
    for serial in 2..2 + CHANGES {
        peer.publish(serial);
        same("a change", Some(serial));
    }
    assert!(us.transfers("ixfr", "ok") >= 1, "{product:?}: {}", us.transfers("axfr", "ok"));
    assert_eq!((us.transfers("axfr", "failed"), us.transfers("ixfr", "failed")), (0, 0), "{product:?}");
    let file = dir.path().join("given-on");
    write_zone(&records_at(us.address(), Some(&key)), &file);
    validate_file(&file, keystore::clock::now());
    let state = us.signer.states().into_iter().next().expect("the zone").1;
    assert!(state.validly_signed && state.zsk_expires.is_some(), "{product:?}");
    let ids: Vec<ConditionId> = state.conditions.iter().map(|condition| condition.id).collect();
    assert!(ids.is_empty(), "{product:?} {ZONE}: {ids:?}");
    us.stop();
}
