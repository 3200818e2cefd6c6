//! The checks against the ZSKs of this host: those of the key folder, and those that the open requests ask for.

use std::collections::HashSet;
use std::path::Path;

use keystore::check::CheckId;
use keystore::exchange::{Bundle, Ksr, SkrFinding, VerifiedSkr};
use keystore::keys::files::FolderKeys;
use keystore::keys::{Dnskey, FLAG_ZONE, KeyFile};
use keystore::time::Timestamp;

use super::{AcceptContext, key_name};

/// SKR-NO-PRIVATE-KEY: each ZSK of the bundle in force and of those to come is here, with a private key that fits it.
///
/// With several providers a ZSK without any file here is another one's; but each bundle has a ZSK of ours.
///
/// Where this process may not read it: whether it is there, and whether a request proves that its maker holds it.
pub(super) fn check_private_keys(
    remaining: &[Bundle],
    keys: &FolderKeys,
    context: &AcceptContext<'_>,
    findings: &mut Vec<SkrFinding>,
) {
    let multi_signer = context.multi_signer;
    let is_ours = |key: &Dnskey| keys.keys.iter().any(|k| k.dnskey == *key || is_named_alike(k, key));
    if multi_signer
        && let Some(bundle) = remaining.iter().find(|b| !b.keys().any(|k| is_zsk(&k) && is_ours(&k)))
    {
        let what = "no ZSK of the bundle is in the key folder; the zone could not be signed here".to_owned();
        findings.push(SkrFinding::reject(CheckId::SkrNoPrivateKey, Some(bundle.inception), what));
    }
    for (key, bundle) in distinct_zsks(remaining) {
        if multi_signer && !is_ours(&key) {
            continue;
        }
        let name = key_name(&key);
        let what = match keys.keys.iter().find(|k| k.dnskey == key) {
            Some(_) if keys.sealed.contains(&key) => {
                if !context.proven.contains(&key) {
                    let what = format!(
                        "the private key of ZSK {name} is there and may not be read by this user, and no request in the outbox proves \
                         that it fits; a KSR of `ksr-gen request` does"
                    );
                    findings.push(SkrFinding::warning(CheckId::SkrNoPrivateKey, Some(bundle), what));
                }
                continue;
            }
            Some(_) => match context.unusable.iter().find(|(unusable, _)| *unusable == key) {
                None => continue,
                Some((_, why)) => format!("the private key of ZSK {name} is unusable: {why}"),
            },
            None => match keys.keys.iter().find(|k| is_named_alike(k, &key)) {
                Some(other) => format!(
                    "{} is another key than ZSK {name} of the SKR; put the key of the request back",
                    other.path("key").display()
                ),
                None => {
                    let skipped: Vec<String> = keys.skipped.iter().map(ToString::to_string).collect();
                    let lone = keys.without_private.iter().filter(|path| is_file_of(path, &key));
                    let lone = lone.map(|path| {
                        format!("{}: there is no .private file beside it; restore it", path.display())
                    });
                    let also: Vec<String> = skipped.into_iter().chain(lone).collect();
                    let also = if also.is_empty() {
                        String::new()
                    } else {
                        format!("; skipped: {}", also.join("; "))
                    };
                    format!("ZSK {name} is not in the key folder; the zone could not be signed with it{also}")
                }
            },
        };
        findings.push(SkrFinding::reject(CheckId::SkrNoPrivateKey, Some(bundle), what));
    }
}

/// Whether a file has the algorithm and tag of a key in its name.
fn is_file_of(path: &Path, key: &Dnskey) -> bool {
    let end = format!("+{:03}+{:05}", key.algorithm.0, key.tag());
    path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| stem.ends_with(&end))
}

/// SKR-KEYSET, towards the key folder, a warning: named adds what its key folder publishes beyond the bundle, and the KSK's
/// signature then fits no more; and there are times of keys that it cannot work with.
pub(super) fn check_folder(
    remaining: &[Bundle],
    keys: &FolderKeys,
    now: Timestamp,
    findings: &mut Vec<SkrFinding>,
) {
    let of_times =
        keys.bad_times(now).map(|bad| SkrFinding::warning(CheckId::SkrKeyset, None, bad.to_string()));
    findings.extend(of_times);
    for file in &keys.keys {
        let name = key_name(&file.dnskey);
        if file.dnskey.is_ksk() {
            let what = format!(
                "KSK {name} lies in the key folder of this host; a KSK that is offline has no file here: move it away"
            );
            findings.push(SkrFinding::warning(CheckId::SkrKeyset, None, what));
            continue;
        }
        let lacking = remaining.iter().find(|bundle| {
            file.timing.is_published(bundle.inception) && !bundle.keys().any(|key| key == file.dnskey)
        });
        if let Some(bundle) = lacking {
            let what = format!(
                "ZSK {name} of the key folder is published by its times and missing in the bundle; it cannot be used then"
            );
            findings.push(SkrFinding::warning(CheckId::SkrKeyset, Some(bundle.inception), what));
        }
    }
}

/// SKR-NOT-ASKED and SKR-KEYSET, towards the open requests: the SKR answers one of them, with exactly its ZSKs.
///
/// With several providers it may begin later than our request, where all of them have begun, and has more ZSKs than ours.
pub(super) fn check_requests(
    skr: &VerifiedSkr,
    requests: &[Ksr],
    multi_signer: bool,
    findings: &mut Vec<SkrFinding>,
) {
    let spans: Vec<(&Ksr, Timestamp, Timestamp)> = requests
        .iter()
        .filter_map(|ksr| Some((ksr, ksr.bundles.first()?.inception, ksr.bundles.last()?.inception)))
        .collect();
    let (Some(first), Some(last)) = (skr.bundles().first(), skr.bundles().last()) else { return };
    if spans.is_empty() {
        return;
    }
    let Some((ksr, ..)) = spans.iter().find(|(_, start, end)| {
        *start == first.inception || (multi_signer && *start < first.inception && first.inception < *end)
    }) else {
        let starts: Vec<String> = spans.iter().map(|(_, start, _)| start.to_string()).collect();
        let what =
            format!("it begins at {}, and the open requests begin at {}", first.inception, starts.join(", "));
        // Before everything that is asked for: the answer to a request that is answered or void.
        let too_old = spans.iter().all(|(_, start, _)| last.expiration() < *start);
        findings.push(if too_old {
            SkrFinding::reject(CheckId::SkrNotAsked, None, what)
        } else {
            SkrFinding::warning(CheckId::SkrNotAsked, None, what)
        });
        return;
    };
    for bundle in skr.bundles() {
        let at = ksr.bundles.partition_point(|b| b.inception <= bundle.inception);
        let Some(asked) = at.checked_sub(1).map(|i| &ksr.bundles[i]) else { continue };
        let given: Vec<Dnskey> = bundle.keys().filter(is_zsk).collect();
        for key in given.iter().filter(|key| !multi_signer && !asked.keys.contains(key)) {
            let what = format!("ZSK {} was not asked for", key_name(key));
            findings.push(SkrFinding::reject(CheckId::SkrKeyset, Some(bundle.inception), what));
        }
        for key in asked.keys.iter().filter(|key| !given.contains(key)) {
            let what = format!("ZSK {} was asked for and is missing", key_name(key));
            findings.push(SkrFinding::reject(CheckId::SkrKeyset, Some(bundle.inception), what));
        }
    }
}

/// Each ZSK of the bundles once, with the inception of the first bundle that has it.
fn distinct_zsks(bundles: &[Bundle]) -> Vec<(Dnskey, Timestamp)> {
    let mut seen = HashSet::new();
    bundles
        .iter()
        .flat_map(|bundle| bundle.keys().filter(is_zsk).map(|key| (key, bundle.inception)))
        .filter(|(key, _)| seen.insert(key.clone()))
        .collect()
}

fn is_zsk(key: &Dnskey) -> bool {
    !key.is_ksk() && key.flags & FLAG_ZONE != 0
}

fn is_named_alike(file: &KeyFile, key: &Dnskey) -> bool {
    (file.dnskey.algorithm, file.dnskey.tag()) == (key.algorithm, key.tag())
}
