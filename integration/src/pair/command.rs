//! `offline-ksk takeover` and `offline-ksk pair`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use keystore::clock;
use keystore::config::Config;
use keystore::config::pair::PairConfig;
use keystore::config::zone_files::InUse;
use keystore::config::zone_files::memory::Program;
use keystore::dns::Name;
use keystore::pair::{
    Facts, Generation, Lease, LeaseError, LeaseFolder, Objection, Origin, Sighting, Skipped, Stage, origin,
    takeover as rules,
};
use serde_json::json;
use signer_plugin::runtime::SignerLock;
use skr_loader::ask::each;
use skr_loader::cli::confirm;

use super::{copy, node, serials, state_lock};

/// How long secondaries may take to say which serials they have.
const LOOK: Duration = Duration::from_secs(8);
/// Zones for each second more.
const ZONES_A_SECOND: usize = 500;
/// Zones whose serials are raised side by side: a file system makes the files of many durable at once.
const RAISED_AT_ONCE: usize = 32;

/// Make this host the active one of its pair
///
/// The lease of the other host must have ended, the state here must come from its takeover (from a copy that was begun after its end, where it
/// has ended in order), and a secondary of each zone must say which serial it has. `offline-ksk serve` on this host follows within seconds. Exit code 1 when something is against it, and nothing was changed.
#[derive(Debug, Args)]
pub struct TakeoverOptions {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Take over whatever is against it. First make sure that the other host does not run
    #[arg(long)]
    force: bool,
    /// Take over also from a copy that was begun before the other host ended in order: what it did since is lost. Overrules nothing else
    #[arg(long)]
    without_last_copy: bool,
    /// Do not ask; for a hook
    #[arg(long)]
    yes: bool,
}

impl TakeoverOptions {
    const fn overrules(&self, objection: &Objection) -> bool {
        self.force || (self.without_last_copy && matches!(objection, Objection::NotLast { .. }))
    }
}

/// The pair that this host belongs to.
#[derive(Debug, Subcommand)]
pub enum PairCommand {
    /// Show which host is active, until when, what the secondaries have, and what is against a takeover by this host
    Status {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy the state of the active host to this one, by a command of yours; on the active host it does nothing
    ///
    /// The command has to make the folder that stands for {} in it a copy of the state folder of the active host. Only when it has ended with exit
    /// code 0, and this host is still the standby, the copy is put in the place of the state here.
    Copy {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// The command, with {} for the folder to copy to
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
}

/// What is known of the pair now.
struct Look {
    pair: PairConfig,
    config: Config,
    lease: Option<Lease>,
    origin: Origin,
    sightings: Vec<Sighting>,
}

impl Look {
    fn objections(&self) -> Vec<Objection> {
        let facts = Facts {
            host: &self.pair.host,
            node: &node(),
            lease: self.lease.as_ref(),
            clock_margin: self.pair.clock_margin,
            origin: &self.origin,
            sightings: &self.sightings,
        };
        rules::objections(&facts, clock::now())
    }
}

fn load(path: &Path) -> Result<(Config, PairConfig)> {
    let in_use = InUse::Remembered(Program::Loader);
    let config = Config::load_without_bad_zone_files(path, in_use, clock::now())?;
    let pair =
        config.pair.clone().context("the configuration has no table [pair]: this host has no second one")?;
    Ok((config, pair))
}

/// Fails for another user than the one whom the state folder belongs to: what it makes the daemon could not change.
fn check_user(state_dir: &Path) -> Result<()> {
    let owner = std::fs::metadata(state_dir).with_context(|| state_dir.display().to_string())?.uid();
    let own = rustix::process::geteuid().as_raw();
    ensure!(owner == own, "{} belongs to user {owner}: run this as that user", state_dir.display());
    Ok(())
}

fn look(config: Config, pair: PairConfig, lease: Option<Lease>) -> Result<Look> {
    let origin = origin::read(&config.state_dir, &pair.host)?;
    let more = (config.zones.len() / ZONES_A_SECOND) as u64;
    let sightings = serials::look(&config, None, LOOK + Duration::from_secs(more));
    Ok(Look { pair, config, lease, origin, sightings })
}

/// Runs `offline-ksk takeover`.
pub fn takeover(options: &TakeoverOptions) -> Result<ExitCode> {
    let (config, pair) = load(&options.config)?;
    check_user(&config.state_dir)?;
    let folder = LeaseFolder::new(&pair.lease_directory);
    folder.list()?.skipped.iter().for_each(|skipped| outln!("{skipped}"));
    let lease = read(&folder, options.force)?;
    if let Some(lease) = &lease
        && lease.host == pair.host
        && origin::read(&config.state_dir, &pair.host)? == Origin::Own(lease.generation)
        && !options.force
    {
        outln!(
            "host {} is the active one already, by takeover {}; offline-ksk serve goes on with it",
            lease.host,
            lease.generation
        );
        return Ok(ExitCode::SUCCESS);
    }
    // While parts run here, or a copy is put in place, nothing else may work on the state.
    let _lock = state_lock(&config.state_dir)
        .context("offline-ksk serve is active here, or a copy is just put in place; stop it, or try again")?;
    let _signer = SignerLock::take(&config.state_dir).context("a signer works in the state folder")?;
    if !options.force {
        watch(&folder, &pair, lease.as_ref())?;
    }
    let look = look(config, pair, lease)?;
    let found = look.objections();
    for objection in &found {
        outln!("{}: {objection}", if options.overrules(objection) { "overruled" } else { "refused" });
    }
    if !found.iter().all(|objection| options.overrules(objection)) {
        outln!("nothing was changed");
        return Ok(ExitCode::FAILURE);
    }
    match &look.lease {
        Some(lease) if lease.host != look.pair.host && !lease.is_released() => outln!(
            "host {} did not end in order: updates that it answered after the last copy of its state was begun may be lost",
            lease.host
        ),
        None if look.origin != Origin::Alone => {
            outln!(
                "there is no lease to read: updates that another host answered since the last copy of its state may be lost"
            );
        }
        _ => {}
    }
    let question = format!("make host {} the active one?", look.pair.host);
    if !confirm(&question, options.yes)? {
        return Ok(ExitCode::FAILURE);
    }
    let held = raise_serials(&look, options.force);
    origin::write_held(&look.config.state_dir, &held)?;
    let lease = claim(&folder, &look, options)?;
    origin::write_own(&look.config.state_dir, lease.generation, &look.pair.host).context(
        "the lease is taken, and the state could not be marked as that of this takeover; try again",
    )?;
    outln!("host {} is the active one by takeover {}", lease.host, lease.generation);
    Ok(ExitCode::SUCCESS)
}

/// The lease; with force one that cannot be read counts as none.
fn read(folder: &LeaseFolder, force: bool) -> Result<Option<Lease>> {
    match folder.read() {
        Err(error @ (LeaseError::Content { .. } | LeaseError::Open { .. })) if force => {
            outln!("overruled: {error}");
            Ok(None)
        }
        read => Ok(read?),
    }
}

/// Looks for so long as the other host has between two renewals whether it makes one, whatever the clocks say.
fn watch(folder: &LeaseFolder, pair: &PairConfig, lease: Option<&Lease>) -> Result<()> {
    let Some(lease) = lease.filter(|lease| lease.host != pair.host && !lease.is_released()) else {
        return Ok(());
    };
    if clock::now() < lease.until(pair.clock_margin) {
        // That is an objection already.
        return Ok(());
    }
    std::thread::sleep(Duration::from_secs(u64::from(pair.renew) + 1));
    let now = folder.read()?;
    ensure!(
        now.as_ref() == Some(lease),
        "host {} has renewed its lease just now, though it has ended by the clock of this host: it is active, or the clocks differ",
        lease.host
    );
    Ok(())
}

/// Lets the serials of each zone go on behind all that are known; gives the zones of which that failed, or which a secondary has under a serial
/// of no host of the pair, unless a person overrules that. Nothing of them may be published: another host may have used the next serial.
fn raise_serials(look: &Look, force: bool) -> BTreeSet<Name> {
    let mut held = if force { BTreeSet::new() } else { rules::held(&look.sightings) };
    let mut seen: BTreeMap<&Name, Vec<u32>> = BTreeMap::new();
    for Sighting { zone, seen: said, .. } in &look.sightings {
        seen.entry(zone).or_default().extend(said.as_ref().ok().copied().flatten());
    }
    let zones = serials::served(&look.config).map(|(zone, _)| zone);
    let zones: Vec<&Name> = zones.filter(|zone| !held.contains(*zone)).collect();
    let none = Vec::new();
    let raised = each(&zones, RAISED_AT_ONCE, |zone| {
        raise_serial(&look.config, zone, seen.get(zone).unwrap_or(&none), force)
    });
    for (zone, result) in zones.into_iter().zip(raised) {
        if let Err(error) = result {
            outln!("{zone}: {error:#}");
            held.insert(zone.clone());
        }
    }
    for zone in &held {
        outln!("held: nothing of {zone} is published until the next takeover (PAIR-CONFLICT)");
    }
    held
}

fn raise_serial(config: &Config, zone: &Name, seen: &[u32], force: bool) -> Result<()> {
    let own = serials::own_serial(config, zone).context(
        "its last serial cannot be read: mend or remove the file that has it, below zones/ or catalogs/ in the state folder, and run offline-ksk takeover again",
    )?;
    let floor = match rules::floor(own, seen) {
        Err(apart) if force => {
            outln!("overruled: {zone}: {apart}");
            rules::floor(own, &[])?
        }
        floor => floor?,
    };
    let Some(floor) = floor else { return Ok(()) };
    serials::raise(config, zone, floor).context("its serials could not be raised")
}

/// Writes the lease of this host, if the last one still is what was looked at.
fn claim(folder: &LeaseFolder, look: &Look, options: &TakeoverOptions) -> Result<Lease> {
    let now = read(folder, options.force)?;
    if !options.force {
        ensure!(now == look.lease, "the lease was changed meanwhile; look again");
        if let Some(objection) = look.objections().iter().find(|objection| !options.overrules(objection)) {
            bail!("{objection}");
        }
    }
    // Also of two that are forced at once each has its own, and none that a state here has seen.
    let of_state = match look.origin {
        Origin::Own(generation) | Origin::Copied { generation, .. } => Some(generation),
        Origin::Alone | Origin::Half => None,
    };
    let last = folder.list()?.highest().max(of_state);
    let renewed = clock::now();
    let lease = Lease {
        host: look.pair.host.clone(),
        node: node(),
        generation: last.map_or(Generation::FIRST, Generation::next),
        renewed,
        expires: renewed.plus(look.pair.lease_duration.into()),
        forced: options.force,
        stage: Stage::Claimed,
    };
    folder.claim(&lease)?;
    Ok(lease)
}

/// Runs `offline-ksk pair`.
pub fn run(command: &PairCommand) -> Result<ExitCode> {
    match command {
        PairCommand::Status { config, json } => status(config, *json),
        PairCommand::Copy { config, command } => {
            let (config, pair) = load(config)?;
            check_user(&config.state_dir)?;
            copy::run(&config.state_dir, &pair, command)
        }
    }
}

fn status(config: &Path, json: bool) -> Result<ExitCode> {
    let (config, pair) = load(config)?;
    let folder = LeaseFolder::new(&pair.lease_directory);
    let (lease, skipped) = (folder.read()?, folder.list()?.skipped);
    let look = look(config, pair, lease)?;
    if json {
        print_json(&look, &skipped)
    } else {
        skipped.iter().for_each(|skipped| outln!("{skipped}"));
        print_text(&look)
    }
    Ok(ExitCode::SUCCESS)
}

/// What the lease makes of this host.
fn role(look: &Look) -> &'static str {
    match &look.lease {
        Some(lease) if lease.host != look.pair.host => "standby",
        Some(lease) if clock::now() < lease.expires => "active",
        Some(_) => "lost",
        None => "none",
    }
}

fn print_text(look: &Look) {
    match (role(look), &look.lease) {
        ("active", _) => outln!("host {} is the active one", look.pair.host),
        ("standby", _) => outln!("host {} is the standby", look.pair.host),
        ("lost", _) => outln!("host {} is the active one by its lease, which has ended", look.pair.host),
        _ => outln!("host {}: no host of the pair has taken over yet", look.pair.host),
    }
    if let Some(lease) = &look.lease {
        outln!(
            "lease: host {} ({}), takeover {}, renewed {}, until {}{}",
            lease.host,
            lease.node,
            lease.generation,
            lease.renewed.iso(),
            lease.expires.iso(),
            if lease.is_released() { " (given back)" } else { "" }
        );
    }
    outln!("state: {}", state_text(&look.origin));
    for Sighting { zone, secondary, own, seen } in &look.sightings {
        let seen = match seen {
            Ok(Some(serial)) => format!("serial {serial}"),
            Ok(None) => "no version".to_owned(),
            Err(cause) => cause.clone(),
        };
        let own = own.map_or_else(|| "none".to_owned(), |own| own.to_string());
        outln!("{zone} at {secondary}: {seen}; here up to {own}");
    }
    if role(look) != "active" {
        let found = look.objections();
        found.iter().for_each(|objection| outln!("against a takeover: {objection}"));
        if found.is_empty() {
            outln!("nothing is against a takeover by this host");
        }
    }
}

fn state_text(origin: &Origin) -> String {
    match origin {
        Origin::Alone => "of no takeover".to_owned(),
        Origin::Own(generation) => format!("of this host, by takeover {generation}"),
        Origin::Copied { generation, made_by, ended } => {
            let ended = if ended.is_some() { ", begun after its end in order" } else { "" };
            format!("a copy of that of host {made_by}, by takeover {generation}{ended}")
        }
        Origin::Half => "a copy that did not come to its end".to_owned(),
    }
}

fn print_json(look: &Look, skipped: &[Skipped]) {
    let lease = look.lease.as_ref().map(|lease| {
        json!({
            "host": lease.host,
            "node": lease.node,
            "generation": lease.generation.number(),
            "renewed": lease.renewed.iso(),
            "expires": lease.expires.iso(),
            "forced": lease.forced,
            "begun": lease.stage != Stage::Claimed,
        })
    });
    let secondaries: Vec<_> = look
        .sightings
        .iter()
        .map(|Sighting { zone, secondary, own, seen }| {
            json!({
                "zone": zone.to_string(),
                "secondary": secondary.to_string(),
                "serial": seen.as_ref().ok(),
                "error": seen.as_ref().err(),
                "own": own,
            })
        })
        .collect();
    let objections: Vec<String> = look.objections().iter().map(ToString::to_string).collect();
    let shown = json!({
        "version": 1,
        "host": look.pair.host,
        "role": role(look),
        "lease": lease,
        "state": state_text(&look.origin),
        "zones": look.config.zones.len(),
        "secondaries": secondaries,
        "against-takeover": objections,
        "skipped": skipped.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    outln!("{shown:#}");
}

#[cfg(test)]
mod tests {
    use keystore::catalog::kept::KeptCatalog;

    use super::*;

    /// The state folder of host b, which is a whole copy of that of host a by takeover 2, and the leases.
    struct Site(tempfile::TempDir);

    impl Site {
        fn new() -> Self {
            let site = Self(tempfile::tempdir().expect("a folder"));
            for folder in ["state", "leases"] {
                std::fs::create_dir(site.path(folder)).expect("a folder");
            }
            let text = "version = 1\nstate-dir = \"state\"\n[signer]\nlisten = [\"127.0.0.1:0\"]\n[[zone]]\nname = \"a.test\"\n\
                signing = \"unsigned\"\nfile = \"zone\"\n[pair]\nhost = \"b\"\nlease-directory = \"leases\"\n\
                lease-duration = 4\nrenew = 1\nclock-margin = 0\n";
            std::fs::write(site.path("c.toml"), text).expect("written");
            origin::write_own(&site.path("state"), SECOND, "a").expect("written");
            site.copied(None);
            site
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// A whole copy came here, begun after the end of host a.
        fn copied(&self, ended: Option<u64>) {
            origin::end_copy(&self.path("state"), "b", ended).expect("written");
        }

        fn folder(&self) -> LeaseFolder {
            LeaseFolder::new(&self.path("leases"))
        }

        /// The lease of host a, which has ended long ago.
        fn of_a(&self) -> Lease {
            let renewed = clock::now().minus(600);
            let (host, node) = ("a".to_owned(), "m/1".to_owned());
            let expires = renewed.plus(4);
            let lease = Lease {
                host,
                node,
                generation: SECOND,
                renewed,
                expires,
                forced: false,
                stage: Stage::Begun,
            };
            self.folder().claim(&lease).expect("claimed");
            lease
        }

        /// Whether host b was made the active one; an error is what was against it.
        fn take_over(&self, force: bool) -> Result<bool> {
            let config = self.path("c.toml");
            let options = TakeoverOptions { config, force, without_last_copy: false, yes: true };
            self.take_over_with(&options)
        }

        fn take_over_with(&self, options: &TakeoverOptions) -> Result<bool> {
            let is_done = takeover(options)? == ExitCode::SUCCESS;
            let lease = self.folder().read()?.context("a lease")?;
            assert_eq!(lease.host == "b", is_done, "the lease names it: {lease:?}");
            Ok(is_done)
        }
    }

    /// Serials follow on those of secondaries also for catalogs that are made here: a consumer would keep to the old ones otherwise.
    #[test]
    fn a_catalog_goes_on_beyond_the_serial_of_its_secondaries_and_is_held_where_there_is_no_such() {
        let time = clock::now().to_rrsig();
        for (own, seen, expected) in [
            // The host before has published after the copy, and its clock was far ahead.
            (time - 100_000, time + 70_000, Some(time + 71_001)),
            (time + 50_000, time + 50_000, Some(time + 51_001)),
            (time - 1_500_000_000, time + 70_000, None),
        ] {
            let site = Site::new();
            site.of_a();
            let config = std::fs::read_to_string(site.path("c.toml")).expect("text");
            let secondary = serials::tests::answering(seen);
            let catalog = format!(
                "[[catalog]]\nzone = \"catalog.test\"\nallow-transfer = [{{ address = \"127.0.0.1\" }}]\nnotify = [\"{secondary}\"]\n"
            );
            std::fs::write(site.path("c.toml"), config + &catalog).expect("written");
            let path = site.path("state/catalogs/catalog.test.");
            std::fs::create_dir(site.path("state/catalogs")).expect("a folder");
            KeptCatalog { serial: own, ..KeptCatalog::default() }.write(&path).expect("written");
            assert!(site.take_over(false).expect("nothing is against it"));
            let kept = KeptCatalog::read(&path).expect("it reads").expect("a file");
            assert_eq!(kept.serial, expected.unwrap_or(own));
            let held = origin::read_held(&site.path("state")).expect("it reads");
            assert_eq!(held.len(), usize::from(expected.is_none()), "{held:?}");
        }
    }

    const SECOND: Generation = Generation::FIRST.next();

    #[test]
    fn what_can_be_no_lease_hinders_no_takeover_and_what_may_be_one_is_for_a_person() {
        let site = Site::new();
        site.of_a();
        std::fs::create_dir(site.path("leases/lease-3")).expect("made");
        std::fs::write(site.path("leases/lease-4"), "torn").expect("written");
        let error = site.take_over(false).expect_err("it is not known who is active").to_string();
        assert!(error.contains("lease-4") && error.contains("remove it"), "{error}");
        std::fs::remove_file(site.path("leases/lease-4")).expect("removed");
        assert!(site.take_over(false).expect("nothing is against it"));
        assert_eq!(site.folder().read().expect("it reads").map(|lease| lease.generation.number()), Some(4));
        // A person can overrule what cannot be read.
        let site = Site::new();
        site.of_a();
        std::fs::write(site.path("leases/lease-3"), "torn").expect("written");
        assert!(site.take_over(true).expect("forced"));
        assert_eq!(site.folder().read().expect("it reads").map(|lease| lease.generation.number()), Some(4));
    }

    /// At a change of hosts on purpose nothing that the first one answered is lost without a word.
    #[test]
    fn after_an_end_in_order_only_a_copy_that_was_begun_after_it_becomes_active_or_what_a_person_forces() {
        let ended_and_copied = |is_last: bool| {
            let site = Site::new();
            let lease = site.of_a();
            let back = lease.given_back(lease.renewed);
            site.folder().renew(&lease, &back).expect("given back");
            let Stage::Ended(number) = back.stage else { panic!("{back:?}") };
            site.copied(is_last.then_some(number));
            site
        };
        assert!(ended_and_copied(true).take_over(false).expect("nothing is against it"));
        let site = ended_and_copied(false);
        assert!(!site.take_over(false).expect("refused"));
        assert!(site.take_over(true).expect("forced"));
        // Where the other host cannot be reached any more; that overrules nothing else.
        let without = |site: &Site| {
            let (config, without_last_copy) = (site.path("c.toml"), true);
            site.take_over_with(&TakeoverOptions { config, force: false, without_last_copy, yes: true })
        };
        assert!(without(&ended_and_copied(false)).expect("nothing else is against it"));
        let site = ended_and_copied(false);
        origin::begin_copy(&site.path("state")).expect("written");
        assert!(!without(&site).expect("half a copy"));
        // Of a host that is lost the last copy counts.
        let site = Site::new();
        site.of_a();
        assert!(site.take_over(false).expect("nothing is against it"));
    }
}
