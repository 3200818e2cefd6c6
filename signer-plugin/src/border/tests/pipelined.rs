//! Many queries on one connection, and queries that come in pieces.

use super::*;

/// Queries of one connection behind their lengths: names that are ours, names of the inner handler, and answers from small to large.
fn queries(count: u16) -> Vec<Vec<u8>> {
    (0..count)
        .map(|id| {
            let name = match id % 5 {
                0 => "many.example",
                1 => "elsewhere.test",
                2 => "nx.example",
                _ => "a.example",
            };
            let mut query = question(name, 1, Some((1232, true)));
            query[..2].copy_from_slice(&id.to_be_bytes());
            query
        })
        .collect()
}

fn framed(queries: &[Vec<u8>]) -> Vec<u8> {
    queries.iter().flat_map(|query| [&(query.len() as u16).to_be_bytes()[..], query].concat()).collect()
}

async fn read_message(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut octets = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut octets).await.unwrap();
    octets
}

#[tokio::test]
async fn queries_sent_without_waiting_are_answered_in_order_however_they_are_cut() {
    let (server, address) = standard();
    let queries = queries(700);
    let octets = framed(&queries);
    // Whole, in pieces of any length, and octet by octet around the border of two queries.
    for piece in [octets.len(), 4093, 517, 31] {
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let octets = octets.clone();
        // Some megabytes of answers: the client reads while it writes, and the system takes only part of the answers at once.
        let write = tokio::spawn(async move {
            for piece in octets.chunks(piece) {
                writer.write_all(piece).await.unwrap();
            }
            // No more queries will come: those that have come are answered.
            writer.shutdown().await.unwrap();
        });
        for query in &queries {
            let answer = read_message(&mut reader).await;
            assert_eq!(answer[..2], query[..2], "pieces of {piece}");
            let (end, _) = dissect(query);
            assert_eq!(answer[12..end], query[12..end]);
            let is_of_inner_handler = query[12..].starts_with(b"\x09elsewhere");
            assert_eq!(answer[3] & 15 == 5, is_of_inner_handler, "{answer:?}");
        }
        assert_eq!(reader.read(&mut [0]).await.unwrap(), 0, "closed behind the last answer");
        write.await.unwrap();
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_query_that_comes_octet_by_octet_ends_its_connection_and_no_answer_before_it_is_lost() {
    let limits = TcpLimits { idle_timeout: Duration::from_millis(300), ..TcpLimits::new(10) };
    let zones = Hosted::new([Scripted::zone("example", all_kinds)], SharedSettings::default());
    let (server, address) = start(zones, Catalog::new(), limits);
    let query = question("a.example", 1, None);
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let drip = tokio::spawn(async move {
        writer.write_all(&framed(std::slice::from_ref(&query))).await.unwrap();
        // Each octet well within the idle time, the whole query far beyond it.
        let slow = [&4000u16.to_be_bytes()[..], &vec![1; 4000]].concat();
        for octet in slow {
            if writer.write_all(&[octet]).await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    });
    assert_eq!(MessageParts::read(&read_message(&mut reader).await).unwrap().answers.len(), 3);
    assert_eq!(reader.read(&mut [0]).await.unwrap_or(0), 0, "closed");
    assert!(drip.await.unwrap(), "before the query was whole");
    server.shutdown().await;
}
