//! Planted faults: each leads to exactly the findings it should, and a healthy zone to none.

use std::io;
use std::net::SocketAddr;

use keystore::dns::{Name, Rrset, Rrsig};
use keystore::exchange::TrustAnchor;
use keystore::exchange::testing::{SkrBuilder, TestKey};

use super::*;
use crate::probe::chain::ChainError;
use crate::probe::contents::Contents;
use crate::probe::facts::{ASKED, ParentFacts, ResolverFacts, ServerFacts};
use crate::probe::transfer::{EarliestSignature, Transfer};
use skr_loader::ask::{AnswerFault, AskError, Rcode, RrsetAnswer, ServerReply};

const DAY: u64 = 86_400;
const TTL: u32 = 3600;

fn now() -> Timestamp {
    Timestamp::from_secs(1_800_000_000)
}

fn zone() -> Name {
    Name::parse("example.").expect("a name")
}

fn id(last: u8) -> ServerId {
    ServerId { name: None, address: SocketAddr::from(([192, 0, 2, last], 53)) }
}

/// What a server serves.
#[derive(Clone)]
struct Site {
    serial: u32,
    expire: u32,
    ksk: TestKey,
    zsk: TestKey,
    /// Days from now to the end of the signatures by the KSK and by the ZSK; negative = past.
    ksk_left: i64,
    zsk_left: i64,
}

impl Default for Site {
    fn default() -> Self {
        let (ksk, zsk) = (TestKey::ksk(1), TestKey::zsk(2));
        Self { serial: 100, expire: 7 * 86_400, ksk, zsk, ksk_left: 20, zsk_left: 20 }
    }
}

impl Site {
    fn signed(&self, rtype: Rtype, rdatas: Vec<Vec<u8>>) -> RrsetAnswer {
        let rdatas = rdatas.into_iter().map(Vec::into_boxed_slice).collect();
        let rrset = Rrset { owner: zone(), rtype, ttl: TTL, rdatas };
        let is_ksks = matches!(rtype, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY);
        let (key, left) = if is_ksks { (&self.ksk, self.ksk_left) } else { (&self.zsk, self.zsk_left) };
        let days = |days: i64| {
            let seconds = days.unsigned_abs() * DAY;
            if days < 0 { now().minus(seconds) } else { now().plus(seconds) }
        };
        let signatures: Vec<Rrsig> = if rrset.rdatas.is_empty() {
            vec![]
        } else {
            vec![key.sign(&rrset, days(left - 22), days(left))]
        };
        RrsetAnswer { rrset, signatures, authentic: false, expire: None }
    }

    fn answer(&self, rtype: Rtype) -> RrsetAnswer {
        let rdatas = match rtype {
            Rtype::SOA => {
                let numbers = [self.serial, 3600, 600, self.expire, 300];
                vec![[&[0, 0][..], &numbers.map(u32::to_be_bytes).concat()].concat()]
            }
            Rtype::DNSKEY => vec![self.ksk.dnskey.to_rdata(), self.zsk.dnskey.to_rdata()],
            Rtype::NS => vec![b"\x02ns\x07example\x00".to_vec()],
            Rtype::CDS => vec![self.ksk.dnskey.ds_rdata(&zone(), 2).expect("SHA-256")],
            _ => vec![],
        };
        self.signed(rtype, rdatas)
    }

    fn serve(&self, last: u8) -> ServerFacts {
        let nsec = self.signed(Rtype::NSEC, vec![b"\x07example\x00\x00\x01\x02".to_vec()]);
        let denial = ServerReply {
            rcode: Rcode::NXDOMAIN,
            authoritative: true,
            authentic: false,
            extended_error: None,
            answer: vec![],
            authority: vec![self.answer(Rtype::SOA), nsec],
        };
        ServerFacts {
            server: id(last),
            answers: ASKED.into_iter().map(|rtype| (rtype, Ok(self.answer(rtype)))).collect(),
            denial: Some(Ok(denial)),
            unknown_name: Some(Name::parse("offline-ksk-probe-0.example.").expect("a name")),
            tcp: Some(Ok(self.answer(Rtype::SOA))),
            transfer: None,
        }
    }
}

fn ds_of(keys: &[&TestKey]) -> Vec<ParentFacts> {
    let rdatas = keys.iter().map(|key| key.dnskey.ds_rdata(&zone(), 2).expect("SHA-256").into_boxed_slice());
    let rrset = Rrset { owner: zone(), rtype: Rtype::DS, ttl: TTL, rdatas: rdatas.collect() };
    let ds = Ok(RrsetAnswer { rrset, signatures: vec![], authentic: false, expire: None });
    vec![ParentFacts { source: id(200), ds }]
}

fn facts(servers: Vec<ServerFacts>) -> ProbeFacts {
    ProbeFacts {
        zone: zone(),
        servers,
        left_out: 0,
        no_address: vec![],
        parent: ds_of(&[&TestKey::ksk(1)]),
        delegation: None,
        anchors: None,
        resolver: None,
    }
}

/// Two healthy servers.
fn healthy() -> ProbeFacts {
    facts(vec![Site::default().serve(1), Site::default().serve(2)])
}

fn silent() -> AskError {
    AskError::NoAnswer { server: id(2).address, source: io::ErrorKind::TimedOut.into() }
}

fn unsigned(server: &mut ServerFacts, only: &[Rtype]) {
    for (rtype, answer) in &mut server.answers {
        if let Ok(answer) = answer
            && (only.is_empty() || only.contains(rtype))
        {
            answer.signatures.clear();
        }
    }
}

/// Findings as `ID severity last-octet-of-the-server`.
fn told(facts: &ProbeFacts, expected: &Expectations) -> Vec<String> {
    let found = judge(facts, expected, now());
    let text = |finding: &ProbeFinding| {
        let server = finding.server.as_ref().map_or("-".to_owned(), |s| match s.address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3].to_string(),
            std::net::IpAddr::V6(_) => "6".to_owned(),
        });
        assert!(finding.id.severities().contains(&finding.severity), "{} {}", finding.id, finding.severity);
        let line = finding.line(&zone(), now());
        assert!(!line.contains('\n') && line.contains("example."), "{line}");
        format!("{} {} {server}", finding.id.as_str(), finding.severity)
    };
    found.iter().map(text).collect()
}

#[track_caller]
fn expect(what: &str, facts: &ProbeFacts, findings: &[&str]) {
    assert_eq!(told(facts, &Expectations::default()), findings, "{what}");
}

#[test]
fn a_healthy_zone_has_no_findings() {
    expect("two servers", &healthy(), &[]);
    let one = facts(vec![Site::default().serve(1)]);
    expect("one server", &one, &[]);
    let mut insecure = healthy();
    insecure.parent = ds_of(&[]);
    for server in &mut insecure.servers {
        unsigned(server, &[]);
        server.answers.retain(|(rtype, _)| *rtype != Rtype::DNSKEY);
        server.denial = None;
    }
    expect("a zone that is not signed and has no DS", &insecure, &[]);
    let mut anchored = healthy();
    anchored.anchors = Some(Ok(vec![TrustAnchor::Dnskey(TestKey::ksk(1).dnskey)]));
    expect("trusted", &anchored, &[]);
}

#[test]
fn the_eight_faults_of_the_issue_are_named_with_their_server() {
    let with = |other: Site| facts(vec![Site::default().serve(1), other.serve(2)]);
    let both = |site: Site| facts(vec![site.serve(1), site.serve(2)]);
    let site = Site::default;
    expect("expired on one of two", &with(Site { zsk_left: -1, ..site() }), &["PROBE-DIFFERS critical 2"]);
    expect("serial behind", &with(Site { serial: 99, ..site() }), &["PROBE-SERIAL-BEHIND warning 2"]);
    expect("coverage ending", &both(Site { ksk_left: 2, ..site() }), &["SIGNATURE-LATE warning -"]);
    expect("SOA expire", &both(Site { expire: 35 * 86_400, ..site() }), &["SOA-EXPIRE-TOO-LONG warning -"]);
    let mut other_ds = healthy();
    other_ds.parent = ds_of(&[&TestKey::ksk(9)]);
    expect("wrong DS", &other_ds, &["PARENT-DS-WRONG critical -"]);
    let mut no_ds = healthy();
    no_ds.parent = ds_of(&[]);
    expect("missing DS", &no_ds, &["PARENT-DS-MISSING warning -"]);
    let mut one_unsigned = healthy();
    unsigned(&mut one_unsigned.servers[1], &[]);
    one_unsigned.servers[1].answers.retain(|(rtype, _)| *rtype != Rtype::DNSKEY);
    one_unsigned.servers[1].denial = None;
    expect("unsigned server", &one_unsigned, &["ZONE-UNSIGNED critical 2"]);
    let mut no_ksk = healthy();
    for server in &mut no_ksk.servers {
        unsigned(server, &[Rtype::DNSKEY]);
        for (rtype, answer) in &mut server.answers {
            if *rtype == Rtype::DNSKEY {
                answer.as_mut().expect("an answer").rrset.rdatas.remove(0);
            }
        }
    }
    let found = told(&no_ksk, &Expectations::default());
    assert_eq!(found, ["ZONE-UNSIGNED critical 1", "ZONE-UNSIGNED critical 2"], "KSK missing");
}

#[test]
fn siblings_of_the_eight_faults_are_told_apart() {
    let with = |other: Site| facts(vec![Site::default().serve(1), other.serve(2)]);
    let both = |site: Site| facts(vec![site.serve(1), site.serve(2)]);
    let site = Site::default;
    expect(
        "KSK signature expired at one",
        &with(Site { ksk_left: -3, ..site() }),
        &["PROBE-DIFFERS critical 2"],
    );
    let everywhere = &["SIGNATURE-LATE critical 1", "SIGNATURE-LATE critical 2"];
    expect("expired everywhere", &both(Site { zsk_left: -1, ..site() }), everywhere);
    expect("not yet valid", &both(Site { zsk_left: 30, ..site() }), everywhere);
    expect("ends within a day", &both(Site { zsk_left: 1, ..site() }), &["SIGNATURE-LATE critical -"]);
    // RFC 1982: 4294967295 is before 1.
    let wrapped =
        facts(vec![Site { serial: 1, ..site() }.serve(1), Site { serial: u32::MAX, ..site() }.serve(2)]);
    expect("serial behind over the end of the numbers", &wrapped, &["PROBE-SERIAL-BEHIND warning 2"]);
    let behind = Site { serial: 99, zsk_left: 0, ..site() };
    let found = told(&with(behind), &Expectations::default());
    assert_eq!(found[..2], ["SIGNATURE-LATE critical -", "PROBE-SERIAL-BEHIND critical 2"]);
    let other_key = Site { zsk: TestKey::zsk(7), ..site() };
    expect("other keys at the same serial", &with(other_key), &["PROBE-DIFFERS warning 2"]);
    expect(
        "other signatures at the same serial",
        &with(Site { zsk_left: 19, ..site() }),
        &["PROBE-DIFFERS warning 2"],
    );
    let mut damaged = healthy();
    for (_, answer) in &mut damaged.servers[1].answers {
        for signature in &mut answer.as_mut().expect("an answer").signatures {
            signature.signature[0] ^= 1;
        }
    }
    damaged.servers[1].denial = None;
    expect("damaged signatures", &damaged, &["PROBE-DIFFERS critical 2"]);
    let mut half = healthy();
    unsigned(&mut half.servers[1], &[Rtype::SOA]);
    expect("one RRset unsigned", &half, &["ZONE-UNSIGNED critical 2"]);
    let mut no_denial = healthy();
    if let Some(Ok(reply)) = &mut no_denial.servers[1].denial {
        reply.authority.pop();
    }
    expect("no proof of denial", &no_denial, &["ZONE-UNSIGNED critical 2"]);
    let mut one_more = healthy();
    one_more.parent = ds_of(&[&TestKey::ksk(1), &TestKey::ksk(9)]);
    expect("one DS more than known", &one_more, &["PARENT-DS-WRONG warning -"]);
    let mut zsk_ds = healthy();
    zsk_ds.parent = ds_of(&[&TestKey::zsk(2)]);
    expect("the DS of a key that does not sign the keys", &zsk_ds, &["PARENT-DS-WRONG critical -"]);
    let mut split = healthy();
    split.parent.extend(ds_of(&[]));
    expect("parents of two minds", &split, &["PROBE-DIFFERS warning -"]);
}

#[test]
fn servers_that_do_not_answer_or_refuse_are_named_by_address() {
    let mut one_silent = healthy();
    let gone = ServerFacts {
        answers: vec![(Rtype::SOA, Err(silent()))],
        denial: None,
        unknown_name: None,
        tcp: None,
        ..Site::default().serve(2)
    };
    one_silent.servers[1] = gone;
    expect("one silent", &one_silent, &["PROBE-SERVER-SILENT warning 2"]);
    one_silent.servers.remove(0);
    expect("all silent", &one_silent, &["PROBE-SERVER-SILENT critical 2"]);
    expect("no server known", &facts(vec![]), &["PROBE-SERVER-SILENT critical -"]);
    let mut no_tcp = healthy();
    no_tcp.servers[1].tcp = Some(Err(silent()));
    expect("no TCP", &no_tcp, &["PROBE-SERVER-SILENT warning 2"]);
    for fault in [
        AnswerFault::Rcode(Rcode::REFUSED),
        AnswerFault::Rcode(Rcode::SERVFAIL),
        AnswerFault::NotAuthoritative,
    ] {
        let mut lame = healthy();
        lame.servers[1].answers =
            ASKED.into_iter().map(|rtype| (rtype, Err(AskError::BadAnswer { rtype, fault }))).collect();
        lame.servers[1].denial = None;
        lame.servers[1].tcp = None;
        expect("not served", &lame, &["ZONE-NOT-LOADED critical 2"]);
    }
    let mut nameless = healthy();
    nameless.no_address.push((zone(), silent()));
    expect("a name without address", &nameless, &["PROBE-SERVER-SILENT warning -"]);
    let mut parent = healthy();
    parent.parent[0].ds = Err(silent());
    expect("the parent is silent", &parent, &["PROBE-SERVER-SILENT warning 200"]);
}

#[test]
fn what_is_expected_decides_beside_what_is_seen() {
    let bundle_since = |seed: u8, age: u64| {
        let builder =
            SkrBuilder::new("example.", now().minus(age)).bundles(1).ttl(TTL).ksk(TestKey::ksk(seed));
        builder.zsk(TestKey::zsk(2).dnskey).build().bundles.remove(0)
    };
    let bundle = |seed| bundle_since(seed, DAY);
    let mut both = healthy();
    for server in &mut both.servers {
        let of_bundle = bundle(1);
        for (rtype, answer) in &mut server.answers {
            let rrset = of_bundle.rrsets().find(|rrset| rrset.rtype == *rtype);
            if let (Some(rrset), Ok(answer)) = (rrset, answer) {
                answer.rrset = rrset.clone();
                answer.signatures =
                    of_bundle.signatures.iter().filter(|s| s.covered == *rtype).cloned().collect();
            }
        }
    }
    let with = |seed| Expectations { bundle: Some(bundle(seed)), ..Expectations::default() };
    assert_eq!(told(&both, &with(1)), Vec::<String>::new());
    assert_eq!(told(&both, &with(5)), ["DELIVERY-UNPROVEN warning 1", "DELIVERY-UNPROVEN warning 2"]);
    // At a switch each secondary has the bundle before until its transfer.
    for (age, severity) in [(0, "attention"), (599, "attention"), (600, "warning")] {
        let expected = Expectations { bundle: Some(bundle_since(5, age)), ..Expectations::default() };
        let found = [1, 2].map(|server| format!("DELIVERY-UNPROVEN {severity} {server}"));
        assert_eq!(told(&both, &expected), found, "{age} seconds after the switch");
    }
    let unread = Expectations { store_error: Some("no right".to_owned()), ..Expectations::default() };
    assert_eq!(told(&healthy(), &unread), ["SKR-STORE-DAMAGED critical -"]);
    let policy = |refresh| Expectations { refresh: Some(refresh), ..Expectations::default() };
    // Expire 7 days and a TTL of an hour.
    assert_eq!(told(&healthy(), &policy(7 * DAY + 3600)), Vec::<String>::new());
    assert_eq!(told(&healthy(), &policy(7 * DAY + 3599)), ["SOA-EXPIRE-TOO-LONG warning -"]);
    let limits = |warning, critical| Expectations {
        warning: Some(warning),
        critical: Some(critical),
        ..Expectations::default()
    };
    assert_eq!(told(&healthy(), &limits(20 * DAY, DAY)), Vec::<String>::new());
    let late = "SIGNATURE-LATE warning -";
    assert_eq!(told(&healthy(), &limits(20 * DAY + 1, DAY)), [late, late], "KSK and ZSK");
    let late = "SIGNATURE-LATE critical -";
    assert_eq!(told(&healthy(), &limits(21 * DAY, 20 * DAY + 1)), [late, late]);
}

#[test]
fn trust_anchors_and_a_resolver_have_their_say() {
    let mut other = healthy();
    other.anchors = Some(Ok(vec![TrustAnchor::Dnskey(TestKey::ksk(3).dnskey)]));
    expect("another anchor", &other, &["ZONE-UNSIGNED critical 1", "ZONE-UNSIGNED critical 2"]);
    other.anchors = Some(Err(ChainError::Bogus { name: zone(), rtype: Rtype::DS }));
    expect("bogus above", &other, &["ZONE-UNSIGNED critical -"]);
    other.anchors = Some(Err(ChainError::Insecure { name: zone() }));
    expect("insecure above", &other, &["PARENT-DS-MISSING warning -"]);
    let reply = |rcode, sets: Vec<RrsetAnswer>| {
        let (authoritative, authentic, extended_error) = (false, false, Some(7));
        Ok(ServerReply { rcode, authoritative, authentic, extended_error, answer: sets, authority: vec![] })
    };
    let soa = || vec![Site::default().answer(Rtype::SOA)];
    let mut seen = healthy();
    let address = id(53).address;
    seen.resolver = Some(ResolverFacts { address, validated: reply(Rcode::NOERROR, soa()), unchecked: None });
    expect("a resolver that takes it", &seen, &[]);
    let (validated, unchecked) = (reply(Rcode::SERVFAIL, vec![]), Some(reply(Rcode::NOERROR, soa())));
    seen.resolver = Some(ResolverFacts { address, validated, unchecked });
    expect("a resolver that calls it bogus", &seen, &["ZONE-UNSIGNED critical -"]);
    let (validated, unchecked) = (reply(Rcode::SERVFAIL, vec![]), Some(reply(Rcode::SERVFAIL, vec![])));
    seen.resolver = Some(ResolverFacts { address, validated, unchecked });
    expect("a resolver that is broken itself", &seen, &[]);
}

#[test]
fn a_signature_deep_in_a_transferred_zone_is_found() {
    let with = |expires: Timestamp| {
        let mut facts = healthy();
        let owner = Name::parse("deep.example.").expect("a name");
        let earliest = EarliestSignature { owner, covered: Rtype::TXT, expires };
        let earliest = std::iter::once((TestKey::zsk(2).dnskey.tag(), earliest)).collect();
        facts.servers[1].transfer = Some(Ok(Transfer {
            serial: 100,
            records: 9,
            signatures: 4,
            has_zonemd: false,
            earliest,
            contents: Contents::Good,
        }));
        facts
    };
    expect("fresh", &with(now().plus(9 * DAY)), &[]);
    let late = with(now().plus(2 * DAY));
    expect("ends soon", &late, &["SIGNATURE-LATE warning -"]);
    let said = judge(&late, &Expectations::default(), now())[0].text(now());
    assert!(said.contains("deep.example. TXT"), "{said}");
    expect("expired", &with(now().minus(1)), &["SIGNATURE-LATE critical 2"]);
}

#[test]
fn a_server_whose_keys_no_ds_matches_is_named_though_another_is_good() {
    let other_ksk = Site { ksk: TestKey::ksk(7), ..Site::default() };
    let with = |site: &Site, parent: &[&TestKey]| {
        let mut facts = facts(vec![Site::default().serve(1), site.serve(2)]);
        facts.parent = ds_of(parent);
        told(&facts, &Expectations::default())
    };
    let (one, seven, nine) = (TestKey::ksk(1), TestKey::ksk(7), TestKey::ksk(9));
    let differs = "PROBE-DIFFERS warning 2".to_owned();
    let wrong = |severity: &str, server: &str| format!("PARENT-DS-WRONG {severity} {server}");
    assert_eq!(with(&other_ksk, &[&one]), [wrong("critical", "2"), differs.clone()]);
    assert_eq!(with(&other_ksk, &[&seven]), [wrong("critical", "1"), differs.clone()]);
    assert_eq!(
        with(&other_ksk, &[&one, &nine]),
        [wrong("critical", "2"), differs.clone()],
        "and one more DS"
    );
    assert_eq!(with(&other_ksk, &[&one, &seven]), vec![differs.clone()], "both have their DS");
    assert_eq!(with(&other_ksk, &[&nine]), [wrong("critical", "-"), differs], "the same at all is told once");
    assert_eq!(with(&Site::default(), &[&one, &nine]), [wrong("warning", "-")]);
}

#[test]
fn an_answer_without_a_usable_record_is_no_zone() {
    type Damage = fn(&mut ServerFacts);
    let damage: [(&str, Damage); 4] = [
        ("SOA empty", |s| s.answers[0].1.as_mut().expect("an answer").rrset.rdatas.clear()),
        ("SOA too short", |s| {
            s.answers[0].1.as_mut().expect("an answer").rrset.rdatas = vec![vec![0; 9].into()]
        }),
        ("NS empty", |s| s.answers[2].1.as_mut().expect("an answer").rrset.rdatas.clear()),
        ("SOA empty over TCP", |s| {
            s.tcp.as_mut().expect("asked").as_mut().expect("an answer").rrset.rdatas.clear();
        }),
    ];
    for (what, damage) in damage {
        let mut facts = healthy();
        damage(&mut facts.servers[1]);
        let found = told(&facts, &Expectations::default());
        assert!(found.contains(&"ZONE-NOT-LOADED critical 2".to_owned()), "{what}: {found:?}");
        assert!(!found.iter().any(|f| f.ends_with('1')), "{what}: {found:?}");
    }
}

#[test]
fn no_good_answer_for_a_name_that_does_not_exist_is_critical() {
    let bad = |fault| Err(AskError::BadAnswer { rtype: Rtype::A, fault });
    let code = |rcode, authoritative| {
        let (answer, authority) = (vec![], vec![]);
        Ok(ServerReply { rcode, authoritative, authentic: false, extended_error: None, answer, authority })
    };
    let not_loaded = "ZONE-NOT-LOADED critical 2";
    for (denial, id) in [
        (code(Rcode::SERVFAIL, true), not_loaded),
        (code(Rcode::SERVFAIL, false), not_loaded),
        (code(Rcode::REFUSED, false), not_loaded),
        (code(Rcode::NOTIMP, true), not_loaded),
        (bad(AnswerFault::Malformed), not_loaded),
        (bad(AnswerFault::OtherQuestion), not_loaded),
        (bad(AnswerFault::Rcode(Rcode::FORMERR)), not_loaded),
        (Err(silent()), "PROBE-SERVER-SILENT critical 2"),
    ] {
        let mut facts = healthy();
        let shown = format!("{denial:?}");
        facts.servers[1].denial = Some(denial);
        expect(&shown, &facts, &[id]);
    }
    let mut lame = healthy();
    if let Some(Ok(reply)) = &mut lame.servers[1].denial {
        reply.authoritative = false;
    }
    expect("not authoritative", &lame, &[not_loaded]);
    for fault in [AnswerFault::Malformed, AnswerFault::Rcode(Rcode::SERVFAIL), AnswerFault::NotAuthoritative]
    {
        let mut facts = healthy();
        facts.servers[1].tcp = Some(Err(AskError::BadAnswer { rtype: Rtype::SOA, fault }));
        expect("bad over TCP", &facts, &[not_loaded]);
    }
}

#[test]
fn a_wildcard_that_leads_into_another_zone_of_the_server_is_not_held_against_this_one() {
    let cname = |target: &str, other: &str| {
        let mut facts = healthy();
        let name = |text: &str| Name::parse(text).expect("a name");
        let set = |owner: &Name, rtype, rdata: &[u8]| {
            let rrset = Rrset { owner: owner.clone(), rtype, ttl: TTL, rdatas: vec![rdata.into()] };
            let mut made = TestKey::zsk(77).sign(&rrset, now().minus(DAY), now().plus(20 * DAY));
            made.signer = name(other);
            RrsetAnswer { rrset, signatures: vec![made], authentic: false, expire: None }
        };
        let numbers = [1_u32, 2, 3, 4, 5].map(u32::to_be_bytes).concat();
        let soa = set(&name(other), Rtype::SOA, &[&[0, 0][..], &numbers].concat());
        let nsec = set(&name(target), Rtype::NSEC, b"\x00\x00\x01\x02");
        for server in &mut facts.servers {
            if let Some(Ok(reply)) = &mut server.denial {
                let probe = name("offline-ksk-probe-1.example.");
                reply.answer =
                    vec![Site::default().signed(Rtype::CNAME, vec![name(target).as_wire().to_vec()])];
                reply.answer[0].rrset.owner = probe;
                reply.authority = vec![soa.clone(), nsec.clone()];
            }
        }
        facts
    };
    expect("outside", &cname("x.other.", "other."), &[]);
    expect("above", &cname("x.", "."), &[]);
    expect("below a delegation", &cname("x.sub.example.", "sub.example."), &[]);
    let mut forged = healthy();
    if let Some(Ok(reply)) = &mut forged.servers[1].denial {
        for set in &mut reply.authority {
            set.signatures[0].signer = Name::parse("other.").expect("a name");
        }
    }
    expect("a signer from elsewhere in our own denial", &forged, &["PROBE-DIFFERS critical 2"]);
}

#[test]
fn servers_that_were_not_asked_are_not_called_silent() {
    let no_way = || AskError::NoWay { server: id(2).address, source: io::ErrorKind::Unsupported.into() };
    let time_up = || AskError::TimeUp { server: id(2).address };
    let gone = |last, error| ServerFacts {
        answers: vec![(Rtype::SOA, Err(error))],
        denial: None,
        unknown_name: None,
        tcp: None,
        ..Site::default().serve(last)
    };
    let with = |servers| facts(servers);
    expect("no IPv6 here", &with(vec![Site::default().serve(1), gone(2, no_way())]), &[]);
    let nothing_else = with(vec![gone(1, no_way()), gone(2, no_way())]);
    expect(
        "and nothing else",
        &nothing_else,
        &["PROBE-SERVER-SILENT warning 1", "PROBE-SERVER-SILENT warning 2"],
    );
    let rest_silent = with(vec![gone(1, silent()), gone(2, no_way())]);
    expect("all that were asked are silent", &rest_silent, &["PROBE-SERVER-SILENT critical 1"]);
    let late = with(vec![Site::default().serve(1), gone(2, time_up())]);
    expect("the time was up", &late, &["PROBE-SERVER-SILENT warning 2"]);
    let said = judge(&late, &Expectations::default(), now())[0].text(now());
    assert!(said.contains("was not asked"), "{said}");
    let mut midway = healthy();
    midway.servers[1].tcp = Some(Err(time_up()));
    expect("in the middle", &midway, &["PROBE-SERVER-SILENT warning 2"]);
}

#[test]
fn a_ds_that_nobody_was_asked_for_is_not_taken_for_none() {
    let insecure = |parent: Vec<ParentFacts>| {
        let mut facts = healthy();
        facts.parent = parent;
        for server in &mut facts.servers {
            unsigned(server, &[]);
            server.answers.retain(|(rtype, _)| *rtype != Rtype::DNSKEY);
            server.denial = None;
        }
        facts
    };
    let not_known = "PROBE-SERVER-SILENT warning -";
    expect("an unsigned zone", &insecure(vec![]), &[not_known]);
    let mut failed = ds_of(&[]);
    failed[0].ds = Err(silent());
    let of_parent = "PROBE-SERVER-SILENT warning 200";
    expect("an unsigned zone, and a silent parent", &insecure(failed), &[not_known, of_parent]);
    expect("an unsigned zone without DS", &insecure(ds_of(&[])), &[]);
    let with_ds = told(&insecure(ds_of(&[&TestKey::ksk(1)])), &Expectations::default());
    assert_eq!(with_ds, ["ZONE-UNSIGNED critical 1", "ZONE-UNSIGNED critical 2"]);
    let mut signed = healthy();
    signed.parent.clear();
    expect("a signed zone", &signed, &[not_known]);
    let mut root = signed;
    root.zone = Name::root();
    let found = told(&root, &Expectations::default());
    assert!(!found.iter().any(|f| f == not_known), "the root has no parent: {found:?}");
}

#[test]
fn a_secondary_whose_transfer_is_not_due_is_behind_for_attention_only() {
    // Signatures are made 22 days before they end, and the refresh is an hour; signers backdate by another.
    let behind = |serial: u32, made_here: u64, made_there: u64| {
        let made = |serial, ago: u64| {
            let mut server = Site { serial, ..Site::default() }.serve(if serial == 100 { 1 } else { 2 });
            for (_, answer) in &mut server.answers {
                let answer = answer.as_mut().expect("an answer");
                let key = if answer.rrset.rtype == Rtype::SOA { TestKey::zsk(2) } else { continue };
                answer.signatures = vec![key.sign(&answer.rrset, now().minus(ago), now().plus(20 * DAY))];
            }
            server
        };
        told(&facts(vec![made(100, made_here), made(serial, made_there)]), &Expectations::default())
    };
    let hour = 3600;
    for (serial, here, there, severity) in [
        (99, hour, hour, "attention"),
        (99, 2 * hour - 1, 9 * DAY, "attention"),
        (99, 2 * hour, 9 * DAY, "warning"),
        // There may have been others in between, so the age of the newest says nothing.
        (98, hour, 9 * DAY, "warning"),
        (98, hour, 2 * hour - 1, "attention"),
        (98, hour, 2 * hour, "warning"),
    ] {
        let found = behind(serial, here, there);
        assert_eq!(found, [format!("PROBE-SERIAL-BEHIND {severity} 2")], "{serial} {here} {there}");
    }
}

#[test]
fn a_server_that_costs_too_much_to_verify_is_told_and_the_others_are_judged() {
    let mut costly = healthy();
    for (_, answer) in &mut costly.servers[1].answers {
        let answer = answer.as_mut().expect("an answer");
        if let Some(made) = answer.signatures.first().cloned() {
            let mut wrong = made;
            wrong.signature[0] ^= 1;
            answer.signatures = vec![wrong; 1000];
        }
    }
    let more = costly.servers[1].answers[0].1.as_ref().expect("an answer").clone();
    if let Some(Ok(reply)) = &mut costly.servers[1].denial {
        reply.authority.extend(vec![more; 6]);
    }
    expect("1000 wrong signatures on every RRset", &costly, &["ZONE-UNSIGNED critical 2"]);
    let said = judge(&costly, &Expectations::default(), now())[0].text(now());
    assert!(said.contains("not verified"), "{said}");
}
