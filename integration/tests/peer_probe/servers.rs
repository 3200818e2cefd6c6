//! Real servers that serve static zone files, two of each product, on ports that the kernel chooses.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use keystore::dns::{Name, Rtype};
use skr_loader::ask::Asker;

use crate::common::{self, Named};

/// The products that serve files as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    Named,
    Knot,
    Nsd,
}

/// A server that ends when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    _named: Option<Named>,
    child: Option<Child>,
}

impl Server {
    /// Serves each zone from `folder/ZONE`. `None` when the product is not here.
    pub fn start(product: Product, dir: &Path, zones: &[String], folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(dir).expect("a folder");
        if product == Product::Named {
            let zone = |zone: &String| {
                format!(
                    "zone \"{zone}\" {{ type primary; file \"{}/{zone}\"; allow-transfer {{ any; }}; }};\n",
                    folder.display()
                )
            };
            let named = Named::start(dir, &zones.iter().map(zone).collect::<String>())?;
            let address = SocketAddr::from(([127, 0, 0, 1], named.port));
            return Some(Self { address, _named: Some(named), child: None });
        }
        let address = SocketAddr::from(([127, 0, 0, 1], common::free_port()));
        let (program, text) = match product {
            Product::Knot => ("knotd", knot(dir, address, zones, folder)),
            _ => ("nsd", nsd(dir, address, zones, folder)),
        };
        let conf = dir.join("conf");
        std::fs::write(&conf, text).expect("write");
        let mut command = common::peer(program)?;
        if product == Product::Nsd {
            command.arg("-d");
        }
        let log = std::fs::File::create(dir.join("output")).expect("a file");
        let child = command
            .arg("-c")
            .arg(&conf)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{program}: {e}"));
        let server = Self { address, _named: None, child: Some(child) };
        let zone = Name::parse(&zones[0]).expect("a name");
        common::wait_for(program, Duration::from_secs(30), || {
            Asker::new(address, None).ask(&zone, Rtype::SOA, Instant::now() + Duration::from_secs(2)).ok()
        });
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // SIGTERM, since a killed nsd leaves its children.
            let pid = rustix::process::Pid::from_child(child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }
}

fn knot(dir: &Path, address: SocketAddr, zones: &[String], folder: &Path) -> String {
    let (dir, port) = (dir.display(), address.port());
    let mut text = format!(
        "server:\n    rundir: {dir}\n    listen: 127.0.0.1@{port}\ncontrol:\n    listen: {dir}/knot.sock\nlog:\n  - target: {dir}/log\n    any: info\n\
         database:\n    storage: {dir}\nacl:\n  - id: all\n    address: 127.0.0.1\n    action: transfer\nzone:\n"
    );
    for zone in zones {
        let _ = write!(
            text,
            "  - domain: {zone}\n    file: {}/{zone}\n    journal-content: none\n    zonefile-sync: -1\n    acl: all\n",
            folder.display()
        );
    }
    text
}

fn nsd(dir: &Path, address: SocketAddr, zones: &[String], folder: &Path) -> String {
    let (dir, port) = (dir.display(), address.port());
    let mut text = format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  port: {port}\n  username: \"\"\n  zonesdir: \"{dir}\"\n  pidfile: \"\"\n  logfile: \"{dir}/log\"\n\
         \x20 xfrdfile: \"{dir}/xfrd\"\n  xfrdir: \"{dir}\"\n  zonelistfile: \"{dir}/zonelist\"\n  server-count: 1\nremote-control:\n  control-enable: no\n"
    );
    for zone in zones {
        let _ = write!(
            text,
            "zone:\n  name: \"{zone}\"\n  zonefile: \"{}/{zone}\"\n  provide-xfr: 127.0.0.1 NOKEY\n",
            folder.display()
        );
    }
    text
}
