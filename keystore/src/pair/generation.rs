//! The number of a takeover.

use std::fmt;

/// Number of a takeover; the first one is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// That of the first takeover.
    pub const FIRST: Self = Self(1);

    /// Reads a number in decimal digits, without zeros in front.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_number = text.bytes().all(|octet| octet.is_ascii_digit()) && !text.starts_with('0');
        text.parse().ok().filter(|_| is_number).map(Self)
    }

    /// That of the takeover after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_decimal_numbers_from_one_on_are_generations() {
        assert_eq!(Generation::parse("12").map(Generation::number), Some(12));
        for text in ["", "0", "01", "+3", "-1", "3 4", "3\n", "99999999999999999999999"] {
            assert_eq!(Generation::parse(text), None, "{text:?}");
        }
    }
}
