//! `keygen`.

use keystore::keys::plan::Holes;
use keystore::policy::Role;

use super::console::{Console, Level};
use super::options::{AllowOptions, KeygenOptions};
use super::{Failure, Job};
use crate::check::duration_text;
use crate::keygen::{self, Keygen, OtherOwner};

/// Makes the keys; their names, one a line.
pub(super) fn keygen(
    job: &Job<'_>,
    options: &KeygenOptions,
    allow: &AllowOptions,
    console: &mut Console<'_>,
) -> Result<String, Failure> {
    let role = if options.ksk { Role::Ksk } else { Role::Zsk };
    let keygen = Keygen {
        holes: if allow.holes { Holes::Leave } else { Holes::Fill },
        owner: if allow.other_owner { OtherOwner::Accept } else { OtherOwner::Refuse },
        ..Keygen::new(job.folder, job.zone, job.policy, role, job.interval(allow)?, job.now)
    };
    let waiting = || console.say(Level::Plain, "waiting for another run that holds the key folder");
    let outcome =
        if options.standby { keygen::standby(&keygen, waiting)? } else { keygen::run(&keygen, waiting)? };
    console.folder(&outcome.warnings);
    let mut text = String::new();
    for key in &outcome.keys {
        let word = if key.made { "Generating" } else { "Selecting" };
        console.detail(&format!("{word} key pair for bundle {}: {}", key.bundle.ctime(), key.name));
        if key.fills_hole {
            let what = if key.made { "made" } else { "selected" };
            console.say(
                Level::Warning,
                &format!(
                    "{} {what} for {}, where no other key would be active (dnssec-ksr leaves this hole; --allow-holes does too)",
                    key.name,
                    key.bundle.ctime()
                ),
            );
        }
        let file = outcome.files.iter().find(|file| file.base_name() == key.name);
        let begins = file.and_then(|file| file.timing.activate).filter(|at| *at > key.bundle);
        if let Some(begins) = begins.filter(|_| options.ksk && !key.made) {
            console.say(
                Level::Warning,
                &format!(
                    "{} signs from {begins} on, {} after the start of the interval, and no other KSK was made for that time: let requests begin when it does (-i {begins}), or let it begin earlier (dnssec-settime -s -P {start} -A {start})",
                    key.name,
                    duration_text(begins.since(key.bundle)),
                    start = key.bundle,
                ),
            );
        }
        text.push_str(&key.name);
        text.push('\n');
    }
    Ok(text)
}
