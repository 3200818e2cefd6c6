//! Transfers of one version that run beside each other.

use std::sync::atomic::{AtomicUsize, Ordering};

use keystore::dns::Rtype;

use super::*;
use crate::testing::{NOW, name};
use crate::transfer::shared::{KEPT, MOST, SharedMessages};
use crate::transfer::version::PlainVersion;

/// A zone of some 100 messages.
fn version() -> TransferVersion {
    let origin = name("example").as_wire().to_vec();
    let soa = (origin, 3600, [&[0; 2][..], &[7; 20]].concat());
    let rdata = [&[250][..], &[b'x'; 250]].concat();
    let owner = |n| name(&format!("host{n}.example")).as_wire().to_vec();
    let records = (0..6000).map(|n| (owner(n), Rtype::TXT, 60, rdata.clone()));
    TransferVersion::Plain(Arc::new(PlainVersion::new(soa, RecordList::new(records)).expect("a version")))
}

fn heading(id: u16, question: &str, has_opt: bool) -> Heading {
    let question = [name(question).as_wire(), &[0, 252, 0, 1]].concat().into();
    let opt = OptReply { dnssec_ok: true, expire: None, prohibited: None, is_padded: false };
    Heading { id, flags: 0x8400, question, opt: has_opt.then_some(opt) }
}

/// A transfer of `example`, or of a name that is spelled like that; the second value has all its messages.
struct Client(Messages, Vec<Vec<u8>>);

impl Client {
    fn new(version: &TransferVersion, heading: Heading, shared: &SharedMessages<Place>) -> Self {
        let mut messages = Messages::new(heading, Content::Zone(version.clone()), None);
        messages.share(shared);
        Self(messages, Vec::new())
    }

    /// Takes so many messages, if there are so many.
    fn take(&mut self, count: usize) {
        for _ in 0..count {
            let mut out = b"what is sent before".to_vec();
            let start = out.len();
            if self.0.next(NOW, &mut out).expect("short records") {
                self.1.push(out.split_off(start));
            }
            assert_eq!(out, b"what is sent before");
        }
    }

    /// True when all that it has was composed for others.
    fn has_composed_nothing(&self) -> bool {
        !self.1.is_empty() && self.0.body.capacity() == 0
    }
}

#[test]
fn transfers_side_by_side_compose_each_message_once_and_send_what_one_alone_sends() {
    let (version, shared) = (version(), SharedMessages::default());
    let alone = |heading: Heading| {
        let mut client = Client::new(&version, heading, &SharedMessages::default());
        client.take(1000);
        client.1
    };
    let headings = [
        heading(1, "example", false),
        heading(2, "example", true),
        heading(3, "EXAMPLE", true),
        heading(4, "example", false),
    ];
    let mut clients = headings.clone().map(|heading| Client::new(&version, heading, &shared));
    for _ in 0..200 {
        clients.iter_mut().for_each(|client| client.take(1));
    }
    for (client, heading) in clients.iter().zip(headings) {
        assert!(client.1 == alone(heading.clone()), "{heading:?}");
        assert!(client.1.len() > 90, "{}", client.1.len());
    }
    // The first composes for the fourth. The second has OPT and needs no room for it that others lack; the third spells the name in its own way.
    assert_eq!(clients.each_ref().map(Client::has_composed_nothing), [false, true, false, true]);
}

#[test]
fn a_client_behind_finds_what_is_kept_and_one_further_behind_spoils_nothing() {
    let version = version();
    for (behind, composes) in [(1, false), (31, false), (33, false), (63, false), (64, false), (65, true)] {
        let shared = SharedMessages::default();
        let [mut front, mut follower] =
            [1, 2].map(|id| Client::new(&version, heading(id, "example", false), &shared));
        front.take(behind);
        for _ in 0..20 {
            follower.take(1);
            front.take(1);
        }
        assert_eq!(follower.has_composed_nothing(), !composes, "{behind}");
        assert_eq!(shared.kept(), [(behind + 20).min(KEPT)], "{behind}");
        // One that begins now is too late where the beginning is not kept.
        let _late = Client::new(&version, heading(3, "example", false), &shared);
        assert_eq!(shared.kept().len(), if behind + 20 > KEPT { 2 } else { 1 }, "{behind}");
    }
}

#[test]
fn what_is_shared_is_bounded_for_each_version_and_for_all_and_is_freed_for_one_alone() {
    let total: &'static AtomicUsize = Box::leak(Box::default());
    let shared = SharedMessages::counted_by(total);
    let versions: Vec<_> = std::iter::repeat_with(version).take(10).collect();
    let client = |version: &TransferVersion| Client::new(version, heading(1, "example", false), &shared);
    let mut alone = client(&versions[0]);
    alone.take(10);
    assert_eq!((shared.kept(), total.load(Ordering::Relaxed)), (vec![0], 0));
    drop(alone);
    let mut pairs: Vec<_> = versions.iter().map(|version| [client(version), client(version)]).collect();
    pairs.iter_mut().for_each(|[first, _]| first.take(70));
    assert_eq!(shared.kept(), [vec![KEPT; MOST / KEPT], vec![0; 10 - MOST / KEPT]].concat());
    assert_eq!(total.load(Ordering::Relaxed), MOST);
    // What one gives back is others'.
    let [first, mut second] = pairs.remove(0);
    drop(first);
    second.take(1);
    assert_eq!((shared.kept()[0], total.load(Ordering::Relaxed)), (0, MOST - KEPT));
    pairs[8][0].take(5);
    assert_eq!(total.load(Ordering::Relaxed), MOST - KEPT + 5);
    drop((second, pairs));
    assert_eq!((shared.kept(), total.load(Ordering::Relaxed)), (Vec::new(), 0));
}
