//! What other processes report, looked at without reading what they say of each zone: that is cheap enough for each second.

use std::collections::BTreeMap;
use std::path::Path;

use crate::changed::{FileMark, mark};
use crate::health::alive;
use crate::health::report::{self, Component, ComponentReport};

/// What was last seen of the components of other processes.
#[derive(Debug, Default)]
pub(super) struct Others(BTreeMap<Component, Seen>);

#[derive(Debug, Clone)]
struct Seen {
    mark: FileMark,
    /// `None` = there is none, or it cannot be read.
    report: Option<ComponentReport>,
    lives: bool,
}

impl Seen {
    /// True when this is what was seen before, or differs in nothing but the time of writing.
    fn is_alike(&self, before: &Self) -> bool {
        let same = |(a, b): (&ComponentReport, &ComponentReport)| a.says_the_same(b);
        self.lives == before.lives
            && (self.mark == before.mark
                || self.report.as_ref().zip(before.report.as_ref()).is_some_and(same))
    }
}

impl Others {
    /// True when, since the last call, a component that is not in this process has begun, has ended, or has reported something that somebody
    /// may have to act on. The first call only looks.
    pub fn report_anew(&mut self, state_dir: &Path, is_own: impl Fn(Component) -> bool) -> bool {
        let mut is_news = false;
        for component in Component::ALL {
            let before = self.0.remove(&component);
            if is_own(component) {
                continue;
            }
            let mark = mark(&report::path(state_dir, component));
            let report = match &before {
                Some(before) if before.mark == mark => before.report.clone(),
                _ => report::read_report(state_dir, component).ok().flatten(),
            };
            let lives = mark.is_some() && alive::may_live(state_dir, component);
            let seen = Seen { mark, report, lives };
            is_news |= before.is_some_and(|before| !seen.is_alike(&before));
            self.0.insert(component, seen);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keystore::time::Timestamp;

    use super::*;
    use crate::health::report::{HEARTBEAT, ServedReport, Writer, ZoneReport, ZoneReports};

    #[test]
    fn another_process_is_news_when_it_begins_reports_a_condition_or_ends_and_not_at_its_heartbeat() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |seconds: u64| Timestamp::from_secs(1_800_000_000 + seconds);
        let zones = |serial: u32, loaded: bool| {
            let served = Some(ServedReport { serial, loaded, ..ServedReport::default() });
            let zone = ZoneReport { served, ..ZoneReport::default() };
            Arc::new(ZoneReports::from([("example.".to_owned(), zone)]))
        };
        let report = |seconds: u64| ComponentReport::new(Component::Signer, at(0), at(seconds));
        let mut others = Others::default();
        let mut look = || others.report_anew(dir.path(), |component| component == Component::Probe);
        assert!(!look(), "the first");
        let mut writer = Writer::new(dir.path(), Component::Signer);
        let mut write = |report: ComponentReport, zones| writer.write(&report, &zones).expect("written");
        write(report(1), zones(1, true));
        assert!(look(), "it begins");
        assert!(!look(), "nothing");
        write(report(1 + HEARTBEAT), zones(1, true));
        assert!(!look(), "a heartbeat");
        write(report(2 + HEARTBEAT), zones(2, true));
        assert!(!look(), "another serial");
        write(report(3 + HEARTBEAT), zones(2, false));
        assert!(look(), "a condition of a zone");
        let error = Some("line 3".to_owned());
        write(ComponentReport { configuration_error: error, ..report(4 + HEARTBEAT) }, zones(2, false));
        assert!(look(), "a condition of the host");
        drop(writer);
        assert!(look(), "it ends");
        assert!(!look(), "nothing");
        Writer::new(dir.path(), Component::Probe).write(&report(1), &zones(1, true)).expect("written");
        assert!(!look(), "a component of this process");
    }
}
