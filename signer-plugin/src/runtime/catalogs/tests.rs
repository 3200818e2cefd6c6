//! What is published of a catalog, look by look, on a clock of our own.

use std::fmt::Write as _;
use std::fs;

use keystore::dns::Rtype;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const POLICY: &str = "version = 1\nstate-dir = \"state\"\n[policy.p]\noffline-ksk = true\nkeys = [{ role = \"ksk\", lifetime = 0, \
    algorithm = 13 }, { role = \"zsk\", lifetime = 0, algorithm = 13 }]\n[[catalog]]\nzone = \"catalog.test\"\n\
    allow-transfer = [{ address = \"192.0.2.53\", key = \"xfr\" }]\n";

/// A host with a catalog, and the zones `z0.test` and so on with content.
struct Site {
    dir: tempfile::TempDir,
    metrics: Metrics,
}

impl Site {
    fn new() -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap(), metrics: Metrics::new().unwrap() };
        fs::create_dir(site.dir.path().join("state")).unwrap();
        site
    }

    fn config(&self, numbers: impl IntoIterator<Item = usize>) -> Config {
        let mut text = POLICY.to_owned();
        let ds = "3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000";
        for zone in numbers.into_iter().map(|number| format!("z{number}.test")) {
            let _ = write!(
                text,
                "[[zone]]\nname = \"{zone}\"\npolicy = \"p\"\nfile = \"zone\"\ntrust-anchors = [\"{zone}. DS 1 13 2 {ds}\"]\n"
            );
        }
        Config::parse(text.as_bytes(), &self.dir.path().join("main.toml")).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Zones that are configured and not signed yet, as a start finds them.
    fn zones(&self, numbers: impl IntoIterator<Item = usize>) -> Zones {
        let served = self.config(numbers).zones.into_iter().map(|zone| {
            let served = SignerZone::new(zone.name.clone(), &self.metrics, Arc::new(|| NOW));
            (zone, Arc::new(served))
        });
        Zones { served: served.collect(), ..Zones::default() }
    }

    /// The catalog as a start has it.
    fn start(&self) -> Kept {
        let config = self.config([0]);
        let clock: Clock = Arc::new(|| NOW);
        let kept = Kept::new(&config.catalogs.made[0], &config.state_dir, &self.metrics, &clock);
        kept.zone.transfers.set(TransferSettings::of_catalog(&kept.config, &TransferKeys::default()));
        kept
    }

    /// A start that finds what one before it has kept of `members` zones.
    fn restart_with(&self, members: usize) -> Kept {
        self.start().look(&self.zones(0..members), NOW).unwrap();
        let kept = self.start();
        assert!(kept.path.is_file());
        kept
    }
}

/// Serial and number of zones of what is published; `None` before anything is.
fn published(kept: &Kept) -> Option<(u32, usize)> {
    let version = kept.zone.version.load_full()?;
    let (serial, _, records) = version.lists();
    Some((serial, records.iter().filter(|record| record.rtype == Rtype::PTR).count()))
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(NOW.secs() + seconds)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

#[test]
fn a_catalog_whose_file_is_missing_or_damaged_is_published_with_every_zone_that_is_configured() {
    type Damage = fn(&Path);
    let damages: [(&str, bool, Damage); 6] = [
        ("missing", false, |path| fs::remove_file(path).unwrap()),
        ("its folder is missing", false, |path| fs::remove_dir_all(path.parent().unwrap()).unwrap()),
        ("empty", true, |path| fs::write(path, "").unwrap()),
        ("cut off", true, |path| {
            let octets = fs::read(path).unwrap();
            fs::write(path, &octets[..octets.len() / 2]).unwrap();
        }),
        ("another label", true, |path| {
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, text.replacen("zone z2.test. ", "zone z9.test. ", 1)).unwrap();
        }),
        ("too large", true, |path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap()),
    ];
    for (what, is_set_aside, damage) in damages {
        let site = Site::new();
        let mut kept = site.restart_with(20);
        damage(&kept.path);
        // None of the zones has been signed again.
        let zones = site.zones(0..20);
        for second in 1..4 {
            kept.look(&zones, at(second)).unwrap();
            assert_eq!(published(&kept), Some((at(1).to_rrsig(), 20)), "{what}");
        }
        assert_eq!(aside(&kept.path).is_file(), is_set_aside, "{what}");
        let mut again = site.start();
        again.look(&site.zones(0..20), at(5)).unwrap();
        assert_eq!(published(&again), published(&kept), "{what}: a restart serves the same version");
    }
}

#[test]
fn a_catalog_whose_file_cannot_be_read_is_not_published_and_is_tried_again() {
    let site = Site::new();
    let mut kept = site.restart_with(3);
    let away = kept.path.with_file_name("away");
    fs::rename(&kept.path, &away).unwrap();
    fs::create_dir(&kept.path).unwrap();
    let zones = site.zones(0..3);
    assert!(kept.look(&zones, at(1)).is_err());
    assert_eq!(published(&kept), None);
    fs::remove_dir(&kept.path).unwrap();
    fs::rename(&away, &kept.path).unwrap();
    kept.look(&zones, at(2)).unwrap();
    assert_eq!(published(&kept), Some((NOW.to_rrsig(), 3)));
}

#[test]
fn zones_that_a_start_has_left_out_stay_in_the_catalog_and_one_without_its_file_waits_for_them() {
    let site = Site::new();
    let mut kept = site.restart_with(3);
    let left_out = vec![name("z0.test"), name("z1.test")];
    let zones = Zones { left_out, ..site.zones(2..3) };
    kept.look(&zones, at(1)).unwrap();
    assert_eq!((published(&kept), kept.held()), (Some((NOW.to_rrsig(), 3)), 0));
    fs::remove_file(&kept.path).unwrap();
    let mut kept = site.start();
    for second in 2..4 {
        assert!(kept.look(&zones, at(second)).is_err());
        assert_eq!(published(&kept), None);
    }
    kept.look(&site.zones(0..3), at(4)).unwrap();
    assert_eq!(published(&kept), Some((at(4).to_rrsig(), 3)));
}

#[test]
fn at_most_a_tenth_leaves_without_a_release_also_across_a_restart_and_goes_out_as_a_difference() {
    let site = Site::new();
    let mut kept = site.restart_with(40);
    kept.look(&site.zones(0..40), at(1)).unwrap();
    let first = published(&kept).unwrap();
    kept.look(&site.zones(5..40), at(2)).unwrap();
    assert_eq!((published(&kept), kept.held()), (Some(first), 5), "five of forty are too many");
    kept.look(&site.zones(0..40), at(3)).unwrap();
    assert_eq!((published(&kept), kept.held()), (Some(first), 0), "all are back");
    kept.look(&site.zones(4..40), at(4)).unwrap();
    let second = (at(4).to_rrsig(), 36);
    assert_eq!((published(&kept), kept.held()), (Some(second), 0));
    let difference = kept.zone.transfers.last_difference(first.0, second.0).expect("a difference");
    let [_, _, removed, _, added, _] = difference.lists();
    let mut removed: Vec<_> = removed.iter().map(|r| (r.rtype, Name::from_wire(r.rdata).unwrap())).collect();
    removed.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(removed, [0, 1, 2, 3].map(|number| (Rtype::PTR, name(&format!("z{number}.test")))));
    assert_eq!(added.iter().count(), 0);

    // Another one within the hour is held, by a restart, too, and goes by a release alone.
    for mut kept in [kept, site.start()] {
        for numbers in [5..40, 8..40] {
            let gone = numbers.start - 4;
            kept.look(&site.zones(numbers), at(5)).unwrap();
            assert_eq!((published(&kept), kept.held()), (Some(second), gone));
        }
    }
    let state_dir = site.config([0]).state_dir;
    release::write(&state_dir, &[name("z4.test")], at(6)).unwrap();
    let mut kept = site.start();
    kept.look(&site.zones(8..40), at(7)).unwrap();
    assert_eq!((published(&kept), kept.held()), (Some((at(7).to_rrsig(), 35)), 3));
    // A zone that the program around has removed by its name goes, too.
    let removed = HashSet::from([name("z5.test")]);
    kept.look(&Zones { removed, ..site.zones(8..40) }, at(8)).unwrap();
    assert_eq!((published(&kept), kept.held()), (Some((at(8).to_rrsig(), 34)), 2));
}

#[test]
fn of_two_hosts_only_the_active_one_publishes_catalogs_and_none_that_is_held() {
    use keystore::pair::Moment;
    let site = Site::new();
    let kept = site.restart_with(3);
    let catalog = kept.config.zone.clone();
    let mut state = State { zones: site.zones(0..3), ..State::default() };
    state.catalogs.insert(catalog.clone(), kept);
    let moment = Moment { wall: NOW, boot: Duration::from_secs(1) };
    let (fence, clock): (_, Clock) = (Fence::closed(move || moment), Arc::new(|| NOW));
    let mut look = |what: &str, expected: Option<usize>| {
        step(&mut state, &clock, &fence);
        assert_eq!(published(&state.catalogs[&catalog]).map(|(_, zones)| zones), expected, "{what}");
    };
    look("a standby", None);
    fence.open(moment, Duration::from_secs(60));
    fence.hold([catalog.clone()].into());
    look("the takeover found no serial to go on from", None);
    fence.hold([name("other.test")].into());
    look("the active host", Some(3));
}
