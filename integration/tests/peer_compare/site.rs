//! The hard zone, signed: served by our server, and as a file for the others.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::clock;
use keystore::config::{Signing, Verify};
use keystore::cookie_secrets::CookieSecrets;
use keystore::crypto::PrivateKey;
use keystore::dns::{Name, Rtype, rdata};
use keystore::exchange::TrustAnchor;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{KeyFile, Timing};
use keystore::policy::Nsec3Param;
use keystore::{durable, store};
use metrics::Metrics;
use metrics::http::{CertificateFiles, LoadedCertificate};
use signer_plugin::border::SignerHandler;
use signer_plugin::hosted::{Hosted, Responder};
use signer_plugin::protocol::{QuerySettings, SharedSettings};
use signer_plugin::rules::{DnssecRecords, ZoneRules};
use signer_plugin::runtime::{
    ContentRules, ContentSource, RollDelays, SignerZone, VersionRules, ZoneRuntime, ZoneSetup,
};
use signer_plugin::server::{Listen, Server};
use signer_plugin::signing::SigningTimes;

use crate::certificate;

pub const ZONE: &str = "hard.test.";
/// The certificate of all servers, in the folder of the site: `server.crt` and `server.key`.
pub const SERVER: &str = "server";
/// The name that it is for.
pub const SERVER_NAME: &str = "server.example";
const HARD: &str = include_str!("hard.zone");

/// Our server with the zone.
pub struct Site {
    pub dir: PathBuf,
    /// The zone as it is served, as a master file.
    pub signed: PathBuf,
    /// DNSKEY of the KSK, as a record.
    pub anchor: String,
    pub address: SocketAddr,
    /// Where our server speaks DNS over TLS.
    pub tls: SocketAddr,
    /// Where our server speaks DNS over HTTPS.
    pub https: SocketAddr,
    /// Where our server speaks DNS over QUIC.
    pub quic: SocketAddr,
    settings: SharedSettings,
    runtime: tokio::runtime::Runtime,
    server: Option<Server>,
}

impl Site {
    pub fn start(dir: &Path, nsec3: Option<Nsec3Param>) -> Self {
        Self::start_with(dir, nsec3, VersionRules::default())
    }

    /// The zone without signatures.
    pub fn start_unsigned(dir: &Path) -> Self {
        Self::start_with(dir, None, VersionRules { signing: Signing::Unsigned, ..VersionRules::default() })
    }

    /// The zone as BIND has signed it, with NSEC3 of 5 iterations, a salt and opt-out. `None` where BIND is not there.
    pub fn start_presigned(dir: &Path) -> Option<Self> {
        let tool = |name: &str| crate::common::peer(name);
        tool("dnssec-keygen").and(tool("dnssec-signzone"))?;
        // BIND does not read all that we take behind $GENERATE.
        let is_record = |line: &&str| !line.starts_with("$GENERATE");
        let text: String = HARD.lines().filter(is_record).map(|line| format!("{line}\n")).collect();
        fs::write(dir.join("zone"), text).expect("write the zone");
        let mut ksk = String::new();
        for flags in [&["-f", "KSK"][..], &[]] {
            let mut keygen = tool("dnssec-keygen")?;
            keygen.arg("-K").arg(dir).args(["-q", "-a", "ECDSAP256SHA256"]).args(flags);
            let name = crate::common::stdout(keygen.arg(ZONE));
            if !flags.is_empty() {
                ksk = fs::read_to_string(dir.join(format!("{}.key", name.trim()))).expect("a key");
            }
        }
        let mut sign = tool("dnssec-signzone")?;
        // It writes a file of DS records where it is.
        sign.current_dir(dir);
        sign.arg("-K").arg(dir).args(["-S", "-q", "-A", "-3", "0BADCAFE", "-H", "5", "-o", ZONE, "-f"]);
        crate::common::run(sign.arg(dir.join("presigned")).arg(dir.join("zone")));
        let versions =
            VersionRules { signing: Signing::Presigned(Verify::Refuse), ..VersionRules::default() };
        fs::rename(dir.join("presigned"), dir.join("zone")).expect("rename");
        let anchor = ksk.lines().find(|line| !line.starts_with(';')).expect("a record").to_owned();
        let mut site = Self::start_made(dir, None, versions);
        site.anchor = anchor;
        Some(site)
    }

    fn start_with(dir: &Path, nsec3: Option<Nsec3Param>, versions: VersionRules) -> Self {
        fs::write(dir.join("zone"), HARD).expect("write the zone");
        Self::start_made(dir, nsec3, versions)
    }

    /// With the zone file that is there.
    fn start_made(dir: &Path, nsec3: Option<Nsec3Param>, versions: VersionRules) -> Self {
        let name = Name::parse(ZONE).expect("a name");
        let now = clock::now();
        for folder in ["keys", "accepted/hard.test."] {
            fs::create_dir_all(dir.join(folder)).expect("a folder");
        }
        let timing = Timing { publish: Some(now), activate: Some(now), ..Timing::default() };
        let dnskey = TestKey::zsk(2).dnskey;
        let key =
            KeyFile { zone: name.clone(), ttl: 3600, dnskey, timing, state: None, dir: dir.join("keys") };
        key.write(&PrivateKey::Raw(vec![2; 32])).expect("write the ZSK");
        let skr = SkrBuilder::new(ZONE, now).bundles(3);
        let text = skr.text();
        let write = |path: &str, text: &str| {
            durable::write(&dir.join(path), text.as_bytes(), 0o600).expect("write the store");
        };
        write("accepted/hard.test./1.skr", &text);
        write("accepted/hard.test./current", &store::format_current(1, &store::digest(text.as_bytes())));
        let anchors = skr.anchors();
        let TrustAnchor::Dnskey(ksk) = &anchors[0] else { panic!("the KSK is pinned by its key") };
        let anchor = format!("{ZONE} IN DNSKEY {}", rdata::to_text(Rtype::DNSKEY, &ksk.to_rdata(), None));
        let setup = ZoneSetup {
            name: name.clone(),
            source: ContentSource::File(dir.join("zone")),
            key_directory: dir.join("keys"),
            accepted: dir.join("accepted"),
            state: dir.join("zones/hard.test."),
            anchors: if versions.signing.is_here() { anchors } else { Vec::new() },
            times: SigningTimes { validity: 14 * 86_400, refresh: 5 * 86_400, jitter: 3600 },
            nsec3,
            versions,
            rules: ZoneRules {
                dnssec: match versions.signing {
                    Signing::Presigned(_) => DnssecRecords::Kept,
                    Signing::Online | Signing::Unsigned => DnssecRecords::LeftOut,
                },
                ..ZoneRules::default()
            },
            delays: RollDelays::default(),
            content: ContentRules::default(),
        };
        let metrics = Metrics::new().expect("families");
        let served = Arc::new(SignerZone::new(name, &metrics, Arc::new(clock::now)));
        let mut zone = ZoneRuntime::new(setup, metrics, Arc::clone(&served));
        zone.step(now);
        let signed = dir.join("signed");
        let mut text = Vec::new();
        let version = served.signed().expect("the zone is served");
        assert_eq!(version.zone().warnings().left_out, 0, "{:?}", version.zone().warnings().texts);
        version.write_to(&mut text).expect("memory");
        fs::write(&signed, text).expect("write the signed zone");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        certificate::write(dir, SERVER, (-1, 30), None);
        let [file, key] = certificate::files(dir, SERVER);
        let certificate = LoadedCertificate::load(&CertificateFiles { certificate: file, key }, b"dot");
        let certificate = certificate.expect("a certificate");
        let settings = SharedSettings::default();
        let server = runtime.block_on(async {
            let zones = Hosted::new([served as Arc<dyn Responder>], settings.clone());
            let any = vec!["127.0.0.1:0".parse().expect("an address")];
            let listen = Listen::on(any.clone()).with_tls(any.clone()).with_https(any.clone()).with_quic(any);
            let listen = listen.with_tls_config(certificate.config);
            Server::start(&listen, &SignerHandler::alone(zones)).expect("our server starts")
        });
        let (address, tls) = (server.addresses()[0], server.tls_addresses()[0]);
        let (https, quic) = (server.https_addresses()[0], server.quic_addresses()[0]);
        let server = Some(server);
        let dir = dir.to_owned();
        Self { dir, signed, anchor, address, tls, https, quic, settings, runtime, server }
    }
}

impl Site {
    /// From now on our server makes cookies with these secrets, and takes them.
    pub fn use_cookies(&self, secrets: CookieSecrets) {
        self.settings.store(QuerySettings::with_cookies(secrets, Arc::new(clock::now)));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
    }
}
