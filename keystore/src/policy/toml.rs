//! The policy as TOML, with the words of `dnssec-policy`.
