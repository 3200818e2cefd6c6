//! `--all`: one file with the requests of all zones, and one with the responses to them ([`exchange::many`](many)).
//!
//! Each zone is looked at, so that one run tells everything that is wrong. A request is made for all zones or for none; what is signed are
//! the requests of the zones that are not refused.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use keystore::config::{Config, ZoneConfig};
use keystore::dns::Name;
use keystore::exchange::many::{self, MAX_FILE_OCTETS, ZoneSection};
use keystore::keys::files::Folder;
use keystore::output::Protected;
use keystore::policy::{self, Policy};
use keystore::shared::Shared;
use keystore::time::Timestamp;

use super::ceremony::Ceremony;
use super::collected::{Collected, some};
use super::columns::put;
use super::files::{read_line, read_up_to};
use super::options::CommandLine;
use super::report::ReportPurpose;
use super::{
    Console, Ending, Failure, Job, Level, Listener, check, for_zone, load_policy, output, report, request,
    sign, time,
};
use crate::keygen;
use crate::rollover::ParentDs;

/// What is read once for all zones.
#[derive(Debug)]
pub(super) struct ZoneInput<'a> {
    /// The key folder, listed.
    pub(super) folder: &'a Folder,
    /// The zone's part of the KSR.
    pub(super) request: Option<ZoneSection<'a>>,
    /// The zone's part of `--previous`.
    pub(super) previous: Option<&'a [u8]>,
    /// What the parent has of the zone.
    pub(super) parent: Option<&'a ParentDs>,
}

/// A zone with its policy and key folder.
struct Zone {
    name: Name,
    policy: Policy,
    /// See [`Job::largest_ttl`].
    largest_ttl: Option<u32>,
    folder: PathBuf,
}

/// Runs `request --all`, `check --all` or `sign --all`; the text, and how it ended.
pub(super) fn run(
    line: &CommandLine,
    now: Timestamp,
    stdin: &mut dyn Read,
    listener: Listener,
    console: &mut Console<'_>,
) -> Result<(String, Ending), Failure> {
    let (word, file) = match line.words.as_slice() {
        [word] if word == "request" || word == "sign" => (word.as_str(), None),
        [word, file] if word == "check" => (word.as_str(), Some(Path::new(file))),
        [_] | [] => {
            return Err(Failure::usage(
                "--all goes with request and sign, and with `check KSR`; for the keys give one zone",
            ));
        }
        _ => return Err(Failure::usage("with --all give no zone name")),
    };
    if !line.ceremony.parent_has.is_empty() {
        return Err(Failure::usage("--parent-has names the key of one zone; with --all give --parent-ds"));
    }
    if !line.ceremony.new_zsk.is_empty() || !line.ceremony.gone_zsk.is_empty() {
        let text = "--new-zsk and --gone-zsk name keys of one zone; sign the request of that zone by itself";
        return Err(Failure::usage(text));
    }
    let Some(config) = &line.common.config else {
        return Err(Failure::Usage(format!("{word} requires a configuration file; give it with -l FILE")));
    };
    let (start, end) = (time(&line.common.start, now)?, time(&line.common.end, now)?);
    if end.is_none() && file.is_none() {
        return Err(Failure::Usage(format!("{word} requires an end date; give it with -e TIME")));
    }
    if word == "sign" && line.sign.ksr.len() != 1 {
        return Err(Failure::usage("'sign --all' requires one KSR file; give it with -f FILE"));
    }
    let source = ZoneSource::new(line, config, console)?;
    if let ZoneSource::Tables(zones) = &source {
        let folders = zones.values().map(|zone| &zone.folder);
        output(line, folders.fold(Protected::new(), Protected::key_folder))?;
    }
    let all = All { line, now, start, end, source };
    match file {
        Some(file) => all.check(file, stdin, console),
        None if word == "request" => Ok((all.request(console)?, Ending::Good)),
        None => all.sign(stdin, listener, console),
    }
}

/// Where zones, policies and key folders come from.
enum ZoneSource {
    /// The `[[zone]]` tables of an `offline-ksk.toml`, by the name in lower case.
    Tables(BTreeMap<Name, Zone>),
    /// All zones have one policy and one key folder.
    Same(Box<Policy>),
}

impl ZoneSource {
    fn new(line: &CommandLine, path: &Path, console: &mut Console<'_>) -> Result<Self, Failure> {
        if has_tables(path) {
            let config = Config::load(path).map_err(Failure::fatal)?;
            config.warnings.iter().for_each(|warning| console.say(Level::Warning, &warning.to_string()));
            let wanted =
                |policy: &Policy| line.common.policy.as_ref().is_none_or(|name| *name == policy.name);
            let files = policy::load(path).map_err(Failure::fatal)?.files().to_vec();
            let anchors = config.zones.iter().filter_map(|zone| zone.anchor_file.clone());
            output(line, Protected::new().inputs(files).inputs(anchors))?;
            let table = |zone: Shared<ZoneConfig>| {
                let zone = zone.into_inner();
                let (policy, largest_ttl) = for_zone(line, zone.policy.into_inner(), path, &zone.name)?;
                let folder = zone.key_directory;
                Ok((zone.name.to_lowercase(), Zone { name: zone.name, policy, largest_ttl, folder }))
            };
            let zones = config.zones.into_iter().filter(|zone| zone.is_signed_here() && wanted(&zone.policy));
            return zones.map(table).collect::<Result<_, _>>().map(Self::Tables);
        }
        let Some(policy) = &line.common.policy else {
            return Err(Failure::usage("a dnssec-policy is required; give its name with -k POLICY"));
        };
        if line.common.largest_ttl.is_some() {
            let text = "--largest-ttl is that of one zone; with --all and one policy for all zones set its max-zone-ttl";
            return Err(Failure::usage(text));
        }
        Ok(Self::Same(Box::new(load_policy(line, path, policy, console)?)))
    }

    /// The zone, with the key folder of the command line where this is about KSKs.
    fn zone(&self, name: &Name, ksks: Option<&Path>, line: &CommandLine) -> Option<Zone> {
        let (policy, largest_ttl, folder) = match self {
            Self::Tables(tables) => {
                let zone = tables.get(&name.to_lowercase())?;
                (zone.policy.clone(), zone.largest_ttl, zone.folder.as_path())
            }
            Self::Same(policy) => ((**policy).clone(), None, line.common.folder.as_path()),
        };
        Some(Zone { name: name.clone(), policy, largest_ttl, folder: ksks.unwrap_or(folder).to_owned() })
    }
}

/// True for an `offline-ksk.toml`: a TOML file with zones.
pub(super) fn has_tables(path: &Path) -> bool {
    std::fs::read_to_string(path)
        .is_ok_and(|text| text.lines().any(|line| line.replace([' ', '\t'], "").starts_with("[[zone]]")))
}

struct All<'a> {
    line: &'a CommandLine,
    now: Timestamp,
    start: Option<Timestamp>,
    /// `check` takes the end that each request names, where none is given.
    end: Option<Timestamp>,
    source: ZoneSource,
}

/// The files of a ceremony, read once.
struct Files {
    /// The requests, or the file that is checked.
    requests: Vec<u8>,
    /// The SKRs of `--previous`; empty where the option is not given.
    previous: Vec<u8>,
    /// `--parent-ds`, by the zone in lower case.
    parents: HashMap<Name, ParentDs>,
}

impl All<'_> {
    fn request(&self, console: &mut Console<'_>) -> Result<String, Failure> {
        let mut folders = Folders::default();
        let zones: Vec<Zone> = match &self.source {
            ZoneSource::Tables(tables) => {
                tables.values().filter_map(|zone| self.source.zone(&zone.name, None, self.line)).collect()
            }
            ZoneSource::Same(_) => {
                let mut names: Vec<Name> =
                    folders.get(&self.line.common.folder)?.zones().filter_map(zone_of_file_name).collect();
                names.sort_unstable();
                names.iter().filter_map(|name| self.source.zone(name, None, self.line)).collect()
            }
        };
        if zones.is_empty() {
            return Err(Failure::fatal(
                "there is no zone to make a request for: no keys in the folder of -K",
            ));
        }
        let mut out = Collected::of(zones.len());
        for zone in &zones {
            let folder = folders.get(&zone.folder)?;
            let part = ZoneInput { folder, request: None, previous: None, parent: None };
            out.add(&zone.name, console, |console| {
                self.job(zone, part, |job| request::request(job, self.line, console))
            });
        }
        out.finish(console)
    }

    fn sign(
        &self,
        stdin: &mut dyn Read,
        listener: Listener,
        console: &mut Console<'_>,
    ) -> Result<(String, Ending), Failure> {
        let path = self.line.sign.ksr.first().map_or(Path::new("-"), PathBuf::as_path);
        let files = self.read(path, stdin)?;
        let requests = self.sections(path, &files)?;
        if listener == Listener::Person && !self.line.sign.yes && path != Path::new("-") {
            let Reports { text, refused } =
                self.reports(path, &files, &requests, ReportPurpose::Sign, console)?;
            let _ = write!(console.stderr, "{text}");
            let _ = match (requests.len() - refused.len(), refused.len()) {
                (0, _) => {
                    return Err(Failure::Fatal("every request is refused and nothing is signed".to_owned()));
                }
                (zones, 0) => write!(console.stderr, "Sign the requests of these {zones} zones? Type yes: "),
                (zones, not) => write!(
                    console.stderr,
                    "Sign the requests of the {zones} other zones, and leave out these {not}: {}? Type yes: ",
                    some(&refused)
                ),
            };
            let _ = console.stderr.flush();
            if read_line(stdin).trim() != "yes" {
                return Err(Failure::Fatal("not signed: the answer was not yes".to_owned()));
            }
        }
        let mut folders = Folders::default();
        let folder = folders.get(&self.line.common.folder)?;
        let mut out = Collected::of(requests.len());
        for (name, part) in self.parts(folder, &requests) {
            let Some(zone) = self.source.zone(name, Some(&self.line.common.folder), self.line) else {
                out.refuse(name, "it is no [[zone]] of the configuration", console);
                continue;
            };
            out.add(&zone.name, console, |console| {
                if self.line.ceremony.previous.is_some() && part.previous.is_none() {
                    console.say(Level::Warning, "the file of --previous has nothing for it");
                }
                self.job(&zone, part, |job| {
                    let ceremony = Ceremony::new(job, self.line, ReportPurpose::Sign);
                    sign::sign(&ceremony, self.line, &mut io::empty(), Listener::Nobody, console)
                })
            });
        }
        out.finish_partly(console)
    }

    /// `check --all`: the hash of the file, and the report on each zone.
    fn check(
        &self,
        path: &Path,
        stdin: &mut dyn Read,
        console: &mut Console<'_>,
    ) -> Result<(String, Ending), Failure> {
        let files = self.read(path, stdin)?;
        let requests = self.sections(path, &files)?;
        // Of each policy once; the keys of single zones are looked at when they sign.
        let mut seen: Vec<String> = Vec::new();
        for request in &requests {
            let zone = self.source.zone(&request.zone, Some(&self.line.common.folder), self.line);
            if let Some(zone) = zone.filter(|zone| !seen.contains(&zone.policy.name)) {
                check::open_stores(&zone.policy, &[], console);
                seen.push(zone.policy.name);
            }
        }
        let Reports { text, refused } =
            self.reports(path, &files, &requests, ReportPurpose::Check, console)?;
        Ok((text, Ending::of(refused.is_empty())))
    }

    fn reports(
        &self,
        path: &Path,
        files: &Files,
        requests: &[Request<'_>],
        purpose: ReportPurpose,
        console: &mut Console<'_>,
    ) -> Result<Reports, Failure> {
        let (file, json) = (path.display().to_string(), self.line.check.json);
        let mut folders = Folders::default();
        let folder = folders.get(&self.line.common.folder)?;
        let (mut text, mut zones) = (report::file_text(&file, &files.requests), Vec::new());
        let mut refused: Vec<String> = Vec::new();
        for (name, part) in self.parts(folder, requests) {
            let octets = part.request.map_or(&[][..], |section| section.octets);
            let zone = self.source.zone(name, Some(&self.line.common.folder), self.line);
            let zone = zone.ok_or_else(|| Failure::fatal("it is no [[zone]] of the configuration"));
            console.zone = Some(name.to_string());
            let report = zone.and_then(|zone| {
                let part_of = format!("{file}, the part of {name}");
                self.job(&zone, part, |job| {
                    let ceremony = Ceremony::new(job, self.line, purpose);
                    check::check(&ceremony, octets, &part_of, json, &mut io::empty(), console)
                })
            });
            console.zone = None;
            let (report, good) = match report {
                Ok(report) => report,
                // A part that does not read has no report.
                Err(failure) if json => {
                    let what = failure.into_text();
                    let value = serde_json::json!({ "zone": name.to_string(), "error": what, "good": false });
                    (value.to_string(), false)
                }
                Err(failure) => {
                    let what = failure.into_text();
                    let mut text = String::new();
                    put(&mut text, "zone       ", &name.to_string());
                    put(&mut text, "REFUSED    ", &what);
                    (text, false)
                }
            };
            if !good {
                refused.push(name.to_string());
            }
            if json {
                zones.push(serde_json::from_str(&report).unwrap_or_default());
            } else {
                text.push('\n');
                text.push_str(&report);
            }
        }
        if json {
            let text = format!("{:#}\n", report::file_json(&file, &files.requests, zones));
            return Ok(Reports { text, refused });
        }
        let verdict = match refused.as_slice() {
            [] => format!("{} zones, all fit to be signed", requests.len()),
            names => format!("REFUSED: {} of {} zones: {}", names.len(), requests.len(), some(names)),
        };
        text.push('\n');
        put(&mut text, "verdict    ", &verdict);
        Ok(Reports { text, refused })
    }

    fn read(&self, path: &Path, stdin: &mut dyn Read) -> Result<Files, Failure> {
        let o = &self.line.ceremony;
        let requests = read_up_to(path, stdin, MAX_FILE_OCTETS)?;
        let previous = match &o.previous {
            Some(path) => read_up_to(path, stdin, MAX_FILE_OCTETS)?,
            None => Vec::new(),
        };
        let seen = time(&o.parent_ds_seen, self.now)?.unwrap_or(self.now);
        let parents = match &o.parent_ds {
            Some(path) => {
                let octets = read_up_to(path, stdin, MAX_FILE_OCTETS)?;
                ParentDs::parse_all(&String::from_utf8_lossy(&octets), seen)
                    .map_err(|e| Failure::Fatal(format!("--parent-ds {}: {e}", path.display())))?
            }
            None => HashMap::new(),
        };
        Ok(Files { requests, previous, parents })
    }

    /// The requests, each with what else there is of its zone.
    fn sections<'a>(&self, path: &Path, files: &'a Files) -> Result<Vec<Request<'a>>, Failure> {
        let previous: HashMap<Name, &[u8]> = match &self.line.ceremony.previous {
            Some(path) => {
                let sections = sections(path, &files.previous)?;
                sections.into_iter().map(|(zone, s)| (zone.to_lowercase(), s.octets)).collect()
            }
            None => HashMap::new(),
        };
        let request = |(zone, section): (Name, ZoneSection<'a>)| {
            let key = zone.to_lowercase();
            let (previous, parent) = (previous.get(&key).copied(), files.parents.get(&key));
            Request { zone, section, previous, parent }
        };
        Ok(sections(path, &files.requests)?.into_iter().map(request).collect())
    }

    fn parts<'a>(
        &self,
        folder: &'a Folder,
        requests: &'a [Request<'a>],
    ) -> impl Iterator<Item = (&'a Name, ZoneInput<'a>)> {
        requests.iter().map(move |request| {
            let Request { zone, section, previous, parent } = request;
            (zone, ZoneInput { folder, request: Some(*section), previous: *previous, parent: *parent })
        })
    }

    /// Runs the command for one zone.
    fn job<T>(
        &self,
        zone: &Zone,
        part: ZoneInput<'_>,
        run: impl FnOnce(&Job<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let job = Job {
            zone: &zone.name,
            policy: &zone.policy,
            largest_ttl: zone.largest_ttl,
            folder: &zone.folder,
            now: self.now,
            start: self.start,
            end: self.end,
            part: Some(part),
        };
        run(&job)
    }
}

/// The reports on all zones.
struct Reports {
    text: String,
    /// The zones whose request is refused.
    refused: Vec<String>,
}

/// One zone's part of the ceremony.
struct Request<'a> {
    zone: Name,
    section: ZoneSection<'a>,
    previous: Option<&'a [u8]>,
    parent: Option<&'a ParentDs>,
}

/// The zones of a file with their parts. A part without a zone, and a zone with two, are refused: nothing is left out silently.
fn sections<'a>(path: &Path, octets: &'a [u8]) -> Result<Vec<(Name, ZoneSection<'a>)>, Failure> {
    let fail = |line: u32, what: &str| Failure::Fatal(format!("bad file {}({line}): {what}", path.display()));
    let mut out: Vec<(Name, ZoneSection<'a>)> = Vec::new();
    let mut lines: HashMap<Name, u32> = HashMap::new();
    for section in many::split(octets).map_err(|e| fail(1, &e.to_string()))? {
        let Some(zone) = section.zone() else {
            return Err(fail(
                section.line,
                "no record, and so no zone, between here and the next closing line",
            ));
        };
        if let Some(first) = lines.insert(zone.to_lowercase(), section.line) {
            let what = format!("{zone} was there before, at line {first}; each zone once");
            return Err(fail(section.line, &what));
        }
        out.push((zone, section));
    }
    Ok(out)
}

/// The zone in the name of a key file, where other octets than `0-9 a-z - _` stand as `%XX`.
pub(super) fn zone_of_file_name(name: &str) -> Option<Name> {
    let mut parts = name.split('%');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        text.push_str(&format!("\\{:03}{rest}", u8::from_str_radix(hex, 16).ok()?));
    }
    Name::parse(&text).ok()
}

/// Key folders, each listed once.
#[derive(Default)]
struct Folders(HashMap<PathBuf, Folder>);

impl Folders {
    fn get(&mut self, dir: &Path) -> Result<&Folder, Failure> {
        if !self.0.contains_key(dir) {
            keygen::open_folder(dir)?;
            self.0.insert(dir.to_owned(), Folder::scan(dir).map_err(Failure::fatal)?);
        }
        self.0.get(dir).ok_or_else(|| Failure::Fatal(format!("{}: not listed", dir.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_of_key_file_names() {
        for text in ["example.org.", ".", "1/2.0.192.in-addr.arpa.", "a\\.b.test.", "*.test."] {
            let zone = Name::parse(text).expect("a name");
            assert_eq!(zone_of_file_name(&zone.file_name()), Some(zone));
        }
        for wrong in ["a%", "a%2", "a%zz.", "a..b."] {
            assert_eq!(zone_of_file_name(wrong), None, "{wrong}");
        }
    }
}
