//! Kind 19 of `docs/manual/faults.md`: how large answers are, and what comes along with them.

use super::*;

/// The size of an answer over a stream, with OPT and without DO.
fn size(zone: &SignedZone, name: &str, rtype: Rtype) -> usize {
    let ask = Ask { edns: Some((1232, 0)), ..Ask::new(name, rtype) };
    reply(zone, &ask.octets(), &STREAM).2
}

#[test]
fn kind_19_names_are_written_once_wherever_they_come_again() {
    let servers: String = ('a'..='m')
        .map(|c| format!("net NS {c}.gtld.net\n{c}.gtld.net A 192.0.2.1\n{c}.gtld.net AAAA 2001:db8::1\n"))
        .collect();
    let text = format!(
        "@ SOA ns1 admin 7 1h 5m 1w 10m\n@ NS ns1\nns1 A 192.0.2.1\n{servers}\
         pool MX 1 a.mail\npool MX 2 b.mail\npool MX 3 c.Mail\na.mail A 192.0.2.1\nb.mail A 192.0.2.2\n\
         c1 CNAME c2.chain\nc2.chain CNAME c3.chain\nc3.chain CNAME www.elsewhere.test.\n\
         srv SRV 1 1 80 host.srv\nhost.srv A 192.0.2.3\n"
    );
    let zone = signed(zone("example", &text).expect("a zone"));
    const HEADER: usize = 12;
    const OPT: usize = 11;
    const FIXED: usize = 10;
    // Octets of a name in full, and of a pointer.
    let (example, pointer) = (9, 2);
    let question = |labels: usize| labels + example + 4;
    for (name, rtype, expected) in [
        // The first server's name has two labels of its own in full, the others one; each owner is a pointer.
        (
            "net",
            Rtype::A,
            question(4)
                + (pointer + FIXED + 2 + 5 + pointer)
                + 12 * (pointer + FIXED + 2 + pointer)
                + 13 * (pointer + FIXED + 4)
                + 13 * (pointer + FIXED + 16),
        ),
        // `c.Mail` does not take the spelling of `a.mail`.
        (
            "pool",
            Rtype::MX,
            question(5)
                + (pointer + FIXED + 2 + 2 + 5 + pointer)
                + (pointer + FIXED + 2 + 2 + pointer)
                + (pointer + FIXED + 2 + 2 + 5 + pointer)
                + 2 * (pointer + FIXED + 4),
        ),
        (
            "c1",
            Rtype::A,
            question(3)
                + (pointer + FIXED + 3 + 6 + pointer)
                + (pointer + FIXED + 3 + pointer)
                + (pointer + FIXED + 20),
        ),
        // Names in SRV are not compressed (RFC 2782), but the owner of the address points there is none to point to.
        (
            "srv",
            Rtype::SRV,
            question(4) + (pointer + FIXED + 6 + 5 + 4 + example) + (5 + pointer + FIXED + 4),
        ),
        ("nothing", Rtype::A, question(8) + (pointer + FIXED + 4 + pointer + 6 + pointer + 20)),
    ] {
        assert_eq!(size(&zone, name, rtype), HEADER + OPT + expected, "{name} {rtype}");
    }
}

#[test]
fn kind_19_what_resolvers_need_next_comes_along() {
    let text = "@ SOA ns1 admin 7 1h 5m 1w 10m\n@ NS ns1\nns1 A 192.0.2.1\nwww A 192.0.2.2\nwww AAAA 2001:db8::2\n\
        _sip SRV 1 1 5060 www\nnaptr-s NAPTR 1 1 \"S\" \"SIP+D2U\" \"\" _sip\nnaptr-a NAPTR 1 1 \"a\" \"x\" \"\" www\n\
        naptr-u NAPTR 1 1 \"U\" \"E2U+sip\" \"!^.*$!sip:i@x!\" .\nnaptr-none NAPTR 1 1 \"\" \"\" \"\" www\n\
        svc SVCB 1 www alpn=h2\nown HTTPS 1 . alpn=h2\nown A 192.0.2.3\nalias HTTPS 0 own\nnone HTTPS 0 .\n\
        out SVCB 1 www.elsewhere.test.\nmx MX 1 www\nkx KX 1 www\nafs AFSDB 1 www\nrt RT 1 www\nsrv SRV 1 1 1 www\n\
        both MX 1 www\nboth MX 2 www\n";
    let zone = signed(zone("example", text).expect("a zone"));
    let rtype = |text: &str| text.parse::<Rtype>().expect("a type");
    for (name, asked, expected) in [
        ("mx", "MX", "www A, www AAAA"),
        ("both", "MX", "www A, www AAAA"),
        ("kx", "KX", "www A, www AAAA"),
        ("afs", "AFSDB", "www A, www AAAA"),
        ("rt", "RT", "www A, www AAAA"),
        ("srv", "SRV", "www A, www AAAA"),
        ("naptr-s", "NAPTR", "_sip SRV"),
        ("naptr-a", "NAPTR", "www A, www AAAA"),
        ("naptr-u", "NAPTR", ""),
        ("naptr-none", "NAPTR", ""),
        ("svc", "SVCB", "www A, www AAAA"),
        ("own", "HTTPS", "own A"),
        ("alias", "HTTPS", "own HTTPS, own A"),
        ("none", "HTTPS", ""),
        ("out", "SVCB", ""),
        ("www", "A", ""),
    ] {
        let ask = Ask { edns: Some((1232, 0)), ..Ask::new(name, rtype(asked)) };
        let (_, message, _) = reply(&zone, &ask.octets(), &STREAM);
        let summary = message.summary("example.");
        assert_eq!(
            summary.rsplit(" | ").next().unwrap_or_default().trim(),
            expected,
            "{name} {asked}: {summary}"
        );
    }
}
