//! Every command block of README and manual that can run is run as it is printed, in a fresh folder. A block that is new must be
//! named here, with what it needs; what cannot run in a test says why.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keystore::clock;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// What a block needs, or why it is not run.
#[derive(Debug, Clone, Copy)]
enum Setup {
    /// Nothing: an empty folder.
    Empty,
    /// The folder that the block before on the same page has left.
    Follows,
    /// The folder of the quick start's ceremony by hand.
    Ceremony,
    /// That folder, with a request of two zones beside it.
    TwoZones,
    /// The folder of the quick start's ceremony by hand, with what the page has in `/etc` and `/var/lib` below it.
    Installed,
    /// An empty folder, and this program on the host.
    Tool(&'static str),
    /// It changes the host, or needs what is installed there.
    Host,
    /// A person answers, or a daemon must have run for weeks.
    Person,
}
use Setup::{Ceremony, Empty, Follows, Host, Installed, Person, Tool, TwoZones};

/// Page, beginning of the first line of the block, and what it needs; in the order of the pages.
const BLOCKS: &[(&str, &str, Setup)] = &[
    ("README.md", "scripts/demo", Host),
    ("README.md", "mkdir ksk", Empty),
    ("README.md", "ksr-gen -k standard -l named.conf -K keys", Follows),
    ("README.md", "ksr-gen -k standard -l named.conf -K ksk check", Follows),
    ("README.md", "skr-loader check", Follows),
    ("docs/manual.md", "dnssec-settime", Ceremony),
    ("docs/manual/already.md", "mkdir keys safe", Empty),
    ("docs/manual/already.md", "dnssec-dsfromkey", Follows),
    ("docs/manual/already.md", "mkdir keys safe", Empty),
    ("docs/manual/already.md", "KSK=$(basename", Follows),
    ("docs/manual/already.md", "cat >offline-ksk.toml", Follows),
    ("docs/manual/already.md", "mkdir tokens keys safe", Tool("ods-hsmutil")),
    ("docs/manual/already.md", "(umask 077; echo 1234", Follows),
    ("docs/manual/already.md", "cat >policy.conf", Follows),
    ("docs/manual/already.md", "mkdir knot safe", Empty),
    ("docs/manual/already.md", "dnssec-dsfromkey", Follows),
    ("docs/manual/bind.md", "rndc skr -import", Host),
    ("docs/manual/bind.md", "dig @127.0.0.1", Host),
    ("docs/manual/formats.md", "csplit", TwoZones),
    ("docs/manual/formats.md", "offline-ksk convert", Ceremony),
    ("docs/manual/hsm.md", "ksr-gen -l policy.conf -K ksk token", Host),
    ("docs/manual/hsm.md", "apt-get install softhsm2", Host),
    ("docs/manual/hsm.md", "mkdir tokens ksk keys", Tool("softhsm2-util")),
    ("docs/manual/ksr-gen.md", "ksr-gen -k standard -l policy.conf -i now", TwoZones),
    ("docs/manual/metrics.md", "offline-ksk rules", Installed),
    ("docs/manual/monitoring.md", "apt-get update", Host),
    ("docs/manual/monitoring.md", "promtool check config", Host),
    ("docs/manual/monitoring.md", "offline-ksk alert-test", Host),
    ("docs/manual/monitoring.md", "offline-ksk probe", Host),
    ("docs/manual/operations.md", "install -m 755", Host),
    ("docs/manual/operations.md", "install -m 644", Host),
    ("docs/manual/operations.md", "$ offline-ksk requests --check-config", Host),
    ("docs/manual/pair.md", "offline-ksk pair copy", Host),
    ("docs/manual/pair.md", "sudo -u offline-ksk offline-ksk takeover", Host),
    ("docs/manual/probe.md", "offline-ksk probe", Host),
    ("docs/manual/prove.md", "$ offline-ksk prove", Ceremony),
    ("docs/manual/prove.md", "$ offline-ksk inspect", Ceremony),
    ("docs/manual/quick-start.md", "mkdir try", Empty),
    ("docs/manual/quick-start.md", "$ ksr-gen -k standard -l policy.conf -K safe -o", Follows),
    ("docs/manual/quick-start.md", "$ ksr-gen -k standard -l policy.conf -K keys", Follows),
    ("docs/manual/quick-start.md", "$ ksr-gen -k standard -l policy.conf -K safe -f", Follows),
    ("docs/manual/quick-start.md", "$ skr-loader check", Follows),
    ("docs/manual/quick-start.md", "$ offline-ksk sign-zone", Follows),
    ("docs/manual/quick-start.md", "cat >offline-ksk.toml", Follows),
    ("docs/manual/quick-start.md", "$ offline-ksk serve", Follows),
    ("docs/manual/quick-start.md", "$ KSR=", Follows),
    ("docs/manual/security.md", "# skr-loader trust learn", Person),
    ("docs/manual/security.md", "install -d", Host),
    ("docs/manual/sign-zone.md", "offline-ksk sign-zone", Ceremony),
    ("docs/manual/skr-loader.md", "skr-loader check -c", Installed),
    ("docs/manual/skr-loader.md", "cp example.org.skr", Installed),
    ("docs/manual/skr-loader.md", "$ skr-loader import", Person),
    ("docs/manual/skr-loader.md", "$ skr-loader rollback", Person),
    ("docs/manual/skr-loader.md", "openssl req", Ceremony),
    ("docs/manual/transfers-tls.md", "openssl x509", Host),
    ("docs/manual/update.md", "certbot certonly", Host),
    ("docs/manual/update.md", "export RFC2136", Host),
    ("docs/manual/update.md", "printf 'server", Host),
];

/// The commands of a block; of a `console` block those behind a prompt, with the lines that continue them.
fn commands(kind: &str, text: &str) -> String {
    if kind == "sh" {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut continued = false;
    for line in text.lines() {
        let command = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# "));
        if let Some(command) = command.or_else(|| continued.then_some(line)) {
            out.push_str(command);
            out.push('\n');
            continued = command.ends_with('\\');
        }
    }
    out
}

/// The `sh` and `console` blocks of a page: kind and text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(workspace().join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if ["sh", "console"].contains(&kind) {
            blocks.push((kind.to_owned(), body.join("\n") + "\n"));
        }
    }
    blocks
}

/// Pages whose blocks are run by `peer_procedures.rs`, beside real servers.
const OF_PROCEDURES: [&str; 3] =
    ["docs/manual/rollovers.md", "docs/manual/multi-signer.md", "docs/manual/ways-over.md"];

fn pages() -> Vec<String> {
    let manual = fs::read_dir(workspace().join("docs/manual")).expect("the manual");
    let mut pages: Vec<String> = manual
        .map(|entry| format!("docs/manual/{}", entry.expect("an entry").file_name().display()))
        .filter(|name| name.ends_with(".md") && !OF_PROCEDURES.contains(&name.as_str()))
        .chain(["README.md", "docs/manual.md"].map(str::to_owned))
        .collect();
    pages.sort();
    pages
}

/// What the daemon of the quick start needs around its commands, which a person does by waiting and looking.
fn with_daemon(script: &str, port: u16, metrics: u16) -> String {
    let wait = |what: &str| {
        format!(
            "n=0; until {what}; do n=$((n+1)); [ $n -lt 600 ] || {{ cat serve.log; exit 9; }}; sleep 0.1; done\n"
        )
    };
    let mut out = String::new();
    for line in script.replace("5355", &port.to_string()).replace("9753", &metrics.to_string()).lines() {
        if line == "offline-ksk serve -c offline-ksk.toml" {
            out.push_str("offline-ksk serve -c offline-ksk.toml >serve.log 2>&1 &\ntrap \"kill $!\" EXIT\n");
            out.push_str(&wait("ls state/outbox/*/*.ksr >/dev/null 2>&1"));
            continue;
        }
        if line.starts_with("dig ") {
            out.push_str(&wait(&format!("{line} | grep -q RRSIG")));
        }
        out.push_str(line);
        out.push('\n');
        if line.contains("state/inbox/answer.skr") {
            out.push_str(&wait("test -e state/accepted/example.org./current"));
        }
    }
    out
}

/// The quick start's ceremony by hand, from the manual itself.
fn ceremony() -> String {
    let of_ceremony = blocks("docs/manual/quick-start.md").into_iter().take(6);
    of_ceremony.map(|(kind, text)| commands(&kind, &text)).collect()
}

/// Runs a script in a folder with our programs and the peers first in the path.
fn run(what: &str, script: &str, dir: &Path) {
    let ours = Path::new(env!("CARGO_BIN_EXE_offline-ksk")).parent().expect("a folder").to_owned();
    let dig = common::peer("dig").expect("it was there");
    let peers = Path::new(dig.get_program()).parent().expect("a folder").to_owned();
    let path: Vec<PathBuf> = [ours, peers]
        .into_iter()
        .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()))
        .collect();
    let output = Command::new("sh")
        .args(["-euc", script])
        .current_dir(dir)
        .env("PATH", std::env::join_paths(path).expect("a path"))
        .env("TZ", "UTC")
        .stdin(std::process::Stdio::null())
        .output()
        .expect("run sh");
    assert!(output.status.success(), "{what}: {}\n{script}\n{}", output.status, common::text(&output));
}

/// Runs the blocks of these pages, each page in folders of its own.
fn run_pages(wanted: impl Fn(&str) -> bool) {
    let Some(_) = common::peer("dig") else { return };
    for page in pages() {
        let named: Vec<_> = BLOCKS.iter().filter(|(of, ..)| *of == page).collect();
        let blocks = blocks(&page);
        let begins: Vec<&str> =
            blocks.iter().map(|(_, text)| text.lines().next().unwrap_or_default()).collect();
        assert_eq!(begins.len(), named.len(), "{page} has these blocks: {begins:#?}");
        for (begin, (_, expected, _)) in begins.iter().zip(&named) {
            assert!(begin.starts_with(expected), "{page}: {begin:?} stands where {expected:?} is named");
        }
        if !wanted(&page) {
            continue;
        }
        let (mut script, mut is_missing) = (String::new(), false);
        for (i, ((kind, text), (_, begin, setup))) in blocks.iter().zip(&named).enumerate() {
            let own = commands(kind, text);
            is_missing = match setup {
                Tool(program) => common::of_system(program).is_none(),
                _ => is_missing && matches!(setup, Follows),
            };
            match setup {
                Host | Person => continue,
                Follows => script.push_str(&own),
                Empty | Tool(_) => script = own,
                Ceremony => script = ceremony() + &own,
                TwoZones => script = ceremony() + TWO_ZONES + &own,
                Installed => script = ceremony() + INSTALLED + &below(&own),
            }
            // The last block of a run of them runs them all.
            let goes_on = named.get(i + 1).is_some_and(|next| matches!(next.2, Follows));
            if goes_on || is_missing {
                continue;
            }
            let dir = tempfile::tempdir().expect("a folder");
            let script = with_daemon(&script, common::free_port(), common::free_port());
            run(&format!("{page}, {begin}"), &with_values_of_today(&script), dir.path());
        }
    }
}

/// The folders and the configuration of an installed host, below the folder of the ceremony.
const INSTALLED: &str = "mkdir -p etc/offline-ksk etc/prometheus/rules lib/offline-ksk/inbox
cat >etc/offline-ksk/offline-ksk.toml <<TOML
version = 1
state-dir = \"$PWD/lib/offline-ksk\"
named-conf = \"$PWD/policy.conf\"
[[zone]]
name = \"example.org\"
policy = \"standard\"
trust-anchor-file = \"$PWD/anchor\"
key-directory = \"$PWD/keys\"
TOML
";

/// Commands for an installed host, with its folders below the one that they run in.
fn below(script: &str) -> String {
    script.replace("/etc/", "etc/").replace("/var/lib/", "lib/")
}

/// The KSKs of two zones, and the ZSKs of a second one.
const TWO_ZONES: &str = "mkdir ksk && cp safe/* ksk
ksr-gen -k standard -l policy.conf -K ksk -o -i now -e 20280101 keygen example.net
ksr-gen -k standard -l policy.conf -K keys -i now -e 20280101 keygen example.org
ksr-gen -k standard -l policy.conf -K keys -i now -e 20280101 keygen example.net
ksr-gen -k standard -l policy.conf -i now -e 20280101 -K keys -O all.ksr request --all
mv all.ksr all.of-the-setup && cp all.of-the-setup all.ksr
";

/// A key file that is printed with its tag is the first ZSK of the folder, since tags differ from run to run; and the ends that are
/// printed are as far ahead as they were in the year of the manual.
fn with_values_of_today(script: &str) -> String {
    let year: u32 = clock::now().iso()[..4].parse().expect("a year");
    let later = year.saturating_sub(2026);
    let script = script
        .replace("20280101", &format!("{}0101", 2028 + later))
        .replace("20270601", &format!("{}0601", 2027 + later));
    let before = clock::now().minus(25 * 86_400).to_string();
    let script = script.replace("20261101000000", &before);
    script.replace("Kexample.org.+013+55826", "$(basename $(ls keys/*.private | head -n 1) .private)")
}

#[test]
fn kind_29_ceremony_of_the_readme_runs_as_printed() {
    run_pages(|page| page == "README.md");
}

#[test]
fn kind_29_quick_start_runs_as_printed_with_its_daemon() {
    run_pages(|page| page == "docs/manual/quick-start.md");
}

#[test]
fn kind_29_blocks_of_all_other_pages_run_as_printed() {
    run_pages(|page| !["README.md", "docs/manual/quick-start.md"].contains(&page));
}

#[test]
fn monitoring_page_runs_as_printed_beside_a_real_prometheus_and_alertmanager() {
    for program in ["prometheus", "prometheus-alertmanager", "promtool", "amtool", "perl", "unshare"] {
        if common::of_system(program).is_none() {
            return;
        }
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_offline-ksk")).parent().expect("a folder");
    if !programs.join("skr-loader").exists() || !is_root() {
        assert!(std::env::var_os("CI").is_none(), "not root, or skr-loader is not built");
        eprintln!("SKIPPED: only root makes namespaces, and skr-loader must be built (cargo build --bins)");
        return;
    }
    let script = workspace().join("scripts/monitoring");
    let said = common::stdout(Command::new(script).arg("--here").env("OFFLINE_KSK_BIN", programs));
    assert!(said.contains("ok: the page runs as printed"), "{said}");
}

fn is_root() -> bool {
    common::stdout(Command::new("id").arg("-u")).trim() == "0"
}
