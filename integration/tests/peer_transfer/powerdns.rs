//! PowerDNS, configured as the manual says: from one as primary through our signer to one as secondary and to one that reads our catalog; and
//! as the producer of a catalog whose zones our `serve` has.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use keystore::clock;
use keystore::exchange::testing::TestKey;
use metrics::health::ZoneHealth;
use metrics::health::model::ZoneSigning;
use offline_ksk_integration::serve::ServeProcess;
use skr_loader::control::{ControlAnswer, ControlRequest, call};

use crate::common;
use crate::incoming::{Ours, text, txt_at};
use crate::primary::{self, Primary, ZONE};
use crate::secondaries::{block_of, changed};
use crate::{STALE, follow_every_version, is_soak, records_at, serial_at, validate_file, write_zone};

const PAGE: &str = include_str!("../../../docs/manual/powerdns.md");
/// Longest time for what PowerDNS does by its own timer, of one second here, on a machine with other work.
const LIMIT: Duration = Duration::from_secs(30);
const CHANGES: u32 = 4;

/// A PowerDNS in a folder of its own, which ends when it is dropped.
struct Peer {
    address: SocketAddr,
    dir: PathBuf,
    child: Child,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.dir.display(), self.log());
        }
    }
}

impl Peer {
    /// Runs the commands of `zone`, then starts it with the settings of `heading`, both of the page, on `port` of 127.0.0.1.
    fn start(dir: &Path, [heading, zone]: [&str; 2], changes: &[(&str, &str)], port: u16) -> Self {
        Self::start_with(dir, heading, &block_of(PAGE, zone), changes, port)
    }

    /// The same with any commands in front.
    fn start_with(dir: &Path, heading: &str, commands: &str, changes: &[(&str, &str)], port: u16) -> Self {
        std::fs::create_dir_all(dir).expect("a folder");
        let listen = format!("local-address=127.0.0.1\nlocal-port={port}");
        let settings = block_of(PAGE, &format!("{heading}: `pdns.conf`"));
        let settings = settings.replace("local-address=192.0.2.56", &listen);
        let settings = settings.replace("local-address=192.0.2.10", &listen);
        let settings = made(dir, &settings, changes);
        let own =
            format!("socket-dir={}\nxfr-cycle-interval=1\nquery-cache-ttl=10\nloglevel=6\n", dir.display());
        std::fs::write(dir.join("pdns.conf"), format!("{own}{settings}")).expect("write");
        is_good(&shell(dir, &made(dir, commands, changes)));
        let output = std::fs::File::create(dir.join("output")).expect("a file");
        let mut command = common::of_system("pdns_server").expect("it was there");
        command.args(["--daemon=no", "--guardian=no"]).arg(format!("--config-dir={}", dir.display()));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let peer = Self { address, dir: dir.to_owned(), child: child.expect("it starts") };
        common::wait_for("PowerDNS", LIMIT, || dir.join("pdns.controlsocket").exists().then_some(()));
        peer
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("output")).unwrap_or_default()
    }
}

/// A block with the paths of the folder, and those of `changes` that it has a place for.
fn made(dir: &Path, block: &str, changes: &[(&str, &str)]) -> String {
    let text = block.replace("/var/lib/powerdns", &dir.display().to_string());
    changes.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

/// Runs commands of the page against the PowerDNS of the folder.
fn shell(dir: &Path, commands: &str) -> Output {
    let place = format!("--config-dir={0} --socket-dir={0}", dir.display());
    let tools = ["pdnsutil", "pdns_control"].map(|tool| {
        let place = if tool == "pdnsutil" { place.split(' ').next().unwrap_or_default() } else { &place };
        format!("{tool}() {{ command {tool} {place} \"$@\"; }}\n")
    });
    let mut shell = Command::new("sh");
    shell.arg("-euc").arg(tools.concat() + commands).stdin(Stdio::null()).output().expect("a shell")
}

fn is_good(output: &Output) {
    assert!(output.status.success(), "{}", common::text(output));
}

/// The serial that it answers us with, as a cache of unsigned answers is another one.
fn signed_serial_at(address: SocketAddr) -> String {
    let key = format!("hmac-sha256:{}:{}", primary::KEY, primary::SECRET);
    let mut dig = common::peer("dig").expect("it was there");
    dig.args(["@127.0.0.1", "-p", &address.port().to_string(), "+tcp", "+short", "-y", &key, ZONE, "SOA"]);
    common::stdout(&mut dig).split(' ').nth(2).expect("a serial").to_owned()
}

fn publish(file: &Path, serial: u32) {
    std::fs::write(file, text(serial)).expect("write");
}

#[test]
fn zone_goes_from_powerdns_through_our_signer_to_powerdns_and_into_its_catalog() {
    if ["dig", "kzonecheck", "ldns-verify-zone"].iter().any(|program| common::peer(program).is_none())
        || ["pdns_server", "pdnsutil", "sqlite3"].iter().any(|program| common::of_system(program).is_none())
    {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let [first, ours, last, consumer] = [(); 4].map(|()| common::free_port());
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("first")).expect("a folder");
    let file = at("first/example.com.zone");
    publish(&file, 1);
    let told = format!("also-notify=127.0.0.1:{ours}");
    // Its own look, a minute after the start, empties the cache.
    let settings =
        [("also-notify=192.0.2.1", told.as_str()), ("primary=yes", "primary=yes\nxfr-cycle-interval=60")];
    let source = Peer::start(&at("first"), ["As primary", "As primary: its zone"], &settings, first);
    let notify = [last, consumer].map(|port| format!("{{ address = \"127.0.0.1:{port}\", key = \"xfr\" }}"));
    let notify = notify.join(", ");
    let tables = changed(
        &block_of(PAGE, "The signer: `offline-ksk.toml`"),
        &[
            (
                "allow-transfer = [{ address = \"192.0.2.56\"",
                "min-retry = 1\nallow-transfer = [{ address = \"127.0.0.1\"",
            ),
            ("notify = [{ address = \"192.0.2.56\", key = \"xfr\" }]", &format!("notify = [{notify}]")),
        ],
    );
    let zone = format!(
        "[[zone]]\nname = \"{ZONE}\"\npolicy = \"common\"\ntrust-anchor-file = \"{ZONE}.anchors\"\nprimaries = [{{ address = \"{}\", key = \"xfr\" }}]\n",
        source.address
    );
    let config = primary::prepare(dir.path(), &format!("{zone}{tables}"));
    let us = Ours::start(&config, ours);
    let primary_is = format!(" 127.0.0.1:{ours}");
    let changes = [(" 192.0.2.1", primary_is.as_str())];
    let end = Peer::start(&at("last"), ["As secondary", "As secondary: its zone"], &changes, last);
    let by_catalog = Peer::start(
        &at("catalog"),
        ["As secondary", "As consumer of a catalog: its zone"],
        &changes,
        consumer,
    );
    common::wait_for("the zone of the catalog", LIMIT, || {
        by_catalog.log().contains("create zone 'example.com'").then_some(())
    });
    let given = block_of(PAGE, "As consumer of a catalog: a zone that has come");
    common::wait_for("the key of the zone", LIMIT, || {
        shell(&by_catalog.dir, &given).status.success().then_some(())
    });
    for serial in 1..=1 + CHANGES {
        if serial > 1 {
            publish(&file, serial);
            let commands = made(&at("first"), &block_of(PAGE, "As primary: after a change"), &[]);
            if serial <= CHANGES {
                is_good(&shell(&at("first"), &commands));
            } else {
                // NOTIFY comes while its cache has the old SOA record.
                let [load, _, notify] = commands.lines().collect::<Vec<_>>()[..] else {
                    panic!("{commands}")
                };
                let old = signed_serial_at(source.address);
                is_good(&shell(&at("first"), load));
                assert_eq!(signed_serial_at(source.address), old, "its cache has the old SOA record");
                is_good(&shell(&at("first"), notify));
            }
        }
        for peer in [&end, &by_catalog] {
            common::wait_for(&format!("serial {serial} at {}", peer.dir.display()), LIMIT, || {
                (txt_at(peer.address)? == format!("\"{serial}\"")).then_some(())
            });
        }
    }
    assert_eq!((us.transfers("axfr", "failed"), us.transfers("ixfr", "failed")), (0, 0));
    // PowerDNS answers IXFR with the whole zone: no SOA record stands between the first one and the last one.
    let key = format!("hmac-sha256:{}:{}", primary::KEY, primary::SECRET);
    let mut dig = common::peer("dig").expect("it was there");
    dig.args(["@127.0.0.1", "-p", &first.to_string(), "+noall", "+answer", "-y", &key, ZONE, "IXFR=1"]);
    let whole = common::stdout(&mut dig);
    let soas = whole.lines().filter(|line| line.contains("\tSOA\t")).count();
    assert!(soas == 2 && whole.lines().count() > 300, "{whole}");
    let validated = dir.path().join("validated");
    for peer in [&end, &by_catalog] {
        // Our last version may be a later one than the first that had the last text.
        common::wait_for(&format!("our last serial at {}", peer.dir.display()), LIMIT, || {
            (serial_at(peer.address)? == serial_at(us.address())?).then_some(())
        });
        write_zone(&records_at(peer.address, None), &validated);
        validate_file(&validated, clock::now());
    }
    // It takes all of a signed zone each time. The zone leaves with the catalog.
    assert!(!end.log().contains("IXFR-in"), "{}", end.log());
    let mut none = config.clone();
    none.zones.clear();
    us.signer.reload(&none).expect("the configuration");
    common::wait_for("the zone to leave with the catalog", LIMIT, || {
        serial_at(by_catalog.address).is_none().then_some(())
    });
    us.stop();
}

#[test]
fn powerdns_as_secondary_has_every_change_and_every_renewal_in_time() {
    if ["dig", "kzonecheck", "ldns-verify-zone"].iter().any(|program| common::peer(program).is_none())
        || ["pdns_server", "pdnsutil", "sqlite3"].iter().any(|program| common::of_system(program).is_none())
    {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let port = common::free_port();
    let tables = block_of(PAGE, "The signer: `offline-ksk.toml`");
    let transfer = changed(
        tables.split("[[catalog]]").next().expect("the table of transfers"),
        &[
            ("allow-transfer = [{ address = \"192.0.2.56\"", "allow-transfer = [{ address = \"127.0.0.1\""),
            ("notify = [{ address = \"192.0.2.56\"", &format!("notify = [{{ address = \"127.0.0.1:{port}\"")),
        ],
    );
    let mut primary = Primary::with(dir.path(), &transfer, 300, Duration::from_secs(10));
    let changes = [(" 192.0.2.1", &*format!(" 127.0.0.1:{}", primary.address.port()))];
    let secondary = Peer::start(
        &dir.path().join("secondary"),
        ["As secondary", "As secondary: its zone"],
        &changes,
        port,
    );
    let named = [("PowerDNS".to_owned(), secondary.address)];
    // It has a whole transfer and a database to write for each.
    let limit = if is_soak() { STALE } else { LIMIT };
    follow_every_version(&mut primary, &named, limit, dir.path());
    let key = format!("hmac-sha256:{}:{}", primary::KEY, primary::SECRET);
    let lower =
        |records: BTreeSet<String>| records.iter().map(|line| line.to_lowercase()).collect::<BTreeSet<_>>();
    let (ours, theirs) =
        (lower(records_at(primary.address, Some(&key))), lower(records_at(secondary.address, None)));
    let differs: Vec<_> = ours.symmetric_difference(&theirs).collect();
    assert!(differs.is_empty(), "{differs:#?}");
    primary.all_secondaries_are_seen(1);
}

/// Our `serve` in a folder, by what it says of itself.
struct Site(PathBuf);

impl Site {
    fn zones(&self) -> Option<Vec<ZoneHealth>> {
        let request = ControlRequest::Status { zones: Vec::new() };
        match call(&self.0.join("state/skr-loader.sock"), &request).ok()? {
            ControlAnswer::Status(health) => Some(health.zones),
            other => panic!("{other:?}"),
        }
    }

    fn has(&self, expected: &[(&str, ZoneSigning)], when: &str) {
        common::wait_for(when, LIMIT, || {
            let mut zones: Vec<_> = self.zones()?.into_iter().map(|zone| (zone.zone, zone.signing)).collect();
            zones.sort_by(|a, b| a.0.cmp(&b.0));
            zones
                .iter()
                .map(|(zone, signing)| (zone.as_str(), *signing))
                .eq(expected.iter().copied())
                .then_some(())
        });
    }
}

#[test]
fn zones_come_go_and_change_their_group_with_the_catalog_of_powerdns() {
    if ["pdns_server", "pdnsutil", "sqlite3"].iter().any(|program| common::of_system(program).is_none()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let [port, ours] = [(); 2].map(|()| common::free_port());
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("producer")).expect("a folder");
    std::fs::create_dir(at("anchors")).expect("a folder");
    let key = data_encoding::BASE64.encode(&TestKey::ksk(1).dnskey.public_key);
    for zone in [ZONE, "example.net"] {
        publish(&at(&format!("producer/{zone}.zone")), 1);
        let anchor = format!("{zone}. DNSKEY 257 3 15 {key}\n");
        std::fs::write(at(&format!("anchors/{zone}.ds")), anchor).expect("write");
    }
    let told = format!("also-notify=127.0.0.1:{ours}");
    let of_zone: String =
        block_of(PAGE, "As primary: its zone").lines().take(2).map(|line| format!("{line}\n")).collect();
    let commands = of_zone + &block_of(PAGE, "As producer of a catalog: its zone");
    let producer =
        Peer::start_with(&at("producer"), "As primary", &commands, &[("also-notify=192.0.2.1", &told)], port);
    let run = |zone: &str, heading: &str| {
        let commands = block_of(PAGE, &format!("As producer of a catalog: {heading}")).replace(ZONE, zone);
        is_good(&shell(&producer.dir, &made(&producer.dir, &commands, &[])));
    };
    primary::write_private(&at("xfr.key"), &crate::secondaries::block("The key"));
    let from_producer = format!("127.0.0.1:{port}");
    let table = |heading: &str| {
        changed(
            &block_of(PAGE, &format!("Zones from its catalog: {heading}")),
            &[("192.0.2.10", &from_producer)],
        )
    };
    for template in ["member.toml", "signed.toml"] {
        std::fs::write(at(template), table(&format!("`{template}`"))).expect("write");
    }
    let tables =
        changed(&table("`offline-ksk.toml`"), &[("\n\n[[catalog]]", "\nmin-retry = 1\n\n[[catalog]]")]);
    let config = format!(
        "version = 1\nstate-dir = \"state\"\n[ksr]\nenabled = false\n[signer]\nlisten = [\"127.0.0.1:{ours}\"]\n[policy.common]\noffline-ksk = true\n\
         keys = [{{ role = \"ksk\", lifetime = 0, algorithm = 15 }}, {{ role = \"zsk\", lifetime = 0, algorithm = 15 }}]\n{tables}"
    );
    std::fs::write(at("offline-ksk.toml"), config).expect("write");
    let serving = ServeProcess::start(&at("offline-ksk.toml")).expect("it serves without a zone");
    let site = Site(dir.path().to_owned());
    let (com, net) = ("example.com.", "example.net.");
    run(ZONE, "a zone comes");
    run("example.net", "a zone comes");
    site.has(&[(com, ZoneSigning::Unsigned), (net, ZoneSigning::Unsigned)], "both zones");
    let address = SocketAddr::from(([127, 0, 0, 1], ours));
    common::wait_for("the content of one", LIMIT, || (txt_at(address)? == "\"1\"").then_some(()));
    run(ZONE, "a zone changes its group");
    site.has(&[(com, ZoneSigning::Online), (net, ZoneSigning::Unsigned)], "the template of the group");
    run("example.net", "a zone leaves");
    site.has(&[(com, ZoneSigning::Online)], "one zone");
    serving.stop();
}
