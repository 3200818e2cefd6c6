//! DNS data as octets: names, types, RRsets in canonical form, RRSIGs, presentation form.
//!
//! Knows nothing of keys, policies or files.

pub mod lexer;
pub mod name;
pub mod nsec3;
pub mod rdata;
pub mod record;
pub mod rrset;
pub mod rrsig;
pub mod rtype;
pub mod token;
pub mod ttl;

pub use name::{GivenNameError, Name, NameError};
pub use rrset::Rrset;
pub use rrsig::Rrsig;
pub use rtype::{Class, PortableRtype, Rtype};
pub use token::Token;
