//! DNS cookies (RFC 7873) in the interoperable form of RFC 9018: a client that gives back what this server made for its address has not
//! forged that address.

use std::hash::Hasher as _;
use std::net::IpAddr;

use keystore::cookie_secrets::CookieSecrets;
use siphasher::sip::SipHasher24;

/// Octets of the client's part.
pub(crate) const CLIENT: usize = 8;
/// Octets of the server's part as RFC 9018 section 4 makes it.
pub(crate) const SERVER: usize = 16;
/// Octets of the whole option's data in an answer.
pub(crate) const WHOLE: usize = CLIENT + SERVER;
/// Octets of a secret.
const SECRET: usize = 16;
/// Age in seconds up to which a cookie is good (RFC 9018 section 4.3).
const MAX_AGE: i32 = 3600;
/// Seconds by which a cookie may be ahead, for clocks of servers that share a secret.
const MAX_AHEAD: i32 = 300;
/// Age in seconds from which on a good cookie is replaced.
const RENEW: i32 = 1800;

/// The option COOKIE of a query (RFC 7873 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CookieOption {
    /// A length that the option cannot have: the query is malformed (RFC 7873 section 5.2.2).
    BadLength,
    /// The client's part, and the server's part where it has the length of ours.
    Cookie { client: [u8; CLIENT], server: Option<[u8; SERVER]> },
}

impl CookieOption {
    /// Reads the data of the option.
    pub fn read(data: &[u8]) -> Self {
        let Some((client, server)) = data.split_first_chunk::<CLIENT>() else { return Self::BadLength };
        match server.len() {
            0 | 8..=32 => Self::Cookie { client: *client, server: server.try_into().ok() },
            _ => Self::BadLength,
        }
    }
}

/// What a cookie says of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CookieVerdict {
    /// The client has given back a cookie that was made for its address, not long ago.
    pub is_good: bool,
    /// Data of the option COOKIE of the answer.
    pub answer: [u8; WHOLE],
}

/// Makes and checks cookies with the secrets of a server.
#[derive(Debug, Clone)]
pub(crate) struct CookieMaker {
    secrets: CookieSecrets,
}

impl CookieMaker {
    pub const fn new(secrets: CookieSecrets) -> Self {
        Self { secrets }
    }

    /// Judges the cookie of a query that came from `address` at `now`, in seconds since 1970 modulo 2^32.
    pub fn judge(
        &self,
        client: [u8; CLIENT],
        server: Option<[u8; SERVER]>,
        address: IpAddr,
        now: u32,
    ) -> CookieVerdict {
        let address = address.to_canonical();
        let found = server.and_then(|server| self.find(client, server, address, now));
        let answer = match (server, found) {
            // Made with the secret that is in use, and not old.
            (Some(server), Some(Found { age: ..RENEW, secret: 0 })) => server,
            _ => self.make(client, address, now),
        };
        CookieVerdict { is_good: found.is_some(), answer: joined(client, answer) }
    }

    /// `None` for a cookie that is not good.
    fn find(&self, client: [u8; CLIENT], server: [u8; SERVER], address: IpAddr, now: u32) -> Option<Found> {
        let (head, hash) = server.split_first_chunk::<8>()?;
        let [version, _, _, _, time @ ..] = *head;
        // Serial arithmetic (RFC 1982), so that it goes on in 2038 and 2106.
        let age = now.wrapping_sub(u32::from_be_bytes(time)).cast_signed();
        if version != 1 || !(-MAX_AHEAD..=MAX_AGE).contains(&age) {
            return None;
        }
        // Two numbers of 64 bits are compared in one step, whose time tells nothing of them.
        let hash = u64::from_le_bytes(hash.try_into().ok()?);
        let secret = self
            .secrets
            .secrets()
            .iter()
            .position(|secret| hash_of(secret, client, *head, address) == hash)?;
        Some(Found { age, secret })
    }

    fn make(&self, client: [u8; CLIENT], address: IpAddr, now: u32) -> [u8; SERVER] {
        let [a, b, c, d] = now.to_be_bytes();
        let head = [1, 0, 0, 0, a, b, c, d];
        let mut server = [0; SERVER];
        server[..8].copy_from_slice(&head);
        if let Some(secret) = self.secrets.secrets().first() {
            server[8..].copy_from_slice(&hash_of(secret, client, head, address).to_le_bytes());
        }
        server
    }
}

/// Which secret a good cookie was made with, and how many seconds ago.
#[derive(Debug, Clone, Copy)]
struct Found {
    age: i32,
    secret: usize,
}

fn joined(client: [u8; CLIENT], server: [u8; SERVER]) -> [u8; WHOLE] {
    let mut whole = [0; WHOLE];
    whole[..CLIENT].copy_from_slice(&client);
    whole[CLIENT..].copy_from_slice(&server);
    whole
}

/// SipHash-2-4 over the client's part, version, reserved octets and time as they are, and the client's address (RFC 9018 section 4.4).
fn hash_of(secret: &[u8; SECRET], client: [u8; CLIENT], head: [u8; 8], address: IpAddr) -> u64 {
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(&client);
    hasher.write(&head);
    match address {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap().try_into().unwrap()
    }

    fn secrets(text: &str) -> CookieMaker {
        CookieMaker::new(CookieSecrets::parse(text.as_bytes()).unwrap())
    }

    const OLD: &str = "dd3bdf9344b678b185a6f5cb60fca715";
    const NEW: &str = "445536bcd2513298075a5d379663c962";
    const FIRST: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const V4: &str = "198.51.100.100";
    const V6: &str = "2001:db8:220:1:59de:d0f4:8769:82b8";

    #[test]
    fn vectors_of_rfc_9018_appendix_a() {
        let rolled = format!("{NEW}\n{OLD}");
        // Secrets, client's part, address, time of the query, server's part there, is it good, server's part of the answer.
        for (secret, client, address, now, asked, is_good, answered) in [
            // A.1: a client learns a cookie. It gives it back within half an hour.
            (FIRST, "2464c4abcf10c957", V4, 1_559_731_985, "", false, "010000005cf79f111f8130c3eee29480"),
            (
                FIRST,
                "2464c4abcf10c957",
                V4,
                1_559_731_986,
                "010000005cf79f111f8130c3eee29480",
                true,
                "010000005cf79f111f8130c3eee29480",
            ),
            // A.2: the cookie is 40 minutes old.
            (
                FIRST,
                "2464c4abcf10c957",
                V4,
                1_559_734_385,
                "010000005cf79f111f8130c3eee29480",
                true,
                "010000005cf7a871d4a564a1442aca77",
            ),
            // A.3: the reserved octets are hashed as they came. The example's answer comes when the cookie is too old.
            (
                FIRST,
                "fc93fc62807ddb86",
                "203.0.113.203",
                1_559_727_985,
                "01abcdef5cf78f71a314227b6679ebf5",
                true,
                "01abcdef5cf78f71a314227b6679ebf5",
            ),
            (
                FIRST,
                "fc93fc62807ddb86",
                "203.0.113.203",
                1_559_734_700,
                "01abcdef5cf78f71a314227b6679ebf5",
                false,
                "010000005cf7a9acf73a7810aca2381e",
            ),
            // A.4: IPv6, and a secret that is replaced.
            (
                &rolled,
                "22681ab97d52c298",
                V6,
                1_559_741_961,
                "010000005cf7c57926556bd0934c72f8",
                true,
                "010000005cf7c609a6bb79d16625507a",
            ),
        ] {
            let server = if asked.is_empty() { None } else { Some(hex(asked)) };
            let verdict = secrets(secret).judge(hex(client), server, address.parse().unwrap(), now);
            let want = CookieVerdict { is_good, answer: joined(hex(client), hex(answered)) };
            assert_eq!(verdict, want, "{client} {now}");
        }
    }

    #[test]
    fn cookie_is_good_for_its_client_and_its_time_also_over_the_ends_of_32_bits() {
        let secrets = secrets(FIRST);
        let (client, address) = ([7; CLIENT], V4.parse().unwrap());
        for made in [0, 1, 1_800_000_000, 0x7fff_ffff, 0x8000_0000, u32::MAX - 100] {
            let server = secrets.make(client, address, made);
            for (age, is_good, is_kept) in [
                (0, true, true),
                (1799, true, true),
                (1800, true, false),
                (3600, true, false),
                (3601, false, false),
                (i32::MAX, false, false),
                (i32::MIN, false, false),
                (-300, true, true),
                (-301, false, false),
            ] {
                let now = made.wrapping_add_signed(age);
                let verdict = secrets.judge(client, Some(server), address, now);
                assert_eq!(verdict.is_good, is_good, "made at {made}, {age} s old");
                assert_eq!(verdict.answer == joined(client, server), is_kept || age == 0, "{made} {age}");
            }
            for (client, address, server) in [
                ([8; CLIENT], V4, server),
                (client, "198.51.100.101", server),
                (client, V6, server),
                (client, V4, [0; SERVER]),
            ] {
                let verdict = secrets.judge(client, Some(server), address.parse().unwrap(), made);
                assert!(!verdict.is_good && verdict.answer[..CLIENT] == client, "{client:?} {address}");
            }
            let mapped = "::ffff:198.51.100.100".parse().unwrap();
            assert!(
                secrets.judge(client, Some(server), mapped, made).is_good,
                "an IPv4 address all the same"
            );
        }
    }

    #[test]
    fn secret_is_replaced_on_two_servers_one_after_the_other_without_a_gap() {
        let (client, address, now) = ([7; CLIENT], V4.parse().unwrap(), 1_800_000_000);
        // RFC 9018 section 5: the new one is checked with, then it makes, then the old one goes.
        let steps = [FIRST.to_owned(), format!("{FIRST}\n{NEW}"), format!("{NEW}\n{FIRST}"), NEW.to_owned()];
        for pair in steps.windows(2) {
            for (makes, checks) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                let made = secrets(makes).make(client, address, now);
                let verdict = secrets(checks).judge(client, Some(made), address, now + 1);
                // The last step comes when nobody has made a cookie with the old secret for an hour.
                let is_late = makes.starts_with(FIRST) && pair[1] == NEW;
                assert_eq!(verdict.is_good, !is_late, "{makes} {checks}");
            }
        }
    }

    #[test]
    fn option_has_the_lengths_of_rfc_7873_only() {
        for len in 0..=45 {
            let data = vec![1; len];
            let read = CookieOption::read(&data);
            let is_cookie = len == 8 || (16..=40).contains(&len);
            assert_eq!(read != CookieOption::BadLength, is_cookie, "{len}");
            if let CookieOption::Cookie { server, .. } = read {
                assert_eq!(server.is_some(), len == WHOLE, "{len}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_other_octet_makes_a_cookie_bad(client: [u8; CLIENT], at in 0..SERVER, change in 1u8.., now: u32) {
            let secrets = secrets(FIRST);
            let address = V6.parse().unwrap();
            let mut server = secrets.make(client, address, now);
            prop_assert!(secrets.judge(client, Some(server), address, now).is_good);
            server[at] ^= change;
            prop_assert!(!secrets.judge(client, Some(server), address, now).is_good);
        }
    }
}
