//! Runs a command that may hang, fail, or say nonsense.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Most octets of each stream that are kept; the rest is read and dropped.
const MAX_OUTPUT: usize = 64 << 10;
/// How often the end of the command is looked for.
const TICK: Duration = Duration::from_millis(5);

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// It did not end in time, and was killed.
    #[error("{program} did not end within {seconds} s")]
    Hangs {
        /// The program.
        program: String,
        /// Its time.
        seconds: u64,
    },
    /// It was killed because the daemon stops.
    #[error("{program} was stopped")]
    Stopped {
        /// The program.
        program: String,
    },
    /// It ended with a failure.
    #[error("{program} ended with {status}: {said}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The first lines of what it said.
        said: String,
    },
    /// It ended well and says that it failed.
    #[error("{program} says: {said}")]
    Says {
        /// The program.
        program: String,
        /// The first lines of what it said.
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
        /// The system's word.
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
    /// Runs `words` (program, arguments) with `environment` added, and gives what it said on both streams. An exit status of 0
    /// with a word of failure in the text is a failure too: `rndc` has those.
    pub fn run(&self, words: &[String], environment: &[(&str, String)]) -> Result<String, CommandError> {
        let text = self.run_unjudged(words, environment)?;
        if tells_failure(&text, words) {
            let program = words.first().cloned().unwrap_or_default();
            return Err(CommandError::Says { program, said: shortened(&text) });
        }
        Ok(text)
    }

    /// The same, without a look at the words of what it said: for an answer that names what it likes, as `rndc status` does.
    pub fn run_unjudged(
        &self,
        words: &[String],
        environment: &[(&str, String)],
    ) -> Result<String, CommandError> {
        let (program, arguments) = words.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        let name = || program.to_owned();
        let mut command = Command::new(program);
        command.args(arguments).envs(environment.iter().map(|(k, v)| (*k, v.as_str())));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|source| CommandError::Start { program: name(), source })?;
        let streams = [child.stdout.take().map(reader), child.stderr.take().map(reader)];
        let started = Instant::now();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => {}
                Err(source) => {
                    kill(&mut child);
                    return Err(CommandError::Start { program: name(), source });
                }
            }
            if self.stop.load(Ordering::Relaxed) {
                kill(&mut child);
                return Err(CommandError::Stopped { program: name() });
            }
            if started.elapsed() >= self.timeout {
                kill(&mut child);
                return Err(CommandError::Hangs { program: name(), seconds: self.timeout.as_secs() });
            }
            thread::sleep(TICK);
        };
        // A child of the command may keep its streams open; what is there by then has to do.
        let text: String = streams
            .into_iter()
            .flatten()
            .filter_map(|stream| stream.recv_timeout(Duration::from_millis(500)).ok())
            .collect();
        if !status.success() {
            return Err(CommandError::Failed { program: name(), status, said: shortened(&text) });
        }
        Ok(text)
    }
}

/// Kills the whole group, so that a wrapper's children end too.
fn kill(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}

/// Reads a stream to its end in a thread, and keeps the beginning.
fn reader(mut stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            let room = MAX_OUTPUT - kept.len();
            kept.extend_from_slice(&buffer[..read.min(room)]);
        }
        // Nobody may wait for it any more.
        let _ = sender.send(String::from_utf8_lossy(&kept).into_owned());
    });
    receiver
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

/// The beginning of a text, in one line without control characters.
fn shortened(text: &str) -> String {
    let mut out: String =
        text.trim().chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if out.is_empty() {
        out.push_str("(nothing)");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, timeout: u64) -> Result<String, CommandError> {
        let runner = Runner { timeout: Duration::from_millis(timeout), stop: Arc::default() };
        runner.run(&["/bin/sh".into(), "-c".into(), script.into()], &[("WORD", "hello".into())])
    }

    #[test]
    fn what_it_says_comes_back() {
        assert_eq!(sh("echo $WORD; echo x >&2", 5000).unwrap(), "hello\nx\n");
        assert_eq!(sh("true", 5000).unwrap(), "");
    }

    #[test]
    fn each_way_to_fail() {
        assert!(
            matches!(sh("echo boo; exit 3", 5000), Err(CommandError::Failed { said, .. }) if said == "boo")
        );
        assert!(matches!(sh("kill -9 $$", 5000), Err(CommandError::Failed { .. })));
        for text in
            ["import failed: success", "zone does not have offline-ksk enabled", "rndc: connect failed"]
        {
            assert!(
                matches!(sh(&format!("echo '{text}'"), 5000), Err(CommandError::Says { said, .. }) if said == text)
            );
        }
        let runner = Runner { timeout: Duration::from_secs(5), stop: Arc::default() };
        assert!(matches!(runner.run(&["/nonexistent/rndc".into()], &[]), Err(CommandError::Start { .. })));
        assert!(matches!(runner.run(&[], &[]), Err(CommandError::Start { .. })));
    }

    #[test]
    fn names_of_zones_and_files_are_no_words_of_failure() {
        let words = |zone: &str| ["rndc", "skr", "-import", "/var/error/x", zone].map(str::to_owned);
        assert!(!tells_failure("loaded /var/error/x for Refused.example", &words("refused.example.")));
        assert!(tells_failure("refused.example: refused", &words("refused.example.")));
        assert!(tells_failure("import failed: success", &words("failed.")), "a word is no name");
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let started = Instant::now();
        assert!(matches!(sh("sleep 60 & sleep 60", 200), Err(CommandError::Hangs { .. })));
        let stop = Arc::new(AtomicBool::new(true));
        let runner = Runner { timeout: Duration::from_secs(60), stop };
        let words = ["/bin/sleep".to_owned(), "60".to_owned()];
        assert!(matches!(runner.run(&words, &[]), Err(CommandError::Stopped { .. })));
        // One that leaves a child with the streams behind.
        sh("sleep 5 & echo", 5000).unwrap();
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    }

    #[test]
    fn output_without_end_is_cut() {
        let text = sh("head -c 1000000 /dev/zero", 10_000).unwrap();
        assert_eq!(text.len(), MAX_OUTPUT);
        assert!(matches!(sh("yes", 300), Err(CommandError::Hangs { .. })));
    }

    /// All of it is read, so that the command can end, and 64 KiB are kept.
    #[test]
    fn a_gigabyte_of_output_costs_no_memory() {
        let text = sh("head -c 1000000000 /dev/zero; echo on the other stream >&2", 120_000).unwrap();
        assert_eq!(text.len(), MAX_OUTPUT + "on the other stream\n".len());
    }
}
