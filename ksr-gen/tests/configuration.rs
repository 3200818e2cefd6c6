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
