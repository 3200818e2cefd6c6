//! `import`: key files for a key that another program has made, such as the one that signs the zone until now.

use std::path::Path;

use keystore::keys::files::{self, ForeignKey, import_key, read_foreign};
use keystore::keys::plan;
use keystore::policy::{KeyPolicy, KeyRole, Policy};
use keystore::time::Timestamp;

use super::console::{Console, Level};
use super::keygen::taken_tags;
use super::options::CommandLine;
use super::{Failure, load_policy, time, zone_name};
use crate::keygen;

/// Writes `.key`, `.state` and `.private` for the key of a file; the name of the set.
pub(super) fn run(line: &CommandLine, now: Timestamp, console: &mut Console<'_>) -> Result<String, Failure> {
    let [_, zone, file] = line.words.as_slice() else {
        return Err(Failure::usage("import takes a zone and the file with its key: import ZONE FILE"));
    };
    let zone = zone_name(zone)?;
    let common = &line.common;
    let (Some(config), Some(policy)) = (&common.config, &common.policy) else {
        return Err(Failure::usage(
            "import requires a policy: its file with -l FILE, its name with -k POLICY",
        ));
    };
    let policy = load_policy(line, config, policy, console)?;
    let role = if line.keygen.ksk { KeyRole::Ksk } else { KeyRole::Zsk };
    let since = time(&common.start, now)?.unwrap_or(now);
    if since > now {
        return Err(Failure::Usage(format!(
            "-i {since}: give the time since when the key is active; a key for later is made by keygen"
        )));
    }
    let key = read_foreign(Path::new(file)).map_err(Failure::fatal)?;
    let entry = entry_for(&policy, role, &key, file)?;
    let timing = plan::timing(&policy, role, entry.lifetime, since, true, now);
    if let Some(end) = timing.inactive.filter(|end| *end <= now) {
        return Err(Failure::Fatal(format!(
            "{file}: by its lifetime in policy '{}' the key has ended at {end}, and it signs until a successor can: say with -i a later time \
             since when it is active",
            policy.name
        )));
    }
    let _lock = keygen::lock(&common.folder, || {
        console.say(Level::Plain, "waiting for another run that holds the key folder");
    })?;
    // The KSK that is imported may be a trust anchor itself.
    let taken = if role == KeyRole::Zsk { taken_tags(&zone, line, console)? } else { Vec::new() };
    let new = keygen::new_key(&zone, &policy, entry, role, timing);
    let made = import_key(&common.folder, &new, &taken, &key.private).map_err(|error| match error {
        files::KeyFileError::Exists { .. } => Failure::Fatal(format!("{error}; the key is here already")),
        other => Failure::fatal(other),
    })?;
    Ok(format!("{}\n", made.base_name()))
}

/// The entry of the policy that the key fits.
fn entry_for<'a>(
    policy: &'a Policy,
    role: KeyRole,
    key: &ForeignKey,
    file: &str,
) -> Result<&'a KeyPolicy, Failure> {
    let fits = |entry: &&KeyPolicy| {
        let has_size = !entry.algorithm.is_rsa() || entry.bits == key.bits;
        entry.role == role && has_size && key.algorithms.contains(&entry.algorithm)
    };
    policy.keys.iter().find(fits).ok_or_else(|| {
        let (role, option) = if role == KeyRole::Ksk { ("KSK", "without") } else { ("ZSK", "with") };
        let algorithms: Vec<String> = key.algorithms.iter().map(ToString::to_string).collect();
        Failure::Fatal(format!(
            "{file}: policy '{}' has no {role} entry for a key of {} bits for {} ({option} -o the other role is imported)",
            policy.name,
            key.bits,
            algorithms.join(" or "),
        ))
    })
}
