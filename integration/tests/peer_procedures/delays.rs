//! The delays of every policy here, in one place: what the policy says, what the manual has a reader set, and how long a test waits.

use std::time::Duration;

/// The delays are as short as named lets them be, which renews signatures after twelve seconds, times a factor.
#[derive(Debug, Clone, Copy)]
pub struct Delays {
    factor: u64,
}

/// TTL of the DNSKEY RRset and of all other records, in seconds; publish-safety too.
const TTL: u64 = 3;
/// zone-propagation-delay, retire-safety and parent-ds-ttl.
const SHORT: u64 = 2;
/// parent-propagation-delay.
const PARENT: u64 = 3;
const SIGNATURES: u64 = 24;
const REFRESH: u64 = 12;
/// Time from a request to the time at which its SKR is certainly loaded, on a machine that has much to do.
const LEAD: u64 = 12;

impl Delays {
    /// The factor is `PROCEDURES_FACTOR` in the environment, 1 by default.
    pub fn from_environment() -> Self {
        let factor = std::env::var("PROCEDURES_FACTOR").ok();
        Self { factor: factor.map_or(1, |factor| factor.parse().expect("PROCEDURES_FACTOR is a number")) }
    }

    pub const fn seconds(self, seconds: u64) -> u64 {
        self.factor * seconds
    }

    pub const fn ttl(self) -> u64 {
        self.seconds(TTL)
    }

    pub const fn ds_ttl(self) -> u64 {
        self.seconds(SHORT)
    }

    /// A lifetime of ZSKs that is a little longer than named lets it be.
    pub const fn short_lifetime(self) -> u64 {
        self.seconds(40)
    }

    /// How long one procedure may take.
    pub const fn limit(self) -> Duration {
        Duration::from_secs(self.seconds(170))
    }

    /// The options of the policy.
    pub fn policy(self) -> String {
        let [ttl, short, parent, signatures, refresh] =
            [TTL, SHORT, PARENT, SIGNATURES, REFRESH].map(|seconds| self.seconds(seconds));
        format!(
            "dnskey-ttl {ttl}; max-zone-ttl {ttl}; publish-safety {ttl}; zone-propagation-delay {short}; retire-safety {short}; \
             parent-ds-ttl {short}; parent-propagation-delay {parent}; signatures-validity {signatures}; signatures-refresh {refresh}; \
             signatures-validity-dnskey P14D; signatures-jitter 0;"
        )
    }

    /// The options of Knot's policy. Knot 3.4 leaves TTLs of a few seconds out of the delays of a roll, so that its propagation-delay has
    /// them too.
    pub fn of_knot(self) -> Vec<(&'static str, u64)> {
        [
            ("dnskey-ttl", TTL),
            ("zone-max-ttl", TTL),
            ("propagation-delay", TTL + SHORT + 1),
            ("rrsig-lifetime", SIGNATURES),
            ("rrsig-refresh", REFRESH),
            ("rrsig-pre-refresh", SHORT),
        ]
        .map(|(option, seconds)| (option, self.seconds(seconds)))
        .into()
    }

    /// What the manual tells the reader to set.
    pub fn values(self, zone: &str) -> Vec<(&'static str, String)> {
        let seconds = [
            ("LEAD", LEAD),
            ("PREPUB", TTL + TTL + SHORT),
            ("ZONE_TTL", TTL + SHORT),
            ("RESIGN", SIGNATURES - REFRESH),
            ("DS", PARENT + SHORT + SHORT),
        ];
        let seconds = seconds.map(|(name, seconds)| (name, self.seconds(seconds).to_string()));
        [("ZONE", zone.to_owned()), ("POLL", "1".to_owned())].into_iter().chain(seconds).collect()
    }
}
