//! CNAME and DNAME.

use super::*;

#[test]
fn kind_14_names_below_a_dname_are_redirected_whatever_the_file_has_there() {
    let text = "d DNAME b\nx.d NS ns1\ny.d A 192.0.2.1\nz.d DNAME c\nx.b A 192.0.2.9\ny.b A 192.0.2.9\nu.z.b A 192.0.2.9\n";
    let zone = signed(
        zone("example", &format!("@ SOA ns1 admin 7 1h 5m 1w 10m\n@ NS ns.other.\n{text}")).expect("a zone"),
    );
    for (asked, rtype) in
        [("x.d", Rtype::A), ("y.d", Rtype::A), ("u.z.d", Rtype::A), ("x.d", Rtype::DS), ("x.d", Rtype::NS)]
    {
        let ask = Ask::new(asked, rtype);
        let (_, message, _) = reply(&zone, &ask.octets(), &STREAM);
        assert!(
            message.aa() && message.sections[0][0].rtype == Rtype::DNAME,
            "{asked}: {}",
            message.summary("example.")
        );
        validate(&message, &ask, NOW).unwrap_or_else(|why| panic!("{asked} {rtype}: {why}"));
    }
}

#[test]
fn chain_of_cnames() {
    case(
        "alias2",
        Rtype::A,
        AnswerKind::Positive,
        "NOERROR aa | alias2 CNAME, alias2 RRSIG(CNAME), alias CNAME, alias RRSIG(CNAME), www A, www A, www RRSIG(A) |  | ",
    );
    case(
        "alias2",
        Rtype::CNAME,
        AnswerKind::Positive,
        "NOERROR aa | alias2 CNAME, alias2 RRSIG(CNAME) |  | ",
    );
    case("alias2", Rtype::ANY, AnswerKind::Positive, "NOERROR aa | alias2 CNAME, alias2 RRSIG(CNAME) |  | ");
    case("out", Rtype::A, AnswerKind::Positive, "NOERROR aa | out CNAME, out RRSIG(CNAME) |  | ");
}

#[test]
fn cnames_that_lead_in_a_ring() {
    case(
        "loop1",
        Rtype::A,
        AnswerKind::Positive,
        "NOERROR aa | loop1 CNAME, loop1 RRSIG(CNAME), loop2 CNAME, loop2 RRSIG(CNAME) |  | ",
    );
    case("self", Rtype::A, AnswerKind::Positive, "NOERROR aa | self CNAME, self RRSIG(CNAME) |  | ");
    case(
        "q.cc",
        Rtype::A,
        AnswerKind::Positive,
        "NOERROR aa | q.cc CNAME, q.cc RRSIG(CNAME), x.cc CNAME, x.cc RRSIG(CNAME) | *.cc NSEC, *.cc RRSIG(NSEC) | ",
    );
}

#[test]
fn cname_to_nothing() {
    case(
        "lost",
        Rtype::A,
        AnswerKind::NxDomain,
        "NXDOMAIN aa | lost CNAME, lost RRSIG(CNAME) | @ SOA, @ RRSIG(SOA), www.new NSEC, www.new RRSIG(NSEC), @ NSEC, @ RRSIG(NSEC) | ",
    );
    case(
        "lost2",
        Rtype::A,
        AnswerKind::NxDomain,
        "NXDOMAIN aa | lost2 CNAME, lost2 RRSIG(CNAME) | @ SOA, @ RRSIG(SOA), a.b.ent NSEC, a.b.ent RRSIG(NSEC), f.*.empty NSEC, f.*.empty RRSIG(NSEC) | ",
    );
    case(
        "tomail",
        Rtype::TXT,
        AnswerKind::NoData,
        "NOERROR aa | tomail CNAME, tomail RRSIG(CNAME) | @ SOA, @ RRSIG(SOA), mail NSEC, mail RRSIG(NSEC) | ",
    );
}

#[test]
fn cname_and_wildcard() {
    case(
        "towild",
        Rtype::A,
        AnswerKind::Positive,
        "NOERROR aa | towild CNAME, towild RRSIG(CNAME), q.wild A, q.wild RRSIG(A) | exact.wild NSEC, exact.wild RRSIG(NSEC) | ",
    );
    case(
        "q.cw",
        Rtype::A,
        AnswerKind::Positive,
        "NOERROR aa | q.cw CNAME, q.cw RRSIG(CNAME), www A, www A, www RRSIG(A) | *.cw NSEC, *.cw RRSIG(NSEC) | ",
    );
    case(
        "q.cl",
        Rtype::A,
        AnswerKind::NxDomain,
        "NXDOMAIN aa | q.cl CNAME, q.cl RRSIG(CNAME) | @ SOA, @ RRSIG(SOA), www.new NSEC, www.new RRSIG(NSEC), @ NSEC, @ RRSIG(NSEC), *.cl NSEC, *.cl RRSIG(NSEC) | ",
    );
}

#[test]
fn dname() {
    case(
        "www.old",
        Rtype::A,
        AnswerKind::Positive,
        "NOERROR aa | old DNAME, old RRSIG(DNAME), www.old CNAME, www.new A, www.new RRSIG(A) |  | ",
    );
    case("old", Rtype::DNAME, AnswerKind::Positive, "NOERROR aa | old DNAME, old RRSIG(DNAME) |  | ");
    case(
        "old",
        Rtype::A,
        AnswerKind::NoData,
        "NOERROR aa |  | @ SOA, @ RRSIG(SOA), old NSEC, old RRSIG(NSEC) | ",
    );
    case("x.up", Rtype::A, AnswerKind::Positive, "NOERROR aa | up DNAME, up RRSIG(DNAME), x.up CNAME |  | ");
    case(
        "x.up",
        Rtype::CNAME,
        AnswerKind::Positive,
        "NOERROR aa | up DNAME, up RRSIG(DNAME), x.up CNAME |  | ",
    );
    case(
        "toold",
        Rtype::A,
        AnswerKind::Positive,
        "NOERROR aa | toold CNAME, toold RRSIG(CNAME), old DNAME, old RRSIG(DNAME), www.old CNAME, www.new A, www.new RRSIG(A) |  | ",
    );
    case(
        "no.old",
        Rtype::A,
        AnswerKind::NxDomain,
        "NXDOMAIN aa | old DNAME, old RRSIG(DNAME), no.old CNAME | @ SOA, @ RRSIG(SOA), Mixed NSEC, Mixed RRSIG(NSEC) | ",
    );
}

#[test]
fn dname_that_leads_to_its_own_owner() {
    let want = "NOERROR aa | in.ring DNAME, in.ring RRSIG(DNAME), in.in.ring CNAME |  | ";
    case("in.in.ring", Rtype::DNAME, AnswerKind::Positive, want);
}

#[test]
fn dname_whose_target_is_too_long() {
    let ask = Ask::new(&format!("{}.grow", "b".repeat(60)), Rtype::A);
    let (kind, message, _) = reply(example(), &ask.octets(), &STREAM);
    assert_eq!(message.summary("example."), "YXDOMAIN aa | grow DNAME, grow RRSIG(DNAME) |  | ");
    assert_eq!(kind, AnswerKind::Error);
    let (_, message, _) = reply(example(), &Ask::new("b.grow", Rtype::A).octets(), &STREAM);
    assert_eq!(message.rcode, 0);
}

#[test]
fn dnames_that_grow_a_name_end() {
    let (kind, message, _) = reply(example(), &Ask::new("x.rec", Rtype::A).octets(), &STREAM);
    assert_eq!((kind, message.rcode), (AnswerKind::Positive, 0));
    let dnames = message.sections[0].iter().filter(|rr| rr.rtype == Rtype::DNAME).count();
    let cnames = message.sections[0].iter().filter(|rr| rr.rtype == Rtype::CNAME).count();
    assert_eq!((dnames, cnames), (2, 17));
}
