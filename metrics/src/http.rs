//! The HTTP endpoint: `/metrics`, `/healthz`, `/readyz`.
//!
//! It only shows what was set: a scrape encodes, it never computes.

mod limits;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use crate::Metrics;

/// Media type of the text exposition.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the endpoint shows.
#[derive(Clone)]
pub struct Endpoint {
    /// The families.
    pub metrics: Metrics,
    /// Called before each scrape, to set what has no change to hang on (the clock).
    pub refresh: Arc<dyn Fn(&Metrics) + Send + Sync>,
    /// What is not ready, one reason a line; empty = ready.
    pub not_ready: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
}

/// Why the endpoint cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address} for /metrics: {source}; choose another `metrics.listen`")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
}

/// A bound endpoint, not yet serving.
pub struct Server {
    listener: limits::Limited,
    address: SocketAddr,
    router: Router,
}

impl Server {
    /// Binds `address`; port 0 lets the kernel choose.
    pub async fn bind(address: SocketAddr, endpoint: Endpoint) -> Result<Self, HttpError> {
        let failed = |source| HttpError::Bind { address, source };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let router = Router::new()
            .route("/", get(index))
            .route("/metrics", get(scrape))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .with_state(endpoint);
        Ok(Self { listener: limits::Limited::new(listener), address: bound, router })
    }

    /// The address that it has.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` resolves.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        axum::serve(self.listener, self.router).with_graceful_shutdown(stop).await
    }
}

async fn index() -> Html<&'static str> {
    Html(
        "<!doctype html><title>offline-ksk</title><h1>offline-ksk</h1><ul><li><a href=\"/metrics\">/metrics</a> for Prometheus\
         <li><a href=\"/healthz\">/healthz</a> alive<li><a href=\"/readyz\">/readyz</a> a bundle is in force for every zone</ul>",
    )
}

async fn scrape(State(endpoint): State<Endpoint>) -> Response {
    (endpoint.refresh)(&endpoint.metrics);
    match endpoint.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be encoded");
            (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded, see the log\n").into_response()
        }
    }
}

async fn ready(State(endpoint): State<Endpoint>) -> Response {
    let reasons = (endpoint.not_ready)();
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connect");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        answer
    }

    #[tokio::test]
    async fn shows_metrics_health_and_readiness() {
        let metrics = Metrics::new().expect("families register");
        let ready = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ready);
        let endpoint = Endpoint {
            metrics,
            refresh: Arc::new(|m| m.clock_time_seconds.set(42)),
            not_ready: Arc::new(move || {
                if seen.load(Ordering::SeqCst) {
                    vec![]
                } else {
                    vec!["example.: no bundle is in force".to_owned()]
                }
            }),
        };
        let server = Server::bind("127.0.0.1:0".parse().expect("an address"), endpoint).await.expect("bind");
        let address = server.address();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        let answer = get(address, "/metrics").await;
        assert!(answer.contains("offlineksk_clock_time_seconds 42\n"), "{answer}");
        assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
        assert!(answer.contains("\nprocess_"), "{answer}");
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let answer = get(address, "/readyz").await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.ends_with("example.: no bundle is in force\n"),
            "{answer}"
        );
        ready.store(true, Ordering::SeqCst);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/nothing").await.starts_with("HTTP/1.1 404"));
        stop.send(()).expect("still running");
        task.await.expect("no panic").expect("ends well");
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = taken.local_addr().expect("an address");
        let endpoint = Endpoint {
            metrics: Metrics::new().expect("families register"),
            refresh: Arc::new(|_| ()),
            not_ready: Arc::new(Vec::new),
        };
        let error = Server::bind(address, endpoint).await.err().expect("the address is taken");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
