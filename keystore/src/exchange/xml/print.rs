//! Prints KSR and SKR in the layout of the root zone's own files: a KSR indented, without declaration and without a line end
//! behind it; an SKR flat, with both.

use std::fmt::Write;

use data_encoding::BASE64;

use super::lexical::{duration, time};
use super::{ClaimedPolicy, XmlBundle, XmlRequest, XmlResponse};
use crate::dns::Name;
use crate::time::Timestamp;

/// Prints a KSR.
#[must_use]
pub fn print_request(request: &XmlRequest) -> String {
    let mut out = Printer { text: String::new(), indent: true, depth: 0 };
    let (id, domain, serial) = (&request.id, name(&request.domain), request.serial);
    out.open(&format!("KSR id=\"{id}\" domain=\"{domain}\" serial=\"{serial}\""));
    out.open(&format!("Request{}", stamp(request.timestamp)));
    out.open("RequestPolicy");
    out.policy("ZSK", &request.zsk_policy);
    out.close("RequestPolicy");
    for bundle in &request.bundles {
        // As the requester of the root zone writes them: times of bundles without zone, those of signatures with.
        out.bundle("RequestBundle", bundle, "");
    }
    out.close("Request");
    out.close("KSR");
    out.text.truncate(out.text.trim_end().len());
    out.text
}

/// Prints an SKR.
#[must_use]
pub fn print_response(response: &XmlResponse) -> String {
    let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let mut out = Printer { text, indent: false, depth: 0 };
    let (id, domain, serial) = (&response.id, name(&response.domain), response.serial);
    out.open(&format!("KSR id=\"{id}\" domain=\"{domain}\" serial=\"{serial}\""));
    out.open(&format!("Response{}", stamp(response.timestamp)));
    out.open("ResponsePolicy");
    out.policy("KSK", &response.ksk_policy);
    out.policy("ZSK", &response.zsk_policy);
    out.close("ResponsePolicy");
    for bundle in &response.bundles {
        out.bundle("ResponseBundle", bundle, UTC);
    }
    out.close("Response");
    out.close("KSR");
    out.text
}

const UTC: &str = "+00:00";

fn stamp(at: Option<Timestamp>) -> String {
    at.map(|at| format!(" timestamp=\"{}{UTC}\"", time(at))).unwrap_or_default()
}

/// A name, with `\DDD` for what XML or a strict reader would stumble over.
fn name(name: &Name) -> String {
    let (mut out, mut escaped) = (String::new(), false);
    for c in name.to_string().chars() {
        let special = matches!(c, '<' | '>' | '&' | '"' | '\'');
        match (escaped, special) {
            (true, true) => drop(write!(out, "{:03}", u32::from(c))),
            (false, true) => drop(write!(out, "\\{:03}", u32::from(c))),
            _ => out.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    out
}

struct Printer {
    text: String,
    indent: bool,
    depth: usize,
}

/// No value needs an escape: they are numbers, times, base64, UUIDs, labels, and names in the form of [`name`].
impl Printer {
    fn line(&mut self, line: &str) {
        if self.indent {
            self.text.extend(std::iter::repeat_n("  ", self.depth));
        }
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn open(&mut self, element: &str) {
        self.line(&format!("<{element}>"));
        self.depth += 1;
    }

    fn close(&mut self, element: &str) {
        self.depth = self.depth.saturating_sub(1);
        self.line(&format!("</{element}>"));
    }

    fn data(&mut self, element: &str, value: impl std::fmt::Display) {
        self.line(&format!("<{element}>{value}</{element}>"));
    }

    fn policy(&mut self, element: &str, policy: &ClaimedPolicy) {
        self.open(element);
        self.data("PublishSafety", duration(policy.publish_safety));
        self.data("RetireSafety", duration(policy.retire_safety));
        self.data("MaxSignatureValidity", duration(policy.max_signature_validity));
        self.data("MinSignatureValidity", duration(policy.min_signature_validity));
        self.data("MaxValidityOverlap", duration(policy.max_validity_overlap));
        self.data("MinValidityOverlap", duration(policy.min_validity_overlap));
        for claim in &policy.algorithms {
            self.open(&format!("SignatureAlgorithm algorithm=\"{}\"", claim.algorithm.0));
            let size = claim.size;
            match claim.exponent {
                Some(exponent) => self.line(&format!("<RSA size=\"{size}\" exponent=\"{exponent}\"/>")),
                None => self.line(&format!("<ECDSA size=\"{size}\"/>")),
            }
            self.close("SignatureAlgorithm");
        }
        self.close(element);
    }

    fn bundle(&mut self, element: &str, bundle: &XmlBundle, zone: &str) {
        self.open(&format!("{element} id=\"{}\"", bundle.id));
        self.data("Inception", format_args!("{}{zone}", time(bundle.inception)));
        self.data("Expiration", format_args!("{}{zone}", time(bundle.expiration)));
        for signer in &bundle.signers {
            self.line(&format!("<Signer keyIdentifier=\"{signer}\"/>"));
        }
        for key in &bundle.keys {
            self.open(&format!("Key keyIdentifier=\"{}\" keyTag=\"{}\"", key.identifier, key.tag));
            self.data("TTL", key.ttl);
            self.data("Flags", key.dnskey.flags);
            self.data("Protocol", key.dnskey.protocol);
            self.data("Algorithm", key.dnskey.algorithm.0);
            self.data("PublicKey", BASE64.encode(&key.dnskey.public_key));
            self.close("Key");
        }
        for signature in &bundle.signatures {
            let rrsig = &signature.rrsig;
            // Read times end in 2106, and so does what 32 bits count.
            let rrsig_time = |at: u32| time(Timestamp::from_secs(at.into()));
            self.open(&format!("Signature keyIdentifier=\"{}\"", signature.identifier));
            self.data("TTL", rrsig.original_ttl);
            self.data("TypeCovered", rrsig.covered);
            self.data("Algorithm", rrsig.algorithm.0);
            self.data("Labels", rrsig.labels);
            self.data("OriginalTTL", rrsig.original_ttl);
            self.data("SignatureExpiration", format_args!("{}{UTC}", rrsig_time(rrsig.expiration)));
            self.data("SignatureInception", format_args!("{}{UTC}", rrsig_time(rrsig.inception)));
            self.data("KeyTag", rrsig.key_tag);
            self.data("SignersName", name(&rrsig.signer));
            self.data("SignatureData", BASE64.encode(&rrsig.signature));
            self.close("Signature");
        }
        self.close(element);
    }
}
