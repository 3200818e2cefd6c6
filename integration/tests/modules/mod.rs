//! The module tree of a crate, who refers to whom in it, and the rings among sibling modules.
//!
//! A reference is a path in code that is not for tests only: in a `use` line, in an expression or type, or in the
//! arguments of a macro. A re-export is followed to where the item comes from. A reference from module A to module B counts
//! for the two siblings that A and B are in or below; a parent file and its own children count as one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{ImplItem, Item, UseTree};

use crate::syntax::{is_test, parse};

/// Steps after which the resolution of a path gives up, for re-exports that name each other.
const MAX_DEPTH: usize = 16;

type Path_ = Vec<String>;

#[derive(Debug, Default)]
struct Module {
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// Names that `use` lines bring in, with the path each stands for.
    bindings: BTreeMap<String, Path_>,
    /// Paths of `use …::*`.
    globs: Vec<Path_>,
    /// All paths that the code of this module names.
    paths: BTreeSet<Path_>,
}

/// The modules of one crate.
#[derive(Debug)]
pub struct Crate {
    modules: Vec<Module>,
    names: Vec<String>,
}

/// Sibling modules that refer to each other in a ring.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ring {
    /// Path of the module whose children they are; empty = the crate.
    pub level: String,
    /// Their names.
    pub members: Vec<String>,
    /// References that make it, as `from -> to`.
    pub references: Vec<String>,
}

impl Crate {
    /// Reads the crate whose root file this is.
    pub fn read(root: &Path) -> Self {
        let mut krate = Self { modules: vec![Module::default()], names: vec![String::new()] };
        let dir = root.parent().expect("a folder").to_owned();
        krate.fill(0, &parse(root).items, &dir);
        krate
    }

    /// All paths of a crate's code, each with the module that names it.
    pub fn paths(&self) -> impl Iterator<Item = (&str, String)> {
        let of = |(at, module): (usize, &Module)| -> Vec<_> {
            module.paths.iter().map(|path| (self.names[at].as_str(), path.join("::"))).collect()
        };
        self.modules.iter().enumerate().map(of).collect::<Vec<_>>().into_iter().flatten()
    }

    /// Every ring among siblings, at each level of the tree.
    pub fn rings(&self) -> Vec<Ring> {
        let mut edges: BTreeMap<usize, BTreeMap<(usize, usize), BTreeSet<String>>> = BTreeMap::new();
        for (from, module) in self.modules.iter().enumerate() {
            let targets: BTreeSet<usize> =
                module.paths.iter().flat_map(|path| self.resolve(from, path, 0).visited).collect();
            for to in targets {
                if let Some((level, a, b)) = self.siblings(from, to) {
                    let reference = format!("{} -> {}", self.names[from], self.names[to]);
                    edges.entry(level).or_default().entry((a, b)).or_default().insert(reference);
                }
            }
        }
        let mut rings = Vec::new();
        for (level, edges) in edges {
            for members in rings_of(edges.keys().copied().collect()) {
                let inside = |(a, b): &(usize, usize)| members.contains(a) && members.contains(b);
                let references: BTreeSet<String> =
                    edges.iter().filter(|(edge, _)| inside(edge)).flat_map(|(_, r)| r.clone()).collect();
                let name = |at: &usize| self.names[*at].rsplit("::").next().unwrap_or_default().to_owned();
                rings.push(Ring {
                    level: self.names[level].clone(),
                    members: members.iter().map(name).collect::<BTreeSet<_>>().into_iter().collect(),
                    references: references.into_iter().collect(),
                });
            }
        }
        rings.sort();
        rings
    }

    /// Adds the items of a module; `dir` is where the files of its children lie.
    fn fill(&mut self, at: usize, items: &[Item], dir: &Path) {
        let mut visitor = Paths { module: &mut self.modules[at] };
        items.iter().for_each(|item| visitor.visit_item(item));
        for item in items {
            let Item::Mod(child) = item else { continue };
            if is_test(&child.attrs) {
                continue;
            }
            let name = child.ident.to_string();
            let path = if at == 0 { name.clone() } else { format!("{}::{name}", self.names[at]) };
            let new = self.modules.len();
            self.modules.push(Module { parent: Some(at), ..Module::default() });
            self.names.push(path);
            self.modules[at].children.insert(name.clone(), new);
            match &child.content {
                Some((_, items)) => self.fill(new, items, &dir.join(&name)),
                None => {
                    let file: PathBuf = [dir.join(format!("{name}.rs")), dir.join(&name).join("mod.rs")]
                        .into_iter()
                        .find(|file| file.exists())
                        .unwrap_or_else(|| panic!("no file for the module {name} below {}", dir.display()));
                    self.fill(new, &parse(&file).items, &dir.join(&name));
                }
            }
        }
    }

    /// Where a path leads from the module `from`, and the modules on the way.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Found {
        let mut found = Found::default();
        let Some((first, mut rest)) = path.split_first() else { return found };
        let mut here = match first.as_str() {
            "crate" => Some(0),
            "self" => Some(from),
            "super" => self.modules[from].parent,
            name => {
                found = self.look_up(from, name, depth);
                found.module
            }
        };
        while let Some(module) = here {
            found.visited.insert(module);
            found.module = here;
            let Some((name, more)) = rest.split_first() else { break };
            rest = more;
            here = if name == "super" {
                self.modules[module].parent
            } else {
                let next = self.look_up(module, name, depth);
                found.known |= next.known;
                found.visited.extend(next.visited);
                next.module
            };
            if here.is_none() {
                found.module = None;
            }
        }
        found
    }

    /// What `name` is in a module: a child, a name that a `use` line brings in, or an item, which leads no further.
    fn look_up(&self, module: usize, name: &str, depth: usize) -> Found {
        let this = &self.modules[module];
        if let Some(child) = this.children.get(name) {
            return Found { module: Some(*child), visited: BTreeSet::from([*child]), known: true };
        }
        if depth >= MAX_DEPTH {
            return Found::default();
        }
        if let Some(path) = this.bindings.get(name).filter(|path| path[0] != name) {
            return Found { known: true, ..self.resolve(module, path, depth + 1) };
        }
        for glob in &this.globs {
            if let Some(target) = self.resolve(module, glob, depth + 1).module.filter(|t| *t != module) {
                let found = self.look_up(target, name, depth + 1);
                if found.known {
                    return found;
                }
            }
        }
        Found::default()
    }

    /// The two siblings that `from` and `to` are in or below, and their parent; `None` where one is in the other.
    fn siblings(&self, from: usize, to: usize) -> Option<(usize, usize, usize)> {
        let line = |mut at: usize| {
            let mut line = vec![at];
            while let Some(parent) = self.modules[at].parent {
                line.push(parent);
                at = parent;
            }
            line.reverse();
            line
        };
        let (from, to) = (line(from), line(to));
        let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        Some((from[shared - 1], *from.get(shared)?, *to.get(shared)?))
    }
}

#[derive(Debug, Default)]
struct Found {
    /// The module that the path ends in; `None` for an item, and for what is not of this crate.
    module: Option<usize>,
    visited: BTreeSet<usize>,
    /// The name is known to be of this crate.
    known: bool,
}

/// The groups of nodes that reach each other.
fn rings_of(edges: BTreeSet<(usize, usize)>) -> BTreeSet<BTreeSet<usize>> {
    let reach = |start: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(at) = open.pop() {
            for (_, to) in edges.range((at, 0)..=(at, usize::MAX)) {
                if seen.insert(*to) {
                    open.push(*to);
                }
            }
        }
        seen
    };
    let nodes: BTreeSet<usize> = edges.iter().map(|(from, _)| *from).collect();
    let reached: BTreeMap<usize, BTreeSet<usize>> = nodes.iter().map(|node| (*node, reach(*node))).collect();
    let ring = |node: &usize| -> BTreeSet<usize> {
        reached[node]
            .iter()
            .copied()
            .filter(|to| reached.get(to).is_some_and(|back| back.contains(node)))
            .collect()
    };
    nodes.iter().map(ring).filter(|members| members.len() > 1).collect()
}

/// Collects the paths of a module's code.
struct Paths<'a> {
    module: &'a mut Module,
}

impl Paths<'_> {
    fn use_tree(&mut self, tree: &UseTree, mut prefix: Path_) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.use_tree(&path.tree, prefix);
            }
            UseTree::Name(name) => {
                let mut bound = name.ident.to_string();
                if bound == "self" {
                    bound = prefix.last().cloned().unwrap_or_default();
                } else {
                    prefix.push(bound.clone());
                }
                self.bind(bound, prefix);
            }
            UseTree::Rename(rename) => {
                if rename.ident != "self" {
                    prefix.push(rename.ident.to_string());
                }
                self.bind(rename.rename.to_string(), prefix);
            }
            UseTree::Glob(_) => {
                self.module.paths.insert(prefix.clone());
                self.module.globs.push(prefix);
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.use_tree(tree, prefix.clone())),
        }
    }

    fn bind(&mut self, name: String, path: Path_) {
        self.module.paths.insert(path.clone());
        self.module.bindings.insert(name, path);
    }

    /// Paths in the arguments of a macro, which are not parsed: words joined by `::`.
    fn tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut colons): (Path_, usize) = (Vec::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(word) if colons == 2 && !path.is_empty() => path.push(word.to_string()),
                TokenTree::Ident(word) => {
                    self.end_of_path(&mut path);
                    path.push(word.to_string());
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.end_of_path(&mut path);
                    self.tokens(group.stream());
                }
                _ => self.end_of_path(&mut path),
            }
            colons = 0;
        }
        self.end_of_path(&mut path);
    }

    fn end_of_path(&mut self, path: &mut Path_) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.module.paths.insert(path);
        }
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            // A module of its own.
            Item::Mod(_) => return,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            Item::Macro(item) => &item.attrs,
            Item::Type(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if let ImplItem::Fn(function) = item
            && is_test(&function.attrs)
        {
            return;
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Path_ = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.module.paths.insert(words);
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}
