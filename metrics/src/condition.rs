//! The conditions that somebody should look at: one closed list of IDs, with what each means, what follows from it and what to do.
//!
//! An ID is the value of the label `condition`, the key in JSON, the heading in `docs/runbook.md` and what people search for. It never
//! changes its meaning and is never given to something else. Which conditions hold is decided elsewhere, by one function over facts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How urgent a condition is; a zone or a host is as urgent as the worst of its conditions. Ordered, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing to do.
    #[default]
    Ok,
    /// Look at it this week.
    Attention,
    /// Act today.
    Warning,
    /// Act now.
    Critical,
}

impl Severity {
    /// All, the worst first.
    pub const WORST_FIRST: [Self; 4] = [Self::Critical, Self::Warning, Self::Attention, Self::Ok];

    /// The word in JSON, in labels and on the page.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Attention => "attention",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The number in metrics: 0 ok, 1 attention, 2 warning, 3 critical.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a condition is of one zone or of a host with all its zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One zone: `offlineksk_zone_condition`.
    Zone,
    /// The host: `offlineksk_host_condition`.
    Host,
}

/// What is known of a condition without any facts.
#[derive(Debug, Clone, Copy)]
pub struct ConditionText {
    /// One sentence without values: what is the matter.
    pub summary: &'static str,
    /// What happens next when nobody acts.
    pub next: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

macro_rules! conditions {
    ($($variant:ident $id:literal $scope:ident [$($severity:ident),+] $summary:literal; $next:literal; $remedy:literal)*) => {
        /// The ID of a condition.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ConditionId {
            $(#[doc = $summary] #[serde(rename = $id)] $variant,)*
        }

        impl ConditionId {
            /// All, in the order of the manual.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The ID as it is printed.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }

            /// Whether it is of a zone or of a host.
            #[must_use]
            pub const fn scope(self) -> Scope {
                match self { $(Self::$variant => Scope::$scope,)* }
            }

            /// The severities that it can have, the least first.
            #[must_use]
            pub const fn severities(self) -> &'static [Severity] {
                match self { $(Self::$variant => &[$(Severity::$severity),+],)* }
            }

            /// What is known of it without any facts.
            #[must_use]
            pub const fn text(self) -> ConditionText {
                match self {
                    $(Self::$variant => ConditionText { summary: $summary, next: $next, remedy: $remedy },)*
                }
            }
        }
    };
}

conditions! {
    CoverageNone "COVERAGE-NONE" Zone [Critical]
        "No bundle with valid signatures is in force.";
        "Validating resolvers answer SERVFAIL for the whole zone as soon as their caches run out.";
        "Hold a ceremony now and drop the SKR into the inbox. If the KSK cannot be had, have the parent remove the DS."
    CoverageNever "COVERAGE-NEVER" Zone [Warning]
        "No SKR was ever accepted for the zone.";
        "The zone is not signed until the first SKR is accepted. That is harmless while no DS stands at the parent.";
        "Hold the first ceremony and drop the SKR into the inbox."
    CoverageEndsSoon "COVERAGE-ENDS-SOON" Zone [Attention, Warning, Critical]
        "The coverage ends soon.";
        "When the coverage ends, validating resolvers answer SERVFAIL for the whole zone.";
        "Take the open request to the KSK side, have it signed, and drop the SKR into the inbox."
    CoverageGap "COVERAGE-GAP" Zone [Attention, Warning, Critical]
        "The accepted SKR has a hole between its bundles.";
        "During the hole the zone has no valid key set, and validating resolvers answer SERVFAIL.";
        "Have a request signed that covers the hole, and drop the SKR into the inbox before the hole begins."
    GenerationBehind "GENERATION-BEHIND" Zone [Attention, Critical]
        "The signer does not use the newest accepted generation.";
        "Bundles of the older generation are served until their signatures end.";
        "Look at the log of the signer and at the rights on accepted/."
    ImportRejected "IMPORT-REJECTED" Zone [Attention, Warning]
        "The newest SKR of the zone was rejected.";
        "The SKR in force stays in force; nothing of the rejected file is used.";
        "Read the reason beside the file in rejected/, mend the cause on the KSK side, and drop the new SKR."
    SkrWarned "SKR-WARNED" Zone [Attention]
        "The SKR in force was accepted with warnings.";
        "What each check says may come true; the zone is valid meanwhile.";
        "Look each check up in docs/skr-checks.md and decide whether the next ceremony mends it."
    SkrForced "SKR-FORCED" Zone [Attention]
        "The SKR in force was accepted although checks failed, because a person overruled them.";
        "What the overruled checks warn of may come true.";
        "Have the next ceremony make an SKR that passes every check. Who overruled which check, and why, stands in the audit log."
    SkrStoreDamaged "SKR-STORE-DAMAGED" Zone [Critical]
        "The accepted SKR cannot be read from disk.";
        "What runs goes on with what it has; after a restart the zone has no SKR.";
        "Restore accepted/ZONE from a backup, or drop the SKR again."
    RequestWaits "REQUEST-WAITS" Zone [Attention, Warning, Critical]
        "A key signing request waits for its answer.";
        "The request becomes more urgent as the coverage runs out.";
        "Take the request to the KSK side, sign it with ksr-gen sign, and drop the SKR into the inbox."
    RequestOverdue "REQUEST-OVERDUE" Zone [Warning, Critical]
        "The next key signing request is due and is not written.";
        "Without a request there is no ceremony, and the coverage runs out.";
        "Look at the log of the request timer; ksr-gen request by hand shows the same error."
    NoticeFailed "NOTICE-FAILED" Zone [Warning]
        "Nobody could be told of the open request.";
        "The notice is tried again at least every hour; until it goes well nobody knows of the request.";
        "Run the command of on-request by hand, or send the mail that lies beside the request."
    KeyKskOnline "KEY-KSK-ONLINE" Zone [Critical]
        "A private KSK lies on this online host.";
        "Whoever gets into this host can sign anything for the zone; nothing else changes.";
        "Move the private key off this host. If somebody may have read it, roll the KSK."
    KeyZskMissing "KEY-ZSK-MISSING" Zone [Attention, Warning, Critical]
        "The private part of a ZSK is not here.";
        "When the ZSK has to sign, signing fails, and the signatures that are served run out.";
        "Restore the .private file, or make a new ZSK and hold a ceremony."
    KeyZskUnreadable "KEY-ZSK-UNREADABLE" Zone [Attention, Warning, Critical]
        "The private part of a ZSK cannot be read.";
        "When the ZSK has to sign, signing fails, and the signatures that are served run out.";
        "Give the file to the user that signs, with mode 0600."
    KeyFilesDamaged "KEY-FILES-DAMAGED" Zone [Warning]
        "Key files are damaged or contradict each other.";
        "The key is not used; a request that is due waits a day for the files to be put back.";
        "Restore the files from a backup, or remove the key if it is in no bundle."
    ZoneFileRejected "ZONE-FILE-REJECTED" Zone [Warning]
        "The zone file as it lies there cannot be loaded.";
        "The version that was read before is served and signed; changes of the file are not seen.";
        "Mend the file at the line that the cause names."
    ZoneNotLoaded "ZONE-NOT-LOADED" Zone [Critical]
        "No version of the zone is loaded.";
        "Queries for the zone are answered with SERVFAIL.";
        "Mend the zone file, or its rights; the cause names the line."
    ZoneUnsigned "ZONE-UNSIGNED" Zone [Critical]
        "The zone is loaded, and is not served with a full set of valid signatures.";
        "Validating resolvers answer SERVFAIL once a DS stands at the parent.";
        "Look which part is missing: the bundle in force, a ZSK that signs, or the SOA serial."
    SignatureLate "SIGNATURE-LATE" Zone [Warning, Critical]
        "A signature that is served is closer to its end than the renewal allows.";
        "When it ends, validating resolvers answer SERVFAIL for what it covers.";
        "Look at the log of the signer: ZSKs that cannot sign, a queue that does not get shorter, a wrong clock. A presigned zone must be signed anew where it comes from, and come here."
    SignerZoneFileUnreadable "SIGNER-ZONE-FILE-UNREADABLE" Zone [Warning]
        "The signer cannot open or read the zone file, or one that it includes.";
        "The version that was read before is served and signed; the file is tried again.";
        "Look at the rights of the file that the cause names, and at its file system."
    SignerSkrUnreadable "SIGNER-SKR-UNREADABLE" Zone [Warning]
        "The signer cannot open or read the accepted SKR.";
        "The signer goes on with the SKR that it has, and tries again; after a restart it has none.";
        "Look at the rights of accepted/ZONE for the user of the signer."
    SignerKeysUnreadable "SIGNER-KEYS-UNREADABLE" Zone [Warning]
        "The signer cannot open or read the key folder, a key file or the token of a key.";
        "Keys that are known already go on; the rest is tried again, but for a PIN that was wrong.";
        "Look at the rights of what the cause names, or at the token and its PIN file."
    SignerSerialUnreadable "SIGNER-SERIAL-UNREADABLE" Zone [Warning]
        "The signer cannot open or read the SOA serial that it served last.";
        "Nothing new is served until it can be read, so that no serial goes back; it is tried again.";
        "Look at the rights of zones/ZONE/serial in the state folder, and at its file system."
    SignerSerialNotWritten "SIGNER-SERIAL-NOT-WRITTEN" Zone [Warning]
        "The signer cannot write the SOA serial down.";
        "New content of the zone file waits; what is served is signed on under the serial that it has.";
        "Look at the rights and the file system of zones/ZONE in the state folder."
    SignerStateUnreadable "SIGNER-STATE-UNREADABLE" Zone [Warning]
        "The signer cannot open or read the version that it served last, or what updates made.";
        "It is tried again until something else is served, which is signed anew from the zone file. Of damaged content of updates, what the last version has is served.";
        "Look at the rights of zones/ZONE in the state folder. Where it names a folder damaged-TIME, updates of after the last version may be missing: send them again, then remove the folder."
    SignerStateNotWritten "SIGNER-STATE-NOT-WRITTEN" Zone [Warning]
        "The signer cannot write a version of the zone down.";
        "New content of the zone file waits, so that nothing is served that a restart would lose. What is served is signed on.";
        "Look at the rights and the room of the folder zones/ZONE in the state folder."
    SignerContentHeld "SIGNER-CONTENT-HELD" Zone [Warning]
        "New content of the zone file has far fewer or far more records than what is served.";
        "The new content waits until a person releases it, or the zone file changes. What is served is signed on.";
        "Look at the zone file. When it is right: offline-ksk release ZONE."
    SignerReviewRefused "SIGNER-REVIEW-REFUSED" Zone [Warning]
        "The review command refused new content of the zone file.";
        "The new content waits until the zone file changes. What is served is signed on.";
        "Read what the command printed, and mend the zone file."
    SignerReviewFailing "SIGNER-REVIEW-FAILING" Zone [Warning]
        "The review command cannot be run, or does not end in time.";
        "New content of the zone file waits; the command is run again. What is served is signed on.";
        "Run the command of [signer] review by hand."
    SignerNotVerified "SIGNER-NOT-VERIFIED" Zone [Warning]
        "A version of a presigned zone does not verify.";
        "It is not served, and the version before stays until its signatures end. With verify = \"warn\" it is served as it is.";
        "Look at the findings that the cause names, have the zone signed anew where it comes from, and look at the clocks. offline-ksk verify-zone shows all findings of a file."
    DeliveryUnproven "DELIVERY-UNPROVEN" Zone [Attention, Warning, Critical]
        "A server is not proven to serve what is in force.";
        "The server goes on with the bundles that it has, until their signatures end.";
        "Look at the cause. The delivery is tried again by itself."
    SecondaryBehind "SECONDARY-BEHIND" Zone [Attention, Warning]
        "A secondary does not have the version of the zone that is served here.";
        "It goes on with what it has until it transfers the zone or expires it. It is told again and again.";
        "Look at the cause and at the log of the secondary: its address, the TSIG key on both sides, the clocks, allow-transfer. docs/manual/transfers.md has a working configuration for both sides."
    TransferFailing "TRANSFER-FAILING" Zone [Warning]
        "The zone cannot be had from any of its primaries, or what they send is not taken.";
        "What came last is served until SOA EXPIRE has passed since a primary last confirmed it. The primaries are asked again and again.";
        "Look at the cause, which names each primary: its address, the TSIG key on both sides, the clocks, and who may transfer the zone there. docs/manual/transfers.md has a working configuration for both sides."
    ZoneExpired "ZONE-EXPIRED" Zone [Critical]
        "No primary has confirmed the zone within the time of SOA EXPIRE.";
        "Queries for the zone are answered with SERVFAIL until a primary answers.";
        "Bring a primary back, or look why it does not answer this host: the condition TRANSFER-FAILING of the zone names the cause."
    ParentDsMissing "PARENT-DS-MISSING" Zone [Warning, Critical]
        "No DS stands at the parent.";
        "Resolvers take the zone as unsigned.";
        "Have the registrar publish the DS of the KSK, if the zone is meant to be secure."
    ParentDsWrong "PARENT-DS-WRONG" Zone [Warning, Critical]
        "The DS at the parent does not fit the KSKs of the bundle in force.";
        "When no DS fits, validating resolvers answer SERVFAIL for the whole zone.";
        "Have the parent publish the DS of a KSK that signs, and remove the others."
    ParentNotTold "PARENT-NOT-TOLD" Zone [Attention, Warning]
        "The parent could not be told of new CDS records.";
        "The parent finds the new records when it looks by itself, if it does. It is told again and again.";
        "Look at the cause: a server of the zone that lacks the new records, the resolver of [loader] parent-resolver, or the receiver that the DSYNC record of the parent names."
    ParentHookFailed "PARENT-HOOK-FAILED" Zone [Warning]
        "A command that is to be run when a DS record changes fails.";
        "The command is run again, at least every hour; no other command of the zone is run before it goes well.";
        "Run the command of [parent] on-ds-ready, on-ds-seen or on-ds-gone by hand, as the user of the daemon, with the environment that docs/manual/parent.md names."
    SoaExpireTooLong "SOA-EXPIRE-TOO-LONG" Zone [Warning]
        "A secondary that is cut off would serve expired signatures before it expires the zone.";
        "Nothing, as long as every secondary reaches its primary.";
        "Shorten SOA expire, or renew signatures earlier."
    ProbeServerSilent "PROBE-SERVER-SILENT" Zone [Warning, Critical]
        "An authoritative server does not answer.";
        "Resolvers ask the other servers, and answers take longer.";
        "Look at the server and at the way to it; the address is named."
    ProbeSerialBehind "PROBE-SERIAL-BEHIND" Zone [Attention, Warning, Critical]
        "An authoritative server serves an older version of the zone.";
        "The server goes on with old data until it transfers the zone or expires it.";
        "Look at zone transfer, NOTIFY and TSIG between that server and its primary."
    ProbeDiffers "PROBE-DIFFERS" Zone [Warning, Critical]
        "Authoritative servers serve different keys or signatures, or such that do not validate.";
        "Resolvers see one or the other, and may answer SERVFAIL.";
        "Look at the server and the record set that are named."
    ImportDeferred "IMPORT-DEFERRED" Host [Attention, Warning]
        "A file in the inbox waits or was left alone.";
        "The file is not taken before it is whole, and the rights on it are safe.";
        "Write elsewhere on the same file system and rename into the inbox; mend the rights, or remove the file."
    WatchStalled "WATCH-STALLED" Host [Warning]
        "The inbox is not watched.";
        "Dropped files are found late or not at all.";
        "See that the folder is there and can be read by the loader."
    LoaderNotRunning "LOADER-NOT-RUNNING" Host [Warning]
        "No loader reports for this state folder.";
        "Dropped SKRs are not taken, and nothing is delivered.";
        "Start skr-loader run or offline-ksk serve."
    TimerNotRunning "TIMER-NOT-RUNNING" Host [Warning, Critical]
        "No request timer reports for this state folder.";
        "No ZSKs and no requests are made, and nobody is told of those that wait.";
        "Start offline-ksk requests or offline-ksk serve."
    SignerNotRunning "SIGNER-NOT-RUNNING" Host [Critical]
        "No signer reports for this state folder.";
        "This host answers no queries, and no signatures are renewed.";
        "Start offline-ksk serve."
    NotActive "NOT-ACTIVE" Host [Attention, Critical]
        "This host is not the active one of its pair.";
        "It makes no versions, takes no SKRs and answers every query with REFUSED, until somebody takes over.";
        "Nothing, while the other host works. When it does not: offline-ksk takeover -c FILE."
    LeaseLost "LEASE-LOST" Host [Critical]
        "The active host could not renew its lease in time.";
        "It publishes no versions and takes no updates; what it has stays served. When the lease has ended, the other host may take over.";
        "Look at the storage of lease-directory and at the clock: the cause is named. It goes on by itself when the lease is renewed."
    PairConflict "PAIR-CONFLICT" Host [Critical]
        "A secondary has a serial of a zone that this host never published: another host is, or was, active.";
        "This host publishes no version of the zone; other zones go on.";
        "Find out which host made that serial. Where it has what counts, stop this host, and have the other take over. Else stop offline-ksk serve here and run offline-ksk takeover --force, which goes on beyond the serial."
    ConfigRejected "CONFIG-REJECTED" Host [Warning, Critical]
        "The configuration file has errors, or was refused at the last reload.";
        "The configuration before stays in use, or the zones of the file of zones-directory that is named; a restart fails by an error of the file itself.";
        "Run the program with --check-config, mend every finding, and reload. Zones that are in no file any more: put the files back, or let the zones go by offline-ksk zone release."
    CatalogFailing "CATALOG-FAILING" Host [Warning]
        "A catalog zone is broken, cannot be had, or cannot be kept on disk.";
        "It changes nothing: the zones that came from it stay, and secondaries keep the version that they have. It is tried again and again.";
        "Mend the catalog where it is made, the way to its primaries, or the rights and the room of the state folder; the cause says which. docs/manual/fleets.md has working configurations for both sides."
    CatalogHeld "CATALOG-HELD" Host [Warning]
        "Zones have left a catalog, too many or all of them, or would not be signed here any more by their group.";
        "They stay in use as they were, or in the catalog that this host makes, until they are back or a person releases them.";
        "See why they are gone: a catalog that was emptied by mistake takes every zone away. When they shall go: offline-ksk zone release."
    CatalogZonesRefused "CATALOG-ZONES-REFUSED" Host [Warning]
        "Zones of a catalog are not taken, or its template has errors.";
        "Zones that were in use stay as they were, or stay where they are configured; others are not served.";
        "Look at the cause: another file or catalog that has the zone, members-below, a group without a template, a trust anchor that is missing, or the line of the template."
    CertificateEndsSoon "CERTIFICATE-ENDS-SOON" Host [Warning, Critical]
        "The certificate of the HTTP endpoint, of DNS over TLS or for primaries ends soon, or is not valid.";
        "Once it is not valid Prometheus, load balancers and browsers refuse the endpoint, and nothing more is measured; a primary that wants it gives no more transfers, and its zones expire.";
        "Renew the certificate. The daemon reads it by itself when the files change."
    ClockWrong "CLOCK-WRONG" Host [Warning, Critical]
        "The clock of this host is wrong or was set by a jump.";
        "Bundles switch by the clock: signatures may not be valid yet, or no more.";
        "Look at time synchronisation (timedatectl, chronyc tracking)."
    DiskNearlyFull "DISK-NEARLY-FULL" Host [Warning, Critical]
        "A file system that is written to is nearly full.";
        "When it is full, accepted SKRs cannot be kept, and the audit log cannot be written.";
        "Free space on the file system that is named."
    AlarmUntested "ALARM-UNTESTED" Host [Attention, Warning]
        "The way of the alarms was not tested for longer than the configuration wants.";
        "An alarm may ring where nobody hears it, as it did when signatures ran out elsewhere.";
        "Run offline-ksk alert-test -c FILE --alertmanager URL, and see that the message arrives."
    AuditBroken "AUDIT-BROKEN" Host [Critical]
        "The audit log does not hold together.";
        "What the log says of the past cannot be trusted. New lines are written all the same.";
        "Run skr-loader audit, compare with a backup, and find out who changed the file."
    AuditNotWritten "AUDIT-NOT-WRITTEN" Host [Critical]
        "The audit log cannot be written.";
        "What comes into force is not recorded, and orders that overrule a check are refused.";
        "Look at the file system, the rights and the owner of audit.jsonl."
    HealthUnreadable "HEALTH-UNREADABLE" Host [Warning]
        "A file with the state of a component cannot be read.";
        "What that component knows is not shown.";
        "Look at the rights of the file, and whether all programs are of the same version."
}

impl ConditionId {
    /// The ID with this text; `None` for any other.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|id| id.as_str() == text)
    }

    /// The anchor of its section in `docs/runbook.md`: the heading as web renderers write it.
    #[must_use]
    pub fn anchor(self) -> String {
        self.as_str().to_ascii_lowercase()
    }
}

impl fmt::Display for ConditionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_well_formed_unique_and_read_back() {
        for (at, id) in ConditionId::ALL.iter().enumerate() {
            let text = id.as_str();
            assert!(
                text.contains('-') && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-'),
                "{text}"
            );
            assert_eq!(ConditionId::parse(text), Some(*id));
            assert!(ConditionId::ALL[..at].iter().all(|other| other.as_str() != text), "{text} comes twice");
            let json = serde_json::to_string(id).expect("a string");
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<ConditionId>(&json).expect("reads back"), *id);
        }
        assert_eq!(ConditionId::parse("coverage-none"), None);
    }

    #[test]
    fn every_condition_has_its_section_in_the_runbook() {
        let runbook = include_str!("../../docs/runbook.md");
        for id in ConditionId::ALL {
            let severities: Vec<&str> = id.severities().iter().map(|s| s.as_str()).collect();
            let head = format!("\n## {id}\n\n*{}* — {}\n", severities.join(", "), id.text().summary);
            assert!(runbook.contains(&head), "docs/runbook.md lacks {head}");
        }
    }

    #[test]
    fn texts_are_sentences_and_severities_are_ordered() {
        for id in ConditionId::ALL {
            let text = id.text();
            for sentence in [text.summary, text.next, text.remedy] {
                assert!(sentence.ends_with('.') && sentence.len() > 20, "{id}: {sentence}");
            }
            let severities = id.severities();
            assert!(severities.is_sorted() && severities.iter().all(|s| *s > Severity::Ok), "{id}");
        }
    }
}
