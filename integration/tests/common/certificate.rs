//! Certificates for 127.0.0.1, as files.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

use keystore::clock;
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

/// A certificate with its key, which can sign others.
pub type Issuer = (X509, PKey<Private>);

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Where a certificate and its key lie in a folder.
pub fn files(folder: &Path, name: &str) -> [PathBuf; 2] {
    ["crt", "key"].map(|kind| folder.join(format!("{name}.{kind}")))
}

/// Writes `NAME.crt` for 127.0.0.1 and NAME.example, valid between these days from now, and `NAME.key`, each put in place by a rename.
/// Without an issuer the certificate vouches for itself.
pub fn write(folder: &Path, name: &str, (from, to): (i64, i64), issuer: Option<&Issuer>) -> Issuer {
    write_by_seconds(folder, name, (from * DAY, to * DAY), issuer)
}

/// The same, valid between these seconds from now.
pub fn write_by_seconds(
    folder: &Path,
    name: &str,
    (from, to): (i64, i64),
    issuer: Option<&Issuer>,
) -> Issuer {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("P-256");
    let key = PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key");
    let mut subject = X509NameBuilder::new().expect("a name");
    subject.append_entry_by_text("CN", name).expect("a name");
    let (subject, mut builder) = (subject.build(), X509Builder::new().expect("a builder"));
    let time = |seconds: i64| {
        let at = i64::try_from(clock::now().secs()).expect("a time of today") + seconds;
        Asn1Time::from_unix(at).expect("a time")
    };
    let issuer_name = issuer.map_or(&*subject, |(certificate, _)| certificate.subject_name());
    builder.set_version(2).expect("version 3");
    builder.set_subject_name(&subject).expect("a subject");
    builder.set_issuer_name(issuer_name).expect("an issuer");
    builder.set_not_before(&time(from)).expect("a time");
    builder.set_not_after(&time(to)).expect("a time");
    builder.set_pubkey(&key).expect("a key");
    let names = SubjectAlternativeName::new()
        .ip("127.0.0.1")
        .dns(&format!("{name}.example"))
        .build(&builder.x509v3_context(issuer.map(|(certificate, _)| &**certificate), None));
    builder.append_extension(names.expect("names")).expect("an extension");
    let mut authority = BasicConstraints::new();
    if issuer.is_none() {
        authority.ca();
    }
    builder.append_extension(authority.critical().build().expect("constraints")).expect("an extension");
    builder.sign(issuer.map_or(&key, |(_, key)| key), MessageDigest::sha256()).expect("signed");
    let certificate = builder.build();
    let [file, key_file] = files(folder, name);
    for (path, pem) in [(key_file, key.private_key_to_pem_pkcs8()), (file, certificate.to_pem())] {
        let new = folder.join("new-file");
        std::fs::write(&new, pem.expect("PEM")).and_then(|()| std::fs::rename(&new, path)).expect("written");
    }
    (certificate, key)
}
