//! Who is told of a request that waits: once a level, by mail and hook, tried again until it works.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::COMMON;
use common::host::{DAY, Host, files};
use keystore::command::RunError;
use keystore::store::digest;
use offline_ksk_ksr_gen::daemon::{NoticeError, NoticeOutcome, Notices, TimerOutcome, Urgency};

/// A hook that appends its urgency and attempt to `calls`, keeps the mail as `mail`, and ends as the file `status` says.
fn install(host: &mut Host) {
    let script = format!(
        "#!/bin/sh\necho \"$OFFLINE_KSK_URGENCY $OFFLINE_KSK_ATTEMPT $1\" >> {dir}/calls\nenv | grep ^OFFLINE_KSK_ > {dir}/env\ncat > {dir}/mail\nexit $(cat {dir}/status)\n",
        dir = host.site.path("").display()
    );
    host.site.write("hook", &script);
    fs::set_permissions(host.site.path("hook"), fs::Permissions::from_mode(0o755)).expect("chmod");
    host.site.write("status", "0");
    host.ksr.on_request = vec![host.site.path("hook").display().to_string(), "an argument".to_owned()];
    host.ksr.mail_to = vec!["ksk@example.net".to_owned(), "second@example.net".to_owned()];
}

fn calls(host: &Host) -> Vec<String> {
    let text = fs::read_to_string(host.site.path("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A look and its notice.
fn step(host: &Host, notices: &mut Notices) -> NoticeOutcome {
    let report = host.tick();
    notices.tell(&host.zone, &host.config(), report.open.as_ref(), report.coverage_end, host.now)
}

#[test]
fn each_level_is_told_once_over_restarts_too() {
    let mut host = Host::new(COMMON);
    install(&mut host);
    let mut notices = Notices::default();
    // The first request of a zone presses nobody, however long it waits.
    assert!(matches!(step(&host, &mut notices), NoticeOutcome::Now(Urgency::Notice, _)));
    host.now = host.now.plus(100 * DAY);
    assert!(matches!(step(&host, &mut notices), NoticeOutcome::Before(Urgency::Notice)));
    let open = host.tick().open.expect("a request");
    host.answer(open.end);
    assert!(matches!(step(&host, &mut notices), NoticeOutcome::Nothing));
    assert_eq!(calls(&host), ["notice 1 an argument"]);

    // The second one is not answered. Each hour somebody looks, and each day the process begins anew.
    let report = host.tick();
    let end = report.coverage_end.expect("a coverage");
    host.now = report.due;
    let mut told = Vec::new();
    while host.now < end.plus(5 * DAY) {
        if told.len() % 2 == 0 || (host.now.secs() / 3600).is_multiple_of(24) {
            notices = Notices::default();
        }
        if let NoticeOutcome::Now(level, path) = step(&host, &mut notices) {
            let mail = fs::read_to_string(path).expect("the mail");
            assert!(mail.contains(&format!("\nX-Offline-KSK-Urgency: {}\n", level.word())));
            told.push((level, end.since(host.now)));
        }
        host.now = host.now.plus(3600);
    }
    let levels: Vec<_> = told.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, Urgency::ALL);
    // At the first look below 30, 14 and 3 days.
    for ((_, left), days) in told[1..].iter().zip([30, 14, 3]) {
        assert!((days * DAY - 3600..days * DAY).contains(left), "{left}");
    }
    assert_eq!(calls(&host).len(), 5);
    let text = fs::read_to_string(host.site.path("mail")).expect("the mail");
    // NoticeOutcome at the first look below three days; by the end then.
    let subject = format!("Subject: CRITICAL: example.test. needs an SKR by {}\n", &end.iso()[..10]);
    assert!(text.contains(&subject), "{subject}{text}");
    let env = fs::read_to_string(host.site.path("env")).expect("the environment");
    assert!(
        env.contains(&format!("OFFLINE_KSK_COVERAGE_END={end}\n"))
            && env.contains(&format!("OFFLINE_KSK_ANSWER_BY={end}\n")),
        "{env}"
    );

    // The answer takes the mail aside, and the note of the levels with it.
    let open = host.tick().open.expect("a request");
    host.answer(open.end);
    assert!(matches!(step(&host, &mut notices), NoticeOutcome::Nothing));
    assert_eq!(files(&host.outbox_dir(), "told").len() + files(&host.outbox_dir(), "eml").len(), 0);
    assert_eq!(files(&host.outbox_dir().join("answered"), "eml").len(), 2);
}

#[test]
fn the_mail_says_what_to_do_and_carries_the_request() {
    let mut host = Host::new(COMMON);
    install(&mut host);
    host.now = host.now.plus(DAY);
    let open = host.tick().open.expect("a request");
    let NoticeOutcome::Now(_, path) = step(&host, &mut Notices::default()) else { panic!("not told") };
    let (mail, given) =
        (fs::read_to_string(&path).expect("the mail"), fs::read_to_string(host.site.path("mail")));
    assert_eq!(mail, given.expect("the mail of the hook"), "its standard input");
    let octets = fs::read(&open.path).expect("the request");
    let sha256 = data_encoding::HEXLOWER.encode(&digest(&octets));

    let (head, rest) = mail.split_once("\n\n").expect("headers");
    for line in head.lines() {
        assert!(
            line.is_ascii() && line.len() < 200 && (line.contains(": ") || line.starts_with(' ')),
            "{line:?}"
        );
    }
    let header =
        |name: &str| head.lines().find_map(|l| l.strip_prefix(&format!("{name}: "))).expect("a header");
    assert_eq!(header("From"), "offline-ksk");
    assert!(head.contains("\nTo: ksk@example.net,\n second@example.net\n"), "{head}");
    assert_eq!(header("Date"), "Wed, 25 Nov 2026 00:00:00 +0000");
    assert_eq!(header("Subject"), "NOTICE: example.test. asks for its first SKR");
    assert_eq!(header("X-Offline-KSK-SHA256"), sha256);
    let boundary = header("Content-Type").split('"').nth(1).expect("a boundary");
    let parts: Vec<&str> = rest.split(&format!("--{boundary}")).collect();
    let [_, text, file, "--\n"] = parts.as_slice() else { panic!("{parts:?}") };
    let (_, encoded) = file.split_once("\n\n").expect("headers of the part");
    let decoded = data_encoding::BASE64.decode(encoded.replace('\n', "").as_bytes()).expect("base64");
    assert_eq!(decoded, octets);
    assert!(file.contains("filename=\"20261125000000.ksr\""), "{file}");
    for part in [
        sha256.as_str(),
        "asks for     2026-11-25T00:00:00Z until 2027-05-26T00:00:00Z",
        "-e 20270526000000 -f 20261125000000.ksr -O 20261125000000.skr sign example.test.",
        "without a second that no bundle covers",
        &host.site.path("inbox").display().to_string(),
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // The lines of the mail work when they are pasted.
    let line = "-l @policy -k common -K @ksk -e 20270526000000 check";
    let check = host.site.run(&format!("{line} {}", open.path.display())).ok();
    assert!(check.contains(&format!("SHA-256    {} ", sha256[..4].to_ascii_uppercase())), "{check}");
    let words = text.lines().find_map(|l| l.strip_prefix("  in words     ")).expect("words");
    // The report wraps its lines.
    let unwrapped = check.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(unwrapped.contains(words), "the words of the mail are those read aloud: {check}");

    let env = fs::read_to_string(host.site.path("env")).expect("the environment");
    for line in [
        "OFFLINE_KSK_EVENT=request".to_owned(),
        "OFFLINE_KSK_ZONE=example.test.".to_owned(),
        "OFFLINE_KSK_URGENCY=notice".to_owned(),
        format!("OFFLINE_KSK_REQUEST={}", open.path.display()),
        format!("OFFLINE_KSK_MAIL={}", path.display()),
        format!("OFFLINE_KSK_SHA256={sha256}"),
        "OFFLINE_KSK_START=20261125000000".to_owned(),
        "OFFLINE_KSK_END=20270526000000".to_owned(),
        "OFFLINE_KSK_COVERAGE_END=".to_owned(),
        "OFFLINE_KSK_ANSWER_BY=".to_owned(),
        "OFFLINE_KSK_ATTEMPT=1".to_owned(),
    ] {
        assert!(env.lines().any(|l| l == line), "{line}\n{env}");
    }
}

/// The commands of a mail, as somebody pastes them who keeps the files of the mail and the SKR of the ceremony before in one folder.
fn commands(mail: &str) -> Vec<String> {
    let lines = mail.lines().filter_map(|line| line.trim_start().strip_prefix("ksr-gen "));
    let set = |line: &str| {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for word in &mut words {
            match word.as_str() {
                "POLICY-FILE" => "@policy".clone_into(word),
                "KSK-FOLDER" => "@ksk".clone_into(word),
                file if file.ends_with(".ksr") || file.ends_with(".skr") => *word = format!("@{file}"),
                _ => {}
            }
        }
        words.join(" ")
    };
    lines.map(set).collect()
}

#[test]
fn kind_30_mail_of_each_follow_up_request_has_previous_and_its_commands_work() {
    let mut host = Host::new(COMMON);
    let mut notices = Notices::default();
    for round in 0..4 {
        let NoticeOutcome::Now(_, path) = step(&host, &mut notices) else { panic!("not told") };
        let mail = fs::read_to_string(&path).expect("the mail");
        let request = path.with_extension("ksr");
        let name = request.file_name().and_then(|name| name.to_str()).expect("text");
        fs::copy(&request, host.site.path(name)).expect("copy");
        let commands = commands(&mail);
        assert_eq!(commands.len(), 2, "check and sign: {mail}");
        for line in commands {
            assert_eq!(line.contains(" --previous @PREVIOUS.skr "), round > 0, "round {round}: {line}");
            host.site.run(&line).ok();
        }
        let skr = fs::read_to_string(host.site.path(name).with_extension("skr")).expect("the SKR");
        host.site.write("PREVIOUS.skr", &skr);
        host.accept(&skr);
        // Round 2 is late: the coverage has ended.
        let report = host.tick();
        host.now = if round == 1 { report.coverage_end.expect("a coverage").plus(DAY) } else { report.due };
        assert!(matches!(step(&host, &mut notices), NoticeOutcome::Nothing | NoticeOutcome::Now(..)));
        notices = Notices::default();
        for told in files(&host.outbox_dir(), "told") {
            fs::remove_file(told).expect("remove");
        }
    }
}

#[test]
fn a_hook_that_fails_is_tried_again_less_and_less_often() {
    let mut host = Host::new(COMMON);
    install(&mut host);
    host.site.write("status", "7");
    let mut notices = Notices::default();
    let began = host.now;
    let mut tries = Vec::new();
    for _ in 0..400 {
        match step(&host, &mut notices) {
            NoticeOutcome::Failed(Urgency::Notice, NoticeError::Hook(RunError::Failed { .. })) => {
                tries.push(host.now.since(began) / 60);
            }
            NoticeOutcome::Waits(Urgency::Notice) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(host.outbox().len(), 1, "the request itself stays");
        host.now = host.now.plus(60);
    }
    assert_eq!(tries, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363]);
    assert_eq!(calls(&host).last().map(String::as_str), Some("notice 12 an argument"));
    // Healed, it is told within the hour, and that once.
    host.site.write("status", "0");
    let mut now = 0;
    for _ in 0..120 {
        now += u32::from(matches!(step(&host, &mut notices), NoticeOutcome::Now(..)));
        host.now = host.now.plus(60);
    }
    assert_eq!((now, calls(&host).len()), (1, 13));
    assert!(matches!(step(&host, &mut notices), NoticeOutcome::Before(_)));
}

#[test]
fn a_hook_that_hangs_holds_up_the_zones_once_a_minute() {
    let mut host = Host::new(COMMON);
    host.ksr.on_request = ["/bin/sleep", "60"].map(str::to_owned).to_vec();
    host.ksr.on_request_timeout = 1;
    let mut other = host.zone.clone();
    other.name = keystore::dns::Name::parse("neighbour.test").expect("a name");
    let mut notices = Notices::default();
    let begun = std::time::Instant::now();
    let told = step(&host, &mut notices);
    assert!(
        matches!(told, NoticeOutcome::Failed(_, NoticeError::Hook(RunError::TimedOut { .. }))),
        "{told:?}"
    );
    let config = host.config();
    let report =
        offline_ksk_ksr_gen::daemon::tick(&other, &host.ksr, &host.site.path(""), host.now).expect("a look");
    assert_eq!(report.outcome, TimerOutcome::Written);
    let mut tell = |now| notices.tell(&other, &config, report.open.as_ref(), None, now);
    assert!(matches!(tell(host.now.plus(58)), NoticeOutcome::Waits(_)));
    assert!(begun.elapsed().as_secs() < 20);
    assert!(matches!(tell(host.now.plus(60)), NoticeOutcome::Failed(..)), "then it is tried");
    // A clock that was set back does not silence it.
    assert!(matches!(tell(host.now.minus(10 * DAY)), NoticeOutcome::Failed(..)));
}

#[test]
fn without_a_hook_the_mail_is_the_notice_and_what_cannot_be_written_is_told() {
    let host = Host::new(COMMON);
    let mut notices = Notices::default();
    let NoticeOutcome::Now(_, path) = step(&host, &mut notices) else { panic!("not told") };
    assert!(!fs::read_to_string(&path).expect("the mail").contains("\nTo: "));
    fs::remove_file(path.with_extension("told")).expect("remove");
    fs::remove_file(&path).expect("remove");
    fs::create_dir(&path).expect("a folder in its place");
    let told = step(&host, &mut notices);
    assert!(matches!(told, NoticeOutcome::Failed(_, NoticeError::Io { .. })), "{told:?}");
}
