//! Requests to another server over HTTP, with or without TLS: as much of a client as the API of Alertmanager needs.
//!
//! It speaks HTTP/1.0 (RFC 1945), so that the server sends the body as it is and closes; every wait has an end, and the answer a limit.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use openssl::ssl::{SslConnector, SslMethod};

/// How long a connection, or one read or write, may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is taken, in octets.
const MAX_ANSWER: u64 = 16 << 20;

/// A server, by its URL.
#[derive(Debug, Clone)]
pub struct HttpServer {
    tls: bool,
    host: String,
    port: u16,
    /// What comes before every path, without a slash at its end.
    prefix: String,
    /// Name and password of basic authentication.
    pub login: Option<(String, String)>,
    /// Certificates (PEM) that the server's must lead to; by default those of the system.
    pub ca: Option<PathBuf>,
}

impl HttpServer {
    /// Reads `http://HOST[:PORT][/PREFIX]` or the same with `https`.
    pub fn parse(url: &str) -> Result<Self> {
        let (tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => bail!("{url}: expected a URL that begins with http:// or https://"),
        };
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let odd = |c: char| c.is_whitespace() || c.is_control() || "?#@".contains(c);
        ensure!(!rest.contains(odd), "{url}: expected a host, a port and a path, and nothing else");
        let default = if tls { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            // A colon inside of brackets is part of an IPv6 address.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().with_context(|| format!("{url}: {port} is no port"))?)
            }
            _ => (authority, default),
        };
        ensure!(!host.is_empty(), "{url}: the host is missing");
        let prefix = format!("/{}", prefix).trim_end_matches('/').to_owned();
        Ok(Self { tls, host: host.to_owned(), port, prefix, login: None, ca: None })
    }

    /// Gets a path. The answer's body; any status but 2xx is an error with what the server says.
    pub fn get(&self, path: &str) -> Result<String> {
        self.send("GET", path, None)
    }

    /// Posts JSON to a path.
    pub fn post(&self, path: &str, json: &str) -> Result<String> {
        self.send("POST", path, Some(json))
    }

    fn send(&self, method: &str, path: &str, body: Option<&str>) -> Result<String> {
        let place = || format!("{}:{}", self.host, self.port);
        let mut request = format!(
            "{method} {}{path} HTTP/1.0\r\nHost: {}\r\nUser-Agent: offline-ksk/{}\r\nAccept: */*\r\n",
            self.prefix,
            place(),
            env!("CARGO_PKG_VERSION")
        );
        if let Some((user, password)) = &self.login {
            let login = openssl::base64::encode_block(format!("{user}:{password}").as_bytes());
            request.push_str(&format!("Authorization: Basic {login}\r\n"));
        }
        if let Some(body) = body {
            request
                .push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body.unwrap_or_default());
        let answer = self.exchange(request.as_bytes()).with_context(place)?;
        let (status, body) =
            parse(&answer).ok_or_else(|| anyhow!("{}: what it answers is no HTTP", place()))?;
        ensure!((200..300).contains(&status), "{}{path}: status {status}: {}", place(), body.trim());
        Ok(body)
    }

    fn exchange(&self, request: &[u8]) -> Result<Vec<u8>> {
        let bare = self.host.trim_matches(['[', ']']);
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in (bare, self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(TIMEOUT))?;
                    stream.set_write_timeout(Some(TIMEOUT))?;
                    if !self.tls {
                        return Ok(talk(stream, request)?);
                    }
                    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
                    if let Some(ca) = &self.ca {
                        connector.set_ca_file(ca).with_context(|| ca.display().to_string())?;
                    }
                    let stream =
                        connector.build().connect(bare, stream).map_err(|e| anyhow!("no TLS: {e}"))?;
                    return Ok(talk(stream, request)?);
                }
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }
}

fn talk(mut stream: impl Read + Write, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Status and body of an answer.
pub fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_or_refused_with_what_was_expected() {
        for (url, expected) in [
            ("http://localhost:9093", Some((false, "localhost", 9093, ""))),
            ("http://localhost:9093/", Some((false, "localhost", 9093, ""))),
            ("https://alerts.example/am/", Some((true, "alerts.example", 443, "/am"))),
            ("http://[::1]", Some((false, "[::1]", 80, ""))),
            ("http://[::1]:81/x/y", Some((false, "[::1]", 81, "/x/y"))),
            ("localhost:9093", None),
            ("ftp://x", None),
            ("http://", None),
            ("http://x:y", None),
            ("http://x/\r\nHost: y", None),
            ("http://user@x", None),
        ] {
            let found = HttpServer::parse(url).ok();
            let found = found.as_ref().map(|s| (s.tls, s.host.as_str(), s.port, s.prefix.as_str()));
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn an_answer_is_read_or_is_none() {
        for (answer, expected) in [
            ("HTTP/1.0 200 OK\r\nA: b\r\n\r\n[]", Some((200, "[]"))),
            ("HTTP/1.1 400 Bad Request\r\n\r\n", Some((400, ""))),
            ("HTTP/1.0 200 OK\r\n", None),
            ("\x15\x03\x01\r\n\r\n", None),
            ("", None),
        ] {
            let found = parse(answer.as_bytes());
            assert_eq!(found, expected.map(|(status, body)| (status, body.to_owned())), "{answer:?}");
        }
    }
}
