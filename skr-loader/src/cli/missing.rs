//! An option that a command cannot do without, as what its files hold shows: a wrong command line, like the options that are always needed.

/// Exit code of a wrong command line.
pub const EXIT_USAGE: u8 = 2;

/// The option that is missing, and why it is needed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MissingOption(pub String);

/// The exit code of a command that has failed with `error`.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<MissingOption>() { EXIT_USAGE } else { 1 }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn kind_110_an_option_that_the_files_make_necessary_is_a_wrong_command_line() {
        let missing = || Err::<(), _>(MissingOption("say --zone".to_owned()));
        for (error, code) in [
            (missing().map_err(anyhow::Error::from), 2),
            (missing().context("keys/"), 2),
            (Err(anyhow!("say --zone")), 1),
        ] {
            assert_eq!(exit_code(&error.expect_err("an error")), code);
        }
    }
}
