//! NOTIFY(CDS): the parent is a signed zone at named with a DSYNC record, unbound validates, `serve` has the child, and a socket takes what
//! is sent.

use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use keystore::clock;
use keystore::crypto::PrivateKey;
use keystore::dns::{Name, Rtype, rdata};
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::timing::State;
use keystore::keys::{KeyFile, Timing};
use keystore::store::{digest, format_current};
use keystore::time::Timestamp;
use offline_ksk_integration::serve::ServeProcess;

use crate::common::{self, Named};

pub const ZONE: &str = "child.test.";
/// Octets of a NOTIFY(CDS) for [`ZONE`] behind its ID: NOTIFY with AA, one question, CDS, IN.
const MESSAGE: &[u8] = b"\x24\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05child\x04test\x00\x00\x3b\x00\x01";

/// A named with the zone `test`, signed, with these records and the address of the receiver. The path is that of its DNSKEY record.
pub fn parent(dir: &Path, records: &str) -> Option<(Named, std::path::PathBuf)> {
    let mut keygen = common::peer("dnssec-keygen")?;
    let mut signzone = common::peer("dnssec-signzone")?;
    fs::create_dir(dir).expect("a folder");
    let base = common::stdout(keygen.args(["-q", "-a", "13", "-f", "KSK", "-K"]).arg(dir).arg("test."));
    // What the records of before the roll ask for.
    let ds = TestKey::ksk(1).dnskey.ds_rdata(&Name::parse(ZONE).expect("a name"), 2).expect("SHA-256");
    let ds = rdata::to_text(Rtype::DS, &ds, None);
    let zone = format!(
        "$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\nscanner A 127.0.0.1\nchild NS ns.child\nns.child A 127.0.0.1\nchild DS {ds}\n{records}\n"
    );
    fs::write(dir.join("unsigned"), zone).expect("write");
    let arguments = ["-q", "-z", "-S", "-K", ".", "-o", "test", "-f", "signed", "unsigned"];
    common::run(signzone.current_dir(dir).args(arguments));
    let named = Named::start(dir, "zone \"test\" { type primary; file \"signed\"; };")?;
    Some((named, dir.join(format!("{}.key", base.trim()))))
}

/// An unbound that validates with the key of the parent.
pub struct Resolver {
    process: Child,
    pub port: u16,
}

impl Resolver {
    pub fn start(dir: &Path, anchor: &Path, parent: u16) -> Option<Self> {
        Self::with(dir, anchor, &[("test", parent)])
    }

    /// `stubs`: each zone, and the port where it is served.
    pub fn with(dir: &Path, anchor: &Path, stubs: &[(&str, u16)]) -> Option<Self> {
        let mut unbound = common::peer("unbound")?;
        fs::create_dir(dir).expect("a folder");
        let port = common::free_port();
        let mut text = format!(
            "server:\n  interface: 127.0.0.1@{port}\n  port: {port}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n  \
             use-syslog: no\n  do-daemonize: no\n  num-threads: 1\n  do-not-query-localhost: no\n  module-config: \"validator iterator\"\n  \
             local-zone: \"test.\" nodefault\n  trust-anchor-file: \"{anchor}\"\nremote-control:\n  control-enable: no\n",
            dir = dir.display(),
            anchor = anchor.display(),
        );
        for (zone, at) in stubs {
            text.push_str(&format!(
                "stub-zone:\n  name: \"{zone}\"\n  stub-addr: 127.0.0.1@{at}\n  stub-prime: no\n"
            ));
        }
        fs::write(dir.join("unbound.conf"), text).expect("write");
        let log = fs::File::create(dir.join("log")).expect("a log");
        unbound.args(["-d", "-c"]).arg(dir.join("unbound.conf")).stdout(Stdio::null()).stderr(log);
        let resolver = Self { process: unbound.spawn().expect("unbound starts"), port };
        // Who asks once must not come before it listens.
        common::wait_for("unbound listens", Duration::from_secs(30), || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Some(resolver)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Takes what is sent to a port, and answers with NOERROR.
fn receiver() -> (u16, Receiver<(Instant, Vec<u8>)>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("an address").port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let message = buffer[..len].to_vec();
            let mut answer = message.clone();
            answer[2] |= 0x80;
            let _ = (socket.send_to(&answer, from), tell.send((Instant::now(), message)));
        }
    });
    (port, told)
}

/// A host that serves [`ZONE`], whose KSK changes at `roll`.
pub fn host(dir: &Path, roll: Timestamp, resolver: u16, dns: u16) {
    const ALL: (Timestamp, Timestamp) = (Timestamp::EPOCH, Timestamp::MAX);
    fs::create_dir_all(dir.join("state/keys")).expect("a folder");
    let long_ago = Some(Timestamp::from_secs(1_000_000_000));
    let timing = Timing { created: long_ago, publish: long_ago, activate: long_ago, ..Timing::default() };
    let state = State { lifetime: Some(0), zsk: Some(true), ksk: Some(false), ..State::default() };
    let (zone, dnskey) = (Name::parse(ZONE).expect("a name"), TestKey::zsk(2).dnskey);
    let key = KeyFile { zone, ttl: 3600, dnskey, timing, state: Some(state), dir: dir.join("state/keys") };
    key.write(&PrivateKey::Raw(vec![2; 32])).expect("a key");
    let day = 86_400;
    let skr = SkrBuilder::new(ZONE, roll.minus(day))
        .step(day)
        .bundles(3)
        .ksk_during(TestKey::ksk(1), ALL, (Timestamp::EPOCH, roll))
        .ksk_during(TestKey::ksk(5), ALL, (roll, Timestamp::MAX));
    let accepted = dir.join("state/accepted").join(ZONE);
    fs::create_dir_all(&accepted).expect("a folder");
    fs::write(accepted.join("1.skr"), skr.text()).expect("write");
    fs::write(accepted.join("current"), format_current(1, &digest(skr.text().as_bytes()))).expect("write");
    let records = "$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\n";
    fs::write(dir.join("zone"), records).expect("write");
    let anchors: Vec<String> = [1, 5]
        .map(|seed| data_encoding::BASE64.encode(&TestKey::ksk(seed).dnskey.public_key))
        .map(|key| format!("\"{ZONE} DNSKEY 257 3 15 {key}\""))
        .into();
    let config = format!(
        "version = 1\nstate-dir = \"state\"\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"p\"\nfile = \"zone\"\ntrust-anchors = [{}]\n\
         [policy.p]\noffline-ksk = true\nkeys = [{{ role = \"ksk\", lifetime = 0, algorithm = 15 }}, {{ role = \"zsk\", lifetime = 0, \
         algorithm = 15 }}]\n[signer]\nlisten = [\"127.0.0.1:{dns}\"]\n[ksr]\nenabled = false\n[loader]\n\
         parent-resolver = \"127.0.0.1:{resolver}\"\n[parent]\nservers = [\"127.0.0.1:{dns}\"]\n",
        anchors.join(", ")
    );
    fs::write(dir.join("config.toml"), config).expect("write");
}

/// One parent with this owner of its DSYNC record, which names the receiver for the child or does not.
fn told_of(owner: &str, names_us: bool) {
    let temp = tempfile::tempdir().expect("a folder");
    let (port, told) = receiver();
    let dsync = format!("{owner} DSYNC CDS NOTIFY {port} scanner");
    let Some((named, anchor)) = parent(&temp.path().join("parent"), &dsync) else { return };
    let Some(resolver) = Resolver::start(&temp.path().join("resolver"), &anchor, named.port) else { return };
    let roll = clock::now().plus(5);
    let dir = temp.path().join("host");
    host(&dir, roll, resolver.port, common::free_port());
    let serving = ServeProcess::start(&dir.join("config.toml")).expect("it serves");
    if !names_us {
        let note = dir.join("state/parent").join(ZONE);
        let told_at =
            || fs::read_to_string(&note).ok().filter(|text| clock::now() > roll && text.contains("told"));
        common::wait_for("the look-up", Duration::from_secs(60), || {
            let text = told_at()?;
            // The bundle behind the roll needs no NOTIFY any more.
            let (_, at) = text.split_once("\"told-at\":")?;
            let at: u64 = at.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
            (at >= roll.secs()).then_some(())
        });
        assert!(told.try_recv().is_err(), "{owner}");
        return serving.stop();
    }
    let message = || told.recv_timeout(Duration::from_secs(60)).expect("a NOTIFY");
    let until = Instant::now() + clock::until(roll);
    // The parent has the DS records that the bundle of before asks for, and is not told of that.
    let (at, message) = message();
    assert_eq!(&message[2..], MESSAGE, "{owner}");
    // Before the switch would be too early; a busy machine may be late, and the figure is for who reads the output.
    assert!(at >= until, "{owner}: told before the switch");
    println!("{owner}: told {} ms after the switch", at.duration_since(until).as_millis());
    common::holds_for("silence", Duration::from_millis(300), || told.try_recv().is_err());
    serving.stop();
}

/// The wildcard, the name of the child and the apex are the places of RFC 9859 section 3; a name of another child does not count.
#[test]
fn parent_is_told_through_unbound_when_serve_switches_to_a_bundle_with_other_cds_records() {
    let cases = [("*._dsync", true), ("_dsync", true), ("child._dsync", true), ("other._dsync", false)];
    std::thread::scope(|scope| {
        for (owner, names_us) in cases {
            scope.spawn(move || told_of(owner, names_us));
        }
    });
}
