//! Ceremonies with the KSK in a PKCS#11 token, SoftHSM2's: keys made and used there, judged by our loader and by named and
//! `dnssec-verify`; and what a wrong PIN, a lost token and a read-only token lead to.
//!
//! Each test has tokens of its own (SOFTHSM2_CONF), in processes of its own.

mod common;
mod softhsm_prompt;
mod softhsm_tokens;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use keystore::crypto::{SigningKey, verify};
use keystore::dns::Name;
use keystore::keys::KeyFile;
use keystore::keys::files::find;

const ZONE: &str = "peer.test";
const PIN: &str = "geheim-471108";
const ZONE_FILE: &str = "$TTL 300\n@ SOA ns1 hostmaster 1 7200 900 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\n";

/// Whether SoftHSM is here; under CI it must be.
fn softhsm() -> bool {
    let here = Command::new("softhsm2-util").arg("--version").output().is_ok_and(|o| o.status.success())
        && module().is_some();
    assert!(here || std::env::var("CI").is_err(), "SoftHSM2 is missing: apt-get install softhsm2");
    if !here {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no SoftHSM2 here (apt-get install softhsm2)");
    }
    here
}

fn module() -> Option<PathBuf> {
    let known = [
        "/usr/lib/softhsm",
        "/usr/lib/x86_64-linux-gnu/softhsm",
        "/usr/lib/aarch64-linux-gnu/softhsm",
        "/usr/lib64/softhsm",
    ];
    known.iter().map(|dir| Path::new(dir).join("libsofthsm2.so")).find(|path| path.exists())
}

/// The folders of a ceremony, and a token `ksk` with its PIN in a file.
struct Ceremony {
    temp: tempfile::TempDir,
}

impl Ceremony {
    fn new(algorithm: &str) -> Self {
        let made = Self { temp: tempfile::tempdir().expect("a folder") };
        for name in ["ksk", "zsk", "tokens"] {
            fs::create_dir(made.path(name)).expect("a folder");
        }
        let conf = format!("directories.tokendir = {}\nlog.level = ERROR\n", made.path("tokens").display());
        fs::write(made.path("softhsm2.conf"), conf).expect("write");
        made.init_token("ksk");
        made.write_pin(PIN, 0o600);
        let uri = format!("pkcs11:token=ksk;pin-source={}", made.path("pin").display());
        made.write_policy(algorithm, &uri);
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn init_token(&self, label: &str) {
        let mut util = Command::new("softhsm2-util");
        util.env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        common::run(util.args([
            "--init-token",
            "--free",
            "--label",
            label,
            "--pin",
            PIN,
            "--so-pin",
            "12345678",
        ]));
    }

    fn write_pin(&self, pin: &str, mode: u32) {
        fs::write(self.path("pin"), format!("{pin}\n")).expect("write");
        fs::set_permissions(self.path("pin"), fs::Permissions::from_mode(mode)).expect("chmod");
    }

    fn write_policy(&self, algorithm: &str, uri: &str) {
        let policy = format!(
            "key-store \"hsm\" {{ pkcs11-uri \"{uri}\"; }};\n\
             dnssec-policy peer {{ offline-ksk yes; keys {{ ksk key-store hsm lifetime unlimited algorithm {algorithm};\n\
             zsk lifetime P6M algorithm {algorithm}; }}; }};\n\
             dnssec-policy zsks {{ offline-ksk yes; keys {{ ksk key-store hsm lifetime unlimited algorithm {algorithm};\n\
             zsk key-store hsm lifetime P3M algorithm {algorithm}; }}; }};\n"
        );
        fs::write(self.path("policy.conf"), policy).expect("write");
    }

    fn command(&self, side: &str, more: &[&str]) -> Command {
        let mut command = Command::new(beside("ksr-gen"));
        command
            .current_dir(self.temp.path())
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .env("PKCS11_MODULE", module().expect("SoftHSM was here"))
            .args(["-l", "policy.conf", "-K", side, "-i", "now-2d", "-e", "now+1y", "-k"]);
        if !more.contains(&"zsks") {
            command.arg("peer");
        }
        command.args(more).arg(ZONE);
        command
    }

    /// Runs `ksr-gen` to a good end.
    fn ours(&self, side: &str, more: &[&str]) -> String {
        let output = common::run(&mut self.command(side, more));
        assert!(!common::text(&output).contains(PIN), "the PIN is printed");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs `ksr-gen` to a bad end; gives its messages.
    fn fails(&self, side: &str, more: &[&str]) -> String {
        let output = self.command(side, more).output().expect("run ksr-gen");
        let text = common::text(&output);
        assert!(matches!(output.status.code(), Some(1 | 4)), "{text}");
        assert!(output.stdout.is_empty(), "something came out: {text}");
        assert!(!text.contains(PIN), "the PIN is printed: {text}");
        text
    }

    /// Keys and request; gives the name of the KSK.
    fn prepare(&self) -> String {
        let ksk = self.ours("ksk", &["-o", "keygen"]).trim().to_owned();
        self.ours("zsk", &["keygen"]);
        let ksr = self.ours("zsk", &["request"]);
        fs::write(self.path("request.ksr"), ksr).expect("write");
        ksk
    }

    /// Objects in all tokens, as files of SoftHSM: two for each key pair.
    fn objects(&self) -> usize {
        let tokens = fs::read_dir(self.path("tokens")).expect("the tokens");
        let files = tokens.flat_map(|t| fs::read_dir(t.expect("a token").path()).expect("a token"));
        files
            .filter(|f| {
                let name = f.as_ref().expect("a file").file_name().to_string_lossy().into_owned();
                name.ends_with(".object") && name != "token.object"
            })
            .count()
    }
}

fn beside(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_offline-ksk")).with_file_name(name);
    assert!(path.exists(), "{} is not built; test the whole workspace", path.display());
    path
}

const SIGN: [&str; 5] = ["-f", "request.ksr", "-O", "response.skr", "sign"];

fn ceremony(algorithm: &str) {
    if !softhsm() {
        return;
    }
    let c = Ceremony::new(algorithm);
    let ksk = c.prepare();
    assert_eq!(c.objects(), 2);
    assert_eq!(c.ours("ksk", &["-o", "keygen"]).trim(), ksk, "the key is there and is taken again");
    assert_eq!(c.objects(), 2);

    let private = fs::read_to_string(c.path("ksk").join(format!("{ksk}.private"))).expect("the file");
    let tags: Vec<&str> = private.lines().skip(2).filter_map(|l| l.split(':').next()).collect();
    let expected: &[&str] =
        if algorithm == "rsasha256" { &["Modulus", "PublicExponent", "Label"] } else { &["Label"] };
    assert_eq!(&tags[..expected.len()], expected, "{private}");
    assert!(!private.contains("PrivateKey") && !private.contains("PrivateExponent"));
    let label = private.lines().find_map(|l| l.strip_prefix("Label: ")).expect("a label");
    let label = data_encoding(label);
    assert!(label.ends_with('\0') && label.contains(";object=peer.test.-peer.-ksk-20"), "{label}");

    c.ours("ksk", &SIGN);
    let mut check = Command::new(beside("skr-loader"));
    check.current_dir(c.temp.path()).args([
        "check",
        "--zone",
        ZONE,
        "--key-directory",
        "zsk",
        "--trust-anchor",
    ]);
    let said = common::text(&common::run(check.arg(format!("ksk/{ksk}.key")).arg("response.skr")));
    assert!(!said.contains("FAIL"), "{said}");
    named_serves(&c);
}

/// named imports the SKR and serves the zone; `dnssec-verify` judges what it serves.
fn named_serves(c: &Ceremony) {
    fs::write(c.path("zone"), ZONE_FILE).expect("write");
    let policy = fs::read_to_string(c.path("policy.conf")).expect("the policy");
    // named is given no token: only the KSK side has one.
    let policy = policy.lines().skip(1).collect::<Vec<_>>().join("\n").replace(" key-store hsm", "");
    let statements = format!(
        "{policy}\nzone \"{ZONE}\" {{ type primary; file \"{dir}/zone\"; dnssec-policy peer; key-directory \"{dir}/zsk\"; allow-transfer {{ any; }}; }};",
        dir = c.temp.path().display()
    );
    let Some(named) = common::Named::start(c.temp.path(), &statements) else { return };
    let said = named.rndc(&["skr", "-import", &c.path("response.skr").to_string_lossy(), ZONE]);
    assert!(
        said.status.success() && !common::text(&said).contains("failed"),
        "{}\n{}",
        common::text(&said),
        named.log()
    );
    let port = named.port.to_string();
    let said = common::wait_for("a signed zone", Duration::from_secs(20), || {
        let mut dig = common::peer("dig").expect("dig is beside named");
        let wanted =
            ["@127.0.0.1", "-p", &port, "+onesoa", "+nocomments", "+nocmd", "+nostats", "AXFR", ZONE];
        fs::write(c.path("dump"), dig.args(wanted).output().expect("run dig").stdout).expect("write");
        let mut verify = common::peer("dnssec-verify").expect("dnssec-verify is beside named");
        let said =
            common::text(&verify.args(["-o", ZONE]).arg(c.path("dump")).output().expect("run dnssec-verify"));
        said.contains("Zone fully signed").then_some(said)
    });
    assert!(said.contains("KSKs: 1 active"), "{said}");
}

fn data_encoding(base64: &str) -> String {
    let mut child = Command::new("base64")
        .arg("-d")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run base64");
    child.stdin.take().expect("a pipe").write_all(base64.as_bytes()).expect("write");
    String::from_utf8(child.wait_with_output().expect("base64 ends").stdout).expect("text")
}

#[test]
fn ceremony_with_rsa() {
    ceremony("rsasha256");
}

#[test]
fn ceremony_with_p256() {
    ceremony("ecdsap256sha256");
}

#[test]
fn ceremony_with_p384() {
    ceremony("ecdsap384sha384");
}

#[test]
fn ceremony_with_ed25519() {
    ceremony("ed25519");
}

#[test]
fn zsks_in_a_token_have_labels_of_their_own() {
    if !softhsm() {
        return;
    }
    let c = Ceremony::new("ecdsap256sha256");
    let made = c.ours("ksk", &["zsks", "keygen"]);
    assert!(made.lines().count() > 3, "{made}");
    assert_eq!(c.objects(), 2 * made.lines().count());
    let mut labels: Vec<String> = made
        .lines()
        .map(|name| {
            let private =
                fs::read_to_string(c.path("ksk").join(format!("{name}.private"))).expect("the file");
            data_encoding(private.lines().find_map(|l| l.strip_prefix("Label: ")).expect("a label"))
        })
        .collect();
    assert!(labels.iter().all(|l| l.contains("-zsks.-zsk-")), "{labels:?}");
    labels.sort();
    labels.dedup();
    assert_eq!(labels.len(), made.lines().count());
}

#[test]
fn kind_108_two_keys_of_one_run_have_two_labels_whatever_their_kind() {
    if !softhsm() {
        return;
    }
    // One key entry for each kind, all in one token and one second.
    let c = Ceremony::new("ecdsap256sha256");
    let uri = format!("pkcs11:token=ksk;pin-source={}", c.path("pin").display());
    let keys = ["ecdsap256sha256", "ecdsap384sha384", "rsasha256", "ed25519"]
        .map(|algorithm| format!("ksk key-store hsm lifetime unlimited algorithm {algorithm}; zsk lifetime P6M algorithm {algorithm};"));
    let policy = format!(
        "key-store \"hsm\" {{ pkcs11-uri \"{uri}\"; }};\ndnssec-policy peer {{ offline-ksk yes; keys {{ {} }}; }};\n",
        keys.concat()
    );
    fs::write(c.path("policy.conf"), policy).expect("write");
    let made = c.ours("ksk", &["-o", "keygen"]);
    let labels: std::collections::BTreeSet<String> = made
        .lines()
        .map(|name| fs::read_to_string(c.path("ksk").join(format!("{name}.private"))).expect("the file"))
        .map(|text| data_encoding(text.lines().find_map(|l| l.strip_prefix("Label: ")).expect("a label")))
        .collect();
    assert_eq!((made.lines().count(), labels.len()), (4, 4), "{labels:?}");
}

#[test]
fn a_pair_with_a_taken_tag_leaves_the_token() {
    if !softhsm() {
        return;
    }
    // Half of all tags are free: some draws fall on the others.
    let c = Ceremony::new("ecdsap256sha256 tag-range 0 32767");
    let made = c.ours("ksk", &["zsks", "keygen"]);
    let tags = made.lines().map(|name| name[name.len() - 5..].parse::<u32>().expect("a tag"));
    assert!(tags.clone().count() > 3 && tags.into_iter().all(|tag| tag <= 32767), "{made}");
    assert_eq!(c.objects(), 2 * made.lines().count(), "pairs that were not used are still in the token");
}

#[test]
fn a_wrong_pin_changes_nothing() {
    if !softhsm() {
        return;
    }
    let c = Ceremony::new("ecdsap256sha256");
    c.prepare();
    c.ours("ksk", &SIGN);
    let good = fs::read(c.path("response.skr")).expect("an SKR");

    c.write_pin("wrong-4711", 0o600);
    let said = c.fails("ksk", &SIGN);
    assert!(said.contains("token `ksk`: the PIN is wrong") && !said.contains("wrong-4711"), "{said}");
    assert!(c.fails("zsk", &["-o", "keygen"]).contains("the PIN is wrong"));
    assert_eq!(c.objects(), 2);
    c.write_pin("", 0o600);
    assert!(c.fails("ksk", &SIGN).contains("one line with the PIN"));
    c.write_pin(PIN, 0o644);
    assert!(c.fails("ksk", &SIGN).contains("others can read the PIN; chmod 600 it"));
    fs::remove_file(c.path("pin")).expect("remove");
    assert!(c.fails("ksk", &SIGN).contains("No such file"));
    assert_eq!(fs::read(c.path("response.skr")).expect("an SKR"), good, "the last good SKR stays");

    c.write_pin(PIN, 0o600);
    c.ours("ksk", &SIGN);
}

#[test]
fn uris_that_are_refused() {
    if !softhsm() {
        return;
    }
    let c = Ceremony::new("ecdsap256sha256");
    let pin = c.path("pin");
    let pin = pin.display();
    c.init_token("twin");
    c.init_token("twin");
    for (uri, word) in [
        (format!("pkcs11:token=ksk;pin-value={PIN}"), "`pin-value`: a PIN in a URI can be read by others"),
        (format!("pkcs11:token=none;pin-source={pin}"), "no token matches pkcs11:token=none; there are: `"),
        (format!("pkcs11:token=twin;pin-source={pin}"), "matches 2 tokens"),
        (format!("pkcs11:token=ksk;object=a;pin-source={pin}"), "names a token, not a key"),
        ("pkcs11:token=ksk?module-path=/etc/passwd".to_owned(), "not a PKCS#11 module"),
        ("pkcs11:token=ksk?module-name=no-such".to_owned(), "no PKCS#11 module `no-such`"),
        ("ksk".to_owned(), "begins with `pkcs11:`"),
    ] {
        c.write_policy("ecdsap256sha256", &uri);
        let said = c.fails("ksk", &["-o", "keygen"]);
        assert!(said.contains(word), "{uri}: {said}");
    }
    assert_eq!(fs::read_dir(c.path("ksk")).expect("the folder").count(), 0);
    // Found by its name, in the folders of distributions.
    c.write_policy("ecdsap256sha256", &format!("pkcs11:token=ksk?pin-source={pin}&module-name=softhsm2"));
    let mut command = c.command("ksk", &["-o", "keygen"]);
    common::run(command.env_remove("PKCS11_MODULE"));
    c.write_policy("ed448", &format!("pkcs11:token=ksk?pin-source={pin}"));
    assert!(c.fails("ksk", &["-o", "keygen"]).contains("algorithm ED448 in tokens are not supported"));
}

#[test]
fn keys_that_are_missing_or_twice_or_others() {
    if !softhsm() {
        return;
    }
    let c = Ceremony::new("ecdsap256sha256");
    let ksk = c.prepare();
    let file = c.path("ksk").join(format!("{ksk}.private"));
    let private = fs::read_to_string(&file).expect("the file");
    let label = private.lines().find_map(|l| l.strip_prefix("Label: ")).expect("a label").to_owned();
    let set = |uri: &str| {
        let mut child = Command::new("base64")
            .arg("-w0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run base64");
        child.stdin.take().expect("a pipe").write_all(format!("{uri}\0").as_bytes()).expect("write");
        let base64 = String::from_utf8(child.wait_with_output().expect("base64 ends").stdout).expect("text");
        fs::write(&file, private.replace(&label, &base64)).expect("write");
    };
    let pin = c.path("pin");
    let store = format!("pkcs11:token=ksk;pin-source={}", pin.display());
    set(&format!("{store};object=nothing"));
    assert!(
        c.fails("ksk", &SIGN).contains("has no private EC key that matches pkcs11:token=ksk;object=nothing")
    );
    // A token with one key needs no label.
    set(&store);
    c.ours("ksk", &SIGN);
    // A second key of the zone: now the label is needed, and a wrong one is noticed.
    c.ours("zsk", &["-o", "keygen"]);
    assert_eq!(c.objects(), 4);
    assert!(c.fails("ksk", &SIGN).contains("has 2 private EC keys that match"));
    let other = fs::read_dir(c.path("zsk"))
        .expect("the folder")
        .map(|e| fs::read_to_string(e.expect("an entry").path()).expect("text"))
        .find_map(|text| text.lines().find_map(|l| l.strip_prefix("Label: ")).map(str::to_owned))
        .expect("a label");
    fs::write(&file, private.replace(&label, &other)).expect("write");
    let said = c.fails("ksk", &SIGN);
    assert!(said.contains("the private key does not belong to the public key in the .key file"), "{said}");
}

#[test]
fn a_read_only_token_signs_and_makes_no_key() {
    if !softhsm() {
        return;
    }
    let c = Ceremony::new("ecdsap256sha256");
    c.prepare();
    let everything = |writable: bool| {
        let mut chmod = Command::new("chmod");
        common::run(chmod.args(["-R", if writable { "u+w" } else { "a+rX,a-w" }]).arg(c.path("tokens")));
    };
    everything(false);
    let before = c.objects();
    let root = rustix_is_root();
    let run = |side: &str, more: &[&str]| -> Output {
        let mut command = c.command(side, more);
        if root {
            // Modes do not bind root, so another user runs it, who owns all but the tokens.
            std::os::unix::process::CommandExt::uid(&mut command, 65534);
        }
        command.output().expect("run ksr-gen")
    };
    if root {
        let mut chown = Command::new("chown");
        let mine = ["ksk", "zsk", "pin"].map(|name| c.path(name));
        common::run(chown.args(["-R", "65534"]).args(mine).arg(c.temp.path().join("request.ksr")));
        common::run(Command::new("chmod").arg("755").arg(c.temp.path()));
    }
    let signed = run("ksk", &["-f", "request.ksr", "sign"]);
    let made = run("zsk", &["-o", "keygen"]);
    everything(true);
    assert!(signed.status.success() && !signed.stdout.is_empty(), "{}", common::text(&signed));
    let said = common::text(&made);
    assert_eq!(made.status.code(), Some(1), "{said}");
    assert!(said.contains("token `ksk`"), "{said}");
    assert_eq!(c.objects(), before, "{said}");
    let ksks = fs::read_dir(c.path("zsk")).expect("the folder").filter(|entry| {
        let path = entry.as_ref().expect("an entry").path();
        fs::read_to_string(path).is_ok_and(|text| text.contains("Label:") || text.contains("DNSKEY 257"))
    });
    assert_eq!(ksks.count(), 0, "half a key set");
}

fn rustix_is_root() -> bool {
    common::stdout(Command::new("id").arg("-u")).trim() == "0"
}

/// A token that goes away between two signatures of one process: an error, and good signatures of the next process once it is back.
#[test]
fn a_token_removed_midway() {
    const CHILD: &str = "OFFLINE_KSK_TEST_DIR";
    if let Some(dir) = std::env::var_os(CHILD) {
        return removed_midway(Path::new(&dir));
    }
    if !softhsm() {
        return;
    }
    let c = Ceremony::new("ecdsap256sha256");
    c.prepare();
    // The library reads its configuration from the environment, which a test cannot change for itself alone.
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child
        .args(["--exact", "a_token_removed_midway", "--nocapture"])
        .env(CHILD, c.temp.path())
        .env("SOFTHSM2_CONF", c.path("softhsm2.conf"))
        .env("PKCS11_MODULE", module().expect("SoftHSM was here"));
    let said = common::text(&common::run(&mut child));
    assert!(said.contains("removed midway: done"), "{said}");
    c.ours("ksk", &SIGN);
    let good = fs::read(c.path("response.skr")).expect("an SKR");

    fs::rename(c.path("tokens"), c.path("away")).expect("rename");
    fs::create_dir(c.path("tokens")).expect("a folder");
    assert!(c.fails("ksk", &SIGN).contains("no token matches pkcs11:token=ksk; there is none"));
    assert_eq!(fs::read(c.path("response.skr")).expect("an SKR"), good, "the last good SKR stays");
}

fn removed_midway(dir: &Path) {
    let key: KeyFile =
        find(&dir.join("ksk"), &Name::parse(ZONE).expect("a name")).expect("the folder").keys.remove(0);
    let good = |signer: &dyn SigningKey| {
        let made = signer.sign(b"data").expect("a signature");
        verify(key.dnskey.algorithm, &key.dnskey.public_key, b"data", &made).expect("a good one");
    };
    let signer = key.load_private().expect("a signer");
    good(&*signer);
    // From many threads, over the one session.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20).for_each(|_| good(&*signer)));
        }
    });
    fs::rename(dir.join("tokens"), dir.join("away")).expect("rename");
    let error = signer.sign(b"data").expect_err("the token is gone").to_string();
    println!("{error}");
    assert!(error.contains("token `ksk`") && !error.contains(PIN), "{error}");
    let error = key.load_private().err().expect("the token is gone").to_string();
    assert!(!error.contains(PIN), "{error}");
    fs::rename(dir.join("away"), dir.join("tokens")).expect("rename");
    println!("removed midway: done");
}
