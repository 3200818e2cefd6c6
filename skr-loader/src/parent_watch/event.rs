//! When a KSK has come so far that a command is to be run: one pure decision from what is noted of it and what is seen now.
//!
//! ```text
//! every server has had the new DNSKEY, CDS and CDNSKEY records for their TTLs ─▶ ds-ready
//! the DS record stands at the parent ─▶ ds-seen        it stands there no more ─▶ ds-gone
//! ```

use keystore::config::ParentConfig;
use keystore::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::ds::DsState;

/// What has happened to the DS record of a KSK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DsEvent {
    /// The parent may take it.
    Ready,
    /// The parent has it.
    Seen,
    /// The parent has it no more.
    Gone,
}

impl DsEvent {
    /// The word in the environment of the command, in metrics and in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ds-ready",
            Self::Seen => "ds-seen",
            Self::Gone => "ds-gone",
        }
    }

    /// The command that is run for it; empty = none.
    pub fn command(self, config: &ParentConfig) -> &[String] {
        match self {
            Self::Ready => &config.on_ds_ready,
            Self::Seen => &config.on_ds_seen,
            Self::Gone => &config.on_ds_gone,
        }
    }
}

/// What is noted of a KSK: how far it has come, and when, in seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KskNote {
    /// Since when every server serves its DNSKEY record, and the CDS and CDNSKEY records that ask for its DS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible: Option<u64>,
    /// When ds-ready was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<u64>,
    /// When ds-seen was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<u64>,
    /// The DS records that were seen then, in hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ds: Vec<String>,
}

impl KskNote {
    /// The event that is due. `ttl` is the largest TTL of the records that ask for the DS, `None` where they ask for it no more.
    pub fn due(&self, ttl: Option<u32>, state: &DsState, now: Timestamp) -> Option<DsEvent> {
        match (state, self.seen) {
            (DsState::There(_), None) => Some(DsEvent::Seen),
            (DsState::Absent, Some(_)) => Some(DsEvent::Gone),
            (DsState::Absent, None) if self.ready.is_none() && self.is_ready_at(ttl)? <= now => {
                Some(DsEvent::Ready)
            }
            _ => None,
        }
    }

    /// When the records that ask for the DS will have been visible for their TTLs.
    pub fn is_ready_at(&self, ttl: Option<u32>) -> Option<Timestamp> {
        Some(Timestamp::from_secs(self.visible?).plus(ttl?.into()))
    }

    /// The same behind an event that was done at `now`. `ds` are the records that were seen.
    pub fn after(self, event: DsEvent, ds: Vec<String>, now: Timestamp) -> Self {
        let done = Some(now.secs());
        match event {
            DsEvent::Ready => Self { ready: done, ..self },
            // Once it is seen it need not be said to be ready.
            DsEvent::Seen => Self { ready: self.ready.or(done), seen: done, ds, ..self },
            DsEvent::Gone => Self { seen: None, ds: Vec::new(), ..self },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_comes_once_and_in_its_order() {
        let at = Timestamp::from_secs;
        let there = || DsState::There(vec![vec![1]]);
        let new = KskNote::default();
        let visible = KskNote { visible: Some(1000), ..new.clone() };
        let ready = visible.clone().after(DsEvent::Ready, Vec::new(), at(4600));
        let seen = ready.clone().after(DsEvent::Seen, vec!["01".into()], at(5000));
        let gone = seen.clone().after(DsEvent::Gone, Vec::new(), at(9000));
        for (note, ttl, state, now, wanted) in [
            (&new, Some(3600), DsState::Absent, 99_999, None),
            (&visible, Some(3600), DsState::Absent, 4599, None),
            (&visible, Some(3600), DsState::Absent, 4600, Some(DsEvent::Ready)),
            (&visible, Some(3600), DsState::Unknown, 4600, None),
            (&visible, None, DsState::Absent, 99_999, None),
            (&visible, Some(3600), there(), 1000, Some(DsEvent::Seen)),
            (&ready, Some(3600), DsState::Absent, 99_999, None),
            (&ready, Some(3600), there(), 5000, Some(DsEvent::Seen)),
            (&seen, Some(3600), there(), 99_999, None),
            (&seen, Some(3600), DsState::Unknown, 99_999, None),
            (&seen, Some(3600), DsState::Absent, 9000, Some(DsEvent::Gone)),
            (&seen, None, DsState::Absent, 9000, Some(DsEvent::Gone)),
            // It comes back, and was ready before.
            (&gone, Some(3600), DsState::Absent, 99_999, None),
            (&gone, Some(3600), there(), 99_999, Some(DsEvent::Seen)),
        ] {
            assert_eq!(note.due(ttl, &state, at(now)), wanted, "{note:?} {ttl:?} {state:?} {now}");
        }
    }
}
