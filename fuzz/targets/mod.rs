//! The targets: what is read, and what must hold whatever is read.
//!
//! Each is called by the fuzzer (`fuzz_targets/NAME.rs`) with what it makes up, and by the test program `fuzz_replay` of the workspace
//! with what lies in `corpus/NAME`.

mod answers;
mod changes;
mod dns;
mod exchange;
mod files;
mod network;
mod seeds;

pub use seeds::seeds;

/// A target and its name, which is that of its program and of its corpus. It panics when something does not hold, and returns whether its
/// input was read to the end, so that a test can tell a target that reaches what it is for from one that does not.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// Octets that a target may hold at once beside [`FACTOR`] for each octet of its input: what is made once (signed zones) is in it.
const ROOM: usize = 8 << 20;
/// Octets that a target may hold for each octet of its input.
const FACTOR: usize = 512;

/// Octets that a target may hold at once for an input of this length.
pub const fn memory_limit(input: usize) -> usize {
    ROOM + FACTOR * input
}

/// All of them.
pub const TARGETS: &[Target] = &[
    ("accepted_skr", exchange::accepted_skr),
    ("anchors", exchange::anchors),
    ("bind_text", exchange::bind_text),
    ("cms", files::cms),
    ("control", network::control),
    ("dns_reply", network::dns_reply),
    ("http", network::http),
    ("incoming_transfer", changes::incoming_transfer),
    ("key_files", files::key_files),
    ("knot_text", exchange::knot_text),
    ("name", dns::name),
    ("named_conf", files::named_conf),
    ("query", answers::query),
    ("rdata_wire", dns::rdata_wire),
    ("record_text", dns::record_text),
    ("root_xml", exchange::root_xml),
    ("state_files", files::state_files),
    ("times", dns::times),
    ("token_messages", network::token_messages),
    ("token_uri", network::token_uri),
    ("toml_files", files::toml_files),
    ("transfer", network::transfer),
    ("transfer_query", network::transfer_query),
    ("update", changes::update),
    ("web_config", network::web_config),
    ("zone_content", changes::zone_content),
    ("zone_differences", changes::zone_differences),
    ("zone_file", files::zone_file),
    ("zone_state", files::zone_state),
];
