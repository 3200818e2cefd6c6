//! Delegations.

use super::*;

#[test]
fn referral() {
    let secure = "NOERROR |  | safe NS, safe DS, safe RRSIG(DS) | ns.safe A, ns.safe AAAA";
    let insecure = "NOERROR |  | bare NS, bare NS, bare NS, bare NS, bare NSEC, bare RRSIG(NSEC) | ns.bare A, \
                    ns.safe A, ns.safe AAAA, ns1 A, ns1 RRSIG(A), ns1 AAAA, ns1 RRSIG(AAAA)";
    case("www.safe", Rtype::A, AnswerKind::Referral, secure);
    case("a.b.c.safe", Rtype::ANY, AnswerKind::Referral, secure);
    case("x.safe", Rtype::DS, AnswerKind::Referral, secure);
    case("www.bare", Rtype::A, AnswerKind::Referral, insecure);
    case(
        "x.cut.mid",
        Rtype::A,
        AnswerKind::Referral,
        "NOERROR |  | cut.mid NS, cut.mid NSEC, cut.mid RRSIG(NSEC) | ",
    );
    case(
        "mid",
        Rtype::A,
        AnswerKind::NoData,
        "NOERROR aa |  | @ SOA, @ RRSIG(SOA), mail NSEC, mail RRSIG(NSEC) | ",
    );
}

#[test]
fn name_server_query_at_the_cut_is_a_referral() {
    let want = "NOERROR |  | safe NS, safe DS, safe RRSIG(DS) | ns.safe A, ns.safe AAAA";
    for rtype in [Rtype::NS, Rtype::A, Rtype::SOA, Rtype::ANY, Rtype::NSEC, Rtype::DNSKEY] {
        case("safe", rtype, AnswerKind::Referral, want);
    }
}

#[test]
fn delegation_signer_at_the_cut() {
    case("safe", Rtype::DS, AnswerKind::Positive, "NOERROR aa | safe DS, safe RRSIG(DS) |  | ");
    case(
        "bare",
        Rtype::DS,
        AnswerKind::NoData,
        "NOERROR aa |  | @ SOA, @ RRSIG(SOA), bare NSEC, bare RRSIG(NSEC) | ",
    );
    // That of the apex stands in the parent; from us, the child, it is not there.
    case("@", Rtype::DS, AnswerKind::NoData, "NOERROR aa |  | @ SOA, @ RRSIG(SOA), @ NSEC, @ RRSIG(NSEC) | ");
}

#[test]
fn glue_is_no_answer() {
    let want = "NOERROR |  | safe NS, safe DS, safe RRSIG(DS) | ns.safe A, ns.safe AAAA";
    case("ns.safe", Rtype::A, AnswerKind::Referral, want);
}

#[test]
fn alias_into_a_delegation() {
    case(
        "tosafe",
        Rtype::A,
        AnswerKind::Positive,
        "NOERROR aa | tosafe CNAME, tosafe RRSIG(CNAME) | safe NS, safe DS, safe RRSIG(DS) | ns.safe A, ns.safe AAAA",
    );
}
