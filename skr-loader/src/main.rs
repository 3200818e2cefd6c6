//! The command `skr-loader`.

use std::process::ExitCode;

fn main() -> ExitCode {
    offline_ksk_skr_loader::cli::main()
}
