//! What this user may do on the host: bind ports below 1024, and read the files that the commands of a delivery read.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

/// First port that every user may bind, where the kernel does not say.
const FIRST_FREE_PORT: u16 = 1024;
/// Number of CAP_NET_BIND_SERVICE (capabilities(7)).
const NET_BIND_SERVICE: u32 = 10;

/// Where `rndc` looks when it is told neither `-c` nor `-k`, as BIND is built by the distributions and by default.
const RNDC_FILES: [&str; 8] = [
    "/etc/bind/rndc.conf",
    "/etc/bind/rndc.key",
    "/etc/rndc.conf",
    "/etc/rndc.key",
    "/etc/namedb/rndc.conf",
    "/etc/namedb/rndc.key",
    "/usr/local/etc/rndc.conf",
    "/usr/local/etc/rndc.key",
];

/// Which ports a process may bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    first_free: u16,
    may_bind_all: bool,
}

impl Ports {
    /// Those of this process. What cannot be found out counts as allowed: then the start says so.
    pub(super) fn of_this_process() -> Self {
        let first_free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
        let first_free = first_free.ok().and_then(|text| text.trim().parse().ok());
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self { first_free: first_free.unwrap_or(FIRST_FREE_PORT), may_bind_all: has_capability(&status) }
    }

    /// What to say of an address that this process may not bind.
    pub(super) fn fault(self, what: &str, address: &SocketAddr) -> Option<String> {
        (!self.may_bind_all && address.port() != 0 && address.port() < self.first_free).then(|| {
            format!(
                "{what} {address}: this user may not bind ports below {}; the units of the package give CAP_NET_BIND_SERVICE, a start by hand needs it as well",
                self.first_free
            )
        })
    }
}

/// True when the text of `/proc/PID/status` has CAP_NET_BIND_SERVICE among the effective capabilities, or none at all.
fn has_capability(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_none_or(|set| set >> NET_BIND_SERVICE & 1 == 1)
}

/// What to say of the files that `rndc` reads, as its command names them or by its defaults.
pub(super) fn rndc_fault(command: &[String]) -> Option<String> {
    let named = files_of(command, &["-c", "-k"]);
    if !named.is_empty() {
        return named.iter().find_map(|path| unreadable(path));
    }
    let is_rndc =
        command.first().is_some_and(|program| Path::new(program).file_name().is_some_and(|n| n == "rndc"));
    let defaults = || RNDC_FILES.iter().map(Path::new);
    // Nobody knows which of them this rndc takes; one that can be read is taken for the right one.
    if !is_rndc || defaults().any(|path| unreadable(path).is_none()) {
        return None;
    }
    defaults().find(|path| is_there(path)).and_then(unreadable)
}

/// What to say of the configuration that a program of Knot is told to read.
pub(super) fn knot_fault(command: &[String]) -> Option<String> {
    files_of(command, &["-c", "--config"]).iter().find_map(|path| unreadable(path))
}

/// The values of `options` in a command: `-c FILE`, `-cFILE` and `--config=FILE`.
fn files_of(command: &[String], options: &[&str]) -> Vec<PathBuf> {
    let value = |(i, word): (usize, &String)| {
        options.iter().find_map(|option| match word.strip_prefix(option)? {
            "" => command.get(i + 1).map(PathBuf::from),
            rest if option.starts_with("--") => rest.strip_prefix('=').map(PathBuf::from),
            rest => Some(PathBuf::from(rest)),
        })
    };
    command.iter().enumerate().skip(1).filter_map(value).collect()
}

/// What to say of a file that this user cannot read.
fn unreadable(path: &Path) -> Option<String> {
    let error = match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Some(format!("{} is no file", path.display())),
        Ok(_) => io::Error::from(rustix::fs::access(path, Access::READ_OK).err()?),
        Err(error) => error,
    };
    Some(format!("{} cannot be read by this user: {error}", path.display()))
}

/// A file, or something behind a folder that this user may not pass.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().map_or_else(|error| error.kind() == io::ErrorKind::PermissionDenied, |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_30_ports_that_need_a_capability_are_found() {
        assert!(has_capability("Name:\tx\nCapEff:\t0000000000000400\n"));
        assert!(
            has_capability("CapEff:\t000001ffffffffff\n")
                && has_capability("")
                && has_capability("CapEff:\tx\n")
        );
        assert!(
            !has_capability("CapEff:\t0000000000000000\n") && !has_capability("CapEff:\t0000000000000200\n")
        );
        let none = Ports { first_free: 1024, may_bind_all: false };
        for (ports, address, told) in [
            (none, "192.0.2.1:53", true),
            (none, "[::]:853", true),
            (none, "127.0.0.1:1023", true),
            (none, "127.0.0.1:1024", false),
            (none, "127.0.0.1:0", false),
            (Ports { first_free: 53, ..none }, "127.0.0.1:53", false),
            (Ports { first_free: 54, ..none }, "127.0.0.1:53", true),
            (Ports { may_bind_all: true, ..none }, "127.0.0.1:53", false),
        ] {
            let fault = ports.fault("signer.listen", &address.parse().unwrap());
            assert_eq!(fault.is_some(), told, "{ports:?} {address}");
            assert!(fault.is_none_or(|text| text.contains(address) && text.contains("CAP_NET_BIND_SERVICE")));
        }
    }

    #[test]
    fn kind_30_files_that_the_commands_of_a_delivery_cannot_read_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("there"), "").unwrap();
        let command = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (there, gone) = (path("there"), path("gone"));
        for (words, says) in [
            (vec!["rndc", "-c", &there], ""),
            (vec!["rndc", "-c", &gone], "gone cannot be read by this user: No such file"),
            (vec!["/usr/sbin/rndc", "-p", "953", "-k", &gone], "gone cannot be read by this user"),
            (vec!["rndc", &format!("-c{gone}")], "gone cannot be read by this user"),
            (vec!["rndc", "-c", dir.path().to_str().unwrap()], "is no file"),
            (vec!["sudo", "rndc"], ""),
            (vec![], ""),
        ] {
            let fault = rndc_fault(&command(&words)).unwrap_or_default();
            assert!(fault.contains(says) && fault.is_empty() == says.is_empty(), "{words:?}: {fault}");
        }
        for (words, told) in [
            (vec!["knotc", "-c", &there], false),
            (vec!["keymgr", "-c", &gone], true),
            (vec!["keymgr", &format!("--config={gone}")], true),
            (vec!["knotc", "-s", &gone], false),
        ] {
            assert_eq!(knot_fault(&command(&words)).is_some(), told, "{words:?}");
        }
    }
}
