//! The syntax trees of sources, and which of their items are for tests only.

use std::path::Path;

use syn::Attribute;

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
