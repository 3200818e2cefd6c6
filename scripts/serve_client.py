# Asks one server 1 000 times a second until it gets SIGTERM, and then prints for each query when it was sent (seconds of the monotonic clock) and
# how many seconds the answer took, or "lost": serve_client.py PORT FILE, where FILE is one of dnsperf's.
import os, select, signal, socket, struct, sys, time

RATE = 1000
# An answer that has not come after so many seconds was lost.
LATE = 2


def message(line):
    name, rtype = line.split()
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    head, opt = b"\0\0\1\0\0\1\0\0\0\0\0\1", b"\0\0\x29\4\xd0\0\0\x80\0\0\0"
    return head + labels + b"\0" + struct.pack("!HH", {"A": 1, "MX": 15}[rtype], 1) + opt


def main():
    port, file = int(sys.argv[1]), sys.argv[2]
    with open(file) as lines:
        queries = [message(line)[2:] for line, _ in zip(lines, range(65536))]
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(("127.0.0.1", port))
    client.setblocking(False)
    sent, took = [], {}
    start = time.monotonic()
    last = None
    while last is None or time.monotonic() < last + LATE and len(took) < len(sent):
        now = time.monotonic()
        if ended and last is None:
            last = now
        if last is None and now >= start + len(sent) / RATE:
            number = len(sent)
            client.send(struct.pack("!H", number % 65536) + queries[number % len(queries)])
            sent.append(time.monotonic())
        wait = start + len(sent) / RATE - time.monotonic() if last is None else 0.1
        if select.select([client], [], [], max(wait, 0))[0]:
            answer = client.recv(4096)
            came, number = time.monotonic(), struct.unpack("!H", answer[:2])[0]
            # The latest query with this ID.
            number += (len(sent) - 1 - number) // 65536 * 65536
            took.setdefault(number, came - sent[number])
    for number, at in enumerate(sent):
        print(f"{at:.6f} {took[number]:.6f}" if number in took else f"{at:.6f} lost")


main()
