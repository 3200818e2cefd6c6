//! A year of a zone on a clock of our own: two ceremonies, two ZSK rollovers, every bundle switch and every renewal of signatures.
//! One second before each event, at it and one second after it, each kind of answer is validated by hickory's validator, which
//! shares no code with the signer and takes the time from us. Its trust anchor is a root that has the DS of the zone's KSK.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{Once, StreamExt as _, once};
use hickory_net::dnssec::DnssecDnsHandle;
use hickory_net::{DnsError, NetError};

use hickory_net::runtime::{RuntimeProvider, Time, TokioRuntimeProvider, TokioTime};
use hickory_net::xfer::DnsHandle;
use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::dnssec::{Algorithm as HickoryAlgorithm, Proof, PublicKeyBuf, TrustAnchors};
use hickory_proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Message, Query, ResponseCode};
use hickory_proto::rr::{Name as HickoryName, RData, Record, RecordType};
use keystore::config::transfer::TransferConfig;
use keystore::config::{Config, KsrConfig, LoaderConfig, ZoneConfig};
use keystore::crypto::{Algorithm, PrivateKey};
use keystore::dns::name::wire_len;
use keystore::dns::{Name, Rtype};
use keystore::exchange::TrustAnchor;
use keystore::exchange::bind::{parse_ksr, print_ksr, print_skr_grouped};
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::files::{find, find_online};
use keystore::keys::plan::Interval;
use keystore::keys::{Dnskey, KeyFile};
use keystore::policy::{KeyPolicy, KeyRole, Policy};
use keystore::time::Timestamp;
use ksr_gen::keygen::{self, Keygen};
use ksr_gen::request::{InactiveZsk, prove, request};
use ksr_gen::sign::{self, SigningInput};
use metrics::Metrics;
use signer_plugin::answer::{AnswerOutcome, Arrival, Context, Transport, answer};
use signer_plugin::hosted::{Hosted, Responder};
use signer_plugin::protocol::SharedSettings;
use signer_plugin::rules::ZoneRules;
use signer_plugin::runtime::{SignerZone, ZoneRuntime, ZoneSetup};
use signer_plugin::signing::{self, Denial, SignedZone, SigningPolicy, SigningTimes, ZoneKey};
use signer_plugin::zone::Zone;
use skr_loader::Loader;

const DAY: u64 = 86_400;
/// How far the KSK's signatures reach back before their bundle, in seconds.
const INCEPTION_OFFSET: u64 = 3600;
const ZONE: &str = "year.example.";
const ZSK_LIFETIME: u32 = 150 * DAY as u32;
const FILE: &str = "$TTL 3600
@ SOA ns1 hostmaster 2027010100 7200 900 1209600 300
@ NS ns1
@ NS ns.elsewhere.test.
@ MX 10 mail
ns1 A 192.0.2.1
www A 192.0.2.2
mail AAAA 2001:db8::2
*.wild TXT \"any\"
a.b.ent A 192.0.2.3
alias CNAME www
lost CNAME nowhere
dn DNAME ent
secure NS ns.secure
secure DS 12345 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF
ns.secure A 192.0.2.4
plain NS ns.plain
ns.plain AAAA 2001:db8::5
";

// ---- the validator --------------------------------------------------------------------------------------------------

/// The simulated time, in seconds since 1970.
static NOW: AtomicU64 = AtomicU64::new(0);

fn simulated_now() -> Timestamp {
    Timestamp::from_secs(NOW.load(Ordering::SeqCst))
}

/// hickory's runtime with our clock.
#[derive(Clone, Default)]
struct Simulated(TokioRuntimeProvider);

struct SimulatedTime;

#[async_trait::async_trait]
impl Time for SimulatedTime {
    async fn delay_for(duration: Duration) {
        TokioTime::delay_for(duration).await;
    }

    async fn timeout<F: 'static + Future + Send>(
        duration: Duration,
        future: F,
    ) -> Result<F::Output, io::Error> {
        TokioTime::timeout(duration, future).await
    }

    fn current_time() -> u64 {
        NOW.load(Ordering::SeqCst)
    }
}

impl RuntimeProvider for Simulated {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = SimulatedTime;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        bind: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = Result<Self::Tcp, io::Error>>>> {
        self.0.connect_tcp(server, bind, timeout)
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = Result<Self::Udp, io::Error>>>> {
        self.0.bind_udp(local, server)
    }
}

/// A root that delegates to the zone, with the DS of its KSK.
struct Root {
    name: Name,
    zone: Arc<Zone>,
    key: TestKey,
    zsk: ZoneKey,
    signed: Mutex<Option<(Timestamp, SignedZone)>>,
}

impl Root {
    fn new(folder: &Path, ksk: &Dnskey) -> Self {
        let name = Name::root();
        let ds = ksk.ds_rdata(&Name::parse(ZONE).unwrap(), 2).unwrap();
        let digest: String = ds[4..].iter().map(|b| format!("{b:02X}")).collect();
        let file = folder.join("root");
        let text = format!(
            "$TTL 3600\n. SOA ns1.{ZONE} . 1 7200 900 1209600 300\n. NS ns1.{ZONE}\n{ZONE} NS ns1.{ZONE}\n\
             {ZONE} DS {} {} 2 {digest}\nns1.{ZONE} A 192.0.2.1\n",
            ksk.tag(),
            ksk.algorithm.0
        );
        std::fs::write(&file, text).unwrap();
        let zone = Arc::new(Zone::load(&file, &name, ZoneRules::default()).unwrap());
        let signer = PrivateKey::Raw(vec![2; 32]).signer(Algorithm::ED25519).unwrap();
        let zsk = ZoneKey { dnskey: TestKey::zsk(2).dnskey, signer: Arc::from(signer) };
        Self { name, zone, key: TestKey::ksk(1), zsk, signed: Mutex::new(None) }
    }

    fn sign(&self, now: Timestamp) -> SignedZone {
        let bundle = SkrBuilder::new(".", now).ksk(self.key.clone()).bundle(now);
        let times = SigningTimes { validity: 14 * DAY as u32, refresh: 5 * DAY as u32, jitter: 0 };
        let policy = SigningPolicy { times, denial: Denial::Nsec, zonemd: false };
        signing::sign(&self.zone, &bundle, std::slice::from_ref(&self.zsk), &policy, 1, None, now).unwrap()
    }
}

impl Responder for Root {
    fn origin(&self) -> &Name {
        &self.name
    }

    fn respond(&self, query: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> AnswerOutcome {
        let now = simulated_now();
        let mut signed = self.signed.lock().unwrap();
        if signed.as_ref().is_none_or(|(at, _)| now < *at || now.since(*at) > 5 * DAY) {
            *signed = Some((now, self.sign(now)));
        }
        let (_, signed) = signed.as_ref().unwrap();
        answer(signed, query, &Context { arrival: *arrival, now }, out)
    }
}

/// The served zone and the root as servers that a validator asks, without sockets.
#[derive(Clone)]
struct InProcess(Hosted);

impl InProcess {
    fn message(&self, query: &[u8]) -> Vec<u8> {
        let end = 12 + wire_len(&query[12..]).expect("a question");
        let qtype = Rtype(u16::from_be_bytes([query[end], query[end + 1]]));
        let server =
            self.0.find(&query[12..end].to_ascii_lowercase(), qtype).expect("the root has every name");
        let mut out = Vec::new();
        let outcome = server.respond(query, &Arrival::new(Transport::Stream, 1232), &mut out);
        assert!(matches!(outcome, AnswerOutcome::Reply(_)), "{outcome:?}");
        out
    }

    /// An answer as it is, with DNSSEC records.
    fn plain(&self, qname: &str, qtype: RecordType) -> Message {
        let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        query.extend_from_slice(Name::parse(qname).unwrap().as_wire());
        query.extend_from_slice(&u16::from(qtype).to_be_bytes());
        query.extend_from_slice(&[0, 1, 0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0]);
        Message::from_vec(&self.message(&query)).expect("a message that hickory reads")
    }
}

impl DnsHandle for InProcess {
    type Response = Once<std::future::Ready<Result<DnsResponse, NetError>>>;
    type Runtime = Simulated;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let query = request.to_vec().expect("a query");
        let response = DnsResponse::from_buffer(self.message(&query)).map_err(NetError::from);
        once(std::future::ready(response))
    }
}

/// Asks and validates at the simulated time; nothing is remembered from one call to the next.
async fn validated(zone: &InProcess, qname: &str, qtype: RecordType) -> Result<Message, String> {
    let root = TestKey::ksk(1).dnskey;
    let mut anchors = TrustAnchors::empty();
    anchors.insert(&PublicKeyBuf::new(root.public_key, HickoryAlgorithm::from_u8(root.algorithm.0)));
    let validator = DnssecDnsHandle::with_trust_anchor(zone.clone(), Arc::new(anchors));
    let mut options = DnsRequestOptions::default();
    options.use_edns = true;
    options.edns_set_dnssec_ok = true;
    let query = Query::query(HickoryName::from_ascii(qname).expect("a name"), qtype);
    match validator.lookup(query, options).next().await.expect("one answer") {
        Ok(response) => Ok(response.into_message()),
        Err(NetError::Dns(DnsError::Nsec { response, proof, .. })) => Err(format!("{proof:?}: {response:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// The records of a section that have signatures are proven; glue and the NS RRset of a cut have none.
fn all_secure(records: &[Record]) -> bool {
    let signed: BTreeSet<(String, RecordType)> = records
        .iter()
        .filter_map(|r| match &r.data {
            RData::DNSSEC(DNSSECRData::RRSIG(s)) => {
                Some((r.name.to_lowercase().to_string(), s.input().type_covered))
            }
            _ => None,
        })
        .collect();
    let is_signed = |r: &&Record| signed.contains(&(r.name.to_lowercase().to_string(), r.record_type()));
    !signed.is_empty() && records.iter().filter(is_signed).all(|r| r.proof == Proof::Secure)
}

fn rdatas(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| r.data.to_string()).collect()
}

/// What a kind of answer must be: name below the zone, type, RCODE, and whether there are records in the answer section.
type Kind = (&'static str, RecordType, ResponseCode, bool);

const KINDS: [Kind; 20] = {
    use RecordType::{A, AAAA, CDNSKEY, CDS, CNAME, DNSKEY, DS, MX, NS, SOA, TXT};
    use ResponseCode::{NXDomain, NoError};
    [
        ("", SOA, NoError, true),
        ("", NS, NoError, true),
        ("", MX, NoError, true),
        ("", DNSKEY, NoError, true),
        ("", CDS, NoError, true),
        ("", CDNSKEY, NoError, true),
        ("", AAAA, NoError, false),
        ("www.", A, NoError, true),
        ("www.", TXT, NoError, false),
        ("nowhere.", A, NXDomain, false),
        ("x.y.nowhere.", A, NXDomain, false),
        ("b.ent.", A, NoError, false),
        ("x.y.wild.", TXT, NoError, true),
        ("x.wild.", A, NoError, false),
        ("alias.", A, NoError, true),
        ("alias.", CNAME, NoError, true),
        ("secure.", DS, NoError, true),
        ("plain.", DS, NoError, false),
        ("mail.", AAAA, NoError, true),
        ("a.b.ent.", A, NoError, true),
    ]
};

/// Validates each kind of answer.
async fn check(zone: &InProcess, inceptions: &[Timestamp], now: Timestamp, why: &str) -> usize {
    NOW.store(now.secs(), Ordering::SeqCst);
    let at = format!("{} ({why})", now.iso());
    let full = |name: &str| format!("{name}{ZONE}");
    let in_force = inceptions.iter().filter(|t| **t <= now).max().expect("a bundle in force");
    assert_eq!(
        dnskey_inceptions(zone),
        [in_force.minus(INCEPTION_OFFSET).to_rrsig()],
        "{at}: another bundle"
    );
    for (name, qtype, rcode, answered) in KINDS {
        let what = format!("{} {qtype} at {at}", full(name));
        let message = validated(zone, &full(name), qtype).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(message.metadata.response_code, rcode, "{what}");
        assert_eq!(!message.answers.is_empty(), answered, "{what}");
        let section = if answered { &message.answers } else { &message.authorities };
        assert!(all_secure(section), "{what}: {section:?}");
    }
    // Those that a validating resolver takes apart: the chain by its links, the referral by the DS RRset or the proof that there is
    // none, each of which was validated in an answer of its own.
    let same = |part: &[Record], whole: &[Record], rtype: RecordType| {
        let of_type = |rrs: &[Record]| -> Vec<String> {
            rrs.iter()
                .filter(|r| r.record_type() == rtype)
                .map(|r| format!("{} {}", r.name, r.data))
                .collect()
        };
        let (part, whole) = (of_type(part), of_type(whole));
        !part.is_empty() && part.iter().all(|r| whole.contains(r))
    };
    let referral = zone.plain(&full("x.secure."), RecordType::A);
    let ds = zone.plain(&full("secure."), RecordType::DS);
    assert!(
        !referral.metadata.authoritative && same(&referral.authorities, &ds.answers, RecordType::DS),
        "{at}"
    );
    assert!(same(&referral.authorities, &ds.answers, RecordType::RRSIG), "{at}");
    let referral = zone.plain(&full("x.plain."), RecordType::A);
    let no_ds = zone.plain(&full("plain."), RecordType::DS);
    assert!(
        !referral.metadata.authoritative && same(&referral.authorities, &no_ds.authorities, RecordType::NSEC),
        "{at}"
    );
    assert!(same(&referral.authorities, &no_ds.authorities, RecordType::RRSIG), "{at}");
    // hickory's validator takes no wildcard answer one label below the wildcard's parent (it wants the wildcard itself denied).
    let wildcard = zone.plain(&full("x.wild."), RecordType::TXT);
    let deeper = zone.plain(&full("x.y.wild."), RecordType::TXT);
    assert!(same(&wildcard.authorities, &deeper.authorities, RecordType::NSEC), "{at}");
    assert_eq!(rdatas(&wildcard.answers), rdatas(&deeper.answers), "{at}");
    let lost = zone.plain(&full("lost."), RecordType::A);
    let target = zone.plain(&full("nowhere."), RecordType::A);
    assert_eq!(lost.metadata.response_code, ResponseCode::NXDomain, "{at}");
    assert!(same(&lost.authorities, &target.authorities, RecordType::NSEC), "{at}");
    for name in ["lost.", "dn."] {
        let qtype = if name == "dn." { RecordType::DNAME } else { RecordType::CNAME };
        let link =
            validated(zone, &full(name), qtype).await.unwrap_or_else(|e| panic!("{name} at {at}: {e}"));
        assert!(all_secure(&link.answers), "{name} {qtype} at {at}");
    }
    let moved = zone.plain(&full("x.dn."), RecordType::A);
    assert!(
        same(&moved.answers, &zone.plain(&full("dn."), RecordType::DNAME).answers, RecordType::DNAME),
        "{at}"
    );
    KINDS.len() + 7
}

/// Signature Inception of the RRSIGs of the DNSKEY RRset.
fn dnskey_inceptions(zone: &InProcess) -> Vec<u32> {
    let answers = zone.plain(ZONE, RecordType::DNSKEY).answers;
    let inceptions = answers.iter().filter_map(|r| match &r.data {
        RData::DNSSEC(DNSSECRData::RRSIG(s)) => Some(s.input().sig_inception.get()),
        _ => None,
    });
    inceptions.collect()
}

/// Tags of the DNSKEY RRset that is served, and of the keys that signed the SOA.
fn tags(zone: &InProcess) -> (BTreeSet<u16>, BTreeSet<u16>) {
    let keys = zone.plain(ZONE, RecordType::DNSKEY).answers;
    let published = keys.iter().filter_map(|r| match &r.data {
        RData::DNSSEC(DNSSECRData::DNSKEY(key)) => key.calculate_key_tag().ok(),
        _ => None,
    });
    let soa = zone.plain(ZONE, RecordType::SOA).answers;
    let signers = soa.iter().filter_map(|r| match &r.data {
        RData::DNSSEC(DNSSECRData::RRSIG(s)) => Some(s.input().key_tag),
        _ => None,
    });
    (published.collect(), signers.collect())
}

// ---- the two sides --------------------------------------------------------------------------------------------------

struct Year {
    dir: tempfile::TempDir,
    name: Name,
    policy: Policy,
}

impl Year {
    fn new() -> Self {
        let mut policy = Policy::with_defaults("year");
        let key = |role, lifetime| KeyPolicy {
            role,
            lifetime,
            algorithm: Algorithm::ECDSAP256SHA256,
            bits: 256,
            tag_range: (0, u16::MAX),
            key_store: None,
        };
        policy.keys = vec![key(KeyRole::Ksk, 0), key(KeyRole::Zsk, ZSK_LIFETIME)];
        policy.offline_ksk = true;
        // All signatures are renewed in one go: with jitter, each renewal is two dozen events, all of the same kind.
        policy.signatures_jitter = 0;
        let year = Self { dir: tempfile::tempdir().unwrap(), name: Name::parse(ZONE).unwrap(), policy };
        for folder in ["offline/keys", "online/keys", "online/inbox"] {
            std::fs::create_dir_all(year.path(folder)).unwrap();
        }
        std::fs::write(year.path("online/zone"), FILE).unwrap();
        year
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keygen(&self, dir: &Path, role: KeyRole, interval: Interval, now: Timestamp) {
        let (zone, policy) = (&self.name, &self.policy);
        keygen::run(&Keygen::new(dir, zone, policy, role, interval, now), || ()).unwrap();
    }

    fn ksk(&self) -> Dnskey {
        find(&self.path("offline/keys"), &self.name).unwrap().keys.remove(0).dnskey
    }

    fn zsks(&self) -> Vec<KeyFile> {
        find_online(&self.path("online/keys"), &self.name).unwrap().keys
    }

    /// A ceremony: ZSKs and KSR on the online side, SKR on the offline side.
    fn ceremony(&self, interval: Interval, now: Timestamp) -> String {
        self.keygen(&self.path("online/keys"), KeyRole::Zsk, interval, now);
        let mut ksr = request(&self.zsks(), &self.name, &self.policy, interval, InactiveZsk::Refuse).unwrap();
        prove(&mut ksr, &self.zsks(), interval.end).unwrap();
        let crossed = print_ksr(&ksr, now, "a test");
        let ksr = parse_ksr(crossed.as_bytes(), &self.name).unwrap();
        let keys = find(&self.path("offline/keys"), &self.name).unwrap().keys;
        let signing = SigningInput::new(&self.name, &self.policy, &ksr, &keys, interval.end, now);
        let groups = sign::plan(signing).unwrap().sign(&|_| ()).unwrap();
        let groups: Vec<_> = groups.iter().map(Vec::as_slice).collect();
        print_skr_grouped(&groups, now, "a test")
    }

    fn config(&self) -> Config {
        let zone = ZoneConfig {
            anchors: vec![TrustAnchor::Dnskey(self.ksk())],
            file: Some(self.path("online/zone")),
            ..ZoneConfig::new(self.name.clone(), self.policy.clone(), self.path("online/keys"))
        };
        Config {
            state_dir: self.path("online"),
            zones: vec![zone.into()],
            loader: LoaderConfig::default(),
            zone_files: keystore::config::zone_files::ZoneFiles::default(),
            parent: keystore::config::ParentConfig::default(),
            catalogs: keystore::config::catalog::Catalogs::default(),
            deliver: Vec::new(),
            ksr: KsrConfig::default(),
            signer: None,
            metrics: None,
            transfer: TransferConfig::default(),
            probe: None,
            pair: None,
            warnings: Vec::new(),
        }
    }
}

/// Drops an SKR and lets the loader look until it is accepted.
fn accept(year: &Year, loader: &mut Loader, skr: &str, now: Timestamp, generation: u64) {
    let (temp, drop) = (year.path("online/skr.tmp"), year.path(&format!("online/inbox/{generation}.skr")));
    std::fs::write(&temp, skr).unwrap();
    std::fs::rename(temp, drop).unwrap();
    for look in 0..10 {
        let step = loader.step(now.plus(look * 61));
        if let Some(import) = step.imports.first() {
            assert_eq!(loader.in_force(&year.name).map(|s| s.generation), Some(generation), "{import:?}");
            return;
        }
    }
    panic!("the loader does not see the SKR");
}

#[tokio::test]
async fn a_year_with_every_switch_validated() {
    let start = Timestamp::parse_stamp("20270101000000").unwrap();
    let (middle, end) = (start.plus(182 * DAY), start.plus(365 * DAY));
    let halves = [Interval { start, end: middle }, Interval { start: middle, end: end.plus(20 * DAY) }];
    let year = Year::new();
    let before = start.minus(30 * DAY);
    year.keygen(&year.path("offline/keys"), KeyRole::Ksk, Interval { start: before, end }, before);
    let ksk = year.ksk();

    let (config, metrics) = (year.config(), Metrics::new().unwrap());
    let mut loader = Loader::new(config.clone(), metrics.clone()).unwrap();
    let first = year.ceremony(halves[0], before);
    accept(&year, &mut loader, &first, start, 1);

    let setup = ZoneSetup::from_config(&config, &config.zones[0]).expect("a zone with a file");
    let clock = Arc::new(simulated_now);
    let served = SignerZone::new(setup.name.clone(), &metrics, clock);
    let mut runtime = ZoneRuntime::new(setup, metrics.clone(), Arc::new(served));
    let root: Arc<dyn Responder> = Arc::new(Root::new(year.dir.path(), &ksk));
    let served: Arc<dyn Responder> = Arc::<SignerZone>::clone(runtime.served());
    let zone = InProcess(Hosted::new([root, served], SharedSettings::default()));
    let mut step = |now: Timestamp| {
        NOW.store(now.secs(), Ordering::SeqCst);
        runtime.step(now)
    };

    let serial = |zone: &InProcess| match &zone.plain(ZONE, RecordType::SOA).answers[0].data {
        RData::SOA(soa) => soa.serial,
        other => panic!("{other:?}"),
    };
    // The second ceremony comes a month before the end of the first SKR.
    let mut second = Some(middle.minus(30 * DAY));
    let (mut now, mut events, mut answers, mut signers) = (start, BTreeSet::new(), 0, Vec::new());
    let inceptions = |loader: &Loader| -> Vec<Timestamp> {
        loader.in_force(&year.name).expect("an SKR in force").bundles.iter().map(|b| b.inception).collect()
    };
    let mut due: BTreeSet<Timestamp> = inceptions(&loader).into_iter().collect();
    let mut next = step(now);
    let mut last_serial = serial(&zone);
    while now < end {
        answers += check(&zone, &inceptions(&loader), now, "event").await;
        let (published, signed) = tags(&zone);
        assert_eq!(signed.len(), 1, "one ZSK signs");
        if signers.last() != Some(&signed) {
            signers.push(signed.clone());
        }
        events.insert(now);

        // A second later nothing has changed.
        assert!(next > now);
        if next > now.plus(1) {
            next = step(now.plus(1));
            answers += check(&zone, &inceptions(&loader), now.plus(1), "a second after").await;
        }
        let ceremony = second.filter(|at| *at < next);
        let event = ceremony.unwrap_or(next);
        if event > now.plus(2) {
            step(event.minus(1));
            answers += check(&zone, &inceptions(&loader), event.minus(1), "a second before").await;
        }
        if ceremony.is_some() {
            let skr = year.ceremony(halves[1], event);
            accept(&year, &mut loader, &skr, event, 2);
            second = None;
        }
        // Whoever holds answers or keys of the second before in a cache needs the keys of both sides of the switch.
        let before_switch = tags(&zone);
        next = step(event);
        let after_switch = tags(&zone);
        assert!(after_switch.0.is_superset(&before_switch.1), "cached data, new keys: {}", event.iso());
        assert!(before_switch.0.is_superset(&after_switch.1), "new data, cached keys: {}", event.iso());
        assert!(published.is_superset(&signed));
        assert!(serial(&zone) >= last_serial);
        last_serial = serial(&zone);
        now = event;
    }
    assert_eq!(signers.len(), 3, "two rollovers: {signers:?}");
    assert_eq!(metrics.signer_skr_generation.with_label_values(&[ZONE]).get(), 2);
    let failed = |mode| metrics.zone_sign_runs_total.with_label_values(&[ZONE, mode, "failed"]).get();
    assert_eq!(failed("full") + failed("incremental"), 0);
    // Every bundle switch and every change of ZSK was one of the events.
    due.extend(inceptions(&loader));
    due.extend(year.zsks().iter().flat_map(|key| [key.timing.activate, key.timing.inactive]).flatten());
    due.retain(|at| start < *at && *at < end);
    assert!(due.len() > 40 && due.is_subset(&events), "{:?} are missing", due.difference(&events));
    println!("{} events, {} of them switches; {answers} answers validated", events.len(), due.len());
    assert!(answers > 4000, "{answers} answers");
}
