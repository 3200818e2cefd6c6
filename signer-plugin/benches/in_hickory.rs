//! hickory's own server on one UDP socket, for `scripts/serve-bench`: what [`SignerHandler`] costs there beside a handler that does nothing but
//! answer. `in_hickory CONFIG ADDRESS:PORT signer|minimal` serves until it is killed, `in_hickory --where` prints the path of the program.
//!
//! The minimal handler gives the same to each query: an A record and its signature, which it has ready, with the name that was asked.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::{Edns, MessageType, Metadata};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use keystore::config::Config;
use offline_ksk_signer::border::SignerHandler;
use offline_ksk_signer::runtime::Signer;
use tokio::net::UdpSocket;

const TTL: u32 = 3600;
/// RDATA of an RRSIG record: the fields in front of the signer's name, that name, and a signature by P-256.
const SIGNATURE: [&[u8]; 3] = [
    &[0, 1, 13, 3, 0, 0, 14, 16, 0x6b, 0x5e, 0, 0, 0x6b, 0x40, 0, 0, 0x12, 0x34],
    b"\x04nsec\x07example\0",
    &[7; 64],
];

/// Answers each query alike.
struct Minimal;

#[async_trait]
impl RequestHandler for Minimal {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let mut metadata =
            Metadata::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
        metadata.authoritative = true;
        let name = request.queries.queries().first().expect("a question").original().name();
        let record = |rtype: u16, rdata: Vec<u8>| {
            let data = RData::Unknown { code: RecordType::from(rtype), rdata: NULL::with(rdata) };
            Record::from_rdata(name.clone(), TTL, data)
        };
        let answers = [record(1, vec![192, 0, 2, 1]), record(46, SIGNATURE.concat())];
        let mut edns = Edns::new();
        edns.set_max_payload(1232).set_dnssec_ok(true);
        let none = std::iter::empty;
        let message = MessageResponseBuilder::new(&request.queries, Some(&edns)).build(
            metadata,
            answers.iter(),
            none(),
            none(),
            none(),
        );
        response_handle.send_response(message).await.expect("it is sent")
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [word] if word == "--where" => println!("{}", std::env::current_exe().expect("a path").display()),
        [config, address, handler] => serve(Path::new(config), address, handler),
        _ => {}
    }
}

#[tokio::main]
async fn serve(config: &Path, address: &str, handler: &str) {
    let socket = UdpSocket::bind(address).await.expect("a socket");
    if handler == "minimal" {
        return run(Minimal, socket).await;
    }
    let config = Config::load(config).expect("a configuration");
    let metrics = metrics::Metrics::new().expect("families");
    let signer = Signer::start(&config, &metrics, Arc::new(keystore::clock::now)).expect("threads");
    run(SignerHandler::alone(signer.hosted()), socket).await;
}

async fn run(handler: impl RequestHandler, socket: UdpSocket) {
    let mut server = hickory_server::Server::new(handler);
    server.register_socket(socket);
    server.block_until_done().await.expect("it goes on");
}
