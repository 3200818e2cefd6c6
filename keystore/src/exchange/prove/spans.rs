//! Sets of seconds as sorted, disjoint, half-open spans.

use crate::time::Timestamp;

/// `[from, to)` in seconds since 1970.
pub(super) type Span = (u64, u64);

/// What two spans share; `None` when nothing.
pub(super) fn common(a: Span, b: Span) -> Option<Span> {
    let both = (a.0.max(b.0), a.1.min(b.1));
    (both.0 < both.1).then_some(both)
}

/// The span `[from, to)` of two points in time.
pub(super) fn span(from: Timestamp, to: Timestamp) -> Span {
    (from.secs(), to.secs())
}

/// The same seconds as sorted and disjoint spans; what touches is joined, empty spans go.
pub(super) fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|s| s.0 < s.1);
    spans.sort_unstable();
    let mut out: Vec<Span> = Vec::with_capacity(spans.len());
    for s in spans {
        match out.last_mut() {
            Some(last) if s.0 <= last.1 => last.1 = last.1.max(s.1),
            _ => out.push(s),
        }
    }
    out
}

/// The seconds of `within` that are in none of `spans`.
pub(super) fn missing(spans: Vec<Span>, within: Span) -> Vec<Span> {
    let mut out = Vec::new();
    let mut at = within.0;
    for (from, to) in joined(spans).into_iter().filter_map(|s| common(s, within)) {
        out.push((at, from));
        at = to;
    }
    out.push((at, within.1));
    out.retain(|s| s.0 < s.1);
    out
}

/// All seconds that are in both, each a sorted and disjoint list.
pub(super) fn both(a: &[Span], b: &[Span]) -> Vec<Span> {
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        out.extend(common(*x, *y));
        if x.1 < y.1 { i += 1 } else { j += 1 }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_of_spans() {
        assert_eq!(joined(vec![(5, 7), (1, 3), (3, 4), (9, 9), (6, 8)]), [(1, 4), (5, 8)]);
        assert_eq!(missing(vec![(5, 7), (1, 3)], (2, 9)), [(3, 5), (7, 9)]);
        assert_eq!(missing(vec![], (2, 9)), [(2, 9)]);
        assert_eq!(missing(vec![(0, 20)], (2, 9)), []);
        assert_eq!(both(&[(1, 4), (5, 8)], &[(3, 6), (7, 9)]), [(3, 4), (5, 6), (7, 8)]);
        assert_eq!(common((1, 4), (4, 5)), None);
    }
}
