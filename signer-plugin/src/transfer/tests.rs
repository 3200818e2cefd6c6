//! Transfers as a client sees them. TSIG is judged by the library `domain`.

mod channel;
mod inbound;
mod sharing;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use domain::base::{Message, MessageBuilder, Name as WireName, Rtype as WireRtype};
use domain::rdata::tsig::Time48;
use domain::tsig::ClientSequence;
use keystore::config::transfer::{AllowTransfer, Network};
use keystore::dns::{Name, Rtype};
use keystore::exchange::Bundle;
use keystore::tsig::{TsigAlgorithm, TsigKey};

use super::request::{Outgoing, Reaction, Way, react};
use super::*;
use crate::answer::{AnswerOutcome, Arrival, Context, Transport, answer};
use crate::border::MAX_UDP;
use crate::reply::{MessageParts, Rr};
use crate::signing;
use crate::testing::{DAY, NOW, POLICY, bundle, keys, name, zone};

const CLIENT: &str = "192.0.2.53:4242";

fn tsig_key(name: &str, algorithm: TsigAlgorithm) -> TsigKey {
    TsigKey { name: Name::parse(name).unwrap(), algorithm, secret: b"0123456789abcdef".to_vec().into() }
}

/// A zone with `hosts` names, signed.
fn version(hosts: usize, serial: u32, previous: Option<&SignedZone>) -> Arc<SignedZone> {
    let mut text = format!("@ SOA ns admin {serial} 1h 5m 1w 10m\n@ NS ns\nns A 192.0.2.1\nWww CNAME ns\n");
    for host in 0..hosts {
        text.push_str(&format!("host{host} A 198.51.100.{}\n", (host + serial as usize / 100) % 250));
    }
    text.push_str(&format!("changes TXT {serial}\n"));
    let (ksk, zsk) = keys();
    // One for all: its signatures would be another difference.
    static BUNDLE: OnceLock<Bundle> = OnceLock::new();
    let bundle = BUNDLE.get_or_init(|| bundle(&name("example"), ksk, &[zsk], NOW, 30 * DAY));
    let zone = Arc::new(zone("example", &text).expect("a zone"));
    let zsks = std::slice::from_ref(zsk);
    Arc::new(signing::sign(&zone, bundle, zsks, &POLICY, serial, previous, NOW).expect("signs"))
}

/// A zone that is transferred to those that sign with the key `xfr`.
struct Site {
    zone: Transferable,
    keys: Vec<TsigKey>,
}

impl Site {
    fn serving(signed: Arc<SignedZone>) -> Self {
        let keys = vec![
            tsig_key("xfr", TsigAlgorithm::HmacSha256),
            tsig_key("xfr512", TsigAlgorithm::HmacSha512),
            tsig_key("xfr384", TsigAlgorithm::HmacSha384),
            tsig_key("of.another.zone", TsigAlgorithm::HmacSha256),
        ];
        let network = Network::parse("192.0.2.0/24");
        let rule =
            |name| AllowTransfer { address: network, key: Some(Name::parse(name).unwrap()), tls: None };
        let allow = ["xfr", "xfr512", "xfr384"].map(rule).to_vec();
        let metrics = metrics::Metrics::new().expect("families");
        let transfers = ZoneTransfers::new(&metrics, "example.".to_owned());
        transfers.set(TransferSettings::new(TransferKeys::new(keys.clone()), allow));
        let zone = Transferable {
            is_private: false,
            version: Some(TransferVersion::Signed(signed)),
            transfers: Arc::new(transfers),
            changes: Arc::default(),
            expire: None,
            clock: Arc::new(|| NOW),
        };
        Self { zone, keys }
    }

    fn signed(&self) -> Option<Arc<SignedZone>> {
        match &self.zone.version {
            Some(TransferVersion::Signed(signed)) => Some(Arc::clone(signed)),
            _ => None,
        }
    }

    fn publish(&mut self, new: Arc<SignedZone>) {
        let before = self.signed();
        self.zone.transfers.record(before.as_deref(), &new);
        self.zone.version = Some(TransferVersion::Signed(new));
    }

    fn key(&self, name: &str) -> &TsigKey {
        self.keys.iter().find(|key| key.name == Name::parse(name).unwrap()).expect(name)
    }

    fn react(&self, query: &[u8], client: &str, transport: Transport) -> (Reaction, Vec<u8>) {
        self.react_over(None, query, client, transport)
    }

    /// The same for a query that came over TLS from this client.
    fn react_over(
        &self,
        peer: Option<&TlsPeer>,
        query: &[u8],
        client: &str,
        transport: Transport,
    ) -> (Reaction, Vec<u8>) {
        let mut out = Vec::new();
        let way = Way { client: client.parse::<SocketAddr>().unwrap(), peer, transport, max_udp: MAX_UDP };
        let signed = self.signed();
        let plain = |query: &[u8], size, out: &mut Vec<u8>| match &signed {
            Some(signed) => {
                answer(signed, query, &Context { arrival: Arrival::new(transport, size), now: NOW }, out)
            }
            None => AnswerOutcome::Drop,
        };
        (react(&self.zone, &name("example"), query, way, &plain, &mut out), out)
    }

    /// All messages that come for a query.
    fn ask(&self, query: &[u8], transport: Transport) -> Vec<Vec<u8>> {
        match self.react(query, CLIENT, transport) {
            (Reaction::Answered(_), out) => vec![out],
            (Reaction::Stream(outgoing), _) => messages(*outgoing),
            (Reaction::Plain | Reaction::Nothing, _) => Vec::new(),
        }
    }
}

fn messages(mut outgoing: Outgoing) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut out = Vec::new();
    while outgoing.next(&mut out).expect("no record is too long") {
        messages.push(std::mem::take(&mut out));
    }
    messages
}

type Sequence = ClientSequence<Arc<domain::tsig::Key>>;

/// A query for `example.`, signed where a key is given.
struct Query {
    rtype: Rtype,
    qname: &'static str,
    /// What the client of an IXFR has.
    serial: Option<u32>,
    edns: Option<u16>,
    expire: bool,
}

impl Query {
    const fn of(rtype: Rtype) -> Self {
        Self { rtype, qname: "example", serial: None, edns: None, expire: false }
    }

    const fn ixfr(serial: u32) -> Self {
        Self { serial: Some(serial), ..Self::of(Rtype::IXFR) }
    }

    fn signed(&self, key: &TsigKey, time: u64) -> (Vec<u8>, Sequence) {
        let (octets, sequence) = self.build(Some(key), time);
        (octets, sequence.expect("a key"))
    }

    fn unsigned(&self) -> Vec<u8> {
        self.build(None, 0).0
    }

    fn build(&self, key: Option<&TsigKey>, time: u64) -> (Vec<u8>, Option<Sequence>) {
        let wire = |text: &str| WireName::from_octets(name(text).as_wire().to_vec()).expect("a name");
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(0x1234);
        let mut question = builder.question();
        question.push((wire(self.qname), WireRtype::from_int(self.rtype.0))).expect("room");
        let mut authority = question.authority();
        if let Some(serial) = self.serial {
            let soa = domain::rdata::Soa::new(
                wire("."),
                wire("."),
                serial.into(),
                domain::base::Ttl::ZERO,
                domain::base::Ttl::ZERO,
                domain::base::Ttl::ZERO,
                domain::base::Ttl::ZERO,
            );
            authority.push((wire("example"), 0, soa)).expect("room");
        }
        let mut additional = authority.additional();
        if let Some(size) = self.edns {
            additional
                .opt(|opt| {
                    opt.set_udp_payload_size(size);
                    if self.expire { opt.push(&domain::base::opt::Expire::new(None)) } else { Ok(()) }
                })
                .expect("room");
        }
        let sequence = key.map(|key| {
            let key = wire_key(key).expect("a key");
            ClientSequence::request(key, &mut additional, Time48::from_u64(time)).expect("room")
        });
        (additional.finish(), sequence)
    }
}

/// The records of all messages, after every message was found to be signed and to answer the query.
fn verified(messages: &[Vec<u8>], mut sequence: Sequence) -> Vec<Rr> {
    let mut records = Vec::new();
    for octets in messages {
        assert!(octets.len() <= 16_383, "{}", octets.len());
        let reply = MessageParts::read(octets).expect("a message");
        assert!(reply.tsig.is_some() && reply.id == 0x1234 && reply.flags == 0x8400, "{:x}", reply.flags);
        assert_eq!(octets[4..6], [0, 1], "each has the question");
        records.extend(reply.answers);
        let mut message = Message::from_octets(octets.clone()).expect("a message");
        sequence.answer(&mut message, Time48::from_u64(NOW.secs())).expect("a good signature");
    }
    sequence.done().expect("the last message is signed");
    records
}

fn of_zone(signed: &SignedZone) -> Vec<Rr> {
    let rr = |record: signing::SignedRecord<'_>| Rr {
        class: keystore::dns::Class::IN,
        owner: Name::from_wire(&record.owner).unwrap(),
        rtype: record.rtype,
        ttl: record.ttl,
        rdata: record.rdata.to_vec(),
    };
    let mut records: Vec<Rr> = signed.records().map(rr).collect();
    records.push(records[0].clone());
    records
}

#[test]
fn axfr_has_every_record_in_small_signed_messages_whatever_the_size_and_the_key() {
    for (hosts, key, least) in [(0, "xfr", 1), (2000, "xfr384", 30), (700, "xfr512", 10)] {
        let signed = version(hosts, 7, None);
        let site = Site::serving(Arc::clone(&signed));
        let (query, sequence) = Query::of(Rtype::AXFR).signed(site.key(key), NOW.secs());
        let messages = site.ask(&query, Transport::Stream);
        assert!(messages.len() >= least, "{hosts}: {}", messages.len());
        let sent: usize = messages.iter().map(Vec::len).sum();
        let records = verified(&messages, sequence);
        let expected = of_zone(&signed);
        assert!(records == expected, "{hosts} hosts, {} of {} records", records.len(), expected.len());
        // Spelled as in the zone.
        assert!(hosts > 0 || records.iter().any(|rr| rr.owner.as_wire() == b"\x03Www\x07example\x00"));
        let uncompressed: usize =
            records.iter().map(|rr| rr.owner.as_wire().len() + 10 + rr.rdata.len()).sum();
        assert!(sent < uncompressed, "names are compressed: {sent} of {uncompressed}");
    }
}

#[test]
fn a_later_version_does_not_disturb_a_transfer_under_way() {
    let signed = version(500, 7, None);
    let mut site = Site::serving(Arc::clone(&signed));
    let (query, sequence) = Query::of(Rtype::AXFR).signed(site.key("xfr"), NOW.secs());
    let (Reaction::Stream(mut outgoing), mut out) = site.react(&query, CLIENT, Transport::Stream) else {
        panic!("a transfer")
    };
    assert!(outgoing.next(&mut out).expect("short records"));
    let mut all = vec![out];
    site.publish(version(500, 900, Some(&signed)));
    all.extend(messages(*outgoing));
    assert!(verified(&all, sequence) == of_zone(&signed));
}

#[test]
fn ixfr_sends_what_changed_or_the_zone_or_one_soa() {
    let first = version(300, 7, None);
    let mut site = Site::serving(Arc::clone(&first));
    let mut newest = Arc::clone(&first);
    for serial in [8, 9, 12] {
        newest = version(300, serial, Some(&newest));
        site.publish(Arc::clone(&newest));
    }
    // What the client has, how many SOA records come, how many records in all at most.
    for (serial, soas, most) in [
        (12, 1, 1),
        (13, 1, 1),
        (12 + 0x7fff_ffff, 1, 1),
        // 2^31 apart: nobody knows which is newer.
        (12 + 0x8000_0000, 2, 2000),
        // One condensed pair: four SOA records, two TXT records, and the signatures of both.
        (7, 4, 10),
        (8, 4, 10),
        (9, 4, 10),
        // Serials that never were.
        (10, 2, 2000),
        (6, 2, 2000),
    ] {
        for key in ["xfr", "xfr512"] {
            let (query, sequence) = Query::ixfr(serial).signed(site.key(key), NOW.secs());
            let records = verified(&site.ask(&query, Transport::Stream), sequence);
            let found = records.iter().filter(|rr| rr.rtype == Rtype::SOA).count();
            assert_eq!(found, soas, "{serial}");
            assert!(records.len() <= most && (soas != 2 || records == of_zone(&newest)), "{serial}");
            if soas == 4 {
                let serials: Vec<u32> = records
                    .iter()
                    .filter(|rr| rr.rtype == Rtype::SOA)
                    .map(|rr| u32::from_be_bytes(*rr.rdata[rr.rdata.len() - 20..].first_chunk().unwrap()))
                    .collect();
                assert_eq!(serials, [12, serial, 12, 12]);
            }
        }
    }
    // Over UDP: the last difference if it fits, else one SOA record, so that the client comes by TCP.
    for (serial, edns, soas) in
        [(9, Some(1232), 4), (9, None, 1), (9, Some(4096), 4), (6, Some(1232), 1), (12, None, 1)]
    {
        let query = Query { edns, ..Query::ixfr(serial) };
        let (query, sequence) = query.signed(site.key("xfr"), NOW.secs());
        let messages = site.ask(&query, Transport::Udp);
        assert!(
            messages.len() == 1
                && messages[0].len() <= edns.map_or(512, |size| usize::from(size.min(MAX_UDP)))
        );
        // BIND has 720 octets for one record that changed in a zone like this one.
        assert!(messages[0].len() <= 720, "{serial}: {}", messages[0].len());
        let records = verified(&messages, sequence);
        assert_eq!(records.iter().filter(|rr| rr.rtype == Rtype::SOA).count(), soas, "{serial} {edns:?}");
    }
    // The same version once more, as after a reload, is no event.
    site.publish(Arc::clone(&newest));
    let (query, sequence) = Query::ixfr(7).signed(site.key("xfr"), NOW.secs());
    let records = verified(&site.ask(&query, Transport::Stream), sequence);
    assert_eq!(records.iter().filter(|rr| rr.rtype == Rtype::SOA).count(), 4);
    assert!(!site.zone.transfers.history().is_ambiguous(12));
    // A serial with two contents: the whole zone, also after the next version.
    for (serial, from, is_repeated) in [(12, 9, true), (13, 12, false), (14, 9, false)] {
        // Without the signatures of before all are made anew.
        newest = version(300, serial, Some(&*newest).filter(|_| !is_repeated));
        site.publish(Arc::clone(&newest));
        let (query, sequence) = Query::ixfr(from).signed(site.key("xfr"), NOW.secs());
        let records = verified(&site.ask(&query, Transport::Stream), sequence);
        assert!(records == of_zone(&newest), "{from}");
        // Nobody with this serial can be told; that is for the health to say.
        assert_eq!(site.zone.transfers.history().is_ambiguous(serial), is_repeated);
    }
}

#[test]
fn a_difference_larger_than_the_zone_is_sent_as_the_zone() {
    let first = version(300, 7, None);
    let mut site = Site::serving(Arc::clone(&first));
    // Other addresses everywhere.
    let second = version(300, 108, None);
    site.publish(Arc::clone(&second));
    let (query, sequence) = Query::ixfr(7).signed(site.key("xfr"), NOW.secs());
    assert!(verified(&site.ask(&query, Transport::Stream), sequence) == of_zone(&second));
}

#[test]
fn a_version_that_is_written_down_and_never_served_leaves_what_leads_to_the_one_that_is() {
    let first = version(3, 7, None);
    let second = version(3, 8, Some(&first));
    let mut site = Site::serving(first);
    site.publish(Arc::clone(&second));
    let unserved = version(3, 9, Some(&second));
    let steps = |found: Vec<Arc<Difference>>| found.iter().map(|d| (d.from(), d.to())).collect::<Vec<_>>();
    let transfers = Arc::clone(&site.zone.transfers);
    assert_eq!(steps(transfers.prepare(Some(&second), &unserved)), [(7, 8), (8, 9)]);
    assert!(transfers.knows_what_changed(7, 8) && !transfers.knows_what_changed(7, 9));
    assert!(transfers.last_difference(7, 8).is_some());
    // What is served is written down once more, and then another version, which is served.
    assert_eq!(steps(transfers.prepare(Some(&second), &second)), [(7, 8)]);
    let third = version(3, 10, Some(&second));
    assert_eq!(steps(transfers.prepare(Some(&second), &third)), [(7, 8), (8, 10)]);
    site.publish(third);
    assert!(transfers.knows_what_changed(7, 10) && !transfers.knows_what_changed(8, 9));
}

#[test]
fn expire_is_answered_where_it_is_asked_for() {
    let signed = version(0, 7, None);
    let site = Site::serving(Arc::clone(&signed));
    for (rtype, expire, edns, expected) in [
        (Rtype::AXFR, true, Some(1232), Some(604_800)),
        (Rtype::IXFR, true, Some(1232), Some(604_800)),
        (Rtype::SOA, true, Some(1232), Some(604_800)),
        (Rtype::NS, true, Some(1232), None),
        (Rtype::AXFR, false, Some(1232), None),
        (Rtype::AXFR, false, None, None),
    ] {
        let query = Query { expire, edns, serial: Some(7), ..Query::of(rtype) };
        let (query, _) = query.signed(site.key("xfr"), NOW.secs());
        let messages = site.ask(&query, Transport::Stream);
        let reply = MessageParts::read(&messages[0]).expect("a message");
        assert_eq!(reply.opt.is_some(), edns.is_some(), "{rtype}");
        let found = reply.opt.and_then(|opt| {
            let (_, value) = opt.options.into_iter().find(|(code, _)| *code == 9)?;
            Some(u32::from_be_bytes(*value.first_chunk()?))
        });
        assert_eq!(found, expected, "{rtype} {expire}");
    }
}

/// RCODE, and the error field and length of MAC of the TSIG record.
fn outcome(messages: &[Vec<u8>]) -> (u16, Option<(u16, u16)>) {
    let [message] = messages else { panic!("one message, not {}", messages.len()) };
    let reply = MessageParts::read(message).expect("a message");
    assert!(reply.answers.is_empty() && message[4..6] == [0, 1], "the question is repeated");
    let tsig = reply.tsig.map(|rr| {
        let at = keystore::dns::name::wire_len(&rr.rdata).unwrap() + 8;
        let word = |at: usize| u16::from_be_bytes([rr.rdata[at], rr.rdata[at + 1]]);
        let mac = word(at);
        (word(at + 2 + usize::from(mac) + 2), mac)
    });
    (reply.flags & 0xf, tsig)
}

#[test]
fn a_request_that_is_not_right_is_refused_with_the_error_of_the_standard() {
    const FORMERR: u16 = 1;
    const REFUSED: u16 = 5;
    const NOTAUTH: u16 = 9;
    let site = Site::serving(version(0, 7, None));
    let now = NOW.secs();
    let good = site.key("xfr").clone();
    let wrong_secret = TsigKey { secret: b"another secret..".to_vec().into(), ..good.clone() };
    let unknown = tsig_key("nobody", TsigAlgorithm::HmacSha256);
    let wrong_algorithm = TsigKey { algorithm: TsigAlgorithm::HmacSha512, ..good.clone() };
    let axfr = Query::of(Rtype::AXFR);
    let tcp = Transport::Stream;
    for (what, query, transport, expected) in [
        ("no key", axfr.unsigned(), tcp, (REFUSED, None)),
        ("unknown key", axfr.signed(&unknown, now).0, tcp, (NOTAUTH, Some((17, 0)))),
        ("another algorithm", axfr.signed(&wrong_algorithm, now).0, tcp, (NOTAUTH, Some((17, 0)))),
        ("wrong secret", axfr.signed(&wrong_secret, now).0, tcp, (NOTAUTH, Some((16, 0)))),
        (
            "wrong secret in a SOA query",
            Query::of(Rtype::SOA).signed(&wrong_secret, now).0,
            Transport::Udp,
            (NOTAUTH, Some((16, 0))),
        ),
        ("an hour early", axfr.signed(&good, now - 3600).0, tcp, (NOTAUTH, Some((18, 32)))),
        ("an hour late", axfr.signed(&good, now + 3600).0, tcp, (NOTAUTH, Some((18, 32)))),
        ("301 seconds late", axfr.signed(&good, now + 301).0, tcp, (NOTAUTH, Some((18, 32)))),
        (
            "key of another zone",
            axfr.signed(site.key("of.another.zone"), now).0,
            tcp,
            (REFUSED, Some((0, 32))),
        ),
        (
            "below the apex",
            Query { qname: "ns.example", ..Query::of(Rtype::AXFR) }.signed(&good, now).0,
            tcp,
            (NOTAUTH, Some((0, 32))),
        ),
        ("AXFR over UDP", axfr.signed(&good, now).0, Transport::Udp, (FORMERR, Some((0, 32)))),
        ("IXFR without SOA", Query::of(Rtype::IXFR).signed(&good, now).0, tcp, (FORMERR, Some((0, 32)))),
    ] {
        assert_eq!(outcome(&site.ask(&query, transport)), expected, "{what}");
    }
    // The other way round: what the rule allows.
    for (client, time, allowed) in [
        ("192.0.2.1:53", now, true),
        ("192.0.2.1:53", now + 300, true),
        ("[::ffff:192.0.2.1]:53", now - 300, true),
        ("192.0.3.1:53", now, false),
    ] {
        let (reaction, out) = site.react(&axfr.signed(&good, time).0, client, tcp);
        assert_eq!(matches!(reaction, Reaction::Stream(_)), allowed, "{client}");
        assert!(allowed || outcome(&[out]) == (REFUSED, Some((0, 32))), "{client}");
    }
}

#[test]
fn the_mac_of_a_badtime_answer_is_right_and_has_our_time() {
    let site = Site::serving(version(0, 7, None));
    let (query, _) = Query::of(Rtype::SOA).signed(site.key("xfr"), NOW.secs() - 4000);
    let messages = site.ask(&query, Transport::Udp);
    assert_eq!(outcome(&messages), (9, Some((18, 32))));
    // By hand, as the library checks no MAC of such an answer: that of the request, the message, the variables.
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"0123456789abcdef");
    let tsig = MessageParts::read(&messages[0]).expect("a message").tsig.expect("TSIG");
    let request = MessageParts::read(&{
        let mut response = query.clone();
        response[2] |= 0x80;
        response
    });
    let request_mac = request.expect("a message").tsig.expect("TSIG").rdata[13 + 8..][..34].to_vec();
    let times = &tsig.rdata[13..21];
    let mut signed = request_mac;
    let record = tsig.owner.as_wire().len() + 10 + tsig.rdata.len();
    let mut message = messages[0][..messages[0].len() - record].to_vec();
    message[11] -= 1;
    signed.extend(message);
    signed.extend(b"\x03xfr\x00\x00\xff\x00\x00\x00\x00\x0bhmac-sha256\x00");
    signed.extend(times);
    signed.extend([0, 18, 0, 6]);
    signed.extend(&NOW.secs().to_be_bytes()[2..]);
    ring::hmac::verify(&key, &signed, &tsig.rdata[23..55]).expect("the MAC of RFC 8945 section 5.2.3");
    assert!(tsig.rdata.ends_with(&NOW.secs().to_be_bytes()[2..]));
    assert_eq!(times[..6], (NOW.secs() - 4000).to_be_bytes()[2..], "the time of the request");
}

#[test]
fn macs_that_were_cut_or_changed_are_refused() {
    let site = Site::serving(version(0, 7, None));
    let (query, _) = Query::of(Rtype::AXFR).signed(site.key("xfr"), NOW.secs());
    // The MAC stands in front of original ID, error and other length.
    let (mac_end, mac_at) = (query.len() - 6, query.len() - 6 - 32);
    let cut = |len: usize| {
        let mut cut = query[..mac_at + len].to_vec();
        cut.extend_from_slice(&query[mac_end..]);
        let rdata_len = 13 + 8 + 2 + len + 6;
        let at = mac_at - 2 - 8 - 13 - 2;
        cut[at..at + 2].copy_from_slice(&(rdata_len as u16).to_be_bytes());
        cut[mac_at - 2..mac_at].copy_from_slice(&(len as u16).to_be_bytes());
        cut
    };
    assert_eq!(cut(32), query);
    for (len, expected) in [
        (0, (1, None)),
        (9, (1, None)),
        (15, (1, None)),
        (16, (9, Some((22, 32)))),
        (31, (9, Some((22, 32)))),
    ] {
        assert_eq!(outcome(&site.ask(&cut(len), Transport::Stream)), expected, "{len}");
        if len >= 16 {
            let mut changed = cut(len);
            changed[mac_at] ^= 1;
            assert_eq!(outcome(&site.ask(&changed, Transport::Stream)), (9, Some((16, 0))), "{len}");
        }
    }
    // Every octet counts but those of the ID, which is repeated in the record. None of it makes a transfer or a panic.
    for at in 2..query.len() {
        let mut changed = query.clone();
        changed[at] ^= 1;
        let (reaction, _) = site.react(&changed, CLIENT, Transport::Stream);
        assert!(!matches!(reaction, Reaction::Stream(_)), "octet {at}");
        let (reaction, _) = site.react(&query[..at], CLIENT, Transport::Stream);
        assert!(!matches!(reaction, Reaction::Stream(_)), "{at} octets");
    }
}

#[test]
fn a_signed_query_gets_a_signed_answer_within_its_size() {
    let signed = version(0, 7, None);
    let site = Site::serving(Arc::clone(&signed));
    for (rtype, transport, edns) in [
        (Rtype::SOA, Transport::Udp, None),
        (Rtype::SOA, Transport::Stream, Some(1232)),
        (Rtype::DNSKEY, Transport::Udp, Some(1232)),
        (Rtype::DNSKEY, Transport::Udp, None),
        (Rtype::TXT, Transport::Udp, Some(512)),
    ] {
        let (query, sequence) = Query { edns, ..Query::of(rtype) }.signed(site.key("xfr512"), NOW.secs());
        let messages = site.ask(&query, transport);
        let limit = edns.map_or(512, usize::from);
        assert!(
            messages[0].len() <= limit || transport == Transport::Stream,
            "{rtype}: {}",
            messages[0].len()
        );
        verified(&messages, sequence);
    }
    let unsigned = Query::of(Rtype::SOA).unsigned();
    assert!(matches!(site.react(&unsigned, CLIENT, Transport::Udp), (Reaction::Plain, _)));
}
