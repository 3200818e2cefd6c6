//! What is wrong with catalogs that zones are taken from: they are files here.

use keystore::exchange::testing::TestKey;
use metrics::health::ConditionId;

use super::place::{Extra, Place, bring, wait};

/// What this test brings about.
pub const BROUGHT: [ConditionId; 3] =
    [ConditionId::CatalogFailing, ConditionId::CatalogHeld, ConditionId::CatalogZonesRefused];

/// Writes a catalog of this version with these zones.
fn write(place: &Place, catalog: &str, version: u8, zones: &[&str]) {
    let mut text = format!(
        "$TTL 0\n@ SOA invalid. invalid. 1 3600 600 2147483646 0\n@ NS invalid.\nversion TXT \"{version}\"\n"
    );
    for zone in zones {
        text.push_str(&format!("{zone}.zones PTR {zone}.\n"));
    }
    place.write(&format!("{catalog}.zone"), &text);
}

#[test]
fn catalogs_that_are_broken_emptied_or_have_zones_that_cannot_be_taken_are_seen_everywhere() {
    let place = Place::new();
    let key = data_encoding::BASE64.encode(&TestKey::ksk(1).dnskey.public_key);
    let template = format!(
        "[[zone]]\nname = \"{{zone}}\"\npolicy = \"p\"\ntrust-anchors = [\"{{zone}} 3600 IN DNSKEY 257 3 15 {key}\"]\n"
    );
    place.write("template.toml", &template);
    write(&place, "one", 2, &["a", "b"]);
    write(&place, "two", 2, &["c"]);
    let tables = ["one", "two"].map(|name| {
        format!("[[catalog]]\nzone = \"{name}\"\nfile = \"{name}.zone\"\ntemplate = \"template.toml\"\n")
    });
    place.configure(&Extra { more: &tables.concat(), ..Extra::default() });
    let _daemon = place.start(&["serve"]);
    let has = |zone: &str| place.status(&["--json"]).contains(&format!("\"zone\": \"{zone}\""));
    wait("the zones", || ["a.", "b.", "c."].into_iter().all(has));
    bring(
        &place,
        &BROUGHT,
        || {
            write(&place, "one", 2, &[]);
            write(&place, "two", 1, &["c"]);
            place.write("template.toml", &template.replace("\"p\"", "\"none\""));
        },
        || {
            write(&place, "one", 2, &["a", "b"]);
            write(&place, "two", 2, &["c"]);
            place.write("template.toml", &template);
        },
    );
}
