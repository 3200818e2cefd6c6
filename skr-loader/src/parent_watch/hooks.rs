//! The commands that are run when the DS record of a KSK may come, has come, and is gone, for one zone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use keystore::command::{Invocation, RunError};
use keystore::config::ParentConfig;
use keystore::dns::{Name, Rtype, rdata};
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::retry::Backoff;
use keystore::time::Timestamp;

use super::ds::{DsState, DsView};
use super::event::{DsEvent, KskNote};
use super::pauses::Pauses;
use super::servers::{Servers, Serves};
use super::wish::Wish;
use crate::ask::AskError;

/// Pauses between two looks while something is on its way.
const LOOKS: Pauses = Pauses(&[
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
]);
/// Seconds between two looks at the DS records while nothing is on its way.
const AT_REST: u64 = 3600;
/// Pauses after a command that failed, in seconds.
const BACKOFF: Backoff = Backoff::new(60, 3600);

/// The notes of the KSKs of a zone, by the RDATA of their DNSKEY records in hexadecimal. `None` = the zone was never looked at.
pub type KskNotes = Option<BTreeMap<String, KskNote>>;

/// Who is asked.
pub trait DsNetwork {
    /// The DS records of a zone.
    fn ds_view(&self, zone: &Name) -> DsView;
    /// The servers of a zone that the world asks.
    fn public_servers(&self, zone: &Name) -> Result<Servers, AskError>;
    /// Whether each of these servers has the records of a wish, and these DNSKEY records.
    fn look_at_keys(&self, servers: &[SocketAddr], zone: &Name, wish: &Wish, keys: &[Dnskey]) -> Vec<Serves>;
}

/// A command that failed.
#[derive(Debug)]
pub struct HookFailure {
    /// The event that it was for.
    pub event: DsEvent,
    /// Key tag of the KSK.
    pub tag: u16,
    /// What went wrong.
    pub error: RunError,
}

/// What came of a step.
#[derive(Debug, Default)]
pub struct HookStep {
    /// The event that was done, with the key tag.
    pub done: Option<(DsEvent, u16)>,
    /// The command that failed; nothing is done behind it before it went well.
    pub failed: Option<HookFailure>,
    /// The notes are others than before.
    pub is_changed: bool,
}

/// The KSKs of one zone, on their way to the parent and away from it.
#[derive(Debug)]
pub struct DsWatch {
    looks: usize,
    due: Instant,
    /// Commands that failed in a row.
    failures: u32,
    /// When the bundle of the last step came into force.
    bundle: Timestamp,
}

/// A KSK that the zone asks a DS record for.
struct Wanted<'a> {
    key: Dnskey,
    /// The CDS records of it.
    cds: Vec<&'a [u8]>,
}

/// What a step works with.
#[derive(Clone, Copy)]
pub struct HookPlace<'a> {
    /// The zone.
    pub zone: &'a Name,
    /// The commands and their deadline.
    pub config: &'a ParentConfig,
    /// A command is killed when this is set.
    pub stop: &'a AtomicBool,
    /// The time.
    pub now: Timestamp,
}

impl DsWatch {
    /// Due at once.
    pub const fn new(now: Instant) -> Self {
        Self { looks: 0, due: now, failures: 0, bundle: Timestamp::EPOCH }
    }

    /// When it is due next.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// Is due at once where this bundle has come into force since the last step.
    pub fn follow(&mut self, bundle: &Bundle, now: Instant) {
        if self.bundle != bundle.inception {
            (self.bundle, self.looks, self.due) = (bundle.inception, 0, now);
        }
    }

    /// Looks, and runs the commands that are due.
    pub fn step(
        &mut self,
        network: &dyn DsNetwork,
        bundle: &Bundle,
        notes: &mut KskNotes,
        place: HookPlace<'_>,
        instant: Instant,
    ) -> HookStep {
        let mut step = HookStep::default();
        let wanted = wanted(bundle);
        let view = network.ds_view(place.zone);
        let pause = LOOKS.after(self.looks);
        let Some(known) = known(notes, &view, bundle, &wanted, place, &mut step) else {
            self.due = instant + pause;
            self.looks += 1;
            return step;
        };
        note_visible(network, known, bundle, &wanted, place, &mut step);
        let ttl = bundle.rrsets().map(|rrset| rrset.ttl).max();
        let mut next = u64::MAX;
        for (id, note) in known.iter_mut() {
            let Some(key) = HEXLOWER.decode(id.as_bytes()).ok().and_then(|rdata| Dnskey::from_rdata(&rdata))
            else {
                continue;
            };
            let wish = wanted.iter().find(|wanted| wanted.key == key);
            let ttl = ttl.filter(|_| wish.is_some());
            let state = view.of(place.zone, &key);
            let is_at_rest = note.seen.is_some() == wish.is_some();
            next = next.min(if is_at_rest { AT_REST } else { pause.as_secs() });
            if let Some(ready) =
                note.is_ready_at(ttl).filter(|ready| *ready > place.now && note.ready.is_none())
            {
                next = next.min(ready.since(place.now));
            }
            let Some(event) = note.due(ttl, &state, place.now) else { continue };
            let ds = records(event, &state, wish, note);
            match run(event, &key, &ds, wish.is_some(), note, place, self.failures) {
                Ok(()) => {
                    *note = std::mem::take(note).after(
                        event,
                        ds.iter().map(|r| HEXLOWER.encode(r)).collect(),
                        place.now,
                    );
                    step.done = Some((event, key.tag()));
                    step.is_changed = true;
                    // The note is written before the next command is run.
                    (self.failures, self.looks, next) = (0, 0, 0);
                    break;
                }
                Err(error) => {
                    next = BACKOFF.pause(self.failures);
                    self.failures = self.failures.saturating_add(1);
                    step.failed = Some(HookFailure { event, tag: key.tag(), error });
                    break;
                }
            }
        }
        // What the parent has no DS record of, and is not asked for, is over.
        let before = known.len();
        known.retain(|id, note| {
            note.seen.is_some() || wanted.iter().any(|wanted| self::id(&wanted.key) == *id)
        });
        step.is_changed |= known.len() != before;
        self.looks = self.looks.saturating_add(1);
        self.due = instant + Duration::from_secs(next.min(AT_REST));
        step
    }
}

/// The KSKs that a bundle asks DS records for: those in its DNSKEY RRset that a CDS or CDNSKEY record is of.
fn wanted(bundle: &Bundle) -> Vec<Wanted<'_>> {
    let cds: Vec<&[u8]> = bundle.cds.iter().flat_map(|rrset| &rrset.rdatas).map(|rdata| &**rdata).collect();
    let cdnskey: Vec<&[u8]> =
        bundle.cdnskey.iter().flat_map(|rrset| &rrset.rdatas).map(|rdata| &**rdata).collect();
    let keys = bundle.keys().filter(Dnskey::is_ksk);
    let wanted = keys.map(|key| {
        let is_of = |rdata: &&[u8]| {
            rdata
                .get(3)
                .is_some_and(|digest| key.ds_rdata(&bundle.dnskey.owner, *digest).as_deref() == Some(*rdata))
        };
        Wanted { cds: cds.iter().copied().filter(is_of).collect(), key }
    });
    wanted.filter(|wanted| !wanted.cds.is_empty() || cdnskey.contains(&&*wanted.key.to_rdata())).collect()
}

fn id(key: &Dnskey) -> String {
    HEXLOWER.encode(&key.to_rdata())
}

/// The notes, with one for each KSK that is wanted. At the first look at a zone the DS records that are there already are noted as seen, so
/// that no command is run for what was so before; `None` while nobody knows which are there.
fn known<'a>(
    notes: &'a mut KskNotes,
    view: &DsView,
    bundle: &Bundle,
    wanted: &[Wanted<'_>],
    place: HookPlace<'_>,
    step: &mut HookStep,
) -> Option<&'a mut BTreeMap<String, KskNote>> {
    if notes.is_none() {
        let mut found = BTreeMap::new();
        for key in bundle.keys().filter(Dnskey::is_ksk) {
            match view.of(place.zone, &key) {
                DsState::There(ds) => {
                    let ds = ds.iter().map(|rdata| HEXLOWER.encode(rdata)).collect();
                    found.insert(id(&key), KskNote::default().after(DsEvent::Seen, ds, place.now));
                }
                DsState::Absent => {}
                DsState::Unknown => return None,
            }
        }
        *notes = Some(found);
        step.is_changed = true;
    }
    let known = notes.as_mut()?;
    for wanted in wanted {
        known.entry(id(&wanted.key)).or_insert_with(|| {
            step.is_changed = true;
            KskNote::default()
        });
    }
    Some(known)
}

/// Notes since when every server that gives an answer has the records of the KSKs that are wanted.
fn note_visible(
    network: &dyn DsNetwork,
    known: &mut BTreeMap<String, KskNote>,
    bundle: &Bundle,
    wanted: &[Wanted<'_>],
    place: HookPlace<'_>,
    step: &mut HookStep,
) {
    let keys: Vec<Dnskey> = wanted.iter().map(|wanted| wanted.key.clone()).collect();
    let is_new =
        |key: &Dnskey| known.get(&id(key)).is_some_and(|note| note.visible.is_none() && note.seen.is_none());
    if !keys.iter().any(is_new) {
        return;
    }
    let servers = network.public_servers(place.zone).unwrap_or_default().addresses;
    let seen = network.look_at_keys(&servers, place.zone, &Wish::of(bundle), &keys);
    if seen.contains(&Serves::These) && !seen.contains(&Serves::Others) {
        for key in &keys {
            if let Some(note) = known.get_mut(&id(key)) {
                note.visible.get_or_insert(place.now.secs());
            }
        }
        step.is_changed = true;
    }
}

/// The DS records that an event is about.
fn records(event: DsEvent, state: &DsState, wanted: Option<&Wanted<'_>>, note: &KskNote) -> Vec<Vec<u8>> {
    match (event, state) {
        (DsEvent::Ready, _) => {
            wanted.iter().flat_map(|wanted| &wanted.cds).map(|rdata| rdata.to_vec()).collect()
        }
        (DsEvent::Seen, DsState::There(ds)) => ds.clone(),
        _ => note.ds.iter().filter_map(|ds| HEXLOWER.decode(ds.as_bytes()).ok()).collect(),
    }
}

/// Runs the command of an event, where there is one.
fn run(
    event: DsEvent,
    key: &Dnskey,
    ds: &[Vec<u8>],
    is_wanted: bool,
    note: &KskNote,
    place: HookPlace<'_>,
    failures: u32,
) -> Result<(), RunError> {
    let words = event.command(place.config);
    if words.is_empty() {
        return Ok(());
    }
    let mut types: Vec<String> = ds.iter().filter_map(|rdata| rdata.get(3)).map(u8::to_string).collect();
    types.dedup();
    let lines =
        ds.iter().map(|rdata| format!("{} IN DS {}", place.zone, rdata::to_text(Rtype::DS, rdata, None)));
    let dnskey = rdata::to_text(Rtype::DNSKEY, &key.to_rdata(), None);
    let visible = note.visible.map(|time| Timestamp::from_secs(time).to_string());
    let environment = [
        ("OFFLINE_KSK_EVENT", event.as_str().to_owned()),
        ("OFFLINE_KSK_ZONE", place.zone.to_string()),
        ("OFFLINE_KSK_KEY_TAG", key.tag().to_string()),
        ("OFFLINE_KSK_ALGORITHM", key.algorithm.0.to_string()),
        ("OFFLINE_KSK_DIGEST_TYPES", types.join(" ")),
        ("OFFLINE_KSK_DS", lines.collect::<Vec<_>>().join("\n")),
        ("OFFLINE_KSK_DNSKEY", format!("{} IN DNSKEY {dnskey}", place.zone)),
        ("OFFLINE_KSK_WANTED", if is_wanted { "yes" } else { "no" }.to_owned()),
        ("OFFLINE_KSK_TIME", place.now.to_string()),
        ("OFFLINE_KSK_VISIBLE_SINCE", visible.unwrap_or_default()),
        ("OFFLINE_KSK_ATTEMPT", failures.saturating_add(1).to_string()),
    ];
    let timeout = Duration::from_secs(place.config.hook_timeout.into());
    let stop = Some(place.stop);
    Invocation { words, environment: &environment, input: None, timeout, stop }.run().map(drop)
}
