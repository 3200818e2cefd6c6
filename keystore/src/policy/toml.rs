//! The policy as TOML, with the words of `dnssec-policy`.
//!
//! ```toml
//! [policy.common]
//! offline-ksk = true
//! dnskey-ttl = "1h"                   # ISO 8601, TTL text, or seconds
//! signatures-validity-dnskey = "P14D"
//! cds-digest-types = ["SHA-256"]
//! nsec3param = { optout = false, salt-length = 0 }
//! keys = [
//!   { role = "ksk", lifetime = "unlimited", algorithm = "ecdsap256sha256" },
//!   { role = "zsk", lifetime = "P6M", algorithm = 13, tag-range = [0, 32767] },
//! ]
//!
//! [key-store.hsm]
//! pkcs11-uri = "pkcs11:token=ksk"
//! ```
//! The same tables may stand in `offline-ksk.toml`, whose other keys are not looked at here.

use std::path::Path;

use super::Role;
use super::draft::{KEY_DIRECTORY, KeyDraft, Nsec3Draft, OPTIONS, PolicyDraft};
use super::finding::PolicyErrors;
use super::named_conf::{self, MAX_BLOCKS};
use super::set::{KeyStore, Policies};
use super::table::{Document, Table, Value};

/// Reads the policies and key stores of the TOML file at `path`, and of the `named.conf` that its key `named-conf` names.
pub fn load(path: &Path) -> Result<Policies, PolicyErrors> {
    read(Document::load(path)?)
}

/// Reads the octets of a TOML file; `path` is for the messages and for a relative `named-conf`.
pub fn parse(octets: &[u8], path: &Path) -> Result<Policies, PolicyErrors> {
    read(Document::from_octets(octets.to_vec(), path)?)
}

/// Keys of `offline-ksk.toml` that say nothing of policies.
const CONFIG_KEYS: [&str; 6] = ["state-dir", "zone", "loader", "ksr", "signer", "metrics"];

fn read(doc: Document) -> Result<Policies, PolicyErrors> {
    let policies = {
        let root = doc.parse()?;
        let mut top = Table::new(&doc, root.get_ref(), "", doc.place(0..0));
        for key in CONFIG_KEYS {
            top.get(key);
        }
        if let Some(value) = top.get("version") {
            version(&value);
        }
        let policies = policies(&mut top);
        top.finish();
        policies
    };
    match doc.into_findings() {
        Ok(_) => Ok(policies),
        Err(findings) => Err(PolicyErrors::Findings(findings)),
    }
}

/// `version = 1`, the only one so far.
pub(crate) fn version(value: &Value<'_, '_>) {
    if value.integer(0..=u32::MAX).is_some_and(|v| v != 1) {
        value.error("this program reads version 1");
    }
}

/// Reads `named-conf`, `[policy.*]` and `[key-store.*]`; what is wrong with the file is noted in its document, what is wrong
/// with one policy stays with it.
pub(crate) fn policies(top: &mut Table<'_, '_>) -> Policies {
    let mut all = Policies::default();
    if let Some(value) = top.get("named-conf")
        && let Some(path) = value.path()
    {
        match named_conf::load(&path) {
            Ok(found) => all = found,
            Err(PolicyErrors::Findings(findings)) => top.doc.note_all(findings),
            Err(other) => value.error(other.to_string()),
        }
    }
    let mut stores = Vec::new();
    for (name, value) in entries(top, "key-store") {
        let Some(mut table) = value.table() else { continue };
        if name == KEY_DIRECTORY || all.key_store(name).is_some() {
            table.error("this name is taken");
        }
        let directory = table.get("directory").and_then(|v| v.path());
        let pkcs11_uri = table.get("pkcs11-uri").and_then(|v| v.string().map(str::to_owned));
        table.finish();
        stores.push(KeyStore { name: name.to_owned(), directory, pkcs11_uri });
    }
    let mut drafts = Vec::new();
    for (name, value) in entries(top, "policy") {
        let Some(table) = value.table() else { continue };
        if all.names().any(|n| n == name) {
            table.error("the named.conf already defines a policy of this name; keep one of them");
        }
        drafts.push(policy(name, table));
    }
    match Policies::build(drafts, stores, Vec::new()) {
        Ok(inline) => all.merge(inline),
        // Cannot be: nothing was found in the file as a whole.
        Err(PolicyErrors::Findings(findings)) => top.doc.note_all(findings),
        Err(_) => {}
    }
    all
}

/// The named tables below `key`.
fn entries<'a, 'i>(top: &mut Table<'a, 'i>, key: &'static str) -> Vec<(&'a str, Value<'a, 'i>)> {
    let Some(value) = top.get(key) else { return Vec::new() };
    let mut entries = value.table().map(|t| t.entries()).unwrap_or_default();
    if entries.len() > MAX_BLOCKS {
        value.error(format!("more than {MAX_BLOCKS} tables"));
        entries.clear();
    }
    entries
}

fn policy(name: &str, mut table: Table<'_, '_>) -> PolicyDraft {
    let mut draft = PolicyDraft::new(name, table.at.clone());
    for option in OPTIONS {
        let Some(value) = table.get(option) else { continue };
        draft.give(option, &value.at);
        if let Some(field) = draft.duration_mut(option) {
            *field = value.duration().unwrap_or(*field);
        } else if let Some(field) = draft.bool_mut(option) {
            *field = value.boolean().unwrap_or(*field);
        } else {
            match option {
                "keys" => draft.keys = value.array().map(|keys| keys.iter().filter_map(key).collect()),
                "cds-digest-types" => {
                    draft.digests = value.array().map(|d| d.iter().filter_map(digest).collect());
                }
                _ => draft.nsec3 = nsec3param(&value),
            }
        }
    }
    table.finish();
    draft
}

fn key(value: &Value<'_, '_>) -> Option<KeyDraft> {
    let mut table = value.table()?;
    let role = table.require("role", "\"zsk\"").and_then(|v| match v.string()? {
        "ksk" => Some(Role::Ksk),
        "zsk" => Some(Role::Zsk),
        "csk" => Some(Role::Csk),
        _ => {
            v.error("must be \"ksk\", \"zsk\" or \"csk\", in lower case");
            None
        }
    });
    let lifetime = table.require("lifetime", "\"P6M\"").and_then(|v| {
        let unlimited = v.is_string() && v.string() == Some("unlimited");
        if unlimited { Some(0) } else { v.duration() }
    });
    let algorithm = table.require("algorithm", "\"ecdsap256sha256\"").and_then(text_or_number);
    let bits = table.get("bits").and_then(|v| v.integer(0..=u32::MAX));
    let tag_range = table.get("tag-range").and_then(|v| match v.array()?.as_slice() {
        [min, max] => Some((min.integer(0..=u32::MAX)?, max.integer(0..=u32::MAX)?)),
        _ => {
            v.error("expected two numbers, [MIN, MAX]");
            None
        }
    });
    let key_store = table.get("key-store").and_then(|v| v.string());
    let key_store = key_store.filter(|s| *s != KEY_DIRECTORY).map(str::to_owned);
    let at = table.at.clone();
    table.finish();
    Some(KeyDraft { role: role?, key_store, lifetime: lifetime?, algorithm: algorithm?, tag_range, bits, at })
}

fn digest(value: &Value<'_, '_>) -> Option<(String, super::finding::Place)> {
    let at = value.at.clone();
    let text =
        if value.is_string() { value.string()?.to_owned() } else { value.integer(0..=255)?.to_string() };
    Some((text, at))
}

fn text_or_number(value: Value<'_, '_>) -> Option<String> {
    if value.is_string() {
        value.string().map(str::to_owned)
    } else {
        value.integer(0..=255).map(|n| n.to_string())
    }
}

fn nsec3param(value: &Value<'_, '_>) -> Option<Nsec3Draft> {
    let mut table = value.table()?;
    let mut number = |key| table.get(key).and_then(|v| v.integer(0..=u32::MAX)).unwrap_or(0);
    let (iterations, salt_length) = (number("iterations"), number("salt-length"));
    let opt_out = table.get("optout").and_then(|v| v.boolean()).unwrap_or(false);
    let at = table.at.clone();
    table.finish();
    Some(Nsec3Draft { iterations, opt_out, salt_length, at })
}
