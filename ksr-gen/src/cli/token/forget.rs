//! `token forget`: removes a key from a token, for what `keygen` could not finish.

use std::io::Read;

use keystore::crypto::pkcs11::{self, HeldKey, Pkcs11Uri};

use super::TokenJob;
use super::show::title;
use crate::cli::console::{Console, Level, printable};
use crate::cli::files::read_line;
use crate::cli::{Failure, Listener};
use crate::keygen;

/// Removes one key that no key file of the folder names, once a person has typed its label, or `--yes` was given.
pub(super) fn forget(
    job: &TokenJob<'_>,
    word: &str,
    stdin: &mut dyn Read,
    listener: Listener,
    console: &mut Console<'_>,
) -> Result<String, Failure> {
    let store = job.only_store()?;
    let folder = job.line.common.folder.display();
    let stored = store.key(word)?;
    let [key] = stored.keys.as_slice() else {
        return Err(Failure::Fatal(format!("`{word}` names several keys")));
    };
    let in_words = store.key_in_words(&stored.token, key);
    check_unused(job, key, &in_words)?;
    if !job.line.sign.yes {
        if listener == Listener::Nobody {
            return Err(Failure::Fatal(format!(
                "nothing was removed: {in_words} would be gone for ever; say so with --yes, or run this on a terminal"
            )));
        }
        let wanted = title(key);
        let question = format!(
            "Remove {in_words}? No key file in {folder} names it; look at all other folders first. There is no way back. Type `{wanted}`: "
        );
        let _ = write!(console.stderr, "{}", printable(&question));
        let _ = console.stderr.flush();
        if read_line(stdin).trim() != wanted {
            return Err(Failure::fatal("nothing was removed: the answer was not the label"));
        }
    }
    // A run that makes a key in the token writes its key files under this lock; what was so at the question may not be so any more.
    let _lock = keygen::lock(&job.line.common.folder, || {
        console.say(Level::Plain, "waiting for another run that holds the key folder");
    })?;
    check_unused(job, key, &in_words)?;
    // By label and id as they were shown, so that no other key is meant.
    let uri = pkcs11::with_key(
        &store.text,
        &key.label,
        Some(&key.id).filter(|id| !id.is_empty()).map(Vec::as_slice),
    );
    let uri = Pkcs11Uri::parse(&uri).map_err(|e| store.fail(e))?;
    if uri.object.is_none() && uri.id.is_none() {
        return Err(store.fail("the key has neither a label nor an id, so that nothing names it; remove it with the tools of the maker"));
    }
    pkcs11::forget(&uri, key.part).map_err(|e| store.fail(e))?;
    Ok(printable(&format!("removed: {in_words}")) + "\n")
}

/// Fails when a key file of the folder names the key, has its public key, or does not read.
fn check_unused(job: &TokenJob<'_>, key: &HeldKey, in_words: &str) -> Result<(), Failure> {
    let files = job.key_files(None)?;
    if let Some(error) = files.unread.first() {
        return Err(Failure::Fatal(format!(
            "nothing was removed: a key file does not read, and may name the key: {error}"
        )));
    }
    let named = files.naming(key);
    if named.is_empty() {
        return Ok(());
    }
    Err(Failure::Fatal(format!(
        "nothing was removed: {in_words} is that of {}; a key that is in use is never removed (where its .private file is lost, move the \
         other files away and have token adopt write all of them anew)",
        named.join(", ")
    )))
}
