//! Detached signatures in CMS (RFC 5652) by pinned certificates: who has sent a file.
//!
//! ```sh
//! openssl cms -sign -binary -in X -signer cert.pem -inkey key.pem -outform DER -out X.p7s
//! ```
//!
//! There is no chain and no authority: a certificate counts because its octets were pinned. Its dates are judged at the time that is given.

use std::net::IpAddr;

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::stack::Stack;
use openssl::x509::{GeneralNameRef, X509};

use crate::time::Timestamp;

/// Longest signature that is read, in octets: one of RSA 4096 with its certificate takes some 4000.
pub const MAX_SIGNATURE_OCTETS: u64 = 64 << 10;

/// Longest list of digest algorithms, in octets: one takes 11 to 15, and one is usual.
const MAX_DIGEST_ALGORITHMS: usize = 64;

/// A certificate that an operator has named: one that was pinned, or that of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CmsCertificate {
    /// Its DER octets.
    pub der: Vec<u8>,
    /// SHA-256 of them, in lower-case hex: its name in logs.
    pub sha256: String,
    /// Its subject, for people.
    pub subject: String,
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CmsError {
    /// It is no CMS.
    #[error("it does not read as CMS in DER or PEM; make it with `openssl cms -sign -binary -outform DER`")]
    Syntax,
    /// It carries a content of its own, and which of the two counts is not clear.
    #[error("it has the content inside; make a detached one, without -nodetach")]
    Attached,
    /// Its digest can be forged.
    #[error("it is made with SHA-1 or MD5, which can be forged; make it with -md sha256")]
    Weak,
    /// The signer is none of the pinned certificates, or the content is another.
    #[error(
        "no pinned certificate has signed these octets: it is of another signer, for another file, or was made without -binary"
    )]
    NotSigned,
    /// The certificate is not valid at the time.
    #[error("the certificate of the signer ({subject}) is not valid now: from {from} until {until}")]
    Dates {
        /// Its subject.
        subject: String,
        /// Its notBefore.
        from: String,
        /// Its notAfter.
        until: String,
    },
}

/// Why a file of certificates is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CmsCertificateError {
    /// It is no PEM file of certificates.
    #[error("does not read as PEM certificates")]
    Syntax,
    /// It is PEM of something else, or empty.
    #[error("holds no certificate (-----BEGIN CERTIFICATE-----)")]
    None,
}

impl CmsCertificate {
    /// Reads every certificate of a PEM file.
    pub fn read_pem(pem: &[u8]) -> Result<Vec<Self>, CmsCertificateError> {
        let certificates = X509::stack_from_pem(pem).map_err(|_| CmsCertificateError::Syntax)?;
        if certificates.is_empty() {
            return Err(CmsCertificateError::None);
        }
        certificates.iter().map(Self::of).collect()
    }

    /// Reads one from its DER octets.
    pub fn read_der(der: &[u8]) -> Result<Self, CmsCertificateError> {
        let x509 = X509::from_der(der).map_err(|_| CmsCertificateError::Syntax)?;
        Self::of(&x509)
    }

    fn of(x509: &X509) -> Result<Self, CmsCertificateError> {
        let der = x509.to_der().map_err(|_| CmsCertificateError::Syntax)?;
        let sha256 = data_encoding::HEXLOWER.encode(&super::sha256(&der));
        let subject = x509.subject_name().entries().filter_map(|entry| {
            let (name, value) = (entry.object().nid().short_name().ok()?, entry.data().to_string().ok()?);
            Some(format!("{name}={}", value.escape_debug()))
        });
        Ok(Self { subject: subject.collect::<Vec<_>>().join(", "), der, sha256 })
    }

    /// The time from which and the time until which it is valid (RFC 5280 section 4.1.2.5); `None` when they are out of range.
    #[must_use]
    pub fn validity(&self) -> Option<(Timestamp, Timestamp)> {
        let x509 = self.x509()?;
        let epoch = Asn1Time::from_unix(0).ok()?;
        let since_epoch = |time: &Asn1TimeRef| {
            let passed = epoch.diff(time).ok()?;
            let secs = i64::from(passed.days) * 86_400 + i64::from(passed.secs);
            u64::try_from(secs).ok().map(Timestamp::from_secs)
        };
        Some((since_epoch(x509.not_before())?, since_epoch(x509.not_after())?))
    }

    /// Its alternative names (RFC 5280 section 4.2.1.6) of the kinds DNS, IP address, mail address and URI, as text.
    #[must_use]
    pub fn alternative_names(&self) -> Vec<String> {
        let names = self.x509().and_then(|x509| x509.subject_alt_names());
        let text = |name: &GeneralNameRef| {
            let address = |octets: &[u8]| match octets.len() {
                4 => <[u8; 4]>::try_from(octets).ok().map(|o| IpAddr::from(o).to_string()),
                16 => <[u8; 16]>::try_from(octets).ok().map(|o| IpAddr::from(o).to_string()),
                _ => None,
            };
            let words = name.dnsname().or_else(|| name.email()).or_else(|| name.uri());
            words.map(str::to_owned).or_else(|| address(name.ipaddress()?))
        };
        names.iter().flatten().filter_map(text).collect()
    }

    fn x509(&self) -> Option<X509> {
        X509::from_der(&self.der).ok()
    }

    fn is_valid_at(&self, now: Timestamp) -> bool {
        let Some(now) = i64::try_from(now.secs()).ok().and_then(|secs| Asn1Time::from_unix(secs).ok()) else {
            return false;
        };
        self.x509().is_some_and(|x| x.not_before() <= now && x.not_after() >= now)
    }
}

/// True when `signature` reads as CMS: one that is only half there does not.
#[must_use]
pub fn is_whole(signature: &[u8]) -> bool {
    parse(signature).is_ok()
}

/// Verifies the detached `signature` over `content`: every signer in it is one of `pinned`, valid at `now`. Gives one of the signers.
pub fn verify_detached<'a>(
    signature: &[u8],
    content: &[u8],
    pinned: &'a [CmsCertificate],
    now: Timestamp,
) -> Result<&'a CmsCertificate, CmsError> {
    if !is_detached(&mut parse(signature)?) {
        return Err(CmsError::Attached);
    }
    if has_weak_digest(signature) {
        return Err(CmsError::Weak);
    }
    let signed_by =
        |certificate: &&CmsCertificate| is_signed(signature, content, std::slice::from_ref(*certificate));
    // The usual case first: one signer. With several, each of them must be pinned and valid.
    if let Some(signer) = pinned.iter().find(signed_by) {
        return if signer.is_valid_at(now) { Ok(signer) } else { Err(dates(signer)) };
    }
    let valid: Vec<CmsCertificate> = pinned.iter().filter(|c| c.is_valid_at(now)).cloned().collect();
    match pinned.iter().find(|c| c.is_valid_at(now)) {
        Some(first) if valid.len() > 1 && is_signed(signature, content, &valid) => Ok(first),
        _ => Err(CmsError::NotSigned),
    }
}

fn dates(certificate: &CmsCertificate) -> CmsError {
    let (from, until) = certificate
        .x509()
        .map_or_else(Default::default, |x| (x.not_before().to_string(), x.not_after().to_string()));
    CmsError::Dates { subject: certificate.subject.clone(), from, until }
}

fn parse(signature: &[u8]) -> Result<CmsContentInfo, CmsError> {
    if signature.len() as u64 > MAX_SIGNATURE_OCTETS {
        return Err(CmsError::Syntax);
    }
    let parsed = if let Some(text) = pem(signature) {
        // One object, and nothing behind its last line.
        let lines: Vec<&[u8]> = text.trim_ascii_end().split(|octet| *octet == b'\n').collect();
        let ends = lines.iter().filter(|line| line.starts_with(PEM_END)).count();
        if ends != 1 || lines.last().is_none_or(|last| !last.starts_with(PEM_END)) {
            return Err(CmsError::Syntax);
        }
        CmsContentInfo::from_pem(signature)
    } else {
        if element(signature, SEQUENCE).is_none_or(|(_, behind)| !behind.is_empty()) {
            return Err(CmsError::Syntax);
        }
        CmsContentInfo::from_der(signature)
    };
    let parsed = parsed.map_err(|_| CmsError::Syntax)?;
    // The content is hashed once for each entry, doubles too.
    match parsed.to_der().ok().as_deref().and_then(digest_algorithms) {
        Some(octets) if octets <= MAX_DIGEST_ALGORITHMS => Ok(parsed),
        _ => Err(CmsError::Syntax),
    }
}

/// Tag of a SEQUENCE.
const SEQUENCE: u8 = 0x30;
/// How the last line of a PEM object begins.
const PEM_END: &[u8] = b"-----END ";

/// The signature from its first line on, when it is in PEM.
fn pem(signature: &[u8]) -> Option<&[u8]> {
    let text = signature.trim_ascii_start();
    text.starts_with(b"-----BEGIN ").then_some(text)
}

/// Object identifiers, in DER, of the digests and signatures that can be forged: SHA-1, MD5, RSA with each, DSA and ECDSA with SHA-1.
const WEAK: [&[u8]; 6] = [
    &[0x06, 5, 0x2b, 14, 3, 2, 26],
    &[0x06, 8, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 2, 5],
    &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 5],
    &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 4],
    &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 56, 4, 3],
    &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 61, 4, 1],
];

/// True when a signer (`signerInfos`, RFC 5652 section 5.1) names a digest that can be forged. What certificates beside it say does not
/// matter: the pinned ones count.
fn has_weak_digest(signature: &[u8]) -> bool {
    let der = parse(signature).ok().and_then(|parsed| parsed.to_der().ok());
    let signers = der.as_deref().and_then(signer_infos);
    signers
        .is_none_or(|signers| WEAK.iter().any(|oid| signers.windows(oid.len()).any(|window| window == *oid)))
}

/// The content of `signerInfos` in the SignedData of a ContentInfo; `None` for anything else.
fn signer_infos(content_info: &[u8]) -> Option<&[u8]> {
    let (content_info, _) = element(content_info, SEQUENCE)?;
    let (_content_type, rest) = element(content_info, 0x06)?;
    let (content, _) = element(rest, 0xa0)?;
    let (signed_data, _) = element(content, SEQUENCE)?;
    let (_version, rest) = element(signed_data, 0x02)?;
    let (_digest_algorithms, rest) = element(rest, 0x31)?;
    let (_encapsulated, mut rest) = element(rest, SEQUENCE)?;
    // Certificates and revocation lists, where there are any.
    for tag in [0xa0, 0xa1] {
        if let Some((_, behind)) = element(rest, tag) {
            rest = behind;
        }
    }
    element(rest, 0x31).map(|(signers, _)| signers)
}

/// Octets of `digestAlgorithms` in the SignedData of a ContentInfo (RFC 5652 sections 3 and 5.1); `None` for anything else.
fn digest_algorithms(content_info: &[u8]) -> Option<usize> {
    let (content_info, _) = element(content_info, SEQUENCE)?;
    let (_content_type, rest) = element(content_info, 0x06)?;
    let (content, _) = element(rest, 0xa0)?;
    let (signed_data, _) = element(content, SEQUENCE)?;
    let (_version, rest) = element(signed_data, 0x02)?;
    element(rest, 0x31).map(|(algorithms, _)| algorithms.len())
}

/// The content of the DER element of this tag at the beginning of `octets`, and what follows it.
fn element(octets: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = octets.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match *length {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (length.iter().fold(0, |all, octet| all << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    (*first == tag).then(|| rest.split_at_checked(length)).flatten()
}

/// CMS_R_NO_CONTENT of OpenSSL's `cmserr.h`.
const NO_CONTENT: i32 = 127;

/// OpenSSL looks for the content before anything else, and says so when there is none.
fn is_detached(cms: &mut CmsContentInfo) -> bool {
    let flags = CMSOptions::NO_SIGNER_CERT_VERIFY | CMSOptions::NOINTERN | CMSOptions::BINARY;
    match cms.verify(None, None, None, None, flags) {
        Ok(()) => false,
        Err(error) => error.errors().iter().any(|error| error.reason_code() == NO_CONTENT),
    }
}

/// Each signer is found among `certificates`, and there alone, and its signature over `content` verifies.
fn is_signed(signature: &[u8], content: &[u8], certificates: &[CmsCertificate]) -> bool {
    let Ok(mut cms) = parse(signature) else { return false };
    let Ok(mut stack) = Stack::new() else { return false };
    for certificate in certificates.iter().filter_map(CmsCertificate::x509) {
        if stack.push(certificate).is_err() {
            return false;
        }
    }
    // NOINTERN: never a certificate that the signature brings along. NO_SIGNER_CERT_VERIFY: no chain, the octets are pinned.
    let flags = CMSOptions::NOINTERN | CMSOptions::NO_SIGNER_CERT_VERIFY | CMSOptions::BINARY;
    cms.verify(Some(&stack), None, Some(content), None, flags).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `fixtures/cms/make`.
    macro_rules! fixture {
        ($name:literal) => {
            &include_bytes!(concat!("../../tests/fixtures/cms/", $name))[..]
        };
    }

    fn pinned(pem: &[u8]) -> Vec<CmsCertificate> {
        CmsCertificate::read_pem(pem).unwrap()
    }

    /// 2027-01-01: within the dates of the good certificates.
    fn now() -> Timestamp {
        Timestamp::parse_stamp("20270101000000").unwrap()
    }

    fn operator() -> Vec<CmsCertificate> {
        pinned(fixture!("operator.pem"))
    }

    #[test]
    fn accepts_what_the_openssl_command_made() {
        for signature in [fixture!("good.p7s"), fixture!("good-pem.p7s"), fixture!("no-certs.p7s")] {
            let pinned = operator();
            let signer = verify_detached(signature, fixture!("content"), &pinned, now()).unwrap();
            assert_eq!(signer.subject, "CN=ksk-operator");
            // Among others, too.
            let both = [self::pinned(fixture!("other.pem")), pinned.clone()].concat();
            assert_eq!(verify_detached(signature, fixture!("content"), &both, now()).unwrap(), signer);
        }
        let both = [operator(), pinned(fixture!("other.pem"))].concat();
        assert!(verify_detached(fixture!("two-signers.p7s"), fixture!("content"), &both, now()).is_ok());
    }

    #[test]
    fn rejects_everything_else() {
        let operator = operator();
        let other = pinned(fixture!("other.pem"));
        let expired = pinned(fixture!("expired.pem"));
        let content = fixture!("content");
        let mut flipped = fixture!("good.p7s").to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        let cut = &fixture!("good.p7s")[..200];
        let mut changed = content.to_vec();
        changed[10] ^= 1;
        let huge = vec![0x30; 65_537];
        for (what, signature, content, pinned, want) in [
            ("another certificate", fixture!("other.p7s"), content, &operator, "NotSigned"),
            ("ours, and another pinned", fixture!("good.p7s"), content, &other, "NotSigned"),
            ("another content", fixture!("good.p7s"), &changed, &operator, "NotSigned"),
            ("no content", fixture!("good.p7s"), b"", &operator, "NotSigned"),
            ("one of two signers", fixture!("two-signers.p7s"), content, &operator, "NotSigned"),
            ("the same name and number", fixture!("twin.p7s"), content, &operator, "NotSigned"),
            ("a flipped bit", &flipped, content, &operator, "NotSigned"),
            ("made as text", fixture!("text.p7s"), content, &operator, "NotSigned"),
            ("attached", fixture!("attached.p7s"), content, &operator, "Attached"),
            ("an expired certificate", fixture!("expired.p7s"), content, &expired, "Dates"),
            ("cut off", cut, content, &operator, "Syntax"),
            ("garbage", b"garbage", content, &operator, "Syntax"),
            ("nothing", b"", content, &operator, "Syntax"),
            ("huge", &huge, content, &operator, "Syntax"),
            ("the certificate itself", fixture!("operator.pem"), content, &operator, "Syntax"),
            ("nothing pinned", fixture!("good.p7s"), content, &Vec::new(), "NotSigned"),
        ] {
            let error = verify_detached(signature, content, pinned, now()).unwrap_err();
            assert!(format!("{error:?}").starts_with(want), "{what}: {error:?}");
        }
    }

    /// OpenSSL hashes the content for each entry of the list: thousands of them would hold up whoever verifies.
    #[test]
    fn a_long_list_of_digest_algorithms_is_refused() {
        let good = CmsContentInfo::from_der(fixture!("good.p7s")).unwrap().to_der().unwrap();
        let wrap = |tag: u8, content: &[u8]| {
            let length = u32::try_from(content.len()).unwrap().to_be_bytes();
            [&[tag, 0x84][..], &length, content].concat()
        };
        let with_entries = |count: usize| {
            let (content_info, _) = element(&good, 0x30).unwrap();
            let (kind, rest) = element(content_info, 0x06).unwrap();
            let (signed, _) = element(element(rest, 0xa0).unwrap().0, 0x30).unwrap();
            let (version, rest) = element(signed, 0x02).unwrap();
            let (algorithms, rest) = element(rest, 0x31).unwrap();
            let signed = [wrap(0x02, version), wrap(0x31, &algorithms.repeat(count)), rest.to_vec()].concat();
            wrap(0x30, &[wrap(0x06, kind), wrap(0xa0, &wrap(0x30, &signed))].concat())
        };
        let verdict = |count| {
            verify_detached(&with_entries(count), fixture!("content"), &operator(), now()).map(|_| ())
        };
        assert_eq!(verdict(1), Ok(()));
        for count in [10, 3000] {
            assert_eq!(verdict(count), Err(CmsError::Syntax), "{count}");
        }
    }

    /// The verdict of the openssl command on each fixture; it knows no dates here, and takes what is attached.
    #[test]
    fn the_openssl_command_says_the_same() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cms/");
        let by_command = |signature: &str, certificate: &str| {
            let form = if signature.contains("pem") { "PEM" } else { "DER" };
            std::process::Command::new("openssl")
                .current_dir(dir)
                .args([
                    "cms",
                    "-verify",
                    "-binary",
                    "-nointern",
                    "-noverify",
                    "-inform",
                    form,
                    "-in",
                    signature,
                ])
                .args(["-content", "content", "-certfile", certificate, "-out", "/dev/null"])
                .stderr(std::process::Stdio::null())
                .status()
                .map(|status| status.success())
        };
        if by_command("good.p7s", "operator.pem").is_err() {
            assert!(std::env::var_os("CI").is_none(), "there is no openssl command");
            eprintln!("SKIPPED: there is no openssl command");
            return;
        }
        let content = fixture!("content");
        let mut good = 0;
        for signature in std::fs::read_dir(dir).unwrap() {
            let name = signature.unwrap().file_name().into_string().unwrap();
            if !name.ends_with(".p7s") || name == "attached.p7s" {
                continue;
            }
            let signature = std::fs::read(format!("{dir}{name}")).unwrap();
            for certificate in ["operator.pem", "other.pem", "expired.pem"] {
                let pinned = pinned(&std::fs::read(format!("{dir}{certificate}")).unwrap());
                let ours = match verify_detached(&signature, content, &pinned, now()) {
                    Ok(_) | Err(CmsError::Dates { .. }) => true,
                    Err(_) => false,
                };
                assert_eq!(ours, by_command(&name, certificate).unwrap(), "{name} {certificate}");
                good += usize::from(ours);
            }
        }
        assert!(good >= 5, "{good}");
    }

    #[test]
    fn dates_are_judged_by_the_given_time() {
        let pinned = operator();
        let at = |stamp: &str| {
            let now = Timestamp::parse_stamp(stamp).unwrap();
            verify_detached(fixture!("good.p7s"), fixture!("content"), &pinned, now).map(|_| ())
        };
        assert_eq!(at("20260101000000"), Ok(()));
        assert_eq!(at("20451231235959"), Ok(()));
        for stamp in ["20251231235959", "20460101000000", "21060101000000"] {
            assert!(matches!(at(stamp), Err(CmsError::Dates { .. })), "{stamp}");
        }
    }

    #[test]
    fn certificates_are_read_or_told() {
        assert_eq!(pinned(&[fixture!("operator.pem"), fixture!("other.pem")].concat()).len(), 2);
        for bad in [&b""[..], b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(CmsCertificate::read_pem(bad).is_err());
        }
    }
}
