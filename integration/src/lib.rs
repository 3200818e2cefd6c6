//! The parts of the `offline-ksk` binary: wiring of the crates into one process, the demo, the command line.

pub mod validator;
