//! The binary `ksr-gen`: see [`offline_ksk_ksr_gen::cli`].

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use offline_ksk_ksr_gen::cli::{self, Env};

mod pin_prompt;

fn main() -> ExitCode {
    if let Some(code) = keystore::crypto::pkcs11::module_process() {
        return code;
    }
    if let Err(error) = keystore::dumps::forbid() {
        eprintln!(
            "ksr-gen: warning: core dumps of this process, which may hold a private key, stay on: {error}"
        );
    }
    keystore::crypto::pkcs11::set_prompt(pin_prompt::ask, pin_prompt::tell_of_keypad);
    let stderr = io::stderr();
    let terminal = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut env = Env {
        now: keystore::clock::now(),
        stdin: &mut io::stdin(),
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
        terminal,
        interactive: io::stdin().is_terminal() && stderr.is_terminal(),
    };
    ExitCode::from(cli::run(std::env::args_os(), &mut env))
}
