//! What a query asks: header, question, EDNS. Any octets may come.

use keystore::dns::{Class, Rtype};

use crate::protocol::QuerySettings;
use crate::protocol::cookie::CookieOption;
use crate::zone::Labels;

/// Octets of a message header.
pub(crate) const HEADER: usize = 12;

/// Class ANY, which a TSIG record has (RFC 8945 section 4.2).
const ANY: u16 = 255;
/// Octets of code and length of an option.
const OPTION_HEAD: usize = 4;
/// Code of the EDNS option EXPIRE (RFC 7314 section 6).
pub(crate) const EXPIRE: u16 = 9;
/// Code of the EDNS option NSID (RFC 5001 section 2.3).
pub(crate) const NSID: u16 = 3;
/// Code of the EDNS option edns-tcp-keepalive (RFC 7828 section 3.1).
pub(crate) const KEEPALIVE: u16 = 11;
/// Code of the EDNS option Padding (RFC 7830 section 3).
pub(crate) const PADDING: u16 = 12;
/// Code of the EDNS option ZONEVERSION (RFC 9660 section 2).
pub(crate) const ZONE_VERSION: u16 = 19;
/// Code of the EDNS option COOKIE (RFC 7873 section 4).
pub(crate) const COOKIE: u16 = 10;

/// The header of a query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub id: u16,
    pub flags: u16,
    /// Records in question, answer, authority and additional section.
    counts: [u16; 4],
}

/// The question of a query.
#[derive(Debug, Clone)]
pub(crate) struct Question<'a> {
    /// The name as it came, letter case included.
    pub name: &'a [u8],
    pub labels: Labels,
    pub rtype: Rtype,
    pub class: Class,
    /// Name, type and class.
    pub octets: &'a [u8],
}

/// What follows the question.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rest<'a> {
    pub edns: Option<Edns>,
    /// The serial of the first SOA record of the authority section, whose owner is the name asked for: what the client of an IXFR has
    /// (RFC 1995 section 3).
    pub client_serial: Option<u32>,
    pub tsig: Option<Tsig<'a>>,
}

/// The OPT record (RFC 6891 section 6.1).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edns {
    /// Largest UDP answer that the client takes, in octets.
    pub size: u16,
    pub version: u8,
    /// The DO bit.
    pub dnssec_ok: bool,
    /// The option EXPIRE (RFC 7314), with any content.
    pub wants_expire: bool,
    /// The first option COOKIE; others behind it are left out (RFC 7873 section 5.2).
    pub cookie: Option<CookieOption>,
    /// The option NSID without data (RFC 5001 section 2.1).
    pub wants_nsid: bool,
    /// The option edns-tcp-keepalive (RFC 7828).
    pub wants_keepalive: bool,
    /// The option Padding (RFC 7830).
    pub wants_padding: bool,
    /// The option ZONEVERSION (RFC 9660).
    pub wants_zone_version: bool,
    /// An option of the query has data that it must not have.
    has_needless_data: bool,
}

impl Edns {
    /// True for an option that a server with these settings must find malformed.
    pub fn has_bad_option(&self, settings: &QuerySettings) -> bool {
        let has_bad_cookie = self.cookie == Some(CookieOption::BadLength);
        self.has_needless_data || settings.cookies.is_some() && has_bad_cookie
    }
}

/// A TSIG record (RFC 8945 section 4.2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tsig<'a> {
    /// Name of the key.
    pub owner: &'a [u8],
    /// Algorithm, Time Signed and Fudge.
    pub head: &'a [u8],
    /// What follows: MAC Size to Other Data.
    pub tail: &'a [u8],
    /// Where the record begins in the message.
    pub at: usize,
}

/// A query for a name of the zone.
#[derive(Debug, Clone)]
pub(crate) struct Query<'a> {
    pub head: Head,
    pub question: Question<'a>,
    /// How many labels of the name stand below the apex.
    pub below: usize,
    pub rest: Rest<'a>,
}

impl Query<'_> {
    /// True when DNSSEC records are wanted (RFC 3225).
    pub fn dnssec_ok(&self) -> bool {
        self.rest.edns.is_some_and(|edns| edns.dnssec_ok)
    }
}

impl Head {
    /// The header; `None` for what is to be dropped: too short, or a response.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let header = message.first_chunk::<HEADER>()?;
        let word = |i: usize| u16::from_be_bytes([header[i], header[i + 1]]);
        let flags = word(2);
        (flags & 0x8000 == 0).then(|| Self {
            id: word(0),
            flags,
            counts: [word(4), word(6), word(8), word(10)],
        })
    }

    /// Records in the answer and the authority section; of an update the prerequisites and the updates.
    pub const fn answer_and_authority(&self) -> (u16, u16) {
        (self.counts[1], self.counts[2])
    }

    /// Records in the additional section.
    pub const fn additional(&self) -> u16 {
        self.counts[3]
    }

    pub const fn opcode(&self) -> u8 {
        (self.flags >> 11 & 0xf) as u8
    }

    /// The question, when there is exactly one (RFC 9619) and its name is whole and uncompressed.
    pub fn question<'a>(&self, message: &'a [u8]) -> Option<Question<'a>> {
        if self.counts[0] != 1 {
            return None;
        }
        let body = message.get(HEADER..)?;
        let labels = Labels::of(body)?;
        let len = usize::from(labels.len);
        let tail = body.get(len..)?.first_chunk::<4>()?;
        Some(Question {
            name: &body[..len],
            labels,
            rtype: Rtype(u16::from_be_bytes([tail[0], tail[1]])),
            class: Class(u16::from_be_bytes([tail[2], tail[3]])),
            octets: &body[..len + 4],
        })
    }
}

impl Head {
    /// Reads the records of a message that has no question; `None` when it has one, or when they are malformed.
    pub fn rest_without_question<'a>(&self, message: &'a [u8]) -> Option<Rest<'a>> {
        if self.counts[0] == 0 { self.records(message, HEADER, &[]) } else { None }
    }

    /// Reads the records from the octet `at` on, which is behind the question for `name`.
    fn records<'a>(&self, message: &'a [u8], mut at: usize, name: &[u8]) -> Option<Rest<'a>> {
        let counts = self.counts;
        let additional_from = u32::from(counts[1]) + u32::from(counts[2]);
        let total = additional_from + u32::from(counts[3]);
        let mut rest = Rest::default();
        for number in 0..total {
            let owner_at = at;
            at = skip_name(message, at)?;
            let fixed = message.get(at..)?.first_chunk::<10>()?;
            let word = |i: usize| u16::from_be_bytes([fixed[i], fixed[i + 1]]);
            let rdata = message.get(at + 10..)?.get(..usize::from(word(8)))?;
            let owner = &message[owner_at..at];
            at += 10 + rdata.len();
            match Rtype(word(0)) {
                // One OPT, in the additional section, of the root.
                Rtype::OPT if number < additional_from || rest.edns.is_some() || owner != [0] => return None,
                Rtype::OPT => {
                    let edns = Edns {
                        size: word(2),
                        version: fixed[5],
                        dnssec_ok: fixed[6] & 0x80 != 0,
                        wants_expire: false,
                        cookie: None,
                        wants_nsid: false,
                        wants_keepalive: false,
                        wants_padding: false,
                        wants_zone_version: false,
                        has_needless_data: false,
                    };
                    rest.edns = Some(read_options(edns, rdata)?);
                }
                Rtype::TSIG => {
                    // The last record of all, of class ANY and with a TTL of 0 (RFC 8945 sections 4.2 and 5.1).
                    let is_last = number + 1 == total && number >= additional_from;
                    if !is_last || word(2) != ANY || fixed[4..8] != [0; 4] {
                        return None;
                    }
                    let algorithm = usize::from(Labels::of(rdata)?.len);
                    Labels::of(owner)?;
                    let (head, tail) = rdata.split_at_checked(algorithm + 8)?;
                    rest.tsig = Some(Tsig { owner, head, tail, at: owner_at });
                }
                Rtype::SOA
                    if self.opcode() == 0
                        && (u32::from(counts[1])..additional_from).contains(&number)
                        && rest.client_serial.is_none()
                        && is_name(message, owner_at, name) =>
                {
                    // Names in front may be compressed; the five numbers at the end are not.
                    let serial = rdata.len().checked_sub(20).and_then(|at| rdata[at..].first_chunk::<4>())?;
                    rest.client_serial = Some(u32::from_be_bytes(*serial));
                }
                _ => {}
            }
        }
        Some(rest)
    }
}

impl Question<'_> {
    /// Reads the records behind the question; `None` when they are malformed. Octets behind the last one are let be.
    pub fn rest<'a>(&self, message: &'a [u8]) -> Option<Rest<'a>> {
        Head::parse(message)?.records(message, HEADER + self.octets.len(), self.name)
    }
}

/// The end of a name that may be compressed; where its pointer leads is not looked at.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            len @ 1..=63 => at += usize::from(len) + 1,
            0xc0.. => return (at + 2 <= message.len()).then_some(at + 2),
            _ => return None,
        }
        if at - start > 255 {
            return None;
        }
    }
}

/// True when the message has `name`, uncompressed, at `at`: there in full, or behind pointers. Each pointer must lead to a place in front of
/// the one before, so that this ends.
fn is_name(message: &[u8], mut at: usize, name: &[u8]) -> bool {
    let (mut rest, mut before) = (name, at);
    loop {
        let Some(&len) = message.get(at) else { return false };
        if len >= 0xc0 {
            let Some(&low) = message.get(at + 1) else { return false };
            at = usize::from(len & 0x3f) << 8 | usize::from(low);
            if at >= before {
                return false;
            }
            before = at;
            continue;
        }
        let end = 1 + usize::from(len);
        match (message.get(at..at + end), rest.get(..end)) {
            (Some(label), Some(wanted)) if label.eq_ignore_ascii_case(wanted) => {}
            _ => return false,
        }
        if len == 0 {
            return true;
        }
        at += end;
        rest = &rest[end..];
    }
}

/// Reads the options of OPT; `None` when they overrun it.
fn read_options(mut edns: Edns, mut rdata: &[u8]) -> Option<Edns> {
    while !rdata.is_empty() {
        let head = rdata.first_chunk::<4>()?;
        let end = OPTION_HEAD + usize::from(u16::from_be_bytes([head[2], head[3]]));
        let data = rdata.get(OPTION_HEAD..end)?;
        match u16::from_be_bytes([head[0], head[1]]) {
            EXPIRE => edns.wants_expire = true,
            // One with data is ignored, and takes nothing from one without.
            NSID => edns.wants_nsid |= data.is_empty(),
            KEEPALIVE => edns.wants_keepalive = true,
            PADDING => edns.wants_padding = true,
            ZONE_VERSION => {
                edns.wants_zone_version = true;
                // RFC 9660 section 3.2.
                edns.has_needless_data |= !data.is_empty();
            }
            COOKIE if edns.cookie.is_none() => edns.cookie = Some(CookieOption::read(data)),
            _ => {}
        }
        rdata = &rdata[end..];
    }
    Some(edns)
}
