//! The change from an online KSK to an offline one, as `docs/manual/already.md` has it, beside a running named: every answer validates.

mod common;
#[path = "common/delivery.rs"]
mod delivery;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use common::Named;
use delivery::{CALM, RECORDS, Seen, ZONE, dig, load, look, target};
use keystore::clock;
use keystore::dns::Name;
use keystore::keys::KeyFile;
use keystore::keys::files::find;
use ksr_gen::cli::{self, Env};

/// Runs `ksr-gen` with the policy `p` of the file `offline.conf`; `@name` is a path in `dir`.
fn ksr_gen(dir: &Path, line: &str) {
    let word = |word: &str| match word.strip_prefix('@') {
        Some(name) => dir.join(name).into_os_string(),
        None => OsString::from(word),
    };
    let words =
        ["ksr-gen", "-k", "p", "-l", "@offline.conf"].into_iter().chain(line.split_ascii_whitespace());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut env = Env {
        now: clock::now(),
        stdin: &mut std::io::empty(),
        stdout: &mut stdout,
        stderr: &mut stderr,
        terminal: false,
        interactive: false,
    };
    let code = cli::run(words.map(word), &mut env);
    assert_eq!(code, 0, "{line}: {}", String::from_utf8_lossy(&stderr));
}

/// The KSK in a folder.
fn ksk(folder: &Path) -> Option<KeyFile> {
    let zone = Name::parse(ZONE).expect("a name");
    find(folder, &zone).ok()?.keys.into_iter().find(|key| key.dnskey.is_ksk())
}

#[test]
fn kind_29_online_ksk_becomes_an_offline_one_and_every_answer_validates() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path();
    for folder in ["named", "named/keys", "safe"] {
        fs::create_dir(dir.join(folder)).expect("a folder");
    }
    fs::write(dir.join("named/zone.db"), RECORDS).expect("a zone");
    fs::write(dir.join("offline.conf"), CALM).expect("a policy");
    let online = CALM.replace("offline-ksk yes; ", "");
    let statements = format!(
        "{online}zone {ZONE} {{ type primary; file \"zone.db\"; inline-signing yes; dnssec-policy p; key-directory \"keys\"; }};\n"
    );
    let Some(named) = Named::start(&dir.join("named"), &statements) else { return };
    let keys = dir.join("named/keys");
    let signed = || dig(named.port, ZONE, "DNSKEY").contains("RRSIG").then_some(());
    common::wait_for("named's own keys and signatures", Duration::from_secs(30), signed);
    let key = ksk(&keys).expect("named's KSK");
    let text = fs::read_to_string(key.dir.join(format!("{}.key", key.base_name()))).expect("the KSK");
    let anchor = text.lines().find(|line| !line.starts_with(';')).expect("a record").to_owned();
    common::wait_for("good answers", Duration::from_secs(30), || {
        (look(named.port, &anchor).bad == 0).then_some(())
    });
    let watch = {
        let (port, anchor) = (named.port, anchor.clone());
        std::thread::spawn(move || {
            let mut seen = Seen::default();
            seen.watch(port, &anchor, 15);
            seen
        })
    };
    // 1: the files of the KSK on the KSK side, and the first ceremony.
    let files = ["key", "private", "state"].map(|suffix| format!("{}.{suffix}", key.base_name()));
    for name in &files {
        fs::copy(keys.join(name), dir.join("safe").join(name)).expect("copied");
    }
    let (start, end) = (clock::now(), clock::now().plus(200 * 86_400));
    let times = format!("-i {start} -e {end}");
    ksr_gen(dir, &format!("{times} -K @named/keys keygen {ZONE}"));
    ksr_gen(dir, &format!("{times} -K @named/keys -O @first.ksr request {ZONE}"));
    ksr_gen(dir, &format!("{times} -K @safe -f @first.ksr -O @first.skr sign {ZONE}"));
    // 2 and 3: the SKR is in the store when the loader delivers for the first time; the KSK leaves, and named takes the new policy.
    for name in &files {
        fs::remove_file(keys.join(name)).expect("removed");
    }
    let conf = dir.join("named/named.conf");
    let text = fs::read_to_string(&conf).expect("named.conf");
    fs::write(&conf, text.replace("dnssec-policy p {", "dnssec-policy p { offline-ksk yes;"))
        .expect("written");
    assert!(named.rndc(&["reconfig"]).status.success());
    common::wait_for("named to look for an SKR", Duration::from_secs(10), || {
        named.log().contains("no SKR file").then_some(())
    });
    let running = load(&format!(
        "version = 1\nstate-dir = \"{state}\"\nnamed-conf = \"{policy}\"\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"p\"\nkey-directory = \"{keys}\"\n\
         trust-anchors = [\"{anchor}\"]\n[ksr]\nenabled = false\n{target}",
        state = dir.join("state").display(),
        policy = dir.join("offline.conf").display(),
        keys = keys.display(),
        target = target("n", &named, ""),
    ));
    running.drop_file(&dir.join("first.skr"));
    running.wait("n", 1);
    let seen = watch.join().expect("no panic");
    assert_eq!(seen.bad, 0, "{seen:?}");
    assert!(seen.queries > 40, "{seen:?}");
    let seen = look(named.port, &anchor);
    assert_eq!(seen.bad, 0, "{seen:?}");
}
