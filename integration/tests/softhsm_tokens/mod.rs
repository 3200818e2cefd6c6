//! `ksr-gen token …`, and the checks that open key stores.

use super::*;

impl Ceremony {
    /// Runs `ksr-gen` with these words alone; its exit code and all that it says.
    fn token(&self, words: &[&str]) -> (i32, String) {
        let output = self.token_command(words).output().expect("run ksr-gen");
        let text = common::text(&output);
        assert!(!text.contains(PIN) && !text.contains("panicked"), "{text}");
        (output.status.code().expect("an exit code"), text)
    }

    fn token_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(beside("ksr-gen"));
        command
            .current_dir(self.temp.path())
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .env("PKCS11_MODULE", module().expect("SoftHSM was here"))
            .stdin(Stdio::null())
            .args(["-l", "policy.conf", "-k", "peer"])
            .args(words);
        command
    }

    /// The label of the key that a `.private` file names.
    fn label(&self, private: &str) -> String {
        let text = fs::read_to_string(self.path(private)).expect("the file");
        data_encoding(text.lines().find_map(|l| l.strip_prefix("Label: ")).expect("a label"))
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).expect("the folder");
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("text")).collect()
    }
}

fn object(label: &str) -> String {
    label.trim_end_matches('\0').rsplit_once("object=").expect("an object").1.to_owned()
}

#[test]
fn kind_108_keys_of_a_token_are_listed_adopted_and_removed_and_never_one_that_a_key_file_names() {
    if !softhsm() {
        return;
    }
    for algorithm in ["ecdsap256sha256", "rsasha256", "ed25519"] {
        let c = Ceremony::new(algorithm);
        let ksk = c.prepare();
        // What a keygen leaves that ends between the token and the key files.
        fs::create_dir(c.path("other")).expect("a folder");
        let lost = c.ours("other", &["-o", "keygen"]).trim().to_owned();
        let left = object(&c.label(&format!("other/{lost}.private")));
        let used = object(&c.label(&format!("ksk/{ksk}.private")));
        c.names("other")
            .iter()
            .for_each(|name| fs::remove_file(c.path("other").join(name)).expect("removed"));

        let (code, said) = c.token(&["-K", "ksk", "token", "list"]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("token `ksk`: 2 keys (policy.conf:1: key-store 'hsm')"), "{said}");
        assert!(said.contains(&used) && said.contains(&ksk), "{said}");
        assert!(said.contains(&left) && said.contains("1 key has no key file in ksk"), "{said}");
        // New keys may sign, and nothing else.
        assert_eq!(said.matches("may sign, id:").count(), 2, "{said}");

        // A key that is in use stays, whatever is said; one that is not stays until a person says so.
        let (code, said) = c.token(&["-K", "ksk", "--yes", "token", "forget", &used]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("nothing was removed") && said.contains(&ksk), "{said}");
        let (code, said) = c.token(&["-K", "ksk", "token", "forget", &left]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("--yes"), "{said}");
        assert!(
            c.token(&["-K", "ksk", "--yes", "token", "forget", "no-such"]).1.contains("has no key `no-such`")
        );
        assert_eq!(c.objects(), 4);

        // Adopted, it signs a ceremony under the name that it had.
        let (code, said) = c.token(&["-K", "other", "-i", "now-3d", "-o", "token", "adopt", ZONE, &left]);
        assert_eq!((code, said.trim()), (0, lost.as_str()), "{algorithm}");
        let mut files = c.names("other");
        files.sort();
        let expected = ["key", "private", "state"].map(|suffix| format!("{lost}.{suffix}"));
        assert_eq!(files, expected);
        c.ours("other", &SIGN);
        let (code, said) = c.token(&["-K", "other", "-o", "token", "adopt", ZONE, &left]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("already exists") && said.contains("token update"), "{said}");
        let (_, said) = c.token(&["-K", "other", "token", "check"]);
        assert!(
            said.contains(&format!("{lost}: it signs")) && said.contains("ready for a ceremony"),
            "{said}"
        );
        let (code, said) = c.token(&["-K", "other", "--yes", "token", "forget", &left]);
        assert_eq!(code, 1, "{said}");

        // A key file that does not read may be that of the key.
        let private = c.path("other").join(&expected[1]);
        fs::write(&private, "garbage").expect("write");
        let (code, said) = c.token(&["-K", "other", "--yes", "token", "forget", &left]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("does not read"), "{said}");
        assert_eq!(c.objects(), 4);

        c.names("other")
            .iter()
            .for_each(|name| fs::remove_file(c.path("other").join(name)).expect("removed"));
        let (code, said) = c.token(&["-K", "ksk", "--yes", "token", "forget", &left]);
        assert_eq!(code, 0, "{said}");
        assert!(said.starts_with("removed: key `") && c.objects() == 2, "{said}");
        c.ours("ksk", &SIGN);
    }
}

#[test]
fn kind_108_keys_follow_their_key_store_to_another_pin_file_and_module() {
    if !softhsm() {
        return;
    }
    let c = Ceremony::new("ecdsap256sha256");
    let ksk = c.prepare();
    c.ours("zsk", &["-o", "keygen"]);
    let (private, temp) = (format!("ksk/{ksk}.private"), c.temp.path().display().to_string());
    let others: Vec<Vec<u8>> = ["key", "state"]
        .map(|suffix| fs::read(c.path(&format!("ksk/{ksk}.{suffix}"))).expect("the file"))
        .into();
    let key_in_token = object(&c.label(&private));
    fs::rename(c.path("pin"), c.path("pin.new")).expect("rename");
    assert!(c.fails("ksk", &SIGN).contains("No such file"));
    for (uri, name) in [
        (format!("pkcs11:token=ksk;pin-source={temp}/pin.new"), "another PIN file"),
        (
            format!("pkcs11:token=ksk?module-name=softhsm2&pin-source={temp}/pin.new"),
            "a module, in the query",
        ),
        (format!("pkcs11:manufacturer=SoftHSM%20project;pin-source={temp}/pin.new"), "a token by its maker"),
    ] {
        c.write_policy("ecdsap256sha256", &uri);
        let (code, said) = c.token(&["-K", "ksk", "token", "update"]);
        assert_eq!((code, said), (0, format!("{ksk}: updated, and it signs\n")), "{name}");
        let label = c.label(&private);
        let expected = keystore::crypto::pkcs11::with_object(&uri, &key_in_token);
        assert_eq!(label.trim_end_matches('\0'), expected, "{name}");
        assert_eq!(fs::metadata(c.path(&private)).expect("the file").permissions().mode() & 0o777, 0o600);
        c.ours("ksk", &SIGN);
        let (code, said) = c.token(&["-K", "ksk", "token", "update", ZONE]);
        assert_eq!((code, said), (0, format!("{ksk}: names it so already\n")), "{name}");
    }
    for (suffix, before) in ["key", "state"].iter().zip(others) {
        assert_eq!(fs::read(c.path(&format!("ksk/{ksk}.{suffix}"))).expect("the file"), before);
    }
    // A key store of another token changes nothing.
    c.init_token("elsewhere");
    let label = c.label(&private);
    c.write_policy("ecdsap256sha256", &format!("pkcs11:token=elsewhere;pin-source={temp}/pin.new"));
    let (code, said) = c.token(&["-K", "ksk", "token", "update"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("not in token `elsewhere`, left as it is"), "{said}");
    assert_eq!(c.label(&private), label);
}

/// What may be wrong with a key store: its URI, and what the message says.
fn wrong_stores(c: &Ceremony) -> Vec<(String, &'static str)> {
    let pin = c.path("pin").display().to_string();
    let missing = c.path("no-pin").display().to_string();
    let open = c.path("open-pin");
    fs::write(&open, PIN).expect("write");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).expect("chmod");
    vec![
        (format!("pkcs11:tokn=ksk;pin-source={pin}"), "`tokn` is not supported; the attributes are token,"),
        (format!("pkcs11:token=ksk;pin-sorce={pin}"), "`pin-sorce` is not supported"),
        ("pkcs11:token=ksk;pin-source=pin".to_owned(), "pin-source: the absolute path of a file"),
        (format!("pkcs11:token=ksk;object=a;pin-source={pin}"), "names a token, not a key"),
        (format!("pkcs11:token=ksk;pin-source={missing}"), "no-pin: No such file"),
        (format!("pkcs11:token=ksk;pin-source={}", open.display()), "others can read the PIN"),
        (format!("pkcs11:token=absent;pin-source={pin}"), "no token matches pkcs11:token=absent"),
        (
            format!("pkcs11:token=ksk?module-path=/nonexistent.so&pin-source={pin}"),
            "PKCS#11 module /nonexistent.so",
        ),
        (format!("pkcs11:token=ksk?module-name=none&pin-source={pin}"), "no PKCS#11 module `none`"),
    ]
}

#[test]
fn kind_108_what_is_wrong_with_a_key_store_is_told_with_file_line_and_store_before_a_ceremony() {
    if !softhsm() {
        return;
    }
    let c = Ceremony::new("ecdsap256sha256");
    c.prepare();
    let check = |c: &Ceremony, side: &str| {
        let output = c.token_command(&["-K", side, "check", "request.ksr"]).output().expect("run ksr-gen");
        (output.status.code().expect("a code"), common::text(&output))
    };
    let anchor = c.names("ksk").into_iter().find(|name| name.ends_with(".key")).expect("a KSK");
    fs::create_dir(c.path("state")).expect("a folder");
    let config = format!(
        "version = 1\nstate-dir = \"state\"\nnamed-conf = \"policy.conf\"\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"zsks\"\nfile = \"zone\"\ntrust-anchor-file = \"ksk/{anchor}\"\nkey-directory = \"zsk\"\n[signer]\nlisten = [\"127.0.0.1:0\"]\n"
    );
    fs::write(c.path("config.toml"), config).expect("write");
    fs::write(c.path("zone"), ZONE_FILE).expect("write");
    let serve = |c: &Ceremony, module: Option<&Path>| {
        let mut command = Command::new(beside("offline-ksk"));
        command
            .current_dir(c.temp.path())
            .env("SOFTHSM2_CONF", c.path("softhsm2.conf"))
            .env_remove("PKCS11_MODULE");
        module.map(|module| command.env("PKCS11_MODULE", module));
        let output = command.args(["serve", "--check-config", "-c", "config.toml"]).output().expect("run");
        let text = common::text(&output);
        text.lines().filter(|line| line.contains("key-store 'hsm'")).collect::<Vec<_>>().join("\n")
    };
    let place = "policy.conf:1: key-store 'hsm': ";
    let softhsm = module();
    assert_eq!(check(&c, "ksk").0, 0, "{}", check(&c, "ksk").1);
    assert_eq!(serve(&c, softhsm.as_deref()), "");
    assert!(serve(&c, None).contains("no PKCS#11 module is named"));
    for (uri, word) in wrong_stores(&c) {
        c.write_policy("ecdsap256sha256", &uri);
        // Where the KSK is in a token the request is to be signed, and cannot; elsewhere it is a warning.
        for (side, code, level) in [("ksk", 1, "error"), ("zsk", 0, "warning")] {
            let (is, said) = check(&c, side);
            assert!(
                said.contains(&format!("{level}: policy.conf:1: key-store 'hsm': ")) && said.contains(word),
                "{uri}: {said}"
            );
            assert_eq!(is, code, "{uri}, {side}: {said}");
        }
        let (code, said) = c.token(&["-K", "ksk", "token", "check"]);
        assert!(code == 1 && said.contains(place) && said.contains(word), "{uri}: {said}");
        let said = serve(&c, softhsm.as_deref());
        assert!(said.starts_with("error: ") && said.contains(place) && said.contains(word), "{uri}: {said}");
    }
    // A wrong PIN is found by who logs in; the others must not use up the tries that a token gives.
    c.write_policy("ecdsap256sha256", &format!("pkcs11:token=ksk;pin-source={}", c.path("pin").display()));
    c.write_pin("wrong-4711", 0o600);
    assert_eq!((check(&c, "ksk").0, serve(&c, softhsm.as_deref())), (0, String::new()));
    let (code, said) = c.token(&["-K", "ksk", "token", "check"]);
    assert!(
        code == 1 && said.contains("FAILED  policy.conf:1: key-store 'hsm': token `ksk`: the PIN is wrong"),
        "{said}"
    );
    assert!(said.contains("NOT READY"), "{said}");
}

#[test]
fn kind_108_a_uri_that_two_tokens_match_is_refused_whichever_was_opened_before() {
    if !softhsm() {
        return;
    }
    let c = Ceremony::new("ecdsap256sha256");
    c.init_token("second");
    let pin = c.path("pin").display().to_string();
    let store = |name: &str, token: &str| {
        format!("key-store \"{name}\" {{ pkcs11-uri \"pkcs11:{token};pin-source={pin}\"; }};\n")
    };
    let (one, both) = (store("one", "token=ksk"), store("both", "model=SoftHSM%20v2"));
    for policy in [format!("{one}{both}"), format!("{both}{one}")] {
        fs::write(c.path("policy.conf"), &policy).expect("write");
        let (code, said) = c.token(&["-K", "ksk", "token", "check"]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("key-store 'one': token `ksk`, logged in, 0 keys"), "{said}");
        assert!(said.contains("key-store 'both': pkcs11:model=SoftHSM%20v2 matches 2 tokens"), "{said}");
    }
}

#[test]
fn kind_108_runs_at_the_same_time_give_their_keys_different_labels() {
    if !softhsm() {
        return;
    }
    let c = Ceremony::new("ecdsap256sha256");
    let folders: Vec<String> = (0..6).map(|n| format!("ksk{n}")).collect();
    folders.iter().for_each(|folder| fs::create_dir(c.path(folder)).expect("a folder"));
    // SoftHSM fails now and then while another process writes to the same token; the next try goes well.
    std::thread::scope(|scope| {
        for folder in &folders {
            scope.spawn(|| {
                common::wait_for("a key", Duration::from_secs(30), || {
                    let output = c.command(folder, &["-o", "keygen"]).output().expect("run ksr-gen");
                    output.status.success().then_some(())
                });
            });
        }
    });
    let private = |folder: &String| {
        let name = c.names(folder).into_iter().find(|name| name.ends_with(".private")).expect("a KSK");
        c.label(&format!("{folder}/{name}"))
    };
    let labels: std::collections::BTreeSet<String> = folders.iter().map(private).collect();
    assert_eq!(labels.len(), 6, "{labels:?}");
}

#[test]
fn kind_108_a_key_whose_private_file_is_lost_is_in_use_and_is_adopted_again() {
    if !softhsm() {
        return;
    }
    let c = Ceremony::new("ecdsap256sha256");
    let ksk = c.prepare();
    let used = object(&c.label(&format!("ksk/{ksk}.private")));
    fs::remove_file(c.path(&format!("ksk/{ksk}.private"))).expect("removed");
    let forget = || c.token(&["-K", "ksk", "--yes", "token", "forget", &used]);
    let (_, said) = c.token(&["-K", "ksk", "token", "list"]);
    assert!(said.contains(&ksk) && !said.contains("no key file"), "{said}");
    let (code, said) = forget();
    assert!(code == 1 && said.contains(&ksk) && said.contains("token adopt"), "{said}");
    // A .key file that does not read may be that of the key, as may one of another name.
    let key = fs::read(c.path(&format!("ksk/{ksk}.key"))).expect("the file");
    fs::write(c.path(&format!("ksk/{ksk}.key")), "garbage").expect("write");
    let (code, said) = forget();
    assert!(code == 1 && said.contains("does not read"), "{said}");
    fs::write(c.path(&format!("ksk/{ksk}.key")), key).expect("write");
    assert_eq!(c.objects(), 2);
    ["key", "state"].iter().for_each(|suffix| {
        let name = format!("{ksk}.{suffix}");
        fs::rename(c.path("ksk").join(&name), c.path(&name)).expect("moved");
    });
    let (code, said) = c.token(&["-K", "ksk", "-i", "now-3d", "-o", "token", "adopt", ZONE, &used]);
    assert_eq!((code, said.trim()), (0, ksk.as_str()));
    c.ours("ksk", &SIGN);
}

#[test]
fn kind_108_a_zsk_is_adopted_beside_others_only_from_a_time_on() {
    if !softhsm() {
        return;
    }
    let c = Ceremony::new("ecdsap256sha256");
    fs::create_dir(c.path("other")).expect("a folder");
    c.ours("zsk", &["keygen"]);
    let made = c.ours("other", &["-o", "keygen"]);
    let label = object(&c.label(&format!("other/{}.private", made.trim())));
    let (code, said) = c.token(&["-K", "zsk", "token", "adopt", ZONE, &label]);
    assert!(code == 2 && said.contains("-i TIME"), "{said}");
    let (code, said) = c.token(&["-K", "zsk", "-i", "now+1y", "token", "adopt", ZONE, &label]);
    assert_eq!(code, 0, "{said}");
    // Where there is none it may begin at once.
    fs::create_dir(c.path("empty")).expect("a folder");
    assert_eq!(c.token(&["-K", "empty", "token", "adopt", ZONE, &label]).0, 0);
}
