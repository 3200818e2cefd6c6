//! A real `named.conf`: its whole lexical grammar; `dnssec-policy` and `key-store` are interpreted, the rest is skipped.
