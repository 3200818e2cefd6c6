//! Finding and loading the library of an HSM.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};

use super::error::code;
use super::{Pkcs11Uri, TokenError};

/// Where distributions put PKCS#11 modules; a `*` stands for any one folder.
const FOLDERS: [&str; 9] = [
    "/usr/lib/*/pkcs11",
    "/usr/lib/pkcs11",
    "/usr/lib64/pkcs11",
    "/usr/lib/*/softhsm",
    "/usr/lib/softhsm",
    "/usr/lib64/softhsm",
    "/usr/local/lib/pkcs11",
    "/usr/local/lib/softhsm",
    "/usr/local/lib",
];

/// The module of `uri`: its own, or that of the environment.
pub(super) fn path(uri: &Pkcs11Uri) -> Result<PathBuf, TokenError> {
    if let Some(path) = &uri.module_path {
        return Ok(path.clone());
    }
    if let Some(name) = &uri.module_name {
        return named(name).ok_or_else(|| TokenError::ModuleName(name.clone()));
    }
    let variables = ["PKCS11_MODULE", "PKCS11_PROVIDER_MODULE"];
    let found = variables.iter().filter_map(std::env::var_os).find(|value| !value.is_empty());
    let path = PathBuf::from(found.ok_or(TokenError::NoModule)?);
    match path.is_absolute() {
        true => Ok(path),
        false => Err(TokenError::Module {
            path,
            what: "an absolute path was expected in PKCS11_MODULE".to_owned(),
        }),
    }
}

fn named(name: &str) -> Option<PathBuf> {
    let files = [format!("lib{name}.so"), format!("{name}.so"), format!("{name}-pkcs11.so")];
    let folders = FOLDERS.iter().flat_map(|folder| match folder.split_once('*') {
        None => vec![PathBuf::from(folder)],
        Some((top, rest)) => {
            let entries = std::fs::read_dir(top).into_iter().flatten().flatten();
            entries.map(|entry| entry.path().join(rest.trim_start_matches('/'))).collect()
        }
    });
    folders
        .flat_map(|folder| files.iter().map(move |file| folder.join(file)).collect::<Vec<_>>())
        .find(|p| p.is_file())
}

/// Loads and initialises a module. Its code runs in this process, so a file that others can write is refused.
pub(super) fn load(path: &Path) -> Result<Pkcs11, TokenError> {
    let fail = |what: String| TokenError::Module { path: path.to_owned(), what };
    let metadata = path.metadata().map_err(|e| fail(e.to_string()))?;
    if !metadata.is_file() {
        return Err(fail("not a file; give the path of the library itself".to_owned()));
    }
    let owner = metadata.uid();
    if metadata.mode() & 0o022 != 0 || owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(fail(
            "others can change this library, so it is not loaded; make it root's, mode 0644".to_owned(),
        ));
    }
    let module = Pkcs11::new(path).map_err(|e| fail(format!("not a PKCS#11 module: {e}")))?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, Function::Initialize)) => Ok(module),
        Err(error) => Err(fail(format!(
            "it does not start ({}); check its configuration, and that this user may read it",
            code(&error)
        ))),
    }
}
