//! `[ksr]`: the request timer.

use crate::config::{KsrConfig, deliver};
use crate::policy::table::{Table, Value};
use crate::policy::toml::TopLevelKey;

/// Most addresses of `mail-to`, so that the header stays one that mail servers take.
const MAX_RECEIVERS: usize = 20;

pub(super) fn read(top: &mut Table<'_, '_>) -> KsrConfig {
    let mut ksr = KsrConfig::default();
    let Some(mut table) = top.get(TopLevelKey::Ksr.key()).and_then(|v| v.table()) else { return ksr };
    ksr.enabled = table.get("enabled").and_then(|v| v.boolean()).unwrap_or(ksr.enabled);
    let lead = table.get("lead");
    ksr.lead = lead.as_ref().and_then(Value::duration).unwrap_or(ksr.lead);
    ksr.period = table.get("period").and_then(|v| v.duration()).unwrap_or(ksr.period);
    if let Some(value) = table.get("on-request") {
        ksr.on_request = deliver::words(&value).unwrap_or_default();
    }
    if let Some(value) = table.get("on-request-timeout") {
        ksr.on_request_timeout = value.duration().unwrap_or(ksr.on_request_timeout);
        if !(1..=600).contains(&ksr.on_request_timeout) {
            value.error("must be from 1 second to 10 minutes: the other zones wait for it");
        }
    }
    let mut limit = |key, range, field: &mut u32| {
        *field = table.get(key).and_then(|v| v.integer(range)).unwrap_or(*field);
    };
    limit("answered-max-requests", 8..=1_000_000, &mut ksr.answered_max_requests);
    limit("answered-max-days", 1..=100_000, &mut ksr.answered_max_days);
    if let Some(value) = table.get("mail-from") {
        ksr.mail_from = mailbox(&value).unwrap_or_default();
    }
    if let Some(value) = table.get("mail-to") {
        let values = value.array().unwrap_or_default();
        if values.len() > MAX_RECEIVERS {
            value.error(format!("expected at most {MAX_RECEIVERS} addresses; use a list of the mail server"));
        }
        ksr.mail_to = values.iter().filter_map(mailbox).collect();
    }
    if ksr.enabled && ksr.lead >= ksr.period {
        table.error(format!(
            "lead ({} s) must be shorter than period ({} s), else a request is due for ever",
            ksr.lead, ksr.period
        ));
    }
    table.finish();
    ksr
}

/// A mail address as it may stand in a header: what could end the line or begin another address is refused.
fn mailbox(value: &Value<'_, '_>) -> Option<String> {
    let text = value.string()?;
    let plain = |c: char| c.is_ascii_graphic() && !"()<>[]:;,\\\"".contains(c);
    let good = (1..=254).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('-');
    if !good {
        value.error(
            "must be a plain mail address, such as \"ksk@example.com\": no name, no brackets, no list",
        );
    }
    good.then(|| text.to_owned())
}
