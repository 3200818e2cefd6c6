//! The corpora of the fuzzer, run through the targets that it calls: without the fuzzer, and within seconds.

mod fuzz_bounds;
#[path = "../../fuzz/targets/mod.rs"]
mod targets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fuzz_bounds::LONGEST;
use targets::TARGETS;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries =
        std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry"));
    entries.map(|entry| entry.file_name().into_string().expect("a name in UTF-8")).collect()
}

/// Runs something for each target, at the same time.
fn for_each_target(run: impl Fn(&'static str, fn(&[u8]) -> bool) + Sync) {
    let run = &run;
    std::thread::scope(|scope| {
        for (name, target) in TARGETS {
            scope.spawn(move || run(name, *target));
        }
    });
}

/// Runs a target on inputs, and panics at a finding. Gives for each input whether it was read to its end.
fn hold(
    name: &str,
    target: fn(&[u8]) -> bool,
    inputs: impl Iterator<Item = Vec<u8>> + Send + 'static,
) -> Vec<bool> {
    fuzz_bounds::run(target, inputs, LONGEST).unwrap_or_else(|finding| {
        panic!("{name}: {:?} for the input {}", finding.breach, finding.input.escape_ascii())
    })
}

/// The inputs in the corpus of a target.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = fuzz().join("corpus").join(name);
    names(&folder).iter().map(|input| std::fs::read(folder.join(input)).expect("readable")).collect()
}

#[test]
fn kind_117_corpus_of_each_target_runs_without_a_finding() {
    for_each_target(|name, target| {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "the corpus of {name} has no input");
        hold(name, target, inputs.into_iter());
    });
}

/// `UPDATE=1` also puts them into the corpora, for the fuzzer to begin with.
#[test]
fn seeds_run_without_a_finding_and_some_are_read() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut read = BTreeSet::new();
    for (number, (name, octets)) in all_seeds().into_iter().enumerate() {
        let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("seeds are of a target");
        if hold(name, *target, std::iter::once(octets.clone())) == [true] {
            read.insert(part(name, &octets));
        }
        if update && octets.len() <= MOST {
            let corpus = fuzz().join("corpus").join(name);
            std::fs::create_dir_all(&corpus).expect("a folder");
            std::fs::write(corpus.join(format!("seed-{number:03}")), octets).expect("a file");
        }
    }
    // A target that refuses each of its seeds would find nothing behind its first check.
    let wanted = TARGETS.iter().flat_map(|(name, _)| {
        let parts: u8 = match *name {
            "state_files" => 8,
            "token_messages" => 2,
            _ => 1,
        };
        (0..parts).map(move |part| (*name, part))
    });
    assert_eq!(read, wanted.collect());
}

/// A target, and which of several readers the first octet of its input chooses.
fn part(name: &'static str, octets: &[u8]) -> (&'static str, u8) {
    match name {
        "state_files" => (name, octets[0] % 8),
        "token_messages" => (name, octets[0] % 2),
        _ => (name, 0),
    }
}

/// Larger inputs teach the fuzzer nothing that smaller ones do not, and slow it down.
const MOST: usize = 16 << 10;

/// The fixtures of the project, and what no fixture has.
fn all_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = targets::seeds();
    let fixtures = fuzz().join("../keystore/tests/fixtures");
    for path in files_below(&fixtures) {
        let folder =
            path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        let suffix = path.extension().and_then(|name| name.to_str()).unwrap_or_default();
        let target = match (folder, suffix) {
            ("knot", "skr" | "ksr") => "knot_text",
            (_, "skr" | "ksr") => "bind_text",
            (_, "xml") => "root_xml",
            (_, "conf") => "named_conf",
            (_, "toml") => "toml_files",
            (_, "key") => "key_files",
            _ => continue,
        };
        let mut octets = std::fs::read(&path).expect("readable");
        if target == "key_files" {
            for suffix in ["private", "state"] {
                let part = std::fs::read(path.with_extension(suffix)).unwrap_or_default();
                octets.extend([b"---\n", part.as_slice()].concat());
            }
        }
        seeds.push((target, octets));
    }
    for path in files_below(&fuzz().join("seeds")) {
        seeds.push(("cms", std::fs::read(path).expect("readable")));
    }
    let example = fuzz().join("../docs/offline-ksk.example.toml");
    seeds.push(("toml_files", std::fs::read(example).expect("readable")));
    seeds
}

/// All files below a folder, in the order of their paths.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry"));
    let mut files: Vec<PathBuf> = entries
        .flat_map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { vec![entry.path()] })
        .collect();
    files.sort();
    files
}

/// A few hundred changed inputs of each target, the same ones in each run. `FUZZ_RUNS` sets how many, `FUZZ_SEED` chooses others: that is
/// fuzzing without coverage, where no fuzzer can be built.
#[test]
fn kind_117_changed_inputs_of_each_target_run_without_a_finding() {
    let number =
        |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (runs, seed) = (number("FUZZ_RUNS", 300), number("FUZZ_SEED", 1));
    let only = std::env::var("FUZZ_TARGET").ok();
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    for_each_target(|name, target| {
        if wanted(name) {
            let (inputs, mut random) = (corpus(name), Random(seed));
            hold(name, target, (0..runs).map(move |_| random.changed(&inputs)));
        }
    });
}

/// Numbers that look random (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    /// One of the inputs with one to four changes.
    fn changed(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut out = inputs.get(self.below(inputs.len())).cloned().unwrap_or_default();
        for _ in 0..=self.below(4) {
            let at = self.below(out.len());
            let end = out.len().min(at + 1 + self.below(8));
            match self.below(6) {
                0 => out.truncate(at),
                1 => drop(out.drain(at..end)),
                2 => out.insert(at.min(out.len()), self.below(256) as u8),
                3 => {
                    let other = inputs.get(self.below(inputs.len())).map_or(&[][..], Vec::as_slice);
                    let from = self.below(other.len());
                    let to = other.len().min(from + 1 + self.below(64));
                    out.splice(at..end, other[from..to].iter().copied());
                }
                _ if out.is_empty() => {}
                4 => out[at] ^= 1 << self.below(8),
                _ => out[at] = [0, 1, 0x7f, 0x80, 0xff, b'0', b' ', b'"', b'\\'][self.below(9)],
            }
        }
        out
    }
}

#[test]
fn each_target_has_its_program_its_corpus_and_its_place_in_the_manifest() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let programs = names(&fuzz().join("fuzz_targets"));
    let programs: BTreeSet<String> = programs.iter().map(|name| name.replace(".rs", "")).collect();
    assert_eq!(programs, targets);
    assert_eq!(names(&fuzz().join("corpus")), targets);
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).expect("readable");
    let paths: BTreeSet<String> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
        .map(str::to_owned)
        .collect();
    assert_eq!(paths, targets);
}
