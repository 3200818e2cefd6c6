//! skr-loader beside a real knotd with an offline KSK: delivery by `keymgr import-skr` and `knotc zone-keys-load`, proven over DNS, and
//! judged by the validator of the `domain` crate. A file that the loader refuses never comes to Knot.

mod common;
#[path = "common/delivery.rs"]
mod delivery;

use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use delivery::{Running, ZONE, dig, look, wait_for_log};
use keystore::dns::Name;
use keystore::exchange::knot;

const KSK: &[&str] = &["generate", "ksk=yes", "created=-2d", "publish=-2d", "ready=-2d", "active=-2d"];

/// Both sides of a ceremony by Knot; the side `zsk` is that of the running server.
struct Site {
    dir: tempfile::TempDir,
    port: u16,
    ksk: String,
}

impl Site {
    /// `None` when Knot is not here.
    fn new() -> Option<Self> {
        common::peer("knotd")?;
        let mut site = Self {
            dir: tempfile::tempdir().expect("a folder"),
            port: common::free_port(),
            ksk: String::new(),
        };
        for (side, modulo) in [("zsk", "0/2"), ("ksk", "1/2")] {
            let storage = site.path(side);
            std::fs::create_dir(&storage).expect("a folder");
            let storage = storage.display();
            let conf = format!(
                "server:\n    rundir: {storage}\n    listen: 127.0.0.1@{port}\ncontrol:\n    listen: {storage}/knot.sock\n\
                 log:\n  - target: {storage}/knot.log\n    any: info\ndatabase:\n    storage: {storage}\n\
                 policy:\n  - id: offline\n    manual: on\n    offline-ksk: on\n    algorithm: ecdsap256sha256\n    dnskey-ttl: 3600\n    \
                 zone-max-ttl: 3600\n    propagation-delay: 1h\n    zsk-lifetime: 30d\n    rrsig-lifetime: 14d\n    rrsig-refresh: 7d\n    \
                 keytag-modulo: {modulo}\n    cds-cdnskey-publish: always\nzone:\n  - domain: {ZONE}\n    storage: {storage}\n    file: zone.db\n    \
                 zonefile-sync: -1\n    zonefile-load: difference\n    journal-content: all\n    dnssec-signing: on\n    dnssec-policy: offline\n",
                port = site.port,
            );
            std::fs::write(site.path(&format!("{side}.conf")), conf).expect("write");
        }
        std::fs::write(
            site.path("zsk/zone.db"),
            delivery::RECORDS.replace("@ SOA", &format!("$ORIGIN {ZONE}.\n@ SOA")),
        )
        .expect("zone");
        std::fs::write(site.path("policy"), delivery::CALM).expect("policy");
        site.keymgr("ksk", KSK);
        site.ksk = site.keymgr("ksk", &["dnskey"]).trim().to_owned();
        Some(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Standard output of keymgr, which must succeed.
    #[track_caller]
    fn keymgr(&self, side: &str, arguments: &[&str]) -> String {
        let mut keymgr = common::peer("keymgr").expect("it was there");
        keymgr.arg("-c").arg(self.path(&format!("{side}.conf"))).arg(ZONE).args(arguments);
        common::stdout(keymgr.current_dir(self.dir.path()))
    }

    /// A ceremony by Knot from now on.
    fn ceremony(&self, end: &str, file: &str) -> PathBuf {
        self.keymgr("zsk", &["pregenerate", end]);
        std::fs::write(self.path("ksr"), self.keymgr("zsk", &["generate-ksr", "+0", end])).expect("ksr");
        let skr = self.path(file);
        std::fs::write(&skr, self.keymgr("ksk", &["sign-ksr", "ksr"])).expect("skr");
        skr
    }

    fn load(&self, name: &str) -> Running {
        let program = |name: &str| {
            let path = common::peer(name).expect("was there").get_program().to_string_lossy().into_owned();
            format!("[\"{path}\", \"-c\", \"{}\"]", self.path("zsk.conf").display())
        };
        // That it is there and empty says that Knot holds the keys.
        std::fs::create_dir_all(self.path("state/keys")).expect("a folder");
        delivery::load(&format!(
            "version = 1\nstate-dir = \"{dir}/state\"\nnamed-conf = \"{dir}/policy\"\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"p\"\n\
             trust-anchors = [\"{ksk}\"]\n[ksr]\nenabled = false\n[[deliver.knot]]\nname = \"{name}\"\nkeymgr = {keymgr}\nknotc = {knotc}\n\
             folder = \"{dir}/for-knot\"\naddress = \"127.0.0.1:{port}\"\n",
            dir = self.dir.path().display(),
            ksk = self.ksk,
            keymgr = program("keymgr"),
            knotc = program("knotc"),
            port = self.port,
        ))
    }

    /// The bundles that Knot holds from the beginning of `skr` on.
    fn held(&self, skr: &Path) -> String {
        let text = std::fs::read(skr).expect("the SKR");
        let skr = knot::parse_skr(&text, &Name::parse(ZONE).expect("a name")).expect("an SKR");
        self.keymgr("zsk", &["show-offline", &skr.bundles[0].inception.secs().to_string(), "+10y"])
    }
}

/// A real knotd, ended when dropped.
struct Knotd {
    child: Child,
    conf: PathBuf,
}

impl Knotd {
    fn start(site: &Site) -> Self {
        let conf = site.path("zsk.conf");
        let mut knotd = common::peer("knotd").expect("was there");
        let child = knotd
            .arg("-c")
            .arg(&conf)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start knotd");
        let knotd = Self { child, conf };
        common::wait_for("knotd", Duration::from_secs(20), || {
            knotd.knotc(&["status"]).status.success().then_some(())
        });
        knotd
    }

    fn knotc(&self, arguments: &[&str]) -> Output {
        let mut knotc = common::peer("knotc").expect("was there");
        knotc.arg("-c").arg(&self.conf).args(arguments).output().expect("run knotc")
    }
}

impl Drop for Knotd {
    fn drop(&mut self) {
        let _ = self.knotc(&["stop"]);
        // Knot 3.4 can lose a `stop` that comes while another command is at work.
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first signature over DNSKEY with another octet in the middle.
fn flip(skr: &Path) -> String {
    let text = std::fs::read_to_string(skr).expect("text");
    // The third line of its record is the first of the signature.
    let line = text.lines().skip_while(|l| !l.contains("RRSIG DNSKEY")).nth(2).expect("a signature");
    let at = line.len() - 5;
    let other = if &line[at..=at] == "A" { "B" } else { "A" };
    text.replacen(line, &format!("{}{other}{}", &line[..at], &line[at + 1..]), 1)
}

#[test]
fn knot_serves_what_is_in_force_and_never_gets_a_bad_file() {
    let Some(site) = Site::new() else { return };
    let (skr, next) = (site.ceremony("+60d", "skr"), site.ceremony("+90d", "next"));
    let knotd = Knotd::start(&site);
    assert!(look(site.port, &site.ksk).bad > 0, "Knot has nothing yet");
    let loader = site.load("knot1");
    loader.drop_file(&skr);
    loader.wait("knot1", 1);
    let seen = look(site.port, &site.ksk);
    assert_eq!(seen.bad, 0, "{seen:?}\n{}", dig(site.port, ZONE, "DNSKEY"));
    let held = site.held(&skr);
    assert!(held.matches("DNSKEY").count() > 3, "{held}");

    let bad = site.path("bad");
    std::fs::write(&bad, flip(&next)).expect("write");
    loader.drop_file(&bad);
    let line = wait_for_log(&["SKR rejected", "SKR-BAD-SIGNATURE"]);
    assert!(line.contains(ZONE), "{line}");
    assert_eq!(site.held(&skr), held, "its good bundles stay");
    assert!(loader.serves("knot1", 1));

    // A restart: Knot keeps what it was given, and nothing is imported again.
    drop(knotd);
    let knotd = Knotd::start(&site);
    common::wait_for("good answers", Duration::from_secs(10), || {
        (look(site.port, &site.ksk).bad == 0).then_some(())
    });
    loader.drop_file(&next);
    loader.wait("knot1", 2);
    assert_eq!(look(site.port, &site.ksk).bad, 0);
    assert!(site.held(&skr).len() > held.len(), "the bundles of the second are there too");
    drop(knotd);
}

/// A knotd that is down, or that was given other bundles by somebody: the alarm, and another try.
#[test]
fn knot_that_is_down_is_told_and_tried_again() {
    let Some(site) = Site::new() else { return };
    let skr = site.ceremony("+60d", "skr");
    let loader = site.load("knot2");
    loader.drop_file(&skr);
    wait_for_log(&["knot2", "was not delivered"]);
    loader.wait_for_alarm("knot2");
    let _knotd = Knotd::start(&site);
    loader.wait("knot2", 1);
    assert_eq!(look(site.port, &site.ksk).bad, 0);
}
