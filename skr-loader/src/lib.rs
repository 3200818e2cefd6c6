//! Checks dropped SKR files and keeps the accepted ones.
//!
//! ```text
//! inbox ─files::read─▶ octets ──┐
//!   └ ignored, waiting          ├─ judge::judge ─▶ Verdict ─Loader::carry_out─▶ accepted/ZONE/N.skr + current
//! Evidence::gather ─▶ evidence ─┘                                          └─▶ rejected/FILE + FILE.reason
//! ```
//!
//! **Invariant:** a file is read once, and judged on the very octets that were read.
//! **Invariant:** only what [`judge::judge`] accepts is committed, for a dropped file, an order by hand and a rollback alike. A person may
//! overrule some checks of [`accept`], never a signature or a trust anchor.
//! **Invariant:** the last accepted generation stays in force until the next one is whole on disk.
//! **Invariant:** nothing here serves or changes a zone.

pub mod accept;
pub mod ask;
pub mod audit;
pub mod checks;
#[doc(hidden)]
pub mod cli;
pub mod control;
pub mod deliver;
#[doc(hidden)]
pub mod files;
mod folder_events;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod inbox;
pub mod judge;
pub mod loader;
pub mod operator;
pub mod order;
pub mod parent;
mod parent_watch;
#[doc(hidden)]
pub mod preflight;
#[doc(hidden)]
pub mod probe;
mod rejected;
mod report;
#[doc(hidden)]
pub mod service;
#[doc(hidden)]
pub mod signaling;
#[doc(hidden)]
pub mod standing;
pub mod store;
#[cfg(test)]
mod testing;
#[doc(hidden)]
pub mod user;
#[doc(hidden)]
pub mod watching;
#[doc(hidden)]
pub mod zone_folder;

pub use loader::Loader;
