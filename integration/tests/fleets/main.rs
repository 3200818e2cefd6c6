//! Zones that come and go while everything runs.

#[path = "../common/mod.rs"]
mod common;
mod zone_files;
