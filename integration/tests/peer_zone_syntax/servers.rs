//! Each zone file that we accept, signed by us as a zone of its own, passes dnssec-verify, and is loaded and served by named, Knot and NSD.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keystore::crypto::{Algorithm, PrivateKey, SigningKey};
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use rayon::prelude::*;
use signer_plugin::rules::ZoneRules;
use signer_plugin::signing::{Denial, SigningPolicy, SigningTimes, ZoneKey, sign};
use signer_plugin::zone::Zone;

use crate::common::{self, Named};
use crate::{DIFFERENCES, NOT_READ_BY_ALL, records, spellings, split};

/// A zone that was signed, and the record that it is about.
struct SignedFile {
    name: String,
    record: &'static str,
}

/// Reads and signs the zone file as the zone `name`; false when we do not accept it.
fn sign_file(dir: &Path, name: &str, text: &str) -> bool {
    let path = dir.join(format!("{name}unsigned"));
    fs::write(&path, text).expect("a file");
    let origin = Name::parse(name).expect("a name");
    let Ok(zone) = Zone::load(&path, &origin, ZoneRules::default()) else { return false };
    let now = keystore::clock::now();
    let bundle = SkrBuilder::new(name, now).bundles(1).build().bundles.remove(0);
    let private = PrivateKey::Raw(vec![2; 32]).signer(Algorithm::ED25519).expect("a signer");
    let key = ZoneKey { dnskey: TestKey::zsk(2).dnskey, signer: Arc::<dyn SigningKey>::from(private) };
    let times = SigningTimes { validity: 14 * 86_400, refresh: 5 * 86_400, jitter: 3600 };
    let policy = SigningPolicy { times, denial: Denial::Nsec, zonemd: false };
    let signed = sign(&Arc::new(zone), &bundle, &[key], &policy, 1, None, now).expect("signs");
    let mut octets = Vec::new();
    signed.write_to(&mut octets).expect("memory");
    fs::write(dir.join(name), octets).expect("a file");
    true
}

/// True for a record that BIND's reader refuses.
fn bind_refuses(record: &str) -> bool {
    let of = |rtype: &str, why: &str| why.starts_with("BIND refuses") && split(record).0 == rtype;
    DIFFERENCES.iter().any(|(rtype, why)| of(rtype, why))
}

/// What `dnssec-verify` says of the signed zones that it does not pass.
fn not_verified(dir: &Path, files: &[SignedFile]) -> Vec<String> {
    let verify = |file: &SignedFile| {
        let mut command = common::peer("dnssec-verify")?;
        let output = command.current_dir(dir).args(["-q", "-o", &file.name, &file.name]).output();
        let output = output.expect("dnssec-verify runs");
        (!output.status.success()).then(|| format!("{}: {}", file.record, common::text(&output)))
    };
    files.par_iter().filter(|file| !bind_refuses(file.record)).filter_map(verify).collect()
}

/// A server that is ended when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path, mut command: Command) -> Server {
    let command = command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Server(command.spawn().expect("the server starts"))
}

fn knot(dir: &Path, files: &[SignedFile], port: u16) -> Option<Server> {
    let mut knotd = common::peer("knotd")?;
    let own = dir.join("knot");
    fs::create_dir(&own).expect("a folder");
    let mut text = format!(
        "server:\n  listen: 127.0.0.1@{port}\n  rundir: \"{own}\"\ndatabase:\n  storage: \"{own}\"\ntemplate:\n  - id: default\n    \
         storage: \"{dir}\"\n    file: \"%s.\"\n    semantic-checks: off\n    zonefile-load: whole\n    journal-content: none\nzone:\n",
        own = own.display(),
        dir = dir.display()
    );
    files.iter().for_each(|file| text.push_str(&format!("  - domain: {}\n", file.name)));
    fs::write(own.join("knot.conf"), text).expect("write");
    knotd.arg("-c").arg(own.join("knot.conf"));
    Some(start(&own, knotd))
}

fn nsd(dir: &Path, files: &[SignedFile], port: u16) -> Option<Server> {
    let mut nsd = common::peer("nsd")?;
    let own = dir.join("nsd");
    fs::create_dir(&own).expect("a folder");
    let mut text = format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  zonesdir: \"{dir}\"\n  database: \"\"\n  pidfile: \"\"\n  \
         zonelistfile: \"{own}/zone.list\"\n  xfrdfile: \"{own}/xfrd.state\"\n  xfrdir: \"{own}\"\n  server-count: 1\n  rrl-ratelimit: 0\n\
         remote-control:\n  control-enable: no\n",
        dir = dir.display(),
        own = own.display()
    );
    for file in files {
        let _ = write!(text, "zone:\n  name: \"{name}\"\n  zonefile: \"{name}\"\n", name = file.name);
    }
    fs::write(own.join("nsd.conf"), text).expect("write");
    nsd.args(["-d", "-c"]).arg(own.join("nsd.conf"));
    Some(start(&own, nsd))
}

fn named(dir: &Path, files: &[SignedFile]) -> Option<Named> {
    let own = dir.join("named");
    fs::create_dir(&own).expect("a folder");
    let zone = |file: &SignedFile| {
        format!(
            "zone \"{name}\" {{ type primary; file \"{dir}/{name}\"; check-names ignore; check-integrity no; check-mx ignore; check-srv-cname ignore; }};\n",
            name = file.name,
            dir = dir.display()
        )
    };
    Named::start(&own, &files.iter().map(zone).collect::<String>())
}

/// True when the server answers for the SOA of the zone, with authority.
fn serves(socket: &UdpSocket, name: &str) -> bool {
    let mut query = vec![7, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(Name::parse(name).expect("a name").as_wire());
    query.extend_from_slice(&[0, 6, 0, 1]);
    let mut answer = [0; 4096];
    let asked = socket.send(&query).and_then(|_| socket.recv(&mut answer));
    asked.is_ok_and(|len| len > 12) && answer[2] & 4 != 0 && answer[3] & 15 == 0 && answer[7] == 1
}

/// The files that a server does not serve, asked for until ten seconds have gone by without another one.
fn missing(port: u16, files: &[SignedFile]) -> Vec<&SignedFile> {
    let mut left: Vec<&SignedFile> = files.iter().collect();
    let mut progress = Instant::now();
    while !left.is_empty() && progress.elapsed() < Duration::from_secs(10) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).expect("loopback");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        let before = left.len();
        // One that does not answer at all is not asked for each zone.
        if serves(&socket, &left[0].name) || before < files.len() {
            left.retain(|file| !serves(&socket, &file.name));
        } else {
            left.rotate_left(1);
        }
        if left.len() < before {
            progress = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    left
}

#[test]
fn every_accepted_zone_file_is_verified_and_loaded_by_named_knot_and_nsd_once_it_is_signed() {
    if ["dnssec-verify", "named", "knotd", "nsd"].iter().any(|program| common::peer(program).is_none()) {
        return;
    }
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path();
    let all: Vec<(&'static str, String)> = records()
        .into_iter()
        .flat_map(|record| spellings(record).into_iter().map(move |(_, text)| (record, text)))
        .collect();
    let signed: Vec<Option<SignedFile>> = all
        .par_iter()
        .enumerate()
        .map(|(i, (record, text))| {
            let name = format!("z{i}.test.");
            sign_file(dir, &name, text).then_some(SignedFile { name, record })
        })
        .collect();
    let files: Vec<SignedFile> = signed.into_iter().flatten().collect();
    assert!(files.len() > 350, "{} of {} files are accepted", files.len(), all.len());
    let wrong = not_verified(dir, &files);
    assert!(wrong.is_empty(), "{} of {} files: {}", wrong.len(), files.len(), wrong.join("\n"));
    let (knot_port, nsd_port) = (common::free_port(), common::free_port());
    let (Some(named), Some(_knot), Some(_nsd)) =
        (named(dir, &files), knot(dir, &files, knot_port), nsd(dir, &files, nsd_port))
    else {
        return;
    };
    let mut unserved: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (server, port) in [("named", named.port), ("Knot", knot_port), ("NSD", nsd_port)] {
        let of_it = missing(port, &files);
        assert!(
            of_it.len() < files.len() / 2,
            "{server} serves {} of {}",
            files.len() - of_it.len(),
            files.len()
        );
        for file in of_it {
            let is_listed = match server {
                "named" => bind_refuses(file.record),
                _ => NOT_READ_BY_ALL.iter().any(|(record, _)| *record == file.record),
            };
            if !is_listed {
                unserved.entry(file.record).or_default().push(server);
            }
        }
    }
    assert!(unserved.is_empty(), "{} of {} files: {unserved:#?}", unserved.len(), files.len());
    println!(
        "{} of {} zone files are accepted; signed they pass dnssec-verify and are served by named, Knot and NSD",
        files.len(),
        all.len()
    );
}
