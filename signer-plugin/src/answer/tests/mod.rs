//! The cases of a wire-level engine, one test each, over one zone. Each answer with DO is checked by [`reader::Validator`].

mod aliases;
mod delegations;
mod hostile;
mod limits;
mod model;
mod nsec3;
mod reader;
mod sizes;

use std::sync::OnceLock;

use super::{AnswerKind, AnswerOutcome, Arrival, Context, Transport, answer};
use crate::signing::SignedZone;
use crate::testing::{DAY, NOW, POLICY, TIMES, bundle, keys, name, signed, zone};
use keystore::dns::{Name, Rtype};
use keystore::time::Timestamp;
use reader::{Message, Validator};

const ZONE: &str = "\
@ SOA ns1 admin 7 1h 5m 1w 10m
@ NS ns1
@ NS ns.other.
@ MX 10 mail
@ A 192.0.2.10
ns1 A 192.0.2.1
ns1 AAAA 2001:db8::1
mail A 192.0.2.25
_sip SRV 1 1 5060 mail
www A 192.0.2.80
www A 192.0.2.81
www TXT t
a.b.ent A 192.0.2.2
*.wild A 192.0.2.3
*.wild TXT wild
exact.wild TXT exact
f.*.empty A 192.0.2.4
alias CNAME www
alias2 CNAME alias
lost CNAME nowhere
lost2 CNAME x.nowhere.ent
tomail CNAME mail
towild CNAME q.wild
out CNAME www.other.
loop1 CNAME loop2
loop2 CNAME loop1
self CNAME self
tosafe CNAME host.safe
*.cw CNAME www
*.cl CNAME nowhere
*.cc CNAME x.cc
old DNAME new
www.new A 192.0.2.5
up DNAME elsewhere.
toold CNAME www.old
rec DNAME a.rec2
rec2 DNAME rec
in.ring DNAME ring
grow DNAME aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.other.
safe NS ns.safe
safe DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF
ns.safe A 192.0.2.53
ns.safe AAAA 2001:db8::53
bare NS ns.bare
bare NS ns.safe
bare NS ns1
bare NS ns.other.
ns.bare A 192.0.2.54
cut.mid NS ns.other.
Mixed MX 10 MAIL
";

fn example() -> &'static SignedZone {
    static ZONE_SIGNED: OnceLock<SignedZone> = OnceLock::new();
    ZONE_SIGNED.get_or_init(|| {
        let names: String =
            (0..30).map(|i| format!("large NS ns{i:02}.large\nns{i:02}.large A 192.0.2.{i}\n")).collect();
        let text: String = (0..20).map(|i| format!("long TXT {}{i}\n", "x".repeat(200))).collect();
        let long: String = (0..40).map(|i| format!("hosts MX 10 h{i:02}\nh{i:02} A 192.0.2.{i}\n")).collect();
        signed(zone("example", &format!("{ZONE}{names}{text}{long}")).expect("a zone"))
    })
}

/// A query: id 0x1234, RD, one question, OPT of size 1232 with DO unless `size` says otherwise.
#[derive(Clone)]
struct Ask {
    name: Vec<u8>,
    rtype: Rtype,
    class: u16,
    flags: u16,
    edns: Option<(u16, u32)>,
}

const DO: u32 = 0x8000;

impl Ask {
    fn new(text: &str, rtype: Rtype) -> Self {
        let name = match text {
            "@" => name("example"),
            _ => Name::parse_bytes(text.as_bytes(), Some(&name("example"))).expect(text),
        };
        Self { name: name.as_wire().to_vec(), rtype, class: 1, flags: 0x0100, edns: Some((1232, DO)) }
    }

    fn plain(text: &str, rtype: Rtype) -> Self {
        Self { edns: None, ..Self::new(text, rtype) }
    }

    fn octets(&self) -> Vec<u8> {
        let mut out = vec![0x12, 0x34];
        out.extend(self.flags.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 0, 0, u8::from(self.edns.is_some())]);
        out.extend(&self.name);
        out.extend(self.rtype.0.to_be_bytes());
        out.extend(self.class.to_be_bytes());
        if let Some((size, ttl)) = self.edns {
            out.extend([0, 0, 41]);
            out.extend(size.to_be_bytes());
            out.extend(ttl.to_be_bytes());
            out.extend([0, 0]);
        }
        out
    }
}

const UDP: Context<'_> = Context { arrival: Arrival::new(Transport::Udp, 1232), now: NOW };
const STREAM: Context<'_> = Context { arrival: Arrival::new(Transport::Stream, 1232), now: NOW };

fn reply(zone: &SignedZone, query: &[u8], context: &Context<'_>) -> (AnswerKind, Message, usize) {
    let mut out = vec![0xee; 7];
    match answer(zone, query, context, &mut out) {
        AnswerOutcome::Reply(kind) => (kind, Message::read(&out), out.len()),
        other => panic!("{other:?}"),
    }
}

fn validator_keys() -> Vec<keystore::keys::Dnskey> {
    let (ksk, zsk) = keys();
    vec![ksk.dnskey.clone(), zsk.dnskey.clone()]
}

fn validate(message: &Message, ask: &Ask, now: Timestamp) -> Result<(), String> {
    let name = Name::from_wire(&ask.name).expect("a name");
    Validator { origin: crate::testing::name("example"), keys: &validator_keys(), now }
        .check(message, &name, ask.rtype)
}

/// Asks over a stream with DO; the answer must be `want` and prove itself. Then without DO, which must give the same without DNSSEC.
#[track_caller]
fn case(text: &str, rtype: Rtype, kind: AnswerKind, want: &str) {
    let ask = Ask::new(text, rtype);
    let (got, message, _) = reply(example(), &ask.octets(), &STREAM);
    assert_eq!(message.summary("example.").trim_end(), want.trim_end());
    assert_eq!(got, kind);
    assert_eq!((message.id, message.flags & 0xf9f0 & !0x0600), (0x1234, 0x8100), "QR and RD, not RA, AD, CD");
    assert_eq!(message.opt, Some((1232, DO, vec![])));
    if let Err(why) = validate(&message, &ask, NOW) {
        panic!("{text} {rtype}: {why}");
    }
    let (got, plain, _) = reply(example(), &Ask::plain(text, rtype).octets(), &STREAM);
    for (number, (signed, plain)) in message.sections.iter().zip(&plain.sections).enumerate() {
        let dnssec = |rr: &reader::Rr| matches!(rr.rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::DS);
        let asked = |rr: &reader::Rr| number == 0 && rr.rtype == rtype;
        let want: Vec<&reader::Rr> = signed.iter().filter(|rr| asked(rr) || !dnssec(rr)).collect();
        assert_eq!(plain.iter().collect::<Vec<_>>(), want, "without DO");
    }
    assert_eq!((got, plain.rcode, plain.aa(), plain.opt), (kind, message.rcode, message.aa(), None));
}

#[test]
fn existing_name() {
    case("www", Rtype::A, AnswerKind::Positive, "NOERROR aa | www A, www A, www RRSIG(A) |  | ");
    case(
        "www",
        Rtype::MX,
        AnswerKind::NoData,
        "NOERROR aa |  | @ SOA, @ RRSIG(SOA), www NSEC, www RRSIG(NSEC) | ",
    );
    case("@", Rtype::SOA, AnswerKind::Positive, "NOERROR aa | @ SOA, @ RRSIG(SOA) |  | ");
}

#[test]
fn hosts_that_an_answer_names_come_along() {
    case("@", Rtype::MX, AnswerKind::Positive, "NOERROR aa | @ MX, @ RRSIG(MX) |  | mail A, mail RRSIG(A)");
    case(
        "_sip",
        Rtype::SRV,
        AnswerKind::Positive,
        "NOERROR aa | _sip SRV, _sip RRSIG(SRV) |  | mail A, mail RRSIG(A)",
    );
    case(
        "@",
        Rtype::NS,
        AnswerKind::Positive,
        "NOERROR aa | @ NS, @ NS, @ RRSIG(NS) |  | ns1 A, ns1 RRSIG(A), ns1 AAAA, ns1 RRSIG(AAAA)",
    );
}

#[test]
fn no_such_name_one_label_below_the_apex() {
    // The apex's NSEC covers the wildcard, `mid` has an NSEC in front.
    case(
        "nothing",
        Rtype::A,
        AnswerKind::NxDomain,
        "NXDOMAIN aa |  | @ SOA, @ RRSIG(SOA), www.new NSEC, www.new RRSIG(NSEC), @ NSEC, @ RRSIG(NSEC) | ",
    );
    case(
        "aaa",
        Rtype::A,
        AnswerKind::NxDomain,
        "NXDOMAIN aa |  | @ SOA, @ RRSIG(SOA), _sip NSEC, _sip RRSIG(NSEC), @ NSEC, @ RRSIG(NSEC) | ",
    );
}

#[test]
fn no_such_name_two_labels_below() {
    case(
        "x.y",
        Rtype::A,
        AnswerKind::NxDomain,
        "NXDOMAIN aa |  | @ SOA, @ RRSIG(SOA), www NSEC, www RRSIG(NSEC), @ NSEC, @ RRSIG(NSEC) | ",
    );
    case(
        "x.y.www",
        Rtype::A,
        AnswerKind::NxDomain,
        "NXDOMAIN aa |  | @ SOA, @ RRSIG(SOA), www NSEC, www RRSIG(NSEC) | ",
    );
    case(
        "x.c.b.ent",
        Rtype::A,
        AnswerKind::NxDomain,
        "NXDOMAIN aa |  | @ SOA, @ RRSIG(SOA), a.b.ent NSEC, a.b.ent RRSIG(NSEC), f.*.empty NSEC, f.*.empty RRSIG(NSEC) | ",
    );
}

#[test]
fn empty_non_terminal() {
    case(
        "ent",
        Rtype::A,
        AnswerKind::NoData,
        "NOERROR aa |  | @ SOA, @ RRSIG(SOA), f.*.empty NSEC, f.*.empty RRSIG(NSEC) | ",
    );
    case(
        "b.ent",
        Rtype::NSEC,
        AnswerKind::NoData,
        "NOERROR aa |  | @ SOA, @ RRSIG(SOA), f.*.empty NSEC, f.*.empty RRSIG(NSEC) | ",
    );
    case(
        "b.ent",
        Rtype::ANY,
        AnswerKind::NoData,
        "NOERROR aa |  | @ SOA, @ RRSIG(SOA), f.*.empty NSEC, f.*.empty RRSIG(NSEC) | ",
    );
}

#[test]
fn wildcard() {
    case(
        "x.wild",
        Rtype::A,
        AnswerKind::Positive,
        "NOERROR aa | x.wild A, x.wild RRSIG(A) | exact.wild NSEC, exact.wild RRSIG(NSEC) | ",
    );
    case(
        "a.b.wild",
        Rtype::A,
        AnswerKind::Positive,
        "NOERROR aa | a.b.wild A, a.b.wild RRSIG(A) | *.wild NSEC, *.wild RRSIG(NSEC) | ",
    );
    // The wildcard itself is a name like others.
    case("*.wild", Rtype::A, AnswerKind::Positive, "NOERROR aa | *.wild A, *.wild RRSIG(A) |  | ");
    case(
        "x.*.wild",
        Rtype::A,
        AnswerKind::NxDomain,
        "NXDOMAIN aa |  | @ SOA, @ RRSIG(SOA), *.wild NSEC, *.wild RRSIG(NSEC) | ",
    );
}

#[test]
fn type_missing_at_an_existing_name_below_a_wildcard() {
    case(
        "exact.wild",
        Rtype::A,
        AnswerKind::NoData,
        "NOERROR aa |  | @ SOA, @ RRSIG(SOA), exact.wild NSEC, exact.wild RRSIG(NSEC) | ",
    );
}

#[test]
fn name_below_an_existing_name_with_a_wildcard_higher_up() {
    case(
        "x.exact.wild",
        Rtype::TXT,
        AnswerKind::NxDomain,
        "NXDOMAIN aa |  | @ SOA, @ RRSIG(SOA), exact.wild NSEC, exact.wild RRSIG(NSEC) | ",
    );
}

#[test]
fn type_missing_at_the_wildcard() {
    case(
        "x.wild",
        Rtype::MX,
        AnswerKind::NoData,
        "NOERROR aa |  | @ SOA, @ RRSIG(SOA), *.wild NSEC, *.wild RRSIG(NSEC), exact.wild NSEC, exact.wild RRSIG(NSEC) | ",
    );
    case(
        "b.wild",
        Rtype::MX,
        AnswerKind::NoData,
        "NOERROR aa |  | @ SOA, @ RRSIG(SOA), *.wild NSEC, *.wild RRSIG(NSEC) | ",
    );
}

#[test]
fn kind_13_every_type_of_a_wildcard_is_expanded_nsec_too() {
    for (asked, want) in [
        (
            "x.wild",
            "NOERROR aa | x.wild NSEC, x.wild RRSIG(NSEC) | exact.wild NSEC, exact.wild RRSIG(NSEC) | ",
        ),
        ("a.b.wild", "NOERROR aa | a.b.wild NSEC, a.b.wild RRSIG(NSEC) | *.wild NSEC, *.wild RRSIG(NSEC) | "),
        (
            "X.WILD",
            "NOERROR aa | X.WILD NSEC, X.WILD RRSIG(NSEC) | exact.WILD NSEC, exact.WILD RRSIG(NSEC) | ",
        ),
        // A wildcard of a CNAME has an NSEC of its own, which is what is asked for.
        ("q.cw", "NOERROR aa | q.cw NSEC, q.cw RRSIG(NSEC) | *.cw NSEC, *.cw RRSIG(NSEC) | "),
    ] {
        case(asked, Rtype::NSEC, AnswerKind::Positive, want);
    }
    // An empty wildcard has no NSEC, and neither has what it stands for.
    let want = "NOERROR aa |  | @ SOA, @ RRSIG(SOA), *.cw NSEC, *.cw RRSIG(NSEC), f.*.empty NSEC, f.*.empty RRSIG(NSEC) | ";
    case("x.empty", Rtype::NSEC, AnswerKind::NoData, want);
}

#[test]
fn empty_wildcard() {
    case(
        "x.empty",
        Rtype::A,
        AnswerKind::NoData,
        "NOERROR aa |  | @ SOA, @ RRSIG(SOA), *.cw NSEC, *.cw RRSIG(NSEC), f.*.empty NSEC, f.*.empty RRSIG(NSEC) | ",
    );
}

#[test]
fn any_gets_one_rrset() {
    case("www", Rtype::ANY, AnswerKind::Positive, "NOERROR aa | www A, www A, www RRSIG(A) |  | ");
    case(
        "x.wild",
        Rtype::ANY,
        AnswerKind::Positive,
        "NOERROR aa | x.wild A, x.wild RRSIG(A) | exact.wild NSEC, exact.wild RRSIG(NSEC) | ",
    );
}

#[test]
fn dnssec_records_asked_by_type() {
    for ask in [Ask::new("www", Rtype::RRSIG), Ask::plain("www", Rtype::RRSIG)] {
        let (_, message, _) = reply(example(), &ask.octets(), &STREAM);
        assert_eq!(message.summary("example."), "NOERROR aa | www RRSIG(A) |  | ");
    }
    case("www", Rtype::NSEC, AnswerKind::Positive, "NOERROR aa | www NSEC, www RRSIG(NSEC) |  | ");
    case(
        "nothing",
        Rtype::NSEC,
        AnswerKind::NxDomain,
        "NXDOMAIN aa |  | @ SOA, @ RRSIG(SOA), www.new NSEC, www.new RRSIG(NSEC), @ NSEC, @ RRSIG(NSEC) | ",
    );
}

#[test]
fn apex_keys_come_from_the_bundle() {
    case("@", Rtype::DNSKEY, AnswerKind::Positive, "NOERROR aa | @ DNSKEY, @ DNSKEY, @ RRSIG(DNSKEY) |  | ");
    case("@", Rtype::CDS, AnswerKind::Positive, "NOERROR aa | @ CDS, @ RRSIG(CDS) |  | ");
    case("@", Rtype::CDNSKEY, AnswerKind::Positive, "NOERROR aa | @ CDNSKEY, @ RRSIG(CDNSKEY) |  | ");
    case(
        "www",
        Rtype::DNSKEY,
        AnswerKind::NoData,
        "NOERROR aa |  | @ SOA, @ RRSIG(SOA), www NSEC, www RRSIG(NSEC) | ",
    );
}

#[test]
fn negative_ttl_is_the_lesser_of_soa_ttl_and_minimum() {
    let (_, message, _) = reply(example(), &Ask::new("nothing", Rtype::A).octets(), &STREAM);
    assert!(message.sections[1].iter().all(|rr| rr.ttl == 600), "{message:?}");
    let (_, message, _) = reply(example(), &Ask::new("@", Rtype::SOA).octets(), &STREAM);
    assert!(message.sections[0].iter().all(|rr| rr.ttl == 3600));
}

#[test]
fn letter_case_of_the_question_and_of_data_is_kept() {
    let ask = Ask::new("mIxEd", Rtype::MX);
    let mut out = Vec::new();
    answer(example(), &ask.octets(), &STREAM, &mut out);
    assert_eq!(out[12..12 + ask.name.len()], ask.name);
    let message = Message::read(&out);
    assert_eq!(message.sections[0][0].owner.to_string(), "mIxEd.example.");
    let exchange = Name::from_wire(&message.sections[0][0].rdata[2..]).expect("a name");
    assert_eq!(exchange.to_string(), "MAIL.example.");
    // Not even where the client spells the zone its own way.
    let upper = Ask { name: ask.name.to_ascii_uppercase(), ..ask.clone() };
    let (_, message, _) = reply(example(), &upper.octets(), &STREAM);
    assert_eq!(
        Name::from_wire(&message.sections[0][0].rdata[2..]).expect("a name").to_string(),
        "MAIL.example."
    );
    validate(&message, &upper, NOW).expect("valid");
}

#[test]
fn names_are_compressed() {
    let (_, _, len) = reply(example(), &Ask::plain("alias2", Rtype::A).octets(), &UDP);
    // Header and question; then every owner is a pointer to the target before it.
    assert_eq!(len, 12 + (16 + 4) + (2 + 10 + 8) + (2 + 10 + 6) + (2 + 10 + 4) + (2 + 10 + 4));
}

#[test]
fn too_large_for_udp() {
    for (size, limit) in
        [(None, 512), (Some(512), 512), (Some(100), 512), (Some(900), 900), (Some(4096), 1232)]
    {
        for do_bit in [0, DO] {
            for (name, rtype) in
                [("long", Rtype::TXT), ("www", Rtype::A), ("nothing", Rtype::A), ("hosts", Rtype::MX)]
            {
                let ask = Ask { edns: size.map(|s| (s, do_bit)), ..Ask::new(name, rtype) };
                let (kind, message, len) = reply(example(), &ask.octets(), &UDP);
                let (full_kind, full, full_len) = reply(example(), &ask.octets(), &STREAM);
                assert!(len <= limit, "{name} {rtype}: {len} > {limit}");
                assert_eq!((kind, message.rcode, message.aa()), (full_kind, full.rcode, full.aa()));
                assert_eq!(message.opt.is_some(), size.is_some(), "OPT is kept");
                if message.tc() {
                    assert!(full_len > limit, "{name} {rtype}");
                    assert!(message.sections.iter().all(Vec::is_empty));
                } else {
                    assert_eq!(message.sections[0], full.sections[0], "{name} {rtype}");
                    assert_eq!(message.sections[1], full.sections[1]);
                    if len < full_len {
                        // Optional addresses went first, whole RRsets at a time.
                        assert!(name == "hosts" && full.sections[2].starts_with(&message.sections[2]));
                    }
                }
            }
        }
    }
    let (_, message, _) = reply(example(), &Ask::plain("long", Rtype::TXT).octets(), &UDP);
    assert!(message.tc());
    let (_, message, _) = reply(example(), &Ask::plain("long", Rtype::TXT).octets(), &STREAM);
    assert!(!message.tc() && message.sections[0].len() == 20);
}

/// RFC 9471: glue that does not fit is not left out in silence.
#[test]
fn glue_that_does_not_fit_sets_tc() {
    let ask = Ask { edns: Some((1232, 0)), ..Ask::new("x.large", Rtype::A) };
    let (_, full, full_len) = reply(example(), &ask.octets(), &STREAM);
    assert_eq!((full.sections[1].len(), full.sections[2].len(), full.tc()), (30, 30, false));
    let ask = Ask { edns: Some((full_len as u16 - 1, 0)), ..ask };
    let (kind, message, _) = reply(example(), &ask.octets(), &UDP);
    assert_eq!((kind, message.tc(), message.aa()), (AnswerKind::Referral, true, false));
    assert_eq!((message.sections[1].len(), message.sections[2].len()), (30, 29));
    // Sibling and authoritative addresses may be left out.
    let bare = Ask { edns: Some((512, 0)), ..Ask::new("x.bare", Rtype::A) };
    let (_, full, full_len) = reply(example(), &bare.octets(), &STREAM);
    assert!(full_len < 512 && full.sections[2].len() == 5);
}

#[test]
fn expired_signatures_are_never_sent() {
    let zone = example();
    let keys_expire = zone.earliest_ksk_expiration();
    let first = zone.earliest_zsk_expiration();
    let last = NOW.plus(u64::from(TIMES.validity));
    let context = |now| Context { now, ..STREAM };
    let asks = [
        ("www", Rtype::A),
        ("nothing", Rtype::A),
        ("alias2", Rtype::A),
        ("safe", Rtype::DS),
        ("x.wild", Rtype::A),
        ("www.bare", Rtype::A),
    ];
    for (name, rtype) in asks {
        let ask = Ask::new(name, rtype);
        let valid = |now| {
            let (kind, message, _) = reply(zone, &ask.octets(), &context(now));
            if message.rcode == 2 {
                assert_eq!(kind, AnswerKind::Error);
                assert!(message.sections.iter().all(Vec::is_empty) && !message.aa());
                assert_eq!(message.opt, Some((1232, DO, vec![0, 15, 0, 2, 0, 7])), "EDE 7");
                return false;
            }
            validate(&message, &ask, now).expect("valid");
            true
        };
        assert!(valid(first), "the last second is valid");
        assert!(!valid(last.plus(1)));
        // The second it goes: valid until then, SERVFAIL ever after.
        let (mut low, mut high) = (first.secs(), last.plus(1).secs());
        while high - low > 1 {
            let mid = low.midpoint(high);
            if valid(Timestamp::from_secs(mid)) { low = mid } else { high = mid }
        }
        let (_, message, _) = reply(zone, &ask.octets(), &context(Timestamp::from_secs(low)));
        let expirations = message
            .sections
            .iter()
            .flatten()
            .filter(|rr| rr.rtype == Rtype::RRSIG)
            .map(|rr| keystore::dns::Rrsig::from_rdata(&rr.rdata).expect("an RRSIG").expires(NOW).secs());
        let required = message.sections[..2].iter().flatten().filter(|rr| rr.rtype == Rtype::RRSIG).count();
        assert_eq!(expirations.take(required).min(), Some(low), "{name}");
        // Without DO nothing that could expire is sent.
        let plain = Ask::plain(name, rtype);
        assert_ne!(reply(zone, &plain.octets(), &context(last.plus(DAY))).1.rcode, 2);
    }
    let dnskey = Ask::new("@", Rtype::DNSKEY);
    assert_eq!(reply(zone, &dnskey.octets(), &context(keys_expire)).1.rcode, 0);
    assert_eq!(reply(zone, &dnskey.octets(), &context(keys_expire.plus(1))).1.rcode, 2);
    // RRSIG asked by type is data, and no less expired.
    let rrsig = Ask::plain("www", Rtype::RRSIG);
    let (_, message, _) = reply(zone, &rrsig.octets(), &context(last.plus(1)));
    assert_eq!((message.rcode, message.opt), (2, None));
}

#[test]
fn what_has_not_expired_is_served_when_the_bundles_signatures_have() {
    let (ksk, zsk) = keys();
    let origin = name("example");
    let bundle = bundle(&origin, ksk, &[zsk], NOW.minus(2 * DAY), DAY);
    let unsigned = std::sync::Arc::clone(example().zone());
    let zone = crate::signing::sign(&unsigned, &bundle, std::slice::from_ref(zsk), &POLICY, 7, None, NOW)
        .expect("signs");
    assert_eq!(reply(&zone, &Ask::new("www", Rtype::A).octets(), &STREAM).1.rcode, 0);
    assert_eq!(reply(&zone, &Ask::new("@", Rtype::DNSKEY).octets(), &STREAM).1.rcode, 2);
    assert_eq!(reply(&zone, &Ask::plain("@", Rtype::DNSKEY).octets(), &STREAM).1.rcode, 0);
}
