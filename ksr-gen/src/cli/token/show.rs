//! `token list` and `token check`.

use keystore::crypto::pkcs11::{HeldKey, HeldPart};
use keystore::dns::Name;

use super::stock::{TokenKeys, hex};
use super::{Store, TokenJob};
use crate::cli::Failure;
use crate::cli::console::{Console, Level, printable};

/// The keys of each token, and the key files of the folder that name them; false when a token could not be opened.
pub(super) fn list(job: &TokenJob<'_>, console: &mut Console<'_>) -> Result<(String, bool), Failure> {
    let files = job.key_files(None)?;
    console.folder(&files.unread);
    let folder = files.folder.display();
    let (mut text, mut good) = (String::new(), true);
    for store in &job.stores {
        let stored = match TokenKeys::of(store) {
            Ok(stored) => stored,
            Err(error) => {
                console.say(Level::Error, &format!("{}: {error}", store.place));
                good = false;
                continue;
            }
        };
        let keys = &stored.keys;
        text.push_str(&format!("token `{}`: {} ({})\n", stored.token, count(keys.len(), "key"), store.place));
        let mut unnamed = 0;
        for key in keys {
            let named = files.naming(key);
            unnamed += usize::from(named.is_empty());
            let named = if named.is_empty() { "no key file".to_owned() } else { named.join(", ") };
            text.push_str(&format!("  {}\n      {}; {named}\n", title(key), describe(key)));
        }
        if unnamed > 0 {
            text.push_str(&format!(
                "{} in {folder}: other folders may name them; what keygen could not finish goes with `token forget`\n",
                match unnamed {
                    1 => "1 key has no key file".to_owned(),
                    n => format!("{n} keys have no key file"),
                }
            ));
        }
    }
    Ok((text.lines().map(|line| printable(line) + "\n").collect(), good))
}

/// Module, token and PIN of each key store, and a signature by each key that a key file of the folder names.
pub(super) fn check(
    job: &TokenJob<'_>,
    zone: Option<&Name>,
    console: &mut Console<'_>,
) -> Result<(String, bool), Failure> {
    let files = job.key_files(zone)?;
    console.folder(&files.unread);
    let mut lines = Vec::new();
    let mut good = files.unread.is_empty();
    for store in &job.stores {
        lines.push(match TokenKeys::of(store) {
            Ok(stored) => {
                let keys = count(stored.keys.len(), "key");
                format!("ok      {}: token `{}`, logged in, {keys}", store.place, stored.token)
            }
            Err(error) => {
                good = false;
                format!("FAILED  {}: {error}", store.place)
            }
        });
    }
    for (file, uri) in &files.in_tokens {
        lines.push(match file.load_private() {
            Ok(_) => format!("ok      {}: it signs ({uri})", file.base_name()),
            Err(error) => {
                good = false;
                format!("FAILED  {}: {error}", file.base_name())
            }
        });
    }
    if files.in_tokens.is_empty() {
        lines.push(format!("        no key file in {} names a key in a token", files.folder.display()));
    }
    let verdict = if good { "ready for a ceremony" } else { "NOT READY: mend what failed, and check again" };
    lines.push(format!("        {verdict}"));
    Ok((lines.iter().map(|line| printable(line) + "\n").collect(), good))
}

/// What people call a key.
pub(super) fn title(key: &HeldKey) -> String {
    match std::str::from_utf8(&key.label) {
        Ok(label) if !label.is_empty() => label.to_owned(),
        _ => format!("id:{}", hex(&key.id)),
    }
}

/// Kind, halves, rights and id of a key.
pub(super) fn describe(key: &HeldKey) -> String {
    let part = match key.part {
        HeldPart::Both => "",
        HeldPart::Private => ", private key alone",
        HeldPart::Public => ", public key alone",
    };
    let rights = match key.rights.as_slice() {
        [] => "may not sign".to_owned(),
        rights => format!("may {}", rights.join(", ")),
    };
    let pin = if key.wants_pin { ", wants the PIN for each signature" } else { "" };
    format!("{}{part}, {rights}{pin}, id:{}", key.kind, hex(&key.id))
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

impl Store {
    /// The token and one of its keys, for messages.
    pub(super) fn key_in_words(&self, token: &str, key: &HeldKey) -> String {
        format!("key `{}` ({}) of token `{token}`", title(key), describe(key))
    }
}
