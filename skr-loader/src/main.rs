//! The command `skr-loader`.

use std::process::ExitCode;

fn main() -> ExitCode {
    skr_loader::cli::main()
}
