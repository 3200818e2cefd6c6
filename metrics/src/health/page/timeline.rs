//! The timeline of a zone as SVG, and the same as a table.
//!
//! There is no view box: horizontal places are per cent and vertical ones pixels, so that text has the same size on a phone and on a
//! wide screen. A bar is an `svg` in the `svg`, which cuts off a label that is too long.

use crate::condition::Severity;
use keystore::time::Timestamp;
use maud::{Markup, PreEscaped, html};

use crate::health::model::{Details, KeyHealth, ZoneHealth};
use crate::health::words::{DAY, counted, date, date_time, distance, month_name, printable};

/// Pixels from the top to the first lane.
const TOP: u32 = 30;
/// Pixels of a lane: its title, its bar, and the room below.
const TITLE: u32 = 25;
const BAR: u32 = 18;
const GAP: u32 = 10;
/// Key lanes at most; more are counted.
const LANES: usize = 12;
/// Pixels of a letter in a bar, and of the room around a label.
const LETTER: u64 = 7;
const MARGIN: u64 = 10;
/// Least widths of the picture, in pixels: on a wide screen (from 40 rem on), and on a phone.
const WIDE: u64 = 600;
const PHONE: u64 = 290;

const PATTERNS: &str = r#"<defs><pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line class="p-h" x1="0" y1="0" x2="0" y2="8"/></pattern><pattern id="dots-ksk" width="6" height="6" patternUnits="userSpaceOnUse"><circle class="p-ksk" cx="2" cy="2" r="1.3"/></pattern><pattern id="dots-zsk" width="6" height="6" patternUnits="userSpaceOnUse"><circle class="p-zsk" cx="2" cy="2" r="1.3"/></pattern></defs>"#;

/// The time that is drawn.
struct Scale {
    from: Timestamp,
    to: Timestamp,
}

impl Scale {
    /// A time in hundredths of a per cent of the width.
    fn at(&self, time: Timestamp) -> u64 {
        let whole = self.to.since(self.from).max(1);
        time.since(self.from).min(whole) * 10_000 / whole
    }

    fn percent(&self, time: Timestamp) -> String {
        percent(self.at(time))
    }

    fn shows(&self, time: Timestamp) -> bool {
        self.from <= time && time <= self.to
    }
}

fn percent(hundredths: u64) -> String {
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

/// A bar of a lane.
struct Bar {
    from: Timestamp,
    to: Timestamp,
    class: &'static str,
    text: &'static str,
    /// The label, and a shorter one for narrow screens.
    label: (String, String),
    title: String,
}

/// What is drawn, from the top down.
struct Drawing<'a> {
    scale: Scale,
    now: Timestamp,
    zone: &'a ZoneHealth,
    details: &'a Details,
    y: u32,
    out: Vec<Markup>,
    /// Drawn last, so that no line crosses a word.
    words: Vec<Markup>,
    /// The same as rows of a table: what, from, to.
    rows: Vec<(String, String, String)>,
}

/// The picture with its key, and the table.
pub(super) fn draw(zone: &ZoneHealth, details: &Details, now: Timestamp) -> Markup {
    let (from, to) = zone.window(now);
    let mut drawing = Drawing {
        scale: Scale { from, to },
        now,
        zone,
        details,
        y: TOP,
        out: Vec::new(),
        words: Vec::new(),
        rows: Vec::new(),
    };
    drawing.coverage();
    drawing.deadlines();
    drawing.bundles();
    drawing.requested();
    drawing.keys();
    drawing.imports();
    let Drawing { scale, y, out, words, rows, .. } = drawing;
    let bottom = y + 6;
    let height = bottom + 24;
    let today = scale.percent(now);
    let title = format!("Timeline of {} from {} to {}", printable(&zone.zone), date(from), date(to));
    html! {
        svg.tl role="img" aria-labelledby="tl-t tl-d" height=(height) xmlns="http://www.w3.org/2000/svg" {
            title #tl-t { (title) }
            desc #tl-d { (describe(zone, now)) " The same facts are in the table below." }
            (PreEscaped(PATTERNS))
            (grid(&scale, bottom))
            @for deadline in &details.deadlines {
                @if scale.shows(deadline.at) {
                    line class={ "due " (deadline.severity) } x1=(scale.percent(deadline.at)) x2=(scale.percent(deadline.at)) y1=(TOP) y2=(bottom) {}
                }
            }
            @for part in &out { (part) }
            line.now x1=(today) x2=(today) y1="20" y2=(bottom) {}
            svg x=(today) y="0" overflow="visible" {
                rect.nowtab x="-24" y="0" width="48" height="20" rx="4" {}
                text.nowtext x="0" y="14" text-anchor="middle" { "today" }
            }
            @if let Some(end) = zone.coverage_end {
                @if scale.shows(end) && end > now { line.endl x1=(scale.percent(end)) x2=(scale.percent(end)) y1=(TOP) y2=(bottom) {} }
            }
            @for part in &words { (part) }
        }
        (key())
        details {
            summary { "The timeline as a table" }
            table.stack {
                caption { (title) ". All times are UTC." }
                thead { tr { th scope="col" { "What" } th scope="col" { "From" } th scope="col" { "To" } } }
                tbody { @for (what, from, to) in &rows { tr { th scope="row" { (what) } td data-l="From" { (from) } td data-l="To" { (to) } } } }
            }
        }
    }
}

/// One sentence a fact, for those who do not see the picture.
fn describe(zone: &ZoneHealth, now: Timestamp) -> String {
    let mut text = match zone.coverage_end {
        None => "No SKR is in force.".to_owned(),
        Some(_) if !zone.covered => "No bundle is in force now.".to_owned(),
        Some(end) => {
            let gap = if zone.gap_seconds > 0 { "then there is a hole" } else { "without a hole until then" };
            format!("The coverage ends on {} UTC, {}, {gap}.", date_time(end), distance(end, now))
        }
    };
    if let Some(next) = zone.next_switch {
        text.push_str(&format!(" The next bundle comes into force on {}.", date_time(next)));
    }
    if let Some(request) = &zone.request {
        text.push_str(&format!(
            " An open request asks for {} to {}.",
            date(request.start),
            date(request.end)
        ));
    }
    text
}

/// Lines and names of months, or of weeks and days where the time is short.
fn grid(scale: &Scale, bottom: u32) -> Markup {
    let days = scale.to.since(scale.from) / DAY;
    let step = match days {
        0..=15 => 2,
        16..=70 => 7,
        _ => 0,
    };
    let mut ticks: Vec<(Timestamp, String)> = Vec::new();
    let mut day = Timestamp::from_secs(scale.from.secs() / DAY * DAY + DAY);
    let mut count = 0;
    while day < scale.to {
        let stamp = day.to_string();
        let (month, number) = (stamp[4..6].parse().unwrap_or(1), &stamp[6..8]);
        if step > 0 && count % step == 0 {
            ticks.push((day, format!("{} {}", number.trim_start_matches('0'), month_name(month))));
        } else if step == 0 && number == "01" {
            let year =
                if month == 1 || ticks.is_empty() { format!(" {}", &stamp[..4]) } else { String::new() };
            ticks.push((day, format!("{}{year}", month_name(month))));
        }
        count += 1;
        day = day.plus(DAY);
    }
    // A label needs some nine per cent of a wide screen, and a quarter of a phone's.
    let every = ticks.len().div_ceil(11).max(1);
    let thin = ticks.len().div_ceil(4).max(1);
    html! {
        line.row x1="0" x2="100%" y1=(bottom) y2=(bottom) {}
        @for (at, (time, label)) in ticks.iter().enumerate() {
            line.grid x1=(scale.percent(*time)) x2=(scale.percent(*time)) y1="22" y2=(bottom) {}
            @if at % every == 0 && scale.at(*time) < 9200 {
                text class=(if at % thin == 0 && scale.at(*time) < 8000 { "s" } else { "s wide" }) x=(scale.percent(*time)) y=(bottom + 16) dx="3" { (label) }
            }
        }
    }
}

impl Drawing<'_> {
    /// The title of a lane; leaves room for a bar of this height.
    fn lane(&mut self, title: &str, more: &str, height: u32) -> u32 {
        let y = self.y;
        self.out.push(html! {
            line.row x1="0" x2="100%" y1=(y) y2=(y) {}
        });
        self.words.push(html! {
            text.h x="0" y=(y + 17) { (title) @if !more.is_empty() { tspan.s.wide dx="10" { (more) } } }
        });
        self.y += TITLE + height + GAP;
        y + TITLE
    }

    fn bar(&mut self, y: u32, height: u32, bar: &Bar) {
        if bar.to <= self.scale.from || bar.from >= self.scale.to {
            return;
        }
        let (from, to) = (self.scale.at(bar.from), self.scale.at(bar.to));
        let width = to.saturating_sub(from).max(20);
        let (wide, thin) = &bar.label;
        let base = y_of_text(height);
        self.out.push(html! {
            svg x=(percent(from)) y=(y) width=(percent(width)) height=(height) overflow="hidden" {
                title { (bar.title) }
                rect class=(bar.class) width="100%" height=(height) rx="3" {}
            }
        });
        self.words.push(html! {
            svg class={ "on-" (bar.class) } x=(percent(from)) y=(y) width=(percent(width)) height=(height) overflow="hidden" pointer-events="none" {
                @if fits(wide, width, WIDE) { text class={ (bar.text) " wide" } x="7" y=(base) { (wide) } }
                @if fits(thin, width, PHONE) { text class={ (bar.text) " thin" } x="7" y=(base) { (thin) } }
            }
        });
    }

    fn note(&mut self, what: impl Into<String>, from: Option<Timestamp>, to: Option<Timestamp>) {
        let time = |time: Option<Timestamp>| {
            time.filter(|t| *t < Timestamp::MAX).map_or_else(String::new, date_time)
        };
        self.rows.push((what.into(), time(from), time(to)));
    }

    fn coverage(&mut self) {
        const HEIGHT: u32 = 26;
        let y = self.lane("Coverage", "signed key sets are in force", HEIGHT);
        let now = self.now;
        let same = |text: &str| (text.to_owned(), text.to_owned());
        let none = |from: Timestamp, to: Timestamp| Bar {
            from,
            to,
            class: "f-none",
            text: "none-t",
            label: ("not covered: SERVFAIL".to_owned(), "SERVFAIL".to_owned()),
            title: format!("not covered from {} UTC", date_time(from)),
        };
        let mut last = None;
        for (from, to) in runs(self.details) {
            if let Some(before) = last {
                self.bar(y, HEIGHT, &none(before, from));
                self.note("Hole in the coverage", Some(before), Some(from));
            }
            last = Some(to);
            self.note("Covered", Some(from), Some(to));
            let title = format!("covered from {} to {} UTC", date_time(from), date_time(to));
            if from < now {
                let bar = Bar {
                    from,
                    to: to.min(now),
                    class: "f-past",
                    text: "bt",
                    label: same("past"),
                    title: title.clone(),
                };
                self.bar(y, HEIGHT, &bar);
            }
            if to > now {
                let days = to.since(now.max(from)) / DAY;
                let label = (format!("{} to come", counted_days(days)), format!("{days} d"));
                let bar = Bar { from: from.max(now), to, class: "f-cov", text: "in", label, title };
                self.bar(y, HEIGHT, &bar);
            }
        }
        let after = last.unwrap_or(self.scale.from);
        if after < self.scale.to {
            self.bar(y, HEIGHT, &none(after, self.scale.to));
        }
    }

    /// Names of the deadlines, each in a row of its own so that they do not meet.
    fn deadlines(&mut self) {
        let shown: Vec<_> =
            self.details.deadlines.iter().filter(|d| self.scale.shows(d.at)).cloned().collect();
        if shown.is_empty() {
            return;
        }
        let y = self.lane(
            "Deadlines",
            "when the end of the coverage gets urgent",
            16 * u32::try_from(shown.len()).unwrap_or(3),
        );
        for (row, deadline) in (0..).zip(&shown) {
            let what = match deadline.severity {
                Severity::Critical => "critical",
                Severity::Warning => "hold the ceremony",
                _ => "plan the ceremony",
            };
            let place = self.scale.at(deadline.at);
            let anchor = if place > 5000 { "end" } else { "start" };
            let dx = if place > 5000 { "-6" } else { "6" };
            self.words.push(html! {
                text class={ "dl " (deadline.severity) } x=(percent(place)) y=(y + 10 + 16 * row) dx=(dx) text-anchor=(anchor) {
                    (what) tspan.wide { ", " (date(deadline.at)) }
                }
            });
        }
        for deadline in &shown {
            self.note(format!("Coverage counts as {}", deadline.severity), Some(deadline.at), None);
        }
    }

    fn bundles(&mut self) {
        if self.details.bundles.is_empty() {
            return;
        }
        let y = self.lane("Bundles", "each from its inception to the next one's", BAR);
        let bundles = self.details.bundles.clone();
        for (at, bundle) in bundles.iter().enumerate() {
            let next = bundles.get(at + 1).map(|next| next.inception);
            let to = next.map_or(bundle.expiration, |next| next.min(bundle.expiration));
            let (class, text) = match (bundle.inception <= self.now, to > self.now) {
                (true, true) => ("f-cur", "in"),
                (true, false) => ("f-past", "bt"),
                _ => ("f-next", "bt"),
            };
            let number = (at + 1).to_string();
            let title = format!(
                "bundle {number}: in force from {} to {}, signatures end {} UTC",
                date_time(bundle.inception),
                date_time(to),
                date_time(bundle.expiration)
            );
            self.note(format!("Bundle {number}"), Some(bundle.inception), Some(to));
            let bar = Bar { from: bundle.inception, to, class, text, label: (number.clone(), number), title };
            self.bar(y, BAR, &bar);
        }
    }

    fn requested(&mut self) {
        let Some(request) = self.zone.request.clone() else { return };
        let y = self.lane("Requested", "the open request waits for its answer", BAR);
        self.note("Open request asks for", Some(request.start), Some(request.end));
        let label = (format!("asked until {}", date(request.end)), "asked".to_owned());
        let title = format!("request for {} to {} UTC", date_time(request.start), date_time(request.end));
        let bar = Bar { from: request.start, to: request.end, class: "f-req", text: "req-t", label, title };
        self.bar(y, BAR, &bar);
    }

    fn keys(&mut self) {
        let visible = |key: &&KeyHealth| {
            key.publish.or(key.activate).is_some_and(|from| from < self.scale.to)
                && key.delete.is_none_or(|to| to > self.scale.from)
        };
        let keys: Vec<KeyHealth> = self.details.keys.iter().filter(visible).cloned().collect();
        for key in keys.iter().take(LANES) {
            let name = format!("{} {}", key.role.to_uppercase(), key.tag);
            let more = if key.role == "ksk" { "held offline" } else { "" };
            let y = self.lane(&name, more, BAR);
            for (from, to, what) in lives(key) {
                let class = match (key.role.as_str(), what) {
                    ("ksk", "active" | "listed") => "f-ksk",
                    ("ksk", "published") => "o-ksk",
                    ("ksk", _) => "d-ksk",
                    (_, "active") => "f-zsk",
                    (_, "published" | "listed") => "o-zsk",
                    _ => "d-zsk",
                };
                let text = match (class, what) {
                    // Words over dots are hard to read.
                    (_, "inactive") => "",
                    ("f-ksk" | "f-zsk", _) => "in",
                    _ => "bt",
                };
                let label = if text.is_empty() { String::new() } else { what.to_owned() };
                let title = format!("{name}: {what} from {} to {} UTC", date_time(from), date_time(to));
                self.note(format!("{name} {what}"), Some(from), Some(to));
                self.bar(y, BAR, &Bar { from, to, class, text, label: (label.clone(), label), title });
            }
        }
        if keys.len() > LANES {
            self.lane(&counted(keys.len() - LANES, "more key"), "see the table of keys", 0);
        }
    }

    fn imports(&mut self) {
        let shown: Vec<_> = self
            .details
            .imports
            .iter()
            .filter(|i| i.result != "acknowledged" && self.scale.shows(i.time))
            .cloned()
            .collect();
        if shown.is_empty() {
            return;
        }
        let y = self.lane("Imports", "triangle accepted, cross rejected, ring back to an older one", BAR);
        for import in &shown {
            let title = format!("{} {} UTC", import.result, date_time(import.time));
            self.note(format!("Import {}", import.result), Some(import.time), None);
            self.out.push(html! {
                svg x=(self.scale.percent(import.time)) y=(y) overflow="visible" {
                    title { (title) }
                    @match import.result.as_str() {
                        "rejected" => { path.m-bad d="M-5 3 5 13M5 3-5 13" {} }
                        "rolled-back" => { circle.m-back cx="0" cy="8" r="5.5" {} }
                        _ => { path.m-ok d="M0 1 7 14H-7Z" {} }
                    }
                }
            });
        }
    }
}

/// True when a label fits into a bar of so many hundredths of a per cent of a picture of so many pixels.
fn fits(label: &str, width: u64, picture: u64) -> bool {
    !label.is_empty() && width * picture / 10_000 >= label.chars().count() as u64 * LETTER + MARGIN
}

const fn y_of_text(height: u32) -> u32 {
    height / 2 + 4
}

fn counted_days(days: u64) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

/// The unbroken runs of the bundles; a run ends with its last bundle.
fn runs(details: &Details) -> Vec<(Timestamp, Timestamp)> {
    let mut runs: Vec<(Timestamp, Timestamp)> = Vec::new();
    for bundle in &details.bundles {
        match runs.last_mut() {
            Some((_, end)) if bundle.inception <= *end => *end = bundle.expiration,
            _ => runs.push((bundle.inception, bundle.expiration)),
        }
    }
    runs
}

/// When a key is published, active and inactive, by BIND's words; a key of which only bundles tell is listed by them.
fn lives(key: &KeyHealth) -> Vec<(Timestamp, Timestamp, &'static str)> {
    let end = key.delete.unwrap_or(Timestamp::MAX);
    let Some(publish) = key.publish.or(key.activate) else { return Vec::new() };
    let Some(activate) = key.activate else { return vec![(publish, end, "listed")] };
    let inactive = key.inactive.unwrap_or(end).min(end);
    let mut lives = Vec::new();
    if publish < activate {
        lives.push((publish, activate, "published"));
    }
    lives.push((activate, inactive, "active"));
    if inactive < end {
        lives.push((inactive, end, "inactive"));
    }
    lives
}

/// The state of a key now, in BIND's words.
pub(super) fn state(key: &KeyHealth, now: Timestamp) -> &'static str {
    let here = lives(key).into_iter().find(|(from, to, _)| *from <= now && now < *to);
    match (here, key.publish.or(key.activate)) {
        (Some((_, _, what)), _) => what,
        (None, Some(from)) if from > now => "not yet published",
        _ => "removed",
    }
}

/// What the marks mean.
fn key() -> Markup {
    let mark = |class: &str, text: &str| {
        html! { li { svg aria-hidden="true" { rect class=(class) x="1" y="1" width="24" height="12" rx="2" {} } (text) } }
    };
    html! {
        ul.key aria-label="Marks of the timeline" {
            (mark("f-past", "past")) (mark("f-cov", "covered, to come")) (mark("f-none", "not covered"))
            (mark("f-req", "asked for")) (mark("f-ksk", "KSK")) (mark("o-zsk", "ZSK published")) (mark("f-zsk", "ZSK active"))
            (mark("d-zsk", "ZSK inactive"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: u64) -> Timestamp {
        Timestamp::from_secs((20_000 + days) * DAY)
    }

    #[test]
    fn a_time_has_its_place_and_never_one_outside() {
        let scale = Scale { from: at(10), to: at(20) };
        for (time, place) in [
            (at(0), "0.00%"),
            (at(10), "0.00%"),
            (at(15), "50.00%"),
            (at(20), "100.00%"),
            (at(99), "100.00%"),
        ] {
            assert_eq!(scale.percent(time), place);
        }
        assert_eq!(Scale { from: at(1), to: at(1) }.percent(at(1)), "0.00%");
    }

    #[test]
    fn lives_of_a_key_follow_its_times() {
        let key = |publish, activate, inactive, delete| KeyHealth {
            tag: 1,
            algorithm: 13,
            role: "zsk".to_owned(),
            publish,
            activate,
            inactive,
            delete,
        };
        let whole = key(Some(at(1)), Some(at(3)), Some(at(8)), Some(at(9)));
        assert_eq!(
            lives(&whole),
            [(at(1), at(3), "published"), (at(3), at(8), "active"), (at(8), at(9), "inactive")]
        );
        for (now, word) in
            [(0, "not yet published"), (1, "published"), (3, "active"), (8, "inactive"), (9, "removed")]
        {
            assert_eq!(state(&whole, at(now)), word, "day {now}");
        }
        assert_eq!(lives(&key(Some(at(1)), None, None, None)), [(at(1), Timestamp::MAX, "listed")]);
        assert_eq!(lives(&key(None, None, None, None)), []);
    }
}
