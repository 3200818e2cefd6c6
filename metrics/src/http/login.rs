//! Basic authentication (RFC 7617) with the bcrypt hashes of the web-config. A verification takes tens of milliseconds by design: one
//! runs at a time, and a login that was right is remembered, so that a scrape each second costs nothing.

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr as _;
use std::sync::{Mutex, PoisonError};

use ring::hmac;
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

/// Salt and digest of no password that anybody knows: with a cost before it, it is verified for users that do not exist.
const NOBODY: &str = "abcdefghijklmnopqrstuusPRfuYCohFn7ujAGmVeMYL/Ul7CdsOW";
/// Logins that are remembered, at most: one a user is usual.
const REMEMBERED: usize = 100;
/// Octets of a password that bcrypt looks at.
const MAX_PASSWORD: usize = 72;

/// Name and password of a request.
pub struct Login {
    user: String,
    password: Zeroizing<Vec<u8>>,
}

impl Login {
    /// Reads the value of the header field `Authorization`; `None` = it is no basic authentication.
    #[must_use]
    pub fn parse(field: &str) -> Option<Self> {
        let (scheme, encoded) = field.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let octets = data_encoding::BASE64.decode(encoded.trim().as_bytes()).ok()?;
        let octets = Zeroizing::new(octets);
        let colon = octets.iter().position(|octet| *octet == b':')?;
        let user = std::str::from_utf8(&octets[..colon]).ok()?.to_owned();
        Some(Self { user, password: Zeroizing::new(octets[colon + 1..].to_vec()) })
    }
}

/// The users, and the logins that were right.
pub struct Logins {
    users: BTreeMap<String, String>,
    /// The hash of nobody. It costs as much as that of the user whose costs most, so that the time does not tell who exists.
    nobody: String,
    /// Of this process alone: what is remembered says nothing about a password.
    key: hmac::Key,
    right: Mutex<HashSet<Vec<u8>>>,
}

impl Logins {
    /// These users, each with its bcrypt hash. `None` where the system gives no random octets.
    #[must_use]
    pub fn new(users: BTreeMap<String, String>) -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        let cost = |hash: &String| bcrypt::HashParts::from_str(hash).map_or(0, |parts| parts.get_cost());
        let nobody = format!("$2b${:02}${NOBODY}", users.values().map(cost).max().unwrap_or(10));
        Some(Self { users, nobody, key, right: Mutex::new(HashSet::new()) })
    }

    /// True when these are the users.
    #[must_use]
    pub fn are_of(&self, users: &BTreeMap<String, String>) -> bool {
        self.users == *users
    }

    /// True when anybody is let in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// True when this login was verified before.
    #[must_use]
    pub fn is_remembered(&self, login: &Login) -> bool {
        self.right.lock().unwrap_or_else(PoisonError::into_inner).contains(&self.digest(login))
    }

    /// Verifies a login. Takes tens of milliseconds and more.
    #[must_use]
    pub fn verify(&self, login: &Login) -> bool {
        let hash = self.users.get(&login.user);
        let fits = bcrypt::verify(&*login.password, hash.unwrap_or(&self.nobody)).unwrap_or(false);
        let is_right = fits && hash.is_some() && login.password.len() <= MAX_PASSWORD;
        if is_right {
            let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            if right.len() >= REMEMBERED {
                right.clear();
            }
            right.insert(self.digest(login));
        }
        is_right
    }

    /// The same for the same login, and for no other, in this process.
    #[must_use]
    pub fn digest(&self, login: &Login) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        // The name has no colon.
        for part in [login.user.as_bytes(), b":", &login.password] {
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(user: &str, password: &str) -> Logins {
        let hash = bcrypt::hash(password, 4).expect("a hash");
        Logins::new([(user.to_owned(), hash)].into()).expect("random octets")
    }

    fn login(user: &str, password: &str) -> Login {
        let text = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
        Login::parse(&format!("Basic {text}")).expect("it reads")
    }

    #[test]
    fn right_login_is_remembered_and_no_other_is_let_in() {
        let logins = logins("alice", "se:cret");
        for (user, password, is_right) in [
            ("alice", "se:cret", true),
            ("alice", "se:cre", false),
            ("alice", "se:cret\0", false),
            ("alice", "", false),
            ("bob", "se:cret", false),
            ("", "", false),
            ("alice:se", "cret", true),
        ] {
            let login = login(user, password);
            assert_eq!(logins.verify(&login), is_right, "{user} {password}");
            assert_eq!(logins.is_remembered(&login), is_right, "{user} {password}");
        }
        assert_eq!(logins.right.lock().expect("no panic").len(), 1);
    }

    #[test]
    fn password_longer_than_bcrypt_sees_is_refused() {
        let long = "x".repeat(MAX_PASSWORD);
        let logins = logins("a", &long);
        assert!(logins.verify(&login("a", &long)));
        assert!(!logins.verify(&login("a", &format!("{long}y"))));
        assert!(logins.nobody.starts_with("$2b$04$"), "the cost of the user: {}", logins.nobody);
        assert!(bcrypt::verify("x", &logins.nobody).is_ok(), "its form is right");
    }

    #[test]
    fn field_that_is_no_basic_login_is_none() {
        for field in
            ["", "Basic", "Basic ", "Bearer YTpi", "Basic YTpi=", "Basic YQ==", "Basic \u{e4}", "Basic /zo="]
        {
            assert!(Login::parse(field).is_none(), "{field}");
        }
        assert!(Login::parse("bAsIc YTpi").is_some_and(|l| l.user == "a" && *l.password == b"b"));
    }
}
