//! Which serials the secondaries have.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keystore::catalog::kept::KeptCatalog;
use keystore::clock;
use keystore::config::transfer::NotifyTarget;
use keystore::config::{Config, catalog};
use keystore::dns::Name;
use keystore::pair::Sighting;
use keystore::pair::takeover::SERIAL_JUMP;
use keystore::store;
use signer_plugin::transfer::serials::AskedSerial;
use skr_loader::ask::each;

/// How many secondaries are asked at once, and of how many zones each.
const AT_ONCE: (usize, usize) = (64, 16);
/// How long one question may take: several tries.
const QUESTION: Duration = Duration::from_millis(2100);

/// The zones that this configuration serves and the catalogs that it makes, with whom is told of their versions.
pub fn served(config: &Config) -> impl Iterator<Item = (&Name, &[NotifyTarget])> {
    let zones = config.zones.iter().filter(|zone| zone.has_content());
    let zones = zones.map(|zone| (&zone.name, zone.notify.as_slice()));
    let catalogs = config.catalogs.made.iter().map(|catalog| (&catalog.zone, catalog.notify.as_slice()));
    zones.chain(catalogs).filter(|_| config.signer.is_some())
}

/// Asks the secondaries of the zones that this configuration serves for their serials, all side by side, with one time for all; where `only` is
/// given, of these zones alone. A secondary that has not answered the first questions is not asked further: it does not take the time of the
/// others. Whoever has not answered counts as silent.
#[must_use]
pub fn look(config: &Config, only: Option<&BTreeSet<Name>>, limit: Duration) -> Vec<Sighting> {
    let (keys, _) = config.read_transfer_keys();
    let until = Instant::now() + limit;
    let mut asked: BTreeMap<SocketAddr, Vec<Question>> = BTreeMap::new();
    for (zone, notify) in served(config).filter(|(zone, _)| only.is_none_or(|only| only.contains(*zone))) {
        for target in notify {
            let key = target.key.as_ref().and_then(|name| keys.iter().find(|key| key.name == *name)).cloned();
            let missing = target.key.clone().filter(|_| key.is_none());
            let asked_serial = AskedSerial { zone: zone.clone(), secondary: target.address, key };
            asked.entry(target.address).or_default().push((asked_serial, missing));
        }
    }
    let secondaries: Vec<Vec<Question>> = asked.into_values().collect();
    let sightings = each(&secondaries, AT_ONCE.0, |questions| look_at(config, questions, until));
    sightings.into_iter().flatten().collect()
}

/// A zone at a secondary, and the key that is in no file.
type Question = (AskedSerial, Option<Name>);

/// Asks one secondary.
fn look_at(config: &Config, questions: &[Question], until: Instant) -> Vec<Sighting> {
    let (has_answered, is_silent) = (AtomicBool::new(false), AtomicBool::new(false));
    each(questions, AT_ONCE.1, |(asked, missing)| {
        let seen = match missing {
            Some(key) => Err(format!("the key {key} is in no file of transfer.key-files")),
            None if is_silent.load(Ordering::Relaxed) => Err("it does not answer".to_owned()),
            None => asked.ask(until.min(Instant::now() + QUESTION), clock::now),
        };
        if seen.is_ok() {
            has_answered.store(true, Ordering::Relaxed);
        } else if !has_answered.load(Ordering::Relaxed) {
            is_silent.store(true, Ordering::Relaxed);
        }
        // Read after the answer came: what is published here meanwhile is no serial of another host.
        let own = own_serial(config, &asked.zone).unwrap_or(None);
        Sighting { zone: asked.zone.clone(), secondary: asked.secondary, own, seen }
    })
}

/// What a serial means that this host has not published. A zone of which no serial is known here, such as one that was just added, says nothing.
#[must_use]
pub fn conflict(sighting: &Sighting) -> Option<String> {
    let Sighting { zone, secondary, own, .. } = sighting;
    let (serial, own) = (sighting.later()?, (*own)?);
    Some(format!(
        "the secondary {secondary} has serial {serial} of {zone}, and the last one that this host may have published is {own}"
    ))
}

/// The last serial of a zone, or of a catalog, that the state of this host says was or may have been published.
///
/// # Errors
/// When what says so cannot be read, or is damaged.
pub fn own_serial(config: &Config, zone: &Name) -> io::Result<Option<u32>> {
    match made_catalog(config, zone) {
        Some(path) => Ok(KeptCatalog::read(&path)?.map(|kept| kept.serial)),
        None => signer_plugin::runtime::last_serial(&state_of(config, zone)),
    }
}

/// Has the serials of a zone, or of a catalog, go on beyond `floor`, which is behind all that are known; call it while no process serves it.
///
/// # Errors
/// When what keeps its serial cannot be read or written.
pub fn raise(config: &Config, zone: &Name, floor: u32) -> io::Result<()> {
    match made_catalog(config, zone) {
        Some(path) => KeptCatalog::raise_serial(&path, floor, SERIAL_JUMP, clock::now()),
        None => signer_plugin::runtime::raise_serial(&state_of(config, zone), floor),
    }
}

/// The file of a catalog that this host makes; `None` for a zone.
fn made_catalog(config: &Config, zone: &Name) -> Option<PathBuf> {
    let mut made = config.catalogs.made.iter();
    made.any(|catalog| catalog.zone == *zone).then(|| catalog::path(&config.state_dir, zone))
}

fn state_of(config: &Config, zone: &Name) -> PathBuf {
    store::zone_dir(&config.state_dir.join("zones"), zone)
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// A secondary that has this serial of each zone.
    pub fn answering(serial: u32) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("an address");
        std::thread::spawn(move || {
            let mut octets = [0; 512];
            while let Ok((len, client)) = socket.recv_from(&mut octets) {
                let mut answer = octets[..len].to_vec();
                // QR and AA, one answer: the SOA record at the name of the question.
                (answer[2], answer[7]) = (0x84, 1);
                answer.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0]);
                answer.extend([serial, 1, 1, 1, 1].map(u32::to_be_bytes).concat());
                socket.send_to(&answer, client).expect("sent");
            }
        });
        address
    }

    /// Whoever can put in a datagram, and has no key, can say nothing.
    #[test]
    fn an_unsigned_answer_counts_for_nothing_where_there_is_a_key() {
        let zone = Name::parse("a.test").expect("a name");
        let key = keystore::tsig::TsigKey {
            name: Name::parse("xfr").expect("a name"),
            algorithm: keystore::tsig::TsigAlgorithm::HmacSha256,
            secret: vec![7; 32].into(),
        };
        let secondary = answering(7);
        let ask = |key| {
            let asked = AskedSerial { zone: zone.clone(), secondary, key };
            asked.ask(Instant::now() + Duration::from_millis(300), clock::now)
        };
        assert_eq!(ask(None), Ok(Some(7)));
        assert!(ask(Some(key)).is_err());
    }

    #[test]
    fn a_secondary_that_is_down_takes_no_time_of_another_with_many_zones() {
        let down = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let secondaries = [down.local_addr().expect("an address"), answering(7)];
        let dir = tempfile::tempdir().expect("a folder");
        let zone = |number: u32| {
            format!(
                "[[zone]]\nname = \"z{number}.test\"\nsigning = \"unsigned\"\nfile = \"zone\"\nnotify = [\"{}\", \"{}\"]\n",
                secondaries[0], secondaries[1]
            )
        };
        let zones: String = (0..300).map(zone).collect();
        let text =
            format!("version = 1\nstate-dir = \"state\"\n[signer]\nlisten = [\"127.0.0.1:0\"]\n{zones}");
        let config =
            Config::parse(text.as_bytes(), &dir.path().join("c.toml")).unwrap_or_else(|e| panic!("{e}"));
        let seen = look(&config, None, Duration::from_secs(60));
        assert_eq!(seen.len(), 600);
        for sighting in &seen {
            let expected = (sighting.secondary == secondaries[1]).then_some(Some(7));
            assert_eq!(sighting.seen.as_ref().ok(), expected.as_ref(), "{sighting:?}");
        }
        let one: BTreeSet<Name> = [seen[0].zone.clone()].into();
        assert_eq!(look(&config, Some(&one), Duration::from_secs(60)).len(), 2);
    }
}
