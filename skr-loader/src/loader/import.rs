//! From a look into the inbox to what became of the file: parse, judge, commit or reject.

use keystore::check::{self, CheckId};
use std::path::{Path, PathBuf};
use std::time::Instant;

use keystore::config::ZoneConfig;
use keystore::dns::Name;
use keystore::exchange::{Finding, Ksr, UnverifiedSkr, VerifyContext, bind, many};
use keystore::keys::files::{self as key_files, Found};
use keystore::store::{MAX_SKR_OCTETS, digest, zone_dir};
use keystore::time::Timestamp;

use super::{Loader, PROGRAM};
use crate::accept::{self, Context};
use crate::audit::Record;
use crate::checks::{self, Passed};
use crate::deliver::keys_are_knots;
use crate::files::{self, FileError, Named, hex, one_line, printable};
use crate::inbox::{Dropped, Look, Paired};
use crate::operator::{self, Operator};
use crate::order::Order;
use crate::parent::Asker;
use crate::possession;
use crate::rejected;
use crate::report;
use crate::store::{CommitError, Digest};

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its name, escaped.
    pub file: String,
    /// Its SHA-256; that of nothing when it was not read.
    pub digest: Digest,
    /// The zone, when it is known from the content and configured.
    pub zone: Option<Name>,
    /// The checks that were overruled, and would have rejected it.
    pub forced: Vec<CheckId>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a file; of a dry run: what would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force.
    Accepted {
        /// Its generation.
        generation: u64,
        /// What the checks found that does not reject.
        warnings: Vec<Finding>,
    },
    /// It was in force already.
    Unchanged {
        /// The generation.
        generation: u64,
    },
    /// A check rejects it. A dropped file was moved to `rejected/`.
    Rejected {
        /// Why, and the warnings.
        findings: Vec<Finding>,
    },
    /// It passed and could not be written; a dropped file stays in the inbox for another try.
    Failed {
        /// Why.
        what: String,
    },
}

impl Loader {
    /// Judges what was found in the inbox, and moves it out.
    pub(super) fn import(&mut self, looks: Vec<Look>, now: Timestamp, imports: &mut Vec<Import>) {
        self.judge_all(looks, now, imports);
        self.clear();
    }

    fn judge_all(&mut self, looks: Vec<Look>, now: Timestamp, imports: &mut Vec<Import>) {
        let (mut read, mut many) = (Vec::new(), Vec::new());
        self.asker = Asker::default();
        for look in looks {
            match look {
                Look::Ignored(_) => report::file(&self.metrics, "ignored"),
                Look::Unstable(name) => {
                    tracing::debug!(file = printable(&name), "not whole yet; waits");
                    report::file(&self.metrics, "unstable");
                }
                Look::Refused(name, error) => self.refuse(&printable(&name), &error),
                Look::TooLarge(file, error) => {
                    let started = Instant::now();
                    let findings = vec![Finding::reject(error.id(), None, error.to_string())];
                    imports.push(self.reject(&file, None, findings, now, started));
                }
                Look::Whole(mut file) => {
                    let started = Instant::now();
                    if self.find_signature(&mut file, now) == Paired::Waits {
                        continue;
                    }
                    if self.is_of_many(&file) {
                        many.push(file);
                        continue;
                    }
                    match self.parse(&file) {
                        Ok((zone, skr)) => read.push((zone, skr, file)),
                        Err((zone, finding)) => {
                            imports.push(self.reject(&file, zone, vec![finding], now, started));
                        }
                    }
                }
            }
        }
        // Two SKRs of one zone at once: the earlier one first, whatever their names are.
        read.sort_by_cached_key(|(zone, skr, file)| {
            let bundle = |b: Option<&keystore::exchange::Bundle>| b.map(|b| (b.expiration(), b.inception));
            (zone.clone(), bundle(skr.bundles.last()), bundle(skr.bundles.first()), file.name.clone())
        });
        for (zone, skr, file) in read {
            if self.is_stopping() {
                return;
            }
            let keys = keys_of(&self.zones[&zone].config);
            imports.push(self.judge(&zone, skr, &file, &keys, now));
        }
        for file in many {
            self.import_many(&file, now, imports);
        }
    }

    /// Judges a file that a person handed over, as if it had been dropped; one of several zones gives an import for each.
    pub fn import_by_hand(&mut self, file: &Dropped, now: Timestamp) -> Vec<Import> {
        let mut imports = Vec::new();
        self.asker = Asker::default();
        if !self.clock_is_plausible(now) {
            let outcome = Outcome::Failed { what: super::CLOCK.to_owned() };
            return vec![import(file, digest(&file.octets), None, Vec::new(), outcome)];
        }
        if self.is_of_many(file) {
            self.import_many(file, now, &mut imports);
            self.clear();
            return imports;
        }
        let started = Instant::now();
        imports.push(match self.parse(file) {
            Ok((zone, skr)) => {
                let keys = keys_of(&self.zones[&zone].config);
                self.judge(&zone, skr, file, &keys, now)
            }
            Err((zone, finding)) => self.reject(file, zone, vec![finding], now, started),
        });
        self.clear();
        imports
    }

    /// The zone that the file is for, which must be ours, and its content.
    pub(super) fn parse(&self, file: &Dropped) -> Result<(Name, UnverifiedSkr), (Option<Name>, Finding)> {
        checks::parse(&file.octets, |zone| self.zones.get_key_value(zone).map(|(ours, _)| ours.clone()))
    }

    /// Runs the checks, and commits or rejects.
    pub(super) fn judge(
        &mut self,
        name: &Name,
        skr: UnverifiedSkr,
        file: &Dropped,
        keys: &Found,
        now: Timestamp,
    ) -> Import {
        let started = Instant::now();
        let sha256 = digest(&file.octets);
        let zone = &self.zones[name];
        let in_force = zone.state.in_force.as_ref();
        if let Some(in_force) = in_force.filter(|f| zone.state.known.get(&sha256) == Some(&f.generation)) {
            let generation = in_force.generation;
            if self.store.in_force(name).is_ok_and(|kept| kept.as_ref() == Some(in_force)) {
                return self.unchanged(name, generation, file, now);
            }
            // Whoever drops it again may do so to repair a store that was altered under us.
            self.reread_zone(name, now);
        }
        let zone = &self.zones[name];
        let requests = open_requests(&self.config.state_dir, name);
        // Without a signature of its own.
        let by_hand = file.order().is_some() && !self.config.loader.operator_certificates.is_empty();
        let operator = file.operator.as_ref().or_else(|| by_hand.then_some(&Operator::Absent));
        let proven = possession::proven(&self.config.state_dir, name, keys, &requests);
        let parent = self.config.loader.parent_resolver.map(|resolver| self.asker.ask(resolver, name));
        let mut verify_context = VerifyContext::new(&zone.config.name, &zone.config.anchors);
        verify_context.allow_delete = zone.config.allow_cds_delete;
        let context = Context {
            state: Some(&zone.state),
            keys: Some(keys).filter(|keys| !keys_are_knots(&self.config, &zone.config, keys)),
            requests: &requests,
            proof: Some((&zone.config.policy, &zone.config.anchors)),
            multi_signer: zone.config.multi_signer,
            proven: &proven,
            operator: operator.map(|operator| (operator, zone.config.require_signature)),
            parent: parent.as_ref().map(|parent| (parent, self.config.loader.parent_check)),
        };
        let force = file.order().map_or(&[][..], |order| &order.force);
        let Passed { skr, warnings, forced } =
            match checks::run(skr, &sha256, &verify_context, &context, force, now) {
                Ok(passed) => passed,
                Err(findings) => return self.reject(file, Some(name.clone()), findings, now, started),
            };
        let joined = match accept::join(&skr, &zone.state, &zone.config.anchors, now, PROGRAM) {
            Ok(joined) => joined,
            Err(finding) => {
                let findings = warnings.into_iter().chain([finding]).collect();
                return self.reject(file, Some(name.clone()), findings, now, started);
            }
        };
        // Whoever reads a generation reads BIND's form; what came in another stays beside it.
        let committed = joined.or_else(|| accept::rewritten(&skr, &file.octets, now, PROGRAM));
        let (octets, received) = match &committed {
            Some(committed) => (&committed[..], Some(&file.octets[..])),
            None => (&file.octets[..], None),
        };
        if is_dry_run(file) {
            let outcome = Outcome::Accepted { generation: zone.state.next, warnings };
            return import(file, sha256, Some(name.clone()), forced, outcome);
        }
        if let Some(order) = file.order().filter(|_| !forced.is_empty()) {
            let ordered = Record {
                generation: Some(zone.state.next),
                ..of_file("ordered", Some(name), file, &sha256, now)
            };
            if let Err(error) = self.audit.append(ordered.ordered(Some(order), &forced)) {
                let what =
                    format!("the audit log cannot be written ({error}), and nothing is forced without it");
                return self.failed(name, file, &what, now);
            }
        }
        match self.commit(name, octets, received, now) {
            Ok(generation) => {
                let import = self.accepted(name, generation, (warnings, forced), file, sha256, now, started);
                self.take_out(file, None);
                import
            }
            Err(CommitError::NotDurable { generation, source }) => {
                tracing::error!(zone = %name, generation, id = "SKR-IO", error = %source, "the SKR is in force and may not outlive a power loss; a dropped file stays in the inbox until it does");
                self.keep_until_durable(name, file, now);
                self.accepted(name, generation, (warnings, forced), file, sha256, now, started)
            }
            Err(error) => self.failed(name, file, &error.to_string(), now),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one log line")]
    fn accepted(
        &mut self,
        zone: &Name,
        generation: u64,
        (warnings, forced): (Vec<Finding>, Vec<CheckId>),
        file: &Dropped,
        sha256: Digest,
        now: Timestamp,
        started: Instant,
    ) -> Import {
        let name = printable(&file.name);
        for warning in &warnings {
            tracing::warn!(%zone, file = name, id = %warning.id, "{}", one_line(&warning.to_string()));
        }
        let bundles = self.in_force(zone).map_or(0, |f| f.bundles.len());
        tracing::info!(%zone, generation, bundles, file = name, sha256 = hex(&sha256), by = by(file.order()), forced = list(&forced), "SKR accepted");
        let record = Record {
            generation: Some(generation),
            checks: warnings.iter().map(|w| w.id.to_string()).collect(),
            signer: file.operator.as_ref().and_then(|o| Some(o.signer()?.to_owned())),
            ..of_file("accepted", Some(zone), file, &sha256, now)
        };
        self.record(record.ordered(file.order(), &forced));
        report::import(&self.metrics, &report::label(zone), "accepted", now);
        self.tell_file(file);
        self.metrics.skr_import_duration_seconds.observe(started.elapsed().as_secs_f64());
        import(file, sha256, Some(zone.clone()), forced, Outcome::Accepted { generation, warnings })
    }

    fn unchanged(&mut self, zone: &Name, generation: u64, file: &Dropped, now: Timestamp) -> Import {
        let (name, digest) = (printable(&file.name), digest(&file.octets));
        let unchanged =
            import(file, digest, Some(zone.clone()), Vec::new(), Outcome::Unchanged { generation });
        if is_dry_run(file) {
            return unchanged;
        }
        // A sync that failed when it was committed is made good before its file goes.
        if let Err(error) = self.store.make_durable(zone) {
            return self.failed(zone, file, &error.to_string(), now);
        }
        tracing::info!(%zone, generation, file = name, "SKR unchanged: it is in force already");
        let record =
            Record { generation: Some(generation), ..of_file("unchanged", Some(zone), file, &digest, now) };
        self.record(record.ordered(file.order(), &[]));
        report::import(&self.metrics, &report::label(zone), "unchanged", now);
        self.tell_file(file);
        self.take_out(file, None);
        unchanged
    }

    pub(super) fn reject(
        &mut self,
        file: &Dropped,
        zone: Option<Name>,
        findings: Vec<Finding>,
        now: Timestamp,
        started: Instant,
    ) -> Import {
        let (name, digest) = (printable(&file.name), digest(&file.octets));
        if is_dry_run(file) {
            return import(file, digest, zone, Vec::new(), Outcome::Rejected { findings });
        }
        let ids = checks::rejecting(&findings);
        let first = findings.iter().find(|f| f.rejects()).map_or_else(String::new, ToString::to_string);
        let of_zone = zone.as_ref().map_or_else(|| "unknown".to_owned(), report::label);
        tracing::error!(
            zone = of_zone,
            file = name,
            sha256 = hex(&digest),
            checks = check::join(&ids, ","),
            findings = findings.len(),
            "SKR rejected: {}",
            one_line(&first)
        );
        report::rejection(&self.metrics, &findings);
        if zone.is_some() {
            report::import(&self.metrics, &of_zone, "rejected", now);
        }
        let record = Record {
            checks: ids.iter().map(|id| id.to_string()).collect(),
            ..of_file("rejected", zone.as_ref(), file, &digest, now)
        };
        self.record_unsynced(record.ordered(file.order(), &[]));
        let in_force = zone.as_ref().and_then(|z| self.in_force(z)).map(|f| f.generation);
        if file.order().is_some() {
            self.metrics.skr_import_duration_seconds.observe(started.elapsed().as_secs_f64());
            return import(file, digest, zone, Vec::new(), Outcome::Rejected { findings });
        }
        self.put_aside(file, rejected::reason(file, zone.as_ref(), in_force, &findings, now));
        self.metrics.skr_import_duration_seconds.observe(started.elapsed().as_secs_f64());
        import(file, digest, zone, Vec::new(), Outcome::Rejected { findings })
    }

    fn failed(&mut self, zone: &Name, file: &Dropped, error: &str, now: Timestamp) -> Import {
        let name = printable(&file.name);
        tracing::error!(%zone, file = name, id = %CheckId::SkrIo, error, "the SKR is good and could not be stored; a dropped file is tried again");
        report::failure(&self.metrics, &report::label(zone));
        self.inbox.put_back(file, now);
        let outcome = Outcome::Failed { what: error.to_owned() };
        import(file, digest(&file.octets), Some(zone.clone()), Vec::new(), outcome)
    }

    fn refuse(&self, name: &str, error: &FileError) {
        tracing::error!(file = name, id = %error.id(), "left in the inbox: {error}");
        report::file(&self.metrics, "unsafe");
        report::rejection(&self.metrics, &[Finding::reject(error.id(), None, "")]);
    }

    /// One that never lay in the inbox counts as no file of it.
    fn tell_file(&self, file: &Dropped) {
        if file.order().is_none() {
            report::file(&self.metrics, "imported");
        }
    }

    /// Looks for the signature of the KSK operator beside the file.
    fn find_signature(&mut self, file: &mut Dropped, now: Timestamp) -> Paired {
        let pinned = &self.config.loader.operator_certificates;
        let required = !pinned.is_empty() && self.requires_signature(&file.octets);
        self.inbox.pair(file, pinned, required, now)
    }

    /// True when a zone in the file requires it.
    fn requires_signature(&self, octets: &[u8]) -> bool {
        let mut zones = self.zones.values().map(|zone| zone.config.require_signature);
        if !self.zones.values().any(|zone| zone.config.require_signature) {
            return false;
        }
        let of = |zone: Option<Name>| {
            zone.and_then(|zone| self.zones.get(&zone)).is_some_and(|z| z.config.require_signature)
        };
        zones.all(|requires| requires)
            || match many::split_zones(octets) {
                Ok(Some(sections)) => sections.into_iter().any(|(zone, _)| of(zone)),
                _ => of(accept::zone_of(octets)),
            }
    }

    /// False when it could not be taken out, or its copy not be written; that is told.
    pub(super) fn take_out(&mut self, file: &Dropped, to: Option<&Path>) -> bool {
        let taken = self.inbox.take_out(file, to);
        if let Err(error) = &taken {
            let name = printable(&file.name);
            tracing::error!(file = name, %error, "cannot take the judged file out of the inbox; remove it");
        }
        if let Some(signature) = file.signature() {
            self.take_out(signature, to.map(operator::signature_path).as_deref());
        }
        taken.is_ok()
    }
}

fn import(
    file: &Dropped,
    digest: Digest,
    zone: Option<Name>,
    forced: Vec<CheckId>,
    outcome: Outcome,
) -> Import {
    Import { file: printable(&file.name), digest, zone, forced, outcome }
}

fn is_dry_run(file: &Dropped) -> bool {
    file.order().is_some_and(|order| order.dry_run)
}

/// User ordered it, for the log.
fn by(order: Option<&Order>) -> Option<String> {
    order.map(|order| order.who.to_string())
}

fn list(ids: &[CheckId]) -> Option<String> {
    (!ids.is_empty()).then(|| check::join(ids, ","))
}

fn of_file(event: &str, zone: Option<&Name>, file: &Dropped, sha256: &Digest, now: Timestamp) -> Record {
    Record {
        zone: zone.map(report::label),
        file: Some(printable(&file.name)),
        sha256: Some(hex(sha256)),
        ..Record::new(now, event)
    }
}

/// The keys of the zone; a folder that cannot be read has none, and says why.
pub(crate) fn keys_of(zone: &ZoneConfig) -> Found {
    key_files::find_sealed(&zone.key_directory, &zone.name)
        .unwrap_or_else(|error| Found { skipped: vec![error], ..Found::default() })
}

/// The open requests in the outbox.
pub(crate) fn open_requests(state_dir: &Path, zone: &Name) -> Vec<Ksr> {
    requests_in(&zone_dir(&state_dir.join("outbox"), zone), zone, usize::MAX)
}

/// The requests in a folder, the newest ones (by name) when there are more than `most`. One that does not read asks for nothing.
pub(crate) fn requests_in(dir: &Path, zone: &Name, most: usize) -> Vec<Ksr> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "ksr")).collect();
    paths.sort_unstable();
    let mut requests = Vec::new();
    for path in paths.iter().skip(paths.len().saturating_sub(most)) {
        let read = files::read(path, Named::ByOperator, MAX_SKR_OCTETS).map_err(|e| e.to_string());
        let parsed = read.and_then(|f| bind::parse_ksr(&f.octets, zone).map_err(|e| e.to_string()));
        match parsed {
            Ok(ksr) => requests.push(ksr),
            Err(error) => {
                tracing::warn!(file = %path.display(), error = one_line(&error), "a request in the outbox does not read");
            }
        }
    }
    requests
}
