//! The sources of the workspace, for the tests that judge them.

use std::path::{Path, PathBuf};

use syn::Attribute;

/// Folders of the crates of this workspace.
pub const CRATES: [&str; 6] =
    ["keystore", "ksr-gen", "skr-loader", "signer-plugin", "metrics", "integration"];

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// The Rust files of a folder and of the folders in it, sorted.
pub fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder").map(|e| e.expect("an entry").path()) {
        if entry.is_dir() {
            files.extend(rust_files(&entry));
        } else if entry.extension().is_some_and(|e| e == "rs") {
            files.push(entry);
        }
    }
    files.sort();
    files
}

/// The syntax tree of a file.
pub fn parse(file: &Path) -> syn::File {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// True for `#[test]`, and for a `#[cfg(…)]` that names `test` without `not`.
pub fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return attribute.path().is_ident("test") };
        let words = list.tokens.to_string();
        let has = |word| words.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word);
        attribute.path().is_ident("cfg") && has("test") && !has("not")
    })
}
