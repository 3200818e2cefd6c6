//! Whether new content of a zone may be served, and the command that reviews it.

use std::io::BufWriter;
use std::sync::Arc;

use keystore::durable;
use keystore::time::Timestamp;

use super::super::gate::Passage;
use super::wanted::NextVersion;
use super::{ConditionId, MakeError, RETRY, SigningError, ZoneRuntime};

/// The file that the review command reads, in the zone's state folder.
const REVIEWED: &str = "review.zone";

impl ZoneRuntime {
    /// True when a version with this content may be made: it has what is served, or has passed the limits and the review.
    pub(super) fn may_take(&mut self, wanted: &NextVersion, now: Timestamp) -> bool {
        let served = self.standing().map(|(zone, _)| zone);
        if served.as_ref().is_some_and(|served| Arc::ptr_eq(served, &wanted.zone)) {
            self.gate.clear();
            self.note_passage(&Passage::Passes, now);
            return true;
        }
        let mut passage = self.gate.judge(&self.setup.content, served.as_ref(), &wanted.zone, now);
        if passage == Passage::NeedsReview {
            passage = match self.begin_review(wanted, now) {
                Ok(()) => Passage::UnderReview,
                Err(error) => {
                    self.retry_at = Some(now.plus(RETRY));
                    if let MakeError::Sign(SigningError::Sign { tag, source }) = &error {
                        self.keys.signing_failed(*tag, source, now);
                    }
                    Passage::ReviewFails(error.to_string())
                }
            };
        }
        if self.judges_pending(&wanted.zone) {
            self.settle_pending(&passage);
        } else {
            self.note_passage(&passage, now);
        }
        passage == Passage::Passes
    }

    fn note_passage(&mut self, passage: &Passage, now: Timestamp) {
        let (mut held, mut refused, mut failing) = (None, None, None);
        match passage {
            Passage::Held(why) => held = Some(why.clone()),
            Passage::Refused(said) => refused = Some(said.clone()),
            Passage::ReviewFails(why) => failing = Some(why.clone()),
            Passage::UnderReview | Passage::Passes | Passage::NeedsReview => {}
        }
        self.set_condition(ConditionId::SignerContentHeld, held, now);
        self.set_condition(ConditionId::SignerReviewRefused, refused, now);
        // A command that failed and runs again has not succeeded yet.
        if *passage != Passage::UnderReview {
            self.set_condition(ConditionId::SignerReviewFailing, failing, now);
        }
    }

    /// Signs the content, and hands it to the review command.
    fn begin_review(&mut self, wanted: &NextVersion, now: Timestamp) -> Result<(), MakeError> {
        // Nothing is served under this serial unless the review agrees; the version that is served may have a later one.
        let in_file = wanted.zone.serial();
        let serial = self.serial.as_ref().map_or(in_file, |file| file.next(in_file));
        let candidate = Arc::new(self.version(wanted, serial, now)?);
        let file = self.setup.state.join(REVIEWED);
        let written = durable::create_dir_durable(&self.setup.state, 0o700).and_then(|()| {
            durable::write_with(&file, 0o600, |out| candidate.write_to(&mut BufWriter::new(out)))
        });
        let mut environment = vec![
            ("OFFLINE_KSK_EVENT", "review".to_owned()),
            ("OFFLINE_KSK_ZONE", self.setup.name.to_string()),
            ("OFFLINE_KSK_SERIAL", serial.to_string()),
        ];
        if let Some(made) = &self.made {
            environment.push(("OFFLINE_KSK_SERVED_SERIAL", made.signed.serial().to_string()));
        }
        self.unserved = Some(candidate);
        written
            .and_then(|()| self.gate.review(&self.setup.content, file, environment))
            .map_err(MakeError::Review)
    }
}
