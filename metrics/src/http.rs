//! The HTTP endpoint: `/metrics`, `/healthz`, `/readyz`. It shows what was set; a scrape encodes, it never computes.
//!
//! It speaks as much of HTTP/1.1 (RFC 9112) as scrapers and load balancers need: one `GET` or `HEAD` a connection, no body.

mod connections;

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::Metrics;

/// Media type of the text exposition.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

const INDEX: &str = "<!doctype html><title>offline-ksk</title><h1>offline-ksk</h1><ul><li><a href=\"/metrics\">/metrics</a> for Prometheus\
     <li><a href=\"/healthz\">/healthz</a> alive<li><a href=\"/readyz\">/readyz</a> a bundle is in force for every zone</ul>";

/// What the endpoint shows.
#[derive(Clone)]
pub struct Endpoint {
    metrics: Metrics,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    not_ready: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
}

impl Endpoint {
    /// `clock` gives the Unix time that each scrape shows. `not_ready` gives what keeps the process from being ready, one reason
    /// a line; none = ready.
    pub fn new(
        metrics: Metrics,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
        not_ready: impl Fn() -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        Self { metrics, clock: Arc::new(clock), not_ready: Arc::new(not_ready) }
    }
}

/// Why the endpoint cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The address is taken, or not of this host.
    #[error("cannot listen on {address} for /metrics: {source}; choose another `metrics.listen`")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// Error of the system call that failed.
        source: io::Error,
    },
}

/// An endpoint that serves in a thread of its own, until this is dropped.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Binds `address` (port 0 lets the kernel choose), and serves `endpoint` there until the result is dropped.
pub fn serve(address: SocketAddr, endpoint: Endpoint) -> Result<Serving, HttpError> {
    let failed = |source| HttpError::Bind { address, source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (stop, stopped) = oneshot::channel();
    let respond = Arc::new(move |method: &str, path: &str| endpoint.respond(method, path).octets(method));
    let thread = std::thread::Builder::new().name("metrics".to_owned());
    let thread = thread
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = connections::accept(listener, respond) => {}
                    // An error means that the other end is gone, which is the end too.
                    _ = stopped => {}
                }
            });
        })
        .map_err(failed)?;
    tracing::info!(%address, "metrics on /metrics");
    Ok(Serving { address, stop: Some(stop), thread: Some(thread) })
}

impl Serving {
    /// The address that it has.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been told by its own message.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Response {
    status: &'static str,
    media_type: &'static str,
    body: String,
}

impl Response {
    fn new(status: &'static str, media_type: &'static str, body: impl Into<String>) -> Self {
        Self { status, media_type, body: body.into() }
    }

    fn octets(&self, method: &str) -> Vec<u8> {
        let Self { status, media_type, body } = self;
        let mut text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             Connection: close\r\n",
            body.len()
        );
        if status.starts_with("405") {
            text.push_str("Allow: GET, HEAD\r\n");
        }
        text.push_str("\r\n");
        if method != "HEAD" {
            text.push_str(body);
        }
        text.into_bytes()
    }
}

impl Endpoint {
    fn respond(&self, method: &str, path: &str) -> Response {
        if !matches!(method, "GET" | "HEAD") {
            return Response::new("405 Method Not Allowed", PLAIN, "only GET and HEAD are served\n");
        }
        match path {
            "/" => Response::new("200 OK", HTML, INDEX),
            "/metrics" => self.scrape(),
            "/healthz" => Response::new("200 OK", PLAIN, "ok\n"),
            "/readyz" => self.ready(),
            _ => Response::new("404 Not Found", PLAIN, "there are /metrics, /healthz and /readyz\n"),
        }
    }

    fn scrape(&self) -> Response {
        self.metrics.clock_time_seconds.set(i64::try_from((self.clock)()).unwrap_or(i64::MAX));
        match self.metrics.exposition() {
            Ok(text) => Response::new("200 OK", EXPOSITION, text),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be encoded");
                Response::new("500 Internal Server Error", PLAIN, "metrics cannot be encoded, see the log\n")
            }
        }
    }

    fn ready(&self) -> Response {
        let reasons = (self.not_ready)();
        if reasons.is_empty() {
            return Response::new("200 OK", PLAIN, "ready\n");
        }
        let mut text = String::new();
        for reason in reasons {
            let _ = writeln!(text, "{reason}");
        }
        Response::new("503 Service Unavailable", PLAIN, text)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.write_all(request.as_bytes()).expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        answer
    }

    fn get(address: SocketAddr, path: &str) -> String {
        ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    #[test]
    fn each_page_answers_as_it_should() {
        let ready = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ready);
        let not_ready = move || match seen.load(Ordering::SeqCst) {
            true => Vec::new(),
            false => vec!["example.: no bundle is in force".to_owned()],
        };
        let endpoint = Endpoint::new(Metrics::new().expect("families register"), || 77, not_ready);
        let serving = serve("127.0.0.1:0".parse().expect("an address"), endpoint).expect("bind");
        let address = serving.address();

        assert!(get(address, "/").contains("text/html"));
        let answer = get(address, "/metrics");
        assert!(answer.contains("\r\nContent-Type: text/plain; version=0.0.4"), "{answer}");
        assert!(answer.contains("\nofflineksk_clock_time_seconds 77\n"), "{answer}");
        assert!(answer.contains("\nprocess_"), "{answer}");
        let answer = get(address, "/readyz");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nexample.: no bundle is in force\n"), "{answer}");
        ready.store(true, Ordering::SeqCst);
        for (request, status, end) in [
            ("GET /readyz HTTP/1.1\r\n\r\n", "200", "ready\n"),
            ("GET /healthz HTTP/1.0\r\n\r\n", "200", "ok\n"),
            ("GET /healthz?x=y HTTP/1.1\nHost: x\n\n", "200", "ok\n"),
            ("HEAD /healthz HTTP/1.1\r\n\r\n", "200", "\r\n\r\n"),
            ("POST /healthz HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405", "served\n"),
            ("GET /nothing HTTP/1.1\r\n\r\n", "404", "/readyz\n"),
            ("GET\r\n\r\n", "400", "\n"),
            ("\x16\x03\x01\r\n\r\n", "400", "\n"),
            ("GET /healthz SPDY/9\r\n\r\n", "400", "\n"),
        ] {
            let answer = ask(address, request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
            assert!(answer.ends_with(end), "{request:?}: {answer}");
        }
        drop(serving);
        TcpStream::connect(address).expect_err("it has ended");
    }

    #[test]
    fn a_taken_address_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = taken.local_addr().expect("an address");
        let endpoint = Endpoint::new(Metrics::new().expect("families register"), || 0, Vec::new);
        let error = serve(address, endpoint).expect_err("the address is taken");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
