//! The `.state` file: what the key manager knows of a key.

use std::fmt::Write;
use std::path::Path;

use super::{
    BadWord, KeyFile, KeyFileError, LineFault, first_word, lines, number, printable, split_tag, stamp,
};
use crate::keys::Dnskey;
use crate::keys::timing::{RecordState, State, Timing};

/// Reads a `.state` file. Its times replace those of `timing` that it has.
///
/// As BIND: the first line is a remark, then come `Algorithm` and `Length`, which must be those of the key, then any tags
/// in any order and letter case; unknown ones are skipped. BIND writes some tags in another spelling than it reads; both are read here.
pub(super) fn parse(
    path: &Path,
    text: &[u8],
    key: &Dnskey,
    bits: u16,
    timing: &mut Timing,
) -> Result<State, KeyFileError> {
    let mut rest = lines(text).skip(1);
    let mut fixed = |tag: &str, want: u16| {
        let Some((n, line)) = rest.next() else {
            let last = lines(text).count() as u32;
            return Err(KeyFileError::syntax(
                path,
                last,
                format!("the file ends where `{tag}:` was expected"),
            ));
        };
        let value = split_tag(line).filter(|(found, _)| *found == tag.as_bytes()).map(|(_, value)| value);
        match value.map(number::<u16>) {
            Some(Ok(value)) if value == want => Ok(()),
            _ => Err(KeyFileError::syntax(
                path,
                n,
                format!("`{tag}: {want}` was expected, as in the .key file"),
            )),
        }
    };
    fixed("Algorithm", u16::from(key.algorithm.0))?;
    fixed("Length", bits)?;
    let mut state = State { length: bits, ..State::default() };
    for (n, line) in rest {
        let Some((tag, value)) = split_tag(line) else { continue };
        let Ok(tag) = std::str::from_utf8(tag) else { continue };
        read_tag(tag, value, &mut state, timing)
            .map_err(|fault| KeyFileError::syntax(path, n, fault.to_string()))?;
    }
    Ok(state)
}

/// Reads the value of a known tag into its field.
fn read_tag(tag: &str, value: &[u8], state: &mut State, timing: &mut Timing) -> Result<(), LineFault> {
    let name = || printable(tag.as_bytes());
    let time = || stamp(value).map(Some).map_err(|BadWord(text)| LineFault::Time { tag: name(), text });
    let fault = |max, BadWord(text)| LineFault::Number { tag: name(), text, max };
    let count = || number::<u32>(value).map(Some).map_err(|word| fault(u32::MAX, word));
    let tag_of = || number::<u16>(value).map(Some).map_err(|word| fault(u16::MAX.into(), word));
    let word = || first_word(value);
    let yes_no = || match word() {
        w if w.eq_ignore_ascii_case(b"yes") => Ok(Some(true)),
        w if w.eq_ignore_ascii_case(b"no") => Ok(Some(false)),
        w => Err(LineFault::YesNo { tag: name(), text: printable(w) }),
    };
    let record = || {
        let unknown = || LineFault::RecordState { tag: name(), text: printable(word()) };
        RecordState::parse(word()).map(Some).ok_or_else(unknown)
    };
    match tag.to_ascii_lowercase().as_str() {
        "lifetime" => state.lifetime = count()?,
        "predecessor" => state.predecessor = tag_of()?,
        "successor" => state.successor = tag_of()?,
        "ksk" => state.ksk = yes_no()?,
        "zsk" => state.zsk = yes_no()?,
        "generated" => timing.created = time()?,
        "published" => timing.publish = time()?,
        "active" => timing.activate = time()?,
        "retired" => timing.inactive = time()?,
        "revoked" => timing.revoke = time()?,
        "removed" => timing.delete = time()?,
        "dspublish" => timing.ds_publish = time()?,
        "dsremoved" => timing.ds_delete = time()?,
        "publishcds" | "syncpublish" => timing.sync_publish = time()?,
        "deletecds" | "syncdelete" => timing.sync_delete = time()?,
        "sigpublish" | "zrrsigpublish" => state.sig_publish = time()?,
        "sigremoved" | "zrrsigdelete" | "zzrrsigdelete" => state.sig_delete = time()?,
        "dspubcount" => state.ds_pub_count = count()?,
        "dsdelcount" | "dsremcount" => state.ds_del_count = count()?,
        "dnskeychange" => state.dnskey.1 = time()?,
        "zrrsigchange" => state.zrrsig.1 = time()?,
        "krrsigchange" => state.krrsig.1 = time()?,
        "dschange" => state.ds.1 = time()?,
        "dnskeystate" => state.dnskey.0 = record()?,
        "zrrsigstate" => state.zrrsig.0 = record()?,
        "krrsigstate" => state.krrsig.0 = record()?,
        "dsstate" => state.ds.0 = record()?,
        "goalstate" => state.goal = record()?,
        _ => {}
    }
    Ok(())
}

/// The text of a `.state` file; `bits` is the size of the key.
pub(super) fn print(key: &KeyFile, state: &State, bits: u16) -> String {
    let mut out = format!("; This is the state of key {}, for {}\n", key.dnskey.tag(), key.zone);
    // Writing to a String cannot fail.
    let mut put = |tag: &str, value: String| {
        let _ = writeln!(out, "{tag}: {value}");
    };
    put("Algorithm", key.dnskey.algorithm.0.to_string());
    put("Length", bits.to_string());
    let numbers = [
        ("Lifetime", state.lifetime),
        ("Predecessor", state.predecessor.map(u32::from)),
        ("Successor", state.successor.map(u32::from)),
    ];
    for (tag, value) in numbers {
        value.into_iter().for_each(|value| put(tag, value.to_string()));
    }
    for (tag, value) in [("KSK", state.ksk), ("ZSK", state.zsk)] {
        value.into_iter().for_each(|value| put(tag, if value { "yes" } else { "no" }.to_owned()));
    }
    let t = &key.timing;
    let times = [
        ("Generated", t.created),
        ("Published", t.publish),
        ("Active", t.activate),
        ("Retired", t.inactive),
        ("Revoked", t.revoke),
        ("Removed", t.delete),
        ("DSPublish", t.ds_publish),
        ("DSRemoved", t.ds_delete),
        ("SigPublish", state.sig_publish),
        ("SigRemoved", state.sig_delete),
        ("PublishCDS", t.sync_publish),
        ("DeleteCDS", t.sync_delete),
    ];
    for (tag, at) in times {
        at.into_iter().for_each(|at| put(tag, format!("{at} ({})", at.ctime())));
    }
    for (tag, value) in [("DSPubCount", state.ds_pub_count), ("DSDelCount", state.ds_del_count)] {
        value.into_iter().for_each(|value| put(tag, value.to_string()));
    }
    let records =
        [("DNSKEY", state.dnskey), ("ZRRSIG", state.zrrsig), ("KRRSIG", state.krrsig), ("DS", state.ds)];
    for (record, (_, at)) in records {
        at.into_iter().for_each(|at| put(&format!("{record}Change"), format!("{at} ({})", at.ctime())));
    }
    for (record, (value, _)) in records {
        value.into_iter().for_each(|value| put(&format!("{record}State"), value.to_string()));
    }
    state.goal.into_iter().for_each(|value| put("GoalState", value.to_string()));
    out
}
