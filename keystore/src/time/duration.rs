//! Durations of `dnssec-policy`: ISO 8601 (year = 365 d, month = 31 d) or TTL text (`1h30m`).

/// Reads a `dnssec-policy` duration: ISO 8601 `P[nY][nM][nD][T[nH][nM][nS]]` or `PnW`, TTL text, or bare seconds.
/// Saturates at 2^32-1 seconds. `unlimited` is not read here.
#[must_use]
pub fn parse(_text: &str) -> Option<u32> {
    todo!()
}
