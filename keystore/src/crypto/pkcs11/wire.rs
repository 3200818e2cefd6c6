//! The messages between a program and the process that has the module of a token (see [`super::process`]).
//!
//! ```text
//! u32 length of the rest │ u32 number of the call │ u8 kind │ body
//! ```
//!
//! Integers are big-endian. Bodies are JSON, but for what is signed, signatures and PINs, which are octets as they are. Both ends hold
//! the other to [`MAX_FRAME`]: a module that went wrong must not cost the program its memory.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{HeldPart, Holding, Pin, Pkcs11Uri, TokenError};
use crate::crypto::Algorithm;

/// Longest message, in octets.
pub(super) const MAX_FRAME: usize = 1 << 20;

/// What a program asks for.
pub(super) enum ModuleRequest {
    /// Open the token and find the private key.
    Load { uri: Pkcs11Uri, algorithm: Algorithm },
    /// Make a key pair.
    Generate { uri: Pkcs11Uri, algorithm: Algorithm, bits: u16 },
    /// Sign `data` with a key found or made before.
    Sign { key: u32, data: Vec<u8> },
    /// Leave a pair that was made in the token.
    Keep { key: u32 },
    /// Remove a pair that was made.
    Remove { key: u32 },
    /// Look whether the token is there and the PIN file reads, without a login.
    Look { uri: Pkcs11Uri },
    /// Tell the keys of the token, those from a number on.
    List { uri: Pkcs11Uri, from: usize },
    /// Remove the halves `part` of the key that the URI names from the token.
    Forget { uri: Pkcs11Uri, part: HeldPart },
    /// The PIN that was asked for; `None` when there is none.
    Pin(Option<Pin>),
}

/// What the process answers.
pub(super) enum ModuleReply {
    /// A key, to be named by its number from now on. The public key is there when it was made just now.
    Key { key: u32, token: String, public_key: Option<Vec<u8>> },
    /// A signature.
    Signature(Vec<u8>),
    /// Keys of the token.
    Holding(Holding),
    /// Done.
    Done,
    /// It failed.
    Failed(TokenError),
    /// A person must give a PIN before the call can go on.
    AskPin(PinQuestion),
    /// The PIN goes to the token now, which may count it as wrong.
    LoggingIn,
    /// A person must type the PIN at the token before the call can go on.
    AtToken { token: String },
}

/// A [`super::PinRequest`] under way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PinQuestion {
    pub(super) token: String,
    pub(super) serial: String,
    pub(super) wrong_before: bool,
    pub(super) last_try: bool,
}

#[derive(Serialize, Deserialize)]
struct KeyBody {
    uri: Pkcs11Uri,
    algorithm: Algorithm,
    bits: u16,
}

#[derive(Serialize, Deserialize)]
struct MadeBody {
    key: u32,
    token: String,
    public_key: Option<Vec<u8>>,
}

/// One message as it travels.
struct Frame {
    call: u32,
    kind: u8,
    body: Zeroizing<Vec<u8>>,
}

impl Frame {
    fn new(call: u32, kind: u8, body: impl Into<Vec<u8>>) -> Self {
        Self { call, kind, body: Zeroizing::new(body.into()) }
    }

    fn json(call: u32, kind: u8, body: &impl Serialize) -> io::Result<Self> {
        Ok(Self::new(call, kind, serde_json::to_vec(body)?))
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let len = self.body.len() + 5;
        if len > MAX_FRAME {
            return Err(bad("a message that is too long"));
        }
        let mut octets = Zeroizing::new(Vec::with_capacity(len + 4));
        octets.extend_from_slice(&u32::try_from(len).map_err(|_| bad("too long"))?.to_be_bytes());
        octets.extend_from_slice(&self.call.to_be_bytes());
        octets.push(self.kind);
        octets.extend_from_slice(&self.body);
        to.write_all(&octets)?;
        to.flush()
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 4];
        from.read_exact(&mut head)?;
        let len = usize::try_from(u32::from_be_bytes(head)).map_err(|_| bad("too long"))?;
        if !(5..=MAX_FRAME).contains(&len) {
            return Err(bad("a message of a length that none has"));
        }
        let mut head = [0; 5];
        from.read_exact(&mut head)?;
        let mut body = Zeroizing::new(vec![0; len - 5]);
        from.read_exact(&mut body)?;
        let [a, b, c, d, kind] = head;
        Ok(Self { call: u32::from_be_bytes([a, b, c, d]), kind, body })
    }

    fn parse<'a, T: Deserialize<'a>>(&'a self) -> io::Result<T> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    fn number(&self) -> io::Result<u32> {
        let octets = self.body.as_slice().try_into().map_err(|_| bad("a message without its number"))?;
        Ok(u32::from_be_bytes(octets))
    }
}

impl ModuleRequest {
    /// Writes it as part of `call`.
    pub(super) fn write(&self, call: u32, to: &mut impl Write) -> io::Result<()> {
        let frame = match self {
            Self::Load { uri, algorithm } => {
                Frame::json(call, 1, &KeyBody { uri: uri.clone(), algorithm: *algorithm, bits: 0 })?
            }
            Self::Generate { uri, algorithm, bits } => {
                Frame::json(call, 2, &KeyBody { uri: uri.clone(), algorithm: *algorithm, bits: *bits })?
            }
            Self::Sign { key, data } => Frame::new(call, 3, [&key.to_be_bytes()[..], data].concat()),
            Self::Keep { key } => Frame::new(call, 4, key.to_be_bytes()),
            Self::Remove { key } => Frame::new(call, 5, key.to_be_bytes()),
            Self::Pin(Some(pin)) => Frame::new(call, 6, pin.octets()),
            Self::Pin(None) => Frame::new(call, 7, []),
            Self::Look { uri } => Frame::json(call, 8, uri)?,
            Self::List { uri, from } => Frame::json(call, 9, &(uri, from))?,
            Self::Forget { uri, part } => Frame::json(call, 10, &(uri, part))?,
        };
        frame.write(to)
    }

    /// Reads the next one with the number of its call.
    pub(super) fn read(from: &mut impl Read) -> io::Result<(u32, Self)> {
        let frame = Frame::read(from)?;
        let request = match frame.kind {
            1 => {
                let KeyBody { uri, algorithm, .. } = frame.parse()?;
                Self::Load { uri, algorithm }
            }
            2 => {
                let KeyBody { uri, algorithm, bits } = frame.parse()?;
                Self::Generate { uri, algorithm, bits }
            }
            3 => {
                let (key, data) = frame.body.split_first_chunk().ok_or_else(|| bad("nothing to sign"))?;
                Self::Sign { key: u32::from_be_bytes(*key), data: data.to_vec() }
            }
            4 => Self::Keep { key: frame.number()? },
            5 => Self::Remove { key: frame.number()? },
            6 => Self::Pin(Pin::from_line(frame.body.clone())),
            7 => Self::Pin(None),
            8 => Self::Look { uri: frame.parse()? },
            9 => {
                let (uri, from) = frame.parse()?;
                Self::List { uri, from }
            }
            10 => {
                let (uri, part) = frame.parse()?;
                Self::Forget { uri, part }
            }
            _ => return Err(bad("an unknown request")),
        };
        Ok((frame.call, request))
    }
}

impl ModuleReply {
    /// Writes it as part of `call`.
    pub(super) fn write(&self, call: u32, to: &mut impl Write) -> io::Result<()> {
        let frame = match self {
            Self::Key { key, token, public_key } => Frame::json(
                call,
                1,
                &MadeBody { key: *key, token: token.clone(), public_key: public_key.clone() },
            )?,
            Self::Signature(octets) => Frame::new(call, 2, octets.as_slice()),
            Self::Done => Frame::new(call, 3, []),
            Self::Failed(error) => Frame::json(call, 4, error)?,
            Self::AskPin(question) => Frame::json(call, 5, question)?,
            Self::AtToken { token } => Frame::json(call, 6, token)?,
            Self::LoggingIn => Frame::new(call, 7, []),
            Self::Holding(holding) => Frame::json(call, 8, holding)?,
        };
        frame.write(to)
    }

    /// Reads the next one with the number of its call.
    pub(super) fn read(from: &mut impl Read) -> io::Result<(u32, Self)> {
        let frame = Frame::read(from)?;
        let reply = match frame.kind {
            1 => {
                let MadeBody { key, token, public_key } = frame.parse()?;
                Self::Key { key, token, public_key }
            }
            2 => Self::Signature(frame.body.to_vec()),
            3 => Self::Done,
            4 => Self::Failed(frame.parse()?),
            5 => Self::AskPin(frame.parse()?),
            6 => Self::AtToken { token: frame.parse()? },
            7 => Self::LoggingIn,
            8 => Self::Holding(frame.parse()?),
            _ => return Err(bad("an unknown reply")),
        };
        Ok((frame.call, reply))
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reread(reply: &ModuleReply) -> (u32, ModuleReply) {
        let mut octets = Vec::new();
        reply.write(7, &mut octets).expect("written");
        ModuleReply::read(&mut octets.as_slice()).expect("read")
    }

    #[test]
    fn errors_arrive_as_they_were() {
        let errors = [
            TokenError::NoModule,
            TokenError::NoToken { wanted: "pkcs11:token=a".to_owned(), present: vec!["`b`".to_owned()] },
            TokenError::PinFileIo { path: "/p".into(), source: io::Error::from_raw_os_error(13) },
            TokenError::Prompt { token: "t".to_owned(), source: io::Error::other("no terminal") },
            TokenError::WrongPin { token: "t".to_owned(), last_try: true, locked: false },
            TokenError::LabelTaken { token: "t".to_owned(), wanted: "w".to_owned() },
            TokenError::BadAnswer { token: "t".to_owned(), what: "nothing".into() },
            TokenError::Mechanism {
                token: "t".to_owned(),
                mechanism: "CKM_X".into(),
                algorithm: Algorithm::ED25519,
            },
        ];
        for error in errors {
            let (text, passing) = (error.to_string(), error.is_passing());
            let (7, ModuleReply::Failed(read)) = reread(&ModuleReply::Failed(error)) else {
                panic!("{text}")
            };
            assert_eq!((read.to_string(), read.is_passing()), (text, passing));
        }
    }

    #[test]
    fn requests_arrive_as_they_were() {
        let uri = Pkcs11Uri::parse("pkcs11:token=t;object=o?pin-source=/p&module-path=/m.so").expect("a URI");
        let mut octets = Vec::new();
        ModuleRequest::Load { uri: uri.clone(), algorithm: Algorithm::ED25519 }
            .write(1, &mut octets)
            .expect("1");
        ModuleRequest::Sign { key: 9, data: b"data".to_vec() }.write(2, &mut octets).expect("2");
        let pin = Pin::from_line(Zeroizing::new(b" 1234 ".to_vec()));
        ModuleRequest::Pin(pin.clone()).write(3, &mut octets).expect("3");
        let mut from = octets.as_slice();
        assert!(matches!(
            ModuleRequest::read(&mut from),
            Ok((1, ModuleRequest::Load { uri: read, algorithm: Algorithm::ED25519 })) if read == uri
        ));
        assert!(
            matches!(ModuleRequest::read(&mut from), Ok((2, ModuleRequest::Sign { key: 9, data })) if data == b"data")
        );
        assert!(matches!(ModuleRequest::read(&mut from), Ok((3, ModuleRequest::Pin(read))) if read == pin));
        assert!(from.is_empty());
    }

    #[test]
    fn hostile_octets_are_an_error_and_cost_no_memory() {
        let frame = |len: u32, rest: &[u8]| [&len.to_be_bytes()[..], rest].concat();
        for octets in [
            vec![],
            vec![0, 0],
            frame(0, &[]),
            frame(4, &[0; 4]),
            frame(u32::MAX, &[0; 64]),
            frame(u32::try_from(MAX_FRAME).expect("small") + 1, &[0; 64]),
            frame(6, &[0, 0, 0, 1, 1, b'{']),
            frame(6, &[0, 0, 0, 1, 99, b'{']),
            frame(9, &[0, 0, 0, 1, 4, b'"', b'x']),
        ] {
            assert!(ModuleReply::read(&mut octets.as_slice()).is_err(), "{octets:?}");
            assert!(ModuleRequest::read(&mut octets.as_slice()).is_err(), "{octets:?}");
        }
    }
}
