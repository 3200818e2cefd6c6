//! The master-file lexer (RFC 1035 section 5.1): tokens, quotes, escapes, parentheses over lines, comments.
//!
//! Used for zone files, `.key` files, KSR, SKR and trust anchor files.
