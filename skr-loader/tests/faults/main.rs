//! The fault cases of an SKR on its way in: one test a row of the table in `docs/manual/faults.md`, named by row and check.
//!
//! Each drops the bad file beside a good generation in force and looks at all that must hold afterwards ([`bench::Bench::reject`]): the
//! generation in force is the old one, octet by octet; the file is in `rejected/` with a reason that names the check; the
//! counters moved; the loader takes the next good file.

#![allow(clippy::unwrap_used, reason = "tests")]

mod bench;
mod content;
mod folder;
mod kinds;
mod older;
mod process;
mod revocation;
mod same_verdict;
#[path = "../common/worst.rs"]
mod worst;
