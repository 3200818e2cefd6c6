//! The timeline of a zone in letters: one line for the coverage, the bundles, the open request and each key.

use std::fmt::Write as _;

use keystore::time::Timestamp;

use crate::health::model::{Details, KeyHealth, ZoneHealth};
use crate::health::words::date;

/// Columns in front of the lines.
const LABEL: usize = 16;
/// Columns of the lines, at least and at most.
const WIDTH: (usize, usize) = (30, 160);

/// The time that is drawn, and how wide.
struct Scale {
    from: Timestamp,
    to: Timestamp,
    columns: usize,
}

impl Scale {
    fn column(&self, time: Timestamp) -> usize {
        let whole = self.to.since(self.from).max(1);
        let part = time.since(self.from).min(whole);
        usize::try_from(part * (self.columns as u64 - 1) / whole).unwrap_or(0)
    }

    /// A line that has `mark` from each start to before each end.
    fn line(&self, bars: &[(Timestamp, Timestamp, char)]) -> Vec<char> {
        let mut line = vec![' '; self.columns];
        for (start, end, mark) in bars {
            if *end <= self.from || *start >= self.to {
                continue;
            }
            let (a, b) = (self.column(*start), self.column(*end));
            line[a..=b.max(a)].fill(*mark);
        }
        line
    }
}

/// The lines, with the time in front and a key behind them.
pub(super) fn draw(zone: &ZoneHealth, details: &Details, now: Timestamp, width: usize) -> String {
    let (from, to) = zone.window(now);
    let columns = width.saturating_sub(LABEL + 3).clamp(WIDTH.0, WIDTH.1);
    let scale = Scale { from, to, columns };
    let mut out = String::new();
    let today = scale.column(now);
    let mut put = |label: &str, mut line: Vec<char>| {
        if line[today] == ' ' {
            line[today] = '|';
        }
        let line: String = line.into_iter().collect();
        let _ = writeln!(out, "  {label:<LABEL$}{}", line.trim_end());
    };
    let mut head: Vec<char> = vec![' '; columns];
    let (first, last) = (date(from), date(to));
    let (middle, end) = (today.saturating_sub(2), columns.saturating_sub(last.len()));
    for (at, text) in [
        // A date that today would run into is left out.
        (0, if middle > first.len() { first } else { String::new() }),
        (end, if middle + 5 < end { last } else { String::new() }),
        (middle, "today".to_owned()),
    ] {
        for (place, letter) in head.iter_mut().skip(at).zip(text.chars()) {
            *place = letter;
        }
    }
    put("", head);
    let covered: Vec<_> = details
        .bundles
        .iter()
        .enumerate()
        .map(|(at, bundle)| {
            let next = details.bundles.get(at + 1).map(|next| next.inception);
            (bundle.inception, next.map_or(bundle.expiration, |next| next.min(bundle.expiration)), '=')
        })
        .collect();
    put("coverage", scale.line(&covered));
    let mut bundles = scale.line(&covered.iter().map(|(a, b, _)| (*a, *b, '-')).collect::<Vec<_>>());
    for (at, (start, _, _)) in
        covered.iter().enumerate().filter(|(_, (start, _, _))| *start >= from && *start < to)
    {
        for (place, letter) in bundles.iter_mut().skip(scale.column(*start)).zip((at + 1).to_string().chars())
        {
            *place = letter;
        }
    }
    put("bundles", bundles);
    if let Some(request) = &zone.request {
        put("requested", scale.line(&[(request.start, request.end, '?')]));
    }
    for key in &details.keys {
        put(&format!("{} {}", key.role.to_uppercase(), key.tag), scale.line(&lives(key)));
    }
    let _ = writeln!(
        out,
        "  {:LABEL$}= covered, p published, a active (signs), i inactive, ? asked for, | today",
        ""
    );
    out
}

/// When a key is published, active and inactive; a KSK of which only bundles tell is active while they list it.
fn lives(key: &KeyHealth) -> Vec<(Timestamp, Timestamp, char)> {
    let end = key.delete.unwrap_or(Timestamp::MAX);
    let Some(publish) = key.publish.or(key.activate) else { return Vec::new() };
    let Some(activate) = key.activate else { return vec![(publish, end, 'p')] };
    let inactive = key.inactive.unwrap_or(end).min(end);
    let mut lives = vec![(activate, inactive, 'a')];
    if publish < activate {
        lives.push((publish, activate, 'p'));
    }
    if inactive < end {
        lives.push((inactive, end, 'i'));
    }
    lives
}
