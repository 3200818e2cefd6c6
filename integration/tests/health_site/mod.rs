//! A state folder as the daemons leave it, with a watch of its health and its endpoint in this process. The reports of the daemons are
//! files, as they are between processes; so a test can say what a daemon says.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keystore::clock;
use keystore::config::{Config, MetricsConfig};
use keystore::crypto::PrivateKey;
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{KeyFile, Timing};
use keystore::store::{digest, format_current, skr_path, zone_dir};
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::health::report::{
    Component, ComponentReport, Delivery, InboxReport, ServedReport, TimerLook, Writer, ZoneReport,
    ZoneReports,
};
use metrics::health::routes::Pages;
use metrics::health::watch::{HealthWatch, Watched};
use metrics::http::{self, Endpoint, Guard, RunningEndpoint};
use skr_loader::audit::{AuditEvent, AuditWriter, Record};
use skr_loader::watching::AUDIT;

pub const ZONE: &str = "example.test.";
const DAY: u64 = 86_400;
/// Seeds of the keys that [`SkrBuilder`] takes.
const KSK: u8 = 1;
const ZSK: u8 = 2;

/// The folder, and who shows it.
pub struct Site {
    dir: tempfile::TempDir,
    pub watch: Watch,
}

/// The health of a configuration, watched and shown by this process.
pub struct Watch {
    pub metrics: Metrics,
    endpoint: RunningEndpoint,
    _watch: HealthWatch,
}

impl Watch {
    pub fn start(config_file: &Path) -> Self {
        let config = Config::load(config_file).expect("a configuration");
        let metrics = Metrics::new().expect("families register");
        let watched = Watched {
            host: (&config).into(),
            config_file: config_file.to_owned(),
            audit: AUDIT,
            metrics: metrics.clone(),
            guard: None,
            revisions: Vec::new(),
        };
        let watch = HealthWatch::start(watched, |_| Vec::new()).expect("a thread");
        let pages = Pages::new(watch.newest());
        let endpoint = Endpoint::new(metrics.clone(), || 0, move |request| pages.answer(request));
        let listen = "127.0.0.1:0".parse().expect("an address");
        let guard = Guard::load(&MetricsConfig::at(listen)).expect("no web-config");
        let endpoint = http::serve(listen, endpoint, guard).expect("bind");
        Self { metrics, endpoint, _watch: watch }
    }

    pub fn port(&self) -> u16 {
        self.endpoint.address().port()
    }
}

impl Site {
    /// A healthy zone: covered for half a year, with its ZSK, and three daemons that say that all is well.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("state/keys")).expect("a folder");
        fs::create_dir_all(dir.path().join("other-keys")).expect("a folder");
        fs::write(dir.path().join("config.toml"), config(dir.path())).expect("write");
        Files(dir.path().to_owned()).heal();
        Self { watch: Watch::start(&dir.path().join("config.toml")), dir }
    }

    pub fn files(&self) -> Files {
        Files(self.dir.path().to_owned())
    }

    /// The body of a page, and its status line.
    pub fn get(&self, path: &str) -> (String, String) {
        get(self.watch.endpoint.address(), path)
    }

    /// `offline-ksk status` with these arguments.
    pub fn status(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_offline-ksk"))
            .args(["status", "-c"])
            .arg(self.dir.path().join("config.toml"))
            .args(arguments)
            .output()
            .expect("the program runs")
    }
}

/// Status line with header, and body.
pub fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("connect");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("write");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("read");
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn config(dir: &Path) -> String {
    let key = TestKey::ksk(KSK).dnskey;
    let anchor = format!("{ZONE} 3600 IN DNSKEY 257 3 15 {}", data_encoding::BASE64.encode(&key.public_key));
    fs::write(dir.join("zone"), "").expect("write");
    format!(
        "version = 1\nstate-dir = \"state\"\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"p\"\nfile = \"zone\"\n\
         trust-anchors = [\"{anchor}\"]\n[signer]\nlisten = [\"127.0.0.1:0\"]\n[ksr]\nlead = \"P20D\"\n\
         [policy.p]\noffline-ksk = true\nkeys = [\n  {{ role = \"ksk\", lifetime = \"unlimited\", algorithm = \"ed25519\" }},\n  \
         {{ role = \"zsk\", lifetime = \"unlimited\", algorithm = \"ed25519\" }},\n]\n"
    )
}

/// The files of a site, by which conditions are brought about and mended.
pub struct Files(PathBuf);

impl Files {
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Everything as it should be.
    pub fn heal(&self) {
        self.accept(&SkrBuilder::new(ZONE, now().minus(DAY)).bundles(20));
        let timing =
            Timing { publish: Some(now().minus(DAY)), activate: Some(now().minus(DAY)), ..Timing::default() };
        self.write_key(&TestKey::zsk(ZSK), ZSK, timing);
        // The last line of a log has nobody behind it that would vouch for it.
        self.record(Record { generation: Some(1), ..record(AuditEvent::Accepted) });
        self.record(Record::new(now(), AuditEvent::Started));
        for component in [Component::SkrLoader, Component::Requests, Component::Signer] {
            self.report(component, |_| (), |_| ());
        }
    }

    /// Puts an SKR in force, as the loader does.
    pub fn accept(&self, builder: &SkrBuilder) {
        let folder = zone_dir(&self.path("state/accepted"), &zone());
        fs::create_dir_all(&folder).expect("a folder");
        let text = builder.text();
        fs::write(skr_path(&folder, 1), &text).expect("write");
        fs::write(folder.join("current"), format_current(1, &digest(text.as_bytes()))).expect("write");
    }

    fn write_key(&self, key: &TestKey, seed: u8, timing: Timing) -> KeyFile {
        let file = KeyFile {
            zone: zone(),
            ttl: 3600,
            dnskey: key.dnskey.clone(),
            timing,
            state: None,
            dir: self.path("state/keys"),
        };
        file.write(&PrivateKey::Raw(vec![seed; 32])).expect("written");
        file
    }

    /// Adds a line to the audit log.
    pub fn record(&self, record: Record) {
        AuditWriter::open(&self.path("state/audit.jsonl")).expect("the log").append(record).expect("a line");
    }

    /// Writes the report of a daemon; `change` makes it say something else than that all is well.
    pub fn report(
        &self,
        component: Component,
        change: impl FnOnce(&mut ComponentReport),
        change_zone: impl FnOnce(&mut ZoneReport),
    ) {
        let mut report = ComponentReport::new(component, now().minus(DAY), now());
        report.valid_for_seconds = 3600;
        if component == Component::SkrLoader {
            report.inbox = Some(InboxReport {
                folder: self.path("state/inbox").display().to_string(),
                watched: true,
                trouble: None,
                last_scan: Some(now()),
                scan_interval: 3600,
                pending: Vec::new(),
            });
        }
        change(&mut report);
        let mut zone = match component {
            Component::Signer => ZoneReport {
                served: Some(ServedReport {
                    loaded: true,
                    validly_signed: true,
                    generation: 1,
                    serial: 7,
                    zsk_expires: Some(now().plus(10 * DAY)),
                    refresh_seconds: 5 * DAY,
                    ..ServedReport::default()
                }),
                ..ZoneReport::default()
            },
            Component::Requests => ZoneReport { timer: Some(TimerLook::default()), ..ZoneReport::default() },
            Component::SkrLoader => ZoneReport {
                deliveries: vec![Delivery {
                    target: "ns1".to_owned(),
                    up: true,
                    current: true,
                    generation: 1,
                    last_proof: Some(now()),
                    cause: None,
                }],
                ..ZoneReport::default()
            },
            Component::Probe | Component::Pair => ZoneReport::default(),
        };
        change_zone(&mut zone);
        let zones: ZoneReports = [(ZONE.to_owned(), zone)].into();
        let mut writer = Writer::new(&self.path("state"), component);
        writer.write(&report, &zones.into()).expect("written");
        // A writer that goes takes its file with it.
        std::mem::forget(writer);
    }

    /// As if the daemon had ended.
    pub fn end(&self, component: Component) {
        fs::remove_file(metrics::health::report::path(&self.path("state"), component)).expect("it was there");
    }
}

pub fn record(event: AuditEvent) -> Record {
    Record { zone: Some(ZONE.to_owned()), ..Record::new(now(), event) }
}

pub fn now() -> Timestamp {
    clock::now()
}

fn zone() -> Name {
    Name::parse(ZONE).expect("a name")
}
