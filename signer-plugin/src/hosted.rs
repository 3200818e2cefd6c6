//! The zones that this process answers for, found by the longest match on the name asked (RFC 1034 section 4.3.2, step 2).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use keystore::dns::name::MAX_NAME;
use keystore::dns::{Name, Rtype};

pub use crate::answer::{AnswerKind, AnswerOutcome, Arrival, Transport};
use crate::protocol::{QuerySettings, SharedSettings};
use crate::transfer::Transferable;

/// A zone that answers queries for names at and below its apex.
pub trait Responder: Send + Sync + 'static {
    /// The apex.
    fn origin(&self) -> &Name;

    /// Answers `query`, a whole DNS message; `out` is cleared first.
    fn respond(&self, query: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> AnswerOutcome;

    /// Has `work` answer queries one after another, all from one version of the zone and as of one moment. By default each is answered by
    /// [`Self::respond`].
    fn hold(&self, work: &mut dyn FnMut(&mut dyn Version)) {
        work(&mut Latest(self));
    }

    /// What transfers need; `None` for a zone that is not transferred: AXFR and IXFR are then refused, and TSIG is answered with BADKEY, by
    /// [`Self::respond`].
    fn transferable(&self) -> Option<Transferable> {
        None
    }
}

/// A version of a zone, held while queries are answered from it. See [`Responder::hold`].
pub trait Version {
    /// Answers a query as [`Responder::respond`] does.
    fn respond(&mut self, query: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> AnswerOutcome;

    /// Says which queries are answered next, so that what their answers need of memory can be fetched for all of them at once. There may be some
    /// for names of other zones among them. By default nothing is done.
    fn look_ahead(&mut self, _queries: &[&[u8]]) {}
}

/// For each query the version of a zone that is in force then.
pub(crate) struct Latest<'a, R: ?Sized>(pub &'a R);

impl<R: Responder + ?Sized> Version for Latest<'_, R> {
    fn respond(&mut self, query: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> AnswerOutcome {
        self.0.respond(query, arrival, out)
    }
}

/// Zones by apex, and the settings of the queries for them. Cheap to clone; clones see the same zones, also after [`Hosted::replace`].
#[derive(Clone, Default)]
pub struct Hosted {
    by_apex: Arc<ArcSwap<ByApex>>,
    settings: SharedSettings,
}

/// The zones that were hosted at one moment, for looking up several names.
pub struct Zones(Guard<Arc<ByApex>>);

#[derive(Clone, Default)]
struct ByApex {
    /// By the apex in lower-case wire form.
    entries: HashMap<Box<[u8]>, Entry>,
    /// Octets of the longest apex: longer parts of a name need no look.
    longest: usize,
}

impl From<HashMap<Box<[u8]>, Entry>> for ByApex {
    fn from(entries: HashMap<Box<[u8]>, Entry>) -> Self {
        let longest = entries.keys().map(|apex| apex.len()).max().unwrap_or(0);
        Self { entries, longest }
    }
}

/// Who has an apex: at least one of the two. Ours answers where it is both's.
#[derive(Clone, Default)]
struct Entry {
    ours: Option<Arc<dyn Responder>>,
    /// Another handler of this process hosts it.
    is_others: bool,
}

impl fmt::Debug for Hosted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.zones().iter().map(|z| z.origin().to_string())).finish()
    }
}

impl Hosted {
    /// These zones, and none else, under these settings of queries. Of two with one apex the later one counts.
    ///
    /// Zones of a signer need [`Signer::settings`]: who may ask for them (`allow-query`) is said there and not by the zone. Under
    /// `SharedSettings::default()` everybody is answered.
    ///
    /// [`Signer::settings`]: crate::runtime::Signer::settings
    #[must_use]
    pub fn new(zones: impl IntoIterator<Item = Arc<dyn Responder>>, settings: SharedSettings) -> Self {
        let hosted = Self { settings, ..Self::default() };
        hosted.replace(zones);
        hosted
    }

    /// The same zones under these settings of queries, in place of those that came with them.
    #[must_use]
    pub fn with_settings(self, settings: SharedSettings) -> Self {
        Self { settings, ..self }
    }

    /// The settings under which queries are answered.
    pub(crate) const fn settings(&self) -> &SharedSettings {
        &self.settings
    }

    /// From now on these zones, for every clone; what [`Hosted::besides`] said stays.
    pub fn replace(&self, zones: impl IntoIterator<Item = Arc<dyn Responder>>) {
        let ours: Vec<_> = zones.into_iter().collect();
        self.by_apex.rcu(|old| {
            let others = old.entries.iter().filter(|(_, entry)| entry.is_others);
            let others = others.map(|(apex, _)| (apex.clone(), Entry { ours: None, is_others: true }));
            let mut new: HashMap<_, Entry> = others.collect();
            for zone in &ours {
                new.entry(key(zone.origin())).or_default().ours = Some(Arc::clone(zone));
            }
            ByApex::from(new)
        });
    }

    /// The same, knowing that another handler of this process hosts `apexes`: a name at or below one of them is not ours, even
    /// when it is below one of our zones. It holds for every clone, until [`Hosted::take_back`]. A zone of ours at one of the apexes goes on
    /// to be answered; when it is gone, the other handler answers.
    #[must_use]
    pub fn besides(self, apexes: impl IntoIterator<Item = Name>) -> Self {
        self.set_others(apexes, true);
        self
    }

    /// Takes back what [`Hosted::besides`] said of `apexes`, for every clone: names there belong to the zone above them again.
    pub fn take_back(&self, apexes: impl IntoIterator<Item = Name>) {
        self.set_others(apexes, false);
    }

    fn set_others(&self, apexes: impl IntoIterator<Item = Name>, is_others: bool) {
        let apexes: Vec<_> = apexes.into_iter().map(|apex| key(&apex)).collect();
        self.by_apex.rcu(|old| {
            let mut new = old.entries.clone();
            for apex in &apexes {
                new.entry(apex.clone()).or_default().is_others = is_others;
            }
            new.retain(|_, entry| entry.is_others || entry.ours.is_some());
            ByApex::from(new)
        });
    }

    /// The zones as they are now.
    #[must_use]
    pub fn load(&self) -> Zones {
        Zones(self.by_apex.load())
    }

    /// The zones, and the settings that hold for them: never the settings of before with zones of after, nor the other way round, so that no
    /// zone is answered for by somebody else's list of who may ask.
    pub(crate) fn load_with_settings(&self) -> (Zones, Guard<Arc<QuerySettings>>) {
        let mut settings = self.settings.load();
        loop {
            let zones = self.load();
            let again = self.settings.load();
            if Arc::ptr_eq(&settings, &again) {
                return (zones, settings);
            }
            settings = again;
        }
    }

    /// The zone that answers for `qname`, see [`Zones::find`].
    #[must_use]
    pub fn find(&self, qname: &[u8], qtype: Rtype) -> Option<Arc<dyn Responder>> {
        self.load().find(qname, qtype).cloned()
    }

    /// Our zone with this apex.
    #[must_use]
    pub fn zone(&self, apex: &Name) -> Option<Arc<dyn Responder>> {
        self.by_apex.load().entries.get(&key(apex)).and_then(Entry::ours).cloned()
    }

    /// Our zones, in no order.
    #[must_use]
    pub fn zones(&self) -> Vec<Arc<dyn Responder>> {
        self.by_apex.load().entries.values().filter_map(Entry::ours).cloned().collect()
    }
}

impl Zones {
    /// The zone that answers for `qname` (uncompressed wire form, in any letter case). A DS query for an apex belongs to the zone above
    /// it when that one is hosted too (RFC 4035 section 3.1.4.1).
    #[must_use]
    pub fn find(&self, qname: &[u8], qtype: Rtype) -> Option<&Arc<dyn Responder>> {
        let mut rest = qname;
        while rest.len() > self.0.longest {
            rest = parent(rest)?;
        }
        let mut room = [0; MAX_NAME];
        let lower = room.get_mut(..rest.len())?;
        lower.copy_from_slice(rest);
        lower.make_ascii_lowercase();
        let mut lower = &*lower;
        let mut at_apex = None;
        loop {
            if let Some(entry) = self.0.entries.get(lower) {
                if qtype == Rtype::DS && lower.len() == qname.len() {
                    at_apex = Some(entry);
                } else {
                    return entry.ours();
                }
            }
            match parent(lower) {
                Some(above) => lower = above,
                None => return at_apex.and_then(Entry::ours),
            }
        }
    }
}

/// The name without its first label; `None` for the root.
fn parent(name: &[u8]) -> Option<&[u8]> {
    match name.split_first() {
        Some((len, tail)) if *len > 0 => tail.get(usize::from(*len)..),
        _ => None,
    }
}

impl Entry {
    const fn ours(&self) -> Option<&Arc<dyn Responder>> {
        self.ours.as_ref()
    }
}

fn key(apex: &Name) -> Box<[u8]> {
    apex.canonical_wire().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent(Name);

    impl Responder for Silent {
        fn origin(&self) -> &Name {
            &self.0
        }
        fn respond(&self, _: &[u8], _: &Arrival<'_>, _: &mut Vec<u8>) -> AnswerOutcome {
            AnswerOutcome::Drop
        }
    }

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    #[test]
    fn longest_match_and_ds_at_the_apex() {
        let ours = |apexes: &[&str]| {
            Hosted::new(
                apexes.iter().map(|a| Arc::new(Silent(name(a))) as Arc<dyn Responder>),
                SharedSettings::default(),
            )
        };
        let hosted =
            ours(&["example", "Sub.Example", "other."]).besides([name("leaf.sub.example"), name("org")]);
        for (qname, qtype, expected) in [
            ("www.example", Rtype::A, Some("example.")),
            ("example", Rtype::SOA, Some("example.")),
            ("sub.example", Rtype::A, Some("Sub.Example.")),
            ("a.b.SUB.example", Rtype::DS, Some("Sub.Example.")),
            ("sub.example", Rtype::DS, Some("example.")),
            ("leaf.sub.example", Rtype::A, None),
            ("x.leaf.sub.example", Rtype::A, None),
            ("leaf.sub.example", Rtype::DS, Some("Sub.Example.")),
            ("example", Rtype::DS, Some("example.")),
            ("org", Rtype::DS, None),
            ("xexample", Rtype::A, None),
            ("com", Rtype::A, None),
            (".", Rtype::NS, None),
        ] {
            let found = hosted.find(&name(qname).canonical_wire(), qtype);
            assert_eq!(found.map(|z| z.origin().to_string()).as_deref(), expected, "{qname} {qtype}");
        }
        for (apex, ours) in [("EXAMPLE", true), ("leaf.sub.example", false), ("www.example", false)] {
            assert_eq!(hosted.zone(&name(apex)).is_some(), ours, "{apex}");
        }
        let loaded = hosted.load();
        for qname in ["EXAMPLE", "a.Sub.eXAMPLE"] {
            assert!(loaded.find(name(qname).as_wire(), Rtype::A).is_some(), "{qname} in any letter case");
        }
        hosted.replace([]);
        assert!(loaded.find(name("example").as_wire(), Rtype::A).is_some(), "what was loaded stays");
        assert!(hosted.find(name("example").as_wire(), Rtype::A).is_none());
        let root = ours(&["."]);
        assert!(root.find(&name("any.thing").canonical_wire(), Rtype::A).is_some());
        assert!(root.find(&[0], Rtype::DS).is_some());
    }

    #[test]
    fn names_left_to_another_handler_can_be_taken_back_and_outlast_a_zone_of_ours() {
        let zone = |apex: &str| Arc::new(Silent(name(apex))) as Arc<dyn Responder>;
        let hosted = Hosted::new([zone("example")], SharedSettings::default());
        let clone = hosted.clone().besides([name("Sub.example"), name("org")]);
        let asked = |qname: &str| {
            hosted.find(&name(qname).canonical_wire(), Rtype::A).map(|zone| zone.origin().to_string())
        };
        assert_eq!((asked("www.sub.example"), asked("org")), (None, None));
        // A zone of ours at the apex answers as long as it is there, whoever was first.
        hosted.replace([zone("example"), zone("sub.example")]);
        assert_eq!(asked("www.sub.example").as_deref(), Some("sub.example."));
        let _same = clone.clone().besides([name("sub.example")]);
        hosted.replace([zone("example")]);
        assert_eq!(asked("www.sub.example"), None, "the other handler's again");
        // Taken back at any clone, in any letter case, once or twice; names that nobody has left are no error.
        for _ in 0..2 {
            clone.take_back([name("SUB.example"), name("net")]);
            assert_eq!(asked("www.sub.example").as_deref(), Some("example."));
            assert_eq!(hosted.load().0.entries.len(), 2, "example and org");
        }
        hosted.replace([zone("sub.example")]);
        hosted.take_back([name("sub.example"), name("org")]);
        assert_eq!(asked("sub.example").as_deref(), Some("sub.example."), "what is ours stays");
        assert_eq!(hosted.load().0.entries.len(), 1);
    }
}
