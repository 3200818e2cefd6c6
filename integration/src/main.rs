//! The `offline-ksk` binary: see [`integration::cli`].

fn main() -> std::process::ExitCode {
    integration::cli::main()
}
