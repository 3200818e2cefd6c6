//! Adds and removes zones while it serves, and tells how they stand: `zones /etc/offline-ksk/offline-ksk.toml '[::1]:5300'`
//!
//! It begins without a zone and reads commands, one a line: `add NAME` takes a zone as the configuration file has it then, `remove NAME` ends
//! with it, `leave NAME` and `take-back NAME` say that another server program has the names below NAME, and that it has them no more. The end
//! of the commands ends it, and so do SIGTERM and SIGINT.
use std::{io::BufRead as _, path::Path, sync::Arc};

use keystore::{config::Config, dns::Name};
use offline_ksk_signer::border::SignerHandler;
use offline_ksk_signer::runtime::Signer;
use offline_ksk_signer::server::{Listen, Server};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (file, address) =
        (std::env::args().nth(1).ok_or("configuration?")?, std::env::args().nth(2).ok_or("address?")?);
    let none = Config { zones: Vec::new(), ..Config::load(Path::new(&file))? };
    let signer = Arc::new(Signer::start(&none, &metrics::Metrics::new()?, Arc::new(keystore::clock::now))?);
    let server = Server::start(&Listen::on(vec![address.parse()?]), &SignerHandler::alone(signer.hosted()))?;
    let mut terminate = signal(SignalKind::terminate())?;
    println!("serving on {:?}", server.addresses());

    let mut changes = signer.subscribe();
    tokio::spawn(async move {
        while let Some(change) = changes.next().await {
            println!("{change:?}");
        }
    });
    let (told, ended) = tokio::sync::oneshot::channel::<()>();
    let obeyed = Arc::downgrade(&signer);
    // A thread that waits for a line keeps neither the process from ending, as a task of tokio's would, nor the signer.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Some(signer) = obeyed.upgrade() else { break };
            if let Err(error) = obey(&line, Path::new(&file), &signer) {
                println!("{line}: {error}");
            }
        }
        drop(told);
    });
    tokio::select! { _ = ended => {}, _ = terminate.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
    server.shutdown().await;
    // Its threads end the step that they are at: what is written is whole, and no serial is skipped at the next start.
    drop(signer);
    Ok(())
}

/// Does what a line says.
fn obey(line: &str, file: &Path, signer: &Signer) -> Result<(), Box<dyn std::error::Error>> {
    let (command, name) = line.split_once(' ').ok_or("a command and a name, please")?;
    let name = Name::parse(name)?;
    match command {
        "add" => {
            let config = Config::load(file)?;
            let zone = config.zones.iter().find(|zone| zone.name == name);
            signer.add_zone(zone.ok_or("the configuration has no such zone")?.clone())?;
        }
        "remove" if !signer.remove_zone(&name) => return Err("there is no such zone".into()),
        "remove" => {}
        "leave" => drop(signer.hosted().besides([name])),
        "take-back" => signer.hosted().take_back([name]),
        _ => return Err("add, remove, leave or take-back".into()),
    }
    Ok(())
}
