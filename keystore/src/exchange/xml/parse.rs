//! Reads KSR and SKR in XML: elements in the order of the schema, attributes known, every value in its range.

use data_encoding::BASE64;

use super::lexical::{number, parse_duration, parse_time};
use super::reader::{Attributes, Cursor, Ids, KSR, SKR};
use super::{
    ClaimedPolicy, Label, MAX_BUNDLES, MAX_KEYS, SignatureAlgorithm, Uuid, XmlBundle, XmlKey, XmlRequest,
    XmlResponse, XmlSignature,
};
use crate::crypto::Algorithm;
use crate::dns::ttl::MAX_TTL;
use crate::dns::{Name, Rrsig, Rtype};
use crate::exchange::bind::BindSyntaxError;
use crate::keys::{Dnskey, FLAG_REVOKE, FLAG_SEP, FLAG_ZONE};
use crate::time::Timestamp;

/// Reads a KSR.
pub fn parse_request(octets: &[u8]) -> Result<XmlRequest, BindSyntaxError> {
    let mut cursor = Cursor::new(octets, &KSR)?;
    let (head, domain) = head(&mut cursor)?;
    other_kind(&mut cursor, "Response")?;
    let timestamp = timestamp(&mut cursor, "Request")?;
    cursor.open("RequestPolicy", &[])?;
    let zsk_policy = policy(&mut cursor, "ZSK")?;
    cursor.close()?;
    let bundles = bundles(&mut cursor, "RequestBundle", &domain)?;
    finish(&mut cursor)?;
    Ok(XmlRequest { id: head.id, serial: head.serial, domain, timestamp, zsk_policy, bundles })
}

/// Reads an SKR. Unlike a KSR's, the key tags that it says must be those of its keys.
pub fn parse_response(octets: &[u8]) -> Result<XmlResponse, BindSyntaxError> {
    let mut cursor = Cursor::new(octets, &SKR)?;
    let (head, domain) = head(&mut cursor)?;
    other_kind(&mut cursor, "Request")?;
    let timestamp = timestamp(&mut cursor, "Response")?;
    cursor.open("ResponsePolicy", &[])?;
    let ksk_policy = policy(&mut cursor, "KSK")?;
    let zsk_policy = policy(&mut cursor, "ZSK")?;
    cursor.close()?;
    let bundles = bundles(&mut cursor, "ResponseBundle", &domain)?;
    finish(&mut cursor)?;
    Ok(XmlResponse { id: head.id, serial: head.serial, domain, timestamp, ksk_policy, zsk_policy, bundles })
}

struct Head {
    id: Uuid,
    serial: u64,
}

fn head(cursor: &mut Cursor<'_>) -> Result<(Head, Name), BindSyntaxError> {
    let ids = cursor.ids;
    let attributes = cursor.open("KSR", &["id", "serial", "domain"])?;
    let id = attributes.read(ids, "id", "a UUID", Uuid::parse)?;
    let serial = attributes.read(ids, "serial", "a number", number)?;
    let domain = attributes.read(ids, "domain", "a zone", |text| Name::parse(text).ok())?;
    Ok((Head { id, serial }, domain))
}

fn other_kind(cursor: &mut Cursor<'_>, other: &str) -> Result<(), BindSyntaxError> {
    match cursor.is_at(other)? {
        true => Err(cursor.fault(format!("<{other}>: this is the other kind of file"))),
        false => Ok(()),
    }
}

fn timestamp(cursor: &mut Cursor<'_>, element: &'static str) -> Result<Option<Timestamp>, BindSyntaxError> {
    let attributes = cursor.open(element, &["timestamp"])?;
    if attributes.get("timestamp").is_none() {
        return Ok(None);
    }
    attributes.read(cursor.ids, "timestamp", TIME, parse_time).map(Some)
}

fn finish(cursor: &mut Cursor<'_>) -> Result<(), BindSyntaxError> {
    cursor.close()?;
    cursor.close()?;
    cursor.end()
}

const TIME: &str = "a time like 2027-01-01T00:00:00+00:00 (UTC, until 2106)";
const DURATION: &str = "a duration of weeks, or of days, hours, minutes and seconds, like P21D";

fn policy(cursor: &mut Cursor<'_>, element: &'static str) -> Result<ClaimedPolicy, BindSyntaxError> {
    cursor.open(element, &[])?;
    let mut duration = |name| cursor.value(name, DURATION, parse_duration);
    let mut policy = ClaimedPolicy {
        publish_safety: duration("PublishSafety")?,
        retire_safety: duration("RetireSafety")?,
        max_signature_validity: duration("MaxSignatureValidity")?,
        min_signature_validity: duration("MinSignatureValidity")?,
        max_validity_overlap: duration("MaxValidityOverlap")?,
        min_validity_overlap: duration("MinValidityOverlap")?,
        algorithms: Vec::new(),
    };
    loop {
        policy.algorithms.push(signature_algorithm(cursor)?);
        if policy.algorithms.len() > MAX_KEYS {
            return Err(limit(cursor, format!("more than {MAX_KEYS} algorithms")));
        }
        if !cursor.is_at("SignatureAlgorithm")? {
            cursor.close()?;
            return Ok(policy);
        }
    }
}

fn signature_algorithm(cursor: &mut Cursor<'_>) -> Result<SignatureAlgorithm, BindSyntaxError> {
    let ids = cursor.ids;
    let attributes = cursor.open("SignatureAlgorithm", &["algorithm"])?;
    let algorithm = attributes.read(ids, "algorithm", "a number up to 255", number).map(Algorithm)?;
    let ecdsa = matches!(algorithm, Algorithm::ECDSAP256SHA256 | Algorithm::ECDSAP384SHA384);
    let (size, exponent) = if ecdsa {
        let attributes = cursor.open("ECDSA", &["size"])?;
        (attributes.read(ids, "size", "a number of bits", number)?, None)
    } else {
        let attributes = cursor.open("RSA", &["size", "exponent"])?;
        let size = attributes.read(ids, "size", "a number of bits", number)?;
        (size, Some(attributes.read(ids, "exponent", "a number", number)?))
    };
    if !ecdsa && !algorithm.is_rsa() {
        let what = format!("algorithm {}, for which the format has no form", algorithm.0);
        return Err(cursor.fault(what));
    }
    cursor.close()?;
    cursor.close()?;
    Ok(SignatureAlgorithm { algorithm, size, exponent })
}

fn limit(cursor: &Cursor<'_>, what: String) -> BindSyntaxError {
    BindSyntaxError { id: cursor.ids.limits, ..cursor.fault(what) }
}

fn bundles(
    cursor: &mut Cursor<'_>,
    element: &'static str,
    domain: &Name,
) -> Result<Vec<XmlBundle>, BindSyntaxError> {
    let mut bundles = Vec::new();
    loop {
        if bundles.len() >= MAX_BUNDLES {
            return Err(limit(cursor, format!("more than {MAX_BUNDLES} bundles")));
        }
        bundles.push(bundle(cursor, element, domain)?);
        if !cursor.is_at(element)? {
            return Ok(bundles);
        }
    }
}

fn bundle(
    cursor: &mut Cursor<'_>,
    element: &'static str,
    domain: &Name,
) -> Result<XmlBundle, BindSyntaxError> {
    let ids = cursor.ids;
    let attributes = cursor.open(element, &["id"])?;
    let id = attributes.read(ids, "id", "a UUID", Uuid::parse)?;
    let inception = cursor.value("Inception", TIME, parse_time)?;
    let expiration = cursor.value("Expiration", TIME, parse_time)?;
    if expiration <= inception {
        return Err(cursor.fault("<Expiration> is not after <Inception>"));
    }
    let mut signers = Vec::new();
    while element == "RequestBundle" && cursor.is_at("Signer")? {
        let attributes = cursor.open("Signer", &["keyIdentifier"])?;
        signers.push(identifier(&attributes, ids)?);
        cursor.close()?;
        if signers.len() > MAX_KEYS {
            return Err(limit(cursor, format!("more than {MAX_KEYS} signers in a bundle")));
        }
    }
    let mut keys: Vec<XmlKey> = Vec::new();
    loop {
        let key = key(cursor)?;
        if keys.iter().any(|k| k.ttl != key.ttl) {
            let what = format!("TTL {} of a key, where the keys before it have another", key.ttl);
            return Err(BindSyntaxError { id: ids.ttl, ..cursor.fault(what) });
        }
        if keys.len() >= MAX_KEYS {
            return Err(limit(cursor, format!("more than {MAX_KEYS} keys in a bundle")));
        }
        keys.push(key);
        if !cursor.is_at("Key")? {
            break;
        }
    }
    let mut signatures = Vec::new();
    loop {
        if signatures.len() >= MAX_KEYS {
            return Err(limit(cursor, format!("more than {MAX_KEYS} signatures in a bundle")));
        }
        let signature = signature(cursor, domain)?;
        let ttl = keys.first().map_or(0, |k| k.ttl);
        if signature.rrsig.original_ttl != ttl {
            let what = format!("original TTL {}, where the keys have {ttl}", signature.rrsig.original_ttl);
            return Err(BindSyntaxError { id: ids.ttl, ..cursor.fault(what) });
        }
        signatures.push(signature);
        if !cursor.is_at("Signature")? {
            cursor.close()?;
            return Ok(XmlBundle { id, inception, expiration, signers, keys, signatures });
        }
    }
}

fn identifier(attributes: &Attributes, ids: &Ids) -> Result<Label, BindSyntaxError> {
    attributes.read(ids, "keyIdentifier", "1 to 255 printable ASCII characters", Label::parse)
}

fn ttl(cursor: &mut Cursor<'_>, name: &'static str) -> Result<u32, BindSyntaxError> {
    let id = cursor.ids.ttl;
    cursor
        .value(name, "a number of seconds up to 2147483647", |t| number(t).filter(|ttl| *ttl <= MAX_TTL))
        .map_err(
            |e| if e.what.starts_with(&format!("<{name}> is")) { BindSyntaxError { id, ..e } } else { e },
        )
}

/// Base64; blanks and line ends within it do not count.
fn base64(text: &str) -> Option<Vec<u8>> {
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(packed.as_bytes()).ok().filter(|octets| !octets.is_empty() && octets.len() <= 2048)
}

fn key(cursor: &mut Cursor<'_>) -> Result<XmlKey, BindSyntaxError> {
    let ids = cursor.ids;
    let attributes = cursor.open("Key", &["keyIdentifier", "keyTag"])?;
    let identifier = identifier(&attributes, ids)?;
    let tag = attributes.read(ids, "keyTag", "a number up to 65535", number)?;
    let ttl = ttl(cursor, "TTL")?;
    let known =
        |flags: &u16| [FLAG_ZONE, FLAG_ZONE | FLAG_SEP, FLAG_ZONE | FLAG_SEP | FLAG_REVOKE].contains(flags);
    let flags = cursor.value("Flags", "256, 257 or 385", |t| number(t).filter(known))?;
    let protocol = cursor.value("Protocol", "3", |t| number(t).filter(|p| *p == 3))?;
    let algorithm = cursor.value("Algorithm", "a number up to 255", number).map(Algorithm)?;
    let public_key = cursor.value("PublicKey", "base64", base64)?;
    let key = XmlKey { identifier, tag, ttl, dnskey: Dnskey { flags, protocol, algorithm, public_key } };
    if std::ptr::eq(ids, &SKR) && key.dnskey.tag() != tag {
        let what = format!("the key has tag {}, and its keyTag is {tag}: it is damaged", key.dnskey.tag());
        return Err(BindSyntaxError { id: ids.key, ..cursor.fault(what) });
    }
    cursor.close()?;
    Ok(key)
}

fn signature(cursor: &mut Cursor<'_>, domain: &Name) -> Result<XmlSignature, BindSyntaxError> {
    let ids = cursor.ids;
    let attributes = cursor.open("Signature", &["keyIdentifier"])?;
    let identifier = identifier(&attributes, ids)?;
    let said_ttl = ttl(cursor, "TTL")?;
    let covered: Rtype = cursor.value("TypeCovered", "a type", |t| t.parse().ok())?;
    if covered != Rtype::DNSKEY {
        let what = format!("a signature covers {covered}; there are only those over DNSKEY");
        return Err(BindSyntaxError { id: ids.wrong_type, ..cursor.fault(what) });
    }
    let algorithm = cursor.value("Algorithm", "a number up to 255", number).map(Algorithm)?;
    let labels = cursor.value("Labels", "a number up to 255", number)?;
    let original_ttl = ttl(cursor, "OriginalTTL")?;
    if original_ttl != said_ttl {
        let what = format!("the signature has TTL {said_ttl} and original TTL {original_ttl}");
        return Err(BindSyntaxError { id: ids.ttl, ..cursor.fault(what) });
    }
    let expiration = cursor.value("SignatureExpiration", TIME, parse_time)?.to_rrsig();
    let inception = cursor.value("SignatureInception", TIME, parse_time)?.to_rrsig();
    let key_tag = cursor.value("KeyTag", "a number up to 65535", number)?;
    let signer = cursor.value("SignersName", "a name", |t| Name::parse(t).ok())?;
    if signer != *domain {
        let what = format!("the signature is by {signer}, where {domain} was expected");
        return Err(BindSyntaxError { id: ids.wrong_zone, ..cursor.fault(what) });
    }
    let signature = cursor.value("SignatureData", "base64", base64)?;
    cursor.close()?;
    let rrsig =
        Rrsig { covered, algorithm, labels, original_ttl, expiration, inception, key_tag, signer, signature };
    Ok(XmlSignature { identifier, rrsig })
}
