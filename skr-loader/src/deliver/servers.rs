//! The kinds of servers: named, Knot, and the operator's hook.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use keystore::command::{RunError, find_program};
use keystore::config::deliver::{Method, TargetConfig};
use keystore::durable;
use keystore::exchange::knot;
use keystore::exchange::{Bundle, UnverifiedSkr};
use keystore::keys::files::find_online;
use keystore::keys::timing::LackingTimes;
use keystore::time::Timestamp;

use super::command::{CommandError, Runner};
use super::plan::DeliveryPlan;
use super::{Deliver, DeliveryTask};
use crate::probe::Probe;

const PROGRAM: &str = concat!("skr-loader ", env!("CARGO_PKG_VERSION"));
/// The server runs as another user, and SKRs are public.
const MODE: u32 = 0o644;

/// The server of a target.
#[must_use]
pub fn server(target: &TargetConfig, stop: Arc<AtomicBool>) -> (Box<dyn Deliver>, Option<Probe>) {
    let runner = Runner { timeout: Duration::from_secs(target.timeout.into()), stop };
    let probe = target.address.map(|address| Probe::new(address, target.source));
    let name = target.name.clone();
    let server: Box<dyn Deliver> = match &target.method {
        Method::Named { rndc, view, folder } => {
            Box::new(Named { name, rndc: rndc.clone(), view: view.clone(), folder: folder.clone(), runner })
        }
        Method::Knot { keymgr, knotc, folder } => Box::new(Knot {
            name,
            keymgr: keymgr.clone(),
            knotc: knotc.clone(),
            folder: folder.clone(),
            runner,
        }),
        Method::Hook { command } => Box::new(Hook { name, command: command.clone(), runner }),
    };
    (server, probe)
}

/// `FOLDER/TARGET/ZONE.skr`, written whole.
fn put(folder: &Path, target: &str, task: &DeliveryTask<'_>, text: &str) -> Result<PathBuf, CommandError> {
    let folder = folder.join(target);
    // The name of a zone ends in a dot, except that of the root.
    let path =
        folder.join(if task.zone.is_root() { "root.skr".to_owned() } else { task.zone.file_name() + "skr" });
    durable::create_dir_durable(&folder, 0o755)
        .and_then(|()| durable::sweep_temps(&folder))
        .and_then(|_| durable::write(&path, text.as_bytes(), MODE))
        .map_err(|source| CommandError::Write { path: path.clone(), source })?;
    Ok(path)
}

fn words(start: &[String], more: &[&str]) -> Vec<String> {
    start.iter().cloned().chain(more.iter().map(|w| (*w).to_owned())).collect()
}

/// The name of the run of a server that forgets nothing, when the programs of these commands can be run.
fn are_there<'a>(commands: impl IntoIterator<Item = &'a Vec<String>>) -> Result<String, CommandError> {
    let path = std::env::var_os("PATH");
    for program in commands.into_iter().map(|words| words.first().map_or("", String::as_str)) {
        find_program(program, path.as_deref())
            .map_err(|source| RunError::Start { program: program.to_owned(), source })?;
    }
    Ok(String::new())
}

// --- named ----------------------------------------------------------------------------------------------------------

struct Named {
    name: String,
    rndc: Vec<String>,
    view: Option<String>,
    folder: PathBuf,
    runner: Runner,
}

impl Named {
    fn rndc(&self, command: &[&str], task: &DeliveryTask<'_>) -> Result<(), CommandError> {
        let zone = task.zone.to_string();
        let mut words = words(&self.rndc, command);
        words.push(zone);
        words.extend(self.view.iter().flat_map(|view| ["IN".to_owned(), view.clone()]));
        self.runner.run(&words, &[]).map(drop)
    }
}

impl Deliver for Named {
    /// The boot time that `rndc status` tells: named forgets the SKR when it is started again.
    fn instance(&mut self) -> Result<String, CommandError> {
        let text = self.runner.run_unjudged(&words(&self.rndc, &["status"]), &[])?;
        let boot = text.lines().find_map(|line| line.trim().strip_prefix("boot time:"));
        boot.map(|boot| boot.trim().to_owned()).ok_or_else(|| CommandError::Says {
            program: self.rndc.first().cloned().unwrap_or_default(),
            said: "no boot time in the answer to `status`".to_owned(),
        })
    }

    fn plan(&self, bundles: &[Bundle], now: Timestamp) -> DeliveryPlan {
        DeliveryPlan::for_named(bundles, now)
    }

    fn import(&mut self, task: &DeliveryTask<'_>) -> Result<(), CommandError> {
        check_keys(task)?;
        let path = put(&self.folder, &self.name, task, &task.plan.text(task.zone, task.now, PROGRAM))?;
        self.rndc(&["skr", "-import", &path.to_string_lossy()], task)
    }

    /// named misses the boundaries of bundles.
    fn switch(&mut self, task: &DeliveryTask<'_>) -> Result<(), CommandError> {
        check_keys(task)?;
        self.rndc(&["loadkeys"], task)
    }

    /// named takes the signatures of an RRset out of the SKR when one is due, or when its records have changed; not when there is none,
    /// as after `rndc sign`. So the TTL of the RRsets changes by a second for a moment; validators take one that is shorter.
    fn force_reimport(&mut self, task: &DeliveryTask<'_>) -> Result<bool, CommandError> {
        check_keys(task)?;
        let text = task.plan.with_shorter_ttl().text(task.zone, task.now, PROGRAM);
        let path = put(&self.folder, &self.name, task, &text)?;
        self.rndc(&["skr", "-import", &path.to_string_lossy()], task)?;
        Ok(true)
    }

    /// A renewal of signatures that failed, as each does while named has no SKR, is tried again five minutes later, whatever is
    /// imported in between. Reading its configuration sets that time anew. (`rndc sign` takes the KSK's signature away.)
    fn refresh(&mut self) -> Result<bool, CommandError> {
        self.runner.run(&words(&self.rndc, &["reconfig"]), &[])?;
        Ok(true)
    }
}

/// Holds a command back while named's key folder has a key that named cannot stand. named adds every key that its folder publishes to
/// the DNSKEY RRset, which the KSK did not sign like that; and its rekey fails (`dns_keymgr_offline failed: not found`) while there is a
/// KSK, or a ZSK without a Publish or Activate time. Left alone, named goes on with what it serves, and the alarm comes before that
/// expires.
fn check_keys(task: &DeliveryTask<'_>) -> Result<(), CommandError> {
    let Some(slot) = task.plan.at(task.now).and_then(|i| task.plan.slots.get(i)) else { return Ok(()) };
    // One that we cannot read is no reason to stop; the proof will tell.
    let Ok(found) = find_online(task.keys, task.zone) else { return Ok(()) };
    for file in &found.keys {
        let path = file.path("key");
        let path = path.display();
        if file.dnskey.is_ksk() {
            let what = format!(
                "{path} is a KSK in the key folder of named, which could not sign then; move it away"
            );
            return Err(CommandError::Held { what });
        }
        if let Some(lacking) = LackingTimes::of(&file.timing) {
            let what = format!(
                "named cannot switch to another bundle while {path} has no {lacking} time; give it one after the end of the SKR, or move it \
                 away: dnssec-settime -s {} {path}",
                lacking.settime()
            );
            return Err(CommandError::Held { what });
        }
        if file.timing.is_published(task.now) && !slot.bundle.keys().any(|key| key == file.dnskey) {
            let what = format!(
                "named would add {path} to the DNSKEY RRset of the bundle of {}, which the KSK did not sign with it; move it away, or \
                 drop an SKR that has it",
                slot.bundle.inception
            );
            return Err(CommandError::Held { what });
        }
    }
    Ok(())
}

// --- Knot -----------------------------------------------------------------------------------------------------------

/// Knot keeps what it is given and switches by itself.
struct Knot {
    name: String,
    keymgr: Vec<String>,
    knotc: Vec<String>,
    folder: PathBuf,
    runner: Runner,
}

impl Deliver for Knot {
    /// Knot keeps what it was given, so every run of it is the same, and it is reached when its programs are there. knotd is not asked:
    /// Knot 3.4 can lose a `knotc stop` that comes while another command is at work, and a poll every second would make that likely.
    fn instance(&mut self) -> Result<String, CommandError> {
        are_there([&self.keymgr, &self.knotc])
    }

    fn plan(&self, bundles: &[Bundle], now: Timestamp) -> DeliveryPlan {
        DeliveryPlan::as_signed(bundles, now)
    }

    fn import(&mut self, task: &DeliveryTask<'_>) -> Result<(), CommandError> {
        let bundles = task.plan.slots.iter().map(|s| s.bundle.clone()).collect();
        let skr = UnverifiedSkr { zone: task.zone.clone(), bundles };
        let text = knot::print_skr(&skr, knot::Stamps::default(), task.now, PROGRAM);
        let path = put(&self.folder, &self.name, task, &text)?;
        let zone = task.zone.to_string();
        self.runner.run(&words(&self.keymgr, &[&zone, "import-skr", &path.to_string_lossy()]), &[])?;
        self.runner.run(&words(&self.knotc, &["zone-keys-load", &zone]), &[]).map(drop)
    }

    fn switch(&mut self, _: &DeliveryTask<'_>) -> Result<(), CommandError> {
        Ok(())
    }

    /// A zone that could not be signed when knotd was started, for want of an SKR, was not loaded; and keys are loaded for zones that are.
    fn force_reimport(&mut self, task: &DeliveryTask<'_>) -> Result<bool, CommandError> {
        let zone = task.zone.to_string();
        self.runner.run(&words(&self.knotc, &["zone-reload", &zone]), &[])?;
        Ok(true)
    }
}

// --- hook -----------------------------------------------------------------------------------------------------------

struct Hook {
    name: String,
    command: Vec<String>,
    runner: Runner,
}

impl Hook {
    fn run(&self, event: &str, task: &DeliveryTask<'_>) -> Result<(), CommandError> {
        let bundle = task.plan.at(task.now).and_then(|i| task.plan.slots.get(i)).map(|s| &s.bundle);
        let environment = [
            ("OFFLINE_KSK_EVENT", event.to_owned()),
            ("OFFLINE_KSK_TARGET", self.name.clone()),
            ("OFFLINE_KSK_ZONE", task.zone.to_string()),
            ("OFFLINE_KSK_GENERATION", task.generation.to_string()),
            ("OFFLINE_KSK_SKR", task.skr.to_string_lossy().into_owned()),
            ("OFFLINE_KSK_FORMAT", "bind".to_owned()),
            ("OFFLINE_KSK_INCEPTION", bundle.map_or_else(String::new, |b| b.inception.to_string())),
            ("OFFLINE_KSK_EXPIRATION", bundle.map_or_else(String::new, |b| b.expiration().to_string())),
        ];
        self.runner.run(&self.command, &environment).map(drop)
    }
}

impl Deliver for Hook {
    /// A hook is reached when its program is there; whether what is behind it can be reached, only running it tells.
    fn instance(&mut self) -> Result<String, CommandError> {
        are_there([&self.command])
    }

    fn plan(&self, bundles: &[Bundle], now: Timestamp) -> DeliveryPlan {
        DeliveryPlan::as_signed(bundles, now)
    }

    fn import(&mut self, task: &DeliveryTask<'_>) -> Result<(), CommandError> {
        self.run("generation", task)
    }

    fn switch(&mut self, task: &DeliveryTask<'_>) -> Result<(), CommandError> {
        self.run("switch", task)
    }
}
