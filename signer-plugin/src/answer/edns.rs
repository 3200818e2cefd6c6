//! The OPT record of an answer (RFC 6891 section 6.1) and its options.

use super::Arrival;
use super::query::{COOKIE, EXPIRE, Edns, KEEPALIVE, NSID, PADDING, ZONE_VERSION};
use super::rcode::Rcode;
use crate::protocol::cookie::{self, CookieOption, CookieVerdict};

/// Octets of OPT without options.
pub(crate) const OPT: usize = 11;
/// Encrypted answers are filled up to a multiple of so many octets, so that their length tells little (RFC 8467 section 4.1).
pub(crate) const BLOCK: usize = 468;
/// Octets of code and length of an option.
pub(crate) const OPTION: usize = 4;
/// Code of the option Report-Channel (RFC 9567 section 5).
const REPORT_CHANNEL: u16 = 18;
/// TYPE of the option ZONEVERSION for a SOA serial (RFC 9660 section 5).
const SOA_SERIAL: u8 = 0;
/// Code of the option Extended DNS Error (RFC 8914 section 2).
pub(crate) const EXTENDED_ERROR: u16 = 15;

/// The options of the answer to one query.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReplyOptions<'a> {
    /// Data of the option NSID (RFC 5001).
    nsid: Option<&'a [u8]>,
    /// Data of the option Report-Channel (RFC 9567), in answers of zones.
    pub report_agent: Option<&'a [u8]>,
    /// Value of the option edns-tcp-keepalive (RFC 7828), in tenths of a second.
    keepalive: Option<u16>,
    /// The answer is filled up to a multiple of [`BLOCK`] octets (RFC 8467 section 4.1).
    is_padded: bool,
    /// Number of labels of the zone, and its serial, for the option ZONEVERSION (RFC 9660).
    pub zone_version: Option<(u8, u32)>,
    /// What the cookie of the query says, and the one of the answer.
    pub cookie: Option<CookieVerdict>,
    /// Value of the option EXPIRE (RFC 7314), in seconds.
    pub expire: Option<u32>,
    /// INFO-CODE of the option Extended DNS Error (RFC 8914).
    pub error: Option<u16>,
}

impl<'a> ReplyOptions<'a> {
    /// What is known before anything is looked up.
    pub fn to(edns: Option<Edns>, arrival: &Arrival<'a>) -> Self {
        // A query of another version is told our version, and nothing else.
        let Some(edns) = edns.filter(|edns| edns.version == 0) else { return Self::default() };
        let cookie = match (&arrival.settings.cookies, edns.cookie) {
            (Some(cookies), Some(CookieOption::Cookie { client, server })) => {
                Some(cookies.judge(client, server, arrival.client))
            }
            _ => None,
        };
        let identity = &arrival.settings.identity;
        Self {
            nsid: identity.nsid.as_deref().filter(|_| edns.wants_nsid),
            report_agent: identity.report_agent.as_deref(),
            keepalive: arrival.stream.and_then(|stream| stream.idle).filter(|_| edns.wants_keepalive),
            is_padded: edns.wants_padding && arrival.stream.is_some_and(|stream| stream.is_encrypted),
            cookie,
            ..Self::default()
        }
    }

    /// The cookie, and nothing else.
    pub fn cookie_alone(&self) -> Self {
        Self { cookie: self.cookie, ..Self::default() }
    }

    /// Octets that the OPT record takes at most, an extended error left out: it is only in answers without records.
    pub fn reserve(&self, edns: Edns) -> usize {
        let option = |is_there: bool, len| if is_there { OPTION + len } else { 0 };
        let of = |data: Option<&[u8]>| data.map_or(0, |data| OPTION + data.len());
        OPT + option(self.cookie.is_some(), cookie::WHOLE)
            + option(edns.wants_expire, 4)
            + option(edns.wants_zone_version, 6)
            + option(self.keepalive.is_some(), 2)
            + option(self.is_padded, 0)
            + of(self.nsid)
            + of(self.report_agent)
    }

    /// Writes the OPT record that answers `edns`; `max_udp` is the largest UDP message that we take, in octets.
    pub fn put_opt(&self, edns: Edns, max_udp: u16, rcode: Rcode, out: &mut Vec<u8>) {
        let size = max_udp.max(super::MIN_UDP).to_be_bytes();
        let flags = if edns.dnssec_ok { 0x80 } else { 0 };
        out.extend_from_slice(&[0, 0, 41, size[0], size[1], rcode.in_opt(), 0, flags, 0]);
        let len_at = out.len();
        out.extend_from_slice(&[0; 2]);
        if let Some(nsid) = self.nsid {
            put_option(NSID, nsid, out);
        }
        if let Some(cookie) = &self.cookie {
            put_option(COOKIE, &cookie.answer, out);
        }
        if let Some(code) = self.error {
            put_option(EXTENDED_ERROR, &code.to_be_bytes(), out);
        }
        if let Some(seconds) = self.expire {
            put_option(EXPIRE, &seconds.to_be_bytes(), out);
        }
        if let Some(tenths) = self.keepalive {
            put_option(KEEPALIVE, &tenths.to_be_bytes(), out);
        }
        if let Some((labels, serial)) = self.zone_version {
            let [a, b, c, d] = serial.to_be_bytes();
            put_option(ZONE_VERSION, &[labels, SOA_SERIAL, a, b, c, d], out);
        }
        if let Some(agent) = self.report_agent {
            put_option(REPORT_CHANNEL, agent, out);
        }
        if self.is_padded {
            let unpadded = out.len() + OPTION;
            let wanted = unpadded.next_multiple_of(BLOCK).min(usize::from(u16::MAX));
            out.extend_from_slice(&PADDING.to_be_bytes());
            out.extend_from_slice(&(wanted.saturating_sub(unpadded) as u16).to_be_bytes());
            out.resize(wanted.max(unpadded), 0);
        }
        let len = (out.len() - len_at - 2) as u16;
        out[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
    }
}

pub(crate) fn put_option(code: u16, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}
