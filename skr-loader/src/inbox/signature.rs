//! The signature of the KSK operator beside a dropped file: found, waited for, and judged.

use std::io;

use keystore::crypto::cms::{self, CmsCertificate, MAX_SIGNATURE_OCTETS};
use keystore::time::Timestamp;

use super::Inbox;
use super::dropped::{Dropped, FileOrigin};
use crate::files::{self, FileError, NamedBy};
use crate::operator::{self, Operator};

/// Seconds that a signature must not have changed before it counts as whole when it does not read.
const SETTLE: u64 = 2;
/// Seconds that a file waits for the signature that must lie beside it.
const WAIT: u64 = 60;

/// Whether a file may be judged now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paired {
    /// Its signature was looked for, where one counts.
    Ready,
    /// Its signature may still come; the file was put back.
    Waits,
}

impl Inbox {
    /// Looks for the signature beside a dropped file, by one of the certificates in `pinned`. `required` when a zone in the file wants one.
    pub fn pair(
        &mut self,
        file: &mut Dropped,
        pinned: &[CmsCertificate],
        required: bool,
        now: Timestamp,
    ) -> Paired {
        if pinned.is_empty() {
            return Paired::Ready;
        }
        let found = self.signature_of(file);
        let may_come = match &found {
            None => required,
            Some(Ok(signature)) => {
                !cms::is_whole(&signature.octets) && !signature.is_untouched_for(SETTLE, now)
            }
            Some(Err(error)) => matches!(error, FileError::Changing),
        };
        if may_come && self.wait_for_signature(file, now) {
            return Paired::Waits;
        }
        file.operator = Some(match &found {
            None => Operator::Absent,
            Some(signature) => {
                Operator::judge(signature.as_ref().map(|s| s.octets.as_slice()), &file.octets, pinned, now)
            }
        });
        let found = match found {
            Some(Ok(signature)) => Some(Box::new(signature)),
            Some(Err(FileError::TooLarge { .. })) => self.unread_signature(file).map(Box::new),
            // What is no plain file is left alone.
            Some(Err(_)) | None => None,
        };
        if let FileOrigin::File { signature, .. } = &mut file.origin {
            *signature = found;
        }
        Paired::Ready
    }

    /// The signature beside a dropped file; `None` when there is none.
    fn signature_of(&self, file: &Dropped) -> Option<Result<Dropped, FileError>> {
        let name = operator::signature_name(&file.name);
        match files::read(&self.dir.join(&name), NamedBy::Dropper, MAX_SIGNATURE_OCTETS) {
            Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(Err(error)),
            Ok(read) => Some(Ok(Dropped::in_inbox(name, read.octets, read.fingerprint))),
        }
    }

    /// The same where it has more octets than are read.
    fn unread_signature(&self, file: &Dropped) -> Option<Dropped> {
        let name = operator::signature_name(&file.name);
        let print = files::fingerprint(&self.dir.join(&name)).ok()?;
        Some(Dropped::in_inbox(name, Vec::new(), print))
    }

    /// Leaves the file until its signature comes, for a while; false when it has waited long enough.
    fn wait_for_signature(&mut self, file: &Dropped, now: Timestamp) -> bool {
        let FileOrigin::File { fingerprint, .. } = &file.origin else { return false };
        let since = match self.unsigned.get(&file.name) {
            Some((print, since)) if print == fingerprint && *since <= now => *since,
            _ => {
                self.unsigned.insert(file.name.clone(), (*fingerprint, now));
                now
            }
        };
        if now.since(since) >= WAIT {
            self.unsigned.remove(&file.name);
            return false;
        }
        self.put_back(file, now);
        true
    }
}
