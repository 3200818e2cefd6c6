//! Keys in PKCS#11 tokens (HSMs, smart cards, SoftHSM), named by RFC 7512 URI.
//!
//! ```text
//! URI ──module──▶ token ──PIN──▶ session ──label, id──▶ private key ──sign──▶ signature, verified here before anybody gets it
//! ```
//!
//! **The module runs in a process of its own** (`process.rs`) in programs that call [`module_process`] first of all: a module that
//! hangs, crashes or counts wrong is then an error of the calls to that token, which passes. Other programs have it in their own process.
//!
//! Modules and logins count for a whole process, as PKCS#11 has it: each module is loaded and initialised once, each token is logged in
//! to once, with a few sessions that sign side by side (`sessions.rs`). A PIN that was wrong is not sent a second time.
//!
//! The module is `module-path` or `module-name` of the URI, or else the environment's PKCS11_MODULE (or PKCS11_PROVIDER_MODULE, which
//! BIND's users have set).

#[cfg(any(feature = "pkcs11", test))]
mod answer;
mod error;
#[cfg(all(feature = "pkcs11", feature = "testing"))]
#[doc(hidden)]
pub mod fuzzing;
mod held;
#[cfg(feature = "pkcs11")]
mod key;
#[cfg(feature = "pkcs11")]
mod logins;
#[cfg(feature = "pkcs11")]
mod module;
#[cfg(feature = "pkcs11")]
mod objects;
mod pin;
#[cfg(feature = "pkcs11")]
mod process;
#[cfg(feature = "pkcs11")]
mod sessions;
#[cfg(feature = "pkcs11")]
mod token;
mod uri;
#[cfg(feature = "pkcs11")]
mod wire;
#[cfg(feature = "pkcs11")]
mod worker;

pub use error::TokenError;
pub use held::{HeldKey, HeldKeyKind, HeldPart, Holding};
pub use pin::{KeypadNotice, Pin, PinRequest, Prompt, set_prompt};
pub use uri::{Pkcs11Uri, UriError, with_key, with_object};

use std::process::ExitCode;

use super::{Algorithm, SigningKey};

/// Most keys of a token that are listed.
#[cfg(feature = "pkcs11")]
const MOST_LISTED: usize = 100_000;

/// Has modules run in processes of their own from now on, which are this program started again with an argument of its own. A program
/// calls this before it looks at its command line; when the answer is an exit code, it *is* such a process, and ends with that code.
#[must_use]
pub fn module_process() -> Option<ExitCode> {
    #[cfg(feature = "pkcs11")]
    {
        if std::env::args_os().nth(1).is_some_and(|argument| argument == process::ARGUMENT) {
            return Some(worker::run());
        }
        process::isolate();
    }
    None
}

/// Has keys in tokens be opened in the background from now on: [`load`] waits two seconds at most, then fails with
/// [`TokenError::NotYet`], and the next call for the same key takes up where it was. For daemons, after [`module_process`].
pub fn do_not_wait() {
    #[cfg(feature = "pkcs11")]
    process::do_not_wait();
}

/// Ends every call to a token, because the program ends: what waits for a token fails at once.
pub fn stop() {
    #[cfg(feature = "pkcs11")]
    process::stop();
}

/// The signer for the private key that `uri` names. Signs a fixed text once and verifies that with `public_key` (the Public Key field
/// of the DNSKEY), so that no other key of the token is taken for it.
#[cfg_attr(not(feature = "pkcs11"), allow(unused_variables))]
pub fn load(
    uri: &Pkcs11Uri,
    algorithm: Algorithm,
    public_key: &[u8],
) -> Result<Box<dyn SigningKey>, TokenError> {
    #[cfg(feature = "pkcs11")]
    return match process::is_isolated() {
        true => process::load(uri, algorithm, public_key),
        false => {
            let key = key::load(uri, algorithm)?;
            Ok(Box::new(answer::Verified::new(key, algorithm, public_key.to_vec())?))
        }
    };
    #[cfg(not(feature = "pkcs11"))]
    Err(TokenError::NotBuilt)
}

/// Looks whether the token that `uri` means is there and the PIN file reads, without a login, so that no try for the PIN is used up.
#[cfg_attr(not(feature = "pkcs11"), allow(unused_variables))]
pub fn look(uri: &Pkcs11Uri) -> Result<(), TokenError> {
    #[cfg(feature = "pkcs11")]
    return match process::is_isolated() {
        true => process::look(uri),
        false => token::look(uri),
    };
    #[cfg(not(feature = "pkcs11"))]
    Err(TokenError::NotBuilt)
}

/// The token that `uri` means, and its keys, those that match `object` and `id` of the URI. Logs in.
#[cfg_attr(not(feature = "pkcs11"), allow(unused_variables))]
pub fn list(uri: &Pkcs11Uri) -> Result<Holding, TokenError> {
    #[cfg(feature = "pkcs11")]
    {
        let page = |from| match process::is_isolated() {
            true => process::list(uri, from),
            false => objects::list(uri, from),
        };
        let mut all = page(0)?;
        while all.more {
            let next = page(all.keys.len())?;
            // A token that says the same for ever must not fill the memory.
            all.more = next.more && !next.keys.is_empty() && all.keys.len() < MOST_LISTED;
            all.keys.extend(next.keys);
        }
        Ok(all)
    }
    #[cfg(not(feature = "pkcs11"))]
    Err(TokenError::NotBuilt)
}

/// Removes the halves `part` of the key from the token that has exactly `object` and `id` of the URI as its label and id; where the URI has
/// none, the key has none. There is no way back.
#[cfg_attr(not(feature = "pkcs11"), allow(unused_variables))]
pub fn forget(uri: &Pkcs11Uri, part: HeldPart) -> Result<(), TokenError> {
    #[cfg(feature = "pkcs11")]
    return match process::is_isolated() {
        true => process::forget(uri, part),
        false => objects::forget(uri, part),
    };
    #[cfg(not(feature = "pkcs11"))]
    Err(TokenError::NotBuilt)
}

/// Makes a key pair in the token, which the private key never leaves. `uri` has the label of the new key as `object`; `bits` counts
/// for RSA only.
#[cfg_attr(not(feature = "pkcs11"), allow(unused_variables))]
pub fn generate(uri: &Pkcs11Uri, algorithm: Algorithm, bits: u16) -> Result<NewTokenKey, TokenError> {
    #[cfg(feature = "pkcs11")]
    return match process::is_isolated() {
        true => {
            let (pair, public_key) = process::generate(uri, algorithm, bits)?;
            Ok(NewTokenKey { public_key, pair: Pair::Elsewhere(pair) })
        }
        false => {
            let key::GeneratedPair { pair, key, public_key } = key::generate(uri, algorithm, bits)?;
            answer::Verified::new(key, algorithm, public_key.clone())?;
            Ok(NewTokenKey { public_key, pair: Pair::Here(pair) })
        }
    };
    #[cfg(not(feature = "pkcs11"))]
    Err(TokenError::NotBuilt)
}

/// A key pair just made. It is removed from the token again when dropped, unless it is [kept](Self::keep).
pub struct NewTokenKey {
    public_key: Vec<u8>,
    #[cfg(feature = "pkcs11")]
    pair: Pair,
}

/// Who may remove a key pair that was just made.
#[cfg(feature = "pkcs11")]
enum Pair {
    /// This process.
    Here(key::Pair),
    /// The process of the module.
    Elsewhere(process::Pair),
}

impl NewTokenKey {
    /// The Public Key field of its DNSKEY.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Leaves it in the token.
    #[cfg_attr(not(feature = "pkcs11"), allow(unused_mut))]
    pub fn keep(mut self) {
        #[cfg(feature = "pkcs11")]
        match &mut self.pair {
            Pair::Here(pair) => pair.keep(),
            Pair::Elsewhere(pair) => pair.keep(),
        }
    }

    /// Removes it from the token.
    #[cfg_attr(not(feature = "pkcs11"), allow(unused_mut))]
    pub fn discard(mut self) -> Result<(), TokenError> {
        #[cfg(feature = "pkcs11")]
        match &mut self.pair {
            Pair::Here(pair) => pair.remove()?,
            Pair::Elsewhere(pair) => pair.remove()?,
        }
        Ok(())
    }
}
