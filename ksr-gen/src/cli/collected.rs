//! What comes of many zones in one run: their texts, and which of them were refused or failed.

use std::time::Instant;

use keystore::dns::Name;

use super::console::{Console, Level, Pace};
use super::{Ending, Failure};

/// The texts of the zones so far, and the zones that have none.
pub(super) struct Collected {
    text: String,
    /// How many zones there are.
    zones: usize,
    seen: usize,
    pace: Pace,
    /// Zones whose request is refused.
    refused: Vec<String>,
    /// Zones whose keys could not be used, though nothing is wrong with the request.
    failed: Vec<String>,
    /// All of `failed` may go well at another try although nobody mends anything.
    is_passing: bool,
}

impl Collected {
    /// Begins, for a number of zones.
    pub(super) fn of(zones: usize) -> Self {
        let pace = Pace::start(Instant::now());
        Self { text: String::new(), zones, seen: 0, pace, refused: vec![], failed: vec![], is_passing: true }
    }

    /// Runs the command for one zone, and keeps its text.
    pub(super) fn add(
        &mut self,
        zone: &Name,
        console: &mut Console<'_>,
        run: impl FnOnce(&mut Console<'_>) -> Result<String, Failure>,
    ) {
        console.zone = Some(zone.to_string());
        let result = run(console);
        console.zone = None;
        self.seen += 1;
        if self.pace.is_due(Instant::now()) {
            console.show(&format!("{} of {} zones", self.seen, self.zones));
        }
        match result {
            Ok(text) => self.text.push_str(&text),
            Err(Failure::Keys { text, is_passing }) => {
                console.say(Level::Error, &format!("{zone}: failed, try again: {text}"));
                self.failed.push(zone.to_string());
                self.is_passing &= is_passing;
            }
            Err(refused) => self.refuse(zone, &refused.into_text(), console),
        }
    }

    /// Notes that the request of a zone is refused.
    pub(super) fn refuse(&mut self, zone: &Name, what: &str, console: &mut Console<'_>) {
        console.say(Level::Error, &format!("{zone}: {what}"));
        self.refused.push(zone.to_string());
    }

    /// The texts of the zones that have one, when there is any; the others are named.
    pub(super) fn finish_partly(self, console: &mut Console<'_>) -> Result<(String, Ending), Failure> {
        let told = [self.refused_text(), self.failed_text()];
        let told: Vec<String> = told.into_iter().flatten().collect();
        if self.text.is_empty() && !self.failed.is_empty() {
            let text = format!("nothing was made: {}", told.join("; "));
            return Err(Failure::Keys { text, is_passing: self.is_passing });
        }
        if told.is_empty() || self.text.is_empty() {
            return self.finish(console).map(|text| (text, Ending::Good));
        }
        told.iter().for_each(|text| console.say(Level::Error, text));
        let ending = if self.failed.is_empty() { Ending::Partly } else { Ending::KeysFailed };
        Ok((self.text, ending))
    }

    fn refused_text(&self) -> Option<String> {
        let (count, zones, names) = (self.refused.len(), self.zones, some(&self.refused));
        (count > 0)
            .then(|| format!("{count} of {zones} zones are refused and are not in the output: {names}"))
    }

    fn failed_text(&self) -> Option<String> {
        let (count, zones, names) = (self.failed.len(), self.zones, some(&self.failed));
        let when = if self.is_passing { "" } else { " when what is told of them is mended" };
        (count > 0).then(|| {
            format!(
                "{count} of {zones} zones failed for their keys and are not in the output; nothing is wrong with their requests, try \
                 again{when}: {names}"
            )
        })
    }

    /// The texts of all zones; an error when one has none.
    pub(super) fn finish(self, console: &mut Console<'_>) -> Result<String, Failure> {
        let without: Vec<String> = self.refused.into_iter().chain(self.failed).collect();
        let zones = self.zones;
        if without.is_empty() {
            console.detail(&format!("{zones} zones"));
            return Ok(self.text);
        }
        let names = some(&without);
        Err(Failure::Fatal(format!(
            "{} of {zones} zones failed, and nothing was made: {names}",
            without.len()
        )))
    }
}

/// The first names, and how many more there are.
pub(super) fn some(names: &[String]) -> String {
    const NAMED: usize = 20;
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "))
}
