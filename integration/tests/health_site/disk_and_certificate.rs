//! What a daemon cannot make for itself and runs out of: room on the disk, and certificates that are valid.

use std::fs;
use std::path::Path;

use metrics::health::ConditionId;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::certificate;
use super::health_site::Watch;
use super::place::{Extra, Place, bring, free_port, see};

/// What these tests bring about.
pub const BROUGHT: [ConditionId; 2] = [DISK[0], CERTIFICATE[0]];
const DISK: [ConditionId; 1] = [ConditionId::DiskNearlyFull];
const CERTIFICATE: [ConditionId; 1] = [ConditionId::CertificateEndsSoon];

#[test]
fn disk_that_lacks_room_or_files_is_seen_everywhere_until_there_are_enough() {
    let Some(place) = Place::on_small_disk("size=340m,nr_inodes=4000") else { return };
    let _daemon = place.serve();
    let (large, many) = (place.path("large"), place.path("many"));
    let fill = || {
        let file = fs::File::create(&large).expect("a file");
        fallocate(&file, FallocateFlags::empty(), 0, 100 << 20).expect("room");
    };
    bring(&place, &DISK, fill, || fs::remove_file(&large).expect("it was there"));
    let fill = || {
        fs::create_dir(&many).expect("a folder");
        let left = statvfs(&many).expect("a file system").f_favail;
        for number in 30..left {
            fs::File::create(many.join(number.to_string())).expect("a file");
        }
    };
    bring(&place, &DISK, fill, || fs::remove_dir_all(&many).expect("it was there"));
}

#[test]
fn certificates_that_end_soon_are_seen_everywhere_until_they_are_replaced() {
    let place = Place::new();
    let write = |name: &str, days| drop(certificate::write(&place.path(""), name, days, None));
    write("dot", (-1, 365));
    write("endpoint", (-1, 365));
    let tls = format!(
        "tls-listen = [\"127.0.0.1:{}\"]\ntls-certificate = \"dot.crt\"\ntls-key = \"dot.key\"",
        free_port()
    );
    place.configure(&Extra { signer: &tls, ..Extra::default() });
    let daemon = place.serve();
    bring(&place, &CERTIFICATE, || write("dot", (-300, 20)), || write("dot", (-1, 365)));

    // The endpoint of the daemon speaks TLS from now on, and that of this process shows the page.
    let web = "tls_server_config:\n  cert_file: endpoint.crt\n  key_file: endpoint.key\n";
    place.write("web.yml", web);
    place.configure(&Extra { signer: &tls, metrics: "web-config = \"web.yml\"", ..Extra::default() });
    daemon.signal("-HUP");
    let watch = Watch::start(Path::new(&place.path("config.toml")));
    see(&place, watch.port(), &CERTIFICATE, false);
    write("endpoint", (-300, 20));
    see(&place, watch.port(), &CERTIFICATE, true);
    write("endpoint", (-1, 365));
    see(&place, watch.port(), &CERTIFICATE, false);
}
