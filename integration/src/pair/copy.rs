//! `offline-ksk pair copy`: a copy of the active host's state is made beside the state here, and put in its place when it is whole.
//!
//! ```text
//! STATE-DIR/.pair-copy/   what the command of the operator makes; as long as it takes, nothing here changes
//! STATE-DIR/*             each file and folder is exchanged with that of the copy: under the lock, while this host is the standby
//! ```
//! Whether the active host had ended in order is looked at before the command begins: only such a copy has all that the host did.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use keystore::config::pair::PairConfig;
use keystore::durable;
use keystore::lock::LockFile;
use keystore::pair::{Lease, LeaseFolder, Origin, Stage, origin};
use rustix::fs::{CWD, RenameFlags};
use signer_plugin::runtime::SignerLock;

use super::state_lock;

/// Folder of the copy, in the state folder: an exchange needs both on one file system.
const STAGING: &str = ".pair-copy";
/// What each host has for itself: what its processes report, whether a copy is whole, and what was dropped here and nobody has judged yet.
const OWN: [&str; 4] = ["health", "pair-copied", "pair-held", "inbox"];

/// Has the command copy the state of the active host, and puts the copy in place of the state in `state_dir`.
pub fn run(state_dir: &Path, pair: &PairConfig, command: &[OsString]) -> Result<ExitCode> {
    let folder = LeaseFolder::new(&pair.lease_directory);
    let Some(active) = active(&folder, pair)? else { return Ok(ExitCode::SUCCESS) };
    let _alone = LockFile::take(&state_dir.join(".pair-copy.lock")).context("another copy is being made")?;
    let staging = state_dir.join(STAGING);
    durable::create_own_dir(&staging, 0o700)?;
    let words: Vec<OsString> = command.iter().map(|word| filled(word, &staging)).collect();
    let (program, arguments) = words.split_first().context("there is no command")?;
    let status = Command::new(program).args(arguments).status();
    let status = status.with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(status.success(), "{} ended with {status}; the state here is as it was", program.display());
    let found = origin::read_made(&staging)?;
    ensure!(
        found == Some((active.generation, active.host.clone())),
        "the copy is not of the state of host {} by takeover {}: is it made from there, into {}?",
        active.host,
        active.generation,
        staging.display()
    );
    sync(state_dir)?;
    let ended = put_in_place(&folder, pair, &active, state_dir, &staging)?;
    let made = if ended.is_some() { ", which has ended in order: nothing is missing" } else { "" };
    outln!("the state is a copy of that of host {} by takeover {}{made}", active.host, active.generation);
    Ok(ExitCode::SUCCESS)
}

/// The lease of the other host; `None` where this one has it.
fn active(folder: &LeaseFolder, pair: &PairConfig) -> Result<Option<Lease>> {
    let lease = folder.read()?.context("no host of the pair has taken over yet")?;
    if lease.host == pair.host {
        outln!("host {} is the active one: nothing is copied", lease.host);
        return Ok(None);
    }
    Ok(Some(lease))
}

/// Exchanges the state with the copy, unless this host may have become the active one meanwhile. Gives the number with which the other host had
/// ended in order, where it had before the copy was begun, and has not begun again.
fn put_in_place(
    folder: &LeaseFolder,
    pair: &PairConfig,
    copied: &Lease,
    state_dir: &Path,
    staging: &Path,
) -> Result<Option<u64>> {
    let _lock = state_lock(state_dir).context("the parts of the active host run here, or it takes over")?;
    // A thread that waits for a token may end long after the parts.
    let _signer = SignerLock::take(state_dir).context("a signer works in the state folder")?;
    let now = folder.read()?;
    ensure!(
        now.as_ref().is_some_and(|now| now.host == copied.host && now.generation == copied.generation),
        "another takeover was made meanwhile; the state here is as it was"
    );
    if let Ok(Origin::Own(own)) = origin::read(state_dir, &pair.host) {
        ensure!(
            own < copied.generation,
            "the state here is that of this host by takeover {own}, which is no older than takeover {} of the lease: an older lease was put in place",
            copied.generation
        );
    }
    let ended = match copied.stage {
        Stage::Ended(number) if now.as_ref() == Some(copied) => Some(number),
        _ => None,
    };
    origin::begin_copy(state_dir)?;
    exchange(state_dir, staging).context("the copy is put in place in part; copy again")?;
    sync(state_dir)?;
    origin::end_copy(state_dir, &pair.host, ended)?;
    Ok(ended)
}

/// Exchanges each file and folder of the state with that of the copy; what one of them has alone goes to the other.
fn exchange(state_dir: &Path, staging: &Path) -> io::Result<()> {
    let (here, copied) = (names(state_dir)?, names(staging)?);
    for name in here.union(&copied) {
        let (state, copy) = (state_dir.join(name), staging.join(name));
        match (here.contains(name), copied.contains(name)) {
            (true, true) => rustix::fs::renameat_with(CWD, &state, CWD, &copy, RenameFlags::EXCHANGE)?,
            (true, false) => fs::rename(&state, &copy)?,
            (false, _) => fs::rename(&copy, &state)?,
        }
    }
    Ok(())
}

/// What is copied of a state folder: files and folders, without what each host has for itself.
fn names(folder: &Path) -> io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let is_own = name.as_bytes().starts_with(b".") || OWN.iter().any(|own| name == **own);
        if !is_own && (kind.is_file() || kind.is_dir()) {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Makes all that was written to the file system of the folder durable.
fn sync(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fs::File::open(folder)?)?)
}

/// The word with the folder in place of each `{}`.
fn filled(word: &OsString, folder: &Path) -> OsString {
    let (mut rest, mut out) = (word.as_bytes(), Vec::new());
    while let Some(at) = rest.windows(2).position(|two| two == b"{}") {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(folder.as_os_str().as_bytes());
        rest = &rest[at + 2..];
    }
    out.extend_from_slice(rest);
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use keystore::pair::Generation;
    use keystore::time::Timestamp;

    use super::*;

    const TWO: Generation = Generation::FIRST.next();

    /// The state folders of an active host a and a standby b, and their leases.
    struct Site(tempfile::TempDir);

    impl Site {
        fn new() -> Self {
            let site = Self(tempfile::tempdir().expect("a folder"));
            for (host, zone) in [("a", "new"), ("b", "old")] {
                fs::create_dir_all(site.path(&format!("{host}/zones/x."))).expect("a folder");
                fs::write(site.path(&format!("{host}/zones/x./serial")), zone).expect("written");
                fs::create_dir_all(site.path(&format!("{host}/inbox"))).expect("a folder");
                fs::write(site.path(&format!("{host}/inbox/{host}.skr")), "").expect("written");
            }
            fs::write(site.path("b/gone"), "").expect("written");
            fs::create_dir(site.path("leases")).expect("a folder");
            origin::write_own(&site.path("a"), TWO, "a").expect("written");
            site.take_over("a", TWO);
            site
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.0.path().join(name)
        }

        fn take_over(&self, host: &str, generation: Generation) {
            let now = Timestamp::from_secs(1_800_000_000);
            let (host, node) = (host.to_owned(), "m".to_owned());
            let lease = Lease {
                host,
                node,
                generation,
                renewed: now,
                expires: now.plus(60),
                forced: false,
                stage: Stage::Begun,
            };
            LeaseFolder::new(&self.path("leases")).claim(&lease).expect("claimed");
        }

        /// Copies to host b by a shell command in which `$1` is the folder to copy to.
        fn copy(&self, script: &str) -> Result<ExitCode> {
            let pair = PairConfig {
                host: "b".to_owned(),
                lease_directory: self.path("leases"),
                lease_duration: 60,
                renew: 15,
                clock_margin: 5,
            };
            let script = script.replace("STATE", &self.path("a").display().to_string());
            let command = ["sh", "-c", &script, "sh", "{}"].map(OsString::from);
            run(&self.path("b"), &pair, &command)
        }

        fn origin(&self) -> Origin {
            origin::read(&self.path("b"), "b").expect("it reads")
        }

        fn zone(&self) -> String {
            fs::read_to_string(self.path("b/zones/x./serial")).expect("it is there")
        }
    }

    fn copied(ended: Option<u64>) -> Origin {
        Origin::Copied { generation: TWO, made_by: "a".to_owned(), ended }
    }

    const WHOLE: &str = "rm -rf \"$1\"/* && cp -a STATE/. \"$1\"";

    #[test]
    fn a_whole_copy_takes_the_place_of_the_state_and_what_is_the_hosts_own_stays() {
        let site = Site::new();
        for zone in ["new", "newer", "newest"] {
            fs::write(site.path("a/zones/x./serial"), zone).expect("written");
            site.copy(WHOLE).expect("copied");
            assert_eq!((site.zone().as_str(), site.origin()), (zone, copied(None)));
            assert!(!site.path("b/gone").exists() && site.path("b/inbox/b.skr").exists());
            assert!(!site.path("b/inbox/a.skr").exists());
        }
    }

    #[test]
    fn a_copy_is_the_last_one_only_where_it_was_begun_after_the_host_had_ended_and_it_has_not_begun_again() {
        let site = Site::new();
        let (folder, lease) = (LeaseFolder::new(&site.path("leases")), site.path("leases/lease-2"));
        let running = folder.read().expect("it reads").expect("a lease");
        let ended = running.given_back(running.renewed.plus(30));
        let Stage::Ended(number) = ended.stage else { panic!("{ended:?}") };
        // It has begun again, the clock was set back, and it ends at the same second.
        let texts = [&running, &ended, &ended.given_back(ended.renewed)].map(|lease| {
            folder.renew(&folder.read().expect("it reads").expect("a lease"), lease).expect("written");
            fs::read_to_string(site.path("leases/lease-2")).expect("text")
        });
        let [runs, ends, ends_again] = [0, 1, 2];
        for (before, after, expected) in [
            (runs, runs, None),
            (runs, ends, None),
            (ends, runs, None),
            (ends, ends_again, None),
            (ends, ends, Some(number)),
        ] {
            fs::write(&lease, &texts[before]).expect("written");
            fs::write(site.path("after"), &texts[after]).expect("written");
            site.copy(&format!("{WHOLE}; cp STATE/../after {}", lease.display())).expect("copied");
            assert_eq!(site.origin(), copied(expected), "{before} {after}");
        }
    }

    #[test]
    fn half_a_copy_or_one_of_another_state_changes_nothing() {
        for (what, script, said) in [
            ("it fails at once", "exit 1", "as it was"),
            ("it ends half-way", "cp -a STATE/. \"$1\"; exit 12", "as it was"),
            ("it is killed", "cp -a STATE/. \"$1\"; kill -9 $$", "as it was"),
            ("it copies nothing", "true", "not of the state of host a"),
            ("it copies to another place", "cp -a STATE/. $(mktemp -d)", "not of the state of host a"),
            ("an older state", "cp -a STATE/. \"$1\"; echo 1 a > \"$1\"/pair-generation", "not of the state"),
            ("another host", "cp -a STATE/. \"$1\"; echo 2 c > \"$1\"/pair-generation", "not of the state"),
        ] {
            let site = Site::new();
            let error = site.copy(script).expect_err(what).to_string();
            assert!(error.contains(said), "{what}: {error}");
            assert_eq!((site.zone().as_str(), site.origin()), ("old", Origin::Alone), "{what}");
            site.copy(WHOLE).expect("copied");
            // What was whole stays so, whatever the next copy comes to.
            site.copy(script).expect_err(what);
            assert_eq!((site.zone().as_str(), site.origin()), ("new", copied(None)), "{what}");
        }
    }

    #[test]
    fn no_copy_is_put_in_place_under_parts_that_run_over_a_takeover_or_over_a_later_state() {
        let site = Site::new();
        let lock = state_lock(&site.path("b")).expect("free");
        let error = site.copy(WHOLE).expect_err("parts run");
        assert!(error.to_string().contains("run here"), "{error}");
        drop(lock);
        let signer = SignerLock::take(&site.path("b")).expect("free");
        let error = site.copy(WHOLE).expect_err("a thread of a signer has not ended");
        assert!(error.to_string().contains("a signer works"), "{error}");
        assert_eq!((site.zone().as_str(), site.origin()), ("old", Origin::Alone));
        drop(signer);
        origin::write_own(&site.path("b"), TWO, "b").expect("written");
        let error = site.copy(WHOLE).expect_err("a later state").to_string();
        assert!(error.contains("no older than"), "{error}");
        assert_eq!((site.zone().as_str(), site.origin()), ("old", Origin::Own(TWO)));
        // A takeover while the command runs.
        let site = Site::new();
        let leases = site.path("leases");
        let text = fs::read_to_string(leases.join("lease-2")).expect("a lease");
        let text = text.replace("host a", "host b").replace("generation 2", "generation 3");
        fs::write(site.path("next"), text).expect("written");
        let script = format!("{WHOLE}; cp {}/next {}/lease-3", site.0.path().display(), leases.display());
        let error = site.copy(&script).expect_err("a takeover").to_string();
        assert!(error.contains("another takeover"), "{error}");
        assert_eq!((site.zone().as_str(), site.origin()), ("old", Origin::Alone));
        // From then on this host is the active one.
        site.copy("exit 1").expect("nothing is done");
    }
}
