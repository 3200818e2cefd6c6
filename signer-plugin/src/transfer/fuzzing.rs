//! A zone whose transfers are asked for without a socket, for the fuzz targets.

use std::net::SocketAddr;
use std::sync::Arc;

use keystore::config::transfer::AllowTransfer;
use keystore::dns::Name;
use keystore::time::Timestamp;
use keystore::tsig::TsigKey;
use metrics::{Metrics, MetricsError};

use super::request::{Reaction, Way, react};
use super::version::TransferVersion;
use super::{TransferKeys, TransferSettings, Transferable, ZoneTransfers};
use crate::answer::{Arrival, Context, Transport, answer};
use crate::signing::SignedZone;

/// A zone that anybody may transfer, with or without a signature.
pub struct TransferSite {
    zone: Transferable,
    signed: Arc<SignedZone>,
    now: Timestamp,
}

impl TransferSite {
    /// Serves `new` after `old`, so that there is a difference to transfer; requests may be signed with `keys`.
    pub fn new(
        old: &SignedZone,
        new: Arc<SignedZone>,
        keys: Vec<TsigKey>,
        now: Timestamp,
    ) -> Result<Self, MetricsError> {
        let transfers = ZoneTransfers::new(&Metrics::new()?, new.zone().origin().zone_label());
        let anybody = AllowTransfer { address: None, key: None, tls: None };
        transfers.set(TransferSettings::new(TransferKeys::new(keys), vec![anybody]));
        transfers.record(Some(old), &new);
        let zone = Transferable {
            is_private: false,
            version: Some(TransferVersion::Signed(Arc::clone(&new))),
            transfers: Arc::new(transfers),
            changes: Arc::default(),
            expire: None,
            clock: Arc::new(move || now),
        };
        Ok(Self { zone, signed: new, now })
    }

    /// The zone.
    #[must_use]
    pub fn origin(&self) -> &Name {
        self.signed.zone().origin()
    }

    /// All messages that answer a query; `None` when it is neither a transfer nor signed.
    #[must_use]
    pub fn ask(&self, query: &[u8], transport: Transport, max_udp: u16) -> Option<Vec<Vec<u8>>> {
        let origin = self.origin();
        let way = Way { client: SocketAddr::from(([127, 0, 0, 1], 4242)), peer: None, transport, max_udp };
        let plain = |query: &[u8], max_udp, out: &mut Vec<u8>| {
            answer(
                &self.signed,
                query,
                &Context { arrival: Arrival::new(transport, max_udp), now: self.now },
                out,
            )
        };
        let mut out = Vec::new();
        match react(&self.zone, origin, query, way, &plain, &mut out) {
            Reaction::Plain => None,
            Reaction::Nothing => Some(Vec::new()),
            Reaction::Answered(_) => Some(vec![out]),
            Reaction::Stream(mut outgoing) => {
                let mut messages = Vec::new();
                out.clear();
                while matches!(outgoing.next(&mut out), Ok(true)) {
                    messages.push(std::mem::take(&mut out));
                }
                Some(messages)
            }
        }
    }
}
