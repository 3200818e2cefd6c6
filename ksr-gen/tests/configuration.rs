//! The file of `-l` is the one that the daemons read, with every section of it.

mod common;

use common::Site;

const POLICY: &str = "version = 1
state-dir = \"state\"
[policy.standard]
offline-ksk = true
keys = [
  { role = \"ksk\", lifetime = \"unlimited\", algorithm = 13 },
  { role = \"zsk\", lifetime = \"P6M\", algorithm = 13 },
]
";

#[test]
fn request_reads_the_policy_from_a_configuration_with_sections_of_other_programs() {
    let zone = "[[zone]]\nname = \"example.test.\"\npolicy = \"standard\"\n";
    let named = "[[deliver.named]]\nname = \"ns1\"\naddress = \"127.0.0.1:53\"\nfolder = \"skr\"\n";
    let knot = "[[deliver.knot]]\nname = \"knot\"\nfolder = \"skr\"\n";
    let hook = "[[deliver.hook]]\nname = \"hook\"\ncommand = [\"/bin/true\"]\n";
    let rest = "[loader]\nwatch = \"poll\"\n[ksr]\nenabled = false\n[metrics]\nlisten = \"127.0.0.1:9753\"\n";
    for sections in [zone, named, knot, hook, rest] {
        let site = Site::new("");
        site.write("offline-ksk.toml", &format!("{POLICY}{sections}"));
        let run = |rest: &str| {
            let times = "-i 20270101 -e 20280101";
            site.run(&format!("-l @offline-ksk.toml -k standard {times} -K @zsk {rest} example.test")).ok()
        };
        run("keygen");
        assert!(run("request").starts_with(";; KeySigningRequest 1.0 20270101000000 "), "{sections}");
    }
}

#[test]
fn unknown_section_is_refused_with_its_line() {
    for wrong in ["[[delivery.named]]\nname = \"ns1\"\n", "[loaders]\n", "state_dir = \"x\"\n"] {
        let site = Site::new("");
        site.write("offline-ksk.toml", &format!("{wrong}{POLICY}"));
        let line = "-l @offline-ksk.toml -k standard -i 20270101 -e 20280101 -K @zsk request example.test";
        let said = site.run(line).fails(1);
        assert!(said.contains("offline-ksk.toml:1: unknown key '"), "{said}");
    }
}

#[test]
fn the_standby_of_a_pair_makes_no_keys_and_no_requests_and_names_the_active_host() {
    let site = Site::new("");
    std::fs::create_dir(site.path("leases")).expect("a folder");
    let pair = "[pair]\nhost = \"b\"\nlease-directory = \"leases\"\n";
    // Errors of the rest hide nothing.
    site.write("offline-ksk.toml", &format!("{POLICY}{pair}"));
    site.write("bad.toml", &format!("unknown = 1\n{POLICY}{pair}"));
    site.write("bad-pair.toml", &format!("{POLICY}{pair}renew = \"2h\"\n"));
    site.write("ksr", "");
    let changing = [
        "-i 20270101 -e 20280101 -K @zsk keygen example.test",
        "-i 20270101 -e 20280101 -K @zsk -o keygen example.test",
        "-i 20270101 -e 20280101 -K @zsk request example.test",
        "-i 20270101 -e 20280101 -K @zsk --all request",
        "-K @zsk import example.test @key.pem",
        "-K @zsk token adopt example.test label",
        "-K @zsk token update",
        "-K @zsk token forget label",
    ];
    let refused = |file: &str, said: &str| {
        for command in changing {
            let text = site.run(&format!("-l @{file} -k standard {command}")).fails(1);
            assert!(text.contains(said), "{command}: {text}");
            assert_eq!(site.names("zsk"), [""; 0], "{command}");
        }
    };
    refused("offline-ksk.toml", "no host of the pair has taken over yet");
    let take_over = |host: &str, number: u32| {
        let text = format!(
            "offline-ksk lease 1\nhost {host}\nnode m/1\ngeneration {number}\nrenewed 1800000000\nexpires 1800000060\nforced no\nbegun yes\n"
        );
        site.write(&format!("leases/lease-{number}"), &text);
    };
    take_over("a", 1);
    refused("offline-ksk.toml", "host a is the active one of the pair, by takeover 1, and not b");
    refused("bad.toml", "host a is the active one");
    refused("bad-pair.toml", "renew");
    let look = site.run("-l @offline-ksk.toml -k standard -i 20270101 -e 20280101 check @ksr");
    assert!(!look.stderr.contains("active"), "a command that changes nothing: {}", look.stderr);
    take_over("b", 2);
    site.run("-l @offline-ksk.toml -k standard -i 20270101 -e 20280101 -K @zsk keygen example.test").ok();
    site.run("-l @offline-ksk.toml -k standard -i 20270101 -e 20280101 -K @zsk request example.test").ok();
}
