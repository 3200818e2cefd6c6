//! Runs the hook of the request timer: bounded in time and output, without a thread and without a shell.

use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// Most octets of its output that are kept; the rest is read and dropped.
const MAX_OUTPUT: usize = 64 << 10;
/// How often the end of the command is looked for when it says nothing.
const TICK: Duration = Duration::from_millis(20);

/// Why a hook did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// It cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// It did not end in time, and was killed.
    #[error("{program} did not end within {seconds} s (on-request-timeout), and was killed")]
    Hangs {
        /// The program.
        program: String,
        /// Its time.
        seconds: u64,
    },
    /// It ended with a failure.
    #[error("{program} ended with {status}: {said}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The beginning of what it said.
        said: String,
    },
}

/// Runs `words` (program, arguments) with `environment` added and the file `input` as its standard input, in a process group of
/// its own that is killed after `timeout`. Good is an exit status of 0.
pub fn run(
    words: &[String],
    environment: &[(&str, String)],
    input: &Path,
    timeout: Duration,
) -> Result<(), HookError> {
    let (program, arguments) = words.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
    let start = |source| HookError::Start { program: program.to_owned(), source };
    let (mut output, writer) = io::pipe().map_err(start)?;
    let flags = rustix::fs::fcntl_getfl(&output).map_err(|e| start(e.into()))?;
    rustix::fs::fcntl_setfl(&output, flags | OFlags::NONBLOCK).map_err(|e| start(e.into()))?;
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().map(|(k, v)| (*k, v.as_str())));
    command.stdin(File::open(input).map_err(start)?).process_group(0);
    command.stdout(writer.try_clone().map_err(start)?).stderr(Stdio::from(writer));
    let mut child = command.spawn().map_err(start)?;
    // The ends of the pipe that it was given must not stay open here.
    drop(command);
    let started = Instant::now();
    let mut said = Vec::new();
    let status = loop {
        let open = listen(&mut output, &mut said);
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < timeout => {}
            Ok(None) => {
                kill(&mut child);
                return Err(HookError::Hangs { program: program.to_owned(), seconds: timeout.as_secs() });
            }
            Err(source) => {
                kill(&mut child);
                return Err(start(source));
            }
        }
        if !open {
            // It has closed its output and goes on.
            std::thread::sleep(TICK);
        }
    };
    listen(&mut output, &mut said);
    if status.success() {
        return Ok(());
    }
    Err(HookError::Failed { program: program.to_owned(), status, said: shortened(&said) })
}

/// Reads what is there, waiting a moment for it; false when nothing can come any more.
fn listen(output: &mut PipeReader, said: &mut Vec<u8>) -> bool {
    let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
    // An error (a signal) is as good as nothing to read.
    let _ = poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&wait));
    let mut buffer = [0; 16 << 10];
    // One buffer a round: a command that talks without end must not keep us from looking at the time.
    match output.read(&mut buffer) {
        Ok(0) => false,
        Ok(read) => {
            let room = MAX_OUTPUT - said.len();
            said.extend_from_slice(&buffer[..read.min(room)]);
            true
        }
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
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

/// The beginning of what it said, in one line without control characters.
fn shortened(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line: String = text.trim().chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.is_empty() { "(it said nothing)".to_owned() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, millis: u64) -> Result<(), HookError> {
        let dir = tempfile::tempdir().expect("a folder");
        let input = dir.path().join("input");
        std::fs::write(&input, "the mail\n").expect("write");
        let words = ["/bin/sh".into(), "-c".into(), script.into()];
        run(&words, &[("WORD", "hello".into())], &input, Duration::from_millis(millis))
    }

    #[test]
    fn input_and_environment_come_through() {
        sh("read line; test \"$line $WORD\" = 'the mail hello'", 10_000).expect("success");
        sh("exec >&- 2>&-; sleep 0.1", 10_000).expect("success with its output closed");
    }

    #[test]
    fn each_way_to_fail() {
        for script in ["echo boo; exit 3", "echo boo >&2; false"] {
            let error = sh(script, 10_000).expect_err(script);
            assert!(matches!(&error, HookError::Failed { said, .. } if said == "boo"), "{error}");
        }
        assert!(matches!(sh("kill -9 $$", 10_000), Err(HookError::Failed { .. })));
        let none = |words: &[String], input: &str| run(words, &[], Path::new(input), Duration::from_secs(9));
        assert!(matches!(none(&["/nonexistent/hook".into()], "/dev/null"), Err(HookError::Start { .. })));
        assert!(matches!(none(&[], "/dev/null"), Err(HookError::Start { .. })));
        assert!(matches!(none(&["/bin/true".into()], "/nonexistent/mail"), Err(HookError::Start { .. })));
    }

    #[test]
    fn one_that_hangs_is_killed_with_its_children() {
        let started = Instant::now();
        assert!(matches!(sh("sleep 60 & sleep 60", 200), Err(HookError::Hangs { .. })));
        assert!(matches!(sh("yes", 300), Err(HookError::Hangs { .. })), "output without end");
        // One that leaves a child with its output behind is not waited for.
        sh("sleep 20 & true", 10_000).expect("success");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }

    #[test]
    fn much_output_does_not_stop_it_and_is_cut() {
        sh("head -c 1000000 /dev/zero", 30_000).expect("success");
        let error = sh("yes word | head -c 1000000; exit 1", 30_000).expect_err("a failure");
        assert!(error.to_string().len() < 500, "{error}");
    }
}
