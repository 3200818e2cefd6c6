//! Sends each datagram back, grown to a given size: what receiving a query and sending an answer costs without a DNS server. For
//! `scripts/serve-bench`. `udp_echo ADDRESS:PORT OCTETS` echoes until it is killed, `udp_echo --where` prints the path of the program.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

/// Datagrams of one system call.
const BATCH: usize = 32;
const LARGEST: usize = 4096;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [word] if word == "--where" => println!("{}", std::env::current_exe().expect("a path").display()),
        [address, size] => echo(address.parse().expect("an address"), size.parse().expect("a size")),
        _ => {}
    }
}

fn echo(address: SocketAddrV4, size: usize) {
    let socket = UdpSocket::bind(address).expect("a socket");
    let mut receive = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut send = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut room = vec![[0u8; LARGEST]; BATCH];
    loop {
        let mut lens = [0; BATCH];
        let mut clients = [None; BATCH];
        let mut count = 0;
        {
            let mut rooms = room.iter_mut();
            let mut slices: [[IoSliceMut<'_>; 1]; BATCH] = std::array::from_fn(|_| {
                [IoSliceMut::new(rooms.next().expect("one for each").as_mut_slice())]
            });
            let fd = socket.as_raw_fd();
            let Ok(received) = recvmmsg(fd, &mut receive, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)
            else {
                continue;
            };
            for message in received {
                lens[count] = message.bytes;
                clients[count] = message.address;
                count += 1;
            }
        }
        // A response.
        room.iter_mut().take(count).for_each(|octets| octets[2] |= 0x80);
        let slices: [[IoSlice<'_>; 1]; BATCH] =
            std::array::from_fn(|i| [IoSlice::new(&room[i][..lens[i].max(size).min(LARGEST)])]);
        let _ = sendmmsg(
            socket.as_raw_fd(),
            &mut send,
            &slices[..count],
            &clients[..count],
            [],
            MsgFlags::empty(),
        );
    }
}
