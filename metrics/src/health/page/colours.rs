//! The contrasts of the colours in `style.css`, by WCAG 2.2: text at least 4.5, shapes and edges at least 3.

use std::collections::HashMap;

/// The variables of the first block after `mark`.
fn variables(mark: &str) -> HashMap<&'static str, [f64; 3]> {
    let css = super::STYLE;
    let block = &css[css.find(mark).expect("the block is there")..];
    let block = &block[..block.find('}').expect("it ends")];
    let mut found = HashMap::new();
    for part in block.split("--").skip(1) {
        let Some((name, value)) = part.split_once(":#") else { continue };
        let Some(digits) = value.get(..6) else { continue };
        let channel = |at: usize| f64::from(u8::from_str_radix(&digits[at..at + 2], 16).expect("hex"));
        found.insert(name, [channel(0), channel(2), channel(4)]);
    }
    found
}

fn luminance(colour: [f64; 3]) -> f64 {
    let linear = colour.map(|channel| {
        let channel = channel / 255.0;
        if channel <= 0.040_45 { channel / 12.92 } else { ((channel + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn contrasts_are_enough_in_light_and_dark() {
    assert!((contrast([255.0; 3], [0.0; 3]) - 21.0).abs() < 1e-9);
    for scheme in [":root{color-scheme", "prefers-color-scheme:dark"] {
        let colours = variables(scheme);
        for (front, back, least) in [
            ("ink", "bg", 4.5),
            ("ink", "card", 4.5),
            ("soft", "bg", 4.5),
            ("soft", "card", 4.5),
            ("link", "bg", 4.5),
            ("link", "card", 4.5),
            ("crit", "critbg", 4.5),
            ("warn", "warnbg", 4.5),
            ("att", "attbg", 4.5),
            ("ok", "okbg", 4.5),
            ("crit", "card", 4.5),
            ("warn", "card", 4.5),
            ("att", "card", 4.5),
            ("ok", "card", 4.5),
            ("bg", "cov", 4.5),
            ("bg", "ksk", 4.5),
            ("bg", "zsk", 4.5),
            ("crit", "bg", 4.5),
            ("warn", "bg", 4.5),
            ("att", "bg", 4.5),
            ("past", "bg", 3.0),
            ("edge", "bg", 3.0),
            ("cov", "bg", 3.0),
        ] {
            let found = contrast(colours[front], colours[back]);
            assert!(found >= least, "{scheme}: {front} on {back} has {found:.2}, needs {least}");
        }
    }
}
