//! Names, RRsets, keys, policy, and the KSR and SKR of a zone whose KSK is offline.
//!
//! The crate starts no task, opens no socket and reads no clock: time is an argument, and
//! [`clock`] is the one module of the workspace that asks the system for it (for the binaries).
//!
//! Words: a *bundle* is the apex DNSKEY, CDS and CDNSKEY RRsets with their KSK signatures, in force
//! from its inception until the inception of the next bundle; a *schedule* is the ordered bundles of
//! one SKR; a *generation* is the number of an accepted SKR.

pub mod catalog;
pub mod check;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod command;
pub mod config;
pub mod cookie_secrets;
pub mod crypto;
pub mod dns;
#[doc(hidden)]
pub mod dumps;
#[doc(hidden)]
pub mod durable;
pub mod exchange;
pub mod keys;
#[doc(hidden)]
pub mod lock;
#[doc(hidden)]
pub mod open;
#[doc(hidden)]
pub mod outbox;
#[doc(hidden)]
pub mod output;
pub mod pair;
#[doc(hidden)]
pub mod pgp_words;
pub mod policy;
#[doc(hidden)]
pub mod removal_limit;
#[doc(hidden)]
pub mod retry;
pub mod shared;
#[doc(hidden)]
pub mod store;
pub mod time;
pub mod tsig;
