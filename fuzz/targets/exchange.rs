//! KSR and SKR in the forms of BIND, Knot and the root zone, files of many zones, trust anchors.

use std::sync::OnceLock;

use keystore::dns::{Name, Rrset, Rrsig};
use keystore::exchange::testing::SkrBuilder;
use keystore::exchange::verify::VerifyContext;
use keystore::exchange::{
    Ksr, TrustAnchor, UnverifiedSkr, bind, format, knot, many, parse_trust_anchors, possession, verify, xml,
};
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

const MADE: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The zone that a file names, so that a change of the name leads somewhere.
fn zone_of(data: &[u8]) -> Name {
    format::zone_of(data).unwrap_or_else(Name::root)
}

/// BIND's form, and the cutting of a file of many zones.
pub fn bind_text(data: &[u8]) -> bool {
    if let Ok(sections) = many::split(data) {
        let whole: Vec<u8> = sections.iter().flat_map(|section| section.octets).copied().collect();
        assert_eq!(whole, data, "the sections of a file make the file");
    }
    let _ = (format::is_request(data), many::split_zones(data).map(drop));
    let zone = zone_of(data);
    let (skr, ksr) = (bind::parse_skr(data, &zone), bind::parse_ksr(data, &zone));
    if let Ok(skr) = &skr {
        skr_reads_again(skr);
    }
    if let Ok(ksr) = &ksr {
        ksr_reads_again(ksr);
        let _ = (possession::check(ksr), possession::end(ksr));
    }
    skr.is_ok() || ksr.is_ok()
}

fn skr_reads_again(skr: &UnverifiedSkr) {
    let text = bind::print_skr(skr, MADE, "fuzz");
    let again =
        bind::parse_skr(text.as_bytes(), &skr.zone).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    assert_eq!(bind::print_skr(&again, MADE, "fuzz"), text);
    assert_eq!(again.bundles.len(), skr.bundles.len(), "{text}");
}

fn ksr_reads_again(ksr: &Ksr) {
    let text = bind::print_ksr(ksr, MADE, "fuzz");
    let again =
        bind::parse_ksr(text.as_bytes(), &ksr.zone).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    assert_eq!(again, *ksr, "{text}");
}

/// Knot's form.
pub fn knot_text(data: &[u8]) -> bool {
    let zone = zone_of(data);
    let (skr, ksr) = (knot::parse_skr(data, &zone), knot::parse_ksr(data, &zone));
    if let Ok(skr) = &skr {
        for stamps in [knot::Stamps::Unix, knot::Stamps::Digits14] {
            let text = knot::print_skr(skr, stamps, MADE, "fuzz");
            let again =
                knot::parse_skr(text.as_bytes(), &zone).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
            assert_eq!(knot::print_skr(&again, stamps, MADE, "fuzz"), text);
        }
    }
    if let Ok(ksr) = &ksr {
        let text = knot::print_ksr(ksr, knot::Stamps::Unix, MADE, "fuzz");
        let again =
            knot::parse_ksr(text.as_bytes(), &zone).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
        assert_eq!(knot::print_ksr(&again, knot::Stamps::Unix, MADE, "fuzz"), text);
    }
    skr.is_ok() || ksr.is_ok()
}

/// The root zone's XML.
pub fn root_xml(data: &[u8]) -> bool {
    let (request, response) = (xml::parse_request(data), xml::parse_response(data));
    if let Ok(request) = &request {
        let text = xml::print_request(request);
        assert_eq!(xml::parse_request(text.as_bytes()).as_ref(), Ok(request), "{text}");
        ksr_reads_again(&request.to_ksr());
        let rules = xml::check::Rules::root();
        let _ = xml::check::check_request(request, &rules, MADE);
    }
    if let Ok(response) = &response {
        let text = xml::print_response(response);
        assert_eq!(xml::parse_response(text.as_bytes()).as_ref(), Ok(response), "{text}");
        skr_reads_again(&response.to_skr());
    }
    request.is_ok() || response.is_ok()
}

/// A good SKR whose octets the input changes: what is accepted verifies by `domain` too, with a KSK that is pinned.
///
/// The input is a list of changes, each a place (two octets), how many octets go (one), how many come (one), and those.
pub fn accepted_skr(data: &[u8]) -> bool {
    static GOOD: OnceLock<(String, Vec<TrustAnchor>)> = OnceLock::new();
    let (text, anchors) = GOOD.get_or_init(|| {
        let builder = SkrBuilder::new("example.", MADE.minus(3600)).bundles(2);
        (bind::print_skr(&builder.build(), MADE, "fuzz"), builder.anchors())
    });
    let text = changed(text.as_bytes(), data);
    let zone = Name::parse("example.").expect("a name");
    let Ok(skr) = bind::parse_skr(&text, &zone) else { return false };
    let context = VerifyContext::new(&zone, anchors);
    let Ok(verified) = verify(skr, &context, MADE) else { return false };
    for bundle in verified.bundles() {
        for rrset in bundle.rrsets() {
            let of_rrset = bundle.signatures.iter().filter(|rrsig| rrsig.covered == rrset.rtype);
            let by_pinned = of_rrset.flat_map(|rrsig| bundle.keys().map(move |key| (rrsig, key)));
            let verifies = by_pinned
                .filter(|(_, key)| anchors.iter().any(|anchor| anchor.matches(&zone, key)))
                .any(|(rrsig, key)| domain_verifies(rrset, rrsig, &key));
            assert!(verifies, "{}: {} is accepted\n{}", bundle.inception, rrset.rtype, text.escape_ascii());
        }
    }
    true
}

/// `octets` with the changes that `data` lists.
fn changed(octets: &[u8], mut data: &[u8]) -> Vec<u8> {
    let mut out = octets.to_vec();
    while let Some((head, rest)) = data.split_first_chunk::<4>() {
        let at = usize::from(u16::from_be_bytes([head[0], head[1]])) % (out.len() + 1);
        let end = out.len().min(at + usize::from(head[2]));
        let (new, behind) = rest.split_at(rest.len().min(usize::from(head[3])));
        out.splice(at..end, new.iter().copied());
        data = behind;
    }
    out
}

/// True when `domain` verifies the signature over the RRset by this key.
fn domain_verifies(rrset: &Rrset, rrsig: &Rrsig, key: &Dnskey) -> bool {
    use domain::base::iana::Class;
    use domain::base::name::ParsedName;
    use domain::base::rdata::{ParseAnyRecordData, ParseRecordData};
    use domain::base::{Name as WireName, Record, Ttl};
    use domain::dep::octseq::Parser;
    use domain::dnssec::validator::base::RrsigExt;
    use domain::rdata::{AllRecordData, Dnskey as WireDnskey, Rrsig as WireRrsig};

    let owner = WireName::from_octets(rrset.owner.as_wire()).expect("a name");
    let mut records: Vec<_> = rrset
        .rdatas
        .iter()
        .map(|octets| {
            let mut parser = Parser::from_ref(&**octets);
            let data = AllRecordData::<_, ParsedName<_>>::parse_any_rdata(rrset.rtype.0.into(), &mut parser);
            let data = data.expect("record data that was accepted");
            Record::new(owner.clone(), Class::IN, Ttl::from_secs(rrset.ttl), data)
        })
        .collect();
    let octets = rrsig.to_rdata();
    let mut parser = Parser::from_ref(octets.as_slice());
    let read = WireRrsig::<_, ParsedName<_>>::parse_rdata(domain::base::Rtype::RRSIG, &mut parser);
    let Ok(Some(read)) = read else { return false };
    let public_key = WireDnskey::new(key.flags, key.protocol, key.algorithm.0.into(), key.public_key.clone());
    let Ok(public_key) = public_key else { return false };
    let mut signed = Vec::new();
    read.signed_data(&mut signed, &mut records).expect("a vector takes all");
    read.verify_signed_data(&public_key, &signed).is_ok()
}

/// Trust anchors, and the DS records that a parent has.
pub fn anchors(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let zone = Name::parse("example.").expect("a name");
    let _ = ksr_gen::rollover::ParentDs::parse(text, &zone, MADE);
    let _ = ksr_gen::rollover::ParentDs::parse_all(text, MADE);
    let Ok(anchors) = parse_trust_anchors(text, &zone) else { return false };
    for anchor in &anchors {
        assert!(anchor.tags().contains(&anchor.tag()));
    }
    !anchors.is_empty()
}
