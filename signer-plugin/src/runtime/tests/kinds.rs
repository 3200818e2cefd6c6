//! Kinds of faults of the host; see the table of kinds in `docs/manual/faults.md`.

use std::sync::atomic::AtomicU8;

use keystore::crypto::pkcs11::TokenError;
use keystore::crypto::{Algorithm, SignError, SigningKey};
use keystore::keys::files::KeyFileError;

use super::*;

fn conditions(zone: &ZoneRuntime) -> Vec<ConditionId> {
    zone.conditions().collect()
}

/// Puts something that cannot be opened at the place of a file or folder, and gives the way back. The stamps are the same then.
fn make_unreadable(path: &std::path::Path) -> impl FnOnce() + use<> {
    let away = path.with_extension("away");
    fs::rename(path, &away).unwrap();
    if away.is_dir() {
        fs::write(path, "").unwrap(); // ENOTDIR for what is in it
    } else {
        std::os::unix::fs::symlink(path, path).unwrap(); // ELOOP
    }
    let path = path.to_owned();
    move || {
        fs::remove_file(&path).unwrap();
        fs::rename(away, path).unwrap();
    }
}

#[test]
fn kind_06_what_cannot_be_opened_is_tried_again_and_is_a_condition_meanwhile() {
    for (file, condition) in [
        ("zone", ConditionId::SignerZoneFileUnreadable),
        ("accepted/example.", ConditionId::SignerSkrUnreadable),
        ("accepted", ConditionId::SignerSkrUnreadable),
    ] {
        let site = Site::with_skr(3);
        let mut zone = site.zone();
        let mend = make_unreadable(&site.path(file));
        site.step(&mut zone, start());
        assert_eq!(ask(&zone, "www.example.", Rtype::A).rcode(), SERVFAIL, "{file}");
        assert_eq!(conditions(&zone), [condition], "{file}");
        let reported = zone.served().state().conditions;
        assert!(reported.iter().all(|c| c.id == condition && c.cause.contains(file)), "{file}: {reported:?}");
        assert!(!site.signed());
        mend();
        // No more than the distance of the next try passes, and nobody does anything.
        let mut now = start();
        let mut next = site.step(&mut zone, now);
        while !conditions(&zone).is_empty() {
            assert!(next <= start().plus(2), "{file}: {next}");
            now = next;
            next = site.step(&mut zone, now);
        }
        validate(&zone, "www.example.", Rtype::A, now);
        assert_eq!((conditions(&zone), zone.served().state().conditions), (vec![], vec![]), "{file}");
    }
}

#[test]
fn kind_06_content_that_is_bad_is_final_until_the_file_changes() {
    let site = Site::with_skr(3);
    site.write("zone", "@ 300 SOA broken\n");
    let mut zone = site.zone();
    let loads = || site.metrics.zone_loads_total.with_label_values(&[ZONE, "failed"]).get();
    for second in 0..200 {
        site.step(&mut zone, start().plus(second));
    }
    assert_eq!((loads(), conditions(&zone)), (1, vec![]));
    site.write("zone", FILE);
    site.step(&mut zone, start().plus(200));
    site.step(&mut zone, start().plus(201));
    validate(&zone, "www.example.", Rtype::A, start().plus(201));
}

#[test]
fn kind_06_an_include_that_cannot_be_opened_is_tried_again() {
    let site = Site::with_skr(3);
    site.write("more", "inc A 192.0.2.7\n");
    site.write("zone", &format!("{FILE}$INCLUDE more\n"));
    let mend = make_unreadable(&site.path("more"));
    let mut zone = site.zone();
    site.step(&mut zone, start());
    assert_eq!(conditions(&zone), [ConditionId::SignerZoneFileUnreadable]);
    mend();
    let next = zone.step(start());
    site.step(&mut zone, next);
    validate(&zone, "inc.example.", Rtype::A, next);
}

#[test]
fn kind_06_a_typo_in_an_include_is_mended_there_alone() {
    // At the first start, and in an include that a good zone gets; in the include itself, and in one that it includes.
    for (served_before, nested) in [(false, false), (false, true), (true, false), (true, true)] {
        let what = format!("{served_before} {nested}");
        let site = Site::with_skr(3);
        let mut zone = site.zone();
        let mut now = start();
        if served_before {
            site.step(&mut zone, now);
            validate(&zone, "www.example.", Rtype::A, now);
        }
        site.write("outer", "$INCLUDE inner\n");
        site.write("inner", "inc A 192.0.2.400\n");
        site.write("zone", &format!("{FILE}$INCLUDE {}\n", if nested { "outer" } else { "inner" }));
        let steps = |zone: &mut ZoneRuntime, now: &mut Timestamp| {
            for _ in 0..5 {
                *now = now.plus(1);
                site.step(zone, *now);
            }
        };
        steps(&mut zone, &mut now);
        let failed = || site.metrics.zone_loads_total.with_label_values(&[ZONE, "failed"]).get();
        assert_eq!((failed(), conditions(&zone)), (1, vec![]), "{what}");
        site.write("inner", "inc A 192.0.2.40\n");
        steps(&mut zone, &mut now);
        assert_eq!(failed(), 1, "{what}");
        validate(&zone, "inc.example.", Rtype::A, now);
    }
}

#[test]
fn kind_06_an_accepted_skr_that_is_restored_is_taken_although_current_stays_as_it_is() {
    for served_before in [false, true] {
        let site = Site::with_skr(3);
        let mut zone = site.zone();
        let (skr, mut now) = (site.path("accepted/example./1.skr"), start());
        if served_before {
            site.step(&mut zone, now);
        }
        let good = fs::read(&skr).unwrap();
        for damage in ["", "altered"] {
            fs::write(&skr, damage).unwrap();
            now = now.plus(1);
            site.step(&mut zone, now);
            assert_eq!(ask(&zone, "www.example.", Rtype::A).rcode() == SERVFAIL, !served_before);
        }
        durable::write(&skr, &good, 0o600).unwrap();
        now = now.plus(1);
        site.step(&mut zone, now);
        validate(&zone, "www.example.", Rtype::A, now);
    }
}

/// Edits of the zone file, each with another address, while the state folder cannot be written; then a kill.
#[test]
fn kind_10_edits_while_the_disk_is_full_never_lead_to_a_serial_that_comes_twice() {
    // Edits while the disk is full; whether it has space again before the kill.
    for (edits, space_again) in [(3, true), (3, false), (1, true), (20, true), (20, false)] {
        let what = format!("{edits} edits, space again: {space_again}");
        let site = Site::with_skr(3);
        let mut zone = site.zone();
        let mut now = start();
        site.step(&mut zone, now);
        let mut served = std::collections::BTreeMap::new();
        let mut note = |zone: &ZoneRuntime| {
            let content = ask(zone, "www.example.", Rtype::A).answers[0].rdata.clone();
            let before = served.insert(serial(zone), content.clone());
            assert!(before.is_none_or(|before| before == content), "{what}: a serial came twice");
        };
        note(&zone);
        let (state, away) = (site.path("zones/example."), site.path("zones/away"));
        fs::rename(&state, &away).unwrap();
        fs::write(&state, "").unwrap();
        let edit = |zone: &mut ZoneRuntime, now: &mut Timestamp, number: u8| {
            site.write("zone", &FILE.replace("192.0.2.2", &format!("192.0.2.{number}")));
            for _ in 0..3 {
                *now = now.plus(1);
                site.step(zone, *now);
            }
        };
        let current = |zone: &ZoneRuntime| ask(zone, "www.example.", Rtype::A).answers[0].rdata[3];
        for number in 0..edits {
            edit(&mut zone, &mut now, 100 + number);
            note(&zone);
            assert_eq!(conditions(&zone), [ConditionId::SignerStateNotWritten], "{what}");
            assert_eq!(current(&zone), 2, "{what}: new content waits");
        }
        let wanted = 100 + edits - 1;
        fs::remove_file(&state).unwrap();
        fs::rename(&away, &state).unwrap();
        if space_again {
            now = now.plus(60);
            site.step(&mut zone, now);
            note(&zone);
            assert_eq!((current(&zone), conditions(&zone)), (wanted, vec![]), "{what}");
        }
        drop(zone); // killed
        now = now.plus(1);
        site.write("zone", &FILE.replace("192.0.2.2", "192.0.2.99"));
        let mut zone = site.zone();
        site.step(&mut zone, now);
        note(&zone);
        let (last, content) = served.last_key_value().unwrap();
        assert_eq!(
            (*last, content[3]),
            (serial(&zone), 99),
            "{what}: the newest serial is that of the newest content"
        );
    }
}

#[test]
fn kind_10_a_serial_that_cannot_be_read_is_waited_for_and_not_written_over() {
    // At the start, and after new settings while the version before is served.
    for served_before in [false, true] {
        let site = Site::with_skr(3);
        fs::create_dir_all(site.path("zones/example.")).unwrap();
        site.write("zones/example./serial", "2027020000\n");
        let mut zone = site.zone();
        if served_before {
            site.step(&mut zone, start());
            assert_eq!(serial(&zone), 2_027_020_001);
            zone.close();
        }
        let mend = make_unreadable(&site.path("zones/example./serial"));
        let mut zone = ZoneRuntime::new(site.setup(), site.metrics.clone(), Arc::clone(zone.served()));
        let mut now = start().plus(1);
        for _ in 0..100 {
            site.step(&mut zone, now);
            now = now.plus(1);
        }
        assert_eq!(conditions(&zone), [ConditionId::SignerSerialUnreadable], "{served_before}");
        if served_before {
            assert_eq!(serial(&zone), 2_027_020_001);
        } else {
            assert_eq!(ask(&zone, ZONE, Rtype::SOA).rcode(), SERVFAIL);
        }
        mend();
        now = zone.step(now);
        site.step(&mut zone, now);
        assert_eq!((serial(&zone), conditions(&zone)), (2_027_020_001, vec![]));
        validate(&zone, "www.example.", Rtype::A, now);
        site.write("zone", &FILE.replace("192.0.2.2", "192.0.2.99"));
        for _ in 0..3 {
            now = now.plus(1);
            site.step(&mut zone, now);
        }
        assert_eq!(serial(&zone), 2_027_020_002);
    }
}

#[test]
fn kind_10_new_settings_and_new_content_on_a_full_disk_replace_nothing_under_a_serial_that_may_come_again() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let before = serial(&zone);
    // A link to nowhere: there is no serial to read, and none can be written.
    fs::remove_dir_all(site.path("zones/example.")).unwrap();
    std::os::unix::fs::symlink("/nowhere", site.path("zones/example.")).unwrap();
    site.write("zone", &FILE.replace("192.0.2.2", "192.0.2.77"));
    let mut zone = ZoneRuntime::new(site.setup(), site.metrics.clone(), Arc::clone(zone.served()));
    let address = |zone: &ZoneRuntime| ask(zone, "www.example.", Rtype::A).answers[0].rdata[3];
    for second in 1..50 {
        site.step(&mut zone, start().plus(second));
        assert_eq!((serial(&zone), address(&zone)), (before, 2));
    }
    // What is served is signed on, under the serial that it has.
    assert_eq!(conditions(&zone), [ConditionId::SignerSerialNotWritten, ConditionId::SignerStateNotWritten]);
    let runs = || site.metrics.zone_sign_runs_total.with_label_values(&[ZONE, "full", "ok"]).get();
    assert_eq!(runs(), 1, "nothing is signed in vain");
    fs::remove_file(site.path("zones/example.")).unwrap();
    site.step(&mut zone, start().plus(120));
    assert_eq!((serial(&zone), address(&zone), conditions(&zone)), (before + 1, 77, vec![]));
}

#[test]
fn kind_10_a_zone_of_which_nothing_is_served_is_served_although_the_serial_cannot_be_written() {
    let site = Site::with_skr(3);
    fs::create_dir(site.path("zones")).unwrap();
    std::os::unix::fs::symlink("/nowhere", site.path("zones/example.")).unwrap();
    let mut zone = site.zone();
    site.step(&mut zone, start());
    validate(&zone, "www.example.", Rtype::A, start());
    assert_eq!(conditions(&zone), [ConditionId::SignerSerialNotWritten, ConditionId::SignerStateNotWritten]);
}

/// A key in a token that answers as the test wants.
struct TokenKey {
    inner: Box<dyn SigningKey>,
    token: &'static Token,
    session: u8,
}

/// How the token is; each reset makes the keys that were opened before useless.
struct Token {
    /// 0: it works, 1: absent, 2: its PIN file cannot be read, 3: the PIN is wrong.
    state: AtomicU8,
    session: AtomicU8,
    opened: AtomicU64,
}

impl Token {
    const fn new(state: u8) -> Self {
        Self { state: AtomicU8::new(state), session: AtomicU8::new(0), opened: AtomicU64::new(0) }
    }

    fn open(&'static self, key: &KeyFile) -> Result<Box<dyn SigningKey>, KeyFileError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let token = || "t".to_owned();
        let error = match self.state.load(Ordering::SeqCst) {
            0 => {
                let session = self.session.load(Ordering::SeqCst);
                return Ok(Box::new(TokenKey { inner: key.load_private()?, token: self, session }));
            }
            1 => TokenError::NoToken { wanted: token(), present: vec![] },
            2 => TokenError::PinFileIo {
                path: PathBuf::from("pin"),
                source: std::io::Error::from_raw_os_error(5),
            },
            _ => TokenError::WrongPin { token: token(), last_try: false, locked: false },
        };
        Err(KeyFileError::PrivateKey { path: key.private_path(), source: error.into() })
    }
}

impl SigningKey for TokenKey {
    fn algorithm(&self) -> Algorithm {
        self.inner.algorithm()
    }

    fn public_key(&self) -> &[u8] {
        self.inner.public_key()
    }

    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, SignError> {
        if self.session != self.token.session.load(Ordering::SeqCst) {
            return Err(TokenError::Gone { token: "t".to_owned(), code: "C_Sign".to_owned() }.into());
        }
        self.inner.sign(data)
    }
}

#[test]
fn kind_06_a_token_that_is_absent_at_the_start_is_opened_when_it_is_there_and_a_wrong_pin_is_not_sent_again()
{
    static ABSENT: Token = Token::new(1);
    static PIN_FILE: Token = Token::new(2);
    static WRONG_PIN: Token = Token::new(3);
    type Load = fn(&KeyFile) -> Result<Box<dyn SigningKey>, KeyFileError>;
    let cases: [(&Token, Load, bool); 3] = [
        (&ABSENT, |key| ABSENT.open(key), true),
        (&PIN_FILE, |key| PIN_FILE.open(key), true),
        (&WRONG_PIN, |key| WRONG_PIN.open(key), false),
    ];
    for (token, load, passing) in cases {
        let what = token.state.load(Ordering::SeqCst);
        let site = Site::with_skr(3);
        let mut zone = site.zone().with_loader(load);
        let mut now = start();
        for _ in 0..200 {
            site.step(&mut zone, now);
            now = now.plus(1);
        }
        assert_eq!(ask(&zone, "www.example.", Rtype::A).rcode(), SERVFAIL, "{what}");
        let opened = token.opened.load(Ordering::SeqCst);
        token.state.store(0, Ordering::SeqCst);
        for _ in 0..61 {
            site.step(&mut zone, now);
            now = now.plus(1);
        }
        if passing {
            assert!((10..20).contains(&opened), "{what}: at growing distance, {opened}");
            validate(&zone, "www.example.", Rtype::A, now);
            assert_eq!(conditions(&zone), [], "{what}");
        } else {
            assert_eq!((opened, token.opened.load(Ordering::SeqCst)), (1, 1));
            assert_eq!(ask(&zone, "www.example.", Rtype::A).rcode(), SERVFAIL);
        }
    }
}

#[test]
fn kind_06_a_token_that_is_reset_or_taken_away_while_it_is_in_use_is_opened_again() {
    static TOKEN: Token = Token::new(0);
    let site = Site::with_skr(3);
    let mut zone = site.zone().with_loader(|key| TOKEN.open(key));
    site.step(&mut zone, start());
    validate(&zone, "www.example.", Rtype::A, start());
    // Reset; the next bundle needs new signatures.
    TOKEN.session.fetch_add(1, Ordering::SeqCst);
    let mut now = start().plus(9 * DAY);
    site.step(&mut zone, now);
    assert_eq!(conditions(&zone), [ConditionId::SignerKeysUnreadable]);
    assert_eq!(
        site.metrics.zone_sign_runs_total.with_label_values(&[ZONE, "incremental", "failed"]).get(),
        1
    );
    now = now.plus(1);
    site.step(&mut zone, now);
    let signed_at = || site.gauge(&site.metrics.zone_last_signed_timestamp_seconds);
    assert_eq!((conditions(&zone), signed_at()), (vec![], now.secs().cast_signed()));
    validate(&zone, "www.example.", Rtype::A, now);
    while now < start().plus(18 * DAY - HOUR) {
        now = now.plus(HOUR);
        site.step(&mut zone, now);
    }
    // Taken away for an hour; what is served stays meanwhile.
    TOKEN.session.fetch_add(1, Ordering::SeqCst);
    TOKEN.state.store(1, Ordering::SeqCst);
    now = start().plus(18 * DAY);
    for _ in 0..3600 {
        site.step(&mut zone, now);
        now = now.plus(1);
    }
    validate(&zone, "www.example.", Rtype::A, now);
    assert_eq!(conditions(&zone), [ConditionId::SignerKeysUnreadable]);
    TOKEN.state.store(0, Ordering::SeqCst);
    for _ in 0..61 {
        site.step(&mut zone, now);
        now = now.plus(1);
    }
    assert_eq!(conditions(&zone), []);
    assert!(signed_at() >= start().plus(18 * DAY + 3600).secs().cast_signed());
    validate(&zone, "www.example.", Rtype::A, now);
}

/// Counts the lines of this thread that a daemon writes to the log.
struct CountLines(Arc<AtomicU64>);

impl tracing::Subscriber for CountLines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn kind_07_what_persists_for_an_hour_writes_few_log_lines() {
    type Harm = fn(&Site);
    let harms: [(&str, Harm); 5] = [
        ("zone file", |site| drop(make_unreadable(&site.path("zone")))),
        ("store", |site| drop(make_unreadable(&site.path("accepted")))),
        ("key folder", |site| drop(make_unreadable(&site.path("keys")))),
        ("no private key", |site| fs::write(site.zsk_path(2, "private"), "damaged").unwrap()),
        ("state folder", |site| {
            fs::create_dir_all(site.path("zones/example.")).unwrap();
            drop(make_unreadable(&site.path("zones/example.")));
        }),
    ];
    for (what, harm) in harms {
        let site = Site::with_skr(3);
        harm(&site);
        let mut zone = site.zone();
        let lines = Arc::new(AtomicU64::new(0));
        tracing::subscriber::with_default(CountLines(Arc::clone(&lines)), || {
            for second in 0..3600 {
                site.step(&mut zone, start().plus(second));
            }
        });
        let lines = lines.load(Ordering::SeqCst);
        // What is the matter, what that means, and a reminder of both each ten minutes.
        assert!((2..=20).contains(&lines), "{what}: {lines} lines");
    }
}
