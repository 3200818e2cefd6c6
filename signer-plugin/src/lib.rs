//! Signs a zone with its ZSKs, takes its apex key RRsets from the SKR bundle in force, and serves it through hickory-server.
//!
//! ```text
//! zone file ──zonefile──▶ Zone ──signing::sign(bundle, ZSKs)──▶ SignedZone (immutable) ──answer──▶ octets ──border──▶ hickory
//! ```
//!
//! [`runtime`] does that again whenever a bundle, a ZSK, the zone file or the time asks for it. The modules that this page does not list
//! are for the sister crates and may change in any version. A host that serves:
//!
//! ```no_run
//! use std::{path::Path, sync::Arc};
//! use hickory_server::zone_handler::Catalog;
//! use offline_ksk_signer::{border::SignerHandler, runtime::Signer, server::{Listen, Server}};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let config = keystore::config::Config::load(Path::new("/etc/offline-ksk/offline-ksk.toml"))?;
//! let signer = Signer::start(&config, &metrics::Metrics::new()?, Arc::new(keystore::clock::now))?;
//! // Names outside of our zones are the Catalog's.
//! let handler = SignerHandler::new(signer.hosted(), Catalog::new());
//! let server = Server::start(&Listen::on(vec!["[::1]:5300".parse()?]), &handler)?;
//! println!("serving on {:?}", server.addresses());
//! # Ok(()) }
//! ```
//!
//! **Invariant:** the engine (`zonefile`, `zone`, `signing`, `protocol`, `answer`) works on octets; no hickory type leaves [`border`].
//! **Invariant:** no code path here opens a KSK's private key.

#[doc(hidden)]
pub mod answer;
mod blocks;
pub mod border;
mod clock;
#[doc(hidden)]
pub mod content;
mod difference;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod hosted;
pub mod incoming;
mod index;
pub mod protocol;
#[doc(hidden)]
pub mod reply;
pub mod rules;
pub mod runtime;
mod seldom;
#[doc(hidden)]
pub mod signing;
mod sorted;
mod state;
#[cfg(test)]
mod testing;
pub mod transfer;
#[doc(hidden)]
pub mod update;
#[doc(hidden)]
pub mod verify;
#[doc(hidden)]
pub mod zone;
#[doc(hidden)]
pub mod zonefile;

pub use border::server;
