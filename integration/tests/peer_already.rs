//! The change from an online KSK to an offline one, as `docs/manual/already.md` has it, beside a running named: every answer validates.

#[path = "common/ceremony.rs"]
mod ceremony;
mod common;
#[path = "common/delivery.rs"]
mod delivery;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::Named;
use delivery::{CALM, RECORDS, Seen, ZONE, dig, load, look, target};
use keystore::clock;
use keystore::dns::Name;
use keystore::keys::KeyFile;
use keystore::keys::files::find;

/// Runs `ksr-gen` with the policy `p` of the file `offline.conf`; `@name` is a path in `dir`.
#[track_caller]
fn ksr_gen(dir: &Path, line: &str) {
    ceremony::ksr_gen(dir, &format!("-k p -l @offline.conf {line}")).ok();
}

/// The KSK in a folder.
fn ksk(folder: &Path) -> Option<KeyFile> {
    let zone = Name::parse(ZONE).expect("a name");
    find(folder, &zone).ok()?.keys.into_iter().find(|key| key.dnskey.is_ksk())
}

/// The DNSKEY record of a key.
fn record(key: &KeyFile) -> String {
    let text = fs::read_to_string(key.dir.join(format!("{}.key", key.base_name()))).expect("the key");
    text.lines().find(|line| !line.starts_with(';')).expect("a record").to_owned()
}

/// The names of the three files of a key.
fn files(key: &KeyFile) -> [String; 3] {
    ["key", "private", "state"].map(|suffix| format!("{}.{suffix}", key.base_name()))
}

/// A folder for each side, and a named that signs with keys of its own by a policy.
fn online(dir: &Path, policy: &str, records: &str) -> Option<Named> {
    for folder in ["named", "named/keys", "safe"] {
        fs::create_dir(dir.join(folder)).expect("a folder");
    }
    fs::write(dir.join("named/zone.db"), records).expect("a zone");
    let statements = format!(
        "{policy}zone {ZONE} {{ type primary; file \"zone.db\"; inline-signing yes; dnssec-policy p; key-directory \"keys\"; }};\n"
    );
    let named = Named::start(&dir.join("named"), &statements)?;
    let signed = || dig(named.port, ZONE, "DNSKEY").contains("RRSIG").then_some(());
    common::wait_for("named's own keys and signatures", Duration::from_secs(30), signed);
    Some(named)
}

/// Waits until every answer holds by this trust anchor.
fn is_good(named: &Named, anchor: &str) {
    common::wait_for("good answers", Duration::from_secs(30), || {
        (look(named.port, anchor).bad == 0).then_some(())
    });
}

/// The steps of the page for the KSK of a running named, with bundles for so many days, while every answer is judged.
fn take_offline(dir: &Path, named: &Named, key: &KeyFile, days: u64) {
    let (keys, anchor) = (dir.join("named/keys"), record(key));
    is_good(named, &anchor);
    let watch = {
        let (port, anchor) = (named.port, anchor.clone());
        std::thread::spawn(move || {
            let mut seen = Seen::default();
            seen.watch(port, &anchor, 15);
            seen
        })
    };
    // 1: the files of the KSK on the KSK side, and the first ceremony.
    for name in files(key) {
        fs::copy(keys.join(&name), dir.join("safe").join(name)).expect("copied");
    }
    let (start, end) = (clock::now(), clock::now().plus(days * 86_400));
    let times = format!("-i {start} -e {end}");
    ksr_gen(dir, &format!("{times} -K @named/keys keygen {ZONE}"));
    ksr_gen(dir, &format!("{times} -K @named/keys -O @first.ksr request {ZONE}"));
    ksr_gen(dir, &format!("{times} -K @safe -f @first.ksr -O @first.skr sign {ZONE}"));
    // 2 and 3: the SKR is in the store when the loader delivers for the first time; the KSK leaves, and named takes the new policy.
    for name in files(key) {
        fs::remove_file(keys.join(name)).expect("removed");
    }
    edit(named, dir, "dnssec-policy p {", "dnssec-policy p { offline-ksk yes;");
    common::wait_for("named to look for an SKR", Duration::from_secs(10), || {
        named.log().contains("no SKR file").then_some(())
    });
    let running = load(&format!(
        "version = 1\nstate-dir = \"{state}\"\nnamed-conf = \"{policy}\"\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"p\"\nkey-directory = \"{keys}\"\n\
         trust-anchors = [\"{anchor}\"]\n[ksr]\nenabled = false\n{target}",
        state = dir.join("state").display(),
        policy = dir.join("offline.conf").display(),
        keys = keys.display(),
        target = target("n", named, ""),
    ));
    running.drop_file(&dir.join("first.skr"));
    running.wait("n", 1);
    let seen = watch.join().expect("no panic");
    assert_eq!(seen.bad, 0, "{seen:?}");
    assert!(seen.queries > 40, "{seen:?}");
    let seen = look(named.port, &anchor);
    assert_eq!(seen.bad, 0, "{seen:?}");
}

/// Changes the configuration of named, and has it take that.
fn edit(named: &Named, dir: &Path, from: &str, to: &str) {
    let conf = dir.join("named/named.conf");
    let text = fs::read_to_string(&conf).expect("named.conf");
    assert!(text.contains(from), "{text}");
    fs::write(&conf, text.replace(from, to)).expect("written");
    assert!(named.rndc(&["reconfig"]).status.success());
}

#[test]
fn kind_29_online_ksk_becomes_an_offline_one_and_every_answer_validates() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path();
    fs::write(dir.join("offline.conf"), CALM).expect("a policy");
    let Some(named) = online(dir, &CALM.replace("offline-ksk yes; ", ""), RECORDS) else { return };
    let key = ksk(&dir.join("named/keys")).expect("named's KSK");
    take_offline(dir, &named, &key, 200);
}

/// Times of seconds for a roll, and signatures that last for the whole test.
const BRIEF: &str =
    "dnssec-policy p { keys { csk lifetime unlimited algorithm 13; }; dnskey-ttl 1; max-zone-ttl 1;
    zone-propagation-delay 1; publish-safety 1; retire-safety 1; parent-ds-ttl 1; parent-propagation-delay 1;
    signatures-validity 1h; signatures-validity-dnskey 1h; signatures-refresh 50m; signatures-jitter 0; };\n";

#[test]
fn kind_29_csk_becomes_a_ksk_and_a_zsk_and_that_ksk_an_offline_one() {
    const CSK: &str = "csk lifetime unlimited algorithm 13;";
    const SPLIT: &str = "ksk lifetime unlimited algorithm 13; zsk lifetime P1Y algorithm 13;";
    let limit = Duration::from_secs(60);
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path();
    let offline = BRIEF.replace(CSK, SPLIT).replace("{ keys", "{ offline-ksk yes; keys");
    fs::write(dir.join("offline.conf"), offline).expect("a policy");
    let Some(named) = online(dir, BRIEF, &RECORDS.replace("$TTL 300", "$TTL 1")) else { return };
    let keys = dir.join("named/keys");
    let csk = ksk(&keys).expect("named's CSK");
    let state = |key: &KeyFile| fs::read_to_string(keys.join(&files(key)[2])).unwrap_or_default();
    let waits = |what: &str, key: &KeyFile, line: &str| {
        common::wait_for(what, limit, || state(key).contains(line).then_some(()));
    };
    let checkds = |key: &KeyFile, event: &str| {
        let tag = key.dnskey.tag().to_string();
        let output = named.rndc(&["dnssec", "-checkds", "-key", &tag, event, ZONE]);
        assert!(output.status.success(), "{}", common::text(&output));
    };
    // The parent has the DS of the CSK.
    checkds(&csk, "published");
    waits("the DS of the CSK", &csk, "DSState: omnipresent");
    is_good(&named, &record(&csk));
    // 1: named makes a KSK and a ZSK.
    edit(&named, dir, CSK, SPLIT);
    let zone = Name::parse(ZONE).expect("a name");
    let split = common::wait_for("named's KSK", limit, || {
        let keys = find(&keys, &zone).ok()?.keys;
        keys.into_iter().find(|key| key.dnskey.is_ksk() && key.dnskey != csk.dnskey)
    });
    // 2: at the second at which the parent takes the DS of the KSK, both chains hold.
    waits("the DNSKEY record of the KSK", &split, "DNSKEYState: omnipresent");
    is_good(&named, &record(&csk));
    is_good(&named, &record(&split));
    checkds(&split, "published");
    checkds(&csk, "withdrawn");
    // 3: the CSK leaves, and then its files.
    waits("the CSK to leave", &csk, "DNSKEYState: hidden");
    for name in files(&csk) {
        fs::rename(keys.join(&name), dir.join(name)).expect("moved");
    }
    take_offline(dir, &named, &split, 2);
}
