//! What the engine answers arrives at the client, through each of the handlers.

use super::*;

/// The signed test zone as a responder.
pub(super) struct Engine(crate::signing::SignedZone);

impl Responder for Engine {
    fn origin(&self) -> &Name {
        self.0.zone().origin()
    }

    fn respond(&self, query: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> AnswerOutcome {
        let context = crate::answer::Context { arrival: *arrival, now: crate::testing::NOW };
        crate::answer::answer(&self.0, query, &context, out)
    }
}

const ZONE: &str = "@ SOA ns1 hostmaster 1 7200 900 1209600 300
@ NS ns1
@ NS ns.elsewhere.test.
@ MX 10 mail
ns1 A 192.0.2.1
mail A 192.0.2.2
mail AAAA 2001:db8::2
*.wild TXT \"any\"
a.b.ent A 192.0.2.3
alias CNAME mail
lost CNAME nowhere
dn DNAME ent
big TXT \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
secure NS ns.secure
secure DS 12345 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF
ns.secure A 192.0.2.4
plain NS ns.plain
plain NS ns2.plain
ns.plain AAAA 2001:db8::5
ns2.plain A 192.0.2.6
";

/// A zone in which some answers are larger than any UDP answer.
pub(super) fn engine() -> Engine {
    let mut text = ZONE.to_owned();
    for n in 0..60 {
        text.push_str(&format!(
            "many A 198.51.100.{n}\ncut NS ns{n}.cut\nns{n}.cut AAAA 2001:db8::{n}\npool MX {n} h{n}.pool\n"
        ));
    }
    for n in 0..8 {
        text.push_str(&format!(
            "dozen NS ns{n}.dozen\nns{n}.dozen A 192.0.2.{n}\nns{n}.dozen AAAA 2001:db8::{n}\n"
        ));
    }
    Engine(crate::testing::signed(crate::testing::zone("Example.", &text).unwrap()))
}

const NAMES: [&str; 25] = [
    "example",
    "ns1",
    "mail",
    "x.wild",
    "x.y.wild",
    "wild",
    "ent",
    "b.ent",
    "a.b.ent",
    "alias",
    "lost",
    "x.dn",
    "b.dn",
    "big",
    "secure",
    "x.secure",
    "plain",
    "x.plain",
    "nowhere",
    "x.y.nowhere",
    "many",
    "cut",
    "x.cut",
    "pool",
    "dozen",
];

fn full_name(name: &str) -> String {
    if name == "example" { name.to_owned() } else { format!("{name}.eXample") }
}

#[tokio::test]
async fn what_the_engine_says_is_what_arrives() {
    let zone: Arc<dyn Responder> = Arc::new(engine());
    let (mut server, address) =
        start_in_hickory(Hosted::new([Arc::clone(&zone)], SharedSettings::default())).await;
    let (mut whole, mut cut) = (0, 0);
    for name in NAMES {
        let qname = full_name(name);
        for qtype in [1, 2, 5, 6, 15, 16, 28, 43, 46, 47, 48, 59, 255, 252] {
            for edns in [None, Some((512, true)), Some((700, true)), Some((1232, true)), Some((4096, false))]
            {
                let what = format!("{qname} {qtype} {edns:?}");
                let query = question(&qname, qtype, edns);
                let mut octets = Vec::new();
                zone.respond(&query, &Arrival::new(Transport::Stream, MAX_UDP), &mut octets);
                let expected = MessageParts::read(&octets).unwrap();
                let over_tcp = ask_tcp(address, &query).await;
                assert_eq!(MessageParts::read(&over_tcp).unwrap(), expected, "{what}");
                Message::from_vec(&over_tcp).unwrap();

                let over_udp = ask_udp(address, &query).await.unwrap();
                let reply = MessageParts::read(&over_udp).unwrap();
                assert!(over_udp.len() <= edns.map_or(512, |e| usize::from(e.0.min(MAX_UDP))), "{what}");
                assert_eq!(reply.opt, expected.opt, "{what}");
                assert_eq!(reply.flags & !0x0200, expected.flags, "{what}");
                if reply.flags & 0x0200 == 0 {
                    // Only additional records may be left out.
                    assert_eq!(
                        (&reply.answers, &reply.authorities),
                        (&expected.answers, &expected.authorities),
                        "{what}"
                    );
                    whole += 1;
                } else {
                    cut += 1;
                }
                for section in [
                    (&reply.answers, &expected.answers),
                    (&reply.authorities, &expected.authorities),
                    (&reply.additionals, &expected.additionals),
                ] {
                    assert!(whole_rrsets(section.0, section.1), "{what}: part of an RRset");
                }
            }
        }
    }
    assert!(whole > 1000 && cut > 50, "{whole} whole, {cut} cut");
    server.shutdown_gracefully().await.unwrap();
}

#[tokio::test]
async fn as_a_zone_handler_it_says_the_same_but_for_what_is_documented() {
    let zone: Arc<dyn Responder> = Arc::new(engine());
    let mut catalog = Catalog::new();
    let apex = convert::name(zone.origin());
    let handler =
        SignerZoneHandler::new(Hosted::new([Arc::clone(&zone)], SharedSettings::default()), zone.origin());
    catalog.upsert(apex.into(), vec![Arc::new(handler)]);
    let (server, address) = start(Hosted::default(), catalog, TcpLimits::new(100));
    let sorted = |rrs: &[Rr]| {
        let mut rrs: Vec<_> =
            rrs.iter().map(|r| (r.owner.canonical_wire(), r.rtype, r.ttl, r.rdata.clone())).collect();
        rrs.sort();
        rrs
    };
    for name in NAMES {
        for qtype in [1, 2, 6, 15, 16, 43, 48] {
            for dnssec_ok in [true, false] {
                let what = format!("{name} {qtype} DO={dnssec_ok}");
                let query = question(&full_name(name), qtype, Some((1232, dnssec_ok)));
                let mut octets = Vec::new();
                zone.respond(&query, &Arrival::new(Transport::Stream, MAX_UDP), &mut octets);
                let expected = MessageParts::read(&octets).unwrap();
                let reply = MessageParts::read(&ask_tcp(address, &query).await).unwrap();
                let chased = expected.rcode() == 3 && !expected.answers.is_empty();
                assert_eq!(reply.rcode(), if chased { 0 } else { expected.rcode() }, "{what}");
                assert_eq!(reply.flags & 0x0400, 0x0400, "{what}: AA is always set");
                assert_eq!(sorted(&reply.answers), sorted(&expected.answers), "{what}");
                let soa_answer = qtype == 6 && !expected.answers.is_empty();
                let authorities = if soa_answer { vec![] } else { sorted(&expected.authorities) };
                assert_eq!(sorted(&reply.authorities), authorities, "{what}");
                assert_eq!(sorted(&reply.additionals), sorted(&expected.additionals), "{what}");
            }
        }
    }
    server.shutdown().await;
}

/// True when each RRset of `part` is there as it is in `all`.
fn whole_rrsets(part: &[Rr], all: &[Rr]) -> bool {
    part.iter().all(|rr| {
        let same = |other: &&Rr| other.owner == rr.owner && other.rtype == rr.rtype;
        part.iter().filter(same).count() == all.iter().filter(same).count()
    })
}
