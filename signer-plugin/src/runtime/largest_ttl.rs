//! The largest TTL of a zone, noted for the programs that plan keys and prove SKRs where it is above `max-zone-ttl`.

use std::path::PathBuf;

use keystore::policy::UNLIMITED_ZONE_TTL;
use keystore::retry::Retry;
use keystore::store;
use keystore::time::Timestamp;

/// What is noted of a zone, and what should be.
#[derive(Debug)]
pub(super) struct LargestTtl {
    /// Folder of the zone below `zones/`.
    state: PathBuf,
    /// What is to be noted: the TTL, or that none is above the limit.
    wanted: Option<u32>,
    /// What is known to be noted; `None` before the first try that went well.
    noted: Option<Option<u32>>,
    retry: Retry,
}

impl LargestTtl {
    pub fn new(state: PathBuf) -> Self {
        Self { state, wanted: None, noted: None, retry: Retry::default() }
    }

    /// A zone file was read whose largest TTL is `ttl`, under a policy whose limit is `max`; without one a week is reckoned with.
    pub fn keep(&mut self, ttl: u32, max: Option<u32>, now: Timestamp) -> std::io::Result<()> {
        self.wanted = (ttl > max.unwrap_or(UNLIMITED_ZONE_TTL)).then_some(ttl);
        self.write(now)
    }

    /// Tries again what could not be written.
    pub fn poll(&mut self, now: Timestamp) {
        if self.retry.is_due(now) {
            // It was told when it failed first.
            let _ = self.write(now);
        }
    }

    /// Time of the next try.
    pub const fn next_try(&self) -> Option<Timestamp> {
        self.retry.at()
    }

    fn write(&mut self, now: Timestamp) -> std::io::Result<()> {
        if self.noted == Some(self.wanted) {
            return Ok(());
        }
        let written = store::write_largest_ttl(&self.state, self.wanted);
        match written {
            Ok(()) => {
                self.noted = Some(self.wanted);
                self.retry.settled();
            }
            Err(_) => {
                self.retry.failed(now);
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use keystore::dns::Name;

    use super::*;

    #[test]
    fn kind_18_largest_ttl_is_noted_while_it_is_above_the_limit_also_after_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let zone = Name::parse("example.").unwrap();
        let state = store::zone_dir(&dir.path().join("zones"), &zone);
        let noted = || store::largest_ttl(dir.path(), &zone).unwrap();
        let mut now = Timestamp::from_secs(1_800_000_000);
        let mut kept = LargestTtl::new(state.clone());
        for (ttl, max, expected) in [
            (3600, Some(86_400), None),
            (86_401, Some(86_400), Some(86_401)),
            (604_800, Some(86_400), Some(604_800)),
            (604_800, None, None),
            (604_801, None, Some(604_801)),
            (86_400, Some(86_400), None),
        ] {
            kept.keep(ttl, max, now).unwrap();
            assert_eq!(noted(), expected, "{ttl} {max:?}");
        }
        // Where the folder cannot be made it is tried again, and written when it can.
        std::fs::remove_dir_all(dir.path().join("zones")).unwrap();
        std::fs::write(dir.path().join("zones"), "in the way").unwrap();
        assert!(kept.keep(700_000, Some(86_400), now).is_err());
        kept.poll(now);
        std::fs::remove_file(dir.path().join("zones")).unwrap();
        now = kept.next_try().unwrap();
        kept.poll(now);
        assert_eq!((noted(), kept.next_try()), (Some(700_000), None));
        std::fs::write(state.join("largest-ttl"), "much").unwrap();
        assert!(store::largest_ttl(dir.path(), &zone).is_err(), "garbage is no number");
    }
}
