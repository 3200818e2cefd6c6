//! Text for people in lines of at most 80 columns: what is read aloud in a ceremony fits any terminal and any printout.

use super::console::printable;

/// Longest line, in characters.
const COLUMNS: usize = 80;

/// Appends `head` and `text`. Lines that `text` takes beyond the first begin below its first character. It is broken at blanks; a word that
/// is longer than a line is broken where the line ends. Control characters are escaped, in what comes from outside too.
pub(super) fn put(out: &mut String, head: &str, text: &str) {
    let (head, text) = (printable(head), printable(text));
    let indent = head.chars().count().min(COLUMNS / 2);
    let mut line = head;
    let mut width = line.chars().count();
    let mut is_first = true;
    for word in text.split(' ') {
        let len = word.chars().count();
        if !is_first && width + 1 + len > COLUMNS {
            end_line(out, &mut line, indent);
            width = indent;
        } else if !is_first {
            line.push(' ');
            width += 1;
        }
        for character in word.chars() {
            if width == COLUMNS {
                end_line(out, &mut line, indent);
                width = indent;
            }
            line.push(character);
            width += 1;
        }
        is_first = false;
    }
    end_line(out, &mut line, 0);
}

/// Appends the line without blanks at its end; the next one is indented.
fn end_line(out: &mut String, line: &mut String, indent: usize) {
    out.push_str(line.trim_end());
    out.push('\n');
    *line = " ".repeat(indent);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(head: &str, text: &str) -> Vec<String> {
        let mut out = String::new();
        put(&mut out, head, text);
        out.lines().map(str::to_owned).collect()
    }

    #[test]
    fn text_is_broken_at_blanks_and_long_words_at_the_end_of_the_line() {
        assert_eq!(lines("zone       ", "example."), ["zone       example."]);
        assert_eq!(lines("words      ", ""), ["words"]);
        let (fits, words) = ("x".repeat(69), format!("{} yy zz", "x".repeat(66)));
        assert_eq!(lines("file       ", &fits), [format!("file       {fits}")]);
        assert_eq!(
            lines("file       ", &words),
            [format!("file       {} yy", "x".repeat(66)), "           zz".to_owned()]
        );
        for (text, count) in [("y".repeat(70), 2), ("y".repeat(700), 11), ("ü ".repeat(200), 6)] {
            let lines = lines("file       ", &text);
            assert_eq!(lines.len(), count, "{lines:?}");
            assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{lines:?}");
            assert_eq!(lines.concat().replace(' ', "")[4..], text.replace(' ', ""));
        }
    }

    #[test]
    fn what_comes_from_outside_is_escaped_before_it_is_measured() {
        let lines = lines("file       ", &"\u{1b}[2J\n".repeat(20));
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS && !line.contains('\u{1b}')));
        assert!(lines[0].contains("\\u{1b}[2J\\n"), "{lines:?}");
    }
}
