//! Response-rate limiting: a network is sent no more answers of one kind over UDP than it can want. Whoever forges the addresses of a victim
//! does so to have it flooded with answers, which are larger than the queries.

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use keystore::config::query::RateLimitConfig;
use metrics::Metrics;
use metrics::values::Counter;
use siphasher::sip::SipHasher24;

use crate::seldom::Seldom;

/// Accounts of the table: 2 MiB. One that is taken for another network or another kind of answers begins anew.
const ACCOUNTS: usize = 1 << 18;
/// Accounts that one hash may stand in: those of a line of the processor's cache.
const WAYS: usize = 8;
/// Bits of an account that hold its time, in microseconds: enough for eight years. The others tell whose account it is.
const TIME_BITS: u32 = 48;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// What a network may have at once: the answers of this many microseconds.
const BURST: u64 = 1_000_000;
/// Tries to change an account that other threads change as well. A query that finds no turn is answered.
const TRIES: usize = 4;

/// Answers that count as the same (RFC 1034 section 4.3.2, RFC 2308).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerClass {
    Positive,
    NoData,
    NxDomain,
    Referral,
    Error,
}

impl AnswerClass {
    const ALL: [Self; 5] = [Self::Positive, Self::NoData, Self::NxDomain, Self::Referral, Self::Error];

    const fn label(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::NoData => "nodata",
            Self::NxDomain => "nxdomain",
            Self::Referral => "referral",
            Self::Error => "error",
        }
    }
}

/// Which answers an answer is counted with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerGroup<'a> {
    pub class: AnswerClass,
    /// Apex of the zone in wire form; empty where no zone answers.
    pub zone: &'a [u8],
    /// The node that a positive answer or a referral comes from: all names that a wildcard stands for have one. 0 for other answers, which
    /// count by zone.
    pub node: u32,
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RateVerdict {
    /// It is sent.
    Send,
    /// In its place a small one is sent that has the client come back over TCP or with a cookie.
    Slip,
    /// It is not sent.
    Drop,
}

/// Counts answers by network and kind.
pub(crate) struct RateLimiter {
    config: RateLimitConfig,
    /// Unknown to others, so that nobody can choose whose account is taken.
    secret: [u8; 16],
    table: Box<[AtomicU64]>,
    /// From when times are counted.
    begun: Instant,
    /// Answers over the limit so far, for the turn of the next one.
    limited: AtomicU32,
    slipped: Counter,
    dropped: Counter,
    messages: [Seldom; AnswerClass::ALL.len()],
}

impl std::fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimiter").field("config", &self.config).finish_non_exhaustive()
    }
}

impl RateLimiter {
    /// `None` when the configuration limits nothing. `secret` are random octets.
    pub fn new(config: &RateLimitConfig, secret: [u8; 16], metrics: &Metrics) -> Option<Self> {
        Self::with_accounts(config, secret, metrics, ACCOUNTS)
    }

    fn with_accounts(
        config: &RateLimitConfig,
        secret: [u8; 16],
        metrics: &Metrics,
        accounts: usize,
    ) -> Option<Self> {
        if config.responses_per_second == 0 && config.all_per_second == 0 {
            return None;
        }
        let counter = |action| metrics.answers_limited_total.with_label_values(&[action]);
        Some(Self {
            config: config.clone(),
            secret,
            table: (0..accounts).map(|_| AtomicU64::new(0)).collect(),
            begun: Instant::now(),
            limited: AtomicU32::new(0),
            slipped: counter("slipped"),
            dropped: counter("dropped"),
            messages: [const { Seldom::new() }; AnswerClass::ALL.len()],
        })
    }

    pub const fn config(&self) -> &RateLimitConfig {
        &self.config
    }

    /// Microseconds since this limiter was made.
    pub fn now(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    /// Counts an answer to `client` over UDP, at `now` as of [`Self::now`], and says what becomes of it.
    pub fn judge(&self, client: IpAddr, group: AnswerGroup<'_>, now: u64) -> RateVerdict {
        let client = client.to_canonical();
        if self.config.exempt.iter().any(|network| network.contains(client)) {
            return RateVerdict::Send;
        }
        let network = self.network_of(client);
        let same = self.config.responses_per_second;
        let all = self.config.all_per_second;
        let within = (same == 0 || self.take(self.hash(network, Some(group)), same, now))
            && (all == 0 || self.take(self.hash(network, None), all, now));
        if within {
            return RateVerdict::Send;
        }
        if let Some(held_back) = self.messages[group.class as usize].pass() {
            let (class, prefix) = (group.class.label(), self.prefix_of(client));
            tracing::warn!(
                network = %format_args!("{network}/{prefix}"),
                class,
                held_back,
                "answers over UDP are limited: this network is sent more of them than rate-limit allows"
            );
        }
        let turn = self.limited.fetch_add(1, Relaxed);
        if self.config.slip > 0 && turn.is_multiple_of(self.config.slip) {
            self.slipped.inc();
            RateVerdict::Slip
        } else {
            self.dropped.inc();
            RateVerdict::Drop
        }
    }

    /// Takes one answer from an account of so many a second; false when it has none left. An account is a time: that at which all that was
    /// sent would have been sent at the permitted rate (the generic cell rate algorithm of ITU-T I.371).
    fn take(&self, hash: u64, per_second: u32, now: u64) -> bool {
        let interval = 1_000_000 / u64::from(per_second.max(1));
        let owner = hash >> TIME_BITS;
        let sets = self.table.len() / WAYS;
        let first = (hash as usize % sets) * WAYS;
        let Some(set) = self.table.get(first..first + WAYS) else { return true };
        for _ in 0..TRIES {
            let own = set.iter().find(|account| account.load(Relaxed) >> TIME_BITS == owner);
            // Without one of its own: that which is soonest free.
            let account = own.or_else(|| set.iter().min_by_key(|account| account.load(Relaxed) & TIME));
            let Some(account) = account else { return true };
            let seen = account.load(Relaxed);
            let spent_until = if seen >> TIME_BITS == owner { (seen & TIME).max(now) } else { now };
            let after = spent_until + interval;
            if after > now + BURST.max(interval) {
                return false;
            }
            let new = owner << TIME_BITS | after & TIME;
            if account.compare_exchange(seen, new, Relaxed, Relaxed).is_ok() {
                return true;
            }
        }
        true
    }

    fn hash(&self, network: IpAddr, group: Option<AnswerGroup<'_>>) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        match network {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        if let Some(AnswerGroup { class, zone, node }) = group {
            hasher.write_u8(class as u8);
            hasher.write_u32(node);
            hasher.write(zone);
        }
        hasher.finish()
    }

    const fn prefix_of(&self, client: IpAddr) -> u8 {
        match client {
            IpAddr::V4(_) => self.config.ipv4_prefix,
            IpAddr::V6(_) => self.config.ipv6_prefix,
        }
    }

    fn network_of(&self, client: IpAddr) -> IpAddr {
        let prefix = u32::from(self.prefix_of(client));
        match client {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(prefix).unwrap_or(0);
                IpAddr::V4((address.to_bits() & !host).into())
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(prefix).unwrap_or(0);
                IpAddr::V6((address.to_bits() & !host).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use keystore::config::transfer::Network;
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;
    const GROUP: AnswerGroup<'_> =
        AnswerGroup { class: AnswerClass::Positive, zone: b"\x07example\x00", node: 7 };

    fn limiter(config: &RateLimitConfig) -> RateLimiter {
        RateLimiter::new(config, [7; 16], &Metrics::new().unwrap()).expect("it limits")
    }

    fn fifty() -> RateLimitConfig {
        RateLimitConfig { responses_per_second: 50, ..RateLimitConfig::default() }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Sent, slipped and dropped answers of a flood of so many queries a second.
    fn flood(
        limiter: &RateLimiter,
        client: &str,
        group: AnswerGroup<'_>,
        rate: u64,
        seconds: u64,
    ) -> [u64; 3] {
        let mut counts = [0; 3];
        for number in 0..rate * seconds {
            counts[limiter.judge(address(client), group, number * SECOND / rate) as usize] += 1;
        }
        counts
    }

    #[test]
    fn nothing_is_limited_where_nothing_is_configured() {
        let config = RateLimitConfig::default();
        assert!(RateLimiter::new(&config, [0; 16], &Metrics::new().unwrap()).is_none());
    }

    #[test]
    fn flood_gets_the_configured_rate_and_one_small_answer_in_so_many_besides() {
        for (slip, rate, slipped_of) in [(2, 1000, 2), (1, 1000, 1), (0, 1000, 0), (10, 5000, 10)] {
            let limiter = limiter(&RateLimitConfig { slip, ..fifty() });
            let [sent, slipped, dropped] = flood(&limiter, "192.0.2.1", GROUP, rate, 10);
            assert!((50 * 10..=50 * 11).contains(&sent), "slip {slip}: {sent} sent");
            let limited = slipped + dropped;
            assert_eq!(sent + limited, rate * 10);
            assert_eq!(
                slipped,
                if slipped_of == 0 { 0 } else { limited.div_ceil(slipped_of) },
                "slip {slip}"
            );
        }
        // What stays below the rate is never touched.
        assert_eq!(flood(&limiter(&fifty()), "192.0.2.1", GROUP, 49, 20), [49 * 20, 0, 0]);
    }

    #[test]
    fn accounts_are_by_network_zone_class_and_node() {
        let limiter = limiter(&fifty());
        flood(&limiter, "192.0.2.1", GROUP, 1000, 1);
        let is_sent =
            |client: &str, group| limiter.judge(address(client), group, SECOND) == RateVerdict::Send;
        for _ in 0..60 {
            is_sent("192.0.2.1", GROUP);
        }
        for (client, group, sent) in [
            ("192.0.2.255", GROUP, false),
            ("::ffff:192.0.2.3", GROUP, false),
            ("192.0.3.1", GROUP, true),
            ("2001:db8::1", GROUP, true),
            ("192.0.2.1", AnswerGroup { node: 8, ..GROUP }, true),
            ("192.0.2.1", AnswerGroup { class: AnswerClass::Referral, ..GROUP }, true),
            ("192.0.2.1", AnswerGroup { zone: b"\x05other\x00", ..GROUP }, true),
        ] {
            assert_eq!(is_sent(client, group), sent, "{client} {group:?}");
        }
        // The network of a customer with IPv6 is a /56.
        flood(&limiter, "2001:db8:0:100::1", GROUP, 1000, 1);
        for _ in 0..60 {
            is_sent("2001:db8:0:100::1", GROUP);
        }
        assert!(!is_sent("2001:db8:0:1ff:ffff::", GROUP) && is_sent("2001:db8:0:200::", GROUP));
    }

    #[test]
    fn limit_of_all_answers_holds_for_names_that_change() {
        let config = RateLimitConfig { all_per_second: 200, ..fifty() };
        let limiter = limiter(&config);
        let mut sent = 0;
        for number in 0..10_000u32 {
            let group = AnswerGroup { node: number, ..GROUP };
            let now = u64::from(number) * SECOND / 1000;
            sent += u32::from(limiter.judge(address("192.0.2.1"), group, now) == RateVerdict::Send);
        }
        assert!((2000..=2200).contains(&sent), "{sent} of 10000 in ten seconds");
    }

    #[test]
    fn listed_networks_are_not_limited() {
        let exempt = ["192.0.2.0/28", "2001:db8::/32"].map(|text| Network::parse(text).unwrap()).to_vec();
        let limiter = limiter(&RateLimitConfig { exempt, ..fifty() });
        for (client, is_listed) in
            [("192.0.2.15", true), ("192.0.2.16", false), ("2001:db8::9", true), ("2001:db9::9", false)]
        {
            let [_, slipped, dropped] = flood(&limiter, client, GROUP, 1000, 1);
            assert_eq!(slipped + dropped == 0, is_listed, "{client}");
        }
    }

    #[test]
    fn flood_of_many_networks_frees_no_account_of_one_that_is_limited() {
        // A hundred thousand networks share a thousand accounts.
        let limiter =
            RateLimiter::with_accounts(&fifty(), [7; 16], &Metrics::new().unwrap(), 1 << 10).unwrap();
        let victim = address("192.0.2.1");
        let mut sent = 0;
        // Ten seconds: the victim is asked for 100 times in each tenth, between 1 000 other networks.
        for tenth in 0..100u32 {
            let now = u64::from(tenth) * SECOND / 10;
            for number in 0..1000u32 {
                limiter.judge(IpAddr::V4((0x0a00_0000 + ((tenth * 1000 + number) << 8)).into()), GROUP, now);
                if number % 10 == 0 {
                    sent += u32::from(limiter.judge(victim, GROUP, now) == RateVerdict::Send);
                }
            }
        }
        assert!(sent <= 550, "{sent} answers in ten seconds");
    }

    proptest! {
        #[test]
        fn in_no_time_more_is_sent_than_the_rate_and_one_burst(
            rate in 1u32..2000,
            steps in prop::collection::vec(0u64..50_000, 1..400),
        ) {
            let limiter = limiter(&RateLimitConfig { responses_per_second: rate, ..fifty() });
            let mut now = 0;
            let mut sent = Vec::new();
            for step in steps {
                now += step;
                if limiter.judge(address("192.0.2.1"), GROUP, now) == RateVerdict::Send {
                    sent.push(now);
                }
            }
            for (first, from) in sent.iter().enumerate() {
                for (count, until) in sent[first..].iter().enumerate() {
                    let interval = SECOND / u64::from(rate);
                    let allowed = (until - from) / interval + SECOND / interval + 1;
                    prop_assert!((count as u64) < allowed, "{} in {} µs at {rate} a second", count + 1, until - from);
                }
            }
        }
    }
}
