//! A model of a disk that loses power: what a program did to a folder, recorded by strace, is played again, and after each step every
//! disk that a legal file system may show then is made (ALICE, Pillai et al. 2014, in small).
//!
//! What is *seen* and what is *durable* are kept apart:
//!
//! - a name (made, renamed, removed) is durable when its folder was synced; until then any subset of the changes may be there. A rename
//!   is one change, between two folders too, as on every file system with a journal or copy on write: the sync of either makes it durable, and it
//!   takes along the change that gave the file its name before;
//! - the content of a file is durable when the file was synced; until then a file that grew may have its old content, a part of the new
//!   one, zeros in its place, or all of it. One that was written over in its place may have either half of what is new.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part; a failure here is the test's")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What strace has to record.
pub const STRACE: [&str; 10] = [
    "-f",
    "-q",
    "-y",
    "-xx",
    "-s",
    "10000000",
    "-e",
    "trace=openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat",
    "-e",
    "signal=none",
];
/// Changes of names that may wait for a sync at once; more would make too many disks.
const MOST_PENDING: usize = 12;

/// What is on a disk: folders (`None`) and files, by their paths below the root.
pub type Disk = BTreeMap<PathBuf, Option<Rc<Vec<u8>>>>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Op {
    Create(PathBuf),
    Mkdir(PathBuf),
    Write(PathBuf, Vec<u8>),
    /// Within the file, from this octet on.
    Overwrite(PathBuf, usize, Vec<u8>),
    Truncate(PathBuf, usize),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Unlink(PathBuf),
    /// What the program says that it did.
    Tell(Vec<u8>),
}

/// The folder `root` as it is, all of it durable.
pub fn snapshot(root: &Path) -> Disk {
    let (mut disk, mut folders) = (Disk::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            if path.is_dir() {
                disk.insert(name, None);
                folders.push(path);
            } else {
                disk.insert(name, Some(Rc::new(fs::read(&path).unwrap())));
            }
        }
    }
    disk
}

/// Makes the folder `root` what `disk` says.
pub fn make(disk: &Disk, root: &Path) {
    fs::create_dir_all(root).unwrap();
    for (name, content) in disk {
        match content {
            None => fs::create_dir(root.join(name)).unwrap(),
            Some(octets) => {
                fs::write(root.join(name), &**octets).unwrap();
                // As private keys must be; all else may be, too.
                fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
    }
}

/// Every disk that a power loss may leave at any moment while `trace` ran on `before`; and the number of steps.
pub fn disks(before: &Disk, trace: &str, root: &Path) -> (HashSet<Disk>, usize) {
    let (found, steps) = disks_and_told(before, trace, root, Path::new(""));
    (found.into_keys().collect(), steps)
}

/// The same, each disk with what was last written to the file `told`, outside of `root`, before the last moment at which it is possible.
pub fn disks_and_told(
    before: &Disk,
    trace: &str,
    root: &Path,
    told: &Path,
) -> (HashMap<Disk, Option<Vec<u8>>>, usize) {
    let ops = parse(trace, root, told);
    let mut model = Model::new(before);
    let (mut found, mut last) = (HashMap::new(), None);
    let mut note = |model: &Model, last: &Option<Vec<u8>>| {
        let mut now = HashSet::new();
        model.enumerate(&mut now);
        found.extend(now.into_iter().map(|disk| (disk, last.clone())));
    };
    note(&model, &last);
    for op in &ops {
        if let Op::Tell(octets) = op {
            last = Some(octets.clone());
        }
        model.step(op);
        note(&model, &last);
    }
    (found, ops.len())
}

// ------------------------------------------------------------------------------------------------- model

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File(usize),
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    seen: Vec<u8>,
}

/// Changes of one folder that come together or not at all.
#[derive(Debug)]
struct Change {
    folders: Vec<PathBuf>,
    names: Vec<(PathBuf, Option<Node>)>,
}

#[derive(Debug)]
struct Model {
    inodes: Vec<Inode>,
    seen: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<Change>,
}

impl Model {
    fn new(before: &Disk) -> Self {
        let mut inodes = Vec::new();
        let seen: BTreeMap<PathBuf, Node> = before
            .iter()
            .map(|(name, content)| {
                let node = content.as_ref().map_or(Node::Folder, |octets| {
                    inodes.push(Inode { durable: octets.to_vec(), seen: octets.to_vec() });
                    Node::File(inodes.len() - 1)
                });
                (name.clone(), node)
            })
            .collect();
        Self { inodes, durable: seen.clone(), seen, pending: Vec::new() }
    }

    fn inode(&mut self, path: &Path) -> Option<&mut Inode> {
        match self.seen.get(path)? {
            Node::File(n) => self.inodes.get_mut(*n),
            Node::Folder => None,
        }
    }

    fn change(&mut self, names: Vec<(PathBuf, Option<Node>)>) {
        for (name, node) in &names {
            match node {
                Some(node) => drop(self.seen.insert(name.clone(), *node)),
                None => drop(self.seen.remove(name)),
            }
        }
        let folders = names.iter().map(|(name, _)| name.parent().unwrap().to_owned()).collect();
        self.pending.push(Change { folders, names });
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Create(path) => {
                if !self.seen.contains_key(path) {
                    self.inodes.push(Inode::default());
                    let node = Node::File(self.inodes.len() - 1);
                    self.change(vec![(path.clone(), Some(node))]);
                }
            }
            Op::Mkdir(path) => self.change(vec![(path.clone(), Some(Node::Folder))]),
            Op::Write(path, octets) => {
                if let Some(inode) = self.inode(path) {
                    inode.seen.extend_from_slice(octets);
                }
            }
            Op::Overwrite(path, at, octets) => {
                if let Some(inode) = self.inode(path) {
                    let end = at + octets.len();
                    inode.seen.resize(end.max(inode.seen.len()), 0);
                    inode.seen[*at..end].copy_from_slice(octets);
                }
            }
            Op::Truncate(path, len) => {
                if let Some(inode) = self.inode(path) {
                    inode.seen.resize(*len, 0);
                }
            }
            Op::Sync(path) => {
                if let Some(inode) = self.inode(path) {
                    inode.durable.clone_from(&inode.seen);
                    return;
                }
                let pending = std::mem::take(&mut self.pending);
                let (synced, rest) = pending.into_iter().partition(|change| change.folders.contains(path));
                self.pending = rest;
                apply(&mut self.durable, &synced);
            }
            Op::Rename(from, to) => {
                // Sockets get their names by bind(2), and are nothing that can be lost.
                let Some(node) = self.seen.get(from).copied() else { return };
                self.change(vec![(from.clone(), None), (to.clone(), Some(node))]);
            }
            Op::Link(from, to) => {
                let node = self.seen[from];
                self.change(vec![(to.clone(), Some(node))]);
            }
            Op::Unlink(path) if !self.seen.contains_key(path) => {}
            Op::Unlink(path) => self.change(vec![(path.clone(), None)]),
            Op::Tell(_) => {}
        }
    }

    /// Every disk of this moment.
    fn enumerate(&self, found: &mut HashSet<Disk>) {
        assert!(self.pending.len() <= MOST_PENDING, "nobody syncs: {:?}", self.pending);
        for subset in (0..1usize << self.pending.len()).filter(|subset| self.is_legal(*subset)) {
            let mut names = self.durable.clone();
            let chosen = self.pending.iter().enumerate().filter(|(n, _)| subset & (1 << n) != 0);
            apply(&mut names, chosen.map(|(_, change)| change));
            // What lies in a folder that is lost is lost.
            let reachable = |path: &Path| {
                path.ancestors()
                    .skip(1)
                    .all(|a| a.as_os_str().is_empty() || names.get(a) == Some(&Node::Folder))
            };
            let names: Vec<(&PathBuf, Node)> =
                names.iter().filter(|(path, _)| reachable(path)).map(|(path, node)| (path, *node)).collect();
            let mut contents: HashMap<usize, Vec<Rc<Vec<u8>>>> = HashMap::new();
            for (_, node) in &names {
                if let Node::File(n) = node {
                    contents.entry(*n).or_insert_with(|| self.contents(*n));
                }
            }
            let mut open: Vec<usize> = contents.keys().copied().filter(|n| contents[n].len() > 1).collect();
            open.sort_unstable();
            let choices: usize = open.iter().map(|n| contents[n].len()).product();
            for choice in 0..choices {
                let mut rest = choice;
                let mut picked = HashMap::new();
                for n in &open {
                    let of = &contents[n];
                    picked.insert(*n, Rc::clone(&of[rest % of.len()]));
                    rest /= of.len();
                }
                let content = |node: Node| match node {
                    Node::Folder => None,
                    Node::File(n) => {
                        Some(picked.get(&n).map_or_else(|| Rc::clone(&contents[&n][0]), Rc::clone))
                    }
                };
                found.insert(names.iter().map(|(path, node)| ((*path).clone(), content(*node))).collect());
            }
        }
    }

    /// True when no file loses a name that it was never given.
    fn is_legal(&self, subset: usize) -> bool {
        let is_in = |n: usize| subset & (1 << n) != 0;
        self.pending.iter().enumerate().filter(|(n, _)| is_in(*n)).all(|(n, change)| {
            let gone = change.names.iter().filter(|(_, node)| node.is_none()).map(|(name, _)| name);
            gone.into_iter().all(|name| {
                let given =
                    |change: &Change| change.names.iter().any(|(n, node)| n == name && node.is_some());
                self.pending[..n].iter().rposition(given).is_none_or(is_in)
            })
        })
    }

    /// What a file may contain.
    fn contents(&self, n: usize) -> Vec<Rc<Vec<u8>>> {
        let Inode { durable, seen } = &self.inodes[n];
        let mut all = vec![durable.clone()];
        if seen.len() == durable.len() {
            // Written over: what differs may be there as far as its middle, or from there on.
            let differs = |n: &usize| seen[*n] != durable[*n];
            let range = (0..seen.len()).find(differs).zip((0..seen.len()).rfind(differs));
            if let Some((first, last)) = range {
                let middle = first.midpoint(last + 1);
                all.push([&seen[..middle], &durable[middle..]].concat());
                all.push([&durable[..middle], &seen[middle..]].concat());
            }
        } else if seen.starts_with(durable) {
            let more = seen.len() - durable.len();
            all.push(seen[..durable.len() + more / 2].to_vec());
            all.push([&durable[..], &vec![0; more]].concat());
        } else {
            all.push(Vec::new());
        }
        all.push(seen.clone());
        let mut unique = Vec::new();
        for content in all.into_iter().map(Rc::new) {
            if !unique.contains(&content) {
                unique.push(content);
            }
        }
        unique
    }
}

fn apply<'a>(names: &mut BTreeMap<PathBuf, Node>, changes: impl IntoIterator<Item = &'a Change>) {
    for (name, node) in changes.into_iter().flat_map(|change| &change.names) {
        match node {
            Some(node) => drop(names.insert(name.clone(), *node)),
            None => drop(names.remove(name)),
        }
    }
}

// ------------------------------------------------------------------------------------------------- trace

/// The steps below `root` in the output of strace, in the order in which they ended. The root itself is the empty path.
fn parse(trace: &str, root: &Path, told: &Path) -> Vec<Op> {
    let mut begun: HashMap<&str, String> = HashMap::new();
    let mut ops = Vec::new();
    for line in trace.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let whole = if let Some(start) = call.strip_suffix("<unfinished ...>") {
            begun.insert(pid, start.to_owned());
            continue;
        } else if let Some(rest) = call.strip_prefix("<... ").and_then(|c| c.split_once("resumed>")) {
            begun.remove(pid).unwrap_or_default() + rest.1
        } else {
            call.to_owned()
        };
        ops.extend(parse_call(&whole, root, told));
    }
    ops
}

fn parse_call(call: &str, root: &Path, told: &Path) -> Option<Op> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(") ")?;
    let result = result.trim_start().strip_prefix("= ")?;
    if result.starts_with('-') {
        return None;
    }
    let below = |path: &Path| path.strip_prefix(root).ok().map(Path::to_owned);
    // `5</path>` of the first argument, or of the result.
    let path_of_fd = |text: &str| {
        let (_, path) = text.split_once('<')?;
        let path = path.split_once('>')?.0;
        // Some versions of strace escape it, some do not.
        let path =
            if path.contains("\\x") { String::from_utf8(unescape(path)).ok()? } else { path.to_owned() };
        Some(PathBuf::from(path))
    };
    let of_fd = |text: &str| below(&path_of_fd(text)?);
    let strings: Vec<Vec<u8>> = arguments.split('"').skip(1).step_by(2).map(unescape).collect();
    let named = |n: usize| {
        let text = String::from_utf8(strings.get(n)?.clone()).ok()?;
        below(&root.join(text))
    };
    Some(match name {
        "openat" if arguments.contains("O_CREAT") => Op::Create(of_fd(result)?),
        "openat" if arguments.contains("O_TRUNC") => Op::Truncate(of_fd(result)?, 0),
        "write" if path_of_fd(arguments)? == told => Op::Tell(strings.first()?.clone()),
        "write" => Op::Write(of_fd(arguments)?, strings.first()?.clone()),
        "pwrite64" => {
            let at = arguments.rsplit(", ").next()?.parse().ok()?;
            Op::Overwrite(of_fd(arguments)?, at, strings.first()?.clone())
        }
        "ftruncate" => Op::Truncate(of_fd(arguments)?, arguments.rsplit(", ").next()?.parse().ok()?),
        "fsync" | "fdatasync" => Op::Sync(of_fd(arguments)?),
        "rename" | "renameat" | "renameat2" => Op::Rename(named(0)?, named(1)?),
        "link" | "linkat" => Op::Link(named(0)?, named(1)?),
        "unlink" | "unlinkat" | "rmdir" => Op::Unlink(named(0)?),
        "mkdir" | "mkdirat" => Op::Mkdir(named(0)?),
        _ => return None,
    })
}

/// `\x41\x42` as octets.
fn unescape(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect()
}

/// A folder in memory, where syncing costs nothing; else a plain one.
pub fn fast_folder() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir()
        && let Ok(dir) = tempfile::tempdir_in(shm)
    {
        return dir;
    }
    tempfile::tempdir().unwrap()
}

#[test]
fn the_model_loses_what_is_not_synced() {
    let root = Path::new("/r");
    let name = |path: &str| path.bytes().fold(String::new(), |all, b| format!("{all}\\x{b:02x}"));
    let trace = format!(
        "7 openat(AT_FDCWD</>, \"{t}\", O_WRONLY|O_CREAT|O_EXCL, 0600) = 5</r/t>\n7 write(5</r/t>, \"{new}\", 4) = 4\n{sync}\
         7 rename(\"{t}\", \"{f}\" <unfinished ...>\n8 write(1</dev/null>, \"\", 0) = 0\n7 <... rename resumed>) = 0\n7 fsync(6</r>) = 0\n",
        t = name("/r/t"),
        f = name("/r/f"),
        new = name("new!"),
        sync = "SYNC"
    );
    let before: Disk = [(PathBuf::from("f"), Some(Rc::new(b"old".to_vec())))].into();
    let read = |disk: &Disk| disk.get(Path::new("f")).map(|f| f.as_ref().unwrap().to_vec());
    let contents = |sync: &str| -> HashSet<Option<Vec<u8>>> {
        disks(&before, &trace.replace("SYNC", sync), root).0.iter().map(read).collect()
    };
    let set = |all: &[&[u8]]| -> HashSet<Option<Vec<u8>>> { all.iter().map(|c| Some(c.to_vec())).collect() };
    assert_eq!(contents("7 fsync(5</r/t>) = 0\n"), set(&[b"old", b"new!"]));
    assert_eq!(
        contents(""),
        set(&[b"old", b"", b"ne", b"\0\0\0\0", b"new!"]),
        "renamed before it was synced"
    );
    assert_eq!(contents("7 fsync(5</r/t>) = -1 EIO\n").len(), 5);
    let trace = format!("7 pwrite64(5</r/f>, \"{}\", 2, 1) = 2\n", name("LD"));
    let found: HashSet<_> = disks(&before, &trace, root).0.iter().map(read).collect();
    assert_eq!(found, set(&[b"old", b"oLd", b"olD", b"oLD"]), "written over in its place");
}
