//! `offline-ksk convert`: a KSR or SKR in another form.

use keystore::check::CheckId;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use keystore::dns::Name;
use keystore::exchange::bind::BindSyntaxError;
use keystore::exchange::format::{self, Format};
use keystore::exchange::{bind, knot, program_of_copy, xml};
use keystore::output::Protected;
use keystore::store::MAX_SKR_OCTETS;
use keystore::time::Timestamp;
use keystore::{clock, durable};
use skr_loader::cli::MissingOption;
use skr_loader::files::{self, NamedBy, one_line};

/// As it stands in the closing line.
const PROGRAM: &str = concat!("offline-ksk ", env!("CARGO_PKG_VERSION"));

/// What to convert, and into what.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The form of FILE is told from its content. The forms do not say the same: what the new one cannot say, and what it needs and the old one \
does not say, is told on standard error. An SKR whose CDS and CDNSKEY would be lost is only converted with --allow-loss.

Nothing is verified but the proof of possession of a KSR in XML, which the text forms cannot carry: without a good one by each ZSK it is \
refused.")]
pub struct Options {
    /// The form to write: bind, knot or xml
    #[arg(long, value_name = "FORM")]
    to: Format,
    /// The zone; without it, that of the first record
    #[arg(long, value_name = "NAME")]
    zone: Option<Name>,
    /// Write to a file, whole or not at all, instead of standard output
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Knot: times in headers with 14 digits, for Knot after 3.5, instead of seconds since 1970
    #[arg(long)]
    digits: bool,
    /// Go on where records would be lost
    #[arg(long)]
    allow_loss: bool,
    /// The KSR or SKR; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Converts, and prints or writes.
pub fn run(options: &Options) -> Result<ExitCode> {
    let protected = Protected::new().input(&options.file);
    let target = options.output.as_ref().map(|path| protected.target(path)).transpose()?;
    let octets = match options.file.as_os_str() == "-" {
        true => {
            let mut octets = Vec::new();
            std::io::stdin().take(MAX_SKR_OCTETS + 1).read_to_end(&mut octets)?;
            octets
        }
        false => files::read(&options.file, NamedBy::Operator, MAX_SKR_OCTETS)?.octets,
    };
    let converted = convert(&octets, options, clock::now())?;
    for note in &converted.notes {
        eprintln!("offline-ksk: {note}");
    }
    match &target {
        Some(path) => durable::write(path, converted.text.as_bytes(), 0o644)
            .with_context(|| path.display().to_string())?,
        None => out!("{}", converted.text),
    }
    Ok(ExitCode::SUCCESS)
}

/// A file in its new form, and what is to be said of it.
#[derive(Debug)]
pub struct Converted {
    /// The file.
    pub text: String,
    /// What was left out or made up.
    pub notes: Vec<String>,
}

/// Converts the octets of a file; `made` goes to the closing line.
pub fn convert(octets: &[u8], options: &Options, made: Timestamp) -> Result<Converted> {
    let path: &Path = &options.file;
    let failed =
        |e: BindSyntaxError| anyhow!("{}:{}: {} [{}]", path.display(), e.line, one_line(&e.what), e.id);
    let from = format::detect(octets);
    let request = format::is_request(octets);
    let zone = match options.zone.clone().or_else(|| format::zone_of(octets)) {
        Some(zone) => zone,
        // What does not read has no zone, and the reader says why.
        None => {
            let root = Name::root();
            let read = match request {
                true => format::parse_ksr(octets, &root).map(drop),
                false => format::parse_skr(octets, &root).map(drop),
            };
            read.map_err(failed)?;
            bail!(MissingOption(format!("{}: no record to tell the zone from; give --zone", path.display())));
        }
    };
    let stamps = if options.digits { knot::Stamps::Digits14 } else { knot::Stamps::Unix };
    let mut notes = Vec::new();
    let lost = |what: &str| format!("left out: {what}");
    let text = if request {
        let ksr = format::parse_ksr(octets, &zone).map_err(failed)?;
        match (from, options.to) {
            (Format::Xml, Format::Xml) => xml::print_request(&xml::parse_request(octets).map_err(failed)?),
            (_, Format::Xml) => bail!("{}: {}", path.display(), xml::convert::NoXmlForm::NoProof),
            (_, to) => {
                if from == Format::Xml {
                    check_possession(&xml::parse_request(octets).map_err(failed)?, path)?;
                    notes.extend(xml::convert::LOST_OF_REQUEST.iter().map(|what| lost(what)));
                }
                let program = program_of_copy(PROGRAM, octets);
                match to {
                    Format::Knot => knot::print_ksr(&ksr, stamps, made, &program),
                    _ => bind::print_ksr(&ksr, made, &program),
                }
            }
        }
    } else {
        let skr = format::parse_skr(octets, &zone).map_err(failed)?;
        ensure!(!skr.bundles.is_empty(), "{}: no bundles", path.display());
        match (from, options.to) {
            (Format::Xml, Format::Xml) => xml::print_response(&xml::parse_response(octets).map_err(failed)?),
            (_, Format::Xml) => {
                let converted = xml::convert::from_skr(&skr).with_context(|| path.display().to_string())?;
                if let Some(what) = converted.left_out.first().filter(|_| !options.allow_loss) {
                    bail!(
                        "{}: the XML form cannot carry {what}; --allow-loss goes on without",
                        path.display()
                    );
                }
                notes.extend(converted.left_out.iter().map(|what| lost(what)));
                notes.extend(converted.made_up.iter().map(|what| format!("made up: {what}")));
                xml::print_response(&converted.response)
            }
            (_, to) => {
                if from == Format::Xml {
                    notes.extend(xml::convert::LOST_OF_RESPONSE.iter().map(|what| lost(what)));
                }
                match to {
                    Format::Knot => knot::print_skr(&skr, stamps, made, PROGRAM),
                    _ => bind::print_skr(&skr, made, PROGRAM),
                }
            }
        }
    };
    Ok(Converted { text, notes })
}

/// The proof goes with the XML form, so it is looked at once more before it does.
fn check_possession(request: &xml::XmlRequest, path: &Path) -> Result<()> {
    let rules = xml::Rules::zone(request.domain.clone());
    let findings = xml::check_request(request, &rules, Timestamp::EPOCH);
    match findings.iter().find(|f| f.id == CheckId::KsrBundlePop) {
        Some(finding) => bail!("{}: {finding}", path.display()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML_KSR: &[u8] = include_bytes!("../../keystore/tests/fixtures/icann/ksr-root-2017-q2-0.xml");
    const XML_SKR: &[u8] = include_bytes!("../../keystore/tests/fixtures/icann/skr-root-2017-q2-0.xml");
    const KNOT_KSR: &[u8] = include_bytes!("../../keystore/tests/fixtures/knot/01-zsk-rollover.ksr");
    const KNOT_SKR: &[u8] = include_bytes!("../../keystore/tests/fixtures/knot/01-zsk-rollover.skr");
    const KNOT_CDS: &[u8] = include_bytes!("../../keystore/tests/fixtures/knot/02-ksk-rollover-cds.skr");
    const BIND_KSR: &[u8] = include_bytes!("../../keystore/tests/fixtures/knot/10-bind-9.20-request.ksr");
    const BIND_SKR: &[u8] = include_bytes!("../../keystore/tests/fixtures/knot/10-bind-9.20-response.skr");

    fn options(to: Format) -> Options {
        Options { to, zone: None, output: None, digits: false, allow_loss: false, file: "in".into() }
    }

    fn to(octets: &[u8], form: Format) -> Result<String> {
        convert(octets, &options(form), Timestamp::from_secs(1_800_000_000)).map(|c| c.text)
    }

    /// Every file into every form, read back in that form, says what it said.
    #[test]
    fn all_to_all() {
        for octets in [XML_KSR, XML_SKR, KNOT_KSR, KNOT_SKR, KNOT_CDS, BIND_KSR, BIND_SKR] {
            let zone = format::zone_of(octets).expect("a zone");
            for form in [Format::Bind, Format::Knot, Format::Xml] {
                let request = format::is_request(octets);
                let text = match to(octets, form) {
                    Ok(text) => text,
                    Err(error) => {
                        // Proofs cannot be made up, and CDS is not lost without a word.
                        let why = error.to_string();
                        let expected = if request { "private keys" } else { "--allow-loss" };
                        assert!(form == Format::Xml && why.contains(expected), "{form}: {why}");
                        continue;
                    }
                };
                assert_eq!(format::detect(text.as_bytes()), form);
                assert_eq!(format::is_request(text.as_bytes()), request);
                if request {
                    let (a, b) =
                        (format::parse_ksr(octets, &zone), format::parse_ksr(text.as_bytes(), &zone));
                    let print = |k| bind::print_ksr(&sorted_ksr(k), Timestamp::EPOCH, "");
                    assert_eq!(print(a.expect("read before")), print(b.expect("what was printed")));
                } else {
                    let (a, b) =
                        (format::parse_skr(octets, &zone), format::parse_skr(text.as_bytes(), &zone));
                    let print = |skr| knot::print_skr(&skr, knot::Stamps::Unix, Timestamp::EPOCH, "");
                    assert_eq!(print(a.expect("read before")), print(b.expect("what was printed")));
                }
            }
        }
        assert_eq!(to(XML_SKR, Format::Xml).expect("itself"), String::from_utf8_lossy(XML_SKR));
    }

    fn sorted_ksr(mut ksr: keystore::exchange::Ksr) -> keystore::exchange::Ksr {
        ksr.bundles.iter_mut().for_each(|b| b.keys.sort_unstable());
        ksr
    }

    #[test]
    fn what_is_lost_is_told() {
        let now = Timestamp::from_secs(1_800_000_000);
        let allowed = Options { allow_loss: true, ..options(Format::Xml) };
        let converted = convert(KNOT_CDS, &allowed, now).expect("allowed");
        assert!(converted.notes.iter().any(|n| n.starts_with("left out: CDS")), "{:?}", converted.notes);
        assert!(convert(XML_KSR, &options(Format::Bind), now).expect("read").notes.len() >= 5);
        assert!(convert(KNOT_SKR, &options(Format::Bind), now).expect("read").notes.is_empty());
        // A proof that is not good must not vanish.
        let text = String::from_utf8_lossy(XML_KSR).replacen("<SignatureData>k", "<SignatureData>l", 1);
        let error = to(text.as_bytes(), Format::Bind).expect_err("no proof").to_string();
        assert!(error.contains("KSR-BUNDLE-POP"), "{error}");
    }

    #[test]
    fn what_does_not_read() {
        let cut = &KNOT_SKR[..4000];
        for (octets, id) in [
            (&b""[..], CheckId::SkrSyntax),
            (b"<KSR", CheckId::SkrTruncated),
            (cut, CheckId::SkrTruncated),
            (b"x", CheckId::SkrSyntax),
        ] {
            let error = to(octets, Format::Bind).expect_err(id.as_str()).to_string();
            assert!(error.contains(id.as_str()), "{error}");
        }
        let other =
            Options { zone: Some(Name::parse("example.net").expect("a name")), ..options(Format::Bind) };
        let error = convert(BIND_SKR, &other, Timestamp::EPOCH).expect_err("another zone").to_string();
        assert!(error.contains("SKR-WRONG-ZONE"), "{error}");
        let trailer = b";; SignedKeyResponse 1.0 generated at 2026-11-24T03:46:01Z by Knot DNS 3.4.6\n";
        assert!(to(trailer, Format::Bind).is_err());
    }

    #[test]
    fn stamps_of_14_digits() {
        let options = Options { digits: true, ..options(Format::Knot) };
        let text = convert(BIND_SKR, &options, Timestamp::EPOCH).expect("read").text;
        assert!(
            text.starts_with(";; SignedKeyResponse 1.0 20261124034842 (2026-11-24T03:48:42Z) =========\n"),
            "{text}"
        );
    }
}
