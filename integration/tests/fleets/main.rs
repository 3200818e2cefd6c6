//! Zones that come and go while everything runs.

mod catalogs;
#[path = "../common/mod.rs"]
mod common;
mod zone_files;
