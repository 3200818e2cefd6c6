//! Signers of others at work: what they are before the way of `ways_over`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{self, Named};
use crate::ways_over::{Former, Process, SECRET, ZONE, dig, key_statement, records};

const LIMIT: Duration = Duration::from_secs(60);

/// Waits until the zone is signed by both keys, denial included.
fn wait_for_signatures(port: u16) {
    common::wait_for("the signed zone of the other signer", LIMIT, || {
        let zone = dig(port, &["AXFR", ZONE]);
        let wanted = ["DNSKEY\t257", "DNSKEY\t256", "RRSIG\tDNSKEY", "RRSIG\tTXT", "RRSIG\tNSEC"];
        wanted.iter().all(|words| zone.contains(words)).then_some(())
    });
}

fn daemon(program: &str, dir: &Path, words: &[&str]) -> Process {
    let output = fs::File::create(dir.join(format!("{program}.out"))).expect("a file");
    let mut command = common::peer(program).expect("it was there");
    command.args(words).stdout(Stdio::null()).stderr(output);
    Process(command.spawn().expect("it starts"))
}

/// named with a `dnssec-policy` and both keys.
pub struct SigningNamed {
    named: Named,
    dir: PathBuf,
}

impl SigningNamed {
    pub fn start(dir: &Path, here: u16) -> Self {
        let dir = dir.join("former");
        fs::create_dir_all(dir.join("keys")).expect("a folder");
        fs::write(dir.join("zone.db"), records(7, "first")).expect("written");
        let statements = format!(
            "{}dnssec-policy standard {{ dnskey-ttl 1h; keys {{ ksk lifetime unlimited algorithm ecdsap256sha256; zsk lifetime P3M algorithm ecdsap256sha256; }}; }};\n\
             zone {ZONE} {{ type primary; file \"zone.db\"; inline-signing yes; dnssec-policy standard; key-directory \"keys\"; allow-transfer {{ key xfr; }};\n\
             notify explicit; notify-delay 0; also-notify {{ 127.0.0.1 port {here} key xfr; }}; }};\n",
            key_statement()
        );
        let named = Named::start(&dir, &statements).expect("named was there");
        wait_for_signatures(named.port);
        Self { named, dir }
    }
}

impl Former for SigningNamed {
    fn keys(&self) -> (&'static str, Vec<(&'static str, String)>) {
        ("Keys of named", vec![("NAMED_KEYS", self.dir.join("keys").display().to_string())])
    }

    fn port(&self) -> u16 {
        self.named.port
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn publish(&self, text: &str) -> bool {
        fs::write(self.dir.join("zone.db"), records(8, text)).expect("written");
        assert!(self.named.rndc(&["reload", ZONE]).status.success());
        true
    }
}

/// Knot with a policy that makes and uses both keys.
pub struct SigningKnot {
    _process: Process,
    dir: PathBuf,
    port: u16,
}

impl SigningKnot {
    pub fn start(dir: &Path, here: u16) -> Self {
        let dir = dir.join("former");
        fs::create_dir_all(&dir).expect("a folder");
        let (at, port) = (dir.display(), common::free_port());
        fs::write(dir.join("zone"), records(7, "first")).expect("written");
        let conf = format!(
            "server:\n    rundir: {at}\n    listen: 127.0.0.1@{port}\ncontrol:\n    listen: {at}/knot.sock\nlog:\n  - target: {at}/log\n    any: info\n\
             database:\n    storage: {at}\nkey:\n  - id: xfr\n    algorithm: hmac-sha256\n    secret: {SECRET}\nremote:\n  - id: next\n    address: 127.0.0.1@{here}\n    key: xfr\nacl:\n  - id: xfr\n    key: xfr\n    action: transfer\n\
             policy:\n  - id: standard\n    algorithm: ecdsap256sha256\n    dnskey-ttl: 1h\n    zsk-lifetime: 90d\n\
             zone:\n  - domain: {ZONE}\n    storage: {at}\n    file: zone\n    zonefile-sync: -1\n    zonefile-load: difference-no-serial\n    journal-content: all\n    \
             acl: xfr\n    notify: next\n    dnssec-signing: on\n    dnssec-policy: standard\n"
        );
        fs::write(dir.join("knot.conf"), conf).expect("written");
        let process = daemon("knotd", &dir, &["-c", &dir.join("knot.conf").display().to_string()]);
        wait_for_signatures(port);
        Self { _process: process, dir, port }
    }
}

impl Former for SigningKnot {
    fn keys(&self) -> (&'static str, Vec<(&'static str, String)>) {
        let path = |name: &str| self.dir.join(name).display().to_string();
        ("Keys of Knot", vec![("KNOT_CONF", path("knot.conf")), ("KASP", path("keys"))])
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn publish(&self, text: &str) -> bool {
        fs::write(self.dir.join("zone"), records(7, text)).expect("written");
        let mut knotc = common::peer("knotc").expect("it was there");
        common::run(knotc.arg("-c").arg(self.dir.join("knot.conf")).args(["zone-reload", ZONE]));
        true
    }
}

/// Key files without times, as the key manager of Cascade keeps them, and NSD with a zone that was signed with them.
pub struct KeysOfCascade {
    _process: Process,
    dir: PathBuf,
    port: u16,
}

impl KeysOfCascade {
    pub fn start(dir: &Path) -> Self {
        let dir = dir.join("former");
        fs::create_dir_all(dir.join("keys")).expect("a folder");
        let keys = dir.join("keys");
        for flags in [&["-f", "KSK"][..], &[]] {
            let mut keygen = common::peer("dnssec-keygen").expect("it was there");
            common::run(keygen.arg("-K").arg(&keys).args(["-L", "3600", "-a", "13"]).args(flags).arg(ZONE));
        }
        let zone = dir.join("zone");
        fs::write(&zone, records(7, "first")).expect("written");
        let mut sign = common::peer("dnssec-signzone").expect("it was there");
        sign.args(["-S", "-o", ZONE, "-K"]).arg(&keys).arg("-f").arg(dir.join("signed")).arg(&zone);
        common::run(sign.current_dir(&dir));
        // Its files have neither times nor remarks, and are of format v1.2.
        for entry in fs::read_dir(&keys).expect("a folder").flatten() {
            let text = fs::read_to_string(entry.path()).expect("text");
            let is_kept = |line: &&str| {
                !line.starts_with(';')
                    && !["Created", "Publish", "Activate", "SyncPublish"]
                        .iter()
                        .any(|time| line.starts_with(&format!("{time}:")))
            };
            let text: String =
                text.lines().filter(is_kept).map(|line| line.replace("v1.3", "v1.2") + "\n").collect();
            fs::write(entry.path(), text).expect("written");
        }
        let (at, port) = (dir.display(), common::free_port());
        let conf = format!(
            "server:\n  ip-address: 127.0.0.1@{port}\n  port: {port}\n  username: \"\"\n  zonesdir: \"{at}\"\n  pidfile: \"\"\n  logfile: \"{at}/log\"\n\
             \x20 xfrdfile: \"{at}/xfrd\"\n  xfrdir: \"{at}\"\n  zonelistfile: \"{at}/zonelist\"\n  server-count: 1\nremote-control:\n  control-enable: no\n\
             key:\n  name: \"xfr\"\n  algorithm: hmac-sha256\n  secret: \"{SECRET}\"\nzone:\n  name: \"{ZONE}\"\n  zonefile: \"signed\"\n  provide-xfr: 127.0.0.1 xfr\n"
        );
        fs::write(dir.join("nsd.conf"), conf).expect("written");
        let process = daemon("nsd", &dir, &["-d", "-c", &dir.join("nsd.conf").display().to_string()]);
        wait_for_signatures(port);
        Self { _process: process, dir, port }
    }
}

impl Former for KeysOfCascade {
    fn keys(&self) -> (&'static str, Vec<(&'static str, String)>) {
        ("Keys of Cascade", vec![("CASCADE_KEYS", self.dir.join("keys").display().to_string())])
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn publish(&self, _: &str) -> bool {
        false
    }
}

/// The enforcer and the signer of OpenDNSSEC, with a token of SoftHSM. The folders that are compiled into its programs are folders of the
/// test, by a mount namespace of their own.
pub struct OpenDnssec {
    _process: Process,
    dir: PathBuf,
    port: u16,
}

/// The programs of OpenDNSSEC, and the right to make namespaces.
pub struct OpenDnssecPrograms;

impl OpenDnssec {
    /// `None` after a loud word where they are not here.
    pub fn programs() -> Option<OpenDnssecPrograms> {
        if !Path::new("/usr/sbin/ods-signerd").exists() {
            eprintln!("SKIPPED: OpenDNSSEC is not here; not every release of Debian has it");
            return None;
        }
        for program in [
            "softhsm2-util",
            "ods-enforcerd",
            "ods-signerd",
            "ods-enforcer",
            "ods-enforcer-db-setup",
            "unshare",
            "nsenter",
        ] {
            common::of_system(program)?;
        }
        if common::stdout(Command::new("id").arg("-u")).trim() != "0" {
            return common::missing("the right to make mount namespaces (root)");
        }
        Some(OpenDnssecPrograms)
    }
}

const CONF: &str = r#"<Configuration><RepositoryList><Repository name="SoftHSM"><Module>/usr/lib/softhsm/libsofthsm2.so</Module>
<TokenLabel>OpenDNSSEC</TokenLabel><PIN>1234</PIN></Repository></RepositoryList>
<Common><Logging><Verbosity>3</Verbosity></Logging><PolicyFile>/etc/opendnssec/kasp.xml</PolicyFile><ZoneListFile>/etc/opendnssec/zonelist.xml</ZoneListFile></Common>
<Enforcer><Datastore><SQLite>/var/lib/opendnssec/db/kasp.db</SQLite></Datastore><AutomaticKeyGenerationPeriod>P1D</AutomaticKeyGenerationPeriod><WorkingDirectory>/var/lib/opendnssec/enforcer</WorkingDirectory></Enforcer>
<Signer><WorkingDirectory>/var/lib/opendnssec/signer</WorkingDirectory><WorkerThreads>1</WorkerThreads>
<Listener><Interface><Address>127.0.0.1</Address><Port>PORT</Port></Interface></Listener></Signer></Configuration>
"#;
const KASP: &str = r#"<KASP><Policy name="default"><Description>short</Description>
<Signatures><Resign>PT2H</Resign><Refresh>P3D</Refresh><Validity><Default>P14D</Default><Denial>P14D</Denial></Validity><Jitter>PT12H</Jitter><InceptionOffset>PT3600S</InceptionOffset><MaxZoneTTL>PT2S</MaxZoneTTL></Signatures>
<Denial><NSEC/></Denial>
<Keys><TTL>PT3600S</TTL><RetireSafety>PT0S</RetireSafety><PublishSafety>PT0S</PublishSafety><Purge>P14D</Purge>
<KSK><Algorithm length="256">13</Algorithm><Lifetime>P1Y</Lifetime><Repository>SoftHSM</Repository></KSK>
<ZSK><Algorithm length="256">13</Algorithm><Lifetime>P90D</Lifetime><Repository>SoftHSM</Repository></ZSK></Keys>
<Zone><PropagationDelay>PT1S</PropagationDelay><SOA><TTL>PT2S</TTL><Minimum>PT2S</Minimum><Serial>counter</Serial></SOA></Zone>
<Parent><PropagationDelay>PT1S</PropagationDelay><DS><TTL>PT1S</TTL></DS><SOA><TTL>PT1S</TTL><Minimum>PT1S</Minimum></SOA></Parent>
</Policy></KASP>
"#;
const ADDNS: &str = "<Adapter><DNS><TSIG><Name>xfr</Name><Algorithm>hmac-sha256</Algorithm><Secret>SECRET</Secret></TSIG><Outbound><ProvideTransfer><Peer><Prefix>127.0.0.1</Prefix><Key>xfr</Key></Peer></ProvideTransfer></Outbound></DNS></Adapter>\n";
const ZONES: &str = r#"<ZoneList><Zone name="ZONE"><Policy>default</Policy><SignerConfiguration>/var/lib/opendnssec/signconf/ZONE.xml</SignerConfiguration>
<Adapters><Input><Adapter type="File">/var/lib/opendnssec/unsigned/ZONE</Adapter></Input><Output><Adapter type="DNS">/etc/opendnssec/addns.xml</Adapter></Output></Adapters></Zone></ZoneList>
"#;
/// Mounts the folders, starts both daemons, and waits for them.
const START: &str = r#"
mount --bind "$1/etc" /etc/opendnssec; mount --bind "$1/run" /run/opendnssec; mount --bind "$1/var" /var/lib/opendnssec
yes | ods-enforcer-db-setup >/dev/null
is_there() { n=0; until [ -S "$1" ]; do sleep 0.1; n=$((n + 1)); [ $n -lt 300 ]; done; }
ods-enforcerd -d >"$1/enforcer.out" 2>&1 & enforcer=$!
signer=
trap 'kill $enforcer $signer || :; sleep 0.5; kill -9 $enforcer $signer || :; exit' TERM
is_there /run/opendnssec/enforcer.sock
ods-enforcer policy import
ods-signerd -d >"$1/signer.out" 2>&1 & signer=$!
is_there /run/opendnssec/engine.sock
ods-enforcer zonelist import
: >"$1/started"
wait $signer
"#;

impl OpenDnssecPrograms {
    pub fn start(self, dir: &Path) -> OpenDnssec {
        let dir = dir.join("former");
        let folders =
            ["etc", "run", "var/db", "var/enforcer", "var/signer", "var/signconf", "var/unsigned", "tokens"];
        folders.iter().for_each(|name| fs::create_dir_all(dir.join(name)).expect("a folder"));
        let port = common::free_port();
        let write = |name: &str, text: String| fs::write(dir.join(name), text).expect("written");
        write("etc/conf.xml", CONF.replace("PORT", &port.to_string()));
        write("etc/kasp.xml", KASP.to_owned());
        write("etc/addns.xml", ADDNS.replace("SECRET", SECRET));
        write("etc/zonelist.xml", ZONES.replace("ZONE", ZONE));
        write(&format!("var/unsigned/{ZONE}"), records(7, "first"));
        write("softhsm2.conf", format!("directories.tokendir = {}\n", dir.join("tokens").display()));
        let softhsm = dir.join("softhsm2.conf");
        let mut token = common::of_system("softhsm2-util").expect("it was there");
        token.args([
            "--init-token",
            "--free",
            "--label",
            "OpenDNSSEC",
            "--so-pin",
            "12345678",
            "--pin",
            "1234",
        ]);
        common::run(token.env("SOFTHSM2_CONF", &softhsm));
        // The folders that the packages make.
        for folder in ["/run/opendnssec", "/var/lib/opendnssec", "/etc/opendnssec"] {
            fs::create_dir_all(folder).expect("a folder");
        }
        let mut shell = Command::new("unshare");
        shell.args(["-m", "sh", "-euc", START, "sh"]).arg(&dir).env("SOFTHSM2_CONF", &softhsm);
        let output = fs::File::create(dir.join("output")).expect("a file");
        shell.stdin(Stdio::null()).stdout(output.try_clone().expect("a file")).stderr(output);
        let process = Process(shell.spawn().expect("unshare"));
        common::wait_for("OpenDNSSEC", LIMIT, || dir.join("started").exists().then_some(()));
        wait_for_signatures(port);
        // Commands of the page reach it in its namespace.
        let bin = dir.with_file_name("site").join("bin");
        fs::create_dir_all(&bin).expect("a folder");
        let wrapped =
            format!("#!/bin/sh\nexec nsenter -t {} -m /usr/sbin/ods-enforcer \"$@\"\n", process.0.id());
        fs::write(bin.join("ods-enforcer"), wrapped).expect("written");
        common::run(Command::new("chmod").arg("755").arg(bin.join("ods-enforcer")));
        OpenDnssec { _process: process, dir, port }
    }
}

impl Former for OpenDnssec {
    fn keys(&self) -> (&'static str, Vec<(&'static str, String)>) {
        ("Keys of OpenDNSSEC", Vec::new())
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("SOFTHSM2_CONF", self.dir.join("softhsm2.conf").display().to_string())]
    }

    fn publish(&self, _: &str) -> bool {
        false
    }
}
