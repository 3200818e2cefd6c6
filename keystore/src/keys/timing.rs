//! BIND's timing words of a key, and its `.state`.

use crate::time::Timestamp;

/// The times of a key; `None` = not set. Names are those of `.key` and `.private`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are BIND's words, explained in the manual")]
pub struct Timing {
    pub created: Option<Timestamp>,
    pub publish: Option<Timestamp>,
    pub activate: Option<Timestamp>,
    pub revoke: Option<Timestamp>,
    pub inactive: Option<Timestamp>,
    pub delete: Option<Timestamp>,
    pub ds_publish: Option<Timestamp>,
    pub ds_delete: Option<Timestamp>,
    pub sync_publish: Option<Timestamp>,
    pub sync_delete: Option<Timestamp>,
}

/// The place of one time in a [`Timing`].
pub type TimeField = fn(&mut Timing) -> &mut Option<Timestamp>;

/// The tags of `.private` in the order in which BIND writes them, and their fields. `.key` has the same without
/// `DSPublish`; the removal of the DS is in `.state` only.
pub const TIMES: [(&str, TimeField); 9] = [
    ("Created", |t| &mut t.created),
    ("Publish", |t| &mut t.publish),
    ("Activate", |t| &mut t.activate),
    ("Revoke", |t| &mut t.revoke),
    ("Inactive", |t| &mut t.inactive),
    ("Delete", |t| &mut t.delete),
    ("DSPublish", |t| &mut t.ds_publish),
    ("SyncPublish", |t| &mut t.sync_publish),
    ("SyncDelete", |t| &mut t.sync_delete),
];

impl Timing {
    /// In the DNSKEY RRset at `now`: Publish reached and Delete not.
    #[must_use]
    pub fn is_published(&self, now: Timestamp) -> bool {
        self.publish.is_some_and(|t| t <= now) && self.delete.is_none_or(|t| now < t)
    }

    /// Signs at `now`: Activate reached and Inactive not (at the very second of Inactive it no longer does).
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.activate.is_some_and(|t| t <= now) && self.inactive.is_none_or(|t| now < t)
    }
}

/// Two times of a ZSK in an order that makes signatures no resolver can verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MisorderedTimes {
    /// Publish is later than Activate.
    SignsBeforePublished,
    /// Inactive is earlier than Activate.
    NeverSigns,
    /// Delete is earlier than Inactive, or than Activate or Publish where there is no Inactive.
    SignsWhenDeleted,
}

impl MisorderedTimes {
    /// What is wrong with the order of these times: Publish, Activate, Inactive, Delete, of those that are set. `None` of a key that is
    /// gone at `now`, which may have been deleted in a hurry.
    #[must_use]
    pub fn of(timing: &Timing, now: Timestamp) -> Option<Self> {
        if timing.delete.is_some_and(|delete| delete <= now) {
            return None;
        }
        let is_later = |first: Option<Timestamp>, second: Option<Timestamp>| {
            first.zip(second).is_some_and(|(first, second)| first > second)
        };
        if is_later(timing.publish, timing.activate) {
            return Some(Self::SignsBeforePublished);
        }
        if is_later(timing.activate, timing.inactive) {
            return Some(Self::NeverSigns);
        }
        let last = timing.inactive.or(timing.activate).or(timing.publish);
        is_later(last, timing.delete).then_some(Self::SignsWhenDeleted)
    }
}

impl std::fmt::Display for MisorderedTimes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SignsBeforePublished => {
                "its Publish is later than its Activate: it would sign before it is in the DNSKEY RRset"
            }
            Self::NeverSigns => "its Inactive is earlier than its Activate: it would never sign",
            Self::SignsWhenDeleted => {
                "its Delete is earlier than the times before: it would leave the DNSKEY RRset while it signs, or before"
            }
        })
    }
}

/// The times without which a ZSK in named's key folder makes each rekey of named 9.20 fail (`dns_keymgr_offline failed: not found`): the
/// zone then keeps the DNSKEY RRset that it has, and a named that has just started serves none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LackingTimes {
    /// There is no Publish.
    Publish,
    /// There is no Activate.
    Activate,
    /// There is neither.
    Both,
}

impl LackingTimes {
    /// What a ZSK of these times lacks; `None` for one that named can work with.
    #[must_use]
    pub const fn of(timing: &Timing) -> Option<Self> {
        match (timing.publish, timing.activate) {
            (Some(_), Some(_)) => None,
            (None, Some(_)) => Some(Self::Publish),
            (Some(_), None) => Some(Self::Activate),
            (None, None) => Some(Self::Both),
        }
    }

    /// The options of `dnssec-settime` that give these times, a year from now.
    #[must_use]
    pub const fn settime(self) -> &'static str {
        match self {
            Self::Publish => "-P +1y",
            Self::Activate => "-A +1y",
            Self::Both => "-P +1y -A +1y",
        }
    }
}

impl std::fmt::Display for LackingTimes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Publish => "Publish",
            Self::Activate => "Activate",
            Self::Both => "Publish or Activate",
        })
    }
}

/// State of one record kind of a key (BIND's key manager, RFC 7583 state names).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are BIND's words, explained in the manual")]
pub enum RecordState {
    Hidden,
    Rumoured,
    Omnipresent,
    Unretentive,
}

impl RecordState {
    /// Reads the word, in any letter case.
    #[must_use]
    pub fn parse(word: &[u8]) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_slice() {
            b"hidden" => Self::Hidden,
            b"rumoured" => Self::Rumoured,
            b"omnipresent" => Self::Omnipresent,
            b"unretentive" => Self::Unretentive,
            _ => return None,
        })
    }
}

impl std::fmt::Display for RecordState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hidden => "hidden",
            Self::Rumoured => "rumoured",
            Self::Omnipresent => "omnipresent",
            Self::Unretentive => "unretentive",
        })
    }
}

/// What only the `.state` file has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Key size in bits.
    pub length: u16,
    /// Lifetime in seconds; `Some(0)` = unlimited.
    pub lifetime: Option<u32>,
    /// Key tag of the key before it.
    pub predecessor: Option<u16>,
    /// Key tag of the key after it.
    pub successor: Option<u16>,
    /// Role: signs the DNSKEY RRset.
    pub ksk: Option<bool>,
    /// Role: signs the zone.
    pub zsk: Option<bool>,
    /// DNSKEY, ZRRSIG, KRRSIG, DS: state and the time of its last change.
    pub dnskey: (Option<RecordState>, Option<Timestamp>),
    /// Signatures over the zone.
    pub zrrsig: (Option<RecordState>, Option<Timestamp>),
    /// Signatures over the key RRsets.
    pub krrsig: (Option<RecordState>, Option<Timestamp>),
    /// DS at the parent.
    pub ds: (Option<RecordState>, Option<Timestamp>),
    /// Where the key manager steers.
    pub goal: Option<RecordState>,
    /// Numbers of DS observations (`DSPubCount`, `DSDelCount`).
    pub ds_pub_count: Option<u32>,
    /// See `ds_pub_count`.
    pub ds_del_count: Option<u32>,
    /// Time from which signatures by the key are published (`SigPublish`).
    pub sig_publish: Option<Timestamp>,
    /// Time at which signatures by the key are gone (`SigRemoved`).
    pub sig_delete: Option<Timestamp>,
}
