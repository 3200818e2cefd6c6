//! `check`: what a request asks for, and what each check says of it.

use std::io::Read;

use keystore::exchange::format::{self, Format};
use keystore::exchange::{possession, xml};

use super::Failure;
use super::ceremony::{Ceremony, ceremony_error, printed};
use super::console::Console;
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
    let bad = |e| ceremony.bad_file(name, &e);
    let format = format::detect(octets);
    if format == Format::Xml {
        let request = xml::parse_request(octets).map_err(bad)?;
        let previous = ceremony.previous_xml(stdin)?;
        let checked = ceremony.check_xml(octets, name, (&request, previous.as_ref()), &keys, json)?;
        return Ok((checked.report, checked.good));
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
    Ok((printed(&report, json), report.is_good()))
}
