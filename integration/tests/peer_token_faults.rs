//! Faults of a PKCS#11 module: it hangs, crashes, ends its process, says absurd lengths, cannot lock, loses its sessions or its
//! token. SoftHSM behind `fault_module.c`, which spoils the calls that a test names.
//!
//! Each program has the module in a process of its own, so that a fault is an error of the zones that have keys in the token, no other,
//! and passes when the fault does.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PIN: &str = "471108";

/// What may go wrong, as `fault_module.c` names it: no end, two of its own ways to end, all memory taken, absurd lengths, and CKR_GENERAL_ERROR, CKR_CANT_LOCK,
/// CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED, CKR_SESSION_HANDLE_INVALID.
const KINDS: [&str; 10] = ["hang", "crash", "exit", "eat", "wrong-length", "5", "a", "30", "32", "b3"];

/// The functions of PKCS#11 that a ceremony, a signer or a request calls, with their places in CK_FUNCTION_LIST.
const FUNCTIONS: [(&str, u8); 13] = [
    ("C_Initialize", 0),
    ("C_GetSlotList", 4),
    ("C_GetTokenInfo", 6),
    ("C_GetMechanismList", 7),
    ("C_OpenSession", 12),
    ("C_Login", 18),
    ("C_GetAttributeValue", 24),
    ("C_FindObjectsInit", 26),
    ("C_FindObjects", 27),
    ("C_FindObjectsFinal", 28),
    ("C_SignInit", 42),
    ("C_Sign", 43),
    ("C_GenerateKeyPair", 59),
];

/// The folders of two sides, with a token `t` behind the module that spoils calls.
struct Site {
    temp: tempfile::TempDir,
}

impl Site {
    /// `None` where SoftHSM or a C compiler is missing; under CI they must be there.
    fn new() -> Option<Self> {
        let softhsm =
            ["/usr/lib/softhsm", "/usr/lib/x86_64-linux-gnu/softhsm", "/usr/lib/aarch64-linux-gnu/softhsm"]
                .map(|dir| Path::new(dir).join("libsofthsm2.so"))
                .into_iter()
                .find(|path| path.exists());
        let Some(softhsm) = softhsm else {
            assert!(std::env::var_os("CI").is_none(), "SoftHSM2 is missing: apt-get install softhsm2");
            eprintln!("SKIPPED: no SoftHSM2 here (apt-get install softhsm2)");
            return None;
        };
        let site = Self { temp: tempfile::tempdir().expect("a folder") };
        for name in ["ksk", "zsk", "zsk2", "tokens", "state", "state/inbox"] {
            fs::create_dir(site.path(name)).expect("a folder");
        }
        let conf = format!("directories.tokendir = {}\nlog.level = ERROR\n", site.path("tokens").display());
        fs::write(site.path("softhsm2.conf"), conf).expect("write");
        fs::write(site.path("target"), softhsm.to_str().expect("text")).expect("write");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fault_module.c");
        let mut gcc = Command::new("cc");
        common::run(gcc.args(["-shared", "-fPIC", "-o"]).arg(site.path("module.so")).arg(source).arg("-ldl"));
        let mut util = Command::new("softhsm2-util");
        util.env("SOFTHSM2_CONF", site.path("softhsm2.conf"));
        common::run(util.args([
            "--init-token",
            "--free",
            "--label",
            "t",
            "--pin",
            PIN,
            "--so-pin",
            "12345678",
        ]));
        fs::write(site.path("pin"), PIN).expect("write");
        fs::set_permissions(site.path("pin"), fs::Permissions::from_mode(0o600)).expect("chmod");
        let token = format!(
            "pkcs11:token=t;pin-source={}?module-path={}",
            site.path("pin").display(),
            site.path("module.so").display()
        );
        let policy = format!(
            "key-store \"hsm\" {{ pkcs11-uri \"{token}\"; }};\n\
             dnssec-policy ksk-in-token {{ offline-ksk yes; keys {{ ksk key-store hsm lifetime unlimited algorithm 13; zsk lifetime unlimited algorithm 13; }}; }};\n\
             dnssec-policy zsk-in-token {{ offline-ksk yes; keys {{ ksk lifetime unlimited algorithm 13; zsk key-store hsm lifetime unlimited algorithm 13; }}; }};\n\
             dnssec-policy files {{ offline-ksk yes; keys {{ ksk lifetime unlimited algorithm 13; zsk lifetime unlimited algorithm 13; }}; }};\n"
        );
        fs::write(site.path("policy.conf"), policy).expect("write");
        Some(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn prepare(&self, program: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_offline-ksk")).with_file_name(program);
        assert!(program.exists(), "{} is not built; test the whole workspace", program.display());
        let mut command = Command::new(program);
        command
            .current_dir(self.temp.path())
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .env("FAULT_MODULE_TARGET", fs::read_to_string(self.path("target")).expect("written"))
            .env("FAULT_MODULE_FILE", self.path("fault"))
            .env("OFFLINE_KSK_TOKEN_TIMEOUT", "1")
            .env("OFFLINE_KSK_TOKEN_MEMORY", "256")
            .stdin(Stdio::null());
        command
    }

    fn ksr_gen(&self, policy: &str, side: &str, more: &[&str]) -> Command {
        let mut command = self.prepare("ksr-gen");
        command
            .args(["-l", "policy.conf", "-K", side, "-i", "now-2d", "-e", "now+1y", "-k", policy])
            .args(more);
        command
    }

    /// Spoils the calls of one function from the `from`th on, in every process that is started or runs.
    fn spoil(&self, function: u8, from: usize, kind: &str) {
        // Renamed into place, since a process may read it at any moment.
        fs::write(self.path("fault.new"), format!("{function} {from} {kind}\n")).expect("write");
        fs::rename(self.path("fault.new"), self.path("fault")).expect("rename");
    }

    fn heal(&self) {
        let _ = fs::remove_file(self.path("fault"));
    }

    /// The ceremony of `zone` up to its SKR.
    fn ceremony(&self, zone: &str, policy: &str, zsks: &str) -> Vec<u8> {
        common::run(&mut self.ksr_gen(policy, "ksk", &["-o", "keygen", zone]));
        common::run(&mut self.ksr_gen(policy, zsks, &["keygen", zone]));
        let ksr = common::run(&mut self.ksr_gen(policy, zsks, &["request", zone])).stdout;
        fs::write(self.path("request.ksr"), ksr).expect("write");
        common::run(&mut self.ksr_gen(policy, "ksk", &["-f", "request.ksr", "sign", zone])).stdout
    }
}

/// How a command ended that had a deadline for each call: never by a signal, by a panic or too late.
#[track_caller]
fn ended_well(output: &Output, began: Instant, what: &str) {
    let text = common::text(output);
    assert!(matches!(output.status.code(), Some(0 | 1 | 4)), "{what}: {}: {text}", output.status);
    assert!(!text.contains("panicked") && !text.contains(PIN), "{what}: {text}");
    assert_eq!(output.status.success(), !output.stdout.is_empty(), "{what}: all or nothing: {text}");
    // The deadline of opening a token, which is two seconds here, one rest, and room for a busy machine.
    assert!(began.elapsed() < Duration::from_secs(30), "{what} took {:?}", began.elapsed());
}

#[test]
fn kind_106_a_ceremony_ends_with_an_error_whatever_call_of_the_module_fails() {
    let Some(site) = Site::new() else { return };
    let good = site.ceremony("a.test", "ksk-in-token", "zsk");
    assert!(!good.is_empty());
    let cases: Vec<(&str, u8, &str, usize)> = FUNCTIONS
        .iter()
        .flat_map(|(name, number)| KINDS.map(|kind| (*name, *number, kind)))
        .flat_map(|(name, number, kind)| [1, 3].map(|from| (name, number, kind, from)))
        .collect();
    // Each case has a file of its own, and they run side by side: most of their time is waiting for a deadline.
    let (next, spared) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some((name, number, kind, from)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let what = format!("{name} {kind} from call {from}");
                    let fault = site.path(&format!("fault-{number}-{kind}-{from}"));
                    fs::write(&fault, format!("{number} {from} {kind}\n")).expect("write");
                    let mut sign =
                        site.ksr_gen("ksk-in-token", "ksk", &["-f", "request.ksr", "sign", "a.test"]);
                    let began = Instant::now();
                    let output = sign.env("FAULT_MODULE_FILE", &fault).output().expect("run ksr-gen");
                    ended_well(&output, began, &what);
                    if output.status.success() {
                        spared.lock().expect("no panic").push((*name, *kind, *from));
                    }
                }
            });
        }
    });
    // A ceremony may be spared only by what it never calls, by what it calls once, by a right of a key that the token does not tell,
    // and by lengths in calls that give none.
    for (name, kind, from) in spared.into_inner().expect("no panic") {
        let told_once = ["C_Initialize", "C_GetSlotList", "C_GetTokenInfo", "C_GetMechanismList", "C_Login"];
        let fair = match name {
            "C_GenerateKeyPair" | "C_GetAttributeValue" => true,
            _ if kind == "wrong-length" => !["C_FindObjects", "C_Sign"].contains(&name) || from > 1,
            _ => {
                from > 1
                    && (told_once.contains(&name) || name.contains("FindObjects") || name == "C_OpenSession")
            }
        };
        assert!(fair, "{name} {kind} from call {from} was not noticed");
    }
    site.heal();
    let again =
        common::run(&mut site.ksr_gen("ksk-in-token", "ksk", &["-f", "request.ksr", "sign", "a.test"]));
    assert!(!again.stdout.is_empty());
}

#[test]
fn kind_106_keygen_ends_with_an_error_and_leaves_no_half_key_files() {
    let Some(site) = Site::new() else { return };
    for (number, kind) in [
        (59, "hang"),
        (59, "crash"),
        (59, "32"),
        (24, "wrong-length"),
        (43, "crash"),
        (12, "a"),
        (18, "exit"),
    ] {
        site.spoil(number, 1, kind);
        let began = Instant::now();
        let output =
            site.ksr_gen("ksk-in-token", "ksk", &["-o", "keygen", "a.test"]).output().expect("run ksr-gen");
        if (number, kind) == (59, "hang") {
            // Making a key has 18 seconds here.
            assert!(began.elapsed() > Duration::from_secs(15), "{:?}", began.elapsed());
        }
        ended_well(&output, began, &format!("{number} {kind}"));
        assert!(!output.status.success(), "{number} {kind}");
        assert_eq!(fs::read_dir(site.path("ksk")).expect("the folder").count(), 0, "{number} {kind}");
    }
    site.heal();
    common::run(&mut site.ksr_gen("ksk-in-token", "ksk", &["-o", "keygen", "a.test"]));
}

#[test]
fn kind_106_a_module_that_takes_memory_without_end_gets_no_more_than_its_limit() {
    let Some(site) = Site::new() else { return };
    site.ceremony("a.test", "ksk-in-token", "zsk");
    // The module fails with CKR_HOST_MEMORY once it gets no more, after what it was given: 64 MiB each time.
    site.spoil(43, 1, "eat");
    for (limit, expected) in [(None, "HostMemory"), (Some("64"), ""), (Some("256"), "HostMemory")] {
        let mut sign = site.ksr_gen("ksk-in-token", "ksk", &["-f", "request.ksr", "sign", "a.test"]);
        match limit {
            Some(limit) => sign.env("OFFLINE_KSK_TOKEN_MEMORY", limit),
            None => sign.env_remove("OFFLINE_KSK_TOKEN_MEMORY"),
        };
        let began = Instant::now();
        let output = sign.env("OFFLINE_KSK_TOKEN_TIMEOUT", "60").output().expect("run ksr-gen");
        ended_well(&output, began, "eat");
        let text = common::text(&output);
        assert!(output.status.code() == Some(4) && text.contains(expected), "{limit:?}: {text}");
    }
    site.heal();
    common::run(&mut site.ksr_gen("ksk-in-token", "ksk", &["-f", "request.ksr", "sign", "a.test"]));
}

#[test]
fn kind_109_several_signatures_are_asked_for_at_the_same_time() {
    let Some(site) = Site::new() else { return };
    site.ceremony("a.test", "ksk-in-token", "zsk");
    // The first signature, which is two calls, tells that the key is the right one. No later one comes back before four are asked for.
    site.spoil(43, 3, "meet");
    let mut sign = site.ksr_gen("ksk-in-token", "ksk", &["-f", "request.ksr", "sign", "a.test"]);
    common::run(sign.env("OFFLINE_KSK_TOKEN_TIMEOUT", "10"));
}

#[test]
fn kind_108_a_key_that_wants_its_pin_for_each_signature_signs_where_the_token_hashes() {
    let Some(site) = Site::new() else { return };
    let rsa =
        fs::read_to_string(site.path("policy.conf")).expect("text").replace("algorithm 13", "algorithm 8");
    fs::write(site.path("rsa.conf"), rsa).expect("write");
    let rsa = |side: &str, more: &[&str]| {
        let mut command = site.prepare("ksr-gen");
        command
            .args(["-l", "rsa.conf", "-K", side, "-i", "now-2d", "-e", "now+1y", "-k", "ksk-in-token"])
            .args(more);
        common::run(&mut command).stdout
    };
    site.spoil(59, 1, "always");
    // SoftHSM hashes for RSA and not for ECDSA.
    let output =
        site.ksr_gen("ksk-in-token", "ksk", &["-o", "keygen", "a.test"]).output().expect("run ksr-gen");
    let text = common::text(&output);
    assert!(
        !output.status.success() && text.contains("must hash what it signs (CKM_ECDSA_SHA256)"),
        "{text}"
    );
    assert_eq!(fs::read_dir(site.path("ksk")).expect("the folder").count(), 0);
    rsa("ksk", &["-o", "keygen", "a.test"]);
    site.heal();
    let list = rsa("ksk", &["--store", "hsm", "token", "list"]);
    let list = String::from_utf8_lossy(&list).into_owned();
    assert!(list.contains("token `t`: 1 key") && list.contains("wants the PIN for each signature"), "{list}");
    rsa("zsk", &["keygen", "a.test"]);
    fs::write(site.path("request.ksr"), rsa("zsk", &["request", "a.test"])).expect("write");
    let skr = rsa("ksk", &["-f", "request.ksr", "sign", "a.test"]);
    let skr = String::from_utf8_lossy(&skr).into_owned();
    assert!(skr.contains("RRSIG") && skr.contains("DNSKEY 8 2 "), "{skr}");
    // Another PIN in the file by now: the PIN of the login is not replaced by it, and a new login fails once.
    fs::write(site.path("pin"), "wrong-471108").expect("write");
    let mut sign = site.prepare("ksr-gen");
    let output = sign
        .args([
            "-l",
            "rsa.conf",
            "-K",
            "ksk",
            "-e",
            "now+1y",
            "-k",
            "ksk-in-token",
            "-f",
            "request.ksr",
            "sign",
            "a.test",
        ])
        .output()
        .expect("run ksr-gen");
    let text = common::text(&output);
    assert!(output.status.code() == Some(4) && text.contains("the PIN is wrong"), "{text}");
}

/// A daemon that is ended with the test.
struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(site: &Site, arguments: &[&str]) -> Self {
        let log = site.path("log");
        let file = fs::File::create(&log).expect("a log");
        let mut command = site.prepare("offline-ksk");
        let child = command.args(arguments).stdout(Stdio::null()).stderr(file).spawn().expect("a process");
        Self { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it with SIGTERM; gives the time that it took.
    fn stop(&mut self) -> Duration {
        let began = Instant::now();
        common::run(Command::new("kill").arg(self.child.id().to_string()));
        let status = self.child.wait().expect("an end");
        assert!(status.success(), "{status}\n{}", self.log());
        began.elapsed()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_zone(site: &Site, zone: &str, text: &str) {
    let content = format!(
        "$TTL 60\n@ SOA ns1 hostmaster 1 7200 900 1209600 60\n@ NS ns1\nns1 A 192.0.2.1\n@ TXT \"{text}\"\n"
    );
    fs::write(site.path("zone.new"), content).expect("write");
    fs::rename(site.path("zone.new"), site.path(&format!("{zone}.zone"))).expect("rename");
}

/// The TXT record of a zone, as far as it is answered with a signature.
fn served(port: &str, zone: &str) -> Option<String> {
    let mut dig = common::peer("dig")?;
    let wanted = ["@127.0.0.1", "-p", port, "+dnssec", "+short", "+time=1", "+tries=1", zone, "TXT"];
    let text = common::text(&dig.args(wanted).output().ok()?);
    text.contains("TXT 13 2").then(|| text.lines().next().unwrap_or_default().trim_matches('"').to_owned())
}

/// Set to `all`, each fault is tried at each call, also where that takes minutes.
const WHOLE_MATRIX: &str = "OFFLINE_KSK_TOKEN_FAULTS";

fn whole_matrix() -> bool {
    std::env::var(WHOLE_MATRIX).is_ok_and(|value| value == "all")
}

/// Each kind of fault at each function.
fn all_faults() -> Vec<(u8, &'static str)> {
    FUNCTIONS.iter().flat_map(|(_, number)| KINDS.map(|kind| (*number, kind))).collect()
}

#[test]
fn kind_106_serve_keeps_the_zone_without_keys_in_the_token_and_heals_the_other() {
    if common::peer("dig").is_none() {
        return;
    }
    if !whole_matrix() {
        let some = [
            (43, "hang"),
            (43, "crash"),
            (43, "wrong-length"),
            (42, "a"),
            (42, "32"),
            (42, "b3"),
            (43, "exit"),
            (18, "32"),
            (43, "a"),
            (28, "30"),
        ];
        return serve_through(&some);
    }
    let all = all_faults();
    std::thread::scope(|scope| {
        all.chunks(all.len().div_ceil(6)).for_each(|part| drop(scope.spawn(|| serve_through(part))));
    });
}

/// One fault of the token of a.test, from its begin to its end; gives how long a.test took to heal. b.test is untouched all the while.
fn serve_round(site: &Site, daemon: &Daemon, port: &str, round: usize, number: u8, kind: &str) -> Duration {
    let (what, now) = (format!("{kind} at {number}"), round.to_string());
    let told =
        || daemon.log().lines().filter(|line| line.contains("a.test") && line.contains("ERROR")).count();
    let before = told();
    site.spoil(number, 1, kind);
    if ![42, 43].contains(&number) {
        // What is called when the token is opened is called again by a process that is new.
        module_processes(site).iter().for_each(|pid| drop(Command::new("kill").args(["-9", pid]).status()));
    }
    write_zone(site, "a.test", &now);
    write_zone(site, "b.test", &now);
    let is_now = |zone: &str| served(port, zone).filter(|text| *text == now);
    common::wait_for(&format!("b.test after {what}"), Duration::from_secs(30), || is_now("b.test"));
    // Told, or not needed for a signature.
    let noticed = common::wait_for(&format!("a message on {what}"), Duration::from_secs(60), || {
        if is_now("a.test").is_some() { Some(false) } else { (told() > before).then_some(true) }
    });
    // Some functions give no lengths.
    let is_telling = [0, 4, 18, 42, 43].contains(&number) && (kind != "wrong-length" || number == 43);
    assert!(noticed || !is_telling, "{what} was not noticed");
    site.heal();
    let began = Instant::now();
    while is_now("a.test").is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: not healed:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let healed = began.elapsed();
    eprintln!("serve: {what}: {}, healed after {healed:.1?}", if noticed { "told" } else { "not needed" });
    healed
}

/// The processes of modules that belong to a site.
fn module_processes(site: &Site) -> Vec<String> {
    let of_this_test = site.path("fault").display().to_string();
    let is_one = |entry: &fs::DirEntry| {
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let has = |octets: &[u8], text: &str| String::from_utf8_lossy(octets).contains(text);
        has(&read("cmdline"), "pkcs11-module-process") && has(&read("environ"), &of_this_test)
    };
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes.filter(is_one).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// `serve` with two zones, through faults one after the other.
fn serve_through(rounds: &[(u8, &str)]) {
    let Some(site) = Site::new() else { return };
    let in_token = site.ceremony("a.test", "zsk-in-token", "zsk");
    let in_files = site.ceremony("b.test", "files", "zsk2");
    let anchor = |zone: &str| {
        let keys = fs::read_dir(site.path("ksk")).expect("the folder").map(|e| e.expect("an entry").path());
        let prefix = format!("K{zone}.+");
        let mut key = keys.filter(|path| path.extension().is_some_and(|e| e == "key"));
        let key = key.find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)));
        key.expect("a KSK").display().to_string()
    };
    let zone = |name: &str, keys: &str| {
        format!(
            "[[zone]]\nname = \"{name}\"\npolicy = \"p\"\ntrust-anchor-file = \"{}\"\nfile = \"{name}.zone\"\nkey-directory = \"{keys}\"\n",
            anchor(name)
        )
    };
    let config = format!(
        "version = 1\nstate-dir = \"state\"\n{}{}[policy.p]\noffline-ksk = true\nkeys = [ {{ role = \"ksk\", lifetime = \"unlimited\", algorithm = 13 }}, {{ role = \"zsk\", lifetime = \"unlimited\", algorithm = 13 }} ]\n[ksr]\nenabled = false\n[signer]\nlisten = [\"127.0.0.1:0\"]\n",
        zone("a.test", "zsk"),
        zone("b.test", "zsk2")
    );
    fs::write(site.path("config.toml"), config).expect("write");
    ["a.test", "b.test"].iter().for_each(|zone| write_zone(&site, zone, "0"));
    // The token hangs from the start on: the other zone is served all the same.
    site.spoil(0, 1, "hang");
    let mut daemon = Daemon::start(&site, &["serve", "-c", "config.toml"]);
    let port = common::wait_for("its address", Duration::from_secs(30), || {
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains("serving address="))?;
        line.rsplit_once(':').map(|(_, port)| port.trim().to_owned())
    });
    for (name, skr) in [("a.skr", in_token), ("b.skr", in_files)] {
        fs::write(site.path(name), skr).expect("write");
        fs::rename(site.path(name), site.path("state/inbox").join(name)).expect("rename");
    }
    let began = Instant::now();
    while served(&port, "b.test").is_none() {
        // What was renamed before the loader has looked once waits half a minute.
        assert!(began.elapsed() < Duration::from_secs(60), "b.test is not served:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(served(&port, "a.test"), None);
    site.heal();
    let began = Instant::now();
    common::wait_for("a.test", Duration::from_secs(60), || served(&port, "a.test"));
    let mut slowest = began.elapsed();

    for (round, (number, kind)) in rounds.iter().enumerate() {
        slowest = slowest.max(serve_round(&site, &daemon, &port, round + 1, *number, kind));
    }
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    assert!(slowest < Duration::from_secs(30), "healed after {slowest:?}");

    // A call that hangs does not hold the end of the daemon up for longer than its deadline.
    site.spoil(43, 1, "hang");
    write_zone(&site, "a.test", "end");
    common::wait_for("the call", Duration::from_secs(20), || {
        (0..3).any(|_| daemon.log().matches("no answer within").count() > 1).then_some(())
    });
    assert!(daemon.stop() < Duration::from_secs(10));
    common::wait_for("the end of the process of the module", Duration::from_secs(10), || {
        module_processes(&site).is_empty().then_some(())
    });
}

#[test]
fn kind_106_requests_of_other_zones_are_written_while_the_token_fails() {
    let Some(site) = Site::new() else { return };
    let some =
        [(59, "crash"), (59, "eat"), (43, "wrong-length"), (18, "a"), (4, "exit"), (43, "hang"), (24, "b3")];
    let faults = if whole_matrix() { all_faults() } else { some.to_vec() };
    let cases: Vec<(u8, &str, usize)> = faults
        .into_iter()
        .flat_map(|(number, kind)| [1, 3].map(|from| (number, kind, from)))
        .filter(|(.., from)| *from == 1 || whole_matrix())
        .collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some((number, kind, from)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    requests_through(&site, *number, kind, *from);
                }
            });
        }
    });
}

/// The requests of two zones while a fault lasts, and after it.
fn requests_through(site: &Site, number: u8, kind: &str, from: usize) {
    let what = format!("{kind} at {number} from call {from}");
    let name = format!("{number}-{kind}-{from}");
    let state = format!("state-{name}");
    let zones = [("a.test", "zsk-in-token"), ("b.test", "files")].map(|(zone, policy)| {
        format!("[[zone]]\nname = \"{zone}\"\npolicy = \"{policy}\"\ntrust-anchors = [\"{zone}. DS 18064 13 2 3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000\"]\n")
    });
    let config = format!(
        "version = 1\nstate-dir = \"{state}\"\nnamed-conf = \"policy.conf\"\n{}[ksr]\n",
        zones.concat()
    );
    fs::write(site.path(&format!("{name}.toml")), config).expect("write");
    fs::create_dir_all(site.path(&format!("{state}/keys"))).expect("a folder");
    let fault = site.path(&format!("fault-{name}"));
    fs::write(&fault, format!("{number} {from} {kind}\n")).expect("write");
    let requests = |zone: &str| {
        let entries =
            fs::read_dir(site.path(&format!("{state}/outbox/{zone}."))).into_iter().flatten().flatten();
        entries.filter(|e| e.path().extension().is_some_and(|x| x == "ksr")).count()
    };
    let run = || {
        let mut command = site.prepare("offline-ksk");
        command.args(["requests", "--once", "-c", &format!("{name}.toml")]);
        let began = Instant::now();
        let output = command.env("FAULT_MODULE_FILE", &fault).output().expect("a run");
        let text = common::text(&output);
        assert!(began.elapsed() < Duration::from_secs(60) && !text.contains("panicked"), "{what}: {text}");
        (output.status.code(), text)
    };
    let (code, text) = run();
    match code {
        Some(1) => {
            assert_eq!((requests("a.test"), requests("b.test")), (0, 1), "{what}: {text}");
            assert!(
                ["module.so", "token `t`", "token=t"].iter().any(|word| text.contains(word)),
                "{what}: {text}"
            );
        }
        // What a request never calls, or calls less often.
        Some(0) => {
            assert_eq!((requests("a.test"), requests("b.test")), (1, 1), "{what}: {text}");
            assert!(
                from > 1
                    || !whole_matrix()
                    || ![0, 4, 12, 18, 43, 59].contains(&number)
                    || (kind == "wrong-length" && number != 43),
                "{what} was not noticed"
            );
            assert!(whole_matrix() || (number, kind) == (24, "b3"), "{what} was not noticed: {text}");
        }
        other => panic!("{what}: {other:?}: {text}"),
    }
    eprintln!("requests: {what}: exit {code:?}");
    let _ = fs::remove_file(&fault);
    // Other processes use the token of SoftHSM at the same time, which is then not there for a moment.
    common::wait_for(&format!("an end of {what}"), Duration::from_secs(30), || {
        let (code, _) = run();
        (code == Some(0)).then_some(())
    });
    assert_eq!((requests("a.test"), requests("b.test")), (1, 1), "{what}");
}
