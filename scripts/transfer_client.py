# A client for transfers and updates: messages as octets, signed with one TSIG key (RFC 8945).
import collections, hashlib, hmac, selectors, socket, struct, time

KEY, SECRET = "xfr", b"the secret of one measurement only"
A, SOA, NSEC_TYPE, IXFR, AXFR = 1, 6, 47, 251, 252
IN, NONE, ANY = 1, 254, 255
# SOA fields behind the serial of every zone that is measured here.
TIMES = struct.pack("!4I", 7200, 900, 1209600, 600)
# Octets of a message from its last record on, whatever signature follows.
TAIL = 400
UPDATE = 0x2800


def wire(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".") if label) + b"\0"


def message(number, flags, zone, rtype, prerequisites=0, records=()):
    """A message with one question, and records in its authority section."""
    head = struct.pack("!6H", number, flags, 1, prerequisites, len(records), 0)
    return head + wire(zone) + struct.pack("!2H", rtype, IN) + b"".join(records)


def record(name, rtype, rclass, ttl, rdata=b""):
    return wire(name) + struct.pack("!2HIH", rtype, rclass, ttl, len(rdata)) + rdata


def signed(octets):
    """The message with a TSIG record."""
    key, algorithm = wire(KEY), wire("hmac-sha256")
    at = struct.pack("!HIH", 0, int(time.time()), 300)
    facts = key + struct.pack("!HI", ANY, 0) + algorithm + at + bytes(4)
    mac = hmac.digest(SECRET, octets + facts, hashlib.sha256)
    rdata = algorithm + at + struct.pack("!H", len(mac)) + mac + octets[:2] + bytes(4)
    counts = struct.pack("!H", struct.unpack("!H", octets[10:12])[0] + 1)
    return octets[:10] + counts + octets[12:] + key + struct.pack("!2HIH", 250, ANY, 0, len(rdata)) + rdata


def framed(octets):
    return struct.pack("!H", len(octets)) + octets


class Transfer:
    """What has come of one AXFR."""

    def __init__(self, port, query):
        self.connection = socket.create_connection(("127.0.0.1", port), 10)
        self.connection.sendall(framed(query))
        self.rest, self.messages, self.octets, self.is_done = b"", 0, 0, False

    def take(self, octets):
        """Looks for the second SOA record at the end of each message: the zone ends there."""
        octets, at = self.rest + octets, 0
        while len(octets) >= at + 2:
            end = at + 2 + (octets[at] << 8 | octets[at + 1])
            if end > len(octets):
                break
            self.messages += 1
            self.octets += end - at - 2
            if octets[at + 5] & 15:
                raise RuntimeError(f"RCODE {octets[at + 5] & 15}")
            soas = octets.count(TIMES, at if self.messages == 1 else max(at, end - TAIL), end)
            self.is_done |= soas > (self.messages == 1)
            at = end
        self.rest = octets[at:]


def axfr(port, zone, is_signed, clients):
    """Octets of all messages of so many transfers at once."""
    query = message(7, 0, zone, AXFR)
    transfers = [Transfer(port, signed(query) if is_signed else query) for _ in range(clients)]
    with selectors.DefaultSelector() as selector:
        for transfer in transfers:
            selector.register(transfer.connection, selectors.EVENT_READ, transfer)
        while selector.get_map():
            ready = selector.select(60)
            if not ready:
                raise RuntimeError("nothing comes for a minute")
            for found, _ in ready:
                transfer = found.data
                octets = transfer.connection.recv(1 << 20)
                transfer.take(octets)
                if transfer.is_done or not octets:
                    selector.unregister(transfer.connection)
                    transfer.connection.close()
    if not all(transfer.is_done for transfer in transfers):
        raise RuntimeError("a transfer was cut off")
    return sum(transfer.octets for transfer in transfers)


def ixfr(port, zone, serial):
    """Octets of the difference from that serial, which must come in one message."""
    soa = record(zone, SOA, IN, 0, bytes(2) + struct.pack("!I", serial) + bytes(16))
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(framed(signed(message(7, 0, zone, IXFR, records=[soa]))))
        stream = connection.makefile("rb")
        answer = stream.read(struct.unpack("!H", stream.read(2))[0])
    if answer[3] & 15 or struct.unpack("!H", answer[6:8])[0] < 4 or answer.count(TIMES) != 4:
        raise RuntimeError(f"no difference from {serial}: {answer[:12].hex()}")
    return len(answer)


def added(number, zone, name, address):
    """An update that adds an address."""
    return signed(message(number, UPDATE, zone, SOA, records=[record(name, A, IN, 60, address)]))


def replaced(number, zone, name, address):
    """An update that leaves a name this address alone."""
    records = [record(name, A, ANY, 0), record(name, A, IN, 3600, address)]
    return signed(message(number, UPDATE, zone, SOA, records=records))


def removed(number, zone, name):
    """An update that removes a name."""
    return signed(message(number, UPDATE, zone, SOA, records=[record(name, ANY, ANY, 0)]))


def ask(port, octets, seconds=10):
    """The answer to a message over UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(seconds)
        client.sendto(octets, ("127.0.0.1", port))
        answer = client.recv(65535)
    if answer[3] & 15:
        raise RuntimeError(f"RCODE {answer[3] & 15}")
    return answer


def query(number, name, rtype):
    """A query with the DO bit."""
    octets = message(number, 0, name, rtype)
    return octets[:10] + b"\0\1" + octets[12:] + b"\0\0\x29\4\xd0\0\0\x80\0\0\0"


def has_signature(answer):
    """True for an answer with a record and its signature."""
    return answer[3] & 15 == 0 and struct.unpack("!H", answer[6:8])[0] >= 2


def is_signed(port, name, rtype):
    return has_signature(ask(port, query(1, name, rtype)))


def has_address(port, name, address, seconds=0.5):
    """True when a server answers a query with this address."""
    try:
        return address in ask(port, query(1, name, A), seconds)
    except (OSError, RuntimeError):
        return False


class Stream:
    """Updates at a fixed rate, and for each a query when it was answered: when it is answered, and when the record is seen."""

    def __init__(self, port, zone, rate, seconds, prefix):
        self.port, self.zone, self.rate, self.prefix = port, zone, rate, prefix
        self.count = rate * seconds
        # When each was due, and not when it was sent: a client that is held up hides nothing.
        self.due, self.answered, self.seen, self.asked_again, self.refused = {}, {}, {}, 0, 0
        # Queries that are sent again: when, and which.
        self.later = collections.deque()

    def name(self, number):
        # So that neighbours in time are no neighbours in the zone.
        return f"{self.prefix}{number * 7919 % self.count:06}.{self.zone}"

    def run(self, longest=20):
        """Sends all; ends when each is seen, or so many seconds behind the last one."""
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            each.connect(("127.0.0.1", self.port))
            each.setblocking(False)
        self.updates, self.queries = sockets
        self.begun = begun = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for each in sockets:
                selector.register(each, selectors.EVENT_READ)
            while len(self.seen) + self.refused < self.count and time.monotonic() < begun + self.count / self.rate + longest:
                while len(self.due) < self.count and time.monotonic() >= begun + len(self.due) / self.rate:
                    self.send(len(self.due))
                wait = begun + len(self.due) / self.rate - time.monotonic() if len(self.due) < self.count else 0.01
                while self.later and self.later[0][0] <= time.monotonic():
                    self.query(self.later.popleft()[1])
                for found, _ in selector.select(max(wait, 0)):
                    self.receive(found.fileobj)
        for each in sockets:
            each.close()

    def rate_reached(self):
        """Updates a second from the first to the last answer."""
        return len(self.answered) / (max(self.answered.values()) - self.begun) if self.answered else 0

    def send(self, number):
        octets = added(number % 65536, self.zone, self.name(number), struct.pack("!I", 10 << 24 | number))
        self.due[number] = self.begun + number / self.rate
        self.updates.send(octets)

    def receive(self, where):
        try:
            while True:
                answer = where.recv(4096)
                self.take(where, answer)
        except BlockingIOError:
            pass

    def take(self, where, answer):
        now, number = time.monotonic(), struct.unpack("!H", answer[:2])[0]
        # The latest with this ID.
        number += (len(self.due) - 1 - number) // 65536 * 65536
        if where is self.updates:
            if answer[3] & 15:
                self.refused += 1
                return
            self.answered.setdefault(number, now)
            self.query(number)
        elif has_signature(answer):
            self.seen.setdefault(number, now)
        else:
            self.asked_again += 1
            self.later.append((now + 0.001, number))

    def query(self, number):
        self.queries.send(query(number % 65536, self.name(number), A))

    def times(self, ends):
        """Milliseconds from when an update was due to these ends, in order."""
        return sorted((end - self.due[number]) * 1000 for number, end in ends.items())
