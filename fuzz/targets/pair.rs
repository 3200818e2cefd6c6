//! The files by which two hosts know which of them is active: other hosts, people and broken storage write into them.

use keystore::pair::fuzzing as pair;

/// The text of a lease. One that reads is written as it was, and what is asked of it can be asked, whatever its numbers are.
pub fn lease(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let Some((lease, written)) = pair::lease(&text) else { return false };
    assert_eq!(written, text);
    assert!(lease.until(u32::MAX) >= lease.expires && lease.generation.next() >= lease.generation);
    assert!(lease.is_of(&lease.host, &lease.node));
    for time in [lease.renewed, lease.expires, lease.until(u32::MAX)] {
        assert!(!time.iso().is_empty());
    }
    lease.is_released() || lease.expires > lease.renewed
}

/// The files that say where the state of a host comes from: `pair-generation`, and `pair-held`, chosen by the first octet. What reads is written
/// so that it reads as the same.
pub fn pair_origin(data: &[u8]) -> bool {
    let Some((choice, text)) = data.split_first() else { return false };
    let text = String::from_utf8_lossy(text);
    if choice & 1 == 0 {
        let Some(written) = pair::made(&text) else { return false };
        assert_eq!(written, text);
    } else {
        let Some(written) = pair::held(&text) else { return false };
        assert_eq!(pair::held(&written).as_ref(), Some(&written), "{text}");
    }
    true
}

/// Inputs of [`lease`]: one that is renewed, one that was given back, one by force.
pub fn lease_seeds() -> Vec<Vec<u8>> {
    [(1_800_000_060, "no", "yes"), (1_800_000_000, "no", "yes"), (1_800_000_060, "yes", "no")]
        .map(|(expires, forced, begun)| {
            let head = "offline-ksk lease 1\nhost a\nnode ns1/8c7d1f2e\ngeneration 7\nrenewed 1800000000\n";
            format!("{head}expires {expires}\nforced {forced}\nbegun {begun}\n").into_bytes()
        })
        .to_vec()
}

/// Inputs of [`pair_origin`].
pub const ORIGINS: [&str; 4] = ["\07 a\n", "\0120 ns1.example\n", "\x01example.\na.test.\n", "\x01.\n"];
