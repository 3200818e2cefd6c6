//! A ceremony that either tool can take any step of: `ksr-gen` (in this process) and `dnssec-ksr`, with the same words.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use keystore::clock;
use ksr_gen::cli::{self, Env};

use crate::common::peer;

/// Who takes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Ours,
    Bind,
}

/// What a run printed, and its exit code (`None`: ended by a signal).
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Standard output of a run that must succeed.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout.clone()
    }

    /// The messages of a run that must fail.
    #[track_caller]
    pub fn fails(&self) -> &str {
        assert!(self.code != Some(0), "it went well: {}", self.stderr);
        &self.stderr
    }
}

/// A folder with the policy file, and folders `zsk`, `ksk` and `empty`.
pub struct Site {
    dir: tempfile::TempDir,
    pub zone: &'static str,
}

impl Site {
    /// `policy` is what stands in the policy `p` beside `offline-ksk yes`.
    pub fn new(policy: &str) -> Self {
        Self::with_policies(&format!("dnssec-policy p {{ offline-ksk yes; {policy} }};\n"))
    }

    /// The same with this file of policies.
    pub fn with_policies(text: &str) -> Self {
        let site = Self { dir: tempfile::tempdir().expect("a folder"), zone: "example.test" };
        for folder in ["zsk", "ksk", "empty"] {
            std::fs::create_dir(site.path(folder)).expect("a folder");
        }
        site.write("policy", text);
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("write");
    }

    /// Names in a folder, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|e| e.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    /// Name and text of each file in a folder.
    pub fn content(&self, folder: &str) -> Vec<(String, String)> {
        let read = |name: String| {
            let text = std::fs::read_to_string(self.path(folder).join(&name)).expect("text");
            (name, text)
        };
        self.names(folder).into_iter().map(read).collect()
    }

    pub fn copy(&self, from: &str, to: &str) {
        for name in self.names(from) {
            std::fs::copy(self.path(from).join(&name), self.path(to).join(&name)).expect("copy");
        }
    }

    /// Runs `-l policy -k p LINE ZONE`; `@name` stands for a path in the folder.
    pub fn run(&self, side: Side, line: &str) -> Ran {
        self.raw(side, &format!("-l @policy -k p {line} {}", self.zone))
    }

    /// What `ksr-gen` prints, which must succeed; see [`run`](Self::run).
    #[track_caller]
    pub fn ours(&self, line: &str) -> String {
        self.run(Side::Ours, line).ok()
    }

    /// What `dnssec-ksr` prints, which must succeed; see [`run`](Self::run).
    #[track_caller]
    pub fn bind(&self, line: &str) -> String {
        self.run(Side::Bind, line).ok()
    }

    /// Runs just these words.
    pub fn raw(&self, side: Side, line: &str) -> Ran {
        match side {
            Side::Ours => ksr_gen(&self.path(""), line),
            Side::Bind => {
                let mut command = peer("dnssec-ksr").expect("it was there");
                command.args(words(&self.path(""), line)).current_dir(self.path("empty"));
                let output = command.output().expect("run dnssec-ksr");
                let text = |octets| String::from_utf8(octets).expect("text");
                Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
            }
        }
    }
}

/// The words of a line; `@name` stands for a path in `dir`.
fn words(dir: &Path, line: &str) -> Vec<OsString> {
    let word = |word: &str| match word.strip_prefix('@') {
        Some(name) => dir.join(name).into_os_string(),
        None => OsString::from(word),
    };
    line.split_ascii_whitespace().map(word).collect()
}

/// Runs `ksr-gen` in this process, at the time of the clock and without a terminal; `@name` stands for a path in `dir`.
pub fn ksr_gen(dir: &Path, line: &str) -> Ran {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut env = Env {
        now: clock::now(),
        stdin: &mut std::io::empty(),
        stdout: &mut stdout,
        stderr: &mut stderr,
        terminal: false,
        interactive: false,
    };
    let code = cli::run(std::iter::once("ksr-gen".into()).chain(words(dir, line)), &mut env);
    let text = |octets| String::from_utf8(octets).expect("text");
    Ran { code: Some(code.into()), stdout: text(stdout), stderr: text(stderr) }
}
