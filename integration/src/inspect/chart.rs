//! The drawing: header, a bar for each key, legend, table of bundles, gaps, warnings.

use keystore::time::Timestamp;
use skr_loader::files::one_line;

use crate::locale::ascii;

use super::view::{BundleRow, KeyRow, View, role};
use super::{Paint, Span};

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Width of the chart, in columns.
    pub width: usize,
    /// No other characters than ASCII.
    pub ascii: bool,
    /// Whether colours are used.
    pub paint: Paint,
    /// A line for each bundle.
    pub all: bool,
}

/// Columns of the key's name before its bar.
const LABEL: usize = 27;

/// The characters of the bars.
struct Glyphs {
    published: char,
    signing: char,
    cds: char,
    now: char,
    gap: char,
    tick: char,
}

const UNICODE: Glyphs =
    Glyphs { published: '─', signing: '━', cds: 'c', now: '│', gap: '×', tick: '┬' };
const ASCII: Glyphs = Glyphs { published: '-', signing: '=', cds: 'c', now: '|', gap: 'x', tick: '+' };

/// Draws the view.
#[must_use]
pub fn render(view: &View, now: Timestamp, style: Style) -> String {
    let glyphs = if style.ascii { &ASCII } else { &UNICODE };
    let chart = Chart { span: view.span, columns: style.width - LABEL, now, glyphs, paint: style.paint };
    let mut lines = header(view, now);
    lines.push(String::new());
    lines.extend(chart.axis());
    for row in &view.keys {
        lines.extend(chart.key(row));
    }
    if !view.gaps.is_empty() {
        lines.push(format!(
            "{:<LABEL$}{}",
            "gaps",
            style.paint.bad(chart.bar(&[(&view.gaps, glyphs.gap)]).trim_end())
        ));
    }
    lines.push(String::new());
    let Glyphs { published: p, signing: s, cds: c, now: n, gap: g, .. } = *glyphs;
    let when = if chart.column(now).is_some() { format!("  {n} now") } else { String::new() };
    lines.push(style.paint.dim(&format!("{p} published  {s} signs  {c} CDS/CDNSKEY  {g} gap{when}")));
    if !view.bundles.is_empty() {
        lines.push(String::new());
        lines.extend(table(view, style));
    }
    for (from, to) in &view.gaps {
        let text = format!("gap       {} to {} ({} s)", from.iso(), to.iso(), to.since(*from));
        lines.push(style.paint.bad(&text));
    }
    for warning in &view.warnings {
        lines.push(style.paint.warn(&format!("warning   {}", one_line(warning))));
    }
    let lines = lines.iter().map(|line| format!("{}\n", line.trim_end()));
    if style.ascii { lines.map(|line| ascii(&line)).collect() } else { lines.collect() }
}

fn header(view: &View, now: Timestamp) -> Vec<String> {
    let mut lines = vec![
        format!("file      {} ({})", one_line(&view.path), view.what),
        format!("zone      {}", view.zone),
    ];
    if let (Some(sha256), Some(octets)) = (&view.sha256, view.octets) {
        lines.push(format!("sha256    {sha256}"));
        lines.push(format!("size      {octets} octets"));
    }
    let (from, to) = view.span;
    if view.bundles.is_empty() {
        lines.push(format!("keys      {}, {} to {}", view.keys.len(), from.iso(), to.iso()));
    } else {
        let last = view.bundles.last().map_or(from, |b| b.inception);
        lines.push(format!("bundles   {}, {} to {}", view.bundles.len(), from.iso(), last.iso()));
    }
    if view.bundles.iter().any(|b| b.expiration.is_some()) {
        let left =
            if to > now { format!("{} days from now", to.since(now) / 86_400) } else { "over".to_owned() };
        lines.push(format!("coverage  ends {} ({left})", to.iso()));
    }
    lines
}

struct Chart<'a> {
    span: Span,
    columns: usize,
    now: Timestamp,
    glyphs: &'a Glyphs,
    paint: Paint,
}

impl Chart<'_> {
    /// The seconds of a column.
    fn seconds(&self, column: usize) -> Span {
        let total = self.span.1.since(self.span.0).max(1);
        let edge = |c: usize| {
            let offset = u128::from(total) * c as u128 / self.columns as u128;
            self.span.0.plus(u64::try_from(offset).unwrap_or(u64::MAX))
        };
        (edge(column), edge(column + 1).max(edge(column).plus(1)))
    }

    fn column(&self, time: Timestamp) -> Option<usize> {
        (0..self.columns).find(|c| {
            let (from, to) = self.seconds(*c);
            from <= time && time < to
        })
    }

    /// A bar of layers, the later over the earlier ones; a column shows a layer that has any second of it.
    fn bar(&self, layers: &[(&[Span], char)]) -> String {
        let now = self.column(self.now);
        let cell = |c: usize| {
            let (from, to) = self.seconds(c);
            let has = |spans: &[Span]| spans.iter().any(|s| s.0 < to && from < s.1);
            let top = layers.iter().rev().find(|(spans, _)| has(spans)).map(|(_, glyph)| *glyph);
            top.unwrap_or(if now == Some(c) { self.glyphs.now } else { ' ' })
        };
        (0..self.columns).map(cell).collect()
    }

    /// Dates over ticks, and where now is.
    fn axis(&self) -> Vec<String> {
        let short = self.span.1.since(self.span.0) < 4 * 86_400;
        let every = if short { 12 } else { 14 };
        let (mut dates, mut ticks) = (String::new(), String::new());
        for column in (0..self.columns).step_by(every) {
            let iso = self.seconds(column).0.iso();
            let text = if short { iso.get(11..19) } else { iso.get(..10) }.unwrap_or_default();
            if column + text.len() > self.columns {
                break;
            }
            dates.push_str(&format!("{text:<every$}"));
            ticks.push_str(&format!("{:<every$}", self.glyphs.tick));
        }
        if let Some(now) = self.column(self.now) {
            let mut cells: Vec<char> = ticks.chars().collect();
            cells.resize(cells.len().max(now + 1), ' ');
            cells[now] = self.glyphs.now;
            ticks = cells.into_iter().collect();
        }
        let pad = " ".repeat(LABEL);
        [dates, ticks].iter().map(|line| self.paint.dim(&format!("{pad}{}", line.trim_end()))).collect()
    }

    fn key(&self, row: &KeyRow) -> Vec<String> {
        let label = format!("{} {:>5} {}", role(&row.key), row.key.tag(), row.key.algorithm);
        let signing = row.signing.as_deref().unwrap_or_default();
        let bar = self.bar(&[(&row.published, self.glyphs.published), (signing, self.glyphs.signing)]);
        let bar = if row.key.is_ksk() {
            self.paint.with("36", bar.trim_end())
        } else {
            self.paint.with("32", bar.trim_end())
        };
        let mut lines = vec![format!("{label:<LABEL$}{bar}")];
        if !row.cds.is_empty() {
            let bar = self.bar(&[(&row.cds, self.glyphs.cds)]);
            lines.push(format!("{:<LABEL$}{}", "      CDS, CDNSKEY", self.paint.dim(bar.trim_end())));
        }
        lines
    }
}

/// The bundles; those with the same keys, signers and CDS as the one before share a line unless all are wanted.
fn table(view: &View, style: Style) -> Vec<String> {
    let mut groups: Vec<(&BundleRow, &BundleRow, usize)> = Vec::new();
    for bundle in &view.bundles {
        match groups.last_mut() {
            Some((first, last, count))
                if !style.all && first.keys == bundle.keys && first.cds == bundle.cds =>
            {
                (*last, *count) = (bundle, *count + 1);
            }
            _ => groups.push((bundle, bundle, 1)),
        }
    }
    let is_skr = view.bundles.iter().any(|b| b.expiration.is_some());
    let head = if is_skr {
        "   n  inception            expiration            keys (* signs), CDS"
    } else {
        "   n  inception             keys"
    };
    let mut lines = vec![style.paint.dim(head)];
    for (first, last, count) in groups {
        let expiration = last.expiration.map_or_else(String::new, |t| format!(" {}", t.iso()));
        let mut words: Vec<String> = first
            .keys
            .iter()
            .map(|(k, signs)| format!("{} {}{}", role(k), k.tag(), if *signs { "*" } else { "" }))
            .collect();
        if !first.cds.is_empty() {
            let tags: Vec<String> = first.cds.iter().map(ToString::to_string).collect();
            words.push(format!("CDS {}", tags.join(" ")));
        }
        let start = format!("{count:>4}  {}{expiration} ", first.inception.iso());
        let indent = start.chars().count();
        let mut line = start;
        for (i, word) in words.iter().enumerate() {
            let comma = if i + 1 < words.len() { "," } else { "" };
            if line.chars().count() + word.len() + 2 > style.width && line.chars().count() > indent {
                lines.push(line);
                line = " ".repeat(indent);
            }
            line.push_str(&format!(" {word}{comma}"));
        }
        lines.push(line);
    }
    if !style.all && lines.len() <= view.bundles.len() {
        lines.push(style.paint.dim("      n bundles with the same keys share a line; --all shows each"));
    }
    lines
}
