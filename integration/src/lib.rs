//! The parts of the `offline-ksk` binary: wiring of the crates into one process, the demo, the command line.

#[macro_use]
mod output;
pub mod alert_test;
mod catalogs;
pub mod cli;
pub mod clock_watch;
pub mod convert;
mod daemon;
pub mod demo;
pub mod http_client;
pub mod inspect;
mod locale;
pub mod pair;
pub mod probe;
pub mod prove;
pub mod replace_zsk;
pub mod reports;
pub mod requests;
pub mod serve;
pub mod sign_zone;
pub mod signal;
mod timer;
pub mod validator;
pub mod verify_zone;
pub mod zone_files;
