//! The HTTP endpoint: `/metrics`, `/healthz`, and the pages of whoever starts it. A scrape encodes what was set, it never computes.
//!
//! It speaks as much of HTTP/1.1 (RFC 9112) as scrapers and load balancers need: one `GET` or `HEAD` a connection, no body; with TLS
//! and passwords where a `web-config` says so.

mod certificate;
mod compress;
pub(crate) mod connections;
mod guard;
pub(crate) mod login;
mod tls;
pub(crate) mod web_config;

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use keystore::policy::PolicyFinding;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::Metrics;
pub use certificate::{CertificateError, CertificateFiles, LoadedCertificate, read_authorities};
pub use guard::{Guard, GuardStanding};
pub use tls::ServedCertificate;

/// Media type of the text exposition.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// A request, as far as a page needs it.
#[derive(Debug)]
pub struct HttpRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, percent-encoded as it came.
    pub path: &'a str,
    /// What stands behind the question mark.
    pub query: &'a str,
    fields: Vec<(&'a str, &'a [u8])>,
}

impl<'a> HttpRequest<'a> {
    /// A GET request without header fields.
    #[must_use]
    pub const fn get(path: &'a str, query: &'a str) -> Self {
        Self { method: "GET", path, query, fields: Vec::new() }
    }

    /// The value of the first header field of this name, whose letter case does not matter.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }
}

/// What is answered to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Code and reason: `200 OK`.
    pub status: &'static str,
    /// Media type of the body.
    pub media_type: &'static str,
    /// Header fields beside those that every answer has.
    pub fields: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Page {
    /// An answer without header fields of its own.
    #[must_use]
    pub fn new(status: &'static str, media_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, media_type, fields: Vec::new(), body: body.into() }
    }
}

/// Gives the page of a request; `None` = there is none at this path.
type Pages = dyn Fn(&HttpRequest<'_>) -> Option<Page> + Send + Sync;

/// What the endpoint shows.
#[derive(Clone)]
pub struct Endpoint {
    metrics: Metrics,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    pages: Arc<Pages>,
}

impl Endpoint {
    /// `clock` gives the Unix time that each scrape shows. `pages` gives every page but `/metrics` and `/healthz`; it must not wait.
    pub fn new(
        metrics: Metrics,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
        pages: impl Fn(&HttpRequest<'_>) -> Option<Page> + Send + Sync + 'static,
    ) -> Self {
        Self { metrics, clock: Arc::new(clock), pages: Arc::new(pages) }
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
    /// The file of `web-config` is wrong, or one that it names: every finding, one a line.
    #[error("{}", .0.iter().map(PolicyFinding::to_string).collect::<Vec<_>>().join("\n"))]
    WebConfig(Vec<PolicyFinding>),
}

/// An endpoint that serves in a thread of its own, until this is dropped.
#[derive(Debug)]
pub struct RunningEndpoint {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Binds `address` (port 0 lets the kernel choose), and serves `endpoint` there, to whom `guard` lets in, until the result is dropped.
pub fn serve(address: SocketAddr, endpoint: Endpoint, guard: Guard) -> Result<RunningEndpoint, HttpError> {
    serve_within(address, endpoint, guard, connections::DEADLINES)
}

fn serve_within(
    address: SocketAddr,
    endpoint: Endpoint,
    guard: Guard,
    deadlines: connections::Deadlines,
) -> Result<RunningEndpoint, HttpError> {
    let failed = |source| HttpError::Bind { address, source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (stop, stopped) = oneshot::channel();
    let respond =
        Arc::new(move |request: &HttpRequest<'_>| compress::for_client(endpoint.respond(request), request));
    let thread = std::thread::Builder::new().name("metrics".to_owned());
    let thread = thread
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = connections::accept(listener, respond, guard, deadlines) => {}
                    // An error means that the other end is gone, which is the end too.
                    _ = stopped => {}
                }
            });
        })
        .map_err(failed)?;
    tracing::info!(%address, "metrics on /metrics");
    Ok(RunningEndpoint { address, stop: Some(stop), thread: Some(thread) })
}

impl RunningEndpoint {
    /// The address that it has.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RunningEndpoint {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been told by its own message.
            let _ = thread.join();
        }
    }
}

impl Page {
    fn octets(&self, method: &str) -> Vec<u8> {
        let Self { status, media_type, fields, body } = self;
        let mut head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n",
            body.len()
        );
        for (name, value) in [("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")] {
            if !fields.iter().any(|(given, _)| *given == name) {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        for (name, value) in fields {
            // A line feed in a value would begin a field of its own.
            let value: String = value.chars().filter(|c| !c.is_control()).collect();
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        let mut octets = head.into_bytes();
        if method != "HEAD" {
            octets.extend_from_slice(body);
        }
        octets
    }
}

impl Endpoint {
    /// The page of a request: `/metrics`, `/healthz`, and those of [`Endpoint::new`]; otherwise 404, and 405 where the method is neither GET nor
    /// HEAD. [`serve`] asks it for each request; a program that has an HTTP server of its own can do so too ([`HttpRequest::get`]).
    #[must_use]
    pub fn respond(&self, request: &HttpRequest<'_>) -> Page {
        if !matches!(request.method, "GET" | "HEAD") {
            let mut page = Page::new("405 Method Not Allowed", PLAIN, "only GET and HEAD are served\n");
            page.fields.push(("Allow", "GET, HEAD".to_owned()));
            return page;
        }
        match request.path {
            "/metrics" => self.scrape(),
            "/healthz" => Page::new("200 OK", PLAIN, "ok\n"),
            _ => (self.pages)(request)
                .unwrap_or_else(|| Page::new("404 Not Found", PLAIN, "there is nothing at this path\n")),
        }
    }

    fn scrape(&self) -> Page {
        self.metrics.clock_time_seconds.set(i64::try_from((self.clock)()).unwrap_or(i64::MAX));
        match self.metrics.exposition() {
            Ok(text) => Page::new("200 OK", EXPOSITION, text),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be encoded");
                Page::new("500 Internal Server Error", PLAIN, "metrics cannot be encoded, see the log\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use keystore::config::MetricsConfig;

    use super::*;

    fn open_to_all() -> Guard {
        Guard::load(&MetricsConfig::at(([127, 0, 0, 1], 0).into())).expect("no web-config")
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.write_all(request.as_bytes()).expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        answer
    }

    fn get(address: SocketAddr, path: &str) -> String {
        ask(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    #[test]
    fn each_page_answers_as_it_should() {
        let pages = |request: &HttpRequest<'_>| match request.path {
            "/page" => {
                let said = format!("{} {}", request.query, request.field("accept").unwrap_or("-"));
                let mut page = Page::new("200 OK", PLAIN, said);
                page.fields.push(("X-Said", "a\r\nSet-Cookie: b".to_owned()));
                Some(page)
            }
            _ => None,
        };
        let endpoint = Endpoint::new(Metrics::new().expect("families register"), || 77, pages);
        let serving =
            serve("127.0.0.1:0".parse().expect("an address"), endpoint, open_to_all()).expect("bind");
        let address = serving.address();

        let answer = get(address, "/metrics");
        assert!(answer.contains("\r\nContent-Type: text/plain; version=0.0.4"), "{answer}");
        assert!(answer.contains("\nofflineksk_clock_time_seconds 77\n"), "{answer}");
        assert!(answer.contains("\nprocess_"), "{answer}");
        for (request, status, end) in [
            ("GET /healthz HTTP/1.0\r\n\r\n", "200", "ok\n"),
            ("GET /healthz?x=y HTTP/1.1\nHost: [::1]:80\n\n", "200", "ok\n"),
            ("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421", "(DNS rebinding).\n"),
            ("HEAD /healthz HTTP/1.1\r\n\r\n", "200", "\r\n\r\n"),
            ("GET /page?a=b HTTP/1.1\r\nACCEPT: c\r\n\r\n", "200", "a=b c"),
            ("GET /page HTTP/1.1\r\n\r\n", "200", " -"),
            ("POST /healthz HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405", "served\n"),
            ("GET /nothing HTTP/1.1\r\n\r\n", "404", "path\n"),
            ("GET http://x/ HTTP/1.1\r\n\r\n", "400", "\n"),
            ("GET\r\n\r\n", "400", "\n"),
            ("\x16\x03\x01\r\n\r\n", "400", "\n"),
            ("GET /healthz SPDY/9\r\n\r\n", "400", "\n"),
        ] {
            let answer = ask(address, request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
            assert!(answer.ends_with(end), "{request:?}: {answer}");
            assert!(!answer.contains("\nSet-Cookie"), "{request:?}: {answer}");
        }
        drop(serving);
        TcpStream::connect(address).expect_err("it has ended");
    }

    #[test]
    fn a_taken_address_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = taken.local_addr().expect("an address");
        let endpoint = Endpoint::new(Metrics::new().expect("families register"), || 0, |_| None);
        let error = serve(address, endpoint, open_to_all()).expect_err("the address is taken");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
