//! `token adopt` and `token update`: key files for keys that are in a token already.

use std::path::Path;

use keystore::crypto::pkcs11::{self, HeldKey};
use keystore::dns::Name;
use keystore::keys::files::{self, KeyFileError, adopt_token_key};
use keystore::keys::plan;
use keystore::policy::KeyRole;

use super::TokenJob;
use super::stock::{self, TokenKeys};
use crate::cli::console::{Console, Level, printable};
use crate::cli::keygen::taken_tags;
use crate::cli::{Failure, load_policy, time};
use crate::keygen;

/// Writes `.key`, `.state` and `.private` for a key of the token; the name of the set.
pub(super) fn adopt(
    job: &TokenJob<'_>,
    zone: &Name,
    word: &str,
    console: &mut Console<'_>,
) -> Result<String, Failure> {
    let line = job.line;
    let common = &line.common;
    let (Some(config), Some(policy)) = (&common.config, &common.policy) else {
        return Err(Failure::usage(
            "adopt requires a policy: its file with -l FILE, its name with -k POLICY",
        ));
    };
    let policy = load_policy(line, config, policy, console)?;
    let store = job.only_store()?;
    let stored: TokenKeys = store.key(word)?;
    let [key] = stored.keys.as_slice() else {
        return Err(Failure::Fatal(format!("`{word}` names several keys")));
    };
    let in_words = store.key_in_words(&stored.token, key);
    let role = if line.keygen.ksk { KeyRole::Ksk } else { KeyRole::Zsk };
    let fits = |entry: &&keystore::policy::KeyPolicy| {
        let has_size = match key.kind {
            pkcs11::HeldKeyKind::Rsa(bits) => bits == entry.bits,
            _ => true,
        };
        entry.role == role && has_size && key.kind.algorithms().contains(&entry.algorithm)
    };
    let Some(entry) = policy.keys.iter().find(fits) else {
        let (role, option) = if role == KeyRole::Ksk { ("KSK", "without") } else { ("ZSK", "with") };
        return Err(Failure::Fatal(format!(
            "policy '{}' has no {role} entry that {in_words} fits by algorithm and size ({option} -o the other role is adopted)",
            policy.name
        )));
    };
    let Some(public_key) = key.public_key.clone() else {
        return Err(Failure::Fatal(format!(
            "{in_words}: the token does not tell its public key, so no DNSKEY can be written"
        )));
    };
    let _lock = keygen::lock(&common.folder, || {
        console.say(Level::Plain, "waiting for another run that holds the key folder");
    })?;
    let start = time(&common.start, job.now)?;
    let (start, taken) = match (role, start) {
        (KeyRole::Zsk, None) if has_zsks(&common.folder, zone)? => {
            return Err(Failure::usage(
                "the folder has ZSKs of the zone: a ZSK that begins now would be published before an SKR has it, and the KSK's signatures would \
                 fit no more; say from when on it is active, behind the end of the SKR in force: -i TIME",
            ));
        }
        (KeyRole::Zsk, start) => (start.unwrap_or(job.now), taken_tags(zone, line, console)?),
        // The KSK that is adopted may be a trust anchor itself.
        (_, start) => (start.unwrap_or(job.now), Vec::new()),
    };
    let timing = plan::timing(&policy, role, entry.lifetime, start, true, job.now);
    let new = keygen::new_key(zone, &policy, entry, role, timing);
    let label = stored.uri_of(store, key);
    let made =
        adopt_token_key(&common.folder, &new, &taken, &label, public_key).map_err(|error| match error {
            KeyFileError::Exists { .. } => Failure::Fatal(format!(
                "{error}; to have it name another module, PIN file or token, use token update"
            )),
            other => Failure::fatal(other),
        })?;
    Ok(format!("{}\n", made.base_name()))
}

/// True when the folder has ZSKs of the zone.
fn has_zsks(dir: &Path, zone: &Name) -> Result<bool, Failure> {
    let found = files::find_online(dir, zone).map_err(Failure::fatal)?;
    Ok(found.keys.iter().any(|key| !key.dnskey.is_ksk()))
}

/// Has key files of the folder name their keys by the URI of the key store; what was done, and false when a key could not be looked at.
pub(super) fn update(
    job: &TokenJob<'_>,
    zone: Option<&Name>,
    console: &mut Console<'_>,
) -> Result<(String, bool), Failure> {
    let store = job.only_store()?;
    let _lock = keygen::lock(&job.line.common.folder, || {
        console.say(Level::Plain, "waiting for another run that holds the key folder");
    })?;
    let files = job.key_files(zone)?;
    console.folder(&files.unread);
    let stored = TokenKeys::of(store).map_err(|e| store.fail(e))?;
    let (mut text, mut good) = (String::new(), files.unread.is_empty());
    for (file, old) in &files.in_tokens {
        let name = file.base_name();
        // The label may have changed with the token; the public key has not, where the token tells it.
        let has_key = |key: &&HeldKey| key.public_key.as_ref() == Some(&file.dnskey.public_key);
        let is_named = |key: &&HeldKey| key.public_key.is_none() && stock::is_named_by(old, key);
        let key = stored.keys.iter().find(has_key).or_else(|| stored.keys.iter().find(is_named));
        let Some(key) = key else {
            text.push_str(&format!("{name}: not in token `{}`, left as it is ({old})\n", stored.token));
            continue;
        };
        let label = stored.uri_of(store, key);
        match pkcs11::Pkcs11Uri::parse(&label) {
            Ok(new) if new == *old => text.push_str(&format!("{name}: names it so already\n")),
            _ => match file.rename_in_token(&label) {
                Ok(()) => text.push_str(&format!("{name}: updated, and it signs\n")),
                Err(error) => {
                    console.say(Level::Error, &format!("{name}: {error}"));
                    good = false;
                }
            },
        }
    }
    Ok((text.lines().map(|line| printable(line) + "\n").collect(), good))
}
