//! The lease: which host is the active one, by which takeover, and until when.
//!
//! A folder on storage that both hosts share has a file for each takeover, whose name is its number. The highest number counts.
//!
//! ```text
//! offline-ksk lease 1
//! host a
//! node ns1.example.net/8c7d1f2e-64f4-4c43-b1f1-0d2c7c0a5d0e
//! generation 7
//! renewed 1800000000
//! expires 1800000060
//! forced no
//! begun yes
//! ```
//! `node` is the machine, by its name and the ID of its boot: two with one `host` in their configuration are told apart by the latter. `begun` is
//! yes once the host was active, and `ended NUMBER`, with a random number, when it has ended in order and given the lease back. Times are Unix
//! seconds. The name of the file is `lease-7`. Nothing is locked, so a host that hangs keeps nobody
//! from taking over:
//!
//! - A takeover makes the file of the next number, which must not be there: of two hosts one can (`rename` without replacing, or `link`).
//! - A host renews its own file alone, where that is as it has left it, and looks before *and after* whether there is a higher number or another
//!   has written its file: only when that is not so may it go on. So whatever a host that was stopped in a renewal writes later changes nothing.
//! - The host that has taken over reads the file before its own once more, and waits for the end that it says.
//!
//! A folder, a FIFO, a socket or a device that has the name of a lease was made by no host of a pair: it is skipped, told of as [`Skipped`], and
//! the next takeover has a number beyond it. A regular file of the highest number that cannot be read or is no lease, or a link, which may lead
//! to one, may say that another host is active: each call fails until a person has looked.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::generation::Generation;
use crate::durable;
use crate::open::{self, Links, OpenError};
use crate::time::Timestamp;

/// First line of a file.
const HEAD: &str = "offline-ksk lease 1";
/// Largest file that is read, in octets.
const MAX_OCTETS: u64 = 4096;
/// Files of earlier takeovers that stay beside the newest one.
const KEPT: usize = 3;

/// What the file of a takeover says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The active host.
    pub host: String,
    /// Its machine: a name for people, a slash, and the ID of its boot.
    pub node: String,
    /// The takeover by which it is.
    pub generation: Generation,
    /// When it was last renewed.
    pub renewed: Timestamp,
    /// When it ends, unless it is renewed again.
    pub expires: Timestamp,
    /// True when a person took over against objections: the end of the lease before is not waited for.
    pub forced: bool,
    /// How far the host has come with it.
    pub stage: Stage,
}

/// How far a host has come with its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has taken over, and was not active yet.
    Claimed,
    /// It was active by it, and may be.
    Begun,
    /// It has ended in order and given it back. No two ends have the same number, whatever the clock says.
    Ended(u64),
}

/// Why the lease was not read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// A file cannot be opened.
    #[error(
        "{path}: {source}; it may say that another host is active: mend what keeps it from being read, or remove it if no host of the pair has written it",
        path = path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: OpenError,
    },
    /// The folder, or a file of it, cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The folder or the file.
        path: PathBuf,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// A file is no lease.
    #[error(
        "{path}, line {line}: this is no lease, and may have been one: look at it, and remove it if no host of the pair has written it",
        path = path.display()
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// The first line that is not as it should be.
        line: usize,
    },
    /// Another host has taken over, or this one by another takeover.
    #[error("the lease names host {} by takeover {}", .0.host, .0.generation)]
    Superseded(Lease),
    /// There is none of this takeover or a later one.
    #[error("{path}: there is no lease here: its storage may not be there", path = .0.display())]
    Missing(PathBuf),
}

/// Something with the name of a lease that is none, since no host of a pair makes such: it counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    path: PathBuf,
    generation: Generation,
    kind: &'static str,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: it is a {}, and leases are regular files: it is skipped; look at it, and remove it",
            self.path.display(),
            self.kind
        )
    }
}

/// What a folder of leases has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Takeovers of which there is a file, in order.
    generations: Vec<Generation>,
    /// What has the name of a lease and is none, in order.
    pub skipped: Vec<Skipped>,
}

impl Listing {
    /// The highest number of a takeover that has a file, or whose name something else has.
    #[must_use]
    pub fn highest(&self) -> Option<Generation> {
        let skipped = self.skipped.last().map(|skipped| skipped.generation);
        self.generations.last().copied().max(skipped)
    }
}

/// Where the leases lie.
#[derive(Debug, Clone)]
pub struct LeaseFolder {
    path: PathBuf,
}

impl LeaseFolder {
    /// The leases in this folder.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The lease of the newest takeover; `None` when no host has ever taken over.
    ///
    /// # Errors
    /// When the folder cannot be read, or what may be the newest lease cannot: another host may be active by it.
    pub fn read(&self) -> Result<Option<Lease>, LeaseError> {
        self.newest(|_| true)
    }

    /// The newest lease of a takeover before this one; `None` when there is none.
    ///
    /// # Errors
    /// The same as of [`Self::read`].
    pub fn read_before(&self, generation: Generation) -> Result<Option<Lease>, LeaseError> {
        self.newest(|other| other < generation)
    }

    /// What has the names of leases in this folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Listing, LeaseError> {
        let failed = |source| LeaseError::Io { path: self.path.clone(), source };
        let (mut generations, mut skipped) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("lease-"));
            let Some(generation) = number.and_then(Generation::parse) else { continue };
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_file() || kind.is_symlink() => generations.push(generation),
                Ok(kind) => skipped.push(Skipped { path, generation, kind: open::type_name(kind) }),
                // The other host has removed it, since it was an old one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // It may be one; an old one decides nothing.
                Err(_) => generations.push(generation),
            }
        }
        generations.sort_unstable();
        skipped.sort_unstable_by_key(|skipped| skipped.generation);
        Ok(Listing { generations, skipped })
    }

    /// The lease of the highest number that `counts`.
    fn newest(&self, counts: impl Fn(Generation) -> bool) -> Result<Option<Lease>, LeaseError> {
        let find = || {
            let listed = self.list()?.generations;
            Ok::<_, LeaseError>(listed.into_iter().rev().find(|generation| counts(*generation)))
        };
        let Some(newest) = find()? else { return Ok(None) };
        match self.read_one(newest) {
            // The other host has removed it since, as an old one.
            Err(LeaseError::Open { source: OpenError::Io(error), .. })
                if error.kind() == io::ErrorKind::NotFound =>
            {
                find()?.map(|generation| self.read_one(generation)).transpose()
            }
            read => read.map(Some),
        }
    }

    /// The lease of a takeover of which there is a file.
    fn read_one(&self, generation: Generation) -> Result<Lease, LeaseError> {
        let path = self.file(generation);
        let mut file = match open::for_reading(&path, Links::Refuse) {
            Ok((file, _)) => file.take(MAX_OCTETS),
            Err(source) => return Err(LeaseError::Open { path, source }),
        };
        let mut octets = Vec::new();
        file.read_to_end(&mut octets).map_err(|source| LeaseError::Io { path: path.clone(), source })?;
        match Lease::parse(&String::from_utf8_lossy(&octets)) {
            Ok(lease) if lease.generation == generation => Ok(lease),
            Ok(_) => Err(LeaseError::Content { path, line: 4 }),
            Err(line) => Err(LeaseError::Content { path, line }),
        }
    }

    /// Takes over: writes the lease of a takeover that there was not yet.
    ///
    /// # Errors
    /// [`LeaseError::Superseded`] when there is that takeover, or a later one, by now.
    pub fn claim(&self, lease: &Lease) -> Result<(), LeaseError> {
        if let Some(newest) = self.read_at_least(lease.generation)? {
            return Err(LeaseError::Superseded(newest));
        }
        let path = self.file(lease.generation);
        match durable::write_new(&path, lease.to_text().as_bytes(), 0o644) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A network file system may say so of what it has made at the first try, of which the answer was lost.
                match self.read_one(lease.generation)? {
                    found if found == *lease => {}
                    other => return Err(LeaseError::Superseded(other)),
                }
            }
            Err(source) => return Err(LeaseError::Io { path, source }),
        }
        self.prune();
        Ok(())
    }

    /// Writes the lease of a takeover anew, where it still is `before`: with a later end, or with none, to give it back.
    ///
    /// # Errors
    /// [`LeaseError::Superseded`] when there is a later takeover, or another process has written this one, whether it came before or while this
    /// was written: then nothing may be published by it. [`LeaseError::Missing`] when the folder has no lease of this takeover.
    pub fn renew(&self, before: &Lease, lease: &Lease) -> Result<(), LeaseError> {
        self.check(before)?;
        let path = self.file(lease.generation);
        durable::write(&path, lease.to_text().as_bytes(), 0o644)
            .map_err(|source| LeaseError::Io { path, source })?;
        self.check(lease)
    }

    fn check(&self, expected: &Lease) -> Result<(), LeaseError> {
        match self.read_at_least(expected.generation)? {
            Some(found) if found == *expected => Ok(()),
            Some(other) => Err(LeaseError::Superseded(other)),
            None => Err(LeaseError::Missing(self.path.clone())),
        }
    }

    /// The newest lease, if it is of this takeover or a later one.
    fn read_at_least(&self, generation: Generation) -> Result<Option<Lease>, LeaseError> {
        self.newest(|other| other >= generation)
    }

    /// Removes files of takeovers of long ago. One that stays does no harm.
    fn prune(&self) {
        let Ok(all) = self.list() else { return };
        let old: Vec<PathBuf> =
            all.generations.iter().rev().skip(KEPT + 1).map(|old| self.file(*old)).collect();
        let _ = durable::remove_each(&old.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    }

    fn file(&self, generation: Generation) -> PathBuf {
        self.path.join(format!("lease-{generation}"))
    }
}

impl Lease {
    /// True when it is the lease of this host on this machine since its boot.
    #[must_use]
    pub fn is_of(&self, host: &str, node: &str) -> bool {
        let boot = |node: &str| node.rsplit('/').next().map(str::to_owned);
        self.host == host && boot(&self.node) == boot(node)
    }

    /// It, given back at `now`.
    #[must_use]
    pub fn given_back(&self, now: Timestamp) -> Self {
        let stage = Stage::Ended(RandomState::new().hash_one(now.secs()));
        Self { renewed: now, expires: now, stage, ..self.clone() }
    }

    /// True when its host has given it back.
    #[must_use]
    pub const fn is_released(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    /// When another host, whose clock may differ by `margin` seconds, may publish.
    #[must_use]
    pub fn until(&self, margin: u32) -> Timestamp {
        self.expires.plus(if self.is_released() { 0 } else { margin.into() })
    }

    fn to_text(&self) -> String {
        format!(
            "{HEAD}\nhost {}\nnode {}\ngeneration {}\nrenewed {}\nexpires {}\nforced {}\nbegun {}\n",
            self.host,
            self.node,
            self.generation,
            self.renewed.secs(),
            self.expires.secs(),
            if self.forced { "yes" } else { "no" },
            match self.stage {
                Stage::Claimed => "no".to_owned(),
                Stage::Begun => "yes".to_owned(),
                Stage::Ended(number) => format!("ended {number}"),
            }
        )
    }

    /// Reads the text of a file; an error is the number of the line that is not as it should be.
    fn parse(text: &str) -> Result<Self, usize> {
        const KEYS: [&str; 9] =
            [HEAD, "host ", "node ", "generation ", "renewed ", "expires ", "forced ", "begun ", ""];
        let lines: Vec<&str> = text.split('\n').collect();
        let mut values = [""; KEYS.len()];
        for (at, (key, value)) in KEYS.iter().zip(&mut values).enumerate() {
            *value = lines.get(at).and_then(|line| line.strip_prefix(key)).ok_or(at + 1)?;
        }
        let [head, host, node, generation, renewed, expires, forced, begun, end] = values;
        // A time that is later than any that is written is damage.
        let seconds = |text: &str| {
            let number = Generation::parse(text)?.number();
            Some(Timestamp::from_secs(number)).filter(|time| time.secs() == number)
        };
        let is_yes = |text: &str, at: usize| match text {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(at),
        };
        if let Some(at) =
            [(head, 1), (end, 9)].iter().find_map(|(rest, at)| (!rest.is_empty()).then_some(*at))
        {
            return Err(at);
        }
        if let Some(at) =
            [(host, 2), (node, 3)].iter().find_map(|(value, at)| value.is_empty().then_some(*at))
        {
            return Err(at);
        }
        if lines.len() > KEYS.len() {
            return Err(KEYS.len());
        }
        Ok(Self {
            host: host.to_owned(),
            node: node.to_owned(),
            generation: Generation::parse(generation).ok_or(4_usize)?,
            renewed: seconds(renewed).ok_or(5_usize)?,
            expires: seconds(expires).ok_or(6_usize)?,
            forced: is_yes(forced, 7)?,
            stage: match begun.strip_prefix("ended ") {
                Some(number) => Stage::Ended(number.parse().map_err(|_| 8_usize)?),
                None if is_yes(begun, 8)? => Stage::Begun,
                None => Stage::Claimed,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const TWO: Generation = Generation::FIRST.next();

    fn lease(host: &str, generation: Generation) -> Lease {
        Lease {
            host: host.to_owned(),
            node: "m".to_owned(),
            generation,
            renewed: NOW,
            expires: NOW.plus(60),
            forced: false,
            stage: Stage::Claimed,
        }
    }

    fn folder() -> (tempfile::TempDir, LeaseFolder) {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = LeaseFolder::new(dir.path());
        (dir, folder)
    }

    #[test]
    fn a_lease_is_read_as_it_was_written_and_a_torn_or_changed_one_is_an_error() {
        let (dir, folder) = folder();
        assert_eq!(folder.read().expect("no file"), None);
        let written = Lease { forced: true, ..lease("b.example", TWO) };
        folder.claim(&written).expect("written");
        assert_eq!(folder.read().expect("a lease"), Some(written));
        let file = dir.path().join("lease-2");
        let text = std::fs::read_to_string(&file).expect("text");
        for length in 0..text.len() {
            std::fs::write(&file, &text[..length]).expect("written");
            assert!(matches!(folder.read(), Err(LeaseError::Content { .. })), "{length} octets");
        }
        for (from, to, line) in [
            ("lease 1", "lease 2", 1),
            ("lease 1", "lease 1 ", 1),
            ("host b", "guest b", 2),
            ("host b.example", "host ", 2),
            ("node m", "node ", 3),
            ("generation 2", "generation -2", 4),
            ("generation 2", "generation 3", 4),
            ("renewed 1", "renewed +1", 5),
            ("renewed 1", "renewed 91111", 5),
            ("expires 1", "expires x", 6),
            ("forced yes", "forced maybe", 7),
            ("begun no", "begun", 8),
            ("begun no", "begun ended", 8),
            ("begun no", "begun ended -1", 8),
            ("begun no\n", "begun no\nmore\n", 9),
        ] {
            std::fs::write(&file, text.replace(from, to)).expect("written");
            let found = folder.read().expect_err(to);
            assert!(matches!(found, LeaseError::Content { line: at, .. } if at == line), "{to}: {found}");
        }
        // The number is known all the same, and the next takeover counts.
        folder.claim(&lease("a", TWO.next())).expect("claimed");
        assert_eq!(folder.read().expect("a lease"), Some(lease("a", TWO.next())));
    }

    #[test]
    fn only_the_host_of_the_newest_takeover_can_renew_and_each_takeover_is_of_one_host() {
        let (dir, folder) = folder();
        let own = lease("a", TWO);
        assert!(matches!(folder.renew(&own, &own), Err(LeaseError::Missing(_))), "the storage is not there");
        folder.claim(&own).expect("claimed");
        folder.claim(&own).expect_err("it is there already");
        let later = Lease { renewed: NOW.plus(15), expires: NOW.plus(75), ..own.clone() };
        folder.renew(&own, &later).expect("renewed");
        assert_eq!(folder.read().expect("a lease"), Some(later.clone()));
        let next = Lease { renewed: NOW.plus(30), expires: NOW.plus(90), ..own.clone() };
        // Another host, an earlier takeover, and a process that has not seen the last renewal.
        for before in [lease("b", TWO), lease("b", Generation::FIRST), own] {
            let renewed = folder.renew(&before, &next);
            assert!(matches!(renewed, Err(LeaseError::Superseded(found)) if found == later));
        }
        for other in [lease("b", TWO), lease("b", Generation::FIRST)] {
            assert!(matches!(folder.claim(&other), Err(LeaseError::Superseded(found)) if found == later));
        }
        // A machine that was booted again goes on with a lease of before.
        let rebooted = Lease { node: "n/2".to_owned(), ..later.clone() };
        folder.renew(&later, &rebooted).expect("renewed");
        folder.claim(&lease("b", TWO.next())).expect("claimed");
        // What a host that was stopped in a renewal writes when it goes on changes nothing.
        std::fs::write(dir.path().join("lease-2"), later.to_text()).expect("written");
        std::fs::write(dir.path().join("9"), "no lease").expect("written");
        assert_eq!(folder.read().expect("a lease").map(|lease| lease.host).as_deref(), Some("b"));
        assert!(
            matches!(folder.renew(&later, &later), Err(LeaseError::Superseded(found)) if found.host == "b")
        );
    }

    type Make = fn(&Path);

    /// What no host of a pair makes in a folder of leases; also for the tests of the hosts.
    const NO_LEASES: [(&str, Make); 3] = [
        ("folder", |path| std::fs::create_dir(path).expect("made")),
        ("FIFO", |path| {
            let fifo = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, fifo, 0o600.into(), 0).expect("made");
        }),
        ("socket", |path| drop(std::os::unix::net::UnixListener::bind(path).expect("made"))),
    ];

    #[test]
    fn what_can_be_no_lease_is_skipped_and_told_and_the_next_takeover_is_beyond_it() {
        for (kind, make) in NO_LEASES {
            let (dir, folder) = folder();
            // Before there is any lease, between two and beyond all.
            make(&dir.path().join("lease-3"));
            assert_eq!(folder.read().expect("no lease"), None, "{kind}");
            let own = lease("a", TWO);
            folder.claim(&own).expect("claimed");
            make(&dir.path().join("lease-1"));
            let later = Lease { renewed: NOW.plus(15), expires: NOW.plus(75), ..own.clone() };
            folder.renew(&own, &later).expect("renewed");
            let listing = folder.list().expect("read");
            let [first, last] = &listing.skipped[..] else { panic!("{kind}: {listing:?}") };
            for (skipped, name) in [(first, "lease-1"), (last, "lease-3")] {
                let text = skipped.to_string();
                assert!(text.contains(name) && text.contains(&format!("it is a {kind},")), "{text}");
            }
            assert_eq!(listing.highest(), Some(TWO.next()), "{kind}");
            let beyond = lease("b", TWO.next().next());
            folder.claim(&beyond).expect("claimed");
            assert_eq!(folder.read().expect("a lease"), Some(beyond.clone()), "{kind}");
            assert_eq!(folder.read_before(beyond.generation).expect("a lease"), Some(later), "{kind}");
            // A takeover of the very number changes nothing of what is there.
            let at = LeaseFolder::new(dir.path());
            at.claim(&lease("b", TWO.next())).expect_err("there is a later one");
        }
    }

    #[test]
    fn a_file_that_may_have_been_a_lease_is_an_error_that_names_it_until_it_is_gone() {
        let rows: [(&str, Make); 8] = [
            // Who moves leases may leave links behind.
            ("a link to a lease", |path| symlink("lease-2", path).expect("made")),
            ("a link to nothing", |path| symlink("nowhere", path).expect("made")),
            ("a link to itself", |path| symlink(path, path).expect("made")),
            ("empty", |path| std::fs::write(path, "").expect("made")),
            ("huge", |path| std::fs::File::create(path).expect("made").set_len(1 << 40).expect("made")),
            ("no text", |path| std::fs::write(path, [0xff; 5000]).expect("made")),
            ("a lease of another takeover", |path| {
                std::fs::write(path, lease("b", TWO).to_text()).expect("made");
            }),
            ("without the right to read it", |path| {
                std::fs::write(path, lease("b", TWO.next()).to_text()).expect("made");
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
                std::fs::set_permissions(path, mode).expect("made");
            }),
        ];
        for (what, make) in rows {
            let (dir, folder) = folder();
            let own = lease("a", TWO);
            folder.claim(&own).expect("claimed");
            let path = dir.path().join("lease-3");
            make(&path);
            if rustix::process::geteuid().is_root() && what.starts_with("without") {
                // Root reads it: it is the lease of the other host.
                assert_eq!(folder.read().expect("a lease").map(|lease| lease.host).as_deref(), Some("b"));
                continue;
            }
            for failed in [
                folder.read().expect_err(what),
                folder.renew(&own, &own).expect_err(what),
                folder.claim(&lease("a", TWO.next())).expect_err(what),
                folder.read_before(TWO.next().next()).expect_err(what),
            ] {
                let text = failed.to_string();
                assert!(text.contains("lease-3") && text.contains("remove it"), "{what}: {text}");
            }
            // The next takeover, which a person forces, has the next number.
            assert_eq!(folder.list().expect("read").highest(), Some(TWO.next()), "{what}");
            folder.claim(&lease("b", TWO.next().next())).expect("claimed");
            std::fs::remove_file(&path).expect("removed");
            std::fs::remove_file(dir.path().join("lease-4")).expect("removed");
            assert_eq!(folder.read().expect("a lease"), Some(own), "{what}");
        }
    }

    /// Network file systems show files of the other host as those of any user: who wrote a lease does not count.
    #[test]
    fn a_lease_of_another_user_counts_like_any_other() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (dir, folder) = folder();
        folder.claim(&lease("a", TWO)).expect("claimed");
        folder.claim(&lease("b", TWO.next())).expect("claimed");
        let path = dir.path().join("lease-3");
        rustix::fs::chown(&path, Some(rustix::fs::Uid::from_raw(12_345)), None).expect("given away");
        let found = folder.renew(&lease("a", TWO), &lease("a", TWO)).expect_err("another host is active");
        assert!(matches!(found, LeaseError::Superseded(lease) if lease.host == "b"));
    }

    #[test]
    fn a_machine_is_known_by_its_boot_whatever_its_name() {
        let own = Lease { node: "ns1/1".to_owned(), ..lease("a", TWO) };
        for (host, node, expected) in
            [("a", "ns1/1", true), ("a", "localhost/1", true), ("a", "ns1/2", false), ("b", "ns1/1", false)]
        {
            assert_eq!(own.is_of(host, node), expected, "{host} {node}");
        }
    }

    #[test]
    fn of_two_hosts_that_take_over_at_once_one_has_the_lease() {
        let (_dir, folder) = folder();
        for number in 1..50 {
            let generation = Generation::parse(&number.to_string()).expect("a number");
            let won: Vec<bool> = std::thread::scope(|scope| {
                let hosts =
                    ["a", "b"].map(|host| scope.spawn(|| folder.claim(&lease(host, generation)).is_ok()));
                hosts.into_iter().map(|host| host.join().expect("no panic")).collect()
            });
            assert_eq!(won.iter().filter(|won| **won).count(), 1, "takeover {number}");
        }
        assert!(folder.list().expect("read").generations.len() <= KEPT + 2, "old ones are removed");
    }

    #[test]
    fn a_lease_that_was_given_back_is_over_at_once_and_any_other_is_waited_for() {
        let own = lease("a", TWO);
        assert_eq!((own.is_released(), own.until(5)), (false, NOW.plus(65)));
        let [back, again] = [own.given_back(NOW), own.given_back(NOW)];
        assert_eq!((back.is_released(), back.until(5), back.renewed), (true, NOW, NOW));
        assert_ne!(back.stage, again.stage, "no end is another one, also where the clock was set back");
        assert_eq!(Lease::parse(&back.to_text()), Ok(back));
    }
}
