//! The answers of a signed zone, and the zone file that it is made of.

use std::sync::{Arc, OnceLock};

use domain::base::Message as DomainMessage;
use hickory_proto::op::Message as HickoryMessage;
use hickory_proto::serialize::binary::BinDecodable;
use keystore::crypto::{Algorithm, PrivateKey};
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::time::Timestamp;
use signer_plugin::answer::{AnswerKind, AnswerOutcome, Arrival, Context, StreamFacts, Transport, answer};
use signer_plugin::fuzzing;
use signer_plugin::protocol::QuerySettings;
use signer_plugin::reply::MessageParts;
use signer_plugin::signing::{self, Denial, Nsec3, SignedZone, SigningPolicy, SigningTimes, ZoneKey};

/// The time at which everything is asked.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// Remaining validity at which signatures are renewed, in seconds.
pub(crate) const REFRESH: u32 = 5 * 86_400;

/// Every kind of answer: hosts, wildcards, empty non-terminals, delegations with and without DS, CNAME and DNAME chains and loops.
pub(crate) const ZONE: &str = "\
@ 3600 SOA ns1 admin 7 1h 5m 1w 10m
@ NS ns1
@ NS ns.other.
@ MX 10 mail
@ A 192.0.2.10
ns1 A 192.0.2.1
ns1 AAAA 2001:db8::1
mail A 192.0.2.25
_sip SRV 1 1 5060 mail
naptr NAPTR 1 1 \"s\" \"x\" \"\" _sip
svc HTTPS 1 mail alpn=h2
www A 192.0.2.80
www TXT t
a.b.ent A 192.0.2.2
*.wild A 192.0.2.3
*.wild TXT wild
f.*.empty A 192.0.2.4
alias CNAME www
alias2 CNAME alias
lost CNAME nowhere
towild CNAME q.wild
out CNAME www.other.
loop1 CNAME loop2
loop2 CNAME loop1
*.cw CNAME www
*.cl CNAME nowhere
old DNAME new
www.new A 192.0.2.5
up DNAME elsewhere.
rec DNAME a.rec2
rec2 DNAME rec
grow DNAME aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.other.
safe NS ns.safe
safe DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF
ns.safe A 192.0.2.53
bare NS ns.bare
bare NS ns1
ns.bare A 192.0.2.54
cut.mid NS ns.other.
Mixed MX 10 MAIL
";

/// The zone that is asked, signed with that denial.
pub(crate) fn signed(denial: Denial) -> SignedZone {
    let origin = Name::parse("example.").expect("a name");
    let zone = signer_plugin::fuzzing::read_zone(ZONE.as_bytes(), &origin, usize::MAX).expect("a zone");
    let zsk = TestKey::zsk(2);
    // The key of `TestKey::zsk(2)`.
    let signer = PrivateKey::Raw(vec![2; 32]).signer(Algorithm::ED25519).expect("32 octets are a seed");
    let builder = SkrBuilder::new("example.", NOW.minus(3600)).ksk(TestKey::ksk(1)).zsk(zsk.dnskey.clone());
    let bundle = builder.build().bundles.remove(0);
    let times = SigningTimes { validity: 14 * 86_400, refresh: REFRESH, jitter: 0 };
    let policy = SigningPolicy { times, denial, zonemd: false };
    let key = ZoneKey { dnskey: zsk.dnskey.clone(), signer: signer.into() };
    signing::sign(&Arc::new(zone), &bundle, &[key], &policy, 7, None, NOW).expect("signs")
}

/// A query in wire form; its first octet chooses the denial, the transport, the largest datagram, and whether the answer has all options
/// that the query asks for.
pub fn query(data: &[u8]) -> bool {
    static ZONES: OnceLock<[SignedZone; 3]> = OnceLock::new();
    let zones = ZONES.get_or_init(|| {
        [Denial::Nsec, Denial::Nsec3(Nsec3::new(0, false)), Denial::Nsec3(Nsec3::new(1, true))].map(signed)
    });
    let Some((choice, query)) = data.split_first() else { return false };
    let transport = if choice & 4 == 0 { Transport::Udp } else { Transport::Stream };
    let max_udp = if choice & 8 == 0 { 1232 } else { 512 };
    let mut arrival = Arrival::new(transport, max_udp);
    if choice & 16 != 0 {
        arrival.settings = full_settings();
        let facts = StreamFacts { idle: Some(100), is_encrypted: choice & 32 != 0 };
        arrival.stream = (transport == Transport::Stream).then_some(facts);
    }
    let mut out = Vec::new();
    if fuzzing::answer_without_zone(query, &arrival, &mut out) {
        check_answer(query, &arrival, &out);
    }
    answers(&zones[usize::from(choice & 3) % 3], query, &arrival)
}

fn full_settings() -> &'static QuerySettings {
    static SETTINGS: OnceLock<QuerySettings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        fuzzing::full_settings(b"00112233445566778899aabbccddeeff\n", NOW).expect("one secret")
    })
}

/// Holds the answer to a query to what any answer must be; true for an answer that is no error.
pub(crate) fn answers(zone: &SignedZone, query: &[u8], arrival: &Arrival<'_>) -> bool {
    let mut out = Vec::new();
    let context = Context { arrival: *arrival, now: NOW };
    match answer(zone, query, &context, &mut out) {
        AnswerOutcome::Drop => {
            assert!(query.len() < 12 || query[2] & 0x80 != 0);
            false
        }
        AnswerOutcome::NotOurs => false,
        AnswerOutcome::Reply(kind) => {
            check_answer(query, arrival, &out);
            kind != AnswerKind::Error
        }
    }
}

fn check_answer(query: &[u8], arrival: &Arrival<'_>, out: &[u8]) {
    let limit = if arrival.transport == Transport::Udp { arrival.max_udp } else { u16::MAX };
    assert!(out.len() <= usize::from(limit), "{} octets", out.len());
    assert_eq!(out[..2], query[..2], "the ID");
    assert_eq!(out[2] & 0xf8, query[2] & 0x78 | 0x80, "QR and opcode");
    let reply = MessageParts::read(out).expect("our reader reads our answer");
    let message = DomainMessage::from_octets(out).expect("a header");
    for section in [message.answer(), message.authority()] {
        let section = section.expect("domain reads our answer");
        assert!({ section }.all(|record| record.is_ok()), "domain reads our records");
    }
    let hickorys = HickoryMessage::from_bytes(out).expect("hickory reads our answer");
    assert_eq!(hickorys.answers.len(), reply.answers.len());
    assert_eq!(hickorys.authorities.len(), reply.authorities.len());
    let unread = reply.flags & 0xf == 1;
    assert!(!(unread && is_plain(query)), "FORMERR for a query that hickory reads");
}

/// True when hickory reads one question of class IN for data in it, and nothing that asks for another treatment. With other records it is
/// none: hickory takes options that do not fill the OPT record. It also takes a question whose name points into the header.
fn is_plain(query: &[u8]) -> bool {
    let Ok(message) = HickoryMessage::from_bytes(query) else { return false };
    let [question] = message.queries.as_slice() else { return false };
    let rtype = u16::from(question.query_type());
    let is_data = rtype != 0 && rtype != 41 && !(128..=255).contains(&rtype);
    let has_records = query[6..12] != [0; 6];
    let is_whole = keystore::dns::name::wire_len(&query[12..]).is_some();
    let is_query = query[2] & 0x78 == 0 && question.query_class() == hickory_proto::rr::DNSClass::IN;
    is_query && is_data && is_whole && !has_records
}
