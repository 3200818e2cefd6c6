//! Runs a command of somebody else, which may hang, fail, or print without end: bounded in time and output, with neither a
//! shell nor a thread.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Most octets of its output that are kept; the rest is read and dropped.
const MAX_OUTPUT: usize = 64 << 10;
/// How often the end of the command is looked for when it prints nothing.
const TICK: Duration = Duration::from_millis(5);
/// How long a process that the command has left behind is listened to.
const LEFTOVER_OUTPUT: Duration = Duration::from_millis(500);

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The command cannot be started, or its input cannot be opened.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// It did not end in time, and was killed.
    #[error("{program} did not end within {seconds} s, and was killed")]
    TimedOut {
        /// The program.
        program: String,
        /// The time that it had.
        seconds: u64,
    },
    /// It was killed because its caller stops.
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
        /// The beginning of its output, as [`shortened`] gives it.
        said: String,
    },
}

/// A command with its limits. It runs in a process group of its own, which is killed as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Invocation<'a> {
    /// The program and its arguments.
    pub words: &'a [String],
    /// Variables that are added to the environment of this process.
    pub environment: &'a [(&'a str, String)],
    /// File for the standard input; `None` = empty.
    pub input: Option<&'a Path>,
    /// How long the command may take.
    pub timeout: Duration,
    /// The command is killed when this is set; `None` = only the timeout ends it.
    pub stop: Option<&'a AtomicBool>,
}

/// The error of a program that could not be started. Of one that is there, "No such file" is said of what its first line names.
fn with_place(program: &str, error: io::Error) -> io::Error {
    let is_there = program.contains('/') && Path::new(program).exists();
    match error.kind() {
        io::ErrorKind::NotFound if is_there => io::Error::new(
            io::ErrorKind::NotFound,
            "the file is there, and the interpreter that its first line names, or the loader that it needs, is not",
        ),
        _ => error,
    }
}

impl Invocation<'_> {
    /// Runs the command to its end and returns what it printed on both streams, at most 64 KiB. An exit status other than 0 is
    /// an error.
    pub fn run(&self) -> Result<String, RunError> {
        let (program, arguments) = self.words.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        let failed =
            |source| RunError::Start { program: program.to_owned(), source: with_place(program, source) };
        let (mut child, mut output) = self.start(program, arguments).map_err(failed)?;
        let started = Instant::now();
        let mut said = Vec::new();
        let status = loop {
            let heard = listen(&mut output, TICK, &mut said);
            let error = match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) => {
                    RunError::Stopped { program: program.to_owned() }
                }
                Ok(None) if started.elapsed() >= self.timeout => {
                    RunError::TimedOut { program: program.to_owned(), seconds: self.timeout.as_secs() }
                }
                Ok(None) => {
                    if heard == Heard::End {
                        // It has closed its output and goes on, so that there is nothing to wait for but the time.
                        std::thread::sleep(TICK);
                    }
                    continue;
                }
                Err(source) => failed(source),
            };
            kill(&mut child);
            return Err(error);
        };
        // The rest of the output. A process that was left behind may keep the pipe open, and print for ever.
        let ended = Instant::now();
        while listen(&mut output, Duration::ZERO, &mut said) == Heard::Something
            && ended.elapsed() < LEFTOVER_OUTPUT
        {}
        let said = String::from_utf8_lossy(&said);
        if status.success() {
            return Ok(said.into_owned());
        }
        Err(RunError::Failed { program: program.to_owned(), status, said: shortened(&said) })
    }

    fn start(&self, program: &str, arguments: &[String]) -> io::Result<(Child, PipeReader)> {
        let (output, writer) = io::pipe()?;
        let flags = rustix::fs::fcntl_getfl(&output)?;
        rustix::fs::fcntl_setfl(&output, flags | OFlags::NONBLOCK)?;
        let mut command = Command::new(program);
        command.args(arguments).envs(self.environment.iter().map(|(k, v)| (*k, v.as_str())));
        command.stdin(match self.input {
            Some(input) => File::open(input)?.into(),
            None => Stdio::null(),
        });
        command.stdout(writer.try_clone()?).stderr(writer).process_group(0);
        // `command` holds the writing ends of the pipe, which must not stay open here: it ends with this function.
        Ok((command.spawn()?, output))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Something,
    Nothing,
    /// Nothing can come any more.
    End,
}

/// Reads what is there, waiting at most `wait` for it. One buffer a call: a command that prints without end must not keep the
/// caller from looking at the time.
fn listen(output: &mut PipeReader, wait: Duration, said: &mut Vec<u8>) -> Heard {
    let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    // An error (a signal) is as good as nothing to read.
    let _ = poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&wait));
    let mut buffer = [0; MAX_OUTPUT];
    match output.read(&mut buffer) {
        Ok(0) => Heard::End,
        Ok(read) => {
            let room = MAX_OUTPUT - said.len();
            said.extend_from_slice(&buffer[..read.min(room)]);
            Heard::Something
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Heard::Nothing
        }
        Err(_) => Heard::End,
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

/// The file of `program`: a path when it has a slash, otherwise the first match among the folders of `path`, the value of `PATH`.
/// An error says that there is none, or that this user may not run it.
pub fn find_program(program: &str, path: Option<&OsStr>) -> io::Result<PathBuf> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![PathBuf::from(program)]
    } else {
        path.into_iter().flat_map(std::env::split_paths).map(|folder| folder.join(program)).collect()
    };
    let mut last = io::Error::from(Errno::NOENT);
    for candidate in candidates {
        match rustix::fs::access(&candidate, rustix::fs::Access::EXEC_OK) {
            Ok(()) if candidate.is_file() => return Ok(candidate),
            Ok(()) => last = Errno::ISDIR.into(),
            Err(error) if error == Errno::NOENT => {}
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// The beginning of an output, in one line without control characters, for a message.
#[must_use]
pub fn shortened(output: &str) -> String {
    let line: String =
        output.trim().chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.is_empty() { "(it printed nothing)".to_owned() } else { line }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn run(words: &[&str], input: Option<&str>, timeout: u64) -> Result<String, RunError> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let environment = [("WORD", "hello".to_owned())];
        let timeout = Duration::from_millis(timeout);
        let input = input.map(Path::new);
        Invocation { words: &words, environment: &environment, input, timeout, stop: None }.run()
    }

    fn sh(script: &str, timeout: u64) -> Result<String, RunError> {
        run(&["/bin/sh", "-c", script], None, timeout)
    }

    #[test]
    fn output_input_and_environment_come_through() {
        for (script, said) in [
            ("echo $WORD; echo x >&2", "hello\nx\n"),
            ("true", ""),
            ("cat", ""),
            ("exec >&- 2>&-; sleep 0.1", ""),
            ("printf a; sleep 0.1; printf b >&2; sleep 0.1; printf c", "abc"),
        ] {
            assert_eq!(sh(script, 30_000).expect(script), said, "{script}");
        }
        let input = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(input.path(), "the mail\n").expect("write");
        let path = input.path().to_str();
        assert_eq!(run(&["/bin/cat"], path, 30_000).expect("cat"), "the mail\n");
    }

    #[test]
    fn each_failure_has_its_kind() {
        for script in ["echo boo; exit 3", "echo boo >&2; false"] {
            let error = sh(script, 30_000).expect_err(script);
            assert!(matches!(&error, RunError::Failed { said, .. } if said == "boo"), "{error}");
        }
        assert!(
            matches!(sh("kill -9 $$", 30_000), Err(RunError::Failed { said, .. }) if said.starts_with('('))
        );
        let dir = tempfile::tempdir().expect("a folder");
        let script = dir.path().join("script");
        std::fs::write(&script, "#!/nonexistent/interpreter\n").expect("write");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        let error = run(&[script.to_str().expect("text")], None, 30_000).expect_err("no start").to_string();
        assert!(error.contains("the file is there, and the interpreter"), "{error}");
        for (words, input) in [
            (&["/nonexistent/program"][..], None),
            (&[], None),
            (&["/bin/true"], Some("/nonexistent/mail")),
            (&["/dev/null"], None),
        ] {
            let error = run(words, input, 30_000).expect_err("no start");
            assert!(matches!(error, RunError::Start { .. }), "{words:?}: {error}");
        }
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().expect("a folder");
        let alive = dir.path().join("alive");
        let script = format!("(sleep 2; touch {}) & sleep 60", alive.display());
        for script in [script.as_str(), "yes", "exec >&- 2>&-; sleep 60"] {
            let error = sh(script, 200).expect_err(script);
            assert!(matches!(error, RunError::TimedOut { .. }), "{script}: {error}");
        }
        let stop = AtomicBool::new(true);
        let words = ["/bin/sleep".to_owned(), "60".to_owned()];
        let timeout = Duration::from_secs(60);
        let stopped = Invocation { words: &words, environment: &[], input: None, timeout, stop: Some(&stop) };
        assert!(matches!(stopped.run(), Err(RunError::Stopped { .. })));
        // Nothing to poll for: the child would have written by then.
        std::thread::sleep(Duration::from_millis(2200));
        assert!(!alive.exists(), "the child of the command was killed");
    }

    #[test]
    fn a_process_that_is_left_behind_is_not_waited_for() {
        let started = Instant::now();
        for script in ["sleep 60 & echo done", "echo done; yes &"] {
            assert!(sh(script, 60_000).expect(script).contains("done"), "{script}");
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
        // `yes` ends by itself: nobody reads its pipe any more.
    }

    #[test]
    fn long_output_is_cut_in_result_and_message() {
        assert_eq!(sh("head -c 1000000 /dev/zero", 30_000).expect("zeros").len(), MAX_OUTPUT);
        let error = sh("yes word | head -c 1000000; exit 1", 30_000).expect_err("a failure");
        assert!(error.to_string().len() < 500, "{error}");
    }

    /// Highest memory use of this process so far, in KiB.
    fn peak() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
    }

    #[test]
    fn a_gigabyte_of_output_costs_less_than_sixteen_megabytes() {
        let before = peak();
        let said = sh("head -c 1000000000 /dev/zero", 300_000).expect("zeros");
        assert_eq!(said.len(), MAX_OUTPUT);
        let grown = peak() - before;
        assert!(grown < 16 << 10, "{grown} KiB more");
    }
}
