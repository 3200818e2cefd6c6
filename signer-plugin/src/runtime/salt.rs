//! The NSEC3 salt of a zone: random, as long as the policy says, and kept over restarts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keystore::policy::Nsec3Param;
use keystore::{crypto, durable};

use crate::signing::{Denial, Nsec3};

/// The salt as `ZONE/nsec3-salt` has it: one line, in hexadecimal.
#[derive(Debug)]
pub(super) struct Salt {
    file: PathBuf,
    known: Option<Box<[u8]>>,
    /// That of the version that was served last, for the case that the file is lost.
    served: Option<Box<[u8]>>,
}

impl Salt {
    /// `state` is the folder of the zone.
    pub fn new(state: &Path) -> Self {
        Self { file: state.join("nsec3-salt"), known: None, served: None }
    }

    /// Takes the salt of the version that was served last for the case that the file is lost or damaged: the chain stays.
    pub fn adopt(&mut self, denial: &Denial) {
        if let Denial::Nsec3(nsec3) = denial {
            self.served = Some(nsec3.salt.clone());
        }
    }

    /// How the zone denies by its policy. A salt is made where there is none of the length that the policy says, as BIND does; a file
    /// with something else is written over.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn denial(&mut self, nsec3: Option<&Nsec3Param>) -> io::Result<Denial> {
        let Some(param) = nsec3 else { return Ok(Denial::Nsec) };
        let nsec3 = Nsec3::new(param.iterations, param.opt_out);
        Ok(Denial::Nsec3(nsec3.with_salt(self.of_length(param.salt_length)?)))
    }

    fn of_length(&mut self, len: u8) -> io::Result<Box<[u8]>> {
        if len == 0 {
            return Ok(Box::default());
        }
        let fits = |salt: &[u8]| salt.len() == usize::from(len);
        if let Some(known) = self.known.as_deref().filter(|salt| fits(salt)) {
            return Ok(known.into());
        }
        let salt = match self.read()?.filter(|salt| fits(salt)) {
            Some(salt) => salt,
            None => {
                let salt = match self.served.as_deref().filter(|salt| fits(salt)) {
                    Some(served) => served.to_vec(),
                    None => random(len)?,
                };
                let text = salt.iter().map(|octet| format!("{octet:02x}")).collect::<String>() + "\n";
                if let Some(folder) = self.file.parent() {
                    durable::create_dir_durable(folder, 0o700)?;
                }
                durable::write(&self.file, text.as_bytes(), 0o600)?;
                salt
            }
        };
        Ok(self.known.insert(salt.into()).clone())
    }

    /// The salt in the file; `None` when there is none.
    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let text = match fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = text.trim_ascii();
        let pairs = text.chunks(2).map(|pair| {
            let is_octet = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
            u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|_| is_octet)?, 16).ok()
        });
        Ok(pairs.collect())
    }
}

fn random(len: u8) -> io::Result<Vec<u8>> {
    let mut salt = vec![0; usize::from(len)];
    crypto::random(&mut salt).map_err(io::Error::other)?;
    Ok(salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salt(salt: &mut Salt, salt_length: u8) -> Vec<u8> {
        let param = Nsec3Param { iterations: 3, opt_out: true, salt_length };
        match salt.denial(Some(&param)).expect("a salt") {
            Denial::Nsec3(nsec3) => {
                assert_eq!((nsec3.iterations, nsec3.opt_out), (3, true));
                nsec3.salt.to_vec()
            }
            Denial::Nsec => panic!("NSEC"),
        }
    }

    #[test]
    fn salt_is_kept_over_restarts_and_made_anew_for_another_length() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut first = Salt::new(&dir.path().join("zone"));
        assert_eq!(first.denial(None).expect("no file is needed"), Denial::Nsec);
        assert_eq!(salt(&mut first, 0), [0; 0]);
        assert!(!first.file.exists());
        let eight = salt(&mut first, 8);
        assert_eq!((eight.len(), salt(&mut first, 8)), (8, eight.clone()));
        let mut second = Salt::new(&dir.path().join("zone"));
        assert_eq!(salt(&mut second, 8), eight);
        // The file is lost or damaged: the version that was served last has it.
        for harm in [None, Some("zz")] {
            fs::remove_file(&second.file).expect("remove");
            if let Some(text) = harm {
                fs::write(&second.file, text).expect("write");
            }
            let mut third = Salt::new(&dir.path().join("zone"));
            third.adopt(&Denial::Nsec3(Nsec3::new(0, false).with_salt(eight.clone().into())));
            assert_eq!(salt(&mut third, 8), eight);
            assert_eq!(salt(&mut Salt::new(&dir.path().join("zone")), 8), eight);
        }
        let four = salt(&mut second, 4);
        assert_eq!(four.len(), 4);
        assert_eq!(salt(&mut Salt::new(&dir.path().join("zone")), 4), four);
    }

    #[test]
    fn damaged_file_is_written_over_and_unreadable_file_is_an_error() {
        let dir = tempfile::tempdir().expect("a folder");
        for text in ["", "zz", "+1", "0123456", "+1+2+3+4", "é", "01 23"] {
            fs::write(dir.path().join("nsec3-salt"), text).expect("write");
            assert_eq!(salt(&mut Salt::new(dir.path()), 4).len(), 4, "{text}");
        }
        fs::remove_file(dir.path().join("nsec3-salt")).expect("remove");
        fs::create_dir(dir.path().join("nsec3-salt")).expect("a folder in its place");
        let param = Nsec3Param { iterations: 0, opt_out: false, salt_length: 4 };
        assert!(Salt::new(dir.path()).denial(Some(&param)).is_err());
    }
}
