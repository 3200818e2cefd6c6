//! Datagrams in batches: many received and many sent by one system call (recvmmsg(2), sendmmsg(2)), one at a time where the kernel or a
//! filter refuses these calls.
//!
//! The headers of a batch are used again for the next one, and the kernel shortens what it says of addresses and control messages in
//! them. That does no harm as long as all datagrams of a socket have addresses of one family and the same control message; so a socket is
//! for IPv4 or IPv6, never for both.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6,
    SockaddrLike, recvmmsg, recvmsg, sendmmsg, sendmsg,
};

use super::limits::MAX_QUERY;

/// Datagrams of one system call. More are seldom there at once, and are received by the next call.
pub(super) const BATCH: usize = 16;
/// Octets between the buffers of two datagrams: not a power of two, so that their first octets do not share places in the cache.
const ROOM: usize = MAX_QUERY + 64;

/// IPv4 or IPv6.
pub(super) trait Family: Copy + Send + 'static {
    type Address: SockaddrLike + Copy + Into<SocketAddr> + Send;
    /// The address of ours that a datagram was sent to.
    type Local: Copy + PartialEq + Send;
    /// What the kernel is told of the source address of an answer.
    type Source;

    /// Room for the control message that says this, and for nothing else.
    fn control_room() -> Vec<u8>;
    fn local(message: &ControlMessageOwned) -> Option<Self::Local>;
    fn source(local: Self::Local) -> Self::Source;
    fn control(source: &Self::Source) -> ControlMessage<'_>;
    fn path(client: Self::Address, local: Option<Self::Local>) -> Path;
}

#[derive(Debug, Clone, Copy)]
pub(super) struct V4;

#[derive(Debug, Clone, Copy)]
pub(super) struct V6;

impl Family for V4 {
    type Address = SockaddrIn;
    type Local = Ipv4Addr;
    type Source = in_pktinfo;

    fn control_room() -> Vec<u8> {
        nix::cmsg_space!(in_pktinfo)
    }

    fn local(message: &ControlMessageOwned) -> Option<Ipv4Addr> {
        match message {
            // The address to answer from: that of the datagram, or one of the interface where that was a broadcast.
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
            }
            _ => None,
        }
    }

    fn source(local: Ipv4Addr) -> in_pktinfo {
        let ipi_spec_dst = in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
        // Routing decides by which interface it leaves.
        in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr: in_addr { s_addr: 0 } }
    }

    fn control(source: &in_pktinfo) -> ControlMessage<'_> {
        ControlMessage::Ipv4PacketInfo(source)
    }

    fn path(client: SockaddrIn, local: Option<Ipv4Addr>) -> Path {
        Path::V4(client, local)
    }
}

impl Family for V6 {
    type Address = SockaddrIn6;
    /// With the interface, which counts for link-local addresses.
    type Local = (Ipv6Addr, u32);
    type Source = in6_pktinfo;

    fn control_room() -> Vec<u8> {
        nix::cmsg_space!(in6_pktinfo)
    }

    fn local(message: &ControlMessageOwned) -> Option<(Ipv6Addr, u32)> {
        match message {
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                // Routing decides by which interface an answer leaves, but for an address that each interface may have.
                let interface = if address.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
                Some((address, interface))
            }
            _ => None,
        }
    }

    fn source((address, interface): (Ipv6Addr, u32)) -> in6_pktinfo {
        in6_pktinfo { ipi6_addr: in6_addr { s6_addr: address.octets() }, ipi6_ifindex: interface }
    }

    fn control(source: &in6_pktinfo) -> ControlMessage<'_> {
        ControlMessage::Ipv6PacketInfo(source)
    }

    fn path(client: SockaddrIn6, local: Option<(Ipv6Addr, u32)>) -> Path {
        Path::V6(client, local)
    }
}

/// What is known of a datagram beside its octets.
pub(super) struct Datagram<F: Family> {
    pub len: usize,
    pub client: F::Address,
    /// `None` on a socket with an address of its own, from which answers leave anyway.
    pub local: Option<F::Local>,
    /// It had more octets than there was room for.
    pub is_cut: bool,
}

impl<F: Family> Datagram<F> {
    /// `None` without an address, which a datagram always has.
    fn of(message: &RecvMsg<'_, '_, F::Address>) -> Option<Self> {
        let local = message.cmsgs().ok().and_then(|mut all| all.find_map(|control| F::local(&control)));
        Some(Self {
            len: message.bytes,
            client: message.address?,
            local,
            is_cut: message.flags.contains(MsgFlags::MSG_TRUNC),
        })
    }
}

/// A socket, and the buffers of the datagrams that were received last.
pub(super) struct Datagrams<F: Family> {
    socket: Arc<OwnedFd>,
    /// The socket has a wildcard address, so that each answer says from which of ours it leaves.
    is_wildcard: bool,
    receive_headers: MultiHeaders<F::Address>,
    send_headers: MultiHeaders<F::Address>,
    rooms: Box<[u8]>,
    received: [Option<Datagram<F>>; BATCH],
    /// recvmmsg(2) is refused, sendmmsg(2) is refused.
    one_by_one: OneByOne,
    /// Datagrams in a row that sendmsg(2) took after sendmmsg(2) was refused with EPERM.
    filtered: usize,
}

/// So many in a row are the work of a filter against the call, and not of a firewall that lets some datagrams pass.
const MOST_FILTERED: usize = 16;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct OneByOne {
    receive: bool,
    send: bool,
}

/// What became of datagrams that were to be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Number that the kernel did not take.
    pub failed: usize,
    /// Error of the last of these.
    pub error: Option<Errno>,
    /// The kernel has no sendmmsg(2).
    is_missing: bool,
    /// Number that sendmsg(2) took after sendmmsg(2) was refused with EPERM, since sendmmsg(2) has last taken one.
    filtered: usize,
    /// Number that sendmmsg(2) took.
    taken: usize,
}

impl<F: Family> Datagrams<F> {
    /// On a wildcard address the socket must have `IP_PKTINFO` or `IPV6_RECVPKTINFO` set.
    pub fn new(socket: Arc<OwnedFd>, is_wildcard: bool) -> Self {
        Self {
            socket,
            is_wildcard,
            receive_headers: MultiHeaders::preallocate(BATCH, is_wildcard.then(F::control_room)),
            send_headers: MultiHeaders::preallocate(BATCH, is_wildcard.then(F::control_room)),
            rooms: vec![0; ROOM * BATCH].into_boxed_slice(),
            received: std::array::from_fn(|_| None),
            one_by_one: OneByOne::default(),
            filtered: 0,
        }
    }

    /// The same with new headers, for after a call that has filled them with something else than a datagram (the socket was shut down).
    pub fn reset(&mut self) {
        self.receive_headers = MultiHeaders::preallocate(BATCH, self.is_wildcard.then(F::control_room));
    }

    /// Receives what is there, and waits for the first datagram unless `flags` says otherwise. Gives the number of datagrams.
    pub fn receive(&mut self, flags: MsgFlags) -> nix::Result<usize> {
        if self.one_by_one.receive {
            return self.receive_one(flags);
        }
        let mut rooms = self.rooms.chunks_exact_mut(ROOM);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(room(rooms.next()))]);
        let flags_of_many = flags | MsgFlags::MSG_WAITFORONE;
        let mut count = 0;
        match recvmmsg(
            self.socket.as_raw_fd(),
            &mut self.receive_headers,
            slices.iter_mut(),
            flags_of_many,
            None,
        ) {
            Ok(messages) => {
                for (message, datagram) in messages.zip(&mut self.received) {
                    *datagram = Datagram::of(&message);
                    count += 1;
                }
                Ok(count)
            }
            // A kernel or a filter that does not have the call.
            Err(Errno::ENOSYS | Errno::EPERM) => {
                tracing::info!("recvmmsg is refused; datagrams are received one by one");
                self.one_by_one.receive = true;
                self.receive_one(flags)
            }
            Err(errno) => Err(errno),
        }
    }

    /// As if the kernel refused the calls for many datagrams.
    #[cfg(test)]
    pub fn send_and_receive_one_by_one(&mut self) {
        self.one_by_one = OneByOne { receive: true, send: true };
    }

    fn receive_one(&mut self, flags: MsgFlags) -> nix::Result<usize> {
        let mut slices = [IoSliceMut::new(room(self.rooms.get_mut(..ROOM)))];
        let mut control = self.is_wildcard.then(F::control_room);
        let message =
            recvmsg::<F::Address>(self.socket.as_raw_fd(), &mut slices, control.as_deref_mut(), flags)?;
        self.received[0] = Datagram::of(&message);
        Ok(1)
    }

    /// Octets of datagram `index` of those received last.
    pub fn len(&self, index: usize) -> usize {
        self.received.get(index).and_then(Option::as_ref).map_or(0, |datagram| datagram.len)
    }

    /// Datagram `index` of those received last; `None` where the kernel did not say from where, or to which address of ours it came.
    pub fn get(&self, index: usize) -> Option<(&[u8], &Datagram<F>)> {
        let datagram = self.received.get(index)?.as_ref()?;
        if self.is_wildcard && datagram.local.is_none() {
            return None;
        }
        let octets = self.rooms.get(index * ROOM..)?.get(..datagram.len.min(MAX_QUERY))?;
        Some((octets, datagram))
    }

    /// How an answer to datagram `index` goes back later on.
    pub fn return_path(&self, index: usize) -> Option<ReturnPath> {
        let (_, datagram) = self.get(index)?;
        Some(ReturnPath { socket: Arc::clone(&self.socket), path: F::path(datagram.client, datagram.local) })
    }

    /// Sends `answers[i]` to where datagram `i` came from, for each `i` of `ready`.
    pub fn send(&mut self, ready: &[usize], answers: &[Vec<u8>]) -> Sent {
        let mut sent = Sent::default();
        let mut rest = ready;
        while let Some(first) = rest.first() {
            // One control message goes with all datagrams of a call.
            let local = self.local(*first);
            let count = rest.iter().take_while(|index| self.local(**index) == local).count();
            let (run, behind) = rest.split_at(count);
            rest = behind;
            let run = self.send_from(local, run, answers);
            sent = Sent { failed: sent.failed + run.failed, error: run.error.or(sent.error), ..sent };
            self.filtered = if run.taken > 0 { run.filtered } else { self.filtered + run.filtered };
            if !self.one_by_one.send && (run.is_missing || self.filtered >= MOST_FILTERED) {
                tracing::info!("sendmmsg is refused; datagrams are sent one by one");
                self.one_by_one.send = true;
            }
        }
        sent
    }

    fn local(&self, index: usize) -> Option<F::Local> {
        self.received.get(index)?.as_ref()?.local
    }

    /// Sends datagrams that all leave from `local`.
    fn send_from(&mut self, local: Option<F::Local>, run: &[usize], answers: &[Vec<u8>]) -> Sent {
        let source = local.map(F::source);
        let mut slices: [[IoSlice<'_>; 1]; BATCH] = [[IoSlice::new(&[])]; BATCH];
        let mut clients: [Option<F::Address>; BATCH] = [None; BATCH];
        for ((index, slice), client) in run.iter().zip(&mut slices).zip(&mut clients) {
            *slice = [IoSlice::new(answers.get(*index).map_or(&[], Vec::as_slice))];
            *client = self.received.get(*index).and_then(Option::as_ref).map(|datagram| datagram.client);
        }
        let (slices, clients) = (&slices[..run.len()], &clients[..run.len()]);
        let socket = self.socket.as_raw_fd();
        let headers = &mut self.send_headers;
        let control: Option<ControlMessage<'_>> = source.as_ref().map(F::control);
        let control = control.as_slice();
        let refused = self.one_by_one.send;
        let many = |from: usize| match refused {
            true => Err(Errno::ENOSYS),
            false => {
                sendmmsg(socket, headers, &slices[from..], &clients[from..], control, MsgFlags::MSG_DONTWAIT)
                    .map(Iterator::count)
            }
        };
        let one = |at: usize| {
            sendmsg(socket, &slices[at], control, MsgFlags::MSG_DONTWAIT, clients[at].as_ref()).map(|_| ())
        };
        send_all(run.len(), many, one)
    }
}

/// How an answer goes back: by the socket that the query came by, from the address that it was sent to.
#[derive(Clone)]
pub(super) struct ReturnPath {
    socket: Arc<OwnedFd>,
    path: Path,
}

#[derive(Clone, Copy)]
pub(super) enum Path {
    V4(SockaddrIn, Option<Ipv4Addr>),
    V6(SockaddrIn6, Option<(Ipv6Addr, u32)>),
}

impl ReturnPath {
    pub fn client(&self) -> SocketAddr {
        match self.path {
            Path::V4(client, _) => client.into(),
            Path::V6(client, _) => client.into(),
        }
    }

    pub fn send(&self, answer: &[u8]) {
        let sent = match self.path {
            Path::V4(client, local) => self.send_by::<V4>(client, local, answer),
            Path::V6(client, local) => self.send_by::<V6>(client, local, answer),
        };
        if let Err(errno) = sent {
            tracing::debug!(client = %self.client(), %errno, "an answer could not be sent");
        }
    }

    fn send_by<F: Family>(
        &self,
        client: F::Address,
        local: Option<F::Local>,
        answer: &[u8],
    ) -> nix::Result<usize> {
        let source = local.map(F::source);
        let control = source.as_ref().map(F::control);
        let answer = [IoSlice::new(answer)];
        sendmsg(self.socket.as_raw_fd(), &answer, control.as_slice(), MsgFlags::MSG_DONTWAIT, Some(&client))
    }
}

/// Sends `count` datagrams: `many(i)` sends those from `i` on and says how many the kernel took, `one(i)` sends one. A datagram that is
/// refused keeps none of those behind it from being sent.
fn send_all(
    count: usize,
    mut many: impl FnMut(usize) -> nix::Result<usize>,
    mut one: impl FnMut(usize) -> nix::Result<()>,
) -> Sent {
    let mut sent = Sent::default();
    let mut at = 0;
    while at < count {
        let result = match many(at) {
            // The kernel says of the first that it did not take why in the next call.
            Ok(taken) if taken > 0 => {
                at += taken;
                (sent.taken, sent.filtered) = (sent.taken + taken, 0);
                continue;
            }
            Ok(_) => Err(Errno::EIO),
            Err(Errno::EINTR) => continue,
            // EPERM is the word of a firewall against one datagram, or of a filter against the call.
            Err(Errno::ENOSYS) => {
                sent.is_missing = true;
                one(at)
            }
            Err(Errno::EPERM) => {
                let result = one(at);
                sent.filtered += usize::from(result.is_ok());
                result
            }
            Err(errno) => Err(errno),
        };
        if let Err(errno) = result {
            sent.failed += 1;
            sent.error = Some(errno);
        }
        at += 1;
    }
    sent
}

/// Where a datagram is received to.
fn room(room: Option<&mut [u8]>) -> &mut [u8] {
    room.and_then(|room| room.get_mut(..MAX_QUERY)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says to the calls for many and for one datagram: how many it takes, or an error.
    type Word = Result<usize, Errno>;

    #[test]
    fn a_datagram_that_is_refused_keeps_no_other_from_being_sent() {
        use Errno::{EAGAIN, EINTR, EINVAL, ENETUNREACH, ENOSYS, EPERM};
        let sent = |failed, error, is_missing| Sent { failed, error, is_missing, filtered: 0, taken: 0 };
        let filtered = |filtered| Sent { filtered, ..sent(0, None, false) };
        let all = sent(0, None, false);
        let case =
            |name, words: (&'static [Word], &'static [Word]), expected, taken| (name, words, expected, taken);
        for (name, (many, one), expected, taken) in [
            case("all at once", (&[Ok(3)], &[]), (3, all), 3),
            case("some, then the rest", (&[Ok(2), Ok(3)], &[]), (5, all), 5),
            case(
                "the first client has port 0",
                (&[Err(EINVAL), Ok(2)], &[]),
                (3, sent(1, Some(EINVAL), false)),
                2,
            ),
            case("the third has", (&[Ok(2), Err(EINVAL), Ok(1)], &[]), (4, sent(1, Some(EINVAL), false)), 3),
            case("no room for the last", (&[Ok(1), Err(EAGAIN)], &[]), (2, sent(1, Some(EAGAIN), false)), 1),
            case("a signal", (&[Err(EINTR), Ok(1)], &[]), (1, all), 1),
            case(
                "a firewall against the second",
                (&[Ok(1), Err(EPERM), Ok(1)], &[Err(EPERM)]),
                (3, sent(1, Some(EPERM), false)),
                2,
            ),
            case(
                "a filter against the call",
                (&[Err(EPERM), Err(EPERM)], &[Ok(1), Ok(1)]),
                (2, filtered(2)),
                2,
            ),
            case(
                "a kernel without the call",
                (&[Err(ENOSYS), Err(ENOSYS)], &[Ok(1), Err(ENETUNREACH)]),
                (2, sent(1, Some(ENETUNREACH), true)),
                1,
            ),
        ] {
            let (count, expected) = expected;
            let total = std::cell::Cell::new(0);
            let say = |words: &mut std::slice::Iter<'_, Word>| {
                let word = *words.next().unwrap_or_else(|| panic!("{name}: a call too many"));
                total.set(total.get() + word.unwrap_or(0));
                word
            };
            let (mut many, mut one) = (many.iter(), one.iter());
            let result = send_all(count, |_| say(&mut many), |_| say(&mut one).map(|_| ()));
            assert_eq!(Sent { taken: 0, ..result }, expected, "{name}");
            assert_eq!(total.get(), taken, "{name}");
            assert_eq!((many.len(), one.len()), (0, 0), "{name}: calls that were not made");
        }
    }
}
