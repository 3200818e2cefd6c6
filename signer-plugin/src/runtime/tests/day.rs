//! A day of updates, signing, bundle switches, a ZSK roll, an algorithm roll, all kinds of denial and restarts. What a cache may have of
//! the answers is judged with every key set that a cache may have, by the validator of the `domain` crate, which shares no code with ours.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;

use domain::base::{Message, MessageBuilder, Name as WireName, Rtype as WireRtype};
use domain::dnssec::validator::anchor::TrustAnchors;
use domain::dnssec::validator::context::{ValidationContext, ValidationState};
use domain::net::client::request::{ComposeRequest as _, Error, GetResponse, RequestMessage, SendRequest};
use keystore::crypto::Algorithm;
use keystore::policy::Nsec3Param;

use super::*;

/// TTL of the DNSKEY RRset in seconds; the zone's own are 300.
const KEY_TTL: u32 = 600;
const TTL: u64 = 300;
/// Seconds from update to update.
const STEP: u64 = 300;

/// Wire form of an answer, without the ID.
type Octets = Arc<Vec<u8>>;

/// What was served, by question: from when on which answer.
#[derive(Default)]
struct History(HashMap<(String, Rtype), BTreeMap<Timestamp, Octets>>);

impl History {
    fn note(&mut self, question: &(String, Rtype), now: Timestamp, answer: Octets) {
        let served = self.0.entry(question.clone()).or_default();
        if served.last_key_value().is_none_or(|(_, last)| *last != answer) {
            served.insert(now, answer);
        }
    }

    /// Each answer that a cache may have at `now` that keeps it for `ttl` seconds.
    fn cached(&self, question: &(String, Rtype), ttl: u64, now: Timestamp) -> Vec<Octets> {
        let served = &self.0[question];
        let oldest = now.minus(ttl);
        let at_oldest = served.range(..=oldest).next_back();
        at_oldest
            .into_iter()
            .chain(served.range(oldest.plus(1)..=now))
            .map(|(_, answer)| Arc::clone(answer))
            .collect()
    }
}

/// A resolver's way to the zone: its DNSKEY RRset comes from a cache, and everything else is asked for now.
#[derive(Clone)]
struct Upstream {
    keys: Octets,
    /// Answers to the questions of the validator, by name and type in presentation form.
    served: Arc<SignerZone>,
}

#[derive(Debug)]
struct Replied(Octets);

impl GetResponse for Replied {
    fn get_response(
        &mut self,
    ) -> Pin<Box<dyn Future<Output = Result<Message<bytes::Bytes>, Error>> + Send + Sync + '_>> {
        let message = Message::from_octets(self.0.to_vec().into()).map_err(|_| Error::ShortMessage);
        Box::pin(std::future::ready(message))
    }
}

impl SendRequest<RequestMessage<Vec<u8>>> for Upstream {
    fn send_request(&self, request: RequestMessage<Vec<u8>>) -> Box<dyn GetResponse + Send + Sync> {
        let message = request.to_message().unwrap();
        let question = message.first_question().unwrap();
        if question.qtype() == WireRtype::DNSKEY {
            return Box::new(Replied(Arc::clone(&self.keys)));
        }
        let name = question.qname().to_string();
        Box::new(Replied(answer_of(&self.served, &name, Rtype(question.qtype().to_int()))))
    }
}

/// The answer that is served now, with DNSSEC.
fn answer_of(served: &SignerZone, qname: &str, qtype: Rtype) -> Octets {
    let mut question = MessageBuilder::new_vec().question();
    let qname: WireName<Vec<u8>> = qname.parse().unwrap();
    question.push((qname, WireRtype::from_int(qtype.0))).unwrap();
    let mut additional = question.additional();
    additional
        .opt(|opt| {
            opt.set_dnssec_ok(true);
            Ok(())
        })
        .unwrap();
    let mut out = Vec::new();
    let outcome = served.respond(&additional.finish(), &Arrival::new(Transport::Stream, 1232), &mut out);
    assert!(matches!(outcome, AnswerOutcome::Reply(_)), "{outcome:?}");
    Arc::new(out)
}

struct Day {
    site: Site,
    start: Timestamp,
    anchors: String,
    skr: SkrBuilder,
    history: History,
    judged: usize,
}

impl Day {
    /// ZSK 3 follows ZSK 2 in the fourth hour, in which it is also published, and ZSK 2 goes in the ninth; from the thirteenth to the twentieth hour keys of P-256 stand
    /// beside those of Ed25519, which then are gone.
    fn new() -> Self {
        let site = Site::new();
        let start = keystore::clock::now().minus(DAY);
        let hour = |hours: u64| start.plus(hours * HOUR);
        let timing = |publish, activate, inactive| Timing {
            publish: Some(publish),
            activate: Some(activate),
            inactive,
            ..Timing::default()
        };
        let before = start.minus(DAY);
        site.add_zsk(2, timing(before, before, Some(hour(4))));
        site.add_zsk(3, timing(hour(4), hour(4), Some(hour(20))));
        let (ksk, zsk) = (
            TestKey::generate(257, Algorithm::ECDSAP256SHA256, 0),
            PrivateKey::generate(Algorithm::ECDSAP256SHA256, 0),
        );
        let zsk = zsk.unwrap();
        let signer: Arc<dyn keystore::crypto::SigningKey> =
            zsk.signer(Algorithm::ECDSAP256SHA256).unwrap().into();
        let dnskey = TestKey::new(256, signer).dnskey;
        let key = KeyFile {
            zone: Name::parse(ZONE).unwrap(),
            ttl: KEY_TTL,
            dnskey: dnskey.clone(),
            timing: timing(hour(13), hour(13), None),
            state: None,
            dir: site.path("keys"),
        };
        key.write(&zsk).unwrap();
        let always = (Timestamp::EPOCH, hour(20));
        let later = (hour(13), Timestamp::MAX);
        let skr = SkrBuilder::new(ZONE, start)
            .bundles(48)
            .step(HOUR)
            .ttl(KEY_TTL)
            .ksk_during(TestKey::ksk(1), always, always)
            .ksk_during(ksk, later, later)
            .zsk_during(TestKey::zsk(2).dnskey, Timestamp::EPOCH, hour(9))
            .zsk_during(TestKey::zsk(3).dnskey, hour(4), hour(20))
            .zsk_during(dnskey, hour(13), Timestamp::MAX);
        site.accept(1, &skr);
        let anchors = skr.anchors().into_iter().map(|anchor| {
            let TrustAnchor::Dnskey(key) = anchor else { panic!("keys are pinned") };
            format!(
                "{ZONE} IN DNSKEY {}\n",
                keystore::dns::rdata::to_text(Rtype::DNSKEY, &key.to_rdata(), None)
            )
        });
        Self { start, anchors: anchors.collect(), skr, history: History::default(), judged: 0, site }
    }

    /// Signatures come due some hours after they were made, and are valid at the end of the day whenever they were made.
    fn setup(&self, nsec3: Option<Nsec3Param>) -> ZoneSetup {
        let times =
            SigningTimes { validity: 30 * HOUR as u32, refresh: 26 * HOUR as u32, jitter: HOUR as u32 };
        let delays = RollDelays { publish: 120, propagation: 60 };
        ZoneSetup { times, delays, nsec3, anchors: self.skr.anchors(), ..self.site.setup() }
    }

    /// The zone after so many updates: names, delegations and wildcards come and go.
    fn edit(&self, number: u64) {
        let mut text = String::from(FILE);
        let _ = writeln!(text, "n{} A 192.0.2.{}", number % 7, number % 250);
        for (every, records) in [
            (2, "deep.ent TXT t\n"),
            (3, "*.wild A 192.0.2.9\n"),
            (4, "sub NS ns.sub\nns.sub A 192.0.2.10\n"),
            (
                5,
                "safe NS ns.other.\nsafe DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF\n",
            ),
            (6, "redirected DNAME other.\n"),
        ] {
            if (number / every).is_multiple_of(2) {
                text.push_str(records);
            }
        }
        self.site.write("zone", &text);
    }

    fn questions() -> Vec<(String, Rtype)> {
        let all = [
            ("example.", Rtype::DNSKEY),
            ("example.", Rtype::SOA),
            ("example.", Rtype::CDS),
            ("example.", Rtype::MX),
            ("example.", Rtype(51)),
            ("ns.example.", Rtype::A),
            ("n3.example.", Rtype::A),
            ("no.such.name.example.", Rtype::A),
            ("ent.example.", Rtype::A),
            ("x.wild.example.", Rtype::A),
            ("x.wild.example.", Rtype::TXT),
            ("sub.example.", Rtype::DS),
            ("safe.example.", Rtype::DS),
        ];
        all.map(|(name, rtype)| (name.to_owned(), rtype)).into()
    }

    /// Notes what is served, and judges what caches may have of it.
    async fn judge(&mut self, zone: &ZoneRuntime, now: Timestamp) {
        let questions = Self::questions();
        for question in &questions {
            let answer = answer_of(zone.served(), &question.0, question.1);
            let reply = MessageParts::read(&answer).unwrap();
            assert_ne!(reply.rcode(), SERVFAIL, "{question:?} at {}", self.hour(now));
            let signatures =
                reply.answers.iter().chain(&reply.authorities).filter(|rr| rr.rtype == Rtype::RRSIG);
            for rr in signatures {
                // In time for as long as a cache may keep it.
                let rrsig = Rrsig::from_rdata(&rr.rdata).unwrap();
                assert!(rrsig.is_valid_at(now) && rrsig.is_valid_at(now.plus(DAY)), "{question:?}");
            }
            self.history.note(question, now, answer);
        }
        for keys in self.history.cached(&questions[0], u64::from(KEY_TTL), now) {
            let upstream = Upstream { keys, served: Arc::clone(zone.served()) };
            let anchors = TrustAnchors::from_u8(self.anchors.as_bytes()).unwrap();
            let context = ValidationContext::new(anchors, upstream);
            for question in &questions[1..] {
                for answer in self.history.cached(question, TTL, now) {
                    let mut message = Message::from_octets(answer.to_vec()).unwrap();
                    let judged = context.validate_msg::<_, Vec<u8>>(&mut message).await.unwrap();
                    let is_good = match judged.0 {
                        ValidationState::Secure => true,
                        ValidationState::Insecure => question.0 == "sub.example." || is_opted_out(&answer),
                        _ => false,
                    };
                    assert!(is_good, "{question:?} is {judged:?} at {}", self.hour(now));
                    self.judged += 1;
                }
            }
        }
    }

    fn hour(&self, now: Timestamp) -> String {
        let seconds = now.since(self.start);
        format!("{}:{:02}:{:02}", seconds / HOUR, seconds % HOUR / 60, seconds % 60)
    }
}

/// True for an answer that denies with spans that leave out delegations: a validator calls it insecure (RFC 5155 section 9.2).
fn is_opted_out(answer: &[u8]) -> bool {
    let reply = MessageParts::read(answer).unwrap();
    reply.authorities.iter().any(|rr| rr.rtype == Rtype::NSEC3 && rr.rdata[1] == 1)
}

/// From which hour on with which denial; each change is a restart.
const DENIALS: [(u64, Option<Nsec3Param>); 6] = [
    (0, None),
    (3, Some(Nsec3Param { iterations: 0, opt_out: false, salt_length: 0 })),
    (7, Some(Nsec3Param { iterations: 0, opt_out: true, salt_length: 0 })),
    (11, None),
    (16, Some(Nsec3Param { iterations: 0, opt_out: false, salt_length: 4 })),
    (21, None),
];

#[tokio::test]
async fn row_41_no_cache_of_any_age_sees_a_bogus_answer_in_a_day_of_updates_and_rolls() {
    let mut day = Day::new();
    let served = Arc::clone(day.site.zone().served());
    let (mut serials, mut zone) = (Vec::new(), None::<ZoneRuntime>);
    let mut seen_tags = std::collections::BTreeSet::new();
    for number in 0..DAY / STEP {
        let now = day.start.plus(number * STEP);
        if let Some((_, nsec3)) = DENIALS.iter().find(|(hour, _)| hour * HOUR == number * STEP) {
            if let Some(mut zone) = zone.take() {
                zone.close();
            }
            let setup = day.setup(*nsec3);
            zone = Some(ZoneRuntime::new(setup, day.site.metrics.clone(), Arc::clone(&served)));
        }
        let zone = zone.as_mut().expect("it begins with one");
        day.edit(number);
        // Bundles switch at a full hour; a file is read when it has rested for a second.
        for now in [now, now.plus(1), now.plus(2), now.plus(STEP - 1)] {
            day.site.step(zone, now);
            day.judge(zone, now).await;
        }
        serials.push(serial(zone));
        seen_tags.extend(zone.served().signed().unwrap().key_tags());
    }
    assert!(
        serials.windows(2).all(|pair| pair[0] < pair[1]),
        "each update is served, and no serial goes back"
    );
    assert_eq!(seen_tags.len(), 3, "each ZSK has signed");
    println!("{} answers, {} versions", day.judged, serials.len());

    // The judge can say no: keys that no cache has any more, and answers of today.
    let old = &day.history.0[&(ZONE.to_owned(), Rtype::DNSKEY)];
    let (_, keys) = old.first_key_value().unwrap();
    let context = ValidationContext::new(
        TrustAnchors::from_u8(day.anchors.as_bytes()).unwrap(),
        Upstream { keys: Arc::clone(keys), served: Arc::clone(&served) },
    );
    let mut message = Message::from_octets(answer_of(&served, "ns.example.", Rtype::A).to_vec()).unwrap();
    let (state, _) = context.validate_msg::<_, Vec<u8>>(&mut message).await.unwrap();
    assert_eq!(state, ValidationState::Bogus);
}
