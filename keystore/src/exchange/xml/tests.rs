use crate::check::CheckId;
use proptest::prelude::*;

use super::convert::{NoXmlForm, from_skr};
use super::respond::Zsk;
use super::*;
use crate::crypto::{PrivateKey, SigningKey};
use crate::exchange::bind::BindSyntaxError;
use crate::exchange::testing::{SkrBuilder, TestKey};
use crate::exchange::{VerifyContext, verify};
use crate::keys::{FLAG_SEP, FLAG_ZONE};

const DAY: u64 = 86_400;

pub(super) fn start() -> Timestamp {
    Timestamp::parse_stamp("20270101000000").expect("a stamp")
}

pub(super) struct Key {
    pub dnskey: Dnskey,
    pub signer: Box<dyn SigningKey>,
    pub label: Label,
}

pub(super) fn key(flags: u16, algorithm: Algorithm, bits: u16, label: &str) -> Key {
    let private = PrivateKey::generate(algorithm, bits).expect("a size that the algorithm takes");
    let public_key = private.public_key(algorithm).expect("its public key");
    Key {
        dnskey: Dnskey { flags, protocol: 3, algorithm, public_key },
        signer: private.signer(algorithm).expect("a key just made"),
        label: Label::parse(label).expect("a label"),
    }
}

impl Key {
    fn zsk(&self) -> Zsk<'_> {
        Zsk { dnskey: &self.dnskey, key: &*self.signer, identifier: &self.label }
    }

    fn ksk<'a>(&'a self, role: &'a dyn Fn(&XmlBundle) -> KskRole) -> Ksk<'a> {
        Ksk { dnskey: &self.dnskey, key: &*self.signer, identifier: &self.label, role }
    }
}

/// Bundles of 21 days, ten days apart; the first has both ZSKs, the last only the second.
fn ask(zone: &str, old: &Key, new: &Key, count: u64, from: Timestamp) -> XmlRequest {
    let zone = Name::parse(zone).expect("a name");
    let bundle = |i: u64| {
        let inception = from.plus(i * 10 * DAY);
        let zsks = match i {
            0 => vec![old.zsk(), new.zsk()],
            _ => vec![new.zsk()],
        };
        (inception, inception.plus(21 * DAY), zsks)
    };
    let bundles: Vec<_> = (0..count).map(bundle).collect();
    request(&zone, 3, &bundles, 172_800, (10 * DAY, 10 * DAY)).expect("working keys")
}

fn policy() -> ClaimedPolicy {
    ClaimedPolicy {
        publish_safety: 0,
        retire_safety: 28 * DAY,
        max_signature_validity: 21 * DAY,
        min_signature_validity: 21 * DAY,
        max_validity_overlap: 16 * DAY,
        min_validity_overlap: 9 * DAY,
        algorithms: Vec::new(),
    }
}

fn always(_: &XmlBundle) -> KskRole {
    KskRole::Signing
}

/// Two ceremonies, by RSA and by ECDSA, for the root and for another zone, all through the text: request, checks, response,
/// checks, the next request, the chain.
#[test]
fn ceremonies() {
    for (algorithm, bits, zone) in [
        (Algorithm::RSASHA256, 2048, "."),
        (Algorithm::ECDSAP256SHA256, 0, "."),
        (Algorithm::ECDSAP384SHA384, 0, "Example.test."),
        (Algorithm::RSASHA512, 1024, "example.test."),
    ] {
        let name = Name::parse(zone).expect("a name");
        let ksk = key(FLAG_ZONE | FLAG_SEP, algorithm, bits, "Klajeyz");
        let [a, b, c] = ["302e", "302f", "3030"].map(|l| key(FLAG_ZONE, algorithm, bits, l));
        let rules = Rules::zone(name.clone());
        let through = |r: &XmlRequest| parse_request(print_request(r).as_bytes()).expect("what was printed");
        let first = ask(zone, &a, &b, 4, start());
        assert_eq!(through(&first), first, "{algorithm}");
        assert_eq!(check_request(&first, &rules, start()), [], "{algorithm}");
        let answered = respond(&first, &[ksk.ksk(&always)], 86_400, &policy()).expect("working keys");
        let text = print_response(&answered);
        let answered_read = parse_response(text.as_bytes()).expect("what was printed");
        assert_eq!(answered_read, answered, "{algorithm}");
        assert_eq!(check_response(&answered, &first, None, &rules), [], "{algorithm}");
        let anchors = [crate::exchange::TrustAnchor::Dnskey(ksk.dnskey.clone())];
        let good = verify(answered.to_skr(), &VerifyContext::new(&name, &anchors), start());
        let good = good.unwrap_or_else(|f| panic!("{algorithm}: {f:#?}"));
        assert_eq!(good.coverage_end(), start().plus(51 * DAY));
        assert_eq!(good.bundles()[0].dnskey.ttl, 86_400);

        let second = ask(zone, &b, &c, 4, start().plus(40 * DAY));
        // The TTL of the request is not that of the SKR: a request whose keys come back otherwise is no continuation.
        let chain = check_chain(&second, &answered, &rules);
        assert!(chain.iter().any(|f| f.id == CheckId::KsrChainKeys), "{chain:#?}");
        let kept = respond(&first, &[ksk.ksk(&always)], 172_800, &policy()).expect("working keys");
        let chain = check_chain(&second, &kept, &rules);
        // The new ZSK was not in the last bundle: the requester must put it there before.
        assert_eq!(chain.iter().map(|f| f.id).collect::<Vec<_>>(), [CheckId::KsrChainKeys], "{chain:#?}");
        let second = ask(zone, &b, &b, 4, start().plus(40 * DAY));
        assert_eq!(check_chain(&second, &kept, &rules).len(), 0, "{algorithm}");
    }
}

#[test]
fn roles_of_ksks() {
    let p256 = Algorithm::ECDSAP256SHA256;
    let [old, new] = ["Kold", "Knew"].map(|l| key(FLAG_ZONE | FLAG_SEP, p256, 0, l));
    let zsk = key(FLAG_ZONE, p256, 0, "zsk");
    let bundles: Vec<_> = (0..4)
        .map(|i| (start().plus(i * 10 * DAY), start().plus((i * 10 + 21) * DAY), vec![zsk.zsk()]))
        .collect();
    let asked = request(&Name::root(), 0, &bundles, 3600, (0, 0)).expect("working keys");
    let until = |i: u64| start().plus(i * 10 * DAY);
    let old_role = |b: &XmlBundle| if b.inception < until(2) { KskRole::Signing } else { KskRole::Published };
    let new_role = |b: &XmlBundle| match () {
        () if b.inception < until(1) => KskRole::Absent,
        () if b.inception < until(2) => KskRole::Published,
        () => KskRole::Signing,
    };
    let made =
        respond(&asked, &[old.ksk(&old_role), new.ksk(&new_role)], 3600, &policy()).expect("working keys");
    let shape: Vec<_> =
        made.bundles.iter().map(|b| (b.keys.len(), b.signatures[0].identifier.to_string())).collect();
    let want = [(2, "Kold"), (3, "Kold"), (3, "Knew"), (3, "Knew")].map(|(n, l)| (n, l.to_owned()));
    assert_eq!(shape, want);
    assert_eq!(check_response(&made, &asked, None, &Rules::zone(Name::root())), []);
    // The old one gone at once: validators that have the old DS find nothing.
    let gone = |b: &XmlBundle| if b.inception < until(2) { KskRole::Signing } else { KskRole::Absent };
    let made = respond(&asked, &[old.ksk(&gone), new.ksk(&new_role)], 3600, &policy()).expect("working keys");
    let found = check_response(&made, &asked, None, &Rules::zone(Name::root()));
    assert_eq!(found.iter().map(|f| f.id).collect::<Vec<_>>(), [CheckId::KsrPolicySafety], "{found:#?}");
}

#[test]
fn nothing_wrong_is_signed() {
    let p256 = Algorithm::ECDSAP256SHA256;
    let ksk = key(FLAG_ZONE | FLAG_SEP, p256, 0, "ksk");
    let zsk = key(FLAG_ZONE, p256, 0, "zsk");
    let asked = ask(".", &zsk, &zsk, 2, start());
    let asked = XmlRequest { bundles: vec![asked.bundles[1].clone()], ..asked };
    let answer = |ksks: &[Ksk<'_>]| respond(&asked, ksks, 3600, &policy());
    assert!(answer(&[ksk.ksk(&always)]).is_ok());
    let no = |result: Result<XmlResponse, RespondError>, what: &str| {
        let error = result.expect_err(what).to_string();
        assert!(error.contains(what), "{error}");
    };
    no(answer(&[]), "and the KSKs that sign it none");
    no(answer(&[ksk.ksk(&|_| KskRole::Published)]), "and the KSKs that sign it none");
    let other = key(FLAG_ZONE | FLAG_SEP, Algorithm::ECDSAP384SHA384, 0, "other");
    no(answer(&[other.ksk(&always)]), "ECDSAP384SHA384");
    no(answer(&[ksk.ksk(&always), other.ksk(&always)]), "ECDSAP384SHA384");
    let ed = key(FLAG_ZONE | FLAG_SEP, Algorithm::ED25519, 0, "ed");
    no(answer(&[ed.ksk(&always)]), "the format knows RSA and ECDSA keys only");
    // A private key that is not that of the record.
    let broken = Key { signer: other_signer(p256), ..key(FLAG_ZONE | FLAG_SEP, p256, 0, "broken") };
    no(answer(&[broken.ksk(&always)]), "does not verify");
    let same = Key { label: zsk.label.clone(), ..key(FLAG_ZONE | FLAG_SEP, p256, 0, "x") };
    no(answer(&[same.ksk(&always)]), "is no ZSK");
    let mut foreign = asked.clone();
    foreign.bundles[0].keys[0].dnskey.flags = 257;
    no(respond(&foreign, &[ksk.ksk(&always)], 3600, &policy()), "is no ZSK");
}

fn other_signer(algorithm: Algorithm) -> Box<dyn SigningKey> {
    PrivateKey::generate(algorithm, 0).expect("a key").signer(algorithm).expect("a key")
}

#[test]
fn text_skr_to_xml() {
    let ksk = TestKey::generate(FLAG_ZONE | FLAG_SEP, Algorithm::ECDSAP256SHA256, 0);
    let zsk = TestKey::generate(FLAG_ZONE, Algorithm::ECDSAP256SHA256, 0);
    let builder = SkrBuilder::new("example.", start()).ksk(ksk).zsk(zsk.dnskey);
    let with_cds = from_skr(&builder.build()).expect("a form");
    assert_eq!(with_cds.left_out.len(), 2, "{:?}", with_cds.left_out);
    let skr = builder.without_cds().build();
    let made = from_skr(&skr).expect("a form");
    assert_eq!((&made.left_out[..], made.made_up.len()), (&[][..], 3));
    assert_eq!(made, from_skr(&skr).expect("the same again"));
    let read = parse_response(print_response(&made.response).as_bytes()).expect("what was printed");
    assert_eq!(read, made.response);
    assert_eq!(read.to_skr(), skr);
    assert_eq!(read.ksk_policy.max_validity_overlap, 5 * DAY);

    let ed = SkrBuilder::new("example.", start());
    assert!(matches!(from_skr(&ed.build()), Err(NoXmlForm::Algorithm { algorithm: Algorithm::ED25519, .. })));
    let mut unsigned = skr.clone();
    unsigned.bundles[1].signatures.clear();
    assert!(matches!(from_skr(&unsigned), Err(NoXmlForm::Unsigned { .. })));
    let empty = UnverifiedSkr { bundles: Vec::new(), ..skr };
    assert_eq!(from_skr(&empty), Err(NoXmlForm::Empty));
}

use crate::exchange::UnverifiedSkr;

/// A zone whose name has what XML would stumble over.
#[test]
fn names_need_no_escapes() {
    let p256 = Algorithm::ECDSAP256SHA256;
    let [a, b] = ["a", "b"].map(|l| key(FLAG_ZONE, p256, 0, l));
    let asked = ask(r#"<&>.\"quo'te\\.ex\.ample."#, &a, &b, 2, start());
    let text = print_request(&asked);
    assert_eq!(parse_request(text.as_bytes()).as_ref(), Ok(&asked), "{text}");
}

// ------------------------------------------------------------------------------------------ what is refused

const KSR: &str = include_str!("../../../tests/fixtures/icann/ksr-root-2017-q2-0.xml");
const SKR: &str = include_str!("../../../tests/fixtures/icann/skr-root-2017-q2-0.xml");

fn parse_either(octets: &[u8]) -> Result<(), BindSyntaxError> {
    let (a, b) = (parse_request(octets).map(drop), parse_response(octets).map(drop));
    a.or(b)
}

/// ID, line, what is replaced in the KSR of 2017-Q2 (its first occurrence), by what.
const REJECTED: &[(CheckId, u32, &str, &str)] = &[
    (CheckId::KsrSyntax, 1, "<KSR id", "<Ksr id"),
    (CheckId::KsrSyntax, 1, "<KSR id", "<?xml version=\"1.1\"?><KSR id"),
    (CheckId::KsrSyntax, 1, "<KSR id", "<?xml version=\"1.0\" encoding=\"UTF-16\"?><KSR id"),
    (CheckId::KsrSyntax, 1, "<KSR id", " <?xml version=\"1.0\"?><KSR id"),
    (CheckId::KsrSyntax, 1, "<KSR id", "<?stylesheet x?><KSR id"),
    (CheckId::KsrSyntax, 1, "<KSR id", "<!DOCTYPE KSR [<!ENTITY a \"b\">]><KSR id"),
    (CheckId::KsrSyntax, 1, "<KSR id", "some text <KSR id"),
    (CheckId::KsrSyntax, 1, "<KSR id", "\u{feff}<KSR id"),
    (CheckId::KsrSyntax, 1, "<KSR id", "<KSR xmlns=\"urn:x\" id"),
    (CheckId::KsrSyntax, 1, "serial=\"1\"", "serial=\"1\" serial=\"2\""),
    (CheckId::KsrSyntax, 1, "serial=\"1\"", "serial=\"-1\""),
    (CheckId::KsrSyntax, 1, "serial=\"1\"", "serial=\"18446744073709551616\""),
    (CheckId::KsrSyntax, 1, "serial=\"1\"", "serial=1"),
    (CheckId::KsrSyntax, 1, "serial=\"1\"", ""),
    (CheckId::KsrSyntax, 1, "serial=\"1\"", "serial=\"&#49;\""),
    (CheckId::KsrSyntax, 1, "id=\"23e34059-7725", "id=\"23e34059_7725"),
    (CheckId::KsrSyntax, 1, "id=\"23e34059-7725", "id=\"23e3405-97725"),
    (CheckId::KsrSyntax, 1, "domain=\".\"", "domain=\"a..b\""),
    (CheckId::KsrSyntax, 2, "<Request>", "<Response>"),
    (CheckId::KsrSyntax, 2, "<Request>", "<Request timestamp=\"yesterday\">"),
    (CheckId::KsrSyntax, 3, "<RequestPolicy>", "<RequestPolicy/>"),
    (CheckId::KsrSyntax, 5, "P10D", "P1M"),
    (CheckId::KsrSyntax, 5, "P10D", "P1<!-- -->0D"),
    (CheckId::KsrSyntax, 5, "P10D", "<![CDATA[P10D]]>"),
    (CheckId::KsrSyntax, 5, "P10D", "&amp;P10D"),
    (CheckId::KsrSyntax, 5, "P10D", "P10D<?a b?>"),
    (CheckId::KsrSyntax, 5, "P10D", "<b>P10D</b>"),
    (CheckId::KsrSyntax, 5, "P10D", ""),
    (CheckId::KsrSyntax, 5, "<PublishSafety>", "<PublishSafety unit=\"d\">"),
    (CheckId::KsrSyntax, 5, "<PublishSafety>P10D</PublishSafety>", "<PublishSafety>P10D</RetireSafety>"),
    (CheckId::KsrSyntax, 6, "RetireSafety>P10D</RetireSafety", "PublishSafety>P10D</PublishSafety"),
    (CheckId::KsrSyntax, 12, "RSA size", "ECDSA size"),
    (CheckId::KsrSyntax, 12, "exponent=\"65537\"", ""),
    (CheckId::KsrSyntax, 12, "size=\"2048\"", "size=\"2 048\""),
    (CheckId::KsrSyntax, 17, "<Inception>2017-04-01T00:00:00", "<Inception>2017-04-31T00:00:00"),
    (CheckId::KsrSyntax, 18, "<Expiration>2017-04-22T00:00:00", "<Expiration>2017-04-01T00:00:00"),
    (CheckId::KsrSyntax, 18, "<Expiration>2017-04-22T00:00:00", "<Expiration>2017-04-22T00:00:00+02:00"),
    (CheckId::KsrSyntax, 19, "keyTag=\"14796\"", "keyTag=\"65536\""),
    (CheckId::KsrTtl, 20, "<TTL>172800", "<TTL>2147483648"),
    (CheckId::KsrTtl, 32, "<TTL>172800", "<TTL>172801"),
    (CheckId::KsrSyntax, 21, "<Flags>256", "<Flags>0"),
    (CheckId::KsrSyntax, 22, "<Protocol>3", "<Protocol>2"),
    (CheckId::KsrSyntax, 23, "<Algorithm>8", "<Algorithm>256"),
    (CheckId::KsrSyntax, 24, "<PublicKey>AwEAAZ", "<PublicKey>AwEAA!"),
    (CheckId::KsrSyntax, 24, "<PublicKey>AwEAAZ", "<PublicKey>AwEAZ"),
    (CheckId::KsrTtl, 37, "<OriginalTTL>172800", "<OriginalTTL>3600"),
    (CheckId::KsrType, 34, "<TypeCovered>DNSKEY", "<TypeCovered>SOA"),
    (CheckId::KsrSyntax, 36, "<Labels>0", "<Labels>256"),
    (CheckId::KsrWrongZone, 41, "<SignersName>.", "<SignersName>example."),
    (CheckId::KsrSyntax, 43, "</Signature>", "</Signature>x"),
    (CheckId::KsrSyntax, 57, "</RequestBundle>", "</RequestBundle><RequestBundles/>"),
];

#[test]
fn damage_is_refused_with_id_and_line() {
    for (id, line, from, to) in REJECTED {
        assert!(KSR.contains(from), "{from}");
        let text = KSR.replacen(from, to, 1);
        let error = parse_request(text.as_bytes()).expect_err(&format!("{from:?} by {to:?}"));
        assert_eq!(error.id, *id, "{from:?} by {to:?}: {error}");
        assert!(error.line.abs_diff(*line) <= 1, "{from:?} by {to:?}: {error}");
    }
    for (text, id) in [
        (String::new(), CheckId::KsrSyntax),
        (" \n".to_owned(), CheckId::KsrSyntax),
        ("<KSR".to_owned(), CheckId::KsrTruncated),
        (format!("{KSR}{KSR}"), CheckId::KsrSyntax),
        (format!("{KSR}x"), CheckId::KsrSyntax),
        (format!("{KSR}<a/>"), CheckId::KsrSyntax),
        (KSR.replace('\n', "\u{b}"), CheckId::KsrSyntax),
        (format!("{KSR}{}", " ".repeat(MAX_OCTETS)), CheckId::KsrLimits),
        (SKR.to_owned(), CheckId::KsrSyntax),
    ] {
        assert_eq!(parse_request(text.as_bytes()).expect_err("refused").id, id);
    }
    assert_eq!(parse_request(b"<KSR>\xff").expect_err("not UTF-8").id, CheckId::KsrSyntax);
    assert_eq!(parse_response(KSR.as_bytes()).expect_err("the other kind").id, CheckId::SkrSyntax);
    let altered = SKR.replacen("keyTag=\"61045\"", "keyTag=\"61046\"", 1);
    assert_eq!(parse_response(altered.as_bytes()).expect_err("a wrong tag").id, CheckId::SkrKey);
    let signer = SKR.replacen("<Key ", "<Signer keyIdentifier=\"a\"/><Key ", 1);
    assert_eq!(
        parse_response(signer.as_bytes()).expect_err("no wishes in a response").id,
        CheckId::SkrSyntax
    );
}

/// What carries nothing: the declaration, blanks, comments between elements, the zone of times, the order of attributes.
#[test]
fn variants_read_the_same() {
    let want = parse_request(KSR.as_bytes()).expect("good");
    for (from, to) in [
        (
            "<KSR id",
            "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?>\n<!-- a word -->\n<KSR id",
        ),
        ("domain=\".\" serial=\"1\"", "serial='1'\n domain = \".\""),
        ("<Request>", "\r\n<Request>\t<!-- a word -->"),
        ("2017-04-01T00:00:00</I", "2017-04-01T00:00:00Z</I"),
        ("2017-04-01T00:00:00</I", "\n 2017-04-01T00:00:00+00:00 </I"),
        ("P10D", "P1W3D"),
        ("P21D", "P3W"),
        ("<PublicKey>AwEA", "<PublicKey>\n  Aw EA\n"),
        ("65537\"/>", "65537\"></RSA>"),
        ("23e34059-7725-46a8", "23E34059-7725-46A8"),
        ("</KSR>", "</KSR >\n<!-- the end -->\n"),
    ] {
        let text = KSR.replacen(from, to, 1);
        match parse_request(text.as_bytes()) {
            Ok(got) => assert_eq!(got, want, "{to:?}"),
            // Weeks and days together are no duration of the format.
            Err(e) => assert!(to == "P1W3D", "{from:?} by {to:?}: {e}"),
        }
    }
    let wished = KSR.replacen("<Key ", "<Signer keyIdentifier=\"Kjqmt7v\"/>\n      <Key ", 1);
    let wished = parse_request(wished.as_bytes()).expect("a wish is no fault");
    assert_eq!(wished.bundles[0].signers.len(), 1);
    assert_eq!(parse_request(print_request(&wished).as_bytes()), Ok(wished));
    let stamped = KSR.replacen("<Request>", "<Request timestamp=\"2017-01-01T00:15:04Z\">", 1);
    let stamped = parse_request(stamped.as_bytes()).expect("a timestamp is no fault");
    assert_eq!(parse_request(print_request(&stamped).as_bytes()), Ok(stamped));
}

#[test]
fn every_cut_is_noticed() {
    let short = SKR.len() - "</KSR>\n".len();
    for end in (0..short).step_by(7).chain(short..SKR.len() - 2) {
        let error = parse_response(&SKR.as_bytes()[..end]).expect_err("cut");
        assert!(matches!(error.id, CheckId::SkrTruncated | CheckId::SkrSyntax), "{end}: {error}");
    }
    assert_eq!(parse_response(&SKR.as_bytes()[..9000]).expect_err("cut").id, CheckId::SkrTruncated);
    assert!(parse_response(&SKR.as_bytes()[..SKR.len() - 1]).is_ok());
}

/// Files made to take time or memory: each is refused at once.
#[test]
fn bombs() {
    let fill = |unit: &str| unit.repeat(MAX_OCTETS / unit.len() - 200);
    let billion = "<!DOCTYPE KSR [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;\">]>\
                   <KSR id=\"&c;\" serial=\"1\" domain=\".\">&c;</KSR>";
    let head = "<KSR id=\"23e34059-7725-46a8-a7d2-662d657aab2b\" domain=\".\" serial=\"1\">";
    let attributes: String = (0..60_000).map(|i| format!(" a{i}=\"\"")).collect();
    let bundle = &SKR[SKR.find("<ResponseBundle").expect("one")..];
    let bundle = &bundle[..bundle.find("</ResponseBundle>").expect("its end") + "</ResponseBundle>\n".len()];
    let tail = "</Response>\n</KSR>\n";
    let bundles = SKR.replacen(tail, &(bundle.repeat(MAX_OCTETS / bundle.len() - 12) + tail), 1);
    let key = &bundle[bundle.find("<Key").expect("one")..bundle.find("<Signature").expect("one")];
    let keys = SKR.replacen("<Key ", &format!("{}<Key ", key.repeat(400)), 1);
    let signature =
        &bundle[bundle.find("<Signature").expect("one")..bundle.find("</ResponseB").expect("one")];
    let signatures = SKR.replacen("<Signature ", &format!("{}<Signature ", signature.repeat(400)), 1);
    let start = std::time::Instant::now();
    for (what, text) in [
        ("entities", billion.to_owned()),
        ("nesting", fill("<KSR>")),
        ("nesting below", format!("{head}{}", fill("<Request>"))),
        ("comments", format!("{head}{}", fill("<!---->"))),
        ("an open comment", format!("{head}<!--{}", fill("x"))),
        ("attributes", format!("<KSR{attributes}/>")),
        ("one attribute twice", format!("<KSR{}/>", fill(" id=\"\""))),
        ("a long attribute", format!("<KSR id=\"{}\"/>", fill("x"))),
        ("a long name", format!("<{}/>", fill("x"))),
        ("a long text", format!("{head}{}", fill("x"))),
        ("long data", SKR.replacen("P10D", &fill("P10D")[..MAX_OCTETS - 40_000], 1)),
        ("references", SKR.replacen("P10D", &fill("&lt;")[..MAX_OCTETS - 40_000], 1)),
        ("lines", format!("{head}{}", fill("\n"))),
        ("keys", keys),
        ("signatures", signatures),
        ("octets", fill("<KSR/>") + &" ".repeat(2 * MAX_OCTETS)),
    ] {
        let error = parse_either(text.as_bytes()).expect_err(what);
        assert!(error.what.len() < 400, "{what}: {} octets of message", error.what.len());
    }
    // As many bundles as fit, each with good signatures, are no fault of the text.
    let many = parse_response(bundles.as_bytes()).expect("as many as fit");
    assert!(many.bundles.len() > 300 && many.bundles.len() <= MAX_BUNDLES);
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damage_never_panics(at in 0..SKR.len(), by in any::<u8>(), len in 0usize..40, response in any::<bool>()) {
        let mut octets = if response { SKR } else { KSR }.as_bytes().to_vec();
        let at = at.min(octets.len() - 1);
        let end = (at + len).min(octets.len());
        octets.splice(at..end, std::iter::once(by));
        let _ = parse_either(&octets);
    }

    #[test]
    fn any_markup_never_panics(text in "[<>/!?&;\\[\\]\"'=a-cKSRA \n-]{0,200}") {
        let _ = parse_either(text.as_bytes());
        let _ = parse_either(format!("<KSR {text}").as_bytes());
    }
}
