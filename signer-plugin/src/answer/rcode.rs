//! [`Rcode`]: response codes.

/// A response code, with the upper bits that go to OPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rcode(u16);

#[allow(missing_docs, reason = "the IANA registry's names")]
impl Rcode {
    pub const NOERROR: Self = Self(0);
    pub const FORMERR: Self = Self(1);
    pub const SERVFAIL: Self = Self(2);
    pub const NXDOMAIN: Self = Self(3);
    pub const NOTIMP: Self = Self(4);
    pub const REFUSED: Self = Self(5);
    pub const YXDOMAIN: Self = Self(6);
    pub const NOTAUTH: Self = Self(9);
    pub const BADVERS: Self = Self(16);
    pub const BADCOOKIE: Self = Self(23);
}

impl Rcode {
    /// The four bits that stand in the header.
    pub const fn in_header(self) -> u16 {
        self.0 & 0xf
    }

    /// The eight bits that stand in OPT (RFC 6891 section 6.1.3).
    pub const fn in_opt(self) -> u8 {
        (self.0 >> 4) as u8
    }
}
