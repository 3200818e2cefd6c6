//! `offline-ksk inspect`: a KSR, an SKR or a key folder as a timeline in the terminal, or as JSON.

mod chart;
mod view;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use keystore::clock;
use keystore::dns::Name;
use keystore::exchange::bind::BindSyntaxError;
use keystore::exchange::format::{self, Format};
use keystore::exchange::{Ksr, UnverifiedSkr};
use keystore::store::{MAX_SKR_OCTETS, digest};
use keystore::time::{Timestamp, syntax};
use skr_loader::cli::MissingOption;
use skr_loader::files::{self, NamedBy, hex};

use crate::locale;

pub use chart::{Style, render};
pub use view::View;

/// What to show, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The form is told from the content: BIND's text, Knot's text, the root zone's XML, KSR and SKR; a folder is looked at for K*.key files. Nothing is \
verified here: `skr-loader check` and `offline-ksk prove` do that.

In the timeline a key is - while it is published, = while it also signs (a KSK the DNSKEY RRset, a ZSK the zone; KSR and SKR do \
not say when ZSKs sign), c while CDS or CDNSKEY name it. x marks time without a valid bundle or without a ZSK that signs, | is now. \
Where the locale is UTF-8, these are lines and a cross.")]
pub struct Options {
    /// The zone; needed for a folder with keys of several zones
    #[arg(long, value_name = "NAME")]
    zone: Option<Name>,
    /// Columns to use (by default those of the terminal, else 80)
    #[arg(long, value_name = "COLUMNS")]
    width: Option<usize>,
    /// Plain ASCII; the default where the locale is not UTF-8
    #[arg(long)]
    ascii: bool,
    /// One line for each bundle, also where the same keys go on
    #[arg(long)]
    all: bool,
    /// For scripts
    #[arg(long)]
    json: bool,
    /// Show as of this time instead of now (YYYYMMDDHHMMSS, now+1d, ...)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    now: Option<String>,
    /// A KSR, an SKR, or a folder of keys
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
}

/// Prints what the files hold.
pub fn run(options: &Options) -> Result<ExitCode> {
    let now = match &options.now {
        None => clock::now(),
        Some(text) => syntax::parse(text, clock::now())?.context("--now needs a time")?,
    };
    let view = look(&options.path, options.zone.as_ref())?;
    if options.json {
        outln!("{}", serde_json::to_string_pretty(&view.json())?);
    } else {
        let style = Style {
            width: options.width.unwrap_or_else(width).clamp(60, 400),
            ascii: options.ascii || !locale::is_utf8(),
            paint: Paint::of_stdout(),
            all: options.all,
        };
        out!("{}", render(&view, now, style));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads what is at `path`.
pub fn look(path: &Path, zone: Option<&Name>) -> Result<View> {
    if path.is_dir() {
        return View::of_folder(path, zone);
    }
    let file = read_file(path, zone)?;
    Ok(match &file.content {
        KsrOrSkr::Ksr(ksr) => View::of_ksr(&file, ksr),
        KsrOrSkr::Skr(skr) => View::of_skr(&file, skr),
    })
}

/// Colours, on a terminal only.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    /// Colours when standard output is a terminal and `NO_COLOR` is not set.
    #[must_use]
    pub fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self(wanted && std::io::stdout().is_terminal())
    }

    /// Good news.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Bad news.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// Worth a look.
    #[must_use]
    pub fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    /// By the way.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|n| *n > 0);
    let terminal = || {
        rustix::termios::tcgetwinsize(std::io::stdout())
            .ok()
            .map(|w| usize::from(w.ws_col))
            .filter(|n| *n > 0)
    };
    columns.or_else(terminal).unwrap_or(80)
}

// --- reading ---

/// A file that read well.
#[derive(Debug)]
pub struct InspectedFile {
    pub(crate) path: PathBuf,
    pub(crate) format: &'static str,
    pub(crate) octets: usize,
    pub(crate) sha256: String,
    pub(crate) content: KsrOrSkr,
}

/// What a file is.
#[derive(Debug)]
pub enum KsrOrSkr {
    /// A request.
    Ksr(Ksr),
    /// A response.
    Skr(UnverifiedSkr),
}

/// Reads a KSR or SKR in any of the three forms; without `zone`, for the zone that it names itself.
pub fn read_file(path: &Path, zone: Option<&Name>) -> Result<InspectedFile> {
    let octets = files::read(path, NamedBy::Operator, MAX_SKR_OCTETS)?.octets;
    let form = format::detect(&octets);
    if form != Format::Xml && !has_header(&octets) {
        bail!("{}: neither KSR nor SKR: no header line `;; ...` with a time, and no XML", path.display());
    }
    let failed = |e: BindSyntaxError| anyhow!("{}:{}: {}", path.display(), e.line, files::one_line(&e.what));
    let request = format::is_request(&octets);
    let zone = match zone.cloned().or_else(|| format::zone_of(&octets)) {
        Some(zone) => zone,
        // XML that names no zone does not read at all: its reader says where.
        None if form == Format::Xml => Name::root(),
        None => {
            bail!(MissingOption(format!("{}: no record to tell the zone from; give --zone", path.display())))
        }
    };
    let content = match request {
        true => KsrOrSkr::Ksr(format::parse_ksr(&octets, &zone).map_err(failed)?),
        false => KsrOrSkr::Skr(format::parse_skr(&octets, &zone).map_err(failed)?),
    };
    let bundles = match &content {
        KsrOrSkr::Skr(skr) => skr.bundles.len(),
        KsrOrSkr::Ksr(ksr) => ksr.bundles.len(),
    };
    if bundles == 0 {
        bail!("{}: no bundles", path.display());
    }
    Ok(InspectedFile {
        path: path.to_owned(),
        format: match form {
            Format::Bind => "BIND text",
            Format::Knot => "Knot text",
            Format::Xml => "root-zone XML",
        },
        octets: octets.len(),
        sha256: hex(&digest(&octets)),
        content,
    })
}

/// Has a header line of a text form, with a time.
fn has_header(octets: &[u8]) -> bool {
    let text = String::from_utf8_lossy(octets);
    text.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().take(4).collect();
        matches!(*words, [";;", "SignedKeyResponse" | "KeySigningRequest", "1.0", _])
    })
}

/// Seconds as `[from, to)`.
pub(crate) type Span = (Timestamp, Timestamp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_header_is_neither() {
        assert!(has_header(b"\n;; SignedKeyResponse 1.0 20270101000000 (x)\n"));
        assert!(has_header(b";; KeySigningRequest 1.0 1800000000\n"));
        assert!(!has_header(b"example. 3600 IN DNSKEY 257 3 13 AA==\n"));
    }
}
