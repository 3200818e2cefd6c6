//! A file of sections, each with a check over itself and all sections before it.
//!
//! ```text
//! file     = magic (8 octets)  format (2)  section*
//! section  = kind (1)  length (4)  check of these five octets (4)  payload  check of the section (16)
//! ```
//! The digest of a section is the SHA-256 of the digest of the section before it (for the first one: of magic and format), of kind and
//! length, and of the payload; its check are its first 16 octets. So a section of another file or of an older life of this file does not
//! fit, and neither does one at another place.

use std::io::{self, Read, Write};

use keystore::crypto::{Sha256, sha256};

/// The first octets of a file. The line ends show a copy that was converted as text.
const MAGIC: &[u8; 8] = b"OKSKZ\r\n\x1a";
/// Longest payload, in octets.
const MAX_PAYLOAD: u32 = 4 << 20;

type Digest = [u8; 32];

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SectionKind(pub u8);

/// What is wrong with a file of sections.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it does not begin as a file of the signer's state does")]
    Magic,
    #[error("it has format {0}, and this program reads another")]
    Format(u16),
    #[error("it ends within a section")]
    CutShort,
    #[error("a checksum does not fit")]
    Checksum,
}

/// Writes sections.
pub(super) struct Sealer<W> {
    out: W,
    digest: Digest,
    len: u64,
}

impl<W: Write> Sealer<W> {
    /// Begins a file.
    pub fn begin(mut out: W, format: u16) -> io::Result<Self> {
        let head = head(format);
        out.write_all(&head)?;
        Ok(Self { out, digest: sha256(&head), len: head.len() as u64 })
    }

    /// Goes on behind a section with this digest, `len` octets into the file.
    pub const fn go_on(out: W, digest: Digest, len: u64) -> Self {
        Self { out, digest, len }
    }

    pub fn section(&mut self, kind: SectionKind, payload: &[u8]) -> io::Result<()> {
        let len = u32::try_from(payload.len()).ok().filter(|len| *len <= MAX_PAYLOAD);
        let Some(len) = len else { return Err(io::Error::other("a section of the state is too long")) };
        let head = section_head(kind, len);
        self.digest = section_digest(&self.digest, &head, payload);
        self.out.write_all(&head)?;
        self.out.write_all(&head_check(&head))?;
        self.out.write_all(payload)?;
        self.out.write_all(&self.digest[..16])?;
        self.len += HEAD_LEN + u64::from(len) + 16;
        Ok(())
    }

    /// The stream, the digest of the last section, and the length of the file.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.out, self.digest, self.len)
    }
}

/// Reads sections.
pub(super) struct Unsealer<R> {
    from: R,
    digest: Digest,
    /// Where the section that was read last ends.
    at: u64,
    payload: Vec<u8>,
    /// The last octets of the check that was read last.
    check_end: [u8; 4],
}

impl<R: Read> Unsealer<R> {
    pub fn begin(mut from: R, format: u16) -> Result<Self, SectionError> {
        let mut found = [0; 10];
        from.read_exact(&mut found).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SectionError::Magic,
            _ => error.into(),
        })?;
        let (magic, format_found) = found.split_at(8);
        if magic != MAGIC {
            return Err(SectionError::Magic);
        }
        let format_found = u16::from_be_bytes([format_found[0], format_found[1]]);
        if format_found != format {
            return Err(SectionError::Format(format_found));
        }
        Ok(Self {
            from,
            digest: sha256(&found),
            at: found.len() as u64,
            payload: Vec::new(),
            check_end: [0; 4],
        })
    }

    /// The next section; `None` at the end of the file.
    pub fn next(&mut self) -> Result<Option<(SectionKind, &[u8])>, SectionError> {
        let mut head = [0; HEAD_LEN as usize];
        match read_up_to(&mut self.from, &mut head)? {
            0 => return Ok(None),
            len if len < head.len() => return Err(SectionError::CutShort),
            _ => {}
        }
        let (head, check) = head.split_at(5);
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        self.check_end.copy_from_slice(check);
        if *check != head_check(head) || len > MAX_PAYLOAD {
            return Err(SectionError::Checksum);
        }
        self.payload.clear();
        (&mut self.from).take(u64::from(len)).read_to_end(&mut self.payload)?;
        let mut check = [0; 16];
        let checked = read_up_to(&mut self.from, &mut check)?;
        if self.payload.len() < len as usize || checked < check.len() {
            return Err(SectionError::CutShort);
        }
        self.check_end.copy_from_slice(&check[12..]);
        let digest = section_digest(&self.digest, head, &self.payload);
        if digest[..16] != check {
            return Err(SectionError::Checksum);
        }
        self.digest = digest;
        self.at += HEAD_LEN + u64::from(len) + 16;
        Ok(Some((SectionKind(head[0]), &self.payload)))
    }

    /// The digest of the last section.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Where the last section that was read ends.
    pub const fn position(&self) -> u64 {
        self.at
    }

    /// True when what was read last ends in zeros that go on to the end of the file: what a file system leaves that had made the file
    /// longer and lost power before the octets were written. A whole section with a wrong check is none.
    pub fn ends_in_zeros(&mut self) -> io::Result<bool> {
        if self.check_end != [0; 4] {
            return Ok(false);
        }
        let mut buffer = [0; 4096];
        loop {
            match read_up_to(&mut self.from, &mut buffer)? {
                0 => return Ok(true),
                len if buffer[..len].iter().any(|octet| *octet != 0) => return Ok(false),
                _ => {}
            }
        }
    }
}

/// Kind, length, and their check.
const HEAD_LEN: u64 = 9;

fn head(format: u16) -> [u8; 10] {
    let mut head = [0; 10];
    head[..8].copy_from_slice(MAGIC);
    head[8..].copy_from_slice(&format.to_be_bytes());
    head
}

const fn section_head(kind: SectionKind, len: u32) -> [u8; 5] {
    let [a, b, c, d] = len.to_be_bytes();
    [kind.0, a, b, c, d]
}

fn head_check(head: &[u8]) -> [u8; 4] {
    let digest = sha256(head);
    [digest[0], digest[1], digest[2], digest[3]]
}

fn section_digest(before: &Digest, head: &[u8], payload: &[u8]) -> Digest {
    let mut digest = Sha256::default();
    digest.update(before);
    digest.update(head);
    digest.update(payload);
    digest.finish()
}

/// Fills `buffer` as far as the stream goes, and gives the number of octets.
fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
