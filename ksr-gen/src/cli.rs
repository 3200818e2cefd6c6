//! The command line: options and output of `dnssec-ksr`, and what to do in each message.
//!
//! Exit codes: 0, 1 for an error, 2 for a wrong command line (1 for `dnssec-ksr`), 3 when the requests of some zones were refused and those
//! of others signed, 4 when a KSK could not be used although nothing is wrong with the request. Output is composed wholly before any of
//! it is printed, so that an error never leaves half of it.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

mod ceremony;
mod check;
mod collected;
mod columns;
mod console;
mod files;
mod import;
mod keygen;
mod many;
mod options;
mod report;
mod request;
mod sign;
mod token;

use ceremony::Ceremony;
use clap::Parser;
use console::{Console, Level};
use files::read_ksr;
use keystore::config::Config;
use keystore::dns::Name;
use keystore::durable;
use keystore::exchange::format;
use keystore::keys::KeyFile;
use keystore::keys::files::{FolderKeys, KeyFileError};
use keystore::keys::plan::{Interval, PlanError, check_interval};
use keystore::output::Protected;
use keystore::pair::require_active;
use keystore::policy::Policy;
use keystore::store;
use keystore::time::{Timestamp, duration, syntax};
use options::CommandLine;
use report::ReportPurpose;

use crate::PROGRAM;
use crate::keygen::{KeygenError, open_folder};
use crate::policy_file::{self, PolicyFile};

/// Exit code of an error.
pub const EXIT_ERROR: u8 = 1;
/// Exit code of a wrong command line.
pub const EXIT_USAGE: u8 = 2;
/// Exit code of a run that has signed the requests of some zones and refused others.
pub const EXIT_PARTLY: u8 = 3;
/// Exit code of a run in which a KSK could not be used, in files or in a token: nothing is wrong with the request, which can be signed
/// later. With `--all` the requests of other zones may be signed.
pub const EXIT_KEYS_FAILED: u8 = 4;

/// The world outside: clock, streams, and whether a person looks at the second one.
pub struct Env<'a> {
    /// The time.
    pub now: Timestamp,
    /// Standard input, read by `-f -`.
    pub stdin: &'a mut dyn Read,
    /// Standard output.
    pub stdout: &'a mut dyn Write,
    /// Standard error.
    pub stderr: &'a mut (dyn Write + Send),
    /// Colours and progress on standard error.
    pub terminal: bool,
    /// A person sits at standard input and reads standard error: `sign` shows its report and asks.
    pub interactive: bool,
}

/// A run that ends without output.
#[derive(Debug)]
enum Failure {
    /// The command line is wrong; the text is the message.
    Usage(String),
    /// The keys could not be used, and nothing is wrong with the request.
    Keys {
        /// The message.
        text: String,
        /// Another try may go well although nobody mends anything.
        is_passing: bool,
    },
    /// Anything else.
    Fatal(String),
}

impl Failure {
    /// The message.
    fn into_text(self) -> String {
        match self {
            Self::Usage(text) | Self::Keys { text, .. } | Self::Fatal(text) => text,
        }
    }

    fn fatal(error: impl std::fmt::Display) -> Self {
        Self::Fatal(error.to_string())
    }

    fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<KeygenError> for Failure {
    fn from(error: KeygenError) -> Self {
        match error {
            KeygenError::Folder { .. } => Self::Fatal(format!("{error}; give the key folder with -K")),
            KeygenError::OtherOwner { owner, .. } => Self::Fatal(format!(
                "{error} (sudo -u '#{owner}' ksr-gen ...), or go on with --allow-other-owner and chown the files afterwards"
            )),
            other => Self::fatal(other),
        }
    }
}

/// Runs `ksr-gen` with `args` (the program's name first); gives the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, env: &mut Env<'_>) -> u8 {
    let mut console =
        Console { stderr: env.stderr, terminal: env.terminal, verbosity: 0, zone: None, shows: false };
    let listener = if env.interactive { Listener::Person } else { Listener::Nobody };
    let failure = match command(args, env.now, env.stdin, listener, &mut console) {
        Ok(output) => match output.deliver(env.stdout) {
            Ok(()) => return output.ending.exit_code(),
            Err(failure) => failure,
        },
        Err(failure) => failure,
    };
    match failure {
        Failure::Usage(text) => {
            console.say(Level::Fatal, &text);
            console.say(
                Level::Plain,
                "usage: ksr-gen [options] keygen|request|sign <zone> | check <KSR> | import <zone> <key> | token list|check|adopt|update|forget; ksr-gen -h lists the options",
            );
            EXIT_USAGE
        }
        Failure::Keys { text, .. } => {
            console.say(Level::Fatal, &text);
            EXIT_KEYS_FAILED
        }
        Failure::Fatal(text) => {
            console.say(Level::Fatal, &text);
            EXIT_ERROR
        }
    }
}

/// Who could answer a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    /// A person at standard input.
    Person,
    /// A script.
    Nobody,
}

/// Text that is printed once all went well.
struct Output {
    text: String,
    /// The file to write it to, in place of standard output.
    path: Option<PathBuf>,
    ending: Ending,
}

/// How a run ended that has something to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Good,
    /// The text says that something is refused.
    Refused,
    /// Of several zones some were refused; the text is that of the others.
    Partly,
    /// Of several zones some failed for their keys, and others may be refused; the text is that of the rest.
    KeysFailed,
}

impl Ending {
    const fn of(good: bool) -> Self {
        if good { Self::Good } else { Self::Refused }
    }

    const fn exit_code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Refused => EXIT_ERROR,
            Self::Partly => EXIT_PARTLY,
            Self::KeysFailed => EXIT_KEYS_FAILED,
        }
    }
}

impl Output {
    fn deliver(&self, stdout: &mut dyn Write) -> Result<(), Failure> {
        match &self.path {
            Some(path) => {
                // What a run that was killed left; it is in nobody's way when it cannot be removed.
                let _ = durable::sweep_temps_of(path);
                durable::write(path, self.text.as_bytes(), 0o644)
                    .map_err(|e| Failure::Fatal(format!("cannot write {}: {e}", path.display())))
            }
            None => stdout
                .write_all(self.text.as_bytes())
                .and_then(|()| stdout.flush())
                .map_err(|e| Failure::Fatal(format!("cannot write to standard output: {e}"))),
        }
    }
}

/// Parses the command line and runs the command, in the order in which `dnssec-ksr` looks at things.
fn command(
    args: impl IntoIterator<Item = OsString>,
    now: Timestamp,
    stdin: &mut dyn Read,
    listener: Listener,
    console: &mut Console<'_>,
) -> Result<Output, Failure> {
    let line = CommandLine::try_parse_from(args).map_err(|e| {
        let text = e.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        Failure::Usage(first.strip_prefix("error: ").unwrap_or(first).to_owned())
    })?;
    if let Some(text) = information(&line) {
        return Ok(Output { text, path: None, ending: Ending::Good });
    }
    console.verbosity =
        number(&line.common.verbosity).ok_or_else(|| Failure::usage("-v must be followed by a number"))?;
    if line.common.engine.is_some() {
        return Err(Failure::usage("-E: OpenSSL engines are not supported; leave the option out"));
    }
    if line.common.fips {
        return Err(Failure::usage(
            "-F: FIPS mode is not available, because not every cryptographic library used here is validated; leave the option out",
        ));
    }
    let now = match &line.check.now {
        Some(_) if line.words.first().is_none_or(|word| word != "check") => {
            return Err(Failure::usage(
                "--now goes with check; the other commands take the time of the clock",
            ));
        }
        given => time(given, now)?.unwrap_or(now),
    };
    check_active(&line)?;
    let path = output(&line, protected(&line))?;
    let (text, ending) = if line.words.first().is_some_and(|word| word == "token") {
        let (text, good) = token::run(&line, now, stdin, listener, console)?;
        (text, Ending::of(good))
    } else if line.words.first().is_some_and(|word| word == "import") {
        (import::run(&line, now, console)?, Ending::Good)
    } else if line.common.all {
        many::run(&line, now, stdin, listener, console)?
    } else {
        let (text, good) = one_zone(&line, now, stdin, listener, console)?;
        (text, Ending::of(good))
    };
    Ok(Output { text, path, ending })
}

/// Fails on the standby of two hosts for a command that makes a request, or makes or changes keys: the next copy of the active host's state would
/// undo it, and the active host would not know of it.
fn check_active(line: &CommandLine) -> Result<(), Failure> {
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    let is_for_active = matches!(
        words.as_slice(),
        ["keygen" | "request" | "import", ..] | ["token", "adopt" | "update" | "forget", ..]
    );
    let Some(config) = line.common.config.as_ref().filter(|_| is_for_active) else { return Ok(()) };
    let pair = Config::locate_pair(config).map_err(Failure::fatal)?;
    require_active(pair.as_ref()).map_err(Failure::fatal)
}

/// Where the output goes, which must be none of what is `protected`; `None` = to standard output.
fn output(line: &CommandLine, protected: Protected) -> Result<Option<PathBuf>, Failure> {
    let path = line.common.output.as_ref().map(|path| protected.target(path)).transpose();
    path.map_err(|e| Failure::Fatal(format!("cannot write {e}")))
}

/// The files that the command line names to be read, and the folders with keys: no output goes there.
fn protected(line: &CommandLine) -> Protected {
    let (common, ceremony) = (&line.common, &line.ceremony);
    let files = [&common.config, &ceremony.previous, &ceremony.parent_ds].into_iter().flatten();
    let checked = line.words.iter().skip_while(|word| !["check", "import"].contains(&word.as_str())).skip(1);
    let more = line.sign.ksr.iter().chain(&line.keygen.other_keys);
    let mut protected = Protected::new().inputs(files).inputs(more).inputs(checked);
    for folder in line.request.spare.iter().chain([&common.folder]) {
        protected = protected.key_folder(folder);
    }
    protected
}

/// The text of `-h` and `-V`.
fn information(line: &CommandLine) -> Option<String> {
    if line.common.help {
        let text = <CommandLine as clap::CommandFactory>::command().render_long_help().to_string();
        return Some(format!("{text}\n"));
    }
    line.common.version.then(|| format!("{PROGRAM}\n"))
}

/// The zone that a command line names.
fn zone_name(text: &str) -> Result<Name, Failure> {
    text.parse::<Name>().map_err(|why| Failure::Usage(format!("invalid zone name: {text} {why}")))
}

/// Runs a command for the zone of the command line; the text, and false when it says that something is refused.
fn one_zone(
    line: &CommandLine,
    now: Timestamp,
    stdin: &mut dyn Read,
    listener: Listener,
    console: &mut Console<'_>,
) -> Result<(String, bool), Failure> {
    let [word, zone] = line.words.as_slice() else {
        return Err(Failure::usage("must provide a command and zone name"));
    };
    // What the command line lacks is said before any file is read.
    let word = word.as_str();
    if !["keygen", "request", "check", "sign"].contains(&word) {
        return Err(Failure::Usage(format!(
            "unknown command '{word}'; the commands are keygen, request, check, sign, import and token"
        )));
    }
    let named = match word {
        "check" => None,
        _ => Some(zone_name(zone)?),
    };
    let common = &line.common;
    let Some(config) = &common.config else {
        return Err(Failure::Usage(format!("{word} requires a configuration file; give it with -l FILE")));
    };
    let Some(policy) = &common.policy else {
        return Err(Failure::Usage(format!("{word} requires a dnssec-policy; give its name with -k POLICY")));
    };
    let (start, end) = (time(&common.start, now)?, time(&common.end, now)?);
    let months = [&common.start, &common.end].into_iter().flatten().find(|text| counts_months(text));
    if let Some(text) = months {
        let note =
            format!("a month in '{text}' is 30 days, as for dnssec-ksr; one in the policy (P1M) is 31");
        console.say(Level::Plain, &note);
    }
    if end.is_none() && word != "check" {
        return Err(Failure::Usage(format!("{word} requires an end date; give it with -e TIME")));
    }
    if word == "sign" && line.sign.ksr.is_empty() {
        return Err(Failure::usage("'sign' requires a KSR file; give it with -f FILE"));
    }
    // `check` names a file, and that names the zone.
    let (zone, file, checked) = match named {
        Some(name) => (name, "", None),
        None => {
            let octets = read_ksr(Path::new(zone), stdin)?;
            let what = || Failure::Fatal(format!("{zone}: no record names a zone; is this a KSR?"));
            (format::zone_of(&octets).ok_or_else(what)?, zone.as_str(), Some(octets))
        }
    };
    let policy = load_policy(line, config, policy, console)?;
    let (policy, largest_ttl) = for_zone(line, policy, config, &zone)?;
    let job = Job {
        zone: &zone,
        policy: &policy,
        largest_ttl,
        folder: &common.folder,
        now,
        start,
        end,
        part: None,
    };
    if let Some(octets) = checked {
        let ceremony = Ceremony::new(&job, line, ReportPurpose::Check);
        return check::check(&ceremony, &octets, file, line.check.json, stdin, console);
    }
    let text = match word {
        "keygen" => keygen::keygen(&job, line, console)?,
        "request" => request::request(&job, line, console)?,
        _ => sign::sign(&Ceremony::new(&job, line, ReportPurpose::Sign), line, stdin, listener, console)?,
    };
    Ok((text, true))
}

/// The policy for a zone that may have a TTL above `max-zone-ttl`, and that TTL: the one of `--largest-ttl`, or where `config` is an
/// `offline-ksk.toml` the one that the signer has noted, whichever is larger.
fn for_zone(
    line: &CommandLine,
    policy: Policy,
    config: &Path,
    zone: &Name,
) -> Result<(Policy, Option<u32>), Failure> {
    let given = line.common.largest_ttl.as_ref().map(|text| {
        let what =
            || Failure::Usage(format!("--largest-ttl {text}: give a duration, such as 604800, 1w or P7D"));
        duration::parse(text).ok_or_else(what)
    });
    let noted = match Config::locate_state_dir(config) {
        Some(state_dir) => store::largest_ttl(&state_dir, zone).map_err(Failure::fatal)?,
        None => None,
    };
    let largest = noted.max(given.transpose()?).filter(|ttl| *ttl > policy.effective_max_zone_ttl());
    Ok((policy.reckoning_with(largest), largest))
}

/// The time of an option; `None` when it is not given, or never.
fn time(text: &Option<String>, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    match text {
        Some(text) => syntax::parse(text, now).map_err(Failure::usage),
        None => Ok(None),
    }
}

/// True when the offset of a time is in months.
fn counts_months(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c != '+' && c != '-');
    unit.trim_start_matches(['+', '-'])
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .to_ascii_lowercase()
        .starts_with("mo")
}

/// Reads a policy of the file of `-l`, and says what there is to say of it. No output goes where it was read from, includes among it.
fn load_policy(
    line: &CommandLine,
    config: &Path,
    name: &str,
    console: &mut Console<'_>,
) -> Result<Policy, Failure> {
    match policy_file::load(config, name) {
        Ok(PolicyFile { policy, warnings, files }) => {
            output(line, Protected::new().inputs(files))?;
            warnings.iter().for_each(|warning| console.say(Level::Warning, warning));
            Ok(policy)
        }
        Err(refused) => {
            refused.findings.iter().for_each(|finding| console.say(Level::Error, finding));
            Err(Failure::fatal(refused))
        }
    }
}

/// A number as C reads it: decimal, `0x` hexadecimal or `0` octal.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    }
}

/// The zone that a command works on, and for which time.
struct Job<'a> {
    zone: &'a Name,
    policy: &'a Policy,
    /// The largest TTL of the zone, in seconds, where one above `max-zone-ttl` is known; the policy reckons with it.
    largest_ttl: Option<u32>,
    /// The key folder.
    folder: &'a Path,
    now: Timestamp,
    /// `-i`, if it was given.
    start: Option<Timestamp>,
    /// `-e`, if it was given; only `check` can do without.
    end: Option<Timestamp>,
    /// With `--all`: what is read once for all zones.
    part: Option<many::ZoneInput<'a>>,
}

impl Job<'_> {
    /// The interval of `keygen` and `request`.
    fn interval(&self, allow: &options::AllowOptions) -> Result<Interval, Failure> {
        let interval = Interval { start: self.start.unwrap_or(self.now), end: self.end.unwrap_or(self.now) };
        check_interval(interval, allow.long_interval).map_err(|e| match e {
            PlanError::TooLong { .. } => Failure::Fatal(format!("{e}, or go on with --allow-long-interval")),
            other => Failure::fatal(other),
        })?;
        Ok(interval)
    }

    /// The KSKs and ZSKs of the folder; sets that cannot be read are skipped with a warning.
    fn keys(&self, console: &mut Console<'_>) -> Result<Vec<KeyFile>, Failure> {
        open_folder(self.folder)?;
        let found = match &self.part {
            Some(part) => part.folder.find(self.zone),
            None => keystore::keys::files::find(self.folder, self.zone)
                .map_err(|e| Failure::Keys { is_passing: e.is_passing(), text: e.to_string() })?,
        };
        // A KSK needs no policy to match it, and so no .state file.
        let warnings = found.warnings().into_iter().filter(|w| !matches!(w, KeyFileError::NoState { .. }));
        console.folder(&warnings.chain(found.skipped).collect::<Vec<_>>());
        Ok(found.keys)
    }

    /// The keys of a folder for a request: the private key of a KSK is not opened.
    fn keys_online(&self, folder: &Path, console: &mut Console<'_>) -> Result<Vec<KeyFile>, Failure> {
        open_folder(folder)?;
        let listed = self.part.as_ref().filter(|_| folder == self.folder).map(|part| part.folder);
        let found: FolderKeys = match listed {
            Some(listed) => listed.find_online(self.zone),
            None => keystore::keys::files::find_online(folder, self.zone).map_err(Failure::fatal)?,
        };
        console.folder(&found.warnings().into_iter().chain(found.skipped).collect::<Vec<_>>());
        Ok(found.keys)
    }
}
