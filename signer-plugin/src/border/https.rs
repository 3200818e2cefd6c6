//! DNS over HTTPS (RFC 8484) by HTTP/2, on a connection whose TLS handshake is done: GET and POST at [`PATH`].
//!
//! What a client can take up is bounded: the queries of a connection that are under way, those that get no answer, the octets of a request,
//! the time that a request takes to come in and an answer to be taken, and the octets of answers that wait for their clients over all
//! connections.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use hickory_server::server::RequestHandler;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use keystore::dns::Rtype;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::front::FrontEnd;
use super::limits::{CLOSING, ConnectionPermit, HANDSHAKE, MAX_QUERY, MOST_IN_VAIN, QUERY_TIME};
use super::single::answer_one;
use crate::reply::MessageParts;

/// The one path that is served; the URI template of clients is `https://NAME/dns-query{?dns}`.
const PATH: &str = "/dns-query";
const MEDIA_TYPE: &str = "application/dns-message";
/// Requests of a connection that are under way at once.
const MOST_REQUESTS: u32 = 100;
/// Octets of the header fields of a request: those of the largest query in a GET request (5462), and as much for the others.
const MOST_HEADERS: u32 = 12_288;
/// Octets of the bodies of requests that a connection may have under way.
const WINDOW: u32 = 65_535;
/// Octets of an answer that the library holds when all of it was handed over: what waits is counted until then.
const SEND_BUFFER: usize = 4096;

/// Serves requests on `stream` until the client ends the connection, leaves it idle, or `shutdown` is set.
pub(super) async fn serve<H: RequestHandler>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: SocketAddr,
    permit: ConnectionPermit,
    mut shutdown: watch::Receiver<bool>,
    front: FrontEnd<H>,
) {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MOST_REQUESTS)
        .max_header_list_size(MOST_HEADERS)
        .initial_window_size(MAX_QUERY as u32)
        .initial_connection_window_size(WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    let connected = tokio::select! {
        connected = timeout(HANDSHAKE, builder.handshake::<_, Bytes>(stream)) => connected,
        _ = shutdown.wait_for(|stop| *stop) => return,
    };
    let Ok(Ok(mut connection)) = connected else { return };
    let permit = Arc::new(permit);
    let mut requests = JoinSet::new();
    let mut in_vain = 0;
    loop {
        tokio::select! {
            accepted = timeout(permit.idle_timeout(), connection.accept()) => match accepted {
                Ok(Some(Ok((request, respond)))) => {
                    requests.spawn(answer(request, respond, client, Arc::clone(&permit), front.clone()));
                }
                Ok(Some(Err(error))) => {
                    tracing::debug!(%client, %error, "a connection of DNS over HTTPS has ended");
                    return;
                }
                Ok(None) => return,
                Err(_) if requests.is_empty() => break,
                // Those under way have deadlines of their own.
                Err(_) => {}
            },
            Some(answered) = requests.join_next() => {
                in_vain += usize::from(!matches!(answered, Ok(true)));
                if in_vain == MOST_IN_VAIN {
                    break;
                }
            }
            _ = shutdown.wait_for(|stop| *stop) => break,
        }
    }
    connection.graceful_shutdown();
    let _ = timeout(CLOSING, poll_fn(|context| connection.poll_closed(context))).await;
}

/// Answers one request; false when the client got no message, or did not take it in time.
async fn answer<H: RequestHandler>(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    client: SocketAddr,
    permit: Arc<ConnectionPermit>,
    front: FrontEnd<H>,
) -> bool {
    let answered = match query(request).await {
        Ok(query) => answer_one(&front, query, client).await.ok_or(StatusCode::BAD_REQUEST),
        Err(status) => Err(status),
    };
    let message = match answered {
        Ok(message) => message,
        Err(status) => {
            let _ = respond.send_response(refusal(status), true);
            return false;
        }
    };
    let Some(_kept) = permit.keep_unsent(message.len()) else {
        respond.send_reset(Reason::ENHANCE_YOUR_CALM);
        return false;
    };
    let Ok(mut stream) = respond.send_response(head(&message), false) else { return false };
    let mut message = Bytes::from(message);
    let sent = timeout(permit.idle_timeout(), async {
        while !message.is_empty() {
            stream.reserve_capacity(message.len());
            let Some(Ok(room)) = poll_fn(|context| stream.poll_capacity(context)).await else { return };
            let part = message.split_to(room.min(message.len()));
            if stream.send_data(part, message.is_empty()).is_err() {
                return;
            }
        }
    });
    let is_sent = sent.await.is_ok();
    if !is_sent {
        stream.send_reset(Reason::CANCEL);
    }
    is_sent
}

/// The query of a request; otherwise the status that it is refused with.
async fn query(request: Request<RecvStream>) -> Result<Vec<u8>, StatusCode> {
    let (head, mut body) = request.into_parts();
    if head.uri.path() != PATH {
        return Err(StatusCode::NOT_FOUND);
    }
    match head.method {
        Method::GET => {
            let parameters = head.uri.query().unwrap_or_default();
            let encoded = parameters.split('&').find_map(|parameter| parameter.strip_prefix("dns="));
            let encoded = encoded.ok_or(StatusCode::BAD_REQUEST)?;
            let query = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)?;
            if query.len() > MAX_QUERY { Err(StatusCode::URI_TOO_LONG) } else { Ok(query) }
        }
        Method::POST => {
            let is_message =
                |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(MEDIA_TYPE.as_bytes());
            if !head.headers.get(CONTENT_TYPE).is_some_and(is_message) {
                return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            }
            let read = timeout(QUERY_TIME, read_body(&mut body)).await;
            read.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT))
        }
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

async fn read_body(body: &mut RecvStream) -> Result<Vec<u8>, StatusCode> {
    let mut octets = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.map_err(|_| StatusCode::BAD_REQUEST)?;
        if octets.len() + part.len() > MAX_QUERY {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        octets.extend_from_slice(&part);
        let _ = body.flow_control().release_capacity(part.len());
    }
    Ok(octets)
}

/// The head of a response with a message.
fn head(message: &[u8]) -> Response<()> {
    let mut response = Response::new(());
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, http::HeaderValue::from_static(MEDIA_TYPE));
    fields.insert(CONTENT_LENGTH, message.len().into());
    if let Ok(age) = http::HeaderValue::from_str(&format!("max-age={}", freshness(message))) {
        fields.insert(CACHE_CONTROL, age);
    }
    response
}

fn refusal(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_LENGTH, 0.into());
    if status == StatusCode::METHOD_NOT_ALLOWED {
        fields.insert(ALLOW, http::HeaderValue::from_static("GET, POST"));
    }
    response
}

/// Seconds for which an HTTP cache may keep an answer (RFC 8484 section 5.1): the smallest TTL of the answer section, or how long its denial
/// holds (RFC 2308 section 5); 0 for errors and referrals.
fn freshness(message: &[u8]) -> u32 {
    const NXDOMAIN: u16 = 3;
    let Ok(reply) = MessageParts::read(message) else { return 0 };
    if !matches!(reply.rcode(), 0 | NXDOMAIN) {
        return 0;
    }
    let denial = reply.authorities.iter().filter(|rr| rr.rtype == Rtype::SOA).map(|rr| {
        let minimum = rr.rdata.last_chunk().map_or(0, |minimum| u32::from_be_bytes(*minimum));
        rr.ttl.min(minimum)
    });
    reply.answers.iter().map(|rr| rr.ttl).chain(denial).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_by_caches_as_long_as_their_shortest_ttl_and_errors_not_at_all() {
        // The question a. A; records of the root: type, TTL, RDATA.
        let message = |rcode: u8, answers: &[(u16, u32, &[u8])], authorities: &[(u16, u32, &[u8])]| {
            let counts = [1, answers.len() as u8, authorities.len() as u8];
            let mut octets = vec![0, 0, 0x84, rcode, 0, counts[0], 0, counts[1], 0, counts[2], 0, 0];
            octets.extend_from_slice(b"\x01a\0\0\x01\0\x01");
            for (rtype, ttl, rdata) in answers.iter().chain(authorities) {
                octets.push(0);
                octets.extend_from_slice(&rtype.to_be_bytes());
                octets.extend_from_slice(&[0, 1]);
                octets.extend_from_slice(&ttl.to_be_bytes());
                octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
                octets.extend_from_slice(rdata);
            }
            octets
        };
        let soa = [&[0, 0][..], &[0; 16], &60_u32.to_be_bytes()].concat();
        let address = |ttl| (1, ttl, &[192, 0, 2, 1][..]);
        for (octets, seconds) in [
            (message(0, &[address(300), address(200)], &[]), 200),
            (message(0, &[address(300)], &[(6, 20, &soa)]), 20),
            (message(3, &[], &[(6, 300, &soa)]), 60),
            (message(3, &[], &[(6, 30, &soa)]), 30),
            (message(0, &[], &[(2, 300, &[0])]), 0),
            (message(2, &[], &[]), 0),
            (message(5, &[address(300)], &[]), 0),
            (vec![0; 11], 0),
        ] {
            assert_eq!(freshness(&octets), seconds, "{octets:?}");
        }
    }
}
