//! Rejected files on their way out, many at once: each reason is synced before its file moves, and what all of them need (the audit log,
//! the folders) is synced once for all.
//!
//! ```text
//! reject ─▶ aside ──clear──▶ audit log synced ─▶ reasons written, each synced ─▶ rejected/ synced ─▶ files moved ─▶ rejected/ synced ─▶ inbox/ synced
//! ```
//!
//! After a crash in the middle some files lie in the inbox still, and are judged again.

use keystore::store::digest;

use super::Loader;
use crate::files::printable;
use crate::inbox::Dropped;

/// Files that are put aside at most before they are moved.
const AT_ONCE: usize = 64;

/// A rejected file that lies in the inbox still.
#[derive(Debug)]
pub(super) struct RejectedInInbox {
    file: Dropped,
    reason: String,
}

impl Loader {
    /// Will move the file to `rejected/`, with its reason.
    pub(super) fn put_aside(&mut self, file: &Dropped, reason: String) {
        self.aside.push(RejectedInInbox { file: file.clone(), reason });
        if self.aside.len() >= AT_ONCE {
            self.clear();
        }
    }

    /// Moves what was put aside, and makes it and all that was taken out of the inbox durable.
    pub(super) fn clear(&mut self) {
        if let Err(error) = self.audit.sync() {
            tracing::error!(%error, "the audit log cannot be written");
            self.audit_error = Some(error.to_string());
        }
        let aside = std::mem::take(&mut self.aside);
        if !aside.is_empty() {
            let reasons: Vec<_> = aside.iter().map(|a| (&*a.file.name, &*a.reason)).collect();
            let places = self.rejected.place(&reasons);
            // No file without its reason, whatever is lost.
            if let Err(error) = self.rejected.sync() {
                tracing::error!(%error, "the reasons may not outlive a power loss");
            }
            for (RejectedInInbox { file, .. }, path) in aside.iter().zip(places) {
                match path {
                    Ok(path) => {
                        // Only now: where its copy cannot be written it is judged again with the rest of its file.
                        if self.take_out(file, Some(&path))
                            && let Some(whole) = file.part_of()
                        {
                            let parts = self.rejected_parts.entry(whole.clone()).or_default();
                            parts.insert(digest(&file.octets));
                        }
                        self.rejected.placed(path);
                    }
                    Err(error) => {
                        let file_name = printable(&file.name);
                        tracing::error!(file = file_name, %error, "cannot write the reason; the file stays in the inbox");
                        self.inbox.leave(
                            file,
                            format!("it was rejected, and its reason cannot be written: {error}"),
                        );
                    }
                }
            }
            if let Err(error) = self.rejected.sync() {
                tracing::error!(%error, "the rejected files may not outlive a power loss");
            }
            self.prune_rejected();
        }
        if let Err(error) = self.inbox.sync() {
            tracing::error!(%error, "judged files may lie in the inbox again after a power loss");
        }
    }
}
