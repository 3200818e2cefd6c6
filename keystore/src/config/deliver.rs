//! `[deliver]`: the servers that accepted generations are handed to.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::known::KnownZones;
use crate::dns::Name;
use crate::policy::table::{Table, Value};

/// One server (a view of it), or one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    /// `name`: in logs, in the label `target`, and the name of its state folder. Unique.
    pub name: String,
    /// `zones`; `None` = every configured zone.
    pub zones: Option<Vec<Name>>,
    /// `timeout`: seconds that one command may take.
    pub timeout: u32,
    /// `address`: where the server is asked over DNS what it serves. `None` = it is not asked.
    pub address: Option<SocketAddr>,
    /// `source`: the address that it is asked from, where views are told apart by it.
    pub source: Option<IpAddr>,
    /// How the generation gets there.
    pub method: Method,
}

/// How a generation gets to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// `[[deliver.named]]`: a file and `rndc skr -import`.
    Named {
        /// `rndc`: the command and its first arguments.
        rndc: Vec<String>,
        /// The view of the zone at named (`view`).
        view: Option<String>,
        /// `folder`: where named can read the file.
        folder: PathBuf,
    },
    /// `[[deliver.knot]]`: a file, `keymgr ZONE import-skr` and `knotc zone-keys-load`.
    Knot {
        /// `keymgr`: the command and its first arguments.
        keymgr: Vec<String>,
        /// `knotc`: the command and its first arguments.
        knotc: Vec<String>,
        /// `folder`: where the file is put.
        folder: PathBuf,
    },
    /// `[[deliver.hook]]`: a command of the operator's.
    Hook {
        /// `command`, with its arguments.
        command: Vec<String>,
    },
}

impl Method {
    /// `named`, `knot` or `hook`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Named { .. } => ServerKind::Named,
            Self::Knot { .. } => ServerKind::Knot,
            Self::Hook { .. } => ServerKind::Hook,
        }
        .key()
    }
}

/// The kinds of servers, each a list of tables below `[deliver]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerKind {
    Named,
    Knot,
    Hook,
}

impl ServerKind {
    const ALL: [Self; 3] = [Self::Named, Self::Knot, Self::Hook];

    const fn key(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Knot => "knot",
            Self::Hook => "hook",
        }
    }
}

/// Reads `[deliver]`; `None` when anything in it is wrong.
pub(super) fn read(value: &Value<'_, '_>, known: &KnownZones<'_>) -> Option<Vec<TargetConfig>> {
    let mut table = value.table()?;
    let mut targets = Vec::new();
    let mut whole = true;
    let mut seen = HashMap::new();
    for kind in ServerKind::ALL {
        let Some(list) = table.get(kind.key()) else { continue };
        let Some(list) = list.array() else {
            whole = false;
            continue;
        };
        for value in &list {
            match value.table().and_then(|table| target(kind, table, known, &mut seen)) {
                Some(target) => targets.push(target),
                None => whole = false,
            }
        }
    }
    table.finish();
    whole.then_some(targets)
}

fn target(
    kind: ServerKind,
    mut table: Table<'_, '_>,
    known: &KnownZones<'_>,
    seen: &mut HashMap<String, u32>,
) -> Option<TargetConfig> {
    let name = table.require("name", "\"ns1\"").and_then(|value| {
        let name = value.string()?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(plain) || name.starts_with('-') {
            value.error("must be 1 to 32 of a-z, 0-9, - and _, and not begin with -");
            return None;
        }
        if let Some(line) = seen.insert(name.to_owned(), value.at.line) {
            value.error(format!("there is a target of this name in line {line} already"));
            return None;
        }
        Some(name.to_owned())
    });
    let only = table.get("zones").map(|value| only(&value, known));
    let timeout = table.get("timeout").map_or(Some(10), |value| {
        let timeout = value.duration()?;
        if !(1..=600).contains(&timeout) {
            value.error("must be from 1 second to 10 minutes");
            return None;
        }
        Some(timeout)
    });
    let address = if kind == ServerKind::Named {
        table.require("address", "\"127.0.0.1:53\"")
    } else {
        table.get("address")
    };
    let address = address.map(|value| match value.string()?.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => Some(address),
        _ => {
            value.error("must be an IP address and a port that can be asked, like 127.0.0.1:53 or [::1]:53");
            None
        }
    });
    let source = table.get("source").map(|value| match value.string()?.parse::<IpAddr>() {
        Ok(source) => Some(source),
        Err(_) => {
            value.error("must be an IP address");
            None
        }
    });
    let method = match kind {
        ServerKind::Named => named(&mut table),
        ServerKind::Knot => knot(&mut table),
        ServerKind::Hook => table
            .require("command", "[\"/usr/local/sbin/push-skr\"]")
            .and_then(|v| words(&v))
            .map(|command| Method::Hook { command }),
    };
    table.finish();
    let address = transposed(address)?;
    let source = transposed(source)?;
    Some(TargetConfig {
        name: name?,
        zones: transposed(only)?,
        timeout: timeout?,
        address,
        source,
        method: method?,
    })
}

fn named(table: &mut Table<'_, '_>) -> Option<Method> {
    let rndc = command(table, "rndc", "rndc");
    let view = table.get("view").map(|value| {
        let view = value.string()?;
        if !view.is_empty() && view.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Some(view.to_owned());
        }
        value.error("must be the name of a view: letters, digits, - _ .");
        None
    });
    let folder = folder(table, "\"/var/cache/bind/skr\"");
    Some(Method::Named { rndc: rndc?, view: transposed(view)?, folder: folder? })
}

fn knot(table: &mut Table<'_, '_>) -> Option<Method> {
    let keymgr = command(table, "keymgr", "keymgr");
    let knotc = command(table, "knotc", "knotc");
    let folder = folder(table, "\"/var/lib/knot/skr\"");
    Some(Method::Knot { keymgr: keymgr?, knotc: knotc?, folder: folder? })
}

fn folder(table: &mut Table<'_, '_>, example: &str) -> Option<PathBuf> {
    let value = table.require("folder", example)?;
    let folder = value.path()?;
    // rndc joins its arguments with blanks, and named takes them apart again.
    let plain = |b: &u8| b.is_ascii_graphic() && !b"\"'();\\".contains(b);
    if folder.to_str().is_some_and(|text| text.as_bytes().iter().all(plain)) {
        return Some(folder);
    }
    value.error("must be a path without blanks, quotes, brackets, semicolons and backslashes, else rndc cannot name it");
    None
}

/// A command with arguments, by default `default`.
fn command(table: &mut Table<'_, '_>, key: &'static str, default: &str) -> Option<Vec<String>> {
    table.get(key).map_or_else(|| Some(vec![default.to_owned()]), |value| words(&value))
}

pub(super) fn words(value: &Value<'_, '_>) -> Option<Vec<String>> {
    let values = value.array()?;
    let words: Option<Vec<String>> = values.iter().map(|v| v.string().map(str::to_owned)).collect();
    let words = words?;
    if words.first().is_none_or(String::is_empty) || words.iter().any(|word| word.contains('\0')) {
        value.error("must name a program, then its arguments: [\"rndc\", \"-c\", \"/etc/bind/rndc.conf\"]");
        return None;
    }
    Some(words)
}

/// `zones`: each must be configured.
fn only(value: &Value<'_, '_>, known: &KnownZones<'_>) -> Option<Vec<Name>> {
    let values = value.array()?;
    if values.is_empty() {
        value.error("names no zone; leave it out for all zones");
        return None;
    }
    let mut names = Vec::new();
    let mut whole = true;
    for value in &values {
        match super::name::read(value) {
            Some(name) if known.allow(&name, value) => names.push(name),
            Some(_) | None => whole = false,
        }
    }
    whole.then_some(names)
}

fn transposed<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        None => Some(None),
        Some(part) => part.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigErrors};
    use std::path::Path;

    const EXAMPLE: &str = include_str!("../../../docs/offline-ksk.example.toml");

    fn parse(deliver: &str) -> Result<Vec<TargetConfig>, String> {
        let text = format!("{}\n{deliver}", EXAMPLE.split("\n[deliver").next().unwrap());
        match Config::parse(text.as_bytes(), Path::new("/etc/x/c.toml")) {
            Ok(config) => Ok(config.deliver),
            Err(ConfigErrors::Findings(findings)) => Err(findings[0].what.clone()),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn each_kind_reads() {
        let text = "[[deliver.named]]\nname = \"ns1\"\naddress = \"127.0.0.1:53\"\nfolder = \"/var/cache/bind/skr\"\n\
            [[deliver.named]]\nname = \"ns2\"\nrndc = [\"rndc\", \"-s\", \"ns2\"]\nview = \"internal\"\naddress = \"[::1]:53\"\nsource = \"::1\"\n\
            folder = \"skr\"\nzones = [\"EXAMPLE.com\"]\ntimeout = \"3s\"\n\
            [[deliver.knot]]\nname = \"k\"\nfolder = \"/k\"\n[[deliver.hook]]\nname = \"h\"\ncommand = [\"/bin/push\", \"x\"]\n";
        let targets = parse(text).unwrap();
        let kinds: Vec<_> = targets.iter().map(|t| (t.name.as_str(), t.method.kind(), t.timeout)).collect();
        assert_eq!(kinds, [("ns1", "named", 10), ("ns2", "named", 3), ("k", "knot", 10), ("h", "hook", 10)]);
        let Method::Named { rndc, view, folder } = &targets[1].method else { panic!() };
        assert_eq!((rndc.len(), view.as_deref()), (3, Some("internal")));
        assert_eq!(folder, Path::new("/etc/x/skr"));
        assert_eq!(targets[1].zones.as_ref().unwrap()[0], Name::parse("example.com").unwrap());
        assert_eq!(targets[0].zones, None);
        assert_eq!(targets[3].method, Method::Hook { command: vec!["/bin/push".into(), "x".into()] });
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn each_mistake_is_told() {
        let good = "[[deliver.named]]\nname = \"ns1\"\naddress = \"127.0.0.1:53\"\nfolder = \"/skr\"\n";
        for (from, to, expected) in [
            ("name = \"ns1\"\n", "", "deliver.named[1]: name is missing"),
            ("\"ns1\"", "\"NS 1\"", "deliver.named[1].name: must be 1 to 32 of"),
            ("address = \"127.0.0.1:53\"\n", "", "deliver.named[1]: address is missing"),
            (
                "127.0.0.1:53",
                "0.0.0.0:53",
                "deliver.named[1].address: must be an IP address and a port that can",
            ),
            (
                "127.0.0.1:53",
                "127.0.0.1",
                "deliver.named[1].address: must be an IP address and a port that can",
            ),
            ("\"/skr\"", "\"/a b\"", "deliver.named[1].folder: must be a path without blanks"),
            ("folder = \"/skr\"\n", "", "deliver.named[1]: folder is missing"),
            ("folder", "rndc = []\nfolder", "deliver.named[1].rndc: must name a program"),
            ("folder", "view = \"a b\"\nfolder", "deliver.named[1].view: must be the name of a view"),
            ("folder", "zones = [\"other.\"]\nfolder", "deliver.named[1].zones[1]: other. is no [[zone]]"),
            ("folder", "zones = []\nfolder", "deliver.named[1].zones: names no zone"),
            ("folder", "source = \"x\"\nfolder", "deliver.named[1].source: must be an IP address"),
            ("folder", "timeout = 0\nfolder", "deliver.named[1].timeout: must be from 1 second"),
            ("folder", "command = [\"x\"]\nfolder", "deliver.named[1]: unknown key 'command'"),
            ("deliver.named", "deliver.nsd", "deliver: unknown key 'nsd'"),
        ] {
            let text = good.replacen(from, to, 1);
            let found = parse(&text).expect_err(&text);
            assert!(found.starts_with(expected), "{text}\n{found}");
        }
        let twice = parse(&good.repeat(2)).unwrap_err();
        assert!(twice.contains("there is a target of this name in line"), "{twice}");
    }
}
