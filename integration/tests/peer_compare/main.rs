//! Four servers with one signed zone, asked the same: ours, named, NSD and Knot. And Unbound, which validates what ours says.

#[path = "../common/certificate.rs"]
mod certificate;
mod clients;
#[path = "../common/mod.rs"]
mod common;
mod compare;
mod cookies;
mod peers;
mod queries;
mod resolvers;
mod site;

use std::collections::BTreeMap;

use compare::{Answer, Class};
use keystore::policy::Nsec3Param;
use queries::{Client, Transport};
use site::Site;

/// Queries that each server is asked at least, over UDP and TCP together; and over TLS, where all of them are asked.
const LEAST: usize = 20_000;
/// Of so many queries one is asked over TLS, too, unless OFFLINE_KSK_COMPARE is `all`.
const ONE_OF: usize = 10;

/// Of so many questions one is asked of zones that are not signed here.
const FEWER: usize = 7;

/// RCODE of what does not validate.
const SERVFAIL: u8 = 2;

/// How the zone denies.
const NSEC: Option<Nsec3Param> = None;
const NSEC3: Option<Nsec3Param> = Some(Nsec3Param { iterations: 0, opt_out: false, salt_length: 0 });
const OPT_OUT: Option<Nsec3Param> = Some(Nsec3Param { iterations: 2, opt_out: true, salt_length: 4 });

#[test]
fn four_servers_say_the_same_with_nsec_but_for_what_is_listed() {
    compare_servers(NSEC);
}

#[test]
fn four_servers_say_the_same_with_nsec3_but_for_what_is_listed() {
    compare_servers(NSEC3);
}

#[test]
fn four_servers_say_the_same_with_opt_out_but_for_what_is_listed() {
    compare_servers(OPT_OUT);
}

#[test]
fn four_servers_say_the_same_of_a_zone_without_signatures_but_for_what_is_listed() {
    let dir = tempfile::tempdir().expect("a folder");
    compare_at(&Site::start_unsigned(dir.path()), "unsigned", FEWER);
}

#[test]
fn unbound_in_front_finds_nothing_bogus_with_nsec_that_it_does_not_find_behind_named() {
    compare_verdicts(NSEC);
}

#[test]
fn unbound_in_front_finds_nothing_bogus_with_nsec3_that_it_does_not_find_behind_named() {
    compare_verdicts(NSEC3);
}

#[test]
fn unbound_in_front_finds_nothing_bogus_with_opt_out_that_it_does_not_find_behind_named() {
    compare_verdicts(OPT_OUT);
}

#[test]
fn four_servers_say_the_same_of_a_zone_that_bind_has_signed_and_unbound_finds_nothing_bogus() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(site) = Site::start_presigned(dir.path()) else { return };
    compare_at(&site, "signed by BIND", FEWER);
    verdicts_at(&site);
}

/// Asks each server each question; every difference must be of a class that is listed.
fn compare_servers(nsec3: Option<Nsec3Param>) {
    let dir = tempfile::tempdir().expect("a folder");
    compare_at(&Site::start(dir.path(), nsec3), &format!("{nsec3:?}"), 1);
}

/// The same of the zone of this site, with each `one_in`th question, unless OFFLINE_KSK_COMPARE is `all`.
fn compare_at(site: &Site, what: &str, one_in: usize) {
    let peers = peers::start_all(site);
    if peers.is_empty() {
        return;
    }
    let all = std::env::var("OFFLINE_KSK_COMPARE").is_ok_and(|which| which == "all");
    let (one_in, one_of) = if all { (1, 1) } else { (one_in, ONE_OF) };
    let queries = queries::all();
    assert!(2 * queries.len() >= LEAST, "{} queries", 2 * queries.len());
    let queries: Vec<_> = queries.into_iter().step_by(one_in).collect();
    let mut ours = Client::new(site.address).with_tls(Some(site.tls));
    let mut theirs: Vec<Client> =
        peers.iter().map(|peer| Client::new(peer.address).with_tls(peer.tls)).collect();
    let mut asked = BTreeMap::<&str, usize>::new();
    let mut counts: BTreeMap<(&str, Class), usize> = BTreeMap::new();
    let mut unexplained = Vec::new();
    let mut sizes = BTreeMap::<&str, (usize, usize)>::new();
    for (number, query) in queries.iter().enumerate() {
        let octets = query.octets();
        let whole = Answer::read(&ours.ask(Transport::Tcp, &octets));
        let encrypted = number.is_multiple_of(one_of).then_some(Transport::Tls);
        for transport in [Transport::Udp, Transport::Tcp].into_iter().chain(encrypted) {
            *asked.entry(transport.name()).or_default() += 1;
            let mine = Answer::read(&ours.ask(transport, &octets));
            for (peer, client) in peers.iter().zip(&mut theirs) {
                let answer = Answer::read(&client.ask(transport, &octets));
                let (same_records, classes) = compare::classes(peer.name, query, &whole, &mine, &answer);
                if same_records {
                    let sum = sizes.entry(peer.name).or_default();
                    sum.0 += mine.octets;
                    sum.1 += answer.octets;
                }
                for class in classes {
                    if class == Class::Unexplained {
                        unexplained.push(format!(
                            "{} {query} {transport}\n  ours:  {mine}\n  theirs: {answer}",
                            peer.name
                        ));
                    }
                    *counts.entry((peer.name, class)).or_default() += 1;
                }
            }
        }
    }
    println!("COMPARE {what}: queries to each of {} servers: {asked:?}", peers.len() + 1);
    for ((peer, class), count) in &counts {
        println!("COMPARE {peer:6} {count:6}  {}", class.reason());
    }
    let of = |peer: &'static str| unexplained.iter().filter(move |text| text.starts_with(peer)).take(12);
    let shown: Vec<&str> = peers.iter().flat_map(|peer| of(peer.name)).map(String::as_str).collect();
    assert!(
        unexplained.is_empty(),
        "{} differences without a reason:\n{}",
        unexplained.len(),
        shown.join("\n")
    );
    for (peer, (mine, answer)) in &sizes {
        println!("COMPARE {peer:6} octets of answers with the same records: ours {mine}, theirs {answer}");
        let percent = *mine as f64 / *answer as f64 * 100.0;
        assert!(percent <= 102.0, "our answers are larger than those of {peer}: {percent:.1} %");
    }
}

/// Has Unbound validate what ours says, and what named says.
fn compare_verdicts(nsec3: Option<Nsec3Param>) {
    let dir = tempfile::tempdir().expect("a folder");
    verdicts_at(&Site::start(dir.path(), nsec3));
}

/// The same of the zone of this site.
fn verdicts_at(site: &Site) {
    let (Some(named), Some(behind_ours)) =
        (peers::named(site), resolvers::unbound(site, site.address, "unbound-ours"))
    else {
        return;
    };
    let behind_named = resolvers::unbound(site, named.address, "unbound-named").expect("Unbound was there");
    let queries = queries::for_validation();
    let ours = resolvers::verdicts(&behind_ours, &queries);
    let theirs = resolvers::verdicts(&behind_named, &queries);
    let mut wrong = Vec::new();
    let mut secure = 0;
    for ((query, mine), named) in queries.iter().zip(&ours).zip(&theirs) {
        secure += usize::from(mine.1);
        // Some answers of named do not hold with NSEC3: below an empty wildcard, which it denies, and for NSEC at an alias.
        let holds_behind_ours_alone = mine.0 != SERVFAIL && named.0 == SERVFAIL;
        if mine != named && !holds_behind_ours_alone {
            wrong.push(format!(
                "{query}: behind ours RCODE {}, AD {}; behind named RCODE {}, AD {}",
                mine.0, mine.1, named.0, named.1
            ));
        }
    }
    assert!(secure * 2 > queries.len(), "{secure} of {} answers are secure", queries.len());
    assert!(wrong.is_empty(), "{} of {} verdicts differ:\n{}", wrong.len(), queries.len(), wrong.join("\n"));
}
