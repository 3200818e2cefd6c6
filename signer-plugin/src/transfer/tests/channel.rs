//! Transfers over TLS: who may have them, what those are told who may not, and padding.

use keystore::config::tls::{ClientTls, KeyPin};

use super::*;
use crate::transfer::TlsPeer;

/// A query for `example.` with the option Padding in OPT.
pub(super) fn padded(rtype: Rtype) -> Vec<u8> {
    let mut query = Query::of(rtype).unsigned();
    query.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 12, 0, 0]);
    query[11] += 1;
    query
}

fn site(tls: ClientTls) -> Site {
    let site = Site::serving(version(300, 1, None));
    let rule = AllowTransfer { address: Network::parse("192.0.2.0/24"), key: None, tls: Some(tls) };
    site.zone.transfers.set(TransferSettings::new(TransferKeys::new(site.keys.clone()), vec![rule]));
    site
}

#[test]
fn a_client_whose_connection_is_not_what_is_wanted_is_refused_and_told_why() {
    let any = ClientTls::default;
    let pinned = || ClientTls { pins: vec![KeyPin::of_key_info(b"key")], ..ClientTls::default() };
    let of_authority = || ClientTls { authority: Some("/missing".into()), ..ClientTls::default() };
    let [fit, unfit] = [true, false].map(TlsPeer::without_certificate);
    for (wanted, peer, why) in [
        (any(), None, Some("the transfer needs TLS")),
        (any(), Some(&unfit), Some("TLS 1.3 and the protocol dot")),
        (any(), Some(&fit), None),
        (pinned(), None, Some("the transfer needs TLS")),
        (pinned(), Some(&unfit), Some("TLS 1.3 and the protocol dot")),
        (pinned(), Some(&fit), Some("needs a client certificate")),
        (of_authority(), Some(&fit), Some("needs a client certificate")),
    ] {
        let site = site(wanted.clone());
        for rtype in [Rtype::AXFR, Rtype::IXFR] {
            let serial = (rtype == Rtype::IXFR).then_some(1);
            let query = Query { edns: Some(1232), serial, ..Query::of(rtype) }.unsigned();
            let (reaction, out) = site.react_over(peer, &query, CLIENT, Transport::Stream);
            match (why, reaction) {
                (None, Reaction::Stream(_)) => {}
                (Some(why), Reaction::Answered(_)) => {
                    assert_eq!(out[3] & 15, 5, "REFUSED");
                    let said = String::from_utf8_lossy(&out).into_owned();
                    assert!(said.contains(why), "{wanted:?} {peer:?}: {said}");
                }
                _ => panic!("{wanted:?} {peer:?}"),
            }
            // Without OPT there is no place for the reason.
            let (_, out) = site.react_over(
                peer,
                &Query { edns: None, serial, ..Query::of(rtype) }.unsigned(),
                CLIENT,
                Transport::Stream,
            );
            assert!(why.is_none() || out.len() < 64, "{out:?}");
        }
        // A client elsewhere is not told what others need.
        let query = Query { edns: Some(1232), ..Query::of(Rtype::AXFR) }.unsigned();
        let (_, out) = site.react_over(Some(&fit), &query, "203.0.113.1:53", Transport::Stream);
        assert_eq!((out[3] & 15, out.len() < 64), (5, true));
    }
}

#[test]
fn transfers_over_tls_are_padded_for_clients_that_pad_and_others_are_not() {
    let site = site(ClientTls::default());
    let fit = TlsPeer::without_certificate(true);
    for (query, is_padded) in [(padded(Rtype::AXFR), true), (Query::of(Rtype::AXFR).unsigned(), false)] {
        let (Reaction::Stream(outgoing), _) = site.react_over(Some(&fit), &query, CLIENT, Transport::Stream)
        else {
            panic!("a transfer");
        };
        let messages = messages(*outgoing);
        assert!(messages.len() > 1, "{}", messages.len());
        let all = messages.iter().all(|message| message.len().is_multiple_of(468) && message.len() <= 0x3fff);
        assert_eq!(all, is_padded);
        let records = record_count(&messages);
        assert_eq!(records, of_zone(site.signed().as_ref().expect("a version")).len());
    }
    // So are answers without records.
    let unfit = TlsPeer::without_certificate(false);
    let (_, out) = site.react_over(Some(&unfit), &padded(Rtype::AXFR), CLIENT, Transport::Stream);
    assert_eq!((out.len(), out[3] & 15), (468, 5));
    // In clear nobody is told anything by the length that the content does not tell.
    let site = Site::serving(version(300, 1, None));
    let rule = AllowTransfer { address: Network::parse("192.0.2.0/24"), key: None, tls: None };
    site.zone.transfers.set(TransferSettings::new(TransferKeys::default(), vec![rule]));
    let messages = site.ask(&padded(Rtype::AXFR), Transport::Stream);
    assert!(messages.iter().any(|message| !message.len().is_multiple_of(468)));
}

/// The number of records in the answer sections, by the headers.
fn record_count(messages: &[Vec<u8>]) -> usize {
    messages.iter().map(|message| usize::from(u16::from_be_bytes([message[6], message[7]]))).sum()
}
