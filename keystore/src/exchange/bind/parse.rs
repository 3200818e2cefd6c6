//! Reads KSR and SKR in BIND's text form.
//!
//! Stricter than BIND where leniency hides damage: the closing line must be there; a comment that could be a header or a
//! record is refused; a header's remark must fit its time. Laxer where it does no harm: blank lines and comment lines
//! are taken anywhere. A record that occurs twice counts once (RFC 2181 section 5).

mod header;

use super::{BindSyntaxError, MAX_BUNDLES, MAX_KEYS, MAX_LINE, MAX_OCTETS, MAX_SIGNATURES};
use crate::check::CheckId;
use crate::dns::Token;
use crate::dns::lexer::{self, Lexer};
use crate::dns::record::{RecordError, RecordHead, record_head};
use crate::dns::{Class, Name, Rrset, Rrsig, Rtype, rdata};
use crate::exchange::{Bundle, Ksr, KsrBundle, UnverifiedSkr, possession};
use crate::keys::Dnskey;
use crate::time::Timestamp;
use header::{Header, next_word, read_header};

/// Longest RDATA, in octets: 255 for a signer's name and 512 for a signature fit.
const MAX_RDATA: usize = 2048;
/// TTL of the keys in a KSR that names none: BIND's `dnskey-ttl`. The signer's policy decides in the end.
const DEFAULT_TTL: u32 = 3600;

/// How the times in headers read. All else is common to BIND and Knot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::exchange) enum Dialect {
    /// 14 digits; in a KSR also what else `dnssec-ksr` takes.
    Bind,
    /// Seconds since 1970 (10 digits), or 14 digits.
    Knot,
}

/// Reads an SKR for `zone`. Header times are exactly 14 digits.
pub fn parse_skr(octets: &[u8], zone: &Name) -> Result<UnverifiedSkr, BindSyntaxError> {
    read_skr(octets, zone, Dialect::Bind)
}

/// Reads a KSR for `zone`. Header times are 14 digits, 8 digits (midnight) or 10 digits (UNIX seconds, as Knot writes
/// them); times relative to now are refused, because they mean another time to each reader.
pub fn parse_ksr(octets: &[u8], zone: &Name) -> Result<Ksr, BindSyntaxError> {
    read_ksr(octets, zone, Dialect::Bind)
}

/// Reads an SKR in a dialect.
pub(in crate::exchange) fn read_skr(
    octets: &[u8],
    zone: &Name,
    dialect: Dialect,
) -> Result<UnverifiedSkr, BindSyntaxError> {
    let mut bundles: Vec<Bundle> = Vec::new();
    let owner = read_file(octets, zone, &SKR, dialect, |inception, records, line, owner| {
        let mut bundle = skr_bundle(inception, records, line, owner)?;
        if let Some(before) = bundles.last() {
            bundle.share_with(before);
        }
        bundles.push(bundle);
        Ok(())
    })
    .map_err(|error| or_cut_off(octets, error))?;
    Ok(UnverifiedSkr { zone: owner, bundles })
}

/// Says of an error in a last line that has no end that the file may have been cut off there.
fn or_cut_off(octets: &[u8], mut error: BindSyntaxError) -> BindSyntaxError {
    let ends_within = octets.last().is_some_and(|octet| *octet != b'\n');
    let lines = octets.iter().filter(|octet| **octet == b'\n').count() + 1;
    if ends_within && usize::try_from(error.line) == Ok(lines) {
        error.what.push_str("; the file ends within this line: if it was cut off, copy it again");
    }
    error
}

/// Reads a KSR in a dialect.
pub(in crate::exchange) fn read_ksr(
    octets: &[u8],
    zone: &Name,
    dialect: Dialect,
) -> Result<Ksr, BindSyntaxError> {
    let mut bundles = Vec::new();
    let owner = read_file(octets, zone, &KSR, dialect, |inception, records, _, owner| {
        bundles.push(ksr_bundle(inception, &records, owner)?);
        Ok(())
    })
    .map_err(|error| or_cut_off(octets, error))?;
    Ok(Ksr { zone: owner, bundles })
}

/// One of the two kinds of file: its word, and its IDs of errors.
struct Kind {
    word: &'static str,
    other: &'static str,
    types: &'static [Rtype],
    syntax: CheckId,
    truncated: CheckId,
    limits: CheckId,
    wrong_type: CheckId,
    wrong_class: CheckId,
    wrong_ttl: CheckId,
    wrong_zone: CheckId,
}

static SKR: Kind = Kind {
    word: "SignedKeyResponse",
    other: "KeySigningRequest",
    types: &[Rtype::DNSKEY, Rtype::CDNSKEY, Rtype::CDS, Rtype::RRSIG],
    syntax: CheckId::SkrSyntax,
    truncated: CheckId::SkrTruncated,
    limits: CheckId::SkrLimits,
    wrong_type: CheckId::SkrType,
    wrong_class: CheckId::SkrClass,
    wrong_ttl: CheckId::SkrTtl,
    wrong_zone: CheckId::SkrWrongZone,
};

static KSR: Kind = Kind {
    word: "KeySigningRequest",
    other: "SignedKeyResponse",
    types: &[Rtype::DNSKEY],
    syntax: CheckId::KsrSyntax,
    truncated: CheckId::KsrTruncated,
    limits: CheckId::KsrLimits,
    wrong_type: CheckId::KsrType,
    wrong_class: CheckId::KsrClass,
    wrong_ttl: CheckId::KsrTtl,
    wrong_zone: CheckId::KsrWrongZone,
};

fn error(id: CheckId, line: u32, what: impl Into<String>) -> BindSyntaxError {
    BindSyntaxError { id, line, what: what.into() }
}

// ------------------------------------------------------------------------------------------------ lines

/// A record, read.
struct Record {
    line: u32,
    ttl: Option<u32>,
    rtype: Rtype,
    rdata: Vec<u8>,
    /// Inception, expiration and signature of a proof of possession, from the comment behind the record.
    proof: Option<(Timestamp, Timestamp, Vec<u8>)>,
}

/// Reads the whole file: for each bundle `take` gets its inception, its records, the line of its header, and the zone as
/// the first record has it. Gives back that name.
fn read_file(
    octets: &[u8],
    zone: &Name,
    kind: &'static Kind,
    dialect: Dialect,
    mut take: impl FnMut(Timestamp, Vec<Record>, u32, &Name) -> Result<(), BindSyntaxError>,
) -> Result<Name, BindSyntaxError> {
    check_size(octets, kind)?;
    let mut reader = RecordReader { zone, kind, owner: None };
    // The bundle that is open: its inception and the line of its header; then the text behind that, and its line.
    let mut open: Option<(Timestamp, u32)> = None;
    let (mut body_start, mut body_line) = (0, 1);
    let (mut footer_seen, mut at, mut number) = (false, 0, 0);
    while at < octets.len() {
        let end = octets[at..].iter().position(|b| *b == b'\n').map_or(octets.len(), |n| at + n);
        let line = octets[at..end].strip_suffix(b"\r").unwrap_or(&octets[at..end]);
        number += 1;
        let header = check_line(line, number, kind)?;
        if let Some(text) = header {
            let records = reader.read(&octets[body_start..at], body_line, footer_seen)?;
            if footer_seen {
                return Err(error(
                    kind.syntax,
                    number,
                    "a header behind the closing line: are these two files in one?",
                ));
            }
            match open.take() {
                Some((inception, line)) => {
                    take(inception, records, line, reader.owner.as_ref().unwrap_or(zone))?
                }
                None => refuse_early(&records, kind)?,
            }
            match read_header(text, number, kind, dialect)? {
                Header::Bundle(inception) => open = Some((inception, number)),
                Header::Footer => footer_seen = true,
            }
            (body_start, body_line) = ((end + 1).min(octets.len()), number + 1);
        }
        at = end + 1;
    }
    let records = reader.read(&octets[body_start..], body_line, footer_seen)?;
    match open {
        _ if footer_seen => {}
        Some(_) => {
            let what = format!(
                "the closing line `;; {} 1.0 generated ...` is missing: the file is cut off",
                kind.word
            );
            return Err(error(kind.truncated, number, what));
        }
        None => {
            refuse_early(&records, kind)?;
            return Err(error(
                kind.syntax,
                number.max(1),
                format!("there is no `;; {} 1.0` header", kind.word),
            ));
        }
    }
    Ok(reader.owner.unwrap_or_else(|| zone.clone()))
}

/// Counts before anything is read, so that a huge file costs nothing.
fn check_size(octets: &[u8], kind: &Kind) -> Result<(), BindSyntaxError> {
    if octets.len() > MAX_OCTETS {
        let what = format!("{} octets; the limit is {MAX_OCTETS}", octets.len());
        return Err(error(kind.limits, 1, what));
    }
    if octets.starts_with(b"\xef\xbb\xbf") {
        return Err(error(
            kind.syntax,
            1,
            "the file starts with a byte order mark; save it as plain text without one",
        ));
    }
    let mut headers = 0;
    for (line, number) in octets.split(|b| *b == b'\n').zip(1u32..) {
        if line.len() > MAX_LINE {
            return Err(error(
                kind.limits,
                number,
                format!("{} octets in a line; the limit is {MAX_LINE}", line.len()),
            ));
        }
        headers += usize::from(line.starts_with(b";;"));
        if headers > MAX_BUNDLES + 1 {
            return Err(error(kind.limits, number, format!("more than {MAX_BUNDLES} bundles")));
        }
    }
    Ok(())
}

/// Refuses what no line may have; gives the text behind `;;` when the line is a header.
fn check_line<'a>(line: &'a [u8], number: u32, kind: &Kind) -> Result<Option<&'a str>, BindSyntaxError> {
    let fault = |what: &str| error(kind.syntax, number, what);
    let text = std::str::from_utf8(line)
        .map_err(|_| fault("octets that are not UTF-8: this is no text, or it is damaged"))?;
    if let Some(control) = line.iter().find(|b| b.is_ascii_control() && **b != b'\t') {
        return Err(fault(&format!("control octet {control:#04x}: this is no text, or it is damaged")));
    }
    if let Some(header) = text.strip_prefix(";;") {
        return Ok(Some(header));
    }
    if let Some(start) = lexer::comment_start(line) {
        check_comment(&text[start + 1..]).map_err(fault)?;
    }
    Ok(None)
}

/// A comment that could be a damaged header or record is refused: what it stands for must not vanish silently.
fn check_comment(comment: &str) -> Result<(), &'static str> {
    let has = |word: &str| {
        comment.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    };
    if has(SKR.word) || has(KSR.word) {
        return Err("this looks like a header; headers start with `;;` in the first column");
    }
    let is_type = |word: &str| word.parse::<Rtype>().is_ok_and(|rtype| SKR.types.contains(&rtype));
    let words = comment.split_ascii_whitespace();
    let heads_type =
        |word: &str| word.eq_ignore_ascii_case("IN") || word.starts_with(|c: char| c.is_ascii_digit());
    if words.clone().zip(words.skip(1)).any(|(head, word)| heads_type(head) && is_type(word)) {
        return Err("this comment looks like a record; remove it, or make it a record");
    }
    Ok(())
}

fn refuse_early(records: &[Record], kind: &Kind) -> Result<(), BindSyntaxError> {
    match records.first() {
        None => Ok(()),
        Some(record) => {
            let what = format!("a record before the first `;; {} 1.0` header", kind.word);
            Err(error(kind.syntax, record.line, what))
        }
    }
}

// ---------------------------------------------------------------------------------------------- records

/// Reads the records between two headers.
struct RecordReader<'a> {
    zone: &'a Name,
    kind: &'static Kind,
    /// Owner of the first record of the file, letter case kept.
    owner: Option<Name>,
}

impl RecordReader<'_> {
    /// Reads `body`, which starts at line `first`.
    fn read(&mut self, body: &[u8], first: u32, footer_seen: bool) -> Result<Vec<Record>, BindSyntaxError> {
        let line = |n: u32| first + n - 1;
        let (mut lexer, mut tokens, mut records) = (Lexer::new(body), Vec::new(), Vec::new());
        let limit = MAX_KEYS * self.kind.types.len() + 3 * MAX_SIGNATURES;
        loop {
            let head = lexer.next_into(&mut tokens);
            let Some(head) = head.map_err(|e| error(self.kind.syntax, line(e.line), e.what.to_string()))?
            else {
                return Ok(records);
            };
            if tokens.is_empty() {
                continue;
            }
            let line = line(head.line);
            if footer_seen {
                return Err(error(self.kind.syntax, line, "text behind the closing line"));
            }
            if records.len() >= limit {
                return Err(error(self.kind.limits, line, format!("more than {limit} records in a bundle")));
            }
            let mut record = self.record(&tokens, head.leading_blank, line)?;
            let comment = head.comment.unwrap_or_default();
            check_tag(&record, comment, self.kind)?;
            if std::ptr::eq(self.kind, &KSR) {
                record.proof = read_proof(comment, line)?;
            }
            records.push(record);
        }
    }

    /// Reads `[owner] [TTL] [class] type RDATA`. Without owner that of the zone counts.
    fn record(&mut self, tokens: &[Token<'_>], no_owner: bool, line: u32) -> Result<Record, BindSyntaxError> {
        let kind = self.kind;
        let fault = |what: String| error(kind.syntax, line, what);
        if tokens.iter().any(|t| t.quoted) {
            return Err(fault("a quoted string, which no record here has".to_owned()));
        }
        let rest = match tokens.split_first() {
            Some((first, rest)) if !no_owner => {
                self.check_owner(first, line)?;
                rest
            }
            _ => tokens,
        };
        let head = record_head(rest).and_then(RecordHead::with_true_ttl);
        let RecordHead { ttl, class, rtype, len } = head.map_err(|e| match e {
            RecordError::UnknownType(_) | RecordError::MetaType(_) => {
                error(kind.wrong_type, line, e.to_string())
            }
            RecordError::BadTtl(_) => error(kind.wrong_ttl, line, e.to_string()),
            _ => fault(e.to_string()),
        })?;
        if let Some(class) = class.filter(|c| *c != Class::IN) {
            return Err(error(kind.wrong_class, line, format!("class {class}, where IN was expected")));
        }
        if !kind.types.contains(&rtype) {
            let types = kind.types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(error(
                kind.wrong_type,
                line,
                format!("type {rtype}; only these belong here: {types}"),
            ));
        }
        let mut data = Vec::new();
        rdata::from_tokens(rtype, &rest[len..], None, &mut data)
            .map_err(|e| fault(format!("{rtype} record: {e}")))?;
        if data.len() > MAX_RDATA {
            let what = format!("{} octets of record data; the limit is {MAX_RDATA}", data.len());
            return Err(error(kind.limits, line, what));
        }
        Ok(Record { line, ttl, rtype, rdata: data, proof: None })
    }

    fn check_owner(&mut self, token: &Token<'_>, line: u32) -> Result<(), BindSyntaxError> {
        let kind = self.kind;
        if token.text.starts_with(b"$") {
            return Err(error(kind.syntax, line, format!("`{token}`: directives are not read here")));
        }
        if token.is_at() {
            return Err(error(
                kind.syntax,
                line,
                "`@` stands for an origin, and there is none; write the zone's name",
            ));
        }
        let owner = Name::parse_bytes(token.text, None)
            .map_err(|e| error(kind.syntax, line, format!("`{token}` is no owner name: {e}")))?;
        if owner != *self.zone {
            return Err(error(
                kind.wrong_zone,
                line,
                format!("owner {owner}, where {} was expected", self.zone),
            ));
        }
        self.owner.get_or_insert(owner);
        Ok(())
    }
}

/// A comment `; ZSK, ECDSAP256SHA256 (256b), id = 53016`, as Knot writes it behind keys, must have the key's tag: nothing
/// else in a KSR tells that a key is damaged.
fn check_tag(record: &Record, comment: &[u8], kind: &Kind) -> Result<(), BindSyntaxError> {
    let comment = std::str::from_utf8(comment).unwrap_or_default();
    let said = comment.rsplit_once(", id = ").and_then(|(_, tag)| tag.trim_end().parse::<u16>().ok());
    if let Some(said) = said.filter(|_| matches!(record.rtype, Rtype::DNSKEY | Rtype::CDNSKEY)) {
        let tag = crate::keys::key_tag(&record.rdata);
        if tag != said {
            let what = format!("the key has tag {tag}, and the comment behind it says {said}: it is damaged");
            return Err(error(kind.syntax, record.line, what));
        }
    }
    Ok(())
}

/// A comment `; proof-of-possession INCEPTION EXPIRATION SIGNATURE`, both times of 14 digits and the signature in base64; another
/// comment may follow behind a second `;`. `None` for any other comment.
fn read_proof(comment: &[u8], line: u32) -> Result<Option<(Timestamp, Timestamp, Vec<u8>)>, BindSyntaxError> {
    let comment = std::str::from_utf8(comment).unwrap_or_default();
    let (word, rest) = next_word(comment);
    if !word.eq_ignore_ascii_case(possession::WORD) {
        return Ok(None);
    }
    let fault = |what: &str| error(KSR.syntax, line, format!("{}: {what}", possession::WORD));
    let text = rest.split_once(';').map_or(rest, |(text, _)| text);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [from, to, signature] = words.as_slice() else {
        return Err(fault("inception, expiration and signature were expected"));
    };
    let time = |text: &str| {
        let time =
            Timestamp::parse_stamp(text).filter(|t| text.len() == 14 && t.secs() <= u64::from(u32::MAX));
        time.ok_or_else(|| fault("a time of 14 digits, YYYYMMDDHHMMSS, was expected"))
    };
    let signature = data_encoding::BASE64
        .decode(signature.as_bytes())
        .map_err(|_| fault("the signature is no base64 text: it is damaged"))?;
    Ok(Some((time(from)?, time(to)?, signature)))
}

/// The records of one type, with their TTL.
struct Gathered {
    rtype: Rtype,
    ttl: u32,
    rdatas: Vec<Box<[u8]>>,
}

/// Adds a record to its RRset: one TTL, no record twice.
fn gather(sets: &mut Vec<Gathered>, record: &Record, ttl: u32, kind: &Kind) -> Result<(), BindSyntaxError> {
    let place = sets.iter().position(|s| s.rtype == record.rtype).unwrap_or_else(|| {
        sets.push(Gathered { rtype: record.rtype, ttl, rdatas: Vec::new() });
        sets.len() - 1
    });
    let set = &mut sets[place];
    if set.ttl != ttl {
        let what = format!("TTL {ttl}, where the {} records before it have {}", record.rtype, set.ttl);
        return Err(error(kind.wrong_ttl, record.line, what));
    }
    if set.rdatas.len() >= MAX_KEYS {
        let what = format!("more than {MAX_KEYS} {} records in a bundle", record.rtype);
        return Err(error(kind.limits, record.line, what));
    }
    if !set.rdatas.iter().any(|r| **r == *record.rdata) {
        set.rdatas.push(record.rdata.as_slice().into());
    }
    Ok(())
}

/// Makes a bundle of an SKR. A record without TTL has that of the record before it; the first must have one.
fn skr_bundle(
    inception: Timestamp,
    records: Vec<Record>,
    header: u32,
    owner: &Name,
) -> Result<Bundle, BindSyntaxError> {
    let (mut sets, mut signatures, mut last_ttl) = (Vec::new(), Vec::<(Rrsig, u32, u32)>::new(), None);
    for record in records {
        let ttl = record.ttl.or(last_ttl);
        let ttl =
            ttl.ok_or_else(|| error(SKR.wrong_ttl, record.line, "the first record of a bundle needs a TTL"))?;
        last_ttl = Some(ttl);
        if record.rtype != Rtype::RRSIG {
            gather(&mut sets, &record, ttl, &SKR)?;
            continue;
        }
        let mut signature = Rrsig::from_rdata(&record.rdata)
            .map_err(|e| error(SKR.syntax, record.line, format!("RRSIG record: {e}")))?;
        signature.signer.share_with(owner);
        if signatures.iter().filter(|(s, ..)| s.covered == signature.covered).count() >= MAX_SIGNATURES {
            let what = format!("more than {MAX_SIGNATURES} signatures over {}", signature.covered);
            return Err(error(SKR.limits, record.line, what));
        }
        if signatures.iter().all(|(s, ..)| *s != signature) {
            signatures.push((signature, ttl, record.line));
        }
    }
    // RFC 4034 section 3: an RRSIG has the TTL of the RRset that it covers.
    for (signature, ttl, line) in &signatures {
        let Some(set) = sets.iter().find(|s| s.rtype == signature.covered) else {
            let what = format!("covers {}, which the bundle does not have", signature.covered);
            return Err(error(SKR.wrong_type, *line, what));
        };
        if set.ttl != *ttl {
            let what =
                format!("TTL {ttl} of the signature, where the {} records have {}", set.rtype, set.ttl);
            return Err(error(SKR.wrong_ttl, *line, what));
        }
    }
    let mut take = |rtype: Rtype| {
        let place = sets.iter().position(|s| s.rtype == rtype)?;
        let Gathered { rtype, ttl, rdatas } = sets.swap_remove(place);
        Some(Rrset { owner: owner.clone(), rtype, ttl, rdatas }.into())
    };
    let dnskey =
        take(Rtype::DNSKEY).ok_or_else(|| error(SKR.syntax, header, "the bundle has no DNSKEY record"))?;
    let (cdnskey, cds) = (take(Rtype::CDNSKEY), take(Rtype::CDS));
    // Collecting in place would keep the room of what was with them.
    let mut kept = Vec::with_capacity(signatures.len());
    kept.extend(signatures.into_iter().map(|(s, ..)| s));
    let signatures = kept;
    Ok(Bundle { inception, dnskey, cdnskey, cds, signatures })
}

/// Makes a bundle of a KSR; it may be empty, and its keys may be anything: whoever signs judges them.
fn ksr_bundle(inception: Timestamp, records: &[Record], zone: &Name) -> Result<KsrBundle, BindSyntaxError> {
    let ttl = records.iter().find_map(|r| r.ttl).unwrap_or(DEFAULT_TTL);
    let mut sets = Vec::new();
    for record in records {
        gather(&mut sets, record, record.ttl.unwrap_or(ttl), &KSR)?;
    }
    let rdatas = sets.pop().map(|s| s.rdatas).unwrap_or_default();
    let too_short =
        || error(KSR.syntax, records.first().map_or(1, |r| r.line), "a DNSKEY record is too short");
    let keys =
        rdatas.iter().map(|r| Dnskey::from_rdata(r).ok_or_else(too_short)).collect::<Result<_, _>>()?;
    let mut proofs = Vec::new();
    for record in records {
        if let (Some((from, to, signature)), Some(key)) = (&record.proof, Dnskey::from_rdata(&record.rdata)) {
            proofs.push(Rrsig {
                covered: Rtype::DNSKEY,
                algorithm: key.algorithm,
                labels: zone.rrsig_labels(),
                original_ttl: ttl,
                expiration: to.to_rrsig(),
                inception: from.to_rrsig(),
                key_tag: key.tag(),
                signer: zone.clone(),
                signature: signature.clone(),
            });
        }
    }
    Ok(KsrBundle { inception, ttl, keys, proofs })
}
