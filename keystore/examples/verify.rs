//! Verifies an SKR against pinned KSKs and tells what it covers.
//!
//! `cargo run --example verify -p offline-ksk-keystore -- ZONE ANCHORS SKR NOW`: ANCHORS is a file of DS or DNSKEY records, NOW is
//! a time, YYYYMMDDHHMMSS.

use std::error::Error;
use std::fs;

use offline_ksk_keystore::dns::Name;
use offline_ksk_keystore::exchange::{Coverage, VerifyContext, format, parse_trust_anchors, verify};
use offline_ksk_keystore::time::Timestamp;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [zone, anchors, skr, now] = arguments.as_slice() else {
        return Err("expected ZONE ANCHORS SKR NOW".into());
    };
    let zone = Name::parse(zone)?;
    let anchors = parse_trust_anchors(&fs::read_to_string(anchors)?, &zone)?;
    let now = Timestamp::parse_stamp(now).ok_or("NOW is no time, YYYYMMDDHHMMSS")?;
    let skr = format::parse_skr(&fs::read(skr)?, &zone)?;
    match verify(skr, &VerifyContext::new(&zone, &anchors), now) {
        Ok(skr) => {
            let end = Coverage::at(skr.bundles(), now).map(|coverage| coverage.end);
            println!("{} bundles, good; covered until {}", skr.bundles().len(), end.unwrap_or(now));
            skr.warnings().iter().for_each(|warning| println!("{warning}"));
            Ok(())
        }
        Err(findings) => {
            findings.iter().for_each(|finding| println!("{finding}"));
            Err("the SKR is rejected".into())
        }
    }
}
