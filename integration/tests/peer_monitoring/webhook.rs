//! A receiver of Alertmanager's webhooks that counts the alerts by name.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::common;

#[derive(Clone)]
pub struct Webhook {
    address: SocketAddr,
    received: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Webhook {
    /// Listens until the process of the test ends.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let webhook = Self { address: listener.local_addr().expect("an address"), received: Arc::default() };
        let serving = webhook.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that breaks off has brought nothing.
                let _ = serving.take(stream);
            }
        });
        webhook
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Alerts of this name so far.
    pub fn count(&self, alert: &str) -> usize {
        self.received.lock().expect("no panic there").get(alert).copied().unwrap_or(0)
    }

    pub fn wait_for(&self, alert: &str, limit: Duration) {
        common::wait_for(alert, limit, || (self.count(alert) > 0).then_some(()));
    }

    fn take(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
        let body = loop {
            let read = stream.read(&mut buffer)?;
            request.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&request);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
                });
                if body.len() >= length.unwrap_or(0) {
                    break body.to_owned();
                }
            }
            if read == 0 {
                return Ok(());
            }
        };
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        let message: Value = serde_json::from_str(&body).map_err(std::io::Error::other)?;
        let mut received = self.received.lock().expect("no panic there");
        for alert in message["alerts"].as_array().into_iter().flatten() {
            let name = alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned();
            *received.entry(name).or_default() += 1;
        }
        Ok(())
    }
}
