//! How a command reaches the loader: over its socket when one runs, else by doing the work itself, under the same lock.

use keystore::check::CheckId;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use keystore::config::{Config, ConfigErrors, control_socket_of};
use keystore::time::Timestamp;
use metrics::Metrics;

use super::style::Style;
use crate::Loader;
use crate::checks::FORCEABLE;
use crate::control::job::LoaderJob;
use crate::control::{CallError, ControlAnswer, ControlRequest, FindingReport, call};
use crate::files;
use crate::files::one_line;
use crate::loader::LoaderStartError;
use crate::store::StoreOpenError;
use crate::user::User;

/// Where a loader is looked for that has no configuration here.
pub const STATE_DIR: &str = "/var/lib/offline-ksk";
/// The configuration where none is named.
const CONFIG: &str = "/etc/offline-ksk/offline-ksk.toml";

/// Which loader is meant.
#[derive(Debug, Clone, clap::Args)]
pub struct LoaderArgs {
    /// The configuration file of the loader.
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// Where the running loader listens, instead of what the configuration says.
    #[arg(long, value_name = "SOCKET")]
    pub socket: Option<PathBuf>,
}

impl LoaderArgs {
    /// The socket of the loader.
    pub fn locate(&self) -> Result<PathBuf, CallError> {
        let named = self.socket.clone().or_else(|| Config::locate_control_socket(&self.config));
        if let Some(socket) = named {
            return Ok(socket);
        }
        match unlocated(&self.config) {
            // One that may give commands need not be one that may read the configuration.
            Unlocated::Unread(_) => Ok(control_socket_of(Path::new(STATE_DIR))),
            // Another loader may listen there, and is not meant.
            Unlocated::Silent(what) => Err(CallError::Unlocated(what)),
        }
    }

    /// Asks the running loader on `socket`.
    pub fn call(&self, socket: &Path, request: &ControlRequest) -> Result<ControlAnswer, CallError> {
        call(socket, request).map_err(|error| match error {
            CallError::NoDaemon(socket)
                if self.socket.is_none() && socket == control_socket_of(Path::new(STATE_DIR)) =>
            {
                match unlocated(&self.config) {
                    Unlocated::Unread(what) => CallError::NoConfig { what, socket },
                    Unlocated::Silent(_) => CallError::NoDaemon(socket),
                }
            }
            other => other,
        })
    }

    /// Asks the running loader, or does it here when none runs. `told` is set when it was done here.
    pub fn ask(
        &self,
        request: ControlRequest,
        now: Timestamp,
    ) -> anyhow::Result<(ControlAnswer, CarriedOut)> {
        let socket = self.locate()?;
        match self.call(&socket, &request) {
            Ok(answer) => return Ok((answer, CarriedOut::ByDaemon)),
            Err(CallError::NoDaemon(_)) if self.socket.is_none() => {}
            Err(error) => return Err(error.into()),
        }
        let config = Config::load(&self.config)?;
        keystore::pair::require_active(config.pair.as_ref())?;
        // With two users the state folder is root's, and what the loader writes its own.
        let accepted = std::fs::metadata(config.state_dir.join("accepted"));
        let owner = accepted.or_else(|_| std::fs::metadata(&config.state_dir)).map(|m| m.uid());
        let user = User::current();
        if let Ok(owner) = owner
            && user.uid == 0
            && owner != 0
        {
            let name = User::of(owner).name.unwrap_or_else(|| format!("#{owner}"));
            bail!(
                "no skr-loader runs, and {} belongs to {name}: files of root in it would stop the loader later. Start the loader, or \
                 run this as that user (sudo -u {name} skr-loader ..., with - for FILE where it cannot read it)",
                config.state_dir.display()
            );
        }
        let has_targets = !config.deliver.is_empty();
        let mut loader = match Loader::for_order(config, Metrics::new()?) {
            Ok(loader) => loader,
            Err(error @ LoaderStartError::Store(StoreOpenError::Locked { .. })) => {
                bail!("{error}, or it was started without its socket {}", socket.display());
            }
            Err(error) => return Err(error.into()),
        };
        let answer = match LoaderJob::new(request, user) {
            Ok(job) => job.run(&mut loader, now),
            Err(error) => ControlAnswer::refused(error.to_string()),
        };
        Ok((answer, CarriedOut::Here { has_targets }))
    }
}

/// Why a configuration names no place.
enum Unlocated {
    /// It cannot be read.
    Unread(String),
    /// It reads, and the place is not in it.
    Silent(String),
}

fn unlocated(config: &Path) -> Unlocated {
    match Config::load(config) {
        Err(error @ ConfigErrors::Io { .. }) => Unlocated::Unread(error.to_string()),
        Err(ConfigErrors::Findings(findings)) => {
            let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
            let about = texts.iter().find(|text| text.contains("state-dir")).or(texts.first());
            Unlocated::Silent(about.map_or_else(String::new, |text| files::one_line(text)))
        }
        Err(other) => Unlocated::Silent(files::one_line(&other.to_string())),
        Ok(_) => Unlocated::Silent("it was changed just now; try again".to_owned()),
    }
}

/// Which state folder is meant.
#[derive(Debug, Clone, clap::Args)]
pub struct StateFolderArgs {
    /// The configuration file, which names the state folder.
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// The state folder, instead of what the configuration says.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl StateFolderArgs {
    /// The folder, which is there.
    pub fn locate(&self) -> anyhow::Result<PathBuf> {
        let named = self.state_dir.clone().or_else(|| Config::locate_state_dir(&self.config));
        let dir = match named {
            Some(dir) => dir,
            None => match unlocated(&self.config) {
                Unlocated::Unread(_) if self.config == Path::new(CONFIG) => PathBuf::from(STATE_DIR),
                Unlocated::Unread(what) => bail!("{what}; name the state folder: --state-dir DIR"),
                Unlocated::Silent(what) => {
                    bail!("no state folder is named: {what}; mend that, or say --state-dir DIR")
                }
            },
        };
        is_there(&dir)?;
        Ok(dir)
    }
}

/// Says so when there is no such state folder.
pub fn is_there(state_dir: &Path) -> anyhow::Result<()> {
    let shown = state_dir.display();
    match state_dir.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => bail!("the state folder {shown} is no folder"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "the state folder {shown} is not there; name another (--state-dir DIR, or -c CONFIG), or start skr-loader, which makes it"
        ),
        Err(error) => bail!("the state folder {shown}: {error}"),
    }
}

/// Which process carried the order out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarriedOut {
    /// The running loader.
    ByDaemon,
    /// This process; none runs.
    Here {
        /// The configuration has servers to deliver to.
        has_targets: bool,
    },
}

impl CarriedOut {
    /// What somebody should know of it.
    pub fn note(self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::ByDaemon => Ok(()),
            Self::Here { has_targets: true } => {
                writeln!(out, "no skr-loader runs; it delivers this when it is started")
            }
            Self::Here { has_targets: false } => writeln!(out, "no skr-loader runs"),
        }
    }
}

/// Asks a person; `yes` is the answer of scripts.
pub fn confirm(question: &str, yes: bool) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        bail!("nobody can be asked (standard input is no terminal); say --yes to do it all the same");
    }
    eprint!("{question} [y/N] ");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("no answer")?;
    let yes = ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str());
    if !yes {
        eprintln!("nothing was done");
    }
    Ok(yes)
}

/// A line for each finding.
pub fn print_findings(findings: &[FindingReport], style: Style, out: &mut impl Write) -> io::Result<()> {
    for finding in findings {
        let word = if finding.rejects { style.bad("FAIL") } else { style.warn("warn") };
        let bundle = finding.bundle.as_ref().map_or_else(String::new, |b| format!("bundle {b}: "));
        writeln!(out, "  {word} {:<19}{bundle}{}", finding.id, one_line(&finding.what))?;
    }
    Ok(())
}

/// What can be done about what was refused.
pub fn print_advice(findings: &[FindingReport], out: &mut impl Write) -> io::Result<()> {
    let rejecting: Vec<CheckId> =
        findings.iter().filter(|f| f.rejects).filter_map(|f| f.id.parse().ok()).collect();
    let is_forceable = |id: &CheckId| FORCEABLE.contains(id);
    if rejecting.contains(&CheckId::SkrExpired) {
        writeln!(out, "  next: ask for a new SKR (`ksr-gen request`, or the request in the outbox)")?;
    } else if rejecting.contains(&CheckId::SkrNoPrivateKey) {
        writeln!(
            out,
            "  next: put the key files back into the key folder, from a backup or the other signer"
        )?;
    }
    if !rejecting.is_empty() && rejecting.iter().all(is_forceable) {
        let mut ids = rejecting;
        ids.dedup();
        let flags: Vec<String> = ids.iter().map(|id| format!("--force {id}")).collect();
        writeln!(out, "  if you know better: {} --reason TEXT", flags.join(" "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_without_a_running_loader_is_refused_on_the_standby_which_names_the_active_host() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        for folder in ["state", "leases"] {
            std::fs::create_dir(at(folder)).expect("a folder");
        }
        let text = format!(
            "version = 1\nstate-dir = \"state\"\n[[zone]]\nname = \"a.test\"\npolicy = \"p\"\ntrust-anchors = [\"a.test. DS 1 13 2 {}\"]\n\
             [policy.p]\noffline-ksk = true\nkeys = [{{ role = \"ksk\", lifetime = 0, algorithm = 13 }}, \
             {{ role = \"zsk\", lifetime = 0, algorithm = 13 }}]\n[pair]\nhost = \"b\"\nlease-directory = \"leases\"\n",
            "0123456789ABCDEF".repeat(4)
        );
        std::fs::write(at("c.toml"), text).expect("written");
        let reach = LoaderArgs { config: at("c.toml"), socket: None };
        for (host, number) in [("a", 1), ("b", 2)] {
            let lease = format!(
                "offline-ksk lease 1\nhost {host}\nnode m/1\ngeneration {number}\nrenewed 1800000000\nexpires 1800000060\nforced no\nbegun yes\n"
            );
            std::fs::write(at(&format!("leases/lease-{number}")), lease).expect("written");
            let request = ControlRequest::Rollback {
                zone: "a.test".to_owned(),
                to: None,
                force: Vec::new(),
                reason: None,
                dry_run: false,
            };
            let said = match reach.ask(request, Timestamp::from_secs(1_800_000_000)) {
                Ok((answer, _)) => format!("{answer:?}"),
                Err(error) => error.to_string(),
            };
            let is_refused = said.contains("host a is the active one of the pair, by takeover 1, and not b");
            assert_eq!(is_refused, host == "a", "{said}");
        }
    }
}
