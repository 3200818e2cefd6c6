//! `token forget`: removes a key from a token, for what `keygen` could not finish.

use std::io::Read;

use keystore::crypto::pkcs11::{self, Pkcs11Uri};

use super::TokenJob;
use super::show::title;
use crate::cli::console::{Console, printable};
use crate::cli::files::read_line;
use crate::cli::{Failure, Listener};

/// Removes one key that no key file of the folder names, once a person has typed its label, or `--yes` was given.
pub(super) fn forget(
    job: &TokenJob<'_>,
    word: &str,
    stdin: &mut dyn Read,
    listener: Listener,
    console: &mut Console<'_>,
) -> Result<String, Failure> {
    let store = job.only_store()?;
    let files = job.key_files(None)?;
    let folder = files.folder.display();
    if let Some(error) = files.unread.first() {
        return Err(Failure::Fatal(format!(
            "nothing was removed: a key file does not read, and may name the key: {error}"
        )));
    }
    let stored = store.key(word)?;
    let [key] = stored.keys.as_slice() else {
        return Err(Failure::Fatal(format!("`{word}` names several keys")));
    };
    let in_words = store.key_in_words(&stored.token, key);
    let named = files.naming(key);
    if !named.is_empty() {
        return Err(Failure::Fatal(format!(
            "nothing was removed: {in_words} is that of {}; a key that is in use is never removed",
            named.join(", ")
        )));
    }
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
    pkcs11::forget(&uri).map_err(|e| store.fail(e))?;
    Ok(printable(&format!("removed: {in_words}")) + "\n")
}
