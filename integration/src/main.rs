//! The `offline-ksk` binary: see [`offline_ksk_integration::cli`].

fn main() -> std::process::ExitCode {
    offline_ksk_integration::cli::main()
}
