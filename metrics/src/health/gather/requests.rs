//! The open requests, read again when a folder of the outbox has changed.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use keystore::dns::Name;
use keystore::outbox;
use keystore::store::{digest, zone_dir};
use keystore::time::Timestamp;

use super::{Host, retain_zones};
use crate::health::facts::RequestFacts;

type Mark = Option<(u64, i64, i64)>;

/// What was read of each zone.
#[derive(Debug, Default)]
pub(super) struct Requests(HashMap<Name, (Mark, Arc<[RequestFacts]>)>);

impl Requests {
    /// The open requests, oldest first, and why they cannot be read.
    pub fn look(&mut self, host: &Host, zone: &Name) -> (Arc<[RequestFacts]>, Option<String>) {
        let folder = zone_dir(&host.state_dir.join("outbox"), zone);
        let mark = folder.metadata().ok().map(|m| (m.ino(), m.mtime(), m.mtime_nsec()));
        if let Some((known, requests)) = self.0.get(zone)
            && *known == mark
        {
            return (Arc::clone(requests), None);
        }
        match read(&folder, host.period) {
            Ok(requests) => {
                let requests: Arc<[RequestFacts]> = requests.into();
                self.0.insert(zone.clone(), (mark, Arc::clone(&requests)));
                (requests, None)
            }
            Err(error) => (Arc::default(), Some(error.to_string())),
        }
    }

    pub fn forget_others(&mut self, host: &Host) {
        retain_zones(&mut self.0, host);
    }

    /// When the newest request was written that the timer has written.
    pub fn newest(&self, host: &Host) -> Option<Timestamp> {
        let zones = host.zones.iter().filter_map(|zone| self.0.get(&zone.name));
        zones.flat_map(|(_, requests)| requests.iter().map(|request| request.written)).max()
    }
}

fn read(folder: &Path, period: u32) -> Result<Vec<RequestFacts>, outbox::OutboxError> {
    let mut requests = Vec::new();
    for open in outbox::open_requests(folder, period)? {
        let octets = outbox::read_request(&open.path)
            .map_err(|source| outbox::OutboxError { path: open.path.clone(), source })?;
        requests.push(RequestFacts {
            sha256: digest(&octets),
            path: open.path,
            start: open.start,
            end: open.end,
            written: open.written,
        });
    }
    requests.sort_by_key(|request| request.written);
    Ok(requests)
}
