//! `check`: what a request asks for, and what each check says of it.

use std::io::Read;

use keystore::crypto::pkcs11;
use keystore::exchange::format::{self, Format};
use keystore::exchange::{possession, xml};
use keystore::keys::KeyFile;
use keystore::policy::{KeyRole, Policy};

use super::Failure;
use super::ceremony::{Ceremony, ceremony_error, printed};
use super::console::{Console, Level};
use super::report::KsrReport;
use crate::sign;

/// Holds a request against all checks; the report, and false when a check refuses the request. `name` is that of the file.
pub(super) fn check(
    ceremony: &Ceremony<'_>,
    octets: &[u8],
    name: &str,
    json: bool,
    stdin: &mut dyn Read,
    console: &mut Console<'_>,
) -> Result<(String, bool), Failure> {
    let keys = ceremony.job.keys(console)?;
    // With --all that was done once for all zones.
    let opened = ceremony.job.part.is_some() || open_stores(ceremony.job.policy, &keys, console);
    let bad = |e| ceremony.bad_file(name, &e);
    let format = format::detect(octets);
    if format == Format::Xml {
        let request = xml::parse_request(octets).map_err(bad)?;
        let previous = ceremony.previous_xml(stdin)?;
        let checked = ceremony.check_xml(octets, name, (&request, previous.as_ref()), &keys, json)?;
        return Ok((checked.report, checked.good && opened));
    }
    let ksr = format::parse_ksr(octets, ceremony.job.zone).map_err(bad)?;
    let previous = ceremony.previous(stdin)?;
    let Some(end) = ceremony.job.end.or_else(|| possession::end(&ksr)) else {
        return Err(Failure::usage("the KSR does not say its end; give it with -e TIME"));
    };
    let parent = ceremony.parent(&keys)?;
    let signing = ceremony.signing(&[octets], &ksr, &keys, end, parent.as_ref(), previous.as_ref())?;
    let plan = sign::plan(signing).map_err(ceremony_error)?;
    let purpose = ceremony.purpose;
    let report = KsrReport { file: name, octets, format, plan: &plan, purpose, sources: &[], xml: None };
    Ok((printed(&report, json), report.is_good() && opened))
}

/// Looks at the tokens of the KSKs of the policy: whether module, token and PIN file are there. Nobody logs in: that does `token check`.
/// What is wrong counts where the key folder has a KSK in a token, so that the request is to be signed here; then this is false.
pub(super) fn open_stores(policy: &Policy, keys: &[KeyFile], console: &mut Console<'_>) -> bool {
    let counts = keys.iter().any(|key| key.dnskey.is_ksk() && matches!(key.in_token(), Ok(Some(_))));
    let mut good = true;
    let mut seen = Vec::new();
    for entry in policy.keys.iter().filter(|entry| entry.role != KeyRole::Zsk) {
        let Some(store) = entry.key_store.as_ref().filter(|store| !seen.contains(store)) else { continue };
        seen.push(store);
        let looked = store.token().and_then(|uri| uri.as_ref().map_or(Ok(()), pkcs11::look));
        if let Err(error) = looked {
            let level = if counts { Level::Error } else { Level::Warning };
            console.say(level, &format!("{store}: {error}"));
            good &= !counts;
        }
    }
    good
}
