//! `token`: the keys of PKCS#11 tokens by hand: what is there, whether a ceremony would work, and what `keygen` could not finish.
//!
//! ```text
//! token list             the keys of each token, and the key files that name them
//! token check [ZONE]     module, token, PIN, and a signature by each key that a key file names
//! token adopt ZONE KEY   key files for a key that is in the token already
//! token update [ZONE]    the URI of the key store into key files: another module, PIN file or token name
//! token forget KEY       removes a key that no key file names
//! ```

mod adopt;
mod forget;
mod show;
mod stock;

use std::io::Read;

use keystore::crypto::pkcs11::{HeldKey, Pkcs11Uri, UriError};
use keystore::dns::Name;
use keystore::policy;
use keystore::time::Timestamp;
use stock::{FolderKeySets, TokenKeys};

use super::console::Console;
use super::options::CommandLine;
use super::{Failure, Listener, zone_name};

/// A `token` command, with what it works on.
pub(super) struct TokenJob<'a> {
    pub(super) line: &'a CommandLine,
    pub(super) now: Timestamp,
    /// The tokens: of `--token`, of `--store`, or of all key stores of the file of `-l`.
    pub(super) stores: Vec<Store>,
}

/// A token that is worked on.
pub(super) struct Store {
    /// Where it is named: file, line and key store, or the option.
    pub(super) place: String,
    /// Its URI as written.
    pub(super) text: String,
    pub(super) uri: Pkcs11Uri,
}

/// Runs `token …`; the text, and false when it says that something is wrong.
pub(super) fn run(
    line: &CommandLine,
    now: Timestamp,
    stdin: &mut dyn Read,
    listener: Listener,
    console: &mut Console<'_>,
) -> Result<(String, bool), Failure> {
    let words: Vec<&str> = line.words.iter().skip(1).map(String::as_str).collect();
    let job = || TokenJob::new(line, now);
    match words.as_slice() {
        ["list"] => show::list(&job()?, console),
        // A token that no option names may be named by the key files.
        ["check"] => show::check(&TokenJob::with_any(line, now)?, None, console),
        ["check", zone] => show::check(&TokenJob::with_any(line, now)?, Some(&zone_name(zone)?), console),
        ["adopt", zone, key] => {
            adopt::adopt(&job()?, &zone_name(zone)?, key, console).map(|text| (text, true))
        }
        ["update"] => adopt::update(&job()?, None, console),
        ["update", zone] => adopt::update(&job()?, Some(&zone_name(zone)?), console),
        ["forget", key] => forget::forget(&job()?, key, stdin, listener, console).map(|text| (text, true)),
        _ => Err(Failure::usage(
            "the token commands are: token list; token check [ZONE]; token adopt ZONE KEY; token update [ZONE]; token forget KEY",
        )),
    }
}

impl<'a> TokenJob<'a> {
    /// The job; an error where neither an option nor the policy names a token.
    fn new(line: &'a CommandLine, now: Timestamp) -> Result<Self, Failure> {
        let job = Self::with_any(line, now)?;
        if !job.stores.is_empty() {
            return Ok(job);
        }
        Err(match &line.common.config {
            Some(config) => Failure::Fatal(format!("{}: no key-store with a pkcs11-uri", config.display())),
            None => Failure::usage(
                "which token? give the file with the key stores (-l FILE), or the token itself (--token URI)",
            ),
        })
    }

    /// With the tokens that are named, if any.
    fn with_any(line: &'a CommandLine, now: Timestamp) -> Result<Self, Failure> {
        let options = &line.token;
        if let Some(text) = &options.token {
            let read =
                Pkcs11Uri::parse(text).map_err(|e: UriError| Failure::Usage(format!("--token: {e}")))?;
            if read.object.is_some() || read.id.is_some() {
                return Err(Failure::usage("--token names a token; give the key as a word of its own"));
            }
            let store = Store { place: "--token".to_owned(), text: text.clone(), uri: read };
            return Ok(Self { line, now, stores: vec![store] });
        }
        let Some(config) = &line.common.config else { return Ok(Self { line, now, stores: Vec::new() }) };
        let policies = policy::load(config).map_err(Failure::fatal)?;
        let mut stores = Vec::new();
        for store in policies.key_stores() {
            if options.store.as_ref().is_some_and(|wanted| *wanted != store.name) {
                continue;
            }
            let Some(uri) = store.token().map_err(|e| Failure::Fatal(format!("{store}: {e}")))? else {
                continue;
            };
            let text = store.pkcs11_uri.clone().unwrap_or_default();
            stores.push(Store { place: store.to_string(), text, uri });
        }
        if let Some(name) = options.store.as_ref().filter(|_| stores.is_empty()) {
            return Err(Failure::Fatal(format!(
                "{}: no key-store '{name}' with a pkcs11-uri",
                config.display()
            )));
        }
        Ok(Self { line, now, stores })
    }

    /// The one token, for commands that work on a single key.
    fn only_store(&self) -> Result<&Store, Failure> {
        match self.stores.as_slice() {
            [store] => Ok(store),
            _ => {
                Err(Failure::usage("there are several key stores with a token; choose one with --store NAME"))
            }
        }
    }

    fn key_files(&self, zone: Option<&Name>) -> Result<FolderKeySets, Failure> {
        FolderKeySets::read(&self.line.common.folder, zone)
    }
}

impl Store {
    fn fail(&self, error: impl std::fmt::Display) -> Failure {
        Failure::Fatal(format!("{}: {error}", self.place))
    }

    /// The one key that a word names: its label, or its id as `id:HEX`.
    fn key(&self, word: &str) -> Result<TokenKeys, Failure> {
        let all = TokenKeys::of(self).map_err(|e| self.fail(e))?;
        let is_named = |key: &HeldKey| match word.strip_prefix("id:") {
            Some(hex) => stock::hex(&key.id).eq_ignore_ascii_case(hex),
            None => key.label == word.as_bytes(),
        };
        let named: Vec<&HeldKey> = all.keys.iter().filter(|key| is_named(key)).collect();
        match named.as_slice() {
            [key] => {
                Ok(TokenKeys { keys: vec![(*key).clone()], token: all.token.clone(), labels: all.labels })
            }
            [] => Err(self.fail(format!(
                "token `{}` has no key `{word}`; token list shows those that it has",
                all.token
            ))),
            several => Err(self.fail(format!(
                "token `{}` has {} keys `{word}`; name one by its id, as token list shows it: id:{}",
                all.token,
                several.len(),
                stock::hex(&several[0].id)
            ))),
        }
    }
}
