//! Queries that are odd, wrong or hostile.

use super::*;
use proptest::prelude::*;

fn rcode(query: &[u8]) -> (u16, Message) {
    let (kind, message, _) = reply(example(), query, &UDP);
    assert_eq!(kind, AnswerKind::Error);
    assert!(!message.aa() && message.sections.iter().all(|s| s.is_empty() || s[0].rtype == Rtype::TSIG));
    (message.rcode, message)
}

fn www() -> Vec<u8> {
    Ask::plain("www", Rtype::A).octets()
}

#[test]
fn dropped() {
    let mut out = Vec::new();
    for len in 0..12 {
        assert_eq!(answer(example(), &www()[..len], &UDP, &mut out), AnswerOutcome::Drop);
    }
    let mut response = www();
    response[2] |= 0x80;
    assert_eq!(answer(example(), &response, &UDP, &mut out), AnswerOutcome::Drop);
    assert!(out.is_empty());
}

#[test]
fn not_ours() {
    let mut out = Vec::new();
    for other in ["other.", ".", "com.", "wwwexample.", "xexample.", "example.com."] {
        let ask = Ask { name: name(other).as_wire().to_vec(), ..Ask::new("@", Rtype::A) };
        assert_eq!(answer(example(), &ask.octets(), &UDP, &mut out), AnswerOutcome::NotOurs, "{other}");
        for flags in [0x2000, 0x2800] {
            let ask = Ask { flags, ..ask.clone() };
            assert_eq!(
                answer(example(), &ask.octets(), &UDP, &mut out),
                AnswerOutcome::NotOurs,
                "NOTIFY or UPDATE for {other}"
            );
        }
    }
    // Octets of the zone's name inside a label are not the zone.
    let inside = Ask { name: b"\x0bwww\x07example\x00".to_vec(), ..Ask::new("@", Rtype::A) };
    assert_eq!(answer(example(), &inside.octets(), &UDP, &mut out), AnswerOutcome::NotOurs);
}

#[test]
fn wrong_number_of_questions() {
    for count in [0, 2, 0xffff_u16] {
        let mut query = www();
        query[4..6].copy_from_slice(&count.to_be_bytes());
        let (rcode, message) = rcode(&query);
        assert_eq!((rcode, message.question), (1, None), "{count}");
    }
}

#[test]
fn question_cut_or_compressed() {
    let query = www();
    for len in 12..query.len() {
        let (rcode, message) = rcode(&query[..len]);
        assert_eq!((rcode, message.question), (1, None), "{len}");
    }
    for label in [0x40, 0x80, 0xc0, 0xff] {
        let mut query = www();
        query[12] = label;
        assert_eq!(rcode(&query).0, 1, "{label:#x}");
    }
    let long = [&[63; 64][..]; 4].concat();
    assert_eq!(rcode(&[&www()[..12], &long, &[0, 0, 1, 0, 1]].concat()).0, 1, "a name of 257 octets");
}

#[test]
fn other_opcodes() {
    for opcode in 1..16u16 {
        let ask = Ask { flags: opcode << 11 | 0x0100, ..Ask::new("@", Rtype::SOA) };
        let (rcode, message) = rcode(&ask.octets());
        assert_eq!((rcode, message.flags & 0x7900), (4, opcode << 11), "RD is clear, as named has it");
        assert!(message.question.is_some() && message.opt.is_some());
    }
}

#[test]
fn other_classes() {
    for class in [0, 3, 4, 254, 255, 65280] {
        assert_eq!(rcode(&Ask { class, ..Ask::new("www", Rtype::A) }.octets()).0, 5, "{class}");
    }
}

#[test]
fn types_that_are_no_data() {
    for (rtype, want) in [
        (0, 1),
        (41, 1),
        (128, 1),
        (129, 4),
        (248, 4),
        (249, 4),
        (250, 1),
        (251, 5),
        (252, 5),
        (253, 4),
        (254, 4),
    ] {
        for name in ["www", "@", "nothing"] {
            let ask = Ask::new(name, Rtype(rtype));
            let (got, message) = rcode(&ask.octets());
            assert_eq!((got, message.opt.is_some()), (want, true), "{rtype}");
        }
    }
    let (kind, message, _) = reply(example(), &Ask::new("www", Rtype(65_535)).octets(), &UDP);
    assert_eq!((kind, message.rcode), (AnswerKind::NoData, 0));
}

#[test]
fn edns_versions_and_flags() {
    let version = |v: u32| Ask { edns: Some((1232, v << 16 | DO)), ..Ask::new("www", Rtype::A) }.octets();
    for v in [1, 2, 255] {
        let (rcode, message) = rcode(&version(v));
        assert_eq!((rcode, message.opt), (16, Some((1232, DO, vec![]))), "version 0 is told");
    }
    // Unknown flags are not copied, extended rcode bits of a query are not looked at.
    let odd = Ask { edns: Some((1232, 0xff00_7fff)), ..Ask::new("www", Rtype::A) };
    let (_, message, _) = reply(example(), &odd.octets(), &UDP);
    assert_eq!((message.rcode, message.opt), (0, Some((1232, 0, vec![]))));
    // AD, CD, RA, Z, TC and AA of a query are not copied.
    let ask = Ask { flags: 0x07ff & !0xf, ..Ask::new("www", Rtype::A) };
    let (_, message, _) = reply(example(), &ask.octets(), &UDP);
    assert_eq!(message.flags, 0x8500);
}

#[test]
fn malformed_edns() {
    let mut two = Ask::new("www", Rtype::A).octets();
    two[11] = 2;
    two.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rcode(&two).0, 1, "two OPTs");
    let mut in_answer = Ask::new("www", Rtype::A).octets();
    (in_answer[7], in_answer[11]) = (1, 0);
    assert_eq!(rcode(&in_answer).0, 1, "OPT in the answer section");
    let mut named = www();
    named[11] = 1;
    named.extend([1, b'a', 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rcode(&named).0, 1, "OPT of another name than the root");
    let with_options = |options: &[u8]| {
        let mut query = Ask::new("www", Rtype::A).octets();
        let len = query.len();
        query[len - 1] = options.len() as u8;
        query.extend(options);
        query
    };
    for bad in [&[0][..], &[0, 3, 0], &[0, 3, 0, 1], &[0, 3, 0, 0, 0], &[0, 3, 0xff, 0xff, 0]] {
        assert_eq!(rcode(&with_options(bad)).0, 1, "{bad:?}");
    }
    for good in [&[0, 3, 0, 0][..], &[0, 10, 0, 2, 1, 2, 0, 3, 0, 0]] {
        assert_eq!(reply(example(), &with_options(good), &UDP).0, AnswerKind::Positive);
    }
    let mut cut = Ask::new("www", Rtype::A).octets();
    cut.pop();
    assert_eq!(rcode(&cut).0, 1, "OPT cut short");
    let mut more = www();
    more.extend(b"garbage behind the message");
    assert_eq!(reply(example(), &more, &UDP).0, AnswerKind::Positive);
}

#[test]
fn signed_by_an_unknown_key() {
    let mut query = www();
    query[11] = 1;
    // Algorithm, time, fudge; a MAC of two octets; original ID, error, no other data.
    let rdata = [&b"\x0bhmac-sha256\x00"[..], &[0, 0, 1, 2, 3, 4, 1, 44, 0, 2, 9, 9, 0x12, 0x34, 0, 0, 0, 0]]
        .concat();
    let fixed = [0, 250, 0, 255, 0, 0, 0, 0, 0, rdata.len() as u8];
    let signed = [&query[..], b"\x03key\x00", &fixed, &rdata].concat();
    let (got, message) = rcode(&signed);
    assert_eq!(got, 9);
    let tsig = &message.sections[2][0];
    assert_eq!((tsig.owner.to_string().as_str(), tsig.class, tsig.ttl), ("key.", 255, 0));
    let want =
        [&b"\x0bhmac-sha256\x00"[..], &[0, 0, 1, 2, 3, 4, 1, 44, 0, 0, 0x12, 0x34, 0, 17, 0, 0]].concat();
    assert_eq!(tsig.rdata, want);
    // Not the last record.
    let mut not_last = signed.clone();
    not_last[11] = 2;
    not_last.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rcode(&not_last).0, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_octets_get_a_whole_answer_or_none(octets in prop::collection::vec(any::<u8>(), 0..80)) {
        survive(&octets);
    }

    #[test]
    fn damaged_queries_get_a_whole_answer_or_none(
        at in prop::sample::select(vec!["www", "nothing", "x.wild", "alias2", "www.old", "x.bare", "long"]),
        rtype in 0u16..300,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        do_cut in any::<bool>(),
    ) {
        let mut octets = Ask::new(at, Rtype(rtype)).octets();
        for (index, octet) in damage {
            let index = index.index(octets.len());
            octets[index] = octet;
        }
        if do_cut {
            octets.truncate(cut.index(octets.len()));
        }
        survive(&octets);
    }
}

fn survive(octets: &[u8]) {
    for context in [
        UDP,
        STREAM,
        Context { arrival: Arrival::new(Transport::Udp, 0), ..UDP },
        Context { now: NOW.plus(100 * DAY), ..UDP },
    ] {
        let mut out = Vec::new();
        match answer(example(), octets, &context, &mut out) {
            AnswerOutcome::Reply(_) => {
                let message = Message::read(&out);
                assert_eq!(out[..2], octets[..2]);
                assert!(message.flags & 0x8000 != 0);
                if context.arrival.transport == Transport::Udp {
                    assert!(out.len() <= 1232);
                }
            }
            AnswerOutcome::NotOurs | AnswerOutcome::Drop => assert!(out.is_empty()),
        }
    }
}
