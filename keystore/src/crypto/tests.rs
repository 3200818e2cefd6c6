//! Published examples, both libraries against each other, and damaged keys.

use ::openssl::bn::{BigNum, BigNumContext};
use ::openssl::ec::{EcGroup, EcKey, EcPoint};
use ::openssl::ecdsa::EcdsaSig;
use ::openssl::hash::{MessageDigest, hash};
use ::openssl::nid::Nid;
use ::openssl::pkey::{Id, PKey, Private, Public};
use ::openssl::rsa::Rsa;
use ::openssl::sign::{Signer, Verifier};
use data_encoding::BASE64;

use super::*;
use crate::dns::{Name, Rtype};

const SIGNING: [u8; 6] = [8, 10, 13, 14, 15, 16];

fn base64(text: &str) -> Vec<u8> {
    BASE64.decode(text.as_bytes()).expect("base64")
}

/// One published RRSIG: number, private key (empty = not published), public key, owner, type, RDATA, RRSIG times, tag,
/// signer, signature.
struct Example {
    source: &'static str,
    algorithm: u8,
    private: &'static str,
    public: &'static str,
    owner: &'static str,
    rtype: Rtype,
    rdata: &'static [u8],
    expiration: u32,
    inception: u32,
    tag: u16,
    signer: &'static str,
    signature: &'static str,
}

impl Example {
    /// The octets of RFC 4034 section 3.1.8.1, for one record of TTL 3600.
    fn signed_data(&self) -> Vec<u8> {
        let owner = Name::parse(self.owner).expect("name");
        let mut out = self.rtype.0.to_be_bytes().to_vec();
        out.extend_from_slice(&[self.algorithm, owner.rrsig_labels()]);
        for number in [3600, self.expiration, self.inception] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.tag.to_be_bytes());
        out.extend_from_slice(&Name::parse(self.signer).expect("name").canonical_wire());
        out.extend_from_slice(&owner.canonical_wire());
        out.extend_from_slice(&self.rtype.0.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&3600u32.to_be_bytes());
        out.extend_from_slice(&(self.rdata.len() as u16).to_be_bytes());
        out.extend_from_slice(self.rdata);
        out
    }
}

const MX: &[u8] = b"\x00\x0a\x04mail\x07example\x03com\x00";

const EXAMPLES: &[Example] = &[
    Example {
        source: "RFC 5702 section 6.2",
        algorithm: 10,
        private: "",
        public: "AwEAAdHoNTOW+et86KuJOWRDp1pndvwb6Y83nSVXXyLA3DLroROUkN6X0O6pnWnjJQujX/AyhqFDxj13tOnD9u/1kTg7cV6rklMrZDtJCQ5PCl/D7QNPsgVsMu1J2Q8gpMpztNFLpPBz1bWXjDtaR7ZQBlZ3PFY12ZTSncorffcGmhOL",
        owner: "www.example.net.",
        rtype: Rtype::A,
        rdata: &[192, 0, 2, 91],
        expiration: 1_893_456_000,
        inception: 946_684_800,
        tag: 3740,
        signer: "example.net.",
        signature: "tsb4wnjRUDnB1BUi+t6TMTXThjVnG+eCkWqjvvjhzQL1d0YRoOe0CbxrVDYd0xDtsuJRaeUw1ep94PzEWzr0iGYgZBWm/zpq+9fOuagYJRfDqfReKBzMweOLDiNa8iP5g9vMhpuv6OPlvpXwm9Sa9ZXIbNl1MBGk0fthPgxdDLw=",
    },
    Example {
        source: "RFC 6605 section 6.1",
        algorithm: 13,
        private: "GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=",
        public: "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
        owner: "www.example.net.",
        rtype: Rtype::A,
        rdata: &[192, 0, 2, 1],
        expiration: 1_284_026_679,
        inception: 1_281_607_479,
        tag: 55648,
        signer: "example.net.",
        signature: "qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==",
    },
    Example {
        source: "RFC 6605 section 6.2",
        algorithm: 14,
        private: "WURgWHCcYIYUPWgeLmiPY2DJJk02vgrmTfitxgqcL4vwW7BOrbawVmVe0d9V94SR",
        public: "xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1w/egsXvSADtNJhyem5RCOpgQ6K8X1DRSEkrbYQ+OB+v8/uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40",
        owner: "www.example.net.",
        rtype: Rtype::A,
        rdata: &[192, 0, 2, 1],
        expiration: 1_284_027_625,
        inception: 1_281_608_425,
        tag: 10771,
        signer: "example.net.",
        signature: "/L5hDKIvGDyI1fcARX3z65qrmPsVz73QD1Mr5CEqOiLP95hxQouuroGCeZOvzFaxsT8Glr74hbavRKayJNuydCuzWTSSPdz7wnqXL5bdcJzusdnI0RSMROxxwGipWcJm",
    },
    Example {
        source: "RFC 8080 section 6.1, first",
        algorithm: 15,
        private: "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=",
        public: "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
        owner: "example.com.",
        rtype: Rtype::MX,
        rdata: MX,
        expiration: 1_440_021_600,
        inception: 1_438_207_200,
        tag: 3613,
        signer: "example.com.",
        signature: "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
    },
    Example {
        source: "RFC 8080 section 6.2, first",
        algorithm: 16,
        private: "xZ+5Cgm463xugtkY5B0Jx6erFTXp13rYegst0qRtNsOYnaVpMx0Z/c5EiA9x8wWbDDct/U3FhYWA",
        public: "3kgROaDjrh0H2iuixWBrc8g2EpBBLCdGzHmn+G2MpTPhpj/OiBVHHSfPodx1FYYUcJKm1MDpJtIA",
        owner: "example.com.",
        rtype: Rtype::MX,
        rdata: MX,
        expiration: 1_440_021_600,
        inception: 1_438_207_200,
        tag: 9713,
        signer: "example.com.",
        signature: "3cPAHkmlnxcDHMyg7vFC34l0blBhuG1qpwLmjInI8w1CMB29FkEAIJUA0amxWndkmnBZ6SKiwZSAxGILn/NBtOXft0+Gj7FSvOKxE/07+4RQvE581N3Aj/JtIyaiYVdnYtyMWbSNyGEY2213WKsJlwEA",
    },
];

#[test]
fn published_examples() {
    for e in EXAMPLES {
        let algorithm = Algorithm(e.algorithm);
        let public = base64(e.public);
        let signature = base64(e.signature);
        let data = e.signed_data();
        check_public_key(algorithm, &public).expect(e.source);
        verify(algorithm, &public, &data, &signature).expect(e.source);
        for at in [0, signature.len() / 2, signature.len() - 2] {
            let mut bad = signature.clone();
            bad[at] ^= 1;
            assert_eq!(
                verify(algorithm, &public, &data, &bad),
                Err(VerifyError::BadSignature),
                "{}",
                e.source
            );
        }
        if e.private.is_empty() {
            continue;
        }
        let private = PrivateKey::Raw(base64(e.private));
        assert_eq!(private.public_key(algorithm).expect(e.source), public, "{}", e.source);
        let made = private.signer(algorithm).expect(e.source).sign(&data).expect(e.source);
        if algorithm == Algorithm::ED25519 || algorithm == Algorithm::ED448 {
            assert_eq!(made, signature, "{}: EdDSA signatures are deterministic", e.source);
        }
    }
}

#[test]
fn both_libraries_agree() {
    let data = b"some octets to sign";
    for n in SIGNING {
        let algorithm = Algorithm(n);
        for bits in if algorithm.is_rsa() { vec![1024, 1280, 2048] } else { vec![0] } {
            let key = PrivateKey::generate(algorithm, bits).expect("key");
            let public = key.public_key(algorithm).expect("public key");
            let size = check_public_key(algorithm, &public).expect("usable");
            assert_eq!(size, algorithm.fixed_bits().unwrap_or(bits));
            let signature = key.signer(algorithm).expect("signer").sign(data).expect("signature");
            verify(algorithm, &public, data, &signature).expect("own signature");
            assert!(by_openssl::verify(algorithm, &public, data, &signature), "{algorithm} {bits}");
            let other = by_openssl::sign(algorithm, &key, data);
            verify(algorithm, &public, data, &other).expect("signature of openssl");
            assert_eq!(verify(algorithm, &public, b"other", &other), Err(VerifyError::BadSignature));
            for cut in [0, 1, other.len() - 1] {
                assert_eq!(verify(algorithm, &public, data, &other[..cut]), Err(VerifyError::BadSignature));
            }
            let long = [&other[..], &[0]].concat();
            assert_eq!(verify(algorithm, &public, data, &long), Err(VerifyError::BadSignature));
        }
    }
}

#[test]
fn sha1_is_verified_and_not_signed_with() {
    let key = PrivateKey::generate(Algorithm::RSASHA256, 1024).expect("key");
    let public = key.public_key(Algorithm::RSASHA256).expect("public key");
    for algorithm in [Algorithm::RSASHA1, Algorithm::NSEC3RSASHA1] {
        let signature = by_openssl::sign(algorithm, &key, b"data");
        assert_eq!(verify(algorithm, &public, b"data", &signature), Ok(()));
        assert_eq!(verify(algorithm, &public, b"Data", &signature), Err(VerifyError::BadSignature));
        assert!(matches!(key.signer(algorithm), Err(SignError::Unsupported(_))));
        assert!(matches!(PrivateKey::generate(algorithm, 1024), Err(SignError::Unsupported(_))));
    }
}

#[test]
fn rsa_exponent_3_signs_by_openssl() {
    let rsa = Rsa::generate_with_e(2048, &BigNum::from_u32(3).expect("3")).expect("key");
    let key = PrivateKey::Rsa {
        modulus: rsa.n().to_vec(),
        public_exponent: rsa.e().to_vec(),
        private_exponent: rsa.d().to_vec(),
        prime1: rsa.p().expect("p").to_vec(),
        prime2: rsa.q().expect("q").to_vec(),
        exponent1: rsa.dmp1().expect("dmp1").to_vec(),
        exponent2: rsa.dmq1().expect("dmq1").to_vec(),
        coefficient: rsa.iqmp().expect("iqmp").to_vec(),
    };
    let signer = key.signer(Algorithm::RSASHA512).expect("signer");
    let signature = signer.sign(b"data").expect("signature");
    assert_eq!(verify(Algorithm::RSASHA512, signer.public_key(), b"data", &signature), Ok(()));
}

#[test]
fn damaged_private_keys_never_sign_wrongly() {
    for bits in [1024, 2048] {
        let good = PrivateKey::generate(Algorithm::RSASHA256, bits).expect("key");
        for element in 0..8 {
            for change in [Change::Flip, Change::Empty, Change::Zero, Change::Swap, Change::Huge] {
                let bad = damage(&good, element, change);
                let Ok(signer) = bad.signer(Algorithm::RSASHA256) else { continue };
                // The numbers that a signature does not depend on may be wrong; what comes out must still verify.
                let signature = signer.sign(b"data").expect("signature");
                let public = signer.public_key();
                assert_eq!(
                    verify(Algorithm::RSASHA256, public, b"data", &signature),
                    Ok(()),
                    "{element} {change:?}"
                );
            }
        }
    }
    for n in [13, 14, 15, 16] {
        let algorithm = Algorithm(n);
        let PrivateKey::Raw(seed) = &PrivateKey::generate(algorithm, 0).expect("key") else { unreachable!() };
        for wrong in [vec![], seed[1..].to_vec(), [&seed[..], &[0]].concat()] {
            assert!(matches!(PrivateKey::Raw(wrong).signer(algorithm), Err(SignError::BadKey(_))));
        }
    }
    for (n, len) in [(13, 32), (14, 48)] {
        for scalar in [vec![0; len], vec![0xff; len]] {
            assert!(matches!(PrivateKey::Raw(scalar).signer(Algorithm(n)), Err(SignError::BadKey(_))));
        }
    }
    let rsa = PrivateKey::generate(Algorithm::RSASHA256, 1024).expect("key");
    assert!(matches!(rsa.signer(Algorithm::ED25519), Err(SignError::BadKey(_))));
    assert!(matches!(PrivateKey::Raw(vec![1; 32]).signer(Algorithm::RSASHA256), Err(SignError::BadKey(_))));
    for bits in [0, 512, 1023, 4097, u16::MAX] {
        assert!(PrivateKey::generate(Algorithm::RSASHA256, bits).is_err(), "{bits}");
    }
}

/// Fault list, CVE-2025-8677: a malformed DNSKEY whose tag matches costs no signature check.
#[test]
fn cve_2025_8677_malformed_key_with_matching_tag() {
    for (n, public) in
        [(13, vec![7; 64]), (14, vec![7; 96]), (15, vec![7; 31]), (16, vec![7; 58]), (8, vec![3, 1, 0, 1, 9])]
    {
        assert_eq!(verify(Algorithm(n), &public, b"data", &[1; 64]), Err(VerifyError::BadKey), "{n}");
    }
}

#[test]
fn debug_prints_no_secret() {
    let key = PrivateKey::Raw(vec![0x41; 32]);
    assert_eq!(format!("{key:?}"), "PrivateKey(...)");
}

#[test]
fn mnemonics_round_trip() {
    for n in [5, 7, 8, 10, 13, 14, 15, 16] {
        let text = Algorithm(n).to_string();
        assert_eq!(Algorithm::parse(&text.to_lowercase()), Some(Algorithm(n)));
    }
    assert_eq!(Algorithm::parse("ecdsa256"), Some(Algorithm::ECDSAP256SHA256));
    assert_eq!(Algorithm::parse("ECDSA384"), Some(Algorithm::ECDSAP384SHA384));
    assert_eq!(Algorithm::parse("253"), Some(Algorithm(253)));
    for bad in ["", "256", "-1", "RSA", "ED25519 "] {
        assert_eq!(Algorithm::parse(bad), None, "{bad}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Flip,
    Empty,
    Zero,
    Swap,
    Huge,
}

/// A copy of an RSA key with one element changed.
fn damage(key: &PrivateKey, element: usize, change: Change) -> PrivateKey {
    let PrivateKey::Rsa {
        modulus,
        public_exponent,
        private_exponent,
        prime1,
        prime2,
        exponent1,
        exponent2,
        coefficient,
    } = key
    else {
        unreachable!("an RSA key")
    };
    let mut all =
        [modulus, public_exponent, private_exponent, prime1, prime2, exponent1, exponent2, coefficient]
            .map(Clone::clone);
    match change {
        Change::Flip => {
            let middle = all[element].len() / 2;
            all[element][middle] ^= 0x10;
        }
        Change::Empty => all[element].clear(),
        Change::Zero => all[element].fill(0),
        Change::Swap => all.swap(element, (element + 1) % 8),
        Change::Huge => all[element] = vec![0xff; 513],
    }
    let [modulus, public_exponent, private_exponent, prime1, prime2, exponent1, exponent2, coefficient] = all;
    PrivateKey::Rsa {
        modulus,
        public_exponent,
        private_exponent,
        prime1,
        prime2,
        exponent1,
        exponent2,
        coefficient,
    }
}

/// The same algorithms with openssl alone, as a second opinion.
mod by_openssl {
    use super::*;

    fn digest(algorithm: Algorithm) -> MessageDigest {
        match algorithm.0 {
            5 | 7 => MessageDigest::sha1(),
            8 | 13 => MessageDigest::sha256(),
            14 => MessageDigest::sha384(),
            _ => MessageDigest::sha512(),
        }
    }

    fn group(algorithm: Algorithm) -> (EcGroup, i32) {
        let (nid, len) = if algorithm.0 == 13 { (Nid::X9_62_PRIME256V1, 32) } else { (Nid::SECP384R1, 48) };
        (EcGroup::from_curve_name(nid).expect("curve"), len)
    }

    pub(super) fn sign(algorithm: Algorithm, key: &PrivateKey, data: &[u8]) -> Vec<u8> {
        let number = |octets: &[u8]| BigNum::from_slice(octets).expect("number");
        match key {
            PrivateKey::Rsa {
                modulus,
                public_exponent,
                private_exponent,
                prime1,
                prime2,
                exponent1,
                exponent2,
                coefficient,
            } => {
                let rsa = Rsa::from_private_components(
                    number(modulus),
                    number(public_exponent),
                    number(private_exponent),
                    number(prime1),
                    number(prime2),
                    number(exponent1),
                    number(exponent2),
                    number(coefficient),
                )
                .expect("key");
                let pair = PKey::from_rsa(rsa).expect("key");
                let mut signer = Signer::new(digest(algorithm), &pair).expect("signer");
                signer.sign_oneshot_to_vec(data).expect("signature")
            }
            PrivateKey::Raw(scalar) if matches!(algorithm.0, 13 | 14) => {
                let (group, len) = group(algorithm);
                let mut point = EcPoint::new(&group).expect("point");
                let mut context = BigNumContext::new().expect("context");
                point.mul_generator2(&group, &number(scalar), &mut context).expect("point");
                let pair = EcKey::from_private_components(&group, &number(scalar), &point).expect("key");
                let signature = EcdsaSig::sign(&hash(digest(algorithm), data).expect("digest"), &pair)
                    .expect("signature");
                let mut out = signature.r().to_vec_padded(len).expect("r");
                out.extend(signature.s().to_vec_padded(len).expect("s"));
                out
            }
            PrivateKey::Raw(seed) => {
                let pair: PKey<Private> =
                    PKey::private_key_from_raw_bytes(seed, eddsa(algorithm)).expect("key");
                Signer::new_without_digest(&pair)
                    .expect("signer")
                    .sign_oneshot_to_vec(data)
                    .expect("signature")
            }
        }
    }

    pub(super) fn verify(algorithm: Algorithm, public: &[u8], data: &[u8], signature: &[u8]) -> bool {
        let number = |octets: &[u8]| BigNum::from_slice(octets).expect("number");
        match algorithm.0 {
            13 | 14 => {
                let (group, len) = group(algorithm);
                let (x, y) = public.split_at(len as usize);
                let key =
                    EcKey::from_public_key_affine_coordinates(&group, &number(x), &number(y)).expect("key");
                let (r, s) = signature.split_at(len as usize);
                let signature = EcdsaSig::from_private_components(number(r), number(s)).expect("signature");
                signature.verify(&hash(digest(algorithm), data).expect("digest"), &key).expect("verdict")
            }
            15 | 16 => {
                let key: PKey<Public> =
                    PKey::public_key_from_raw_bytes(public, eddsa(algorithm)).expect("key");
                let mut verifier = Verifier::new_without_digest(&key).expect("verifier");
                verifier.verify_oneshot(signature, data).expect("verdict")
            }
            _ => {
                let parts = rsa::RsaPublicKey::parse(public).expect("field");
                let rsa = Rsa::from_public_components(number(parts.modulus), number(parts.exponent));
                let key = PKey::from_rsa(rsa.expect("key")).expect("key");
                let mut verifier = Verifier::new(digest(algorithm), &key).expect("verifier");
                verifier.verify_oneshot(signature, data).expect("verdict")
            }
        }
    }

    fn eddsa(algorithm: Algorithm) -> Id {
        if algorithm.0 == 15 { Id::ED25519 } else { Id::ED448 }
    }
}
