//! Signs a zone with its ZSKs, takes its apex key RRsets from the SKR bundle in force, and serves it through hickory-server.
//!
//! ```text
//! zone file ──zonefile──▶ Zone ──signing::sign(bundle, ZSKs)──▶ SignedZone (immutable) ──answer──▶ octets ──border──▶ hickory
//! ```
//!
//! **Invariant:** the engine (`zonefile`, `zone`, `signing`, `answer`) works on octets; no hickory type leaves [`border`].
//! **Invariant:** no code path here opens a KSK's private key.

pub mod answer;
pub mod border;
pub mod hosted;
pub mod reply;
pub mod runtime;
pub mod signing;
#[cfg(test)]
mod testing;
pub mod zone;
pub mod zonefile;

pub use border::server;
