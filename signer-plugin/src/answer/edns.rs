//! The OPT record of an answer (RFC 6891 section 6.1) and its options.

use super::Arrival;
use super::query::{COOKIE, EXPIRE, Edns};
use super::rcode::Rcode;
use crate::protocol::cookie::{self, CookieOption, CookieVerdict};

/// Octets of OPT without options.
const OPT: usize = 11;
/// Octets of code and length of an option.
const OPTION: usize = 4;
/// Code of the option Extended DNS Error (RFC 8914 section 2).
const EXTENDED_ERROR: u16 = 15;

/// The options of the answer to one query.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReplyOptions {
    /// What the cookie of the query says, and the one of the answer.
    pub cookie: Option<CookieVerdict>,
    /// Value of the option EXPIRE (RFC 7314), in seconds.
    pub expire: Option<u32>,
    /// INFO-CODE of the option Extended DNS Error (RFC 8914).
    pub error: Option<u16>,
}

impl ReplyOptions {
    /// What is known before anything is looked up.
    pub fn to(edns: Option<Edns>, arrival: &Arrival<'_>) -> Self {
        // A query of another version is told our version, and nothing else.
        let Some(edns) = edns.filter(|edns| edns.version == 0) else { return Self::default() };
        let cookie = match (&arrival.settings.cookies, edns.cookie) {
            (Some(cookies), Some(CookieOption::Cookie { client, server })) => {
                Some(cookies.judge(client, server, arrival.client))
            }
            _ => None,
        };
        Self { cookie, expire: None, error: None }
    }

    /// Octets that the OPT record takes at most, an extended error left out: it is only in answers without records.
    pub fn reserve(&self, edns: Edns) -> usize {
        let option = |is_there: bool, len| if is_there { OPTION + len } else { 0 };
        OPT + option(self.cookie.is_some(), cookie::WHOLE) + option(edns.wants_expire, 4)
    }

    /// Writes the OPT record that answers `edns`; `max_udp` is the largest UDP message that we take, in octets.
    pub fn put_opt(&self, edns: Edns, max_udp: u16, rcode: Rcode, out: &mut Vec<u8>) {
        let size = max_udp.max(super::MIN_UDP).to_be_bytes();
        let flags = if edns.dnssec_ok { 0x80 } else { 0 };
        out.extend_from_slice(&[0, 0, 41, size[0], size[1], rcode.in_opt(), 0, flags, 0]);
        let len_at = out.len();
        out.extend_from_slice(&[0; 2]);
        if let Some(cookie) = &self.cookie {
            put_option(COOKIE, &cookie.answer, out);
        }
        if let Some(code) = self.error {
            put_option(EXTENDED_ERROR, &code.to_be_bytes(), out);
        }
        if let Some(seconds) = self.expire {
            put_option(EXPIRE, &seconds.to_be_bytes(), out);
        }
        let len = (out.len() - len_at - 2) as u16;
        out[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
    }
}

fn put_option(code: u16, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}
