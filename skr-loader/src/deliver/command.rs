//! Runs the commands of a server: a failure is an exit status, or a word in what the command prints.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use keystore::command::{Invocation, RunError, shortened};

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It did not run to a good end.
    #[error(transparent)]
    Run(#[from] RunError),
    /// It ended well and says that it failed.
    #[error("{program} says: {said}")]
    Says {
        /// The program.
        program: String,
        /// The beginning of what it printed.
        said: String,
    },
    /// It is not run, since what would come of it is known.
    #[error("held back: {what}")]
    Held {
        /// Why, and what to do.
        what: String,
    },
    /// The file for it cannot be written.
    #[error("{path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Error of the system call that failed.
        source: std::io::Error,
    },
}

/// Runs commands, each in a process group of its own that is killed after `timeout`, or when `stop` is set.
#[derive(Debug, Clone)]
pub struct Runner {
    /// How long one command may take.
    pub timeout: Duration,
    /// Set when the daemon stops.
    pub stop: Arc<AtomicBool>,
}

impl Runner {
    /// Runs `words` (program, arguments) with `environment` added, and returns what it printed. An exit status of 0 with a word
    /// of failure in the text is a failure too: `rndc` has those.
    pub fn run(&self, words: &[String], environment: &[(&str, String)]) -> Result<String, CommandError> {
        let text = self.run_unjudged(words, environment)?;
        if tells_failure(&text, words) {
            let program = words.first().cloned().unwrap_or_default();
            return Err(CommandError::Says { program, said: shortened(&text) });
        }
        Ok(text)
    }

    /// The same, without a look at the words of what it printed: for an answer that names what it likes, as `rndc status` does.
    pub fn run_unjudged(
        &self,
        words: &[String],
        environment: &[(&str, String)],
    ) -> Result<String, CommandError> {
        let (timeout, stop) = (self.timeout, Some(&*self.stop));
        Ok(Invocation { words, environment, input: None, timeout, stop }.run()?)
    }
}

/// True when the text has a word of failure that is not of `words`: a zone may be called `refused.example`.
fn tells_failure(text: &str, words: &[String]) -> bool {
    let mut text = text.to_ascii_lowercase();
    for word in words.iter().skip(1).filter(|word| word.trim_end_matches('.').contains(['.', '/'])) {
        text = text.replace(word.trim_end_matches('.').to_ascii_lowercase().as_str(), "");
    }
    ["failed", "failure", "error", "does not have", "not found", "refused"]
        .iter()
        .any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_of_failure_with_exit_status_0_is_a_failure() {
        let runner = Runner { timeout: Duration::from_secs(30), stop: Arc::default() };
        let sh = |text: &str| {
            let words = ["/bin/sh".to_owned(), "-c".to_owned(), format!("echo '{text}'")];
            (runner.run(&words, &[]), runner.run_unjudged(&words, &[]))
        };
        for text in
            ["import failed: success", "zone does not have offline-ksk enabled", "rndc: connect failed"]
        {
            let (judged, unjudged) = sh(text);
            assert!(matches!(judged, Err(CommandError::Says { said, .. }) if said == text), "{text}");
            assert_eq!(unjudged.expect(text).trim(), text);
        }
        assert_eq!(sh("zone reload queued").0.expect("good").trim(), "zone reload queued");
        let missing = ["/nonexistent/rndc".to_owned()];
        assert!(matches!(runner.run(&missing, &[]), Err(CommandError::Run(RunError::Start { .. }))));
    }

    #[test]
    fn names_of_zones_and_files_are_no_words_of_failure() {
        let words = |zone: &str| ["rndc", "skr", "-import", "/var/error/x", zone].map(str::to_owned);
        assert!(!tells_failure("loaded /var/error/x for Refused.example", &words("refused.example.")));
        assert!(tells_failure("refused.example: refused", &words("refused.example.")));
        assert!(tells_failure("import failed: success", &words("failed.")), "a word is no name");
    }
}
