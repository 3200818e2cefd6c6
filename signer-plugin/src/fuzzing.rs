//! What the fuzz targets read that is not public otherwise: a zone file, changes of a zone and its state as octets, without a folder.

use std::path::PathBuf;
use std::sync::Arc;

use keystore::config::content::{UpdateNames, UpdateRule};
use keystore::cookie_secrets::CookieSecrets;
use keystore::dns::{Name, Rtype};
use keystore::time::Timestamp;

use crate::answer::query::{HEADER, Head};
use crate::answer::{self, Arrival, WithoutZone};
use crate::content;
pub use crate::incoming::fuzzing::receive;
use crate::protocol::{QuerySettings, ServerIdentity};
use crate::rules::{RecordProblem, ZoneRules};
use crate::runtime;
use crate::signing::SignedZone;
pub use crate::state::fuzzing::{
    Differences, Sections, differences_of, merged_differences, open, read_content, read_differences,
    read_state, seal, stored, stored_content, stored_differences,
};
pub use crate::transfer::fuzzing::TransferSite;
use crate::update::{ServedApex, UpdateMessage, evaluate};
use crate::zone::{Zone, ZoneBuilder};
use crate::zonefile::{self, Record, SourceFiles, ZoneFileError};

/// Reads the text of a zone file as [`Zone::load`] does. One with more records than `most` is refused as too large.
pub fn read_zone(text: &[u8], origin: &Name, most: usize) -> Result<Zone, ZoneFileError> {
    let mut builder = ZoneBuilder::with_rules(origin, ZoneRules::default());
    let files = read_records(text, origin, most, &mut |record| builder.push(&record))?;
    builder.finish(files)
}

/// Reads the text of a zone file as [`zonefile::read`] does, up to `most` records.
pub fn read_records(
    text: &[u8],
    origin: &Name,
    most: usize,
    sink: &mut dyn FnMut(Record<'_>) -> Result<(), RecordProblem>,
) -> Result<SourceFiles, ZoneFileError> {
    let path = PathBuf::from("fuzz.zone");
    let mut files = SourceFiles { paths: vec![path.clone()] };
    let mut records = 0;
    zonefile::read_text(text, path, origin, &mut files, &mut |record| {
        records += 1;
        if records > most { Err(RecordProblem::ZoneTooLarge) } else { sink(record) }
    })?;
    Ok(files)
}

/// Settings under which an answer has all options that the query asks for; cookies are made at `now`. `None` when `secrets` do not read.
#[must_use]
pub fn full_settings(secrets: &[u8], now: Timestamp) -> Option<QuerySettings> {
    let secrets = CookieSecrets::parse(secrets).ok()?;
    let identity = ServerIdentity {
        nsid: Some(b"ns1".to_vec()),
        name: Some(b"ns1.example".to_vec()),
        version: Some(b"1".to_vec()),
        report_agent: Some(b"\x05agent\x07example\x00".to_vec()),
    };
    Some(QuerySettings { identity, ..QuerySettings::with_cookies(secrets, Arc::new(move || now)) })
}

/// Answers a query as where no zone is found for it; false when it gets no answer.
#[must_use]
pub fn answer_without_zone(query: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> bool {
    answer::answer_without_zone(query, arrival, out) != WithoutZone::Drop
}

/// Reads the file `serial`; the serial that may have been served last, and the last one that is reserved.
#[must_use]
pub fn serial(text: &[u8]) -> Option<(Option<u32>, Option<u32>)> {
    runtime::serial::parse_serial(text)
}

/// True when the whole of a restored version is in order at `now`, all signatures verified.
#[must_use]
pub fn is_in_order(signed: &SignedZone, now: Timestamp) -> bool {
    signed.self_check(now, usize::MAX).is_ok()
}

/// The zone after an UPDATE message of somebody who may change everything; `None` when it is refused or changes nothing.
#[must_use]
pub fn update(zone: &Zone, message: &[u8]) -> Option<Zone> {
    let head = Head::parse(message)?;
    let question = head.question(message)?;
    question.rest(message)?;
    let read =
        UpdateMessage::read(message, HEADER + question.octets.len(), head.answer_and_authority()).ok()?;
    let names = UpdateNames::Zone;
    let rule = UpdateRule { key: zone.origin().clone(), address: None, names, types: Some(vec![Rtype::ANY]) };
    let served = ServedApex { serial: zone.serial(), made_at_apex: vec![Rtype::DNSKEY] };
    evaluate(zone, &served, &read, &[rule], None).ok()?.map(|(next, _)| next)
}

/// The records of a zone as a zone file.
#[must_use]
pub fn text_of(zone: &Zone) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing into memory does not fail.
    let _ = content::print(zone, &mut text);
    text
}

/// True when both have the same records at names that are spelled alike, with the same TTLs.
#[must_use]
pub fn have_same_content(one: &Zone, other: &Zone) -> bool {
    one.has_content_of(other)
}
