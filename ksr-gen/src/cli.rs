//! The command line: options and output of `dnssec-ksr`, and what to do in each message.
//!
//! Exit codes: 0, 1 for an error, 2 for a wrong command line (1 for `dnssec-ksr`). Output is composed wholly before any of it is
//! printed, so that an error never leaves half of it.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

mod ceremony;
mod console;
mod many;

use ceremony::read_ksr;
use clap::Parser;
use console::{Console, Level};
use keystore::dns::Name;
use keystore::durable;
use keystore::exchange::format::{self, Format};
use keystore::exchange::{bind, knot, xml};
use keystore::keys::KeyFile;
use keystore::keys::files::{self, KeyFileError};
use keystore::keys::plan::{self, Holes, Interval, check_interval};
use keystore::policy::{Policy, Role};
use keystore::time::{Timestamp, syntax};

use crate::keygen::{self, Keygen};
use crate::{PROGRAM, policy_file, request};

/// Exit code of an error.
pub const EXIT_ERROR: u8 = 1;
/// Exit code of a wrong command line.
pub const EXIT_USAGE: u8 = 2;

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

/// Make keys and key signing requests of a zone whose KSK is offline, and sign them.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "ksr-gen",
    override_usage = "ksr-gen [options] keygen|request|sign <zone>; ksr-gen [options] check <KSR>",
    disable_version_flag = true,
    disable_help_flag = true,
    args_override_self = true,
    after_help = "\
Commands:
  keygen   make the ZSKs (with -o the KSKs) that the interval needs and that do not exist yet
  request  print the key signing request (KSR) of the interval
  check    KSR in place of the zone: print what it asks for and what each check says, to be read aloud; exit 1 if one refuses
  sign     check and sign a KSR; print the signed key response (SKR)

Times: now, YYYYMMDD, YYYYMMDDHHMMSS, each with +N or -N and a unit: y, mo (30 days), w, d, h, mi, s.
An offset alone counts from now. Exit codes: 0; 1 error; 2 wrong command line."
)]
struct Options {
    /// Name of the dnssec-policy
    #[arg(short = 'k', long = "policy", value_name = "POLICY")]
    policy: Option<String>,
    /// File with the policy: a named.conf, or TOML
    #[arg(short = 'l', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Start of the interval [default: now]
    #[arg(short = 'i', long = "start", value_name = "TIME", allow_hyphen_values = true)]
    start: Option<String>,
    /// End of the interval
    #[arg(short = 'e', long = "end", value_name = "TIME", allow_hyphen_values = true)]
    end: Option<String>,
    /// Key folder
    #[arg(short = 'K', long = "key-directory", value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// KSR to sign; - reads standard input. Several are merged: those of all providers of a zone (RFC 8901 model 1)
    #[arg(short = 'f', long = "ksr", value_name = "FILE")]
    ksr: Vec<PathBuf>,
    /// Form of the output of request and sign: bind, knot or xml [default: bind; for sign that of the KSR]
    #[arg(long = "format", value_name = "FORM")]
    format: Option<Format>,
    /// check, sign: the SKR before, which the request must follow; KSKs that it holds back stay
    #[arg(long = "previous", value_name = "FILE")]
    previous: Option<PathBuf>,
    /// request: no proof of possession; the KSR is then octet by octet that of dnssec-ksr
    #[arg(long)]
    no_pop: bool,
    /// check, sign: DS records that the parent has now (dig +noall +answer DS ZONE); lets a replaced KSK leave
    #[arg(long, value_name = "FILE")]
    parent_ds: Option<PathBuf>,
    /// check, sign: when --parent-ds was seen [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    parent_ds_seen: Option<String>,
    /// check, sign: your word that the parent has the DS of the KSK with this tag, in place of --parent-ds; may be repeated
    #[arg(long, value_name = "TAG", conflicts_with = "parent_ds")]
    parent_has: Vec<u16>,
    /// sign: do not show the report and ask, where a person could answer
    #[arg(short = 'y', long)]
    yes: bool,
    /// check: print the report as JSON
    #[arg(long)]
    json: bool,
    /// check, sign: from TIME on, CDS and CDNSKEY ask the parent to remove the DS (RFC 8078): the zone becomes insecure
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    cds_delete: Option<String>,
    /// keygen: one standby key for each entry of the policy, published from the start on, that signs nothing before it is told to
    #[arg(long)]
    standby: bool,
    /// request: also the ZSKs of this folder, in every bundle (the request for an emergency SKR); may be repeated
    #[arg(long, value_name = "DIR")]
    spare: Vec<PathBuf>,
    /// request, check, sign: all zones at once, in one file, all or nothing: those of the [[zone]] tables when FILE is an offline-ksk.toml,
    /// else those with keys in DIR; sign takes those of the KSR
    #[arg(long)]
    all: bool,
    /// keygen makes KSKs instead of ZSKs
    #[arg(short = 'o', long = "ksk")]
    ksk: bool,
    /// Write the output to FILE, whole or not at all, instead of standard output
    #[arg(short = 'O', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Say more
    #[arg(short = 'v', long = "verbose", value_name = "LEVEL", default_value = "0")]
    verbosity: String,
    /// FIPS mode (not available)
    #[arg(short = 'F', long = "fips")]
    fips: bool,
    /// OpenSSL engine (not available)
    #[arg(short = 'E', long = "engine", value_name = "ENGINE")]
    engine: Option<String>,
    /// Print this text
    #[arg(short = 'h', long = "help")]
    help: bool,
    /// Print the version
    #[arg(short = 'V', long = "version")]
    version: bool,

    /// Accept an interval of more than 20 years
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_long_interval: bool,
    /// keygen: leave times without an active key, as dnssec-ksr does
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_holes: bool,
    /// request: accept times at which no ZSK is active
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_inactive_zsk: bool,
    /// sign: keys with flags other than 256
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_foreign_flags: bool,
    /// sign: keys of an algorithm or size that the policy does not have
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_foreign_algorithms: bool,
    /// sign: bundles for which no KSK is active, unsigned
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_unsigned: bool,
    /// sign: let the ZSKs of the key folder sign as KSKs
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_zsk_as_ksk: bool,
    /// sign: a KSR with bundles behind the end; as with dnssec-ksr, the last one is lost
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_beyond_end: bool,
    /// sign: KSKs come and go by their times alone, as with dnssec-ksr; the zone breaks if the parent is late
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_unconfirmed_ksk_roll: bool,
    /// sign: keys without proof of possession, as in a KSR by dnssec-ksr or keymgr
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_no_pop: bool,
    /// sign: merged requests whose DNSKEY answer is larger than 4096 octets
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_large_answer: bool,
    /// sign: an end far behind that of the request, or far ahead
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_long_span: bool,
    /// sign: a request that does not follow the SKR of --previous
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_broken_chain: bool,
    /// sign: an SKR that does not prove good for every cache at every second
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_unproven: bool,
    /// sign: two keys of one bundle with one key tag
    #[arg(long, help_heading = "To go on where ksr-gen refuses by default")]
    allow_tag_collision: bool,

    /// Command and zone
    #[arg(value_name = "COMMAND ZONE", hide = true)]
    words: Vec<String>,
}

/// Why a run ends without output.
#[derive(Debug)]
enum Failure {
    /// The command line is wrong; the text is the message.
    Usage(String),
    /// Anything else.
    Fatal(String),
}

impl Failure {
    fn fatal(error: impl std::fmt::Display) -> Self {
        Self::Fatal(error.to_string())
    }

    fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Runs `ksr-gen` with `args` (the program's name first); gives the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, env: &mut Env<'_>) -> u8 {
    let mut console = Console { stderr: env.stderr, terminal: env.terminal, verbosity: 0, zone: None };
    let failure = match command(args, env.now, env.stdin, env.interactive, &mut console) {
        Ok(output) => match output.deliver(env.stdout) {
            Ok(()) => return if output.good { 0 } else { EXIT_ERROR },
            Err(failure) => failure,
        },
        Err(failure) => failure,
    };
    match failure {
        Failure::Usage(text) => {
            console.say(Level::Fatal, &text);
            console.say(
                Level::Plain,
                "usage: ksr-gen [options] keygen|request|sign <zone> | check <KSR>; ksr-gen -h lists the options",
            );
            EXIT_USAGE
        }
        Failure::Fatal(text) => {
            console.say(Level::Fatal, &text);
            EXIT_ERROR
        }
    }
}

/// Text that is printed once all went well.
struct Output {
    text: String,
    path: Option<PathBuf>,
    /// False when the text says that something is refused.
    good: bool,
}

impl Output {
    fn deliver(&self, stdout: &mut dyn Write) -> Result<(), Failure> {
        match &self.path {
            Some(path) => durable::output_path(path)
                .and_then(|target| {
                    // What a run that was killed left; it is in nobody's way when it cannot be removed.
                    let _ = durable::sweep_temps_of(&target);
                    durable::write(&target, self.text.as_bytes(), 0o644)
                })
                .map_err(|e| Failure::Fatal(format!("cannot write {}: {e}", path.display()))),
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
    asks: bool,
    console: &mut Console<'_>,
) -> Result<Output, Failure> {
    let options = Options::try_parse_from(args).map_err(|e| {
        let text = e.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        Failure::Usage(first.strip_prefix("error: ").unwrap_or(first).to_owned())
    })?;
    if options.help {
        let text = <Options as clap::CommandFactory>::command().render_long_help().to_string();
        return Ok(Output { text: format!("{text}\n"), path: None, good: true });
    }
    if options.version {
        return Ok(Output { text: format!("{PROGRAM}\n"), path: None, good: true });
    }
    console.verbosity =
        number(&options.verbosity).ok_or_else(|| Failure::usage("-v must be followed by a number"))?;
    if options.engine.is_some() {
        return Err(Failure::usage("-E: OpenSSL engines are not supported; leave the option out"));
    }
    if options.fips {
        return Err(Failure::usage(
            "-F: FIPS mode is not available, because not every cryptographic library used here is validated; leave the option out",
        ));
    }
    if options.all {
        let (text, good) = many::run(&options, now, stdin, asks, console)?;
        return Ok(Output { text, path: options.output.clone(), good });
    }
    let [word, zone] = options.words.as_slice() else {
        return Err(Failure::usage("must provide a command and zone name"));
    };
    // `check` names a file, and that names the zone.
    let checked = (word == "check").then(|| read_ksr(Path::new(zone), stdin)).transpose()?;
    let (zone, file) = match &checked {
        Some(octets) => {
            let name = format::zone_of(octets);
            let what = || Failure::Fatal(format!("{zone}: no record names a zone; is this a KSR?"));
            (name.ok_or_else(what)?, zone.as_str())
        }
        None => {
            let parsed = Name::parse(zone);
            (parsed.map_err(|why| Failure::Usage(format!("invalid zone name {zone}: {why}")))?, "")
        }
    };
    let (role, word) = match word.as_str() {
        "keygen" | "request" | "sign" | "check" => {
            (if options.ksk { Role::Ksk } else { Role::Zsk }, word.as_str())
        }
        other => {
            return Err(Failure::Usage(format!(
                "unknown command '{other}'; the commands are keygen, request, check and sign"
            )));
        }
    };
    let Some(config) = &options.config else {
        return Err(Failure::Usage(format!("{word} requires a configuration file; give it with -l FILE")));
    };
    let Some(policy) = &options.policy else {
        return Err(Failure::Usage(format!("{word} requires a dnssec-policy; give its name with -k POLICY")));
    };
    let time = |text: &Option<String>| match text {
        Some(text) => syntax::parse(text, now).map_err(Failure::usage),
        None => Ok(None),
    };
    let (start, end) = (time(&options.start)?, time(&options.end)?);
    let months = [&options.start, &options.end].into_iter().flatten().find(|text| counts_months(text));
    if let Some(text) = months {
        let note =
            format!("a month in '{text}' is 30 days, as for dnssec-ksr; one in the policy (P1M) is 31");
        console.say(Level::Plain, &note);
    }
    let end_given = end;
    let Some(end) = end.or((word == "check").then_some(now)) else {
        return Err(Failure::Usage(format!("{word} requires an end date; give it with -e TIME")));
    };
    if word == "sign" && options.ksr.is_empty() {
        return Err(Failure::usage("'sign' requires a KSR file; give it with -f FILE"));
    }
    let policy = load_policy(config, policy, console)?;
    let job = Job { options: &options, zone: &zone, policy: &policy, now, end, end_given, part: None };
    if let Some(octets) = checked {
        let (text, good) = job.check(&octets, file, stdin, console)?;
        return Ok(Output { text, path: options.output.clone(), good });
    }
    let text = match word {
        "keygen" => job.keygen(role, start.unwrap_or(now), console)?,
        "request" => job.request(start.unwrap_or(now), console)?,
        _ => job.sign(start, stdin, asks, console)?,
    };
    Ok(Output { text, path: options.output.clone(), good: true })
}

/// True when the offset of a time is in months.
fn counts_months(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c != '+' && c != '-');
    unit.trim_start_matches(['+', '-'])
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .to_ascii_lowercase()
        .starts_with("mo")
}

/// Reads a policy of the file of `-l`, and says what there is to say of it.
fn load_policy(config: &Path, name: &str, console: &mut Console<'_>) -> Result<Policy, Failure> {
    match policy_file::load(config, name) {
        Ok((policy, warnings)) => {
            warnings.iter().for_each(|warning| console.say(Level::Warning, warning));
            Ok(policy)
        }
        Err((errors, fatal)) => {
            errors.iter().for_each(|error| console.say(Level::Error, error));
            Err(Failure::Fatal(fatal))
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

/// What all three commands know.
struct Job<'a> {
    options: &'a Options,
    zone: &'a Name,
    policy: &'a Policy,
    now: Timestamp,
    end: Timestamp,
    /// `-e`, if it was given.
    end_given: Option<Timestamp>,
    /// With --all: what is read once for all zones.
    part: Option<many::Part<'a>>,
}

impl Job<'_> {
    fn interval(&self, start: Timestamp) -> Result<Interval, Failure> {
        let interval = Interval { start, end: self.end };
        check_interval(interval, self.options.allow_long_interval).map_err(|e| match e {
            plan::PlanError::TooLong { .. } => {
                Failure::Fatal(format!("{e}, or go on with --allow-long-interval"))
            }
            other => Failure::fatal(other),
        })?;
        Ok(interval)
    }

    fn keygen(&self, role: Role, start: Timestamp, console: &mut Console<'_>) -> Result<String, Failure> {
        let holes = if self.options.allow_holes { Holes::Leave } else { Holes::Fill };
        let keygen = Keygen {
            dir: &self.options.folder,
            zone: self.zone,
            policy: self.policy,
            role,
            interval: self.interval(start)?,
            holes,
            now: self.now,
        };
        let waiting = || console.say(Level::Plain, "waiting for another run that holds the key folder");
        let outcome = if self.options.standby {
            keygen::standby(&keygen, waiting)
        } else {
            keygen::run(&keygen, waiting)
        };
        let outcome = outcome.map_err(Failure::fatal)?;
        console.folder(&outcome.warnings);
        let mut text = String::new();
        for key in &outcome.keys {
            let word = if key.made { "Generating" } else { "Selecting" };
            console.detail(&format!("{word} key pair for bundle {}: {}", key.bundle.ctime(), key.name));
            if key.fills_hole {
                let what = if key.made { "made" } else { "selected" };
                console.say(
                    Level::Warning,
                    &format!(
                        "{} {what} for {}, where no other key would be active (dnssec-ksr leaves this hole; --allow-holes does too)",
                        key.name,
                        key.bundle.ctime()
                    ),
                );
            }
            text.push_str(&key.name);
            text.push('\n');
        }
        Ok(text)
    }

    fn request(&self, start: Timestamp, console: &mut Console<'_>) -> Result<String, Failure> {
        let interval = self.interval(start)?;
        let dir = &self.options.folder;
        keygen::open_folder(dir).map_err(Failure::fatal)?;
        // Nothing here opens the private key of a KSK.
        let found = match &self.part {
            Some(part) => part.folder.find_online(self.zone),
            None => files::find_online(dir, self.zone).map_err(Failure::fatal)?,
        };
        console.folder(&found.warnings().into_iter().chain(found.skipped).collect::<Vec<_>>());
        let mut keys = found.keys;
        for dir in &self.options.spare {
            keygen::open_folder(dir).map_err(Failure::fatal)?;
            let spare = files::find_online(dir, self.zone).map_err(Failure::fatal)?;
            console.folder(&spare.warnings().into_iter().chain(spare.skipped).collect::<Vec<_>>());
            let usable = |key: &KeyFile| {
                !key.dnskey.is_ksk()
                    && key.timing.publish.is_some_and(|at| at <= start)
                    && key.timing.delete.is_none()
            };
            if !spare.keys.iter().any(usable) {
                let what = "has no ZSK of this zone that is published from the start on; make one with keygen --standby";
                return Err(Failure::Fatal(format!("--spare {}: {what}", dir.display())));
            }
            keys.extend(spare.keys);
        }
        keys.sort_by_key(|key| (key.dnskey.algorithm, key.dnskey.tag()));
        let allow = self.options.allow_inactive_zsk;
        let mut ksr =
            request::request(&keys, self.zone, self.policy, interval, allow).map_err(Failure::fatal)?;
        if let Some((at, _)) = plan::first_without_active_zsk(&keys, self.policy, interval) {
            let text = format!("no ZSK is active from {at} ({}) on", at.ctime());
            console.say(Level::Warning, &text);
        }
        let form = self.options.format.unwrap_or(Format::Bind);
        if form == Format::Xml {
            if self.options.no_pop {
                let text = "--no-pop: a request in XML always has its proofs; leave the option out";
                return Err(Failure::usage(text));
            }
            let serial = self.now.secs();
            let xml = request::xml(&ksr, &keys, self.policy, self.end, serial).map_err(Failure::fatal)?;
            return Ok(xml::print_request(&xml));
        }
        if form == Format::Knot {
            request::close_for_knot(&mut ksr, self.end);
        }
        if !self.options.no_pop {
            request::prove(&mut ksr, &keys, self.end).map_err(Failure::fatal)?;
        }
        Ok(match form {
            Format::Knot => knot::print_ksr(&ksr, knot::Stamps::Unix, self.now, PROGRAM),
            _ => bind::print_ksr(&ksr, self.now, PROGRAM),
        })
    }

    /// The keys of the folder; sets that cannot be read are skipped with a warning. `tell` picks the other warnings to show.
    fn keys(
        &self,
        console: &mut Console<'_>,
        tell: impl Fn(&KeyFileError) -> bool,
    ) -> Result<Vec<KeyFile>, Failure> {
        let dir = &self.options.folder;
        keygen::open_folder(dir).map_err(Failure::fatal)?;
        let found = match &self.part {
            Some(part) => part.folder.find(self.zone),
            None => files::find(dir, self.zone).map_err(Failure::fatal)?,
        };
        let warnings = found.warnings().into_iter().filter(tell);
        console.folder(&warnings.chain(found.skipped).collect::<Vec<_>>());
        Ok(found.keys)
    }
}
