//! Transfers of one version at the same time, each with its own key, OPT and form of the query.

use super::channel::padded;
use super::*;
use crate::transfer::TlsPeer;

#[test]
fn transfers_that_share_messages_are_those_of_clients_alone() {
    let signed = version(1500, 7, None);
    let mut site = Site::serving(Arc::clone(&signed));
    let label = "k".repeat(60);
    site.keys.push(tsig_key(&[&label[..]; 4].join("."), TsigAlgorithm::HmacSha512));
    let rules = site.keys.iter().map(|key| Some(key.name.clone())).chain([None]);
    let address = Network::parse("192.0.2.0/24");
    let allow = rules.map(|key| AllowTransfer { address, key, tls: None }).collect();
    site.zone.transfers.set(TransferSettings::new(TransferKeys::new(site.keys.clone()), allow));
    let peer = TlsPeer::without_certificate(true);
    let with_edns = |query: Query| Query { edns: Some(1232), expire: true, ..query };
    let mut queries: Vec<(Vec<u8>, Option<Sequence>)> = vec![
        (Query::of(Rtype::AXFR).unsigned(), None),
        (with_edns(Query::of(Rtype::AXFR)).unsigned(), None),
        (padded(Rtype::AXFR), None),
        // A serial that never was.
        (Query::ixfr(3).unsigned(), None),
    ];
    for key in &site.keys {
        let (query, sequence) = with_edns(Query::of(Rtype::AXFR)).signed(key, NOW.secs());
        queries.push((query, Some(sequence)));
    }
    let begin = |query: &[u8]| match site.react_over(Some(&peer), query, CLIENT, Transport::Stream).0 {
        Reaction::Stream(outgoing) => *outgoing,
        _ => panic!("a transfer"),
    };
    let alone: Vec<_> = queries.iter().map(|(query, _)| messages(begin(query))).collect();
    let mut together: Vec<_> = queries.iter().map(|(query, _)| (begin(query), Vec::new())).collect();
    together.iter_mut().for_each(|(outgoing, _)| outgoing.share());
    for _ in 0..100 {
        for (outgoing, messages) in &mut together {
            let mut out = Vec::new();
            if outgoing.next(&mut out).expect("short records") {
                messages.push(out);
            }
        }
    }
    let kept = site.zone.transfers.shared.kept();
    assert!(kept.iter().any(|count| *count > 10), "{kept:?}");
    let expected = of_zone(&signed);
    for (((_, messages), alone), (_, sequence)) in together.into_iter().zip(alone).zip(queries) {
        assert!(messages == alone && messages.len() > 20, "{}", messages.len());
        if let Some(sequence) = sequence {
            assert!(verified(&messages, sequence) == expected);
        }
    }
}
