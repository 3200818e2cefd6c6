//! The command blocks of a page of the manual, by section and server.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::site::Server;

/// The section whose blocks come before those of each procedure.
const COMMANDS: (&str, &str) = ("rollovers.md", "The commands");

/// Between the blocks of a procedure, where a person reads on; whatever was loaded is at the server then.
const PAUSE: &str = "sleep 3\n";

/// A fenced block of commands: ```` ```sh ```` for every server, ```` ```sh named knot ```` for those that are named.
pub struct Block {
    pub section: String,
    servers: Vec<String>,
    pub text: String,
}

impl Block {
    fn is_for(&self, server: Server) -> bool {
        self.servers.is_empty() || self.servers.iter().any(|name| name == server.name())
    }
}

/// The blocks of a page in `docs/manual`, in its order.
pub fn blocks(page: &str) -> Vec<Block> {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("docs/manual");
    let text = fs::read_to_string(manual.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
    let (mut section, mut blocks) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut section);
        }
        let Some(info) = line.strip_prefix("```") else { continue };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let mut words = info.split_whitespace().map(str::to_owned);
        if words.next().as_deref() == Some("sh") {
            let text = body.join("\n") + "\n";
            blocks.push(Block { section: section.clone(), servers: words.collect(), text });
        }
    }
    blocks
}

/// The sections of a page that have commands for `server`, but for those that all sections share.
pub fn sections(page: &str, server: Server) -> BTreeSet<String> {
    let blocks = blocks(page).into_iter().filter(|block| (page, block.section.as_str()) != COMMANDS);
    blocks.filter(|block| block.is_for(server)).map(|block| block.section).collect()
}

/// The commands of a section for `server` behind those that the page has for all sections, with the values that the reader sets replaced
/// by those of `values`: each of them must be set on the page.
pub fn script(page: &str, section: &str, server: Server, values: &[(&str, String)]) -> String {
    let of = |page: &str, section: &str, pause: &str| -> String {
        let blocks = blocks(page);
        let own = blocks.iter().filter(|block| block.section == section && block.is_for(server));
        own.map(|block| block.text.as_str()).collect::<Vec<_>>().join(pause)
    };
    let own = of(page, section, PAUSE);
    assert!(!own.is_empty(), "{page} has no commands for {server:?} in {section:?}");
    let mut script = if (page, section) == COMMANDS { own } else { of(COMMANDS.0, COMMANDS.1, "") + &own };
    for (name, value) in values {
        script = set(&script, name, value);
    }
    script
}

/// Only the blocks that stand before those of each procedure.
pub fn preamble(server: Server, values: &[(&str, String)]) -> String {
    let own = values.iter().filter(|(name, _)| *name != "FROM").cloned().collect::<Vec<_>>();
    script(COMMANDS.0, COMMANDS.1, server, &own)
}

/// Replaces the first line that sets the variable `name`.
pub fn set(script: &str, name: &str, value: &str) -> String {
    let begin = format!("{name}=");
    let line = script.lines().find(|line| line.starts_with(&begin));
    let line = line.unwrap_or_else(|| panic!("the page does not set {name}"));
    script.replacen(line, &format!("{name}={value}"), 1)
}
