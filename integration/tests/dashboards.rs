//! The Grafana dashboards: what Grafana's file provisioning needs, names that the code has, and a panel for what each alert looks at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn grafana() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../metrics/grafana")
}

/// Name and content of each dashboard.
fn dashboards() -> Vec<(String, Value)> {
    let folder = grafana().join("dashboards/offline-ksk");
    let mut all: Vec<(String, Value)> = std::fs::read_dir(folder)
        .expect("the folder of the dashboards")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("text");
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name.clone(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}")))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(all.len(), 3, "Coverage, Signing and serving, Operations");
    all
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is missing in {value}"))
}

/// The names of our families in an expression, without prefix.
fn families(expression: &str) -> BTreeSet<String> {
    let names = expression.match_indices("offlineksk_").map(|(at, prefix)| {
        let rest = &expression[at + prefix.len()..];
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
    });
    let bare = |name: String| {
        ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|s| name.strip_suffix(s))
            .map_or(name.clone(), str::to_owned)
    };
    names.map(bare).collect()
}

#[test]
fn every_dashboard_has_what_provisioning_needs() {
    let mut uids = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        let uid = text(&dashboard, "uid");
        assert!(
            (8..=40).contains(&uid.len()) && uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
            "{name}"
        );
        assert!(uids.insert(uid.to_owned()), "{name}: the uid comes twice");
        assert!(dashboard["id"].is_null(), "{name}: the id is the server's");
        assert!(dashboard.get("__inputs").is_none(), "{name}: provisioned files have no inputs");
        assert_eq!(dashboard["schemaVersion"], 39, "{name}");
        assert_eq!(text(&dashboard, "timezone"), "utc", "{name}");
        let variables = dashboard["templating"]["list"].as_array().expect("variables");
        assert_eq!(
            (text(&variables[0], "name"), text(&variables[0], "type")),
            ("datasource", "datasource"),
            "{name}"
        );
        let whole = dashboard.to_string();
        assert!(!whole.contains("localhost") && !whole.contains("http://"), "{name} names a host");
    }
}

#[test]
fn every_panel_says_what_it_shows_from_which_source_in_which_unit() {
    const UNITS: [&str; 8] = ["s", "dateTimeAsIso", "short", "none", "ops", "bytes", "percentunit", "ratio"];
    const TYPES: [&str; 5] = ["stat", "table", "timeseries", "state-timeline", "bargauge"];
    for (name, dashboard) in dashboards() {
        let mut ids = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = text(panel, "title");
            assert!(
                ids.insert(panel["id"].as_u64().expect("a number")),
                "{name}: {title}: the id comes twice"
            );
            assert!(TYPES.contains(&text(panel, "type")), "{name}: {title}");
            assert!(text(panel, "description").ends_with('.'), "{name}: {title}");
            assert_eq!(text(&panel["datasource"], "uid"), "${datasource}", "{name}: {title}");
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(UNITS.contains(&text(defaults, "unit")), "{name}: {title}");
            assert!(
                defaults["thresholds"]["steps"][0]["value"].is_null(),
                "{name}: {title}: the first step has no value"
            );
            let targets = panel["targets"].as_array().expect("targets");
            assert!(!targets.is_empty(), "{name}: {title}");
            for target in targets {
                assert_eq!(text(&target["datasource"], "uid"), "${datasource}", "{name}: {title}");
                assert_ne!(target["instant"], target["range"], "{name}: {title}");
            }
        }
    }
}

#[test]
fn no_panel_lies_on_another_or_beside_the_grid() {
    for (name, dashboard) in dashboards() {
        let place =
            |panel: &Value| ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a number"));
        let all: Vec<(&str, [u64; 4])> =
            panels(&dashboard).iter().map(|p| (text(p, "title"), place(p))).collect();
        for (at, (title, [x, y, w, h])) in all.iter().enumerate() {
            assert!(*w > 0 && *h > 0 && x + w <= 24, "{name}: {title} is beside the grid");
            for (other, [ox, oy, ow, oh]) in &all[..at] {
                let apart = x + w <= *ox || ox + ow <= *x || y + h <= *oy || oy + oh <= *y;
                assert!(apart, "{name}: {title} lies on {other}");
            }
        }
    }
}

#[test]
fn every_family_is_on_some_panel_and_panels_and_alerts_name_no_other() {
    let mut shown = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().expect("targets") {
                for family in families(text(target, "expr")) {
                    assert!(
                        metrics::families::NAMES.contains(&family.as_str()),
                        "{name}: {family} is no family"
                    );
                    shown.insert(family);
                }
            }
        }
    }
    let rules = metrics::rules::document(None);
    let expressions = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let used: BTreeSet<String> =
        expressions.flat_map(families).filter(|f| f != "skr_coverage_remaining").collect();
    assert!(used.len() > 20, "{used:?}");
    let unknown: Vec<&String> = used.difference(&shown).collect();
    assert!(unknown.is_empty(), "alerts look at {unknown:?}, which no panel shows");
    let missing: Vec<_> = metrics::families::NAMES.iter().filter(|name| !shown.contains(**name)).collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
}
