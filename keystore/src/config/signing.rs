//! `[[zone]] signing`: who makes the DNSSEC records of a zone.

/// Who makes the DNSSEC records of a zone: the one place that says which kind of zone it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signing {
    /// `"online"`: this host signs it with ZSKs; the apex key RRsets come from SKRs. Foreign DNSSEC records are left out.
    #[default]
    Online,
    /// `"presigned"`: another signer; it is verified and served with the DNSSEC records that it comes with.
    Presigned(Verify),
    /// `"unsigned"`: nobody; it is served without any. DNSSEC records that it comes with are left out.
    Unsigned,
}

/// What becomes of a version of a presigned zone that does not verify (`verify`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// `"refuse"`: it is not served, and the version before stays.
    #[default]
    Refuse,
    /// `"warn"`: it is served, and told.
    Warn,
}

impl Signing {
    /// True for a zone that is signed here: only such a zone has a policy, trust anchors for SKRs, keys, requests and coverage.
    #[must_use]
    pub const fn is_here(self) -> bool {
        match self {
            Self::Online => true,
            Self::Presigned(_) | Self::Unsigned => false,
        }
    }

    /// True for a zone that has DNSSEC records, whoever makes them.
    #[must_use]
    pub const fn is_signed(self) -> bool {
        match self {
            Self::Online | Self::Presigned(_) => true,
            Self::Unsigned => false,
        }
    }

    /// The word of the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Presigned(_) => "presigned",
            Self::Unsigned => "unsigned",
        }
    }
}
