//! `offline-ksk zone`: zones come and go as files of `zones-directory`, without a restart.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use keystore::catalog::kept::KeptCatalog;
use keystore::config::catalog;
use keystore::config::zone_files::memory::{self, Program};
use keystore::config::zone_files::{InUse, ZoneSource, release};
use keystore::config::{Config, Signing, Verify, ZoneConfig};
use keystore::dns::Name;
use keystore::{clock, durable, policy, store};
use serde::Serialize;
use skr_loader::control::{CallError, ControlAnswer, ControlRequest, call};

/// `offline-ksk zone`.
#[derive(Debug, clap::Subcommand)]
pub enum ZoneFileCommand {
    /// Add a zone: write its file into the folder of `zones-directory`, and tell the running programs
    ///
    /// Nothing is written unless the whole zone reads. What is not given here (key-directory, notify, ...) is as the configuration has it, or can be
    /// added to the file.
    Add(AddOptions),
    /// Remove a zone: remove its file from the folder of `zones-directory`, and tell the running programs
    ///
    /// Keys, accepted SKRs and requests of the zone stay where they are; when the zone is added again, it goes on with them.
    Remove(RemoveOptions),
    /// Let zones go whose files are gone, though they are more than zones-max-removal allows at once
    ///
    /// Such zones stay in use until then (condition CONFIG-REJECTED): a folder that is not mounted looks as one that was emptied.
    Release(ReleaseOptions),
    /// Show the zones, with policy and the file that configures each, or catalog and template. Exit code 1 when zone files have errors
    List(ListOptions),
}

/// `offline-ksk zone add`.
#[derive(Debug, clap::Args)]
pub struct AddOptions {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The zone
    zone: Name,
    /// Its policy; may be left out where the configuration has one policy
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// The unsigned zone, where this host serves it
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The zone is served without DNSSEC records: it has no policy, no keys and no trust anchor
    #[arg(long, conflicts_with_all = ["policy", "trust_anchor", "trust_anchor_file", "presigned"])]
    unsigned: bool,
    /// Also unsigned when the zone has an accepted SKR, so that a DS may stand at its parent
    #[arg(long, requires = "unsigned")]
    yes: bool,
    /// The zone file is signed already, and is verified and served as it is: it has no policy and no keys here
    #[arg(long, conflicts_with = "policy")]
    presigned: bool,
    /// A KSK that an SKR must be signed by, as DS or DNSKEY record; may be given several times
    #[arg(long, value_name = "RECORD", required_unless_present_any = ["trust_anchor_file", "unsigned", "presigned"])]
    trust_anchor: Vec<String>,
    /// A file with such records
    #[arg(long, value_name = "FILE")]
    trust_anchor_file: Option<PathBuf>,
}

/// `offline-ksk zone remove`.
#[derive(Debug, clap::Args)]
pub struct RemoveOptions {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The zone
    zone: Name,
    /// Also when the zone has an accepted SKR, so that it may be served signed
    #[arg(long)]
    yes: bool,
}

/// `offline-ksk zone release`.
#[derive(Debug, clap::Args)]
pub struct ReleaseOptions {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Zones that may go
    #[arg(required_unless_present = "all")]
    zones: Vec<Name>,
    /// All zones that are held
    #[arg(long, conflicts_with = "zones")]
    all: bool,
}

/// `offline-ksk zone list`.
#[derive(Debug, clap::Args)]
pub struct ListOptions {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(command: &ZoneFileCommand) -> Result<ExitCode> {
    match command {
        ZoneFileCommand::Add(options) => add(options),
        ZoneFileCommand::Remove(options) => remove(options),
        ZoneFileCommand::Release(options) => release(options),
        ZoneFileCommand::List(options) => list(options),
    }
}

// --- add ------------------------------------------------------------------------------------------------------------

fn add(options: &AddOptions) -> Result<ExitCode> {
    let zone = &options.zone;
    let config = read(&options.config)?;
    let folder = folder_of(&config, &options.config)?;
    check_pair(&config, folder)?;
    if let Some(known) = config.zones.iter().find(|known| known.name == *zone) {
        bail!("{zone} is there already, in {}", place(known, &options.config).display());
    }
    if !folder.is_dir() {
        bail!(
            "the folder {} is not there; mount it, or make it where it never had a zone file",
            folder.display()
        );
    }
    let is_held = |known: &ZoneConfig| {
        matches!(known.source, ZoneSource::ZoneFile(_)) && config.zone_files.held.contains(&known.name)
    };
    let holds = config.zones.iter().any(|known| is_held(known));
    if let Some(errors) = config.zone_file_errors().filter(|_| holds) {
        bail!("the folder {} is not as it was; nothing is added to it:\n{errors}", folder.display());
    }
    let policy = match &options.policy {
        _ if options.signing().is_some() => None,
        Some(policy) => Some(policy.clone()),
        None => Some(only_policy(&options.config)?),
    };
    if options.signing().is_some() && options.file.is_none() {
        bail!("a zone that is not signed here needs --file");
    }
    let accepted = config.state_dir.join("accepted");
    if options.unsigned && !options.yes && !matches!(store::read_current(&accepted, zone), Ok(None)) {
        bail!(
            "{zone} has an accepted SKR; while a DS stands at the parent, resolvers answer SERVFAIL for an unsigned zone. \
             Remove the DS first and wait for its TTL; then say --yes"
        );
    }
    let file = folder.join(file_name(zone));
    let text = zone_file(options, policy.as_deref())?;
    let with = Config::load_with_zone_file(&options.config, &file, text.as_bytes(), clock::now())?;
    let added =
        with.zones.iter().find(|added| added.name == *zone).context("the new file does not name the zone")?;
    durable::write_new(&file, text.as_bytes(), 0o644)
        .with_context(|| format!("cannot write {}", file.display()))?;
    // A zone that was removed a minute ago and is back is guarded again.
    release::withdraw(&config.state_dir, std::slice::from_ref(zone), clock::now())
        .with_context(|| format!("{zone} is added, and may go without a further release for ten minutes"))?;
    let signing = options.signing().unwrap_or_default().as_str();
    let with = policy.map_or_else(|| signing.to_owned(), |policy| format!("with policy {policy}"));
    outln!("{zone}: added, {with}, in {}", file.display());
    let told = tell(&options.config, &config, &Change::Added(&file));
    next_steps(&config, added);
    Ok(told)
}

/// The name of the file of a zone, without the final dot of the zone: dots at the start would hide it. That of the root is `@`, which no other
/// zone has.
fn file_name(zone: &Name) -> String {
    let name = zone.file_name();
    let name = name.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or("@");
    format!("{name}.toml")
}

/// The policy of a configuration that has only one.
fn only_policy(config: &Path) -> Result<String> {
    let policies = policy::load(config)?;
    let names: Vec<&str> = policies.names().collect();
    match names[..] {
        [only] => Ok(only.to_owned()),
        [] => bail!("{} has no policy; add [policy.NAME] to it", config.display()),
        _ => bail!("say which policy the zone has: --policy {}", names.join(" or --policy ")),
    }
}

impl AddOptions {
    /// Who signs the zone, where it is not signed here.
    fn signing(&self) -> Option<Signing> {
        let presigned = self.presigned.then_some(Signing::Presigned(Verify::default()));
        presigned.or(self.unsigned.then_some(Signing::Unsigned))
    }
}

/// The text of the file of a new zone; without a policy it is not signed here.
fn zone_file(options: &AddOptions, policy: Option<&str>) -> Result<String> {
    let absolute = |path: &Path| -> Result<String> {
        let path = std::path::absolute(path).with_context(|| path.display().to_string())?;
        let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        quoted(text)
    };
    let mut text = String::from("[[zone]]\n");
    writeln!(text, "name = {}", quoted(&options.zone.to_string())?)?;
    match policy {
        Some(policy) => writeln!(text, "policy = {}", quoted(policy)?)?,
        None => writeln!(text, "signing = {}", quoted(options.signing().unwrap_or_default().as_str())?)?,
    }
    if !options.trust_anchor.is_empty() {
        text.push_str("trust-anchors = [\n");
        for anchor in &options.trust_anchor {
            writeln!(text, "  {},", quoted(anchor)?)?;
        }
        text.push_str("]\n");
    }
    if let Some(file) = &options.trust_anchor_file {
        writeln!(text, "trust-anchor-file = {}", absolute(file)?)?;
    }
    if let Some(file) = &options.file {
        writeln!(text, "file = {}", absolute(file)?)?;
    }
    Ok(text)
}

/// A string of TOML: those of JSON are ones, too.
fn quoted(text: &str) -> Result<String> {
    Ok(serde_json::to_string(text)?)
}

/// Says what becomes of a new zone.
fn next_steps(config: &Config, zone: &ZoneConfig) {
    let label = zone.name.zone_label();
    let folder = |kind: &str| config.state_dir.join(kind);
    if !zone.is_signed_here() {
        return;
    }
    outln!("what happens next:");
    if config.ksr.enabled {
        let outbox = store::zone_dir(&folder("outbox"), &zone.name);
        outln!(
            "- the request timer makes the ZSKs in {} and writes a request (KSR) to {}",
            zone.key_directory.display(),
            outbox.display()
        );
    } else {
        outln!("- make the ZSKs and a request: ksr-gen keygen, ksr-gen request");
    }
    outln!(
        "- the KSK side signs the request (ksr-gen sign), and its answer (SKR) is dropped into {}",
        folder("inbox").display()
    );
    match (&config.signer, &zone.file) {
        (Some(_), Some(file)) => outln!(
            "- from then on {label} is served, signed, from {}; before that queries for it are answered with SERVFAIL",
            file.display()
        ),
        (Some(_), None) => outln!(
            "- this host does not serve {label}: its file says nothing of the unsigned zone (file = \"...\")"
        ),
        (None, _) => outln!("- from then on its keys and signatures are handed to the servers of [deliver]"),
    }
    outln!("- last the parent publishes the DS of the KSK");
}

// --- remove ---------------------------------------------------------------------------------------------------------

fn remove(options: &RemoveOptions) -> Result<ExitCode> {
    let zone = &options.zone;
    let config = read(&options.config)?;
    let Some(known) = config.zones.iter().find(|known| known.name == *zone) else {
        if let Some(errors) = config.zone_file_errors() {
            bail!("{zone} is in no zone file that reads; these have errors:\n{errors}");
        }
        bail!("{zone} is no zone of {}", options.config.display());
    };
    let file = match &known.source {
        ZoneSource::ZoneFile(file) => {
            check_pair(&config, file)?;
            file
        }
        ZoneSource::MainFile => bail!(
            "{zone} is configured in {} itself; remove its [[zone]] there, and reload",
            options.config.display()
        ),
        ZoneSource::Member(member) => bail!(
            "{zone} is of the catalog {}; take it out of the catalog at its primary. When it is held here, say zone release {zone}",
            member.catalog
        ),
    };
    if let Some(other) = config.zones.iter().find(|other| other.source == known.source && other.name != *zone)
    {
        bail!(
            "{} has other zones, too ({}); remove the [[zone]] of {zone} there",
            file.display(),
            other.name
        );
    }
    if let Some(table) = named_by(&config, zone) {
        bail!("{zone} is named in zones of {table} of {}; take it out there first", options.config.display());
    }
    let accepted = config.state_dir.join("accepted");
    // One that does not read may be in force all the same.
    let is_signed = !matches!(store::read_current(&accepted, zone), Ok(None));
    if is_signed && !options.yes {
        bail!(
            "{zone} has an accepted SKR, so that it may be served signed; while a DS stands at the parent, resolvers cannot do without it. \
             Remove the DS first and wait for its TTL, or have others serve the zone; then say --yes"
        );
    }
    let text = config.zone_files.texts.iter().find(|text| text.path == *file);
    let now = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if text.is_none_or(|text| text.text.as_bytes() != now) {
        bail!("{} is another one than was read; try again", file.display());
    }
    // First, since a program may see at once that the file is gone.
    let released = std::slice::from_ref(zone);
    release::write(&config.state_dir, released, clock::now())
        .with_context(|| format!("the release of {zone} cannot be noted; nothing is removed"))?;
    if let Err(error) = durable::remove(file) {
        release::withdraw(&config.state_dir, released, clock::now())?;
        return Err(error).with_context(|| format!("cannot remove {}", file.display()));
    }
    outln!("{zone}: removed, with {}", file.display());
    let told = tell(&options.config, &config, &Change::Removed(released));
    outln!(
        "its keys in {} and what lies for it below {} stay; remove them by hand when the zone never comes back",
        known.key_directory.display(),
        config.state_dir.display()
    );
    Ok(told)
}

/// The table of the main file that names the zone in its `zones`.
fn named_by(config: &Config, zone: &Name) -> Option<String> {
    let deliver =
        config.deliver.iter().find(|target| target.zones.as_ref().is_some_and(|z| z.contains(zone)));
    let probe = config.probe.as_ref().filter(|probe| probe.zones.contains(zone));
    deliver
        .map(|target| format!("[[deliver]] {}", target.name))
        .or_else(|| probe.map(|_| "[probe]".to_owned()))
}

// --- release --------------------------------------------------------------------------------------------------------

fn release(options: &ReleaseOptions) -> Result<ExitCode> {
    let config = read(&options.config)?;
    keystore::pair::require_active(config.pair.as_ref())?;
    // A daemon may hold what would be free to go now, and another one what this one has let go.
    let mut held = config.zone_files.held.clone();
    held.extend(memory::held(&config.state_dir));
    held.retain(|zone| !is_in_a_file(&config, zone));
    held.extend(held_in_catalogs(&config));
    held.sort();
    held.dedup();
    // A zone that is configured nowhere may be held in a catalog.
    let is_configured = |zone: &Name| config.zones.iter().any(|known| known.name == *zone);
    if let Some(other) = options.zones.iter().find(|zone| !held.contains(zone) && is_configured(zone)) {
        bail!("{other} is not held: it is configured");
    }
    let released = if options.all { &held } else { &options.zones };
    if released.is_empty() {
        outln!("no zone is held");
        return Ok(ExitCode::SUCCESS);
    }
    release::write(&config.state_dir, released, clock::now())?;
    for zone in released {
        outln!("{zone}: released");
    }
    Ok(tell(&options.config, &config, &Change::Removed(released)))
}

/// The zones that catalogs hold, as far as what is kept of them can be read. They may be configured, and not be of the catalog any more.
fn held_in_catalogs(config: &Config) -> impl Iterator<Item = Name> {
    let kept =
        config.catalogs.made.iter().filter_map(|made| {
            KeptCatalog::read(&catalog::path(&config.state_dir, &made.zone)).ok().flatten()
        });
    kept.flat_map(|kept| kept.held)
}

/// True when the zone is in use and not held.
fn is_in_a_file(config: &Config, zone: &Name) -> bool {
    config.zones.iter().any(|known| known.name == *zone) && !config.zone_files.held.contains(zone)
}

// --- list -----------------------------------------------------------------------------------------------------------

/// A zone, as it is printed.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    zone: String,
    /// Who makes its DNSSEC records.
    signing: &'static str,
    /// `None` for a zone that is not signed here.
    policy: Option<&'a str>,
    /// The file that configures it, or the template of the zone of a catalog.
    configured_in: PathBuf,
    /// The catalog that it comes from.
    catalog: Option<String>,
    /// The unsigned zone.
    file: Option<&'a Path>,
    /// It has an accepted SKR.
    accepted: bool,
}

fn list(options: &ListOptions) -> Result<ExitCode> {
    let config = read(&options.config)?;
    let accepted = config.state_dir.join("accepted");
    let mut zones: Vec<Listed<'_>> = config
        .zones
        .iter()
        .map(|zone| Listed {
            zone: zone.name.zone_label(),
            signing: zone.versions.signing.as_str(),
            policy: zone.is_signed_here().then_some(&*zone.policy.name),
            configured_in: place(zone, &options.config),
            catalog: catalog_of(zone).map(Name::zone_label),
            file: zone.file.as_deref(),
            accepted: store::accepted_mark(&accepted, &zone.name).is_some(),
        })
        .collect();
    zones.sort_by(|a, b| a.zone.cmp(&b.zone));
    if options.json {
        outln!("{}", serde_json::to_string_pretty(&zones)?);
    } else {
        let width = zones.iter().map(|zone| zone.zone.len()).max().unwrap_or(0);
        let policy = zones.iter().map(|zone| zone.policy.map_or(1, str::len)).max().unwrap_or(0);
        for zone in &zones {
            let skr = match (zone.policy, zone.accepted) {
                (None, _) => zone.signing,
                (Some(_), true) => "accepted SKR",
                (Some(_), false) => "no SKR yet",
            };
            let catalog = zone.catalog.as_ref().map(|catalog| format!(" (catalog {catalog})"));
            outln!(
                "{:width$}  {:policy$}  {skr:12}  {}{}",
                zone.zone,
                zone.policy.unwrap_or("-"),
                zone.configured_in.display(),
                catalog.unwrap_or_default()
            );
        }
    }
    let Some(errors) = config.zone_file_errors() else { return Ok(ExitCode::SUCCESS) };
    eprintln!("{errors}");
    Ok(if errors.is_of_catalogs_only() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

// --- all ------------------------------------------------------------------------------------------------------------

/// The configuration as a loader that starts now would use it.
fn read(path: &Path) -> Result<Config> {
    Ok(Config::load_without_bad_zone_files(path, InUse::Remembered(Program::Loader), clock::now())?)
}

/// Below the state folder zone files are copied from the active host of a pair, and only changed there.
fn check_pair(config: &Config, file: &Path) -> Result<()> {
    if file.starts_with(&config.state_dir) {
        keystore::pair::require_active(config.pair.as_ref())?;
    }
    Ok(())
}

fn folder_of<'a>(config: &'a Config, path: &Path) -> Result<&'a Path> {
    config.zone_files.folder.as_deref().with_context(|| {
        format!(
            "{} names no folder for files of zones; write zones-directory = \"zones.d\" into it, below state-dir, and reload",
            path.display()
        )
    })
}

/// The file that configures a zone, or the template of the zone of a catalog.
fn place(zone: &ZoneConfig, main: &Path) -> PathBuf {
    match &zone.source {
        ZoneSource::MainFile => main.to_owned(),
        ZoneSource::ZoneFile(file) => file.to_path_buf(),
        ZoneSource::Member(member) => member.template(),
    }
}

/// The catalog that a zone comes from.
fn catalog_of(zone: &ZoneConfig) -> Option<&Name> {
    match &zone.source {
        ZoneSource::MainFile | ZoneSource::ZoneFile(_) => None,
        ZoneSource::Member(member) => Some(&member.catalog),
    }
}

/// What a command has done to the folder.
enum Change<'a> {
    /// This file is new.
    Added(&'a Path),
    /// These zones may go.
    Removed(&'a [Name]),
}

impl Change<'_> {
    /// Whether a loader that has found `findings` and holds the zones `held` has taken it.
    fn is_taken(&self, findings: &[String], held: &[String]) -> bool {
        match self {
            Self::Added(file) => {
                let start = format!("{}:", file.display());
                !findings.iter().any(|finding| finding.starts_with(&start))
            }
            Self::Removed(zones) => {
                !held.iter().any(|held| Name::parse(held).is_ok_and(|held| zones.contains(&held)))
            }
        }
    }
}

/// Has the running loader (or `serve`) read the configuration again, and says what came of it. A request timer beside it looks at the folder
/// itself.
fn tell(path: &Path, config: &Config, change: &Change<'_>) -> ExitCode {
    let socket = Config::locate_control_socket(path).unwrap_or_else(|| config.control_socket());
    match call(&socket, &ControlRequest::Reload {}) {
        Ok(ControlAnswer::Reloaded { zones, .. }) => {
            outln!("the running loader has taken it: {zones} zone(s) now")
        }
        Ok(ControlAnswer::PartlyReloaded { findings, held, .. }) if change.is_taken(&findings, &held) => {
            outln!("the running loader has taken it; not all of the zone files:\n{}", findings.join("\n"));
        }
        Ok(ControlAnswer::PartlyReloaded { findings, .. }) => {
            eprintln!("the running loader has not taken it:\n{}", findings.join("\n"));
            return ExitCode::FAILURE;
        }
        Ok(ControlAnswer::NotReloaded { findings }) => {
            eprintln!("the running loader works on with the old configuration:\n{}", findings.join("\n"));
            return ExitCode::FAILURE;
        }
        Ok(ControlAnswer::Refused { why, .. }) => {
            eprintln!("the running loader has not taken it: {why}");
            return ExitCode::FAILURE;
        }
        Ok(_) => {
            eprintln!("the running loader gives another answer than was asked for; see its log");
            return ExitCode::FAILURE;
        }
        Err(CallError::NoDaemon(_) | CallError::NoConfig { .. }) => {
            outln!("no loader runs here; it is taken when one starts");
        }
        Err(error) => outln!("the running loader was not told ({error}); it looks at the folder itself"),
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_not_taken_when_the_new_file_has_errors_or_the_zone_is_held() {
        let (file, other) = (Path::new("/d/a.test.toml"), "/d/b.toml:1: x".to_owned());
        let added = Change::Added(file);
        assert!(added.is_taken(std::slice::from_ref(&other), &[]));
        assert!(!added.is_taken(&[other.clone(), "/d/a.test.toml:5: y".to_owned()], &[]));
        let zones = [Name::parse("a.test").expect("a name")];
        let removed = Change::Removed(&zones);
        assert!(removed.is_taken(std::slice::from_ref(&other), &["b.test.".to_owned()]));
        assert!(!removed.is_taken(&[other], &["b.test.".to_owned(), "A.test.".to_owned()]));
    }

    #[test]
    fn each_zone_has_a_file_name_of_its_own_that_is_read() {
        for (zone, file) in [
            ("example.net", "example.net.toml"),
            ("EXAMPLE.net.", "example.net.toml"),
            (".", "@.toml"),
            ("root", "root.toml"),
            ("\\@", "%40.toml"),
            ("1/2.0.192.in-addr.arpa", "1%2F2.0.192.in-addr.arpa.toml"),
            ("a\\.b.test", "a%2Eb.test.toml"),
        ] {
            assert_eq!(file_name(&Name::parse(zone).expect("a name")), file);
        }
    }
}
