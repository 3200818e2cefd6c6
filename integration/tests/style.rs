//! Rules of style that a machine can check; see CONTRIBUTING.md.

mod source;
mod syntax;

use proc_macro2::Span;
use source::{CRATES, rust_files, workspace};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Visibility};
use syntax::{is_test, parse};

/// Most lines of a function, from its name to its closing brace.
const MAX_FUNCTION: usize = 100;
/// Most lines of a file.
const MAX_FILE: usize = 700;

/// What is wrong in one file, each with its line.
#[derive(Default)]
struct Faults {
    found: Vec<(usize, String)>,
}

impl Faults {
    fn function(&mut self, name: &syn::Ident, body: Span) {
        let lines = body.end().line - name.span().start().line + 1;
        if lines > MAX_FUNCTION {
            self.found.push((name.span().start().line, format!("{name} has {lines} lines")));
        }
    }

    fn documented(&mut self, name: &dyn std::fmt::Display, attributes: &[Attribute], at: Span) {
        let text: Vec<String> = attributes
            .iter()
            .filter_map(|attribute| match &attribute.meta {
                syn::Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
                    syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        let words = text.join(" ");
        if !text.is_empty() && words.split_whitespace().count() < 2 {
            self.found.push((at.start().line, format!("the doc of {name} is one word: {words}")));
        }
    }
}

impl<'ast> Visit<'ast> for Faults {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig.ident, item.block.span());
        if matches!(item.vis, Visibility::Public(_)) {
            self.documented(&item.sig.ident, &item.attrs, item.sig.span());
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig.ident, item.block.span());
        if matches!(item.vis, Visibility::Public(_)) {
            self.documented(&item.sig.ident, &item.attrs, item.sig.span());
        }
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.documented(&item.sig.ident, &item.attrs, item.sig.span());
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(name) = field.ident.as_ref().filter(|_| matches!(field.vis, Visibility::Public(_))) {
            self.documented(name, &field.attrs, field.span());
        }
        visit::visit_field(self, field);
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        for field in &variant.fields {
            if let Some(name) = &field.ident {
                self.documented(name, &field.attrs, field.span());
            }
        }
        visit::visit_variant(self, variant);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.documented(&item.ident, &item.attrs, item.span());
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.documented(&item.ident, &item.attrs, item.span());
        visit::visit_item_enum(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        if matches!(item.vis, Visibility::Public(_)) {
            self.documented(&item.ident, &item.attrs, item.span());
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

/// What is wrong in a text, as lines of a message.
fn faults(file: &syn::File) -> Vec<(usize, String)> {
    let mut faults = Faults::default();
    faults.visit_file(file);
    faults.found
}

#[test]
fn no_function_is_longer_than_100_lines_and_no_public_doc_is_one_word() {
    let mut all = Vec::new();
    for path in CRATES.iter().flat_map(|name| rust_files(&workspace().join(name).join("src"))) {
        let name = path.strip_prefix(workspace()).expect("ours").display().to_string();
        let of_tests =
            path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
        if !of_tests {
            all.extend(
                faults(&parse(&path)).into_iter().map(|(line, what)| format!("{name}:{line}: {what}")),
            );
        }
        let lines = std::fs::read_to_string(&path).expect("readable").lines().count();
        if lines > MAX_FILE && !of_tests {
            all.push(format!("{name}: {lines} lines"));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn planted_faults_of_style_are_found() {
    let long = format!("fn long() {{\n{}}}\n", "f();\n".repeat(MAX_FUNCTION));
    for (what, text, found) in [
        ("a short function", "/// Says what it does.\npub fn f() {}", 0),
        ("a long function", long.as_str(), 1),
        ("a long method", &format!("struct S; impl S {{ {long} }}"), 1),
        ("a word on a function", "/// Why.\npub fn f() {}", 1),
        ("a word on a field", "pub struct S {\n/// Name.\npub name: u8 }", 1),
        ("a word on a field of a variant", "pub enum E { A {\n/// Path.\npath: u8 } }", 1),
        ("a word on a private function", "/// Why.\nfn f() {}", 0),
        ("a test module", "#[cfg(test)] mod tests { /// Why.\npub fn f() {} }", 0),
    ] {
        let file = syn::parse_file(text).expect(what);
        assert_eq!(faults(&file).len(), found, "{what}");
    }
}

/// Programs run on terminals without UTF-8 too. What `inspect` draws where there is UTF-8 is the exception, and so are web pages.
#[test]
fn kind_110_messages_of_the_programs_are_ascii() {
    let mut found = Vec::new();
    for file in CRATES
        .iter()
        .filter(|name| **name != "metrics")
        .flat_map(|name| rust_files(&workspace().join(name).join("src")))
    {
        let path = file.display().to_string();
        if path.contains("/tests") || path.ends_with("inspect/chart.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("readable");
        // The documentation of an option is its help.
        let has_options =
            ["clap::Args", "Parser)", "Subcommand)", ", Args)"].iter().any(|word| text.contains(word));
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (line, number) in code.lines().zip(1..) {
            let shown = line.trim_start();
            let is_comment = shown.starts_with("//") && !(has_options && shown.starts_with("/// "));
            if !is_comment && !line.is_ascii() {
                found.push(format!("{path}:{number}: {shown}"));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
