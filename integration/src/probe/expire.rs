//! SOA expire against the life of signatures: a secondary that is cut off must stop to serve the zone before the first signature in
//! its copy expires (RFC 6781 section 4.4.1).

/// The numbers that decide, all in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpireRule {
    /// Least remaining validity of a signature that is handed to a secondary: the refresh time of the signer.
    pub remaining: u64,
    /// SOA expire.
    pub expire: u64,
    /// Largest TTL of what is signed: a cache that does not validate may keep an answer for so long.
    pub ttl: u64,
}

/// An SOA expire that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpireFault {
    /// For how many seconds a secondary that is cut off can serve expired signatures; 0 when only caches behind it can.
    pub served_expired: u64,
    /// The longest SOA expire that would do; 0 when none would.
    pub allowed: u64,
    /// The least remaining validity that this SOA expire needs.
    pub needed: u64,
}

impl ExpireRule {
    /// Judges one secondary that takes the zone from the primary.
    pub const fn check(self) -> Result<(), ExpireFault> {
        let needed = self.expire.saturating_add(self.ttl);
        if self.remaining >= needed {
            return Ok(());
        }
        Err(ExpireFault {
            served_expired: self.expire.saturating_sub(self.remaining),
            allowed: self.remaining.saturating_sub(self.ttl),
            needed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn expire_is_too_long_from_one_second_past_the_remaining_validity_less_the_ttl() {
        for (remaining, expire, ttl, fault) in [
            (5 * DAY, 4 * DAY, DAY, None),
            (5 * DAY, 4 * DAY + 1, DAY, Some((0, 4 * DAY, 5 * DAY + 1))),
            (5 * DAY, 14 * DAY, DAY, Some((9 * DAY, 4 * DAY, 15 * DAY))),
            (DAY, 7 * DAY, 2 * DAY, Some((6 * DAY, 0, 9 * DAY))),
            (0, 0, 0, None),
            (u64::MAX, u64::MAX, 1, None),
        ] {
            let found = ExpireRule { remaining, expire, ttl }.check();
            let fault = fault.map(|(served_expired, allowed, needed)| ExpireFault {
                served_expired,
                allowed,
                needed,
            });
            assert_eq!(found.err(), fault, "{remaining} {expire} {ttl}");
        }
    }
}
