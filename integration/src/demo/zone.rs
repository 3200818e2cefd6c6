//! The zone of the demo: every common record type, and a name for each kind of answer.

use domain::base::Rtype;
use domain::base::iana::Rcode;
use domain::dnssec::validator::context::ValidationState;

/// Its name.
pub const NAME: &str = "demo.example.";

/// Its master file.
pub const FILE: &str = include_str!("demo.example.zone");

/// One question of the demo's own check, and what must come back.
pub struct DemoQuestion {
    /// What kind of answer it shows.
    pub kind: &'static str,
    /// Owner name asked for.
    pub name: &'static str,
    /// Type asked for.
    pub rtype: Rtype,
    /// Response code.
    pub rcode: Rcode,
    /// AA bit.
    pub authoritative: bool,
    /// What the validator must say.
    pub state: ValidationState,
    /// A type that must be in the answer section; `None` = the section must be empty.
    pub answers: Option<Rtype>,
}

const fn secure(
    kind: &'static str,
    name: &'static str,
    rtype: Rtype,
    rcode: Rcode,
    answers: Option<Rtype>,
) -> DemoQuestion {
    DemoQuestion { kind, name, rtype, rcode, authoritative: true, state: ValidationState::Secure, answers }
}

/// One question for each kind of answer.
pub const QUESTIONS: &[DemoQuestion] = &[
    secure("positive", "www.demo.example.", Rtype::A, Rcode::NOERROR, Some(Rtype::A)),
    secure("SOA", NAME, Rtype::SOA, Rcode::NOERROR, Some(Rtype::SOA)),
    secure("NODATA", "www.demo.example.", Rtype::MX, Rcode::NOERROR, None),
    secure("NXDOMAIN", "nothing.demo.example.", Rtype::A, Rcode::NXDOMAIN, None),
    secure("NXDOMAIN, deep", "a.b.c.nothing.demo.example.", Rtype::A, Rcode::NXDOMAIN, None),
    secure("empty non-terminal", "ent.demo.example.", Rtype::A, Rcode::NOERROR, None),
    secure("wildcard", "anything.wild.demo.example.", Rtype::TXT, Rcode::NOERROR, Some(Rtype::TXT)),
    secure("wildcard NODATA", "anything.wild.demo.example.", Rtype::AAAA, Rcode::NOERROR, None),
    secure("CNAME", "alias.demo.example.", Rtype::A, Rcode::NOERROR, Some(Rtype::CNAME)),
    secure("CNAME to nowhere", "lost.demo.example.", Rtype::A, Rcode::NXDOMAIN, Some(Rtype::CNAME)),
    secure("DNAME", "www.old.demo.example.", Rtype::A, Rcode::NOERROR, Some(Rtype::DNAME)),
    secure("DS at a secure cut", "secure.demo.example.", Rtype::DS, Rcode::NOERROR, Some(Rtype::DS)),
    secure("DS at an insecure cut", "insecure.demo.example.", Rtype::DS, Rcode::NOERROR, None),
    secure("DNSKEY", NAME, Rtype::DNSKEY, Rcode::NOERROR, Some(Rtype::DNSKEY)),
    secure("CDS", NAME, Rtype::CDS, Rcode::NOERROR, Some(Rtype::CDS)),
    secure("CDNSKEY", NAME, Rtype::CDNSKEY, Rcode::NOERROR, Some(Rtype::CDNSKEY)),
];

/// Referrals: kind, a name below the cut, the cut.
pub const REFERRALS: &[(&str, &str, &str)] = &[
    ("secure referral", "www.secure.demo.example.", "secure.demo.example."),
    ("insecure referral", "a.b.insecure.demo.example.", "insecure.demo.example."),
];
