//! Request timer and loader as two users on one state folder, as `packaging/systemd/offline-ksk.tmpfiles` lays it out. Needs root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const LOADER: u32 = 64_003;
const TIMER: u32 = 64_004;
const GROUP: u32 = 64_005;

const CONFIG: &str = "version = 1\nstate-dir = \"s\"\n[[zone]]\nname = \"example.test\"\npolicy = \"p\"\n\
    trust-anchors = [\"example.test. DS 1 13 2 3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000\"]\n\
    [policy.p]\noffline-ksk = true\nkeys = [{ role = \"ksk\", lifetime = 0, algorithm = 13 }, { role = \"zsk\", lifetime = \"P1Y\", algorithm = 13 }]\n";

fn own(path: &Path, user: u32, group: u32, mode: u32) {
    chown(path, Some(user), Some(group)).expect("root may do that");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("root may do that");
}

/// Each folder of the tmpfiles file, with its mode and who owns it.
fn lay_out(dir: &Path) {
    let text = include_str!("../../packaging/systemd/offline-ksk.tmpfiles");
    let mut made = 0;
    for line in text.lines().filter(|line| line.starts_with("d ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, path, mode, user, _group] = words[..] else { panic!("{line}") };
        let path = dir.join(path.trim_start_matches("/var/lib/offline-ksk").trim_start_matches('/'));
        fs::create_dir_all(&path).expect("a folder");
        let user = match user {
            "skr-loader" => LOADER,
            "offline-ksk-ksr" => TIMER,
            _ => 0,
        };
        own(&path, user, GROUP, u32::from_str_radix(mode, 8).expect("a mode"));
        made += 1;
    }
    assert_eq!(made, 7);
}

#[test]
fn kind_30_the_timer_writes_what_the_loader_reads_and_check_config_says_what_a_user_may_not() {
    let temp = tempfile::tempdir().expect("a folder");
    let at = |name: &str| temp.path().join(name);
    if fs::metadata(temp.path()).expect("it is there").uid() != 0 {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        eprintln!("SKIPPED: only root can start processes of several users");
        return;
    }
    own(temp.path(), 0, 0, 0o755);
    lay_out(&at("s"));
    fs::write(at("c.toml"), CONFIG).expect("write");
    // Where it was built others may have no way to.
    let program = at("offline-ksk");
    fs::copy(env!("CARGO_BIN_EXE_offline-ksk"), &program).expect("copy");
    let run_as = |user: u32, program: &Path, args: &[&str]| -> Output {
        Command::new(program).args(args).current_dir("/").uid(user).gid(GROUP).output().expect("run")
    };
    let config = at("c.toml");
    let config = config.to_str().expect("a text");
    let said = |output: &Output| {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    for args in [["requests", "--check-config"], ["requests", "--once"]] {
        let output = run_as(TIMER, &program, &[args[0], args[1], "-c", config]);
        assert!(output.status.success(), "{args:?}: {}", said(&output));
    }
    let files = |folder: &str| -> Vec<PathBuf> {
        fs::read_dir(at(folder)).expect("a folder").map(|e| e.expect("an entry").path()).collect()
    };
    let with = |folder: &str, suffix: &str| {
        files(folder).into_iter().find(|p| p.extension().is_some_and(|e| e == suffix)).expect(suffix)
    };
    // What the loader needs it can read; the private key it cannot.
    let cat = Path::new("cat");
    for (path, readable) in [
        (with("s/outbox/example.test.", "ksr"), true),
        (with("s/keys", "key"), true),
        (with("s/keys", "state"), true),
        (with("s/keys", "private"), false),
    ] {
        let output = run_as(LOADER, cat, &[path.to_str().expect("a text")]);
        assert_eq!(output.status.success(), readable, "{}: {}", path.display(), said(&output));
    }
    // The user of the signer cannot read the keys, and is told so before the start; the loader can do without.
    let private = with("s/keys", "private");
    let check = |user: u32, args: &[&str]| said(&run_as(user, &program, args));
    let told = check(LOADER, &["serve", "--check-config", "-c", config]);
    let says = format!("error: zone example.test.: {}: Permission denied", private.display());
    assert!(told.contains(&says), "{told}");
    assert!(!check(TIMER, &["requests", "--check-config", "-c", config]).contains("private"));
    fs::set_permissions(&private, Permissions::from_mode(0o644)).expect("root may do that");
    let told = check(TIMER, &["requests", "--check-config", "-c", config]);
    assert!(told.contains("mode 0644 lets others read the private key"), "{told}");
    fs::set_permissions(&private, Permissions::from_mode(0o600)).expect("root may do that");
    // An rndc.conf of named alone.
    fs::write(at("rndc.conf"), "").expect("write");
    own(&at("rndc.conf"), 0, 0, 0o600);
    let deliver = format!(
        "{CONFIG}[[deliver.named]]\nname = \"n\"\nrndc = [\"true\", \"-c\", \"{}\"]\naddress = \"127.0.0.1:5353\"\nfolder = \"s/accepted\"\n",
        at("rndc.conf").display()
    );
    fs::write(at("d.toml"), deliver).expect("write");
    let with_target = at("d.toml");
    let told = check(LOADER, &["serve", "--check-config", "-c", with_target.to_str().expect("a text")]);
    assert!(told.contains("rndc.conf cannot be read by this user: Permission denied"), "{told}");
    // Neither writes where the other does.
    let touch = Path::new("touch");
    for (user, folder, may) in [
        (TIMER, "s/accepted", false),
        (TIMER, "s/rejected", false),
        (TIMER, "s/outbox", true),
        (TIMER, "s/health", true),
        (LOADER, "s/health", true),
        (LOADER, "s/accepted", true),
        (LOADER, "s/keys", false),
        (LOADER, "s/outbox", false),
        (LOADER, "s/outbox/example.test.", false),
    ] {
        let path = at(folder).join(user.to_string());
        let output = run_as(user, touch, &[path.to_str().expect("a text")]);
        assert_eq!(output.status.success(), may, "{user} {folder}: {}", said(&output));
    }
}

/// The folder in which the signer keeps its versions: what another user has put there first is neither written to nor followed.
#[test]
fn kind_04_a_folder_of_the_signer_that_another_user_has_made_first_is_refused_with_its_owner() {
    let temp = tempfile::tempdir().expect("a folder");
    let at = |name: &str| temp.path().join(name);
    if fs::metadata(temp.path()).expect("it is there").uid() != 0 {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        eprintln!("SKIPPED: only root can give files away");
        return;
    }
    own(temp.path(), 0, 0, 0o755);
    for (folder, mode) in [("s", 0o1777), ("victim", 0o777)] {
        fs::create_dir(at(folder)).expect("a folder");
        own(&at(folder), 0, 0, mode);
    }
    fs::write(at("c.toml"), CONFIG).expect("write");
    let program = at("offline-ksk");
    fs::copy(env!("CARGO_BIN_EXE_offline-ksk"), &program).expect("copy");
    let zones = at("s/zones");
    type Plant = fn(&Path);
    let kinds: [(&str, Plant); 5] = [
        ("a folder", |path| fs::create_dir(path).expect("a folder")),
        ("a link to a folder of others", |path| {
            symlink(path.ancestors().nth(2).expect("above").join("victim"), path).expect("a link");
        }),
        ("a link to nothing", |path| symlink("nowhere", path).expect("a link")),
        ("a file", |path| fs::write(path, "").expect("a file")),
        ("a FIFO", |path| {
            let (fifo, mode) = (rustix::fs::FileType::Fifo, 0o666.into());
            rustix::fs::mknodat(rustix::fs::CWD, path, fifo, mode, 0).expect("a FIFO");
        }),
    ];
    for (kind, plant) in kinds {
        for user in [0, LOADER] {
            plant(&zones);
            lchown(&zones, Some(TIMER), Some(GROUP)).expect("root may do that");
            let mut serve = Command::new(&program);
            serve.args(["serve", "-c"]).arg(at("c.toml")).current_dir("/").uid(user).gid(GROUP);
            let output = serve.output().expect("run");
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{kind}, {user}: {told}");
            assert!(
                told.contains("s/zones") && told.contains("belongs to uid 64004"),
                "{kind}, {user}: {told}"
            );
            assert!(fs::read_dir(at("victim")).expect("a folder").next().is_none(), "{kind}, {user}");
            assert!(!at("s/nowhere").exists(), "{kind}, {user}");
            let gone = if kind == "a folder" { fs::remove_dir(&zones) } else { fs::remove_file(&zones) };
            gone.expect("it is as it was");
        }
    }
}
