//! `request`.

use std::path::Path;

use keystore::exchange::format::Format;
use keystore::exchange::{bind, knot, program_with_ttl, xml};
use keystore::keys::KeyFile;
use keystore::keys::plan;
use keystore::time::Timestamp;

use super::console::{Console, Level};
use super::options::CommandLine;
use super::{Failure, Job};
use crate::PROGRAM;
use crate::request::{self, InactiveZsk, RequestError};

/// Makes the request; its text.
pub(super) fn request(
    job: &Job<'_>,
    line: &CommandLine,
    console: &mut Console<'_>,
) -> Result<String, Failure> {
    let interval = job.interval(&line.allow)?;
    let mut keys = job.keys_online(job.folder, console)?;
    for folder in &line.request.spare {
        keys.extend(spare_keys(job, folder, interval.start, console)?);
    }
    keys.sort_by_key(|key| (key.dnskey.algorithm, key.dnskey.tag()));
    let inactive = if line.allow.inactive_zsk { InactiveZsk::Accept } else { InactiveZsk::Refuse };
    let mut ksr = request::request(&keys, job.zone, job.policy, interval, inactive).map_err(with_option)?;
    if let Some((at, _)) = plan::first_without_active_zsk(&keys, job.policy, interval) {
        console.say(Level::Warning, &format!("no ZSK is active from {at} ({}) on", at.ctime()));
    }
    let form = line.common.format.unwrap_or(Format::Bind);
    if form == Format::Xml {
        if line.request.no_pop {
            let text = "--no-pop: a request in XML always has its proofs; leave the option out";
            return Err(Failure::usage(text));
        }
        let serial = job.now.secs();
        let mut xml = request::xml(&ksr, &keys, job.policy, interval.end, serial).map_err(with_option)?;
        xml.timestamp = Some(job.now);
        return Ok(xml::print_request(&xml));
    }
    if form == Format::Knot {
        request::close_for_knot(&mut ksr, interval.end);
    }
    if !line.request.no_pop {
        request::prove(&mut ksr, &keys, interval.end).map_err(with_option)?;
    }
    let program = program_with_ttl(PROGRAM, job.largest_ttl);
    Ok(match form {
        Format::Knot => knot::print_ksr(&ksr, knot::Stamps::Unix, job.now, &program),
        _ => bind::print_ksr(&ksr, job.now, &program),
    })
}

/// The keys of a folder of `--spare`, which must have a ZSK that is published from the start on.
fn spare_keys(
    job: &Job<'_>,
    folder: &Path,
    start: Timestamp,
    console: &mut Console<'_>,
) -> Result<Vec<KeyFile>, Failure> {
    let spare = job.keys_online(folder, console)?;
    let usable = |key: &KeyFile| {
        !key.dnskey.is_ksk()
            && key.timing.publish.is_some_and(|at| at <= start)
            && key.timing.delete.is_none()
    };
    if !spare.iter().any(usable) {
        let what =
            "has no ZSK of this zone that is published from the start on; make one with keygen --standby";
        return Err(Failure::Fatal(format!("--spare {}: {what}", folder.display())));
    }
    Ok(spare)
}

/// The error with the option that goes on nonetheless.
fn with_option(error: RequestError) -> Failure {
    let option = match &error {
        RequestError::NoActiveZsk { .. } => ", or go on with --allow-inactive-zsk",
        RequestError::Key { .. } => "; to go on without proof of possession: --no-pop",
        RequestError::Sign(_) => "; to go on without it: --no-pop",
        RequestError::TooManyBundles => " with -e",
        _ => "",
    };
    Failure::Fatal(format!("{error}{option}"))
}
