//! Knot's `keymgr` on either side of a ceremony, and our converter between Knot and BIND: what Knot makes we accept, what we make
//! Knot imports, and a real named takes an SKR of Knot's that was converted.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keystore::dns::{Name, Rtype};
use keystore::exchange::{TrustAnchor, UnverifiedSkr, VerifyContext, bind, knot, verify};
use keystore::{clock, time::Timestamp};

const ZONE: &str = "example.com";

fn zone() -> Name {
    Name::parse(ZONE).expect("a name")
}

/// The two sides of a ceremony by Knot, each with its configuration and key database, in a folder.
struct Sides {
    dir: tempfile::TempDir,
}

impl Sides {
    /// `None` when keymgr is not here.
    fn new(algorithm: &str, cds: &str) -> Option<Self> {
        common::peer("keymgr")?;
        let dir = tempfile::tempdir().expect("a folder");
        for (side, modulo) in [("zsk", "0/2"), ("ksk", "1/2")] {
            let storage = dir.path().join(side);
            std::fs::create_dir(&storage).expect("a folder");
            let storage = storage.display();
            let conf = format!(
                "server:\n    rundir: {storage}\ndatabase:\n    storage: {storage}\npolicy:\n  - id: offline\n    manual: on\n    \
                 offline-ksk: on\n    algorithm: {algorithm}\n    dnskey-ttl: 3600\n    zone-max-ttl: 3600\n    \
                 propagation-delay: 1h\n    zsk-lifetime: 30d\n    rrsig-lifetime: 14d\n    rrsig-refresh: 7d\n    \
                 keytag-modulo: {modulo}\n    cds-cdnskey-publish: {cds}\nzone:\n  - domain: {ZONE}\n    storage: {storage}\n    \
                 dnssec-signing: on\n    dnssec-policy: offline\n"
            );
            std::fs::write(dir.path().join(format!("{side}.conf")), conf).expect("write");
        }
        Some(Self { dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("write");
        path
    }

    fn keymgr_output(&self, side: &str, arguments: &[&str]) -> Output {
        let mut keymgr = common::peer("keymgr").expect("it was there");
        keymgr.arg("-c").arg(self.path(&format!("{side}.conf"))).arg(ZONE).args(arguments);
        keymgr.current_dir(self.dir.path()).output().expect("run keymgr")
    }

    /// Standard output of keymgr, which must succeed.
    #[track_caller]
    fn keymgr(&self, side: &str, arguments: &[&str]) -> String {
        let output = self.keymgr_output(side, arguments);
        assert!(output.status.success(), "keymgr {arguments:?}: {}", common::text(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    fn request(&self) -> String {
        self.keymgr("zsk", &["pregenerate", "+60d"]);
        self.keymgr("zsk", &["generate-ksr", "+0", "+60d"])
    }

    /// Knot's validate-skr has nothing to say, and import-skr stores as many bundles as there are.
    #[track_caller]
    fn imports(&self, name: &str, text: &str) {
        self.write(name, text);
        let said = common::text(&self.keymgr_output("zsk", &["validate-skr", name]));
        assert!(said.contains("OK") && !said.to_lowercase().contains("error"), "{name}: {said}\n{text}");
        self.keymgr("zsk", &["import-skr", name]);
        let first = knot::parse_skr(text.as_bytes(), &zone()).expect("an SKR").bundles[0].inception;
        let stored = self.keymgr("zsk", &["show-offline", &first.secs().to_string(), "+10y"]);
        let count = |text: &str| text.lines().filter(|l| l.ends_with("=========")).count();
        assert_eq!(count(&stored), count(text), "{name}: {stored}");
    }
}

fn ours(binary: &str) -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_offline-ksk")).with_file_name(binary);
    assert!(path.exists(), "{} is not built; test the whole workspace", path.display());
    Command::new(path)
}

#[track_caller]
fn convert(to: &str, file: &Path) -> String {
    common::stdout(ours("offline-ksk").args(["convert", "--to", to]).arg(file))
}

/// All checks of the SKR alone, its KSKs pinned.
#[track_caller]
fn accept(skr: UnverifiedSkr) {
    let zone = zone();
    let signers: Vec<u16> = skr.bundles[0].signatures.iter().map(|s| s.key_tag).collect();
    let pinned = skr.bundles[0].keys().filter(|k| k.is_ksk() && signers.contains(&k.tag()));
    let anchors: Vec<TrustAnchor> = pinned.map(TrustAnchor::Dnskey).collect();
    verify(skr, &VerifyContext::new(&zone, &anchors), clock::now()).unwrap_or_else(|f| panic!("{f:#?}"));
}

/// Time and program of the closing line.
fn closing(text: &str) -> (Timestamp, &str) {
    let (_, said) = text.rsplit_once("generated at ").expect("a closing line");
    let (time, program) = said.trim_end().split_once(" by ").expect("who made it");
    (Timestamp::parse_stamp(&time.replace(['-', 'T', ':', 'Z'], "")).expect("a time"), program)
}

const KSK: &[&str] = &["generate", "ksk=yes", "created=-2d", "publish=-2d", "ready=-2d", "active=-2d"];

/// Knot on both sides: both files are read, accepted, and printed back octet by octet, for every algorithm.
#[test]
fn what_knot_makes() {
    for algorithm in ["rsasha256", "rsasha512", "ecdsap256sha256", "ecdsap384sha384", "ed25519", "ed448"] {
        let Some(sides) = Sides::new(algorithm, "always") else { return };
        let ksr = sides.request();
        sides.keymgr("ksk", KSK);
        sides.write("a.ksr", &ksr);
        let skr = sides.keymgr("ksk", &["sign-ksr", "a.ksr"]);
        let (made, program) = closing(&ksr);
        let read =
            knot::parse_ksr(ksr.as_bytes(), &zone()).unwrap_or_else(|e| panic!("{algorithm}: {e}\n{ksr}"));
        assert!(read.bundles.len() >= 3, "{ksr}");
        assert_eq!(knot::print_ksr(&read, knot::Stamps::Unix, made, program), ksr, "{algorithm}");
        let (made, program) = closing(&skr);
        let read =
            knot::parse_skr(skr.as_bytes(), &zone()).unwrap_or_else(|e| panic!("{algorithm}: {e}\n{skr}"));
        assert_eq!(knot::print_skr(&read, knot::Stamps::Unix, made, program), skr, "{algorithm}");
        assert!(read.bundles.iter().all(|b| b.cds.as_ref().is_some_and(|cds| cds.ttl == 0)));
        accept(read);
        // Through BIND's form and back, Knot takes its own again.
        let in_binds = sides.write("bind.skr", &convert("bind", &sides.write("a.skr", &skr)));
        sides.imports("back.skr", &convert("knot", &in_binds));
    }
}

fn policy(algorithm: &str) -> String {
    format!(
        "dnssec-policy p {{ offline-ksk yes; keys {{ ksk lifetime unlimited algorithm {algorithm}; zsk lifetime P6M algorithm {algorithm}; }}; }};\n"
    )
}

/// Knot's request, signed by `ksr-gen`, imported by Knot: in Knot's form at once, and in BIND's form converted.
#[test]
fn knot_asks_and_we_sign() {
    for algorithm in ["rsasha256", "ecdsap256sha256", "ed25519"] {
        let Some(sides) = Sides::new(algorithm, "none") else { return };
        let ksr = sides.request();
        sides.write("a.ksr", &ksr);
        sides.write("policy", &policy(algorithm));
        let ksr_gen = |words: &[&str]| {
            let mut command = ours("ksr-gen");
            command
                .current_dir(sides.dir.path())
                .args(["-l", "policy", "-k", "p", "-K", "ksk", "-i", "now-3d", "-e", "now+74d"]);
            common::stdout(command.args(words).arg(ZONE))
        };
        ksr_gen(&["-o", "keygen"]);
        // Knot rolls its ZSK by shorter delays than this policy has, so that the proof by the policy does not hold.
        let skr = ksr_gen(&["--allow-no-pop", "--allow-unproven", "-f", "a.ksr", "sign"]);
        let read = knot::parse_skr(skr.as_bytes(), &zone()).expect("Knot's form");
        assert!(read.bundles.iter().all(|b| b.signatures.iter().any(|s| s.covered == Rtype::CDS)), "{skr}");
        accept(read);
        sides.imports("ours.skr", &skr);
        let in_binds = sides.write(
            "bind.skr",
            &ksr_gen(&["--allow-no-pop", "--allow-unproven", "--format", "bind", "-f", "a.ksr", "sign"]),
        );
        sides.imports("converted.skr", &convert("knot", &in_binds));
    }
}

/// A request of ours (and so of BIND's) in Knot's form is signed by Knot, and a real named loads what comes back.
#[test]
fn we_ask_and_knot_signs_for_named() {
    peer!("named");
    let Some(sides) = Sides::new("ecdsap256sha256", "always") else { return };
    sides.write("policy", &policy("ecdsap256sha256"));
    std::fs::create_dir(sides.path("keys")).expect("a folder");
    let ksr_gen = |words: &[&str]| {
        let mut command = ours("ksr-gen");
        command
            .current_dir(sides.dir.path())
            .args(["-l", "policy", "-k", "p", "-K", "keys", "-i", "now-1d", "-e", "now+60d"]);
        common::stdout(command.args(words).arg(ZONE))
    };
    ksr_gen(&["keygen"]);
    let ksr = sides.write("ours.ksr", &ksr_gen(&["--largest-ttl", "1w", "request"]));
    let in_knots = convert("knot", &ksr);
    assert!(in_knots.contains(" ; proof-of-possession "), "keymgr reads over it: {in_knots}");
    assert!(in_knots.trim_end().ends_with("(largest TTL 604800)"), "and over this: {in_knots}");
    sides.write("knot.ksr", &in_knots);
    sides.keymgr("ksk", KSK);
    let skr = sides.keymgr("ksk", &["sign-ksr", "knot.ksr"]);
    accept(knot::parse_skr(skr.as_bytes(), &zone()).expect("an SKR"));
    let in_knots = sides.write("knot.skr", &skr);
    let converted = convert("bind", &in_knots);
    accept(bind::parse_skr(converted.as_bytes(), &zone()).expect("an SKR"));
    let in_binds = sides.write("bind.skr", &converted);

    sides.write("zone", "$TTL 300\n@ SOA ns1 hostmaster 1 7200 900 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\n");
    let dir = sides.dir.path().display();
    let statements = format!(
        "{}zone \"{ZONE}\" {{ type primary; file \"{dir}/zone\"; dnssec-policy p; key-directory \"{dir}/keys\"; }};",
        policy("ecdsap256sha256")
    );
    let named = common::Named::start(sides.dir.path(), &statements).expect("named was there");
    let import = |path: &Path| common::text(&named.rndc(&["skr", "-import", &path.to_string_lossy(), ZONE]));
    // As it comes from Knot named does not take it.
    assert!(import(&in_knots).contains("failed"), "{}", named.log());
    let said = import(&in_binds);
    assert!(!said.contains("failed"), "{said}\n{}", named.log());
    let ksk =
        knot::parse_skr(skr.as_bytes(), &zone()).expect("an SKR").bundles[0].keys().find(|k| k.is_ksk());
    let tag = ksk.expect("a KSK").tag().to_string();
    let port = named.port.to_string();
    common::wait_for("named to serve the SKR's records", std::time::Duration::from_secs(20), || {
        let mut dig = common::peer("dig")?;
        let said =
            common::stdout(dig.args(["@127.0.0.1", "-p", &port, "+dnssec", "+multiline", ZONE, "DNSKEY"]));
        said.contains(&format!("{tag} {ZONE}.")).then_some(())
    });
}

/// What Knot says of the faulty files, where it says anything, is what we say; and we say it of those that it takes.
#[test]
fn faulty_files_are_judged_no_softer_than_by_knot() {
    let Some(sides) = Sides::new("ecdsap256sha256", "none") else { return };
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keystore/tests/fixtures/knot");
    let read = |name: &str| std::fs::read_to_string(samples.join(name)).expect("a sample");
    let good = knot::parse_skr(read("01-zsk-rollover.skr").as_bytes(), &zone()).expect("good");
    let anchors: Vec<TrustAnchor> =
        good.bundles[0].keys().filter(|k| k.is_ksk()).map(TrustAnchor::Dnskey).collect();
    let now = Timestamp::parse_stamp("20261124034900").expect("a stamp");
    for (name, knot_takes, we_take) in [
        ("01-zsk-rollover.skr", true, true),
        ("05-bad-signature-bundle6.skr", false, false),
        ("06-coverage-gap.skr", false, false),
        ("07-foreign-ksk.skr", true, false),
        ("08-no-trailer.skr", false, false),
    ] {
        let path = samples.join(name);
        let said = common::text(&sides.keymgr_output("zsk", &["import-skr", &path.to_string_lossy()]));
        assert_eq!(said.contains("OK"), knot_takes, "{name}: {said}");
        let zone = zone();
        let ours = knot::parse_skr(read(name).as_bytes(), &zone)
            .ok()
            .is_some_and(|skr| verify(skr, &VerifyContext::new(&zone, &anchors), now).is_ok());
        assert_eq!(ours, we_take, "{name}");
    }
}
