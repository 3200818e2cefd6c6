//! DNS data as octets: names, types, RRsets in canonical form, RRSIGs, presentation form.
//!
//! Knows nothing of keys, policies or files.

pub mod name;
pub mod presentation;
pub mod rdata;
pub mod rrset;
pub mod rrsig;
pub mod rtype;

pub use name::{Name, NameError};
pub use rrset::Rrset;
pub use rrsig::Rrsig;
pub use rtype::{Class, Rtype};
