//! The judges themselves run here: their versions are new enough, and `named` starts and stops.

mod common;

#[test]
fn bind_is_new_enough() {
    let mut command = peer!("dnssec-ksr");
    let version = common::text(&common::run(command.arg("-V")));
    let numbers: Vec<u32> = version
        .trim_start_matches("dnssec-ksr ")
        .split(['.', '-'])
        .map_while(|n| n.parse().ok())
        .take(2)
        .collect();
    assert!(numbers >= vec![9, 20], "{version}");
}

#[test]
fn named_starts_and_stops() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(named) = common::Named::start(dir.path(), "") else { return };
    assert!(common::text(&named.rndc(&["status"])).contains("server is up and running"), "{}", named.log());
}
