//! `--check-config`: what a configuration needs of this host, looked at without changing anything. All findings come at once.
//!
//! The file itself is checked by [`Config::load`]; here it is held against folders, programs and addresses.

mod keys;
mod rights;
mod tokens;
mod transfers;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keystore::command::find_program;
use keystore::config::Config;
use keystore::config::deliver::Method;
use keystore::config::tls::ALPN_DOT;
use keystore::cookie_secrets::CookieSecrets;
use keystore::policy::{PolicyFinding, PolicySeverity};
use keystore::store::accepted_mark;
use metrics::http::{CertificateFiles, Guard, LoadedCertificate};
use rights::Ports;
use rustix::fs::Access;

/// What a process is to do with the configuration: each needs something else of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostTask {
    /// Take SKRs from the inbox, and hand them to servers.
    AcceptSkrs,
    /// Make ZSKs and requests.
    MakeRequests,
    /// Sign zones and answer queries.
    ServeZones,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it keeps the daemon from its work.
    pub severity: PolicySeverity,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.severity == PolicySeverity::Error { "error" } else { "warning" };
        write!(f, "{word}: {}", self.what)
    }
}

/// Looks at everything that a process which does all of `work` needs; `path` is the `PATH` that programs are looked for in.
#[must_use]
pub fn check(config: &Config, work: &[HostTask], path: Option<&OsStr>) -> Vec<Finding> {
    let mut host = Host { findings: Vec::new(), path };
    host.state_dir(config, work);
    host.zones(config, work);
    host.keys(config, work);
    host.tokens(config, work);
    if work.contains(&HostTask::AcceptSkrs) {
        host.targets(config);
        for (what, command) in [
            ("parent.on-ds-ready", &config.parent.on_ds_ready),
            ("parent.on-ds-seen", &config.parent.on_ds_seen),
            ("parent.on-ds-gone", &config.parent.on_ds_gone),
        ] {
            host.program(what, command.first());
        }
    }
    if work.contains(&HostTask::MakeRequests) && config.ksr.enabled {
        host.program("ksr.on-request", config.ksr.on_request.first());
    }
    if work.contains(&HostTask::ServeZones) {
        host.program("signer.review", config.signer.as_ref().and_then(|signer| signer.review.first()));
        host.addresses(config);
        host.transfers(config);
        host.pair(config);
        host.cookies(config);
        host.certificate(config);
        host.ports(config, Ports::of_this_process());
    }
    host.findings.extend(web_config(config));
    host.findings
}

/// What is wrong with the file that guards the HTTP endpoint.
fn web_config(config: &Config) -> Vec<Finding> {
    let found = config.metrics.as_ref().map(Guard::check).unwrap_or_default();
    found
        .into_iter()
        .map(|PolicyFinding { severity, path, line, what }| Finding {
            severity,
            what: format!("{}:{line}: {what}", path.display()),
        })
        .collect()
}

/// Checks the host, prints every finding and a verdict; true when there is no error.
pub fn report(
    config: &Config,
    work: &[HostTask],
    file: &Path,
    out: &mut impl std::io::Write,
) -> std::io::Result<bool> {
    let findings = check(config, work, std::env::var_os("PATH").as_deref());
    for warning in &config.warnings {
        writeln!(out, "{warning}")?;
    }
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    let errors = findings.iter().filter(|f| f.severity == PolicySeverity::Error).count();
    let warnings = config.warnings.len() + findings.len() - errors;
    let words = match errors {
        0 => "no errors".to_owned(),
        1 => "1 error".to_owned(),
        n => format!("{n} errors"),
    };
    writeln!(out, "{}: {} zones, {words}, {warnings} warnings", file.display(), config.zones.len())?;
    Ok(errors == 0)
}

struct Host<'a> {
    findings: Vec<Finding>,
    path: Option<&'a OsStr>,
}

impl Host<'_> {
    fn error(&mut self, what: String) {
        self.findings.push(Finding { severity: PolicySeverity::Error, what });
    }

    fn warning(&mut self, what: String) {
        self.findings.push(Finding { severity: PolicySeverity::Warning, what });
    }

    fn state_dir(&mut self, config: &Config, work: &[HostTask]) {
        let dir = &config.state_dir;
        if work.contains(&HostTask::AcceptSkrs) {
            self.control_socket(config);
        }
        if !dir.exists() {
            match dir.ancestors().skip(1).find(|parent| parent.exists()) {
                Some(parent) if rustix::fs::access(parent, Access::WRITE_OK).is_ok() => {
                    self.warning(format!("state-dir {} is not there yet, and will be made", dir.display()));
                }
                _ => self.error(format!(
                    "state-dir {} is not there, and this user cannot make it; make it, and give it to the user of the daemon",
                    dir.display()
                )),
            }
            return;
        }
        self.writable("state-dir", dir);
        let loader =
            ["inbox", "accepted", "rejected"].map(|name| (name, work.contains(&HostTask::AcceptSkrs)));
        let timer = [("outbox", work.contains(&HostTask::MakeRequests))];
        for (name, ours) in loader.into_iter().chain(timer) {
            let folder = dir.join(name);
            if !folder.exists() {
                continue;
            }
            if ours {
                self.writable(name, &folder);
            } else {
                self.private(name, &folder);
            }
        }
    }

    /// Where another user may write, that user may have a socket under the name first.
    fn control_socket(&mut self, config: &Config) {
        let socket = config.control_socket();
        let Some(folder) = socket.parent() else { return };
        let mode = fs::metadata(folder).map_or(0, |found| found.permissions().mode());
        if mode & 0o022 != 0 {
            self.warning(format!(
                "without a RuntimeDirectory= in the unit the control socket would be in {}, where other users may write (mode {:04o}) and \
                 can put one of their own; set control-socket to a folder of this user",
                folder.display(),
                mode & 0o7777
            ));
        }
    }

    fn zones(&mut self, config: &Config, work: &[HostTask]) {
        let mut seen: BTreeSet<&Path> = BTreeSet::new();
        for zone in &config.zones {
            let name = &zone.name;
            if let Some(file) = &zone.file
                && work.contains(&HostTask::ServeZones)
                && config.signer.is_some()
            {
                match fs::metadata(file) {
                    Ok(found) if !found.is_file() => {
                        self.error(format!("zone {name}: file {} is no file", file.display()));
                    }
                    Ok(_) if rustix::fs::access(file, Access::READ_OK).is_err() => {
                        self.error(format!(
                            "zone {name}: file {} cannot be read by this user",
                            file.display()
                        ));
                    }
                    Ok(_) => {}
                    Err(error) => self.error(format!("zone {name}: file {}: {error}", file.display())),
                }
            }
            if !zone.versions.signing.is_signed()
                && accepted_mark(&config.state_dir.join("accepted"), name).is_some()
            {
                self.warning(format!(
                    "zone {name} is unsigned and has an accepted SKR: while a DS stands at its parent, resolvers answer SERVFAIL"
                ));
            }
            let dir = &*zone.key_directory;
            if !zone.is_signed_here() || !seen.insert(dir) {
                continue;
            }
            let shown = dir.display();
            if !dir.exists() {
                if work.contains(&HostTask::MakeRequests) && dir.starts_with(&config.state_dir) {
                    self.warning(format!("key-directory {shown} is not there yet, and will be made"));
                } else {
                    self.error(format!(
                        "zone {name}: key-directory {shown} is not there; SKRs are rejected without the ZSKs"
                    ));
                }
                continue;
            }
            if let Err(error) = fs::read_dir(dir) {
                self.error(format!("zone {name}: key-directory {shown} cannot be listed: {error}"));
            }
            if work.contains(&HostTask::MakeRequests) {
                self.writable("key-directory", dir);
            } else {
                self.private("key-directory", dir);
            }
        }
    }

    fn targets(&mut self, config: &Config) {
        for target in &config.deliver {
            let what = |key: &str| format!("deliver target {}: {key}", target.name);
            match &target.method {
                Method::Named { rndc, folder, .. } => {
                    self.program(&what("rndc"), rndc.first());
                    if let Some(fault) = rights::rndc_fault(rndc) {
                        self.error(format!("{}: {fault}", what("rndc")));
                    }
                    self.folder(&what("folder"), folder);
                }
                Method::Knot { keymgr, knotc, folder } => {
                    self.program(&what("keymgr"), keymgr.first());
                    self.program(&what("knotc"), knotc.first());
                    for (key, command) in [("keymgr", keymgr), ("knotc", knotc)] {
                        if let Some(fault) = rights::knot_fault(command) {
                            self.error(format!("{}: {fault}", what(key)));
                        }
                    }
                    self.folder(&what("folder"), folder);
                }
                Method::Hook { command } => self.program(&what("command"), command.first()),
            }
        }
    }

    fn folder(&mut self, what: &str, folder: &Path) {
        if folder.is_dir() {
            self.writable(what, folder);
        } else {
            self.error(format!("{what} {} is no folder; make it", folder.display()));
        }
    }

    /// A folder that this user writes into, and not everyone.
    /// The lease of a pair, and whether its secondaries can be asked.
    fn pair(&mut self, config: &Config) {
        let Some(pair) = &config.pair else { return };
        let folder = &pair.lease_directory;
        if folder.is_dir() {
            self.writable("lease-directory", folder);
        } else {
            self.error(format!("lease-directory {} is not there", folder.display()));
        }
        for zone in config.zones.iter().filter(|zone| zone.has_content() && zone.notify.is_empty()) {
            self.warning(format!(
                "zone {}: it has no notify, so a host that takes over cannot ask which serials its secondaries have",
                zone.name
            ));
        }
    }

    fn writable(&mut self, what: &str, folder: &Path) {
        if let Err(error) = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK) {
            self.error(format!("{what} {} cannot be written by this user: {error}", folder.display()));
        }
        self.private(what, folder);
    }

    fn private(&mut self, what: &str, folder: &Path) {
        let mode = fs::metadata(folder).map_or(0, |found| found.permissions().mode());
        if mode & 0o002 != 0 {
            self.error(format!(
                "{what} {} can be written by everyone (mode {:04o}); chmod o-w it",
                folder.display(),
                mode & 0o7777
            ));
        }
    }

    /// A program, by its path or in `PATH`.
    fn program(&mut self, what: &str, program: Option<&String>) {
        let Some(program) = program else { return };
        match find_program(program, self.path) {
            Ok(_) => {}
            Err(_) if program.contains('/') => {
                self.error(format!("{what}: {program} is no program that this user can run"));
            }
            Err(_) => self.error(format!("{what}: {program} is not found in PATH; give its whole path")),
        }
    }

    /// Ports that only a process with a capability may bind. The service manager may give it, so this is a warning.
    fn ports(&mut self, config: &Config, ports: Ports) {
        let signer = config.signer.iter().flat_map(|signer| &signer.listen).map(|at| ("signer.listen", at));
        let tls = config.signer.iter().filter_map(|signer| signer.query.tls.as_ref());
        let tls = tls.flat_map(|tls| &tls.listen).map(|at| ("signer.tls-listen", at));
        let metrics = config.metrics.iter().map(|metrics| ("metrics.listen", &metrics.listen));
        for fault in signer.chain(tls).chain(metrics).filter_map(|(what, address)| ports.fault(what, address))
        {
            self.warning(fault);
        }
    }

    /// The secrets of DNS cookies.
    fn cookies(&mut self, config: &Config) {
        let file = config.signer.as_ref().and_then(|signer| signer.query.cookie_secret_file.as_ref());
        if let Some(Err(error)) = file.map(|file| CookieSecrets::load(file)) {
            self.error(format!("signer.cookie-secret-file: {error}"));
        }
    }

    /// The certificate of DNS over TLS.
    fn certificate(&mut self, config: &Config) {
        let Some(tls) = config.signer.as_ref().and_then(|signer| signer.query.tls.as_ref()) else { return };
        let files = CertificateFiles { certificate: tls.certificate.clone(), key: tls.key.clone() };
        match LoadedCertificate::load(&files, ALPN_DOT) {
            Ok(certificate) => {
                certificate.warnings.iter().for_each(|what| self.warning(format!("signer.tls-key: {what}")));
            }
            Err(error) => self.error(format!("signer.tls-certificate: {error}")),
        }
    }

    /// `[metrics] listen` takes a TCP port that `[signer] listen` has.
    fn addresses(&mut self, config: &Config) {
        let (Some(signer), Some(metrics)) = (&config.signer, &config.metrics) else { return };
        let overlap = |a: &SocketAddr, b: &SocketAddr| {
            let (one, other) = (a.ip().to_canonical(), b.ip().to_canonical());
            // [::] also takes IPv4.
            let any = one.is_unspecified() || other.is_unspecified();
            a.port() != 0 && a.port() == b.port() && (one == other || any)
        };
        for address in signer.listen.iter().filter(|address| overlap(address, &metrics.listen)) {
            self.error(format!(
                "metrics.listen {} takes the TCP port of signer.listen {address}; choose another",
                metrics.listen
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use keystore::config::deliver::TargetConfig;
    use keystore::config::{MetricsConfig, SignerConfig};

    use super::*;
    use crate::testing::StateDir;

    const ALL: &[HostTask] = &[HostTask::AcceptSkrs, HostTask::MakeRequests, HostTask::ServeZones];

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn target(name: &str, method: Method) -> TargetConfig {
        TargetConfig { name: name.to_owned(), zones: None, timeout: 1, address: None, source: None, method }
    }

    #[test]
    fn a_good_host_has_no_findings() {
        let state = StateDir::new();
        let at = Some(crate::testing::start());
        let timing = keystore::keys::Timing { publish: at, activate: at, ..Default::default() };
        let zsk = keystore::exchange::testing::TestKey::zsk(crate::testing::ZSK);
        crate::testing::write_key(&state.path("keys"), &zsk, crate::testing::ZSK, timing);
        let mut config = state.config();
        config.ksr.on_request = vec!["sh".to_owned()];
        config.deliver = vec![
            target("a", Method::Hook { command: vec!["/bin/sh".to_owned()] }),
            target(
                "b",
                Method::Named { rndc: vec!["sh".to_owned()], view: None, folder: state.path("keys") },
            ),
        ];
        fs::write(state.path("zone"), "").unwrap();
        config.zones[0].file = Some(state.path("zone"));
        config.signer =
            Some(SignerConfig { listen: vec!["127.0.0.1:5353".parse().unwrap()], ..SignerConfig::default() });
        config.metrics = Some(MetricsConfig::at("127.0.0.1:9753".parse().unwrap()));
        for work in [&[HostTask::AcceptSkrs][..], &[HostTask::MakeRequests], ALL] {
            let path = OsStr::new("/usr/bin:/bin");
            assert_eq!(check(&config, work, Some(path)), [], "{work:?}");
        }
        let mut out = Vec::new();
        assert!(report(&config, &[HostTask::AcceptSkrs], Path::new("c.toml"), &mut out).unwrap());
        assert_eq!(out, b"c.toml: 1 zones, no errors, 0 warnings\n");
    }

    #[test]
    fn every_fault_is_found_at_once() {
        let state = StateDir::new();
        let mut config = state.config();
        for name in ["inbox", "accepted", "outbox"] {
            fs::create_dir(state.path(name)).unwrap();
            mode(&state.path(name), 0o777);
        }
        let missing = state.path("nowhere");
        fs::write(state.path("no-program"), "").unwrap();
        mode(&state.path("no-program"), 0o644);
        config.zones[0].file = Some(missing.clone());
        config.zones[0].key_directory = "/nonexistent/keys".into();
        config.ksr.on_request = vec![state.path("no-program").to_str().unwrap().to_owned()];
        config.parent.on_ds_gone = vec!["no-such-command".to_owned()];
        let program = || vec!["no-such-program".to_owned()];
        config.deliver = vec![
            target("a", Method::Named { rndc: program(), view: None, folder: missing.clone() }),
            target("b", Method::Knot { keymgr: program(), knotc: program(), folder: missing }),
            target("c", Method::Hook { command: vec!["/nonexistent".to_owned()] }),
        ];
        config.signer = Some(SignerConfig {
            listen: vec!["[::1]:5353".parse().unwrap(), "127.0.0.1:9753".parse().unwrap()],
            review: program(),
            ..SignerConfig::default()
        });
        config.metrics = Some(MetricsConfig::at("127.0.0.1:9753".parse().unwrap()));
        let found = |work: &[HostTask]| -> Vec<String> {
            check(&config, work, Some(OsStr::new("/usr/bin:/bin"))).iter().map(ToString::to_string).collect()
        };
        let world = |name: &str| (name.to_owned(), "can be written by everyone (mode 0777)");
        let folders = [world("error: inbox "), world("error: accepted "), world("error: outbox ")];
        let targets = [
            ("error: deliver target a: rndc: no-such-program", "is not found in PATH"),
            ("error: deliver target a: folder ", "is no folder"),
            ("error: deliver target b: keymgr", "is not found in PATH"),
            ("error: deliver target b: knotc", "is not found in PATH"),
            ("error: deliver target b: folder ", "is no folder"),
            ("error: deliver target c: command: /nonexistent", "is no program"),
        ];
        let all: Vec<(String, &str)> = folders
            .into_iter()
            .chain([
                ("error: zone example.: file ".to_owned(), "No such file"),
                ("error: zone example.: key-directory /nonexistent/keys".to_owned(), "is not there"),
            ])
            .chain(targets.map(|(start, part)| (start.to_owned(), part)))
            .chain([
                ("error: parent.on-ds-gone: no-such-command".to_owned(), "is not found in PATH"),
                ("error: ksr.on-request: ".to_owned(), "is no program"),
                ("error: signer.review: no-such-program".to_owned(), "is not found in PATH"),
                ("error: metrics.listen 127.0.0.1:9753".to_owned(), "takes the TCP port of signer.listen"),
            ])
            .collect();
        let told = found(ALL);
        assert_eq!(told.len(), all.len(), "{told:#?}");
        for (line, (start, part)) in told.iter().zip(&all) {
            assert!(
                line.starts_with(start) && line.contains(part),
                "{line}, and {start} ... {part} was expected"
            );
        }
        // Each process is told of what it needs.
        let lines = |work, part: &str| found(&[work]).iter().filter(|l| l.contains(part)).count();
        assert_eq!(
            (lines(HostTask::MakeRequests, "deliver target"), lines(HostTask::AcceptSkrs, "deliver target")),
            (0, 6)
        );
        assert_eq!(
            (lines(HostTask::MakeRequests, "on-request"), lines(HostTask::AcceptSkrs, "on-request")),
            (1, 0)
        );
    }

    #[test]
    fn kind_30_private_keys_that_others_can_read_or_that_do_not_read_are_found() {
        use crate::testing::{KSK, write_key};
        use keystore::exchange::testing::TestKey;
        use keystore::keys::Timing;

        let state = StateDir::new();
        let config = state.config();
        let found = |work: &[HostTask]| {
            check(&config, work, None).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let works = [&[HostTask::AcceptSkrs][..], &[HostTask::MakeRequests], ALL];
        assert!(works.iter().all(|work| found(work).is_empty()));
        let private = keystore::keys::files::find(&state.path("keys"), &crate::testing::zone()).unwrap();
        let private = private.keys[0].private_path();
        for wrong in [0o644, 0o640, 0o604] {
            mode(&private, wrong);
            for work in works {
                let told = found(work);
                let says = format!("mode {wrong:04o} lets others read the private key; chmod 600 it");
                assert!(told.len() == 1 && told[0].starts_with("error: zone example.: "), "{told:?}");
                assert!(told[0].contains(&says), "{told:?}");
            }
        }
        mode(&private, 0o600);
        let ksk = write_key(&state.path("keys"), &TestKey::ksk(KSK), KSK, Timing::default());
        let told = found(ALL);
        assert!(told.len() == 1 && told[0].contains("the private key of a KSK"), "{told:?}");
        for suffix in ["key", "private"] {
            fs::remove_file(state.path("keys").join(format!("{}.{suffix}", ksk.base_name()))).unwrap();
        }
        fs::write(&private, "no key").unwrap();
        let told = found(&[HostTask::MakeRequests]);
        assert!(told.len() == 1 && told[0].starts_with("warning: ") && told[0].contains(":1: "), "{told:?}");
    }

    #[test]
    fn a_state_folder_that_is_missing_or_of_another() {
        let state = StateDir::new();
        let mut config = state.config();
        config.state_dir = state.path("later");
        let found = check(&config, &[HostTask::AcceptSkrs], None);
        assert!(found.len() == 1 && found[0].severity == PolicySeverity::Warning, "{found:?}");
        if rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED in part: root can write everywhere");
            return;
        }
        config.state_dir = "/".into();
        let found = check(&config, &[HostTask::AcceptSkrs], None);
        assert!(found[0].what.contains("state-dir / cannot be written by this user"), "{found:?}");
    }
}
