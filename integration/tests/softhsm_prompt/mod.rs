//! The prompt for the PIN of a token.

use std::io::Read;

use super::*;

/// Without `pin-source` the PIN is asked for on the terminal, and does not show there.
#[test]
fn kind_107_the_pin_is_asked_for_and_signals_leave_the_terminal_as_it_was() {
    if !softhsm() {
        return;
    }
    let c = Ceremony::new("ecdsap256sha256");
    c.write_policy("ecdsap256sha256", "pkcs11:token=ksk");

    // A session without a terminal.
    let ours = c.command("ksk", &["-o", "keygen"]);
    let mut setsid = Command::new("setsid");
    setsid.arg("--wait").arg(ours.get_program()).args(ours.get_args()).current_dir(c.temp.path());
    setsid.envs(ours.get_envs().filter_map(|(k, v)| Some((k, v?)))).stdin(Stdio::null());
    let said = common::text(&setsid.output().expect("run setsid"));
    assert!(said.contains("token `ksk` needs a PIN") && said.contains("pin-source=FILE"), "{said}");

    // script(1) gives it one.
    a_stop_at_the_prompt_shows_the_terminal_as_it_was(&c);
    for (pin, good) in [("wrong-4711", false), (PIN, true)] {
        let ours = c.command("ksk", &["-o", "keygen"]);
        let line: Vec<String> = std::iter::once(ours.get_program())
            .chain(ours.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let mut script = Command::new("script");
        script.args(["-qec", &line.join(" "), "/dev/null"]).current_dir(c.temp.path());
        script.envs(ours.get_envs().filter_map(|(k, v)| Some((k, v?))));
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run script");
        let mut out = child.stdout.take().expect("a pipe");
        let (mut shown, mut octet) = (Vec::new(), [0]);
        while !shown.ends_with(b"): ") {
            assert_eq!(
                out.read(&mut octet).expect("read"),
                1,
                "no prompt: {}",
                String::from_utf8_lossy(&shown)
            );
            shown.push(octet[0]);
        }
        child.stdin.as_mut().expect("a pipe").write_all(format!("{pin}\n").as_bytes()).expect("write");
        out.read_to_end(&mut shown).expect("read");
        let status = child.wait().expect("script ends");
        let shown = String::from_utf8_lossy(&shown);
        assert!(shown.contains("PIN of token `ksk` (serial number "), "{shown}");
        assert!(!shown.contains(pin), "the PIN shows: {shown}");
        assert_eq!(status.success(), good, "{shown}");
        assert_eq!(shown.contains("Kpeer.test.+013+"), good, "{shown}");
        assert_eq!(shown.contains("the PIN is wrong"), !good, "{shown}");
    }
    assert_eq!(c.objects(), 2);
}

/// How somebody stops or ends a program at its prompt.
#[derive(Debug, Clone, Copy)]
enum By {
    Key(u8),
    Signal(&'static str),
}

/// A stop at the prompt (Ctrl-Z, TSTP) gives the shell its echo back, `fg` takes it away again, and an end (Ctrl-C, TERM, HUP) gives it
/// back for good. What was typed shows at no moment.
fn a_stop_at_the_prompt_shows_the_terminal_as_it_was(c: &Ceremony) {
    for (stop, end, code) in [
        (By::Key(0x1a), By::Key(0x03), 130),
        (By::Signal("TSTP"), By::Signal("TERM"), 143),
        (By::Signal("TSTP"), By::Signal("HUP"), 129),
        (By::Key(0x1a), By::Signal("INT"), 130),
    ] {
        stop_and_end(c, stop, end, code);
    }
    assert_eq!(c.objects(), 0);
}

fn stop_and_end(c: &Ceremony, stop: By, end: By, code: u8) {
    const TYPED: &str = "4711-typed";
    let ours = c.command("ksk", &["-o", "keygen"]);
    let words: Vec<String> = std::iter::once(ours.get_program())
        .chain(ours.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    fs::write(c.path("ask"), format!("echo \"process $$.\"\nexec {}\n", words.join(" "))).expect("write");
    // A shell with jobs, as a person has it.
    let echo = "$(stty | grep -o -- '-echo$')";
    let jobs = format!(
        "set -m\ntrap : INT\nbash ./ask\necho \"stopped $?:\" {echo}\nfg >/dev/null\necho \"ended $?:\" {echo}"
    );
    fs::write(c.path("jobs"), jobs).expect("write");
    let mut script = Command::new("script");
    script.args(["-qec", "bash ./jobs", "/dev/null"]).current_dir(c.temp.path());
    script.envs(ours.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run script");
    let (mut input, mut out) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    let mut shown = Vec::new();
    let mut until = |end: &str| {
        let mut octet = [0];
        while !String::from_utf8_lossy(&shown).ends_with(end) {
            let read = out.read(&mut octet).expect("read");
            assert_eq!(read, 1, "no `{end}`: {}", String::from_utf8_lossy(&shown));
            shown.push(octet[0]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    };
    until("process ");
    let process = until(".");
    let process = process.rsplit_once("process ").expect("a number").1.trim_end_matches('.').to_owned();
    let send = |by: By, input: &mut std::process::ChildStdin| match by {
        By::Key(octet) => input.write_all(&[octet]).expect("a key"),
        By::Signal(signal) => drop(common::run(Command::new("kill").args(["-s", signal, &process]))),
    };
    until("): ");
    send(stop, &mut input);
    until("stopped 147:");
    until("\n");
    // The question stands there again, and nothing shows that is typed.
    until("): ");
    let before = written(child.id());
    input.write_all(TYPED.as_bytes()).expect("typed");
    // A signal would otherwise come before what was typed, which the terminal then rightly shows.
    common::wait_for("what was typed at the terminal", Duration::from_secs(20), || {
        (written(child.id()) >= before + TYPED.len() as u64).then_some(())
    });
    send(end, &mut input);
    until(&format!("ended {code}:"));
    let shown = until("\n");
    drop(input);
    let _ = child.wait();
    let what = format!("{stop:?}, {end:?}: {shown}");
    assert!(
        !shown.contains("stopped 147: -echo") && !shown.contains(&format!("ended {code}: -echo")),
        "{what}"
    );
    assert!(!shown.contains(TYPED), "{what}");
}

/// Octets that a process has written.
fn written(process: u32) -> u64 {
    let counts = fs::read_to_string(format!("/proc/{process}/io")).expect("counts of the process");
    let count = counts.lines().find_map(|line| line.strip_prefix("wchar: "));
    count.and_then(|count| count.parse().ok()).expect("a count")
}
