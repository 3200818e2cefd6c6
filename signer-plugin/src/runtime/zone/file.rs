//! The zone file: read when it has changed, with its warnings and its largest TTL.

use keystore::time::Timestamp;

use super::keep::Restoring;
use super::stored::KeptContent;
use super::{LOGGED_WARNINGS, ZoneRuntime};

impl ZoneRuntime {
    /// Reads the zone file when it has changed; a zone that does not read is reported, and the one read before stays.
    pub(super) fn poll_zone_file(&mut self, now: Timestamp) -> bool {
        // What updates made of the file must be known first.
        let waits = |stored: &KeptContent| {
            !stored.is_loaded() || stored.is_damaged() && matches!(self.restoring, Restoring::Waits(_))
        };
        if self.stored.as_ref().is_some_and(waits) {
            return false;
        }
        let before = self.source.zone().cloned();
        let served = &self.served;
        #[cfg(test)]
        let hook = &mut self.while_reading;
        let begin = || {
            served.begin_reading();
            #[cfg(test)]
            if let Some(hook) = hook.take() {
                hook();
            }
        };
        let loaded = self.source.poll(&self.setup, now, begin);
        self.served.end_work();
        let Some(loaded) = loaded else { return false };
        let result = if loaded.is_ok() { "ok" } else { "failed" };
        self.metrics.zone_loads_total.with_label_values(&[&self.label, result]).inc();
        self.metrics.zone_last_load_success.with_label_values(&[&self.label]).set(loaded.is_ok().into());
        match loaded {
            Ok(zone) => {
                tracing::info!(
                    zone = %self.setup.name, serial = zone.serial(), names = zone.name_count(), "the zone file was read"
                );
                let warnings = zone.warnings();
                for warning in warnings.texts.iter().take(LOGGED_WARNINGS) {
                    tracing::warn!(zone = %self.setup.name, "{warning}");
                }
                if warnings.total > LOGGED_WARNINGS {
                    let more = warnings.total - LOGGED_WARNINGS;
                    tracing::warn!(zone = %self.setup.name, more, left_out = warnings.left_out, "the zone file has more warnings; sign-zone shows them");
                }
                self.take_file(&zone, before, now);
                self.note_largest_ttl(now);
            }
            // A condition of the zone, which tells it.
            Err(error) if error.is_unreadable_file() => {}
            Err(error) => {
                let stays = if self.source.zone().is_some() {
                    "the content before stays"
                } else {
                    "the zone is not served"
                };
                tracing::error!(zone = %self.setup.name, %error, "the zone file does not read; {stays}");
            }
        }
        true
    }

    /// Notes the largest TTL of the content.
    pub(super) fn note_largest_ttl(&mut self, now: Timestamp) {
        let Some(ttl) = self.source.zone().map(|zone| zone.largest_ttl()) else { return };
        self.metrics.zone_largest_ttl_seconds.with_label_values(&[&self.label]).set(ttl.into());
        if let Err(error) = self.largest_ttl.keep(ttl, self.setup.rules.max_ttl, now) {
            let state = self.setup.state.display();
            tracing::warn!(zone = %self.setup.name, ttl, "the largest TTL cannot be noted in {state}, and is tried again: {error}");
        }
    }
}
