//! The files of authorities that transfers over TLS need, watched for one that cannot be read. Those who use a file read it for themselves, and
//! go on with what they had read before.

use std::collections::BTreeSet;
use std::path::PathBuf;

use keystore::config::Config;
use metrics::changed::{FileMark, mark};
use metrics::http::read_authorities;

/// The files that a configuration names: `client-ca-file` of `allow-transfer`, and `ca-file` of primaries.
#[must_use]
pub fn authority_files(config: &Config) -> BTreeSet<PathBuf> {
    let of_zones = config.zones.iter().flat_map(|zone| &zone.allow_transfer);
    let of_catalogs = config.catalogs.made.iter().flat_map(|catalog| &catalog.allow_transfer);
    let clients = of_zones.chain(of_catalogs).filter_map(|rule| rule.tls.as_ref()?.authority.clone());
    let of_zones = config.zones.iter().flat_map(|zone| &zone.content.primaries);
    let of_catalogs = config.catalogs.taken.iter().flat_map(|catalog| catalog.primaries());
    let primaries = of_zones.chain(of_catalogs).filter_map(|primary| primary.tls.as_ref()?.authority.clone());
    clients.chain(primaries).collect()
}

/// Whether the files can be read.
#[derive(Debug, Default)]
pub(super) struct AuthorityFiles(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    file: PathBuf,
    /// The file that was good.
    good: Option<FileMark>,
    error: Option<String>,
}

impl AuthorityFiles {
    /// Watches those that the configuration names.
    pub fn take(&mut self, config: &Config) {
        let files = authority_files(config);
        self.0.retain(|watched| files.contains(&watched.file));
        let new = files.into_iter().filter(|file| self.0.iter().all(|watched| watched.file != *file));
        let new: Vec<Watched> = new.map(|file| Watched { file, good: None, error: None }).collect();
        self.0.extend(new);
    }

    /// Reads those that have changed, or were not good.
    pub fn refresh(&mut self) {
        for watched in &mut self.0 {
            let mark = mark(&watched.file);
            if watched.good == Some(mark) {
                continue;
            }
            watched.error = read_authorities(&watched.file).err().map(|error| error.to_string());
            watched.good = watched.error.is_none().then_some(mark);
        }
    }

    /// Why some of them cannot be read.
    pub fn error(&self) -> Option<String> {
        let errors: Vec<&str> = self.0.iter().filter_map(|watched| watched.error.as_deref()).collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Made by `openssl req -x509 -newkey ed25519 -nodes -keyout /dev/null -subj /CN=authority -days 36500`.
    const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----
MIIBPjCB8aADAgECAhRyaK4HEFkiyFgrMdTVoDn0bcNijjAFBgMrZXAwFDESMBAG
A1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyNzE0MDAyM1oYDzIxMjYxMTAzMTQwMDIz
WjAUMRIwEAYDVQQDDAlhdXRob3JpdHkwKjAFBgMrZXADIQD9/Hex4d3wtuf69ZVB
hhUjSdIEjg+M+WO+6c8fYRlh/qNTMFEwHQYDVR0OBBYEFPn0CZNEtemQHCOAtztq
CRW2IG/RMB8GA1UdIwQYMBaAFPn0CZNEtemQHCOAtztqCRW2IG/RMA8GA1UdEwEB
/wQFMAMBAf8wBQYDK2VwA0EABcoLDrdbtFNDrkxsO9HANXqVbJ3IPcGmIDvkOH5T
B3rYN2NTq9SNx46qUEZUOl2+ZUAFq9klukJiRm28NJz8CQ==
-----END CERTIFICATE-----
";

    fn config(dir: &Path) -> Config {
        let text = "version = 1\nstate-dir = \"/nonexistent\"\n[[zone]]\nname = \"a.test\"\npolicy = \"p\"\ntrust-anchors = [\"a.test. DS 18064 13 2 \
            3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000\"]\nprimaries = [{ address = \"192.0.2.1\", tls = { name = \"p.test\", ca-file = \"ca\" } }]\n\
            allow-transfer = [{ tls = { client-ca-file = \"clients\" } }]\n[policy.p]\noffline-ksk = true\nkeys = [\
            { role = \"ksk\", lifetime = \"unlimited\", algorithm = 13 }, { role = \"zsk\", lifetime = \"unlimited\", algorithm = 13 }]\n\
            [signer]\nlisten = [\"127.0.0.1:0\"]\n";
        Config::parse(text.as_bytes(), &dir.join("c.toml")).unwrap()
    }

    #[test]
    fn file_of_authorities_that_cannot_be_read_is_told_until_it_is_good_or_named_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        let [clients, primaries] = ["clients", "ca"].map(|name| dir.path().join(name));
        assert_eq!(authority_files(&config), [primaries.clone(), clients.clone()].into());
        let mut files = AuthorityFiles::default();
        files.take(&config);
        for (clients_text, primaries_text, told) in [
            (None, None, vec!["clients", "ca"]),
            (Some(AUTHORITY), None, vec!["ca"]),
            (Some(AUTHORITY), Some(AUTHORITY), vec![]),
            (Some("half a file"), Some(AUTHORITY), vec!["clients"]),
            (Some(AUTHORITY), Some(""), vec!["ca"]),
            (Some(AUTHORITY), Some(AUTHORITY), vec![]),
        ] {
            for (file, text) in [(&clients, clients_text), (&primaries, primaries_text)] {
                if let Some(text) = text {
                    std::fs::write(file.with_extension("new"), text).unwrap();
                    std::fs::rename(file.with_extension("new"), file).unwrap();
                }
            }
            files.refresh();
            let error = files.error();
            let is_told = |name: &str| {
                let path = dir.path().join(name).display().to_string();
                error.as_ref().is_some_and(|error| error.contains(&path))
            };
            for name in ["clients", "ca"] {
                assert_eq!(is_told(name), told.contains(&name), "{name}: {error:?}");
            }
        }
        std::fs::remove_file(&clients).unwrap();
        files.refresh();
        assert!(files.error().is_some());
        config.zones[0].allow_transfer = Vec::new();
        files.take(&config);
        files.refresh();
        assert_eq!(files.error(), None);
    }
}
