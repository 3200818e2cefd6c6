//! The command line: options and output of `dnssec-ksr`, and what to do in each message.
//!
//! Exit codes: 0, 1 for an error, 2 for a wrong command line (1 for `dnssec-ksr`). Output is composed wholly before any of it is
//! printed, so that an error never leaves half of it.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::Parser;
use keystore::dns::Name;
use keystore::durable;
use keystore::exchange::bind::{self, MAX_OCTETS, SyntaxError};
use keystore::exchange::format::{self, Format};
use keystore::exchange::{Bundle, Ksr, TrustAnchor, UnverifiedSkr, knot, xml};
use keystore::keys::KeyFile;
use keystore::keys::files::{self, KeyFileError};
use keystore::keys::plan::{self, Holes, Interval, check_interval};
use keystore::policy::{Policy, Role};
use keystore::time::{Timestamp, syntax};

use crate::check;
use crate::keygen::{self, Keygen};
use crate::merge::{self, Named};
use crate::rollover::ParentDs;
use crate::sign::{self, Allow, Signing, SigningError};
use crate::{PROGRAM, policy_file, request, sign_xml};

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
}

/// Make keys and key signing requests of a zone whose KSK is offline, and sign them.
#[derive(Debug, Parser)]
#[command(
    name = "ksr-gen",
    override_usage = "ksr-gen [options] keygen|request|sign <zone>",
    disable_version_flag = true,
    disable_help_flag = true,
    args_override_self = true,
    after_help = "\
Commands:
  keygen   make the ZSKs (with -o the KSKs) that the interval needs and that do not exist yet
  request  print the key signing request (KSR) of the interval
  sign     sign a KSR; print the signed key response (SKR)

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
    /// sign: form of the SKR: bind, knot or xml [default: that of the KSR]
    #[arg(long = "format", value_name = "FORM")]
    format: Option<Format>,
    /// sign: the SKR before, which a KSR in XML must follow
    #[arg(long = "previous", value_name = "FILE")]
    previous: Option<PathBuf>,
    /// request: no proof of possession; the KSR is then octet by octet that of dnssec-ksr
    #[arg(long)]
    no_pop: bool,
    /// sign: DS records that the parent has now (dig +noall +answer DS ZONE); lets a replaced KSK leave
    #[arg(long, value_name = "FILE")]
    parent_ds: Option<PathBuf>,
    /// sign: when --parent-ds was seen [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    parent_ds_seen: Option<String>,
    /// sign: your word that the parent has the DS of the KSK with this tag, in place of --parent-ds; may be repeated
    #[arg(long, value_name = "TAG", conflicts_with = "parent_ds")]
    parent_has: Vec<u16>,
    /// sign: from TIME on, CDS and CDNSKEY ask the parent to remove the DS (RFC 8078): the zone becomes insecure
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    cds_delete: Option<String>,
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
    let mut console = Console { stderr: env.stderr, terminal: env.terminal, verbosity: 0 };
    let failure = match command(args, env.now, env.stdin, &mut console) {
        Ok(output) => match output.deliver(env.stdout) {
            Ok(()) => return 0,
            Err(failure) => failure,
        },
        Err(failure) => failure,
    };
    match failure {
        Failure::Usage(text) => {
            console.say(Level::Fatal, &text);
            console.say(
                Level::Plain,
                "usage: ksr-gen [options] keygen|request|sign <zone>; ksr-gen -h lists the options",
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
}

impl Output {
    fn deliver(&self, stdout: &mut dyn Write) -> Result<(), Failure> {
        match &self.path {
            Some(path) => durable::output_path(path)
                .and_then(|target| durable::write(&target, self.text.as_bytes(), 0o644))
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
    console: &mut Console<'_>,
) -> Result<Output, Failure> {
    let options = Options::try_parse_from(args).map_err(|e| {
        let text = e.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        Failure::Usage(first.strip_prefix("error: ").unwrap_or(first).to_owned())
    })?;
    if options.help {
        let text = <Options as clap::CommandFactory>::command().render_long_help().to_string();
        return Ok(Output { text: format!("{text}\n"), path: None });
    }
    if options.version {
        return Ok(Output { text: format!("{PROGRAM}\n"), path: None });
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
    let [word, zone] = options.words.as_slice() else {
        return Err(Failure::usage("must provide a command and zone name"));
    };
    let zone = Name::parse(zone).map_err(|why| Failure::Usage(format!("invalid zone name {zone}: {why}")))?;
    let (role, word) = match word.as_str() {
        "keygen" | "request" | "sign" => (if options.ksk { Role::Ksk } else { Role::Zsk }, word.as_str()),
        other => {
            return Err(Failure::Usage(format!(
                "unknown command '{other}'; the commands are keygen, request and sign"
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
    let Some(end) = end else {
        return Err(Failure::Usage(format!("{word} requires an end date; give it with -e TIME")));
    };
    if word == "sign" && options.ksr.is_empty() {
        return Err(Failure::usage("'sign' requires a KSR file; give it with -f FILE"));
    }
    let policy = match policy_file::load(config, policy) {
        Ok((policy, warnings)) => {
            warnings.iter().for_each(|warning| console.say(Level::Warning, warning));
            policy
        }
        Err((errors, fatal)) => {
            errors.iter().for_each(|error| console.say(Level::Error, error));
            return Err(Failure::Fatal(fatal));
        }
    };
    let job = Job { options: &options, zone: &zone, policy: &policy, now, end };
    let text = match word {
        "keygen" => job.keygen(role, start.unwrap_or(now), console)?,
        "request" => job.request(start.unwrap_or(now), console)?,
        _ => job.sign(start, stdin, console)?,
    };
    Ok(Output { text, path: options.output.clone() })
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
        let outcome = keygen::run(&keygen, waiting).map_err(Failure::fatal)?;
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
        let found = files::find_online(dir, self.zone).map_err(Failure::fatal)?;
        console.folder(&found.warnings().into_iter().chain(found.skipped).collect::<Vec<_>>());
        let keys = found.keys;
        let allow = self.options.allow_inactive_zsk;
        let mut ksr =
            request::request(&keys, self.zone, self.policy, interval, allow).map_err(Failure::fatal)?;
        if let Some((at, _)) = plan::first_without_active_zsk(&keys, self.policy, interval) {
            let text = format!("no ZSK is active from {at} ({}) on", at.ctime());
            console.say(Level::Warning, &text);
        }
        if !self.options.no_pop {
            request::prove(&mut ksr, &keys, self.end).map_err(Failure::fatal)?;
        }
        Ok(bind::print_ksr(&ksr, self.now, PROGRAM))
    }

    fn sign(
        &self,
        start: Option<Timestamp>,
        stdin: &mut dyn Read,
        console: &mut Console<'_>,
    ) -> Result<String, Failure> {
        // A KSK needs no policy to match it, and so no .state file.
        let keys = self.keys(console, |warning| !matches!(warning, KeyFileError::NoState { .. }))?;
        let path = self.options.ksr.first().map_or(Path::new("-"), PathBuf::as_path);
        let octets = read_ksr(path, stdin)?;
        let bad = |path: &Path, e: &SyntaxError| {
            Failure::Fatal(format!("bad KSR file {}({}): {} [{}]", path.display(), e.line, e.what, e.id))
        };
        let o = self.options;
        let came_in = format::detect(&octets);
        let form = o.format.unwrap_or(came_in);
        if came_in == Format::Xml {
            if o.ksr.len() > 1 {
                return Err(Failure::usage("requests in XML are not merged; give one -f"));
            }
            let request = xml::parse_request(&octets).map_err(|e| bad(path, &e))?;
            let previous = match &o.previous {
                Some(path) => Some(xml::parse_response(&read_ksr(path, stdin)?).map_err(|e| bad(path, &e))?),
                None => {
                    console.say(
                        Level::Warning,
                        "without --previous nothing tells whether this request follows the SKR before",
                    );
                    None
                }
            };
            let signing = sign_xml::SigningXml {
                zone: self.zone,
                policy: self.policy,
                request: &request,
                previous: previous.as_ref(),
                keys: &keys,
                now: self.now,
            };
            let response = sign_xml::sign(&signing).map_err(|e| {
                if let sign_xml::SigningXmlError::Refused(findings) = &e {
                    findings.iter().for_each(|f| console.say(Level::Error, &f.to_string()));
                }
                Failure::fatal(e)
            })?;
            return Ok(match form {
                Format::Xml => xml::print_response(&response),
                Format::Bind => bind::print_skr(&response.to_skr(), self.now, PROGRAM),
                Format::Knot => knot::print_skr(&response.to_skr(), knot::Stamps::Unix, self.now, PROGRAM),
            });
        }
        let previous = match &o.previous {
            Some(path) => {
                let octets = read_ksr(path, stdin)?;
                format::parse_skr(&octets, self.zone)
                    .map_err(|e| {
                        Failure::Fatal(format!(
                            "--previous {}({}): {} [{}]",
                            path.display(),
                            e.line,
                            e.what,
                            e.id
                        ))
                    })?
                    .bundles
            }
            None => Vec::new(),
        };
        let parent = self.parent(&keys)?;
        let mut ksr = format::parse_ksr(&octets, self.zone).map_err(|e| bad(path, &e))?;
        let merged = o.ksr.len() > 1;
        let allow = Allow {
            foreign_flags: o.allow_foreign_flags,
            foreign_algorithms: o.allow_foreign_algorithms,
            unsigned: o.allow_unsigned,
            zsk_as_ksk: o.allow_zsk_as_ksk,
            beyond_end: o.allow_beyond_end,
            tag_collision: o.allow_tag_collision,
            no_pop: o.allow_no_pop,
            unconfirmed_ksk_roll: o.allow_unconfirmed_ksk_roll,
        };
        let mut allow = allow;
        if merged {
            ksr = self.merge(ksr, stdin, &allow, console)?;
            // Each request was looked at by itself.
            allow.no_pop = true;
        }
        let signing = Signing {
            zone: self.zone,
            policy: self.policy,
            ksr: &ksr,
            keys: &keys,
            end: self.end,
            parent: parent.as_ref(),
            cds_delete: self.time(&o.cds_delete)?,
            previous: &previous,
            allow,
        };
        let plan = sign::plan(signing).map_err(Failure::fatal)?;
        for key in &plan.left_out {
            let text = format!(
                "{} is no KSK and takes no part (dnssec-ksr would sign with it; --allow-zsk-as-ksk does too)",
                key.base_name()
            );
            console.say(Level::Warning, &text);
        }
        let checked_before = |id: &str| merged && id == "KSR-POP-MISSING";
        for finding in plan.findings.iter().filter(|f| !checked_before(f.id)) {
            let level = if finding.allowed { Level::Warning } else { Level::Error };
            console.say(level, &finding.to_string());
        }
        if let Some((start, first)) = start.zip(ksr.bundles.first()).filter(|(s, first)| *s < first.inception)
        {
            let text = format!("the KSR begins at {}, after the start {start}", first.inception);
            console.say(Level::Warning, &text);
        }
        let groups = console.progress(plan.bundle_count(), |progress| plan.sign(progress));
        let groups = groups.map_err(|e: SigningError| Failure::fatal(e))?;
        let groups: Vec<&[_]> = groups.iter().map(Vec::as_slice).collect();
        if merged {
            self.check_size(&groups.concat(), console)?;
        }
        let skr = || UnverifiedSkr { zone: self.zone.clone(), bundles: groups.concat() };
        match form {
            Format::Bind => Ok(bind::print_skr_grouped(&groups, self.now, PROGRAM)),
            Format::Knot => Ok(knot::print_skr(&skr(), knot::Stamps::Unix, self.now, PROGRAM)),
            Format::Xml => {
                let made = xml::convert::from_skr(&skr()).map_err(Failure::fatal)?;
                if let Some(what) = made.left_out.first() {
                    let text =
                        format!("the XML form cannot carry {what}; turn CDS and CDNSKEY off in the policy");
                    return Err(Failure::Fatal(text));
                }
                Ok(xml::print_response(&made.response))
            }
        }
    }

    /// Reads the further requests, checks each by itself, and merges them.
    fn merge(
        &self,
        first: Ksr,
        stdin: &mut dyn Read,
        allow: &Allow,
        console: &mut Console<'_>,
    ) -> Result<Ksr, Failure> {
        let o = self.options;
        let mut requests = vec![Named { name: o.ksr[0].display().to_string(), ksr: first }];
        for path in &o.ksr[1..] {
            let octets = read_ksr(path, stdin)?;
            let name = path.display().to_string();
            let ksr = format::parse_ksr(&octets, self.zone).map_err(|e| {
                Failure::Fatal(format!("bad KSR file {name}({}): {} [{}]", e.line, e.what, e.id))
            })?;
            requests.push(Named { name, ksr });
        }
        let mut refused = 0;
        for Named { name, ksr } in &requests {
            for finding in check::check(ksr, self.policy, &[], self.end, *allow) {
                let level = if finding.allowed { Level::Warning } else { Level::Error };
                refused += usize::from(!finding.allowed);
                console.say(level, &format!("{name}: {finding}"));
            }
        }
        if refused > 0 {
            let what = format!("the requests are refused and nothing is signed: {refused} finding(s)");
            return Err(Failure::Fatal(what));
        }
        let merged = merge::merge(&requests).map_err(Failure::fatal)?;
        for Named { name, ksr } in &requests {
            if let (Some(theirs), Some(common)) = (ksr.bundles.first(), merged.bundles.first())
                && theirs.inception < common.inception
            {
                let text = format!(
                    "{name} begins at {}; what lies before {}, where all requests have begun, is not signed",
                    theirs.inception, common.inception
                );
                console.say(Level::Warning, &text);
            }
        }
        Ok(merged)
    }

    /// KSR-SIZE: the answers with the DNSKEY RRset of all providers.
    fn check_size(&self, bundles: &[Bundle], console: &mut Console<'_>) -> Result<(), Failure> {
        let largest = bundles.iter().map(|b| (merge::answer_octets(b), b.inception)).max();
        let Some((octets, at)) = largest.filter(|(octets, _)| *octets > merge::UDP_OCTETS) else {
            return Ok(());
        };
        let what = format!("KSR-SIZE: bundle {at}: the DNSKEY answer has {octets} octets");
        if octets > merge::LARGE_OCTETS && !self.options.allow_large_answer {
            return Err(Failure::Fatal(format!(
                "{what}, more than {}; have the providers roll their ZSKs one after the other, or use smaller keys; \
                 to go on nonetheless: --allow-large-answer",
                merge::LARGE_OCTETS
            )));
        }
        console.say(Level::Warning, &format!("{what}: over {} it needs TCP", merge::UDP_OCTETS));
        Ok(())
    }

    fn time(&self, text: &Option<String>) -> Result<Option<Timestamp>, Failure> {
        match text {
            Some(text) => syntax::parse(text, self.now).map_err(Failure::usage),
            None => Ok(None),
        }
    }

    /// What the parent has: --parent-ds, or the operator's word.
    fn parent(&self, keys: &[KeyFile]) -> Result<Option<ParentDs>, Failure> {
        let o = self.options;
        let seen = self.time(&o.parent_ds_seen)?.unwrap_or(self.now);
        if let Some(path) = &o.parent_ds {
            let octets = read_ksr(path, &mut io::empty())?;
            let text = String::from_utf8_lossy(&octets);
            let parent = ParentDs::parse(&text, self.zone, seen);
            return parent
                .map(Some)
                .map_err(|e| Failure::Fatal(format!("--parent-ds {}: {e}", path.display())));
        }
        if o.parent_has.is_empty() {
            return Ok(None);
        }
        let mut ds = Vec::new();
        for tag in &o.parent_has {
            let named: Vec<&KeyFile> =
                keys.iter().filter(|key| key.dnskey.is_ksk() && key.dnskey.tag() == *tag).collect();
            let [key] = named.as_slice() else {
                let what =
                    format!("--parent-has {tag}: the key folder has {} KSKs with that tag", named.len());
                return Err(Failure::Fatal(what));
            };
            ds.push(TrustAnchor::Dnskey(key.dnskey.clone()));
        }
        Ok(Some(ParentDs { ds, seen }))
    }

    /// The keys of the folder; sets that cannot be read are skipped with a warning. `tell` picks the other warnings to show.
    fn keys(
        &self,
        console: &mut Console<'_>,
        tell: impl Fn(&KeyFileError) -> bool,
    ) -> Result<Vec<KeyFile>, Failure> {
        let dir = &self.options.folder;
        keygen::open_folder(dir).map_err(Failure::fatal)?;
        let found = files::find(dir, self.zone).map_err(Failure::fatal)?;
        let warnings = found.warnings().into_iter().filter(tell);
        console.folder(&warnings.chain(found.skipped).collect::<Vec<_>>());
        Ok(found.keys)
    }
}

/// Reads a KSR, at most [`MAX_OCTETS`].
fn read_ksr(path: &Path, stdin: &mut dyn Read) -> Result<Vec<u8>, Failure> {
    let fail = |e: io::Error| {
        Failure::Fatal(format!("unable to open KSR file {}: {}", path.display(), keygen::reason(&e)))
    };
    let mut octets = Vec::new();
    let limit = MAX_OCTETS as u64 + 1;
    if path == Path::new("-") {
        stdin.take(limit).read_to_end(&mut octets).map_err(fail)?;
    } else {
        let file = std::fs::File::open(path).map_err(fail)?;
        file.take(limit).read_to_end(&mut octets).map_err(fail)?;
    }
    if octets.len() > MAX_OCTETS {
        return Err(Failure::Fatal(format!(
            "KSR file {} is larger than {MAX_OCTETS} octets; no request is",
            path.display()
        )));
    }
    Ok(octets)
}

#[derive(Clone, Copy)]
enum Level {
    Plain,
    Warning,
    Error,
    Fatal,
}

/// Standard error, with colours and progress for a person.
struct Console<'a> {
    stderr: &'a mut (dyn Write + Send),
    terminal: bool,
    verbosity: u32,
}

impl Console<'_> {
    /// Prints `ksr-gen: <level>: <text>`. What goes wrong there has nowhere to be told.
    fn say(&mut self, level: Level, text: &str) {
        let (word, colour) = match level {
            Level::Plain => ("", ""),
            Level::Warning => ("warning: ", "\x1b[33m"),
            Level::Error => ("error: ", "\x1b[31m"),
            Level::Fatal => ("fatal: ", "\x1b[1;31m"),
        };
        let text = printable(text);
        let _ = if self.terminal && !colour.is_empty() {
            writeln!(self.stderr, "ksr-gen: {colour}{word}\x1b[0m{text}")
        } else {
            writeln!(self.stderr, "ksr-gen: {word}{text}")
        };
    }

    /// Prints with `-v 1` and more.
    fn detail(&mut self, text: &str) {
        if self.verbosity > 0 {
            let _ = writeln!(self.stderr, "{}", printable(text));
        }
    }

    /// Warns of key files.
    fn folder(&mut self, warnings: &[KeyFileError]) {
        for warning in warnings {
            self.say(Level::Warning, &format!("key file {warning}"));
        }
    }

    /// Runs `work`, showing how far it has come when a person looks and it takes a while.
    fn progress<T>(&mut self, total: usize, work: impl FnOnce(&(dyn Fn(usize) + Sync)) -> T) -> T {
        const WORTH_SHOWING: usize = 200;
        if !self.terminal || total < WORTH_SHOWING {
            return work(&|_| {});
        }
        let stderr = Mutex::new(&mut *self.stderr);
        let every = (total / 50).max(1);
        let out = work(&|done| {
            if (done % every == 0 || done == total)
                && let Ok(mut stderr) = stderr.lock()
            {
                let _ = write!(stderr, "\rksr-gen: signed {done} of {total} bundles");
            }
        });
        let _ = writeln!(self.stderr);
        out
    }
}

/// The text without control characters: names and paths come from outside.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}
