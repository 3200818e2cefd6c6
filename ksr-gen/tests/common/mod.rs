//! Runs the command line in this process, in a folder of its own, at a time of its own.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod host;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use keystore::dns::Name;
use keystore::time::Timestamp;
use offline_ksk_ksr_gen::cli::{self, Env};

pub const COMMON: &str = "dnssec-policy common { offline-ksk yes;
    keys { ksk lifetime unlimited algorithm ecdsap256sha256; zsk lifetime P6M algorithm ecdsap256sha256; }; };";

pub fn stamp(text: &str) -> Timestamp {
    Timestamp::parse_stamp(text).expect("a stamp")
}

pub fn zone() -> Name {
    Name::parse("example.test").expect("a name")
}

/// What a run printed, and its exit code.
#[derive(Debug)]
pub struct Ran {
    pub code: u8,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The output of a run that must succeed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// The messages of a run that must fail with `code` and print nothing.
    #[track_caller]
    pub fn fails(self, code: u8) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        self.stderr
    }
}

/// A folder with a policy file `policy`, and folders `zsk` and `ksk`.
pub struct Site {
    dir: tempfile::TempDir,
    pub now: Timestamp,
}

impl Site {
    pub fn new(named_conf: &str) -> Self {
        let site = Self { dir: tempfile::tempdir().expect("a folder"), now: stamp("20261124034657") };
        site.write("policy", named_conf);
        for folder in ["zsk", "ksk"] {
            std::fs::create_dir(site.path(folder)).expect("a folder");
        }
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

    /// Name and content of each file in a folder.
    pub fn content(&self, folder: &str) -> Vec<(String, String)> {
        let read = |name: String| {
            let text = std::fs::read_to_string(self.path(folder).join(&name)).expect("text");
            (name, text)
        };
        self.names(folder).into_iter().map(read).collect()
    }

    /// Runs with the words of `line`; `@name` stands for a path in the folder of the site.
    pub fn run(&self, line: &str) -> Ran {
        self.run_with(line, "")
    }

    pub fn run_with(&self, line: &str, stdin: &str) -> Ran {
        self.run_as(line, stdin, false)
    }

    /// With a person at standard input, who types `answer`.
    pub fn run_at_terminal(&self, line: &str, answer: &str) -> Ran {
        self.run_as(line, answer, true)
    }

    fn run_as(&self, line: &str, stdin: &str, interactive: bool) -> Ran {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => OsString::from(word),
        };
        let args = std::iter::once(OsString::from("ksr-gen")).chain(line.split_ascii_whitespace().map(word));
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut env = Env {
            now: self.now,
            stdin: &mut stdin.as_bytes(),
            stdout: &mut stdout,
            stderr: &mut stderr,
            terminal: false,
            interactive,
        };
        let code = cli::run(args, &mut env);
        let text = |octets| String::from_utf8(octets).expect("text");
        Ran { code, stdout: text(stdout), stderr: text(stderr) }
    }

    /// The same for the policy `name`, from `start` to `end`.
    pub fn command(&self, policy: &str, start: &str, end: &str, rest: &str) -> Ran {
        self.run(&format!("-l @policy -k {policy} -i {start} -e {end} {rest} example.test"))
    }
}

/// The stamps of the headers of a KSR or SKR.
pub fn headers(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with(";;"))
        .filter_map(|line| line.split(' ').nth(3))
        .filter(|word| *word != "at" && *word != "generated")
        .map(str::to_owned)
        .collect()
}

/// All key tags in the RRSIGs over `covered` of the bundle with this header.
pub fn signers(text: &str, header: &str, covered: &str) -> Vec<String> {
    let start = text.find(&format!(" 1.0 {header} ")).expect("the header");
    let body = text[start..].lines().skip(1).take_while(|line| !line.starts_with(";;"));
    body.filter(|line| line.contains(&format!("RRSIG\t{covered} ")))
        .map(|line| line.split_ascii_whitespace().nth(10).expect("a tag").to_owned())
        .collect()
}

/// The tag at the end of a key name.
pub fn tag(name: &str) -> String {
    let digits = name.trim().rsplit('+').next().expect("a tag");
    digits.trim_start_matches('0').to_owned()
}

pub fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
    }
}
