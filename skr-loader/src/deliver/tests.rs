//! Targets that change while they are at work.

use std::net::UdpSocket;
use std::time::Instant;

use keystore::config::deliver::Method;

use super::*;
use crate::deliver::state::Reachability;
use crate::testing::{self, StateDir};

const SLOW: Duration = Duration::from_millis(1500);

/// A hook that notes its calls in `log`; it is asked over DNS at `address`.
fn hook(name: &str, log: &Path, address: Option<std::net::SocketAddr>) -> TargetConfig {
    let script = format!("echo $OFFLINE_KSK_EVENT >>{}", log.display());
    let command = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
    TargetConfig {
        name: name.into(),
        zones: None,
        timeout: 10,
        address,
        source: None,
        method: Method::Hook { command },
    }
}

fn wait_for(what: &str, mut held: impl FnMut() -> bool) {
    let started = Instant::now();
    while !held() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A target that waits for a silent server is changed: the caller, which is the inbox, goes on at once; the target in
/// its place begins after it; and the target beside them is not started again.
#[test]
fn a_reload_never_waits_for_a_target() {
    let (state, metrics) = (StateDir::new(), Metrics::new().unwrap());
    let now = clock::now();
    let bundles = keystore::exchange::testing::SkrBuilder::new(testing::ZONE, now).build().bundles;
    let in_force = Arc::new(InForce { generation: 1, digest: [1; 32], bundles: bundles.into() });
    let in_force: BTreeMap<Name, _> = [(testing::zone(), in_force)].into();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (slow_log, quick_log) = (state.path("slow"), state.path("quick"));
    let calls = |log: &Path| std::fs::read_to_string(log).unwrap_or_default().lines().count();

    let mut config = state.config();
    let slow = hook("slow", &slow_log, silent.local_addr().ok());
    config.deliver = vec![slow, hook("quick", &quick_log, None)];
    let mut deliveries = Deliveries::new(&metrics);
    deliveries.configure(&config, &in_force);
    wait_for("it is called, and waits for an answer then", || calls(&slow_log) == 1);

    let started = Instant::now();
    for timeout in 11..=13 {
        config.deliver[0].timeout = timeout;
        deliveries.configure(&config, &in_force);
    }
    config.deliver[0].address = None;
    deliveries.configure(&config, &in_force);
    assert!(started.elapsed() < SLOW, "it waited {:?}", started.elapsed());
    assert_eq!(calls(&slow_log), 1, "the one before is still at it");
    wait_for("the target in its place is at work", || calls(&slow_log) == 2);
    silent.set_nonblocking(true).unwrap();
    let asked = std::iter::from_fn(|| silent.recv(&mut [0; 512]).ok()).count();
    assert!(asked >= 3, "it did not wait for the one before it, which had asked {asked} times");
    wait_for("the target beside them is called", || calls(&quick_log) > 0);
    assert_eq!(calls(&quick_log), 1);
    let labels = [testing::ZONE, "slow"];
    wait_for("its metrics are there", || metrics.skr_delivery_current.with_label_values(&labels).get() == 1);

    config.deliver.clear();
    deliveries.configure(&config, &in_force);
    assert!(deliveries.is_empty());
    drop(deliveries);
    assert!(!metrics.encode().unwrap().contains("\"slow\""));
}

/// A target whose program cannot be run is not reached, with the cause that the last try had, until the program is there.
#[test]
fn kind_104_a_target_without_its_program_is_unreachable_with_the_cause_of_now_until_it_is_there() {
    let state = StateDir::new();
    let folder = state.path("folder");
    std::fs::create_dir(&folder).unwrap();
    let file = state.path("not-executable");
    std::fs::write(&file, "").unwrap();
    let program = |path: &Path| Method::Hook { command: vec![path.display().to_string()] };
    let knot = Method::Knot {
        keymgr: vec!["/bin/true".to_owned()],
        knotc: vec![state.path("no-knotc").display().to_string()],
        folder: state.path("knot"),
    };
    for (name, method, cause) in [
        ("hook", program(&state.path("absent")), "No such file"),
        ("path", program(Path::new("no-such-program-anywhere")), "No such file"),
        ("folder", program(&folder), "Is a directory"),
        ("file", program(&file), "Permission denied"),
        ("knotc", knot, "No such file"),
    ] {
        let server = TargetConfig { method, ..hook(name, Path::new("/dev/null"), None) };
        let (mut server, _) = servers::server(&server, Arc::default());
        let error = server.instance().expect_err(name).to_string();
        assert!(error.contains(cause), "{name}: {error}");
    }

    let metrics = Metrics::new().unwrap();
    let bundles = keystore::exchange::testing::SkrBuilder::new(testing::ZONE, clock::now()).build().bundles;
    let in_force = Arc::new(InForce { generation: 1, digest: [1; 32], bundles: bundles.into() });
    let mut config = state.config();
    let absent = state.path("absent");
    config.deliver =
        vec![TargetConfig { method: program(&absent), ..hook("late", Path::new("/dev/null"), None) }];
    let mut deliveries = Deliveries::new(&metrics);
    deliveries.configure(&config, &[(testing::zone(), in_force)].into());
    let states = deliveries.states().clone();
    let reach = || states.zone("late", &testing::zone()).0;
    let says = |what: &str| matches!(reach(), Reachability::Unreachable { cause } if cause.contains(what));
    wait_for("it is unreachable", || says("No such file"));
    assert_eq!(metrics.delivery_server_up.with_label_values(&["late"]).get(), 0);
    std::fs::write(&absent, "").unwrap();
    wait_for("the cause is another one", || says("Permission denied"));
    assert_eq!(metrics.delivery_server_up.with_label_values(&["late"]).get(), 0);
    std::fs::remove_file(&absent).unwrap();
    std::os::unix::fs::symlink("/bin/true", &absent).unwrap();
    wait_for("it is delivered to", || states.zone("late", &testing::zone()).1.is_current);
    assert_eq!(
        (reach(), metrics.delivery_server_up.with_label_values(&["late"]).get()),
        (Reachability::Reached, 1)
    );
}
